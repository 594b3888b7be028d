#include "experiments/arms/results.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/status.h"

int ft_arm_begin(ft_arm_result *a, int runs)
{
    a->psnr = a->eps_mse = NAN;
    ft_set_distances_read(NULL, a->distance);
    ft_set_distances_read(NULL, a->seen);
    a->run = ft_alloc(sizeof *a->run * (size_t)runs);
    a->line = ft_alloc(sizeof *a->line * (size_t)runs);
    return a->run && a->line ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for %d runs", runs);
}

void ft_arms_free(ft_arm_result *arm, int n)
{
    for (int i = 0; arm && i < n; i++) {
        for (int k = 0; arm[i].run && k < arm[i].n; k++) {
            ft_free((void *)(uintptr_t)arm[i].run[k].prob);
            ft_free((void *)(uintptr_t)arm[i].run[k].label);
            json_decref(arm[i].line[k]);
        }
        ft_config_free(arm[i].cfg);
        ft_free(arm[i].run);
        ft_free(arm[i].line);
    }
    ft_free(arm);
}

ft_arm_result *ft_baseline(const ft_result *r, const ft_arm_result *a)
{
    const char *name = r->opt.baseline;
    ft_arm_result *base = NULL;
    for (int i = 0; i < r->n; i++)
        if (!strcmp(r->arm[i].name, name)) base = &r->arm[i];
    if (a && strcmp(a->arm, name) && a->opt.labels != r->opt.labels)
        for (int i = 0; i < r->n; i++)
            if (!strcmp(r->arm[i].arm, name) && r->arm[i].opt.labels == a->opt.labels) return &r->arm[i];
    return base;
}

void ft_arm_file_name(char out[128], const char *name)
{
    snprintf(out, 128, "%s", name);
    for (char *p = out; *p; p++)
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+=-", *p)) *p = '-';
}
