#include "gen/gan.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/ranks.h"
#include "common/base/rng.h"
#include "common/base/status.h"
#include "common/base/streams.h"
#include "common/graph/layers.h"
#include "common/train/precision.h"
#include "common/train/train_loop.h"
#include "gen/gan_augment.h"
#include "gen/sampler.h"

ft_gan_opt ft_gan_options(const ft_config *cfg)
{
    return (ft_gan_opt){
        .steps = ft_config_int(cfg, "generator.steps"),
        .batch = ft_config_int(cfg, "generator.batch"),
        .parts = ft_config_int(cfg, "generator.accumulate"),
        .save_every = ft_config_int(cfg, "save_every"),
        .sheet_every = ft_config_int(cfg, "generator.sheet_every"),
        .r1_every = ft_config_int(cfg, "gan.r1_every"),
        .distance = ft_config_int(cfg, "gan.distance"),
        .lr = ft_config_real(cfg, "gan.lr"),
        .r1 = ft_config_real(cfg, "gan.r1"),
        .half_life = ft_config_real(cfg, "gan.ema_half_life"),
        .ramp = ft_config_real(cfg, "gan.ema_ramp"),
        .flip = ft_config_bool(cfg, "generator.flip"),
        .tensorboard = ft_config_bool(cfg, "log.tensorboard"),
        .augment = !ft_config_is(cfg, "gan.augment", "none"),
        .turns = ft_config_is(cfg, "gan.augment", "bgc"),
    };
}

void ft_lazy_rate(int64_t every, double *lr, double *beta2)
{
    double share = (double)every / (double)(every + 1);
    *lr *= share, *beta2 = pow(*beta2, share);
}

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

ft_t ft_gan_clip(ft_graph *g, const char *preset, int frames, int size, double psi, ft_t *z, ft_t *motion)
{
    float t[256];
    const ft_stylegan_preset *p = ft_generator_preset_of(preset);
    ft_t noise[2] = {ft_input(g, "z", FT_F32, 2, (int64_t[]){1, p->width}),
                     ft_input(g, "motion", FT_F32, 3, (int64_t[]){1, ft_stylegan_codes(frames), p->width})};
    if (ft_gan_fits(preset, frames, size) < 0) return ft_graph_fail(g, "%s", ft_error_message());
    for (int i = 0; i < frames && i < 256; i++) t[i] = (float)i;
    if (z) *z = noise[0], *motion = noise[1];
    return ft_generator_find(preset)->gan->generate(g, p, noise[0], noise[1], ft_const(g, FT_F32, 2, (int64_t[]){1, frames}, t),
                                                    size, psi);
}

/* ---- losses ------------------------------------------------------------------------------------------------------------- */

static ft_t mean_softplus(ft_graph *g, ft_t x, float sign)
{
    return ft_reduce(g, ft_unary(g, FT_SOFTPLUS, ft_affine(g, x, sign, 0)), 1, true);
}
ft_t ft_gan_generator_loss(ft_graph *g, ft_t fake) { return mean_softplus(g, fake, -1); }
ft_t ft_gan_critic_loss(ft_graph *g, ft_t real, ft_t fake)
{
    return ft_add(g, mean_softplus(g, fake, 1), mean_softplus(g, real, -1));
}
ft_t ft_gan_penalty(ft_graph *g, ft_t logits, ft_t x)
{
    float frames = (float)(ft_dim(x, 0) * ft_dim(x, 1));
    ft_t slope = ft_gradient(g, ft_reduce(g, logits, 1, false), x); /* a clip's logit depends on others through its group alone */
    ft_t all = ft_reduce(g, ft_unary(g, FT_SQUARE, slope), 31, false);
    return ft_affine(g, ft_reshape(g, all, 1, (int64_t[]){1}), 1 / frames, 0);
}

/* ---- the three plans of a step ------------------------------------------------------------------------------------------ */

enum { GENERATOR, CRITIC, PENALTY, PLANS };
enum { OF_DRAWN = CRITIC, OF_REAL, OF_PENALTY, VIEWS, ADAPT_EVERY = 4 }; /* views: the first of what teaches the generator */
typedef struct {
    const ft_stylegan_preset *preset_of;
    const ft_gan *gan;
    const char *preset;
    ft_gan_opt o;
    const ft_clip_pool *pool;
    uint64_t seed;
    ft_params *store[2]; /* of generator and discriminator */
    ft_graph *graph[PLANS];
    ft_plan *plan[PLANS];
    double lr[2];
    ft_t fake_t[2], real, real_t; /* inputs: times (B,3) of what is drawn for either network; clips (B,3,S,S,3) and their times */
    ft_t loss[PLANS], real_sign, norm; /* scalars */
    ft_t view[VIEWS];                  /* inputs (B,18): how clips are augmented; NULL: they are not */
    double p, signs;                   /* with this probability; mean signs of real clips since it was adapted, their sum */
    ft_generator_sampler *sampler;
    ft_trainer *loop;
} training;

static ft_t part_of(ft_graph *g, const training *t, ft_t x, int64_t k)
{
    int64_t n = t->o.batch / t->o.parts;
    return ft_slice(g, x, 0, k * n, n);
}

/* clips of fresh noise at these times: (n,3,S,S,3) */
static ft_t draw(ft_graph *g, const training *t, ft_t times)
{
    int64_t n = ft_dim(times, 0), W = t->preset_of->width;
    ft_t z = ft_randn(g, FT_F32, 2, (int64_t[]){n, W});
    ft_t motion = ft_randn(g, FT_F32, 3, (int64_t[]){n, ft_stylegan_codes(t->pool->store->frames), W});
    return t->gan->generate(g, t->preset_of, z, motion, times, t->pool->store->size, 1);
}

static void make_view(ft_graph *g, training *t, int which)
{
    if (t->o.augment) t->view[which] = ft_input(g, "view", FT_F32, 2, (int64_t[]){t->o.batch, FT_GAN_VIEW_NUMBERS});
}

/* logits of part k of the batch, as the discriminator sees it */
static ft_t judge(ft_graph *g, const training *t, ft_t x, ft_t times, int which, int64_t k)
{
    if (t->view[which]) x = ft_gan_augment(g, x, part_of(g, t, t->view[which], k));
    return t->gan->judge(g, t->preset_of, x, times);
}

static int graph_of(training *t, int which, ft_dtype dtype, uint32_t stream)
{
    ft_graph *g = t->graph[which] = ft_graph_new(t->store[which != GENERATOR], dtype, stream);
    return g ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for %s", t->preset);
}

static int finish_graph(training *t, int which, ft_t norm)
{
    ft_graph *g = t->graph[which];
    if (t->loss[which]) ft_keep(t->loss[which]);
    if (which == GENERATOR) t->norm = norm;
    if (ft_graph_error(g)) return FT_FAIL(FT_EGRAPH, "%s cannot be built: %s", t->preset, ft_graph_error(g));
    return ft_plan_new(&t->plan[which], g, FT_WEIGHTS);
}

static int make_generator(training *t, ft_dtype dtype)
{
    double beta2 = 0.99;
    FT_TRY(graph_of(t, GENERATOR, dtype, FT_GRAPH_GENERATOR));
    ft_graph *g = t->graph[GENERATOR];
    t->fake_t[GENERATOR] = ft_input(g, "t", FT_F32, 2, (int64_t[]){t->o.batch, FT_STYLEGAN_FRAMES});
    make_view(g, t, GENERATOR);
    for (int64_t k = 0; k < t->o.parts; k++) {
        ft_t times = part_of(g, t, t->fake_t[GENERATOR], k), x = draw(g, t, times);
        ft_borrow(g, t->store[CRITIC]);
        ft_t loss = ft_gan_generator_loss(g, judge(g, t, x, times, GENERATOR, k));
        ft_borrow(g, NULL);
        ft_backward(g, ft_add_part(g, &t->loss[GENERATOR], loss, t->o.parts));
    }
    /* as if path lengths were regularised, which published settings leave out */
    ft_lazy_rate(t->gan->lazy, &t->lr[GENERATOR], &beta2);
    return finish_graph(t, GENERATOR, ft_optimise(g, (ft_optim_opt){.no_momentum = true, .beta2 = (float)beta2}));
}

static ft_optim_opt critic_optimiser(training *t)
{
    double beta2 = 0.99;
    t->lr[CRITIC] = t->o.lr;
    if (t->o.r1 > 0) ft_lazy_rate(t->o.r1_every, &t->lr[CRITIC], &beta2);
    return (ft_optim_opt){.no_momentum = true, .beta2 = (float)beta2, .no_ema = true};
}

static int make_critic(training *t, ft_dtype dtype)
{
    const int64_t S = t->pool->store->size, dim[5] = {t->o.batch, FT_STYLEGAN_FRAMES, S, S, 3};
    FT_TRY(graph_of(t, CRITIC, dtype, FT_GRAPH_CRITIC));
    ft_graph *g = t->graph[CRITIC];
    t->fake_t[CRITIC] = ft_input(g, "t", FT_F32, 2, dim);
    t->real_t = ft_input(g, "real_t", FT_F32, 2, dim);
    t->real = ft_input(g, "real", FT_F32, 5, dim);
    make_view(g, t, OF_DRAWN), make_view(g, t, OF_REAL);
    for (int64_t k = 0; k < t->o.parts; k++) {
        ft_t times = part_of(g, t, t->fake_t[CRITIC], k);
        ft_borrow(g, t->store[GENERATOR]);
        ft_t x = draw(g, t, times);
        ft_borrow(g, NULL);
        ft_t fake = judge(g, t, x, times, OF_DRAWN, k);
        ft_t real = judge(g, t, part_of(g, t, t->real, k), part_of(g, t, t->real_t, k), OF_REAL, k);
        ft_t sign = ft_affine(g, ft_unary(g, FT_STEP, real), 2, -1);
        ft_add_part(g, &t->real_sign, ft_reduce(g, sign, 1, true), t->o.parts);
        ft_backward(g, ft_add_part(g, &t->loss[CRITIC], ft_gan_critic_loss(g, real, fake), t->o.parts));
    }
    ft_keep(t->real_sign);
    return finish_graph(t, CRITIC, ft_optimise(g, critic_optimiser(t)));
}

static int make_penalty(training *t, ft_dtype dtype)
{
    if (!(t->o.r1 > 0)) return FT_OK;
    FT_TRY(graph_of(t, PENALTY, dtype, FT_GRAPH_PENALTY));
    ft_graph *g = t->graph[PENALTY];
    ft_t real = ft_input_at(g, t->real), times = ft_input_at(g, t->real_t);
    ft_need_grad(real);
    make_view(g, t, OF_PENALTY);
    for (int64_t k = 0; k < t->o.parts; k++) {
        ft_t x = part_of(g, t, real, k);
        ft_t slope = ft_gan_penalty(g, judge(g, t, x, part_of(g, t, times, k), OF_PENALTY, k), x);
        ft_t share = ft_add_part(g, &t->loss[PENALTY], slope, t->o.parts);
        ft_backward(g, ft_affine(g, share, (float)(t->o.r1 / 2 * (double)t->o.r1_every), 0));
    }
    ft_ground(g); /* biases bend nothing */
    return finish_graph(t, PENALTY, ft_optimise(g, critic_optimiser(t)));
}

/* ---- a step ------------------------------------------------------------------------------------------------------------- */

static void feed_real(training *t, int64_t b, int64_t draw)
{
    const ft_clipstore *s = t->pool->store;
    int64_t n = t->pool->n, k = ft_shuffled(t->seed, FT_STREAM_GENERATOR_ORDER, t->o.flip ? 2 * n : n, draw);
    int64_t frame = (int64_t)s->size * s->size * 3;
    ft_rng r = ft_rng_make(t->seed, FT_STREAM_GAN_FRAMES, (uint64_t)draw);
    float *time = (float *)ft_data(t->real_t) + b * FT_STYLEGAN_FRAMES;
    ft_gan_times(&r, s->frames, t->o.distance, true, time);
    for (int i = 0; i < FT_STYLEGAN_FRAMES; i++)
        ft_to_unit((float *)ft_data(t->real) + (b * FT_STYLEGAN_FRAMES + i) * frame,
                   ft_clip_pixels(s, t->pool->clip[k % n]) + (int64_t)time[i] * frame, s->size, s->size, k >= n);
}

static int feed(void *ctx, int64_t step)
{
    training *t = ctx;
    int64_t first = ft_first_sample(step, t->o.batch);
    for (int64_t b = 0; b < t->o.batch; b++) {
        ft_rng r = ft_rng_make(t->seed, FT_STREAM_GAN_TIMES, (uint64_t)(first + b));
        for (int k = GENERATOR; k <= CRITIC; k++)
            ft_gan_times(&r, t->pool->store->frames, t->o.distance, false,
                         (float *)ft_data(t->fake_t[k]) + b * FT_STYLEGAN_FRAMES);
        feed_real(t, b, first + b);
        for (int k = 0; k < VIEWS; k++) {
            if (!t->view[k]) continue;
            ft_rng view = ft_rng_make(t->seed, FT_STREAM_GAN_VIEWS, (uint64_t)(VIEWS * (first + b) + k));
            ft_gan_view v = ft_gan_view_draw(&view, t->p, t->o.turns, t->pool->store->size);
            ft_gan_view_numbers(&v, t->pool->store->size, (float *)ft_data(t->view[k]) + b * FT_GAN_VIEW_NUMBERS);
        }
    }
    return FT_OK;
}

/* The surer it is of real clips, the more it sees of them is changed. */
static int adapt(training *t, int64_t done)
{
    if (!t->o.augment) return FT_OK;
    const float *sign = ft_data(t->real_sign);
    if (!sign) return FT_EDEVICE;
    float mean = *sign;
    ft_mean_begin(&mean, 1); /* all ranks do alike */
    FT_TRY(ft_mean_wait());
    t->signs += (double)mean / ADAPT_EVERY;
    if (done % ADAPT_EVERY) return FT_OK;
    t->p = ft_gan_adapt(t->p, t->signs, t->o.batch * ft_ranks(), ADAPT_EVERY);
    t->signs = 0;
    t->loop->noted[1] = t->p;
    return FT_OK;
}

/* the discriminator's part of a step, behind the generator's */
static int train_critic(void *ctx, int64_t step)
{
    training *t = ctx;
    int64_t every = t->plan[PENALTY] ? t->o.r1_every : INT64_MAX / 2;
    ft_step s = {t->seed, t->plan[PENALTY] ? ft_lazy_step(step, every, false) : step, (float)t->lr[CRITIC], 0, ft_this_rank()};
    FT_TRY(ft_run(t->plan[CRITIC], &s));
    if (!t->plan[PENALTY] || step % every) return FT_OK;
    s.step = ft_lazy_step(step, every, true);
    FT_TRY(ft_run(t->plan[PENALTY], &s));
    const float *penalty = ft_data(t->loss[PENALTY]);
    if (!penalty) return FT_EDEVICE;
    t->loop->noted[0] = (double)*penalty;
    return FT_OK;
}

static double average(void *ctx, int64_t step) { return ft_gan_average(&((training *)ctx)->o, step); }

static int after(void *ctx, int64_t done)
{
    training *t = ctx;
    FT_TRY(adapt(t, done));
    if (!t->sampler || ft_this_rank() > 0 || done % t->o.sheet_every) return FT_OK;
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
                       .what = t->preset,
                       .model = t->preset,
                       .params = t->store[GENERATOR],
                       .companion = t->store[CRITIC],
                       .main = {.plan = t->plan[GENERATOR], .lr = t->lr[GENERATOR], .constant = true, .grad_norm = t->norm},
                       .steps = t->o.steps,
                       .save_every = t->o.save_every,
                       .tensorboard = t->o.tensorboard,
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
                       .n_noted = t->o.augment ? 2 : 1,
                       .noted_name = {"penalty", "augmented"},
                       .noted = {NAN, 0}};
    ft_t logged[3] = {t->loss[GENERATOR], t->loss[CRITIC], t->real_sign};
    for (int i = 0; i < 3; i++) loop.main.logged[i] = logged[i];
    t->loop = &loop;
    loop.metadata = json_pack("{s:s}", "objective", "adversarial");
    int rc = ft_train(&loop);
    json_decref(loop.metadata);
    return rc;
}

int ft_gan_train(const ft_config *cfg, const char *preset, const ft_clip_pool *pool, const char *dir, uint64_t seed, bool resume)
{
    ft_dtype dtype;
    const ft_clipstore *s = pool->store;
    training t = {.preset_of = ft_generator_preset_of(preset),
                  .gan = ft_generator_find(preset)->gan,
                  .preset = preset,
                  .o = ft_gan_options(cfg),
                  .pool = pool,
                  .seed = seed};
    FT_TRY(ft_gan_fits(preset, s->frames, s->size));
    FT_TRY(ft_precision(cfg, ft_generator_find(preset)->work, &dtype));
    FT_TRY(ft_batch_parts(t.o.parts, t.o.batch, cfg, "generator.accumulate"));
    if (t.o.r1 < 0) t.o.r1 = t.gan->r1 + t.gan->r1_per_pixel * s->size * s->size / (double)t.o.batch;
    t.lr[GENERATOR] = t.o.lr;
    t.store[GENERATOR] = ft_params_new(seed), t.store[CRITIC] = ft_params_new(seed + 1);
    int rc = t.store[GENERATOR] && t.store[CRITIC] ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for %s", preset);
    if (rc == FT_OK) ft_params_no_average(t.store[CRITIC]);
    if (rc == FT_OK) rc = make_generator(&t, dtype);
    if (rc == FT_OK) rc = make_critic(&t, dtype);
    if (rc == FT_OK) rc = make_penalty(&t, dtype);
    if (rc == FT_OK && t.o.sheet_every > 0)
        rc = ft_generator_sampler_new(&t.sampler, cfg, preset, t.store[GENERATOR], NULL, NULL, NULL, s->frames, s->size,
                                      (ft_sampled_class){0, -1});
    if (rc == FT_OK) rc = run_training(&t, dir, resume);
    ft_generator_sampler_free(t.sampler);
    for (int i = PLANS - 1; i >= 0; i--) ft_plan_free(t.plan[i]), ft_graph_free(t.graph[i]);
    for (int i = 0; i < 2; i++) ft_params_free(t.store[i]);
    return rc;
}

int ft_gan_fits(const char *preset, int frames, int size)
{
    if (frames >= FT_STYLEGAN_FRAMES && ft_stylegan_size(size)) return FT_OK;
    return FT_FAIL(FT_ECONFIG,
                   "clips of %d frames and %d pixels do not fit %s: pixels a power of two from %d on, frames from %d on", frames,
                   size, preset, 2 * FT_STYLEGAN_CONCAT, FT_STYLEGAN_FRAMES);
}
