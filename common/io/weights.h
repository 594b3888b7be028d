/* Parameter stores to and from safetensors (f32, row-major, as PyTorch reads them), under the public tensor names.
 *
 * Functions return FT_OK or a negative status; ft_error_message() names the file: FT_EIO, FT_EDATA (no safetensors, or another
 * network's), FT_ENOMEM. Files appear under their name when they are complete. */
#ifndef FT_WEIGHTS_IO_H
#define FT_WEIGHTS_IO_H

#include <jansson.h>

#include "common/graph/graph.h"
#include "common/io/safetensors.h"

/* Written into every file as metadata. 2: the rows of LVDM's qkv and the scale of its relative keys are public code's. */
#define FT_WEIGHTS_LAYOUT "2"

/* ft_safetensors_read of a file of ours, then ft_weights_today: what an earlier version wrote gets today's names and layout.
 * Files of others stay as they are. FT_EDATA for what cannot be turned. */
int ft_weights_read(ft_safetensors *st, const char *path);
int ft_weights_today(ft_safetensors *st, const char *path);

/* One bank of a sealed store, without what is named training.* (a loss's own); metadata (object of strings) may be NULL. */
int ft_weights_save(const char *path, ft_params *p, ft_bank bank, const json_t *metadata);

/* Fills one bank by name. Every parameter must be there with its shape; left-over tensors are an error too. The message
 * lists what is missing and left over. `metadata` (may be NULL) receives a new reference. */
int ft_weights_load(const char *path, ft_params *p, ft_bank bank, json_t **metadata);

/* Fills what the file has of the store into both banks; shapes must agree. Says in the log how many tensors start anew. */
int ft_weights_load_some(const char *path, ft_params *p);

/* Everything that a resumed run needs: both banks, optimiser moments, those of a companion store (or NULL), and `extra` (object
 * of strings). */
int ft_state_save(const char *path, ft_params *p, ft_params *companion, const json_t *extra);
int ft_state_load(const char *path, ft_params *p, ft_params *companion, json_t **extra);

#endif
