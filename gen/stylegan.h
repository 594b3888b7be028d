/* What StyleGAN's video generators share: layers of equal learning rates (Karras et al. 2018), styles (Karras et al. 2020),
 * motion in continuous time (Skorokhodov et al. 2022), a discriminator that looks at few frames of a clip, and their names.
 *
 * Weights are stored as N(0, 1) / rate and scaled where they are used, so that Adam moves every layer alike. A gain behind a
 * leaky ReLU is part of that scale, since the activation is homogeneous. */
#ifndef FT_STYLEGAN_H
#define FT_STYLEGAN_H

#include "gen/generator.h"

typedef struct {
    ft_generator_preset base;
    const char *critic; /* what its discriminator is called */
    int width;          /* of z, w and the motion codes: even */
    int budget, most;   /* channels at a resolution: budget / resolution, at most `most` */
    bool brief;         /* trained for thousands of steps, not for millions: other losses (gan_step.c) */
} ft_stylegan_preset;

/* What clips are drawn from: z (B,W) N(0,1), motion (B,A,W) N(0,1), A = ft_stylegan_codes(frames); t (B,F) f32, in frames from 0
 * to `frames` - 1; label (B,C) f32, 1 at the clip's class, NULL: no classes are known. */
typedef struct {
    ft_t z, motion, t, label;
} ft_gan_in;

/* A row of the generator table that draws pixels. The generator is made of noise and times, the discriminator of frames and
 * times; a clip that is learned from shows FT_STYLEGAN_FRAMES of its frames. */
typedef struct ft_gan {
    /* -> frames (B,F,S,S,3) f32 in [-1,1] but for outliers. psi: truncation, 1: none. */
    ft_t (*generate)(ft_graph *g, const ft_stylegan_preset *p, ft_gan_in in, int64_t size, double psi);
    /* x (B,F,S,S,3) f32, t (B,F) f32, label (B,C) f32 or NULL -> logits (B) f32, above 0: real */
    ft_t (*judge)(ft_graph *g, const ft_stylegan_preset *p, ft_t x, ft_t t, ft_t label);
    double r1, r1_per_pixel; /* published weight of the gradient penalty: r1 + r1_per_pixel * pixels / batch */
    int lazy;                /* steps between the generator's regularisations, of which only Adam's rate is left */
} ft_gan;

enum {
    FT_STYLEGAN_FRAMES = 3,   /* of a clip, that the discriminator sees */
    FT_STYLEGAN_ANCHOR = 16,  /* frames from one motion code to the next */
    FT_STYLEGAN_KERNEL = 11,  /* of the two convolutions over motion codes */
    FT_STYLEGAN_TIMES = 1024, /* frames that time can be told apart over */
    FT_STYLEGAN_CONCAT = 16,  /* resolution at which frames become channels */
};
const ft_stylegan_preset *ft_stylegan_at(int i);              /* of all families; NULL past the end */
const ft_stylegan_preset *ft_stylegan_find(const char *name); /* by its name, or by its discriminator's; NULL if unknown */
int64_t ft_stylegan_codes(int64_t frames);                    /* motion noise of a clip of so many frames */
int64_t ft_stylegan_channels(const ft_stylegan_preset *p, int64_t resolution);
bool ft_stylegan_size(int64_t size); /* a power of two from 32 on */

/* NAME.weight (out,K), NAME.bias: x (...,K) -> (...,out) */
typedef struct {
    double lr;   /* multiplier of the learning rate; 0: 1 */
    double bias; /* what the bias begins with: 0 or 1 */
    bool no_bias, lrelu;
} ft_equal;
ft_t ft_equal_linear(ft_graph *g, const char *name, ft_t x, int64_t out, ft_equal e);
/* NAME.weight (out,C,k,k), NAME.bias: x (B,F,h,w,C) -> (B,F,h',w',out). With `lrelu` the result is within +-256 * gain. */
typedef struct {
    int64_t kernel; /* 1 or 3 */
    double gain;    /* 0: 1 */
    bool down;      /* halves h and w behind a low pass */
    bool no_bias, lrelu;
} ft_equal_conv_opt;
ft_t ft_equal_conv(ft_graph *g, const char *name, ft_t x, int64_t out, ft_equal_conv_opt o);

/* The low pass [1,3,3,1]^2 / 64 of every channel, times gain: x (B,F,h,w,C) with so many zeros in front and behind */
ft_t ft_fir(ft_graph *g, ft_t x, double gain, int64_t pad, int64_t stride);
ft_t ft_fir_up(ft_graph *g, ft_t x); /* (B,F,h,w,C) -> (B,F,2h,2w,C) */

/* z (B,W) beside c (B,K) through NAME.embed, (B,width), either NULL; each over its sqrt(mean of squares + 1e-8), then two layers
 * with a leaky ReLU and a hundredth of the rate: NAME.fc0, NAME.fc1 -> (B,width) */
ft_t ft_stylegan_mapping(ft_graph *g, const char *name, ft_t z, ft_t c, int64_t width);
/* "mapping": z (B,W), label (B,C) or NULL -> w (B,W). While it trains, mapping.w_avg follows the mean; psi draws w towards it. */
ft_t ft_stylegan_w(ft_graph *g, const ft_stylegan_preset *p, ft_t z, ft_t label, double psi);
/* "synthesis.motion_encoder": motion (B,A,W), t (B,F), label (B,C) or NULL -> v (B,F,W) */
ft_t ft_stylegan_motion(ft_graph *g, const ft_stylegan_preset *p, ft_gan_in in);

/* A layer with styles, NAME.affine, NAME.weight (out,C,3,3), NAME.bias: x (B,F,h,w,C), w (B,W) -> (B,F,h,w,out), or with `up`
 * twice as large. */
typedef ft_t ft_style_layer(ft_graph *g, const void *ctx, const char *name, ft_t x, ft_t w, int64_t out, bool up);
ft_style_layer ft_style_conv; /* StyleGAN2's, of nothing else: ctx is NULL */
/* Its parts: the style (B,C); the kernel (out,C,1,3,3); x times its style, by the kernel; demodulation d (B,O), NAME.bias, leaky
 * ReLU, within +-256. */
ft_t ft_style_of(ft_graph *g, const char *name, ft_t w, int64_t in);
ft_t ft_style_kernel(ft_graph *g, const char *name, int64_t out, int64_t in);
ft_t ft_style_product(ft_graph *g, ft_t x, ft_t style, ft_t k, bool up);
ft_t ft_style_finish(ft_graph *g, const char *name, ft_t x, ft_t d);
/* NAME.affine, NAME.weight (3,C,1,1), NAME.bias: x (B,F,h,w,C), w (B,W) -> (B,F,h,w,3) f32 */
ft_t ft_style_rgb(ft_graph *g, const char *name, ft_t x, ft_t w);
/* "synthesis.b4.input": a learned constant beside v (B,F,W) -> (B,F,4,4,C + W) */
ft_t ft_stylegan_input(ft_graph *g, const ft_stylegan_preset *p, ft_t v);

/* "synthesis": w (B,W), motion codes v (B,F,W) -> frames (B,F,S,S,3) f32. Each resolution adds its colours to what was there,
 * twice as large. */
ft_t ft_stylegan_draw(ft_graph *g, const ft_stylegan_preset *p, ft_t w, ft_t v, int64_t size, ft_style_layer *layer,
                      const void *ctx);

/* The discriminator: x (B,n,S,S,3) f32, of frames at t (B,F) and what else is shown of a clip, label (B,C) or NULL -> logits (B)
 * f32; `hidden`: width of the last layer but one. */
ft_t ft_stylegan_judge(ft_graph *g, const ft_stylegan_preset *p, ft_t x, ft_t t, ft_t label, int64_t hidden);
/* "time_encoder", "mapping": t (B,F), label (B,C) or NULL -> what the discriminator's last layer is weighed with, (B,c) */
ft_t ft_stylegan_projection(ft_graph *g, const ft_stylegan_preset *p, ft_t t, ft_t label);
/* A residual block "bR" of the discriminator at resolution R: x (B,F,R,R,C) -> (B,F,R/2,R/2,out) */
ft_t ft_stylegan_block(ft_graph *g, ft_t x, int64_t middle, int64_t out);
/* Frames become channels: (B,F,h,w,C) -> (B,1,h,w,F C) */
ft_t ft_stylegan_concat(ft_graph *g, ft_t x);
/* x (B,1,4,4,C) and the mean deviation within groups of samples -> (B,1,4,4,C+1) */
ft_t ft_minibatch_deviation(ft_graph *g, ft_t x);

#endif
