#include "gen/sampler.h"

#include <math.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/base/streams.h"
#include "common/train/precision.h"
#include "common/train/train_loop.h"
#include "gen/diffusion.h"

struct ft_clip_sampler {
    ft_graph *g;
    ft_plan *plan;
    ft_t z, t, label;
    ft_sampled_class of;
    float *without; /* prediction without a class */
    ft_prediction net;
    ft_vae_runner decoder;
    const ft_latents *stats;
    ft_generator_opt opt;
    ft_path path;
    int *tau;
    double *alpha, *sigma;
    float *x, *clips;   /* a batch of latents; those of its clips alone */
    int64_t each, kept; /* values of a clip's latents; without the images behind it */
};

void ft_clip_sampler_free(ft_clip_sampler *s)
{
    if (!s) return;
    ft_vae_runner_free(&s->decoder);
    ft_plan_free(s->plan);
    ft_graph_free(s->g);
    ft_free(s->tau);
    ft_free(s->alpha);
    ft_free(s->x);
    ft_free(s->clips);
    ft_free(s->without);
    ft_free(s);
}

int ft_class_of_sample(ft_sampled_class c, int64_t clip) { return c.class < 0 ? (int)(clip % c.n) : c.class; }

/* the points of the walk: respaced training steps, or even times of a flow from 1 to 0 */
static int points(ft_clip_sampler *s)
{
    int steps = s->opt.sample_steps;
    s->tau = ft_alloc((size_t)steps * sizeof *s->tau);
    s->alpha = ft_alloc((size_t)(steps + 1) * 2 * sizeof *s->alpha);
    if (!s->tau || !s->alpha) return FT_FAIL(FT_ENOMEM, "no memory for %d steps", steps);
    s->sigma = s->alpha + steps + 1;
    ft_sample_times(steps, s->tau);
    for (int i = 0; i < steps; i++) {
        double flow_time = 1 - (double)i / steps, bar = ft_alpha_bar(s->opt.schedule)[s->tau[i]];
        s->sigma[i] = s->opt.flow ? flow_time : sqrt(1 - bar);
        s->alpha[i] = s->opt.flow ? 1 - flow_time : sqrt(bar);
    }
    s->alpha[steps] = 1, s->sigma[steps] = 0;
    return FT_OK;
}

int ft_clip_sampler_new(ft_clip_sampler **out, const ft_config *cfg, const char *preset, ft_params *params, const char *vae_dir,
                        const ft_latents *stats, int frames, int size, ft_sampled_class of)
{
    ft_dtype dtype;
    ft_vae_preset p;
    ft_clip_sampler *s = *out = ft_alloc(sizeof *s);
    if (!s) return FT_FAIL(FT_ENOMEM, "no memory to sample %s", preset);
    int rc = FT_OK;
    s->opt = ft_generator_options(cfg, preset);
    FT_TRY_TO(rc, done, ft_vae_of(cfg, frames, size, &p));
    FT_TRY_TO(rc, done, ft_precision(cfg, ft_generator_find(preset)->work, &dtype));
    int64_t side = size / ft_vae_space_factor(&p), clip = ft_vae_latent_frames(&p, frames);
    int64_t images = ft_generator_find(preset)->images_apart ? 0 : ft_image_frames(s->opt.images, &p);
    int64_t dim[5] = {FT_SAMPLE_BATCH, clip + images, side, side, p.latent};
    s->stats = stats, s->of = of;
    if (of.n == 0 && s->opt.guidance != 1)
        FT_TRY_TO(rc, done,
                  FT_FAIL(FT_ECONFIG, "generator.class_guidance is %g, and %s was not told of classes (generator.condition)",
                          s->opt.guidance, preset));
    s->each = dim[1] * dim[2] * dim[3] * dim[4], s->kept = clip * dim[2] * dim[3] * dim[4];
    if (stats->z != p.latent || stats->each != s->kept)
        FT_TRY_TO(rc, done,
                  FT_FAIL(FT_EDATA, "the latents of this run do not fit clips of %d frames and %d pixels", frames, size));
    FT_TRY_TO(rc, done, points(s));
    s->path = (ft_path){.kind = s->opt.sampler,
                        .steps = s->opt.sample_steps,
                        .alpha = s->alpha,
                        .sigma = s->sigma,
                        .lower_order_final = true,
                        .learned = s->opt.vlb,
                        .each = s->each};
    if (s->opt.flow && s->path.kind == FT_DDPM)
        FT_TRY_TO(rc, done, FT_FAIL(FT_ECONFIG, "generator.sampler ddpm needs generator.objective eps. Use unipc or ddim"));
    s->x = ft_alloc((size_t)(FT_SAMPLE_BATCH * s->each) * sizeof *s->x);
    s->clips = ft_alloc_n(FT_SAMPLE_BATCH * s->kept, sizeof *s->clips);
    s->g = ft_graph_new(params, dtype, FT_GRAPH_SAMPLER);
    s->without = ft_alloc((size_t)(FT_SAMPLE_BATCH * s->each) * sizeof *s->without);
    if (!s->x || !s->clips || !s->without || !s->g) FT_TRY_TO(rc, done, FT_FAIL(FT_ENOMEM, "no memory to sample %s", preset));
    ft_training(s->g, false);
    s->z = ft_input(s->g, "z", FT_F32, 5, dim);
    s->t = ft_input(s->g, "t", FT_F32, 1, dim);
    if (of.n > 0) s->label = ft_input(s->g, "label", FT_F32, 2, (int64_t[]){FT_SAMPLE_BATCH, of.n + 1});
    s->net = ft_generator_predict(s->g, preset, cfg, s->z, clip, (ft_told){s->t, s->label});
    ft_keep(s->net.eps);
    if (s->path.learned && !s->net.variance)
        FT_TRY_TO(rc, done, FT_FAIL(FT_ECONFIG, "%s has no learned variance. Set generator.vlb: false", preset));
    if (s->path.learned) ft_keep(s->net.variance);
    FT_TRY_TO(rc, done, ft_plan_new(&s->plan, s->g, FT_EMA));
    rc = ft_vae_runner_new(&s->decoder, cfg, vae_dir, FT_VAE_DECODE, 1, frames, size);
done:
    if (rc < 0) ft_clip_sampler_free(s), *out = NULL;
    return rc;
}

/* the network at the inputs that stand there, told the clips' classes or that they have none */
static int predict(ft_clip_sampler *s, bool none)
{
    for (int64_t b = 0; s->label && b < FT_SAMPLE_BATCH; b++)
        ft_label_row(s->label, b, none ? -1 : ft_class_of_sample(s->of, s->path.first + b));
    return ft_run(s->plan, &(ft_step){0});
}

static bool guided(const ft_clip_sampler *s, double alpha, double sigma)
{
    bool early = s->opt.guidance_until > 0 && sigma > s->opt.guidance_until * alpha;
    return s->label && s->opt.guidance != 1 && !early && sigma >= s->opt.guidance_from * alpha;
}

static int denoise(void *ctx, int i, const float *x, float *x0, float *fraction)
{
    ft_clip_sampler *s = ctx;
    int64_t n = ft_count(s->z);
    double a = s->alpha[i], sigma = s->sigma[i];
    memcpy(ft_data(s->z), x, (size_t)n * 4);
    for (int64_t b = 0; b < ft_count(s->t); b++)
        ((float *)ft_data(s->t))[b] = s->opt.flow ? (float)(1000 * sigma) : (float)s->tau[i];
    bool both = guided(s, a, sigma);
    if (both) {
        FT_TRY(predict(s, true));
        memcpy(s->without, ft_data(s->net.eps), (size_t)n * sizeof *s->without);
    }
    FT_TRY(predict(s, false));
    const float *y = ft_data(s->net.eps), *u = s->without;
    for (int64_t k = 0; k < n; k++) {
        double e = both ? (double)u[k] + s->opt.guidance * ((double)y[k] - (double)u[k]) : (double)y[k];
        x0[k] = s->opt.flow ? (float)((double)x[k] - sigma * e) : (float)(((double)x[k] - sigma * e) / a);
    }
    if (fraction) {
        const float *v = ft_data(s->net.variance);
        for (int64_t k = 0; k < n; k++) fraction[k] = (v[k] + 1) / 2;
    }
    return FT_OK;
}

int ft_clip_sample_latents(ft_clip_sampler *s, uint64_t seed, int64_t first, int64_t n, float *latents)
{
    int64_t total = FT_SAMPLE_BATCH * s->each;
    ft_clip_noise(seed, 0, first, s->each, s->x, total);
    s->path.seed = seed, s->path.first = first;
    FT_TRY(ft_sample_path(&s->path, s->x, total, denoise, s));
    for (int64_t b = 0; b < n; b++) /* latents of images stand behind the clip's and are left */
        memcpy(latents + b * s->kept, s->x + b * s->each, (size_t)s->kept * sizeof *latents);
    return FT_OK;
}

int ft_clip_sample(ft_clip_sampler *s, uint64_t seed, int64_t first, int64_t n, uint8_t *pixels)
{
    int64_t z = s->stats->z, clip = ft_count(s->decoder.out);
    FT_TRY(ft_clip_sample_latents(s, seed, first, n, s->clips));
    for (int64_t b = 0; b < n; b++) {
        float *to = ft_data(s->decoder.in);
        for (int64_t i = 0; i < s->kept; i++)
            to[i] = s->clips[b * s->kept + i] * s->stats->channel[z + i % z] + s->stats->channel[i % z];
        FT_TRY(ft_run(s->decoder.plan, &(ft_step){0}));
        ft_to_pixels(pixels + b * clip, ft_data(s->decoder.out), clip);
    }
    return FT_OK;
}
