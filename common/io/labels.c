#include "common/io/labels.h"

#include <csv.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/files.h"
#include "common/base/memory.h"
#include "common/base/status.h"

enum { COLUMNS = 64, VIDEO = 0, LABEL, GROUP, SPLIT, KNOWN };
static const char *const column_names[KNOWN] = {"video", "label", "group", "split"};

typedef struct {
    const char *path;
    ft_labels *l;
    int column[KNOWN]; /* where each known column stands; -1: absent */
    int fields, expected, line, start_line, rows, rc;
    char *field[COLUMNS], *name[COLUMNS]; /* of this row; of the header */
} reader;

static void take_field(void *data, size_t n, void *ctx)
{
    reader *r = ctx;
    if (r->rc < 0) return;
    if (r->fields == COLUMNS) {
        r->rc = FT_FAIL(FT_EDATA, "%s:%d: more than %d columns. Is it a label list?", r->path, r->start_line, COLUMNS);
        return;
    }
    char *s = ft_alloc(n + 1);
    if (!s) {
        r->rc = FT_FAIL(FT_ENOMEM, "%s: no memory", r->path);
        return;
    }
    if (n) memcpy(s, data, n);
    r->field[r->fields++] = s;
}

static char *take(reader *r, int which)
{
    int i = r->column[which];
    if (i < 0 || i >= r->fields) return ft_strdup("");
    char *s = r->field[i];
    r->field[i] = NULL;
    return s;
}

static void header(reader *r)
{
    bool named = false;
    for (int i = 0; i < r->fields; i++)
        if (!strcmp(r->field[i], "video")) named = true;
    for (int k = 0; k < KNOWN; k++) r->column[k] = -1;
    r->expected = r->fields;
    if (!named) {
        if (r->fields != 2) {
            r->rc = FT_FAIL(
                FT_EDATA,
                "%s:1: no column named video, and not the two columns of a headerless list. Start the file with video,label",
                r->path);
            return;
        }
        r->column[VIDEO] = 0, r->column[LABEL] = 1;
        return;
    }
    for (int i = 0; i < r->fields; i++)
        for (int k = 0; k < KNOWN; k++)
            if (!strcmp(r->field[i], column_names[k])) {
                if (r->column[k] >= 0) r->rc = FT_FAIL(FT_EDATA, "%s:1: two columns are named %s", r->path, column_names[k]);
                r->column[k] = i;
            }
    for (int i = 0; i < r->fields; i++)
        if (!(r->name[i] = ft_strdup(r->field[i]))) r->rc = FT_FAIL(FT_ENOMEM, "%s: no memory", r->path);
    if (r->rc == FT_OK && r->column[LABEL] < 0) r->rc = FT_FAIL(FT_EDATA, "%s:1: no column named label", r->path);
}

/* what is left of a row once the known columns are taken */
static char *facts(reader *r)
{
    json_t *o = json_object();
    for (int i = 0; i < r->fields; i++)
        if (r->field[i] && r->name[i]) json_object_set_new(o, r->name[i], json_string(r->field[i]));
    char *text = json_dumps(o, JSON_COMPACT), *copy = text ? ft_strdup(text) : NULL;
    json_decref(o);
    free(text);
    return copy;
}

static void body(reader *r)
{
    if (r->fields != r->expected) {
        r->rc = FT_FAIL(FT_EDATA, "%s:%d: %d columns, the first line has %d. Quote values that hold commas", r->path,
                        r->start_line, r->fields, r->expected);
        return;
    }
    if ((r->rc = ft_grow(&r->l->row, (size_t)r->l->n, sizeof *r->l->row)) < 0) return;
    ft_label *e = &r->l->row[r->l->n++];
    *e = (ft_label){take(r, VIDEO), take(r, LABEL), take(r, GROUP), take(r, SPLIT), NULL, r->start_line};
    e->facts = facts(r);
    if (!e->video || !e->label || !e->group || !e->split || !e->facts) {
        r->rc = FT_FAIL(FT_ENOMEM, "%s: no memory", r->path);
        return;
    }
    if (!*e->video || !*e->label) {
        r->rc =
            FT_FAIL(FT_EDATA, "%s:%d: %s is empty", r->path, r->start_line, *e->video ? "the label" : "the name of the video");
        return;
    }
    if (!*e->group) { /* each video is its own group */
        ft_free(e->group);
        if (!(e->group = ft_strdup(e->video))) r->rc = FT_FAIL(FT_ENOMEM, "%s: no memory", r->path);
    }
    for (int i = 0; i + 1 < r->l->n && r->rc == FT_OK; i++)
        if (!strcmp(r->l->row[i].video, e->video))
            r->rc = FT_FAIL(FT_EDATA, "%s:%d: video %s stands in line %d already", r->path, r->start_line, e->video,
                            r->l->row[i].line);
}

static void take_row(int c, void *ctx)
{
    reader *r = ctx;
    (void)c;
    if (r->rc == FT_OK) {
        if (r->rows++ == 0) {
            header(r);
            if (r->rc == FT_OK && strcmp(r->field[r->column[VIDEO]], "video")) body(r); /* headerless: the first row is data */
        } else body(r);
    }
    for (int i = 0; i < r->fields; i++) ft_free(r->field[i]), r->field[i] = NULL;
    r->fields = 0;
}

static int read_file(ft_labels *l, const char *path)
{
    char *text;
    size_t size;
    memset(l, 0, sizeof *l);
    FT_TRY(ft_read_file(path, 64u << 20, &text, &size));
    size_t skip = size >= 3 && !memcmp(text, "\xEF\xBB\xBF", 3) ? 3 : 0;
    reader r = {.path = path, .l = l, .line = 1, .start_line = 1};
    struct csv_parser p;
    if (memchr(text, 0, size)) r.rc = FT_FAIL(FT_EDATA, "%s: holds zero bytes, so it is not a CSV file. Check the path", path);
    csv_init(&p, CSV_STRICT | CSV_STRICT_FINI | CSV_APPEND_NULL);
    for (size_t at = skip; at < size && r.rc == FT_OK;) { /* one physical line at a time keeps the line number */
        const char *end = memchr(text + at, '\n', size - at);
        size_t n = end ? (size_t)(end - (text + at)) + 1 : size - at;
        int before = r.rows;
        size_t done = csv_parse(&p, text + at, n, take_field, take_row, &r);
        if (done != n && r.rc == FT_OK)
            r.rc = FT_FAIL(FT_EDATA, "%s:%d: %s. Check the quotes", path, r.line, csv_strerror(csv_error(&p)));
        at += n;
        r.line++;
        if (r.rows != before || r.fields == 0) r.start_line = r.line;
    }
    if (r.rc == FT_OK && csv_fini(&p, take_field, take_row, &r) != 0)
        r.rc = FT_FAIL(FT_EDATA, "%s:%d: a quote opened here is not closed", path, r.start_line);
    csv_free(&p);
    for (int i = 0; i < r.fields; i++) ft_free(r.field[i]);
    for (int i = 0; i < COLUMNS; i++) ft_free(r.name[i]);
    ft_free(text);
    if (r.rc == FT_OK && l->n == 0) r.rc = FT_FAIL(FT_EDATA, "%s: no rows. Add lines video,label", path);
    if (r.rc < 0) ft_labels_free(l);
    return r.rc;
}

/* the list of a split in a folder of lists; fresh, NULL: there is none */
static char *list_of(const char *folder, const char *split)
{
    static const char *const extension[] = {"txt", "csv"};
    for (int i = 0; i < 2; i++) {
        char *path = ft_format("%s/%s.%s", folder, split, extension[i]);
        if (path && ft_exists(path)) return path;
        ft_free(path);
    }
    return NULL;
}

static const char *const splits[] = {"train", "val", "test"};

/* Moves the rows of `part` behind those of `l`, as rows of a split. */
static int append(ft_labels *l, ft_labels *part, const char *path, const char *split)
{
    for (int i = 0; i < part->n; i++) {
        ft_label *e = &part->row[i];
        for (int k = 0; k < l->n; k++)
            if (!strcmp(l->row[k].video, e->video))
                return FT_FAIL(FT_EDATA, "%s:%d: video %s stands in another list as well", path, e->line, e->video);
        char *name = ft_strdup(split);
        if (!name) return FT_FAIL(FT_ENOMEM, "%s: no memory", path);
        ft_free(e->split);
        e->split = name;
    }
    for (int i = 0; i < part->n; i++) {
        FT_TRY(ft_grow(&l->row, (size_t)l->n, sizeof *l->row));
        l->row[l->n++] = part->row[i];
        memset(&part->row[i], 0, sizeof part->row[i]);
    }
    return FT_OK;
}

static int read_folder(ft_labels *l, const char *folder)
{
    char *path[3];
    int rc = FT_OK;
    memset(l, 0, sizeof *l);
    for (int i = 0; i < 3; i++) path[i] = list_of(folder, splits[i]);
    if (!path[0] || (!path[1] && !path[2]))
        rc = FT_FAIL(FT_EDATA, "%s: a folder of lists needs train.txt and val.txt or test.txt (or .csv)", folder);
    for (int i = 0; rc == FT_OK && i < 3; i++) {
        ft_labels part = {0};
        if (!path[i]) continue;
        rc = read_file(&part, path[i]);
        if (rc == FT_OK) rc = append(l, &part, path[i], i == 0 ? "train" : i == 1 && path[2] ? "val" : "test");
        ft_labels_free(&part);
    }
    for (int i = 0; i < 3; i++) ft_free(path[i]);
    if (rc < 0) ft_labels_free(l);
    return rc;
}

int ft_labels_read(ft_labels *l, const char *path) { return ft_is_dir(path) ? read_folder(l, path) : read_file(l, path); }

int ft_labels_sha256(const char *path, char hex[65])
{
    char all[3 * 65] = "";
    if (!ft_is_dir(path)) return ft_sha256_file(path, hex);
    for (int i = 0; i < 3; i++) {
        char *list = list_of(path, splits[i]), one[65] = "-";
        int rc = list ? ft_sha256_file(list, one) : FT_OK;
        ft_free(list);
        FT_TRY(rc);
        strcat(all, one);
    }
    ft_sha256(all, strlen(all), hex);
    return FT_OK;
}

int ft_labels_from_folders(ft_labels *l, const char *folder)
{
    char **class, **file;
    int n, m, rc;
    memset(l, 0, sizeof *l);
    FT_TRY(ft_list_dir(folder, &class, &n));
    rc = FT_OK;
    for (int i = 0; i < n; i++) {
        char *dir = ft_format("%s/%s", folder, class[i]);
        if (rc == FT_OK && dir && ft_is_dir(dir) && (rc = ft_list_dir(dir, &file, &m)) == FT_OK) {
            for (int k = 0; k < m; k++) {
                if (rc == FT_OK && (rc = ft_grow(&l->row, (size_t)l->n, sizeof *l->row)) == FT_OK) {
                    char *name = ft_format("%s/%s", class[i], file[k]);
                    l->row[l->n++] =
                        (ft_label){name, ft_strdup(class[i]), name ? ft_strdup(name) : NULL, ft_strdup(""), ft_strdup("{}"), 0};
                    if (!name) rc = FT_FAIL(FT_ENOMEM, "%s: no memory", folder);
                }
                ft_free(file[k]);
            }
            ft_free(file);
        }
        ft_free(dir);
        ft_free(class[i]);
    }
    ft_free(class);
    if (rc == FT_OK && l->n == 0)
        rc = FT_FAIL(FT_EDATA, "%s: no videos in folders by class. Give --labels FILE.csv, or make %s/CLASS/VIDEO", folder,
                     folder);
    if (rc < 0) ft_labels_free(l);
    return rc;
}

void ft_labels_free(ft_labels *l)
{
    for (int i = 0; i < l->n; i++) {
        ft_free(l->row[i].video);
        ft_free(l->row[i].label);
        ft_free(l->row[i].group);
        ft_free(l->row[i].split);
        ft_free(l->row[i].facts);
    }
    ft_free(l->row);
    memset(l, 0, sizeof *l);
}
