/* Where a name stands in a list. Names come from files, many thousands of them: sorted, not hashed, so that none are chosen to
 * collide. */
#ifndef FT_LOOKUP_H
#define FT_LOOKUP_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    const char *name; /* borrowed */
    size_t size;
    int64_t at;
} ft_lookup_entry;

typedef struct {
    ft_lookup_entry *entry;
    int64_t n, repeated; /* repeated: `at` of an entry whose name a later one has too; -1: none */
} ft_lookup;

/* Add all, sort once, find. `at` grows from one to the next; of entries with one name the last stays, as in a Python dict. Free
 * with ft_lookup_free. */
int ft_lookup_add(ft_lookup *l, const char *name, size_t size, int64_t at);
void ft_lookup_sort(ft_lookup *l);
int64_t ft_lookup_find(const ft_lookup *l, const char *name, size_t size); /* -1: not there */
void ft_lookup_free(ft_lookup *l);

#endif
