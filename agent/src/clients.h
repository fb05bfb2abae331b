/* The connections of clients: up to WHERRY_CLIENTS_MAX, each with its own ids. */
#ifndef WHERRY_CLIENTS_H
#define WHERRY_CLIENTS_H

#include "message.h"
#include "table.h"

/* Both descriptors stay open for the agent's life. Events carry the client's number, or CLIENTS_LISTENER. */
void clients_init(int epoll, int listener);
#define CLIENTS_LISTENER WHERRY_CLIENTS_MAX

void clients_accept(void);
void clients_event(unsigned number, uint32_t events);

/* Answers the message being handled. Where the client doesn't read, the answer is kept and nothing more is read from it.
 * Takes the descriptor (or -1). */
void clients_reply(unsigned number, enum wherry_message type, uint32_t id, const void *body, size_t size,
                   int descriptor);

/* Sends EXITED and forgets the process; where that can't be sent now, it stays in the table until it can. */
void clients_report(struct exec *exec);

/* A connection to a port of the container was handed out (1) or ended (-1). */
void clients_hold_port(unsigned number, int change);
int clients_ports(void);

/* For the end of the container: what can be sent at once is sent. */
void clients_end(const struct wherry_ending *ending);

#endif
