/* predict: class probabilities of raw videos. */
#include <stdio.h>
#include <string.h>

#include "classify/predictor.h"
#include "common/base/files.h"
#include "common/base/interrupt.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/graph/choices.h"
#include "common/io/clip_sampler.h"
#include "common/io/clipstore.h"
#include "common/io/labels.h"
#include "common/io/video.h"
#include "experiments/cli/cli.h"

/* Clips of one or several videos that are looked at together. */
enum { CLIPS_TOGETHER = 32 };
typedef struct {
    const ft_classifier_info *info;
    ft_predictor *network;
    ft_clipstore s; /* pixels alone */
    int video[CLIPS_TOGETHER], *views;
    float *sum;   /* (videos, classes) */
    bool stopped; /* by the network, not by a video */
} prediction;

/* adds each clip's probabilities to its video's; the clips are then gone */
static int judge(prediction *p)
{
    int64_t n = p->s.n_clip, C = p->info->n_classes, clip[CLIPS_TOGETHER];
    float prob[CLIPS_TOGETHER * FT_MAX_CLASSES];
    for (int64_t i = 0; i < n; i++) clip[i] = i;
    p->s.n_clip = 0;
    int rc = n > 0 ? ft_predictor_run(p->network, clip, n, prob) : FT_OK;
    p->stopped = rc < 0;
    for (int64_t i = 0; rc == FT_OK && i < n; i++) {
        p->views[p->video[i]]++;
        for (int64_t q = 0; q < C; q++) p->sum[p->video[i] * C + q] += prob[i * C + q];
    }
    return rc;
}

/* every clip of a video in every view */
static int look_at_video(prediction *p, const char *path, int video)
{
    ft_video v;
    const ft_classifier_info *info = p->info;
    int n;
    double used;
    ft_sampling how = {ft_clip_sampler_of(info->sampler), info->frames, info->stride, info->clips_per_video, info->overlap};
    FT_TRY(ft_video_open(&v, path));
    int64_t *tick = NULL, ticks = v.frames;
    if (info->fps > 0 && !v.images) ticks = ft_video_ticks(&v, info->fps, &tick);
    double fps = info->fps > 0 ? info->fps : v.fps;
    int room = ticks > 0 ? ft_sample_count(&how, ticks, fps) : 0, rc = (int)(ticks < 0 ? ticks : FT_OK);
    int64_t *index = ft_alloc_n(room + 1, (size_t)info->frames * sizeof *index);
    if (rc == FT_OK) rc = index ? ft_video_crop(&v, info->crop, NULL) : FT_FAIL(FT_ENOMEM, "%s: no memory", path);
    if (rc == FT_OK) rc = ft_sample_clips(&how, path, ticks, fps, index, room, &n, &used);
    for (int64_t i = 0; rc == FT_OK && tick && i < (int64_t)n * info->frames; i++) index[i] = tick[index[i]];
    if (info->test_clips > 0 && info->test_clips < n) n = info->test_clips;
    for (int k = 0; rc == FT_OK && k < 3 * n; k++) {
        ft_crop crop = (ft_crop)(k % 3);
        if (!ft_view_takes(info->view, crop)) continue;
        if (p->s.n_clip == CLIPS_TOGETHER) rc = judge(p);
        if (rc < 0) break;
        p->video[p->s.n_clip] = video;
        rc = ft_video_frames(&v, index + k / 3 * info->frames, info->frames, info->size, crop,
                             p->s.pixels + p->s.n_clip++ * ft_clip_bytes(&p->s));
        if (rc == FT_OK && ft_interrupted) rc = FT_FAIL(FT_EINTERRUPTED, "interrupted");
    }
    ft_free(index);
    ft_free(tick);
    ft_video_close(&v);
    return rc;
}

/* Mean over the clips of each video, (videos, classes). A video that cannot be read is said and stays out: `read` is false. */
static int predict_videos(const char *run, const ft_classifier_info *info, const char *const *path, int videos, float *mean,
                          bool *read)
{
    prediction p = {
        .info = info, .s = {.path = (char *)(uintptr_t)path[0], .frames = info->frames, .size = info->size}, .sum = mean};
    if (info->frames > 256) return FT_FAIL(FT_EDATA, "%s: more than 256 frames a clip", run);
    p.views = ft_alloc_n(videos, sizeof *p.views);
    p.s.pixels = ft_alloc_n(CLIPS_TOGETHER, (size_t)ft_clip_bytes(&p.s));
    int rc = p.views && p.s.pixels ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for clips");
    if (rc == FT_OK) rc = ft_predictor_open(&p.network, run, info, &p.s, NULL);
    for (int i = 0; rc == FT_OK && i < videos; i++) {
        rc = look_at_video(&p, path[i], i);
        read[i] = rc == FT_OK;
        if (p.stopped || (rc != FT_EDATA && rc != FT_EIO)) continue;
        ft_warn("%s; left out", ft_error_message());
        rc = FT_OK;
    }
    if (rc == FT_OK) rc = judge(&p);
    for (int i = 0; rc == FT_OK && i < videos; i++)
        for (int q = 0; q < info->n_classes; q++) mean[i * info->n_classes + q] /= (float)(p.views[i] ? p.views[i] : 1);
    ft_predictor_close(p.network);
    ft_free(p.views);
    ft_free(p.s.pixels);
    return rc;
}

/* "blood|polyp": the classes above 1/2; fresh */
static char *set_text(const ft_classifier_info *info, const float *p)
{
    char *text = NULL;
    for (int k = 0; k < info->n_classes; k++) {
        if (p[k] <= 0.5f) continue;
        char *more = text ? ft_format("%s|%s", text, info->classes[k]) : ft_strdup(info->classes[k]);
        ft_free(text);
        if (!(text = more)) return NULL;
    }
    return text ? text : ft_strdup(FT_NO_LABEL);
}

/* An option that says otherwise than the run: said, and taken. */
static void say_other(const char *option, const char *now, const char *was)
{
    if (strcmp(now, was)) ft_warn("%s %s: the classifier learned from clips made with %s", option, now, was);
}

/* Videos become clips as those did that the run learned from, unless an option says otherwise. */
static int make_alike(ft_cli *c, const char *run, ft_classifier_info *info)
{
    const char *crop = ft_cli_text(c, "--crop"), *sampler = ft_cli_text(c, "--sampler"), *k = ft_cli_text(c, "--clips-per-video");
    char was[64];
    if (crop) {
        if (!ft_video_crop_known(crop) || strlen(crop) >= sizeof info->crop)
            return FT_FAIL(FT_EUSAGE, "--crop is %s; " FT_CROPS " is needed", crop);
        say_other("--crop", crop, info->crop);
        snprintf(info->crop, sizeof info->crop, "%s", crop);
    }
    if (sampler) {
        if (!ft_clip_sampler_known(sampler))
            return FT_FAIL(FT_EUSAGE, "--sampler is %s; stride, released, uniform or dense is needed", sampler);
        say_other("--sampler", sampler, info->sampler);
        snprintf(info->sampler, sizeof info->sampler, "%s", sampler);
    }
    if (ft_cli_text(c, "--stride")) {
        int64_t stride;
        FT_TRY(ft_cli_int(c, "--stride", 1, 10000, &stride));
        snprintf(was, sizeof was, "%d", info->stride);
        say_other("--stride", ft_cli_text(c, "--stride"), was);
        info->stride = (int)stride;
    }
    if (ft_cli_text(c, "--fps")) {
        snprintf(was, sizeof was, "%.6g", info->fps);
        FT_TRY(ft_cli_real(c, "--fps", 0, 1000, &info->fps));
        say_other("--fps", ft_cli_text(c, "--fps"), was);
    }
    if (k) {
        int64_t clips = 0;
        if (strcmp(k, "all")) FT_TRY(ft_cli_int(c, "--clips-per-video", 1, 4096, &clips));
        snprintf(was, sizeof was, "%d", info->clips_per_video);
        say_other("--clips-per-video", k, info->clips_per_video ? was : "all");
        info->clips_per_video = (int)clips, info->test_clips = 0;
    }
    if (ft_cli_text(c, "--overlap")) {
        snprintf(was, sizeof was, "%.6g", info->overlap);
        FT_TRY(ft_cli_real(c, "--overlap", 0, 0.99, &info->overlap));
        say_other("--overlap", ft_cli_text(c, "--overlap"), was);
        if (info->overlap > 0 && info->clips_per_video)
            return FT_FAIL(FT_EUSAGE, "--overlap is of the clips of --clips-per-video all; the run has %d of a video",
                           info->clips_per_video);
    }
    char clips[32] = "all", fps[64] = "", overlap[64] = "";
    if (info->clips_per_video) snprintf(clips, sizeof clips, "%d", info->clips_per_video);
    if (info->fps > 0) snprintf(fps, sizeof fps, ", at %.6g frames a second", info->fps);
    if (info->overlap > 0) snprintf(overlap, sizeof overlap, ", overlap %.6g", info->overlap);
    ft_log("%s: clips of %d frames and %d pixels, sampler %s, stride %d%s, %s of a video%s, view %s, crop %s", run, info->frames,
           info->size, info->sampler, info->stride, fps, clips, overlap, info->view, info->crop);
    return FT_OK;
}

static int run_predict(ft_cli *c)
{
    const char *const *arg, *out = ft_cli_text(c, "-o");
    ft_classifier_info info;
    ft_config *cfg;
    FT_TRY(ft_cli_need(c, 2, "RUN VIDEO"));
    int n = ft_cli_args(c, &arg), rc = FT_OK;
    ft_choices_keep(arg[0]);
    FT_TRY(ft_cli_config(c, NULL, &cfg));
    ft_config_free(cfg);
    if (out) FT_TRY(ft_claim_output(out, ft_cli_flag(c, "--force")));
    FT_TRY(ft_classifier_info_read(&info, arg[0]));
    if ((rc = make_alike(c, arg[0], &info)) < 0) {
        ft_classifier_info_free(&info);
        return rc;
    }
    ft_text t;
    json_t *list = json_array();
    float *mean = NULL;
    bool *read = NULL;
    int bad = 0;
    FT_TRY_TO(rc, done, ft_text_begin(&t));
    FILE *f = t.f;
    mean = ft_alloc_n(n * info.n_classes, sizeof *mean), read = ft_alloc_n(n, sizeof *read);
    if (!mean || !read) FT_TRY_TO(rc, done, FT_FAIL(FT_ENOMEM, "no memory for predictions"));
    FT_TRY_TO(rc, done, predict_videos(arg[0], &info, arg + 1, n - 1, mean, read));
    for (int i = 0; i < n - 1; i++) bad += !read[i];
    if (bad == n - 1) FT_TRY_TO(rc, done, FT_FAIL(FT_EDATA, "none of the %d videos could be read", bad));
    fprintf(f, "video,predicted");
    for (int k = 0; k < info.n_classes; k++) fputc(',', f), ft_csv_probability(f, info.classes[k]);
    fputc('\n', f);
    for (int i = 1; rc == FT_OK && i < n; i++) {
        const float *p = mean + (i - 1) * info.n_classes;
        int best = 0;
        if (!read[i - 1]) continue;
        json_t *probs = json_object();
        for (int k = 0; k < info.n_classes; k++) {
            if (p[k] > p[best]) best = k;
            json_object_set_new(probs, info.classes[k], json_real((double)p[k]));
        }
        char *said = info.multilabel ? set_text(&info, p) : ft_strdup(info.classes[best]);
        if (!said) {
            json_decref(probs);
            FT_TRY_TO(rc, done, FT_FAIL(FT_ENOMEM, "no memory for predictions"));
        }
        ft_csv_field(f, arg[i]);
        fputc(',', f);
        ft_csv_field(f, said);
        for (int k = 0; k < info.n_classes; k++) fprintf(f, ",%.6f", (double)p[k]);
        fputc('\n', f);
        json_array_append_new(list, json_pack("{s:s,s:s,s:o}", "video", arg[i], "predicted", said, "probabilities", probs));
        ft_free(said);
    }
done:
    if (rc == FT_OK) rc = ft_text_end(&t);
    if (rc == FT_OK && out) rc = ft_write_file(out, t.text, t.size);
    if (rc == FT_OK) ft_cli_print(c, json_incref(list), "%s", out ? "" : t.text);
    if (rc == FT_OK && bad)
        rc = FT_FAIL(FT_EDATA, "%d of %d videos could not be read and are not among the predictions", bad, n - 1);
    json_decref(list);
    ft_free(mean);
    ft_free(read);
    ft_text_free(&t);
    ft_classifier_info_free(&info);
    return rc;
}
static const ft_option predict_options[] = {{"-o", "OUT.csv", NULL, "write here instead of the screen"},
                                            {"--crop", "none|auto|dicom-region|x,y,w,h", NULL,
                                             "otherwise than the clips were made that it learned from; so are the rest"},
                                            {"--fps", "N", NULL, "resample to this rate first"},
                                            {"--sampler", "stride|released|uniform|dense", NULL, "which frames"},
                                            {"--stride", "N", NULL, "source frames from frame to frame"},
                                            {"--clips-per-video", "all|K", NULL, "clips whose answers are averaged"},
                                            {"--overlap", "P", NULL, "of neighbours of --clips-per-video all"},
                                            {NULL, NULL, NULL, NULL}};
const ft_verb ft_verb_predict = {"predict",
                                 "class probabilities of raw videos",
                                 "predict RUN VIDEO... [-o OUT.csv]",
                                 "forty predict runs/x3d new/*.mp4 -o predictions.csv",
                                 predict_options,
                                 run_predict};
