#include "common/io/config.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/files.h"
#include "common/base/memory.h"
#include "common/base/names.h"
#include "common/base/status.h"
#include "common/io/config_parts.h"

const char *const ft_setting_types[] = {"text", "one of", "a whole number", "a number", "true or false", "a list"};

const ft_setting ft_settings[FT_N_SETTINGS] = {
#define KEY(name, type, standard, low, high, help) {name, type, standard, low, high, help},
    FT_CONFIG_TABLE(KEY)
#undef KEY
};

/* Names that settings had in files which are still read. */
static const char *const former[][2] = {{"vae.lpips", "vae.perceptual"},
                                        {"vae.lpips_model", "vae.perceptual_model"},
                                        {"vae.lpips_weights", "vae.perceptual_weights"}};

int ft_setting_index(const char *name)
{
    for (size_t i = 0; i < sizeof former / sizeof *former; i++)
        if (!strcmp(former[i][0], name)) name = former[i][1];
    for (int i = 0; i < FT_N_SETTINGS; i++)
        if (!strcmp(ft_settings[i].name, name)) return i;
    return -1;
}

/* nearest key, for "did you mean" */
static int distance(const char *a, const char *b)
{
    int row[128], n = (int)strlen(b);
    if (n >= 127 || strlen(a) >= 127) return 999;
    for (int j = 0; j <= n; j++) row[j] = j;
    for (int i = 1; a[i - 1]; i++) {
        int diagonal = row[0];
        row[0] = i;
        for (int j = 1; j <= n; j++) {
            int up = row[j], best = diagonal + (a[i - 1] != b[j - 1]);
            if (up + 1 < best) best = up + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            diagonal = up;
            row[j] = best;
        }
    }
    return row[n];
}

static const char *nearest(const char *name)
{
    int best = 0;
    for (int i = 1; i < FT_N_SETTINGS; i++)
        if (distance(name, ft_settings[i].name) < distance(name, ft_settings[best].name)) best = i;
    return ft_settings[best].name;
}

static bool in_choices(const ft_setting *k, const char *s)
{
    size_t n = strlen(s);
    const char *end = strchr(k->help, ':');
    for (const char *p = k->help; p < end;) {
        const char *stop = p + strcspn(p, "|:");
        if ((size_t)(stop - p) == n && !memcmp(p, s, n)) return true;
        p = stop + 1;
    }
    return n == 0 && !*k->standard;
}

static int check(const ft_setting *k, const char *s, const char *where)
{
    char *end;
    errno = 0;
    switch (k->type) {
        case TEXT:
        case LIST: return FT_OK;
        case CHOICE:
            if (in_choices(k, s)) return FT_OK;
            return FT_FAIL(FT_ECONFIG, "%s: %s is '%s'; it is one of %.*s", where, k->name, s, (int)strcspn(k->help, ":"),
                           k->help);
        case BOOL:
            if (!strcmp(s, "true") || !strcmp(s, "false")) return FT_OK;
            break;
        case INT: {
            long long v = strtoll(s, &end, 10);
            if (*end || end == s || errno) break;
            if ((double)v < k->low || (double)v > k->high)
                return FT_FAIL(FT_ECONFIG, "%s: %s is %s; it lies between %g and %g", where, k->name, s, k->low, k->high);
            return FT_OK;
        }
        case REAL: {
            double v = strtod(s, &end);
            if (*end || end == s || !isfinite(v)) break;
            if (v < k->low || v > k->high)
                return FT_FAIL(FT_ECONFIG, "%s: %s is %s; it lies between %g and %g", where, k->name, s, k->low, k->high);
            return FT_OK;
        }
    }
    return FT_FAIL(FT_ECONFIG, "%s: %s is '%s'; %s is needed", where, k->name, s, ft_setting_types[k->type]);
}

int ft_settings_no_memory(void) { return FT_FAIL(FT_ENOMEM, "no memory for settings"); }

int ft_setting_check_text(const char *s, const char *key, const char *origin)
{
    FT_TRY(ft_check_name(s, strlen(s), origin, key));
    if (strlen(s) <= FT_PATH_GIVEN) return FT_OK;
    return FT_FAIL(FT_ECONFIG, "%s: %s is %zu bytes long, at most %d are taken", origin, key, strlen(s), FT_PATH_GIVEN);
}

int ft_setting_store(ft_config *c, int i, const char *text, int n, char **item, const char *origin)
{
    ft_setting_value *v = &c->v[i];
    if (text) FT_TRY(ft_setting_check_text(text, ft_settings[i].name, origin));
    for (int k = 0; k < n; k++) FT_TRY(ft_setting_check_text(item[k], ft_settings[i].name, origin));
    if (text) FT_TRY(check(&ft_settings[i], text, origin));
    *v = (ft_setting_value){text ? ft_arena_strdup(c->arena, text) : NULL,
                            ft_arena_alloc(c->arena, sizeof(char *) * (size_t)(n + 1)), n, ft_arena_strdup(c->arena, origin)};
    for (int k = 0; v->item && k < n; k++)
        if (!(v->item[k] = ft_arena_strdup(c->arena, item[k]))) return ft_settings_no_memory();
    return (text && !v->text) || !v->item || !v->origin ? ft_settings_no_memory() : FT_OK;
}

int ft_setting_too_many(const char *where, const char *key)
{
    return FT_FAIL(FT_ECONFIG, "%s: %s has more than %d entries", where, key, FT_SETTING_ITEMS);
}

/* a,b,c for lists; else one value */
static int store_written(ft_config *c, int i, const char *text, const char *origin)
{
    if (ft_settings[i].type != LIST) return ft_setting_store(c, i, text, 0, NULL, origin);
    char *copy = ft_arena_strdup(c->arena, text), *item[FT_SETTING_ITEMS], *save = NULL;
    int n = 0;
    if (!copy) return ft_settings_no_memory();
    for (char *p = strtok_r(copy, ",", &save); p; p = strtok_r(NULL, ",", &save)) {
        if (n == FT_SETTING_ITEMS) return ft_setting_too_many(origin, ft_settings[i].name);
        item[n++] = p + strspn(p, " ");
    }
    return ft_setting_store(c, i, NULL, n, item, origin);
}

static int empty(ft_config **out)
{
    ft_config *c = *out = ft_alloc(sizeof *c);
    if (c && (c->arena = ft_arena_new())) return FT_OK;
    ft_free(c);
    *out = NULL;
    return ft_settings_no_memory();
}

int ft_config_new(ft_config **out)
{
    FT_TRY(empty(out));
    for (int i = 0; i < FT_N_SETTINGS; i++) {
        int rc = store_written(*out, i, ft_settings[i].standard, "default");
        if (rc < 0) {
            ft_config_free(*out);
            *out = NULL;
            return rc;
        }
    }
    return FT_OK;
}

int ft_config_copy(ft_config **out, const ft_config *c)
{
    FT_TRY(empty(out));
    memcpy((*out)->v, c->v, sizeof c->v);
    memcpy((*out)->open, c->open, sizeof c->open);
    (*out)->scoped = c->scoped;
    return FT_OK;
}

int ft_config_scope(ft_config **out, const ft_config *c)
{
    static const char *const free_of[] = {"threads",
                                          "device",
                                          "save_every",
                                          "log.",
                                          "auto.",
                                          "generator.sheet_every",
                                          "generator.recompute"}; /* they change no result */
    FT_TRY(ft_config_copy(out, c));
    (*out)->scoped = true;
    for (int i = 0; i < FT_N_SETTINGS; i++)
        for (size_t k = 0; k < sizeof free_of / sizeof *free_of; k++)
            (*out)->open[i] |= !strncmp(ft_settings[i].name, free_of[k], strlen(free_of[k]));
    return FT_OK;
}

void ft_config_open(ft_config *scope, const char *name)
{
    int i = ft_setting_index(name);
    if (i >= 0) scope->open[i] = true;
}

void ft_config_open_like(ft_config *scope, const ft_config *other)
{
    for (int i = 0; i < FT_N_SETTINGS; i++) scope->open[i] |= other->open[i];
}

int ft_config_reset(ft_config *c, const char *prefix)
{
    ft_config *standard;
    FT_TRY(ft_config_new(&standard));
    int rc = FT_OK;
    for (int i = 0; rc == FT_OK && i < FT_N_SETTINGS; i++) {
        const ft_setting_value *v = &standard->v[i];
        if (strncmp(ft_settings[i].name, prefix, strlen(prefix)) != 0) continue;
        c->open[i] = true;
        rc = ft_setting_store(c, i, v->text, v->n, v->item, v->origin);
    }
    ft_config_free(standard);
    return rc;
}

void ft_config_free(ft_config *c)
{
    if (!c) return;
    ft_arena_free(c->arena);
    ft_free(c);
}

int ft_setting_unknown(const char *where, const char *name)
{
    return FT_FAIL(FT_ECONFIG, "%s: the key %s is not known. Did you mean %s? `forty experiment --help` lists all", where, name,
                   nearest(name));
}

int ft_config_set(ft_config *c, const char *assignment, const char *origin)
{
    const char *eq = strchr(assignment, '=');
    char name[128];
    if (!eq || eq == assignment || eq - assignment >= (int)sizeof name)
        return FT_FAIL(FT_EUSAGE, "%s %s: key.path=value is needed", origin, assignment);
    snprintf(name, sizeof name, "%.*s", (int)(eq - assignment), assignment);
    int i = ft_setting_index(name);
    return i < 0 ? ft_setting_unknown(origin, name) : store_written(c, i, eq + 1, origin);
}

/* ---- reading out --------------------------------------------------------------------------------------------------------- */

static const ft_setting_value *get(const ft_config *c, const char *key, ft_setting_type type)
{
    int i = ft_setting_index(key);
    FT_ASSERT(i >= 0 && (ft_settings[i].type == type || (type == TEXT && ft_settings[i].type == CHOICE)));
    if (c->scoped && !c->open[i]) {
        char text[128];
        snprintf(text, sizeof text, "%.60s is read where the result may not depend on it", key);
        ft_assert_failed(__FILE__, __LINE__, text);
    }
    return &c->v[i];
}

const char *ft_config_text(const ft_config *c, const char *key) { return get(c, key, TEXT)->text; }
bool ft_config_is(const ft_config *c, const char *key, const char *value) { return !strcmp(ft_config_text(c, key), value); }
int64_t ft_config_int(const ft_config *c, const char *key) { return strtoll(get(c, key, INT)->text, NULL, 10); }
double ft_config_real(const ft_config *c, const char *key) { return strtod(get(c, key, REAL)->text, NULL); }
bool ft_config_bool(const ft_config *c, const char *key) { return !strcmp(get(c, key, BOOL)->text, "true"); }

int ft_config_list(const ft_config *c, const char *key, const char *const **items)
{
    const ft_setting_value *v = get(c, key, LIST);
    *items = (const char *const *)v->item;
    return v->n;
}

const char *ft_config_origin(const ft_config *c, const char *key)
{
    int i = ft_setting_index(key);
    FT_ASSERT(i >= 0);
    return c->v[i].origin;
}
