/* What an experiment has done and has left, and what nobody needs any more. */
#ifndef FT_SWEEP_STATUS_H
#define FT_SWEEP_STATUS_H

#include <stdbool.h>

#include "common/io/config.h"

int ft_experiment_status(ft_config *cfg, const char *dir, bool json);
/* Removes the stages that no run of this configuration needs. */
int ft_experiment_gc(ft_config *cfg, const char *dir, bool json);

#endif
