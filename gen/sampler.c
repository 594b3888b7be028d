#include "gen/sampler.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/files.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/base/streams.h"
#include "common/io/image.h"
#include "common/io/video.h"
#include "common/train/precision.h"
#include "common/train/train_loop.h"
#include "gen/diffusion.h"
#include "gen/gan.h"
#include "gen/walk.h"

struct ft_generator_sampler {
    ft_graph *g, *plain; /* plain: of steps that do not lean; NULL: all are alike */
    ft_plan *plan, *plain_plan;
    ft_walk *walk;
    ft_t label[2], none; /* the classes that clips are told of, in either graph, and that they have none; NULL: no classes */
    ft_sampled_class of;
    ft_vae_runner decoder;
    const ft_latents *stats;
    int64_t each, kept; /* values of a clip's latents; without the images behind it */
    ft_gan_in drawn;    /* of a generator of pixels: what a clip is drawn from, */
    ft_t out;           /* and the clip */
};

void ft_generator_sampler_free(ft_generator_sampler *s)
{
    if (!s) return;
    ft_vae_runner_free(&s->decoder);
    ft_plan_free(s->plan);
    ft_plan_free(s->plain_plan);
    ft_walk_free(s->walk);
    ft_graph_free(s->g);
    ft_graph_free(s->plain);
    ft_free(s);
}

int ft_class_of_sample(ft_sampled_class c, int64_t clip) { return c.class < 0 ? (int)(clip % c.n) : c.class; }

static int leaning(const double *guidance, int steps)
{
    int n = 0;
    for (int i = 0; i < steps; i++) n += guidance[i] != 1;
    return n;
}

/* until 0: any noise */
static bool within(double sigma, double alpha, double from, double until)
{
    return sigma >= from * alpha && !(until > 0 && sigma > until * alpha);
}

/* The points of the walk: respaced training steps, or even times of a flow from 1 to 0; and the weight of what it leans towards
 * at each. */
static int points(ft_path *p, const ft_generator_opt *opt, double **memory)
{
    int steps = p->steps, *tau = ft_alloc((size_t)steps * sizeof *tau);
    double *alpha = *memory = ft_alloc((size_t)(steps + 1) * 4 * sizeof *alpha);
    if (!tau || !alpha) {
        ft_free(tau);
        return FT_FAIL(FT_ENOMEM, "no memory for %d steps", steps);
    }
    double *sigma = alpha + steps + 1, *time = sigma + steps + 1, *guidance = time + steps + 1;
    ft_sample_times(steps, tau);
    for (int i = 0; i < steps; i++) {
        double flow_time = 1 - (double)i / steps, bar = ft_alpha_bar(opt->schedule)[tau[i]];
        sigma[i] = opt->flow ? flow_time : sqrt(1 - bar);
        alpha[i] = opt->flow ? 1 - flow_time : sqrt(bar);
        time[i] = opt->flow ? 1000 * sigma[i] : tau[i];
        guidance[i] = within(sigma[i], alpha[i], opt->guidance_from, opt->guidance_until) ? opt->guidance : 1;
        if (within(sigma[i], alpha[i], 0, opt->autoguidance_until)) guidance[i] *= opt->autoguidance; /* one of them is 1 */
    }
    alpha[steps] = 1, sigma[steps] = 0;
    p->alpha = alpha, p->sigma = sigma, p->time = time;
    if (leaning(guidance, steps)) p->guidance = guidance;
    ft_free(tau);
    return FT_OK;
}

/* The network with the EMA bank, told the clips' classes; what is weighed against it: with the weak weights, or told that they
 * have none; and the walk over it */
static int make_walk(ft_generator_sampler *s, const ft_config *cfg, const char *preset, ft_params *weak, const ft_path *path,
                     const int64_t dim[5], int64_t clip)
{
    ft_t z, t, without = NULL;
    const int64_t labels[2] = {FT_SAMPLE_BATCH, s->of.n + 1};
    FT_TRY(ft_walk_new(&s->walk, s->g, path, 5, dim, &z, &t));
    if (s->of.n > 0) s->label[0] = ft_input(s->g, "label", FT_F32, 2, labels);
    ft_prediction net = ft_generator_predict(s->g, preset, cfg, z, clip, (ft_told){t, s->label[0]});
    if (path->guidance && weak) {
        ft_borrow(s->g, weak);
        without = ft_generator_predict(s->g, preset, cfg, z, clip, (ft_told){t, s->label[0]}).eps;
        ft_borrow(s->g, NULL);
    } else if (path->guidance) {
        s->none = ft_input(s->g, "none", FT_F32, 2, labels);
        without = ft_generator_predict(s->g, preset, cfg, z, clip, (ft_told){t, s->none}).eps;
    }
    if (path->learned && !net.variance && !ft_graph_error(s->g))
        return FT_FAIL(FT_ECONFIG, "%s has no learned variance. Set generator.vlb: false", preset);
    FT_TRY(ft_walk_update(s->walk, net.eps, without, net.variance));
    FT_TRY(ft_plan_new(&s->plan, s->g, FT_EMA));
    for (int64_t b = 0; s->none && b < FT_SAMPLE_BATCH; b++) ft_label_row(s->none, b, -1);
    if (!s->plain) return FT_OK;
    ft_walk_plain(s->walk, s->plain, dim, &z, &t);
    if (s->of.n > 0) s->label[1] = ft_input(s->plain, "label", FT_F32, 2, labels);
    net = ft_generator_predict(s->plain, preset, cfg, z, clip, (ft_told){t, s->label[1]});
    FT_TRY(ft_walk_update(s->walk, net.eps, NULL, net.variance));
    return ft_plan_new(&s->plain_plan, s->plain, FT_EMA);
}

/* A second graph where some steps lean and others do not */
static int graphs(ft_generator_sampler *s, const char *preset, ft_params *params, ft_dtype dtype, const ft_path *path)
{
    bool two = path->guidance && leaning(path->guidance, path->steps) < path->steps;
    s->g = ft_graph_new(params, dtype, FT_GRAPH_SAMPLER);
    if (two) s->plain = ft_graph_new(params, dtype, FT_GRAPH_SAMPLER);
    if (!s->g || (two && !s->plain)) return FT_FAIL(FT_ENOMEM, "no memory to sample %s", preset);
    ft_training(s->g, false);
    if (two) ft_training(s->plain, false);
    return FT_OK;
}

/* A generator of pixels needs one pass for a clip */
static int pixel_sampler(ft_generator_sampler *s, const ft_config *cfg, const char *preset, ft_params *params, int frames,
                         int size, ft_sampled_class of)
{
    ft_dtype dtype;
    FT_TRY(ft_precision(cfg, ft_generator_find(preset)->work, &dtype));
    FT_TRY(ft_gan_unguided(cfg, preset));
    s->of = of;
    if (!(s->g = ft_graph_new(params, dtype, FT_GRAPH_SAMPLER))) return FT_FAIL(FT_ENOMEM, "no memory to sample %s", preset);
    ft_training(s->g, false);
    s->out = ft_gan_clip(s->g, preset, frames, size, of.n, ft_config_real(cfg, "gan.truncation"), &s->drawn);
    ft_keep(s->out);
    return ft_plan_new(&s->plan, s->g, FT_EMA);
}

static int pixel_clips(ft_generator_sampler *s, uint64_t seed, int64_t first, int64_t n, uint8_t *pixels)
{
    int64_t z = ft_count(s->drawn.z), all = z + ft_count(s->drawn.motion), clip = ft_count(s->out);
    float *noise = ft_alloc_n(all, sizeof *noise);
    int rc = noise ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for noise");
    for (int64_t b = 0; rc == FT_OK && b < n; b++) {
        ft_clip_noise(seed, 0, first + b, all, noise, 1);
        memcpy(ft_data(s->drawn.z), noise, (size_t)z * sizeof *noise);
        memcpy(ft_data(s->drawn.motion), noise + z, (size_t)(all - z) * sizeof *noise);
        if (s->drawn.label) ft_label_row(s->drawn.label, 0, ft_class_of_sample(s->of, first + b));
        rc = ft_run(s->plan, &(ft_step){0});
        const float *x = rc == FT_OK ? ft_data(s->out) : NULL;
        if (rc == FT_OK && !x) rc = FT_EDEVICE;
        if (rc == FT_OK) ft_to_pixels(pixels + b * clip, x, clip);
    }
    ft_free(noise);
    return rc;
}

/* Whom clips lean towards must be known, and be one */
static int may_lean(const ft_generator_opt *opt, const char *preset, int classes)
{
    if (classes == 0 && opt->guidance != 1)
        return FT_FAIL(FT_ECONFIG, "generator.class_guidance is %g, and %s was not told of classes (generator.condition)",
                       opt->guidance, preset);
    if (opt->autoguidance != 1 && opt->guidance != 1)
        return FT_FAIL(
            FT_ECONFIG,
            "generator.autoguidance is %g and generator.class_guidance %g: they do not go together. Set one of them to 1",
            opt->autoguidance, opt->guidance);
    return FT_OK;
}

static int latent_sampler(ft_generator_sampler *s, const ft_config *cfg, const char *preset, ft_params *params, ft_params *weak,
                          const char *vae_dir, const ft_latents *stats, int frames, int size, ft_sampled_class of)
{
    ft_dtype dtype;
    ft_vae_preset p;
    double *memory = NULL;
    ft_generator_opt opt = ft_generator_options(cfg, preset);
    ft_path path = {.kind = opt.sampler,
                    .predicts = opt.flow ? FT_PREDICTS_VELOCITY : FT_PREDICTS_EPS,
                    .steps = opt.sample_steps,
                    .lower_order_final = true,
                    .learned = opt.vlb};
    int rc = FT_OK;
    FT_TRY_TO(rc, done, ft_vae_of(cfg, frames, size, &p));
    FT_TRY_TO(rc, done, ft_precision(cfg, ft_generator_find(preset)->work, &dtype));
    int64_t side = size / ft_vae_space_factor(&p), clip = ft_vae_latent_frames(&p, frames);
    int64_t images = ft_generator_find(preset)->images_apart ? 0 : ft_image_frames(opt.images, &p);
    int64_t dim[5] = {FT_SAMPLE_BATCH, clip + images, side, side, p.latent};
    s->stats = stats, s->of = of;
    if (!weak) opt.autoguidance = 1;
    FT_TRY_TO(rc, done, may_lean(&opt, preset, of.n));
    s->each = dim[1] * dim[2] * dim[3] * dim[4], s->kept = clip * dim[2] * dim[3] * dim[4];
    if (stats->z != p.latent || stats->each != s->kept)
        FT_TRY_TO(rc, done,
                  FT_FAIL(FT_EDATA, "the latents of this run do not fit clips of %d frames and %d pixels", frames, size));
    if (opt.flow && path.kind == FT_DDPM)
        FT_TRY_TO(
            rc, done,
            FT_FAIL(FT_ECONFIG,
                    "%s learns a rectified flow, and generator.sampler ddpm needs generator.objective eps. Use unipc or ddim",
                    preset));
    FT_TRY_TO(rc, done, points(&path, &opt, &memory));
    FT_TRY_TO(rc, done, graphs(s, preset, params, dtype, &path));
    FT_TRY_TO(rc, done, make_walk(s, cfg, preset, weak, &path, dim, clip));
    rc = ft_vae_runner_new(&s->decoder, cfg, vae_dir, FT_VAE_DECODE, 1, frames, size);
done:
    ft_free(memory);
    return rc;
}

int ft_generator_sampler_new(ft_generator_sampler **out, const ft_config *cfg, const char *preset, ft_params *params,
                             ft_params *weak, const char *vae_dir, const ft_latents *stats, int frames, int size,
                             ft_sampled_class of)
{
    ft_generator_sampler *s = *out = ft_alloc(sizeof *s);
    if (!s) return FT_FAIL(FT_ENOMEM, "no memory to sample %s", preset);
    int rc = ft_generator_find(preset)->gan ? pixel_sampler(s, cfg, preset, params, frames, size, of)
                                            : latent_sampler(s, cfg, preset, params, weak, vae_dir, stats, frames, size, of);
    if (rc < 0) ft_generator_sampler_free(s), *out = NULL;
    return rc;
}

/* The walk of a batch: *x, its clips at every s->each values; latents of images stand behind a clip's. */
static int walk(ft_generator_sampler *s, uint64_t seed, int64_t first, const float **x)
{
    for (int k = 0; k < 2; k++)
        for (int64_t b = 0; s->label[k] && b < FT_SAMPLE_BATCH; b++)
            ft_label_row(s->label[k], b, ft_class_of_sample(s->of, first + b));
    return ft_walk_run(s->walk, s->plan, s->plain_plan, seed, first, NULL, x);
}

int ft_generator_sampler_clips(ft_generator_sampler *s, uint64_t seed, int64_t first, int64_t n, uint8_t *pixels)
{
    if (s->out) return pixel_clips(s, seed, first, n, pixels);
    int64_t z = s->stats->z, clip = ft_count(s->decoder.out);
    const float *x;
    FT_TRY(walk(s, seed, first, &x));
    for (int64_t b = 0; b < n; b++) {
        float *to = ft_data(s->decoder.in);
        for (int64_t i = 0; i < s->kept; i++)
            to[i] = x[b * s->each + i] * s->stats->channel[z + i % z] + s->stats->channel[i % z];
        FT_TRY(ft_run(s->decoder.plan, &(ft_step){0}));
        ft_to_pixels(pixels + b * clip, ft_data(s->decoder.out), clip);
    }
    return FT_OK;
}

int ft_sample_sheet(ft_generator_sampler *s, const char *dir, int64_t step, int frames, int size)
{
    enum { CLIPS = 4 };
    int64_t clip = (int64_t)frames * size * size * 3, row = size * 3;
    char path[1200];
    uint8_t *pixels = ft_alloc((size_t)(CLIPS * clip)), *wide = ft_alloc((size_t)(CLIPS * clip)), *rgb = NULL, *png = NULL;
    size_t bytes;
    int w, h, rc = pixels && wide ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for a sheet");
    if (rc == FT_OK) rc = ft_generator_sampler_clips(s, 0, 0, CLIPS, pixels);
    const uint8_t *clips[CLIPS];
    for (int i = 0; i < CLIPS; i++) clips[i] = pixels + i * clip;
    if (rc == FT_OK) rc = ft_contact_sheet(clips, CLIPS, frames, size, frames < 8 ? frames : 8, 2, &rgb, &w, &h);
    if (rc == FT_OK) rc = ft_png_encode(rgb, w, h, &png, &bytes);
    snprintf(path, sizeof path, "%s/samples/%06lld.png", dir, (long long)step);
    if (rc == FT_OK) rc = ft_write_file(path, png, bytes);
    for (int64_t line = 0; rc == FT_OK && line < (int64_t)frames * size; line++)
        for (int i = 0; i < CLIPS; i++) memcpy(wide + (line * CLIPS + i) * row, clips[i] + line * row, (size_t)row);
    snprintf(path, sizeof path, "%s/samples/%06lld.gif", dir, (long long)step);
    if (rc == FT_OK) rc = ft_video_write(path, wide, frames, CLIPS * size, size, 8);
    ft_free(pixels);
    ft_free(wide);
    ft_free(rgb);
    ft_free(png);
    return rc;
}
