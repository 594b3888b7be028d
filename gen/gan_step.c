#include "gen/gan_step.h"

#include <math.h>
#include <string.h>

#include "common/base/status.h"
#include "common/base/streams.h"
#include "common/graph/layers.h"
#include "common/train/precision.h"
#include "common/train/train_loop.h"
#include "gen/gan_augment.h"

/* What is published is meant for millions of steps. In the first thousands its discriminator wins and drawn clips stay alike, and
 * an average over a third of the steps is of networks that drew nothing yet (results/generators/gans.md). */
static const struct {
    double r1, ramp;
} brief = {4, 0.02};

ft_gan_opt ft_gan_options(const ft_config *cfg, const char *preset, int size)
{
    const ft_stylegan_preset *p = ft_generator_preset_of(preset);
    const ft_gan *gan = ft_generator_find(preset)->gan;
    ft_gan_opt o = {
        .steps = ft_config_int(cfg, "generator.steps"),
        .batch = ft_config_int(cfg, "generator.batch"),
        .parts = ft_config_int(cfg, "generator.accumulate"),
        .save_every = ft_config_int(cfg, "save_every"),
        .sheet_every = ft_config_int(cfg, "generator.sheet_every"),
        .r1_every = ft_config_int(cfg, "gan.r1_every"),
        .distance = ft_config_int(cfg, "gan.distance"),
        .lr = ft_config_real(cfg, "gan.lr"),
        .r1 = ft_config_real(cfg, "gan.r1"),
        .r2 = ft_config_real(cfg, "gan.r2"),
        .half_life = ft_config_real(cfg, "gan.ema_half_life"),
        .ramp = ft_config_real(cfg, "gan.ema_ramp"),
        .flip = ft_config_bool(cfg, "generator.flip"),
        .tensorboard = ft_config_bool(cfg, "log.tensorboard"),
        .augment = !ft_config_is(cfg, "gan.augment", "none"),
        .turns = ft_config_is(cfg, "gan.augment", "bgc"),
        .paired = ft_config_is(cfg, "gan.loss", "preset") ? p->brief : ft_config_is(cfg, "gan.loss", "relativistic"),
    };
    if (o.lr < 0) o.lr = ft_gan_rate(p);
    if (o.r1 < 0) o.r1 = p->brief ? brief.r1 : gan->r1 + gan->r1_per_pixel * size * size / (double)o.batch;
    if (o.r2 < 0) o.r2 = o.paired ? o.r1 : 0;
    if (o.ramp < 0) o.ramp = p->brief ? brief.ramp : 0.15;
    return o;
}

json_t *ft_gan_settings(const ft_gan_opt *o)
{
    return json_pack("{s:s,s:f,s:f,s:f,s:f}", "gan.loss", o->paired ? "relativistic" : "logistic", "gan.lr", o->lr, "gan.r1",
                     o->r1, "gan.r2", o->r2, "gan.ema_ramp", o->ramp);
}

double ft_gan_rate(const ft_stylegan_preset *p)
{
    const double published = 0.0025, width = 512;
    return published * sqrt(width / p->width);
}

void ft_lazy_rate(int64_t every, double *lr, double *beta2)
{
    double share = (double)every / (double)(every + 1);
    *lr *= share, *beta2 = pow(*beta2, share);
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
ft_t ft_gan_pair_loss(ft_graph *g, ft_t better, ft_t worse) { return mean_softplus(g, ft_sub(g, better, worse), -1); }
ft_t ft_gan_penalty(ft_graph *g, ft_t logits, ft_t x)
{
    float frames = (float)(ft_dim(x, 0) * ft_dim(x, 1));
    ft_t slope = ft_gradient(g, ft_reduce(g, logits, 1, false), x); /* a clip's logit depends on others through its group alone */
    ft_t all = ft_reduce(g, ft_unary(g, FT_SQUARE, slope), 31, false);
    return ft_affine(g, ft_reshape(g, all, 1, (int64_t[]){1}), 1 / frames, 0);
}

/* ---- the three plans ---------------------------------------------------------------------------------------------------- */

/* Clips as a discriminator is shown them: x (B,3,S,S,3), times (B,3), label (B,C+1) or NULL, view (B,18) or NULL */
typedef struct {
    ft_t x, times, label, view;
} shown;

static shown part_of(ft_graph *g, const ft_gan_step *s, shown c, int64_t k)
{
    int64_t n = s->o.batch / s->o.parts;
    ft_t *const all[4] = {&c.x, &c.times, &c.label, &c.view};
    for (int i = 0; i < 4; i++)
        if (*all[i]) *all[i] = ft_slice(g, *all[i], 0, k * n, n);
    return c;
}

/* the input *at of g, or where the graph has it that runs first */
static ft_t input(ft_graph *g, ft_t *at, const char *name, int ndim, const int64_t *dim)
{
    if (*at) return ft_input_at(g, *at);
    return *at = ft_input(g, name, FT_F32, ndim, dim);
}

static ft_t label_input(ft_graph *g, const ft_gan_step *s, ft_t *at, const char *name)
{
    return s->classes > 0 ? input(g, at, name, 2, (int64_t[]){s->o.batch, s->classes + 1}) : NULL;
}

static ft_t view_input(ft_graph *g, ft_gan_step *s, int which)
{
    return s->o.augment ? input(g, &s->view[which], "view", 2, (int64_t[]){s->o.batch, FT_GAN_VIEW_NUMBERS}) : NULL;
}

static shown real_clips(ft_graph *g, ft_gan_step *s, int view)
{
    const int64_t dim[5] = {s->o.batch, FT_STYLEGAN_FRAMES, s->size, s->size, 3};
    ft_t times = input(g, &s->real_t, "real_t", 2, dim);
    ft_t x = input(g, &s->real, "real", 5, dim);
    return (shown){x, times, label_input(g, s, &s->real_label, "real_label"), view_input(g, s, view)};
}

/* what is drawn for the generator (0) or the discriminator (1), but for the clips themselves */
static shown drawn_clips(ft_graph *g, ft_gan_step *s, int whose, int view)
{
    const int64_t dim[2] = {s->o.batch, FT_STYLEGAN_FRAMES};
    ft_t times = input(g, &s->fake_t[whose], "t", 2, dim);
    return (shown){NULL, times, label_input(g, s, &s->fake_label[whose], "label"), view_input(g, s, view)};
}

/* clips of fresh noise at these times and of these classes: (n,3,S,S,3) */
static ft_t draw(ft_graph *g, const ft_gan_step *s, shown c)
{
    int64_t n = ft_dim(c.times, 0), W = s->preset_of->width;
    ft_t z = ft_randn(g, FT_F32, 2, (int64_t[]){n, W});
    ft_t motion = ft_randn(g, FT_F32, 3, (int64_t[]){n, ft_stylegan_codes(s->frames), W});
    return s->gan->generate(g, s->preset_of, (ft_gan_in){z, motion, c.times, c.label}, s->size, 1);
}

static ft_t draw_borrowed(ft_graph *g, const ft_gan_step *s, shown c) /* by the generator, which learns nothing of it */
{
    ft_borrow(g, s->store[0]);
    ft_t x = draw(g, s, c);
    ft_borrow(g, NULL);
    return x;
}

static ft_t judge(ft_graph *g, const ft_gan_step *s, shown c) /* logits (n), of clips as they are augmented */
{
    return s->gan->judge(g, s->preset_of, c.view ? ft_gan_augment(g, c.x, c.view) : c.x, c.times, c.label);
}

static int graph_of(ft_gan_step *s, int which, uint32_t stream)
{
    ft_graph *g = s->graph[which] = ft_graph_new(s->store[which != FT_GAN_GENERATOR], s->dtype, stream);
    return g ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for %s", s->preset);
}

static int finish_graph(ft_gan_step *s, int which, ft_t norm)
{
    ft_graph *g = s->graph[which];
    if (s->loss[which]) ft_keep(s->loss[which]);
    if (which == FT_GAN_GENERATOR) s->norm = norm;
    if (ft_graph_error(g)) return FT_FAIL(FT_EGRAPH, "%s cannot be built: %s", s->preset, ft_graph_error(g));
    return ft_plan_new(&s->plan[which], g, FT_WEIGHTS);
}

static int make_generator(ft_gan_step *s)
{
    double beta2 = 0.99;
    FT_TRY(graph_of(s, FT_GAN_GENERATOR, FT_GRAPH_GENERATOR));
    ft_graph *g = s->graph[FT_GAN_GENERATOR];
    shown all = drawn_clips(g, s, 0, FT_GAN_GENERATOR), beside = {.x = NULL};
    if (s->o.paired) beside = real_clips(g, s, FT_GAN_SEEN_REAL);
    for (int64_t k = 0; k < s->o.parts; k++) {
        shown c = part_of(g, s, all, k);
        c.x = draw(g, s, c);
        ft_borrow(g, s->store[1]);
        ft_t fake = judge(g, s, c);
        ft_t loss =
            s->o.paired ? ft_gan_pair_loss(g, fake, judge(g, s, part_of(g, s, beside, k))) : ft_gan_generator_loss(g, fake);
        ft_borrow(g, NULL);
        ft_backward(g, ft_add_part(g, &s->loss[FT_GAN_GENERATOR], loss, s->o.parts));
    }
    /* as if path lengths were regularised, which published settings leave out */
    s->lr[0] = s->o.lr;
    ft_lazy_rate(s->gan->lazy, &s->lr[0], &beta2);
    return finish_graph(s, FT_GAN_GENERATOR, ft_optimise(g, (ft_optim_opt){.no_momentum = true, .beta2 = (float)beta2}));
}

static bool penalised(const ft_gan_step *s) { return s->o.r1 > 0 || s->o.r2 > 0; }

static ft_optim_opt critic_optimiser(ft_gan_step *s)
{
    double beta2 = 0.99;
    s->lr[1] = s->o.lr;
    if (penalised(s)) ft_lazy_rate(s->o.r1_every, &s->lr[1], &beta2);
    return (ft_optim_opt){.no_momentum = true, .beta2 = (float)beta2, .no_ema = true};
}

static int make_critic(ft_gan_step *s)
{
    FT_TRY(graph_of(s, FT_GAN_CRITIC, FT_GRAPH_CRITIC));
    ft_graph *g = s->graph[FT_GAN_CRITIC];
    shown all = drawn_clips(g, s, 1, FT_GAN_SEEN_DRAWN), all_real = real_clips(g, s, FT_GAN_SEEN_REAL);
    for (int64_t k = 0; k < s->o.parts; k++) {
        shown c = part_of(g, s, all, k);
        c.x = draw_borrowed(g, s, c);
        ft_t fake = judge(g, s, c), real = judge(g, s, part_of(g, s, all_real, k));
        ft_t sign = ft_affine(g, ft_unary(g, FT_STEP, s->o.paired ? ft_sub(g, real, fake) : real), 2, -1);
        ft_add_part(g, &s->real_sign, ft_reduce(g, sign, 1, true), s->o.parts);
        ft_t loss = s->o.paired ? ft_gan_pair_loss(g, real, fake) : ft_gan_critic_loss(g, real, fake);
        ft_backward(g, ft_add_part(g, &s->loss[FT_GAN_CRITIC], loss, s->o.parts));
    }
    ft_keep(s->real_sign);
    return finish_graph(s, FT_GAN_CRITIC, ft_optimise(g, critic_optimiser(s)));
}

/* the penalty on a part of the batch; what is logged is the mean over parts, real and drawn ones added */
static void penalise(ft_graph *g, ft_gan_step *s, shown c, double weight)
{
    ft_need_grad(c.x);
    ft_t share = ft_add_part(g, &s->loss[FT_GAN_PENALTY], ft_gan_penalty(g, judge(g, s, c), c.x), s->o.parts);
    ft_backward(g, ft_affine(g, share, (float)(weight / 2 * (double)s->o.r1_every), 0));
}

static int make_penalty(ft_gan_step *s)
{
    if (!penalised(s)) return FT_OK;
    FT_TRY(graph_of(s, FT_GAN_PENALTY, FT_GRAPH_PENALTY));
    ft_graph *g = s->graph[FT_GAN_PENALTY];
    shown real = real_clips(g, s, FT_GAN_SEEN_PENALTY), drawn = {.x = NULL};
    if (s->o.r2 > 0) drawn = drawn_clips(g, s, 1, FT_GAN_SEEN_DRAWN);
    for (int64_t k = 0; k < s->o.parts; k++) {
        if (s->o.r1 > 0) penalise(g, s, part_of(g, s, real, k), s->o.r1);
        if (!(s->o.r2 > 0)) continue;
        shown c = part_of(g, s, drawn, k);
        c.x = draw_borrowed(g, s, c);
        penalise(g, s, c, s->o.r2);
    }
    ft_ground(g); /* biases bend nothing */
    return finish_graph(s, FT_GAN_PENALTY, ft_optimise(g, critic_optimiser(s)));
}

int ft_gan_step_new(ft_gan_step *s, const ft_config *cfg, const char *preset, int frames, int size, int classes, uint64_t seed)
{
    const ft_generator *family = ft_generator_find(preset);
    *s = (ft_gan_step){.preset_of = ft_generator_preset_of(preset),
                       .gan = family->gan,
                       .preset = preset,
                       .o = ft_gan_options(cfg, preset, size),
                       .frames = frames,
                       .size = size,
                       .classes = classes};
    FT_TRY(ft_gan_fits(preset, frames, size));
    FT_TRY(ft_precision(cfg, family->work, &s->dtype));
    FT_TRY(ft_batch_parts(s->o.parts, s->o.batch, cfg, "generator.accumulate"));
    s->store[0] = ft_params_new(seed), s->store[1] = ft_params_new(seed + 1);
    if (!s->store[0] || !s->store[1]) return FT_FAIL(FT_ENOMEM, "no memory for %s", preset);
    ft_params_no_average(s->store[1]);
    FT_TRY(make_generator(s));
    FT_TRY(make_critic(s));
    return make_penalty(s);
}

void ft_gan_step_free(ft_gan_step *s)
{
    for (int i = FT_GAN_PLANS - 1; i >= 0; i--) ft_plan_free(s->plan[i]), ft_graph_free(s->graph[i]);
    for (int i = 0; i < 2; i++) ft_params_free(s->store[i]);
}

int ft_gan_fits(const char *preset, int frames, int size)
{
    if (frames >= FT_STYLEGAN_FRAMES && ft_stylegan_size(size)) return FT_OK;
    return FT_FAIL(FT_ECONFIG,
                   "clips of %d frames and %d pixels do not fit %s: pixels a power of two from %d on, frames from %d on", frames,
                   size, preset, 2 * FT_STYLEGAN_CONCAT, FT_STYLEGAN_FRAMES);
}

int ft_gan_unguided(const ft_config *cfg, const char *preset)
{
    static const char *const key[] = {"generator.class_guidance", "generator.autoguidance"};
    for (int i = 0; i < 2; i++)
        if (ft_config_real(cfg, key[i]) != 1)
            return FT_FAIL(FT_ECONFIG,
                           "%s: %s: %s draws a clip in one pass, and there is no guidance for such generators. Set %s: 1",
                           ft_config_origin(cfg, key[i]), key[i], preset, key[i]);
    return FT_OK;
}
