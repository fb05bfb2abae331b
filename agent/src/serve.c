#define _GNU_SOURCE
#include "serve.h"

#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>

#include "cleanup.h"
#include "clients.h"
#include "life.h"
#include "request.h"
#include "spawn.h"
#include "table.h"
#include "terminal.h"
#include "tree.h"

static uint32_t features;

void serve_init(int tree_by_cgroup)
{
    features = tree_by_cgroup ? WHERRY_FEATURE_CGROUP : 0;
}

uint32_t serve_features(void)
{
    return features;
}

static void refuse(unsigned client, uint32_t id, int number, enum wherry_stage stage)
{
    struct wherry_failed failed = {.number = (uint32_t)number, .stage = stage};

    clients_reply(client, WHERRY_FAILED, id, &failed, sizeof(failed), -1);
}

static void start(unsigned client, uint32_t id, const struct request *request)
{
    autoclose int master = -1;
    autoclose int slave = -1;
    struct wherry_failed failed;
    struct wherry_started started;
    struct exec *exec;
    pid_t pid;
    int tree;

    if ((request->fixed.flags & WHERRY_EXEC_PTY) != 0) {
        int number = terminal_open(request->fixed.rows, request->fixed.columns, &master, &slave);

        if (number < 0) {
            refuse(client, id, -number, WHERRY_STAGE_STDIO);
            return;
        }
    }
    tree = tree_acquire();
    if (tree < 0) {
        refuse(client, id, -tree, WHERRY_STAGE_CGROUP);
        return;
    }
    pid = spawn(request, slave, tree_procs(tree), &failed);
    if (pid == 0) {
        tree_release(tree);
        clients_reply(client, WHERRY_FAILED, id, &failed, sizeof(failed), -1);
        return;
    }
    exec = table_add(pid, (int)client, id);
    exec->tree = tree;
    if ((request->fixed.flags & WHERRY_EXEC_ENTRYPOINT) != 0) {
        exec->entrypoint = 1;
        life_set_entrypoint(pid, tree);
    }
    started.pid = (uint32_t)pid;
    clients_reply(client, WHERRY_STARTED, id, &started, sizeof(started), steal_descriptor(&master));
}

static int serve_exec(unsigned client, struct message *message)
{
    uint32_t id = message->header.id;
    struct request request;
    int result;

    if (id == 0 || table_find_id((int)client, id) != NULL)
        return WHERRY_ERROR_ID;
    result = request_parse(message, &request);
    if (result < 0)
        return WHERRY_ERROR_MALFORMED;
    if (result > 0) {
        refuse(client, id, result, WHERRY_STAGE_REQUEST);
        return 0;
    }
    if ((request.fixed.flags & WHERRY_EXEC_ENTRYPOINT) != 0 && life_has_entrypoint()) {
        request_release(&request);
        return WHERRY_ERROR_ID;
    }
    if (table_live() == (int)WHERRY_EXECS_MAX)
        refuse(client, id, EAGAIN, WHERRY_STAGE_REQUEST);
    else
        start(client, id, &request);
    request_release(&request);
    return 0;
}

static int serve_signal(unsigned client, const struct message *message)
{
    struct wherry_signal body;
    struct exec *exec;

    if (message->size != sizeof(body) || message->descriptor_count != 0)
        return WHERRY_ERROR_MALFORMED;
    memcpy(&body, message->body, sizeof(body));
    if (body.signal < 1 || body.signal > 64 || (body.flags & ~(uint32_t)WHERRY_SIGNAL_FLAGS) != 0)
        return WHERRY_ERROR_MALFORMED;
    if (message->header.id == 0) {
        life_signal_entrypoint((int)body.signal, (body.flags & WHERRY_SIGNAL_TREE) != 0);
        return 0;
    }
    exec = table_find_id((int)client, message->header.id);
    if (exec == NULL || exec->exited)
        return 0;
    if ((body.flags & WHERRY_SIGNAL_SWEEP) != 0)
        exec->sweep = 1;
    if ((body.flags & WHERRY_SIGNAL_TREE) != 0)
        tree_signal(exec->tree, exec->pid, (int)body.signal);
    else
        kill(exec->pid, (int)body.signal);
    return 0;
}

/* Not waited for: a connection still under way is the client's to wait for, and holds nothing up here. */
static int dial(uint16_t port)
{
    const struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const struct sockaddr_in6 address6 = {
        .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int number;
    autoclose int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    autoclose int fd6 = -1;

    if (fd < 0)
        return -errno;
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0 || errno == EINPROGRESS)
        return steal_descriptor(&fd);
    number = errno;
    /* A refusal is answered at once on loopback; a server that listens on ::1 alone is the one other place to look. */
    if (number == ECONNREFUSED) {
        fd6 = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd6 >= 0 &&
            (connect(fd6, (const struct sockaddr *)&address6, sizeof(address6)) == 0 || errno == EINPROGRESS))
            return steal_descriptor(&fd6);
    }
    return -number;
}

static int serve_connect(unsigned client, const struct message *message)
{
    struct wherry_connect body;
    int fd;

    if (message->size != sizeof(body) || message->descriptor_count != 0)
        return WHERRY_ERROR_MALFORMED;
    memcpy(&body, message->body, sizeof(body));
    if (message->header.id == 0 || body.port == 0 || body.zero != 0)
        return WHERRY_ERROR_MALFORMED;
    fd = dial(body.port);
    if (fd < 0) {
        refuse(client, message->header.id, -fd, WHERRY_STAGE_CONNECT);
        return 0;
    }
    clients_hold_port(client, 1);
    clients_reply(client, WHERRY_CONNECTED, message->header.id, NULL, 0, fd);
    return 0;
}

static int serve_inactivity(const struct message *message)
{
    struct wherry_inactivity body;

    if (message->size != sizeof(body) || message->descriptor_count != 0)
        return WHERRY_ERROR_MALFORMED;
    memcpy(&body, message->body, sizeof(body));
    life_set_inactivity(body.milliseconds);
    return 0;
}

int serve(unsigned client, struct message *message)
{
    switch (message->header.type) {
    case WHERRY_EXEC:
        return serve_exec(client, message);
    case WHERRY_SIGNAL:
        return serve_signal(client, message);
    case WHERRY_CONNECT:
        return serve_connect(client, message);
    case WHERRY_RELEASE:
        if (message->size != 0 || message->descriptor_count != 0)
            return WHERRY_ERROR_MALFORMED;
        clients_hold_port(client, -1);
        return 0;
    case WHERRY_INACTIVITY:
        return serve_inactivity(message);
    default:
        return WHERRY_ERROR_MALFORMED;
    }
}
