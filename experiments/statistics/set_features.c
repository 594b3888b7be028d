#include "experiments/statistics/set_features.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/io/features.h"
#include "common/io/npy.h"
#include "common/io/safetensors.h"

enum { TOGETHER = 16 };

/* ---- looking --------------------------------------------------------------------------------------------------------------- */

typedef struct {
    ft_set_features *f;
    const ft_set_features_opt *o;
    ft_backbone *b;
    int64_t dim[3], room, waiting; /* waiting: clips that the network has not seen */
    float *pixels, *seen;          /* (TOGETHER, frames, size, size, 3); (TOGETHER, dim) */
    double motion;
    int64_t pairs; /* of neighbouring frames */
} looker;

/* one clip's (frames, d) becomes rows */
static void reduce(const looker *l, const float *seen, float *to)
{
    int64_t frames = l->dim[0], d = l->dim[1] * l->dim[2];
    if (l->o->by_frame || frames == 1) {
        memcpy(to, seen, (size_t)(frames * d) * sizeof *to);
        return;
    }
    for (int64_t k = 0; k < d; k++) {
        double sum = 0, square = 0;
        for (int64_t t = 0; t < frames; t++) sum += (double)seen[t * d + k] / (double)frames;
        for (int64_t t = 0; t < frames; t++) square += pow((double)seen[t * d + k] - sum, 2) / (double)frames;
        to[k] = (float)sum, to[d + k] = (float)sqrt(square);
    }
}

static int see(looker *l)
{
    ft_set_features *f = l->f;
    int64_t each = l->dim[0] * l->dim[1] * l->dim[2], rows = f->frames;
    FT_TRY(ft_backbone_run_prepared(l->b, l->pixels, l->waiting, l->seen));
    for (int64_t i = 0; i < l->waiting; i++) reduce(l, l->seen + i * each, f->value + (f->n - (l->waiting - i) * rows) * f->d);
    l->waiting = 0;
    return FT_OK;
}

static int take_clip(void *of, int64_t video, const float *clip)
{
    looker *l = of;
    ft_set_features *f = l->f;
    const ft_take_opt *t = &l->o->take;
    int64_t picture = (int64_t)t->size * t->size * 3, each = t->frames * picture, rows = f->frames;
    if (f->n + rows > l->room) {
        l->room = 2 * (f->n + rows);
        float *value = ft_realloc(f->value, (size_t)(l->room * f->d) * sizeof *value);
        if (value) f->value = value;
        int64_t *videos = ft_realloc(f->video, (size_t)l->room * sizeof *videos);
        if (videos) f->video = videos;
        if (!value || !videos) return FT_FAIL(FT_ENOMEM, "no memory for features");
    }
    for (int64_t i = 0; i < each; i++) l->pixels[l->waiting * each + i] = clip[i] / 255;
    for (int64_t k = 1; k < t->frames; k++, l->pairs++) {
        double sum = 0;
        for (int64_t i = 0; i < picture; i++) sum += fabs((double)clip[k * picture + i] - (double)clip[(k - 1) * picture + i]);
        l->motion += sum / (double)picture;
    }
    for (int64_t k = 0; k < rows; k++) f->video[f->n++] = video;
    f->videos = video + 1;
    return ++l->waiting == TOGETHER ? see(l) : FT_OK;
}

static int look(ft_set_features *f, const ft_clip_set *s, const ft_set_features_opt *o)
{
    ft_backbone_opt network = o->network;
    const ft_take_opt *t = &o->take;
    looker l = {.f = f, .o = o};
    network.prepared = true, network.size = 0;
    FT_TRY(ft_backbone_open(&l.b, &network, t->frames, t->size));
    ft_backbone_shape(l.b, l.dim);
    int64_t d = l.dim[1] * l.dim[2];
    f->frames = o->by_frame ? l.dim[0] : 1;
    f->d = o->by_frame || l.dim[0] == 1 ? d : 2 * d;
    l.pixels = ft_alloc_n(TOGETHER * t->frames, (size_t)t->size * (size_t)t->size * 3 * sizeof(float));
    l.seen = ft_alloc_n(TOGETHER * l.dim[0] * d, sizeof(float));
    int rc = l.pixels && l.seen ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for features");
    if (rc == FT_OK) rc = ft_clip_set_each(s, t, take_clip, &l, &f->left_out);
    if (rc == FT_OK && l.waiting) rc = see(&l);
    f->motion = l.pairs ? l.motion / (double)l.pairs : (double)NAN;
    ft_free(l.pixels);
    ft_free(l.seen);
    ft_backbone_free(l.b);
    return rc;
}

/* ---- keeping --------------------------------------------------------------------------------------------------------------- */

void ft_features_cache(char path[FT_PATH_GIVEN + 64])
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int n = cache && *cache == '/' ? snprintf(path, FT_PATH_GIVEN + 64, "%s/forty/features", cache)
            : home && *home == '/' ? snprintf(path, FT_PATH_GIVEN + 64, "%s/.cache/forty/features", home)
                                   : (*path = 0);
    if (n >= FT_PATH_GIVEN) *path = 0;
}

static int key_of(const ft_clip_set *s, const ft_set_features_opt *o, char hex[65])
{
    const ft_take_opt *t = &o->take;
    char network[65], precision[8 * FT_WORKS] = "";
    FT_TRY(ft_backbone_identity(&o->network, network));
    for (int i = 0; i < FT_WORKS; i++) sprintf(precision + strlen(precision), "%d ", (int)o->network.precision.take[i]);
    return ft_json_sha256(json_pack("{s:i,s:s,s:s,s:[i,i,i,b,I,I],s:[i,s,i,s],s:[I,I,s,f,b]}", "version", 1, "set", s->id,
                                    "network", network, "take", t->frames, t->stride, t->clips, t->random, (json_int_t)t->seed,
                                    (json_int_t)t->most, "pixels", t->first, ft_filter_name(t->first_filter), t->size,
                                    ft_filter_name(t->filter), "features", (json_int_t)o->network.grid,
                                    (json_int_t)o->network.frames, precision, o->network.offset, o->by_frame),
                          hex);
}

static bool kept_read(ft_set_features *f, const char *path)
{
    ft_safetensors st;
    if (!ft_exists(path) || ft_safetensors_read(&st, path) < 0) return false;
    const ft_st_tensor *value = ft_safetensors_find(&st, "value"), *video = ft_safetensors_find(&st, "video"),
                       *facts = ft_safetensors_find(&st, "facts");
    bool whole = value && video && facts && value->ndim == 2 && video->count == value->dim[0] && facts->count == 4 &&
                 !strcmp(value->dtype, "F32") && !strcmp(video->dtype, "I64") && !strcmp(facts->dtype, "F64");
    if (whole) {
        double fact[4];
        memcpy(fact, facts->data, sizeof fact);
        f->n = value->dim[0], f->d = value->dim[1];
        f->frames = (int64_t)fact[0], f->videos = (int64_t)fact[1], f->motion = fact[2], f->left_out = (int64_t)fact[3];
        f->value = ft_alloc_n(value->count + 1, sizeof *f->value), f->video = ft_alloc_n(f->n + 1, sizeof *f->video);
        whole = f->value && f->video && f->frames > 0 && f->n % f->frames == 0 && f->n > 0;
        if (whole) memcpy(f->value, value->data, value->bytes), memcpy(f->video, video->data, video->bytes);
        for (int64_t i = 0; whole && i < f->n; i++) whole = f->video[i] >= 0 && f->video[i] < f->videos;
    }
    ft_safetensors_free(&st);
    if (!whole) ft_set_features_free(f);
    return whole;
}

static ft_st_tensor tensor(const char *name, const char *dtype, int ndim, int64_t a, int64_t b, size_t size, const void *data)
{
    ft_st_tensor t = {.name = (char *)(uintptr_t)name, .ndim = ndim, .dim = {a, b}, .count = a * b, .data = data};
    snprintf(t.dtype, sizeof t.dtype, "%s", dtype);
    t.bytes = (size_t)t.count * size;
    return t;
}

static void keep(const ft_set_features *f, const char *path)
{
    double fact[4] = {(double)f->frames, (double)f->videos, f->motion, (double)f->left_out};
    ft_st_tensor t[3] = {tensor("value", "F32", 2, f->n, f->d, sizeof(float), f->value),
                         tensor("video", "I64", 1, f->n, 1, sizeof(int64_t), f->video),
                         tensor("facts", "F64", 1, 4, 1, sizeof(double), fact)};
    int rc = ft_mkdirs_for(path);
    if (rc == FT_OK) rc = ft_safetensors_write(path, t, 3, NULL);
    if (rc < 0) ft_warn("features are not kept: %s", ft_error_message()); /* they are computed again */
}

int ft_set_features_make(ft_set_features *f, const ft_clip_set *s, const ft_set_features_opt *o)
{
    char hex[65], *path = NULL;
    *f = (ft_set_features){.motion = NAN};
    FT_TRY(key_of(s, o, hex));
    if (o->cache && *o->cache && !(path = ft_format("%s/%s.safetensors", o->cache, hex))) return FT_FAIL(FT_ENOMEM, "no memory");
    if (path && kept_read(f, path)) {
        ft_log("%s: features are those kept in %s", s->path, path);
        ft_free(path);
        return FT_OK;
    }
    int rc = look(f, s, o);
    if (rc == FT_OK && path) keep(f, path);
    if (rc < 0) ft_set_features_free(f);
    ft_free(path);
    return rc;
}

/* ---- stored by somebody ---------------------------------------------------------------------------------------------------- */

static bool ends(const char *path, const char *tail)
{
    size_t n = strlen(path), m = strlen(tail);
    return n > m && !strcmp(path + n - m, tail);
}

bool ft_is_set_features(const char *path)
{
    char **name;
    int n;
    bool found = false;
    if (!ft_is_dir(path)) return ends(path, ".npy") || ends(path, ".safetensors");
    if (ft_list_dir(path, &name, &n) < 0) return false;
    for (int i = 0; i < n; i++) found |= ends(name[i], ".npy");
    ft_free_names(name, n);
    return found;
}

/* (n, d) or (n, frames, d) */
static int from_tensor(ft_set_features *f, const char *path, const ft_st_tensor *t)
{
    if (t->ndim < 2 || t->ndim > 3 || t->count < 1)
        return FT_FAIL(FT_EDATA, "%s: %s: %d dims and %lld values; features are (clips, numbers) or (clips, frames, numbers)",
                       path, t->name ? t->name : "the array", t->ndim, (long long)t->count);
    f->videos = t->dim[0], f->frames = t->ndim == 3 ? t->dim[1] : 1, f->d = t->dim[t->ndim - 1];
    f->n = f->videos * f->frames;
    f->value = ft_alloc_n(t->count + 1, sizeof *f->value), f->video = ft_alloc_n(f->n + 1, sizeof *f->video);
    if (!f->value || !f->video) return FT_FAIL(FT_ENOMEM, "%s: no memory for features", path);
    for (int64_t i = 0; i < f->n; i++) f->video[i] = i / f->frames;
    FT_TRY(ft_safetensors_f32(t, f->value));
    for (int64_t i = 0; i < t->count; i++)
        if (!isfinite(f->value[i]))
            return FT_FAIL(FT_EDATA, "%s: number %lld of row %lld is not finite", path, (long long)(i % f->d),
                           (long long)(i / f->d));
    return FT_OK;
}

static int from_videos(ft_set_features *f, const char *path)
{
    ft_features all;
    FT_TRY(ft_features_read(&all, path));
    for (int64_t i = 0; i < all.n; i++) f->n += all.video[i].snippets;
    f->d = all.width, f->frames = 1, f->videos = all.n;
    f->value = ft_alloc_n(f->n * f->d + 1, sizeof *f->value), f->video = ft_alloc_n(f->n + 1, sizeof *f->video);
    int rc = f->value && f->video ? FT_OK : FT_FAIL(FT_ENOMEM, "%s: no memory for features", path);
    for (int64_t i = 0, at = 0; rc == FT_OK && i < all.n; i++) {
        const ft_video_features *v = &all.video[i];
        memcpy(f->value + at * f->d, v->value, (size_t)(v->snippets * f->d) * sizeof *f->value);
        for (int64_t k = 0; k < v->snippets; k++) f->video[at++] = i;
    }
    ft_features_free(&all);
    return rc;
}

int ft_set_features_read(ft_set_features *f, const char *path)
{
    ft_safetensors st = {0};
    ft_npy a = {0};
    int rc = FT_OK;
    *f = (ft_set_features){.motion = NAN};
    if (ft_is_dir(path)) rc = from_videos(f, path);
    else if (ends(path, ".npy")) {
        rc = ft_npy_read(&a, path);
        if (rc == FT_OK) rc = from_tensor(f, path, &a.tensor);
        ft_npy_free(&a);
    } else {
        rc = ft_safetensors_read(&st, path);
        if (rc == FT_OK) rc = st.n == 1 && !st.metadata ? from_tensor(f, path, &st.tensor[0]) : from_videos(f, path);
        ft_safetensors_free(&st);
    }
    if (rc < 0) ft_set_features_free(f);
    return rc;
}

void ft_set_features_free(ft_set_features *f)
{
    ft_free(f->value);
    ft_free(f->video);
    *f = (ft_set_features){.motion = NAN};
}

ft_feature_set ft_set_of(ft_set_features *f)
{
    for (int64_t i = 0; f->videos == 1 && i < f->n; i++) f->video[i] = i;
    if (f->videos == 1) f->videos = f->n;
    return (ft_feature_set){f->value, f->video, f->n};
}
