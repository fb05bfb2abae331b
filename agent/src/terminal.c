#define _GNU_SOURCE
#include "terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>

#include "cleanup.h"

/* linux/tty.h's number, which musl doesn't have. */
#ifndef TIOCGPTPEER
#define TIOCGPTPEER _IO('T', 0x41)
#endif

static int directory = -1;

void terminal_init(void)
{
    directory = open("/dev/pts", O_PATH | O_DIRECTORY | O_CLOEXEC);
}

int terminal_open(uint16_t rows, uint16_t columns, int *master, int *slave)
{
    struct winsize size = {.ws_row = rows, .ws_col = columns};
    int unlock = 0;
    autoclose int opened = openat(directory, "ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);

    if (opened < 0 || ioctl(opened, TIOCSPTLCK, &unlock) < 0 || ioctl(opened, TIOCSWINSZ, &size) < 0)
        return -errno;
    /* Not by the slave's name: a path could be replaced, and devpts may be mounted elsewhere. */
    *slave = ioctl(opened, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (*slave < 0)
        return -errno;
    *master = steal_descriptor(&opened);
    return 0;
}
