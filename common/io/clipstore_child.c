/* libhdf5 crashes, loops, asks for gigabytes and reads beyond its memory on damaged files: it reads in a child, and what it finds
 * goes through a pipe. */
#include <hdf5.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/apart.h"
#include "common/base/bounds.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/io/clipstore_parts.h"

enum { SLAB_BYTES = 64 << 20 }; /* bytes of pixels at a time */

/* A file of a stranger: nothing in it is taken before its class, extent, layout and size are looked at. */
typedef struct {
    const char *path;
    hid_t h5;
    uint64_t size;     /* of the file */
    int64_t most;      /* clips whose pixels are read */
    int out;           /* where what is read goes: this is a process of its own */
    uint64_t text;     /* bytes of strings so far */
    ft_arena *strings; /* of the column being read */
    char *free_text;
    size_t free_bytes;
    int rc; /* why a string found no room */
} reader;

static int wrong_set(const reader *r, const char *name, const char *what)
{
    return FT_FAIL(FT_EDATA, "%s: /%s %s. " FT_STORE_MAKE_AGAIN, r->path, name, what);
}

static hid_t memory_string(hid_t in_file)
{
    hid_t t = ft_store_string_type();
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
    int rc = !good ? FT_FAIL(FT_EDATA, "%s: the attribute %s is not one %s. " FT_STORE_MAKE_AGAIN, r->path, name,
                             class == H5T_STRING ? "string of variable length" : "number")
             : H5Aread(a, memory, out) < 0
                 ? FT_FAIL(FT_EDATA, "%s: the attribute %s cannot be read. " FT_STORE_MAKE_AGAIN, r->path, name)
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
        if (f == H5Z_FILTER_DEFLATE) *ratio = FT_STORE_DEFLATE;
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
    char **v = NULL;
    r->free_bytes = 0;
    if (!(r->strings = ft_arena_new())) return FT_FAIL(FT_ENOMEM, "%s: no memory for /%s", s->path, name);
    int rc = column(r, name, H5T_STRING, -1, sizeof *v, &s->n_video, &v);
    for (int64_t i = 0; rc == FT_OK && i < s->n_video; i++) {
        char *copy = ft_strdup(v[i] ? v[i] : "");
        memcpy((char *)&s->video[i] + field, &copy, sizeof copy);
        if (!copy) rc = FT_FAIL(FT_ENOMEM, "%s: no memory for /%s", s->path, name);
    }
    ft_free(v);
    ft_arena_free(r->strings);
    return rc;
}

static void send(const reader *r, const void *from, size_t n)
{
    if (!ft_apart_write(r->out, from, n)) _exit(1); /* nobody reads any more */
}

/* The pixels of the first r->most clips, slab by slab */
static int read_pixels(ft_clipstore *s, const reader *r)
{
    dataset d;
    FT_TRY(open_set(r, "clips", H5T_INTEGER, 5, &d));
    int rc = FT_OK;
    if (d.dim[2] != d.dim[3] || d.dim[4] != 3 || d.dim[1] < 1 || d.dim[1] > FT_STORE_MOST_FRAMES || d.dim[2] < 1 ||
        d.dim[2] > FT_STORE_MOST_SIZE)
        rc = wrong_set(r, "clips", "is not (N,F,S,S,3)");
    else if (H5Tget_size(d.type) != 1 || H5Tget_sign(d.type) != H5T_SGN_NONE)
        rc = wrong_set(r, "clips", "is not of bytes from 0 to 255");
    int64_t each = 0, n = (int64_t)d.dim[0] < r->most ? (int64_t)d.dim[0] : r->most, all = 0, slab = 1;
    uint8_t *rgb = NULL;
    if (rc == FT_OK) {
        s->n_clip = (int64_t)d.dim[0], s->frames = (int)d.dim[1], s->size = (int)d.dim[2];
        each = ft_clip_bytes(s);
        if (!ft_mul_count(n, each, &all)) all = INT64_MAX;
        rc = ft_may_ask(r->path, "clips", (uint64_t)all, d.held, d.ratio);
    }
    if (rc == FT_OK) {
        slab = each < SLAB_BYTES ? SLAB_BYTES / each : 1;
        if (slab > n) slab = n;
        ft_apart_memory(2 * r->size + 3 * (uint64_t)(slab * each));
        if (all > FT_STORE_MOST_PIXELS || !(rgb = ft_alloc_n(slab, (size_t)each))) rc = ft_store_no_room(r->path, all);
    }
    if (rc == FT_OK) {
        ft_store_pixels head = {s->n_clip, n, s->frames, s->size};
        send(r, &(char){'P'}, 1);
        send(r, &head, sizeof head);
    }
    for (int64_t i = 0; rc == FT_OK && i < n; i += slab) {
        hsize_t from[5] = {(hsize_t)i}, part[5] = {(hsize_t)(slab < n - i ? slab : n - i), d.dim[1], d.dim[2], d.dim[3], 3};
        hid_t memory = H5Screate_simple(5, part, NULL);
        if (memory < 0 || H5Sselect_hyperslab(d.space, H5S_SELECT_SET, from, NULL, part, NULL) < 0 ||
            H5Dread(d.set, H5T_NATIVE_UINT8, memory, d.space, H5P_DEFAULT, rgb) < 0)
            rc = wrong_set(r, "clips", "cannot be read");
        if (memory >= 0) H5Sclose(memory);
        if (rc == FT_OK) {
            int64_t bytes = (int64_t)part[0] * each;
            send(r, &(char){'S'}, 1);
            send(r, &bytes, sizeof bytes);
            send(r, rgb, (size_t)bytes);
        }
    }
    ft_free(rgb);
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
    if (!ours) return ft_store_wrong(s->path, "the attribute format is not forty-clips");
    FT_TRY(attribute(r, "stride", H5T_FLOAT, H5T_NATIVE_DOUBLE, &s->stride));
    FT_TRY(attribute(r, "config", H5T_STRING, -1, &config));
    if (!config) return FT_OK;
    s->config = ft_strdup(config);
    H5free_memory(config);
    return s->config ? FT_OK : FT_FAIL(FT_ENOMEM, "%s: no memory", s->path);
}

/* The clips' and videos' numbers into their rows */
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
    for (int64_t i = 0; rc == FT_OK && i < s->n_clip; i++) s->clip[i] = (ft_store_clip){video[i], start[i], stride[i]};
    for (int64_t i = 0; rc == FT_OK && i < s->n_video; i++) s->video[i].frames = frames[i], s->video[i].fps = fps[i];
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

static int read_here(ft_clipstore *s, reader *r)
{
    memset(s, 0, sizeof *s);
    if (!(s->path = ft_strdup(r->path))) return FT_FAIL(FT_ENOMEM, "%s: no memory", r->path);
    r->h5 = H5Fopen(r->path, H5F_ACC_RDONLY, H5P_DEFAULT);
    int rc = r->h5 < 0 ? ft_store_wrong(r->path, "cannot be opened as HDF5") : read_all(s, r);
    if (r->h5 >= 0) H5Fclose(r->h5);
    if (rc < 0) ft_clipstore_free(s);
    return rc;
}

static void send_rows(const ft_clipstore *s, const reader *r)
{
    for (int64_t i = 0; i < s->n_video; i++) {
        send(r, &s->video[i].frames, sizeof s->video[i].frames);
        send(r, &s->video[i].fps, sizeof s->video[i].fps);
        for (int k = 0; k < FT_STORE_TEXTS; k++) {
            const char *text;
            memcpy(&text, (const char *)&s->video[i] + ft_store_text[k], sizeof text);
            uint32_t n = text ? (uint32_t)strlen(text) : FT_STORE_NO_TEXT;
            send(r, &n, sizeof n);
            if (text) send(r, text, n);
        }
    }
}

_Noreturn void ft_store_child(const char *path, uint64_t file_bytes, int64_t most, int out, unsigned seconds)
{
    reader r = {.path = path, .h5 = -1, .size = file_bytes, .most = most, .out = out};
    ft_store_verdict v = {0};
    ft_clipstore s;
    ft_apart_begin();
    ft_apart_seconds(seconds);
    ft_apart_memory(2 * r.size);
    v.rc = read_here(&s, &r);
    if (v.rc < 0) snprintf(v.text, sizeof v.text, "%s", ft_error_message());
    else v.stride = s.stride, v.n_video = s.n_video, v.config = s.config ? (uint32_t)strlen(s.config) : FT_STORE_NO_TEXT;
    send(&r, &(char){'V'}, 1);
    send(&r, &v, sizeof v);
    if (v.rc == FT_OK) {
        if (s.config) send(&r, s.config, v.config);
        send(&r, s.clip, (size_t)s.n_clip * sizeof *s.clip);
        send_rows(&s, &r);
    }
    _exit(0);
}
