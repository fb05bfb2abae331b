#define _GNU_SOURCE
#include "request.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "cleanup.h"

/* Serves all but the longest commands without a mapping. One request is alive at a time. */
#define VECTOR_SMALL 1024

static char *vector_small[VECTOR_SMALL];

static unsigned bits(uint32_t value)
{
    return (unsigned)__builtin_popcount(value);
}

static int flags_are_valid(uint32_t flags)
{
    const uint32_t stdio = WHERRY_EXEC_STDIN | WHERRY_EXEC_STDOUT | WHERRY_EXEC_STDERR | WHERRY_EXEC_COMBINED;

    if ((flags & ~(uint32_t)WHERRY_EXEC_FLAGS) != 0)
        return 0;
    if ((flags & WHERRY_EXEC_PTY) != 0 && (flags & stdio) != 0)
        return 0;
    return (flags & WHERRY_EXEC_COMBINED) == 0 || (flags & WHERRY_EXEC_STDERR) == 0;
}

static void take_stdio(struct message *message, struct request *request)
{
    unsigned next = 0;

    for (unsigned i = 0; i < 3; i++) {
        if ((request->fixed.flags & (WHERRY_EXEC_STDIN << i)) != 0)
            request->stdio[i] = steal_descriptor(&message->descriptors[next++]);
    }
}

/* Maps the strings of a large request. Without the seals, the sender could shrink the file and kill the agent by SIGBUS. */
static int map_strings(int fd, struct request *request)
{
    const int needed = F_SEAL_SHRINK | F_SEAL_GROW;
    struct stat status;
    void *pages;
    int seals = fcntl(fd, F_GET_SEALS);

    if (seals < 0 || (seals & needed) != needed || fstat(fd, &status) < 0)
        return -1;
    if (status.st_size <= 0 || (uint64_t)status.st_size > WHERRY_LARGE_MAX)
        return -1;
    pages = mmap(NULL, (size_t)status.st_size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    if (pages == MAP_FAILED)
        return errno;
    request->mapped = pages;
    request->mapped_size = (size_t)status.st_size;
    return 0;
}

static int make_vector(struct request *request, size_t entries)
{
    void *pages;

    if (entries <= VECTOR_SMALL) {
        request->vector = vector_small;
        return 0;
    }
    pages = mmap(NULL, entries * sizeof(char *), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED)
        return errno;
    request->vector = pages;
    request->vector_size = entries * sizeof(char *);
    return 0;
}

/* Returns the string at `*at` and moves past its NUL; NULL where there is no NUL before `end`. */
static char *next_string(char **at, const char *end)
{
    char *start = *at;
    char *stop = start < end ? memchr(start, '\0', (size_t)(end - start)) : NULL;

    if (stop == NULL)
        return NULL;
    *at = stop + 1;
    return start;
}

static int split_strings(struct request *request, char *at, const char *end)
{
    size_t arguments = request->fixed.arguments;
    size_t environment = request->fixed.environment;
    size_t entry = 0;
    int failed;

    /* Each string takes a byte at least: the counts are bounded by what was really sent. */
    if (arguments < 1 || arguments > (size_t)(end - at) || environment > (size_t)(end - at))
        return -1;
    failed = make_vector(request, arguments + environment + 2);
    if (failed)
        return failed;
    request->cwd = next_string(&at, end);
    if (request->cwd == NULL)
        return -1;
    request->arguments = request->vector;
    request->environment = request->vector + arguments + 1;
    for (size_t i = 0; i < arguments + environment; i++) {
        char *text = next_string(&at, end);

        if (text == NULL)
            return -1;
        if (i == arguments)
            request->vector[entry++] = NULL;
        request->vector[entry++] = text;
    }
    if (environment == 0)
        request->vector[entry++] = NULL;
    request->vector[entry] = NULL;
    return at == end ? 0 : -1;
}

static int parse(struct message *message, struct request *request)
{
    const uint32_t stdio = WHERRY_EXEC_STDIN | WHERRY_EXEC_STDOUT | WHERRY_EXEC_STDERR;
    unsigned char *rest;
    size_t size, groups_size;
    uint32_t flags;

    if (message->size < sizeof(request->fixed))
        return -1;
    memcpy(&request->fixed, message->body, sizeof(request->fixed));
    flags = request->fixed.flags;
    if (!flags_are_valid(flags) || message->descriptor_count != bits(flags & (stdio | WHERRY_EXEC_LARGE)))
        return -1;
    if (request->fixed.groups > WHERRY_GROUPS_MAX)
        return -1;
    take_stdio(message, request);
    rest = (unsigned char *)(uintptr_t)message->body + sizeof(request->fixed);
    size = message->size - sizeof(request->fixed);
    if ((flags & WHERRY_EXEC_LARGE) != 0) {
        int failed;

        if (size != 0)
            return -1;
        failed = map_strings(message->descriptors[message->descriptor_count - 1], request);
        if (failed)
            return failed;
        rest = request->mapped;
        size = request->mapped_size;
    }
    groups_size = request->fixed.groups * sizeof(uint32_t);
    if (size < groups_size)
        return -1;
    request->groups = (const uint32_t *)(const void *)rest;
    return split_strings(request, (char *)rest + groups_size, (char *)rest + size);
}

int request_parse(struct message *message, struct request *request)
{
    int result;

    memset(request, 0, sizeof(*request));
    for (unsigned i = 0; i < 3; i++)
        request->stdio[i] = -1;
    result = parse(message, request);
    if (result != 0)
        request_release(request);
    return result;
}

void request_release(struct request *request)
{
    for (unsigned i = 0; i < 3; i++)
        close_descriptor(&request->stdio[i]);
    if (request->mapped != NULL)
        munmap(request->mapped, request->mapped_size);
    if (request->vector_size != 0)
        munmap(request->vector, request->vector_size);
    request->mapped = NULL;
    request->vector_size = 0;
}
