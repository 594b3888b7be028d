#include "experiments/data/datasets.h"

#include <string.h>

#include "common/base/memory.h"
#include "common/base/status.h"

static int no_memory(const char *path) { return FT_FAIL(FT_ENOMEM, "%s: no memory", path); }

/* ---- those whose lists are tables ---------------------------------------------------------------------------------------- */

const ft_dataset ft_dataset_echonet = {.help = "EchoNet-Dynamic: FileList.csv, Videos/*.avi; EF by --threshold or --bins",
                                       .videos = "Videos",
                                       .list = "FileList.csv",
                                       .columns = "video=FileName,label=EF,group=,split=Split", /* a video a patient */
                                       .leave_out = "ESV,EDV",                                  /* EF is made of them */
                                       .measured = true};

const ft_dataset ft_dataset_echonet_pediatric = {
    .help = "EchoNet-Pediatric, its folder A4C or PSAX: the same, with ten folds",
    .videos = "Videos",
    .list = "FileList.csv",
    .columns = "video=FileName,label=EF,group=,split=Split",
    .measured = true,
    .warning = "a patient may stand in A4C and in PSAX: do not take one to train and the other to test"};

const ft_dataset ft_dataset_hyperkvasir = {
    .help = "HyperKvasir: labeled-videos/video-labels.csv; the finding",
    .videos = "labeled-videos",
    .list = "video-labels.csv|labeled-videos/video-labels.csv|labeled-videos.csv|hyper-kvasir-video-metadata.csv",
    .columns = "video=Video file|file-name|filename,label=Finding 1|finding,group=,split=",
    .warning =
        "it names no patients: several videos of one patient may stand on both sides of a split. PolypDiag's normal videos are "
        "cut from it"};

const ft_dataset ft_dataset_polypdiag = {
    .help = "PolypDiag: splits/train.txt and val.txt, videos/*.mp4",
    .videos = "videos",
    .list = "splits",
    .warning =
        "its normal videos are about 20 times as long as those with a polyp, so that the length tells the class: spread the "
        "clips over the whole video (--sampler uniform or dense)"};

const ft_dataset ft_dataset_pocus = {
    .help = "POCUS (COVID-19 lung ultrasound): dataset_metadata.csv, videos in convex/ and linear/",
    .list = "dataset_metadata.csv|data/dataset_metadata.csv",
    .columns = "video=Filename,label=Label,group=Patient ID / Name,split=",
    .warning = "its list also names videos that must be fetched elsewhere: --on-error skip leaves out what is not there"};

const ft_dataset ft_dataset_mmaction = {
    .help = "lists of MMAction2, V-JEPA: `PATH LABEL` or `FOLDER FRAMES LABEL`, given with --labels",
    .columns = "video=1,label=-1"};

const ft_dataset ft_dataset_folders = {.help = "a folder per class", .folders = true};

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

const ft_dataset ft_dataset_cataract101 = {
    .help = "Cataract-101: videos.csv, videos/case_*.mp4; the surgeon's experience",
    .videos = "videos",
    .list = "videos.csv",
    .columns = "video=VideoID,label=Experience,group=Surgeon,split=",
    .warning = "experience is a fact about four surgeons: who tells them apart tells it. Each surgeon is a group, on one side "
               "of a split",
    .check = cataract_check};

/* ---- videos without labels ---------------------------------------------------------------------------------------------- */

static int unlabelled_read(ft_labels *l, const char *root, const ft_list_words *w, const ft_list_opt *opt)
{
    (void)w, (void)opt;
    return ft_labels_from_files(l, root);
}

const ft_dataset ft_dataset_unlabelled = {.help = "a folder of videos without labels: for data.unlabelled",
                                          .read = unlabelled_read};

/* ---- the table ----------------------------------------------------------------------------------------------------------- */

const ft_dataset *ft_dataset_find(const char *name)
{
#define DATASET(id, called)                                                                                                      \
    if (!strcmp(name, called)) return &ft_dataset_##id;
    FT_DATASET_TABLE(DATASET, DATASET)
#undef DATASET
    return NULL;
}
