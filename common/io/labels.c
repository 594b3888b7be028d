#include "common/io/labels.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "common/base/files.h"
#include "common/base/memory.h"
#include "common/base/names.h"
#include "common/base/status.h"
#include "common/io/lookup.h"
#include "common/io/table.h"

enum { MOST_ROWS = 250000, MOST_FACTS = 64 << 20 }; /* MOST_FACTS: bytes; every row repeats the names of its columns */
enum { VIDEO = 0, LABEL, GROUP, SPLIT, KNOWN };
static const char *const column_names[KNOWN] = {"video", "label", "group", "split"};
static const char *const field_names[KNOWN] = {"the name of the video", "the label", "the group", "the split"};

typedef struct {
    ft_labels *l;
    int column[KNOWN]; /* where each known column stands; -1: absent */
    int expected, rows;
    json_t *fact, *nothing; /* of the row, kept from row to row with its columns; "" */
    size_t facts;           /* bytes of all rows */
    char *name[FT_COLUMNS]; /* of the header */
} reader;

static int no_memory(const char *path) { return FT_FAIL(FT_ENOMEM, "%s: no memory", path); }

/* A column that means something is not dropped because of how it is spelt. */
static int check_spelling(const ft_row *r, int i)
{
    for (int k = 0; k < KNOWN; k++)
        if (strcmp(r->field[i], column_names[k]) && !strcasecmp(r->field[i], column_names[k]))
            return FT_FAIL(FT_EDATA, "%s:1: the column %s is called %s here. Write it in small letters", r->path, column_names[k],
                           r->field[i]);
    return FT_OK;
}

static int header(reader *r, const ft_row *row)
{
    bool named = false;
    FT_TRY(ft_row_commas(row));
    for (int i = 0; i < row->fields; i++) {
        FT_TRY(ft_row_name(row, i, "the name of a column"));
        named |= !strcmp(row->field[i], "video");
    }
    for (int k = 0; k < KNOWN; k++) r->column[k] = -1;
    r->expected = row->fields;
    for (int i = 0; i < row->fields && (named || row->fields != 2); i++) FT_TRY(check_spelling(row, i));
    if (!named && row->fields != 2)
        return FT_FAIL(
            FT_EDATA,
            "%s:1: no column named video, and not the two columns of a headerless list. Start the file with video,label",
            row->path);
    if (!named) {
        for (int i = 0; i < 2; i++) FT_TRY(check_spelling(row, i));
        r->column[VIDEO] = 0, r->column[LABEL] = 1;
        return FT_OK;
    }
    for (int i = 0; i < row->fields; i++) {
        for (int k = 0; k < KNOWN; k++)
            if (!strcmp(row->field[i], column_names[k])) {
                if (r->column[k] >= 0) return FT_FAIL(FT_EDATA, "%s:1: two columns are named %s", row->path, column_names[k]);
                r->column[k] = i;
            }
        for (int k = 0; k < i; k++)
            if (!strcmp(row->field[i], row->field[k]))
                return FT_FAIL(FT_EDATA, "%s:1: two columns are named %s", row->path, row->field[i]);
        if (!(r->name[i] = ft_strdup(row->field[i]))) return no_memory(row->path);
    }
    return r->column[LABEL] < 0 ? FT_FAIL(FT_EDATA, "%s:1: no column named label", row->path) : FT_OK;
}

/* A value is text: line breaks in it count as spaces. That one could not be kept, ft_json_text knows. */
static int take_fact(const reader *r, const ft_row *row, int i, const char *where)
{
    if (!*row->field[i]) { /* most, in wide lists */
        json_object_set_nocheck(r->fact, r->name[i], r->nothing);
        return FT_OK;
    }
    char *value = ft_strdup(row->field[i]);
    if (!value) return no_memory(row->path);
    for (char *p = value; (p = strpbrk(p, "\n\r\t"));) *p = ' ';
    int rc = ft_check_name(value, strlen(value), where, r->name[i]);
    if (rc == FT_OK) json_object_set_new_nocheck(r->fact, r->name[i], json_string_nocheck(value)); /* both are checked */
    ft_free(value);
    return rc;
}

/* the other columns */
static int facts(reader *r, const ft_row *row, char **text)
{
    char where[FT_PATH_GIVEN + 80];
    int rc = FT_OK;
    snprintf(where, sizeof where, "%s:%d", row->path, row->line);
    for (int i = 0; i < row->fields && rc == FT_OK; i++) {
        bool known = false;
        for (int k = 0; k < KNOWN; k++) known |= r->column[k] == i;
        if (!known && r->name[i]) rc = take_fact(r, row, i, where);
    }
    if (rc == FT_OK) rc = ft_json_text(r->fact, JSON_COMPACT, text);
    if (rc == FT_OK && (r->facts += strlen(*text)) > MOST_FACTS)
        rc = FT_FAIL(FT_EDATA,
                     "%s:%d: the columns beside video, label, group and split take more than %d MiB. Leave out those that are "
                     "not needed, or shorten their names",
                     row->path, row->line, MOST_FACTS >> 20);
    return rc;
}

static int take(const reader *r, const ft_row *row, int which, char **out)
{
    int i = r->column[which];
    if (i >= 0) FT_TRY(ft_row_name(row, i, field_names[which]));
    return (*out = ft_strdup(i < 0 ? "" : row->field[i])) ? FT_OK : no_memory(row->path);
}

static int body(reader *r, const ft_row *row)
{
    if (row->fields != r->expected)
        return FT_FAIL(FT_EDATA, "%s:%d: %d columns, the first line has %d. Quote values that hold commas", row->path, row->line,
                       row->fields, r->expected);
    if (r->l->n == MOST_ROWS)
        return FT_FAIL(FT_EDATA, "%s:%d: more than %d videos. Is it a label list?", row->path, row->line, MOST_ROWS);
    FT_TRY(ft_grow(&r->l->row, (size_t)r->l->n, sizeof *r->l->row));
    ft_label *e = &r->l->row[r->l->n++];
    *e = (ft_label){.line = row->line};
    FT_TRY(take(r, row, VIDEO, &e->video));
    FT_TRY(take(r, row, LABEL, &e->label));
    FT_TRY(take(r, row, GROUP, &e->group));
    FT_TRY(take(r, row, SPLIT, &e->split));
    FT_TRY(facts(r, row, &e->facts));
    if (!*e->video || !*e->label)
        return FT_FAIL(FT_EDATA, "%s:%d: %s is empty", row->path, row->line, *e->video ? "the label" : "the name of the video");
    if (*e->group) return FT_OK;
    ft_free(e->group); /* each video is its own group */
    return (e->group = ft_strdup(e->video)) ? FT_OK : no_memory(row->path);
}

static int take_row(void *ctx, const ft_row *row)
{
    reader *r = ctx;
    if (r->rows++ > 0) return body(r, row);
    FT_TRY(header(r, row));
    return strcmp(row->field[r->column[VIDEO]], "video") ? body(r, row) : FT_OK; /* headerless: the first row is data */
}

/* FT_EDATA when a video stands in two rows; `also`: what is said of the first one, with its line */
static int check_once(const ft_labels *l, const char *path, const char *also)
{
    ft_lookup all = {0};
    int rc = FT_OK;
    for (int i = 0; i < l->n && rc == FT_OK; i++) rc = ft_lookup_add(&all, l->row[i].video, strlen(l->row[i].video), i);
    if (rc == FT_OK) ft_lookup_sort(&all);
    if (rc == FT_OK && all.repeated >= 0) {
        const ft_label *first = &l->row[all.repeated];
        const ft_label *again = &l->row[ft_lookup_find(&all, first->video, strlen(first->video))];
        rc = FT_FAIL(FT_EDATA, also, path, again->line, again->video, first->line);
    }
    ft_lookup_free(&all);
    return rc;
}

static int read_file(ft_labels *l, const char *path)
{
    reader r = {.l = l, .fact = json_object(), .nothing = json_string("")};
    memset(l, 0, sizeof *l);
    int rc = ft_table_read(path, 64u << 20, take_row, &r);
    for (int i = 0; i < FT_COLUMNS; i++) ft_free(r.name[i]);
    json_decref(r.fact), json_decref(r.nothing);
    if (rc == FT_OK && l->n == 0) rc = FT_FAIL(FT_EDATA, "%s: no rows. Add lines video,label", path);
    if (rc == FT_OK) rc = check_once(l, path, "%s:%d: video %s stands in line %d already");
    if (rc < 0) ft_labels_free(l);
    return rc;
}

/* the list of a split in a folder of lists; fresh, NULL: there is none. For want of memory none is taken for absent: val.txt
 * would count as the test list. */
static int list_of(const char *folder, const char *split, char **path)
{
    static const char *const extension[] = {"txt", "csv"};
    for (int i = 0; i < 2; i++) {
        if (!(*path = ft_format("%s/%s.%s", folder, split, extension[i]))) return no_memory(folder);
        if (ft_exists(*path)) return FT_OK;
        ft_free(*path);
    }
    *path = NULL;
    return FT_OK;
}

static const char *const splits[] = {"train", "val", "test"};

/* Moves the rows of `part` behind those of `l`, as rows of a split. */
static int append(ft_labels *l, ft_labels *part, const char *path, const char *split)
{
    for (int i = 0; i < part->n; i++) {
        ft_label *e = &part->row[i];
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
    char *path[3] = {NULL, NULL, NULL};
    int rc = FT_OK;
    memset(l, 0, sizeof *l);
    for (int i = 0; i < 3 && rc == FT_OK; i++) rc = list_of(folder, splits[i], &path[i]);
    if (rc == FT_OK && (!path[0] || (!path[1] && !path[2])))
        rc = FT_FAIL(FT_EDATA, "%s: a folder of lists needs train.txt and val.txt or test.txt (or .csv)", folder);
    for (int i = 0; rc == FT_OK && i < 3; i++) {
        ft_labels part = {0};
        if (!path[i]) continue;
        rc = read_file(&part, path[i]);
        if (rc == FT_OK) rc = append(l, &part, path[i], i == 0 ? "train" : i == 1 && path[2] ? "val" : "test");
        if (rc == FT_OK) rc = check_once(l, path[i], "%s:%d: video %s stands in another list as well (line %d)");
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
        char *list = NULL, one[65] = "-";
        int rc = list_of(path, splits[i], &list);
        if (list) rc = ft_sha256_file(list, one);
        ft_free(list);
        FT_TRY(rc);
        strcat(all, one);
    }
    ft_sha256(all, strlen(all), hex);
    return FT_OK;
}

static int add_video(ft_labels *l, const char *folder, const char *class, const char *file)
{
    FT_TRY(ft_check_name(class, strlen(class), folder, "the folder"));
    FT_TRY(ft_check_name(file, strlen(file), folder, "the file"));
    FT_TRY(ft_grow(&l->row, (size_t)l->n, sizeof *l->row));
    ft_label *e = &l->row[l->n++];
    *e = (ft_label){
        ft_format("%s/%s", class, file), ft_strdup(class), ft_format("%s/%s", class, file), ft_strdup(""), ft_strdup("{}"), 0};
    return e->video && e->label && e->group && e->split && e->facts ? FT_OK : no_memory(folder);
}

/* Names of a folder without hidden ones (.DS_Store). */
static int visible(const char *path, char ***name, int *n)
{
    int kept = 0;
    FT_TRY(ft_list_dir(path, name, n));
    for (int i = 0; i < *n; i++) {
        if (*(*name)[i] == '.') ft_free((*name)[i]);
        else (*name)[kept++] = (*name)[i];
    }
    *n = kept;
    return FT_OK;
}

int ft_labels_from_folders(ft_labels *l, const char *folder)
{
    char **class, **file;
    int n, m, rc = FT_OK;
    memset(l, 0, sizeof *l);
    FT_TRY(visible(folder, &class, &n));
    for (int i = 0; i < n; i++) {
        char *dir = ft_format("%s/%s", folder, class[i]);
        if (!dir) rc = no_memory(folder);
        if (rc == FT_OK && ft_is_dir(dir) && (rc = visible(dir, &file, &m)) == FT_OK) {
            for (int k = 0; k < m; k++) {
                if (rc == FT_OK) rc = add_video(l, folder, class[i], file[k]);
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
