/* What each message of a client does. */
#ifndef WHERRY_SERVE_H
#define WHERRY_SERVE_H

#include "message.h"

void serve_init(int tree_by_cgroup);
uint32_t serve_features(void);

/* Returns 0, or the wherry_error that ends the connection. Descriptors left in the message are closed by the caller. */
int serve(unsigned client, struct message *message);

#endif
