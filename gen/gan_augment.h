/* Adaptive augmentation of what a discriminator sees (Karras et al. 2020, "Training Generative Adversarial Networks with Limited
 * Data"), the pipeline "bgc": mirror images, quarter turns, shifts, then scale, turns, stretching and fractional shifts,
 * resampled through an orthogonal low pass at twice the size; brightness, contrast, inverted luma, hue, saturation. All frames of
 * a clip are treated alike. Each part is applied with probability p, which follows how sure the discriminator is of real clips.
 */
#ifndef FT_GAN_AUGMENT_H
#define FT_GAN_AUGMENT_H

#include "common/base/rng.h"
#include "common/graph/graph.h"

/* What is drawn for a clip; zeros and ones where nothing is done. */
typedef struct {
    bool mirror, luma;              /* upside down along x; luma inverted */
    int quarters;                   /* turns by 90 degrees */
    double shift[2];                /* whole pixels */
    double scale, stretch, turn[2]; /* factors; radians before and behind the stretching */
    double fraction[2];             /* shift in pixels */
    double brightness, contrast, hue, saturation;
} ft_gan_view;
ft_gan_view ft_gan_view_none(void);
ft_gan_view ft_gan_view_draw(ft_rng *r, double p, bool turns, int64_t size); /* turns: bgc, else bgc_noro */

/* Of a clip: the map of ft_warp (6), then colour matrix (3,3) and shift (3) */
enum { FT_GAN_VIEW_NUMBERS = 18 };
void ft_gan_view_numbers(const ft_gan_view *v, int64_t size, float numbers[FT_GAN_VIEW_NUMBERS]);

/* x (B,F,S,S,3) f32 as `numbers` (B,18) say; linear but for the shift of colours, so it can be differentiated twice */
ft_t ft_gan_augment(ft_graph *g, ft_t x, ft_t numbers);

/* p after `interval` steps in which the mean sign of real clips' logits was `sign`: towards 0.6, by 1 in 500,000 clips. */
double ft_gan_adapt(double p, double sign, int64_t batch, int64_t interval);

#endif
