/* Which of a library's algorithms computes what. A choice is made once for each thing that is computed; it holds for the
 * program's life and, through `agree` (kernels/device.h), for every process of a run: sums in another order are other numbers. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/runtime.h"

typedef struct choice {
    struct choice *next;
    char what[FT_CHOICE], name[FT_CHOICE];
} choice;

static choice *all;
static char *text; /* what is said of them: a line each */
static size_t used, room;
static ft_agree *agree;
static void *with;

void ft_cuda_agree(ft_agree *f, void *context) { agree = f, with = context; }

void ft_cuda_forget(void)
{
    while (all) {
        choice *c = all;
        all = c->next;
        free(c);
    }
    free(text);
    text = NULL, used = room = 0;
}

const char *ft_cuda_choices(void) { return text ? text : ""; }

void ft_cuda_chose(const char *format, ...)
{
    char line[FT_CHOICE + 400];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line - 1, format, args);
    va_end(args);
    if (n > (int)sizeof line - 2) n = (int)sizeof line - 2;
    line[n] = '\n', line[n + 1] = 0;
    for (const char *known = ft_cuda_choices(); n >= 0 && (known = strstr(known, line)); known++)
        if (known == text || known[-1] == '\n') return; /* said already */
    if (used + (size_t)n + 2 > room) {
        char *more = realloc(text, 2 * (used + (size_t)n + 2));
        if (!more) return;
        text = more, room = 2 * (used + (size_t)n + 2);
    }
    memcpy(text + used, line, (size_t)n + 2);
    used += (size_t)n + 1;
}

static choice *find(const char *what)
{
    choice *c = all;
    while (c && strcmp(c->what, what)) c = c->next;
    return c;
}

static choice *keep(const char *what, const char *name)
{
    choice *c = find(what);
    if (!c) {
        if (!(c = calloc(1, sizeof *c))) return NULL;
        snprintf(c->what, sizeof c->what, "%s", what);
        c->next = all, all = c;
    }
    snprintf(c->name, sizeof c->name, "%s", name);
    return c;
}

const char *ft_cuda_choice(const char *what)
{
    char held[FT_CHOICE];
    choice *c = find(what);
    if (!c && agree && agree(with, ft_cuda_identity(), what, NULL, held) && (c = keep(what, held)))
        ft_cuda_chose("%s: as chosen before", what);
    return c && *c->name ? c->name : NULL;
}

const char *ft_cuda_choose(const char *what, const char *name, const char *how)
{
    char held[FT_CHOICE];
    bool theirs = !find(what) && agree && agree(with, ft_cuda_identity(), what, name, held) && strcmp(held, name) != 0;
    ft_cuda_chose("%s: %s%s", what, how, theirs ? ", but another process was faster: its choice" : "");
    choice *c = keep(what, theirs ? held : name);
    return c ? c->name : name;
}

/* Kept without a name, so that what is chosen now is of this process alone. */
void ft_cuda_cannot(const char *what)
{
    keep(what, "");
    ft_cuda_chose("%s: what was chosen before does not run here; chosen again, sums may differ from those of before", what);
}
