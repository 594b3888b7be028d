#include "experiments/windows.h"

#include "common/base/memory.h"
#include "common/base/status.h"

int ft_windows_add(ft_labels *l, const ft_framed *v, const ft_list_words *w)
{
    for (int64_t from = 0; from + w->window <= v->frames; from += w->window) {
        int positive = 0;
        for (int i = 0; i < w->window; i++) positive += v->positive[from + i] != 0;
        FT_TRY(ft_grow(&l->row, (size_t)l->n, sizeof *l->row));
        ft_label *e = &l->row[l->n++];
        *e = (ft_label){.video = ft_format("%s@%lld", v->name, (long long)from),
                        .label = ft_strdup(v->label[w->majority ? 2 * positive > w->window : positive > 0]),
                        .group = ft_strdup(v->name),
                        .split = ft_strdup(v->split),
                        .file = ft_strdup(v->file),
                        .facts = ft_strdup("{}"),
                        .list = l->list[0],
                        .from = from,
                        .frames = w->window};
        if (!e->video || !e->label || !e->group || !e->split || !e->file || !e->facts)
            return FT_FAIL(FT_ENOMEM, "%s: no memory for windows", v->file);
    }
    return FT_OK;
}
