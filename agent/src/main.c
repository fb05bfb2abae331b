/* The agent: PID 1 of a container. docs/agent-protocol.md says what it does; README.md maps the files. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clients.h"
#include "life.h"
#include "serve.h"
#include "spawn.h"
#include "terminal.h"
#include "tree.h"

enum { LISTENER = 3, MONITOR = 4, CGROUP = 5 };

/* Numbers of epoll events: clients first, then the listener. */
enum { EVENT_SIGNAL = CLIENTS_LISTENER + 1, EVENT_MONITOR };

/* Legal only before the loop starts. Like a shell, 126 says that it could not begin. */
__attribute__((format(printf, 1, 2))) _Noreturn static void die(const char *format, ...)
{
    va_list arguments;

    fputs("wherry-agent: ", stderr);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(126);
}

/* 0, 1 and 2 must not be free: a received descriptor with such a number would be taken for a standard stream. */
static void close_stdio(void)
{
    int null = open("/dev/null", O_RDWR);

    if (null < 0)
        die("/dev/null: %s", strerror(errno));
    for (int fd = 0; fd < 3; fd++) {
        if (fd != null && dup2(null, fd) < 0)
            die("standard streams: %s", strerror(errno));
    }
    if (null > 2)
        close(null);
}

static void adopt_descriptors(void)
{
    for (int fd = LISTENER; fd <= CGROUP; fd++) {
        if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
            die("descriptor %d: %s (this program is started by wherry, not by hand)", fd, strerror(errno));
    }
    if (fcntl(LISTENER, F_SETFL, O_NONBLOCK) < 0)
        die("descriptor %d: %s", LISTENER, strerror(errno));
}

/* As PID 1, an unblocked signal with its default disposition can't reach this process from inside: SIGCHLD is the one
 * that is looked at, and a forged one only makes it look. */
static int prepare_signals(void)
{
    sigset_t set;
    int fd;

    for (int number = 1; number < 65; number++)
        signal(number, SIG_DFL);
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    if (sigprocmask(SIG_SETMASK, &set, NULL) < 0)
        die("signals: %s", strerror(errno));
    fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (fd < 0)
        die("signalfd: %s", strerror(errno));
    return fd;
}

static void watch(int epoll, int fd, uint32_t number)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = number};

    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
        die("epoll: %s", strerror(errno));
}

static void handle_signal(int fd)
{
    struct signalfd_siginfo info;

    while (read(fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
        ;
    life_reap();
}

static void loop(int epoll, int signals)
{
    struct epoll_event events[WHERRY_CLIENTS_MAX + 4];

    for (;;) {
        int count = epoll_wait(epoll, events, sizeof(events) / sizeof(events[0]), life_wait_limit());

        for (int i = 0; i < count; i++) {
            uint32_t number = events[i].data.u32;

            if (number == EVENT_SIGNAL)
                handle_signal(signals);
            else if (number == EVENT_MONITOR)
                life_abandon();
            else if (number == CLIENTS_LISTENER)
                clients_accept();
            else
                clients_event(number, events[i].events);
        }
    }
}

int main(void)
{
    int epoll, signals;

    /* First: from here on, no process of the container can trace this one or open its /proc/1/fd. */
    if (prctl(PR_SET_DUMPABLE, 0) < 0)
        die("prctl: %s", strerror(errno));
    close_stdio();
    adopt_descriptors();
    umask(022);
    if (spawn_init() < 0)
        die("groups: %s", strerror(errno));
    terminal_init();
    life_init(MONITOR);
    serve_init(tree_init(CGROUP));
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0)
        die("epoll: %s", strerror(errno));
    signals = prepare_signals();
    watch(epoll, signals, EVENT_SIGNAL);
    watch(epoll, MONITOR, EVENT_MONITOR);
    clients_init(epoll, LISTENER);
    loop(epoll, signals);
}
