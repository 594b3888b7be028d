/* Verbs about data: ingest, phantom, info. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/files.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/io/clipstore.h"
#include "common/io/pth.h"
#include "common/io/video.h"
#include "experiments/cli/cli.h"
#include "experiments/data/datasets.h"
#include "experiments/data/ingest.h"
#include "gen/phantom.h"

/* How the list is read: the settings of a configuration under the names of options. */
static int list_words(const ft_cli *c, ft_config *cfg)
{
    static const char *const option[][2] = {{"--as", "data.as"},
                                            {"--columns", "data.columns"},
                                            {"--group-from", "data.group_from"},
                                            {"--threshold", "data.threshold"},
                                            {"--bins", "data.bins"},
                                            {"--window", "data.window"},
                                            {"--positive", "data.window_positive"},
                                            {"--multilabel", "data.multilabel"}};
    for (size_t i = 0; i < sizeof option / sizeof *option; i++) {
        bool flag = !strcmp(option[i][0], "--multilabel");
        const char *value = !flag ? ft_cli_text(c, option[i][0]) : ft_cli_flag(c, option[i][0]) ? "true" : NULL;
        if (!value) continue;
        char *assignment = ft_format("%s=%s", option[i][1], value);
        int rc = assignment ? ft_config_set(cfg, assignment, option[i][0]) : FT_FAIL(FT_ENOMEM, "no memory");
        ft_free(assignment);
        FT_TRY(rc);
    }
    return FT_OK;
}

static int ingest_with(ft_cli *c, ft_config *cfg)
{
    int64_t frames, stride, size, clips = 0;
    double fps, overlap;
    const char *videos = ft_cli_text(c, "--videos"), *out = ft_cli_text(c, "-o"), *k = ft_cli_text(c, "--clips-per-video"),
               *on_error = ft_cli_text(c, "--on-error"), *crop = ft_cli_text(c, "--crop");
    if (!videos || !out)
        return FT_FAIL(FT_EUSAGE, "%s is missing. usage: forty %s", videos ? "-o CLIPS.h5" : "--videos DIR",
                       ft_verb_ingest.usage);
    FT_TRY(list_words(c, cfg));
    FT_TRY(ft_cli_int(c, "--frames", 1, 1024, &frames));
    FT_TRY(ft_cli_int(c, "--stride", 1, 10000, &stride));
    FT_TRY(ft_cli_int(c, "--size", 8, 1024, &size));
    FT_TRY(ft_cli_real(c, "--fps", 0, 1000, &fps));
    FT_TRY(ft_cli_real(c, "--overlap", 0, 0.99, &overlap));
    if (overlap > 0 && strcmp(k, "all"))
        return FT_FAIL(FT_EUSAGE, "--overlap is of the clips of --clips-per-video all; %s are spread over the video", k);
    if (!ft_video_crop_known(crop)) return FT_FAIL(FT_EUSAGE, "--crop is %s; " FT_CROPS " is needed", crop);
    if (strcmp(k, "all")) FT_TRY(ft_cli_int(c, "--clips-per-video", 1, 4096, &clips));
    if (strcmp(on_error, "stop") && strcmp(on_error, "skip"))
        return FT_FAIL(FT_EUSAGE, "--on-error is %s; stop or skip is needed", on_error);
    const char *sampler = ft_cli_text(c, "--sampler"), *view = ft_cli_text(c, "--view");
    if (!ft_clip_sampler_known(sampler))
        return FT_FAIL(FT_EUSAGE, "--sampler is %s; stride, released, uniform or dense is needed", sampler);
    if (!ft_view_known(view)) return FT_FAIL(FT_EUSAGE, "--view is %s; centre, left or 3crop is needed", view);
    FT_TRY(ft_claim_output(out, ft_cli_flag(c, "--force")));
    ft_ingest_opt o = {videos,
                       ft_cli_text(c, "--labels"),
                       {ft_clip_sampler_of(sampler), (int)frames, (int)stride, (int)clips, overlap},
                       view,
                       (int)size,
                       fps,
                       !strcmp(on_error, "skip"),
                       !strcmp(ft_cli_text(c, "--compress"), "gzip"),
                       ft_cli_text(c, "--checksums"),
                       ft_cli_flag(c, "--outside"),
                       ft_list_words_of(cfg),
                       crop};
    ft_ingest_result r;
    FT_TRY(ft_ingest(&o, out, &r));
    ft_cli_print(c,
                 json_pack("{s:s,s:i,s:i,s:i,s:i,s:i,s:i}", "output", out, "videos", r.videos, "clips", r.clips, "skipped",
                           r.skipped, "shortened", r.shortened, "repeating", r.repeating, "burnt_in", r.burnt_in),
                 "%s: %d clips of %d videos (%d at a smaller stride, %d repeating frames, %d left out)\n", out, r.clips, r.videos,
                 r.shortened, r.repeating, r.skipped);
    return FT_OK;
}

static int run_ingest(ft_cli *c)
{
    ft_config *cfg;
    FT_TRY(ft_cli_config(c, NULL, &cfg));
    int rc = ingest_with(c, cfg);
    ft_config_free(cfg);
    return rc;
}

static const ft_option ingest_options[] = {
    {"--videos", "DIR", NULL, "folder of the videos: files, or folders of images"},
    {"--labels", "FILE.csv", NULL,
     "video,label[,group][,split] in any order, or a folder of train.txt, val.txt, test.txt; without it: a folder per class"},
    {"--as", "NAME", NULL, "a data set as it comes: " FT_DATASETS},
    {"--columns", "video=A,label=B", NULL, "what the list calls its columns: video, label, group, split; group= if it has none"},
    {"--group-from", "REGEX", NULL, "its (...) in the group, or in the video's name, is the patient: '^(P[0-9]+)_'"},
    {"--threshold", "N", NULL, "labels that are numbers become two classes"},
    {"--bins", "A,B", NULL, "labels that are numbers become classes between these bounds"},
    {"--multilabel", NULL, NULL, "a video may have several labels: A|B or A;B, or --columns label=A+B+C of 0 and 1"},
    {"--window", "N", NULL, "where frames are labelled: so many become one window with one label [16]"},
    {"--positive", "any|majority", NULL, "of its frames make a window positive [any]"},
    {"-o", "CLIPS.h5", NULL, "clip store to write"},
    {"--frames", "N", "16", "frames of a clip"},
    {"--stride", "N", "3", "source frames from frame to frame"},
    {"--fps", "N", "0", "resample to this rate first; 0: as it is. Folders of images are taken to have it [25]"},
    {"--sampler", "stride|released|uniform|dense", "stride",
     "which frames; released: a window of N strides at 30 frames a second"},
    {"--view", "centre|left|3crop", "centre", "square of the picture; 3crop: three clips for each"},
    {"--size", "N", "128", "pixels: short side scaled to it, cropped to a square"},
    {"--crop", "none|auto|dicom-region|x,y,w,h", "none",
     "part of the upright picture; auto: the ultrasound sector, the endoscope's circle; dicom-region: as the file says; a "
     "picture shows what was kept"},
    {"--clips-per-video", "all|K", "1", "clips spread evenly over each video; all: one behind another, up to its end"},
    {"--overlap", "P", "0", "of neighbours of --clips-per-video all: 0.5 shares half"},
    {"--on-error", "stop|skip", "stop", "what a bad video does"},
    {"--checksums", "FILE", NULL, "SHA-256 of the videos, as sha256sum has them: verified; written if it is not there"},
    {"--outside", NULL, NULL, "the list may name videos outside of the folder, by .. or from the root"},
    {"--compress", "none|gzip", "none", "compression of the clips"},
    {NULL, NULL, NULL, NULL},
};
const ft_verb ft_verb_ingest = {"ingest",
                                "videos and a label list to a clip store",
                                "ingest --videos DIR --labels FILE.csv -o CLIPS.h5",
                                "forty ingest --videos videos --labels labels.csv -o clips.h5 --size 96 --clips-per-video 3",
                                ingest_options,
                                run_ingest};

static int run_phantom(ft_cli *c)
{
    static const char *const settings[] = {"--videos", "--balance", "--visibility", "--seed"}; /* short for phantom.videos ... */
    int64_t frames, size;
    int videos = 0;
    ft_config *cfg;
    const char *out = ft_cli_text(c, "-o");
    if (!out) return FT_FAIL(FT_EUSAGE, "-o CLIPS.h5 is missing. usage: forty %s", ft_verb_phantom.usage);
    FT_TRY(ft_cli_config(c, NULL, &cfg));
    int rc = ft_cli_int(c, "--frames", 1, 256, &frames);
    if (rc == FT_OK) rc = ft_cli_int(c, "--size", 16, 512, &size);
    for (int i = 0; rc == FT_OK && i < 4; i++) {
        char assignment[300];
        if (!ft_cli_flag(c, settings[i])) continue;
        snprintf(assignment, sizeof assignment, "phantom.%s=%s", settings[i] + 2, ft_cli_text(c, settings[i]));
        rc = ft_config_set(cfg, assignment, settings[i]);
    }
    if (rc == FT_OK && ft_config_is(cfg, "phantom.list", "polypdiag"))
        rc = FT_FAIL(FT_EUSAGE, "phantom.list=polypdiag is for experiments, whose data.* say how long videos become clips");
    if (rc == FT_OK) rc = ft_claim_output(out, ft_cli_flag(c, "--force"));
    if (rc == FT_OK) {
        ft_phantom_opt o = {.videos = (int)ft_config_int(cfg, "phantom.videos"),
                            .frames = (int)frames,
                            .size = (int)size,
                            .balance = ft_config_real(cfg, "phantom.balance"),
                            .visibility = ft_config_real(cfg, "phantom.visibility"),
                            .seed = (uint64_t)ft_config_int(cfg, "phantom.seed"),
                            .mp4 = ft_cli_text(c, "--mp4"),
                            .force = ft_cli_flag(c, "--force"),
                            .length_by_class = ft_cli_flag(c, "--length-by-class")};
        videos = o.videos;
        rc = ft_phantom_write(&o, out);
    }
    ft_config_free(cfg);
    FT_TRY(rc);
    ft_cli_print(c, json_pack("{s:s,s:i}", "output", out, "videos", videos), "%s: %d phantom videos\n", out, videos);
    return FT_OK;
}

static const ft_option phantom_options[] = {
    {"-o", "CLIPS.h5", NULL, "clip store to write"},
    {"--videos", "N", "320", "number of videos"},
    {"--frames", "N", "16", "frames of a clip"},
    {"--size", "N", "64", "pixels"},
    {"--balance", "P", "0.5", "share of polyp videos"},
    {"--visibility", "V", "1", "of polyps: under 1 they are harder to see"},
    {"--mp4", "DIR", NULL, "also write whole videos and their label list"},
    {"--length-by-class", NULL, NULL, "whole videos of normal scenes are longer: for studies of that leak"},
    {NULL, NULL, NULL, NULL},
};
const ft_verb ft_verb_phantom = {"phantom",
                                 "procedural colonoscopy phantom, the embedded data set",
                                 "phantom -o CLIPS.h5",
                                 "forty phantom -o phantom.h5 --mp4 phantom-videos",
                                 phantom_options,
                                 run_phantom};

static int info_store(ft_cli *c, const char *path)
{
    ft_clipstore s;
    FT_TRY(ft_clipstore_read(&s, path));
    json_t *labels = json_object(), *splits = json_object();
    for (int64_t i = 0; i < s.n_video; i++) {
        json_object_set_new(labels, s.video[i].label,
                            json_integer(json_integer_value(json_object_get(labels, s.video[i].label)) + 1));
        json_object_set_new(splits, s.video[i].split,
                            json_integer(json_integer_value(json_object_get(splits, s.video[i].split)) + 1));
    }
    char *l, *p = NULL;
    int rc = ft_json_text(labels, JSON_COMPACT, &l);
    if (rc == FT_OK) rc = ft_json_text(splits, JSON_COMPACT, &p);
    if (rc == FT_OK)
        ft_cli_print(
            c,
            json_pack("{s:s,s:s,s:I,s:I,s:i,s:i,s:f,s:o,s:o,s:s}", "file", path, "kind", "clip store", "clips",
                      (json_int_t)s.n_clip, "videos", (json_int_t)s.n_video, "frames", s.frames, "size", s.size, "stride",
                      s.stride, "labels", labels, "splits", splits, "sha256", s.id),
            "%s: clip store, %lld clips of %lld videos, %d frames of %dx%d, stride %g\nlabels %s\nsplits %s\nsha256 %s\n", path,
            (long long)s.n_clip, (long long)s.n_video, s.frames, s.size, s.size, s.stride, l, p, s.id);
    ft_free(l);
    ft_free(p);
    ft_clipstore_free(&s);
    return rc;
}

static int info_weights(ft_cli *c, const char *path)
{
    ft_safetensors st;
    char used[64] = "";
    FT_TRY(ft_weights_file_read(&st, path, NULL, used));
    int64_t values = 0;
    for (int i = 0; i < st.n; i++) values += st.tensor[i].count;
    char *meta = NULL;
    int rc = st.metadata ? ft_json_text(st.metadata, JSON_INDENT(1), &meta) : FT_OK;
    if (rc == FT_OK)
        ft_cli_print(c,
                     json_pack("{s:s,s:s,s:i,s:I,s:s,s:O}", "file", path, "kind", "weights", "tensors", st.n, "values",
                               (json_int_t)values, "key", used, "metadata", st.metadata ? st.metadata : json_null()),
                     "%s: %d tensors, %lld values%s%s\n%s\n", path, st.n, (long long)values, *used ? ", in its dict " : "", used,
                     meta ? meta : "no metadata");
    ft_free(meta);
    ft_safetensors_free(&st);
    return rc;
}

/* what a DICOM file says of its pictures, in one line; of its patient nothing */
static void say_dicom(char *text, size_t size, json_t *o, const ft_video *v)
{
    static const char *const burnt_in[] = {"does not say whether text is burnt in", "no text is burnt in", "text is burnt in"};
    const ft_rect *r = &v->region;
    char region[100] = "no ultrasound region";
    *text = 0;
    if (!v->dicom) return;
    if (r->w) snprintf(region, sizeof region, "ultrasound region %d,%d,%d,%d", r->x, r->y, r->w, r->h);
    snprintf(text, size, "DICOM: %s; %s\n", region, burnt_in[v->burnt_in + 1]);
    json_object_set_new(o, "region", r->w ? json_pack("[i,i,i,i]", r->x, r->y, r->w, r->h) : json_null());
    json_object_set_new(o, "burnt_in", v->burnt_in < 0 ? json_null() : json_boolean(v->burnt_in));
}

static int info_video(ft_cli *c, const char *path)
{
    ft_video v;
    char dicom[200];
    FT_TRY(ft_video_open(&v, path));
    json_t *o = json_pack("{s:s,s:s,s:I,s:f,s:i,s:i,s:i,s:f,s:f,s:b}", "file", path, "kind", "video", "frames",
                          (json_int_t)v.frames, "fps", v.fps, "width", v.width, "height", v.height, "rotation", v.rotation,
                          "seconds", v.time[v.frames - 1], "pixel_aspect", v.aspect, "mirrored", v.mirrored);
    say_dicom(dicom, sizeof dicom, o, &v);
    ft_cli_print(c, o, "%s: video, %lld %s of %dx%d at %.3g a second, rotation %d%s, pixels %.4g times as wide as high\n%s", path,
                 (long long)v.frames, v.images ? "images" : "frames", v.width, v.height, v.fps, v.rotation,
                 v.mirrored ? " of the mirrored picture" : "", v.aspect, dicom);
    ft_video_close(&v);
    return FT_OK;
}

static int run_info(ft_cli *c)
{
    const char *const *arg;
    FT_TRY(ft_cli_need(c, 1, "FILE"));
    ft_cli_args(c, &arg);
    const char *dot = strrchr(arg[0], '.');
    if (ft_is_dir(arg[0])) { /* a run folder */
        char path[1100], *text;
        size_t size;
        snprintf(path, sizeof path, "%s/run.json", arg[0]);
        if (!ft_exists(path)) return info_video(c, arg[0]);
        FT_TRY(ft_read_file(path, 1u << 20, &text, &size));
        printf("%s\n", text);
        ft_free(text);
        return FT_OK;
    }
    if (dot && !strcmp(dot, ".h5")) return info_store(c, arg[0]);
    static const char *const weights[] = {".safetensors", ".pth", ".pt", ".ckpt"};
    for (int i = 0; dot && i < 4; i++)
        if (!strcmp(dot, weights[i])) return info_weights(c, arg[0]);
    return info_video(c, arg[0]);
}
const ft_verb ft_verb_info = {"info",      "what a clip store, weights file, run folder or video holds",
                              "info FILE", "forty info clips.h5 --json",
                              NULL,        run_info};
