#include "table.h"

#include <stddef.h>

#define BUCKETS 512
#define NONE 0 /* in the chains, entry i stands as i + 1, so that zeroed memory is an empty table */

static struct {
    struct exec entries[WHERRY_EXECS_MAX];
    int by_pid[BUCKETS];
    int by_id[BUCKETS];
    int used; /* entries[0..used) have been touched: the rest costs no memory */
    int live;
    int first_free; /* no entry below it is free */
} table;

static unsigned bucket_of_pid(pid_t pid)
{
    return (unsigned)pid % BUCKETS;
}

static unsigned bucket_of_id(int client, uint32_t id)
{
    return (id + (unsigned)client * 61u) % BUCKETS;
}

static int take_entry(void)
{
    while (table.first_free < table.used && table.entries[table.first_free].pid != 0)
        table.first_free++;
    if (table.first_free == table.used)
        table.used++;
    return table.first_free++;
}

struct exec *table_add(pid_t pid, int client, uint32_t id)
{
    int index;
    struct exec *exec;

    if (table.live == (int)WHERRY_EXECS_MAX)
        return NULL;
    index = take_entry();
    exec = &table.entries[index];
    *exec = (struct exec){.pid = pid, .client = (int16_t)client, .id = id};
    exec->next_by_pid = table.by_pid[bucket_of_pid(pid)];
    table.by_pid[bucket_of_pid(pid)] = index + 1;
    exec->next_by_id = table.by_id[bucket_of_id(client, id)];
    table.by_id[bucket_of_id(client, id)] = index + 1;
    table.live++;
    return exec;
}

struct exec *table_find_pid(pid_t pid)
{
    for (int i = table.by_pid[bucket_of_pid(pid)]; i != NONE; i = table.entries[i - 1].next_by_pid) {
        /* A reaped pid may already be another process's. */
        if (table.entries[i - 1].pid == pid && !table.entries[i - 1].exited)
            return &table.entries[i - 1];
    }
    return NULL;
}

struct exec *table_find_id(int client, uint32_t id)
{
    for (int i = table.by_id[bucket_of_id(client, id)]; i != NONE; i = table.entries[i - 1].next_by_id) {
        if (table.entries[i - 1].id == id && table.entries[i - 1].client == client)
            return &table.entries[i - 1];
    }
    return NULL;
}

void table_remove(struct exec *exec)
{
    int index = (int)(exec - table.entries);
    int *link = &table.by_pid[bucket_of_pid(exec->pid)];

    while (*link != index + 1)
        link = &table.entries[*link - 1].next_by_pid;
    *link = exec->next_by_pid;
    link = &table.by_id[bucket_of_id(exec->client, exec->id)];
    while (*link != index + 1)
        link = &table.entries[*link - 1].next_by_id;
    *link = exec->next_by_id;
    exec->pid = 0;
    table.live--;
    if (index < table.first_free)
        table.first_free = index;
}

void table_orphan(struct exec *exec)
{
    struct exec kept = *exec;
    struct exec *orphan;

    table_remove(exec);
    /* Never NULL: an entry has just become free, and it is this one or one below. */
    orphan = table_add(kept.pid, -1, kept.id);
    orphan->entrypoint = kept.entrypoint;
    orphan->sweep = kept.sweep;
    orphan->tree = kept.tree;
}

int table_live(void)
{
    return table.live;
}

struct exec *table_next(struct exec *after)
{
    int index = after == NULL ? 0 : (int)(after - table.entries) + 1;

    for (; index < table.used; index++) {
        if (table.entries[index].pid != 0)
            return &table.entries[index];
    }
    return NULL;
}
