/* The numbers of the agent protocol. docs/agent-protocol.md explains them; _frames.py holds the same, and a test compares. */
#ifndef WHERRY_PROTOCOL_H
#define WHERRY_PROTOCOL_H

#include <stdint.h>

#define WHERRY_MAGIC 0x79726857u
#define WHERRY_VERSION 1u

#define WHERRY_MESSAGE_MAX 65536u
#define WHERRY_HEADER_SIZE 8u
#define WHERRY_LARGE_MAX (8u << 20)
#define WHERRY_GROUPS_MAX 1024u
#define WHERRY_EXECS_MAX 4096u
#define WHERRY_CLIENTS_MAX 16u
#define WHERRY_DESCRIPTORS_MAX 4u

enum wherry_message {
    WHERRY_HELLO = 1,
    WHERRY_EXEC = 2,
    WHERRY_SIGNAL = 3,
    WHERRY_CONNECT = 4,
    WHERRY_RELEASE = 5,
    WHERRY_INACTIVITY = 6,

    WHERRY_HELLO_REPLY = 128,
    WHERRY_STARTED = 129,
    WHERRY_FAILED = 130,
    WHERRY_EXITED = 131,
    WHERRY_CONNECTED = 132,
    WHERRY_ENDING = 133,
    WHERRY_ERROR = 134,
};

enum wherry_exec_flag {
    WHERRY_EXEC_STDIN = 1,
    WHERRY_EXEC_STDOUT = 2,
    WHERRY_EXEC_STDERR = 4,
    WHERRY_EXEC_COMBINED = 8,
    WHERRY_EXEC_PTY = 16,
    WHERRY_EXEC_ENTRYPOINT = 32,
    WHERRY_EXEC_LARGE = 64,
    WHERRY_EXEC_FLAGS = 127,
};

enum wherry_signal_flag {
    WHERRY_SIGNAL_TREE = 1,
    WHERRY_SIGNAL_SWEEP = 2,
    WHERRY_SIGNAL_FLAGS = 3,
};

enum wherry_feature {
    WHERRY_FEATURE_CGROUP = 1,
};

enum wherry_stage {
    WHERRY_STAGE_REQUEST = 1,
    WHERRY_STAGE_SPAWN = 2,
    WHERRY_STAGE_CGROUP = 3,
    WHERRY_STAGE_STDIO = 4,
    WHERRY_STAGE_USER = 5,
    WHERRY_STAGE_CWD = 6,
    WHERRY_STAGE_EXEC = 7,
    WHERRY_STAGE_CONNECT = 8,
};

enum wherry_reason {
    WHERRY_REASON_EXITED = 1,
    WHERRY_REASON_INACTIVE = 2,
    WHERRY_REASON_ABANDONED = 3,
};

enum wherry_error {
    WHERRY_ERROR_MALFORMED = 1,
    WHERRY_ERROR_VERSION = 2,
    WHERRY_ERROR_ID = 3,
};

struct wherry_header {
    uint8_t type;
    uint8_t zero;
    uint16_t zero2;
    uint32_t id;
};

struct wherry_hello {
    uint32_t magic;
    uint16_t version;
    uint16_t zero;
};

struct wherry_hello_reply {
    uint32_t magic;
    uint16_t version;
    uint16_t zero;
    uint32_t features;
    uint32_t execs_max;
};

struct wherry_exec {
    uint32_t flags;
    uint32_t uid;
    uint32_t gid;
    uint16_t rows;
    uint16_t columns;
    uint32_t groups;
    uint32_t arguments;
    uint32_t environment;
};

struct wherry_signal {
    uint32_t signal;
    uint32_t flags;
};

struct wherry_connect {
    uint16_t port;
    uint16_t zero;
};

struct wherry_inactivity {
    uint32_t milliseconds;
};

struct wherry_started {
    uint32_t pid;
};

struct wherry_failed {
    uint32_t number;
    uint32_t stage;
};

struct wherry_exited {
    uint32_t code;
    uint32_t signal;
    uint64_t user_us;
    uint64_t system_us;
    uint64_t peak_kib;
};

struct wherry_ending {
    uint32_t reason;
    uint32_t code;
    uint32_t signal;
};

struct wherry_error_body {
    uint32_t error;
};

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the protocol is little-endian, and so must be the machine"
#endif

#endif
