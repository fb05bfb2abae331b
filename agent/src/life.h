/* The container's life: its entrypoint, how long it may be idle, and its end. */
#ifndef WHERRY_LIFE_H
#define WHERRY_LIFE_H

#include <stdint.h>
#include <sys/types.h>

void life_init(int monitor);

void life_set_entrypoint(pid_t pid, int tree);
int life_has_entrypoint(void);
void life_signal_entrypoint(int signal, int tree);

void life_set_inactivity(uint32_t milliseconds);

/* To be called before each wait: how long it may take, in milliseconds; -1 without a limit. Acts on what is due. */
int life_wait_limit(void);

/* Reaps every child that has ended and reports it. */
void life_reap(void);

/* The monitor is gone. */
_Noreturn void life_abandon(void);

#endif
