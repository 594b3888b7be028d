#include "experiments/sweep/predictions.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/files.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/io/table.h"

int ft_predictions_write(const ft_experiment *x, const char *path, const ft_videos *v, const float *prob)
{
    ft_text t;
    FT_TRY(ft_text_begin(&t));
    FILE *f = t.f;
    fprintf(f, "video,label");
    for (int c = 0; c < x->classes.n; c++) fputc(',', f), ft_csv_probability(f, x->classes.name[c]);
    fputc('\n', f);
    for (int64_t i = 0; i < v->n; i++) {
        ft_csv_field(f, x->store.video[v->video[i]].name);
        fputc(',', f);
        char *label = ft_classes_text(&x->classes, x->classes.of_video[v->video[i]]);
        if (!label) {
            ft_text_free(&t);
            return FT_FAIL(FT_ENOMEM, "no memory for predictions");
        }
        ft_csv_field(f, label);
        ft_free(label);
        for (int c = 0; c < x->classes.n; c++) fprintf(f, ",%.9g", (double)prob[i * x->classes.n + c]);
        fputc('\n', f);
    }
    return ft_text_write(&t, path);
}

typedef struct {
    const ft_experiment *x;
    const ft_videos *v;
    float *prob;
    int64_t rows; /* with the header */
} predictions;

static int not_ours(const ft_row *row, const char *what)
{
    return FT_FAIL(FT_EDATA, "%s:%d: %s. Remove its folder to compute it again", row->path, row->line, what);
}

static int take_prediction(void *ctx, const ft_row *row)
{
    predictions *p = ctx;
    const ft_classes *classes = &p->x->classes;
    int64_t i = p->rows++ - 1;
    if (row->fields != 2 + classes->n || i >= p->v->n) return not_ours(row, "not a row of these videos and classes");
    if (i < 0 && (strcmp(row->field[0], "video") || strcmp(row->field[1], "label"))) return not_ours(row, "other columns");
    for (int c = 0; i < 0 && c < classes->n; c++)
        if (strncmp(row->field[2 + c], "p_", 2) || strcmp(row->field[2 + c] + 2, classes->name[c]))
            return not_ours(row, "other classes");
    if (i < 0) return FT_OK;
    int64_t video = p->v->video[i];
    const char *name = p->x->store.video[video].name;
    char *label = ft_classes_text(classes, classes->of_video[video]);
    int rc = !label ? FT_FAIL(FT_ENOMEM, "no memory for predictions") : FT_OK;
    if (label && (strcmp(row->field[0], name) || strcmp(row->field[1], label)))
        rc = FT_FAIL(FT_EDATA,
                     "%s:%d: video %s (%s), %s (%s) expected: another video or label than in this list. Remove its folder to "
                     "compute it again",
                     row->path, row->line, row->field[0], row->field[1], name, label);
    ft_free(label);
    FT_TRY(rc);
    for (int c = 0; c < classes->n; c++) {
        char *end;
        float value = strtof(row->field[2 + c], &end);
        if (*end || end == row->field[2 + c] || !isfinite(value)) return not_ours(row, "not a number");
        p->prob[i * classes->n + c] = value;
    }
    return FT_OK;
}

int ft_predictions_read(const ft_experiment *x, const char *path, const ft_videos *v, float *prob)
{
    predictions p = {x, v, prob, 0};
    FT_TRY(ft_table_read(path, 0, ',', take_prediction, &p));
    if (p.rows == v->n + 1) return FT_OK;
    return FT_FAIL(FT_EDATA, "%s: %lld of %lld rows. Remove its folder to compute it again", path, (long long)p.rows - 1,
                   (long long)v->n);
}
