/* What stands behind ft_plan: shared by plan.c (planning), exec.c (running on the host) and exec_device.c. */
#ifndef FT_PLAN_H
#define FT_PLAN_H

#include "common/graph/node.h"

enum { FT_ALIGN = 64, FT_GUARD = 256, FT_BUCKETS = 8, FT_LAG = 3, FT_SMALL_RESULT = 1 << 18 };

/* Gradients that are averaged over the ranks together: a stretch of the flat store, ready once node `ready` has run. */
typedef struct {
    int64_t offset, count;
    int ready;
} ft_bucket;

/* Of a plan on a device: inputs and the step go in by one copy from pinned memory, small results come out by themselves after
 * every run, each in a ring, so that the host may be up to FT_LAG - 1 runs ahead. */
typedef struct {
    char *inputs, *constants; /* there: ft_step, then the inputs; what ft_const holds */
    char *in[FT_LAG], *out[FT_LAG];
    size_t inputs_size, results_size;
    ft_t *input, *result, *foreign; /* copied in; copied out; parameters of other stores or of the average */
    int n_input, n_result, n_foreign;
    int sent; /* which of `in` was copied last; -1: none */
    ft_recording *recording;
    bool never_record;
    int queues, signals;       /* of a recording; signal 0 is given at its begin */
    int last[FT_QUEUES];       /* the signal after a queue's last node */
    char *side[FT_QUEUES - 1]; /* scratch of the queues beside the first, which has the plan's */
    size_t side_size;          /* of each */
} ft_device_part;

struct ft_plan {
    ft_graph *g;
    const ft_backend *backend;
    ft_bank bank;
    char *slab, *work;
    size_t slab_size, live_max, work_size;
    int64_t runs;
    ft_bucket bucket[FT_BUCKETS];
    int buckets;     /* 0: one rank, or nothing is trained */
    uint64_t packed; /* version of the parameters that packed copies were made from */
    unsigned writes; /* arrays of the store that a run changes: bits of ft_array */
    bool guard, profile;
    ft_device_part device;
};

extern const unsigned char ft__guard_byte;
size_t ft__bytes(ft_t t); /* in the slab */
bool ft__on_slab(ft_t t);
ft_t ft__owner(ft_t t);
size_t ft__distance(ft_t t);
uint64_t ft__version(const ft_plan *p); /* grows whenever packed copies of parameters are out of date */

/* Around each node of a plan with guards: its outputs and the scratch are NaN before, dead inputs after; FT_EGRAPH where it wrote
 * beside an output or behind its scratch. */
int ft__guard_before(const ft_plan *p, const ft_node *n);
int ft__guard_after(const ft_plan *p, const ft_node *n, int at);
int ft__device_prepare(ft_plan *p); /* memory for inputs, constants and results; addresses of leaves */
int ft__device_run(ft_plan *p, const ft_step *step);
void ft__device_free(ft_plan *p);
int ft__queues(ft_plan *p);            /* queues.c: which nodes of a recording may run beside each other */
size_t ft__moved(const ft_node *n);    /* bytes that it reads and writes */
double ft__products(const ft_node *n); /* multiplications of its products and attention */

#endif
