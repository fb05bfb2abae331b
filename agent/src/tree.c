#define _GNU_SOURCE
#include "tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "protocol.h"

/* Trees whose leader has ended but which are not empty keep their cgroup: there may be more of them than processes
 * with a leader. Beyond this, a new process fails with EAGAIN. */
#define TREES_MAX (2 * (int)WHERRY_EXECS_MAX)

/* The first cgroups keep their descriptors open between uses; a burst beyond them opens and closes its own. */
#define TREES_KEPT 128

/* Signals other than SIGKILL are sent process by process; a tree that forks meanwhile is walked again, but not for ever. */
#define WALKS_MAX 16

enum state { FREE, USED, LEFT };

struct tree {
    unsigned char state;
    unsigned char made;
    int procs;
    int events;
};

static struct {
    int directory; /* -1 without cgroups */
    int used; /* trees[0..used) have been touched */
    int left; /* trees in state LEFT */
    int first_free; /* no tree below it is FREE */
    struct tree trees[TREES_MAX];
} context = {.directory = -1};

static int open_in_tree(int tree, const char *file, int flags)
{
    char path[64];

    snprintf(path, sizeof(path), "x%d/%s", tree, file);
    return openat(context.directory, path, flags | O_CLOEXEC);
}

int tree_init(int directory)
{
    autoclose int probe = openat(directory, "cgroup.procs", O_WRONLY | O_CLOEXEC);

    if (probe < 0)
        return 0;
    if (faccessat(directory, "cgroup.kill", F_OK, 0) < 0)
        return 0;
    context.directory = directory;
    return 1;
}

/* Whether a process is left in the cgroup. An unreadable one counts as busy: it isn't used again. */
static int is_populated(struct tree *tree, int number)
{
    char text[128];
    autoclose int opened = tree->events < 0 ? open_in_tree(number, "cgroup.events", O_RDONLY) : -1;
    ssize_t size = pread(tree->events >= 0 ? tree->events : opened, text, sizeof(text) - 1, 0);

    if (size < 0)
        return 1;
    text[size] = '\0';
    return strstr(text, "populated 0") == NULL;
}

static void set_free(int number)
{
    context.trees[number].state = FREE;
    if (number < context.first_free)
        context.first_free = number;
}

/* Gives back the cgroups whose last process has ended since. */
static void collect_left(void)
{
    for (int i = 0; i < context.used && context.left > 0; i++) {
        if (context.trees[i].state == LEFT && !is_populated(&context.trees[i], i)) {
            context.left--;
            set_free(i);
        }
    }
}

static int find_free(void)
{
    for (int i = context.first_free; i < context.used; i++) {
        if (context.trees[i].state == FREE)
            return i;
    }
    context.first_free = context.used;
    return -1;
}

static int find_or_grow(void)
{
    int number = find_free();

    if (number < 0 && context.left > 0) {
        collect_left();
        number = find_free();
    }
    if (number < 0 && context.used < TREES_MAX) {
        number = context.used++;
        context.trees[number] = (struct tree){.procs = -1, .events = -1};
    }
    return number;
}

static int prepare(struct tree *tree, int number)
{
    if (!tree->made) {
        char name[16];

        snprintf(name, sizeof(name), "x%d", number);
        if (mkdirat(context.directory, name, 0755) < 0 && errno != EEXIST)
            return -errno;
        tree->made = 1;
    }
    if (tree->procs < 0)
        tree->procs = open_in_tree(number, "cgroup.procs", O_WRONLY);
    if (tree->procs < 0)
        return -errno;
    if (tree->events < 0 && number < TREES_KEPT)
        tree->events = open_in_tree(number, "cgroup.events", O_RDONLY);
    return 0;
}

int tree_acquire(void)
{
    int number, failed;

    if (context.directory < 0)
        return 0;
    number = find_or_grow();
    if (number < 0)
        return -EAGAIN;
    failed = prepare(&context.trees[number], number);
    if (failed)
        return failed;
    context.trees[number].state = USED;
    context.first_free = number + 1;
    return number;
}

int tree_procs(int tree)
{
    return context.directory < 0 ? -1 : context.trees[tree].procs;
}

void tree_release(int tree)
{
    struct tree *it = &context.trees[tree];

    if (context.directory < 0)
        return;
    if (tree >= TREES_KEPT)
        close_descriptor(&it->procs);
    if (is_populated(it, tree)) {
        it->state = LEFT;
        context.left++;
    } else {
        set_free(tree);
    }
}

static void signal_cgroup(int tree, int signal)
{
    if (signal == SIGKILL) {
        autoclose int fd = open_in_tree(tree, "cgroup.kill", O_WRONLY);

        if (fd >= 0 && write(fd, "1", 1) == 1)
            return;
    }
    autoclose int fd = open_in_tree(tree, "cgroup.procs", O_RDONLY);
    FILE *list = fd >= 0 ? fdopen(fd, "r") : NULL;
    int pid;

    if (list == NULL)
        return;
    fd = -1; /* the stream owns it now */
    while (fscanf(list, "%d", &pid) == 1) {
        if (pid > 1)
            kill(pid, signal);
    }
    fclose(list);
}

struct process {
    pid_t pid;
    pid_t parent;
    pid_t session;
};

static int read_process(int proc, const char *name, struct process *process)
{
    char path[300], text[512], *rest;
    ssize_t size;

    snprintf(path, sizeof(path), "%s/stat", name);
    autoclose int fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
    size = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (size <= 0)
        return -1;
    text[size] = '\0';
    /* The name may hold anything, ")" included: the fields begin after the last one. */
    rest = strrchr(text, ')');
    process->pid = atoi(name);
    return rest != NULL && sscanf(rest + 1, " %*c %d %*d %d", &process->parent, &process->session) == 2 ? 0 : -1;
}

/* Signals what belongs to the tree of `leader` and isn't yet in `known`; returns how many those were. Parents come
 * before children only by chance in /proc, so the caller walks until nothing new is found. */
static int walk_once(pid_t leader, int signal, pid_t *known, int *count, int limit)
{
    DIR *proc = opendir("/proc");
    int found = 0;

    if (proc == NULL)
        return 0;
    for (struct dirent *entry = readdir(proc); entry != NULL; entry = readdir(proc)) {
        struct process process;
        int belongs = 0, seen = 0;

        if (entry->d_name[0] < '1' || entry->d_name[0] > '9' || read_process(dirfd(proc), entry->d_name, &process) < 0)
            continue;
        for (int i = 0; i < *count; i++) {
            belongs |= known[i] == process.parent;
            seen |= known[i] == process.pid;
        }
        if (seen || process.pid == 1 || !(belongs || process.session == leader) || *count == limit)
            continue;
        known[(*count)++] = process.pid;
        kill(process.pid, signal);
        found++;
    }
    closedir(proc);
    return found;
}

static void signal_session(pid_t leader, int signal)
{
    pid_t known[4096];
    int count = 1;

    known[0] = leader;
    for (int walk = 0; walk < WALKS_MAX; walk++) {
        if (walk_once(leader, signal, known, &count, (int)(sizeof(known) / sizeof(known[0]))) == 0)
            break;
    }
    kill(leader, signal);
}

void tree_signal(int tree, pid_t leader, int signal)
{
    if (context.directory >= 0)
        signal_cgroup(tree, signal);
    else
        signal_session(leader, signal);
}
