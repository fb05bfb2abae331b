/* Owners of descriptors: freed at the end of the scope unless stolen. */
#ifndef WHERRY_CLEANUP_H
#define WHERRY_CLEANUP_H

#include <unistd.h>

/* close(2) is not retried: on Linux the descriptor is gone also after EINTR. */
static inline void close_descriptor(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
        *fd = -1;
    }
}

#define autoclose __attribute__((cleanup(close_descriptor)))

static inline int steal_descriptor(int *fd)
{
    int stolen = *fd;

    *fd = -1;
    return stolen;
}

#endif
