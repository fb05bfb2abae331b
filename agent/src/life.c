#define _GNU_SOURCE
#include "life.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "clients.h"
#include "table.h"
#include "tree.h"

/* From SIGTERM to SIGKILL, for an entrypoint that is stopped for inactivity. */
#define GRACE_MS 10000

/* How long the end of the container waits for killed processes to be reaped. One that sleeps in the kernel may take
 * longer; its exit is then not reported, and it goes with the pid namespace. */
#define LAST_REAP_MS 500

static struct {
    int monitor;
    pid_t entrypoint;
    int entrypoint_tree;
    int entrypoint_known; /* one was started, perhaps ended */
    uint32_t inactivity;
    int64_t idle_since;   /* -1 while something goes on */
    int64_t kill_at;      /* when the grace period ends, or -1 */
} life = {.monitor = -1, .idle_since = -1, .kill_at = -1};

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void life_init(int monitor)
{
    life.monitor = monitor;
}

void life_set_entrypoint(pid_t pid, int tree)
{
    life.entrypoint = pid;
    life.entrypoint_tree = tree;
    life.entrypoint_known = 1;
}

int life_has_entrypoint(void)
{
    return life.entrypoint_known;
}

void life_signal_entrypoint(int signal, int tree)
{
    if (life.entrypoint == 0)
        return;
    if (tree)
        tree_signal(life.entrypoint_tree, life.entrypoint, signal);
    else
        kill(life.entrypoint, signal);
}

void life_set_inactivity(uint32_t milliseconds)
{
    life.inactivity = milliseconds;
    life.idle_since = -1;
}

/* Fills the exit into the entry's record, which is sent once the client can take it. */
static void record_exit(struct exec *exec, int status, const struct rusage *usage)
{
    struct wherry_exited *record = &exec->record;

    record->signal = WIFSIGNALED(status) ? (uint32_t)WTERMSIG(status) : 0;
    record->code = WIFSIGNALED(status) ? 128 + record->signal : (uint32_t)WEXITSTATUS(status);
    record->user_us = (uint64_t)usage->ru_utime.tv_sec * 1000000 + (uint64_t)usage->ru_utime.tv_usec;
    record->system_us = (uint64_t)usage->ru_stime.tv_sec * 1000000 + (uint64_t)usage->ru_stime.tv_usec;
    record->peak_kib = (uint64_t)usage->ru_maxrss;
    exec->exited = 1;
}

/* Reaps one child. Returns its pid, or 0 where none has ended. */
static pid_t reap_one(struct exec **exec)
{
    siginfo_t info = {0};
    struct rusage usage;
    int status;

    /* Looked at first and reaped after: as long as it isn't, its pid and its session are its own. */
    if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || info.si_pid == 0)
        return 0;
    *exec = table_find_pid(info.si_pid);
    if (*exec != NULL && (*exec)->sweep)
        tree_signal((*exec)->tree, info.si_pid, SIGKILL);
    if (wait4(info.si_pid, &status, 0, &usage) < 0)
        return 0;
    if (*exec != NULL) {
        tree_release((*exec)->tree);
        record_exit(*exec, status, &usage);
    }
    return info.si_pid;
}

static void settle(struct exec *exec)
{
    if (exec->client < 0)
        table_remove(exec);
    else
        clients_report(exec);
}

_Noreturn static void end(enum wherry_reason reason, uint32_t code, uint32_t signal)
{
    const struct wherry_ending ending = {.reason = reason, .code = code, .signal = signal};
    int64_t deadline = now_ms() + LAST_REAP_MS;

    kill(-1, SIGKILL);
    while (now_ms() < deadline) {
        struct exec *exec = NULL;

        if (reap_one(&exec) != 0) {
            if (exec != NULL)
                settle(exec);
            continue;
        }
        /* Nothing has ended just now: either there is no child any more, or it takes a moment to die. */
        if (waitid(P_ALL, 0, NULL, WEXITED | WNOHANG | WNOWAIT) < 0 && errno == ECHILD)
            break;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    clients_end(&ending);
    message_send(life.monitor, WHERRY_ENDING, 0, &ending, sizeof(ending), -1);
    _exit((int)code);
}

void life_abandon(void)
{
    end(WHERRY_REASON_ABANDONED, 128 + SIGKILL, SIGKILL);
}

void life_reap(void)
{
    struct exec *exec = NULL;

    while (reap_one(&exec) != 0) {
        struct wherry_exited record;
        int is_entrypoint;

        if (exec == NULL)
            continue;
        record = exec->record;
        is_entrypoint = exec->entrypoint;
        settle(exec);
        if (is_entrypoint)
            end(life.kill_at >= 0 ? WHERRY_REASON_INACTIVE : WHERRY_REASON_EXITED, record.code, record.signal);
    }
}

static void expire(void)
{
    if (life.entrypoint == 0)
        end(WHERRY_REASON_INACTIVE, 0, 0);
    life.kill_at = now_ms() + GRACE_MS;
    kill(life.entrypoint, SIGTERM);
}

/* Milliseconds until `when`, at least 1: a wait of 0 before the time has come would spin. */
static int until(int64_t when, int64_t now)
{
    int64_t left = when - now;

    if (left < 1)
        return 1;
    return left > 3600000 ? 3600000 : (int)left;
}

int life_wait_limit(void)
{
    int64_t now;

    if (life.kill_at >= 0) {
        now = now_ms();
        if (now >= life.kill_at && life.entrypoint != 0)
            kill(life.entrypoint, SIGKILL);
        return until(life.kill_at, now);
    }
    if (life.inactivity == 0)
        return -1;
    if (table_live() > (life.entrypoint != 0) || clients_ports() > 0) {
        life.idle_since = -1;
        return -1;
    }
    now = now_ms();
    if (life.idle_since < 0)
        life.idle_since = now;
    if (now - life.idle_since >= life.inactivity) {
        expire();
        return 1;
    }
    return until(life.idle_since + life.inactivity, now);
}
