#include "common/base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/base/context_parts.h"
#include "common/base/names.h"

bool ft_log_quiet(bool quiet)
{
    ft_context *c = ft__context();
    bool before = c->log.hushed;
    c->log.hushed = quiet;
    return before;
}

void ft_log_no_bars(void)
{
    ft_context *c = ft__context();
    if (c->log.level < FT_LOG_NOTE) c->log.level = FT_LOG_NOTE;
}

void ft_log_copy(const char *path)
{
    ft_context *c = ft__context();
    pthread_mutex_lock(&c->log.lock);
    if (c->log.copy) fclose(c->log.copy);
    c->log.copy = path ? fopen(path, "ae") : NULL; /* a log that cannot be written stops nothing */
    pthread_mutex_unlock(&c->log.lock);
}

static bool heard(const ft_context *c, ft_log_level level) { return !c->log.hushed && level >= c->log.level; }

static void clear_bar(ft_context *c)
{
    if (c->log.bar_on_screen) fputs("\r\033[K", stderr);
    c->log.bar_on_screen = false;
}

static void line(ft_log_level level, const char *format, va_list args)
{
    ft_context *c = ft__context();
    char given[1024], text[2048];
    const char *prefix = level == FT_LOG_WARNING ? "warning: " : "";
    vsnprintf(given, sizeof given, format, args);
    ft_printable(text, sizeof text, given, true);
    pthread_mutex_lock(&c->log.lock);
    if (c->log.copy) {
        char when[40];
        time_t now = time(NULL);
        struct tm t;
        strftime(when, sizeof when, "%F %T", localtime_r(&now, &t));
        fprintf(c->log.copy, "%s %s%s\n", when, prefix, text);
        fflush(c->log.copy);
    }
    if (heard(c, level) && c->log.sink) c->log.sink(c->log.user, level, text);
    else if (heard(c, level)) {
        clear_bar(c);
        fprintf(stderr, "forty: %s%s\n", prefix, text);
    }
    pthread_mutex_unlock(&c->log.lock);
}

void ft_log(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    line(FT_LOG_NOTE, format, args);
    va_end(args);
}

void ft_warn(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    line(FT_LOG_WARNING, format, args);
    va_end(args);
}

double ft_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void ft_show_time(char *out, size_t size, double s)
{
    if (s < 60) snprintf(out, size, "%.0f s", s);
    else if (s < 3600) snprintf(out, size, "%d:%02d min", (int)s / 60, (int)s % 60);
    else snprintf(out, size, "%d:%02d h", (int)s / 3600, (int)s / 60 % 60);
}

void ft_progress_start(ft_progress *p, const char *what, int64_t total)
{
    memset(p, 0, sizeof *p);
    p->what = what;
    p->total = total;
    p->start = p->last = ft_now();
}

/* whether a bar is drawn; else lines are written */
static bool on_terminal(const ft_context *c) { return !c->log.sink && isatty(2); }

static void draw(ft_context *c, ft_progress *p, int64_t done, bool last)
{
    double now = ft_now(), spent = now - p->start, rate = spent > 0 ? (double)done / spent : 0;
    char left[32], note[112] = "";
    ft_show_time(left, sizeof left, last ? spent : rate > 0 ? (double)(p->total - done) / rate : 0);
    if (p->note[0]) snprintf(note, sizeof note, " · %s", p->note);
    const char *when = last ? "in" : "left";
    pthread_mutex_lock(&c->log.lock);
    if (on_terminal(c)) {
        char bar[21];
        int full = p->total > 0 ? (int)(20 * done / p->total) : 0;
        for (int i = 0; i < 20; i++) bar[i] = i < full ? '#' : '.';
        bar[20] = 0;
        fprintf(stderr, "\r\033[K%s [%s] %lld/%lld · %.3g/s · %s %s%s%s", p->what, bar, (long long)done, (long long)p->total,
                rate, left, when, note, last ? "\n" : "");
        c->log.bar_on_screen = !last;
    } else {
        char text[400];
        snprintf(text, sizeof text, "%s %lld/%lld, %.3g/s, %s %s%s", p->what, (long long)done, (long long)p->total, rate, left,
                 when, note);
        if (c->log.sink) c->log.sink(c->log.user, FT_LOG_PROGRESS, text);
        else fprintf(stderr, "forty: %s\n", text);
    }
    pthread_mutex_unlock(&c->log.lock);
    p->last = now;
    p->shown = true;
}

void ft_progress_step(ft_progress *p, int64_t done)
{
    ft_context *c = ft__context();
    double now = ft_now();
    if (!heard(c, FT_LOG_PROGRESS) || now - p->start < 2.0) return;
    if (now - p->last >= (on_terminal(c) ? 0.2 : 20.0)) draw(c, p, done, false);
}

void ft_progress_end(ft_progress *p, int64_t done)
{
    ft_context *c = ft__context();
    if (heard(c, FT_LOG_PROGRESS) && (p->shown || ft_now() - p->start >= 2.0)) draw(c, p, done, true);
}
