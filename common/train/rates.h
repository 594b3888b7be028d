/* What this machine reaches: small networks of each kind of work, forward and backward, timed in f32 and in bf16; a plain copy;
 * and multiply-adds in registers, which no product can exceed. */
#ifndef FT_RATES_H
#define FT_RATES_H

#include <jansson.h>
#include <stdbool.h>

typedef enum {
    FT_WORK_PRODUCTS,     /* linear layers of tokens: transformers, Mamba, WKV */
    FT_WORK_CONVOLUTIONS, /* dense ones: VAEs, U-Nets, R(2+1)D */
    FT_WORK_DEPTHWISE,    /* depthwise ones with batch norm, 1x1 between: X3D */
    FT_WORKS
} ft_work;
extern const char *const ft_work_name[FT_WORKS]; /* "products", ... */

typedef struct {
    double gflops[FT_WORKS][2]; /* f32, bf16 (of 1e9 a second, two for a multiply-add); bf16 0: not possible here */
} ft_rates;

/* Of the processor, by the threads that plans get. Measured once on a machine (under a second): kept in
 * $XDG_CACHE_HOME/forty, or ~/.cache/forty, by processor, threads and library versions. FT_ENOMEM, FT_EDEVICE */
int ft_rates_here(ft_rates *r);
int ft_rates_measure(ft_rates *r);        /* now, whatever is kept */
json_t *ft_rates_json(const ft_rates *r); /* {"products": {"f32": 210.1, "bf16": 410.2}, ...} */

double ft_rate_copy(void);           /* GB/s, read and written ones counted, all threads; the best of seven */
double ft_rate_registers(bool bf16); /* GFLOP/s, all threads; 0: no such instruction */

#endif
