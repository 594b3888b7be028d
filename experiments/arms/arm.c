#include "experiments/arms/arm.h"

#include <stdio.h>
#include <string.h>

#include "common/base/files.h"
#include "common/base/status.h"
#include "experiments/arms/arm_table.h"

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

bool ft_arm_brings_clips(const ft_arm_context *c) { return c->made || *c->file; }

/* Settings that an arm may have of its own. All others belong to the experiment: arms on other videos could not be compared. */
static const char *const own[] = {"classifier.", "ssl.",      "unlabelled.", "clips.",    "vae.",  "generator.", "gan.",
                                  "align.",      "generated", "labels",      "selection", "looks", "precision",  NULL};

static int own_setting(ft_arm_result *a, const char *where, const char *setting)
{
    bool may = false;
    for (int i = 0; own[i]; i++) may |= !strncmp(setting, own[i], strlen(own[i]));
    if (!may)
        return FT_FAIL(FT_ECONFIG,
                       "%s: %s: only classifier.*, ssl.*, unlabelled.*, clips.*, vae.*, generator.*, gan.*, align.*, generated, "
                       "labels, selection, looks and precision may differ between arms",
                       where, setting);
    return ft_config_set(a->cfg, setting, where);
}

static void base_name(char out[128], const char *arm) /* a file's arm is named by the file */
{
    const char *base = !strncmp(arm, "clips: ", 7) ? ft_base_name(arm + 7) : arm;
    snprintf(out, 128, "%.*s", base == arm ? 127 : (int)strcspn(base, "."), base);
}

int ft_arm_read(ft_arm_result *a, const ft_config *cfg, const char *entry)
{
    const char *where = ft_config_origin(cfg, "arms"), *settings = entry;
    char setting[FT_PATH_GIVEN];
    FT_TRY(ft_config_copy(&a->cfg, cfg));
    for (const char *p = entry; (p = strchr(p, ' ')) != NULL; p++) { /* the first word that looks like key=value */
        size_t word = strspn(p + 1, "abcdefghijklmnopqrstuvwxyz_.");
        if (p[1 + word] == '=') break;
        settings = p + 1 + word;
    }
    settings = strchr(settings, ' ');
    size_t n = settings ? (size_t)(settings - entry) : strlen(entry);
    snprintf(a->arm, sizeof a->arm, "%.*s", (int)n, entry);
    base_name(a->name, a->arm);
    if (!ft_arm_find(a->arm))
        return FT_FAIL(FT_ECONFIG, "%s: the arm %s is not known. `forty models` lists arms and generators", where, a->arm);
    while (settings && *(settings += strspn(settings, " "))) {
        size_t length = strcspn(settings, " ");
        if (!strncmp(settings, "name=", 5)) {
            snprintf(a->name, sizeof a->name, "%s", settings + 5);
            break;
        }
        if (snprintf(setting, sizeof setting, "%.*s", (int)length, settings) >= (int)sizeof setting)
            return FT_FAIL(FT_ECONFIG, "%s: %.60s...: a setting of more than %zu bytes", where, settings, sizeof setting - 1);
        FT_TRY(own_setting(a, where, setting));
        const char *leaf = strrchr(setting, '.');
        if (leaf && strchr(setting, '=') && leaf > strchr(setting, '=')) leaf = strchr(setting, '.'); /* a number's point */
        size_t at = strlen(a->name);
        snprintf(a->name + at, sizeof a->name - at, " %s", leaf && leaf < strchr(setting, '=') ? leaf + 1 : setting);
        settings += length;
    }
    a->opt = ft_arm_options_of(a->cfg);
    return FT_OK;
}
