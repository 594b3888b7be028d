#include "experiments/data/windows.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/files.h"
#include "common/base/memory.h"
#include "common/base/names.h"
#include "common/base/status.h"

/* its labels as bits; FT_NOT_LOOKED_AT */
static int32_t label_of(const ft_framed *v, int64_t from, const ft_list_words *w)
{
    int seen = 0, has[FT_FRAME_LABELS] = {0}, best = 0;
    int32_t all = 0;
    for (int64_t i = from; i < from + w->window; i++) {
        if (v->is[i] == FT_NOT_LOOKED_AT) continue;
        seen++;
        for (int k = 0; k < v->labels; k++) has[k] += v->is[i] >> k & 1;
    }
    if (!seen) return FT_NOT_LOOKED_AT;
    for (int k = 0; k < v->labels; k++) {
        if (has[k] > has[best]) best = k;
        if (w->majority ? 2 * has[k] > seen : has[k] > 0) all |= 1 << k;
    }
    return v->one ? (has[best] ? 1 << best : 0) : all;
}

int ft_windows_add(ft_labels *l, const ft_framed *v, const ft_list_words *w, int64_t *unseen)
{
    for (int64_t from = 0; from + w->window <= v->frames; from += w->window) {
        int32_t is = label_of(v, from, w);
        if (is == FT_NOT_LOOKED_AT) {
            if (unseen) ++*unseen;
            continue;
        }
        char *name = ft_format("%s@%lld", v->name, (long long)from), *label = ft_label_of_bits(v->label, v->labels, is, v->none);
        int rc = name && label ? FT_OK : FT_FAIL(FT_ENOMEM, "%s: no memory for windows", v->file);
        if (rc == FT_OK)
            rc = ft_labels_add(l, &(ft_label_texts){.video = name,
                                                    .label = label,
                                                    .group = v->name,
                                                    .split = v->split,
                                                    .file = v->file,
                                                    .from = from,
                                                    .frames = w->window});
        ft_free(name), ft_free(label);
        FT_TRY(rc);
    }
    return FT_OK;
}

int ft_frame_labels_set(ft_frame_labels *f, int64_t frame, int32_t is)
{
    while (f->frames <= frame) {
        FT_TRY(ft_grow(&f->is, (size_t)f->frames, sizeof *f->is));
        f->is[f->frames++] = FT_NOT_LOOKED_AT;
    }
    f->is[frame] = f->is[frame] == FT_NOT_LOOKED_AT ? is : f->is[frame] | is;
    return FT_OK;
}

static int by_number(const void *a, const void *b)
{
    const char *x = *(char *const *)a, *y = *(char *const *)b;
    size_t p = strcspn(x, "0123456789"), q = strcspn(y, "0123456789");
    long m = strtol(x + p, NULL, 10), n = strtol(y + q, NULL, 10);
    if (p != q || strncmp(x, y, p) != 0 || m == n) return strcmp(x, y);
    return m < n ? -1 : 1;
}

int ft_numbered_names(const char *folder, char ***name, int *n)
{
    int kept = 0;
    FT_TRY(ft_list_dir(folder, name, n));
    for (int i = 0; i < *n; i++) {
        if (ft_is_foreign((*name)[i])) ft_free((*name)[i]);
        else (*name)[kept++] = (*name)[i];
    }
    *n = kept;
    if (kept) qsort(*name, (size_t)kept, sizeof **name, by_number);
    return FT_OK;
}
