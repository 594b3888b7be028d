/* Log lines and progress, on standard error. Results go to standard output and never through here. */
#ifndef FT_LOG_H
#define FT_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

bool ft_log_quiet(bool quiet);                                               /* --quiet: no log lines, no progress; what was */
void ft_log_copy(const char *path);                                          /* also appended to a file, with times; NULL: end */
void ft_log_no_bars(void);                                                   /* log lines alone: one of many workers */
void ft_log(const char *format, ...) __attribute__((format(printf, 1, 2)));  /* "forty: TEXT" */
void ft_warn(const char *format, ...) __attribute__((format(printf, 1, 2))); /* "forty: warning: TEXT" */

double ft_now(void);                                       /* seconds, monotonic */
void ft_show_time(char *out, size_t size, double seconds); /* "12 s", "3:20 min", "1:05 h" */

/* A bar on a terminal for work that lasts over 2 s, a plain line every 20 s elsewhere. */
typedef struct {
    const char *what;
    int64_t total;
    double start, last;
    bool shown;
    char note[96]; /* for example the loss; shown after the time left */
} ft_progress;

void ft_progress_start(ft_progress *p, const char *what, int64_t total);
void ft_progress_step(ft_progress *p, int64_t done);
void ft_progress_end(ft_progress *p, int64_t done);

#endif
