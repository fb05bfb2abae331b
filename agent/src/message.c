#include "message.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "cleanup.h"

/* Aligned so that bodies, which begin at WHERRY_HEADER_SIZE, can be read in place. */
static _Alignas(8) unsigned char buffer[WHERRY_MESSAGE_MAX];

union control {
    struct cmsghdr header;
    char space[CMSG_SPACE(sizeof(int) * WHERRY_DESCRIPTORS_MAX)];
};

static void take_descriptors(struct msghdr *packet, struct message *message)
{
    for (struct cmsghdr *part = CMSG_FIRSTHDR(packet); part != NULL; part = CMSG_NXTHDR(packet, part)) {
        size_t count;

        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
            continue;
        /* The kernel gives no more than fit into the control buffer; the rest it closed, with MSG_CTRUNC. */
        count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count && message->descriptor_count < WHERRY_DESCRIPTORS_MAX; i++)
            memcpy(&message->descriptors[message->descriptor_count++], CMSG_DATA(part) + i * sizeof(int), sizeof(int));
    }
}

enum received message_receive(int fd, struct message *message)
{
    union control control;
    struct iovec vector = {.iov_base = buffer, .iov_len = sizeof(buffer)};
    struct msghdr packet = {
        .msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
    ssize_t size;

    message->descriptor_count = 0;
    size = recvmsg(fd, &packet, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (size < 0)
        return errno == EAGAIN || errno == EINTR ? RECEIVED_NOTHING : RECEIVED_END;
    take_descriptors(&packet, message);
    if (size == 0 && message->descriptor_count == 0)
        return RECEIVED_END;
    if ((size_t)size < WHERRY_HEADER_SIZE || (packet.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
        message_release(message);
        return RECEIVED_MALFORMED;
    }
    memcpy(&message->header, buffer, sizeof(message->header));
    message->body = buffer + WHERRY_HEADER_SIZE;
    message->size = (size_t)size - WHERRY_HEADER_SIZE;
    if (message->header.zero != 0 || message->header.zero2 != 0) {
        message_release(message);
        return RECEIVED_MALFORMED;
    }
    return RECEIVED_MESSAGE;
}

void message_release(struct message *message)
{
    for (unsigned i = 0; i < message->descriptor_count; i++)
        close_descriptor(&message->descriptors[i]);
    message->descriptor_count = 0;
}

int message_send(int fd, enum wherry_message type, uint32_t id, const void *body, size_t size, int descriptor)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    struct wherry_header header = {.type = (uint8_t)type, .id = id};
    struct iovec vector[2] = {
        {.iov_base = &header, .iov_len = sizeof(header)},
        {.iov_base = (void *)(uintptr_t)body, .iov_len = size},
    };
    struct msghdr packet = {.msg_iov = vector, .msg_iovlen = 2};

    if (descriptor >= 0) {
        struct cmsghdr *part;

        memset(&control, 0, sizeof(control));
        packet.msg_control = &control;
        packet.msg_controllen = sizeof(control);
        part = CMSG_FIRSTHDR(&packet);
        part->cmsg_level = SOL_SOCKET;
        part->cmsg_type = SCM_RIGHTS;
        part->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(part), &descriptor, sizeof(int));
    }
    if (sendmsg(fd, &packet, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        return -errno;
    return 0;
}
