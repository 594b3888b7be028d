/* features: what a frozen classifier sees in each clip, for multiple-instance learning (task: mil) and for anybody's own tools.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "classify/classifier.h"
#include "common/base/files.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/io/features.h"
#include "experiments/cli.h"

/* rows of the clips, video by video, clips of a video in order of their start */
static int by_video(ft_features *f, const ft_clipstore *s, const float *value)
{
    for (int64_t v = 0; v < s->n_video; v++) {
        int64_t n = 0;
        for (int64_t i = 0; i < s->n_clip; i++) n += s->clip[i].video == v;
        if (!n) continue;
        FT_TRY(ft_grow(&f->video, (size_t)f->n, sizeof *f->video));
        ft_video_features *to = &f->video[f->n++];
        *to = (ft_video_features){ft_strdup(s->video[v].name), 0, ft_alloc((size_t)(n * f->width) * sizeof(float))};
        if (!to->name || !to->value) return FT_FAIL(FT_ENOMEM, "no memory for features");
        for (int64_t last = -1; to->snippets < n;) { /* a video has few clips */
            int64_t next = -1;
            for (int64_t i = 0; i < s->n_clip; i++) {
                bool later =
                    last < 0 || s->clip[i].start > s->clip[last].start || (s->clip[i].start == s->clip[last].start && i > last);
                if (s->clip[i].video == v && later && (next < 0 || s->clip[i].start < s->clip[next].start)) next = i;
            }
            memcpy(to->value + to->snippets++ * f->width, value + next * f->width, (size_t)f->width * sizeof(float));
            last = next;
        }
    }
    return FT_OK;
}

static int run_features(ft_cli *c)
{
    const char *const *arg, *out = ft_cli_text(c, "-o"), *model = ft_cli_text(c, "--model"),
                            *weights = ft_cli_text(c, "--weights");
    char path[1200], preset[64];
    ft_config *cfg;
    ft_clipstore s = {0};
    ft_features f = {0};
    float *value = NULL;
    int64_t *clip = NULL;
    FT_TRY(ft_cli_need(c, 1, "CLIPS.h5"));
    ft_cli_args(c, &arg);
    if (!out || !model)
        return FT_FAIL(FT_EUSAGE, "%s is missing. usage: forty %s", out ? "--model RUN" : "-o FEATURES.safetensors",
                       ft_verb_features.usage);
    FT_TRY(ft_cli_config(c, NULL, &cfg));
    ft_config_free(cfg);
    FT_TRY(ft_claim_output(out, ft_cli_flag(c, "--force")));
    snprintf(preset, sizeof preset, "%s", model);
    if (ft_is_dir(model)) {
        ft_classifier_info info;
        FT_TRY(ft_classifier_info_read(&info, model));
        snprintf(preset, sizeof preset, "%s", info.model);
        snprintf(path, sizeof path, "%s/%s.safetensors", model, info.evaluated == FT_EVAL_EMA ? "ema" : "weights");
        if (!weights) weights = path;
        ft_classifier_info_free(&info);
    }
    if (!weights)
        return FT_FAIL(FT_EUSAGE,
                       "--weights W.safetensors is missing: %s alone is an untrained network. `forty weights import` reads "
                       "public ones",
                       model);
    int rc = ft_clipstore_read(&s, arg[0]);
    if (rc == FT_OK && !(clip = ft_alloc((size_t)(s.n_clip + 1) * sizeof *clip))) rc = FT_FAIL(FT_ENOMEM, "no memory for clips");
    for (int64_t i = 0; rc == FT_OK && i < s.n_clip; i++) clip[i] = i;
    if (rc == FT_OK) rc = ft_classifier_embed(preset, weights, &s, clip, s.n_clip, &value);
    f.width = rc;
    f.frames = (int)lround(s.frames * s.stride);
    if (rc >= 0) rc = by_video(&f, &s, value);
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
    ft_clipstore_free(&s);
    return rc;
}

static const ft_option features_options[] = {
    {"--model", "RUN|PRESET", NULL, "folder of a trained classifier, or a preset with --weights"},
    {"--weights", "FILE", NULL, "weights of the preset"},
    {"-o", "FILE", NULL, "safetensors file to write: (snippets, width) for each video"},
    {NULL, NULL, NULL, NULL}};
const ft_verb ft_verb_features = {"features",
                                  "what a frozen classifier sees in each clip, before its last layer",
                                  "features CLIPS.h5 --model RUN -o FEATURES.safetensors",
                                  "forty features snippets.h5 --model runs/x3d -o features.safetensors",
                                  features_options,
                                  run_features};
