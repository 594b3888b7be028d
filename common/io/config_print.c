/* Settings as YAML, as JSON, and the table of them. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/base/files.h"
#include "common/base/names.h"
#include "common/base/status.h"
#include "common/io/config_parts.h"

/* Words that YAML, here or elsewhere, takes for nothing but text. */
static bool is_plain(const char *s, ft_setting_type type)
{
    static const char *const other[] = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"};
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_/0123456789.+-";
    if (!*s || strspn(s, letters) != strlen(s)) return false;
    if (type != TEXT && type != LIST) return true;
    if (strchr("0123456789.+-", *s)) return false;
    for (size_t i = 0; i < sizeof other / sizeof *other; i++)
        if (!strcasecmp(s, other[i])) return false;
    return true;
}

static void quoted(FILE *f, const char *s, ft_setting_type type)
{
    /* characters that YAML takes in no file, though names may hold them */
    static const char *const escaped[][2] = {
        {"\xEF\xBB\xBF", "\\uFEFF"}, {"\xEF\xBF\xBE", "\\uFFFE"}, {"\xEF\xBF\xBF", "\\uFFFF"}};
    if (is_plain(s, type)) {
        fputs(s, f);
        return;
    }
    fputc('"', f);
    while (*s) {
        int k = 0;
        while (k < 3 && strncmp(s, escaped[k][0], 3)) k++;
        if (k < 3) fputs(escaped[k][1], f), s += 3;
        else fprintf(f, *s == '"' || *s == '\\' ? "\\%c" : "%c", *s), s++;
    }
    fputc('"', f);
}

/* `key: value` as {key: value}, where the key needs no quotes: quoted, it might be longer than YAML reads a key. */
static void list_item(FILE *f, const char *s)
{
    const char *colon = strstr(s, ": ");
    char key[64];
    snprintf(key, sizeof key, "%.*s", colon ? (int)(colon - s) : 0, s);
    if (!colon || (size_t)(colon - s) >= sizeof key || !is_plain(key, LIST)) {
        quoted(f, s, LIST);
        return;
    }
    fprintf(f, "{%s: ", key);
    quoted(f, colon + 2, LIST);
    fputc('}', f);
}

static void print(const ft_config *c, FILE *f, bool origins)
{
    char section[64] = "", origin[1200];
    for (int i = 0; i < FT_N_SETTINGS; i++) {
        const char *dot = strchr(ft_settings[i].name, '.');
        const char *leaf = dot ? dot + 1 : ft_settings[i].name;
        char mine[64];
        snprintf(mine, sizeof mine, "%.*s", dot ? (int)(dot - ft_settings[i].name) : 0, ft_settings[i].name);
        if (strcmp(mine, section)) {
            snprintf(section, sizeof section, "%s", mine);
            if (*section) fprintf(f, "%s:\n", section);
        }
        fprintf(f, "%s%s: ", dot ? "  " : "", leaf);
        if (ft_settings[i].type == LIST) {
            fputc('[', f);
            for (int k = 0; k < c->v[i].n; k++) {
                if (k) fputs(", ", f);
                list_item(f, c->v[i].item[k]);
            }
            fputc(']', f);
        } else quoted(f, c->v[i].text, ft_settings[i].type);
        if (origins) {
            ft_printable(origin, sizeof origin, c->v[i].origin, false);
            fprintf(f, "  # %s", origin);
        }
        fputc('\n', f);
    }
}

void ft_config_print(const ft_config *c, FILE *f) { print(c, f, true); }

int ft_config_write(const ft_config *c, const char *path)
{
    ft_text t;
    FT_TRY(ft_text_begin(&t));
    print(c, t.f, false);
    return ft_text_write(&t, path);
}

json_t *ft_config_json(const ft_config *c, const char *const *prefix)
{
    json_t *o = json_object();
    for (int i = 0; i < FT_N_SETTINGS; i++) {
        bool take = !prefix;
        for (int k = 0; prefix && prefix[k]; k++) take |= !strncmp(ft_settings[i].name, prefix[k], strlen(prefix[k]));
        if (!take) continue;
        const ft_setting_value *v = &c->v[i];
        json_t *j = NULL;
        switch (ft_settings[i].type) {
            case TEXT:
            case CHOICE: j = json_string(v->text); break;
            case INT: j = json_integer(strtoll(v->text, NULL, 10)); break;
            case REAL: j = json_real(strtod(v->text, NULL)); break;
            case BOOL: j = json_boolean(!strcmp(v->text, "true")); break;
            case LIST:
                j = json_array();
                for (int k = 0; k < v->n; k++) json_array_append_new(j, json_string(v->item[k]));
        }
        json_object_set_new(o, ft_settings[i].name, j);
    }
    return o;
}

void ft_config_help(FILE *f)
{
    fprintf(f, "Keys of a configuration file (YAML; `data.size` is `size` under `data:`), also for --set KEY=VALUE:\n");
    for (int i = 0; i < FT_N_SETTINGS; i++)
        fprintf(f, "  %-26s %s%s%s%s\n", ft_settings[i].name, ft_settings[i].help, *ft_settings[i].standard ? " [" : "",
                ft_settings[i].standard, *ft_settings[i].standard ? "]" : "");
}

json_t *ft_config_keys(void)
{
    json_t *list = json_array();
    for (int i = 0; i < FT_N_SETTINGS; i++) {
        const ft_setting *k = &ft_settings[i];
        const char *text = k->type == CHOICE ? strchr(k->help, ':') : NULL; /* its values stand before it */
        json_t *o = json_pack("{s:s,s:s,s:s}", "name", k->name, "type", ft_setting_types[k->type], "default", k->standard);
        json_array_append_new(list, o);
        if (text) json_object_set_new(o, "values", json_stringn(k->help, (size_t)(text - k->help)));
        if (k->type == INT || k->type == REAL)
            json_object_set_new(o, "low", json_real(k->low)), json_object_set_new(o, "high", json_real(k->high));
        json_object_set_new(o, "help", json_string(text ? text + 1 + strspn(text + 1, " ") : k->help));
    }
    return list;
}
