#include "common/io/labels.h"

#include <ctype.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/base/files.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/names.h"
#include "common/base/status.h"
#include "common/io/lookup.h"
#include "common/io/table.h"

enum { MOST_ROWS = 250000, MOST_FACTS = 64 << 20 };            /* MOST_FACTS: bytes; every row repeats the names of its columns */
enum { VIDEO = 0, LABEL, GROUP, SPLIT, N_KNOWN, TOLD = 4096 }; /* TOLD: bytes of what --columns says of one */
static const char *const column_names[N_KNOWN] = {"video", "label", "group", "split"};
static const char *const field_names[N_KNOWN] = {"the name of the video", "the label", "the group", "the split"};
/* What they are called elsewhere: small letters, without what stands between words. */
static const char *const other_names[N_KNOWN][14] = {
    {"filename", "file", "path", "filepath", "videoname", "videofile", "videopath", "videoid", "hashedfilename", "name"},
    {"class", "finding", "category", "diagnosis", "target", "classname", "labelname", "labels"},
    {"patient", "patientid", "subject", "subjectid", "participant", "participantid", "pid", "patientidname"},
    {"fold", "set", "subset", "partition", "splits"}};

typedef struct {
    ft_labels *l;
    const ft_list_opt *opt;
    const char *path;    /* l's own copy */
    int column[N_KNOWN]; /* where each known column stands; -1: absent */
    int expected, rows;
    bool headerless;
    json_t *fact, *nothing;      /* of the row, kept from row to row with its columns; "" */
    size_t facts;                /* bytes of all rows */
    char *name[FT_COLUMNS];      /* of the header; NULL: no fact */
    int kind[FT_COLUMNS], kinds; /* columns of 0 and 1, of a class each */
} reader;

static int no_memory(const char *path) { return FT_FAIL(FT_ENOMEM, "%s: no memory", path); }

static void plain_name(const char *s, char out[64])
{
    size_t n = 0;
    for (; *s && n < 63; s++)
        if (isalnum((unsigned char)*s) || (unsigned char)*s > 127) out[n++] = (char)tolower((unsigned char)*s);
    out[n] = 0;
}

/* 0: as it is called here; 1: but for case and blanks; 2: another usual name; 3: no such column */
static int nearness(const char *name, int k)
{
    char plain[64];
    if (!strcmp(name, column_names[k])) return 0;
    plain_name(name, plain);
    if (!strcmp(plain, column_names[k])) return 1;
    for (int i = 0; other_names[k][i]; i++)
        if (!strcmp(plain, other_names[k][i])) return 2;
    return 3;
}

/* What `columns` says of column k: false: nothing; else *name, which may be "". */
static bool told(const char *columns, int k, char name[TOLD])
{
    for (const char *p = columns; p && *p; p += strcspn(p, ","), p += *p == ',') {
        p += strspn(p, " ");
        size_t n = strlen(column_names[k]), value;
        if (strncmp(p, column_names[k], n) || p[n] != '=') continue;
        p += n + 1;
        value = strcspn(p, ",");
        snprintf(name, TOLD, "%.*s", (int)value, p);
        return true;
    }
    return false;
}

static int check_columns(const char *columns)
{
    for (const char *p = columns; p && *p; p += strcspn(p, ","), p += *p == ',') {
        bool known = false;
        p += strspn(p, " ");
        for (int k = 0; k < N_KNOWN; k++)
            known |= !strncmp(p, column_names[k], strlen(column_names[k])) && p[strlen(column_names[k])] == '=';
        if (!known)
            return FT_FAIL(FT_EUSAGE,
                           "columns '%s': video=NAME,label=NAME,group=NAME,split=NAME are known, each where it is needed",
                           columns);
    }
    return FT_OK;
}

/* is the column one of a list "a,b"? */
static bool listed(const char *list, const char *name)
{
    size_t n = strlen(name);
    for (const char *p = list; p && *p; p += strcspn(p, ","), p += *p == ',')
        if (!strncasecmp(p, name, n) && (!p[n] || p[n] == ',')) return true;
    return false;
}

static void all_names(const ft_row *row, char text[300])
{
    size_t at = 0;
    for (int i = 0; i < row->fields && at < 250; i++)
        at += (size_t)snprintf(text + at, 300 - at, "%s%.40s", i ? ", " : "", row->field[i]);
}

/* By its place, in a list without a header, or by its name; -1: there is none. */
static int column_called(const ft_row *row, const char *name, bool *headerless)
{
    char *end;
    long place = strtol(name, &end, 10);
    if (!*end && place != 0 && labs(place) <= row->fields) {
        *headerless = true;
        return (int)(place > 0 ? place - 1 : row->fields + place);
    }
    for (int i = 0; i < row->fields; i++)
        if (!strcmp(row->field[i], name)) return i;
    for (int i = 0; i < row->fields; i++)
        if (!strcasecmp(row->field[i], name)) return i;
    return -1;
}

/* "A+B+C" as columns of classes; false: it is one column */
static int find_kinds(reader *r, const ft_row *row, const char *names, bool *found)
{
    bool by_place = false;
    *found = r->opt->multilabel && strchr(names, '+') && column_called(row, names, &by_place) < 0;
    for (const char *p = names; *found && *p; p += *p == '+') {
        size_t n = strcspn(p, "+");
        char *name = ft_format("%.*s", (int)n, p), all[300];
        if (!name) return no_memory(row->path);
        int at = column_called(row, name, &by_place);
        if (at < 0 || by_place) {
            all_names(row, all);
            int rc = FT_FAIL(FT_EDATA, "%s:1: no column is called %s. There are %s", row->path, name, all);
            ft_free(name);
            return rc;
        }
        ft_free(name);
        if (strpbrk(row->field[at], "|;") || !strcasecmp(row->field[at], FT_NO_LABEL))
            return FT_FAIL(FT_EDATA, "%s:1: the column %s cannot be a class: rename it, without | and ;", row->path,
                           row->field[at]);
        for (int i = 0; i < r->kinds; i++)
            if (r->kind[i] == at) return FT_FAIL(FT_EDATA, "%s:1: the column %s is named twice", row->path, row->field[at]);
        r->kind[r->kinds++] = at;
        p += n;
    }
    return FT_OK;
}

/* The column that the user named, or the one that is called like this. */
static int find_column(reader *r, const ft_row *row, int k)
{
    char name[TOLD], all[300];
    int best = 3, at = -1, also = -1;
    r->column[k] = -1;
    if (told(r->opt->columns, k, name)) {
        bool kinds = false;
        if (!*name) return FT_OK;
        if (k == LABEL) FT_TRY(find_kinds(r, row, name, &kinds));
        if (kinds) {
            r->column[k] = r->kind[0];
            return FT_OK;
        }
        char *rest = name;
        for (char *one; r->column[k] < 0 && (one = strsep(&rest, "|"));) r->column[k] = column_called(row, one, &r->headerless);
        if (r->column[k] >= 0) return FT_OK;
        told(r->opt->columns, k, name), all_names(row, all);
        return FT_FAIL(FT_EDATA, "%s:1: no column is called %s. There are %s", row->path, name, all);
    }
    for (int i = 0; i < row->fields; i++) {
        int near = nearness(row->field[i], k);
        if (near < best) best = near, at = i, also = -1;
        else if (near < 3 && (near == best || (near == 1 && best == 0))) also = i;
    }
    if (also >= 0)
        return FT_FAIL(FT_EDATA, "%s:1: %s could be the column %s or %s. Say which: --columns %s=%s (data.columns)", row->path,
                       field_names[k], row->field[at], row->field[also], column_names[k], row->field[at]);
    r->column[k] = at;
    return FT_OK;
}

/* what was taken for what, where it is called otherwise */
static void say_columns(const reader *r, const ft_row *row)
{
    char text[600];
    size_t at = 0;
    for (int k = 0; k < N_KNOWN && at < 450; k++)
        if (r->column[k] >= 0 && strcmp(row->field[r->column[k]], column_names[k]))
            at += (size_t)snprintf(text + at, sizeof text - at, "%s%s is the column %.100s", at ? ", " : "", field_names[k],
                                   row->field[r->column[k]]);
    if (at) ft_log("%s: %s%s", row->path, text, r->kinds ? ", the first of those that --columns names" : "");
}

static int header(reader *r, const ft_row *row)
{
    char all[300], name[TOLD];
    bool any = false;
    for (int i = 0; i < row->fields; i++) FT_TRY(ft_row_name(row, i, "the name of a column"));
    r->expected = row->fields;
    for (int k = 0; k < N_KNOWN; k++) {
        FT_TRY(find_column(r, row, k));
        any |= r->column[k] >= 0;
    }
    for (int k = 0; k < N_KNOWN && r->headerless; k++)
        if (!told(r->opt->columns, k, name)) r->column[k] = -1; /* what stands in the first row is no name */
    all_names(row, all);
    if (!any && row->fields == 2) {
        r->headerless = true, r->column[VIDEO] = 0, r->column[LABEL] = 1;
        return FT_OK;
    }
    for (int k = VIDEO; k <= LABEL; k++)
        if (r->column[k] < 0)
            return FT_FAIL(
                FT_EDATA, "%s:1: no column named %s. There are %s. Say which it is: --columns %s=NAME (data.columns)%s",
                row->path, column_names[k], all, column_names[k], any ? "" : ", or, in a list without a header, video=1,label=2");
    for (int k = 0; k < N_KNOWN; k++)
        for (int q = 0; q < k; q++)
            if (r->column[k] >= 0 && r->column[k] == r->column[q])
                return FT_FAIL(FT_EDATA, "%s:1: the column %s is %s and %s. Say which: --columns (data.columns)", row->path,
                               row->field[r->column[k]], field_names[q], field_names[k]);
    if (r->headerless) return FT_OK;
    for (int i = 0; i < row->fields; i++) {
        for (int k = 0; k < i; k++)
            if (!strcmp(row->field[i], row->field[k]))
                return FT_FAIL(FT_EDATA, "%s:1: two columns are named %s", row->path, row->field[i]);
        bool kind = false;
        for (int k = 0; k < r->kinds; k++) kind |= r->kind[k] == i;
        if ((kind || !listed(r->opt->leave_out, row->field[i])) && !(r->name[i] = ft_strdup(row->field[i])))
            return no_memory(row->path);
    }
    say_columns(r, row);
    return FT_OK;
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
        for (int k = 0; k < N_KNOWN; k++) known |= r->column[k] == i;
        for (int k = 0; k < r->kinds; k++) known |= r->kind[k] == i;
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

/* "A|C" of columns of 0 and 1 */
static int take_kinds(const reader *r, const ft_row *row, char **out)
{
    static const char *const word[2][4] = {{"0", "0.0", "false", "no"}, {"1", "1.0", "true", "yes"}};
    ft_text t;
    FT_TRY(ft_text_begin(&t));
    int rc = FT_OK, some = 0;
    for (int k = 0; rc == FT_OK && k < r->kinds; k++) {
        const char *v = row->field[r->kind[k]];
        int is = -1;
        for (int i = 0; i < 8; i++)
            if (!strcasecmp(v, word[i / 4][i % 4])) is = i / 4;
        if (is < 0)
            rc = FT_FAIL(FT_EDATA, "%s:%d: the column %s is '%.40s' here; 0 or 1 is needed", row->path, row->line,
                         r->name[r->kind[k]], v);
        if (is == 1) fprintf(t.f, "%s%s", some++ ? "|" : "", r->name[r->kind[k]]);
    }
    if (rc == FT_OK) rc = ft_text_end(&t);
    if (rc == FT_OK && !(*out = ft_strdup(t.text))) rc = no_memory(row->path);
    ft_text_free(&t);
    return rc;
}

static int body(reader *r, const ft_row *row)
{
    if (row->fields != r->expected)
        return FT_FAIL(FT_EDATA, "%s:%d: %d columns, the first line has %d. Quote values that hold %s", row->path, row->line,
                       row->fields, r->expected, ft_separator_name(row->by));
    if (r->l->n == MOST_ROWS)
        return FT_FAIL(FT_EDATA, "%s:%d: more than %d videos. Is it a label list?", row->path, row->line, MOST_ROWS);
    FT_TRY(ft_grow(&r->l->row, (size_t)r->l->n, sizeof *r->l->row));
    ft_label *e = &r->l->row[r->l->n++];
    *e = (ft_label){.list = r->path, .line = row->line};
    FT_TRY(take(r, row, VIDEO, &e->video));
    FT_TRY(r->kinds ? take_kinds(r, row, &e->label) : take(r, row, LABEL, &e->label));
    FT_TRY(take(r, row, GROUP, &e->group));
    FT_TRY(take(r, row, SPLIT, &e->split));
    FT_TRY(facts(r, row, &e->facts));
    if (!*e->video || (!*e->label && !r->opt->multilabel))
        return FT_FAIL(FT_EDATA, "%s:%d: %s is empty", row->path, row->line, *e->video ? "the label" : "the name of the video");
    return FT_OK;
}

static int take_row(void *ctx, const ft_row *row)
{
    reader *r = ctx;
    if (r->rows++ > 0) return body(r, row);
    FT_TRY(header(r, row));
    r->l->decimal_commas = row->by != ',';
    return r->headerless ? body(r, row) : FT_OK;
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

static int read_file(ft_labels *l, const char *path, const ft_list_opt *opt)
{
    memset(l, 0, sizeof *l);
    FT_TRY(check_columns(opt->columns));
    if (!(l->list[0] = ft_strdup(path))) return no_memory(path);
    reader r = {.l = l, .opt = opt, .path = l->list[0], .fact = json_object(), .nothing = json_string("")};
    int rc = ft_table_read(path, 64u << 20, 0, take_row, &r);
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

static const char *const splits[] = {"train", "val", "test"}; /* names of files */

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

static int read_folder(ft_labels *l, const char *folder, const ft_list_opt *opt)
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
        rc = read_file(&part, path[i], opt);
        if (rc == FT_OK) l->list[i] = part.list[0], part.list[0] = NULL; /* the rows point to it */
        if (rc == FT_OK) rc = append(l, &part, path[i], i == 0 ? "train" : i == 1 && path[2] ? "validation" : "test");
        if (rc == FT_OK) rc = check_once(l, path[i], "%s:%d: video %s stands in another list as well (line %d)");
        ft_labels_free(&part);
    }
    for (int i = 0; i < 3; i++) ft_free(path[i]);
    if (rc < 0) ft_labels_free(l);
    return rc;
}

int ft_labels_settle(ft_labels *l, const ft_list_opt *opt)
{
    int rc = ft_labels_name_splits(l);
    if (rc == FT_OK) rc = opt->multilabel ? ft_labels_to_sets(l) : ft_labels_to_classes(l, opt->bins);
    if (rc == FT_OK) rc = ft_labels_group(l, opt->group_from);
    if (rc < 0) ft_labels_free(l);
    return rc;
}

int ft_labels_read(ft_labels *l, const char *path, const ft_list_opt *opt)
{
    static const ft_list_opt nothing = {0};
    if (!opt) opt = &nothing;
    FT_TRY(ft_is_dir(path) ? read_folder(l, path, opt) : read_file(l, path, opt));
    return ft_labels_settle(l, opt);
}

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

static void row_free(ft_label *e)
{
    ft_free(e->video);
    ft_free(e->label);
    ft_free(e->group);
    ft_free(e->split);
    ft_free(e->facts);
    ft_free(e->file);
}

int ft_labels_add(ft_labels *l, const ft_label_texts *row)
{
    FT_TRY(ft_grow(&l->row, (size_t)l->n, sizeof *l->row));
    ft_label *e = &l->row[l->n++];
    *e = (ft_label){.video = ft_strdup(row->video ? row->video : ""),
                    .label = ft_strdup(row->label ? row->label : ""),
                    .group = ft_strdup(row->group ? row->group : ""),
                    .split = ft_strdup(row->split ? row->split : ""),
                    .facts = ft_strdup(row->facts ? row->facts : "{}"),
                    .file = row->file ? ft_strdup(row->file) : NULL,
                    .list = l->list[0],
                    .line = row->line,
                    .from = row->from,
                    .frames = row->frames};
    bool room = e->video && e->label && e->group && e->split && e->facts && (e->file || !row->file);
    return room ? FT_OK : no_memory(e->list);
}

void ft_labels_drop(ft_labels *l, int i)
{
    row_free(&l->row[i]);
    memmove(&l->row[i], &l->row[i + 1], (size_t)(l->n - i - 1) * sizeof *l->row);
    l->n--;
}

void ft_labels_free(ft_labels *l)
{
    for (int i = 0; i < l->n; i++) row_free(&l->row[i]);
    ft_free(l->row);
    for (int i = 0; i < 3; i++) ft_free(l->list[i]);
    memset(l, 0, sizeof *l);
}
