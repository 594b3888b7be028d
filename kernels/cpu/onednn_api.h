/* oneDNN's C API in the form of 3.x; under 2.x the same calls, made of the old ones. The version of the headers decides.
 *
 * 3.x made layouts opaque (dnnl_memory_desc_t is a pointer with an owner) and went from operation to primitive descriptor in one
 * call. Code is written against that, with ft_md for a layout that is owned. */
#ifndef FT_ONEDNN_API_H
#define FT_ONEDNN_API_H

#include <oneapi/dnnl/dnnl.h>
#include <stdlib.h>

#if DNNL_VERSION_MAJOR >= 3

typedef dnnl_memory_desc_t ft_md;

#else

typedef dnnl_memory_desc_t *ft_md;
typedef const dnnl_memory_desc_t *const_dnnl_memory_desc_t;

static inline dnnl_status_t dnnl_memory_desc_destroy(ft_md md)
{
    free(md);
    return dnnl_success;
}

static inline dnnl_status_t ft_md_made(ft_md *md, dnnl_status_t st)
{
    if (st == dnnl_success) return st;
    free(*md);
    *md = NULL;
    return st;
}

static inline dnnl_status_t dnnl_memory_desc_create_with_tag(ft_md *md, int n, const dnnl_dims_t dims, dnnl_data_type_t type,
                                                             dnnl_format_tag_t tag)
{
    *md = malloc(sizeof **md);
    return *md ? ft_md_made(md, dnnl_memory_desc_init_by_tag(*md, n, dims, type, tag)) : dnnl_out_of_memory;
}

static inline dnnl_status_t dnnl_memory_desc_create_with_strides(ft_md *md, int n, const dnnl_dims_t dims, dnnl_data_type_t type,
                                                                 const dnnl_dims_t strides)
{
    *md = malloc(sizeof **md);
    return *md ? ft_md_made(md, dnnl_memory_desc_init_by_strides(*md, n, dims, type, strides)) : dnnl_out_of_memory;
}

static inline dnnl_status_t ft_append_eltwise(dnnl_post_ops_t ops, dnnl_alg_kind_t kind, float alpha, float beta)
{
    return dnnl_post_ops_append_eltwise(ops, 1.0f, kind, alpha, beta);
}
#define dnnl_post_ops_append_eltwise ft_append_eltwise

/* the operation's descriptor, then the primitive's */
#define FT_MADE_OF(init)                                                                                                         \
    dnnl_status_t st = (init);                                                                                                   \
    return st == dnnl_success ? dnnl_primitive_desc_create(pd, &op, attr, engine, hint) : st

static inline dnnl_status_t dnnl_inner_product_forward_primitive_desc_create(
    dnnl_primitive_desc_t *pd, dnnl_engine_t engine, dnnl_prop_kind_t kind, const_dnnl_memory_desc_t x,
    const_dnnl_memory_desc_t w, const_dnnl_memory_desc_t b, const_dnnl_memory_desc_t y, const_dnnl_primitive_attr_t attr)
{
    dnnl_inner_product_desc_t op;
    const_dnnl_primitive_desc_t hint = NULL;
    FT_MADE_OF(dnnl_inner_product_forward_desc_init(&op, kind, x, w, b, y));
}

static inline dnnl_status_t dnnl_inner_product_backward_data_primitive_desc_create(
    dnnl_primitive_desc_t *pd, dnnl_engine_t engine, const_dnnl_memory_desc_t dx, const_dnnl_memory_desc_t w,
    const_dnnl_memory_desc_t dy, const_dnnl_primitive_desc_t hint, const_dnnl_primitive_attr_t attr)
{
    dnnl_inner_product_desc_t op;
    FT_MADE_OF(dnnl_inner_product_backward_data_desc_init(&op, dx, w, dy));
}

static inline dnnl_status_t dnnl_inner_product_backward_weights_primitive_desc_create(
    dnnl_primitive_desc_t *pd, dnnl_engine_t engine, const_dnnl_memory_desc_t x, const_dnnl_memory_desc_t dw,
    const_dnnl_memory_desc_t db, const_dnnl_memory_desc_t dy, const_dnnl_primitive_desc_t hint, const_dnnl_primitive_attr_t attr)
{
    dnnl_inner_product_desc_t op;
    FT_MADE_OF(dnnl_inner_product_backward_weights_desc_init(&op, x, dw, db, dy));
}

static inline dnnl_status_t dnnl_matmul_primitive_desc_create(dnnl_primitive_desc_t *pd, dnnl_engine_t engine,
                                                              const_dnnl_memory_desc_t a, const_dnnl_memory_desc_t b,
                                                              const_dnnl_memory_desc_t bias, const_dnnl_memory_desc_t y,
                                                              const_dnnl_primitive_attr_t attr)
{
    dnnl_matmul_desc_t op;
    const_dnnl_primitive_desc_t hint = NULL;
    FT_MADE_OF(dnnl_matmul_desc_init(&op, a, b, bias, y));
}

static inline dnnl_status_t dnnl_convolution_forward_primitive_desc_create(
    dnnl_primitive_desc_t *pd, dnnl_engine_t engine, dnnl_prop_kind_t kind, dnnl_alg_kind_t alg, const_dnnl_memory_desc_t x,
    const_dnnl_memory_desc_t w, const_dnnl_memory_desc_t b, const_dnnl_memory_desc_t y, const dnnl_dims_t stride,
    const dnnl_dims_t dilation, const dnnl_dims_t front, const dnnl_dims_t back, const_dnnl_primitive_attr_t attr)
{
    dnnl_convolution_desc_t op;
    const_dnnl_primitive_desc_t hint = NULL;
    FT_MADE_OF(dnnl_dilated_convolution_forward_desc_init(&op, kind, alg, x, w, b, y, stride, dilation, front, back));
}

static inline dnnl_status_t dnnl_convolution_backward_data_primitive_desc_create(
    dnnl_primitive_desc_t *pd, dnnl_engine_t engine, dnnl_alg_kind_t alg, const_dnnl_memory_desc_t dx, const_dnnl_memory_desc_t w,
    const_dnnl_memory_desc_t dy, const dnnl_dims_t stride, const dnnl_dims_t dilation, const dnnl_dims_t front,
    const dnnl_dims_t back, const_dnnl_primitive_desc_t hint, const_dnnl_primitive_attr_t attr)
{
    dnnl_convolution_desc_t op;
    FT_MADE_OF(dnnl_dilated_convolution_backward_data_desc_init(&op, alg, dx, w, dy, stride, dilation, front, back));
}

static inline dnnl_status_t dnnl_convolution_backward_weights_primitive_desc_create(
    dnnl_primitive_desc_t *pd, dnnl_engine_t engine, dnnl_alg_kind_t alg, const_dnnl_memory_desc_t x, const_dnnl_memory_desc_t dw,
    const_dnnl_memory_desc_t db, const_dnnl_memory_desc_t dy, const dnnl_dims_t stride, const dnnl_dims_t dilation,
    const dnnl_dims_t front, const dnnl_dims_t back, const_dnnl_primitive_desc_t hint, const_dnnl_primitive_attr_t attr)
{
    dnnl_convolution_desc_t op;
    FT_MADE_OF(dnnl_dilated_convolution_backward_weights_desc_init(&op, alg, x, dw, db, dy, stride, dilation, front, back));
}

#undef FT_MADE_OF
#endif
#endif
