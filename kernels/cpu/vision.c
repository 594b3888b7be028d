/* Bilinear sampling in pixel coordinates, zero outside: what RAFT needs beside convolutions, forward only, and warps. */
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

/* x (B,H,W,C), m (B,6) -> (B,h,w,C) */
void FT_CPU(warp)(const ft_call *c)
{
    const ft_buf *x = c->in[0], *y = c->out[0];
    int64_t H = x->dim[1], W = x->dim[2], n = x->dim[3], rows = y->dim[1], columns = y->dim[2];
#pragma omp parallel for if (y->count > FT_SMALL)
    for (int64_t row = 0; row < x->dim[0] * rows; row++)
        for (int64_t j = 0; j < columns; j++) {
            float px, py;
            ft_warp_at((const float *)c->in[1]->data + row / rows * 6, (float)(row % rows), (float)j, &py, &px);
            float fx = floorf(px), fy = floorf(py);
            bool inside = fx >= -1 && fy >= -1 && fx < (float)W && fy < (float)H; /* false for NaN */
            for (int64_t k = 0; k < n; k += FT_BLOCK) {
                float sum[FT_BLOCK], tmp[FT_BLOCK];
                int64_t len = FT_MIN(FT_BLOCK, n - k);
                memset(sum, 0, (size_t)len * sizeof *sum);
                for (int corner = 0; inside && corner < 4; corner++) {
                    int64_t xi = (int64_t)fx + corner % 2, yi = (int64_t)fy + corner / 2;
                    if (xi < 0 || yi < 0 || xi >= W || yi >= H) continue;
                    float share = ft_tent1(px - (float)xi) * ft_tent1(py - (float)yi);
                    const float *v = ft_load(tmp, x, ((row / rows * H + yi) * W + xi) * n + k, len);
                    for (int64_t i = 0; i < len; i++) sum[i] += share * v[i];
                }
                ft_store_at(y, (row * columns + j) * n + k, sum, len);
            }
        }
}

/* dy (B,h,w,C), m (B,6) -> dx (B,H,W,C): every pixel of the source gathers its shares, in the order of the results */
void FT_CPU(warp_bwd)(const ft_call *c)
{
    const ft_buf *dy = c->in[0], *dx = c->out[0];
    int64_t H = dx->dim[1], W = dx->dim[2], n = dx->dim[3], size[2] = {dy->dim[1], dy->dim[2]};
#pragma omp parallel for if (dx->count > FT_SMALL)
    for (int64_t row = 0; row < dx->dim[0] * H; row++)
        for (int64_t X = 0; X < W; X++) {
            const float *m = (const float *)c->in[1]->data + row / H * 6;
            int64_t first[2], last[2];
            ft_warp_reach(m, (float)(row % H), (float)X, size, first, last);
            for (int64_t k = 0; k < n; k += FT_BLOCK) {
                float sum[FT_BLOCK], tmp[FT_BLOCK], px, py;
                int64_t len = FT_MIN(FT_BLOCK, n - k);
                memset(sum, 0, (size_t)len * sizeof *sum);
                for (int64_t i = first[0]; i <= last[0]; i++)
                    for (int64_t j = first[1]; j <= last[1]; j++) {
                        ft_warp_at(m, (float)i, (float)j, &py, &px);
                        float share = ft_tent1(px - (float)X) * ft_tent1(py - (float)(row % H));
                        if (share == 0) continue;
                        const float *v = ft_load(tmp, dy, ((row / H * size[0] + i) * size[1] + j) * n + k, len);
                        for (int64_t q = 0; q < len; q++) sum[q] += share * v[q];
                    }
                ft_store_at(dx, (row * W + X) * n + k, sum, len);
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
