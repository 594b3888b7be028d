#include "common/io/features.h"

#include <jansson.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/files.h"
#include "common/base/memory.h"
#include "common/base/names.h"
#include "common/base/status.h"
#include "common/io/npy.h"

/* (S,D) or (S,1,D) becomes the next video of the set */
static int take(ft_features *f, const char *where, const char *name, const ft_st_tensor *t)
{
    int64_t width = t->ndim ? t->dim[t->ndim - 1] : 0, snippets = t->ndim > 1 ? t->dim[0] : 0;
    FT_TRY(ft_check_name(name, strlen(name), where, "the video name"));
    if (t->ndim < 2 || t->ndim > 3 || (t->ndim == 3 && t->dim[1] != 1) || width < 1 || snippets < 1)
        return FT_FAIL(FT_EDATA, "%s: %s: %d dims and %lld values; features are (snippets, width)", where, name, t->ndim,
                       (long long)t->count);
    if (f->n && width != f->width)
        return FT_FAIL(FT_EDATA, "%s: %s: features of %lld numbers, those of %s have %lld", where, name, (long long)width,
                       f->video[0].name, (long long)f->width);
    FT_TRY(ft_grow(&f->video, (size_t)f->n, sizeof *f->video));
    ft_video_features *v = &f->video[f->n++];
    f->width = width;
    *v = (ft_video_features){ft_strdup(name), snippets, ft_alloc_n(t->count, sizeof(float)), NULL, 0};
    if (!v->name || !v->value) return FT_FAIL(FT_ENOMEM, "%s: no memory for features", where);
    FT_TRY(ft_safetensors_f32(t, v->value));
    for (int64_t i = 0; i < t->count; i++)
        if (!isfinite(v->value[i]))
            return FT_FAIL(FT_EDATA, "%s: %s: value %lld of snippet %lld is not finite", where, name, (long long)(i % width),
                           (long long)(i / width));
    return FT_OK;
}

static int from_folder(ft_features *f, const char *path)
{
    char **file;
    int n, rc = FT_OK;
    FT_TRY(ft_list_dir(path, &file, &n));
    for (int i = 0; i < n; i++) {
        size_t length = strlen(file[i]);
        if (rc == FT_OK && length > 4 && !strcmp(file[i] + length - 4, ".npy")) {
            ft_npy a = {0};
            char *whole = ft_format("%s/%s", path, file[i]);
            rc = whole ? ft_npy_read(&a, whole) : FT_FAIL(FT_ENOMEM, "%s: no memory", path);
            file[i][length - 4] = 0;
            if (rc == FT_OK) rc = take(f, whole, file[i], &a.tensor);
            ft_npy_free(&a);
            ft_free(whole);
        }
        ft_free(file[i]);
    }
    ft_free(file);
    return rc;
}

static int read_frames(ft_features *f, const char *path, const ft_safetensors *st)
{
    const char *text = json_string_value(json_object_get(st->metadata, "frames_per_snippet"));
    char *end;
    if (!text) return FT_OK;
    long frames = strtol(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || frames < 1 || frames > FT_SNIPPET_MOST)
        return FT_FAIL(FT_EDATA,
                       "%s: frames_per_snippet is '%.40s', a whole number from 1 to %d is needed. Write the features anew", path,
                       text, FT_SNIPPET_MOST);
    f->frames = (int)frames;
    return FT_OK;
}

/* Where the snippets of each video stand in it */
static int read_places(ft_features *f, const char *path, const ft_safetensors *st)
{
    const char *text = json_string_value(json_object_get(st->metadata, "videos"));
    json_t *all = text ? json_loads(text, 0, NULL) : NULL;
    int rc = FT_OK;
    for (int64_t i = 0; text && rc == FT_OK && i < f->n; i++) {
        ft_video_features *v = &f->video[i];
        json_t *of = json_object_get(all, v->name), *start = json_object_get(of, "start");
        v->frames = json_integer_value(json_object_get(of, "frames"));
        bool good = v->frames > 0 && v->frames <= INT32_MAX && json_array_size(start) == (size_t)v->snippets;
        if (good && !(v->start = ft_alloc_n(v->snippets, sizeof *v->start))) rc = FT_FAIL(FT_ENOMEM, "%s: no memory", path);
        for (int64_t k = 0; good && rc == FT_OK && k < v->snippets; k++) {
            v->start[k] = json_integer_value(json_array_get(start, (size_t)k));
            good = v->start[k] >= (k ? v->start[k - 1] : 0) && v->start[k] < v->frames;
        }
        if (!good)
            rc =
                FT_FAIL(FT_EDATA, "%s: where the snippets of %s stand is not told right. Write the features anew", path, v->name);
    }
    json_decref(all);
    return rc;
}

static int from_file(ft_features *f, const char *path)
{
    ft_safetensors st;
    FT_TRY(ft_safetensors_read(&st, path));
    int rc = FT_OK;
    for (int i = 0; rc == FT_OK && i < st.n; i++) rc = take(f, path, st.tensor[i].name, &st.tensor[i]);
    if (rc == FT_OK) rc = read_frames(f, path, &st);
    if (rc == FT_OK) rc = read_places(f, path, &st);
    ft_safetensors_free(&st);
    return rc;
}

int ft_features_read(ft_features *f, const char *path)
{
    memset(f, 0, sizeof *f);
    int rc = (f->path = ft_strdup(path)) ? FT_OK : FT_FAIL(FT_ENOMEM, "%s: no memory", path);
    if (rc == FT_OK) rc = ft_is_dir(path) ? from_folder(f, path) : from_file(f, path);
    if (rc == FT_OK && !f->n)
        rc = FT_FAIL(FT_EDATA, "%s: no features. A folder of VIDEO.npy, or a safetensors file, is needed", path);
    for (int64_t i = 0; rc == FT_OK && i < f->n; i++)
        rc = ft_lookup_add(&f->by_name, f->video[i].name, strlen(f->video[i].name), i);
    if (rc == FT_OK) ft_lookup_sort(&f->by_name);
    if (rc < 0) ft_features_free(f);
    return rc;
}

int ft_features_write(const ft_features *f, const char *path)
{
    if (f->frames < 0 || f->frames > FT_SNIPPET_MOST)
        return FT_FAIL(FT_EDATA, "%s: snippets of %d frames, at most %d are written. Use shorter clips", path, f->frames,
                       FT_SNIPPET_MOST);
    ft_st_tensor *t = ft_alloc_n(f->n + 1, sizeof *t);
    char frames[32];
    if (!t) return FT_FAIL(FT_ENOMEM, "%s: no memory", path);
    for (int64_t i = 0; i < f->n; i++) {
        const ft_video_features *v = &f->video[i];
        t[i] = (ft_st_tensor){.name = v->name,
                              .dtype = "F32",
                              .ndim = 2,
                              .dim = {v->snippets, f->width},
                              .count = v->snippets * f->width,
                              .data = v->value,
                              .bytes = (size_t)(v->snippets * f->width) * sizeof(float)};
    }
    snprintf(frames, sizeof frames, "%d", f->frames);
    json_t *m = f->frames ? json_pack("{s:s}", "frames_per_snippet", frames) : NULL, *places = json_object();
    for (int64_t i = 0; i < f->n; i++) {
        const ft_video_features *v = &f->video[i];
        json_t *start = json_array();
        for (int64_t k = 0; v->start && k < v->snippets; k++) json_array_append_new(start, json_integer(v->start[k]));
        if (v->start)
            json_object_set_new(places, v->name, json_pack("{s:I,s:O}", "frames", (json_int_t)v->frames, "start", start));
        json_decref(start);
    }
    char *text = NULL;
    int rc = ft_json_text(places, JSON_COMPACT | JSON_SORT_KEYS, &text);
    if (rc == FT_OK && m && json_object_size(places)) json_object_set_new(m, "videos", json_string(text));
    if (rc == FT_OK) rc = ft_safetensors_write(path, t, (int)f->n, m);
    ft_free(text);
    json_decref(places);
    json_decref(m);
    ft_free(t);
    return rc;
}

void ft_features_free(ft_features *f)
{
    for (int64_t i = 0; i < f->n; i++) ft_free(f->video[i].name), ft_free(f->video[i].value), ft_free(f->video[i].start);
    ft_free(f->video);
    ft_lookup_free(&f->by_name);
    ft_free(f->path);
    memset(f, 0, sizeof *f);
}

int64_t ft_features_find(const ft_features *f, const char *video)
{
    const char *name = ft_base_name(video), *dot = strrchr(name, '.');
    size_t length = strlen(name), bare = dot ? (size_t)(dot - name) : length;
    int64_t row = ft_lookup_find(&f->by_name, video, strlen(video));
    if (row < 0) row = ft_lookup_find(&f->by_name, name, length);
    return row < 0 ? ft_lookup_find(&f->by_name, name, bare) : row;
}
