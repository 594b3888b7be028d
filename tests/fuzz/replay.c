/* Every file of FOLDER/TARGET/ through its reader: no crash, leak, broken promise, 20 s or 250 MB (they are small). Files named
 * ok-* must be read, files named bad-* refused.
 *
 *     fuzz_replay FOLDER... [--target NAME] */
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/files.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/base/threads.h"
#include "tests/fuzz/target.h"

enum { MOST_SECONDS = 20, MOST_MIB = 250 };

const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1:quarantine_size_mb=16:max_allocation_size_mb=2000";
}

/* a reader's files are read by a child process, which says here how far it is */
static struct {
    volatile int at, failed;
} * shared;

static bool read_one(const ft_fuzz_target *t, const char *folder, const char *name)
{
    char path[1200], *data;
    size_t size;
    snprintf(path, sizeof path, "%s/%s/%s", folder, t->name, name);
    if (ft_read_file(path, 0, &data, &size) < 0) {
        fprintf(stderr, "%s\n", ft_error_message());
        return false;
    }
    ft_peak_memory_reset();
    long long before = ft_peak_memory();
    alarm(MOST_SECONDS);
    int rc = t->read((const uint8_t *)data, size);
    alarm(0);
    ft_free(data);
    const char *wrong = ft_peak_memory() - before > MOST_MIB                ? "took more than 250 MB"
                        : rc < 0 && !strncmp(name, "ok-", 3)                ? ft_error_message()
                        : rc == FT_OK && !strncmp(name, "bad-", 4)          ? "was read, and should be refused"
                        : rc < 0 && rc != FT_ENOMEM && !*ft_error_message() ? "was refused without a message"
                                                                            : NULL;
    if (wrong) fprintf(stderr, "%s: %s\n", path, wrong);
    return !wrong;
}

/* Files from number `from` to `to`, in a child. The number behind the last that was read, or crashed. */
static int read_from(const ft_fuzz_target *t, const char *folder, char **name, int from, int to)
{
    int status, before = shared->failed;
    shared->at = from;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        for (; shared->at < to; shared->at++)
            if (!read_one(t, folder, name[shared->at])) shared->failed++;
        exit(0); /* leaks are looked for */
    }
    if (child < 0 || waitpid(child, &status, 0) != child) {
        perror("fork");
        exit(1);
    }
    if (status == 0) return to;
    if (shared->at == to && to > from + 1) { /* a leak: of which? */
        shared->failed = before;
        for (int k = from; k < to; k++) read_from(t, folder, name, k, k + 1);
        if (shared->failed == before) shared->failed++;
        return to;
    }
    int at = shared->at == to ? from : shared->at;
    shared->failed++;
    if (shared->at == to) fprintf(stderr, "%s/%s/%s: memory is lost\n", folder, t->name, name[at]);
    else if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
        fprintf(stderr, "%s/%s/%s: not read in %d s\n", folder, t->name, name[at], MOST_SECONDS);
    else fprintf(stderr, "%s/%s/%s: crashed (status %d)\n", folder, t->name, name[at], status);
    return at + 1;
}

int main(int argc, char **argv)
{
    const char *only = NULL;
    int files = 0;
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) return 1;
    ft_log_quiet(true);
    ft_threads_set(1);
    ft_fuzz_begin();
    for (int i = 1; i + 1 < argc; i++)
        if (!strcmp(argv[i], "--target")) only = argv[i + 1];
    for (const ft_fuzz_target *t = ft_fuzz_targets; t->name; t++)
        for (int i = 1; i < argc && strcmp(argv[i], "--target"); i++) {
            char path[1000], **name;
            int n;
            snprintf(path, sizeof path, "%s/%s", argv[i], t->name);
            if ((only && strcmp(only, t->name)) || !ft_is_dir(path) || ft_list_dir(path, &name, &n) < 0) continue;
            for (int at = 0; at < n;) at = read_from(t, argv[i], name, at, n);
            for (int k = 0; k < n; k++) ft_free(name[k]);
            ft_free(name);
            files += n;
        }
    ft_fuzz_end();
    printf("%d passed, %d failed\n", files - shared->failed, shared->failed);
    return shared->failed || !files;
}
