/* oneDNN called by hand at the shapes of `forty bench op`: what the GEMM and convolution rows are held against, and three ways to
 * make a weight gradient. Not a test: build/release/tests/bench_onednn [f32|bf16]
 *
 * Every operand is in the library's own layout, weights packed beforehand, nothing else happens: no framework can be faster. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"
#include "kernels/cpu/onednn_api.h"

static dnnl_engine_t engine;
static dnnl_stream_t stream;

#define OK(call)                                                                                                                 \
    do {                                                                                                                         \
        dnnl_status_t st_ = (call);                                                                                              \
        if (st_ != dnnl_success) {                                                                                               \
            fprintf(stderr, "%s: status %d\n", #call, (int)st_);                                                                 \
            exit(1);                                                                                                             \
        }                                                                                                                        \
    } while (0)

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void free_layouts(const ft_md *md, int n)
{
    for (int i = 0; i < n; i++) dnnl_memory_desc_destroy(md[i]);
}

/* median ms of a primitive, its memories made from the queried layouts */
static double time_of(dnnl_primitive_desc_t pd, int n, const int *arg, const dnnl_query_t *what)
{
    dnnl_primitive_t p;
    dnnl_exec_arg_t a[6];
    double ms[15];
    OK(dnnl_primitive_create(&p, pd));
    for (int i = 0; i < n; i++) {
        const_dnnl_memory_desc_t md = dnnl_primitive_desc_query_md(pd, what[i], 0);
        a[i].arg = arg[i];
        OK(dnnl_memory_create(&a[i].memory, md, engine, DNNL_MEMORY_ALLOCATE));
        void *data;
        OK(dnnl_memory_get_data_handle(a[i].memory, &data));
        size_t bytes = dnnl_memory_desc_get_size(md);
        for (size_t k = 0; k < bytes / 2; k++) ((unsigned short *)data)[k] = (unsigned short)(0x3c00 + k * 2654435761u % 512);
    }
    for (int k = -3; k < 15; k++) {
        double start = ft_now();
        OK(dnnl_primitive_execute(p, stream, n, a));
        OK(dnnl_stream_wait(stream));
        if (k >= 0) ms[k] = 1000 * (ft_now() - start);
    }
    qsort(ms, 15, sizeof *ms, by_value);
    for (int i = 0; i < n; i++) dnnl_memory_destroy(a[i].memory);
    dnnl_primitive_destroy(p);
    return ms[7];
}

static const char *implementation(dnnl_primitive_desc_t pd)
{
    const char *s = "";
    dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, &s);
    return s;
}

static void say(const char *name, double ms, double flop, dnnl_primitive_desc_t pd)
{
    printf("%-36s %8.3f ms %8.0f GFLOP/s  %s\n", name, ms, flop / ms / 1e6, implementation(pd));
}

static void linear(const char *name, int64_t m, int64_t k, int64_t n, dnnl_data_type_t type)
{
    ft_md x, w, wf, b, y;
    dnnl_primitive_desc_t forward, back;
    char label[80];
    OK(dnnl_memory_desc_create_with_tag(&x, 2, (dnnl_dims_t){m, k}, type, dnnl_nc));
    OK(dnnl_memory_desc_create_with_tag(&w, 2, (dnnl_dims_t){n, k}, type, dnnl_format_tag_any));
    OK(dnnl_memory_desc_create_with_tag(&wf, 2, (dnnl_dims_t){n, k}, dnnl_f32, dnnl_format_tag_any));
    OK(dnnl_memory_desc_create_with_tag(&b, 1, (dnnl_dims_t){n}, dnnl_f32, dnnl_x));
    OK(dnnl_memory_desc_create_with_tag(&y, 2, (dnnl_dims_t){m, n}, type, dnnl_nc));
    OK(dnnl_inner_product_forward_primitive_desc_create(&forward, engine, dnnl_forward_training, x, w, b, y, NULL));
    double flop = 2.0 * (double)m * (double)k * (double)n;
    say(name,
        time_of(forward, 4, (int[]){DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_BIAS, DNNL_ARG_DST},
                (dnnl_query_t[]){dnnl_query_src_md, dnnl_query_weights_md, dnnl_query_weights_md, dnnl_query_dst_md}),
        flop, forward);
    OK(dnnl_inner_product_backward_data_primitive_desc_create(&back, engine, x, w, y, forward, NULL));
    snprintf(label, sizeof label, "%s, dx", name);
    say(label,
        time_of(back, 3, (int[]){DNNL_ARG_DIFF_DST, DNNL_ARG_WEIGHTS, DNNL_ARG_DIFF_SRC},
                (dnnl_query_t[]){dnnl_query_diff_dst_md, dnnl_query_weights_md, dnnl_query_diff_src_md}),
        flop, back);
    dnnl_primitive_desc_destroy(back);
    OK(dnnl_inner_product_backward_weights_primitive_desc_create(&back, engine, x, wf, NULL, y, forward, NULL));
    snprintf(label, sizeof label, "%s, dw", name);
    say(label,
        time_of(back, 3, (int[]){DNNL_ARG_SRC, DNNL_ARG_DIFF_DST, DNNL_ARG_DIFF_WEIGHTS},
                (dnnl_query_t[]){dnnl_query_src_md, dnnl_query_diff_dst_md, dnnl_query_diff_weights_md}),
        flop, back);
    dnnl_primitive_desc_destroy(back);
    /* dw = dy^T x as a plain product over the tokens, and x^T dy */
    for (int turned = 0; turned < 2; turned++) {
        int64_t rows = turned ? k : n, cols = turned ? n : k;
        ft_md da, db, dc;
        OK(dnnl_memory_desc_create_with_strides(&da, 2, (dnnl_dims_t){rows, m}, type, (dnnl_dims_t){1, rows}));
        OK(dnnl_memory_desc_create_with_strides(&db, 2, (dnnl_dims_t){m, cols}, type, (dnnl_dims_t){cols, 1}));
        OK(dnnl_memory_desc_create_with_strides(&dc, 2, (dnnl_dims_t){rows, cols}, dnnl_f32, (dnnl_dims_t){cols, 1}));
        OK(dnnl_matmul_primitive_desc_create(&back, engine, da, db, NULL, dc, NULL));
        snprintf(label, sizeof label, "%s, dw by matmul%s", name, turned ? ", turned" : "");
        say(label,
            time_of(back, 3, (int[]){DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST},
                    (dnnl_query_t[]){dnnl_query_src_md, dnnl_query_weights_md, dnnl_query_dst_md}),
            flop, back);
        dnnl_primitive_desc_destroy(back);
        free_layouts((ft_md[]){da, db, dc}, 3);
    }
    dnnl_primitive_desc_destroy(forward);
    free_layouts((ft_md[]){x, w, wf, b, y}, 5);
}

static void conv(const char *name, int nd, const int64_t *x_, const int64_t *w_, int64_t pad, dnnl_data_type_t type)
{
    ft_md x, w, wf, y;
    dnnl_dims_t ys, stride = {1, 1, 1}, dilation = {0}, front = {pad, pad, pad};
    dnnl_primitive_desc_t forward, back;
    char label[80];
    double flop = 2;
    for (int i = 0; i < nd; i++) ys[i] = i == 1 ? w_[0] : x_[i], flop *= (double)(i == 1 ? w_[0] : x_[i]);
    for (int i = 1; i < nd; i++) flop *= (double)w_[i];
    dnnl_format_tag_t tag = nd == 5 ? dnnl_ndhwc : dnnl_nhwc;
    OK(dnnl_memory_desc_create_with_tag(&x, nd, x_, type, tag));
    OK(dnnl_memory_desc_create_with_tag(&w, nd, w_, type, dnnl_format_tag_any));
    OK(dnnl_memory_desc_create_with_tag(&wf, nd, w_, dnnl_f32, dnnl_format_tag_any));
    OK(dnnl_memory_desc_create_with_tag(&y, nd, ys, type, tag));
    OK(dnnl_convolution_forward_primitive_desc_create(&forward, engine, dnnl_forward_training, dnnl_convolution_direct, x, w,
                                                      NULL, y, stride, dilation, front, front, NULL));
    say(name,
        time_of(forward, 3, (int[]){DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST},
                (dnnl_query_t[]){dnnl_query_src_md, dnnl_query_weights_md, dnnl_query_dst_md}),
        flop, forward);
    OK(dnnl_convolution_backward_data_primitive_desc_create(&back, engine, dnnl_convolution_direct, x, w, y, stride, dilation,
                                                            front, front, forward, NULL));
    snprintf(label, sizeof label, "%s, dx", name);
    say(label,
        time_of(back, 3, (int[]){DNNL_ARG_DIFF_DST, DNNL_ARG_WEIGHTS, DNNL_ARG_DIFF_SRC},
                (dnnl_query_t[]){dnnl_query_diff_dst_md, dnnl_query_weights_md, dnnl_query_diff_src_md}),
        flop, back);
    dnnl_primitive_desc_destroy(back);
    OK(dnnl_convolution_backward_weights_primitive_desc_create(&back, engine, dnnl_convolution_direct, x, wf, NULL, y, stride,
                                                               dilation, front, front, forward, NULL));
    snprintf(label, sizeof label, "%s, dw", name);
    say(label,
        time_of(back, 3, (int[]){DNNL_ARG_SRC, DNNL_ARG_DIFF_DST, DNNL_ARG_DIFF_WEIGHTS},
                (dnnl_query_t[]){dnnl_query_src_md, dnnl_query_diff_dst_md, dnnl_query_diff_weights_md}),
        flop, back);
    dnnl_primitive_desc_destroy(back);
    dnnl_primitive_desc_destroy(forward);
    free_layouts((ft_md[]){x, w, wf, y}, 4);
}

int main(int argc, char **argv)
{
    dnnl_data_type_t type = argc > 1 && !strcmp(argv[1], "bf16") ? dnnl_bf16 : dnnl_f32;
    OK(dnnl_engine_create(&engine, dnnl_cpu, 0));
    OK(dnnl_stream_create(&stream, engine, dnnl_stream_default_flags));
    linear("linear", 2048, 768, 768, type);
    linear("linear_mlp", 3072, 512, 2048, type);
    conv("conv_3d", 5, (int64_t[]){1, 128, 4, 32, 32}, (int64_t[]){128, 128, 3, 3, 3}, 1, type);
    conv("conv_2d", 4, (int64_t[]){16, 64, 32, 32}, (int64_t[]){64, 64, 3, 3}, 1, type);
    dnnl_stream_destroy(stream);
    dnnl_engine_destroy(engine);
    return 0;
}
