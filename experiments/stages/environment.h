/* What the numbers were made on. */
#ifndef FT_ENVIRONMENT_H
#define FT_ENVIRONMENT_H

#include <jansson.h>

json_t *ft_environment(void);
int ft_environment_write(const char *path, const char *command);
/* Energy counter of the whole machine, where it is readable (RAPL); else 0. It wraps around: a difference may be negative. */
double ft_joules(void);

#endif
