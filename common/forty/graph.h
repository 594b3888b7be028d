/* Networks: tensors, operators, gradients, optimisers, plans; weights as safetensors; status codes. */
#ifndef FORTY_GRAPH_H
#define FORTY_GRAPH_H

#include "standard.h"

#ifdef __cplusplus
extern "C" {
#endif

#include "common/base/context.h"
#include "common/base/status.h"
#include "common/graph/backend.h"
#include "common/graph/graph.h"
#include "common/graph/layers.h"
#include "common/io/weights.h"

#ifdef __cplusplus
}
#endif

#endif
