#include "common/base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/base/names.h"

static bool is_quiet, no_bars;
static FILE *copy;         /* of log lines */
static bool bar_on_screen; /* a bar stands on the last terminal line: clear it before any other text */

bool ft_log_quiet(bool quiet)
{
    bool before = is_quiet;
    is_quiet = quiet;
    return before;
}
void ft_log_no_bars(void) { no_bars = true; }

void ft_log_copy(const char *path)
{
    if (copy) fclose(copy);
    copy = path ? fopen(path, "ae") : NULL; /* a log that cannot be written stops nothing */
}

static void clear_bar(void)
{
    if (bar_on_screen) fputs("\r\033[K", stderr);
    bar_on_screen = false;
}

static void line(const char *prefix, const char *format, va_list args)
{
    char given[1024], text[2048];
    vsnprintf(given, sizeof given, format, args);
    ft_printable(text, sizeof text, given, true);
    if (copy) {
        char when[40];
        time_t now = time(NULL);
        struct tm t;
        strftime(when, sizeof when, "%F %T", localtime_r(&now, &t));
        fprintf(copy, "%s %s%s\n", when, prefix, text);
        fflush(copy);
    }
    if (is_quiet) return;
    clear_bar();
    fprintf(stderr, "forty: %s%s\n", prefix, text);
}

void ft_log(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    line("", format, args);
    va_end(args);
}

void ft_warn(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    line("warning: ", format, args);
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

static void draw(ft_progress *p, int64_t done, bool last)
{
    double now = ft_now(), spent = now - p->start, rate = spent > 0 ? (double)done / spent : 0;
    char left[32], note[112] = "";
    ft_show_time(left, sizeof left, last ? spent : rate > 0 ? (double)(p->total - done) / rate : 0);
    if (p->note[0]) snprintf(note, sizeof note, " · %s", p->note);
    const char *when = last ? "in" : "left";
    if (isatty(2)) {
        char bar[21];
        int full = p->total > 0 ? (int)(20 * done / p->total) : 0;
        for (int i = 0; i < 20; i++) bar[i] = i < full ? '#' : '.';
        bar[20] = 0;
        fprintf(stderr, "\r\033[K%s [%s] %lld/%lld · %.3g/s · %s %s%s%s", p->what, bar, (long long)done, (long long)p->total,
                rate, left, when, note, last ? "\n" : "");
        bar_on_screen = !last;
    } else {
        fprintf(stderr, "forty: %s %lld/%lld, %.3g/s, %s %s%s\n", p->what, (long long)done, (long long)p->total, rate, left, when,
                note);
    }
    p->last = now;
    p->shown = true;
}

void ft_progress_step(ft_progress *p, int64_t done)
{
    double now = ft_now();
    if (is_quiet || no_bars || now - p->start < 2.0) return;
    if (now - p->last >= (isatty(2) ? 0.2 : 20.0)) draw(p, done, false);
}

void ft_progress_end(ft_progress *p, int64_t done)
{
    if (!is_quiet && !no_bars && (p->shown || ft_now() - p->start >= 2.0)) draw(p, done, true);
}
