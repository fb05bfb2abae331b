#define _GNU_SOURCE
#include "clients.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "cleanup.h"
#include "serve.h"
#include "tree.h"

/* Messages of one client that are handled before others, and exits, get their turn. */
#define MESSAGES_AT_ONCE 8

#define REPLY_MAX 32

struct reply {
    enum wherry_message type; /* 0 where there is none */
    uint32_t id;
    unsigned char body[REPLY_MAX];
    size_t size;
    int descriptor;
};

struct client {
    int fd;      /* -1 where the slot is free */
    int greeted; /* HELLO has come */
    int blocked; /* a send failed for want of room: nothing is read until it can be written to */
    int ports;
    struct reply waiting;
};

static struct {
    int epoll;
    int listener;
    int full; /* the listener is not watched, since all slots are taken */
    struct client clients[WHERRY_CLIENTS_MAX];
} context;

static void watch(int operation, int fd, uint32_t events, uint32_t number)
{
    struct epoll_event event = {.events = events, .data.u32 = number};

    epoll_ctl(context.epoll, operation, fd, &event);
}

void clients_init(int epoll, int listener)
{
    context.epoll = epoll;
    context.listener = listener;
    for (unsigned i = 0; i < WHERRY_CLIENTS_MAX; i++)
        context.clients[i].fd = -1;
    watch(EPOLL_CTL_ADD, listener, EPOLLIN, CLIENTS_LISTENER);
}

/* A process inside the container has a pid here; one outside shows as 0. The socket has no name in there, so this
 * refuses what should be impossible already. */
static int is_outside(int fd)
{
    struct ucred peer;
    socklen_t size = sizeof(peer);

    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.pid == 0;
}

void clients_accept(void)
{
    for (unsigned i = 0; i < WHERRY_CLIENTS_MAX; i++) {
        autoclose int fd = -1;

        if (context.clients[i].fd >= 0)
            continue;
        fd = accept4(context.listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0 || !is_outside(fd))
            return;
        watch(EPOLL_CTL_ADD, fd, EPOLLIN, i);
        context.clients[i] = (struct client){.fd = steal_descriptor(&fd), .waiting.descriptor = -1};
        return;
    }
    watch(EPOLL_CTL_DEL, context.listener, 0, CLIENTS_LISTENER);
    context.full = 1;
}

/* All that the client had started ends with its connection, except the entrypoint. */
static void drop(unsigned number)
{
    struct client *client = &context.clients[number];

    close_descriptor(&client->fd);
    close_descriptor(&client->waiting.descriptor);
    client->ports = 0;
    for (struct exec *exec = table_next(NULL); exec != NULL; exec = table_next(exec)) {
        if (exec->client != (int)number)
            continue;
        if (exec->exited) {
            table_remove(exec);
            continue;
        }
        exec->sweep = !exec->entrypoint;
        if (exec->sweep)
            tree_signal(exec->tree, exec->pid, SIGKILL);
        table_orphan(exec);
    }
    if (context.full) {
        context.full = 0;
        watch(EPOLL_CTL_ADD, context.listener, EPOLLIN, CLIENTS_LISTENER);
    }
}

static void block(unsigned number)
{
    context.clients[number].blocked = 1;
    watch(EPOLL_CTL_MOD, context.clients[number].fd, EPOLLOUT, number);
}

void clients_reply(unsigned number, enum wherry_message type, uint32_t id, const void *body, size_t size,
                   int descriptor)
{
    struct client *client = &context.clients[number];
    autoclose int owned = descriptor;
    int failed = message_send(client->fd, type, id, body, size, owned);

    /* Other errors mean that the connection has ended: its end of file comes next. */
    if (failed != -EAGAIN)
        return;
    client->waiting = (struct reply){.type = type, .id = id, .size = size, .descriptor = steal_descriptor(&owned)};
    if (size > 0)
        memcpy(client->waiting.body, body, size);
    block(number);
}

void clients_report(struct exec *exec)
{
    struct client *client = &context.clients[exec->client];

    if (client->blocked)
        return;
    if (message_send(client->fd, WHERRY_EXITED, exec->id, &exec->record, sizeof(exec->record), -1) == -EAGAIN) {
        block((unsigned)exec->client);
        return;
    }
    table_remove(exec);
}

/* The client reads again: first the answer that waits, then the exits that came meanwhile. */
static void resume(unsigned number)
{
    struct client *client = &context.clients[number];
    struct reply waiting = client->waiting;

    client->blocked = 0;
    client->waiting = (struct reply){.descriptor = -1};
    if (waiting.type != 0)
        clients_reply(number, waiting.type, waiting.id, waiting.body, waiting.size, waiting.descriptor);
    for (struct exec *exec = table_next(NULL); exec != NULL && !client->blocked; exec = table_next(exec)) {
        if (exec->client == (int)number && exec->exited)
            clients_report(exec);
    }
    if (!client->blocked)
        watch(EPOLL_CTL_MOD, client->fd, EPOLLIN, number);
}

static int greet(unsigned number, const struct message *message)
{
    struct wherry_hello hello;
    struct wherry_hello_reply reply = {.magic = WHERRY_MAGIC, .version = WHERRY_VERSION};

    if (message->header.type != WHERRY_HELLO || message->size != sizeof(hello) || message->descriptor_count != 0)
        return WHERRY_ERROR_VERSION;
    memcpy(&hello, message->body, sizeof(hello));
    if (hello.magic != WHERRY_MAGIC || hello.version != WHERRY_VERSION)
        return WHERRY_ERROR_VERSION;
    context.clients[number].greeted = 1;
    reply.features = serve_features();
    reply.execs_max = WHERRY_EXECS_MAX;
    clients_reply(number, WHERRY_HELLO_REPLY, 0, &reply, sizeof(reply), -1);
    return 0;
}

/* Returns whether the client may be asked for more. */
static int handle_one(unsigned number)
{
    struct client *client = &context.clients[number];
    struct message message;
    struct wherry_error_body body;
    int error = WHERRY_ERROR_MALFORMED;

    switch (message_receive(client->fd, &message)) {
    case RECEIVED_NOTHING:
        return 0;
    case RECEIVED_END:
        drop(number);
        return 0;
    case RECEIVED_MALFORMED:
        break;
    case RECEIVED_MESSAGE:
        error = client->greeted ? serve(number, &message) : greet(number, &message);
        message_release(&message);
        break;
    }
    if (error == 0)
        return !client->blocked;
    body.error = (uint32_t)error;
    message_send(client->fd, WHERRY_ERROR, 0, &body, sizeof(body), -1);
    drop(number);
    return 0;
}

void clients_event(unsigned number, uint32_t events)
{
    struct client *client = &context.clients[number];

    if (client->fd < 0)
        return;
    if (client->blocked) {
        if ((events & (EPOLLERR | EPOLLHUP)) != 0)
            drop(number);
        else if ((events & EPOLLOUT) != 0)
            resume(number);
        return;
    }
    for (int i = 0; i < MESSAGES_AT_ONCE; i++) {
        if (!handle_one(number))
            return;
    }
}

void clients_hold_port(unsigned number, int change)
{
    context.clients[number].ports += change;
    if (context.clients[number].ports < 0)
        context.clients[number].ports = 0;
}

int clients_ports(void)
{
    int ports = 0;

    for (unsigned i = 0; i < WHERRY_CLIENTS_MAX; i++)
        ports += context.clients[i].ports;
    return ports;
}

void clients_end(const struct wherry_ending *ending)
{
    for (unsigned i = 0; i < WHERRY_CLIENTS_MAX; i++) {
        if (context.clients[i].fd >= 0)
            message_send(context.clients[i].fd, WHERRY_ENDING, 0, ending, sizeof(*ending), -1);
    }
}
