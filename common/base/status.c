#include "common/base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/names.h"

static _Thread_local char message[2048];
static _Thread_local char place[160];

int ft_fail(int code, const char *file, int line, const char *format, ...)
{
    char text[sizeof message]; /* the arguments may point into `message` */
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    ft_printable(message, sizeof message, text, true); /* names in it may hold anything */
    snprintf(place, sizeof place, "%s:%d", file, line);
    return code;
}

const char *ft_error_message(void) { return message; }
const char *ft_error_place(void) { return place; }

const char *ft_status_text(int code)
{
    switch (code) {
#define X(name, value, text)                                                                                                     \
    case name: return text;
        FT_STATUS_TABLE(X)
#undef X
    }
    return "unknown status";
}

void ft_assert_failed(const char *file, int line, const char *what)
{
    fprintf(stderr, "forty: internal error: %s at %s:%d. This is a fault of forty: please report it with the command\n", what,
            file, line);
    abort();
}
