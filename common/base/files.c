#include "common/base/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sha2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/memory.h"
#include "common/base/status.h"

bool ft_exists(const char *path) { return access(path, F_OK) == 0; }

bool ft_is_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

int ft_mkdirs(const char *path)
{
    char part[1024];
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

int ft_mkdirs_for(const char *path)
{
    char part[1024];
    snprintf(part, sizeof part, "%s", path);
    char *slash = strrchr(part, '/');
    if (!slash || slash == part) return FT_OK;
    *slash = 0;
    return ft_mkdirs(part);
}

int ft_remove_tree(const char *path)
{
    if (!ft_is_dir(path)) {
        if (unlink(path) != 0 && errno != ENOENT) return FT_FAIL(FT_EIO, "%s: cannot remove (%s)", path, strerror(errno));
        return FT_OK;
    }
    char **names;
    int n, rc = FT_OK;
    FT_TRY(ft_list_dir(path, &names, &n));
    for (int i = 0; i < n; i++) {
        char *child = ft_format("%s/%s", path, names[i]);
        if (rc == FT_OK) rc = child ? ft_remove_tree(child) : FT_ENOMEM;
        ft_free(child);
        ft_free(names[i]);
    }
    ft_free(names);
    if (rc == FT_OK && rmdir(path) != 0) return FT_FAIL(FT_EIO, "%s: cannot remove (%s)", path, strerror(errno));
    return rc;
}

const char *ft_base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

int ft_read_file(const char *path, size_t limit, char **data, size_t *size)
{
    if (!limit) limit = (size_t)1 << 30;
    FILE *f = fopen(path, "rb");
    if (!f) return FT_FAIL(FT_EIO, "%s: cannot be opened (%s). Check the path", path, strerror(errno));
    struct stat st;
    int rc = FT_OK;
    *data = NULL;
    if (fstat(fileno(f), &st) != 0 || !S_ISREG(st.st_mode)) {
        rc = FT_FAIL(FT_EIO, "%s: not a file. Give the path of a file", path);
    } else if ((uint64_t)st.st_size > limit) {
        rc = FT_FAIL(FT_EDATA, "%s: %lld bytes, at most %zu are read. Is it the right file?", path, (long long)st.st_size, limit);
    } else if (!(*data = ft_alloc((size_t)st.st_size + 1))) {
        rc = FT_FAIL(FT_ENOMEM, "%s: no memory for %lld bytes", path, (long long)st.st_size);
    } else {
        *size = fread(*data, 1, (size_t)st.st_size, f);
        if (*size != (size_t)st.st_size) {
            rc = FT_FAIL(FT_EIO, "%s: read %zu of %lld bytes", path, *size, (long long)st.st_size);
            ft_free(*data);
            *data = NULL;
        }
    }
    fclose(f);
    return rc;
}

int ft_atomic_begin(ft_atomic *a, const char *path)
{
    FT_TRY(ft_mkdirs_for(path));
    int n = snprintf(a->final, sizeof a->final, "%s", path);
    int m = snprintf(a->temp, sizeof a->temp, "%s.%ld.partial", path, (long)getpid());
    if (n >= (int)sizeof a->final || m >= (int)sizeof a->temp) return FT_FAIL(FT_EIO, "%s: path too long", path);
    int fd = open(a->temp, O_WRONLY | O_CREAT | O_TRUNC, 0666); /* find out now whether the folder can be written */
    if (fd < 0)
        return FT_FAIL(FT_EIO, "%s: cannot be written (%s). Choose another output with -o or free the folder", path,
                       strerror(errno));
    close(fd);
    return FT_OK;
}

int ft_atomic_commit(ft_atomic *a)
{
    int fd = open(a->temp, O_RDONLY);
    int bad = fd < 0 || fsync(fd) != 0;
    if (fd >= 0) close(fd);
    if (bad || rename(a->temp, a->final) != 0) {
        int rc = FT_FAIL(FT_EIO, "%s: cannot be completed (%s). %s", a->final, strerror(errno),
                         errno == ENOENT ? "Its folder went away" : "Is the disk full?");
        unlink(a->temp);
        return rc;
    }
    return FT_OK;
}

void ft_atomic_abort(ft_atomic *a) { unlink(a->temp); }

int ft_write_file(const char *path, const void *data, size_t size)
{
    ft_atomic a;
    FT_TRY(ft_atomic_begin(&a, path));
    FILE *f = fopen(a.temp, "wb");
    size_t put = f ? fwrite(data, 1, size, f) : 0;
    if (!f || put != size || fclose(f) != 0) {
        int rc = FT_FAIL(FT_EIO, "%s: wrote %zu of %zu bytes (%s). Is the disk full?", path, put, size, strerror(errno));
        ft_atomic_abort(&a);
        return rc;
    }
    return ft_atomic_commit(&a);
}

int ft_write_json(const char *path, const json_t *o, int indent)
{
    char *text = json_dumps(o, JSON_INDENT((size_t)indent));
    int rc = text ? ft_write_file(path, text, strlen(text)) : FT_FAIL(FT_ENOMEM, "no memory for %s", path);
    free(text);
    return rc;
}

int ft_claim_output(const char *path, bool force)
{
    if (ft_exists(path) && !force) return FT_FAIL(FT_EIO, "%s: exists already. Use --force to replace it, or another -o", path);
    return FT_OK;
}

void ft_sha256(const void *data, size_t size, char hex[65]) { SHA256Data(data, size, hex); }

int ft_sha256_file(const char *path, char hex[65])
{
    if (!SHA256File(path, hex)) return FT_FAIL(FT_EIO, "%s: cannot be read (%s)", path, strerror(errno));
    return FT_OK;
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

int ft_list_dir(const char *path, char ***names, int *n)
{
    DIR *d = opendir(path);
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
    if (*n) qsort(*names, (size_t)*n, sizeof **names, by_name);
    return rc;
}

void ft_csv_field(FILE *f, const char *s)
{
    if (!strpbrk(s, ",\"\n")) fputs(s, f);
    else {
        fputc('"', f);
        for (; *s; s++) fprintf(f, *s == '"' ? "\"\"" : "%c", *s);
        fputc('"', f);
    }
}
