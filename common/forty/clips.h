/* Clip stores: read, write. */
#ifndef FORTY_CLIPS_H
#define FORTY_CLIPS_H

#include "standard.h"

#ifdef __cplusplus
extern "C" {
#endif

#include "common/base/context.h"
#include "common/base/status.h"
#include "common/io/clipstore.h"

#ifdef __cplusplus
}
#endif

#endif
