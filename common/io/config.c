#include "common/io/config.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <yaml.h>

#include "common/base/files.h"
#include "common/base/memory.h"
#include "common/base/names.h"
#include "common/base/status.h"
#include "common/io/config_keys.h"

/* What files may hold: they are read before anything else is known about them. */
enum { MOST_ITEMS = 256, MOST_FILES = 100, MOST_EVENTS = 100000, MOST_DEPTH = 64, MOST_ANCHORS = 256 };

typedef enum { TEXT, CHOICE, INT, REAL, BOOL, LIST } value_type;
static const char *const type_names[] = {"text", "one of", "a whole number", "a number", "true or false", "a list"};

typedef struct {
    const char *name;
    value_type type;
    const char *standard;
    double low, high;
    const char *help;
} key_row;

static const key_row keys[] = {
#define KEY(name, type, standard, low, high, help) {name, type, standard, low, high, help},
    FT_CONFIG_TABLE(KEY)
#undef KEY
};
enum { N_KEYS = sizeof keys / sizeof *keys };

typedef struct {
    char *text;  /* as written; for lists NULL */
    char **item; /* lists */
    int n;
    char *origin;
} value;

struct ft_config {
    ft_arena *arena;
    value v[N_KEYS];
    bool scoped, open[N_KEYS]; /* scoped: only what is open may be read */
};

static int index_of(const char *name)
{
    for (int i = 0; i < N_KEYS; i++)
        if (!strcmp(keys[i].name, name)) return i;
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
    for (int i = 1; i < N_KEYS; i++)
        if (distance(name, keys[i].name) < distance(name, keys[best].name)) best = i;
    return keys[best].name;
}

static bool in_choices(const key_row *k, const char *s)
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

static int check(const key_row *k, const char *s, const char *where)
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
    return FT_FAIL(FT_ECONFIG, "%s: %s is '%s'; %s is needed", where, k->name, s, type_names[k->type]);
}

static int no_memory(void) { return FT_FAIL(FT_ENOMEM, "no memory for settings"); }

/* Values become paths, names of arms and classes, lines of batch files. */
static int check_text(const char *s, const char *key, const char *origin)
{
    FT_TRY(ft_check_name(s, strlen(s), origin, key));
    if (strlen(s) <= FT_PATH_GIVEN) return FT_OK;
    return FT_FAIL(FT_ECONFIG, "%s: %s is %zu bytes long, at most %d are taken", origin, key, strlen(s), FT_PATH_GIVEN);
}

static int store(ft_config *c, int i, const char *text, int n, char **item, const char *origin)
{
    value *v = &c->v[i];
    if (text) FT_TRY(check_text(text, keys[i].name, origin));
    for (int k = 0; k < n; k++) FT_TRY(check_text(item[k], keys[i].name, origin));
    if (text) FT_TRY(check(&keys[i], text, origin));
    *v = (value){text ? ft_arena_strdup(c->arena, text) : NULL, ft_arena_alloc(c->arena, sizeof(char *) * (size_t)(n + 1)), n,
                 ft_arena_strdup(c->arena, origin)};
    for (int k = 0; v->item && k < n; k++)
        if (!(v->item[k] = ft_arena_strdup(c->arena, item[k]))) return no_memory();
    return (text && !v->text) || !v->item || !v->origin ? no_memory() : FT_OK;
}

static int too_many(const char *where, const char *key)
{
    return FT_FAIL(FT_ECONFIG, "%s: %s has more than %d entries", where, key, MOST_ITEMS);
}

/* a,b,c for lists; else one value */
static int store_written(ft_config *c, int i, const char *text, const char *origin)
{
    if (keys[i].type != LIST) return store(c, i, text, 0, NULL, origin);
    char *copy = ft_arena_strdup(c->arena, text), *item[MOST_ITEMS], *save = NULL;
    int n = 0;
    if (!copy) return no_memory();
    for (char *p = strtok_r(copy, ",", &save); p; p = strtok_r(NULL, ",", &save)) {
        if (n == MOST_ITEMS) return too_many(origin, keys[i].name);
        item[n++] = p + strspn(p, " ");
    }
    return store(c, i, NULL, n, item, origin);
}

int ft_config_new(ft_config **out)
{
    ft_config *c = *out = ft_alloc(sizeof *c);
    if (!c || !(c->arena = ft_arena_new())) {
        ft_free(c);
        *out = NULL;
        return no_memory();
    }
    for (int i = 0; i < N_KEYS; i++) {
        int rc = store_written(c, i, keys[i].standard, "default");
        if (rc < 0) {
            ft_config_free(c);
            *out = NULL;
            return rc;
        }
    }
    return FT_OK;
}

int ft_config_copy(ft_config **out, const ft_config *c)
{
    ft_config *copy = *out = ft_alloc(sizeof *copy);
    if (!copy || !(copy->arena = ft_arena_new())) {
        ft_free(copy);
        *out = NULL;
        return no_memory();
    }
    memcpy(copy->v, c->v, sizeof copy->v);
    memcpy(copy->open, c->open, sizeof copy->open);
    copy->scoped = c->scoped;
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
    for (int i = 0; i < N_KEYS; i++)
        for (size_t k = 0; k < sizeof free_of / sizeof *free_of; k++)
            (*out)->open[i] |= !strncmp(keys[i].name, free_of[k], strlen(free_of[k]));
    return FT_OK;
}

void ft_config_open(ft_config *scope, const char *name)
{
    int i = index_of(name);
    if (i >= 0) scope->open[i] = true;
}

void ft_config_open_like(ft_config *scope, const ft_config *other)
{
    for (int i = 0; i < N_KEYS; i++) scope->open[i] |= other->open[i];
}

void ft_config_free(ft_config *c)
{
    if (!c) return;
    ft_arena_free(c->arena);
    ft_free(c);
}

static int unknown(const char *where, const char *name)
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
    int i = index_of(name);
    return i < 0 ? unknown(origin, name) : store_written(c, i, eq + 1, origin);
}

/* ---- YAML --------------------------------------------------------------------------------------------------------------- */

typedef struct {
    ft_config *c;
    yaml_document_t *doc;
    const char *path;
    bool seen[N_KEYS];
} yaml_walk;

static const char *at(yaml_walk *w, const yaml_node_t *n, char *out, size_t size)
{
    snprintf(out, size, "%s:%zu:%zu", w->path, n->start_mark.line + 1, n->start_mark.column + 1);
    return out;
}

static const char *scalar(const yaml_node_t *n)
{
    return n->type == YAML_SCALAR_NODE ? (const char *)n->data.scalar.value : NULL;
}

static int add_item(yaml_walk *w, const yaml_node_t *n, const char *key, char *text, char **item, int *count)
{
    char where[600];
    if (!text) return no_memory();
    if (*count == MOST_ITEMS) return too_many(at(w, n, where, sizeof where), key);
    item[(*count)++] = text;
    return FT_OK;
}

static char *pair_text(yaml_walk *w, const char *key, const char *text)
{
    char *pair = ft_format("%s: %s", key, text), *kept = pair ? ft_arena_strdup(w->c->arena, pair) : NULL;
    ft_free(pair);
    return kept;
}

/* Added to `item`, which has room for MOST_ITEMS. */
static int list_items(yaml_walk *w, const yaml_node_t *n, const char *key, char **item, int *count)
{
    char where[600];
    if (scalar(n)) return add_item(w, n, key, ft_arena_strdup(w->c->arena, scalar(n)), item, count);
    if (n->type == YAML_SEQUENCE_NODE)
        for (yaml_node_item_t *p = n->data.sequence.items.start; p < n->data.sequence.items.top; p++) {
            const yaml_node_t *e = yaml_document_get_node(w->doc, *p);
            if (e->type == YAML_SEQUENCE_NODE)
                return FT_FAIL(FT_ECONFIG, "%s: a list inside a list", at(w, e, where, sizeof where));
            FT_TRY(list_items(w, e, key, item, count));
        }
    else
        for (yaml_node_pair_t *p = n->data.mapping.pairs.start; p < n->data.mapping.pairs.top; p++) {
            const yaml_node_t *k = yaml_document_get_node(w->doc, p->key), *v = yaml_document_get_node(w->doc, p->value);
            if (!scalar(k) || !scalar(v))
                return FT_FAIL(FT_ECONFIG, "%s: `name: value` is needed", at(w, v, where, sizeof where));
            FT_TRY(add_item(w, v, key, pair_text(w, scalar(k), scalar(v)), item, count));
        }
    return FT_OK;
}

static int mapping(yaml_walk *w, const yaml_node_t *node, const char *prefix)
{
    char where[600], name[256];
    for (yaml_node_pair_t *p = node->data.mapping.pairs.start; p < node->data.mapping.pairs.top; p++) {
        const yaml_node_t *k = yaml_document_get_node(w->doc, p->key), *v = yaml_document_get_node(w->doc, p->value);
        at(w, k, where, sizeof where);
        if (!scalar(k)) return FT_FAIL(FT_ECONFIG, "%s: a key must be a word", where);
        FT_TRY(check_text(scalar(k), "a key", where));
        snprintf(name, sizeof name, "%s%s%s", prefix, *prefix ? "." : "", scalar(k));
        if (!strcmp(name, "include")) continue; /* read before */
        int i = index_of(name);
        if (i < 0) {
            bool section = false;
            for (int q = 0; q < N_KEYS; q++)
                if (!strncmp(keys[q].name, name, strlen(name)) && keys[q].name[strlen(name)] == '.') section = true;
            if (!section) return unknown(where, name);
            if (v->type != YAML_MAPPING_NODE) return FT_FAIL(FT_ECONFIG, "%s: %s holds further keys, not a value", where, name);
            FT_TRY(mapping(w, v, name));
            continue;
        }
        if (w->seen[i]) return FT_FAIL(FT_ECONFIG, "%s: %s is given twice in this file", where, name);
        w->seen[i] = true;
        if (keys[i].type == LIST) {
            char *item[MOST_ITEMS];
            int n = 0;
            FT_TRY(list_items(w, v, name, item, &n));
            FT_TRY(store(w->c, i, NULL, n, item, where));
        } else {
            if (!scalar(v))
                return FT_FAIL(FT_ECONFIG, "%s: %s needs %s, not %s", where, name, type_names[keys[i].type],
                               v->type == YAML_MAPPING_NODE ? "further keys" : "a list");
            FT_TRY(store(w->c, i, scalar(v), 0, NULL, where));
        }
    }
    return FT_OK;
}

static int read_file(ft_config *c, const char *path, int depth, int *files);

/* Files named by `include` at the top are read first, so that this one has the last word; their paths begin at its folder. */
static int includes(yaml_walk *w, const yaml_node_t *root, int depth, int *files)
{
    char where[600], *item[MOST_ITEMS];
    int n, rc = FT_OK;
    for (yaml_node_pair_t *p = root->data.mapping.pairs.start; p < root->data.mapping.pairs.top; p++) {
        const yaml_node_t *k = yaml_document_get_node(w->doc, p->key), *v = yaml_document_get_node(w->doc, p->value);
        if (!scalar(k) || strcmp(scalar(k), "include")) continue;
        at(w, k, where, sizeof where);
        if (depth == 8) return FT_FAIL(FT_ECONFIG, "%s: files include each other eight deep. Is it a circle?", where);
        n = 0;
        FT_TRY(list_items(w, v, "include", item, &n));
        for (int q = 0; q < n && rc == FT_OK; q++) {
            const char *base = ft_base_name(w->path);
            FT_TRY(check_text(item[q], "include", where));
            if (++*files > MOST_FILES)
                return FT_FAIL(FT_ECONFIG, "%s: more than %d files are included. Do they include each other?", where, MOST_FILES);
            char *file = ft_format("%.*s%s", *item[q] == '/' ? 0 : (int)(base - w->path), w->path, item[q]);
            if (!file) rc = no_memory();
            else if (!ft_exists(file)) rc = FT_FAIL(FT_ECONFIG, "%s: %s is not there", where, file);
            else rc = read_file(w->c, file, depth + 1, files);
            ft_free(file);
        }
    }
    return rc;
}

/* What a file unfolds to, found from its events, before a tree is made of it: an alias counts as all that it stands for. */
typedef struct {
    char *name;
    int64_t events; /* of what it names, aliases unfolded; -1: that is still open */
    int height;
} yaml_anchor;

typedef struct {
    const char *path;
    yaml_anchor anchor[MOST_ANCHORS];
    int anchors, depth, documents;
    int64_t events;
    struct {
        int anchor, height; /* -1: it has none */
        int64_t from;
    } open[MOST_DEPTH];
} yaml_size;

static int refuse(const yaml_size *z, const yaml_event_t *e, const char *why)
{
    return FT_FAIL(FT_ECONFIG, "%s:%zu:%zu: %s", z->path, e->start_mark.line + 1, e->start_mark.column + 1, why);
}

static int add_anchor(yaml_size *z, const yaml_event_t *e, const unsigned char *name, int64_t events, int *index)
{
    *index = -1;
    if (!name) return FT_OK;
    if (z->anchors == MOST_ANCHORS) return refuse(z, e, "more anchors (&name) than are read. Write the values out");
    char *copy = ft_strdup((const char *)name);
    if (!copy) return no_memory();
    z->anchor[ *index = z->anchors++] = (yaml_anchor){copy, events, 0};
    return FT_OK;
}

/* Something of `events` events and so many levels of lists in it stands in what is open. */
static int add_value(yaml_size *z, const yaml_event_t *e, int64_t events, int height)
{
    z->events += events;
    if (z->events > MOST_EVENTS)
        return refuse(z, e, "it holds more than 100000 values, those that aliases (*name) repeat counted. Write fewer");
    if (z->depth + height > MOST_DEPTH)
        return refuse(z, e, "lists and keys stand more than 64 deep in each other. Close brackets");
    if (z->depth && z->open[z->depth - 1].height < height) z->open[z->depth - 1].height = height;
    return FT_OK;
}

static int add_alias(yaml_size *z, const yaml_event_t *e)
{
    for (int i = z->anchors - 1; i >= 0; i--) /* the last of a name counts */
        if (!strcmp(z->anchor[i].name, (const char *)e->data.alias.anchor)) {
            if (z->anchor[i].events < 0) return refuse(z, e, "an alias (*name) stands in what it repeats. Write the value out");
            return add_value(z, e, z->anchor[i].events, z->anchor[i].height);
        }
    return FT_OK; /* the parser says that there is none */
}

static int open_list(yaml_size *z, const yaml_event_t *e, const unsigned char *anchor)
{
    FT_TRY(add_value(z, e, 1, 1));
    z->open[z->depth].from = z->events - 1;
    z->open[z->depth].height = 0;
    return add_anchor(z, e, anchor, -1, &z->open[z->depth++].anchor);
}

static void close_list(yaml_size *z)
{
    int i = --z->depth, height = z->open[i].height + 1, anchor = z->open[i].anchor;
    if (i && z->open[i - 1].height < height) z->open[i - 1].height = height;
    if (anchor >= 0) z->anchor[anchor].events = z->events - z->open[i].from, z->anchor[anchor].height = height;
}

static int add_event(yaml_size *z, const yaml_event_t *e)
{
    int index;
    switch (e->type) {
        case YAML_DOCUMENT_START_EVENT:
            return z->documents++ ? refuse(z, e, "a second document (---); one is read. Give it a file of its own") : FT_OK;
        case YAML_SCALAR_EVENT:
            if (strlen((const char *)e->data.scalar.value) != e->data.scalar.length)
                return refuse(z, e, "text with a 0 byte in it. Remove it");
            FT_TRY(add_value(z, e, 1, 0));
            return add_anchor(z, e, e->data.scalar.anchor, 1, &index);
        case YAML_ALIAS_EVENT: return add_alias(z, e);
        case YAML_SEQUENCE_START_EVENT: return open_list(z, e, e->data.sequence_start.anchor);
        case YAML_MAPPING_START_EVENT: return open_list(z, e, e->data.mapping_start.anchor);
        case YAML_SEQUENCE_END_EVENT:
        case YAML_MAPPING_END_EVENT: close_list(z); return FT_OK;
        default: return FT_OK;
    }
}

static int not_yaml(const char *path, const char *text, const yaml_parser_t *p)
{
    const char *why = p->problem ? p->problem : "not YAML";
    if (p->error == YAML_MEMORY_ERROR) return no_memory();
    if (p->error != YAML_READER_ERROR)
        return FT_FAIL(FT_ECONFIG, "%s:%zu:%zu: %s. Check indentation and colons", path, p->problem_mark.line + 1,
                       p->problem_mark.column + 1, why);
    size_t line = 1; /* it reads ahead: no mark is at what it cannot read */
    for (size_t i = 0; i < p->problem_offset; i++) line += text[i] == '\n';
    return FT_FAIL(FT_ECONFIG, "%s:%zu: %s. Save it as UTF-8 text", path, line, why);
}

static int check_size(const char *path, const char *text, size_t size)
{
    yaml_parser_t parser;
    yaml_event_t e;
    yaml_size *z = ft_alloc(sizeof *z);
    int rc = FT_OK;
    if (!z || !yaml_parser_initialize(&parser)) {
        ft_free(z);
        return no_memory();
    }
    z->path = path;
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, size);
    for (bool end = false; rc == FT_OK && !end;) {
        if (!yaml_parser_parse(&parser, &e)) {
            rc = not_yaml(path, text, &parser);
            break;
        }
        rc = add_event(z, &e);
        end = e.type == YAML_STREAM_END_EVENT;
        yaml_event_delete(&e);
    }
    yaml_parser_delete(&parser);
    for (int i = 0; i < z->anchors; i++) ft_free(z->anchor[i].name);
    ft_free(z);
    return rc;
}

static int read_text(ft_config *c, const char *path, const char *text, size_t size, int depth, int *files)
{
    yaml_parser_t parser;
    yaml_document_t doc;
    int rc = FT_OK;
    FT_TRY(check_size(path, text, size));
    if (!yaml_parser_initialize(&parser)) return no_memory();
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, size);
    if (!yaml_parser_load(&parser, &doc)) {
        rc = not_yaml(path, text, &parser);
    } else {
        yaml_node_t *root = yaml_document_get_root_node(&doc);
        yaml_walk w = {.c = c, .doc = &doc, .path = path};
        if (root && root->type != YAML_MAPPING_NODE) rc = FT_FAIL(FT_ECONFIG, "%s:1: `key: value` lines are needed", path);
        else if (root) {
            rc = includes(&w, root, depth, files);
            if (rc == FT_OK) rc = mapping(&w, root, "");
        }
        yaml_document_delete(&doc);
    }
    yaml_parser_delete(&parser);
    return rc;
}

static int read_file(ft_config *c, const char *path, int depth, int *files)
{
    char *text;
    size_t size;
    FT_TRY(ft_read_file(path, 1u << 20, &text, &size));
    int rc = read_text(c, path, text, size, depth, files);
    ft_free(text);
    return rc;
}

int ft_config_read(ft_config *c, const char *path)
{
    int files = 0;
    return read_file(c, path, 0, &files);
}

/* ---- reading out --------------------------------------------------------------------------------------------------------- */

static const value *get(const ft_config *c, const char *key, value_type type)
{
    int i = index_of(key);
    FT_ASSERT(i >= 0 && (keys[i].type == type || (type == TEXT && keys[i].type == CHOICE)));
    if (c->scoped && !c->open[i]) {
        char text[128];
        snprintf(text, sizeof text, "%.60s is read where the result may not depend on it", key);
        ft_assert_failed(__FILE__, __LINE__, text);
    }
    return &c->v[i];
}

const char *ft_config_text(const ft_config *c, const char *key) { return get(c, key, TEXT)->text; }
int64_t ft_config_int(const ft_config *c, const char *key) { return strtoll(get(c, key, INT)->text, NULL, 10); }
double ft_config_real(const ft_config *c, const char *key) { return strtod(get(c, key, REAL)->text, NULL); }
bool ft_config_bool(const ft_config *c, const char *key) { return !strcmp(get(c, key, BOOL)->text, "true"); }

int ft_config_list(const ft_config *c, const char *key, const char *const **items)
{
    const value *v = get(c, key, LIST);
    *items = (const char *const *)v->item;
    return v->n;
}

const char *ft_config_origin(const ft_config *c, const char *key)
{
    int i = index_of(key);
    FT_ASSERT(i >= 0);
    return c->v[i].origin;
}

/* Words that YAML, here or elsewhere, takes for nothing but text. */
static bool is_plain(const char *s, value_type type)
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

static void quoted(FILE *f, const char *s, value_type type)
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
    for (int i = 0; i < N_KEYS; i++) {
        const char *dot = strchr(keys[i].name, '.');
        const char *leaf = dot ? dot + 1 : keys[i].name;
        char mine[64];
        snprintf(mine, sizeof mine, "%.*s", dot ? (int)(dot - keys[i].name) : 0, keys[i].name);
        if (strcmp(mine, section)) {
            snprintf(section, sizeof section, "%s", mine);
            if (*section) fprintf(f, "%s:\n", section);
        }
        fprintf(f, "%s%s: ", dot ? "  " : "", leaf);
        if (keys[i].type == LIST) {
            fputc('[', f);
            for (int k = 0; k < c->v[i].n; k++) {
                if (k) fputs(", ", f);
                list_item(f, c->v[i].item[k]);
            }
            fputc(']', f);
        } else quoted(f, c->v[i].text, keys[i].type);
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
    for (int i = 0; i < N_KEYS; i++) {
        bool take = !prefix;
        for (int k = 0; prefix && prefix[k]; k++) take |= !strncmp(keys[i].name, prefix[k], strlen(prefix[k]));
        if (!take) continue;
        const value *v = &c->v[i];
        json_t *j = NULL;
        switch (keys[i].type) {
            case TEXT:
            case CHOICE: j = json_string(v->text); break;
            case INT: j = json_integer(strtoll(v->text, NULL, 10)); break;
            case REAL: j = json_real(strtod(v->text, NULL)); break;
            case BOOL: j = json_boolean(!strcmp(v->text, "true")); break;
            case LIST:
                j = json_array();
                for (int k = 0; k < v->n; k++) json_array_append_new(j, json_string(v->item[k]));
        }
        json_object_set_new(o, keys[i].name, j);
    }
    return o;
}

void ft_config_help(FILE *f)
{
    fprintf(f, "Keys of a configuration file (YAML; `data.size` is `size` under `data:`), also for --set KEY=VALUE:\n");
    for (int i = 0; i < N_KEYS; i++)
        fprintf(f, "  %-26s %s%s%s%s\n", keys[i].name, keys[i].help, *keys[i].standard ? " [" : "", keys[i].standard,
                *keys[i].standard ? "]" : "");
}

json_t *ft_config_keys(void)
{
    json_t *list = json_array();
    for (int i = 0; i < N_KEYS; i++) {
        const key_row *k = &keys[i];
        const char *text = k->type == CHOICE ? strchr(k->help, ':') : NULL; /* its values stand before it */
        json_t *o = json_pack("{s:s,s:s,s:s}", "name", k->name, "type", type_names[k->type], "default", k->standard);
        json_array_append_new(list, o);
        if (text) json_object_set_new(o, "values", json_stringn(k->help, (size_t)(text - k->help)));
        if (k->type == INT || k->type == REAL)
            json_object_set_new(o, "low", json_real(k->low)), json_object_set_new(o, "high", json_real(k->high));
        json_object_set_new(o, "help", json_string(text ? text + 1 + strspn(text + 1, " ") : k->help));
    }
    return list;
}
