#include "common/io/dicom.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/apart.h"
#include "common/base/bounds.h"
#include "common/base/files.h"
#include "common/base/memory.h"
#include "common/base/names.h"
#include "common/base/plugin.h"
#include "common/base/status.h"
#include "common/io/picture.h"

enum {
    RATIO = 1024,       /* of pixels to bytes of the file: a row of dark frames is small */
    HEADER = 256 << 20, /* bytes that all but the pictures may take */
    FPS = 25            /* where the file says none */
};

/* What comes through the pipe before what it is about: rc, and the reason */
typedef struct {
    int rc;
    char text[1024];
} verdict;

/* ---- is it one, and can it be read? ------------------------------------------------------------------------------------------
 */

bool ft_is_dicom(const char *path, bool named)
{
    char head[132];
    const char *dot = strrchr(ft_base_name(path), '.');
    if (named && dot && (!strcasecmp(dot, ".dcm") || !strcasecmp(dot, ".dicom"))) return true;
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    bool is = fd >= 0 && pread(fd, head, sizeof head, 0) == sizeof head && !memcmp(head + 128, "DICM", 4);
    if (fd >= 0) close(fd);
    return is;
}

/* FORTY_DICOM_PLUGIN names another plugin, for tests. */
static const char *plugin_path(char *path, size_t size)
{
    const char *other = getenv("FORTY_DICOM_PLUGIN");
    if (other) snprintf(path, size, "%s", other);
    else ft_plugin_path(path, size, "libforty_dicom.so");
    return path;
}

bool ft_dicom_plugin_found(void)
{
    char path[4096];
    return ft_exists(plugin_path(path, sizeof path));
}

static int not_here(const char *path)
{
    return FT_FAIL(FT_EDATA,
                   "%s: DICOM is not read here: this build has no plugin for it. In the folder of forty's sources, `" FT_GET_DICOM
                   "` makes it. Or make a folder of its frames (package dcmtk: dcmj2pnm --write-png --all-frames FILE.dcm "
                   "VIDEO/frame), which is read as a video",
                   path);
}

/* ---- in the child ------------------------------------------------------------------------------------------------------------
 */

static const ft_dicom_api *load(void)
{
    char path[4096];
    const ft_dicom_api *const *api = ft_plugin_symbol(plugin_path(path, sizeof path), false, "ft_dicom_gdcm");
    if (api) return *api;
    FT_FAIL(FT_EDEVICE, "%s cannot be loaded (%.300s). Build forty again", path, dlerror());
    return NULL;
}

static bool holds(const char *path, const char *word, size_t least) { return strlen(word) >= least && strcasestr(path, word); }

/* One-way, so that nothing else of who it is leaves this process */
static void hide(const char *path, ft_dicom_identity *who, ft_dicom_head *h)
{
    if (*who->patient) ft_sha256(who->patient, strlen(who->patient), h->patient);
    if (*who->study) ft_sha256(who->study, strlen(who->study), h->study);
    who->name[strcspn(who->name, "^=")] = 0; /* the family's */
    h->tells_name = holds(path, who->name, 3) || holds(path, who->number, 5);
}

/* Memory that `allowed` did not give: the file's fault, unless there is no more than that. */
static int blame(const char *path, int rc, uint64_t allowed)
{
    if (rc != FT_ENOMEM || !(ft_memory_available() * (1 << 20) > (double)allowed)) return rc;
    return FT_FAIL(FT_EDATA, "%s: asks for more memory than its size warrants. It is damaged: leave it out with --on-error skip",
                   path);
}

static int open_in(const ft_dicom_api *api, void **file, const char *path, bool pictures, ft_dicom_head *h)
{
    ft_dicom_identity who;
    char shown[sizeof h->maker];
    int rc = api->open(file, path, pictures, h, &who);
    hide(path, &who, h);
    char *const text[] = {h->syntax, h->colour, h->maker, h->model};
    for (int i = 0; i < 4; i++) {
        ft_printable(shown, sizeof shown, text[i], false);
        snprintf(text[i], i == 1 ? sizeof h->colour : sizeof h->syntax, "%s", shown);
    }
    return rc;
}

static bool tell(int out, int rc)
{
    verdict v = {.rc = rc};
    if (rc < 0) snprintf(v.text, sizeof v.text, "%s", ft_error_message());
    return ft_apart_write(out, &v, sizeof v);
}

static int check_head(const char *path, const ft_dicom_head *h, uint64_t size)
{
    int64_t each, all;
    if (h->stream) return FT_OK;
    if (!ft_picture_size_is_good(h->width, h->height))
        return FT_FAIL(FT_EDATA, "%s: frames of %dx%d; at most %d a side and %d MB of pixels are read", path, h->width, h->height,
                       FT_MOST_SIDE, FT_MOST_PIXELS >> 20);
    if (h->frames < 1 || h->frames > INT32_MAX || (h->channels != 1 && h->channels != 3))
        return FT_FAIL(FT_EDATA, "%s: %lld frames of %d channels", path, (long long)h->frames, h->channels);
    if (!ft_mul_count(h->frames, 8, &each)) each = INT64_MAX;
    FT_TRY(ft_may_ask(path, "its frames", (uint64_t)each, size, 1));
    if (!ft_mul_count((int64_t)h->width * h->height * h->channels, h->frames, &all)) all = INT64_MAX;
    return ft_may_ask(path, "its pictures", (uint64_t)all, size, RATIO);
}

static size_t frame_bytes(const ft_dicom_head *h) { return (size_t)h->width * (size_t)h->height * (size_t)h->channels; }

static int all_of_it(const char *path, uint64_t size, int out)
{
    ft_dicom_head h = {0};
    void *file;
    ft_apart_memory(HEADER + 2 * size);
    const ft_dicom_api *api = load();
    int rc = api ? open_in(api, &file, path, true, &h) : FT_EDEVICE;
    rc = blame(path, rc, HEADER + 2 * size);
    if (rc == FT_OK) rc = check_head(path, &h, size);
    if (rc == FT_OK) ft_apart_memory(32 * (uint64_t)h.width * (uint64_t)h.height);
    uint8_t *to = rc == FT_OK && !h.stream ? ft_alloc(frame_bytes(&h)) : NULL;
    if (rc == FT_OK && !h.stream && !to) rc = FT_FAIL(FT_ENOMEM, "%s: no memory for a frame of %dx%d", path, h.width, h.height);
    if (!tell(out, rc) || rc < 0) return 0;
    if (!ft_apart_write(out, &h, sizeof h)) return 1;
    if (h.stream) {
        const ft_dicom_part *part;
        int64_t n = api->parts(file, &part);
        return !ft_apart_write(out, &n, sizeof n) || !ft_apart_write(out, part, (size_t)n * sizeof *part);
    }
    for (int64_t k = 0; h.timed && k < h.frames; k++) {
        double time = api->time(file, k);
        if (!ft_apart_write(out, &time, sizeof time)) return 1;
    }
    for (int64_t k = 0; k < h.frames && rc == FT_OK; k++) {
        rc = blame(path, api->frame(file, k, to), 32 * (uint64_t)h.width * (uint64_t)h.height);
        if (!tell(out, rc) || (rc == FT_OK && !ft_apart_write(out, to, frame_bytes(&h)))) return 1;
    }
    return 0;
}

static int heads_of(char *const *path, int n, int out)
{
    ft_apart_memory(HEADER);
    const ft_dicom_api *api = load();
    for (int i = 0; i < n; i++) {
        ft_dicom_head h = {0};
        void *file = NULL;
        int rc = api ? blame(path[i], open_in(api, &file, path[i], false, &h), HEADER) : FT_EDEVICE;
        if (!tell(out, rc) || (rc == FT_OK && !ft_apart_write(out, &h, sizeof h))) return 1;
        if (api) api->close(file);
    }
    return 0;
}

/* ---- in the parent ------------------------------------------------------------------------------------------------------------
 */

/* pictures of one file, or the heads of several */
static int begin(char *const *path, int n, bool pictures, uint64_t size, pid_t *pid, int *fd)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return FT_FAIL(FT_EIO, "%s: no pipe (%s)", *path, strerror(errno));
    *pid = fork();
    if (*pid == 0) {
        ft_apart_begin();
        _exit(pictures ? all_of_it(*path, size, ends[1]) : heads_of(path, n, ends[1]));
    }
    close(ends[1]);
    *fd = ends[0];
    if (*pid > 0) return FT_OK;
    close(ends[0]);
    *fd = -1;
    return FT_FAIL(FT_ENOMEM, "%s: no process to read it in (%s). Close other programs", *path, strerror(errno));
}

static int ended(const char *path, int how, int status, unsigned seconds)
{
    if (how == FT_EINTERRUPTED) return FT_FAIL(FT_EINTERRUPTED, "%s: interrupted while it was read", path);
    if (how == FT_EBUSY)
        return FT_FAIL(FT_EDATA,
                       "%s: GDCM does not come to an end with it in %u s. It is damaged: leave it out with --on-error skip", path,
                       seconds);
    return FT_FAIL(FT_EDATA, "%s: GDCM ends with %s %d on it. It is damaged: leave it out with --on-error skip", path,
                   WIFSIGNALED(status) ? "signal" : "exit code", WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

static void stop(ft_dicom *d, bool kill_it, int *status)
{
    if (d->pid > 0) *status = ft_apart_end(d->pid, kill_it);
    if (d->fd >= 0) close(d->fd);
    d->pid = 0, d->fd = -1;
}

/* `size` bytes of the child, or why they do not come */
static int get(ft_dicom *d, void *to, size_t size)
{
    int status = 0, how = ft_apart_read(d->fd, to, size, d->seconds);
    if (how == FT_OK) return FT_OK;
    stop(d, how != FT_EIO, &status);
    return ended(d->path, how, status, d->seconds);
}

static int get_verdict(ft_dicom *d)
{
    verdict v;
    FT_TRY(get(d, &v, sizeof v));
    v.text[sizeof v.text - 1] = 0;
    return v.rc < 0 ? FT_FAIL(v.rc, "%s", v.text) : FT_OK;
}

/* what a child that went wrong may have left open */
static void close_texts(ft_dicom_head *h)
{
    h->syntax[sizeof h->syntax - 1] = h->colour[sizeof h->colour - 1] = h->patient[64] = h->study[64] = 0;
    h->maker[sizeof h->maker - 1] = h->model[sizeof h->model - 1] = 0;
}

/* Each lies in the file, and holds something */
static int get_parts(ft_dicom *d, uint64_t size)
{
    int64_t n;
    FT_TRY(get(d, &n, sizeof n));
    bool good = n > 0 && (uint64_t)n <= size / 8; /* each has a head of so many bytes */
    if (good && !(d->part = ft_alloc_n(n, sizeof *d->part))) return FT_FAIL(FT_ENOMEM, "%s: no memory", d->path);
    if (good) FT_TRY(get(d, d->part, (size_t)n * sizeof *d->part));
    for (int64_t i = 0; good && i < n; i++) good = d->part[i].at <= size && d->part[i].size <= size - d->part[i].at;
    if (!good) return FT_FAIL(FT_EDATA, "%s: its stream is nowhere. It is damaged: leave it out with --on-error skip", d->path);
    d->n_part = n;
    return FT_OK;
}

static int get_head(ft_dicom *d, uint64_t size)
{
    ft_dicom_head *h = &d->head;
    FT_TRY(get_verdict(d));
    FT_TRY(get(d, h, sizeof *h));
    close_texts(h);
    FT_TRY(check_head(d->path, h, size));
    if (h->stream) return get_parts(d, size);
    d->time = ft_alloc_n(h->frames, sizeof *d->time);
    d->pixels = ft_alloc(frame_bytes(h));
    d->frame = av_frame_alloc();
    if (!d->time || !d->pixels || !d->frame) return FT_FAIL(FT_ENOMEM, "%s: no memory", d->path);
    if (h->timed) FT_TRY(get(d, d->time, (size_t)h->frames * sizeof *d->time));
    for (int64_t k = 0; !h->timed && k < h->frames; k++) d->time[k] = (double)k / (h->fps > 0 ? h->fps : FPS);
    d->n = h->frames;
    return FT_OK;
}

int ft_dicom_open(ft_dicom *d, const char *path)
{
    enum { WAIT = 60 }; /* a file server may be slow */
    struct stat st;
    char *one[] = {(char *)(uintptr_t)path};
    *d = (ft_dicom){.path = path, .fd = -1};
    if (ft_is_file(path) < 0 || !ft_is_dicom(path, true)) return FT_OK;
    if (!ft_dicom_plugin_found()) return not_here(path);
    if (stat(path, &st) != 0) return FT_FAIL(FT_EIO, "%s: cannot be read (%s)", path, strerror(errno));
    d->seconds = WAIT + (unsigned)(st.st_size >> 24);
    FT_TRY(begin(one, 1, true, (uint64_t)st.st_size, &d->pid, &d->fd));
    int rc = get_head(d, (uint64_t)st.st_size);
    if (rc < 0) ft_dicom_close(d);
    return rc;
}

int ft_dicom_next(ft_dicom *d)
{
    const ft_dicom_head *h = &d->head;
    AVFrame *f = d->frame;
    if (d->next == d->n) return 0;
    FT_TRY(get_verdict(d));
    FT_TRY(get(d, d->pixels, frame_bytes(h)));
    av_frame_unref(f);
    f->width = h->width, f->height = h->height, f->format = h->channels == 1 ? AV_PIX_FMT_GRAY8 : AV_PIX_FMT_RGB24;
    f->color_range = AVCOL_RANGE_JPEG;
    f->sample_aspect_ratio = (AVRational){h->aspect_w, h->aspect_h > 0 ? h->aspect_h : 1};
    if (av_frame_get_buffer(f, 0) < 0) return FT_FAIL(FT_ENOMEM, "%s: no memory for a frame", d->path);
    size_t row = (size_t)h->width * (size_t)h->channels;
    for (int y = 0; y < h->height; y++) memcpy(f->data[0] + (ptrdiff_t)y * f->linesize[0], d->pixels + (size_t)y * row, row);
    d->next++;
    return 1;
}

void ft_dicom_close(ft_dicom *d)
{
    int status;
    stop(d, true, &status);
    ft_free(d->time);
    ft_free(d->part);
    ft_free(d->pixels);
    av_frame_free(&d->frame);
    memset(d, 0, sizeof *d);
    d->fd = -1;
}

int ft_dicom_heads(char *const *path, int n, int (*take)(void *of, int i, const ft_dicom_head *head, const char *why), void *of)
{
    enum { WAIT = 60 };
    int rc = n > 0 && !ft_dicom_plugin_found() ? not_here(*path) : FT_OK;
    for (int i = 0; rc == FT_OK && i < n;) {
        ft_dicom d = {.fd = -1, .seconds = WAIT};
        rc = begin(path + i, n - i, false, 0, &d.pid, &d.fd);
        for (bool alive = true; rc == FT_OK && alive && i < n; i++) {
            d.path = path[i];
            int one = get_verdict(&d);
            if (one == FT_OK) one = get(&d, &d.head, sizeof d.head);
            close_texts(&d.head);
            alive = d.pid > 0;
            if (one == FT_EINTERRUPTED || one == FT_ENOMEM || one == FT_EDEVICE) rc = one;
            else rc = take(of, i, one == FT_OK ? &d.head : NULL, one == FT_OK ? NULL : ft_error_message());
        }
        ft_dicom_close(&d);
    }
    return rc;
}
