/* Settings from YAML files. */
#include <string.h>
#include <yaml.h>

#include "common/base/files.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/io/config_parts.h"

/* What files may hold: they are read before anything else is known about them. */
enum { MOST_FILES = 100, MOST_EVENTS = 100000, MOST_DEPTH = 64, MOST_ANCHORS = 256 };

typedef struct {
    ft_config *c;
    yaml_document_t *doc;
    const char *path;
    bool seen[FT_N_SETTINGS];
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
    if (!text) return ft_settings_no_memory();
    if (*count == FT_SETTING_ITEMS) return ft_setting_too_many(at(w, n, where, sizeof where), key);
    item[(*count)++] = text;
    return FT_OK;
}

static char *pair_text(yaml_walk *w, const char *key, const char *text)
{
    char *pair = ft_format("%s: %s", key, text), *kept = pair ? ft_arena_strdup(w->c->arena, pair) : NULL;
    ft_free(pair);
    return kept;
}

/* Added to `item`, which has room for FT_SETTING_ITEMS. */
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
        FT_TRY(ft_setting_check_text(scalar(k), "a key", where));
        snprintf(name, sizeof name, "%s%s%s", prefix, *prefix ? "." : "", scalar(k));
        if (!strcmp(name, "include")) continue; /* read before */
        int i = ft_setting_index(name);
        if (i < 0) {
            bool section = false;
            for (int q = 0; q < FT_N_SETTINGS; q++)
                if (!strncmp(ft_settings[q].name, name, strlen(name)) && ft_settings[q].name[strlen(name)] == '.') section = true;
            if (!section) return ft_setting_unknown(where, name);
            if (v->type != YAML_MAPPING_NODE) return FT_FAIL(FT_ECONFIG, "%s: %s holds further keys, not a value", where, name);
            FT_TRY(mapping(w, v, name));
            continue;
        }
        if (w->seen[i]) return FT_FAIL(FT_ECONFIG, "%s: %s is given twice in this file", where, name);
        w->seen[i] = true;
        if (ft_settings[i].type == LIST) {
            char *item[FT_SETTING_ITEMS];
            int n = 0;
            FT_TRY(list_items(w, v, name, item, &n));
            FT_TRY(ft_setting_store(w->c, i, NULL, n, item, where));
        } else {
            if (!scalar(v))
                return FT_FAIL(FT_ECONFIG, "%s: %s needs %s, not %s", where, name, ft_setting_types[ft_settings[i].type],
                               v->type == YAML_MAPPING_NODE ? "further keys" : "a list");
            FT_TRY(ft_setting_store(w->c, i, scalar(v), 0, NULL, where));
        }
    }
    return FT_OK;
}

static int read_file(ft_config *c, const char *path, int depth, int *files);

/* Files named by `include` at the top are read first, so that this one has the last word; their paths begin at its folder. */
static int includes(yaml_walk *w, const yaml_node_t *root, int depth, int *files)
{
    char where[600], *item[FT_SETTING_ITEMS];
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
            FT_TRY(ft_setting_check_text(item[q], "include", where));
            if (++*files > MOST_FILES)
                return FT_FAIL(FT_ECONFIG, "%s: more than %d files are included. Do they include each other?", where, MOST_FILES);
            char *file = ft_format("%.*s%s", *item[q] == '/' ? 0 : (int)(base - w->path), w->path, item[q]);
            if (!file) rc = ft_settings_no_memory();
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
    if (!copy) return ft_settings_no_memory();
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
    if (p->error == YAML_MEMORY_ERROR) return ft_settings_no_memory();
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
        return ft_settings_no_memory();
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
    if (!yaml_parser_initialize(&parser)) return ft_settings_no_memory();
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
