/* run.json of a classifier: what it learnt from and what its answers mean, as it is written and as it is read. */
#include "classify/classifier_info.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "classify/probe.h"
#include "classify/scores.h"
#include "common/base/files.h"
#include "common/base/memory.h"
#include "common/base/names.h"
#include "common/base/status.h"
#include "common/io/clip_sampler.h"
#include "common/io/video.h"

/* How the clips were made that it learns from: the store's own word, or, where it has none, what the options say */
static int describe_sampling(json_t *m, const ft_classifier_opt *o, const ft_clipstore *s)
{
    static const char *const names[] = {"stride", "fps", "clips_per_video", "sampler", "view", "crop", "overlap"};
    json_t *own = s->config ? json_loads(s->config, 0, NULL) : NULL;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *key = ft_format("data.%s", names[i]);
        if (!key) return json_decref(own), FT_ENOMEM;
        json_t *v = json_object_get(own, names[i]);
        if (!v) v = json_object_get(o->described, key);
        if (json_is_string(v)) json_object_set(m, names[i], v);
        else if (json_is_integer(v)) json_object_set_new(m, names[i], json_sprintf("%lld", (long long)json_integer_value(v)));
        else if (json_is_real(v)) json_object_set_new(m, names[i], json_sprintf("%.17g", json_real_value(v)));
        ft_free(key);
    }
    const char *clips = json_string_value(json_object_get(m, "clips_per_video"));
    if (clips && !strcmp(clips, "all")) json_object_set_new(m, "clips_per_video", json_string("0"));
    json_decref(own);
    return FT_OK;
}

json_t *ft_classifier_describe(const ft_classifier_opt *o, const ft_training_set *s)
{
    json_t *m = json_object();
    ft_text names;
    if (ft_text_begin(&names) < 0) return json_decref(m), NULL;
    for (int c = 0; c < s->n_classes; c++) fprintf(names.f, "%s%s", c ? "\n" : "", s->classes[c]);
    if (ft_text_end(&names) < 0) {
        ft_text_free(&names);
        return json_decref(m), NULL;
    }
    char number[3][32];
    snprintf(number[0], 32, "%d", s->store->frames);
    snprintf(number[1], 32, "%d", s->store->size);
    snprintf(number[2], 32, "%d", o->test_clips);
    json_object_set_new(m, "test_clips", json_string(number[2]));
    json_object_set_new(m, "classes", json_string(names.text));
    if (s->positive == FT_MULTILABEL) json_object_set_new(m, "multilabel", json_string("true"));
    else json_object_set_new(m, "positive", json_string(s->classes[s->positive]));
    if (o->lora) {
        json_object_set_new(m, "lora", json_sprintf("%d", o->lora));
        json_object_set_new(m, "lora_alpha", json_sprintf("%.17g", o->lora_alpha));
    }
    json_object_set_new(m, "evaluated", json_string(ft_evaluated_names[o->evaluated]));
    json_object_set_new(m, "frames", json_string(number[0]));
    json_object_set_new(m, "size", json_string(number[1]));
    if (describe_sampling(m, o, s->store) < 0) {
        ft_text_free(&names);
        return json_decref(m), NULL;
    }
    if (s->features) {
        json_t *v;
        const char *name;
        json_object_foreach(o->described, name, v) if (!strncmp(name, "features.", 9)) json_object_set(m, name, v);
        json_object_set_new(m, "features.network", json_string(s->network));
    }
    ft_text_free(&names);
    return m;
}

int ft_classifier_note_strength(json_t *meta, const double *strength, int n)
{
    ft_text t;
    FT_TRY(ft_text_begin(&t));
    for (int i = 0; i < n; i++) fprintf(t.f, "%s%.9g", i ? " " : "", strength[i]);
    int rc = ft_text_end(&t);
    if (rc == FT_OK) json_object_set_new(meta, "strength", json_string(t.text));
    ft_text_free(&t);
    return rc;
}

void ft_classifier_info_free(ft_classifier_info *info)
{
    for (int i = 0; i < info->n_classes; i++) ft_free(info->classes[i]);
    ft_free(info->classes);
    json_decref(info->features);
    memset(info, 0, sizeof *info);
}

static int word(const char *path, const char *name, const char *value, bool known, char *out, size_t size)
{
    snprintf(out, size, "%s", value);
    return known ? FT_OK : FT_FAIL(FT_EDATA, "%s: %s is %.40s, which is not known", path, name, value);
}

static const char *text_of(const json_t *m, const char *name) { return json_string_value(json_object_get(m, name)); }

/* How the clips were made that it learnt from; runs of earlier versions say less. */
static int read_sampling(ft_classifier_info *info, const json_t *m, const char *path)
{
    const char *sampler = text_of(m, "sampler"), *view = text_of(m, "view"), *crop = text_of(m, "crop"), *fps = text_of(m, "fps"),
               *overlap = text_of(m, "overlap");
    if (!sampler) sampler = "stride";
    if (!view) view = "centre";
    if (!crop) crop = "none";
    FT_TRY(word(path, "sampler", sampler, ft_clip_sampler_known(sampler), info->sampler, sizeof info->sampler));
    FT_TRY(word(path, "view", view, ft_view_known(view), info->view, sizeof info->view));
    FT_TRY(word(path, "crop", crop, ft_video_crop_known(crop), info->crop, sizeof info->crop));
    info->fps = fps ? atof(fps) : 0, info->overlap = overlap ? atof(overlap) : 0;
    if (info->fps >= 0 && info->fps <= 1000 && info->overlap >= 0 && info->overlap <= 0.99) return FT_OK;
    return FT_FAIL(FT_EDATA, "%s: fps is %.40s, overlap %.40s: not a rate and a share", path, fps, overlap);
}

static int read_numbers(ft_classifier_info *info, const json_t *m, const char *path)
{
    static const char *const names[] = {"frames", "size", "stride", "clips_per_video", "test_clips"};
    int *const to[] = {&info->frames, &info->size, &info->stride, &info->clips_per_video, &info->test_clips};
    static const long least[] = {1, 1, 1, 0, 0}, most[] = {4096, 8192, 1000000, 1000000, 1000000}; /* "0": all of them */
    for (int i = 0; i < 5; i++) {
        const char *v = text_of(m, names[i]);
        char *end = "";
        long n = v ? strtol(v, &end, 10) : least[i];
        if (*end || (v && !*v) || n < least[i] || n > most[i] || (!v && i < 2))
            return FT_FAIL(FT_EDATA, "%s: %s is %.40s; a whole number from %ld to %ld is needed", path, names[i],
                           v ? v : "missing", least[i], most[i]);
        *to[i] = (int)n;
    }
    const char *lora = text_of(m, "lora"), *alpha = text_of(m, "lora_alpha");
    if (!lora || !alpha) return FT_OK;
    info->lora = atoi(lora), info->alpha = atof(alpha);
    if (info->lora >= 1 && info->lora <= 256 && info->alpha >= 0 && info->alpha <= 1e4) return FT_OK;
    return FT_FAIL(FT_EDATA, "%s: lora is %.40s, lora_alpha %.40s: not a rank and a factor of adapters", path, lora, alpha);
}

/* Of a probe: the settings of its frozen network */
static int read_features(ft_classifier_info *info, const json_t *m, const char *path)
{
    const char *network = text_of(m, "features.network"), *name;
    json_t *value;
    if (!ft_classifier_find(info->model)->of_features) return FT_OK;
    info->features = json_object();
    json_object_foreach((json_t *)(uintptr_t)m, name,
                        value) if (!strncmp(name, "features.", 9) && strcmp(name, "features.network") && json_is_string(value))
        json_object_set(info->features, name, value);
    if (!network || !json_object_size(info->features))
        return FT_FAIL(FT_EDATA, "%s: does not say which features it looks at", path);
    snprintf(info->network, sizeof info->network, "%s", network);
    return FT_OK;
}

static int read_classes(ft_classifier_info *info, const json_t *m, const char *path)
{
    const char *positive = text_of(m, "positive"), *multilabel = text_of(m, "multilabel");
    if (positive) FT_TRY(ft_check_name(positive, strlen(positive), path, "the positive class"));
    snprintf(info->positive, sizeof info->positive, "%s", positive ? positive : "");
    info->multilabel = multilabel && !strcmp(multilabel, "true");
    for (const char *p = text_of(m, "classes"); *p;) {
        size_t n = strcspn(p, "\n");
        if (n == 0) return FT_FAIL(FT_EDATA, "%s: a class without a name", path);
        FT_TRY(ft_grow(&info->classes, (size_t)info->n_classes, sizeof *info->classes));
        char *class = ft_format("%.*s", (int)n, p);
        if (!class) return FT_FAIL(FT_ENOMEM, "no memory");
        info->classes[info->n_classes++] = class;
        FT_TRY(ft_check_name(class, n, path, "the class"));
        p += n + (p[n] == '\n');
    }
    if (info->n_classes >= 2 && info->n_classes <= (info->multilabel ? FT_MAX_SET : FT_MAX_CLASSES)) return FT_OK;
    return FT_FAIL(FT_EDATA, "%s: is damaged", path);
}

int ft_classifier_info_read(ft_classifier_info *info, const char *dir)
{
    char path[1100], *text;
    size_t size;
    memset(info, 0, sizeof *info);
    snprintf(path, sizeof path, "%s/run.json", dir);
    FT_TRY(ft_read_file(path, 1u << 20, &text, &size));
    json_t *m = json_loads(text, 0, NULL);
    ft_free(text);
    const char *model = text_of(m, "model"), *evaluated = text_of(m, "evaluated");
    int rc = FT_OK;
    if (!text_of(m, "classes") || !model || !ft_classifier_find(model))
        rc = FT_FAIL(FT_EDATA, "%s: does not describe a classifier. Give the folder of a trained classifier", path);
    else snprintf(info->model, sizeof info->model, "%s", model);
    for (int i = 0; evaluated && i < 3; i++)
        if (!strcmp(evaluated, ft_evaluated_names[i])) info->evaluated = (ft_evaluated)i;
    if (rc == FT_OK) rc = read_sampling(info, m, path);
    if (rc == FT_OK) rc = read_numbers(info, m, path);
    if (rc == FT_OK) rc = read_features(info, m, path);
    if (rc == FT_OK) rc = read_classes(info, m, path);
    json_decref(m);
    if (rc < 0) ft_classifier_info_free(info);
    return rc;
}
