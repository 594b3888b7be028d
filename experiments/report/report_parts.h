/* The parts of report.html, each written to `f` where it stands. */
#ifndef FT_REPORT_PARTS_H
#define FT_REPORT_PARTS_H

#include <stdint.h>
#include <stdio.h>

#include "experiments/arms/results.h"

/* pieces (report_html.c) */
void ft_html_style(FILE *f);
void ft_html_text(FILE *f, const char *text); /* with < > & " as entities */
void ft_html_base64(FILE *f, const uint8_t *bytes, size_t n);
/* A table whose rows become cards on a narrow screen: heads as one string, "arm|runs|F1". */
typedef struct {
    FILE *f;
    const char *heads, *at;
} ft_html_table;
ft_html_table ft_html_table_begin(FILE *f, const char *heads);
void ft_html_row(ft_html_table *t, bool bad);
void ft_html_cell(ft_html_table *t, const char *format, ...) __attribute__((format(printf, 2, 3))); /* text, or HTML entities */
void ft_html_name(ft_html_table *t, const char *name, const char *more);                            /* escaped */
void ft_html_table_end(ft_html_table *t);
extern const char *const ft_hue[]; /* colours of the arms in plots */
enum { FT_HUES = 10 };
void ft_html_legend(FILE *f, const ft_result *r);

/* tables (report_tables.c) */
void ft_report_verdicts(FILE *f, const ft_result *r); /* of the run, then a plain sentence for each arm (verdict.h) */
void ft_report_scores(FILE *f, const ft_result *r);
void ft_report_classes(FILE *f, const ft_result *r); /* where a video may have several labels: each by itself */
void ft_report_worth(FILE *f, const ft_result *r);
void ft_report_differences(FILE *f, const ft_result *r);
void ft_report_confounds(FILE *f, const ft_result *r);
void ft_report_cost(FILE *f, const ft_result *r);
void ft_report_making(FILE *f, const ft_result *r); /* settings, machine, versions, licences, downloads */

/* plots: HTML where there is text beside a line (it stays readable on a phone), SVG elsewhere */
void ft_report_f1(FILE *f, const ft_result *r);     /* (report_charts.c) interval, mean and every run of each arm */
void ft_report_forest(FILE *f, const ft_result *r); /* paired differences */
void ft_report_labels(FILE *f, const ft_result *r); /* the label-efficiency curve, and arms where they are read off it */
void ft_report_price(FILE *f, const ft_result *r);  /* time against F1 */
void ft_report_training(FILE *f, const ft_result *r);
int ft_report_curves(FILE *f, const ft_result *r); /* (report_curves.c) ROC, precision and recall, reliability */

/* clips that play, generated ones above their nearest real ones (report_clips.c) */
int ft_report_clips(FILE *f, const ft_result *r);

#endif
