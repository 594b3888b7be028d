/* Readers of forty as functions of bytes: for libFuzzer (fuzzer.c) and for every input that was ever found (replay.c). */
#ifndef FT_FUZZ_TARGET_H
#define FT_FUZZ_TARGET_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    const char *name;
    int (*read)(const uint8_t *data, size_t size); /* the reader's status; aborts where what was read breaks a promise */
} ft_fuzz_target;

extern const ft_fuzz_target ft_fuzz_targets[]; /* ends with a name of NULL */
const ft_fuzz_target *ft_fuzz_find(const char *name);

/* A folder in memory for the files that readers take: FORTY_FUZZ_DIR, else a new one. Before all else. */
void ft_fuzz_begin(void);
void ft_fuzz_end(void); /* removes a new one */

#endif
