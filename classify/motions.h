/* Procedural clips to pretrain a video network on: textures that move, turn, grow and bend, flat shapes above them, light that
 * changes, blur, noise, frames that cover the corners. Made while they are asked for, never stored. They share no code, scene
 * or colour model with the phantom (gen/phantom.h): no tube, nothing shaded as a body, no tissue. */
#ifndef FT_MOTIONS_H
#define FT_MOTIONS_H

#include <stdint.h>

enum {
    FT_MOTION_TEXTURES = 9, /* plain, cloud, grain, stripes, spots, cells, net, speckle, checks */
    FT_MOTION_SHAPES = 6,   /* blob, polygon, star, ring, bar, cross; 0 in the targets is none */
    FT_MOTION_CAMERAS = 6,  /* still, pan, turn, nearer, farther, shake */
    FT_MOTION_LIGHTS = 4,   /* steady, ramp, flicker, flash */
    FT_MOTION_MOST = 4,     /* shapes of a clip */
    /* a cell of the grid: shares of its pixels by shape (0: none) and by texture; velocity x, y and colour of what is seen there */
    FT_MOTION_CELL = 1 + FT_MOTION_SHAPES + FT_MOTION_TEXTURES + 2 + 3,
};

/* What is drawn in a clip. */
typedef struct {
    int camera, light, shapes; /* shapes: their number, 0 to FT_MOTION_MOST */
    float velocity[2];         /* of the ground at the middle of the picture, mean over the clip, tenths of its width a frame */
    float turn, growth;        /* of the ground: radians and log scale, of the whole clip */
} ft_motions;

/* Clip `index` of the endless sequence `seed`: rgb (frames, size, size, 3), and the targets cell (frames / 2, size / 16,
 * size / 16, FT_MOTION_CELL) over pairs of frames and squares of 16 pixels; cell may be NULL. frames even, 2 or more, 64 at
 * most; size a multiple of 16, 16 to 256. Velocities of cells are in sixteenths of the width a frame, along x (right) and y
 * (down); they leave out the bending. Colours are mean red, green and blue without the light, -1 to 1. Depends on the arguments
 * alone. */
void ft_motions_clip(uint64_t seed, uint64_t index, int frames, int size, uint8_t *rgb, float *cell, ft_motions *truth);

#endif
