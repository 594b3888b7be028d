/* LDPolypVideo: Images/N/k.jpg, Annotations/N/k.txt, whose first line counts the polyps of frame k; the release has both under
 * Train/ and Test/. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/files.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "experiments/data/datasets.h"
#include "experiments/data/windows.h"

static int no_memory(const char *path) { return FT_FAIL(FT_ENOMEM, "%s: no memory", path); }

static int read_count(const char *folder, const char *file, int32_t *positive)
{
    char *path = ft_format("%s/%s", folder, file), *text = NULL, *end;
    size_t size;
    int rc = path ? ft_read_file(path, 1u << 20, &text, &size) : no_memory(folder);
    if (rc == FT_OK) {
        long polyps = strtol(text, &end, 10);
        if (end == text || polyps < 0 || (*end && !isspace((unsigned char)*end)))
            rc = FT_FAIL(FT_EDATA, "%s:1: the number of polyps is needed here", path);
        *positive = polyps > 0;
    }
    ft_free(text);
    ft_free(path);
    return rc;
}

static int read_video(ft_labels *l, const char *base, const char *number, const char *split, const ft_list_words *w)
{
    char *folder = ft_format("%s/Annotations/%s", base, number), *images = ft_format("%s/Images/%s", base, number), **file = NULL,
         **image = NULL;
    int n = 0, m = 0, rc = folder && images ? FT_OK : no_memory(base);
    int32_t *positive = NULL;
    if (rc == FT_OK) rc = ft_numbered_names(folder, &file, &n);
    if (rc == FT_OK) rc = ft_numbered_names(images, &image, &m);
    if (rc == FT_OK && n != m)
        rc = FT_FAIL(FT_EDATA, "%s: %d annotations, and %d images in %s. Unpack both again", folder, n, m, images);
    if (rc == FT_OK && !(positive = ft_alloc_n(n + 1, sizeof *positive))) rc = no_memory(folder);
    for (int i = 0; rc == FT_OK && i < n; i++) rc = read_count(folder, file[i], &positive[i]);
    static const char *const polyp[] = {"polyp"};
    ft_framed v = {number, images, split, positive, n, polyp, 1, "normal", false};
    if (rc == FT_OK) rc = ft_windows_add(l, &v, w, NULL);
    ft_free_names(file, n);
    ft_free_names(image, m);
    ft_free(positive);
    ft_free(folder);
    ft_free(images);
    return rc;
}

static int read_half(ft_labels *l, const char *base, const char *split, const ft_list_words *w)
{
    char *folder = ft_format("%s/Annotations", base), **number = NULL;
    int n = 0, rc = folder ? FT_OK : no_memory(base);
    if (rc == FT_OK && ft_is_dir(folder)) rc = ft_numbered_names(folder, &number, &n);
    for (int i = 0; rc == FT_OK && i < n; i++) rc = read_video(l, base, number[i], split, w);
    ft_free_names(number, n);
    ft_free(folder);
    return rc;
}

static int ldpolyp_read(ft_labels *l, const char *root, const ft_list_words *w, const ft_list_opt *opt)
{
    static const char *const half[][2] = {{"", ""}, {"/Train", "train"}, {"/TrainValid", "train"}, {"/Test", "test"}};
    (void)opt;
    int rc = (l->list[0] = ft_strdup(root)) ? FT_OK : no_memory(root);
    for (int k = 0; rc == FT_OK && k < 4; k++) {
        char *base = ft_format("%s%s", root, half[k][0]);
        rc = base ? read_half(l, base, half[k][1], w) : no_memory(root);
        ft_free(base);
    }
    if (rc == FT_OK && l->n == 0)
        rc = FT_FAIL(FT_EDATA,
                     "%s: no window of %d frames in Annotations/N/*.txt, Train/Annotations or Test/Annotations. Give the folder "
                     "that holds them, or a smaller --window (data.window)",
                     root, w->window);
    if (rc == FT_OK) ft_log("%s: %d windows of %d frames", root, l->n, w->window);
    return rc;
}

const ft_dataset ft_dataset_ldpolyp = {
    .help = "LDPolypVideo: Images/N, Annotations/N; windows of --window frames, with a polyp or without",
    .warning = "videos of one patient are not named: each video is a group. PolypDiag's videos with polyps are cut from it",
    .read = ldpolyp_read};
