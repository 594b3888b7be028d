/* What `precision: auto` means: bf16 where this machine computes the kind of network faster in it (common/train/rates.h), f32
 * else; on a GPU bf16. A folder of results keeps the choice it was begun with, whatever machine goes on. */
#ifndef FT_PRECISION_H
#define FT_PRECISION_H

#include "common/train/rates.h"
#include "common/io/config.h"
#include "kernels/kernel.h"

/* What is wanted for each kind of work, zeros: what is faster; and where that was said, for messages, or NULL */
typedef struct {
    enum { FT_PRECISION_MEASURED, FT_PRECISION_F32, FT_PRECISION_BF16 } take[FT_WORKS];
    const char *from[FT_WORKS];
} ft_precision_opt;
ft_precision_opt ft_precision_options(const ft_config *cfg); /* which lives as long */

/* The storage of activations for a network of this kind of work. FT_EDEVICE: it is bf16, and this processor has no products of
 * it. */
int ft_precision_of(const ft_precision_opt *o, ft_work work, ft_dtype *dtype);
int ft_precision(const ft_config *cfg, ft_work work, ft_dtype *dtype);

/* Which one auto takes by these rates: bf16 must win by more than two runs of one measurement differ. */
bool ft_bf16_wins(const ft_rates *r, ft_work work);

/* Settles auto for everything that is computed in `folder`: reads folder/precision.json, or measures and writes it, unless
 * somebody else was faster. The choices become settings (auto.products, ...) of cfg. A device's algorithms are kept there, too
 * (common/graph/choices.h). begin = false: nothing is measured or written, for those who only look. FT_EDEVICE: begun in bf16,
 * which this machine cannot; FT_ECONFIG: the settings say something else. */
int ft_precision_keep(ft_config *cfg, const char *folder, bool begin);

#endif
