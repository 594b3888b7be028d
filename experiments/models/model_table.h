/* Every network under one roof, for the verbs that take a model by name: models, init, forward, weights, bench. */
#ifndef FT_MODEL_TABLE_H
#define FT_MODEL_TABLE_H

#include "common/graph/graph.h"
#include "common/train/rates.h"
#include "common/io/config.h"
#include "common/io/safetensors.h"

enum { FT_MODEL_INPUTS = 3 };
typedef struct {
    const char *name;             /* as in the reference implementation */
    const char *file_axes, *axes; /* order of axes in files ("bcfhw", the reference's) and here ("bfhwc") */
    int64_t example[FT_MAX_DIMS]; /* a shape here, batch 1 */
} ft_model_input;

typedef struct {
    const char *kind;   /* generator, vae, classifier, prior, metric */
    const char *suffix; /* of the name in `forward`: "-encode"; "" for most */
    const char *(*preset)(int i);
    int n_in;
    ft_model_input in[FT_MODEL_INPUTS];
    const char *file_axes, *axes; /* of the output */
    bool frozen;                  /* forward only */
    /* in: FT_MODEL_INPUTS, NULL behind the row's own. A generator's third is ft_model_label; NULL: it is told of no classes */
    ft_t (*build)(ft_graph *g, const char *preset, const ft_config *cfg, const ft_t *in, int64_t classes);
    void (*shape)(const char *preset, const ft_config *cfg, int input, int64_t *dim); /* replaces `example`; may be NULL */
} ft_model;

/* With generator.condition: labels, of a generator: (b, classes + 1), one in the column of a clip's class; the last: of none */
extern const ft_model_input ft_model_label;
bool ft_model_told(const ft_model *row, const ft_config *cfg);
/* The tensor of a generator that holds a row for each class, and one for none */
bool ft_model_is_table(const char *preset, const char *tensor);

const ft_model *ft_model_at(int i); /* rows; NULL past the end */
/* The row of a name such as "medsora-b" or "sd-vae-encode", and its preset. FT_ECONFIG if unknown. */
int ft_model_find(const char *name, const ft_model **row, const char **preset);
void ft_model_example(const ft_model *row, const char *preset, const ft_config *cfg, int input, int64_t *dim);
int ft_model_dims(const ft_model_input *in); /* number of axes */
ft_work ft_model_work(const char *name);     /* of a row's name or a preset */

/* A store that holds every parameter of a preset: of encoder and decoder, say. */
int ft_model_store(ft_params **params, const char *preset, const ft_config *cfg, int64_t classes, uint64_t seed);
int64_t ft_model_parameters(const ft_params *params); /* without running statistics, means and tables */

/* The canonical name of a public checkpoint's tensor: prefixes stripped, other public layouts translated (Princeton's RAFT, SD
 * VAE of ldm and of older diffusers, torchvision's trunks for LPIPS). */
void ft_public_name(const char *preset, const char *from, char *to, size_t size);
/* Of a canonical name (room for 256): is it one of n parts, end to end along the first axis, of a tensor of ours? Then `name`
 * becomes that one's, and `part` says which. 1: it is a whole one. */
int ft_public_part(const char *preset, char *name, int *part);
/* Whether a matrix of a public file, by its name there, is ours transposed. */
bool ft_public_turned(const char *preset, const char *name);
/* LVDM's checkpoints hold the weights twice: the moving average, which LVDM samples with, under "model_ema." and the name
 * without dots. True: `to` is where that of our tensor `name` is. */
bool ft_public_average(const char *preset, const char *name, char *to, size_t size);
/* Whether a tensor of a public file holds nothing that a network of ours uses: counts of batches, adapters of Endora's training,
 * MedSora's table of frequencies. */
bool ft_public_idle(const char *preset, const char *name);
/* Makes a state dict that loads strictly in the public code: what that has beside our tensors is appended (aliases; the idle
 * ones, adapters as zeros), a TimeSformer's names begin with "backbone." but for its head. images: Endora's class for clips with
 * images. `memory` owns values of what is appended: two pointers to free after `st`, also on failure. */
int ft_public_complete(const char *preset, bool images, ft_safetensors *st, float *memory[2]);
/* "KEY=VALUE": what public weights need that is not the default, for what the public code computes otherwise than its paper says;
 * NULL: nothing. */
const char *ft_public_settings(const char *preset);
/* What a tensor that a file lacks begins with instead: an image ViT's attention becomes a TimeSformer's attention over time (as
 * TimeSformer's helpers do). True if `to` names another tensor of the model. */
bool ft_public_stand_in(const char *preset, const char *name, char *to, size_t size);
/* Whether a file may lack this tensor, which then keeps its fresh values: the head of a backbone, what only videos have. */
bool ft_public_optional(const char *preset, const char *name);

/* Our name of a tensor; "": it is nobody's. */
const char *ft_model_our_name(const char *preset, const ft_st_tensor *t, char name[256]);
/* How many classes the files' model has. A generator that is told of classes says so in `cfg`. */
int ft_model_classes_in(const char *preset, ft_config *cfg, const ft_safetensors *file, int n_files, int64_t *classes);

/* A file of I3D of which no name is known gets our names, if the shapes of its convolutions are ours in their order and each
 * vector says what it is (bias or beta, mean, var ...); otherwise it stays as it is. `renamed` tensors; FT_ENOMEM. */
int ft_public_by_order(const char *preset, const ft_params *p, ft_safetensors *st, int *renamed);

/* The same questions about the networks of judge.h alone (judge_names.c). */
void ft_judge_public_name(const char *preset, char *name, size_t size);
bool ft_judge_public_idle(const char *preset, const char *name);
bool ft_judge_public_optional(const char *preset, const char *name);

#endif
