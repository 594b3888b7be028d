/* libFuzzer's entry: the reader that FORTY_FUZZ_TARGET names. tests/fuzz/run.sh runs it. */
#include <stdio.h>
#include <stdlib.h>

#include "common/base/log.h"
#include "common/base/threads.h"
#include "tests/fuzz/target.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const ft_fuzz_target *target;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    const char *name = getenv("FORTY_FUZZ_TARGET");
    (void)argc, (void)argv;
    if (!name || !(target = ft_fuzz_find(name))) {
        fprintf(stderr, "FORTY_FUZZ_TARGET names the reader, one of:");
        for (const ft_fuzz_target *t = ft_fuzz_targets; t->name; t++) fprintf(stderr, " %s", t->name);
        fprintf(stderr, "\n");
        exit(2);
    }
    ft_log_quiet(true);
    ft_threads_set(1);
    ft_fuzz_begin();
    atexit(ft_fuzz_end);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    target->read(data, size);
    return 0;
}
