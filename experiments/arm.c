#include "experiments/arm.h"

#include <string.h>

#include "experiments/arm_table.h"

#define ARM(name) extern const ft_arm ft_arm_##name;
FT_ARM_TABLE(ARM)
#undef ARM

static const ft_arm *const rows[] = {
#define ARM(name) &ft_arm_##name,
    FT_ARM_TABLE(ARM)
#undef ARM
};

const ft_arm *ft_arm_at(int i) { return i < (int)(sizeof rows / sizeof *rows) ? rows[i] : NULL; }

const ft_arm *ft_arm_find(const char *arm)
{
    for (int i = 0; ft_arm_at(i); i++)
        if (rows[i]->matches ? rows[i]->matches(arm) : !strcmp(rows[i]->name, arm)) return rows[i];
    return NULL;
}
