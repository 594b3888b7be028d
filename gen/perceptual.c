#include "gen/perceptual.h"

#include "common/graph/layers.h"
#include "common/vision/dino.h"
#include "gen/lpips.h"

enum { BLOCKS = 4 };

bool ft_perceptual_known(const char *name) { return ft_lpips_find(name) || ft_dino_find(name); }

/* x (B,T,H,W,3) in [-1,1] -> tokens of length 1 behind four blocks, (B*T,h*w,width) */
static void tokens(ft_graph *g, const ft_dino_preset *p, ft_t x, ft_t token[BLOCKS])
{
    int block[BLOCKS];
    float mean[3], scale[3];
    for (int i = 0; i < BLOCKS; i++) block[i] = (i + 1) * p->depth / BLOCKS - 1;
    for (int c = 0; c < 3; c++) mean[c] = 2 * ft_imagenet_mean[c] - 1, scale[c] = 1 / (2 * ft_imagenet_std[c]);
    int64_t side = ft_dim(x, 2), extra = ft_dino_extra(p), colour[4] = {1, 1, 1, 3};
    x = ft_reshape(g, x, 4, (int64_t[]){ft_dim(x, 0) * ft_dim(x, 1), side, side, 3});
    x = ft_sub(g, x, ft_const(g, FT_F32, 4, colour, mean));
    x = ft_mul(g, x, ft_const(g, FT_F32, 4, colour, scale));
    ft_dino(g, p, x, BLOCKS, block, token);
    for (int i = 0; i < BLOCKS; i++)
        token[i] = ft_l2_normalize(g, ft_slice(g, token[i], 1, extra, ft_dim(token[i], 1) - extra), 1e-10f);
}

static ft_t dino_distance(ft_graph *g, const ft_dino_preset *p, ft_t x, ft_t y)
{
    ft_t a[BLOCKS], b[BLOCKS], sum = NULL;
    tokens(g, p, x, a);
    tokens(g, p, y, b);
    for (int i = 0; i < BLOCKS; i++) { /* mean over values times values of a token: the squared length */
        ft_t d = ft_loss_mean(g, a[i], ft_stop_grad(g, b[i]), FT_MSE);
        d = ft_affine(g, d, (float)p->width / BLOCKS, 0);
        sum = sum ? ft_add(g, sum, d) : d;
    }
    return sum;
}

/* x (B,T,H,W,3) -> (B,T,size,size,3) f32 */
static ft_t resized(ft_graph *g, ft_t x, int64_t size)
{
    x = ft_cast(g, x, FT_F32);
    for (int axis = 2; axis < 4; axis++)
        if (ft_dim(x, axis) != size) x = ft_resize(g, x, axis, size, FT_CUBIC_SMOOTH, 0);
    return x;
}

ft_t ft_perceptual(ft_graph *g, const char *name, ft_t x, ft_t y, int64_t size)
{
    const ft_dino_preset *dino = ft_dino_find(name);
    if (size == 0) size = ft_dim(x, 2);
    if (dino) size = (size + dino->patch - 1) / dino->patch * dino->patch;
    x = resized(g, x, size), y = resized(g, y, size);
    return dino ? dino_distance(g, dino, x, y) : ft_lpips(g, ft_lpips_find(name), x, y);
}

void ft_perceptual_frames(ft_graph *g, ft_t *x, ft_t *y, int64_t n)
{
    ft_t *clip[2] = {x, y}, frame[2] = {NULL, NULL};
    int64_t b = ft_dim(*x, 0), t = ft_dim(*x, 1);
    if (n >= t) return;
    ft_t rank = ft_rank(g, ft_uniform(g, FT_F32, 2, (int64_t[]){b, t})); /* (B,T), a permutation of 0 .. T-1 in each row */
    rank = ft_reshape(g, rank, 5, (int64_t[]){b, t, 1, 1, 1});
    for (int64_t i = 0; i < n; i++) {
        ft_t off = ft_unary(g, FT_SQUARE, ft_affine(g, rank, 1, (float)-i)); /* 0 for one frame, at least 1 for the others */
        ft_t one = ft_unary(g, FT_RELU, ft_affine(g, off, -1, 1));           /* which is 1, and they 0 */
        for (int k = 0; k < 2; k++) {
            ft_t f = ft_reduce(g, ft_mul(g, ft_cast(g, *clip[k], FT_F32), one), 1u << 1, false); /* (B,1,H,W,3) */
            frame[k] = frame[k] ? ft_concat(g, 1, 2, (ft_t[]){frame[k], f}) : f;
        }
    }
    *x = frame[0], *y = frame[1];
}
