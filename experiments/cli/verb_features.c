/* features: what a frozen network sees in each clip, for multiple-instance learning (task: mil) and for anybody's own tools. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "classify/backbone.h"
#include "common/base/files.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/io/features.h"
#include "experiments/cli/cli.h"

typedef struct {
    int64_t video, start, row;
} place;

static int by_place(const void *a, const void *b)
{
    const place *x = a, *y = b;
    if (x->video != y->video) return x->video < y->video ? -1 : 1;
    if (x->start != y->start) return x->start < y->start ? -1 : 1;
    return x->row < y->row ? -1 : x->row > y->row;
}

/* rows of the clips, video by video, clips of a video in order of their start */
static int by_video(ft_features *f, const ft_clipstore *s, const float *value)
{
    place *at = ft_alloc_n(s->n_clip + 1, sizeof *at);
    int rc = at ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for features");
    for (int64_t i = 0; rc == FT_OK && i < s->n_clip; i++) at[i] = (place){s->clip[i].video, s->clip[i].start, i};
    if (rc == FT_OK) qsort(at, (size_t)s->n_clip, sizeof *at, by_place);
    for (int64_t i = 0, n; rc == FT_OK && i < s->n_clip; i += n) {
        for (n = 1; i + n < s->n_clip && at[i + n].video == at[i].video;) n++;
        if ((rc = ft_grow(&f->video, (size_t)f->n, sizeof *f->video)) < 0) break;
        ft_video_features *to = &f->video[f->n++];
        *to = (ft_video_features){ft_strdup(s->video[at[i].video].name), n, ft_alloc_n(n * f->width, sizeof(float)),
                                  ft_alloc_n(n, sizeof *to->start), s->video[at[i].video].frames};
        if (!to->name || !to->value || !to->start) rc = FT_FAIL(FT_ENOMEM, "no memory for features");
        for (int64_t k = 0; rc == FT_OK && k < n; k++) to->start[k] = at[i + k].start;
        for (int64_t k = 0; rc == FT_OK && k < n; k++)
            memcpy(to->value + k * f->width, value + at[i + k].row * f->width, (size_t)f->width * sizeof(float));
    }
    ft_free(at);
    return rc;
}

/* one row for each clip, (tokens, width): the mean over the frames that the network looks at */
static int look_at(ft_backbone *b, const ft_clipstore *s, const int64_t *clip, int64_t dim[3], float **value)
{
    enum { TOGETHER = 64 };
    ft_backbone_shape(b, dim);
    int64_t row = dim[1] * dim[2];
    float *some = ft_alloc_n(TOGETHER * dim[0], (size_t)row * sizeof *some);
    *value = ft_alloc_n(s->n_clip + 1, (size_t)row * sizeof **value);
    int rc = some && *value ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for features");
    ft_progress bar;
    ft_progress_start(&bar, "features", s->n_clip);
    for (int64_t at = 0; rc == FT_OK && at < s->n_clip; at += TOGETHER) {
        int64_t n = s->n_clip - at < TOGETHER ? s->n_clip - at : TOGETHER;
        rc = ft_backbone_run(b, s, clip + at, NULL, n, some);
        for (int64_t i = 0; rc == FT_OK && i < n; i++)
            for (int64_t k = 0; k < row; k++) {
                double sum = 0;
                for (int64_t t = 0; t < dim[0]; t++) sum += (double)some[(i * dim[0] + t) * row + k];
                (*value)[(at + i) * row + k] = (float)(sum / (double)dim[0]);
            }
        ft_progress_step(&bar, at + n);
    }
    ft_progress_end(&bar, s->n_clip);
    ft_free(some);
    return rc;
}

static int set_text(ft_config *cfg, const char *key, const char *value, const char *origin)
{
    char *text = ft_format("%s=%s", key, value);
    int rc = text ? ft_config_set(cfg, text, origin) : FT_FAIL(FT_ENOMEM, "no memory");
    ft_free(text);
    return rc;
}

static int run_features(ft_cli *c)
{
    const char *const *arg, *out = ft_cli_text(c, "-o"), *model = ft_cli_text(c, "--model"),
                            *weights = ft_cli_text(c, "--weights");
    ft_config *cfg;
    ft_clipstore s = {0};
    ft_features f = {0};
    ft_backbone *b = NULL;
    float *value = NULL;
    int64_t *clip = NULL, dim[3];
    FT_TRY(ft_cli_need(c, 1, "CLIPS.h5"));
    ft_cli_args(c, &arg);
    if (!out || !model)
        return FT_FAIL(FT_EUSAGE, "%s is missing. usage: forty %s", out ? "--model RUN" : "-o FEATURES.safetensors",
                       ft_verb_features.usage);
    if (!weights && !ft_is_dir(model))
        return FT_FAIL(FT_EUSAGE,
                       "--weights W.safetensors is missing: %s alone is an untrained network. `forty weights import` reads "
                       "public ones",
                       model);
    FT_TRY(ft_claim_output(out, ft_cli_flag(c, "--force")));
    FT_TRY(ft_cli_config(c, NULL, &cfg));
    int rc = set_text(cfg, "features.model", model, "--model");
    if (rc == FT_OK && weights) rc = set_text(cfg, "features.weights", weights, "--weights");
    if (rc == FT_OK) rc = ft_clipstore_read(&s, arg[0]);
    double span = s.frames * s.stride;
    if (rc == FT_OK && !(span >= 0 && span <= FT_SNIPPET_MOST))
        rc = FT_FAIL(FT_EDATA, "%s: clips that span %g frames, at most %d are taken. The file is damaged", arg[0], span,
                     FT_SNIPPET_MOST);
    if (rc == FT_OK && !(clip = ft_alloc((size_t)(s.n_clip + 1) * sizeof *clip))) rc = FT_FAIL(FT_ENOMEM, "no memory for clips");
    for (int64_t i = 0; rc == FT_OK && i < s.n_clip; i++) clip[i] = i;
    if (rc == FT_OK) {
        ft_backbone_opt o = ft_backbone_options(cfg);
        rc = ft_backbone_open(&b, &o, s.frames, s.size);
    }
    if (rc == FT_OK) rc = look_at(b, &s, clip, dim, &value);
    if (rc == FT_OK) {
        f.width = dim[1] * dim[2];
        f.frames = (int)lround(span);
        rc = by_video(&f, &s, value);
    }
    if (rc == FT_OK) rc = ft_features_write(&f, out);
    if (rc == FT_OK)
        ft_cli_print(c,
                     json_pack("{s:s,s:I,s:I,s:I,s:i}", "output", out, "videos", (json_int_t)f.n, "snippets",
                               (json_int_t)s.n_clip, "width", (json_int_t)f.width, "frames_per_snippet", f.frames),
                     "%s: %lld snippets of %lld videos, %lld numbers each\n", out, (long long)s.n_clip, (long long)f.n,
                     (long long)f.width);
    ft_free(value);
    ft_free(clip);
    ft_features_free(&f);
    ft_backbone_free(b);
    ft_clipstore_free(&s);
    ft_config_free(cfg);
    return rc;
}

static const ft_option features_options[] = {
    {"--model", "RUN|PRESET", NULL, "folder of a run of a classifier or VAE, or a preset (dinov2-s14) with --weights"},
    {"--weights", "FILE", NULL, "weights of the preset"},
    {"-o", "FILE", NULL, "safetensors file to write: (snippets, width) for each video"},
    {NULL, NULL, NULL, NULL}};
const ft_verb ft_verb_features = {
    "features",
    "what a frozen network sees in each clip",
    "features CLIPS.h5 --model RUN -o FEATURES.safetensors",
    "forty features clips.h5 --model dinov2-s14 --weights dinov2-s14.safetensors -o features.safetensors",
    features_options,
    run_features};
