/* Lists that folders are: each file a video, of the class that its folder is called. */
#include <string.h>
#include <strings.h>

#include "common/base/files.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/names.h"
#include "common/base/status.h"
#include "common/io/labels.h"

static int no_memory(const char *path) { return FT_FAIL(FT_ENOMEM, "%s: no memory", path); }

/* class NULL: of none, in the folder itself */
static int add_video(ft_labels *l, const char *folder, const char *class, const char *file)
{
    if (class) FT_TRY(ft_check_name(class, strlen(class), folder, "the folder"));
    FT_TRY(ft_check_name(file, strlen(file), folder, "the file"));
    char *video = class ? ft_format("%s/%s", class, file) : ft_strdup(file);
    int rc = video ? ft_labels_add(
                         l, &(ft_label_texts){.video = video, .label = (char *)(uintptr_t) class, .group = class ? NULL : video})
                   : no_memory(folder);
    ft_free(video);
    return rc;
}

/* Texts and tables that lie beside videos */
static bool no_video(const char *name)
{
    static const char *const ending[] = {"txt",  "csv",  "tsv", "json", "xml", "md",    "pdf", "doc", "docx", "xls",
                                         "xlsx", "html", "yml", "yaml", "py",  "ipynb", "zip", "srt", "log",  "db"};
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && i < sizeof ending / sizeof *ending; i++)
        if (!strcasecmp(dot + 1, ending[i])) return true;
    return ft_is_foreign(name);
}

/* Names of a folder without hidden and foreign ones, which are counted. */
static int visible(const char *path, char ***name, int *n, int *others)
{
    int kept = 0;
    FT_TRY(ft_list_dir(path, name, n));
    for (int i = 0; i < *n; i++) {
        if (no_video((*name)[i])) ++*others, ft_free((*name)[i]);
        else (*name)[kept++] = (*name)[i];
    }
    *n = kept;
    return FT_OK;
}

static void say_others(const char *folder, int others)
{
    if (others) ft_log("%s: %d hidden files, texts and tables are no videos and are left out", folder, others);
}

int ft_labels_from_files(ft_labels *l, const char *folder)
{
    char **name;
    int n, others = 0, rc = FT_OK;
    memset(l, 0, sizeof *l);
    FT_TRY(visible(folder, &name, &n, &others));
    if (!(l->list[0] = ft_strdup(folder))) rc = no_memory(folder);
    for (int i = 0; i < n; i++) {
        if (rc == FT_OK) rc = add_video(l, folder, NULL, name[i]);
        ft_free(name[i]);
    }
    ft_free(name);
    say_others(folder, others);
    if (rc == FT_OK && l->n == 0) rc = FT_FAIL(FT_EDATA, "%s: no videos in it", folder);
    if (rc < 0) ft_labels_free(l);
    return rc;
}

int ft_labels_from_folders(ft_labels *l, const char *folder, const ft_list_opt *opt)
{
    static const ft_list_opt nothing = {0};
    char **class, **file;
    int n, m, others = 0, rc = FT_OK;
    memset(l, 0, sizeof *l);
    FT_TRY(visible(folder, &class, &n, &others));
    if (!(l->list[0] = ft_strdup(folder))) rc = no_memory(folder);
    for (int i = 0; i < n; i++) {
        char *dir = ft_format("%s/%s", folder, class[i]);
        if (rc == FT_OK && !dir) rc = no_memory(folder);
        if (rc == FT_OK && ft_is_dir(dir) && (rc = visible(dir, &file, &m, &others)) == FT_OK) {
            for (int k = 0; k < m; k++) {
                if (rc == FT_OK) rc = add_video(l, folder, class[i], file[k]);
                ft_free(file[k]);
            }
            ft_free(file);
        }
        ft_free(dir);
        ft_free(class[i]);
    }
    ft_free(class);
    say_others(folder, others);
    if (rc == FT_OK && l->n == 0)
        rc = FT_FAIL(FT_EDATA, "%s: no videos in folders by class. Give --labels FILE.csv, or make %s/CLASS/VIDEO", folder,
                     folder);
    if (rc < 0) ft_labels_free(l);
    return rc < 0 ? rc : ft_labels_settle(l, opt ? opt : &nothing);
}
