/* The settings' defaults, without a file: what networks ask for while they are built. */
#include <stdlib.h>
#include <string.h>

#include "common/io/config.h"
#include "common/io/config_keys.h"

const char *ft_config_text(const ft_config *cfg, const char *key)
{
    const char *recompute = getenv("FORTY_DEVICE_RECOMPUTE");
    (void)cfg;
    if (recompute && !strcmp(key, "generator.recompute")) return recompute;
#define KEY(name, type, value, ...)                                                                                              \
    if (!strcmp(key, name)) return value;
    FT_CONFIG_TABLE(KEY)
#undef KEY
    abort();
}
