/* The compute core: record once, plan once, replay.
 *
 * A network is a C function that calls the builders below; they only note nodes. ft_backward adds the gradient nodes, the
 * optimiser calls add the update, ft_plan_new gives every tensor its place in one slab, and ft_run replays the list. No
 * allocation, shape logic or dispatch happens inside a step.
 *
 *     ft_graph *g = ft_graph_new(params, FT_BF16, 7);
 *     ft_t x = ft_input(g, "x", FT_F32, 2, (int64_t[]){8, 64});                       // (B, C)
 *     ft_t y = ft_linear(g, ft_cast(g, x, FT_BF16), ft_param(g, "fc.weight", ...), bias); // (B, N)
 *     ft_t loss = ft_loss_mean(g, y, target, FT_MSE);
 *     ft_keep(loss);
 *     ft_backward(g, loss);
 *     ft_optimise(g, (ft_optim_opt){0});
 *     FT_TRY(ft_plan_new(&plan, g, FT_WEIGHTS));
 *     FT_TRY(ft_run(plan, &step));
 *     float l = *(float *)ft_data(loss);
 *
 * Rules: at most 6 dims; channels last everywhere, (B,T,H,W,C), so that a convolution's output is a token matrix; dtype
 * belongs to the tensor (f32 or bf16 storage, arithmetic and accumulation in f32). Parameters are f32; bf16 copies for the
 * matrix units are packed by the kernels when the parameters change. A builder that fails marks the graph with the first
 * error (place and shapes) and returns a dead tensor; ft_plan_new reports it, so model code has no check per line.
 */
#ifndef FT_GRAPH_H
#define FT_GRAPH_H

#include "kernels/kernel.h"

typedef struct ft_tensor ft_tensor;
typedef ft_tensor *ft_t;
typedef struct ft_node ft_node;
/* A table of presets as a family of networks notes it: the rows, how many, and the bytes of one. Rows begin with a name. */
#define FT_PRESETS(table) table, sizeof table / sizeof *table, sizeof *table

typedef struct ft_graph ft_graph;
typedef struct ft_plan ft_plan;

/* ---- parameters: one flat f32 store shared by all graphs of a model (params.c) ------------------------------------- */

typedef struct ft_params ft_params;
typedef enum { FT_WEIGHTS, FT_EMA } ft_bank; /* which copy a plan computes with */

typedef enum { FT_INIT_ZERO, FT_INIT_ONE, FT_INIT_UNIFORM, FT_INIT_NORMAL, FT_INIT_VALUES } ft_init_kind;
typedef struct {
    ft_init_kind kind;
    double scale;        /* UNIFORM: +-scale; NORMAL: std */
    const float *values; /* VALUES: copied */
} ft_init;
#define FT_ZERO ((ft_init){FT_INIT_ZERO, 0, NULL})
#define FT_ONE  ((ft_init){FT_INIT_ONE, 0, NULL})
ft_init ft_init_xavier(int64_t fan_in, int64_t fan_out); /* U(+-sqrt(6/(in+out))) */
ft_init ft_init_uniform_fan(int64_t fan_in);             /* PyTorch's conv and linear default: U(+-1/sqrt(in)) */
ft_init ft_init_kaiming_out(int64_t fan_out);            /* N(0, sqrt(2/out)) */

ft_params *ft_params_new(uint64_t seed);
void ft_params_free(ft_params *p);
/* From now on only parameters whose names hold one of n patterns are trained, the rest are buffers: n = 0 freezes all. */
enum { FT_TRAIN_PATTERNS = 16 };
int ft_params_train_only(ft_params *p, int n, const char *const *pattern);
/* LoRA (Hu et al. 2021): layers that can be adapted (ft_layer_adapted) get W + (alpha / rank) B A, and of all parameters only A,
 * B and those whose names begin with `head` are trained. Before the first parameter. rank 0: nothing happens. */
int ft_params_adapt(ft_params *p, int rank, double alpha, const char *head);
int ft_params_adapters(const ft_params *p, double *scale); /* their rank and alpha / rank; 0: there are none */
/* No average of the weights is kept (ft_optimise's `no_ema`): the EMA bank is the weights. Before the store is sealed. */
void ft_params_no_average(ft_params *p);

typedef struct {
    const char *name;
    int ndim;
    int64_t dim[FT_MAX_DIMS], count, offset; /* offset in floats, into the flat arrays below */
    bool trained;                            /* false: a buffer (running statistics, fixed tables) */
    bool decay;                              /* weight decay applies: trained and of 2 dims or more */
} ft_param_info;

int ft_params_count(const ft_params *p);
const ft_param_info *ft_params_at(const ft_params *p, int i);
int64_t ft_params_total(const ft_params *p, bool buffers_too); /* number of values */

/* Fixes the layout and fills initial values. Called by the first ft_plan_new over the store, or before loading weights. */
int ft_params_seal(ft_params *p);
/* Trained values first, then buffers; sealed stores only. On a device these three fetch what it has made of them: ask again after
 * a run, and say ft_params_touched after writing. */
float *ft_params_flat(ft_params *p, ft_bank bank);
float *ft_params_grad(ft_params *p);              /* gradients of the trained values; NULL: no memory */
float *ft_params_moment(ft_params *p, int which); /* optimiser state: 0 = momentum or m, 1 = v; NULL: no memory */
int64_t ft_params_flat_size(const ft_params *p);  /* values in one bank, with padding */
int64_t ft_params_trained_size(const ft_params *p);
void ft_params_touched(ft_params *p); /* after writing to a bank from outside: packed copies are made again */

/* ---- tensors and graphs (graph.c) ---------------------------------------------------------------------------------- */

/* Belongs, with its plan, to the context that the thread is in (common/base/context.h), which computes it in whatever thread.
 * `compute` is the storage dtype of activations (FT_F32 or FT_BF16); `stream` (below 65536) separates the random numbers of
 * graphs that run on the same seed: dropout, noise (common/base/streams.h has forty's own). NULL: no memory. */
ft_graph *ft_graph_new(ft_params *params, ft_dtype compute, uint32_t stream);
void ft_graph_free(ft_graph *g);
ft_dtype ft_compute(const ft_graph *g);
const ft_params *ft_store_of(const ft_graph *g); /* that parameters named now come from */
void ft_training(ft_graph *g, bool training);    /* batch statistics and dropout; on by default */
bool ft_is_training(const ft_graph *g);          /* and what is named now is its own, not borrowed: running means move */
const char *ft_graph_error(const ft_graph *g);   /* NULL if none */
ft_t ft_graph_fail(ft_graph *g, const char *format, ...)
    __attribute__((format(printf, 2, 3))); /* a network's own error; dead tensor */

ft_t ft_input(ft_graph *g, const char *name, ft_dtype dtype, int ndim, const int64_t *dim); /* filled by the caller */
ft_t ft_const(ft_graph *g, ft_dtype dtype, int ndim, const int64_t *dim, const void *data); /* copied */
/* The parameter of that name: made at first use, found again by later graphs (shape must agree). */
ft_t ft_param(ft_graph *g, const char *name, int ndim, const int64_t *dim, ft_init init);
ft_t ft_buffer(ft_graph *g, const char *name, int ndim, const int64_t *dim, ft_init init);
/* n parameters of one shape as one tensor (n, dims), for one wide product instead of n. Where they are made by this call and hold
 * a multiple of 16 values they lie side by side in the store, and nothing is copied; otherwise they are joined. Each keeps its
 * name, its first values and its place in files. */
ft_t ft_param_group(ft_graph *g, int n, const char *const *name, int ndim, const int64_t *dim, ft_init init);
/* Parameters named from now on are those of another store, with its weights of the moment and without gradients: a frozen
 * judge inside a training graph (LPIPS, a discriminator). NULL: the graph's own again. The lender lives as long as the graph. */
void ft_borrow(ft_graph *g, ft_params *lender);
/* The same for the graph's own store and the running average of its weights: a teacher (Mean Teacher). */
void ft_borrow_average(ft_graph *g, bool on);
/* "encoder.conv_in.weight" and the like; lives as long as the graph. */
const char *ft_name(ft_graph *g, const char *format, ...) __attribute__((format(printf, 2, 3)));
void ft_keep(ft_t t); /* may be read with ft_data after a run */
/* An input of g that lies where another graph's tensor does, so nothing is copied: what the last run of that graph's plan left in
 * it. Before that plan is made: ft_lend(there), but for inputs. The plan is made before g's, and lives as long. */
void ft_lend(ft_t there);
ft_t ft_input_at(ft_graph *g, ft_t there);
ft_t ft_stop_grad(ft_graph *g, ft_t x);

int ft_ndim(ft_t t);
int64_t ft_dim(ft_t t, int axis); /* axis -1 is the last */
int64_t ft_count(ft_t t);
ft_dtype ft_dtype_of(ft_t t);
size_t ft_dtype_size(ft_dtype d);
void *ft_data(ft_t t); /* after planning: inputs, constants, parameters, kept tensors */

/* ---- builders: see op_table.h for the rows. Shapes: (..., C) means any leading dims. -------------------------------- */

/* shape (op_build.c) */
ft_t ft_cast(ft_graph *g, ft_t x, ft_dtype dtype);
ft_t ft_reshape(ft_graph *g, ft_t x, int ndim, const int64_t *dim); /* a view; one dim may be -1 */
ft_t ft_permute(ft_graph *g, ft_t x, const int *perm);
ft_t ft_concat(ft_graph *g, int axis, int n, const ft_t *x);
ft_t ft_slice(ft_graph *g, ft_t x, int axis, int64_t start, int64_t length); /* outermost axis: a view, no copy */
ft_t ft_select(ft_graph *g, ft_t x, int axis, int64_t index);                /* one slice, without the axis */
ft_t ft_pad(ft_graph *g, ft_t x, int axis, int64_t front, int64_t back);     /* zeros */
ft_t ft_pad_front(ft_graph *g, ft_t x, int axis, int64_t n, bool replicate); /* n copies of the first slice, or zeros */
ft_t ft_roll(ft_graph *g, ft_t x, int axis, int64_t shift);                  /* y[i] = x[i - shift mod n] */
ft_t ft_flip(ft_graph *g, ft_t x, int axis);
ft_t ft_gather_rows(ft_graph *g, ft_t x, const int32_t *permutation); /* (..., T, C): y[k] = x[permutation[k]] */
ft_t ft_resample(ft_graph *g, ft_t x, int axis, const ft_sparse *map);
/* The same along the last axis but one, and the last cut into n parts of these widths, in one pass: y[0..n-1]. Returns y[0]. */
ft_t ft_resample_parts(ft_graph *g, ft_t x, int axis, const ft_sparse *map, int n, const int64_t *width,
                       ft_t *y);                                         /* copied; the general form of the four above */
ft_t ft_upsample(ft_graph *g, ft_t x, const int64_t factor[3]);          /* nearest, (B,T,H,W,C) */
ft_t ft_pool(ft_graph *g, ft_t x, ft_pool_kind kind, ft_conv_opt where); /* (B,T,H,W,C); kernel, stride, padding of `where` */
/* PyTorch's interpolate: without antialias; CORNERS: align_corners; SMOOTH: with antialias, as Pillow resizes too, the cubic of
 * both. TF1: as TensorFlow 1 resized, source positions dst / scale. */
typedef enum {
    FT_NEAREST,
    FT_LINEAR,
    FT_LINEAR_CORNERS,
    FT_CUBIC,
    FT_LINEAR_TF1,
    FT_LINEAR_SMOOTH,
    FT_CUBIC_SMOOTH
} ft_resize_kind;
/* scale: output per input, for source positions (dst + 0.5) / scale - 0.5; 0: size / old size. */
ft_t ft_resize(ft_graph *g, ft_t x, int axis, int64_t size, ft_resize_kind kind, double scale);

/* elementwise and reductions */
ft_t ft_unary(ft_graph *g, ft_unary_kind kind, ft_t x);
ft_t ft_clamp(ft_graph *g, ft_t x, float low, float high);
ft_t ft_leaky_relu(ft_graph *g, ft_t x, float slope);
ft_t ft_leaky_relu_within(ft_graph *g, ft_t x, float slope, float limit); /* and no further than +-limit */
ft_t ft_binary(ft_graph *g, ft_binary_kind kind, ft_t a, ft_t b);         /* b is broadcast to a: same ndim, dims equal or 1 */
#define ft_add(g, a, b) ft_binary(g, FT_ADD, a, b)
#define ft_sub(g, a, b) ft_binary(g, FT_SUB, a, b)
#define ft_mul(g, a, b) ft_binary(g, FT_MUL, a, b)
#define ft_div(g, a, b) ft_binary(g, FT_DIV, a, b)
ft_t ft_affine(ft_graph *g, ft_t x, float scale, float shift); /* scale * x + shift */
ft_t ft_glu(ft_graph *g, ft_t x, ft_act act, bool gate_last);  /* (..., 2C) -> (..., C): act(gate) * other half */
ft_t ft_reduce(ft_graph *g, ft_t x, unsigned axes, bool mean); /* bit a of axes: reduce axis a; dims kept as 1 */
ft_t ft_broadcast(ft_graph *g, ft_t x, int ndim, const int64_t *dim, float scale); /* dims of x equal or 1 */
ft_t ft_softmax(ft_graph *g, ft_t x);                                              /* over the last axis */
ft_t ft_rank(ft_graph *g, ft_t x); /* over the last axis, f32: how many of the row are larger, or equal and before it */
ft_t ft_l2_normalize(ft_graph *g, ft_t x, float eps); /* x / max(|x|, eps) over the last axis */

/* State that moves with every step, in buffers (ft_buffer): what is built later reads the new values. value: f32, as many.
 * Rows: where keep[i] != 0, row index[i] of state (N,C) becomes value[i] (U,C); index (U) i32, keep (U) f32. */
void ft_assign(ft_graph *g, ft_t state, ft_t value);
void ft_assign_rows(ft_graph *g, ft_t state, ft_t index, ft_t value, ft_t keep);

/* random numbers: Philox(seed, step, node, index), the same on every device, in any order, after resume */
ft_t ft_dropout(ft_graph *g, ft_t x, float p);
ft_t ft_drop_path(ft_graph *g, ft_t x, float p);        /* stochastic depth: one draw for each sample */
ft_t ft_residual(ft_graph *g, ft_t x, ft_t h, float p); /* x + ft_drop_path(h) */
ft_t ft_randn(ft_graph *g, ft_dtype dtype, int ndim, const int64_t *dim);
ft_t ft_uniform(ft_graph *g, ft_dtype dtype, int ndim, const int64_t *dim); /* [0, 1) */
ft_t ft_q_sample(ft_graph *g, ft_t x0, ft_t coefficient, ft_t *noise);      /* coefficient (B,2) f32: a, s -> a x0 + s noise */
ft_t ft_timestep_embed(ft_graph *g, ft_t t, int64_t width);                 /* t (B) f32 -> (B, width): cos half, sin half */
/* A sampler's step, in double: y = sum of w_k x_k + s e over n <= FT_COMBINED tensors (B, ...) f32 of one shape; a w or s of 0
 * takes no part, whatever it stands before. `weights` (f32) is where the step's numbers lie, each the sum of two floats: w_1 ..
 * w_n; with `key` also s, then for `share` the logarithms of a smallest and a largest variance, and last, as one float, the step
 * of the noise. e ~ N(0,1) as ft_clip_noise gives it (gen/diffusion.h), key (4) i32: the seed and the first clip, low words
 * first; NULL: none. share (like x) or NULL: v, whose (v + 1) / 2 is the share of the largest: s is multiplied by that deviation.
 */
enum { FT_COMBINED = 5 };
ft_t ft_combine(ft_graph *g, int n, const ft_t *x, ft_t weights, ft_t key, ft_t share);

/* Products. Weights are f32: parameters, or activations (then gradients flow to them as well).
 * linear: (..., K), w (N, K) or a 1x1x1 convolution's (N, K, 1, 1, 1), b (N) or NULL -> (..., N) */
ft_t ft_linear(ft_graph *g, ft_t x, ft_t w, ft_t b);
ft_t ft_linear_act(ft_graph *g, ft_t x, ft_t w, ft_t b, ft_act act); /* one kernel where no training needs the value before act */
ft_t ft_matmul(ft_graph *g, ft_t a, ft_t b, bool ta, bool tb);       /* (..., M, K) (..., K, N); ta, tb: stored transposed */
ft_t ft_conv(ft_graph *g, ft_t x, ft_t w, ft_t b, ft_conv_opt opt);  /* (B,T,H,W,C), w (O,C/groups,kt,kh,kw) -> (B,T',H',W',O) */
ft_t ft_conv_dw(ft_graph *g, ft_t x, ft_t w, ft_t b, ft_conv_opt opt); /* depthwise: w (C,1,kt,kh,kw), b (C) or NULL */
/* Depthwise along a sequence, seeing only what came before (Mamba's conv1d): x (S,T,C), w (C,1,K), b (C) or NULL; act NONE or
 * SILU */
ft_t ft_conv_causal(ft_graph *g, ft_t x, ft_t w, ft_t b, ft_act act);
ft_t ft_conv_transpose(ft_graph *g, ft_t x, ft_t w, ft_t b, ft_conv_opt opt); /* w (C,O,kt,kh,kw); the adjoint of ft_conv */
/* StyleGAN2: input channels scaled by style (B, C) per sample; `demodulate`: outputs scaled by 1/|w * style| */
ft_t ft_conv_modulated(ft_graph *g, ft_t x, ft_t w, ft_t style, bool demodulate, ft_conv_opt opt);
ft_t ft_demodulation(ft_graph *g, ft_t w, ft_t style); /* that scale: w (O,C,kt,kh,kw), style (B,C) -> (B,O) */

/* Norms (op_build_nn.c). Statistics in f32; gamma, beta, w (C) or NULL. */
/* shift, scale (B, C) or NULL: LN(x)*gamma+beta, then *(1+scale)+shift per sample. */
ft_t ft_layernorm(ft_graph *g, ft_t x, ft_t gamma, ft_t beta, ft_t shift, ft_t scale, float eps);
ft_t ft_gate_residual(ft_graph *g, ft_t x, ft_t y, ft_t gate);         /* x + gate (B, C) * y */
ft_t ft_rmsnorm(ft_graph *g, ft_t x, ft_t w, float eps);               /* w * x / sqrt(mean x^2 + eps) over channels */
ft_t ft_rmsnorm_gated(ft_graph *g, ft_t y, ft_t z, ft_t w, float eps); /* the same of y * SiLU(z); Mamba-2 */
ft_t ft_groupnorm(ft_graph *g, ft_t x, ft_t gamma, ft_t beta, int groups, float eps, ft_act act); /* groups = C: instance norm */
/* Spatially conditioned: act(GN(x) * scale + shift), scale and shift (B,t,h,w,C) in x's dtype, nearest-resized to x
 * (B,T,H,W,C); `frame` (T): which frame of the condition each frame reads, NULL: floor(i t / T). CogVideoX's SpatialNorm3D. */
ft_t ft_groupnorm_conditioned(ft_graph *g, ft_t x, ft_t gamma, ft_t beta, ft_t scale, ft_t shift, const int32_t *frame,
                              int groups, float eps, ft_act act);
/* Training: statistics of the batch, taken apart for the first `first` samples and for the rest (first = 0 or B: one
 * segment); only the first segment moves the running statistics. Evaluation: running statistics. See classify/classifier.h. */
ft_t ft_batchnorm(ft_graph *g, ft_t x, ft_t gamma, ft_t beta, ft_t mean, ft_t var, int64_t first, float momentum, float eps,
                  ft_act act);

/* Sequences */
/* softmax(q k^T scale) v per head: q (S,Tq,C), k, v (S,Tk,C); or k = v = NULL and q (S,T,3C) packed as q|k|v. C = heads * head
 * dim. rel_k, rel_v (2R+1, head dim) f32 or NULL: relative positions clip(j-i, -R, R) + R, added to keys and values (LVDM). */
ft_t ft_sdpa(ft_graph *g, ft_t q, ft_t k, ft_t v, ft_sdpa_opt opt);
ft_t ft_sdpa_relative(ft_graph *g, ft_t q, ft_t k, ft_t v, ft_t rel_k, ft_t rel_v, ft_sdpa_opt opt);
/* Windowed local attention with rotary positions, one head: q, k, v (S, T, C); key j for query i when |i-j| <= window.
 * Positions as lucidrains/local-attention with look-back and look-forward 1. */
ft_t ft_attention_local(ft_graph *g, ft_t q, ft_t k, ft_t v, int window, float dropout);
/* Channel attention (Restormer's MDTA): qkv (S,T,3C) packed; q, k normalised over tokens per channel;
 * softmax(theta q k^T) over channels of a head, theta (heads) f32 -> (S,T,C) */
ft_t ft_attention_channel(ft_graph *g, ft_t qkv, ft_t theta, int64_t heads);
/* Mamba-2 state space scan: xbc (S, T, E+2N) after conv and SiLU, dt (S, T, heads) raw; E = heads * headdim -> (S, T, E).
 * state (S, heads, N, headdim) f32 or NULL: the state before the first token; *final, if asked for, the state after the last. */
ft_t ft_ssd(ft_graph *g, ft_t xbc, ft_t dt, ft_t dt_bias, ft_t a_log, ft_t d, int64_t heads, int64_t state_width);
ft_t ft_ssd_state(ft_graph *g, ft_t xbc, ft_t dt, ft_t dt_bias, ft_t a_log, ft_t d, int64_t heads, int64_t state_width,
                  ft_t state, ft_t *final);
/* Bidirectional WKV (Vision-RWKV, Duan et al. 2024), exact: k, v (B, T, C) or (B, T, L, C), scanned over T; w, u (C) f32, already
 * divided by T. columns > 0: T is a grid with that many columns, visited column by column; nothing is copied. */
ft_t ft_wkv(ft_graph *g, ft_t k, ft_t v, ft_t w, ft_t u, int64_t columns);

/* x (B,H,W,C) at the places of an affine map of each sample, m (B,6) f32, -> (B,h,w,C): pixel (j, i) of the result is that at
 * (m0 j + m1 i + m2, m3 j + m4 i + m5) of x, bilinear, zero outside. Linear in x, as often as one likes; m has no gradient. */
ft_t ft_warp(ft_graph *g, ft_t x, ft_t m, int64_t h, int64_t w);

/* Vision, forward only (RAFT, frozen) */
ft_t ft_grid_sample(ft_graph *g, ft_t x, ft_t at); /* x (B,H,W,C), at (B,h,w,2) f32 pixel (x, y): bilinear, zero outside */
ft_t ft_corr_lookup(ft_graph *g, ft_t at, int levels, const ft_t *volume, int radius); /* at (B,h,w,2); level l (B,h*w,H_l,W_l) */

/* Views of clips as a classifier's input: rgb (B,F,H,W,3) u8 -> f32, (value / 255 - mean) / std. view (B, FT_VIEW_NUMBERS) f32,
 * for each clip: a b c d e f, the pixel (x, y) of the view is that at (a x + b y + c, d x + e y + f) of the clip, both counted
 * from the centre, 128 outside; then twice an ft_colour and its m, with statistics of the whole clip. cutout (B,F,3) f32 or NULL:
 * x, y, side of a grey square in each frame. view NULL: the clip as it is. */
ft_t ft_augment(ft_graph *g, ft_t rgb, ft_t view, ft_t cutout, float mean, float std);

/* Losses: a scalar (1) f32 unless said otherwise. Targets and weights get no gradient: use ft_stop_grad. */
ft_t ft_loss_mean(ft_graph *g, ft_t x, ft_t target, ft_loss_kind kind);
ft_t ft_loss_weighted(ft_graph *g, ft_t x, ft_t target, ft_t weight, ft_loss_kind kind, float delta); /* weight (B) or NULL */
ft_t ft_softmax_xent(ft_graph *g, ft_t logits, ft_t target,
                     ft_t weight); /* (B,C) f32; target (B,C), or (B) i32 classes (-1: none); weight (B): mean of w*H */
ft_t ft_pseudo_label(ft_graph *g, ft_t logits, float threshold, ft_t *weight); /* one-hot (B,C) and [max p >= threshold] (B) */
ft_t ft_gauss_kl(ft_graph *g, ft_t moments); /* (B, ..., 2Z) as mean|logvar: KL to N(0,1), summed, mean over B */
/* Learned-range variance (Nichol & Dhariwal 2021, eq. 15), in bits: eps, nu, x0, xt (B, ..., C), coefficient (B,8) f32 from
 * ft_vlb_coefficients; the gradient goes to nu alone. */
ft_t ft_vlb(ft_graph *g, ft_t nu, ft_t eps, ft_t x0, ft_t xt, ft_t coefficient);
ft_t ft_pearson(ft_graph *g, ft_t a, ft_t b); /* (..., K) -> (rows) f32: correlation over the last axis */
ft_t ft_focal_frequency(ft_graph *g, ft_t x, ft_t target, float alpha); /* (B,T,H,W,C); Jiang et al. 2021 */

/* ---- gradients, optimisers (backward.c, op_grad.c, optim.c) ------------------------------------------------------------ */

/* Adds the gradient nodes; parameter gradients land in ft_params_grad. Called once more they are added to: with the losses of
 * parts of a batch, each built after the backward pass of the one before, a step needs the memory of one part. */
void ft_backward(ft_graph *g, ft_t loss);
void ft_backward_from(ft_graph *g, ft_t y, ft_t dy); /* the same from any tensor whose gradient is known */
/* Trained parameters of this graph that no gradient has reached get zeros: graphs of one store share its gradients, and what
 * another one left there would be learned from again. */
void ft_ground(ft_graph *g);
ft_t ft_grad(ft_graph *g, ft_t t); /* gradient of an input or parameter after ft_backward; NULL if none */
void ft_need_grad(ft_t input);     /* an input whose gradient is wanted: before it is used */
/* dy/dx as a tensor that can be used further, and differentiated again by ft_backward (R1 penalties). y: a scalar. Rows on the
 * way need gradient rules made of ops with gradients: linear, matmul, convolutions, unary, binary, reductions, shape ops. */
ft_t ft_gradient(ft_graph *g, ft_t y, ft_t x);

/* Recompute: what is built between begin and end is not kept for the backward pass but computed again there. */
void ft_remat_begin(ft_graph *g);
void ft_remat_end(ft_graph *g);

/* Update of all trained values with the step's lr, then EMA with the step's decay. A non-finite gradient norm skips the
 * update; the norm (before clipping) is kept in the returned scalar. */
ft_t ft_optimise(ft_graph *g, ft_optim_opt opt);

double ft_lr_cosine(double lr, int64_t step, int64_t steps, int64_t warmup); /* to 0 over `steps`, linear warm-up */
double ft_ema_decay(double decay, int64_t step);                             /* min(decay, (1+step)/(10+step)) */

/* ---- planning and running (plan.c, exec.c) --------------------------------------------------------------------------- */

int ft_plan_new(ft_plan **plan, ft_graph *g, ft_bank bank);
void ft_plan_free(ft_plan *plan);
int ft_run(ft_plan *plan, const ft_step *step); /* on a device: begun; ft_data waits for what it reads */
/* How many runs the host may be ahead of a plan: 0 on the processor. ft_data_late reads a kept tensor of at most 256 KiB as the
 * run `ago` runs before the last one left it, without waiting for later ones; ago <= ft_plan_lag. */
int ft_plan_lag(const ft_plan *plan);
const void *ft_data_late(ft_t t, int ago);

typedef struct {
    size_t act_bytes, live_bytes, param_bytes; /* slab, its lower bound (largest live sum), parameter store */
    size_t work_bytes, moved_bytes;            /* scratch of the kernels; what all nodes read and write in a run */
    double products;                           /* multiply-accumulates of products, convolutions and attention in a run */
    int nodes;
} ft_plan_info;
ft_plan_info ft_plan_describe(const ft_plan *plan);

/* Where time and bytes go, by op: measured from now on (or from the start with FORTY_PROFILE=1), printed to standard error. */
void ft_plan_profile_on(ft_plan *plan);
void ft_plan_profile(const ft_plan *plan);

#endif
