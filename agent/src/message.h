/* One datagram of the protocol, with its descriptors. */
#ifndef WHERRY_MESSAGE_H
#define WHERRY_MESSAGE_H

#include <stddef.h>

#include "protocol.h"

struct message {
    struct wherry_header header;
    const unsigned char *body; /* in a static buffer: valid until the next message_receive */
    size_t size;
    int descriptors[WHERRY_DESCRIPTORS_MAX]; /* owned by the message; -1 where stolen */
    unsigned descriptor_count;
};

enum received {
    RECEIVED_MESSAGE,
    RECEIVED_NOTHING,
    RECEIVED_END,
    RECEIVED_MALFORMED,
};

/* Doesn't block. Descriptors come close-on-exec; message_release closes those that nobody stole. */
enum received message_receive(int fd, struct message *message);
void message_release(struct message *message);

/* Doesn't block. Returns 0 or a negative errno; `descriptor` may be -1 and stays the caller's. */
int message_send(int fd, enum wherry_message type, uint32_t id, const void *body, size_t size, int descriptor);

#endif
