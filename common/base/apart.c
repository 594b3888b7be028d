#include "common/base/apart.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/interrupt.h"
#include "common/base/log.h"
#include "common/base/status.h"

#if defined __SANITIZE_ADDRESS__
#define FT_ASAN 1 /* gcc */
#elif defined __has_feature
#if __has_feature(address_sanitizer)
#define FT_ASAN 1 /* clang */
#endif
#endif
#ifndef FT_ASAN
#define FT_ASAN 0
#endif

static void limit(int which, rlim_t most)
{
    struct rlimit now;
    if (getrlimit((__rlimit_resource_t)which, &now) != 0) return;
    now.rlim_cur = most < now.rlim_max ? most : now.rlim_max;
    setrlimit((__rlimit_resource_t)which, &now);
}

void ft_apart_begin(void)
{
    static const int fatal[] = {SIGINT, SIGTERM, SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGPIPE};
    for (size_t i = 0; i < sizeof fatal / sizeof *fatal; i++) signal(fatal[i], SIG_DFL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int null = open("/dev/null", O_WRONLY);
    if (null >= 0) dup2(null, 1), dup2(null, 2);
    limit(RLIMIT_CORE, 0);
}

void ft_apart_seconds(unsigned seconds) { limit(RLIMIT_CPU, seconds); }

#if FT_ASAN
/* its shadow is terabytes */
void ft_apart_memory(uint64_t more) { (void)more; }
#else
void ft_apart_memory(uint64_t more)
{
    enum { ITS_OWN = 256 << 20 };
    unsigned long long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    bool known = f && fscanf(f, "%llu", &pages) == 1;
    if (f) fclose(f);
    if (known) limit(RLIMIT_AS, (rlim_t)(pages * (uint64_t)sysconf(_SC_PAGESIZE) + ITS_OWN + more));
}
#endif

bool ft_apart_write(int fd, const void *data, size_t size)
{
    for (const char *p = data; size > 0;) {
        ssize_t n = write(fd, p, size);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        p += n, size -= (size_t)n;
    }
    return true;
}

int ft_apart_read(int fd, void *data, size_t size, unsigned seconds)
{
    char *p = data;
    for (double end = ft_now() + seconds; size > 0;) {
        struct pollfd one = {fd, POLLIN, 0};
        if (ft_interrupted) return FT_EINTERRUPTED;
        if (ft_now() > end) return FT_EBUSY;
        if (poll(&one, 1, 100) <= 0) continue;
        ssize_t n = read(fd, p, size);
        if (n == 0 || (n < 0 && errno != EINTR)) return FT_EIO;
        if (n > 0) p += n, size -= (size_t)n;
    }
    return FT_OK;
}

int ft_apart_end(pid_t pid, bool kill_it)
{
    int status = 0;
    if (kill_it) kill(pid, SIGKILL);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {}
    return status;
}
