#include "gen/vae_loss.h"

#include "common/graph/layers.h"
#include "gen/patchgan.h"

static ft_t l2_norm(ft_graph *g, ft_t x)
{
    ft_t s = ft_reduce(g, ft_unary(g, FT_SQUARE, x), (1u << ft_ndim(x)) - 1, false);
    return ft_unary(g, FT_SQRT, ft_reshape(g, s, 1, (int64_t[]){1}));
}

ft_t ft_turn_and_halve(ft_graph *g, ft_t x, ft_t turn)
{
    ft_t across = ft_permute(g, x, (int[]){0, 1, 3, 2, 4}), sum = NULL;
    const ft_t by[4] = {x, ft_flip(g, across, 2), ft_flip(g, ft_flip(g, x, 2), 3), ft_flip(g, across, 3)};
    for (int k = 0; k < 4; k++) {
        ft_t part = ft_mul(g, by[k], ft_slice(g, turn, 1, k, 1));
        sum = sum ? ft_add(g, sum, part) : part;
    }
    for (int axis = 2; axis < 4; axis++) sum = ft_resize(g, sum, axis, ft_dim(x, axis) / 2, FT_LINEAR_SMOOTH, 0);
    return sum;
}

/* What is done to a latent is done to the clip: latents then have no more detail than the clips do, and a generator learns them
 * more easily (EQ-VAE, Kouzelis et al. 2025, arXiv 2502.09509). L1 of the turned, halved latent's decoding. */
static ft_t equivariance(ft_graph *g, const ft_vae_preset *p, ft_t x, ft_t z)
{
    int64_t b = ft_dim(x, 0);
    ft_t rank = ft_rank(g, ft_uniform(g, FT_F32, 2, (int64_t[]){b, 4})); /* the one whose rank is 0 is drawn */
    ft_t turn = ft_reshape(g, ft_unary(g, FT_RELU, ft_affine(g, rank, -1, 1)), 5, (int64_t[]){b, 4, 1, 1, 1});
    ft_t real = ft_cast(g, ft_turn_and_halve(g, x, turn), ft_compute(g));
    return ft_loss_mean(g, ft_vae_decode(g, p, ft_turn_and_halve(g, z, turn)), real, FT_L1);
}

ft_vae_loss_terms ft_vae_loss(ft_graph *g, const ft_vae_preset *p, ft_t x, const ft_vae_loss_opt *opt)
{
    ft_vae_loss_terms t = {0};
    ft_t m = ft_vae_encode(g, p, x); /* (B,f,s,s,2z) f32 */
    ft_t mean = ft_slice(g, m, 4, 0, p->latent), logvar = ft_clamp(g, ft_slice(g, m, 4, p->latent, p->latent), -30, 20);
    int64_t dim[5] = {ft_dim(mean, 0), ft_dim(mean, 1), ft_dim(mean, 2), ft_dim(mean, 3), p->latent};
    ft_t noise = ft_randn(g, FT_F32, 5, dim);
    ft_t z = ft_add(g, mean, ft_mul(g, ft_unary(g, FT_EXP, ft_affine(g, logvar, 0.5f, 0)), noise));
    t.output = ft_vae_decode(g, p, z);
    ft_t target = ft_cast(g, x, ft_compute(g));
    t.l1 = ft_loss_mean(g, t.output, target, FT_L1);
    t.ffl = ft_focal_frequency(g, t.output, target, 1.0f);
    t.kl = ft_gauss_kl(g, ft_concat(g, 4, 2, (ft_t[]){mean, logvar}));
    t.total = t.l1;
    if (opt->ffl > 0) t.total = ft_add(g, t.total, ft_affine(g, t.ffl, (float)opt->ffl, 0));
    if (opt->equivariance > 0) {
        t.equivariance = equivariance(g, p, x, z);
        t.total = ft_add(g, t.total, ft_affine(g, t.equivariance, (float)opt->equivariance, 0));
    }
    if (opt->perceptual > 0) {
        ft_t seen = t.output, real = target;
        if (opt->judge_frames > 0) ft_perceptual_frames(g, &seen, &real, opt->judge_frames);
        ft_borrow(g, opt->judge_params);
        t.perceptual = ft_perceptual(g, opt->judge, seen, real, opt->judge_size);
        ft_borrow(g, NULL);
        t.total = ft_add(g, t.total, ft_affine(g, t.perceptual, (float)opt->perceptual, 0));
    }
    if (opt->critic) {
        ft_borrow(g, opt->critic);
        ft_t logits = ft_patchgan(g, t.output);
        ft_borrow(g, NULL);
        ft_t d = ft_reduce(g, ft_cast(g, logits, FT_F32), 31, true);
        t.gan = ft_affine(g, ft_reshape(g, d, 1, (int64_t[]){1}), -1, 0);
        ft_t w = ft_vae_last_weight(g, p); /* its share: as strong at the last layer as the reconstruction's gradient */
        ft_t rec = l2_norm(g, ft_gradient(g, t.total, w)), adv = l2_norm(g, ft_gradient(g, t.gan, w));
        t.gan_weight = ft_clamp(g, ft_div(g, rec, ft_affine(g, adv, 1, 1e-4f)), 0, 1e4f);
        t.gan_weight = ft_stop_grad(g, ft_affine(g, t.gan_weight, (float)opt->gan, 0));
        t.total = ft_add(g, t.total, ft_mul(g, ft_mul(g, t.gan, t.gan_weight), opt->gan_on));
    }
    if (opt->kl > 0) t.total = ft_add(g, t.total, ft_affine(g, t.kl, (float)opt->kl, 0));
    return t;
}

ft_t ft_patchgan_loss(ft_graph *g, ft_t real, ft_t fake)
{
    ft_t loss = NULL;
    for (int k = 0; k < 2; k++) { /* each with its own batch statistics, as the reference runs them */
        ft_t logits = ft_cast(g, ft_patchgan(g, k ? fake : real), FT_F32);
        ft_t sign = ft_affine(g, ft_stop_grad(g, logits), 0, k ? -1.0f : 1.0f);
        ft_t l = ft_affine(g, ft_loss_mean(g, logits, sign, FT_HINGE), 0.5f, 0);
        loss = loss ? ft_add(g, loss, l) : l;
    }
    ft_keep(loss);
    return loss;
}
