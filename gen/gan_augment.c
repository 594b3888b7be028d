#include "gen/gan_augment.h"

#include <math.h>
#include <string.h>

static const double pi = 3.14159265358979324;

ft_gan_view ft_gan_view_none(void) { return (ft_gan_view){.scale = 1, .stretch = 1, .contrast = 1, .saturation = 1}; }

static bool takes_part(ft_rng *r, double p) { return ft_rng_uniform(r) < p; }

/* Every number is drawn, whether it is used or not, so that a clip's view moves little when p does. */
ft_gan_view ft_gan_view_draw(ft_rng *r, double p, bool turns, int64_t size)
{
    ft_gan_view v = ft_gan_view_none();
    double either = turns ? 1 - sqrt(1 - (p < 1 ? p : 1)) : 0, s = (double)size; /* either turn with probability p */
    double mirror = ft_rng_uniform(r), quarters = floor(4 * ft_rng_uniform(r));
    if (takes_part(r, p)) v.mirror = mirror < 0.5;
    if (takes_part(r, turns ? p : 0)) v.quarters = (int)quarters;
    double x = 2 * ft_rng_uniform(r) - 1, y = 2 * ft_rng_uniform(r) - 1;
    if (takes_part(r, p)) v.shift[0] = nearbyint(x * 0.125 * s), v.shift[1] = nearbyint(y * 0.125 * s);
    double scale = exp2(0.2 * ft_rng_normal(r)), stretch = exp2(0.2 * ft_rng_normal(r));
    if (takes_part(r, p)) v.scale = scale;
    if (takes_part(r, p)) v.stretch = stretch;
    for (int k = 0; k < 2; k++) {
        double turn = pi * (2 * ft_rng_uniform(r) - 1);
        if (takes_part(r, either)) v.turn[k] = turn;
    }
    x = ft_rng_normal(r), y = ft_rng_normal(r);
    if (takes_part(r, p)) v.fraction[0] = x * 0.125 * s, v.fraction[1] = y * 0.125 * s;
    double brightness = 0.2 * ft_rng_normal(r), contrast = exp2(0.5 * ft_rng_normal(r)), luma = ft_rng_uniform(r);
    double hue = pi * (2 * ft_rng_uniform(r) - 1), saturation = exp2(ft_rng_normal(r));
    if (takes_part(r, p)) v.brightness = brightness;
    if (takes_part(r, p)) v.contrast = contrast;
    if (takes_part(r, p)) v.luma = luma < 0.5;
    if (takes_part(r, p)) v.hue = hue;
    if (takes_part(r, p)) v.saturation = saturation;
    return v;
}

/* ---- matrices ----------------------------------------------------------------------------------------------------------- */

enum { MOST = 4 };
typedef struct {
    double at[MOST][MOST];
} matrix; /* homogeneous, of n rows */

static matrix one(void)
{
    matrix m = {{{0}}};
    for (int i = 0; i < MOST; i++) m.at[i][i] = 1;
    return m;
}
static matrix times(matrix a, matrix b)
{
    matrix m = {{{0}}};
    for (int i = 0; i < MOST; i++)
        for (int j = 0; j < MOST; j++)
            for (int k = 0; k < MOST; k++) m.at[i][j] += a.at[i][k] * b.at[k][j];
    return m;
}
/* of the plane, in rows and columns 0, 1 and 2 */
static matrix moved(double x, double y)
{
    matrix m = one();
    m.at[0][2] = x, m.at[1][2] = y;
    return m;
}
static matrix scaled(double x, double y)
{
    matrix m = one();
    m.at[0][0] = x, m.at[1][1] = y;
    return m;
}
static matrix turned(double angle)
{
    matrix m = one();
    m.at[0][0] = m.at[1][1] = cos(angle);
    m.at[1][0] = sin(angle), m.at[0][1] = -m.at[1][0];
    return m;
}

/* From pixels of the result to those of the source, both counted from their centres: the inverse of what is done to the picture
 */
static matrix geometry(const ft_gan_view *v)
{
    matrix m = scaled(v->mirror ? -1 : 1, 1);
    m = times(m, turned(pi / 2 * v->quarters));
    m = times(m, moved(-v->shift[0], -v->shift[1]));
    m = times(m, scaled(1 / v->scale, 1 / v->scale));
    m = times(m, turned(v->turn[0]));
    m = times(m, scaled(1 / v->stretch, v->stretch));
    m = times(m, turned(v->turn[1]));
    return times(m, moved(-v->fraction[0], -v->fraction[1]));
}

/* v v^T of the luma axis, times a, and the unit matrix times b */
static matrix of_luma(double a, double b)
{
    matrix m = one();
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++) m.at[i][j] = a / 3 + (i == j ? b : 0);
    return m;
}

static matrix colours(const ft_gan_view *v)
{
    matrix m = one(), hue = of_luma(1 - cos(v->hue), cos(v->hue));
    double s = sin(v->hue) / sqrt(3);
    for (int i = 0; i < 3; i++) m.at[i][3] = v->brightness;
    matrix contrast = one();
    for (int i = 0; i < 3; i++) contrast.at[i][i] = v->contrast;
    m = times(contrast, m);
    if (v->luma) m = times(of_luma(-2, 1), m);
    for (int i = 0; i < 3; i++) hue.at[i][(i + 2) % 3] += s, hue.at[i][(i + 1) % 3] -= s;
    m = times(hue, m);
    return times(of_luma(1 - v->saturation, v->saturation), m);
}

/* ---- the picture at twice the size, with a border that mirrors it --------------------------------------------------------- */

/* Symlets of order 6, normalised to a sum of 1 (Daubechies 1992) */
enum { TAPS = 12, PAD = TAPS / 4 };
static const double symlet[TAPS] = {0.015404109327027373,  0.0034907120842174702, -0.11799011114819057,  -0.048311742585633,
                                    0.4910559419267466,    0.787641141030194,     0.3379294217276218,    -0.07263752278646252,
                                    -0.021060292512300564, 0.04472490177066578,   0.0017677118642428036, -0.007800708325034148};
static double low_pass(int i)
{
    double sum = 0;
    for (int k = 0; k < TAPS; k++) sum += symlet[k];
    return symlet[i] / sum;
}

static int64_t border(int64_t size) { return size - 1; } /* as far as a mirror image goes */
static int64_t wide_of(int64_t size) { return 2 * (size + 2 * border(size)); }
static int64_t result_of(int64_t size) { return 2 * (size + 2 * PAD); }

void ft_gan_view_numbers(const ft_gan_view *v, int64_t size, float numbers[FT_GAN_VIEW_NUMBERS])
{
    double wide = (double)wide_of(size) / 2, out = (double)result_of(size) / 2;
    matrix m = times(times(scaled(2, 2), geometry(v)), scaled(0.5, 0.5)), c = colours(v);
    m = times(times(moved(-0.5, -0.5), m), moved(0.5, 0.5)); /* a pixel of the source is two of the wide one */
    m = times(times(moved(wide - 0.5, wide - 0.5), m), moved(0.5 - out, 0.5 - out));
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 3; j++) numbers[3 * i + j] = (float)m.at[i][j];
    for (int i = 0; i < 3; i++) {
        for (int j = 0; j < 3; j++) numbers[6 + 3 * i + j] = (float)c.at[i][j];
        numbers[15 + i] = (float)c.at[i][3];
    }
}

enum { MOST_SIZE = 512, MOST_ROWS = 6 * MOST_SIZE };

static int64_t mirrored(int64_t i, int64_t n) { return i < 0 ? -i : i >= n ? 2 * (n - 1) - i : i; }

/* Mirrored border, zeros between pixels, low pass times 2: n -> wide_of(n) */
static ft_t widen(ft_graph *g, ft_t x, int axis)
{
    int32_t begin[MOST_ROWS + 1], index[MOST_ROWS * TAPS / 2], e = 0;
    float weight[MOST_ROWS * TAPS / 2];
    int64_t n = ft_dim(x, axis), rows = wide_of(n), padded = rows / 2;
    for (int64_t r = 0; r < rows; r++) {
        begin[r] = e;
        for (int64_t t = 0; t < TAPS; t++) {
            int64_t at = r - 6 + t, from = at / 2;
            if (at < 0 || at % 2 || from >= padded) continue;
            index[e] = (int32_t)mirrored(from - border(n), n), weight[e++] = (float)(2 * low_pass(TAPS - 1 - (int)t));
        }
    }
    begin[rows] = e;
    return ft_resample(g, x, axis, &(ft_sparse){rows, begin, index, weight});
}

/* Low pass and every other pixel: result_of(n) -> n */
static ft_t narrow(ft_graph *g, ft_t x, int axis, int64_t n)
{
    int32_t begin[MOST_SIZE + 1], index[MOST_SIZE * TAPS], e = 0;
    float weight[MOST_SIZE * TAPS];
    for (int64_t r = 0; r < n; r++) {
        begin[r] = e;
        for (int t = 0; t < TAPS; t++) index[e] = (int32_t)(2 * r + 1 + t), weight[e++] = (float)low_pass(t);
    }
    begin[n] = e;
    return ft_resample(g, x, axis, &(ft_sparse){n, begin, index, weight});
}

ft_t ft_gan_augment(ft_graph *g, ft_t x, ft_t numbers)
{
    int64_t B = ft_dim(x, 0), F = ft_dim(x, 1), S = ft_dim(x, 2), out = result_of(S);
    if (S > MOST_SIZE) return ft_graph_fail(g, "%lld pixels, at most %d", (long long)S, MOST_SIZE);
    x = ft_reshape(g, ft_permute(g, x, (int[]){0, 2, 3, 1, 4}), 4, (int64_t[]){B, S, S, 3 * F}); /* (B,S,S,3F) */
    for (int axis = 1; axis <= 2; axis++) x = widen(g, x, axis);
    x = ft_warp(g, x, ft_slice(g, numbers, 1, 0, 6), out, out);
    for (int axis = 1; axis <= 2; axis++) x = narrow(g, x, axis, S);
    ft_t turn = ft_reshape(g, ft_slice(g, numbers, 1, 6, 9), 3, (int64_t[]){B, 3, 3});
    ft_t shift = ft_reshape(g, ft_slice(g, numbers, 1, 15, 3), 3, (int64_t[]){B, 1, 3});
    x = ft_matmul(g, ft_reshape(g, x, 3, (int64_t[]){B, S * S * F, 3}), turn, false, true);
    x = ft_reshape(g, ft_add(g, x, shift), 5, (int64_t[]){B, S, S, F, 3});
    return ft_permute(g, x, (int[]){0, 3, 1, 2, 4}); /* (B,F,S,S,3) */
}

double ft_gan_adapt(double p, double sign, int64_t batch, int64_t interval)
{
    double step = (double)(batch * interval) / 500e3, wanted = 0.6;
    p += sign > wanted ? step : sign < wanted ? -step : 0;
    return p > 0 ? p : 0;
}
