#include "common/io/lookup.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/status.h"

int ft_lookup_add(ft_lookup *l, const char *name, size_t size, int64_t at)
{
    FT_TRY(ft_grow(&l->entry, (size_t)l->n, sizeof *l->entry));
    l->entry[l->n++] = (ft_lookup_entry){name, size, at};
    return FT_OK;
}

static int by_name(const void *a, const void *b)
{
    const ft_lookup_entry *x = a, *y = b;
    size_t least = x->size < y->size ? x->size : y->size;
    int order = least && x->name != y->name ? memcmp(x->name, y->name, least) : 0;
    return order ? order : x->size < y->size ? -1 : x->size > y->size;
}

static int by_name_and_age(const void *a, const void *b)
{
    const ft_lookup_entry *x = a, *y = b;
    int order = by_name(a, b);
    return order ? order : x->at < y->at ? -1 : x->at > y->at;
}

void ft_lookup_sort(ft_lookup *l)
{
    int64_t kept = 0;
    if (l->n) qsort(l->entry, (size_t)l->n, sizeof *l->entry, by_name_and_age);
    l->repeated = -1;
    for (int64_t i = 0; i < l->n; i++) {
        bool again = kept && by_name(&l->entry[kept - 1], &l->entry[i]) == 0;
        if (again) l->repeated = l->entry[--kept].at;
        l->entry[kept++] = l->entry[i];
    }
    l->n = kept;
}

int64_t ft_lookup_find(const ft_lookup *l, const char *name, size_t size)
{
    const ft_lookup_entry key = {name, size, 0},
                          *hit = l->n ? bsearch(&key, l->entry, (size_t)l->n, sizeof *l->entry, by_name) : NULL;
    return hit ? hit->at : -1;
}

void ft_lookup_free(ft_lookup *l)
{
    ft_free(l->entry);
    *l = (ft_lookup){NULL, 0, -1};
}
