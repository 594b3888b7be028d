/* Views of clips. Nothing lies between a clip and its view in memory: each value is made from the pixels that it comes from,
 * through both operations, and once more where an operation must see the whole clip before. */
#include "kernels/augment.h"
#include "kernels/cuda/cuda.cuh"

enum { PARTS = 16, LEVELS = 3 * 256 }; /* PARTS: blocks that look at a clip */

struct clips {
    const uint8_t *rgb;
    const float *view, *cutout;
    const ft_shades *shades;                      /* (clips, 2): what each operation must know */
    int64_t frames, height, width, plane, pixels; /* plane: pixels of a frame; pixels: of a clip */
};

/* what a block saw of a clip */
union seen {
    float range[6], sum; /* lows, highs; of grey values */
    int32_t count[LEVELS];
};

FT_DEV ft_colour kind_of(const clips &c, int64_t b, int i) { return (ft_colour)c.view[b * FT_VIEW_NUMBERS + 6 + 2 * i]; }
FT_DEV bool looks(ft_colour kind) { return kind == FT_AUTOCONTRAST || kind == FT_EQUALIZE || kind == FT_CONTRAST; }

/* v[3]: pixel (x, y) of frame f after so many operations, 0..255 */
template <int OPERATIONS> FT_DEV void pixel(const clips &c, int64_t b, int64_t f, int64_t y, int64_t x, float *v)
{
    if constexpr (OPERATIONS == 0) {
        ft_place p = ft_place_of(c.view + b * FT_VIEW_NUMBERS, c.height, c.width, y, x);
        for (int k = 0; k < 3; k++) v[k] = p.outside ? 128 : ft_place_value(&p, c.rgb + (b * c.frames + f) * c.plane * 3, k);
    } else {
        pixel<OPERATIONS - 1>(c, b, f, y, x, v);
        ft_colour kind = kind_of(c, b, OPERATIONS - 1);
        float m = c.view[b * FT_VIEW_NUMBERS + 5 + 2 * OPERATIONS];
        if (kind == FT_SHARPNESS) {
            if (y == 0 || x == 0 || y + 1 == c.height || x + 1 == c.width) return; /* the border stays */
            float ring[3] = {0, 0, 0}, near_[3];
#pragma unroll 1
            for (int i = 0; i < 9; i++) {
                if (i == 4) continue;
                pixel<OPERATIONS - 1>(c, b, f, y + i / 3 - 1, x + i % 3 - 1, near_);
                for (int k = 0; k < 3; k++) ring[k] += near_[k];
            }
            for (int k = 0; k < 3; k++) v[k] = ft_sharpen1(m, v[k], ring[k]);
            return;
        }
        float grey = ft_grey1(v);
        for (int k = 0; k < 3; k++) v[k] = ft_colour1(kind, m, v[k], k, grey, c.shades + 2 * b + OPERATIONS - 1);
    }
}

/* a grid's long axis holds PARTS blocks for each clip: the others end at 65535 */
template <int OPERATION> static __global__ void look_at(seen *part, clips c)
{
    FT_SHARED(int32_t, count, [LEVELS]);
    int64_t b = blockIdx.x / PARTS, mine_at = blockIdx.x % PARTS;
    ft_colour kind = kind_of(c, b, OPERATION);
    if (!looks(kind)) return;
    float low[3] = {255, 255, 255}, high[3] = {0, 0, 0}, sum = 0, run = 0;
    for (int i = (int)threadIdx.x; i < LEVELS; i += FT_THREADS) count[i] = 0;
    __syncthreads();
    int64_t end = ft_part_of(c.pixels, mine_at + 1, PARTS);
    int n = 0;
    for (int64_t i = ft_part_of(c.pixels, mine_at, PARTS) + threadIdx.x; i < end; i += FT_THREADS) {
        float v[3];
        pixel<OPERATION>(c, b, i / c.plane, i % c.plane / c.width, i % c.width, v);
        for (int k = 0; k < 3; k++) low[k] = fminf(low[k], v[k]), high[k] = fmaxf(high[k], v[k]);
        run += ft_grey1(v);
        if (++n % 64 == 0) sum += run, run = 0;
        for (int k = 0; k < 3 && kind == FT_EQUALIZE; k++)
            atomicAdd(&count[256 * k + ft_level(v[k])], 1); /* exact in any order */
    }
    __syncthreads();
    seen *mine = part + blockIdx.x;
    if (kind == FT_EQUALIZE) {
        for (int i = (int)threadIdx.x; i < LEVELS; i += FT_THREADS) mine->count[i] = count[i];
    } else if (kind == FT_CONTRAST) {
        sum = ft_sum<FT_THREADS>(sum + run);
        if (threadIdx.x == 0) mine->sum = sum;
    } else {
        for (int k = 0; k < 3; k++) {
            float l = -ft_max<FT_THREADS>(-low[k]), h = ft_max<FT_THREADS>(high[k]);
            if (threadIdx.x == 0) mine->range[k] = l, mine->range[3 + k] = h;
        }
    }
}

/* a block a clip */
template <int OPERATION> static __global__ void sum_up(ft_shades *shades, const seen *part, clips c)
{
    FT_SHARED(int32_t, count, [LEVELS]);
    int64_t b = blockIdx.x;
    ft_colour kind = kind_of(c, b, OPERATION);
    ft_shades *s = shades + 2 * b + OPERATION;
    part += b * PARTS;
    if (kind == FT_EQUALIZE) {
        for (int i = (int)threadIdx.x; i < LEVELS; i += FT_THREADS) {
            int32_t all = 0;
            for (int p = 0; p < PARTS; p++) all += part[p].count[i];
            count[i] = all;
        }
        __syncthreads();
        if (threadIdx.x < 3) ft_flat_table(count + 256 * threadIdx.x, c.pixels, s->table[threadIdx.x]);
    } else if (kind == FT_CONTRAST && threadIdx.x == 0) {
        double all = 0;
        for (int p = 0; p < PARTS; p++) all += (double)part[p].sum;
        s->mean = (float)(all / (double)c.pixels);
    } else if (kind == FT_AUTOCONTRAST && threadIdx.x < 3) {
        float low = 255, high = 0;
        for (int p = 0; p < PARTS; p++)
            low = fminf(low, part[p].range[threadIdx.x]), high = fmaxf(high, part[p].range[3 + threadIdx.x]);
        s->low[threadIdx.x] = low, s->high[threadIdx.x] = high;
    }
}

/* `blocks` for each clip */
static __global__ void show(float *out, clips c, unsigned blocks, float mean, float std)
{
    int64_t b = blockIdx.x / blocks, step = (int64_t)blocks * FT_THREADS;
    for (int64_t i = (int64_t)(blockIdx.x % blocks) * FT_THREADS + threadIdx.x; i < c.pixels; i += step) {
        int64_t f = i / c.plane, y = i % c.plane / c.width, x = i % c.width;
        float v[3];
        if (c.cutout && ft_in_cutout(c.cutout + (b * c.frames + f) * 3, y, x)) v[0] = v[1] = v[2] = 128;
        else pixel<2>(c, b, f, y, x, v);
        for (int k = 0; k < 3; k++) out[(b * c.pixels + i) * 3 + k] = ft_normal_input1(v[k], mean, std);
    }
}

static __global__ void as_it_is(float *out, const uint8_t *rgb, int64_t n, float mean, float std)
{
    FT_EACH(i, n) out[i] = ft_normal_input1((float)rgb[i], mean, std);
}

extern "C" int ft_cuda_prepare_augment(ft_call *c)
{
    if (c->in[1]) c->work_size = (size_t)c->in[0]->dim[0] * (2 * sizeof(ft_shades) + PARTS * sizeof(seen));
    return FT_OK;
}

extern "C" void ft_cuda_augment(const ft_call *c)
{
    const ft_buf *rgb = c->in[0];
    float *out = ft_as<float>(c->out[0]), mean = c->attr->scalar.a, std = c->attr->scalar.b;
    int64_t n = rgb->dim[0], plane = rgb->dim[2] * rgb->dim[3];
    if (!c->in[1]) {
        FT_RUN(as_it_is, rgb->count, out, ft_as<const uint8_t>(rgb), rgb->count, mean, std);
        return;
    }
    ft_shades *shades = (ft_shades *)c->work;
    seen *part = (seen *)(shades + 2 * n);
    clips k = {ft_as<const uint8_t>(rgb),
               ft_as<const float>(c->in[1]),
               ft_as<const float>(c->in[2]),
               shades,
               rgb->dim[1],
               rgb->dim[2],
               rgb->dim[3],
               plane,
               rgb->dim[1] * plane};
    unsigned each = PARTS * (unsigned)n, blocks = ft_blocks(k.pixels, FT_THREADS), most = INT32_MAX / (unsigned)n;
    if (blocks > most) blocks = most;
    FT_LAUNCH(look_at<0>, each, FT_THREADS, 0, ft_cuda_stream, part, k);
    FT_LAUNCH(sum_up<0>, (unsigned)n, FT_THREADS, 0, ft_cuda_stream, shades, (const seen *)part, k);
    FT_LAUNCH(look_at<1>, each, FT_THREADS, 0, ft_cuda_stream, part, k);
    FT_LAUNCH(sum_up<1>, (unsigned)n, FT_THREADS, 0, ft_cuda_stream, shades, (const seen *)part, k);
    FT_LAUNCH(show, blocks * (unsigned)n, FT_THREADS, 0, ft_cuda_stream, out, k, blocks, mean, std);
}
