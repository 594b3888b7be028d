#include "experiments/data/datasets.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "common/base/files.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/io/lookup.h"

static int no_memory(const char *path) { return FT_FAIL(FT_ENOMEM, "%s: no memory", path); }

/* ---- BUV (CVA-Net): rawframes/{benign,malignant}/ID, imagenet_vid_{train_15frames,val}.json ---------------------------- */

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

/* ---- Cataract-101: VideoID 269 is case_269.mp4 -------------------------------------------------------------------------- */

static int cataract_check(ft_labels *l, const char *root)
{
    for (int i = 0; i < l->n; i++) {
        char *name = ft_format("case_%s", l->row[i].video);
        if (!name) return no_memory(root);
        ft_free(l->row[i].video);
        l->row[i].video = name;
    }
    return FT_OK;
}

/* ---- videos without labels ---------------------------------------------------------------------------------------------- */

static int unlabelled_read(ft_labels *l, const char *root, const ft_list_words *w, const ft_list_opt *opt)
{
    (void)w, (void)opt;
    return ft_labels_from_files(l, root);
}

/* ---- the table ---------------------------------------------------------------------------------------------------------- */

static const ft_dataset datasets[] = {
    {.name = "echonet",
     .help = "EchoNet-Dynamic: FileList.csv, Videos/*.avi; EF by --threshold or --bins",
     .videos = "Videos",
     .list = "FileList.csv",
     .columns = "video=FileName,label=EF,group=,split=Split", /* a video a patient */
     .leave_out = "ESV,EDV",                                  /* EF is made of them */
     .measured = true},
    {.name = "echonet-pediatric",
     .help = "EchoNet-Pediatric, its folder A4C or PSAX: the same, with ten folds",
     .videos = "Videos",
     .list = "FileList.csv",
     .columns = "video=FileName,label=EF,group=,split=Split",
     .measured = true,
     .warning = "a patient may stand in A4C and in PSAX: do not take one to train and the other to test"},
    {.name = "hyperkvasir",
     .help = "HyperKvasir: labeled-videos/video-labels.csv; the finding",
     .videos = "labeled-videos",
     .list = "video-labels.csv|labeled-videos/video-labels.csv|labeled-videos.csv|hyper-kvasir-video-metadata.csv",
     .columns = "video=Video file|file-name|filename,label=Finding 1|finding,group=,split=",
     .warning =
         "it names no patients: several videos of one patient may stand on both sides of a split. PolypDiag's normal videos are "
         "cut from it"},
    {.name = "kvasir-capsule",
     .help = "Kvasir-Capsule: metadata.csv or split_0.csv and split_1.csv, labelled_videos/ID.mp4; windows of --window frames, "
             "the finding",
     .warning = "its two official splits share videos and are not used: each video is a group. Frame numbers are counted from 0; "
                "frames without a label are not normal, nobody looked at them",
     .read = ft_kvasir_capsule_read},
    {.name = "polypdiag",
     .help = "PolypDiag: splits/train.txt and val.txt, videos/*.mp4",
     .videos = "videos",
     .list = "splits",
     .warning =
         "its normal videos are about 20 times as long as those with a polyp, so that the length tells the class: spread the "
         "clips over the whole video (--sampler uniform or dense)"},
    {.name = "pocus",
     .help = "POCUS (COVID-19 lung ultrasound): dataset_metadata.csv, videos in convex/ and linear/",
     .list = "dataset_metadata.csv|data/dataset_metadata.csv",
     .columns = "video=Filename,label=Label,group=Patient ID / Name,split=",
     .warning = "its list also names videos that must be fetched elsewhere: --on-error skip leaves out what is not there"},
    {.name = "buv",
     .help = "BUV (CVA-Net), breast ultrasound: rawframes/{benign,malignant}/ID, *train*.json and *val.json",
     .videos = "rawframes",
     .folders = true,
     .warning =
         "videos of one patient share frames and no list says whose they are: look at the twins that an experiment reports",
     .check = buv_check},
    {.name = "cataract101",
     .help = "Cataract-101: videos.csv, videos/case_*.mp4; the surgeon's experience",
     .videos = "videos",
     .list = "videos.csv",
     .columns = "video=VideoID,label=Experience,group=Surgeon,split=",
     .warning = "experience is a fact about four surgeons: who tells them apart tells it. Each surgeon is a group, on one side "
                "of a split",
     .check = cataract_check},
    {.name = "ldpolyp",
     .help = "LDPolypVideo: Images/N, Annotations/N; windows of --window frames, with a polyp or without",
     .warning = "videos of one patient are not named: each video is a group. PolypDiag's videos with polyps are cut from it",
     .read = ft_ldpolyp_read},
    {.name = "sun",
     .help = "SUN: *positive*/caseN, *negative*/caseN; windows of --window frames, with a polyp or without. SUN-SEG: clips "
             "with the class of their polyp",
     .warning = "its normal frames are of 13 cases: what tells these cases tells the class. No list says which cases are of one "
                "patient",
     .read = ft_sun_read},
    {.name = "cholec80",
     .help = "Cholec80: videos/, phase_annotations/; windows of --window frames, the phase. With --multilabel: tool_annotations/",
     .warning = "videos 1 to 40 train and 41 to 80 test, as usual. CholecT50 and Cholec80 share videos, by their numbers",
     .read = ft_cholec80_read},
    {.name = "cholect50",
     .help = "CholecT50: videos/VIDNN/, labels/VIDNN.json; windows of --window frames, the phase. With --multilabel: the "
             "instruments",
     .warning = "its frames are one a second (--fps 1), those of views from outside the body black. CholecT50 and Cholec80 share "
                "videos, by their numbers. Its five folds are those of evaluation: cross-validation",
     .read = ft_cholect50_read},
    {.name = "mmaction",
     .help = "lists of MMAction2, V-JEPA: `PATH LABEL` or `FOLDER FRAMES LABEL`, given with --labels",
     .columns = "video=1,label=-1"},
    {.name = "dicom",
     .help = "DICOM files in folders of folders; labels by --labels, groups are the patients that the files name",
     .read = ft_dicom_read,
     .found = ft_dicom_groups},
    {.name = "folders", .help = "a folder per class", .folders = true},
    {.name = "unlabelled", .help = "a folder of videos without labels: for data.unlabelled", .read = unlabelled_read},
};
enum { DATASETS = sizeof datasets / sizeof *datasets };

const ft_dataset *ft_dataset_at(int i) { return i >= 0 && i < DATASETS ? &datasets[i] : NULL; }

const ft_dataset *ft_dataset_find(const char *name)
{
    for (int i = 0; i < DATASETS; i++)
        if (!strcmp(datasets[i].name, name)) return &datasets[i];
    return NULL;
}
