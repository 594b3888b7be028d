#include "classify/clip_features.h"

#include <stdlib.h>
#include <string.h>

#include "classify/augment.h"
#include "common/base/interrupt.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/status.h"

enum { TOGETHER = 64 }; /* clips between two steps of the progress bar */

static void draw(const ft_clipstore *s, ft_views kind, bool strong, int k, int64_t clip, ft_look *look)
{
    float cutout[3 * 256];
    ft_draw_view(strong, kind, s->frames, s->size, 0xFEA, (uint64_t)k, (uint32_t)clip, look->view, cutout);
    memcpy(look->cutout, cutout, sizeof look->cutout); /* the same in every frame */
}

/* one pass over clips into out: row i of it, `apart` values behind the one before */
static int pass(ft_backbone *b, const ft_clipstore *s, const int64_t *clip, int64_t n, ft_views views, int kind, int k,
                float *out, int64_t apart, ft_progress *bar, int64_t *done)
{
    int64_t dim[3];
    ft_backbone_shape(b, dim);
    int64_t each = dim[0] * dim[1] * dim[2];
    ft_look *look = ft_alloc_n(TOGETHER, sizeof *look);
    float *some = ft_alloc_n(TOGETHER, (size_t)each * sizeof *some);
    int rc = look && some ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for features");
    for (int64_t at = 0; rc == FT_OK && at < n; at += TOGETHER) {
        int64_t m = n - at < TOGETHER ? n - at : TOGETHER;
        for (int64_t i = 0; kind && i < m; i++) draw(s, views, kind == 2, k, clip[at + i], &look[i]);
        rc = ft_backbone_run(b, s, clip + at, kind ? look : NULL, m, some);
        for (int64_t i = 0; rc == FT_OK && i < m; i++)
            memcpy(out + (at + i) * apart, some + i * each, (size_t)each * sizeof *out);
        if (rc == FT_OK && ft_interrupted) rc = FT_FAIL(FT_EINTERRUPTED, "interrupted");
        ft_progress_step(bar, *done += m);
    }
    ft_free(look);
    ft_free(some);
    return rc;
}

int ft_clip_features_make(ft_backbone *b, const ft_clipstore *s, const bool *viewed, int views, ft_views drawn, const char *path)
{
    int64_t dim[3], n = s->n_clip, m = 0, done = 0, each;
    ft_backbone_shape(b, dim);
    each = dim[0] * dim[1] * dim[2];
    for (int64_t i = 0; i < n; i++) m += viewed[i];
    int64_t *clip = ft_alloc_n(n + 1, 2 * sizeof *clip), *some = clip ? clip + n + 1 : NULL;
    int32_t *row = ft_alloc_n(n + 1, sizeof *row);
    size_t value = (size_t)each * sizeof(float);
    float *clean = ft_alloc_n(n + 1, value), *weak = ft_alloc_n(m * views + 1, value), *strong = ft_alloc_n(m * views + 1, value);
    int rc = clip && row && clean && weak && strong
                 ? FT_OK
                 : FT_FAIL(FT_ENOMEM, "no memory for the features of %lld clips", (long long)n);
    m = 0;
    for (int64_t i = 0; rc == FT_OK && i < n; i++) {
        clip[i] = i, row[i] = viewed[i] ? (int32_t)m : -1;
        if (viewed[i]) some[m++] = i;
    }
    ft_progress bar;
    int64_t total = n + 2 * m * views;
    ft_progress_start(&bar, "features", total);
    if (rc == FT_OK) rc = pass(b, s, clip, n, drawn, 0, 0, clean, each, &bar, &done);
    for (int k = 0; k < views && m > 0; k++) {
        if (rc == FT_OK) rc = pass(b, s, some, m, drawn, 1, k, weak + k * each, views * each, &bar, &done);
        if (rc == FT_OK) rc = pass(b, s, some, m, drawn, 2, k, strong + k * each, views * each, &bar, &done);
    }
    ft_progress_end(&bar, total);
    if (rc == FT_OK) {
        ft_st_tensor t[4] = {
            {.name = "clean", .dtype = "F32", .ndim = 4, .dim = {n, dim[0], dim[1], dim[2]}, .data = clean},
            {.name = "weak", .dtype = "F32", .ndim = 5, .dim = {m, views, dim[0], dim[1], dim[2]}, .data = weak},
            {.name = "strong", .dtype = "F32", .ndim = 5, .dim = {m, views, dim[0], dim[1], dim[2]}, .data = strong},
            {.name = "row", .dtype = "I32", .ndim = 1, .dim = {n}, .data = row}};
        for (int i = 0; i < 4; i++) {
            t[i].count = 1;
            for (int k = 0; k < t[i].ndim; k++) t[i].count *= t[i].dim[k];
            t[i].bytes = (size_t)t[i].count * 4;
        }
        rc = ft_safetensors_write(path, t, 4, NULL);
    }
    ft_free(clip);
    ft_free(row);
    ft_free(clean);
    ft_free(weak);
    ft_free(strong);
    return rc;
}

int ft_clip_features_read(ft_clip_features *f, const char *path, int64_t clips)
{
    static const char *const name[4] = {"clean", "weak", "strong", "row"};
    static const int ndim[4] = {4, 5, 5, 1};
    const ft_st_tensor *t[4];
    bool whole = true;
    memset(f, 0, sizeof *f);
    FT_TRY(ft_safetensors_read(&f->file, path));
    for (int i = 0; i < 4; i++) {
        t[i] = ft_safetensors_find(&f->file, name[i]);
        whole &= t[i] && t[i]->ndim == ndim[i] && !strcmp(t[i]->dtype, i < 3 ? "F32" : "I32");
    }
    if (whole) {
        f->n = t[0]->dim[0], f->m = t[1]->dim[0], f->views = t[1]->dim[1];
        f->clean = t[0]->data, f->weak = t[1]->data, f->strong = t[2]->data, f->row = t[3]->data;
        for (int k = 0; k < 3; k++) {
            f->dim[k] = t[0]->dim[1 + k];
            whole &= t[1]->dim[2 + k] == f->dim[k] && t[2]->dim[2 + k] == f->dim[k];
        }
        whole &= t[2]->dim[0] == f->m && t[2]->dim[1] == f->views && t[3]->dim[0] == f->n && f->n == clips;
        for (int64_t i = 0; whole && i < f->n; i++) whole = f->row[i] >= -1 && f->row[i] < f->m;
    }
    if (whole) return FT_OK;
    ft_clip_features_free(f);
    return FT_FAIL(FT_EDATA, "%s: not the features of %lld clips. Remove its folder to compute it again", path, (long long)clips);
}

void ft_clip_features_free(ft_clip_features *f)
{
    ft_safetensors_free(&f->file);
    memset(f, 0, sizeof *f);
}

const float *ft_clip_features_at(const ft_clip_features *f, int64_t clip) { return f->clean + clip * ft_clip_features_each(f); }

const float *ft_clip_features_view(const ft_clip_features *f, int64_t clip, bool strong, int64_t k)
{
    if (f->row[clip] < 0) return NULL;
    return (strong ? f->strong : f->weak) + (f->row[clip] * f->views + k) * ft_clip_features_each(f);
}
