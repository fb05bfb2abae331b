/* A process and all its descendants, as one thing that can be signalled.
 *
 * Where the host gave a cgroup v2 directory, each tree has a cgroup of its own in it, so that neither a double fork nor
 * setsid(2) leaves it. Directories are used again once they are empty: making one costs more than joining it. Elsewhere
 * a tree is what /proc shows: the session and the descendants, without those that left both. */
#ifndef WHERRY_TREE_H
#define WHERRY_TREE_H

#include <sys/types.h>

/* `directory` is the container's cgroup, or anything else where there is none. Returns whether cgroups are used. */
int tree_init(int directory);

/* Takes a cgroup for a new tree: its number, or a negative errno. Without cgroups, always 0. */
int tree_acquire(void);

/* The cgroup.procs descriptor that a process joins through by writing "0"; -1 without cgroups. */
int tree_procs(int tree);

/* After the leader's end, or when it could not be started. What still runs in it goes on. */
void tree_release(int tree);

/* Signals every process of the tree; `leader` must not have been reaped yet. */
void tree_signal(int tree, pid_t leader, int signal);

#endif
