/* Which classifiers there are: a row of classifier_table.h for each family, and the family's presets. */
#include <string.h>

#include "classify/classifier.h"
#include "classify/classifier_table.h"
#include "common/base/status.h"

#define CLASSIFIER(name) extern const ft_classifier ft_classifier_##name;
FT_CLASSIFIER_TABLE(CLASSIFIER)
#undef CLASSIFIER

static const ft_classifier *const families[] = {
#define CLASSIFIER(name) &ft_classifier_##name,
    FT_CLASSIFIER_TABLE(CLASSIFIER)
#undef CLASSIFIER
};

const ft_classifier *ft_classifier_at(int i) { return i < (int)(sizeof families / sizeof *families) ? families[i] : NULL; }

/* a row of a table begins with its name */
static const void *row_at(const ft_classifier *f, int i)
{
    return (size_t)i < f->n ? (const char *)f->presets + (size_t)i * f->row : NULL;
}

const char *ft_classifier_preset_at(const ft_classifier *f, int i)
{
    const void *row = row_at(f, i);
    return row ? *(const char *const *)row : NULL;
}

static const ft_classifier *find(const char *preset, const void **row)
{
    for (int i = 0; ft_classifier_at(i); i++)
        for (int k = 0; (*row = row_at(families[i], k)); k++)
            if (!strcmp(ft_classifier_preset_at(families[i], k), preset)) return families[i];
    return NULL;
}

const ft_classifier *ft_classifier_find(const char *preset)
{
    const void *row;
    return find(preset, &row);
}

ft_t ft_classifier_network(ft_graph *g, const char *preset, ft_t x, int64_t classes, int64_t labelled, double dropout,
                           ft_t *features)
{
    const void *row;
    const ft_classifier *f = find(preset, &row);
    FT_ASSERT(f != NULL);
    return f->network(g, row, x, classes, labelled, dropout, features);
}
