/* Procedural colonoscopy phantom: the embedded data set. A camera moves through a tube with haustral folds, vessels, light
 * falling off, wet highlights, bubbles and residue; half of the videos hold a polyp on the wall. Everything but the polyp is
 * nuisance and varies by video: colour, speed, path, blur, noise, brightness, and look-alikes (fold bumps, residue). */
#ifndef FT_PHANTOM_H
#define FT_PHANTOM_H

#include <stdbool.h>
#include <stdint.h>

#include "common/io/clip_sampler.h"

typedef struct {
    int videos, frames, size;
    double balance;    /* share of polyp videos */
    double visibility; /* of polyps: scales their height and colour; 0 is taken as 1 */
    uint64_t seed;
    const char *mp4;      /* folder for whole videos and labels.csv; NULL: none. Files of their names are an error unless */
    bool force;           /* they may be replaced */
    bool length_by_class; /* whole videos only: normal ones are longer, for studies of that leak */
    /* Lists, order and lengths of PolypDiag instead of `videos` and `balance`: 102 polyp and 71 normal ones
     * to train, 60 and 20 to test, at 30 frames a second; the camera goes to and fro. Clips are taken by `sampling`. */
    bool polypdiag;
    bool polypdiag_lengths; /* normal videos 20 times as long as polyp videos; false: all drawn as polyp videos */
    ft_sampling sampling;
} ft_phantom_opt;

/* One frame at time t (seconds) of video `index`, (size, size, 3). */
void ft_phantom_frame(const ft_phantom_opt *opt, int index, double t, uint8_t *rgb);
bool ft_phantom_has_polyp(const ft_phantom_opt *opt, int index);

/* The clip store: one clip a video at 8 frames a second; a quarter of the videos are `test`, an eighth `validation`, the rest
 * `train`, each with the same balance; labels normal and polyp; every video its own group. */
int ft_phantom_write(const ft_phantom_opt *opt, const char *path);

#endif
