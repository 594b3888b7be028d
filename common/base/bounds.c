#include "common/base/bounds.h"

#include <stdlib.h>

#include "common/base/status.h"

int ft_may_ask(const char *path, const char *what, uint64_t want, uint64_t held, unsigned ratio)
{
    const char *set = getenv("FORTY_FILE_RATIO");
    uint64_t given = set ? strtoull(set, NULL, 10) : 0, times = given > ratio ? given : ratio, most;
    if (__builtin_mul_overflow(held, times, &most) || __builtin_add_overflow(most, (uint64_t)64 << 20, &most)) return FT_OK;
    if (want <= most) return FT_OK;
    return FT_FAIL(FT_EDATA,
                   "%s: a file of %.4g MB asks for %.4g MB of %s. It is damaged or made to exhaust memory; if it is not, "
                   "FORTY_FILE_RATIO=%.0f in the environment allows it",
                   path, (double)held / 1e6, (double)want / 1e6, what, 1 + (double)want / (double)(held ? held : 1));
}
