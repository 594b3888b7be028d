#include "common/base/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/files.h"
#include "common/base/memory.h"
#include "common/base/status.h"

static const char mark[] = ".forty";
static const char mark_text[] =
    "A folder of forty's: it may replace and remove files here that have names it gives. Other files stay.\n";

/* what forty keeps about a folder, beside what is in it */
static const char *const own[] = {".forty", ".lease", ".lease-*", ".lease.*", ".hold-*"};

/* what forty writes into run folders and stages; folders end with a slash */
static const char *const written[] = {"config.yaml",
                                      "precision.json",
                                      "gpu-choices.tsv",
                                      "run.json",
                                      "log.csv",
                                      "log.txt",
                                      "split.json",
                                      "conditions.csv",
                                      "done.json",
                                      "failed.json",
                                      "test.csv",
                                      "weights.safetensors",
                                      "ema.safetensors",
                                      "kept.safetensors",
                                      "weak.safetensors",
                                      "state.safetensors",
                                      "latents.safetensors",
                                      "held-out.safetensors",
                                      "features.safetensors",
                                      "features.safetensors.[cws][0-9]*",
                                      "clips.h5",
                                      "evaluated.h5",
                                      "clips.json",
                                      "pairs.h5",
                                      "kept.json",
                                      "pseudo.json",
                                      "events.out.tfevents.*",
                                      ".*.partial",
                                      "samples/",
                                      "vae/",
                                      ".new/",
                                      ".complete/",
                                      ".moving/",
                                      "runs/",
                                      "rehearsal.json",
                                      "[a-z]*-[0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f]*/",
                                      "[0-9][0-9][0-9][0-9][0-9][0-9].png",
                                      "[0-9][0-9][0-9][0-9][0-9][0-9].gif"};

static bool about_itself(const char *name)
{
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (!fnmatch(own[i], name, 0)) return true;
    return false;
}

static bool is_written(const char *name, bool folder)
{
    char pattern[200];
    for (size_t i = 0; i < sizeof written / sizeof *written; i++) {
        size_t n = strlen(written[i]);
        if ((written[i][n - 1] == '/') != folder) continue;
        snprintf(pattern, sizeof pattern, "%.*s", (int)(folder ? n - 1 : n), written[i]);
        if (!fnmatch(pattern, name, 0)) return true;
    }
    return false;
}

static int failed(const char *path, const char *what)
{
    return FT_FAIL(FT_EIO, "%s: cannot be %s (%s)", path, what, strerror(errno));
}

/* the folder itself, not what a link points to; -1 with errno */
static int open_folder(int at, const char *path) { return openat(at, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC); }

static bool is_folder(int at, const char *name)
{
    struct stat st;
    return fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

static bool is_link(int at, const char *name)
{
    struct stat st;
    return fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode);
}

/* Removes what is forty's in an open folder; `spare` (NULL-terminated; may be NULL) stays. `all`: whatever it is called, for
 * folders that hold nothing but temporary files. */
static int clear(int fd, const char *path, const char *const *spare, bool all, int *kept)
{
    char **name;
    int n, rc = ft_list_folder(fd, path, &name, &n);
    for (int i = 0; rc == FT_OK && i < n; i++) {
        bool stays = false, folder = is_folder(fd, name[i]), itself = about_itself(name[i]),
             known = is_written(name[i], folder) || (is_link(fd, name[i]) && is_written(name[i], true));
        for (int k = 0; spare && spare[k]; k++) stays |= !strcmp(spare[k], name[i]);
        if (stays) continue;
        if (!all && !itself && !known) {
            ++*kept;
            continue;
        }
        if (!folder) {
            if (unlinkat(fd, name[i], 0) != 0 && errno != ENOENT) rc = failed(path, "cleared");
            continue;
        }
        char *deeper = ft_format("%s/%s", path, name[i]);
        int inner = open_folder(fd, name[i]), before = *kept;
        if (inner < 0) rc = failed(deeper ? deeper : path, "opened");
        else rc = clear(inner, deeper ? deeper : path, NULL, itself, kept);
        if (inner >= 0) close(inner);
        if (rc == FT_OK && *kept == before && unlinkat(fd, name[i], AT_REMOVEDIR) != 0 && errno != ENOENT)
            rc = failed(deeper ? deeper : path, "removed");
        ft_free(deeper);
    }
    ft_free_names(name, n);
    return rc;
}

/* ---- whose it is ------------------------------------------------------------------------------------------------------------
 */

/* name of something in the folder that is not about the folder itself; "": nothing */
static int stranger_in(int fd, const char *path, char out[300])
{
    char **name;
    int n, rc = ft_list_folder(fd, path, &name, &n);
    *out = 0;
    for (int i = 0; rc == FT_OK && i < n && !*out; i++)
        if (!about_itself(name[i])) snprintf(out, 300, "%s", name[i]);
    ft_free_names(name, n);
    return rc;
}

static bool marked(int fd)
{
    struct stat st;
    return fstatat(fd, mark, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode);
}

int ft_folder_make(const char *path)
{
    char other[300];
    FT_TRY(ft_mkdirs(path));
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = FT_OK; /* the user's own path may be a link */
    if (fd < 0) return failed(path, "opened");
    if (!marked(fd)) {
        rc = stranger_in(fd, path, other);
        if (rc == FT_OK && *other && !marked(fd)) /* else another process has made it just now */
            rc = FT_FAIL(
                FT_EIO,
                "%s: holds files that forty did not make (such as %s) and has no mark of forty (%s), so nothing is "
                "written or removed there. Choose another -o. (A copy of a folder of forty's that lost its mark: touch %s/%s)",
                path, other, mark, path, mark);
        int m = rc == FT_OK ? openat(fd, mark, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666) : -1;
        if (rc == FT_OK && m < 0 && errno != EEXIST)
            rc = FT_FAIL(FT_EIO, "%s: cannot be written (%s). Choose another output with -o", path, strerror(errno));
        if (m >= 0) {
            if (write(m, mark_text, sizeof mark_text - 1) < 0) rc = failed(path, "written");
            close(m);
        }
    }
    close(fd);
    return rc;
}

bool ft_folder_ours(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool is = fd >= 0 && marked(fd);
    if (fd >= 0) close(fd);
    return is;
}

bool ft_folder_empty(const char *path)
{
    char other[300];
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return errno == ENOENT;
    bool empty = stranger_in(fd, path, other) == FT_OK && !*other;
    close(fd);
    return empty;
}

int ft_folder_remove(const char *path, int *kept)
{
    int stay = 0, rc, fd = open_folder(AT_FDCWD, path);
    if (kept) *kept = 0;
    if (fd < 0 && errno == ENOENT) return FT_OK;
    if (fd < 0) return FT_FAIL(FT_EIO, "%s: a link or no folder: nothing is removed there", path);
    if (!marked(fd)) {
        close(fd);
        return FT_FAIL(FT_EIO, "%s: has no mark of forty (%s): nothing is removed there", path, mark);
    }
    static const char *const last[] = {".forty", NULL}; /* it is forty's until the end */
    rc = clear(fd, path, last, false, &stay);
    if (rc == FT_OK && !stay && unlinkat(fd, mark, 0) != 0 && errno != ENOENT) rc = failed(path, "cleared");
    close(fd);
    if (rc == FT_OK && !stay && rmdir(path) != 0 && errno != ENOENT) rc = failed(path, "removed");
    if (kept) *kept = stay;
    return rc;
}

/* ---- a new result in the place of an old one ---------------------------------------------------------------------------------
 */

static const char *const beside[] = {".forty", ".lease", ".new", ".complete", ".moving", NULL};

/* what is in `from` moves up */
static int move_up(int fd, const char *folder)
{
    char **name;
    int n, kept = 0, from = open_folder(fd, ".moving");
    if (from < 0) return failed(folder, "completed");
    int rc = ft_list_folder(from, folder, &name, &n);
    for (int i = 0; rc == FT_OK && i < n; i++) {
        if (about_itself(name[i])) continue;
        if (renameat(from, name[i], fd, name[i]) != 0) rc = failed(folder, "completed");
    }
    ft_free_names(name, n);
    if (rc == FT_OK) rc = clear(from, folder, NULL, true, &kept);
    close(from);
    if (rc == FT_OK && unlinkat(fd, ".moving", AT_REMOVEDIR) != 0) rc = failed(folder, "completed");
    return rc;
}

int ft_folder_settle(const char *folder)
{
    int kept = 0, rc = FT_OK, fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return FT_OK;
    if (marked(fd) && is_folder(fd, ".complete")) { /* the old one is whole until here */
        char **name;
        int n;
        rc = ft_list_folder(fd, folder, &name, &n);
        const char *spare[64] = {NULL};
        int spared = 0;
        for (int i = 0; beside[i]; i++) spare[spared++] = beside[i];
        for (int i = 0; rc == FT_OK && i < n && spared < 62; i++)
            if (about_itself(name[i])) spare[spared++] = name[i]; /* the lease that we hold */
        if (rc == FT_OK) rc = clear(fd, folder, spare, false, &kept);
        if (rc == FT_OK && renameat(fd, ".complete", fd, ".moving") != 0) rc = failed(folder, "completed");
        ft_free_names(name, n);
    }
    if (rc == FT_OK && marked(fd) && is_folder(fd, ".moving")) rc = move_up(fd, folder);
    close(fd);
    return rc;
}

int ft_folder_replace(const char *folder)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return failed(folder, "opened");
    int bad = renameat(fd, ".new", fd, ".complete");
    close(fd);
    return bad ? failed(folder, "completed") : ft_folder_settle(folder);
}
