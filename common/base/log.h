/* Log lines and progress of the context that the thread is in (context.h): on standard error, or to whom it names. Results go to
 * standard output and never through here. */
#ifndef FT_LOG_H
#define FT_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Also the least that a context lets through. */
typedef enum { FT_LOG_PROGRESS, FT_LOG_NOTE, FT_LOG_WARNING, FT_LOG_NOTHING } ft_log_level;
/* Gets one line at a time, without its end; progress at most every 20 s. It logs nothing itself. */
typedef void ft_log_sink(void *user, ft_log_level level, const char *text);

bool ft_log_quiet(bool quiet);                                               /* no log lines, no progress; what was */
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
