#include "common/base/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sha2.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/base/memory.h"
#include "common/base/status.h"

int ft_random_hex(char *out, int bytes)
{
    unsigned char random[32];
    FT_ASSERT(bytes <= (int)sizeof random);
    if (getrandom(random, (size_t)bytes, 0) != bytes) return FT_FAIL(FT_EIO, "no random numbers (%s)", strerror(errno));
    for (int i = 0; i < bytes; i++) snprintf(out + 2 * i, 3, "%02x", random[i]);
    return FT_OK;
}

bool ft_exists(const char *path) { return faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0; }

bool ft_is_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

int ft_mkdirs(const char *path)
{
    char part[FT_PATH_GIVEN + 600];
    if (snprintf(part, sizeof part, "%s", path) >= (int)sizeof part) return FT_FAIL(FT_EIO, "%s: path too long", path);
    for (char *p = part + 1;; p++) {
        if (*p != '/' && *p) continue;
        char keep = *p;
        *p = 0;
        if (mkdir(part, 0777) != 0 && !ft_is_dir(part))
            return FT_FAIL(FT_EIO, "%s: cannot make the folder (%s). Choose another output with -o", part, strerror(errno));
        if (!keep) return FT_OK;
        *p = keep;
    }
}

/* the folder of `path`, "." if it names none; false: too long */
static bool folder_of(const char *path, char *folder, size_t size)
{
    const char *slash = strrchr(path, '/');
    int n = slash ? (int)(slash - path) : 0;
    return snprintf(folder, size, "%.*s", !slash ? 1 : n ? n : 1, slash ? path : ".") < (int)size;
}

int ft_mkdirs_for(const char *path)
{
    char folder[FT_PATH_GIVEN + 600];
    if (!folder_of(path, folder, sizeof folder)) return FT_FAIL(FT_EIO, "%s: path too long", path);
    return ft_mkdirs(folder);
}

int ft_remove_file(const char *path)
{
    if (unlink(path) == 0 || errno == ENOENT) return FT_OK;
    return FT_FAIL(FT_EIO, "%s: cannot be removed (%s)", path, strerror(errno));
}

const char *ft_base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static int not_a_file(const char *path, mode_t mode)
{
    const char *is = S_ISDIR(mode) ? "a folder" : S_ISFIFO(mode) ? "a pipe" : S_ISSOCK(mode) ? "a socket" : "a device";
    return FT_FAIL(FT_EIO, "%s: %s, not a file. Give the path of a file", path, is);
}

int ft_is_file(const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0) return FT_FAIL(FT_EIO, "%s: cannot be opened (%s). Check the path", path, strerror(errno));
    return S_ISREG(st.st_mode) ? FT_OK : not_a_file(path, st.st_mode);
}

int ft_read_file(const char *path, size_t limit, char **data, size_t *size)
{
    if (!limit) limit = (size_t)1 << 30;
    *data = NULL;
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC), rc = FT_OK; /* a pipe is not waited for */
    if (fd < 0) return FT_FAIL(FT_EIO, "%s: cannot be opened (%s). Check the path", path, strerror(errno));
    struct stat st;
    if (fstat(fd, &st) != 0) rc = FT_FAIL(FT_EIO, "%s: cannot be read (%s)", path, strerror(errno));
    else if (!S_ISREG(st.st_mode)) rc = not_a_file(path, st.st_mode);
    else if ((uint64_t)st.st_size > limit)
        rc = FT_FAIL(FT_EDATA, "%s: %lld bytes, at most %zu are read. Is it the right file?", path, (long long)st.st_size, limit);
    else if (!(*data = ft_alloc((size_t)st.st_size + 1)))
        rc = FT_FAIL(FT_ENOMEM, "%s: no memory for %lld bytes", path, (long long)st.st_size);
    size_t have = 0;
    while (rc == FT_OK && have < (size_t)st.st_size) {
        ssize_t n = read(fd, *data + have, (size_t)st.st_size - have);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) rc = FT_FAIL(FT_EIO, "%s: read %zu of %lld bytes", path, have, (long long)st.st_size);
        else have += (size_t)n;
    }
    close(fd);
    if (rc < 0) ft_free(*data), *data = NULL;
    *size = have;
    return rc;
}

/* ---- writing --------------------------------------------------------------------------------------------------------------- */

static pthread_mutex_t fences_lock = PTHREAD_MUTEX_INITIALIZER;
static ft_fence *fences;

void ft_fence_raise(ft_fence *f)
{
    pthread_mutex_lock(&fences_lock);
    f->next = fences;
    fences = f;
    pthread_mutex_unlock(&fences_lock);
}

void ft_fence_drop(ft_fence *f)
{
    pthread_mutex_lock(&fences_lock);
    for (ft_fence **p = &fences; *p; p = &(*p)->next)
        if (*p == f) {
            *p = f->next;
            break;
        }
    pthread_mutex_unlock(&fences_lock);
}

/* the fence of the innermost folder that holds `path`; its `through` copied */
static bool fence_of(const char *path, char *through, size_t size)
{
    size_t best = 0;
    pthread_mutex_lock(&fences_lock);
    for (const ft_fence *f = fences; f; f = f->next) {
        size_t n = strlen(f->folder);
        if (n <= best || strncmp(path, f->folder, n) || path[n] != '/') continue;
        best = n;
        snprintf(through, size, "%s", f->through);
    }
    pthread_mutex_unlock(&fences_lock);
    return best > 0;
}

/* ".NAME.*.partial" that no living writer has locked */
static void sweep(const char *folder, const char *base)
{
    char **names, path[FT_PATH_GIVEN + 900];
    int n;
    size_t length = strlen(base);
    if (ft_list_dir(folder, &names, &n) < 0) return;
    for (int i = 0; i < n; i++) {
        const char *s = names[i];
        if (strlen(s) == length + 26 && *s == '.' && !strncmp(s + 1, base, length) && s[length + 1] == '.' &&
            !strcmp(s + length + 18, ".partial") && snprintf(path, sizeof path, "%s/%s", folder, s) < (int)sizeof path) {
            int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
            if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0) unlink(path);
            if (fd >= 0) close(fd);
        }
    }
    ft_free_names(names, n);
}

static int cannot_write(const char *path)
{
    return FT_FAIL(FT_EIO, "%s: cannot be written (%s). Choose another output with -o, or free the folder", path,
                   strerror(errno));
}

/* Names that go when a library aborts, or a signal ends us */
static struct {
    int used; /* 0: free, 1: being filled, 2: to be removed; by __atomic */
    char path[FT_PATH_GIVEN + 600];
} unfinished[8];

void ft_atomic_abandon(void)
{
    for (int i = 0; i < 8; i++)
        if (__atomic_load_n(&unfinished[i].used, __ATOMIC_SEQ_CST) == 2) unlink(unfinished[i].path);
}

static void on_abort(int sig)
{
    ft_atomic_abandon();
    signal(sig, SIG_DFL);
    raise(sig);
}

static void note_unfinished(const char *path)
{
    static _Atomic int once;
    if (!once++) signal(SIGABRT, on_abort);
    for (int i = 0; i < 8; i++) {
        int unused = 0;
        if (!__atomic_compare_exchange_n(&unfinished[i].used, &unused, 1, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) continue;
        snprintf(unfinished[i].path, sizeof unfinished[i].path, "%s", path);
        __atomic_store_n(&unfinished[i].used, 2, __ATOMIC_SEQ_CST);
        return;
    }
}

static void forget_unfinished(const char *path)
{
    for (int i = 0; i < 8; i++)
        if (__atomic_load_n(&unfinished[i].used, __ATOMIC_SEQ_CST) == 2 && !strcmp(unfinished[i].path, path))
            __atomic_store_n(&unfinished[i].used, 0, __ATOMIC_SEQ_CST);
}

/* a.temp: a name beside a.final that nobody has */
static bool name_beside(ft_atomic *a, const char *folder)
{
    char random[17];
    return ft_random_hex(random, 8) == FT_OK &&
           snprintf(a->temp, sizeof a->temp, "%s/.%s.%s.partial", folder, ft_base_name(a->final), random) < (int)sizeof a->temp;
}

static int begin(ft_atomic *a, const char *path, bool named)
{
    char folder[FT_PATH_GIVEN + 600], random[17];
    enum { NEW = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC };
    *a = (ft_atomic){.fd = -1};
    if (snprintf(a->final, sizeof a->final, "%s", path) >= (int)sizeof a->final || !folder_of(path, folder, sizeof folder))
        return FT_FAIL(FT_EIO, "%s: path too long", path);
    if (fence_of(path, a->temp, sizeof a->temp)) {
        size_t n = strlen(a->temp);
        if (ft_random_hex(random, 8) < 0 ||
            snprintf(a->temp + n, sizeof a->temp - n, "/%s.%s", ft_base_name(path), random) >= (int)(sizeof a->temp - n))
            return FT_FAIL(FT_EIO, "%s: path too long", path);
        a->named = true;
        a->fd = open(a->temp, NEW, 0666);
        if (a->fd < 0 && errno == ENOENT)
            return FT_FAIL(FT_EIO, "%s: the folder went away, or another process took it, while this one worked in it", path);
        if (a->fd < 0) return cannot_write(path);
        note_unfinished(a->temp);
        return ft_mkdirs(folder);
    }
    FT_TRY(ft_mkdirs(folder));
    sweep(folder, ft_base_name(path));
    a->fd = named ? -1 : open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0666);
    if (a->fd >= 0) {
        snprintf(a->temp, sizeof a->temp, "/proc/self/fd/%d", a->fd);
        if (access(a->temp, W_OK) == 0) return FT_OK;
        close(a->fd);
    }
    a->named = true; /* not every file system can do that */
    if (!name_beside(a, folder)) return FT_FAIL(FT_EIO, "%s: path too long", path);
    a->fd = open(a->temp, NEW, 0666);
    if (a->fd < 0) return cannot_write(path);
    flock(a->fd, LOCK_EX | LOCK_NB);
    note_unfinished(a->temp);
    return FT_OK;
}

int ft_atomic_begin(ft_atomic *a, const char *path) { return begin(a, path, false); }
int ft_atomic_begin_named(ft_atomic *a, const char *path) { return begin(a, path, true); }

void ft_atomic_abort(ft_atomic *a)
{
    if (a->fd < 0) return;
    if (a->named) unlink(a->temp), forget_unfinished(a->temp);
    close(a->fd);
    a->fd = -1;
}

static int commit(ft_atomic *a, bool once)
{
    char folder[FT_PATH_GIVEN + 600];
    bool bad = fsync(a->fd) != 0;
    if (!bad && !a->named) { /* it gets a name, which then replaces the other */
        char anonymous[40];
        snprintf(anonymous, sizeof anonymous, "/proc/self/fd/%d", a->fd);
        bad = !folder_of(a->final, folder, sizeof folder) || !name_beside(a, folder) || flock(a->fd, LOCK_EX | LOCK_NB) < 0 ||
              linkat(AT_FDCWD, anonymous, AT_FDCWD, a->temp, AT_SYMLINK_FOLLOW) != 0;
        a->named = !bad;
    }
    if (!bad && once && (link(a->temp, a->final) == 0 || errno == EEXIST || ft_exists(a->final))) {
        ft_atomic_abort(a);
        return FT_OK;
    }
    if (!bad && !once && rename(a->temp, a->final) == 0) {
        forget_unfinished(a->temp);
        close(a->fd);
        a->fd = -1;
        return FT_OK;
    }
    int rc = FT_FAIL(FT_EIO, "%s: cannot be completed (%s). %s", a->final, strerror(errno),
                     errno == ENOENT ? "Its folder went away, or another process took it" : "Is the disk full?");
    ft_atomic_abort(a);
    return rc;
}

int ft_atomic_commit(ft_atomic *a) { return commit(a, false); }

static int write_whole(const char *path, const void *data, size_t size, bool once)
{
    ft_atomic a;
    FT_TRY(ft_atomic_begin(&a, path));
    size_t put = 0;
    while (put < size) {
        ssize_t n = write(a.fd, (const char *)data + put, size - put);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
            int rc = FT_FAIL(FT_EIO, "%s: wrote %zu of %zu bytes (%s). Is the disk full?", path, put, size, strerror(errno));
            ft_atomic_abort(&a);
            return rc;
        }
        put += (size_t)n;
    }
    return commit(&a, once);
}

int ft_write_file(const char *path, const void *data, size_t size) { return write_whole(path, data, size, false); }
int ft_write_once(const char *path, const void *data, size_t size) { return write_whole(path, data, size, true); }

int ft_claim_output(const char *path, bool force)
{
    struct stat st;
    if (lstat(path, &st) != 0) return FT_OK;
    if (S_ISDIR(st.st_mode)) return FT_FAIL(FT_EIO, "%s: a folder; a file is written. Give -o the name of a file", path);
    if (!force) return FT_FAIL(FT_EIO, "%s: exists already. Use --force to replace it, or give another place", path);
    return S_ISREG(st.st_mode) || S_ISLNK(st.st_mode) ? FT_OK : not_a_file(path, st.st_mode);
}

/* ---- text and JSON --------------------------------------------------------------------------------------------------------- */

int ft_text_begin(ft_text *t)
{
    *t = (ft_text){NULL, NULL, 0};
    t->f = open_memstream(&t->text, &t->size);
    return t->f ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for text");
}

int ft_text_end(ft_text *t)
{
    bool bad = ferror(t->f) != 0;
    if (fclose(t->f) != 0 || !t->text) bad = true;
    t->f = NULL;
    return bad ? FT_FAIL(FT_ENOMEM, "no memory for text") : FT_OK;
}

void ft_text_free(ft_text *t)
{
    if (t->f) fclose(t->f);
    free(t->text);
    *t = (ft_text){NULL, NULL, 0};
}

int ft_text_write(ft_text *t, const char *path)
{
    int rc = ft_text_end(t);
    if (rc == FT_OK) rc = ft_write_file(path, t->text, t->size);
    ft_text_free(t);
    return rc;
}

/* json_object_set_new and its kin drop a value that could not be made, in silence: that it happened is kept until somebody writes
 */
static _Thread_local bool lacked;

static void *json_memory(size_t size)
{
    void *p = ft_realloc(NULL, size);
    if (p) return p;
    lacked = true;
    return malloc(
        size); /* jansson's parser does not bear a refusal: what is made is used for nothing, so let it have some memory */
}

__attribute__((constructor)) static void watch_json(void) { json_set_alloc_funcs(json_memory, ft_free); }

bool ft_json_lacked(void)
{
    bool was = lacked;
    lacked = false;
    return was;
}

int ft_json_text(const json_t *o, size_t flags, char **text)
{
    *text = lacked || !o ? NULL : json_dumps(o, flags);
    bool short_of = ft_json_lacked();
    if (!*text || short_of) {
        ft_free(*text);
        *text = NULL;
        return FT_FAIL(short_of ? FT_ENOMEM : FT_EDATA,
                       short_of ? "no memory for a JSON document" : "a JSON document cannot be made: a name in it is not UTF-8");
    }
    return FT_OK;
}

int ft_write_json(const char *path, const json_t *o, int indent)
{
    char *text;
    int rc = ft_json_text(o, JSON_INDENT((size_t)indent), &text);
    if (rc < 0) return FT_FAIL(rc, "%s: %s", path, ft_error_message());
    rc = ft_write_file(path, text, strlen(text));
    ft_free(text);
    return rc;
}

json_t *ft_read_json(const char *path)
{
    char *text;
    size_t size;
    if (!ft_exists(path) || ft_read_file(path, (size_t)64 << 20, &text, &size) < 0) return NULL;
    json_t *o = json_loadb(text, size, 0, NULL);
    ft_free(text);
    return o;
}

void ft_sha256(const void *data, size_t size, char hex[65]) { SHA256Data(data, size, hex); }

/* Files that this process has summed: weights of hundreds of MB stand in the key of every run of an experiment. */
typedef struct {
    struct stat at;
    char hex[65];
} summed;
static summed known_sums[32];
static int next_sum;
static pthread_mutex_t sums = PTHREAD_MUTEX_INITIALIZER;

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           !memcmp(&a->st_mtim, &b->st_mtim, sizeof a->st_mtim) && !memcmp(&a->st_ctim, &b->st_ctim, sizeof a->st_ctim);
}

int ft_sha256_file(const char *path, char hex[65])
{
    enum { KNOWN = sizeof known_sums / sizeof *known_sums };
    struct stat before = {0}, after;
    FT_TRY(ft_is_file(path));
    bool found = false, settled = stat(path, &before) == 0;
    pthread_mutex_lock(&sums);
    for (int i = 0; settled && i < KNOWN && !found; i++)
        if ((found = *known_sums[i].hex && same_file(&known_sums[i].at, &before))) memcpy(hex, known_sums[i].hex, 65);
    pthread_mutex_unlock(&sums);
    if (found) return FT_OK;
    if (!SHA256File(path, hex)) return FT_FAIL(FT_EIO, "%s: cannot be read (%s)", path, strerror(errno));
    /* one that was written just now may be written again within a tick of the file system's clock */
    settled = settled && stat(path, &after) == 0 && same_file(&before, &after) && time(NULL) - after.st_ctim.tv_sec > 2;
    pthread_mutex_lock(&sums);
    if (settled) {
        known_sums[next_sum].at = before;
        memcpy(known_sums[next_sum].hex, hex, 65);
        next_sum = (next_sum + 1) % KNOWN;
    }
    pthread_mutex_unlock(&sums);
    return FT_OK;
}

int ft_json_sha256(json_t *key, char hex[65])
{
    char *text;
    int rc = ft_json_text(key, JSON_SORT_KEYS | JSON_COMPACT, &text);
    json_decref(key);
    FT_TRY(rc);
    ft_sha256(text, strlen(text), hex);
    ft_free(text);
    return FT_OK;
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

void ft_free_names(char **names, int n)
{
    for (int i = 0; i < n; i++) ft_free(names[i]);
    ft_free(names);
}

static int list(DIR *d, const char *path, char ***names, int *n)
{
    *names = NULL;
    *n = 0;
    if (!d) return FT_FAIL(FT_EIO, "%s: cannot be opened as a folder (%s). Check the path", path, strerror(errno));
    int rc = FT_OK;
    for (struct dirent *e; rc == FT_OK && (e = readdir(d));) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
        rc = ft_grow(names, (size_t)*n, sizeof **names);
        if (rc == FT_OK && !((*names)[*n] = ft_strdup(e->d_name))) rc = FT_FAIL(FT_ENOMEM, "%s: no memory", path);
        if (rc == FT_OK) ++*n;
    }
    closedir(d);
    if (rc < 0) {
        ft_free_names(*names, *n);
        *names = NULL, *n = 0;
    } else if (*n) qsort(*names, (size_t)*n, sizeof **names, by_name);
    return rc;
}

int ft_list_dir(const char *path, char ***names, int *n) { return list(opendir(path), path, names, n); }

int ft_list_folder(int fd, const char *path, char ***names, int *n)
{
    int own = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* closedir closes it */
    DIR *d = own >= 0 ? fdopendir(own) : NULL;
    if (!d && own >= 0) close(own);
    return list(d, path, names, n);
}

static void csv(FILE *f, const char *before, const char *s)
{
    size_t n = strlen(s); /* readers strip what is not quoted */
    if (!strpbrk(s, ",\"\r\n") && *s != ' ' && (n == 0 || s[n - 1] != ' ') && strcmp(before, "'")) {
        fprintf(f, "%s%s", before, s);
        return;
    }
    fprintf(f, "\"%s", before);
    for (; *s; s++) fprintf(f, *s == '"' ? "\"\"" : "%c", *s);
    fputc('"', f);
}

void ft_csv_field(FILE *f, const char *s) { csv(f, "", s); }
void ft_csv_probability(FILE *f, const char *label) { csv(f, "p_", label); }
void ft_csv_cell(FILE *f, const char *s) { csv(f, *s && strchr("=+-@", *s) ? "'" : "", s); }
