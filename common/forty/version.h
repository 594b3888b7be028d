#ifndef FORTY_VERSION_H
#define FORTY_VERSION_H

#define FORTY_VERSION_MAJOR 0
#define FORTY_VERSION_MINOR 1
#define FORTY_VERSION_PATCH 0
/* For #if: 0.1.0 is 100. While MAJOR is 0 a new MINOR may change the interface, and the soname with it. */
#define FORTY_VERSION (FORTY_VERSION_MAJOR * 10000 + FORTY_VERSION_MINOR * 100 + FORTY_VERSION_PATCH)

#endif
