/* Every kind of stage once with almost no work, before a long sweep. */
#ifndef FT_REHEARSAL_H
#define FT_REHEARSAL_H

#include "experiments/arms/results.h"

/* Where that costs little: does it run, how long will it take, how much memory? Into x->rehearsal and rehearsal.json. FT_ENOMEM
 * when a stage would not fit into this machine. */
int ft_rehearse(ft_result *r);
int ft_rehearsal_read(ft_experiment *x); /* what an earlier call found, if it was about the same */

#endif
