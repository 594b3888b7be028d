/* Training of the multiple-instance learner and its answers. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "classify/mil.h"
#include "common/base/memory.h"
#include "common/base/ranks.h"
#include "common/base/ranges.h"
#include "common/base/status.h"
#include "common/base/streams.h"
#include "common/io/weights.h"
#include "common/train/train_loop.h"

int ft_mil_options(ft_mil_opt *o, const ft_config *cfg)
{
    const char *name = ft_config_text(cfg, "mil.model");
    *o = (ft_mil_opt){
        .preset = ft_mil_find(name),
        .tokens = strcmp(ft_config_text(cfg, "mil.tokens"), "snippet") ? FT_MIL_CHANNEL : FT_MIL_SNIPPET,
        .loss = {.margin = ft_config_real(cfg, "mil.margin"),
                 .smooth = ft_config_real(cfg, "mil.smooth"),
                 .sparse = ft_config_real(cfg, "mil.sparse"),
                 .contrast = ft_config_real(cfg, "mil.contrast")},
        .batch = ft_config_int(cfg, "mil.batch"),
        .steps = ft_config_int(cfg, "mil.steps"),
        .save_every = ft_config_int(cfg, "save_every"),
        .lr = ft_config_real(cfg, "mil.lr"),
        .weight_decay = ft_config_real(cfg, "mil.weight_decay"),
        .tensorboard = ft_config_bool(cfg, "log.tensorboard"),
    };
    if (!o->preset)
        return FT_FAIL(FT_ECONFIG, "%s: mil.model %s is not known. `forty models` lists the presets",
                       ft_config_origin(cfg, "mil.model"), name);
    return FT_OK;
}

typedef struct {
    const ft_mil_set *set;
    float *segments;      /* (n, T, D) */
    int64_t *of_class[2]; /* rows of the set */
    int64_t n_class[2], batch, each;
    uint64_t seed;
    ft_t x;
} feeder;

/* B normal videos, then B abnormal ones, each class in shuffled passes of its own */
static int feed(void *ctx, int64_t step)
{
    feeder *f = ctx;
    for (int64_t b = 0; b < 2 * f->batch; b++) {
        int c = b >= f->batch;
        int64_t i = ft_shuffled(f->seed, (uint32_t)(FT_STREAM_MIL_ORDER + c), f->n_class[c],
                                ft_first_sample(step, f->batch) + b % f->batch);
        memcpy((float *)ft_data(f->x) + b * f->each, f->segments + f->of_class[c][i] * f->each, (size_t)f->each * sizeof(float));
    }
    return FT_OK;
}

static int prepare(feeder *f, const ft_mil_preset *p)
{
    const ft_mil_set *s = f->set;
    f->each = p->segments * s->features->width;
    f->segments = ft_alloc((size_t)(s->n * f->each + 1) * sizeof(float));
    for (int c = 0; c < 2; c++) f->of_class[c] = ft_alloc((size_t)(s->n + 1) * sizeof(int64_t));
    if (!f->segments || !f->of_class[0] || !f->of_class[1]) return FT_FAIL(FT_ENOMEM, "no memory for features");
    for (int64_t i = 0; i < s->n; i++) {
        const ft_video_features *v = &s->features->video[s->video[i]];
        ft_mean_ranges(v->value, v->snippets, s->features->width, p->segments, f->segments + i * f->each);
        f->of_class[s->label[i]][f->n_class[s->label[i]]++] = i;
    }
    for (int c = 0; c < 2; c++)
        if (!f->n_class[c])
            return FT_FAIL(FT_EDATA, "%s: no %s video to learn from", s->features->path, c ? "positive" : "negative");
    return FT_OK;
}

int ft_mil_train(const ft_mil_opt *o, const ft_mil_set *set, const char *dir, uint64_t seed, bool resume)
{
    const ft_mil_preset *p = o->preset;
    feeder f = {.set = set, .batch = o->batch, .seed = seed};
    int64_t segments = p->segments, width = set->features->width;
    ft_params *params = ft_params_new(seed);
    ft_graph *g = params ? ft_graph_new(params, FT_F32, FT_GRAPH_MIL) : NULL;
    ft_plan *plan = NULL;
    int rc;
    FT_TRY_TO(rc, done, g ? prepare(&f, p) : FT_FAIL(FT_ENOMEM, "no memory for %s", p->name));
    f.x = ft_input(g, "x", FT_F32, 3, (int64_t[]){2 * f.batch, segments, width});
    ft_t e = ft_mil_embed(g, f.x), score = ft_unary(g, FT_SIGMOID, ft_mil_snippets(g, p, e));
    ft_mil_loss_terms l = ft_mil_loss(g, e, score, ft_mil_video(g, p, o->tokens, e), o->loss);
    ft_t term[] = {l.total, l.video, l.ranking, l.contrast};
    static const char *const name[] = {"loss", "video", "ranking", "contrast"};
    ft_trainer t = {.dir = dir,
                    .what = "mil",
                    .model = p->name,
                    .params = params,
                    .main = {.lr = o->lr, .constant = true},
                    .steps = o->steps,
                    .save_every = o->save_every,
                    .tensorboard = o->tensorboard,
                    .seed = seed,
                    .resume = resume,
                    .feed = feed,
                    .ctx = &f,
                    .metadata = set->describe};
    for (int i = 0; i < 4; i++)
        if (term[i]) ft_keep(term[i]), t.logged_name[t.n_logged] = name[i], t.main.logged[t.n_logged++] = term[i];
    ft_backward(g, l.total);
    t.main.grad_norm = ft_optimise(g, (ft_optim_opt){.weight_decay = (float)o->weight_decay});
    FT_TRY_TO(rc, done, ft_plan_new(&plan, g, FT_WEIGHTS));
    t.main.plan = plan;
    rc = ft_train(&t);
done:
    ft_plan_free(plan);
    ft_graph_free(g);
    ft_params_free(params);
    ft_free(f.segments);
    ft_free(f.of_class[0]);
    ft_free(f.of_class[1]);
    return rc;
}

int ft_mil_score(const ft_mil_opt *o, const char *dir, const ft_features *features, const int64_t *video, int64_t n,
                 float *p_video, float *p_snippet)
{
    const ft_mil_preset *p = o->preset;
    char path[1100];
    int64_t D = features->width, longest = 1;
    for (int64_t i = 0; i < n; i++)
        if (features->video[video[i]].snippets > longest) longest = features->video[video[i]].snippets;
    ft_params *params = ft_params_new(0);
    ft_graph *g = params ? ft_graph_new(params, FT_F32, FT_GRAPH_MIL_PREDICTION) : NULL;
    ft_plan *plan = NULL;
    int rc;
    FT_TRY_TO(rc, done, g ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for %s", p->name));
    ft_training(g, false);
    ft_t x = ft_input(g, "x", FT_F32, 3, (int64_t[]){1, p->segments, D});
    ft_t whole = ft_input(g, "snippets", FT_F32, 3, (int64_t[]){1, longest, D}); /* zeros behind the last, as the padding is */
    ft_t a = ft_unary(g, FT_SIGMOID, ft_mil_video(g, p, o->tokens, ft_mil_embed(g, x)));
    ft_t b = ft_unary(g, FT_SIGMOID, ft_mil_snippets(g, p, ft_mil_embed(g, whole)));
    ft_keep(a);
    ft_keep(b);
    FT_TRY_TO(rc, done, ft_plan_new(&plan, g, FT_WEIGHTS));
    snprintf(path, sizeof path, "%s/weights.safetensors", dir);
    FT_TRY_TO(rc, done, ft_weights_load(path, params, FT_WEIGHTS, NULL));
    for (int64_t i = 0; i < n; i++) {
        const ft_video_features *v = &features->video[video[i]];
        ft_mean_ranges(v->value, v->snippets, D, p->segments, ft_data(x));
        memset(ft_data(whole), 0, (size_t)(longest * D) * sizeof(float));
        memcpy(ft_data(whole), v->value, (size_t)(v->snippets * D) * sizeof(float));
        FT_TRY_TO(rc, done, ft_run(plan, &(ft_step){0}));
        p_video[i] = *(const float *)ft_data(a);
        memcpy(p_snippet, ft_data(b), (size_t)v->snippets * sizeof(float));
        p_snippet += v->snippets;
    }
done:
    ft_plan_free(plan);
    ft_graph_free(g);
    ft_params_free(params);
    return rc;
}
