/* Parts of forty that are loaded only where they are needed, from the folder of the program. */
#ifndef FT_PLUGIN_H
#define FT_PLUGIN_H

#include <stdbool.h>
#include <stddef.h>

void ft_plugin_path(char *path, size_t size, const char *file); /* of a file beside the program */
/* The address of `symbol` in the library at `path`; NULL: dlerror() says why. global: the library's own plugins look for its
 * symbols */
void *ft_plugin_symbol(const char *path, bool global, const char *symbol);

#endif
