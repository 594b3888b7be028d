#include "common/base/context.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/context_parts.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/base/threads.h"

static _Thread_local ft_context *entered, defaults = {.log.lock = PTHREAD_MUTEX_INITIALIZER, .device.wish = "cpu"};

ft_context *ft__context(void) { return entered ? entered : &defaults; }
ft_context *ft_context_entered(void) { return entered; }

int ft__context_device(ft_context *c, const char *name)
{
    char *end = "";
    if (!strncmp(name, "cuda:", 5) && name[5]) strtol(name + 5, &end, 10);
    else if (strcmp(name, "cpu") && strcmp(name, "cuda") && strcmp(name, "auto")) end = "?";
    if (*end) return FT_FAIL(FT_ECONFIG, "device '%s': auto, cpu, cuda or cuda:N", name);
    snprintf(c->device.wish, sizeof c->device.wish, "%s", name);
    return FT_OK;
}

int ft_context_new(ft_context **out, ft_context_opt opt)
{
    ft_context *c = *out = ft_alloc(sizeof *c);
    if (!c) return FT_FAIL(FT_ENOMEM, "no memory for a context");
    c->log.sink = opt.log, c->log.user = opt.user, c->log.level = opt.level;
    pthread_mutex_init(&c->log.lock, NULL);
    ft__context_threads(c, opt.threads ? opt.threads : entered ? defaults.threads.planned : ft_threads_get());
    int rc = ft__context_device(c, opt.device ? opt.device : "cpu");
    if (rc < 0) ft_context_free(c), *out = NULL;
    return rc;
}

void ft_context_free(ft_context *c)
{
    if (!c) return;
    if (c == entered) ft_context_enter(NULL);
    if (c->log.copy) fclose(c->log.copy);
    pthread_mutex_destroy(&c->log.lock);
    ft_free(c);
}

ft_context *ft_context_enter(ft_context *c)
{
    ft_context *before = entered;
    if (c == before) return before;
    if (!before) defaults.threads.planned = ft_threads_get(); /* what OpenMP was set to, to come back to */
    entered = c;
    ft__context_compute(ft__context());
    return before;
}
