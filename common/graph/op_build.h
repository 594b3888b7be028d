/* What the builders share: checks of shapes. */
#ifndef FT_OP_BUILD_H
#define FT_OP_BUILD_H

#include "common/graph/node.h"
#include "kernels/limits.h"

#define NEED(cond, ...)                                                                                                          \
    do {                                                                                                                         \
        if (g->failed) return &g->dead;                                                                                          \
        if (!(cond)) return ft__fail(g, __func__, __VA_ARGS__);                                                                  \
    } while (0)

/* what kernels can hold of a row: kernels/limits.h */
#define NEED_AT_MOST(n, most, x) NEED((n) <= (most), "%s: %lld wide, at most %d", ft__shape(x), (long long)(n), (int)(most))

static inline bool same_shape(ft_t a, ft_t b)
{
    if (a->ndim != b->ndim) return false;
    for (int i = 0; i < a->ndim; i++)
        if (a->dim[i] != b->dim[i]) return false;
    return true;
}

static inline bool is_vector(ft_t t, int64_t n) { return !t || (t->count == n && t->dtype == FT_F32); }
static inline bool same(ft_t a, ft_t b) { return same_shape(a, b) && a->dtype == b->dtype; }

#endif
