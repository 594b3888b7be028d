#include "common/base/lease.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/base/files.h"
#include "common/base/folder.h"
#include "common/base/interrupt.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/status.h"

enum { LEASE_PATH = 1400 };

struct ft_lease {
    char path[LEASE_PATH]; /* FOLDER/.lease */
    char folder[LEASE_PATH], hold[LEASE_PATH];
    ft_fence fence;
    int fd; /* of our file: another stands under its name when somebody replaced it */
    struct ft_lease *next;
};

static struct {
    pthread_mutex_t lock;
    pthread_once_t start;
    ft_lease *held;
} all = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_ONCE_INIT, NULL};

/* ---- owners -------------------------------------------------------------------------------------------------------------- */

typedef struct {
    char machine[200], host[80], nonce[33]; /* machine: where process numbers mean the same */
    int64_t pid, start;                     /* start: in ticks since boot; a number may be used again */
    struct timespec touched;
} owner;

static void machine_of_this_process(char out[200])
{
    char host[80] = "", boot[64] = "", space[40] = "";
    FILE *f = fopen("/proc/sys/kernel/random/boot_id", "r");
    if (f && !fgets(boot, sizeof boot, f)) *boot = 0;
    if (f) fclose(f);
    boot[strcspn(boot, "\n")] = 0;
    gethostname(host, sizeof host - 1);
    ssize_t n = readlink("/proc/self/ns/pid", space, sizeof space - 1);
    space[n > 0 ? n : 0] = 0;
    snprintf(out, 200, "%s %s %s", host, boot, space);
}

/* start time of a process of this machine; -1: there is none */
static int64_t start_of(int64_t pid)
{
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%lld/stat", (long long)pid);
    FILE *f = fopen(path, "r");
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    if (f) fclose(f);
    text[n] = 0;
    char *p = strrchr(text, ')'); /* the name before it may hold anything */
    if (!p || p[1] != ' ' || p[2] == 'Z' || p[2] == 'X') return -1;
    for (int field = 2; field < 22 && p; field++) p = strchr(p + 1, ' ');
    return p ? atoll(p + 1) : -1;
}

static bool read_owner(const char *path, owner *o)
{
    struct stat s;
    json_t *j = ft_read_json(path);
    const char *machine = json_string_value(json_object_get(j, "machine")), *host = json_string_value(json_object_get(j, "host")),
               *nonce = json_string_value(json_object_get(j, "nonce"));
    bool there = stat(path, &s) == 0;
    memset(o, 0, sizeof *o);
    if (there) {
        o->touched = s.st_mtim;
        snprintf(o->machine, sizeof o->machine, "%s", machine ? machine : "");
        snprintf(o->host, sizeof o->host, "%s", host ? host : "?");
        snprintf(o->nonce, sizeof o->nonce, "%.32s", nonce ? nonce : "0");
        o->pid = json_integer_value(json_object_get(j, "pid"));
        o->start = json_integer_value(json_object_get(j, "start"));
    }
    json_decref(j);
    return there;
}

static bool alive(const owner *o, struct timespec now)
{
    char here[200];
    machine_of_this_process(here);
    if (!strcmp(here, o->machine)) return start_of(o->pid) == o->start;
    return now.tv_sec - o->touched.tv_sec <= FT_LEASE_STALE;
}

/* ---- taking -------------------------------------------------------------------------------------------------------------- */

/* A file with our name on it, to be linked to. *fd stays open. */
static int write_candidate(const char *path, int *fd, char nonce[33])
{
    char machine[200], host[80] = "", *text;
    FT_TRY(ft_random_hex(nonce, 16));
    machine_of_this_process(machine);
    gethostname(host, sizeof host - 1);
    json_t *o = json_pack("{s:s,s:s,s:I,s:I,s:s}", "machine", machine, "host", host, "pid", (json_int_t)getpid(), "start",
                          (json_int_t)start_of(getpid()), "nonce", nonce);
    int made = ft_json_text(o, JSON_COMPACT, &text);
    json_decref(o);
    FT_TRY(made);
    *fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    bool bad = *fd < 0 || write(*fd, text, strlen(text)) != (ssize_t)strlen(text);
    ft_free(text);
    if (!bad) return FT_OK;
    int rc = FT_FAIL(FT_EIO, "%s: cannot be written (%s). Is the disk full?", path, strerror(errno));
    if (*fd >= 0) close(*fd), unlink(path);
    return rc;
}

static int end_one(const char *hold)
{
    char gone[LEASE_PATH + 400], path[LEASE_PATH + 700], **name;
    int n;
    snprintf(gone, sizeof gone, "%s-%d", hold, (int)getpid());
    if (rename(hold, gone) != 0)
        return errno == ENOENT ? FT_OK : FT_FAIL(FT_EIO, "%s: cannot be moved away (%s)", hold, strerror(errno));
    if (ft_list_dir(gone, &name, &n) < 0) return FT_OK; /* nobody writes there any more: that is what counts */
    for (int i = 0; i < n; i++) {
        snprintf(path, sizeof path, "%s/%s", gone, name[i]);
        unlink(path);
    }
    ft_free_names(name, n);
    rmdir(gone);
    return FT_OK;
}

/* Ends what a replaced owner may still want to complete: its folder moves away, then goes. "0": its lease could not be read, so
 * that every holding but `mine` ends. */
static int end_hold(const char *lease, const char *nonce, const char *mine)
{
    char hold[LEASE_PATH + 340], folder[LEASE_PATH], **name;
    int n, rc = FT_OK;
    snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(lease, '/') - lease), lease);
    if (strcmp(nonce, "0")) {
        snprintf(hold, sizeof hold, "%s/.hold-%s", folder, nonce);
        return end_one(hold);
    }
    FT_TRY(ft_list_dir(folder, &name, &n));
    for (int i = 0; i < n; i++) {
        snprintf(hold, sizeof hold, "%s/%s", folder, name[i]);
        if (rc == FT_OK && !strncmp(name[i], ".hold-", 6) && strcmp(name[i] + 6, mine)) rc = end_one(hold);
    }
    ft_free_names(name, n);
    return rc;
}

/* Links `mine` to `path`, in place of a void lease if need be. */
static int take(const char *mine, const char *path, const char *nonce)
{
    for (;;) {
        if (link(mine, path) == 0) return FT_OK;
        if (errno != EEXIST) return FT_FAIL(FT_EIO, "%s: cannot be made (%s)", path, strerror(errno));
        owner o, again;
        struct stat s;
        if (!read_owner(path, &o)) continue; /* just dropped */
        if (stat(mine, &s) != 0) return FT_FAIL(FT_EIO, "%s: vanished. Was the folder removed?", mine);
        struct timespec now[2] = {{0, UTIME_NOW}, {0, UTIME_NOW}};
        if (utimensat(AT_FDCWD, mine, now, 0) == 0 && stat(mine, &s) == 0 && alive(&o, s.st_mtim))
            return FT_FAIL(FT_EBUSY,
                           "%.*s: another forty is working in this folder (%s, process %lld). Wait until it ends, stop it, or "
                           "choose another -o",
                           (int)(strlen(path) - strlen("/.lease")), path, o.host, (long long)o.pid);
        char right[LEASE_PATH];
        if (snprintf(right, sizeof right, "%s.%.8s", path, o.nonce) >= (int)sizeof right)
            return FT_FAIL(FT_EIO, "%s: path too long", path);
        FT_TRY(take(mine, right, nonce));
        bool same = read_owner(path, &again) && !strcmp(again.nonce, o.nonce);
        int rc = FT_OK;
        char second[LEASE_PATH]; /* a link to us that may be renamed */
        snprintf(second, sizeof second, "%.1390s-2", mine);
        if (same && (link(mine, second) != 0 || rename(second, path) != 0))
            rc = FT_FAIL(FT_EIO, "%s: cannot be replaced (%s)", path, strerror(errno));
        if (same && rc == FT_OK) rc = end_hold(path, o.nonce, nonce);
        unlink(right);
        if (same || rc < 0) return rc;
    }
}

/* ---- keeping ------------------------------------------------------------------------------------------------------------- */

static void *beat(void *begun)
{
    const struct timespec pause = {FT_HEARTBEAT, 0};
    sem_post(begun);
    for (;;) {
        nanosleep(&pause, NULL);
        pthread_mutex_lock(&all.lock);
        for (ft_lease *l = all.held; l; l = l->next) futimens(l->fd, NULL);
        pthread_mutex_unlock(&all.lock);
    }
    return NULL;
}

static void drop_all(void)
{
    while (all.held) ft_lease_drop(all.held);
}

/* A fork while a thread starts gives the child a lock that nobody opens (AddressSanitizer's list of threads): it waits for ever.
 * So this comes back when the thread runs; all that it holds after that is its own lock. */
static void start_beating(void)
{
    pthread_t t;
    sem_t begun;
    sigset_t every, before;
    sem_init(&begun, 0, 0);
    sigfillset(&every);
    pthread_sigmask(SIG_SETMASK, &every, &before); /* signals are for the thread that works */
    if (pthread_create(&t, NULL, beat, &begun) == 0) {
        pthread_detach(t);
        while (sem_wait(&begun) != 0) {}
    }
    sem_destroy(&begun);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    atexit(drop_all);
}

int ft_lease_take(const char *folder, bool wait, ft_lease **lease)
{
    char mine[LEASE_PATH];
    static _Atomic int number;
    int rc;
    *lease = NULL;
    if (strlen(folder) > LEASE_PATH - 100) return FT_FAIL(FT_EIO, "%s: path too long", folder);
    FT_TRY(ft_folder_make(folder));
    ft_lease *l = ft_alloc(sizeof *l);
    if (!l) return FT_FAIL(FT_ENOMEM, "no memory for a lease");
    char nonce[33] = "";
    snprintf(l->folder, sizeof l->folder, "%s", folder);
    snprintf(l->path, sizeof l->path, "%s/.lease", folder);
    snprintf(mine, sizeof mine, "%.1300s/.lease-%lx-%d-%d", folder, (unsigned long)gethostid(), (int)getpid(), number++);
    rc = write_candidate(mine, &l->fd, nonce);
    snprintf(l->hold, sizeof l->hold, "%.1300s/.hold-%s", folder, nonce);
    if (rc == FT_OK && mkdir(l->hold, 0777) != 0) {
        rc = FT_FAIL(FT_EIO, "%s: cannot be made (%s)", l->hold, strerror(errno));
        unlink(mine);
        close(l->fd);
    } else if (rc == FT_OK) {
        while ((rc = take(mine, l->path, nonce)) == FT_EBUSY && wait && !ft_interrupted)
            nanosleep(&(struct timespec){0, 300000000}, NULL);
        if (rc == FT_EBUSY && wait) rc = FT_FAIL(FT_EINTERRUPTED, "interrupted while waiting for %s", folder);
        unlink(mine);
        if (rc == FT_OK) mkdir(l->hold, 0777); /* if somebody who could not read a lease has ended it */
        if (rc == FT_OK && !ft_lease_kept(l)) rc = FT_FAIL(FT_EBUSY, "%s: another process took it just now", folder);
        if (rc < 0) close(l->fd), rmdir(l->hold);
    }
    if (rc < 0) {
        ft_free(l);
        return rc;
    }
    pthread_once(&all.start, start_beating);
    pthread_mutex_lock(&all.lock);
    l->next = all.held;
    all.held = l;
    pthread_mutex_unlock(&all.lock);
    l->fence = (ft_fence){l->folder, l->hold, NULL};
    ft_fence_raise(&l->fence);
    *lease = l;
    return FT_OK;
}

bool ft_lease_kept(const ft_lease *l)
{
    struct stat mine, there;
    return fstat(l->fd, &mine) == 0 && stat(l->path, &there) == 0 && mine.st_ino == there.st_ino && mine.st_dev == there.st_dev;
}

void ft_lease_drop(ft_lease *l)
{
    if (!l) return;
    pthread_mutex_lock(&all.lock);
    for (ft_lease **p = &all.held; *p; p = &(*p)->next)
        if (*p == l) {
            *p = l->next;
            break;
        }
    pthread_mutex_unlock(&all.lock);
    ft_fence_drop(&l->fence);
    if (ft_lease_kept(l) && end_one(l->hold) == FT_OK) unlink(l->path);
    close(l->fd);
    ft_free(l);
}

bool ft_leases_kept(void)
{
    static _Atomic double looked = -1e9;
    double now = ft_now();
    if (now - looked < 1) return true;
    looked = now;
    bool kept = true;
    pthread_mutex_lock(&all.lock);
    for (const ft_lease *l = all.held; l; l = l->next) kept &= ft_lease_kept(l);
    pthread_mutex_unlock(&all.lock);
    return kept;
}

bool ft_lease_owner(const char *folder, char text[200])
{
    char path[LEASE_PATH];
    owner o;
    struct timespec now;
    snprintf(path, sizeof path, "%s/.lease", folder);
    clock_gettime(CLOCK_REALTIME, &now); /* only to tell a reader; taking asks the file server */
    if (!read_owner(path, &o) || !alive(&o, now)) return false;
    snprintf(text, 200, "%s, process %lld", o.host, (long long)o.pid);
    return true;
}

int ft_hold_folder(const char *path)
{
    ft_lease *l; /* dropped at exit */
    return ft_lease_take(path, false, &l);
}
