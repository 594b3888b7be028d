#include "gen/gan_step.h"

#include <math.h>
#include <string.h>

#include "common/base/status.h"
#include "common/base/streams.h"
#include "common/graph/layers.h"
#include "common/train/precision.h"
#include "common/train/train_loop.h"
#include "gen/gan_augment.h"

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
ft_t ft_gan_penalty(ft_graph *g, ft_t logits, ft_t x)
{
    float frames = (float)(ft_dim(x, 0) * ft_dim(x, 1));
    ft_t slope = ft_gradient(g, ft_reduce(g, logits, 1, false), x); /* a clip's logit depends on others through its group alone */
    ft_t all = ft_reduce(g, ft_unary(g, FT_SQUARE, slope), 31, false);
    return ft_affine(g, ft_reshape(g, all, 1, (int64_t[]){1}), 1 / frames, 0);
}

/* ---- the three plans ---------------------------------------------------------------------------------------------------- */

static ft_t part_of(ft_graph *g, const ft_gan_step *s, ft_t x, int64_t k)
{
    int64_t n = s->o.batch / s->o.parts;
    return x ? ft_slice(g, x, 0, k * n, n) : NULL;
}

static ft_t label_input(ft_graph *g, const ft_gan_step *s, const char *name)
{
    return s->classes > 0 ? ft_input(g, name, FT_F32, 2, (int64_t[]){s->o.batch, s->classes + 1}) : NULL;
}

/* clips of fresh noise at these times: (n,3,S,S,3) */
static ft_t draw(ft_graph *g, const ft_gan_step *s, ft_t times, ft_t label)
{
    int64_t n = ft_dim(times, 0), W = s->preset_of->width;
    ft_t z = ft_randn(g, FT_F32, 2, (int64_t[]){n, W});
    ft_t motion = ft_randn(g, FT_F32, 3, (int64_t[]){n, ft_stylegan_codes(s->frames), W});
    return s->gan->generate(g, s->preset_of, (ft_gan_in){z, motion, times, label}, s->size, 1);
}

static void make_view(ft_graph *g, ft_gan_step *s, int which)
{
    if (s->o.augment) s->view[which] = ft_input(g, "view", FT_F32, 2, (int64_t[]){s->o.batch, FT_GAN_VIEW_NUMBERS});
}

/* logits of part k of the batch, as the discriminator sees it */
static ft_t judge(ft_graph *g, const ft_gan_step *s, ft_t x, ft_t times, ft_t label, int which, int64_t k)
{
    if (s->view[which]) x = ft_gan_augment(g, x, part_of(g, s, s->view[which], k));
    return s->gan->judge(g, s->preset_of, x, times, label);
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
    s->fake_t[0] = ft_input(g, "t", FT_F32, 2, (int64_t[]){s->o.batch, FT_STYLEGAN_FRAMES});
    s->fake_label[0] = label_input(g, s, "label");
    make_view(g, s, FT_GAN_GENERATOR);
    for (int64_t k = 0; k < s->o.parts; k++) {
        ft_t times = part_of(g, s, s->fake_t[0], k), label = part_of(g, s, s->fake_label[0], k), x = draw(g, s, times, label);
        ft_borrow(g, s->store[1]);
        ft_t loss = ft_gan_generator_loss(g, judge(g, s, x, times, label, FT_GAN_GENERATOR, k));
        ft_borrow(g, NULL);
        ft_backward(g, ft_add_part(g, &s->loss[FT_GAN_GENERATOR], loss, s->o.parts));
    }
    /* as if path lengths were regularised, which published settings leave out */
    s->lr[0] = s->o.lr;
    ft_lazy_rate(s->gan->lazy, &s->lr[0], &beta2);
    return finish_graph(s, FT_GAN_GENERATOR, ft_optimise(g, (ft_optim_opt){.no_momentum = true, .beta2 = (float)beta2}));
}

static ft_optim_opt critic_optimiser(ft_gan_step *s)
{
    double beta2 = 0.99;
    s->lr[1] = s->o.lr;
    if (s->o.r1 > 0) ft_lazy_rate(s->o.r1_every, &s->lr[1], &beta2);
    return (ft_optim_opt){.no_momentum = true, .beta2 = (float)beta2, .no_ema = true};
}

static int make_critic(ft_gan_step *s)
{
    const int64_t dim[5] = {s->o.batch, FT_STYLEGAN_FRAMES, s->size, s->size, 3};
    FT_TRY(graph_of(s, FT_GAN_CRITIC, FT_GRAPH_CRITIC));
    ft_graph *g = s->graph[FT_GAN_CRITIC];
    s->fake_t[1] = ft_input(g, "t", FT_F32, 2, dim);
    s->real_t = ft_input(g, "real_t", FT_F32, 2, dim);
    s->real = ft_input(g, "real", FT_F32, 5, dim);
    s->fake_label[1] = label_input(g, s, "label"), s->real_label = label_input(g, s, "real_label");
    make_view(g, s, FT_GAN_SEEN_DRAWN), make_view(g, s, FT_GAN_SEEN_REAL);
    for (int64_t k = 0; k < s->o.parts; k++) {
        ft_t times = part_of(g, s, s->fake_t[1], k), label = part_of(g, s, s->fake_label[1], k);
        ft_borrow(g, s->store[0]);
        ft_t x = draw(g, s, times, label);
        ft_borrow(g, NULL);
        ft_t fake = judge(g, s, x, times, label, FT_GAN_SEEN_DRAWN, k);
        ft_t real = judge(g, s, part_of(g, s, s->real, k), part_of(g, s, s->real_t, k), part_of(g, s, s->real_label, k),
                          FT_GAN_SEEN_REAL, k);
        ft_t sign = ft_affine(g, ft_unary(g, FT_STEP, real), 2, -1);
        ft_add_part(g, &s->real_sign, ft_reduce(g, sign, 1, true), s->o.parts);
        ft_backward(g, ft_add_part(g, &s->loss[FT_GAN_CRITIC], ft_gan_critic_loss(g, real, fake), s->o.parts));
    }
    ft_keep(s->real_sign);
    return finish_graph(s, FT_GAN_CRITIC, ft_optimise(g, critic_optimiser(s)));
}

static int make_penalty(ft_gan_step *s)
{
    if (!(s->o.r1 > 0)) return FT_OK;
    FT_TRY(graph_of(s, FT_GAN_PENALTY, FT_GRAPH_PENALTY));
    ft_graph *g = s->graph[FT_GAN_PENALTY];
    ft_t real = ft_input_at(g, s->real), times = ft_input_at(g, s->real_t);
    ft_t label = s->real_label ? ft_input_at(g, s->real_label) : NULL;
    ft_need_grad(real);
    make_view(g, s, FT_GAN_SEEN_PENALTY);
    for (int64_t k = 0; k < s->o.parts; k++) {
        ft_t x = part_of(g, s, real, k);
        ft_t logits = judge(g, s, x, part_of(g, s, times, k), part_of(g, s, label, k), FT_GAN_SEEN_PENALTY, k);
        ft_t share = ft_add_part(g, &s->loss[FT_GAN_PENALTY], ft_gan_penalty(g, logits, x), s->o.parts);
        ft_backward(g, ft_affine(g, share, (float)(s->o.r1 / 2 * (double)s->o.r1_every), 0));
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
                       .o = ft_gan_options(cfg),
                       .frames = frames,
                       .size = size,
                       .classes = classes};
    FT_TRY(ft_gan_fits(preset, frames, size));
    FT_TRY(ft_precision(cfg, family->work, &s->dtype));
    FT_TRY(ft_batch_parts(s->o.parts, s->o.batch, cfg, "generator.accumulate"));
    if (s->o.lr < 0) s->o.lr = ft_gan_rate(s->preset_of);
    double published = s->gan->r1 + s->gan->r1_per_pixel * size * size / (double)s->o.batch;
    if (s->o.r1 < 0) s->o.r1 = s->preset_of->r1 > 0 ? s->preset_of->r1 : published;
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
