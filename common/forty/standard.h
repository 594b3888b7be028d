/* The headers of the system and of jansson that ours include: in C++ these must be read outside of extern "C", before ours. */
#ifndef FORTY_STANDARD_H
#define FORTY_STANDARD_H

#include <jansson.h>
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#endif
