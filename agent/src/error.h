/* What went wrong: filled by a function that returns a negative value, untouched on success. */
#ifndef WHERRY_ERROR_H
#define WHERRY_ERROR_H

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

struct error {
    int number;     /* errno, or 0 */
    char text[256]; /* what was being done, on what */
};

/* Fills `err` and returns -1, so that a caller can write `return fail(err, errno, "...")`. */
__attribute__((format(printf, 3, 4))) static inline int fail(struct error *err, int number, const char *format, ...)
{
    va_list arguments;

    err->number = number;
    va_start(arguments, format);
    vsnprintf(err->text, sizeof(err->text), format, arguments);
    va_end(arguments);
    return -1;
}

#endif
