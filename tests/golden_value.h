/* The formula of tests/golden/make_golden*.py: uniform in [-1, 1), from a stream (a name's CRC-32, or a number) and an index. */
#ifndef FT_GOLDEN_VALUE_H
#define FT_GOLDEN_VALUE_H

#include <stdint.h>

static inline float value(uint32_t stream, int64_t i)
{
    uint32_t h = (uint32_t)i * 2654435761u + stream;
    h ^= h >> 15;
    h *= 2246822519u;
    h ^= h >> 13;
    return (float)(h >> 8) / 8388608.0f - 1.0f;
}

/* of a name, the stream of its numbers */
static inline uint32_t crc32_of(const char *s)
{
    uint32_t c = 0xFFFFFFFFu;
    for (; *s; s++) {
        c ^= (unsigned char)*s;
        for (int k = 0; k < 8; k++) c = c >> 1 ^ (c & 1 ? 0xEDB88320u : 0);
    }
    return ~c;
}

#endif
