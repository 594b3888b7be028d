/* BUV (CVA-Net): rawframes/{benign,malignant}/ID, imagenet_vid_{train_15frames,val}.json. */
#include <jansson.h>
#include <string.h>

#include "common/base/files.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/io/lookup.h"
#include "experiments/data/datasets.h"

static int no_memory(const char *path) { return FT_FAIL(FT_ENOMEM, "%s: no memory", path); }

/* One video is in both folders: what it shows cannot be known, so neither copy is taken. */
static int drop_both(ft_labels *l)
{
    ft_lookup all = {0};
    int rc = FT_OK;
    bool *twice = ft_alloc_n(l->n + 1, sizeof *twice);
    int *first = ft_alloc_n(l->n + 1, sizeof *first); /* row + 1 */
    if (!twice || !first) rc = no_memory("BUV");
    for (int i = 0; rc == FT_OK && i < l->n; i++) {
        const char *id = ft_base_name(l->row[i].video);
        rc = ft_lookup_add(&all, id, strlen(id), i);
    }
    if (rc == FT_OK) ft_lookup_sort(&all);
    for (int i = 0; rc == FT_OK && i < l->n; i++) {
        const char *id = ft_base_name(l->row[i].video);
        int *at = &first[ft_lookup_find(&all, id, strlen(id))];
        if (!*at) *at = i + 1;
        else if (strcmp(l->row[*at - 1].label, l->row[i].label)) {
            ft_warn("%s and %s are one video under two labels; both are left out", l->row[*at - 1].video, l->row[i].video);
            twice[*at - 1] = twice[i] = true;
        }
    }
    for (int i = l->n - 1; rc == FT_OK && i >= 0; i--)
        if (twice[i]) ft_labels_drop(l, i);
    ft_lookup_free(&all);
    ft_free(twice);
    ft_free(first);
    return rc;
}

/* Marks the videos whose frames a COCO file names: "images": [{"file_name": "benign/ID/000001.png"}, ...] */
static int mark_split(ft_labels *l, const ft_lookup *index, const char *path, const char *split)
{
    char *text;
    size_t size, k;
    FT_TRY(ft_read_file(path, 0, &text, &size));
    json_t *file = json_loads(text, 0, NULL), *images = json_object_get(file, "images"), *image;
    int rc = ft_json_lacked()        ? no_memory(path) /* it may lack a part */
             : json_is_array(images) ? FT_OK
                                     : FT_FAIL(FT_EDATA, "%s: no list of images. Fetch it again", path);
    ft_free(text);
    json_array_foreach(images, k, image)
    {
        const char *name = json_string_value(json_object_get(image, "file_name")), *end = name ? strrchr(name, '/') : NULL;
        int64_t i = end ? ft_lookup_find(index, name, (size_t)(end - name)) : -1;
        if (rc < 0) break;
        if (i < 0 || !strcmp(l->row[i].split, split)) continue;
        if (*l->row[i].split) {
            rc = FT_FAIL(FT_EDATA, "%s: %s is in the other list, too", path, l->row[i].video);
            break;
        }
        ft_free(l->row[i].split);
        if (!(l->row[i].split = ft_strdup(split))) {
            rc = no_memory(path);
            break;
        }
    }
    json_decref(file);
    return rc;
}

static int buv_check(ft_labels *l, const char *root)
{
    static const struct {
        const char *file, *split;
    } list[] = {{"imagenet_vid_train_15frames.json", "train"},
                {"train.json", "train"},
                {"imagenet_vid_val.json", "test"},
                {"val.json", "test"}};
    ft_lookup index = {0};
    int rc = drop_both(l), found = 0;
    for (int i = 0; rc == FT_OK && i < l->n; i++) rc = ft_lookup_add(&index, l->row[i].video, strlen(l->row[i].video), i);
    if (rc == FT_OK) ft_lookup_sort(&index);
    for (int k = 0; rc == FT_OK && k < 4; k++) {
        char *path = ft_format("%s/%s", root, list[k].file);
        if (!path) rc = no_memory(root);
        else if (ft_exists(path)) found++, rc = mark_split(l, &index, path, list[k].split);
        ft_free(path);
    }
    if (rc == FT_OK && found) ft_log("%s: its validation list is the test list: there is no other", root);
    ft_lookup_free(&index);
    return rc;
}

const ft_dataset ft_dataset_buv = {
    .help = "BUV (CVA-Net), breast ultrasound: rawframes/{benign,malignant}/ID, *train*.json and *val.json",
    .videos = "rawframes",
    .folders = true,
    .warning = "videos of one patient share frames and no list says whose they are: look at the twins that an experiment reports",
    .check = buv_check};
