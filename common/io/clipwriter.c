#include <hdf5.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/files.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/io/clipstore_parts.h"

struct ft_clipwriter {
    ft_atomic file;
    hid_t h5, clips;
    ft_clipwriter_opt opt;
    char *config;
    ft_store_video *video;
    ft_store_clip *clip;
    int64_t n_video, n_clip;
};

static void free_writer(ft_clipwriter *w)
{
    for (int64_t i = 0; i < w->n_video; i++) ft_store_free_video(&w->video[i]);
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
    ft_store_library();
    *out = NULL;
    ft_clipstore shape = {.frames = opt->frames, .size = opt->size};
    if (opt->frames < 1 || opt->frames > FT_STORE_MOST_FRAMES || opt->size < 1 || opt->size > FT_STORE_MOST_SIZE ||
        ft_clip_bytes(&shape) > UINT32_MAX) /* a chunk's limit */
        return FT_FAIL(FT_ECONFIG, "%s: a clip of %d frames of %d pixels does not fit: at most %d frames, %d pixels, 4 GB", path,
                       opt->frames, opt->size, FT_STORE_MOST_FRAMES, FT_STORE_MOST_SIZE);
    ft_clipwriter *w = ft_alloc(sizeof *w);
    if (!w) return FT_FAIL(FT_ENOMEM, "%s: no memory", path);
    w->opt = *opt;
    w->h5 = w->clips = -1;
    w->file.fd = -1;
    w->config = ft_strdup(opt->config ? opt->config : "{}");
    int rc = w->config ? ft_store_check_json(path, "its config", w->config) : FT_FAIL(FT_ENOMEM, "%s: no memory", path);
    if (rc == FT_OK) rc = ft_atomic_begin_named(&w->file, path);
    if (rc == FT_OK) rc = make_clips(w);
    if (rc < 0) ft_clipwriter_abort(w);
    else *out = w;
    return rc;
}

int ft_clipwriter_video(ft_clipwriter *w, const ft_store_video *v)
{
    if (w->n_video == INT32_MAX) return FT_FAIL(FT_EDATA, "%s: over 2147483647 videos", w->file.final);
    FT_TRY(ft_store_check_video(w->file.final, w->n_video, v));
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
    hid_t text = ft_store_string_type(), g1 = H5Gcreate2(w->h5, "clip", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
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
    return ft_atomic_commit(&w->file);
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
