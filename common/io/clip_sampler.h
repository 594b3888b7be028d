/* Which frames of a video make a clip. */
#ifndef FT_CLIP_SAMPLER_H
#define FT_CLIP_SAMPLER_H

#include <stdbool.h>
#include <stdint.h>

typedef enum {
    FT_SAMPLE_STRIDE,   /* F frames, `stride` source frames apart; the largest whole stride that fits a short video */
    FT_SAMPLE_RELEASED, /* as the field's downstream scripts: a window of F strides at 30 frames a second,
                           so its length in frames follows the file's rate; a short file repeats its last frame, as there */
    FT_SAMPLE_UNIFORM,  /* spread over the whole video: floor((i + 0.5) total / F) */
    FT_SAMPLE_DENSE     /* spread over at most 16 neighbouring frames */
} ft_clip_sampler;

typedef struct {
    ft_clip_sampler how;
    int frames, stride;
    int clips;      /* of a video, spread evenly; 0: all of it, one behind another, the last one at its end (uniform: one) */
    double overlap; /* of neighbours, when all of it is taken: 0 to under 1 */
} ft_sampling;

/* "stride", "released", "uniform", "dense"; another word is FT_SAMPLE_STRIDE */
ft_clip_sampler ft_clip_sampler_of(const char *name);
const char *ft_clip_sampler_name(ft_clip_sampler how);
bool ft_clip_sampler_known(const char *name);

int ft_sample_count(const ft_sampling *s, int64_t total, double fps); /* how many clips a video of `total` frames gives */

/* index (clips, F) of rising source frames of a video with `total` frames at `fps`. *used: the mean distance of neighbours. Fails
 * on a video of fewer frames than a clip needs (FT_EDATA, naming it; FT_SAMPLE_RELEASED repeats its last frame instead), and
 * where the clips are more than `room`. */
int ft_sample_clips(const ft_sampling *s, const char *name, int64_t total, double fps, int64_t *index, int room, int *clips,
                    double *used);

#endif
