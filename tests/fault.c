/* Faults at the n-th operation on files, for LD_PRELOAD: FORTY_FAULT=n:kind, counted from 1 over writes, renames, links, and
 * opens that make files. Kinds: kill (SIGKILL before it), torn (half of a write, then SIGKILL), full (this one and all writes
 * after it fail with ENOSPC), eio (this one alone fails), stop (SIGSTOP before it), memory (the n-th allocation is refused; only
 * those of the program and of the libraries that must take that are counted). FORTY_FAULT_FILE=WORD: only writes to files whose
 * path holds WORD count. FORTY_FAULT_COUNT=FILE notes how many there are; FORTY_FAULT_PLACES=FILE notes, a line each, the first
 * allocation of every place in the program (of all its callers, too); FORTY_FAULT_TRACE=1 prints where memory is refused. */
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

typedef enum { NONE, KILL, TORN, FULL, FAIL, STOP, MEMORY } kind;
static long at, count;
static kind what;
static const char *word, *places;

__attribute__((constructor)) static void read_environment(void)
{
    word = getenv("FORTY_FAULT_FILE"), places = getenv("FORTY_FAULT_PLACES");
    const char *s = getenv("FORTY_FAULT"), *colon = s ? strchr(s, ':') : NULL;
    if (!colon) return;
    at = atol(s);
    what = !strcmp(colon, ":kill")     ? KILL
           : !strcmp(colon, ":torn")   ? TORN
           : !strcmp(colon, ":full")   ? FULL
           : !strcmp(colon, ":stop")   ? STOP
           : !strcmp(colon, ":memory") ? MEMORY
                                       : FAIL;
}

__attribute__((destructor)) static void note_count(void)
{
    const char *path = getenv("FORTY_FAULT_COUNT");
    char text[32];
    ssize_t (*put)(int, const void *, size_t);
    *(void **)&put = dlsym(RTLD_NEXT, "write");
    int fd = path ? open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666) : -1;
    if (fd >= 0 && put(fd, text, (size_t)snprintf(text, sizeof text, "%ld\n", count)) < 0) _exit(9);
}

/* A pipe to a child is no file. */
static int counts(int fd)
{
    char link[40], path[1024];
    struct stat st;
    if (fd >= 0 && fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode)) return 0;
    if (!word) return 1;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = fd < 0 ? -1 : readlink(link, path, sizeof path - 1);
    path[n > 0 ? n : 0] = 0;
    return strstr(path, word) != NULL;
}

/* What happens to this operation. */
static kind now(int writes, int fd)
{
    if (what == MEMORY || !counts(fd)) return NONE;
    long n = __atomic_add_fetch(&count, 1, __ATOMIC_RELAXED);
    if (what == FULL && n >= at && at) return writes ? FULL : NONE;
    if (n != at) return NONE;
    if (what == STOP) return raise(SIGSTOP), NONE;
    if (what == KILL || (what == TORN && !writes)) kill(getpid(), SIGKILL);
    return what;
}

#define REAL(result, name, ...)                                                                                                  \
    static result (*real)(__VA_ARGS__);                                                                                          \
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, #name)

ssize_t write(int fd, const void *p, size_t n);
ssize_t write(int fd, const void *p, size_t n)
{
    REAL(ssize_t, write, int, const void *, size_t);
    if (fd <= 2) return real(fd, p, n);
    kind k = now(1, fd);
    if (k == TORN) real(fd, p, n / 2), kill(getpid(), SIGKILL);
    if (k) return errno = k == FULL ? ENOSPC : EIO, -1;
    return real(fd, p, n);
}

ssize_t pwrite64(int fd, const void *p, size_t n, off_t where);
ssize_t pwrite64(int fd, const void *p, size_t n, off_t where)
{
    REAL(ssize_t, pwrite64, int, const void *, size_t, off_t);
    kind k = now(1, fd);
    if (k == TORN) real(fd, p, n / 2, where), kill(getpid(), SIGKILL);
    if (k) return errno = k == FULL ? ENOSPC : EIO, -1;
    return real(fd, p, n, where);
}
ssize_t pwrite(int fd, const void *p, size_t n, off_t where);
ssize_t pwrite(int fd, const void *p, size_t n, off_t where) { return pwrite64(fd, p, n, where); }

size_t fwrite(const void *p, size_t size, size_t n, FILE *f)
{
    REAL(size_t, fwrite, const void *, size_t, size_t, FILE *);
    int fd = fileno(f);
    if (fd <= 2) return real(p, size, n, f); /* the screen, and streams in memory */
    kind k = now(1, fd);
    if (k == TORN) real(p, 1, size * n / 2, f), fflush(f), kill(getpid(), SIGKILL);
    if (k) return errno = k == FULL ? ENOSPC : EIO, 0;
    return real(p, size, n, f);
}

int rename(const char *from, const char *to)
{
    REAL(int, rename, const char *, const char *);
    if (now(0, -1)) return errno = EIO, -1;
    return real(from, to);
}

int link(const char *from, const char *to)
{
    REAL(int, link, const char *, const char *);
    if (now(0, -1)) return errno = EIO, -1;
    return real(from, to);
}

int linkat(int from_folder, const char *from, int to_folder, const char *to, int flags)
{
    REAL(int, linkat, int, const char *, int, const char *, int);
    if (now(0, -1)) return errno = EIO, -1;
    return real(from_folder, from, to_folder, to, flags);
}

static int makes(int flags) { return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE; }

int open(const char *path, int flags, ...)
{
    REAL(int, open, const char *, int, ...);
    va_list args;
    va_start(args, flags);
    mode_t mode = makes(flags) ? va_arg(args, mode_t) : 0;
    va_end(args);
    if (makes(flags)) {
        kind k = now(1, -1);
        if (k == TORN) kill(getpid(), SIGKILL);
        if (k) return errno = k == FULL ? ENOSPC : EIO, -1;
    }
    return real(path, flags, mode);
}

int fsync(int fd)
{
    REAL(int, fsync, int);
    kind k = now(1, fd);
    if (k == TORN) kill(getpid(), SIGKILL);
    if (k) return errno = k == FULL ? ENOSPC : EIO, -1;
    return real(fd);
}

/* ---- memory ------------------------------------------------------------------------------------------------------------------
 */

/* Libraries that end the process when they get no memory, or whose set-up does: what they do is written down in SECURITY.md. */
static const char *const excused[] = {"libhdf5",   "libdnnl",  "libgomp",   "libc.so",   "ld-linux",
                                      "libstdc++", "libfault", "libOpenCL", "liblapack", "libblas"};

/* Whether no allocation before had these callers. */
static int new_place(void)
{
    static unsigned long seen[1 << 14];
    static __thread int inside; /* backtrace() itself allocates, once */
    void *stack[24];
    if (inside) return 0;
    inside = 1;
    int n = backtrace(stack, 24);
    inside = 0;
    unsigned long h = 1469598103934665603ul;
    for (int i = 0; i < n; i++) h = (h ^ (unsigned long)stack[i]) * 1099511628211ul;
    for (unsigned long i = h, k = 0; k < sizeof seen / sizeof *seen; i++, k++) {
        unsigned long *at_i = &seen[i % (sizeof seen / sizeof *seen)];
        if (*at_i == h) return 0;
        if (!*at_i) return *at_i = h, 1;
    }
    return 0;
}

static void note_place(const char *path, long n)
{
    static FILE *f;
    if (!new_place()) return;
    if (!f && (f = fopen(path, "w"))) setvbuf(f, NULL, _IOLBF, 0); /* a child does not repeat what its parent wrote */
    if (f) fprintf(f, "%ld\n", n);
}

static int refused(const void *caller)
{
    static const void *last; /* most calls come from where the last one came from */
    static int last_counts;
    Dl_info from;
    if (what != MEMORY && !getenv("FORTY_FAULT_MEMORY")) return 0;
    if (caller != last) {
        last_counts = dladdr(caller, &from) && from.dli_fname;
        for (size_t i = 0; last_counts && i < sizeof excused / sizeof *excused; i++)
            if (strstr(from.dli_fname, excused[i])) last_counts = 0;
        last = caller;
    }
    if (!last_counts) return 0;
    long n = __atomic_add_fetch(&count, 1, __ATOMIC_RELAXED);
    if (places) note_place(places, n);
    if (n != at || what != MEMORY) return 0;
    if (getenv("FORTY_FAULT_TRACE")) {
        void *stack[20];
        backtrace_symbols_fd(stack, backtrace(stack, 20), 2);
    }
    return 1;
}

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *old, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);
#define REFUSE                                                                                                                   \
    if (refused(__builtin_return_address(0))) return errno = ENOMEM, (void *)0
void *malloc(size_t size)
{
    REFUSE;
    return __libc_malloc(size);
}
void *calloc(size_t n, size_t size)
{
    REFUSE;
    return __libc_calloc(n, size);
}
void *realloc(void *old, size_t size)
{
    REFUSE;
    return __libc_realloc(old, size);
}
void *aligned_alloc(size_t alignment, size_t size)
{
    REFUSE;
    return __libc_memalign(alignment, size);
}
int posix_memalign(void **out, size_t alignment, size_t size)
{
    if (refused(__builtin_return_address(0))) return ENOMEM;
    *out = __libc_memalign(alignment, size);
    return *out ? 0 : ENOMEM;
}
