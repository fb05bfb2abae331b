/* Pseudo-terminals of the container's own devpts. */
#ifndef WHERRY_TERMINAL_H
#define WHERRY_TERMINAL_H

#include <stdint.h>

/* Opens /dev/pts while nothing else runs in the container yet, so that no process can put something else there. */
void terminal_init(void);

/* Fills both descriptors and returns 0, or returns a negative errno. */
int terminal_open(uint16_t rows, uint16_t columns, int *master, int *slave);

#endif
