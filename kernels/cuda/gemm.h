/* Matrix products by cuBLASLt, row-major: y = alpha op(a) op(b), batched with strides. Descriptors and the algorithm are chosen
 * when a product is made (plan time), by measurement on a real device. */
#ifndef FT_CUDA_GEMM_H
#define FT_CUDA_GEMM_H

#include "kernels/cuda/runtime.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { FT_PRODUCT_ALIGN = 16 }; /* more would make the choice of an algorithm depend on where a buffer happens to lie */

typedef enum { FT_PLAIN, FT_BIAS, FT_SUM_ROWS } ft_epilogue; /* + bias (n); sums of op(a) over k to `bias` */

typedef struct {
    ft_dtype a, b, y;               /* f32 with f32, or bf16 with bf16; y: of them, or f32 */
    int64_t m, n, k, batch;         /* op(a) (m, k), op(b) (k, n), y (m, n) */
    bool ta, tb;                    /* stored transposed */
    int64_t lda, ldb, ldy;          /* values between rows as stored; 0: dense */
    int64_t step_a, step_b, step_y; /* values between the matrices of a batch; 0: dense */
    float alpha, beta;              /* alpha 0 means 1; y = alpha op(a) op(b) + beta y */
    ft_epilogue epilogue;           /* FT_BIAS: bias in y's storage type; FT_SUM_ROWS: f32 */
    unsigned align;                 /* what all addresses are multiples of, in bytes; 0 and more than FT_PRODUCT_ALIGN: that */
} ft_product_opt;

typedef struct ft_product ft_product;
int ft_product_new(ft_product **p, ft_product_opt opt); /* FT_EDEVICE: the library has no algorithm for it */
const char *ft_product_what(const ft_product *p);       /* all that its numbers depend on */
double ft_product_seconds(const ft_product *p);         /* measured now; negative: it fails, or there is no memory to try it */
size_t ft_product_work(const ft_product *p);            /* bytes of scratch that a run needs */
void ft_product_run(const ft_product *p, void *y, const void *a, const void *b, void *bias, void *work);
/* ... + beta c instead of beta y */
void ft_product_add(const ft_product *p, void *y, const void *c, const void *a, const void *b, void *bias, void *work);
void ft_product_free(void *p);
unsigned ft_cuda_alignment(const void *a, const void *b, const void *c); /* 1 .. FT_PRODUCT_ALIGN; NULL counts as that */

#ifdef __cplusplus
}
#endif
#endif
