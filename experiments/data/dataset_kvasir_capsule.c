/* Kvasir-Capsule: labelled_videos/VIDEOID.mp4 and metadata.csv
 * (filename;video_id;frame_number;finding_category;finding_class;...), or the official split_0.csv and split_1.csv
 * (VIDEOID_FRAME.jpg,class). Few frames of a video have a label: windows without one say nothing and are left out. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/base/files.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/names.h"
#include "common/base/status.h"
#include "common/io/table.h"
#include "experiments/data/datasets.h"
#include "experiments/data/windows.h"

typedef struct {
    char *name;
    ft_frame_labels frame;
} video;

typedef struct {
    video *v;
    int n, rows, at[3]; /* at: columns of the video, the frame, the finding; [1] -1: both stand in the first */
    char *label[FT_FRAME_LABELS];
    int labels;
} capsule;

static int no_memory(const char *path) { return FT_FAIL(FT_ENOMEM, "%s: no memory", path); }

static int label_called(capsule *c, const ft_row *row, int field)
{
    for (int k = 0; k < c->labels; k++)
        if (!strcmp(c->label[k], row->field[field])) return k;
    FT_TRY(ft_row_name(row, field, "the finding"));
    if (c->labels == FT_FRAME_LABELS)
        return FT_FAIL(FT_EDATA, "%s:%d: more than %d findings", row->path, row->line, FT_FRAME_LABELS);
    if (!(c->label[c->labels] = ft_strdup(row->field[field]))) return no_memory(row->path);
    return c->labels++;
}

static int video_called(capsule *c, const char *name, size_t n, const ft_row *row, video **of)
{
    for (int i = c->n - 1; i >= 0; i--)
        if (!strncmp(c->v[i].name, name, n) && !c->v[i].name[n]) {
            *of = &c->v[i];
            return FT_OK;
        }
    FT_TRY(ft_check_name(name, n, row->path, "the name of the video"));
    FT_TRY(ft_grow(&c->v, (size_t)c->n, sizeof *c->v));
    c->v[c->n] = (video){.name = ft_format("%.*s", (int)n, name)};
    if (!c->v[c->n].name) return no_memory(row->path);
    *of = &c->v[c->n++];
    return FT_OK;
}

static int header(capsule *c, const ft_row *row)
{
    static const char *const names[3][3] = {
        {"video_id", "filename", "filename"}, {"frame_number", "", ""}, {"finding_class", "label", ""}};
    for (int k = 0; k < 3; k++) {
        c->at[k] = -1;
        for (int q = 0; q < 3 && c->at[k] < 0 && *names[k][q]; q++)
            for (int i = 0; i < row->fields; i++)
                if (!strcasecmp(row->field[i], names[k][q])) c->at[k] = i;
    }
    if (c->at[0] < 0 || c->at[2] < 0)
        return FT_FAIL(FT_EDATA, "%s:%d: columns video_id, frame_number, finding_class, or filename, label are needed", row->path,
                       row->line);
    return FT_OK;
}

static int take_row(void *ctx, const ft_row *row)
{
    capsule *c = ctx;
    if (c->rows++ == 0) return header(c, row);
    for (int k = 0; k < 3; k++)
        if (c->at[k] >= row->fields) return FT_FAIL(FT_EDATA, "%s:%d: columns are missing", row->path, row->line);
    const char *name = row->field[c->at[0]], *number = c->at[1] < 0 ? strrchr(name, '_') : row->field[c->at[1]];
    size_t n = number && c->at[1] < 0 ? (size_t)(number - name) : strlen(name);
    char *end = NULL;
    if (number && c->at[1] < 0) number++;
    int64_t frame = number ? strtoll(number, &end, 10) : -1;
    if (!number || end == number || (*end && *end != '.') || frame < 0 || frame >= FT_MOST_FRAMES || n == 0)
        return FT_FAIL(FT_EDATA, "%s:%d: '%.80s' does not name a video and the number of a frame", row->path, row->line, name);
    video *v = NULL;
    int k = label_called(c, row, c->at[2]);
    FT_TRY(k < 0 ? k : FT_OK);
    FT_TRY(video_called(c, name, n, row, &v));
    return ft_frame_labels_set(&v->frame, frame, 1 << k);
}

static int read_list(capsule *c, const char *root, const char *name, bool *found)
{
    char *path = ft_format("%s/%s", root, name);
    int rc = path ? FT_OK : no_memory(root);
    c->rows = 0;
    if (rc == FT_OK && ft_exists(path)) *found = true, rc = ft_table_read(path, 64u << 20, 0, take_row, c);
    ft_free(path);
    return rc;
}

static int windows_of(ft_labels *l, const capsule *c, const char *root, const ft_list_words *w)
{
    static const char *const folder[] = {"labelled_videos/", "labeled_videos/", "videos/", ""};
    int64_t unseen = 0;
    int rc = FT_OK, absent = 0;
    for (int i = 0; rc == FT_OK && i < c->n; i++) {
        char *file = NULL;
        for (int k = 0; rc == FT_OK && k < 4 && !file; k++) {
            file = ft_format("%s/%s%s.mp4", root, folder[k], c->v[i].name);
            if (!file) rc = no_memory(root);
            else if (!ft_exists(file)) ft_free(file), file = NULL;
        }
        ft_framed v = {c->v[i].name, file,        "",  c->v[i].frame.is, c->v[i].frame.frames, (const char *const *)c->label,
                       c->labels,    FT_NO_LABEL, true};
        if (file) rc = ft_windows_add(l, &v, w, &unseen);
        else if (rc == FT_OK && absent++ == 0)
            ft_warn("%s: there is no %s.mp4 in labelled_videos/; its frames are left out", root, c->v[i].name);
        ft_free(file);
    }
    if (rc == FT_OK && absent > 1) ft_warn("%s: %d of %d videos are not there", root, absent, c->n);
    if (rc == FT_OK && l->n == 0)
        rc = FT_FAIL(FT_EDATA,
                     "%s: no window of %d labelled frames in labelled_videos/VIDEOID.mp4. Give the folder that holds it, or a "
                     "smaller --window (data.window)",
                     root, w->window);
    if (rc == FT_OK)
        ft_log("%s: %d windows of %d frames with a finding; %lld without are left out", root, l->n, w->window, (long long)unseen);
    return rc;
}

static int kvasir_capsule_read(ft_labels *l, const char *root, const ft_list_words *w, const ft_list_opt *opt)
{
    static const char *const splits[] = {"split_0.csv", "split_1.csv", "official_splits/split_0.csv",
                                         "official_splits/split_1.csv"};
    capsule c = {.n = 0};
    bool found = false;
    (void)opt;
    int rc = (l->list[0] = ft_strdup(root)) ? FT_OK : no_memory(root);
    if (rc == FT_OK) rc = read_list(&c, root, "metadata.csv", &found);
    for (int i = 0, whole = found; rc == FT_OK && !whole && i < 4; i++) rc = read_list(&c, root, splits[i], &found);
    if (rc == FT_OK && !found)
        rc = FT_FAIL(FT_EIO,
                     "%s: neither metadata.csv nor split_0.csv and split_1.csv are there. Give the folder that holds them", root);
    if (rc == FT_OK) rc = windows_of(l, &c, root, w);
    for (int i = 0; i < c.n; i++) ft_free(c.v[i].name), ft_free(c.v[i].frame.is);
    for (int i = 0; i < c.labels; i++) ft_free(c.label[i]);
    ft_free(c.v);
    return rc;
}

const ft_dataset ft_dataset_kvasir_capsule = {
    .help = "Kvasir-Capsule: metadata.csv or split_0.csv and split_1.csv, labelled_videos/ID.mp4; windows of --window frames, "
            "the finding",
    .warning = "its two official splits share videos and are not used: each video is a group. Frame numbers are counted from 0; "
               "frames without a label are not normal, nobody looked at them",
    .read = kvasir_capsule_read};
