#include "experiments/stages/config_changes.h"

#include <stdio.h>
#include <string.h>

#include "common/base/files.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/status.h"

static bool one_of(const char *key, const char *const *names)
{
    for (int i = 0; names[i]; i++) {
        size_t n = strlen(names[i]);
        if (!strncmp(key, names[i], n) && (!key[n] || names[i][n - 1] == '.')) return true;
    }
    return false;
}

static int note(ft_config_changes *c, const char *key, const json_t *now, const json_t *was)
{
    static const char *const data[] = {"data.clips",   "data.videos",          "data.labels",     "data.phantom", "data.as",
                                       "data.columns", "data.group_from",      "data.threshold",  "data.bins",    "data.map",
                                       "data.window",  "data.window_positive", "data.multilabel", "phantom.",     NULL};
    char *a = NULL, *b = NULL;
    int rc = ft_json_text(now, JSON_ENCODE_ANY, &a);
    if (rc == FT_OK) rc = ft_json_text(was, JSON_ENCODE_ANY, &b);
    size_t at = strlen(c->text);
    if (rc == FT_OK && at < sizeof c->text - 200)
        snprintf(c->text + at, sizeof c->text - at, "%s%s is %.60s, was %.60s", at ? "; " : "", key, a, b);
    c->n++, c->data |= one_of(key, data);
    ft_free(a);
    ft_free(b);
    return rc;
}

int ft_config_changes_find(ft_config_changes *c, const ft_config *now, const char *path)
{
    static const char *const free_to_change[] = {"threads", "device", "auto.", "log.", "save_every", "rehearse", "slurm.", NULL};
    ft_config *before;
    const char *key;
    json_t *value;
    *c = (ft_config_changes){.n = 0};
    if (!ft_exists(path)) return FT_OK;
    FT_TRY(ft_config_new(&before));
    int rc = ft_config_read(before, path);
    if (rc < 0) {
        ft_config_free(before);
        if (rc == FT_ENOMEM) return rc;
        ft_warn("%s; whether settings changed is not known", ft_error_message());
        return FT_OK;
    }
    json_t *is = ft_config_json(now, NULL), *was = ft_config_json(before, NULL);
    json_object_foreach(is, key, value)
    {
        const json_t *old = json_object_get(was, key);
        if (rc == FT_OK && !json_equal(value, old) && !one_of(key, free_to_change)) rc = note(c, key, value, old);
    }
    json_decref(is);
    json_decref(was);
    ft_config_free(before);
    return rc;
}
