/* Experiments: settings, the main job, its results. */
#ifndef FORTY_EXPERIMENT_H
#define FORTY_EXPERIMENT_H

#include "standard.h"

#ifdef __cplusplus
extern "C" {
#endif

#include "common/base/context.h"
#include "common/base/status.h"
#include "common/graph/backend.h"
#include "common/io/config.h"
#include "experiments/sweep/experiment.h"
#include "experiments/sweep/sweep_status.h"

#ifdef __cplusplus
}
#endif

#endif
