#include "common/io/clipstore.h"

#include <errno.h>
#include <fcntl.h>
#include <hdf5.h>
#include <jansson.h>
#include <pthread.h>
#include <sha2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/apart.h"
#include "common/base/bounds.h"
#include "common/base/files.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/names.h"
#include "common/base/status.h"

enum { MOST_FRAMES = 4096, MOST_SIZE = 8192, SLAB = 64 << 20 };
static const double MOST_STRIDE = 1e9, MOST_FPS = 1e9;

/* First of all calls. At exit HDF5 would try again to write a file that a full disk refused, and crash: files are closed here, or
 * given up. Errors come out as our messages. */
static void quiet(void)
{
    static bool once;
    if (!once) H5dont_atexit();
    if (!once) H5PLset_loading_state(0); /* a file names filters: no code is loaded for them */
    once = true;
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
}

void ft_clipstore_library(char version[48])
{
    unsigned a, b, c;
    quiet();
    H5get_libversion(&a, &b, &c);
    snprintf(version, 48, "%u.%u.%u", a, b, c);
}

static hid_t string_type(void)
{
    hid_t t = H5Tcopy(H5T_C_S1);
    if (t < 0 || (H5Tset_size(t, H5T_VARIABLE) >= 0 && H5Tset_cset(t, H5T_CSET_UTF8) >= 0)) return t;
    H5Tclose(t);
    return -1;
}

#define MAKE_AGAIN "It is damaged, cut off, or no clip store: make it again with forty ingest"

static bool in_range(double v, double most) { return v >= 0 && v <= most; }

static int check_json(const char *path, const char *what, const char *text)
{
    json_t *o = json_loads(text, 0, NULL);
    bool object = json_is_object(o);
    json_decref(o);
    if (ft_json_lacked()) return FT_FAIL(FT_ENOMEM, "%s: no memory for %s", path, what);
    return object ? FT_OK : FT_FAIL(FT_EDATA, "%s: %s is not a JSON object. " MAKE_AGAIN, path, what);
}

static int check_text(const char *path, const char *column, int64_t row, const char *text)
{
    char what[64];
    snprintf(what, sizeof what, "%s %lld", column, (long long)row);
    return strcmp(column, "/video/facts") ? ft_check_name(text, strlen(text), path, what)
           : *text                        ? check_json(path, what, text)
                                          : FT_OK; /* older stores have none */
}

/* Stores that this process wrote, or has checked: as they are now */
static struct {
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec changed;
    int64_t most;
} trusted[64];
static int n_trusted;
static pthread_mutex_t trusted_lock = PTHREAD_MUTEX_INITIALIZER;

static bool is_trusted(const struct stat *st, int64_t most)
{
    bool found = false;
    pthread_mutex_lock(&trusted_lock);
    for (int i = 0; i < 64 && i < n_trusted; i++)
        found |= trusted[i].device == st->st_dev && trusted[i].inode == st->st_ino && trusted[i].size == st->st_size &&
                 trusted[i].changed.tv_sec == st->st_mtim.tv_sec && trusted[i].changed.tv_nsec == st->st_mtim.tv_nsec &&
                 trusted[i].most >= most;
    pthread_mutex_unlock(&trusted_lock);
    return found;
}

static void trust(const struct stat *st, int64_t most)
{
    pthread_mutex_lock(&trusted_lock);
    int i = n_trusted++ % 64;
    if (n_trusted == 128) n_trusted = 64;
    trusted[i].device = st->st_dev, trusted[i].inode = st->st_ino, trusted[i].size = st->st_size;
    trusted[i].changed = st->st_mtim, trusted[i].most = most;
    pthread_mutex_unlock(&trusted_lock);
}

/* ---- writing ---------------------------------------------------------------------------------------------------------- */

struct ft_clipwriter {
    ft_atomic file;
    hid_t h5, clips;
    ft_clipwriter_opt opt;
    char *config;
    ft_store_video *video;
    ft_store_clip *clip;
    int64_t n_video, n_clip;
};

static void free_video(ft_store_video *v)
{
    ft_free((void *)v->name);
    ft_free((void *)v->label);
    ft_free((void *)v->group);
    ft_free((void *)v->split);
    ft_free((void *)v->source);
    ft_free((void *)v->sha256);
    ft_free((void *)v->facts);
}

static void free_writer(ft_clipwriter *w)
{
    for (int64_t i = 0; i < w->n_video; i++) free_video(&w->video[i]);
    ft_free(w->video);
    ft_free(w->clip);
    ft_free(w->config);
    ft_free(w);
}

static int write_failed(const ft_clipwriter *w)
{
    return FT_FAIL(FT_EIO, "%s: cannot be written. Is the disk full?", w->file.final);
}

static int make_clips(ft_clipwriter *w)
{
    hsize_t f = (hsize_t)w->opt.frames, s = (hsize_t)w->opt.size, dim[5] = {0, f, s, s, 3}, most[5] = {H5S_UNLIMITED, f, s, s, 3},
            chunk[5] = {1, f, s, s, 3};
    hid_t access = H5Pcreate(H5P_FILE_ACCESS), space = H5Screate_simple(5, dim, most), plist = H5Pcreate(H5P_DATASET_CREATE);
    bool good = access >= 0 && space >= 0 && plist >= 0 && H5Pset_chunk(plist, 5, chunk) >= 0 &&
                H5Pset_obj_track_times(plist, false) >= 0; /* the same clips, the same bytes */
    if (good && w->opt.gzip) good = H5Pset_deflate(plist, 1) >= 0;
#if H5_VERSION_GE(1, 10, 7)
    if (good) good = H5Pset_file_locking(access, false, true) >= 0; /* the file is locked already (ft_atomic) */
#endif
    if (good) w->h5 = H5Fcreate(w->file.temp, H5F_ACC_TRUNC, H5P_DEFAULT, access);
    if (w->h5 >= 0) w->clips = H5Dcreate2(w->h5, "clips", H5T_NATIVE_UINT8, space, H5P_DEFAULT, plist, H5P_DEFAULT);
    if (space >= 0) H5Sclose(space);
    if (plist >= 0) H5Pclose(plist);
    if (access >= 0) H5Pclose(access);
    return w->clips < 0 ? write_failed(w) : FT_OK;
}

int ft_clipwriter_open(ft_clipwriter **out, const char *path, const ft_clipwriter_opt *opt)
{
    quiet();
    *out = NULL;
    ft_clipstore shape = {.frames = opt->frames, .size = opt->size};
    if (opt->frames < 1 || opt->frames > MOST_FRAMES || opt->size < 1 || opt->size > MOST_SIZE ||
        ft_clip_bytes(&shape) > UINT32_MAX) /* a chunk's limit */
        return FT_FAIL(FT_ECONFIG, "%s: a clip of %d frames of %d pixels does not fit: at most %d frames, %d pixels, 4 GB", path,
                       opt->frames, opt->size, MOST_FRAMES, MOST_SIZE);
    ft_clipwriter *w = ft_alloc(sizeof *w);
    if (!w) return FT_FAIL(FT_ENOMEM, "%s: no memory", path);
    w->opt = *opt;
    w->h5 = w->clips = -1;
    w->file.fd = -1;
    w->config = ft_strdup(opt->config ? opt->config : "{}");
    int rc = w->config ? check_json(path, "its config", w->config) : FT_FAIL(FT_ENOMEM, "%s: no memory", path);
    if (rc == FT_OK) rc = ft_atomic_begin_named(&w->file, path);
    if (rc == FT_OK) rc = make_clips(w);
    if (rc < 0) ft_clipwriter_abort(w);
    else *out = w;
    return rc;
}

static int check_video(const char *path, int64_t row, const ft_store_video *v)
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

int ft_clipwriter_video(ft_clipwriter *w, const ft_store_video *v)
{
    if (w->n_video == INT32_MAX) return FT_FAIL(FT_EDATA, "%s: over 2147483647 videos", w->file.final);
    FT_TRY(check_video(w->file.final, w->n_video, v));
    FT_TRY(ft_grow(&w->video, (size_t)w->n_video, sizeof *w->video));
#define COPY(s) ft_strdup((s) ? (s) : "")
    ft_store_video *e = &w->video[w->n_video];
    *e = (ft_store_video){COPY(v->name),   COPY(v->label), COPY(v->group), COPY(v->split), COPY(v->source),
                          COPY(v->sha256), v->frames,      v->fps,         COPY(v->facts)};
    w->n_video++;
    if (!e->name || !e->label || !e->group || !e->split || !e->source || !e->sha256 || !e->facts)
        return FT_FAIL(FT_ENOMEM, "%s: no memory", w->file.final);
    return (int)w->n_video - 1;
}

int ft_clipwriter_clip(ft_clipwriter *w, int video, int start, double stride, const uint8_t *rgb)
{
    if (w->n_clip == INT32_MAX) return FT_FAIL(FT_EDATA, "%s: over 2147483647 clips", w->file.final);
    FT_TRY(ft_grow(&w->clip, (size_t)w->n_clip, sizeof *w->clip));
    hsize_t f = (hsize_t)w->opt.frames, s = (hsize_t)w->opt.size, dim[5] = {(hsize_t)w->n_clip + 1, f, s, s, 3};
    hsize_t at[5] = {(hsize_t)w->n_clip, 0, 0, 0, 0}, one[5] = {1, f, s, s, 3};
    if (H5Dset_extent(w->clips, dim) < 0) return write_failed(w);
    hid_t all = H5Dget_space(w->clips), mem = H5Screate_simple(5, one, NULL);
    bool good = all >= 0 && mem >= 0 && H5Sselect_hyperslab(all, H5S_SELECT_SET, at, NULL, one, NULL) >= 0 &&
                H5Dwrite(w->clips, H5T_NATIVE_UINT8, mem, all, H5P_DEFAULT, rgb) >= 0;
    if (all >= 0) H5Sclose(all);
    if (mem >= 0) H5Sclose(mem);
    if (!good) return write_failed(w);
    w->clip[w->n_clip++] = (ft_store_clip){video, start, stride};
    return FT_OK;
}

static herr_t put(hid_t h5, const char *name, hid_t type, int64_t n, const void *data)
{
    hsize_t dim = (hsize_t)n;
    hid_t space = H5Screate_simple(1, &dim, NULL), how = H5Pcreate(H5P_DATASET_CREATE);
    bool good = space >= 0 && how >= 0 && H5Pset_obj_track_times(how, false) >= 0;
    hid_t set = good ? H5Dcreate2(h5, name, type, space, H5P_DEFAULT, how, H5P_DEFAULT) : -1;
    herr_t rc = set < 0 ? -1 : n == 0 ? 0 : H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data);
    if (set >= 0 && H5Dclose(set) < 0) rc = -1;
    if (how >= 0) H5Pclose(how);
    if (space >= 0) H5Sclose(space);
    return rc;
}

static herr_t put_attr(hid_t h5, const char *name, hid_t type, const void *data)
{
    hid_t space = H5Screate(H5S_SCALAR), a = space < 0 ? -1 : H5Acreate2(h5, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    herr_t rc = a < 0 ? -1 : H5Awrite(a, type, data);
    if (a >= 0 && H5Aclose(a) < 0) rc = -1;
    if (space >= 0) H5Sclose(space);
    return rc;
}

static int finish(ft_clipwriter *w)
{
    void *column = ft_alloc_n((w->n_video > w->n_clip ? w->n_video : w->n_clip) + 1, 8);
    if (!column) return FT_FAIL(FT_ENOMEM, "%s: no memory", w->file.final);
    int32_t *i32 = column;
    double *f64 = column;
    const char **str = column;
    hid_t text = string_type(), g1 = H5Gcreate2(w->h5, "clip", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
          g2 = H5Gcreate2(w->h5, "video", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    herr_t bad = text < 0 || g1 < 0 || g2 < 0 ? -1 : 0;
#define COLUMN(array, name, type, n, expr)                                                                                       \
    for (int64_t i = 0; i < (n); i++) (array)[i] = (expr);                                                                       \
    if (put(w->h5, name, type, n, column) < 0) bad = -1
    COLUMN(i32, "clip/video", H5T_NATIVE_INT32, w->n_clip, w->clip[i].video);
    COLUMN(i32, "clip/start", H5T_NATIVE_INT32, w->n_clip, w->clip[i].start);
    COLUMN(f64, "clip/stride", H5T_NATIVE_DOUBLE, w->n_clip, w->clip[i].stride);
    COLUMN(str, "video/name", text, w->n_video, w->video[i].name);
    COLUMN(str, "video/label", text, w->n_video, w->video[i].label);
    COLUMN(str, "video/group", text, w->n_video, w->video[i].group);
    COLUMN(str, "video/split", text, w->n_video, w->video[i].split);
    COLUMN(str, "video/source", text, w->n_video, w->video[i].source);
    COLUMN(str, "video/sha256", text, w->n_video, w->video[i].sha256);
    COLUMN(str, "video/facts", text, w->n_video, w->video[i].facts);
    COLUMN(i32, "video/frames", H5T_NATIVE_INT32, w->n_video, w->video[i].frames);
    COLUMN(f64, "video/fps", H5T_NATIVE_DOUBLE, w->n_video, w->video[i].fps);
    const char *format = "forty-clips", *by = "forty " FT_VERSION, *config = w->config;
    int32_t version = 1, frames = w->opt.frames, size = w->opt.size;
    if (put_attr(w->h5, "format", text, &format) < 0 || put_attr(w->h5, "created_by", text, &by) < 0 ||
        put_attr(w->h5, "config", text, &config) < 0 || put_attr(w->h5, "version", H5T_NATIVE_INT32, &version) < 0 ||
        put_attr(w->h5, "frames", H5T_NATIVE_INT32, &frames) < 0 || put_attr(w->h5, "size", H5T_NATIVE_INT32, &size) < 0 ||
        put_attr(w->h5, "stride", H5T_NATIVE_DOUBLE, &w->opt.stride) < 0)
        bad = -1;
    if (text >= 0) H5Tclose(text);
    if (g1 >= 0 && H5Gclose(g1) < 0) bad = -1;
    if (g2 >= 0 && H5Gclose(g2) < 0) bad = -1;
    ft_free(column);
    if (H5Dclose(w->clips) < 0) bad = -1;
    w->clips = -1;
    if (H5Fflush(w->h5, H5F_SCOPE_GLOBAL) < 0) bad = -1;
    if (H5Fclose(w->h5) < 0) bad = -1;
    w->h5 = -1;
    if (bad < 0) return write_failed(w);
    FT_TRY(ft_atomic_commit(&w->file));
    struct stat st;
    if (stat(w->file.final, &st) == 0) trust(&st, INT64_MAX);
    return FT_OK;
}

int ft_clipwriter_finish(ft_clipwriter *w)
{
    int rc = finish(w);
    if (rc < 0) ft_clipwriter_abort(w);
    else free_writer(w);
    return rc;
}

void ft_clipwriter_abort(ft_clipwriter *w)
{
    if (!w) return;
    if (w->clips >= 0) H5Dclose(w->clips);
    if (w->h5 >= 0) H5Fclose(w->h5);
    ft_atomic_abort(&w->file);
    free_writer(w);
}

/* ---- reading ---------------------------------------------------------------------------------------------------------- */

/* A file of a stranger: nothing in it is taken before its class, extent, layout and size are looked at. */
typedef struct {
    const char *path;
    hid_t h5;
    uint64_t size;     /* of the file */
    int64_t most;      /* clips whose pixels are read */
    bool apart;        /* in a process of its own, that keeps no pixels */
    uint64_t text;     /* bytes of strings so far */
    ft_arena *strings; /* of the column being read */
    char *free_text;
    size_t free_bytes;
    int rc; /* why a string found no room */
} reader;

static int wrong(const char *path, const char *what) { return FT_FAIL(FT_EDATA, "%s: %s. " MAKE_AGAIN, path, what); }

static int wrong_set(const reader *r, const char *name, const char *what)
{
    return FT_FAIL(FT_EDATA, "%s: /%s %s. " MAKE_AGAIN, r->path, name, what);
}

static hid_t memory_string(hid_t in_file)
{
    hid_t t = string_type();
    if (t >= 0) H5Tset_cset(t, H5Tget_cset(in_file)); /* HDF5 does not convert ASCII to UTF-8, though it is */
    return t;
}

/* A root attribute, one value of `class`, as `memory` (-1: a string of variable length, to be freed with H5free_memory).
 * 1: read, 0: it is not there. */
static int attribute(const reader *r, const char *name, H5T_class_t class, hid_t memory, void *out)
{
    htri_t there = H5Aexists(r->h5, name);
    if (there == 0) return 0;
    hid_t a = there < 0 ? -1 : H5Aopen(r->h5, name, H5P_DEFAULT), space = a < 0 ? -1 : H5Aget_space(a),
          type = a < 0 ? -1 : H5Aget_type(a), text = -1;
    bool good = space >= 0 && type >= 0 && H5Sget_simple_extent_npoints(space) == 1 && H5Tget_class(type) == class;
    if (good && class == H5T_STRING) good = H5Tis_variable_str(type) > 0 && (memory = text = memory_string(type)) >= 0;
    else if (good) good = H5Tget_size(type) <= 8;
    int rc = !good                         ? FT_FAIL(FT_EDATA, "%s: the attribute %s is not one %s. " MAKE_AGAIN, r->path, name,
                             class == H5T_STRING ? "string of variable length" : "number")
             : H5Aread(a, memory, out) < 0 ? FT_FAIL(FT_EDATA, "%s: the attribute %s cannot be read. " MAKE_AGAIN, r->path, name)
                                           : 1;
    if (text >= 0) H5Tclose(text);
    if (type >= 0) H5Tclose(type);
    if (space >= 0) H5Sclose(space);
    if (a >= 0) H5Aclose(a);
    return rc;
}

typedef struct {
    hid_t set, space, type;
    hsize_t dim[5];
    uint64_t held;  /* bytes that the file holds for it */
    unsigned ratio; /* what one of them may become */
} dataset;

static void close_set(dataset *d)
{
    if (d->type >= 0) H5Tclose(d->type);
    if (d->space >= 0) H5Sclose(d->space);
    if (d->set >= 0) H5Dclose(d->set);
}

/* Every link on the way is looked at before it is followed: others lead to other files. */
static int follow(const reader *r, const char *name, hid_t *set)
{
    char part[64];
    for (const char *slash = name; slash;) {
        H5L_info_t info;
        slash = strchr(slash + (slash > name), '/');
        snprintf(part, sizeof part, "%.*s", (int)(slash ? slash - name : (long)strlen(name)), name);
        if (H5Lexists(r->h5, part, H5P_DEFAULT) <= 0) return wrong_set(r, part, "is missing");
        if (H5Lget_info(r->h5, part, &info, H5P_DEFAULT) < 0 || info.type != H5L_TYPE_HARD)
            return wrong_set(r, part, "is a link to elsewhere; a clip store is one file");
    }
    *set = H5Dopen2(r->h5, name, H5P_DEFAULT);
    return *set < 0 ? wrong_set(r, name, "cannot be opened") : FT_OK;
}

/* One deflate at most, so that what a byte may become is known; nothing that needs a plugin. */
static int filters(const reader *r, const char *name, hid_t plist, unsigned *ratio)
{
    int n = H5Pget_nfilters(plist);
    *ratio = 1;
    for (int i = 0; i < n; i++) {
        unsigned flags, config;
        size_t values = 0;
        H5Z_filter_t f = H5Pget_filter2(plist, (unsigned)i, &flags, &values, NULL, 0, NULL, &config);
        if (f != H5Z_FILTER_SHUFFLE && f != H5Z_FILTER_FLETCHER32 && (f != H5Z_FILTER_DEFLATE || *ratio > 1))
            return wrong_set(r, name, "is compressed in a way that is not read (gzip is)");
        if (f == H5Z_FILTER_DEFLATE) *ratio = 1032; /* deflate's limit */
    }
    return n < 0 ? wrong_set(r, name, "cannot be read") : FT_OK;
}

/* Everything that the extent promises must be there: HDF5 gives 0 for what was never written. */
static int complete(const reader *r, const char *name, const dataset *d, hid_t plist, int rank)
{
    uint64_t element = H5Tget_size(d->type), all = element, chunk_bytes = element, chunks = 1;
    hsize_t chunk[5], have = 0;
    bool in_chunks = H5Pget_layout(plist) == H5D_CHUNKED;
    if (in_chunks && H5Pget_chunk(plist, rank, chunk) != rank) return wrong_set(r, name, "cannot be read");
    for (int i = 0; i < rank; i++) {
        if (!ft_mul_size(all, d->dim[i], &all)) return wrong_set(r, name, "has dimensions beyond all memory");
        if (in_chunks && (chunk[i] == 0 || !ft_mul_size(chunk_bytes, chunk[i], &chunk_bytes)))
            return wrong_set(r, name, "has chunks of no size");
        if (in_chunks) chunks *= d->dim[i] / chunk[i] + (d->dim[i] % chunk[i] != 0);
    }
    if (!in_chunks && all > d->held) return wrong_set(r, name, "was never written, or not to its end");
    if (!in_chunks || all == 0) return FT_OK;
    FT_TRY(ft_may_ask(r->path, "one chunk", chunk_bytes, d->held, d->ratio));
    if (H5Dget_num_chunks(d->set, d->space, &have) < 0) return wrong_set(r, name, "cannot be read");
    return have < chunks ? wrong_set(r, name, "was never written, or not to its end") : FT_OK;
}

static int look_at(const reader *r, const char *name, H5T_class_t class, int rank, dataset *d)
{
    FT_TRY(follow(r, name, &d->set));
    hid_t plist = H5Dget_create_plist(d->set);
    int rc = FT_OK;
    if (plist < 0) return wrong_set(r, name, "cannot be read");
    H5D_layout_t layout = H5Pget_layout(plist);
    if (layout == H5D_VIRTUAL || layout < 0 || H5Pget_external_count(plist) != 0)
        rc = wrong_set(r, name, "lies in other files; a clip store is one file");
    if (rc == FT_OK) rc = filters(r, name, plist, &d->ratio);
    if (rc == FT_OK) {
        d->type = H5Dget_type(d->set);
        d->space = H5Dget_space(d->set);
        bool number = class != H5T_STRING;
        H5T_class_t is = d->type < 0 ? H5T_NO_CLASS : H5Tget_class(d->type);
        if ((is != class && !(class == H5T_FLOAT && is == H5T_INTEGER)) || (number && H5Tget_size(d->type) > 8) ||
            (!number && H5Tis_variable_str(d->type) <= 0))
            rc = wrong_set(r, name, "holds values of the wrong type");
        else if (d->space < 0 || H5Sget_simple_extent_type(d->space) != H5S_SIMPLE ||
                 H5Sget_simple_extent_ndims(d->space) != rank || H5Sget_simple_extent_dims(d->space, d->dim, NULL) < 0)
            rc = wrong_set(r, name, rank == 5 ? "is not (N,F,S,S,3)" : "is not one column");
        else if (d->dim[0] > INT32_MAX) rc = wrong_set(r, name, "has over 2147483647 entries");
    }
    if (rc == FT_OK) {
        d->held = H5Dget_storage_size(d->set);
        if (d->held > r->size) d->held = r->size;
        rc = complete(r, name, d, plist, rank);
    }
    H5Pclose(plist);
    return rc;
}

static int open_set(const reader *r, const char *name, H5T_class_t class, int rank, dataset *d)
{
    *d = (dataset){.set = -1, .space = -1, .type = -1};
    int rc = look_at(r, name, class, rank, d);
    if (rc < 0) close_set(d);
    return rc;
}

/* HDF5's memory for the strings of a column: many references to one long string ask for more than the file can hold. */
static void *room_for_text(size_t size, void *info)
{
    enum { BLOCK = 1 << 20, COPY = 64 }; /* COPY: what a row's own one takes besides */
    reader *r = info;
    r->text += size + COPY;
    if (r->rc == FT_OK) r->rc = ft_may_ask(r->path, "strings", r->text, r->size, 4);
    if (r->rc < 0) return NULL;
    if (size > r->free_bytes) {
        r->free_bytes = size > BLOCK ? size : BLOCK;
        r->free_text = ft_arena_alloc(r->strings, r->free_bytes);
        if (!r->free_text) {
            r->free_bytes = 0;
            r->rc = FT_FAIL(FT_ENOMEM, "%s: no memory for strings", r->path);
            return NULL;
        }
    }
    char *p = r->free_text;
    r->free_text += size, r->free_bytes -= size;
    return p;
}

static void leave_text(void *p, void *info) { (void)p, (void)info; } /* the arena goes as a whole */

/* A whole column of n entries (n < 0: any) in fresh memory. `memory` -1: strings, that stay until the next column. */
static int column(reader *r, const char *name, H5T_class_t class, hid_t memory, size_t size, int64_t *n, void *out)
{
    dataset d;
    void *p = NULL;
    FT_TRY(open_set(r, name, class, 1, &d));
    int64_t have = (int64_t)d.dim[0];
    hid_t text = class == H5T_STRING ? memory_string(d.type) : -1, how = H5Pcreate(H5P_DATASET_XFER);
    int rc = ft_may_ask(r->path, name, (uint64_t)have * H5Tget_size(d.type), d.held, d.ratio);
    if (rc == FT_OK && *n >= 0 && have != *n)
        rc = FT_FAIL(FT_EDATA, "%s: /%s has %lld entries, %lld expected. Make the store again", r->path, name, (long long)have,
                     (long long)*n);
    if (rc == FT_OK && (how < 0 || !(p = ft_alloc_n(have + 1, size)) ||
                        (class == H5T_STRING && (text < 0 || H5Pset_vlen_mem_manager(how, room_for_text, r, leave_text, r) < 0))))
        rc = FT_FAIL(FT_ENOMEM, "%s: no memory for /%s", r->path, name);
    r->rc = FT_OK;
    if (rc == FT_OK && have > 0 && H5Dread(d.set, text < 0 ? memory : text, H5S_ALL, H5S_ALL, how, p) < 0)
        rc = r->rc < 0 ? r->rc : wrong_set(r, name, "cannot be read");
    if (rc < 0) ft_free(p), p = NULL;
    if (text >= 0) H5Tclose(text);
    if (how >= 0) H5Pclose(how);
    close_set(&d);
    *n = have;
    *(void **)out = p;
    return rc;
}

/* Strings, copied one by one into a field of the video rows. */
static int strings(ft_clipstore *s, reader *r, const char *name, size_t field)
{
    char **v = NULL, shown[64];
    snprintf(shown, sizeof shown, "/%s", name);
    r->free_bytes = 0;
    if (!(r->strings = ft_arena_new())) return FT_FAIL(FT_ENOMEM, "%s: no memory for /%s", s->path, name);
    int rc = column(r, name, H5T_STRING, -1, sizeof *v, &s->n_video, &v);
    for (int64_t i = 0; rc == FT_OK && i < s->n_video; i++) {
        char *copy = ft_strdup(v[i] ? v[i] : "");
        memcpy((char *)&s->video[i] + field, &copy, sizeof copy);
        rc = copy ? check_text(s->path, shown, i, copy) : FT_FAIL(FT_ENOMEM, "%s: no memory for /%s", s->path, name);
    }
    ft_free(v);
    ft_arena_free(r->strings);
    return rc;
}

/* The pixels of the first r->most clips. Apart from everything they are read into the same room again and again. */
static int read_pixels(ft_clipstore *s, const reader *r)
{
    dataset d;
    FT_TRY(open_set(r, "clips", H5T_INTEGER, 5, &d));
    int rc = FT_OK;
    if (d.dim[2] != d.dim[3] || d.dim[4] != 3 || d.dim[1] < 1 || d.dim[1] > MOST_FRAMES || d.dim[2] < 1 || d.dim[2] > MOST_SIZE)
        rc = wrong_set(r, "clips", "is not (N,F,S,S,3)");
    else if (H5Tget_size(d.type) != 1 || H5Tget_sign(d.type) != H5T_SGN_NONE)
        rc = wrong_set(r, "clips", "is not of bytes from 0 to 255");
    int64_t each = 0, n = (int64_t)d.dim[0] < r->most ? (int64_t)d.dim[0] : r->most, all = 0, slab = 1;
    if (rc == FT_OK) {
        s->n_clip = (int64_t)d.dim[0], s->frames = (int)d.dim[1], s->size = (int)d.dim[2];
        each = ft_clip_bytes(s);
        if (!ft_mul_count(n, each, &all)) all = INT64_MAX;
        rc = ft_may_ask(r->path, "clips", (uint64_t)all, d.held, d.ratio);
    }
    if (rc == FT_OK) {
        slab = each < SLAB ? SLAB / each : 1;
        if (slab > n) slab = n;
        if (r->apart) ft_apart_memory(2 * r->size + 3 * (uint64_t)(slab * each));
        if (all > 16000000000 || !(s->pixels = ft_alloc_n(r->apart ? slab : n, (size_t)each)))
            rc = FT_FAIL(FT_ENOMEM, "%s: %.1f GB of clips do not fit in memory. Use a smaller --size or fewer --clips-per-video",
                         s->path, (double)all / 1e9);
    }
    for (int64_t i = 0; rc == FT_OK && i < n; i += slab) {
        hsize_t from[5] = {(hsize_t)i}, part[5] = {(hsize_t)(slab < n - i ? slab : n - i), d.dim[1], d.dim[2], d.dim[3], 3};
        hid_t memory = H5Screate_simple(5, part, NULL);
        if (memory < 0 || H5Sselect_hyperslab(d.space, H5S_SELECT_SET, from, NULL, part, NULL) < 0 ||
            H5Dread(d.set, H5T_NATIVE_UINT8, memory, d.space, H5P_DEFAULT, s->pixels + (r->apart ? 0 : i * each)) < 0)
            rc = wrong_set(r, "clips", "cannot be read");
        if (memory >= 0) H5Sclose(memory);
    }
    close_set(&d);
    return rc;
}

static int read_attributes(ft_clipstore *s, const reader *r)
{
    char *format = NULL, *config = NULL;
    int rc = attribute(r, "format", H5T_STRING, -1, &format);
    bool ours = rc == 1 && format && !strcmp(format, "forty-clips");
    if (format) H5free_memory(format);
    FT_TRY(rc);
    if (!ours) return wrong(s->path, "the attribute format is not forty-clips");
    FT_TRY(attribute(r, "stride", H5T_FLOAT, H5T_NATIVE_DOUBLE, &s->stride));
    if (!in_range(s->stride, MOST_STRIDE)) return wrong(s->path, "the attribute stride is not a number of frames");
    FT_TRY(attribute(r, "config", H5T_STRING, -1, &config));
    if (!config) return FT_OK;
    s->config = ft_strdup(config);
    H5free_memory(config);
    return s->config ? check_json(s->path, "the attribute config", s->config) : FT_FAIL(FT_ENOMEM, "%s: no memory", s->path);
}

/* The clips' and videos' numbers, each in its range, into their rows */
static int read_numbers(ft_clipstore *s, reader *r)
{
    int32_t *video = NULL, *start = NULL, *frames = NULL;
    double *stride = NULL, *fps = NULL;
    s->n_video = -1;
    int rc = column(r, "clip/video", H5T_INTEGER, H5T_NATIVE_INT32, 4, &s->n_clip, &video);
    if (rc == FT_OK) rc = column(r, "clip/start", H5T_INTEGER, H5T_NATIVE_INT32, 4, &s->n_clip, &start);
    if (rc == FT_OK) rc = column(r, "clip/stride", H5T_FLOAT, H5T_NATIVE_DOUBLE, 8, &s->n_clip, &stride);
    if (rc == FT_OK) rc = column(r, "video/frames", H5T_INTEGER, H5T_NATIVE_INT32, 4, &s->n_video, &frames);
    if (rc == FT_OK) rc = column(r, "video/fps", H5T_FLOAT, H5T_NATIVE_DOUBLE, 8, &s->n_video, &fps);
    if (rc == FT_OK &&
        (!(s->clip = ft_alloc_n(s->n_clip + 1, sizeof *s->clip)) || !(s->video = ft_alloc_n(s->n_video + 1, sizeof *s->video))))
        rc = FT_FAIL(FT_ENOMEM, "%s: no memory", s->path);
    for (int64_t i = 0; rc == FT_OK && i < s->n_clip; i++) {
        s->clip[i] = (ft_store_clip){video[i], start[i], stride[i]};
        if (video[i] < 0 || video[i] >= s->n_video) rc = wrong(s->path, "a clip points to a video that is not there");
        else if (start[i] < 0 || !in_range(stride[i], MOST_STRIDE)) rc = wrong(s->path, "a clip's start or stride is no frame");
    }
    for (int64_t i = 0; rc == FT_OK && i < s->n_video; i++) {
        s->video[i].frames = frames[i], s->video[i].fps = fps[i];
        if (frames[i] < 0 || !in_range(fps[i], MOST_FPS)) rc = wrong(s->path, "a video's frames or fps is out of range");
    }
    ft_free(video);
    ft_free(start);
    ft_free(stride);
    ft_free(frames);
    ft_free(fps);
    return rc;
}

static int read_all(ft_clipstore *s, reader *r)
{
    FT_TRY(read_attributes(s, r));
    FT_TRY(read_pixels(s, r));
    FT_TRY(read_numbers(s, r));
#define STRINGS(name) FT_TRY(strings(s, r, "video/" #name, offsetof(ft_store_video, name)))
    STRINGS(name);
    STRINGS(label);
    STRINGS(group);
    STRINGS(split);
    STRINGS(source);
    STRINGS(sha256);
    if (H5Lexists(r->h5, "video/facts", H5P_DEFAULT) > 0) STRINGS(facts);
    return FT_OK;
}

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

static int read_here(ft_clipstore *s, reader *r)
{
    memset(s, 0, sizeof *s);
    if (!(s->path = ft_strdup(r->path))) return FT_FAIL(FT_ENOMEM, "%s: no memory", r->path);
    r->h5 = H5Fopen(r->path, H5F_ACC_RDONLY, H5P_DEFAULT);
    int rc = r->h5 < 0 ? wrong(r->path, "cannot be opened as HDF5") : read_all(s, r);
    if (r->h5 >= 0) H5Fclose(r->h5);
    if (rc < 0) ft_clipstore_free(s);
    return rc;
}

/* ---- libhdf5 crashes, loops and asks for gigabytes on damaged files: what others wrote is first read in a child ---------------
 */

typedef struct {
    int rc;
    char text[2048];
} verdict;

/* The same read, whose end goes through the pipe */
static void child(reader *r, int out, unsigned seconds)
{
    verdict v = {0};
    ft_clipstore s;
    ft_apart_begin();
    ft_apart_seconds(seconds);
    ft_apart_memory(2 * r->size);
    r->apart = true;
    v.rc = read_here(&s, r);
    if (v.rc < 0) snprintf(v.text, sizeof v.text, "%s", ft_error_message());
    _exit(ft_apart_write(out, &v, sizeof v) ? 0 : 1);
}

/* how: as the pipe was read */
static int judge(const reader *r, const verdict *v, int how, int status, unsigned seconds)
{
    bool late = how == FT_EBUSY;
    if (how == FT_OK) return v->rc < 0 ? FT_FAIL(v->rc, "%s", v->text) : FT_OK;
    if (how == FT_EINTERRUPTED) return FT_FAIL(FT_EINTERRUPTED, "%s: interrupted while it was read", r->path);
    if (late || (WIFSIGNALED(status) && WTERMSIG(status) == SIGXCPU))
        return FT_FAIL(FT_EDATA, "%s: libhdf5 does not come to an end with it in %u s. It is damaged: make it again", r->path,
                       seconds);
    return FT_FAIL(FT_EDATA, "%s: libhdf5 ends with %s %d on it. It is damaged: make it again", r->path,
                   WIFSIGNALED(status) ? "signal" : "exit code", WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

static int read_apart(reader r)
{
    unsigned computing = 1 + (unsigned)(r.size >> 22), waiting = 60 + (unsigned)(r.size >> 20); /* a file server may be slow */
    int ends[2];
    verdict v = {0};
    if (pipe2(ends, O_CLOEXEC) != 0) return FT_FAIL(FT_EIO, "%s: no pipe (%s)", r.path, strerror(errno));
    pid_t pid = fork();
    if (pid == 0) child(&r, ends[1], computing);
    close(ends[1]);
    if (pid < 0) {
        close(ends[0]);
        return FT_FAIL(FT_ENOMEM, "%s: no process to check it in (%s). Close other programs", r.path, strerror(errno));
    }
    int how = ft_apart_read(ends[0], &v, sizeof v, waiting),
        status = ft_apart_end(pid, how == FT_EBUSY || how == FT_EINTERRUPTED);
    close(ends[0]);
    v.text[sizeof v.text - 1] = 0;
    return judge(&r, &v, how, status, how == FT_EBUSY ? waiting : computing);
}

static int read_file(ft_clipstore *s, const char *path, int64_t most)
{
    struct stat st;
    memset(s, 0, sizeof *s);
    quiet();
    FT_TRY(ft_is_file(path));
    if (stat(path, &st) != 0) return FT_FAIL(FT_EIO, "%s: cannot be read (%s)", path, strerror(errno));
    reader r = {.path = path, .h5 = -1, .size = (uint64_t)st.st_size, .most = most};
    if (!is_trusted(&st, most)) {
        FT_TRY(read_apart(r));
        trust(&st, most);
    }
    return read_here(s, &r);
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
    for (int64_t i = 0; s->video && i < s->n_video; i++) free_video(&s->video[i]);
    ft_free(s->video);
    ft_free(s->clip);
    ft_free(s->pixels);
    ft_free(s->path);
    ft_free(s->config);
    memset(s, 0, sizeof *s);
}
