#include "common/io/clipstore_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <hdf5.h>
#include <jansson.h>
#include <pthread.h>
#include <sha2.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/apart.h"
#include "common/base/bounds.h"
#include "common/base/files.h"
#include "common/base/interrupt.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/names.h"
#include "common/base/status.h"

#define MOST_STRIDE 1e9
#define MOST_FPS    1e9

/* At exit HDF5 would try again to write a file that a full disk refused, and crash: files are closed here, or given up. */
static void set_up(void)
{
    H5dont_atexit();
    H5PLset_loading_state(0); /* a file names filters: no code is loaded for them */
}

void ft_store_library(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, set_up);
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
}

void ft_clipstore_library(char version[48])
{
    unsigned a, b, c;
    ft_store_library();
    H5get_libversion(&a, &b, &c);
    snprintf(version, 48, "%u.%u.%u", a, b, c);
}

hid_t ft_store_string_type(void)
{
    hid_t t = H5Tcopy(H5T_C_S1);
    if (t < 0 || (H5Tset_size(t, H5T_VARIABLE) >= 0 && H5Tset_cset(t, H5T_CSET_UTF8) >= 0)) return t;
    H5Tclose(t);
    return -1;
}

int ft_store_check_json(const char *path, const char *what, const char *text)
{
    json_t *o = json_loads(text, 0, NULL);
    bool object = json_is_object(o);
    json_decref(o);
    if (ft_json_lacked()) return FT_FAIL(FT_ENOMEM, "%s: no memory for %s", path, what);
    return object ? FT_OK : FT_FAIL(FT_EDATA, "%s: %s is not a JSON object. " FT_STORE_MAKE_AGAIN, path, what);
}

static int check_text(const char *path, const char *column, int64_t row, const char *text)
{
    char what[64];
    snprintf(what, sizeof what, "%s %lld", column, (long long)row);
    return strcmp(column, "/video/facts") ? ft_check_name(text, strlen(text), path, what)
           : *text                        ? ft_store_check_json(path, what, text)
                                          : FT_OK; /* older stores have none */
}

static bool in_range(double v, double most) { return v >= 0 && v <= most; }

int ft_store_check_video(const char *path, int64_t row, const ft_store_video *v)
{
    const struct {
        const char *column, *text;
    } part[] = {{"/video/name", v->name},   {"/video/label", v->label},   {"/video/group", v->group},
                {"/video/split", v->split}, {"/video/source", v->source}, {"/video/sha256", v->sha256},
                {"/video/facts", v->facts}};
    for (size_t i = 0; i < sizeof part / sizeof *part; i++)
        if (part[i].text) FT_TRY(check_text(path, part[i].column, row, part[i].text));
    if (v->frames >= 0 && in_range(v->fps, MOST_FPS)) return FT_OK;
    return FT_FAIL(FT_EDATA, "%s: %s has %d frames at %g a second", path, v->name ? v->name : "a video", (int)v->frames, v->fps);
}

void ft_store_free_video(ft_store_video *v)
{
    ft_free((void *)v->name);
    ft_free((void *)v->label);
    ft_free((void *)v->group);
    ft_free((void *)v->split);
    ft_free((void *)v->source);
    ft_free((void *)v->sha256);
    ft_free((void *)v->facts);
}

int ft_store_no_room(const char *path, int64_t bytes)
{
    return FT_FAIL(FT_ENOMEM, "%s: %.1f GB of clips do not fit in memory. Use a smaller --size or fewer --clips-per-video", path,
                   (double)bytes / 1e9);
}

int ft_store_wrong(const char *path, const char *what) { return FT_FAIL(FT_EDATA, "%s: %s. " FT_STORE_MAKE_AGAIN, path, what); }

int64_t ft_clip_bytes(const ft_clipstore *s) { return (int64_t)s->frames * s->size * s->size * 3; }

static void identify(ft_clipstore *s)
{
    SHA2_CTX h;
    SHA256Init(&h);
    SHA256Update(&h, s->pixels, (size_t)(s->n_clip * ft_clip_bytes(s)));
    for (int64_t i = 0; i < s->n_clip; i++) SHA256Update(&h, (const uint8_t *)&s->clip[i].video, 4);
    for (int64_t i = 0; i < s->n_video; i++) {
        const char *part[] = {s->video[i].name, s->video[i].label, s->video[i].group, s->video[i].split};
        for (int k = 0; k < 4; k++) SHA256Update(&h, (const uint8_t *)part[k], strlen(part[k]) + 1);
    }
    SHA256End(&h, s->id);
}

const size_t ft_store_text[FT_STORE_TEXTS] = {offsetof(ft_store_video, name),   offsetof(ft_store_video, label),
                                              offsetof(ft_store_video, group),  offsetof(ft_store_video, split),
                                              offsetof(ft_store_video, source), offsetof(ft_store_video, sha256),
                                              offsetof(ft_store_video, facts)};

static bool take(ft_store_channel *c, void *to, size_t n)
{
    double left = c->end - ft_now();
    int rc = left <= 0 ? FT_EBUSY : ft_apart_read(c->in, to, n, left < 3600 ? 1 + (unsigned)left : 3600);
    c->late = rc == FT_EBUSY;
    return rc == FT_OK;
}

/* 1: there; 0: the channel ended; else a status */
static int take_text(ft_store_channel *c, uint32_t n, char **text)
{
    *text = NULL;
    if (n == FT_STORE_NO_TEXT) return 1;
    if (n > 4 * c->size + 4096) return ft_store_wrong(c->path, "its texts are longer than the file"); /* room_for_text's limit */
    if (!(*text = ft_alloc((size_t)n + 1))) return FT_FAIL(FT_ENOMEM, "%s: no memory", c->path);
    return take(c, *text, n);
}

static int take_pixels(ft_store_channel *c, ft_clipstore *s)
{
    ft_store_pixels h;
    int64_t each, all = -1;
    if (s->pixels || !take(c, &h, sizeof h)) return 0;
    bool good = h.frames > 0 && h.frames <= FT_STORE_MOST_FRAMES && h.size > 0 && h.size <= FT_STORE_MOST_SIZE && h.n_clip >= 0 &&
                h.n_clip <= INT32_MAX && h.sent >= 0 && h.sent <= h.n_clip && h.sent <= c->most;
    s->n_clip = h.n_clip, s->frames = h.frames, s->size = h.size;
    each = good ? ft_clip_bytes(s) : 0;
    if (!good || !ft_mul_count(h.sent, each, &all) || all > FT_STORE_MOST_PIXELS)
        return ft_store_wrong(c->path, "/clips is not (N,F,S,S,3)");
    FT_TRY(ft_may_ask(c->path, "clips", (uint64_t)all, c->size, FT_STORE_DEFLATE));
    if (!(s->pixels = ft_alloc((size_t)all + 1))) return ft_store_no_room(c->path, all);
    c->pixels = all;
    return 1;
}

static int take_slab(ft_store_channel *c, ft_clipstore *s)
{
    int64_t bytes;
    if (!take(c, &bytes, sizeof bytes)) return 0;
    if (!s->pixels || bytes < 0 || bytes > c->pixels - c->have) return ft_store_wrong(s->path, "/clips has more than it says");
    if (!take(c, s->pixels + c->have, (size_t)bytes)) return 0;
    c->have += bytes;
    return 1;
}

static int take_videos(ft_store_channel *c, ft_clipstore *s)
{
    for (int64_t i = 0; i < s->n_video; i++) {
        ft_store_video *v = &s->video[i];
        if (!take(c, &v->frames, sizeof v->frames) || !take(c, &v->fps, sizeof v->fps)) return 0;
        for (int k = 0; k < FT_STORE_TEXTS; k++) {
            uint32_t n;
            char *text = NULL;
            if (!take(c, &n, sizeof n)) return 0;
            int rc = take_text(c, n, &text);
            memcpy((char *)v + ft_store_text[k], &text, sizeof text);
            if (rc < 1) return rc;
        }
    }
    return 1;
}

/* What may have come from anywhere: each number in its range, each text what it says it is */
static int check_store(const ft_clipstore *s)
{
    if (!in_range(s->stride, MOST_STRIDE)) return ft_store_wrong(s->path, "the attribute stride is not a number of frames");
    if (s->config) FT_TRY(ft_store_check_json(s->path, "the attribute config", s->config));
    for (int64_t i = 0; i < s->n_clip; i++) {
        const ft_store_clip *c = &s->clip[i];
        if (c->video < 0 || c->video >= s->n_video) return ft_store_wrong(s->path, "a clip points to a video that is not there");
        if (c->start < 0 || !in_range(c->stride, MOST_STRIDE))
            return ft_store_wrong(s->path, "a clip's start or stride is no frame");
    }
    for (int64_t i = 0; i < s->n_video; i++) FT_TRY(ft_store_check_video(s->path, i, &s->video[i]));
    return 1;
}

int ft_store_take(ft_store_channel *c, ft_clipstore *s)
{
    ft_store_verdict v;
    char tag = 0;
    for (int rc; take(c, &tag, 1) && (tag == 'P' || tag == 'S');)
        if ((rc = tag == 'P' ? take_pixels(c, s) : take_slab(c, s)) < 1) return rc;
    if (tag != 'V' || !take(c, &v, sizeof v)) return 0;
    v.text[sizeof v.text - 1] = 0;
    if (v.rc < 0) return FT_FAIL(v.rc, "%s", v.text);
    if (!s->pixels || c->have != c->pixels || v.n_video < 0 || v.n_video > INT32_MAX)
        return ft_store_wrong(s->path, "its parts do not fit together");
    s->stride = v.stride, s->n_video = v.n_video;
    FT_TRY(ft_may_ask(c->path, "rows", (uint64_t)s->n_clip * sizeof *s->clip + (uint64_t)s->n_video * sizeof *s->video, c->size,
                      FT_STORE_DEFLATE));
    int rc = take_text(c, v.config, &s->config);
    if (rc < 1) return rc;
    s->clip = ft_alloc_n(s->n_clip + 1, sizeof *s->clip);
    s->video = ft_alloc_n(s->n_video + 1, sizeof *s->video);
    if (!s->clip || !s->video) return FT_FAIL(FT_ENOMEM, "%s: no memory", s->path);
    if (!take(c, s->clip, (size_t)s->n_clip * sizeof *s->clip)) return 0;
    rc = take_videos(c, s);
    return rc < 1 ? rc : check_store(s);
}

static int ended_early(const ft_store_channel *c, int status, unsigned seconds)
{
    if (ft_interrupted) return FT_FAIL(FT_EINTERRUPTED, "%s: interrupted while it was read", c->path);
    if (c->late || (WIFSIGNALED(status) && WTERMSIG(status) == SIGXCPU))
        return FT_FAIL(FT_EDATA, "%s: libhdf5 does not come to an end with it in %u s. It is damaged: make it again", c->path,
                       seconds);
    return FT_FAIL(FT_EDATA, "%s: libhdf5 ends with %s %d on it. It is damaged: make it again", c->path,
                   WIFSIGNALED(status) ? "signal" : "exit code", WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

static int read_file(ft_clipstore *s, const char *path, int64_t most)
{
    struct stat st;
    int ends[2], status = 0;
    memset(s, 0, sizeof *s);
    ft_store_library();
    FT_TRY(ft_is_file(path));
    if (stat(path, &st) != 0) return FT_FAIL(FT_EIO, "%s: cannot be read (%s)", path, strerror(errno));
    if (!(s->path = ft_strdup(path))) return FT_FAIL(FT_ENOMEM, "%s: no memory", path);
    if (pipe2(ends, O_CLOEXEC) != 0) {
        ft_clipstore_free(s);
        return FT_FAIL(FT_EIO, "%s: no pipe (%s)", path, strerror(errno));
    }
    uint64_t size = (uint64_t)st.st_size;
    unsigned computing = 1 + (unsigned)(size >> 22), waiting = 60 + (unsigned)(size >> 20); /* a file server may be slow */
    ft_store_channel c = {.path = path, .size = size, .most = most, .in = ends[0], .end = ft_now() + waiting};
    fcntl(ends[0], F_SETPIPE_SZ, 1 << 20);
    pid_t pid = fork();
    if (pid == 0) ft_store_child(path, size, most, ends[1], computing);
    int rc = pid < 0 ? FT_FAIL(FT_ENOMEM, "%s: no process to read it in (%s). Close other programs", path, strerror(errno)) : 0;
    close(ends[1]);
    if (pid > 0) {
        rc = ft_store_take(&c, s);
        status = ft_apart_end(pid, rc != 1); /* late, or it sends what cannot be; one that has ended keeps its status */
        if (rc == 0) rc = ended_early(&c, status, c.late ? waiting : computing);
    }
    close(ends[0]);
    if (rc < 0) ft_clipstore_free(s);
    return rc < 0 ? rc : FT_OK;
}

int ft_clipstore_read(ft_clipstore *s, const char *path)
{
    FT_TRY(read_file(s, path, INT64_MAX));
    identify(s);
    return FT_OK;
}

int ft_clipstore_head(ft_clipstore *s, const char *path, int64_t most)
{
    FT_TRY(read_file(s, path, most));
    if (s->n_clip > most) s->n_clip = most;
    return FT_OK;
}

void ft_clipstore_free(ft_clipstore *s)
{
    for (int64_t i = 0; s->video && i < s->n_video; i++) ft_store_free_video(&s->video[i]);
    ft_free(s->video);
    ft_free(s->clip);
    ft_free(s->pixels);
    ft_free(s->path);
    ft_free(s->config);
    memset(s, 0, sizeof *s);
}
