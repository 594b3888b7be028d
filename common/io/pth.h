/* PyTorch's .pth, .pt and .ckpt files, zip and legacy, and TorchScript's archives (torch.jit.save), read without executing
 * anything.
 *
 * A pickle is a program for a small stack machine. This reader runs only the part that builds dicts, lists and tensors; whatever
 * else a file wants to construct (argparse.Namespace, optimisers, callbacks) becomes an opaque node that is never called. */
#ifndef FT_PTH_H
#define FT_PTH_H

#include "common/io/safetensors.h"

/* All tensors of one dict of the file, contiguous, under their names there. `key` names the dict ("ema", "state_dict"); NULL or
 * "": the top level if it holds tensors, else the first of state_dict, teacher, ema, model, model_state, module, params_ema,
 * params that is there. Of a TorchScript archive: the tensors of all its modules under the names of their state dict
 * ("layers.conv.weight"), or those of the module `key`. `used` (may be NULL) says which, "" for the top level. FT_EDATA names the
 * file and the fault. Free with ft_safetensors_free. */
int ft_pth_read(ft_safetensors *st, const char *path, const char *key, char used[64]);

/* Either format, told by the first bytes. */
int ft_weights_file_read(ft_safetensors *st, const char *path, const char *key, char used[64]);

#endif
