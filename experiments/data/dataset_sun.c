/* SUN: folders whose names hold "positive" and "negative" (sundatabase_positive_part1, SUN-Positive), in them case1, case2, ...
 * of images; every frame of a positive case shows its polyp, none of a negative one does, so windows of a case are alike. The
 * cases of both are counted from 1: case3 of one is not case3 of the other.
 *
 * SUN-SEG: TrainDataset/, TestEasyDataset/, TestHardDataset/ (the tests with Seen/ and Unseen/), in each Frame/caseN_k/ and
 * Classification/classification.txt, `caseN_k CLASS` or `caseN_k/IMAGE CLASS`; N is the case. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/base/files.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/names.h"
#include "common/base/status.h"
#include "common/io/lookup.h"
#include "common/io/stills.h"
#include "common/io/table.h"
#include "experiments/data/datasets.h"
#include "experiments/data/windows.h"

static int no_memory(const char *path) { return FT_FAIL(FT_ENOMEM, "%s: no memory", path); }

/* ---- SUN ------------------------------------------------------------------------------------------------------------------- */

/* in letters of any case */
static bool holds(const char *name, const char *word)
{
    for (; *name; name++)
        if (!strncasecmp(name, word, strlen(word))) return true;
    return false;
}

static int read_case(ft_labels *l, const char *folder, const char *name, bool positive, const ft_list_words *w)
{
    static const char *const polyp[] = {"polyp"};
    char *path = ft_format("%s/%s", folder, name), *called = positive ? ft_strdup(name) : ft_format("negative-%s", name),
         **image = NULL;
    int n = 0, images = 0, rc = path && called ? FT_OK : no_memory(folder);
    int32_t *is = NULL;
    if (rc == FT_OK) rc = ft_numbered_names(path, &image, &n);
    for (int i = 0; i < n; i++) images += ft_still_name(image[i]);
    if (rc == FT_OK && !(is = ft_alloc_n(images + 1, sizeof *is))) rc = no_memory(path);
    for (int i = 0; rc == FT_OK && i < images; i++) is[i] = positive;
    ft_framed v = {called, path, "", is, images, polyp, 1, "normal", false};
    if (rc == FT_OK) rc = ft_windows_add(l, &v, w, NULL);
    ft_free_names(image, n);
    ft_free(is), ft_free(path), ft_free(called);
    return rc;
}

/* the cases of one folder */
static int read_part(ft_labels *l, const char *folder, bool positive, const ft_list_words *w, bool found[2])
{
    char **name;
    int n, rc = FT_OK;
    FT_TRY(ft_numbered_names(folder, &name, &n));
    for (int i = 0; rc == FT_OK && i < n; i++) {
        if (strncasecmp(name[i], "case", 4)) continue; /* annotation_txt */
        char *path = ft_format("%s/%s", folder, name[i]);
        if (!path) rc = no_memory(folder);
        else if (ft_is_dir(path)) found[positive] = true, rc = read_case(l, folder, name[i], positive, w);
        ft_free(path);
    }
    ft_free_names(name, n);
    return rc;
}

static int read_sun(ft_labels *l, const char *root, const ft_list_words *w)
{
    char **name;
    int n, rc = FT_OK;
    bool found[2] = {false, false};
    FT_TRY(ft_numbered_names(root, &name, &n));
    for (int i = 0; rc == FT_OK && i < n; i++) {
        bool positive = holds(name[i], "positive"), negative = holds(name[i], "negative");
        char *path = ft_format("%s/%s", root, name[i]);
        if (!path) rc = no_memory(root);
        else if (positive != negative && ft_is_dir(path)) rc = read_part(l, path, positive, w, found);
        ft_free(path);
    }
    ft_free_names(name, n);
    if (rc == FT_OK && !(found[0] && found[1]))
        rc = FT_FAIL(FT_EDATA,
                     "%s: %s in it. Folders such as sundatabase_positive_part1/case1 and sundatabase_negative_part1/case1, or "
                     "those of SUN-SEG (TrainDataset/Frame), are needed",
                     root,
                     found[1]   ? "no negative cases are"
                     : found[0] ? "no positive cases are"
                                : "no cases are");
    if (rc == FT_OK && l->n == 0)
        rc = FT_FAIL(FT_EDATA, "%s: no case has %d frames. Use a smaller --window (data.window)", root, w->window);
    if (rc == FT_OK) ft_log("%s: %d windows of %d frames", root, l->n, w->window);
    return rc;
}

/* ---- SUN-SEG --------------------------------------------------------------------------------------------------------------- */

typedef struct {
    ft_labels clip;      /* names and labels of classification.txt */
    ft_lookup backwards; /* from the last row, so that of a clip that stands there twice the first counts */
    const char *path;
} classes;

/* its first column is the clip, perhaps with an image; the rest is the class */
static int take_class(void *ctx, const ft_row *row)
{
    classes *c = ctx;
    if (row->fields < 2) return FT_FAIL(FT_EDATA, "%s:%d: a clip and its class are needed", row->path, row->line);
    size_t n = strcspn(row->field[0], "/");
    const ft_label *last = c->clip.n ? &c->clip.row[c->clip.n - 1] : NULL;
    if (last && !strncmp(last->video, row->field[0], n) && !last->video[n]) {
        if (!strcmp(last->label, row->field[1])) return FT_OK;
        return FT_FAIL(FT_EDATA, "%s:%d: %.*s is %.60s here, %.60s in line %d", row->path, row->line, (int)n, row->field[0],
                       row->field[1], last->label, last->line);
    }
    FT_TRY(ft_row_name(row, 0, "the name of the clip"));
    FT_TRY(ft_row_name(row, 1, "the class"));
    FT_TRY(ft_grow(&c->clip.row, (size_t)c->clip.n, sizeof *c->clip.row));
    ft_label *e = &c->clip.row[c->clip.n++];
    *e = (ft_label){.video = ft_format("%.*s", (int)n, row->field[0]), .label = ft_strdup(row->field[1]), .line = row->line};
    return e->video && e->label ? FT_OK : no_memory(row->path);
}

static int add_clip(ft_labels *l, const classes *c, const char *frames, const char *name)
{
    int64_t at = ft_lookup_find(&c->backwards, name, strlen(name));
    const ft_label *class = at < 0 ? NULL : &c->clip.row[c->clip.n - 1 - at];
    if (!class) return FT_FAIL(FT_EDATA, "%s: has no class for %s/%s", c->path, frames, name);
    FT_TRY(ft_check_name(name, strlen(name), frames, "the name of the clip"));
    char *file = ft_format("%s/%s", frames, name), *group = ft_format("%.*s", (int)strcspn(name, "_"), name);
    int rc =
        file && group
            ? ft_labels_add(
                  l, &(ft_label_texts){.video = name, .label = class->label, .group = group, .file = file, .line = class->line})
            : no_memory(frames);
    ft_free(file), ft_free(group);
    return rc;
}

static int read_seg(ft_labels *l, const char *root, const char *part, bool *found)
{
    char *frames = ft_format("%s/%s/Frame", root, part), *list = ft_format("%s/%s/Classification/classification.txt", root, part),
         **name = NULL;
    int n = 0, rc = frames && list ? FT_OK : no_memory(root);
    classes c = {.path = list};
    if (rc == FT_OK && ft_is_dir(frames)) {
        *found = true;
        rc = ft_table_read(list, 64u << 20, 0, take_class, &c);
        for (int i = 0; rc == FT_OK && i < c.clip.n; i++) {
            const char *clip = c.clip.row[c.clip.n - 1 - i].video;
            rc = ft_lookup_add(&c.backwards, clip, strlen(clip), i);
        }
        if (rc == FT_OK) ft_lookup_sort(&c.backwards), rc = ft_numbered_names(frames, &name, &n);
        for (int i = 0; rc == FT_OK && i < n; i++) rc = add_clip(l, &c, frames, name[i]);
    }
    ft_free_names(name, n);
    ft_lookup_free(&c.backwards);
    ft_labels_free(&c.clip);
    ft_free(frames), ft_free(list);
    return rc;
}

static int sun_read(ft_labels *l, const char *root, const ft_list_words *w, const ft_list_opt *opt)
{
    static const char *const parts[] = {"TrainDataset",           "TestEasyDataset", "TestEasyDataset/Seen",
                                        "TestEasyDataset/Unseen", "TestHardDataset", "TestHardDataset/Seen",
                                        "TestHardDataset/Unseen"};
    bool seg = false;
    (void)opt;
    int rc = (l->list[0] = ft_strdup(root)) ? FT_OK : no_memory(root);
    for (int i = 0; rc == FT_OK && i < 7; i++) rc = read_seg(l, root, parts[i], &seg);
    if (rc < 0 || !seg) return rc < 0 ? rc : read_sun(l, root, w);
    ft_log(
        "%s: SUN-SEG, %d clips with the class of their polyp. Its test lists are not used, as clips of a case stand in several",
        root, l->n);
    return FT_OK;
}

const ft_dataset ft_dataset_sun = {
    .help = "SUN: *positive*/caseN, *negative*/caseN; windows of --window frames, with a polyp or without. SUN-SEG: clips "
            "with the class of their polyp",
    .warning = "its normal frames are of 13 cases: what tells these cases tells the class. No list says which cases are of one "
               "patient",
    .read = sun_read};
