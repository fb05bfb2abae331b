#define _GNU_SOURCE
#include "spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* Descriptors above it that were open before close_range(2) existed (Linux 5.9) are closed one by one up to here. */
#define CLOSE_MAX 1024

static struct rlimit files;

/* Opened before anything else runs in the container: later, /dev/null may be something else. */
static int null = -1;

int spawn_init(void)
{
    struct rlimit raised;

    null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0)
        return -1;
    getrlimit(RLIMIT_NOFILE, &files);
    raised = files;
    raised.rlim_cur = raised.rlim_max;
    setrlimit(RLIMIT_NOFILE, &raised);
    /* What a request for 0:0 without groups then needn't do again. */
    return setgroups(0, NULL);
}

/* All below runs in the child of vfork(2), on the agent's memory: it allocates nothing, and changes nothing but `failed`. */

_Noreturn static void give_up(struct wherry_failed *failed, enum wherry_stage stage)
{
    failed->number = (uint32_t)errno;
    failed->stage = stage;
    _exit(127);
}

static int set_stdio(const struct request *request, int terminal)
{
    for (int i = 0; i < 3; i++) {
        int source = request->stdio[i] >= 0 ? request->stdio[i] : null;

        if (terminal >= 0)
            source = terminal;
        else if (i == 2 && (request->fixed.flags & WHERRY_EXEC_COMBINED) != 0)
            source = STDOUT_FILENO;
        if (dup2(source, i) < 0)
            return -1;
    }
    return terminal >= 0 ? ioctl(terminal, TIOCSCTTY, 0) : 0;
}

/* Also against a cwd or program named /proc/self/fd/N: from here on, nothing of the agent's is there to be named. */
static void close_others(void)
{
    if (syscall(SYS_close_range, 3u, ~0u, 0u) == 0)
        return;
    for (int fd = 3; fd < CLOSE_MAX; fd++)
        close(fd);
}

/* Raw calls: libc's wrappers synchronise threads and keep books, which the agent's memory must not see. */
static int set_user(const struct request *request)
{
    const struct wherry_exec *fixed = &request->fixed;

    if (fixed->uid == 0 && fixed->gid == 0 && fixed->groups == 0)
        return 0;
    if (syscall(SYS_setgroups, (size_t)fixed->groups, request->groups) < 0)
        return -1;
    if (syscall(SYS_setresgid, fixed->gid, fixed->gid, fixed->gid) < 0)
        return -1;
    return (int)syscall(SYS_setresuid, fixed->uid, fixed->uid, fixed->uid);
}

/* A directory outside the root (reached through a leaked descriptor, say) has no path here: CVE-2024-21626. */
static int set_directory(const char *cwd)
{
    char path[PATH_MAX];

    if (chdir(cwd) < 0)
        return -1;
    if (syscall(SYS_getcwd, path, sizeof(path)) < 0)
        return -1;
    if (path[0] != '/') {
        errno = ENOENT;
        return -1;
    }
    return 0;
}

static const char *path_of(char **environment)
{
    for (; *environment != NULL; environment++) {
        if (strncmp(*environment, "PATH=", 5) == 0)
            return *environment + 5;
    }
    return DEFAULT_PATH;
}

/* Like execvpe(3), but never by a shell; "not allowed" in one directory is remembered and outlives "not there" in others. */
static void execute(const struct request *request)
{
    const char *program = request->arguments[0];
    const char *at = path_of(request->environment);
    size_t length = strlen(program);
    int result = ENOENT;

    if (length == 0 || strchr(program, '/') != NULL) {
        execve(program, request->arguments, request->environment);
        return;
    }
    for (;; at++) {
        char path[PATH_MAX];
        size_t size = strcspn(at, ":");

        if (size + length + 2 <= sizeof(path)) {
            memcpy(path, size > 0 ? at : ".", size > 0 ? size : 1);
            path[size > 0 ? size : 1] = '/';
            memcpy(path + (size > 0 ? size : 1) + 1, program, length + 1);
            execve(path, request->arguments, request->environment);
            if (errno == EACCES)
                result = EACCES;
            else if (errno != ENOENT && errno != ENOTDIR)
                return;
        }
        at += size;
        if (*at == '\0')
            break;
    }
    errno = result;
}

static int restore(void)
{
    sigset_t none;

    sigemptyset(&none);
    if (sigprocmask(SIG_SETMASK, &none, NULL) < 0)
        return -1;
    return files.rlim_cur != files.rlim_max ? (int)syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, &files, NULL) : 0;
}

_Noreturn static void child(const struct request *request, int terminal, int procs, struct wherry_failed *failed)
{
    if (setsid() < 0)
        give_up(failed, WHERRY_STAGE_SPAWN);
    if (procs >= 0 && write(procs, "0", 1) != 1)
        give_up(failed, WHERRY_STAGE_CGROUP);
    if (set_stdio(request, terminal) < 0)
        give_up(failed, WHERRY_STAGE_STDIO);
    close_others();
    if (set_user(request) < 0)
        give_up(failed, WHERRY_STAGE_USER);
    if (set_directory(request->cwd) < 0)
        give_up(failed, WHERRY_STAGE_CWD);
    if (restore() < 0)
        give_up(failed, WHERRY_STAGE_SPAWN);
    execute(request);
    give_up(failed, WHERRY_STAGE_EXEC);
}

/* Kept out of line, so that nothing of its caller lives in registers or slots that the child could change. */
__attribute__((noinline)) static pid_t fork_child(const struct request *request, int terminal, int procs,
                                                  struct wherry_failed *failed)
{
    pid_t pid = vfork();

    if (pid == 0)
        child(request, terminal, procs, failed);
    return pid;
}

pid_t spawn(const struct request *request, int terminal, int procs, struct wherry_failed *failed)
{
    pid_t pid;

    failed->number = 0;
    pid = fork_child(request, terminal, procs, failed);
    if (pid < 0) {
        failed->number = (uint32_t)errno;
        failed->stage = WHERRY_STAGE_SPAWN;
        return 0;
    }
    if (failed->number != 0) {
        waitpid(pid, NULL, 0);
        return 0;
    }
    return pid;
}
