/* From a request to a process. */
#ifndef WHERRY_SPAWN_H
#define WHERRY_SPAWN_H

#include <sys/types.h>

#include "request.h"

/* Before anything else runs in the container. Returns 0, or -1 with errno. */
int spawn_init(void);

/* Returns the pid, or 0 with `failed` filled. `terminal` is the slave, or -1; `procs` joins a cgroup, or is -1. */
pid_t spawn(const struct request *request, int terminal, int procs, struct wherry_failed *failed);

#endif
