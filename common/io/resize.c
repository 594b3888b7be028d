#include "common/io/resize.h"

#include <math.h>
#include <string.h>

#include "common/base/antialias.h"
#include "common/base/memory.h"
#include "common/base/status.h"

struct ft_resizer {
    int from, to, most; /* most: pixels that one is made of */
    int *first, *n;     /* (to) */
    double *weight;     /* (to, most) */
    float *between;     /* (from, to, 3): rows done */
};

static const char *const names[] = {
#define NAME(name) #name,
    FT_FILTER_TABLE(NAME)
#undef NAME
};
const char *ft_filter_name(ft_filter f) { return names[f]; }

static void antialiased(ft_resizer *r, ft_antialias_filter f, double scale)
{
    for (int i = 0; i < r->to; i++) {
        int64_t first;
        r->n[i] = (int)ft_antialias(f, r->from, scale, i, &first, r->weight + (int64_t)i * r->most);
        r->first[i] = (int)first;
    }
}

static void two_neighbours(ft_resizer *r, ft_filter f, double scale)
{
    for (int i = 0; i < r->to; i++) {
        double at = f == FT_FILTER_tf1 ? i * scale : fmax((i + 0.5) * scale - 0.5, 0), *w = r->weight + (int64_t)i * r->most;
        int first = (int)at < r->from - 1 ? (int)at : r->from - 1;
        r->first[i] = first, r->n[i] = first + 1 < r->from ? 2 : 1;
        w[1] = r->n[i] == 2 ? at - first : 0, w[0] = 1 - w[1];
    }
}

int ft_resizer_new(ft_resizer **out, int from, int to, ft_filter f)
{
    double scale = (double)from / to;
    bool neighbours = f == FT_FILTER_torch || f == FT_FILTER_tf1;
    ft_antialias_filter shape = f == FT_FILTER_bilinear ? FT_TENT : f == FT_FILTER_bicubic ? FT_KEYS : FT_LANCZOS3;
    if (f == FT_FILTER_none && from != to) return FT_FAIL(FT_EDATA, "pictures of %d pixels are not %d pixels wide", from, to);
    ft_resizer *r = *out = ft_alloc(sizeof *r);
    if (!r) return FT_FAIL(FT_ENOMEM, "no memory to resize pictures");
    r->from = from, r->to = to, r->most = neighbours ? 2 : (int)ft_antialias_most(shape, scale);
    r->first = ft_alloc_n(to, sizeof *r->first), r->n = ft_alloc_n(to, sizeof *r->n);
    r->weight = ft_alloc_n((int64_t)to * r->most, sizeof *r->weight);
    r->between = ft_alloc_n((int64_t)from * to * 3, sizeof *r->between);
    if (!r->first || !r->n || !r->weight || !r->between) {
        ft_resizer_free(r);
        *out = NULL;
        return FT_FAIL(FT_ENOMEM, "no memory to resize pictures of %d to %d pixels", from, to);
    }
    if (neighbours) two_neighbours(r, f, scale);
    else if (f != FT_FILTER_none) antialiased(r, shape, scale);
    return FT_OK;
}

void ft_resizer_free(ft_resizer *r)
{
    if (!r) return;
    ft_free(r->first);
    ft_free(r->n);
    ft_free(r->weight);
    ft_free(r->between);
    ft_free(r);
}

static double within(double v) { return v < 0 ? 0 : v > 255 ? 255 : v; }

/* lines of 3-vectors, `apart` values from one to the next, become one */
static void line(const ft_resizer *r, const float *x, int64_t apart, int i, bool as_bytes, bool last, float *y)
{
    const double *w = r->weight + (int64_t)i * r->most;
    double sum[3] = {0};
    x += r->first[i] * apart;
    for (int k = 0; k < r->n[i]; k++, x += apart)
        for (int c = 0; c < 3; c++) sum[c] += w[k] * (double)x[c];
    for (int c = 0; c < 3; c++) y[c] = (float)(as_bytes ? floor(within(sum[c]) + 0.5) : last ? within(sum[c]) : sum[c]);
}

void ft_resize_picture(ft_resizer *r, const float *x, bool as_bytes, float *y)
{
    int64_t n = r->from, m = r->to;
    if (n == m) {
        memcpy(y, x, (size_t)(n * n * 3) * sizeof *y);
        return;
    }
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < n; row++)
        for (int i = 0; i < m; i++) line(r, x + row * n * 3, 3, i, as_bytes, false, r->between + (row * m + i) * 3);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < m; i++)
        for (int column = 0; column < m; column++)
            line(r, r->between + column * 3, m * 3, (int)i, as_bytes, true, y + (i * m + column) * 3);
}
