#include "tests/fuzz/target.h"

#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "classify/classifier.h"
#include "common/base/files.h"
#include "common/base/memory.h"
#include "common/base/names.h"
#include "common/base/plugin.h"
#include "common/base/status.h"
#include "common/io/clipstore.h"
#include "common/io/clipstore_parts.h"
#include "common/io/config.h"
#include "common/io/features.h"
#include "common/io/labels.h"
#include "common/io/npy.h"
#include "common/io/pth.h"
#include "common/io/safetensors.h"
#include "common/io/video.h"
#include "experiments/cli/mil_task.h"
#include "experiments/data/checksums.h"

#define PROMISE(cond)                                                                                                            \
    do {                                                                                                                         \
        if (!(cond)) {                                                                                                           \
            fprintf(stderr, "%s:%d: broken promise: %s\n", __FILE__, __LINE__, #cond);                                           \
            abort();                                                                                                             \
        }                                                                                                                        \
    } while (0)

/* ---- files ----------------------------------------------------------------------------------------------------------------- */

static char folder[512];
static bool own_folder;

void ft_fuzz_begin(void)
{
    const char *given = getenv("FORTY_FUZZ_DIR");
    own_folder = !given;
    if (given) snprintf(folder, sizeof folder, "%s", given);
    else {
        snprintf(folder, sizeof folder, "%s/forty-fuzz.XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
        PROMISE(mkdtemp(folder));
    }
}

void ft_fuzz_end(void)
{
    char **name = NULL;
    int n = 0;
    if (!own_folder || ft_list_dir(folder, &name, &n) < 0) return;
    for (int i = 0; i < n; i++) {
        char *path = ft_format("%s/%s", folder, name[i]);
        unlink(path);
        ft_free(path);
        ft_free(name[i]);
    }
    ft_free(name);
    rmdir(folder);
}

/* the path of a file of that name, with this in it; data = NULL: there is none */
static const char *put(const char *name, const void *data, size_t size)
{
    static char path[4][600];
    static int turn;
    char *p = path[turn++ % 4];
    snprintf(p, sizeof *path, "%s/%s", folder, name);
    if (!data) {
        unlink(p);
        return p;
    }
    int fd = open(p, O_RDWR | O_CREAT | O_TRUNC, 0600);
    PROMISE(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    close(fd);
    return p;
}

typedef struct {
    const uint8_t *data;
    size_t size;
} part;

/* An input of several files: lines of %% stand between them. */
static int split(const uint8_t *data, size_t size, part *out, int most)
{
    int n = 0;
    const uint8_t *end = data + size;
    while (n < most - 1) {
        const uint8_t *mark = memmem(data, (size_t)(end - data), "\n%%\n", 4);
        if (!mark) break;
        out[n++] = (part){data, (size_t)(mark + 1 - data)};
        data = mark + 4;
    }
    out[n++] = (part){data, (size_t)(end - data)};
    return n;
}

static char *text_of(part p)
{
    char *s = malloc(p.size + 1);
    PROMISE(s);
    memcpy(s, p.data, p.size);
    s[p.size] = 0;
    return s;
}

static bool name_holds(const char *s) { return s && ft_check_name(s, strlen(s), "fuzz", "name") == FT_OK; }

static uint8_t touch(const void *data, size_t size)
{
    uint8_t sum = 0;
    for (size_t i = 0; i < size; i++) sum ^= ((const uint8_t *)data)[i];
    return sum;
}
static volatile uint8_t touched;

/* ---- texts ----------------------------------------------------------------------------------------------------------------- */

static void check_labels(const ft_labels *l)
{
    for (int i = 0; i < l->n; i++) {
        const ft_label *r = &l->row[i];
        const char *key;
        json_t *value;
        PROMISE(name_holds(r->video) && *r->video && name_holds(r->label) && name_holds(r->group) && name_holds(r->split));
        PROMISE(r->line > 0);
        char digits[8];
        PROMISE(!*r->split || !strcmp(ft_split_name(r->split, digits), r->split)); /* what is kept is what it is called here */
        if (!r->facts || !*r->facts) continue;
        json_t *facts = json_loads(r->facts, JSON_REJECT_DUPLICATES, NULL);
        PROMISE(json_is_object(facts));
        json_object_foreach(facts, key, value) PROMISE(json_is_string(value) && name_holds(key));
        json_decref(facts);
    }
}

static int labels_at(const char *path)
{
    ft_labels l;
    char hex[65];
    int rc = ft_labels_read(&l, path, NULL);
    if (rc < 0) return rc;
    check_labels(&l);
    ft_labels_free(&l);
    PROMISE(ft_labels_sha256(path, hex) == FT_OK && strlen(hex) == 64);
    return rc;
}

static int labels(const uint8_t *data, size_t size) { return labels_at(put("list.csv", data, size)); }

static int labels_folder(const uint8_t *data, size_t size)
{
    static const char *const name[] = {"train.txt", "val.txt", "test.txt"};
    part p[3];
    int n = split(data, size, p, 3);
    for (int i = 0; i < 3; i++) put(name[i], i < n ? p[i].data : NULL, i < n ? p[i].size : 0);
    return labels_at(folder);
}

/* some videos of so many frames; the last one has none */
static const ft_framed_video framed[] = {{"a.mp4", 12}, {"b", 7}, {"dir/c.mp4", 40}, {"none", 0}};
enum { FRAMED = sizeof framed / sizeof *framed, ALL_FRAMES = 59 };

static int frames_at(const char *path)
{
    uint8_t *truth = malloc(ALL_FRAMES); /* to the byte: the sanitizer sees the first one behind */
    PROMISE(truth);
    int rc = ft_frame_labels_read(path, framed, FRAMED, truth);
    for (int i = 0; rc == FT_OK && i < ALL_FRAMES; i++) PROMISE(truth[i] < 2);
    free(truth);
    return rc;
}

static int frames(const uint8_t *data, size_t size) { return frames_at(put("frames.csv", data, size)); }

static int checksums(const uint8_t *data, size_t size)
{
    ft_checksums c;
    int rc = ft_checksums_open(&c, put("SHA256SUMS", data, size));
    if (rc < 0) return rc;
    PROMISE(c.known);
    for (int i = 0; i < c.n; i++) {
        PROMISE(strlen(c.row[i].hex) == 64 && strspn(c.row[i].hex, "0123456789abcdef") == 64);
        PROMISE(name_holds(c.row[i].name) && *c.row[i].name);
        PROMISE(ft_checksums_video(&c, c.row[i].name, c.row[i].hex) == FT_OK);
    }
    return ft_checksums_close(&c, false);
}

static char *config_text(const ft_config *c)
{
    json_t *all = ft_config_json(c, NULL);
    char *text = json_dumps(all, JSON_INDENT(1));
    PROMISE(text);
    json_decref(all);
    return text;
}

/* what is printed is read back as the same */
static void check_config(const ft_config *c)
{
    ft_config *again;
    char *text, *mine = config_text(c);
    size_t size;
    FILE *f = open_memstream(&text, &size);
    PROMISE(f);
    ft_config_print(c, f);
    PROMISE(fclose(f) == 0);
    PROMISE(ft_config_new(&again) == FT_OK);
    int rc = ft_config_read(again, put("c.yaml", text, size));
    if (rc < 0) fprintf(stderr, "%s\n%s\n", ft_error_message(), text);
    PROMISE(rc == FT_OK);
    char *theirs = config_text(again);
    if (strcmp(mine, theirs)) fprintf(stderr, "%s\n%s\n%s\n", text, mine, theirs);
    PROMISE(!strcmp(mine, theirs));
    ft_config_free(again);
    free(mine);
    free(theirs);
    free(text);
}

/* a.yaml, b.yaml (which it may include), assignments */
static int config(const uint8_t *data, size_t size)
{
    ft_config *c, *copy;
    part p[4];
    int n = split(data, size, p, 4);
    const char *path = put("a.yaml", p[0].data, p[0].size);
    put("b.yaml", n > 1 ? p[1].data : NULL, n > 1 ? p[1].size : 0);
    PROMISE(ft_config_new(&c) == FT_OK);
    int rc = ft_config_read(c, path);
    for (int i = 2; rc == FT_OK && i < n; i++) {
        char *s = text_of(p[i]);
        s[strcspn(s, "\n")] = 0;
        rc = ft_config_set(c, s, "--set");
        free(s);
    }
    if (rc == FT_OK) check_config(c);
    if (rc == FT_OK) {
        PROMISE(ft_config_copy(&copy, c) == FT_OK);
        ft_config_free(copy);
    }
    ft_config_free(c);
    return rc;
}

static int run_json(const uint8_t *data, size_t size)
{
    ft_classifier_info info;
    put("run.json", data, size);
    ft_mil_is_run(folder);
    int rc = ft_classifier_info_read(&info, folder);
    if (rc < 0) return rc;
    PROMISE(ft_classifier_find(info.model));
    PROMISE(info.n_classes >= 2 && info.n_classes <= FT_MAX_CLASSES);
    PROMISE(info.frames > 0 && info.size > 0 && info.stride >= 0 && info.clips_per_video >= 0 && info.test_clips >= 0);
    PROMISE(info.frames <= 4096 && info.size <= 8192);
    PROMISE(name_holds(info.positive) && name_holds(info.sampler) && name_holds(info.view));
    for (int i = 0; i < info.n_classes; i++) PROMISE(name_holds(info.classes[i]) && *info.classes[i]);
    ft_classifier_info_free(&info);
    return rc;
}

/* ---- tensors --------------------------------------------------------------------------------------------------------------- */

static size_t width_of(const char *dtype)
{
    return !strcmp(dtype, "BOOL") || strstr(dtype, "8") == dtype + 1 ? 1
           : strstr(dtype, "64")                                     ? 8
           : strstr(dtype, "32")                                     ? 4
           : strstr(dtype, "16")                                     ? 2
                                                                     : 0;
}

static void check_tensor(const ft_st_tensor *t, const char *file, size_t file_size)
{
    size_t count = 1, each = width_of(t->dtype);
    PROMISE(t->ndim >= 0 && t->ndim <= FT_ST_DIMS && t->count >= 0);
    for (int i = 0; i < t->ndim; i++) PROMISE(t->dim[i] >= 0 && !__builtin_mul_overflow(count, (size_t)t->dim[i], &count));
    PROMISE(count == (size_t)t->count && (!each || t->bytes == count * each));
    PROMISE(!t->bytes || ((const char *)t->data >= file && t->bytes <= file_size - (size_t)((const char *)t->data - file)));
    touched = touch(t->data, t->bytes);
    float *value = malloc((size_t)t->count * sizeof *value + 1); /* in proportion to the file */
    PROMISE(value);
    ft_safetensors_f32(t, value);
    free(value);
}

static void check_tensors(const ft_safetensors *st)
{
    const char *key;
    json_t *value;
    for (int i = 0; i < st->n; i++) {
        PROMISE(name_holds(st->tensor[i].name));
        PROMISE(ft_safetensors_find(st, st->tensor[i].name) == &st->tensor[i]);
        check_tensor(&st->tensor[i], st->file, st->file_size);
    }
    PROMISE(!st->metadata || json_is_object(st->metadata));
    json_object_foreach(st->metadata, key, value) PROMISE(json_is_string(value));
}

static int safetensors_at(const char *path)
{
    ft_safetensors st;
    int rc = ft_safetensors_read(&st, path);
    if (rc < 0) return rc;
    check_tensors(&st);
    ft_safetensors_free(&st);
    return rc;
}

static int safetensors(const uint8_t *data, size_t size) { return safetensors_at(put("t.safetensors", data, size)); }

/* a header, its values behind %% (else 64 bytes); the header's length is right */
static const char *framed_header(const uint8_t *data, size_t size)
{
    static const uint8_t zero[64];
    part p[2];
    int n = split(data, size, p, 2);
    if (n == 1) p[1] = (part){zero, sizeof zero};
    uint8_t *file = malloc(8 + p[0].size + p[1].size);
    PROMISE(file);
    for (int i = 0; i < 8; i++) file[i] = (uint8_t)((uint64_t)p[0].size >> (8 * i));
    memcpy(file + 8, p[0].data, p[0].size);
    memcpy(file + 8 + p[0].size, p[1].data, p[1].size);
    const char *path = put("t.safetensors", file, 8 + p[0].size + p[1].size);
    free(file);
    return path;
}

static int safetensors_header(const uint8_t *data, size_t size) { return safetensors_at(framed_header(data, size)); }

static int features_at(const char *path)
{
    ft_features f;
    int rc = ft_features_read(&f, path);
    if (rc < 0) return rc;
    PROMISE(f.n > 0 && f.width > 0 && f.frames >= 0 && f.frames <= 1 << 20);
    for (int64_t i = 0; i < f.n; i++) {
        const ft_video_features *v = &f.video[i];
        PROMISE(name_holds(v->name) && v->snippets > 0);
        for (int64_t k = 0; k < v->snippets * f.width; k++) PROMISE(isfinite(v->value[k]));
        PROMISE(ft_features_find(&f, v->name) >= 0);
    }
    ft_features_free(&f);
    return rc;
}

static int features(const uint8_t *data, size_t size) { return features_at(framed_header(data, size)); }

static int npy(const uint8_t *data, size_t size)
{
    ft_npy a;
    const char *path = put("video.npy", data, size);
    int rc = ft_npy_read(&a, path);
    if (rc == FT_OK) {
        PROMISE(width_of(a.tensor.dtype) > 0);
        check_tensor(&a.tensor, a.file, size);
        ft_npy_free(&a);
    }
    features_at(folder);
    frames_at(path);
    return rc;
}

static int pth_at(const char *path)
{
    ft_safetensors st;
    char used[64];
    if (ft_pth_read(&st, path, "state_dict", used) == FT_OK) ft_safetensors_free(&st);
    int rc = ft_weights_file_read(&st, path, NULL, used);
    if (rc < 0) return rc;
    PROMISE(strlen(used) < sizeof used);
    check_tensors(&st);
    ft_safetensors_free(&st);
    return rc;
}

static int pth(const uint8_t *data, size_t size) { return pth_at(put("w.pth", data, size)); }

static void le(FILE *f, uint64_t v, int bytes)
{
    for (int i = 0; i < bytes; i++) fputc((int)(v >> (8 * i) & 255), f);
}

static uint32_t crc32_of(const uint8_t *data, size_t size)
{
    uint32_t c = ~0u;
    for (size_t i = 0; i < size; i++) {
        c ^= data[i];
        for (int k = 0; k < 8; k++) c = c >> 1 ^ (c & 1 ? 0xEDB88320u : 0);
    }
    return ~c;
}

/* a zip archive as torch.save writes it, nothing compressed */
static void zip(FILE *f, const char *const *name, const part *p, int n)
{
    long at[8], directory;
    for (int pass = 0; pass < 2; pass++) {
        directory = ftell(f);
        for (int i = 0; i < n; i++) {
            if (!pass) at[i] = ftell(f);
            le(f, pass ? 0x02014b50 : 0x04034b50, 4);
            if (pass) le(f, 20, 2);
            le(f, 20, 2), le(f, 0, 2), le(f, 0, 2), le(f, 0, 4);
            le(f, crc32_of(p[i].data, p[i].size), 4), le(f, p[i].size, 4), le(f, p[i].size, 4);
            le(f, strlen(name[i]), 2), le(f, 0, 2);
            if (pass) le(f, 0, 2), le(f, 0, 2), le(f, 0, 2), le(f, 0, 4), le(f, (uint64_t)at[i], 4);
            fputs(name[i], f);
            if (!pass) fwrite(p[i].data, 1, p[i].size, f);
        }
    }
    uint64_t length = (uint64_t)(ftell(f) - directory);
    le(f, 0x06054b50, 4), le(f, 0, 4), le(f, (uint64_t)n, 2), le(f, (uint64_t)n, 2);
    le(f, length, 4), le(f, (uint64_t)directory, 4), le(f, 0, 2);
}

/* the pickle of an archive with two storages */
static int pickle(const uint8_t *data, size_t size)
{
    static const uint8_t storage[256];
    static const char *const name[] = {"archive/data.pkl", "archive/data/0", "archive/data/1", "archive/version"};
    const part p[] = {{data, size}, {storage, sizeof storage}, {storage, 64}, {(const uint8_t *)"3\n", 2}};
    char *file;
    size_t length;
    FILE *f = open_memstream(&file, &length);
    PROMISE(f);
    zip(f, name, p, 4);
    PROMISE(fclose(f) == 0);
    const char *path = put("w.pth", file, length);
    free(file);
    return pth_at(path);
}

/* ---- clips and videos ------------------------------------------------------------------------------------------------------ */

static void check_store(const ft_clipstore *s, int64_t most)
{
    PROMISE(s->n_clip >= 0 && s->n_clip <= most && s->n_video >= 0 && s->frames > 0 && s->size > 0);
    touched = touch(s->pixels, (size_t)(s->n_clip * ft_clip_bytes(s)));
    for (int64_t i = 0; i < s->n_clip; i++) PROMISE(s->clip[i].video >= 0 && s->clip[i].video < s->n_video);
    for (int64_t i = 0; i < s->n_video; i++) {
        const ft_store_video *v = &s->video[i];
        PROMISE(name_holds(v->name) && name_holds(v->label) && name_holds(v->group) && name_holds(v->split));
        PROMISE(name_holds(v->source) && name_holds(v->sha256));
    }
}

/* a new file each time */
static int clipstore(const uint8_t *data, size_t size)
{
    ft_clipstore s;
    put("clips.h5", NULL, 0);
    const char *path = put("clips.h5", data, size);
    int rc = ft_clipstore_read(&s, path);
    /* the sanitizers', in the child; 71 is the fuzzer's limit of memory, which libhdf5 ran into (else RLIMIT_AS is the limit) */
    PROMISE(rc == FT_OK || !strstr(ft_error_message(), "ends with exit code") || strstr(ft_error_message(), "code 71"));
    if (rc < 0) return rc;
    check_store(&s, INT64_MAX);
    PROMISE(strlen(s.id) == 64);
    ft_clipstore_free(&s);
    PROMISE(ft_clipstore_head(&s, path, 1) == FT_OK);
    check_store(&s, 1);
    ft_clipstore_free(&s);
    return rc;
}

/* what a child sends that libhdf5 has turned against us */
static int clipstore_channel(const uint8_t *data, size_t size)
{
    int ends[2];
    ft_clipstore s = {.path = ft_strdup("clips.h5")};
    PROMISE(s.path && pipe(ends) == 0 && fcntl(ends[1], F_SETPIPE_SZ, 1 << 20) >= (int)size);
    PROMISE(write(ends[1], data, size) == (ssize_t)size && close(ends[1]) == 0);
    ft_store_channel c = {.path = s.path, .size = size, .most = INT64_MAX, .in = ends[0], .end = INFINITY};
    int rc = ft_store_take(&c, &s);
    if (rc == 1) check_store(&s, INT64_MAX);
    close(ends[0]);
    ft_clipstore_free(&s);
    return rc == 1 ? FT_OK : rc < 0 ? rc : FT_EDATA;
}

static int video_at(const char *path)
{
    enum { SIZE = 24, SHOWN = 6 };
    ft_video v;
    int rc = ft_video_open(&v, path);
    if (rc < 0) return rc;
    PROMISE(v.frames > 0 && v.width > 0 && v.height > 0 && isfinite(v.fps) && v.fps > 0);
    PROMISE(v.rotation == 0 || v.rotation == 90 || v.rotation == 180 || v.rotation == 270);
    for (int64_t i = 0; i < v.frames; i++) PROMISE(isfinite(v.time[i]) && v.time[i] >= 0);
    int64_t index[SHOWN], n = v.frames < SHOWN ? v.frames : SHOWN;
    for (int64_t i = 0; i < n; i++) index[i] = i * v.frames / n;
    for (int crop = FT_CROP_FIRST; rc == FT_OK && crop <= FT_CROP_LAST; crop++) {
        size_t bytes = (size_t)n * SIZE * SIZE * 3;
        uint8_t *rgb = malloc(bytes);
        PROMISE(rgb);
        rc = ft_video_frames(&v, index, n, SIZE, (ft_crop)crop, rgb);
        if (rc == FT_OK) touched = touch(rgb, bytes);
        free(rgb);
    }
    ft_video_close(&v);
    return rc;
}

static int video(const uint8_t *data, size_t size) { return video_at(put("video", data, size)); }

/* GDCM itself is not watched: what it does in the child is an error of the file. */
static int dicom(const uint8_t *data, size_t size)
{
    char plugin[4200];
    ft_plugin_path(plugin, sizeof plugin, "../libforty_dicom.so");
    setenv("FORTY_DICOM_PLUGIN", plugin, 1);
    int rc = video_at(put("file.dcm", data, size));
    unsetenv("FORTY_DICOM_PLUGIN");
    return rc;
}

/* ---- all ------------------------------------------------------------------------------------------------------------------- */

const ft_fuzz_target ft_fuzz_targets[] = {
    {"labels", labels},
    {"labels-folder", labels_folder},
    {"frames", frames},
    {"checksums", checksums},
    {"config", config},
    {"run-json", run_json},
    {"safetensors", safetensors},
    {"safetensors-header", safetensors_header},
    {"features", features},
    {"npy", npy},
    {"pth-zip", pth},
    {"pth-legacy", pth},
    {"pickle", pickle},
    {"clipstore", clipstore},
    {"clipstore-channel", clipstore_channel},
    {"video", video},
    {"dicom", dicom},
    {NULL, NULL},
};

const ft_fuzz_target *ft_fuzz_find(const char *name)
{
    for (const ft_fuzz_target *t = ft_fuzz_targets; t->name; t++)
        if (!strcmp(t->name, name)) return t;
    return NULL;
}
