#include "common/io/clipstore.h"

#include <hdf5.h>
#include <sha2.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/files.h"
#include "common/base/memory.h"
#include "common/base/status.h"

/* First of all calls. At exit HDF5 would try again to write a file that a full disk refused, and crash: files are closed here, or
 * given up. Errors come out as our messages. */
static void quiet(void)
{
    static bool once;
    if (!once) H5dont_atexit();
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
    H5Tset_size(t, H5T_VARIABLE);
    H5Tset_cset(t, H5T_CSET_UTF8);
    return t;
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

int ft_clipwriter_open(ft_clipwriter **out, const char *path, const ft_clipwriter_opt *opt)
{
    quiet();
    *out = NULL;
    ft_clipwriter *w = ft_alloc(sizeof *w);
    if (!w) return FT_FAIL(FT_ENOMEM, "%s: no memory", path);
    w->opt = *opt;
    w->h5 = w->clips = -1;
    w->config = ft_strdup(opt->config ? opt->config : "{}");
    int rc = ft_atomic_begin_named(&w->file, path);
    if (rc < 0) {
        free_writer(w);
        return rc;
    }
    hsize_t dim[5] = {0, (hsize_t)opt->frames, (hsize_t)opt->size, (hsize_t)opt->size, 3}, most[5], chunk[5];
    memcpy(most, dim, sizeof dim);
    memcpy(chunk, dim, sizeof dim);
    most[0] = H5S_UNLIMITED;
    chunk[0] = 1;
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
#if H5_VERSION_GE(1, 10, 7)
    H5Pset_file_locking(access, false, true); /* the file is locked already (ft_atomic) */
#endif
    w->h5 = H5Fcreate(w->file.temp, H5F_ACC_TRUNC, H5P_DEFAULT, access);
    H5Pclose(access);
    hid_t space = H5Screate_simple(5, dim, most), plist = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(plist, 5, chunk);
    if (opt->gzip) H5Pset_deflate(plist, 1);
    if (w->h5 >= 0) w->clips = H5Dcreate2(w->h5, "clips", H5T_NATIVE_UINT8, space, H5P_DEFAULT, plist, H5P_DEFAULT);
    H5Sclose(space);
    H5Pclose(plist);
    if (w->clips < 0) {
        rc = write_failed(w);
        ft_clipwriter_abort(w);
        return rc;
    }
    *out = w;
    return FT_OK;
}

int ft_clipwriter_video(ft_clipwriter *w, const ft_store_video *v)
{
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
    FT_TRY(ft_grow(&w->clip, (size_t)w->n_clip, sizeof *w->clip));
    hsize_t f = (hsize_t)w->opt.frames, s = (hsize_t)w->opt.size, dim[5] = {(hsize_t)w->n_clip + 1, f, s, s, 3};
    hsize_t at[5] = {(hsize_t)w->n_clip, 0, 0, 0, 0}, one[5] = {1, f, s, s, 3};
    if (H5Dset_extent(w->clips, dim) < 0) return write_failed(w);
    hid_t all = H5Dget_space(w->clips), mem = H5Screate_simple(5, one, NULL);
    H5Sselect_hyperslab(all, H5S_SELECT_SET, at, NULL, one, NULL);
    herr_t rc = H5Dwrite(w->clips, H5T_NATIVE_UINT8, mem, all, H5P_DEFAULT, rgb);
    H5Sclose(all);
    H5Sclose(mem);
    if (rc < 0) return write_failed(w);
    w->clip[w->n_clip++] = (ft_store_clip){video, start, stride};
    return FT_OK;
}

static herr_t put(hid_t h5, const char *name, hid_t type, int64_t n, const void *data)
{
    hsize_t dim = (hsize_t)n;
    hid_t space = H5Screate_simple(1, &dim, NULL), set = H5Dcreate2(h5, name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    herr_t rc = set < 0 ? -1 : n == 0 ? 0 : H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data);
    if (set >= 0 && H5Dclose(set) < 0) rc = -1;
    H5Sclose(space);
    return rc;
}

static herr_t put_attr(hid_t h5, const char *name, hid_t type, const void *data)
{
    hid_t space = H5Screate(H5S_SCALAR), a = H5Acreate2(h5, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    herr_t rc = a < 0 ? -1 : H5Awrite(a, type, data);
    if (a >= 0) H5Aclose(a);
    H5Sclose(space);
    return rc;
}

static int finish(ft_clipwriter *w)
{
    size_t most = (size_t)(w->n_video > w->n_clip ? w->n_video : w->n_clip) + 1;
    void *column = ft_alloc(most * 8);
    if (!column) return FT_FAIL(FT_ENOMEM, "%s: no memory", w->file.final);
    int32_t *i32 = column;
    double *f64 = column;
    const char **str = column;
    hid_t text = string_type(), g1 = H5Gcreate2(w->h5, "clip", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
          g2 = H5Gcreate2(w->h5, "video", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    herr_t bad = g1 < 0 || g2 < 0 ? -1 : 0;
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
    H5Tclose(text);
    if (g1 >= 0) H5Gclose(g1);
    if (g2 >= 0) H5Gclose(g2);
    ft_free(column);
    if (H5Dclose(w->clips) < 0) bad = -1;
    w->clips = -1;
    if (H5Fflush(w->h5, H5F_SCOPE_GLOBAL) < 0) bad = -1;
    if (H5Fclose(w->h5) < 0) bad = -1;
    w->h5 = -1;
    return bad < 0 ? write_failed(w) : ft_atomic_commit(&w->file);
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

static int wrong(const char *path, const char *what)
{
    return FT_FAIL(FT_EDATA, "%s: %s. It is damaged, cut off, or no clip store: make it again with forty ingest", path, what);
}

/* A whole 1-D dataset of n entries (n < 0: any) in fresh memory. */
static int get(hid_t h5, const char *path, const char *name, hid_t type, size_t size, int64_t *n, void *out)
{
    hid_t set = H5Dopen2(h5, name, H5P_DEFAULT);
    if (set < 0)
        return FT_FAIL(FT_EDATA, "%s: /%s is missing. It is damaged, cut off, or no clip store: make it again with forty ingest",
                       path, name);
    hid_t space = H5Dget_space(set);
    int64_t have = H5Sget_simple_extent_ndims(space) == 1 ? (int64_t)H5Sget_simple_extent_npoints(space) : -1;
    H5Sclose(space);
    int rc = FT_OK;
    void *p = NULL;
    if (have < 0 || (*n >= 0 && have != *n))
        rc = FT_FAIL(FT_EDATA, "%s: /%s has %lld entries, %lld expected. Make the store again", path, name, (long long)have,
                     (long long)*n);
    else if (!(p = ft_alloc((size_t)(have + 1) * size))) rc = FT_FAIL(FT_ENOMEM, "%s: no memory for /%s", path, name);
    else if (have > 0 && H5Dread(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, p) < 0)
        rc = FT_FAIL(FT_EDATA, "%s: /%s cannot be read. The file is damaged", path, name);
    if (rc < 0) ft_free(p), p = NULL;
    H5Dclose(set);
    *n = have;
    *(void **)out = p;
    return rc;
}

/* Strings, copied one by one into a field of the video rows. */
static int get_strings(ft_clipstore *s, hid_t h5, const char *name, size_t field)
{
    hid_t type = string_type();
    char **v = NULL;
    int rc = get(h5, s->path, name, type, sizeof *v, &s->n_video, &v);
    for (int64_t i = 0; rc == FT_OK && i < s->n_video; i++) {
        char *copy = ft_strdup(v[i] ? v[i] : "");
        memcpy((char *)&s->video[i] + field, &copy, sizeof copy);
        if (!copy) rc = FT_FAIL(FT_ENOMEM, "%s: no memory", s->path);
    }
    for (int64_t i = 0; v && i < s->n_video; i++) free(v[i]); /* HDF5's own malloc */
    ft_free(v);
    H5Tclose(type);
    return rc;
}

/* The pixels of the first `most` clips, and all that is known of the clips and videos. */
static int read_all(ft_clipstore *s, hid_t h5, int64_t most)
{
    hid_t text = string_type(), a = H5Aopen(h5, "format", H5P_DEFAULT);
    char *format = NULL, *config = NULL;
    if (a < 0 || H5Aread(a, text, &format) < 0 || !format || strcmp(format, "forty-clips")) {
        if (a >= 0) H5Aclose(a);
        free(format);
        H5Tclose(text);
        return wrong(s->path, "the attribute format is not forty-clips");
    }
    H5Aclose(a);
    free(format);
    if ((a = H5Aopen(h5, "config", H5P_DEFAULT)) >= 0 && H5Aread(a, text, &config) >= 0 && config) s->config = ft_strdup(config);
    if (a >= 0) H5Aclose(a);
    free(config);
    H5Tclose(text);
    if ((a = H5Aopen(h5, "stride", H5P_DEFAULT)) >= 0) H5Aread(a, H5T_NATIVE_DOUBLE, &s->stride), H5Aclose(a);

    hid_t clips = H5Dopen2(h5, "clips", H5P_DEFAULT), space = clips < 0 ? -1 : H5Dget_space(clips);
    hsize_t dim[5] = {0};
    int rc = FT_OK;
    if (clips < 0 || H5Sget_simple_extent_ndims(space) != 5 || H5Sget_simple_extent_dims(space, dim, NULL) < 0 ||
        dim[2] != dim[3] || dim[4] != 3 || dim[1] < 1 || dim[1] > 4096 || dim[2] < 1 || dim[2] > 8192)
        rc = wrong(s->path, "/clips is not (N,F,S,S,3)");
    if (rc == FT_OK) {
        s->n_clip = (int64_t)dim[0], s->frames = (int)dim[1], s->size = (int)dim[2];
        hsize_t from[5] = {0}, part[5] = {dim[0] < (hsize_t)most ? dim[0] : (hsize_t)most, dim[1], dim[2], dim[3], 3};
        double bytes = (double)part[0] * (double)ft_clip_bytes(s);
        if (bytes > 16e9 || !(s->pixels = ft_alloc((size_t)bytes)))
            rc = FT_FAIL(FT_ENOMEM, "%s: %.1f GB of clips do not fit in memory. Use a smaller --size or fewer --clips-per-video",
                         s->path, bytes / 1e9);
        else if (part[0] > 0) {
            hid_t memory = H5Screate_simple(5, part, NULL);
            if (H5Sselect_hyperslab(space, H5S_SELECT_SET, from, NULL, part, NULL) < 0 ||
                H5Dread(clips, H5T_NATIVE_UINT8, memory, space, H5P_DEFAULT, s->pixels) < 0)
                rc = wrong(s->path, "/clips cannot be read");
            H5Sclose(memory);
        }
    }
    if (space >= 0) H5Sclose(space);
    if (clips >= 0) H5Dclose(clips);
    FT_TRY(rc);

    int32_t *video = NULL, *start = NULL, *frames = NULL;
    double *stride = NULL, *fps = NULL;
    s->n_video = -1;
    rc = get(h5, s->path, "clip/video", H5T_NATIVE_INT32, 4, &s->n_clip, &video);
    if (rc == FT_OK) rc = get(h5, s->path, "clip/start", H5T_NATIVE_INT32, 4, &s->n_clip, &start);
    if (rc == FT_OK) rc = get(h5, s->path, "clip/stride", H5T_NATIVE_DOUBLE, 8, &s->n_clip, &stride);
    if (rc == FT_OK) rc = get(h5, s->path, "video/frames", H5T_NATIVE_INT32, 4, &s->n_video, &frames);
    if (rc == FT_OK) rc = get(h5, s->path, "video/fps", H5T_NATIVE_DOUBLE, 8, &s->n_video, &fps);
    if (rc == FT_OK && (!(s->clip = ft_alloc(sizeof *s->clip * (size_t)(s->n_clip + 1))) ||
                        !(s->video = ft_alloc(sizeof *s->video * (size_t)(s->n_video + 1)))))
        rc = FT_FAIL(FT_ENOMEM, "%s: no memory", s->path);
    for (int64_t i = 0; rc == FT_OK && i < s->n_clip; i++) {
        if (video[i] < 0 || video[i] >= s->n_video) rc = wrong(s->path, "a clip points to a video that is not there");
        s->clip[i] = (ft_store_clip){video[i], start[i], stride[i]};
    }
    for (int64_t i = 0; rc == FT_OK && i < s->n_video; i++) s->video[i].frames = frames[i], s->video[i].fps = fps[i];
    ft_free(video);
    ft_free(start);
    ft_free(stride);
    ft_free(frames);
    ft_free(fps);
#define STRINGS(name)                                                                                                            \
    if (rc == FT_OK) rc = get_strings(s, h5, "video/" #name, offsetof(ft_store_video, name))
    STRINGS(name);
    STRINGS(label);
    STRINGS(group);
    STRINGS(split);
    STRINGS(source);
    STRINGS(sha256);
    if (rc == FT_OK && H5Lexists(h5, "video/facts", H5P_DEFAULT) > 0) STRINGS(facts);
    return rc;
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

static int read_file(ft_clipstore *s, const char *path, int64_t most)
{
    quiet();
    memset(s, 0, sizeof *s);
    if (!ft_exists(path)) return FT_FAIL(FT_EIO, "%s: not there. Check the path", path);
    if (!(s->path = ft_strdup(path))) return FT_FAIL(FT_ENOMEM, "%s: no memory", path);
    hid_t h5 = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    int rc = h5 < 0 ? wrong(path, "cannot be opened as HDF5") : read_all(s, h5, most);
    if (h5 >= 0) H5Fclose(h5);
    if (rc < 0) ft_clipstore_free(s);
    return rc;
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
