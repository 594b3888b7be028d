#include "classify/clip_features.h"

#include <stdio.h>
#include <string.h>

#include "classify/views.h"
#include "common/base/files.h"
#include "common/base/interrupt.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/base/streams.h"

enum { TOGETHER = 64 }; /* clips between two steps of the progress bar */

static void draw(const ft_clipstore *s, ft_views kind, bool strong, int k, int64_t clip, ft_look *look)
{
    float cutout[3 * 256];
    ft_draw_view(strong, kind, s->frames, s->size, FT_SEED_KEPT_VIEWS, (uint64_t)k, (uint32_t)clip, look->view, cutout);
    memcpy(look->cutout, cutout, sizeof look->cutout); /* the same in every frame */
}

/* A pass is over all clips in one view. Passes that are done lie beside the file to come, so that who is interrupted goes on. */
typedef struct {
    ft_backbone *b;
    const ft_clipstore *s;
    ft_views drawn;
    const char *path;
    int64_t dim[3], each;
    ft_progress bar;
    int64_t done;
} making;

enum { AS_IS, WEAK, STRONG };

static void part_path(char out[FT_PATH_GIVEN + 64], const char *path, int kind, int k)
{
    snprintf(out, FT_PATH_GIVEN + 64, "%s.%c%d", path, "cws"[kind], k);
}

static ft_st_tensor tensor_of(const char *name, const float *value, int ndim, const int64_t *dim)
{
    ft_st_tensor t = {.name = (char *)(uintptr_t)name, .dtype = "F32", .ndim = ndim, .count = 1, .data = value};
    for (int k = 0; k < ndim; k++) t.count *= t.dim[k] = dim[k];
    t.bytes = (size_t)t.count * 4;
    return t;
}

static bool part_read(const making *m, int kind, int k, int64_t n, float *out)
{
    char path[FT_PATH_GIVEN + 64];
    ft_safetensors st;
    part_path(path, m->path, kind, k);
    if (!ft_exists(path) || ft_safetensors_read(&st, path) < 0) return false;
    const ft_st_tensor *t = ft_safetensors_find(&st, "seen");
    bool whole = t && !strcmp(t->dtype, "F32") && t->count == n * m->each;
    if (whole) memcpy(out, t->data, t->bytes);
    ft_safetensors_free(&st);
    return whole;
}

static int part_write(const making *m, int kind, int k, int64_t n, const float *value)
{
    char path[FT_PATH_GIVEN + 64];
    ft_st_tensor t = tensor_of("seen", value, 4, (int64_t[]){n, m->dim[0], m->dim[1], m->dim[2]});
    part_path(path, m->path, kind, k);
    return ft_safetensors_write(path, &t, 1, NULL);
}

static int look(making *m, const int64_t *clip, int64_t n, int kind, int k, float *out)
{
    ft_look *look = ft_alloc_n(TOGETHER, sizeof *look);
    int rc = look ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for features");
    for (int64_t at = 0; rc == FT_OK && at < n; at += TOGETHER) {
        int64_t some = n - at < TOGETHER ? n - at : TOGETHER;
        for (int64_t i = 0; kind != AS_IS && i < some; i++) draw(m->s, m->drawn, kind == STRONG, k, clip[at + i], &look[i]);
        rc = ft_backbone_run(m->b, m->s, clip + at, kind != AS_IS ? look : NULL, some, out + at * m->each);
        if (rc == FT_OK && ft_interrupted) rc = FT_FAIL(FT_EINTERRUPTED, "interrupted");
        ft_progress_step(&m->bar, m->done += some);
    }
    ft_free(look);
    return rc;
}

/* row i goes to out, `apart` values behind the one before */
static int pass(making *m, const int64_t *clip, int64_t n, int kind, int k, float *out, int64_t apart)
{
    float *seen = ft_alloc_n(n + 1, (size_t)m->each * sizeof *seen);
    int rc = seen ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for features");
    if (rc == FT_OK && part_read(m, kind, k, n, seen)) ft_progress_step(&m->bar, m->done += n);
    else if (rc == FT_OK) {
        rc = look(m, clip, n, kind, k, seen);
        if (rc == FT_OK) rc = part_write(m, kind, k, n, seen);
    }
    for (int64_t i = 0; rc == FT_OK && i < n; i++) memcpy(out + i * apart, seen + i * m->each, (size_t)m->each * sizeof *out);
    ft_free(seen);
    return rc;
}

static int remove_parts(const char *path, int views)
{
    char part[FT_PATH_GIVEN + 64];
    part_path(part, path, AS_IS, 0);
    FT_TRY(ft_remove_file(part));
    for (int k = 0; k < 2 * views; k++) {
        part_path(part, path, k < views ? WEAK : STRONG, k % views);
        FT_TRY(ft_remove_file(part));
    }
    return FT_OK;
}

int ft_clip_features_make(ft_backbone *b, const ft_clipstore *s, const bool *viewed, int views, ft_views drawn, const char *path)
{
    making make = {.b = b, .s = s, .drawn = drawn, .path = path};
    int64_t *dim = make.dim, n = s->n_clip, m = 0, each;
    ft_backbone_shape(b, dim);
    make.each = each = dim[0] * dim[1] * dim[2];
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
    int64_t total = n + 2 * m * views;
    ft_progress_start(&make.bar, "features", total);
    if (rc == FT_OK) rc = pass(&make, clip, n, AS_IS, 0, clean, each);
    for (int k = 0; k < views && m > 0; k++) {
        if (rc == FT_OK) rc = pass(&make, some, m, WEAK, k, weak + k * each, views * each);
        if (rc == FT_OK) rc = pass(&make, some, m, STRONG, k, strong + k * each, views * each);
    }
    ft_progress_end(&make.bar, total);
    if (rc == FT_OK) {
        ft_st_tensor t[4] = {
            tensor_of("clean", clean, 4, (int64_t[]){n, dim[0], dim[1], dim[2]}),
            tensor_of("weak", weak, 5, (int64_t[]){m, views, dim[0], dim[1], dim[2]}),
            tensor_of("strong", strong, 5, (int64_t[]){m, views, dim[0], dim[1], dim[2]}),
            {.name = "row", .dtype = "I32", .ndim = 1, .dim = {n}, .count = n, .data = row, .bytes = (size_t)n * 4}};
        rc = ft_safetensors_write(path, t, 4, NULL);
    }
    if (rc == FT_OK) rc = remove_parts(path, views);
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
