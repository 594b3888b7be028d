/* Cholec80: videos/videoNN.mp4 (25 frames a second), phase_annotations/videoNN-phase.txt (`Frame Phase`, every frame),
 * tool_annotations/videoNN-tool.txt (`Frame` and seven columns of 0 and 1, every 25th frame).
 * CholecT50: videos/VIDNN/000000.png ... (one a second), labels/VIDNN.json: {"categories": {"instrument": {"0": "grasper", ...},
 * "phase": {...}}, "annotations": {"0": [[15 numbers], ...], ...}}; of the 15 the second is the instrument, the last the phase,
 * -1 none (the format page of its repository).
 * Both: the phase, of which a frame has one, or, with data.multilabel, the tools. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/files.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/names.h"
#include "common/base/status.h"
#include "common/io/table.h"
#include "experiments/data/datasets.h"
#include "experiments/data/windows.h"

typedef struct {
    ft_labels *l;
    const char *root, *path; /* path: of the list that is read */
    const ft_list_words *w;
    ft_frame_labels frame;        /* of one video */
    char *label[FT_FRAME_LABELS]; /* of all */
    int labels;
    int64_t unseen, absent;
} cholec;

static int no_memory(const char *path) { return FT_FAIL(FT_ENOMEM, "%s: no memory", path); }

/* number of the label, which is new or known; negative: status */
static int label_called(cholec *c, const char *name)
{
    for (int k = 0; k < c->labels; k++)
        if (!strcmp(c->label[k], name)) return k;
    if (c->labels == FT_FRAME_LABELS) return FT_FAIL(FT_EDATA, "%s: more than %d labels", c->path, FT_FRAME_LABELS);
    FT_TRY(ft_check_name(name, strlen(name), c->path, "the label"));
    if (!(c->label[c->labels] = ft_strdup(name))) return no_memory(c->path);
    return c->labels++;
}

/* Cuts the labelled frames of a video into windows. split may be "". */
static int add_video(cholec *c, const char *name, const char *file, const char *split)
{
    ft_framed v = {.name = name,
                   .file = file,
                   .split = split,
                   .is = c->frame.is,
                   .frames = c->frame.frames,
                   .label = (const char *const *)c->label,
                   .labels = c->labels,
                   .none = FT_NO_LABEL,
                   .one = !c->w->multilabel};
    if (ft_exists(file)) return ft_windows_add(c->l, &v, c->w, &c->unseen);
    if (c->absent++ == 0) ft_warn("%s: is not there; its annotations are left out", file);
    return FT_OK;
}

static int begin(cholec *c, ft_labels *l, const char *root, const ft_list_words *w)
{
    *c = (cholec){.l = l, .root = root, .w = w};
    return (l->list[0] = ft_strdup(root)) ? FT_OK : no_memory(root);
}

static int end(cholec *c, int rc, const char *layout)
{
    if (rc == FT_OK && c->l->n == 0)
        rc = FT_FAIL(FT_EDATA,
                     "%s: no window of %d frames in %s. Give the folder that holds them, or a smaller --window (data.window)",
                     c->root, c->w->window, layout);
    if (rc == FT_OK)
        ft_log("%s: %d windows of %d frames, %s; %lld windows without annotation are left out", c->root, c->l->n, c->w->window,
               c->w->multilabel ? "with their tools" : "with their phase", (long long)c->unseen);
    for (int i = 0; i < c->labels; i++) ft_free(c->label[i]);
    ft_free(c->frame.is);
    return rc;
}

/* Every list of the folder in ROOT, whose names end alike. layout: for messages */
static int read_lists(ft_labels *l, const char *root, const ft_list_words *w, const char *folder, const char *ending,
                      const char *layout, int (*video)(cholec *c, const char *folder, const char *list, const char *ending))
{
    cholec c;
    char **list = NULL, *path = ft_format("%s/%s", root, folder);
    int n = 0, rc = begin(&c, l, root, w);
    if (rc == FT_OK && !path) rc = no_memory(root);
    if (rc == FT_OK && ft_is_dir(path)) rc = ft_numbered_names(path, &list, &n);
    for (int i = 0; rc == FT_OK && i < n; i++) {
        size_t of = strlen(list[i]), has = strlen(ending);
        if (of > has && !strcmp(list[i] + of - has, ending)) rc = video(&c, path, list[i], ending);
    }
    rc = end(&c, rc, layout);
    ft_free_names(list, n);
    ft_free(path);
    return rc;
}

/* ---- Cholec80 ------------------------------------------------------------------------------------------------------------ */

static int take_row(void *ctx, const ft_row *row)
{
    cholec *c = ctx;
    char *end;
    int32_t is = 0;
    if (row->fields < 2) return FT_FAIL(FT_EDATA, "%s:%d: columns Frame and more are needed", row->path, row->line);
    if (!strcmp(row->field[0], "Frame")) {
        for (int i = 1; c->w->multilabel && i < row->fields; i++) {
            int k = label_called(c, row->field[i]);
            FT_TRY(k < 0 ? k : FT_OK);
            if (k != i - 1)
                return FT_FAIL(FT_EDATA, "%s:%d: the tool %s stands elsewhere in other lists, or twice", row->path, row->line,
                               row->field[i]);
        }
        return FT_OK;
    }
    int64_t frame = strtoll(row->field[0], &end, 10);
    if (*end || end == row->field[0] || frame < 0 || frame >= FT_MOST_FRAMES)
        return FT_FAIL(FT_EDATA, "%s:%d: '%.40s' is not the number of a frame", row->path, row->line, row->field[0]);
    if (c->w->multilabel && row->fields != c->labels + 1)
        return FT_FAIL(FT_EDATA, "%s:%d: %d columns, the header has %d", row->path, row->line, row->fields, c->labels + 1);
    for (int i = 1; c->w->multilabel && i < row->fields; i++) {
        if (strcmp(row->field[i], "0") && strcmp(row->field[i], "1"))
            return FT_FAIL(FT_EDATA, "%s:%d: '%.40s' is neither 0 nor 1", row->path, row->line, row->field[i]);
        is |= (*row->field[i] == '1') << (i - 1);
    }
    if (!c->w->multilabel) {
        int k = label_called(c, row->field[1]);
        FT_TRY(k < 0 ? k : FT_OK);
        is = 1 << k;
    }
    return ft_frame_labels_set(&c->frame, frame, is);
}

static int cholec80_video(cholec *c, const char *folder, const char *list, const char *ending)
{
    int n = (int)(strlen(list) - strlen(ending));
    char *path = ft_format("%s/%s", folder, list), *name = ft_format("%.*s", n, list),
         *file = ft_format("%s/videos/%.*s.mp4", c->root, n, list);
    int rc = path && name && file ? FT_OK : no_memory(folder), number = 0;
    c->path = path, c->frame.frames = 0;
    if (rc == FT_OK) rc = ft_table_read(path, 64u << 20, 0, take_row, c);
    bool numbered = rc == FT_OK && sscanf(name, "video%d", &number) == 1;
    if (rc == FT_OK) rc = add_video(c, name, file, !numbered ? "" : number <= 40 ? "train" : "test");
    ft_free(path), ft_free(name), ft_free(file);
    return rc;
}

static int cholec80_read(ft_labels *l, const char *root, const ft_list_words *w, const ft_list_opt *opt)
{
    (void)opt;
    FT_TRY(w->multilabel
               ? read_lists(l, root, w, "tool_annotations", "-tool.txt", "tool_annotations/*-tool.txt", cholec80_video)
               : read_lists(l, root, w, "phase_annotations", "-phase.txt", "phase_annotations/*-phase.txt", cholec80_video));
    if (w->window < 25) ft_log("%s: 25 frames are a second: --window 250 --stride 15, for example, looks at ten", root);
    return FT_OK;
}

const ft_dataset ft_dataset_cholec80 = {
    .help = "Cholec80: videos/, phase_annotations/; windows of --window frames, the phase. With --multilabel: tool_annotations/",
    .warning = "videos 1 to 40 train and 41 to 80 test, as usual. CholecT50 and Cholec80 share videos, by their numbers",
    .read = cholec80_read};

/* ---- CholecT50 ----------------------------------------------------------------------------------------------------------- */

enum { INSTRUMENT = 1, PHASE = 14, NUMBERS = 15 };

/* the official folds of its cross-validation (the page on splits in its repository: cholect50-crossval) */
static const char *fold_of(int video)
{
    static const int folds[5][10] = {{79, 2, 51, 6, 25, 14, 66, 23, 50, 111},
                                     {80, 32, 5, 15, 40, 47, 26, 48, 70, 96},
                                     {31, 57, 36, 18, 52, 68, 10, 8, 73, 103},
                                     {42, 29, 60, 27, 65, 75, 22, 49, 12, 110},
                                     {78, 43, 62, 35, 74, 1, 56, 4, 13, 92}};
    static const char *const name[] = {"1", "2", "3", "4", "5"};
    for (int i = 0; i < 50; i++)
        if (folds[i / 10][i % 10] == video) return name[i / 10];
    return "";
}

/* What one frame's instances say, as bits. A frame without a phase is one that nobody looked at. */
static int frame_label(cholec *c, const json_t *names, const json_t *instances, const char *frame, int32_t *is)
{
    int which = c->w->multilabel ? INSTRUMENT : PHASE;
    size_t i;
    json_t *one;
    if (!json_is_array(instances)) return FT_FAIL(FT_EDATA, "%s: frame %s has no list of annotations", c->path, frame);
    *is = c->w->multilabel ? 0 : FT_NOT_LOOKED_AT;
    json_array_foreach(instances, i, one)
    {
        json_t *id = json_array_get(one, (size_t)which);
        if (json_array_size(one) != NUMBERS || !json_is_number(id))
            return FT_FAIL(FT_EDATA, "%s: an annotation of frame %s is not a list of %d numbers", c->path, frame, NUMBERS);
        char key[32];
        snprintf(key, sizeof key, "%.0f", json_number_value(id));
        const char *name = json_string_value(json_object_get(names, key));
        if (json_number_value(id) < 0) continue;
        if (!name) return FT_FAIL(FT_EDATA, "%s: frame %s names %s, which its categories do not know", c->path, frame, key);
        int k = label_called(c, name);
        FT_TRY(k < 0 ? k : FT_OK);
        *is = *is == FT_NOT_LOOKED_AT ? 1 << k : *is | 1 << k;
    }
    return FT_OK;
}

/* Frame k of the video is its k-th image, whose name is the number that the annotations know it by. */
static int cholect50_frames(cholec *c, const json_t *file, const char *images)
{
    char **image = NULL;
    int n = 0;
    const json_t *names = json_object_get(json_object_get(file, "categories"), c->w->multilabel ? "instrument" : "phase"),
                 *all = json_object_get(file, "annotations");
    if (!json_is_object(names) || !json_is_object(all))
        return FT_FAIL(FT_EDATA, "%s: categories and annotations are needed. Fetch it again", c->path);
    FT_TRY(ft_numbered_names(images, &image, &n));
    int rc = FT_OK;
    for (int k = 0; rc == FT_OK && k < n; k++) {
        char key[32];
        int32_t is = FT_NOT_LOOKED_AT;
        snprintf(key, sizeof key, "%ld", strtol(image[k], NULL, 10));
        json_t *instances = json_object_get(all, key);
        if (instances) rc = frame_label(c, names, instances, key, &is);
        if (rc == FT_OK) rc = ft_frame_labels_set(&c->frame, k, is);
    }
    ft_free_names(image, n);
    return rc;
}

static int cholect50_video(cholec *c, const char *folder, const char *list, const char *ending)
{
    int n = (int)(strlen(list) - strlen(ending)), number = 0;
    char *path = ft_format("%s/%s", folder, list), *name = ft_format("%.*s", n, list),
         *images = ft_format("%s/videos/%.*s", c->root, n, list), *text = NULL;
    size_t size;
    int rc = path && name && images ? FT_OK : no_memory(c->root);
    c->path = path, c->frame.frames = 0;
    if (rc == FT_OK) rc = ft_read_file(path, 256u << 20, &text, &size);
    json_t *file = rc == FT_OK ? json_loads(text, 0, NULL) : NULL;
    if (rc == FT_OK && ft_json_lacked()) rc = no_memory(path);
    else if (rc == FT_OK && !json_is_object(file)) rc = FT_FAIL(FT_EDATA, "%s: is no JSON. Fetch it again", path);
    if (rc == FT_OK && ft_is_dir(images)) rc = cholect50_frames(c, file, images);
    bool numbered = rc == FT_OK && sscanf(name, "VID%d", &number) == 1;
    if (rc == FT_OK) rc = add_video(c, name, images, numbered ? fold_of(number) : "");
    json_decref(file);
    ft_free(text), ft_free(path), ft_free(name), ft_free(images);
    return rc;
}

static int cholect50_read(ft_labels *l, const char *root, const ft_list_words *w, const ft_list_opt *opt)
{
    (void)opt;
    return read_lists(l, root, w, "labels", ".json", "labels/VIDNN.json", cholect50_video);
}

const ft_dataset ft_dataset_cholect50 = {
    .help = "CholecT50: videos/VIDNN/, labels/VIDNN.json; windows of --window frames, the phase. With --multilabel: the "
            "instruments",
    .warning = "its frames are one a second (--fps 1), those of views from outside the body black. CholecT50 and Cholec80 share "
               "videos, by their numbers. Its five folds are those of evaluation: cross-validation",
    .read = cholect50_read};
