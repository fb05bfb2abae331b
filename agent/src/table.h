/* The processes that clients started and whose end has not been reported yet. */
#ifndef WHERRY_TABLE_H
#define WHERRY_TABLE_H

#include <sys/types.h>

#include "protocol.h"

struct exec {
    pid_t pid; /* 0 in an entry that is free */
    uint32_t id;
    int16_t client; /* -1 where its connection has ended */
    uint8_t entrypoint;
    uint8_t sweep;  /* SIGKILL what is left of the tree when the process ends */
    uint8_t exited; /* reaped; `record` waits to be sent */
    int tree;
    struct wherry_exited record;
    int next_by_pid;
    int next_by_id;
};

/* NULL where the table is full. The entry is filled, and found by both keys from now on. */
struct exec *table_add(pid_t pid, int client, uint32_t id);
int table_live(void);
struct exec *table_find_pid(pid_t pid);
struct exec *table_find_id(int client, uint32_t id);
void table_remove(struct exec *exec);

/* For a process whose client's connection has ended: the id is no longer found. The pointer is no longer valid. */
void table_orphan(struct exec *exec);

/* Walks all entries: begin with NULL, ends with NULL. The one just returned may be removed meanwhile. */
struct exec *table_next(struct exec *after);

#endif
