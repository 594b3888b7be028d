/* What RAFT needs beside convolutions, forward only: bilinear sampling in pixel coordinates, zero outside. */
#include "kernels/cpu/cpu.h"

/* x (B, H, W, C), at (B, h, w, 2) as (x, y) */
void FT_CPU(grid_sample)(const ft_call *c)
{
    const ft_buf *x = c->in[0], *at = c->in[1];
    int64_t H = x->dim[1], W = x->dim[2], n = x->dim[3], per_sample = at->dim[1] * at->dim[2];
    const float *p = at->data;
#pragma omp parallel for if (c->out[0]->count > FT_SMALL)
    for (int64_t r = 0; r < at->count / 2; r++) {
        float fx = floorf(p[2 * r]), fy = floorf(p[2 * r + 1]), ax = p[2 * r] - fx, ay = p[2 * r + 1] - fy;
        bool inside = fx >= -1 && fy >= -1 && fx < (float)W && fy < (float)H; /* false for NaN */
        for (int64_t k = 0; k < n; k += FT_BLOCK) {
            float sum[FT_BLOCK] = {0}, tmp[FT_BLOCK];
            int64_t m = FT_MIN(FT_BLOCK, n - k);
            for (int corner = 0; inside && corner < 4; corner++) {
                int64_t xi = (int64_t)fx + corner % 2, yi = (int64_t)fy + corner / 2;
                float share = (corner % 2 ? ax : 1 - ax) * (corner / 2 ? ay : 1 - ay);
                if (xi < 0 || yi < 0 || xi >= W || yi >= H) continue;
                const float *v = ft_load(tmp, x, ((r / per_sample * H + yi) * W + xi) * n + k, m);
                for (int64_t i = 0; i < m; i++) sum[i] += share * v[i];
            }
            ft_store_at(c->out[0], r * n + k, sum, m);
        }
    }
}

/* RAFT's lookup: volume l (B, h*w, H_l, W_l) is read around (x, y) / 2^l at offsets -radius .. radius; channels are level-major,
 * then the x offset, then the y offset (the order that public checkpoints were trained with). All samples of a point share their
 * fractions, so a patch of (2r+2)^2 values is read once. */
void FT_CPU(corr_lookup)(const ft_call *c)
{
    const ft_buf *at = c->in[0];
    int levels = c->n_in - 1, radius = c->attr->corr.radius, side = 2 * radius + 1;
    const float *p = at->data;
#pragma omp parallel for if (c->out[0]->count > FT_SMALL)
    for (int64_t r = 0; r < at->count / 2; r++)
        for (int l = 0; l < levels; l++) {
            const ft_buf *v = c->in[1 + l];
            int64_t H = v->dim[2], W = v->dim[3];
            float x = p[2 * r] / (float)(1 << l), y = p[2 * r + 1] / (float)(1 << l), fx = floorf(x), fy = floorf(y),
                  patch[32][32], out[31 * 31];
            bool near = fabsf(x) < 1e6f && fabsf(y) < 1e6f; /* false for NaN */
            for (int j = 0; j <= side; j++)
                for (int i = 0; i <= side; i++) {
                    int64_t yi = near ? (int64_t)fy + j - radius : -1, xi = near ? (int64_t)fx + i - radius : -1;
                    float tmp;
                    patch[j][i] = xi < 0 || yi < 0 || xi >= W || yi >= H ? 0.0f : *ft_load(&tmp, v, (r * H + yi) * W + xi, 1);
                }
            float ax = x - fx, ay = y - fy;
            for (int i = 0; i < side; i++)
                for (int j = 0; j < side; j++)
                    out[i * side + j] = (1 - ay) * ((1 - ax) * patch[j][i] + ax * patch[j][i + 1]) +
                                        ay * ((1 - ax) * patch[j + 1][i] + ax * patch[j + 1][i + 1]);
            ft_store_at(c->out[0], (r * levels + l) * side * side, out, side * side);
        }
}
