#include "gen/gan.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/files.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/ranks.h"
#include "common/base/rng.h"
#include "common/base/status.h"
#include "common/base/streams.h"
#include "common/train/train_loop.h"
#include "gen/gan_augment.h"
#include "gen/sampler.h"

int64_t ft_lazy_step(int64_t step, int64_t every, bool penalty)
{
    return penalty ? step + 1 + step / every : step + (step + every - 1) / every;
}

double ft_gan_average(const ft_gan_opt *o, int64_t step)
{
    double half = fmin(o->half_life, o->ramp * (double)step);
    return half > 0 ? pow(0.5, 1 / half) : 0;
}

void ft_gan_times(ft_rng *r, int64_t frames, int64_t most, bool whole, float t[FT_STYLEGAN_FRAMES])
{
    int64_t kinds = 0;
    while (2 << kinds <= frames - 1 && 2 << kinds <= most) kinds++;
    int64_t distance = 2 << ft_rng_below(r, kinds), room = frames - distance;
    double first = whole ? (double)ft_rng_below(r, room) : ft_rng_uniform(r) * (double)(room - 1);
    t[0] = (float)first, t[2] = (float)(first + (double)distance);
    t[1] = (float)(first + 1 + (double)ft_rng_below(r, distance - 1));
}

ft_t ft_gan_clip(ft_graph *g, const char *preset, int frames, int size, int classes, double psi, ft_gan_in *in)
{
    float t[256];
    const ft_stylegan_preset *p = ft_generator_preset_of(preset);
    ft_gan_in from = {.z = ft_input(g, "z", FT_F32, 2, (int64_t[]){1, p->width}),
                      .motion = ft_input(g, "motion", FT_F32, 3, (int64_t[]){1, ft_stylegan_codes(frames), p->width})};
    if (ft_gan_fits(preset, frames, size) < 0) return ft_graph_fail(g, "%s", ft_error_message());
    for (int i = 0; i < frames && i < 256; i++) t[i] = (float)i;
    from.t = ft_const(g, FT_F32, 2, (int64_t[]){1, frames}, t);
    if (classes > 0) from.label = ft_input(g, "label", FT_F32, 2, (int64_t[]){1, classes + 1});
    if (in) *in = from;
    return ft_generator_find(preset)->gan->generate(g, p, from, size, psi);
}

enum { ADAPT_EVERY = 4 };
typedef struct {
    ft_gan_step s;
    const ft_clip_pool *pool;
    const ft_conditions *told; /* NULL: of none */
    uint64_t seed;
    double p, signs; /* augmented with this probability; mean signs of real clips since it was adapted, their sum */
    ft_generator_sampler *sampler;
    ft_trainer *loop;
} training;

/* ---- a step ------------------------------------------------------------------------------------------------------------- */

/* the class of a clip of the pool */
static void feed_label(training *t, ft_t label, int64_t b, int64_t clip)
{
    if (label) ft_label_row(label, b, t->told->of_clip[clip]);
}

/* -> which clip of the pool it is */
static int64_t feed_real(training *t, int64_t b, int64_t draw)
{
    const ft_clipstore *s = t->pool->store;
    int64_t n = t->pool->n, k = ft_shuffled(t->seed, FT_STREAM_GENERATOR_ORDER, t->s.o.flip ? 2 * n : n, draw);
    int64_t frame = (int64_t)s->size * s->size * 3;
    ft_rng r = ft_rng_make(t->seed, FT_STREAM_GAN_FRAMES, (uint64_t)draw);
    float *time = (float *)ft_data(t->s.real_t) + b * FT_STYLEGAN_FRAMES;
    ft_gan_times(&r, s->frames, t->s.o.distance, true, time);
    feed_label(t, t->s.real_label, b, k % n);
    for (int i = 0; i < FT_STYLEGAN_FRAMES; i++)
        ft_to_unit((float *)ft_data(t->s.real) + (b * FT_STYLEGAN_FRAMES + i) * frame,
                   ft_clip_pixels(s, t->pool->clip[k % n]) + (int64_t)time[i] * frame, s->size, s->size, k >= n);
    return k % n;
}

static int feed(void *ctx, int64_t step)
{
    training *t = ctx;
    int64_t first = ft_first_sample(step, t->s.o.batch);
    for (int64_t b = 0; b < t->s.o.batch; b++) {
        ft_rng r = ft_rng_make(t->seed, FT_STREAM_GAN_TIMES, (uint64_t)(first + b));
        for (int k = 0; k < 2; k++)
            ft_gan_times(&r, t->pool->store->frames, t->s.o.distance, false,
                         (float *)ft_data(t->s.fake_t[k]) + b * FT_STYLEGAN_FRAMES);
        int64_t clip = feed_real(t, b, first + b);
        for (int k = 0; k < 2; k++) /* drawn clips have the classes of any of the pool, as often; in a pair both have one */
            if (t->told) feed_label(t, t->s.fake_label[k], b, t->s.o.paired ? clip : ft_rng_below(&r, t->pool->n));
        for (int k = 0; k < FT_GAN_SEEN; k++) {
            if (!t->s.view[k]) continue;
            ft_rng view = ft_rng_make(t->seed, FT_STREAM_GAN_VIEWS, (uint64_t)(FT_GAN_SEEN * (first + b) + k));
            ft_gan_view v = ft_gan_view_draw(&view, t->p, t->s.o.turns, t->pool->store->size);
            ft_gan_view_numbers(&v, t->pool->store->size, (float *)ft_data(t->s.view[k]) + b * FT_GAN_VIEW_NUMBERS);
        }
    }
    return FT_OK;
}

/* The surer it is of real clips, the more it sees of them is changed. */
static int adapt(training *t, int64_t done)
{
    if (!t->s.o.augment) return FT_OK;
    const float *sign = ft_data(t->s.real_sign);
    if (!sign) return FT_EDEVICE;
    float mean = *sign;
    ft_mean_begin(&mean, 1); /* all ranks do alike */
    FT_TRY(ft_mean_wait());
    t->signs += (double)mean / ADAPT_EVERY;
    if (done % ADAPT_EVERY) return FT_OK;
    t->p = ft_gan_adapt(t->p, t->signs, t->s.o.batch * ft_ranks(), ADAPT_EVERY);
    t->signs = 0;
    t->loop->noted[1] = t->p;
    return FT_OK;
}

/* the discriminator's part of a step, behind the generator's */
static int train_critic(void *ctx, int64_t step)
{
    training *t = ctx;
    int64_t every = t->s.plan[FT_GAN_PENALTY] ? t->s.o.r1_every : INT64_MAX / 2;
    ft_step s = {t->seed, t->s.plan[FT_GAN_PENALTY] ? ft_lazy_step(step, every, false) : step, (float)t->s.lr[1], 0,
                 ft_this_rank()};
    FT_TRY(ft_run(t->s.plan[FT_GAN_CRITIC], &s));
    if (!t->s.plan[FT_GAN_PENALTY] || step % every) return FT_OK;
    s.step = ft_lazy_step(step, every, true);
    FT_TRY(ft_run(t->s.plan[FT_GAN_PENALTY], &s));
    const float *penalty = ft_data(t->s.loss[FT_GAN_PENALTY]);
    if (!penalty) return FT_EDEVICE;
    t->loop->noted[0] = (double)*penalty;
    return FT_OK;
}

static double average(void *ctx, int64_t step) { return ft_gan_average(&((training *)ctx)->s.o, step); }

static int after(void *ctx, int64_t done)
{
    training *t = ctx;
    FT_TRY(adapt(t, done));
    if (!t->sampler || ft_this_rank() > 0 || done % t->s.o.sheet_every) return FT_OK;
    return ft_sample_sheet(t->sampler, t->loop->dir, done, t->pool->store->frames, t->pool->store->size);
}

static json_t *state_of(void *ctx)
{
    const training *t = ctx;
    char text[160];
    snprintf(text, sizeof text, "%a %a %a", t->loop->noted[0], t->p, t->signs);
    return json_pack("{s:s}", "adversary", text);
}

static int restore(void *ctx, const json_t *extra)
{
    training *t = ctx;
    const char *text = json_string_value(json_object_get(extra, "adversary"));
    if (!text || sscanf(text, "%la %la %la", &t->loop->noted[0], &t->p, &t->signs) != 3)
        return FT_FAIL(FT_EDATA, "%s: not the state of such a training. Remove it to begin again", t->loop->dir);
    t->loop->noted[1] = t->p;
    return FT_OK;
}

static int run_training(training *t, const char *dir, bool resume)
{
    ft_trainer loop = {.dir = dir,
                       .what = t->s.preset,
                       .model = t->s.preset,
                       .params = t->s.store[0],
                       .companion = t->s.store[1],
                       .main = {.plan = t->s.plan[FT_GAN_GENERATOR], .lr = t->s.lr[0], .constant = true, .grad_norm = t->s.norm},
                       .steps = t->s.o.steps,
                       .save_every = t->s.o.save_every,
                       .tensorboard = t->s.o.tensorboard,
                       .average = average,
                       .seed = t->seed,
                       .resume = resume,
                       .feed = feed,
                       .beside = train_critic,
                       .after = after,
                       .extra = state_of,
                       .restore = restore,
                       .ctx = t,
                       .n_logged = 3,
                       .logged_name = {"loss", "critic_loss", "real_sign"},
                       .n_noted = t->s.o.augment ? 2 : 1,
                       .noted_name = {"penalty", "augmented"},
                       .noted = {NAN, 0}};
    ft_t logged[3] = {t->s.loss[FT_GAN_GENERATOR], t->s.loss[FT_GAN_CRITIC], t->s.real_sign};
    for (int i = 0; i < 3; i++) loop.main.logged[i] = logged[i];
    t->loop = &loop;
    json_t *settings = ft_gan_settings(&t->s.o);
    char *text;
    int rc = ft_json_text(settings, JSON_COMPACT, &text);
    json_decref(settings);
    FT_TRY(rc);
    loop.metadata = json_pack("{s:s,s:s}", "objective", "adversarial", "gan", text);
    ft_free(text);
    char *classes = t->told ? ft_conditions_text(t->told) : NULL;
    if (classes) json_object_set_new(loop.metadata, "classes", json_string(classes));
    rc = classes || !t->told ? ft_train(&loop) : FT_FAIL(FT_ENOMEM, "no memory for classes");
    ft_free(classes);
    json_decref(loop.metadata);
    return rc;
}

int ft_gan_train(const ft_config *cfg, const char *preset, const ft_clip_pool *pool, const ft_conditions *told, const char *dir,
                 uint64_t seed, bool resume)
{
    const ft_clipstore *s = pool->store;
    int classes = told ? told->n : 0;
    training t = {.pool = pool, .told = classes > 0 ? told : NULL, .seed = seed};
    FT_TRY(ft_conditions_take(told, pool, dir));
    int rc = ft_gan_step_new(&t.s, cfg, preset, s->frames, s->size, classes, seed);
    if (rc == FT_OK && t.s.o.sheet_every > 0)
        rc = ft_generator_sampler_new(&t.sampler, cfg, preset, t.s.store[0], NULL, NULL, NULL, s->frames, s->size,
                                      (ft_sampled_class){classes, -1});
    if (rc == FT_OK) rc = run_training(&t, dir, resume);
    ft_generator_sampler_free(t.sampler);
    ft_gan_step_free(&t.s);
    return rc;
}
