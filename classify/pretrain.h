/* Pretraining of a classifier's network on procedural clips (classify/motions.h). At each place of its last map: which shape and
 * which texture are seen there, and how they move; of the whole clip: what the camera and the light do, how many shapes there
 * are. The heads are not kept. */
#ifndef FT_PRETRAIN_H
#define FT_PRETRAIN_H

#include <stdbool.h>
#include <stdint.h>

#include "common/io/config.h"

/* classifier.model on clips of data.frames and data.size (pretrain.*). dir/ema.safetensors has no head and is what
 * classifier.weights takes. FT_ECONFIG: a network without a map, or frames or pixels that motions.h does not draw. */
int ft_pretrain(const ft_config *cfg, const char *dir, uint64_t seed, bool resume);

#endif
