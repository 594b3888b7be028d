#include "experiments/stages/clip_classes.h"

#include <string.h>

#include "common/base/status.h"

int ft_label_class(const ft_experiment *x, const ft_clipstore *s, int64_t video, bool all, int *class)
{
    const ft_store_video *v = &s->video[video];
    for (*class = x->classes.n - 1; *class >= 0 && strcmp(v->label, x->classes.name[*class]);) --*class;
    if (*class < 0 && *v->label)
        return FT_FAIL(FT_EDATA, "%s: video %s: its label %s is no class of this experiment. Name it as the classes are", s->path,
                       v->name, v->label);
    if (*class < 0 && all)
        return FT_FAIL(FT_EDATA, "%s: video %s: it has no label, and by clips.use its clips teach their class", s->path, v->name);
    return FT_OK;
}

int ft_clip_classes(const ft_experiment *x, const ft_clipstore *s, bool all, int *class)
{
    for (int64_t i = 0; i < s->n_clip; i++) FT_TRY(ft_label_class(x, s, s->clip[i].video, all, &class[i]));
    return FT_OK;
}
