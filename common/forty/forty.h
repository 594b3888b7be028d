/* libforty: what the program is made of. Where log lines go, how many threads compute and on which device says the context that a
 * thread is in (common/base/context.h). Functions that can fail return a negative status, and ft_error_message() says why, in
 * the thread that called. */
#ifndef FORTY_H
#define FORTY_H

#include "clips.h"
#include "experiment.h"
#include "graph.h"
#include "version.h"

#endif
