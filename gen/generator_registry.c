/* Which generators there are: a row of generator_table.h for each family, and the family's presets. */
#include <string.h>

#include "common/base/status.h"
#include "gen/generator.h"
#include "gen/generator_table.h"

#define GENERATOR(name) extern const ft_generator ft_generator_##name;
FT_GENERATORS(GENERATOR)
#undef GENERATOR
#define GENERATOR(name) &ft_generator_##name,
static const ft_generator *const families[] = {FT_GENERATORS(GENERATOR)};
#undef GENERATOR

const ft_generator *ft_generator_at(int i) { return i < (int)(sizeof families / sizeof *families) ? families[i] : NULL; }

const ft_generator_preset *ft_generator_preset_at(const ft_generator *f, int i)
{
    return (size_t)i < f->n ? (const ft_generator_preset *)((const char *)f->presets + (size_t)i * f->row) : NULL;
}

static const ft_generator *find(const char *name, const ft_generator_preset **row)
{
    for (int i = 0; ft_generator_at(i); i++)
        for (int k = 0; (*row = ft_generator_preset_at(families[i], k)); k++)
            if (!strcmp((*row)->name, name)) return families[i];
    return NULL;
}

const ft_generator *ft_generator_find(const char *preset)
{
    const ft_generator_preset *row;
    return find(preset, &row);
}

const void *ft_generator_preset_of(const char *name)
{
    const ft_generator_preset *row;
    return find(name, &row) ? row : NULL;
}

int ft_generator_known(const char *preset)
{
    if (ft_generator_find(preset)) return FT_OK;
    return FT_FAIL(FT_ECONFIG, "the generator %s is not known. `forty models` lists the presets", preset);
}
