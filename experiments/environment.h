/* What the numbers were made on. */
#ifndef FT_ENVIRONMENT_H
#define FT_ENVIRONMENT_H

#include <jansson.h>

json_t *ft_environment(void);
int ft_environment_write(const char *path, const char *command);

#endif
