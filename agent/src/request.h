/* An EXEC message, checked and ready to be spawned. */
#ifndef WHERRY_REQUEST_H
#define WHERRY_REQUEST_H

#include "message.h"

struct request {
    struct wherry_exec fixed;
    const uint32_t *groups;
    const char *cwd;
    char **arguments;   /* ends with NULL */
    char **environment; /* ends with NULL */
    int stdio[3];       /* owned; -1 where /dev/null, a duplicate or a terminal is meant */

    void *mapped; /* the memfd's pages, or NULL */
    size_t mapped_size;
    char **vector; /* what arguments and environment point into */
    size_t vector_size; /* bytes, where it was mapped for this request alone; else 0 */
};

/* Takes the descriptors out of `message`. Returns 0; -1 for a message that breaks the protocol;
 * or a positive errno for one that is well formed but can't be served. */
int request_parse(struct message *message, struct request *request);
void request_release(struct request *request);

#endif
