/* DICOM as hospitals export it: files in folders of folders, with an ending or without, beside a DICOMDIR, which lists what is
 * there anyway. Who a video is of is known from the files: the patient is its group, under a number of this folder, never under a
 * name or id. (A hash of an id, of which there are few, is read back by trying them all; a number is not, and is the same
 * wherever the folder is read.) */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/files.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/names.h"
#include "common/base/status.h"
#include "common/io/dicom.h"
#include "common/io/lookup.h"
#include "experiments/data/datasets.h"

enum { DEEPEST = 8, MOST_FILES = 1000000, SAID = 5 };

typedef struct {
    const char *root;
    char **path; /* ROOT/... */
    ft_dicom_head *head;
    bool *good; /* it could be read */
    int n, bad, single, named;
} collection;

static int no_memory(const char *path) { return FT_FAIL(FT_ENOMEM, "%s: no memory for its list of files", path); }

static void collection_free(collection *c)
{
    ft_free_names(c->path, c->n);
    ft_free(c->head);
    ft_free(c->good);
}

static int natural(const void *a, const void *b) { return ft_natural_order(*(char *const *)a, *(char *const *)b); }

static int collect(collection *c, const char *folder, int depth)
{
    char **name;
    int n;
    FT_TRY(ft_list_dir(folder, &name, &n));
    if (n) qsort(name, (size_t)n, sizeof *name, natural);
    int rc = FT_OK;
    for (int i = 0; rc == FT_OK && i < n; i++) {
        if (ft_is_foreign(name[i]) || !strcmp(name[i], "DICOMDIR")) continue;
        char *path = ft_format("%s/%s", folder, name[i]);
        struct stat st;
        if (!path) rc = no_memory(folder);
        else if (stat(path, &st) != 0) rc = FT_OK; /* a link to nothing */
        else if (S_ISDIR(st.st_mode)) rc = depth < DEEPEST ? collect(c, path, depth + 1) : FT_OK;
        else if (S_ISREG(st.st_mode) && ft_is_dicom(path, true)) {
            rc = c->n < MOST_FILES
                     ? ft_grow(&c->path, (size_t)c->n, sizeof *c->path)
                     : FT_FAIL(FT_EDATA, "%s: more than %d files. Ingest its parts one by one", c->root, MOST_FILES);
            if (rc == FT_OK) c->path[c->n++] = path, path = NULL;
        }
        ft_free(path);
    }
    ft_free_names(name, n);
    return rc;
}

static int take(void *of, int i, const ft_dicom_head *head, const char *why)
{
    collection *c = of;
    c->good[i] = head != NULL;
    if (head) {
        c->head[i] = *head;
        c->single += head->frames == 1;
        c->named += head->tells_name;
    } else if (c->bad++ < SAID) ft_warn("%s; left out", why);
    return FT_OK;
}

/* All DICOM files below the folder, and what each says of itself */
static int look(collection *c, const char *root)
{
    *c = (collection){.root = root};
    int rc = collect(c, root, 1);
    c->head = ft_alloc_n(c->n + 1, sizeof *c->head);
    c->good = ft_alloc_n(c->n + 1, sizeof *c->good);
    if (rc == FT_OK && (!c->head || !c->good)) rc = no_memory(root);
    if (rc == FT_OK) rc = ft_dicom_heads(c->path, c->n, take, c);
    if (rc == FT_OK && c->bad > SAID) ft_warn("%s: %d more DICOM files cannot be read and are left out", root, c->bad - SAID);
    if (rc == FT_OK && c->named)
        ft_warn("%s: the paths of %d files hold their patient's name or number, and paths are kept in the clip store. Rename "
                "them before "
                "anything leaves this machine",
                root, c->named);
    if (rc < 0) collection_free(c);
    return rc;
}

/* ---- groups --------------------------------------------------------------------------------------------------------------- */

/* What tells the groups apart: the patient; where it is not said, the study; else nothing, and the video is its own */
static const char *who(const ft_dicom_head *h) { return *h->patient ? h->patient : h->study; }

/* Numbers in order of the files: number[i] of file i; 0: nothing is said of it */
static int number_patients(const collection *c, int *number, int *patients, int *studies)
{
    ft_lookup all = {0};
    int rc = FT_OK, *given = ft_alloc_n(c->n + 1, sizeof *given);
    if (!given) rc = no_memory(c->root);
    for (int i = 0; rc == FT_OK && i < c->n; i++)
        if (c->good[i] && *who(&c->head[i])) rc = ft_lookup_add(&all, who(&c->head[i]), 64, i);
    if (rc == FT_OK) ft_lookup_sort(&all);
    for (int i = 0; rc == FT_OK && i < c->n; i++) {
        if (!c->good[i] || !*who(&c->head[i])) continue;
        int *at = &given[ft_lookup_find(&all, who(&c->head[i]), 64)];
        if (!*at) *at = *c->head[i].patient ? ++*patients : ++*studies;
        number[i] = *at;
    }
    ft_lookup_free(&all);
    ft_free(given);
    return rc;
}

static int set_group(ft_label *e, const ft_dicom_head *h, int number)
{
    char *group = number ? ft_format("%s %d", *h->patient ? "patient" : "study", number) : ft_strdup(e->video);
    if (!group) return no_memory(e->video);
    ft_free(e->group);
    e->group = group;
    return FT_OK;
}

/* The device, beside what a list says: experiments hold such columns against the class */
static int add_facts(ft_label *e, const ft_dicom_head *h)
{
    json_t *o = e->facts ? json_loads(e->facts, 0, NULL) : json_object();
    if (*h->maker && !json_object_get(o, "manufacturer")) json_object_set_new(o, "manufacturer", json_string(h->maker));
    if (*h->model && !json_object_get(o, "model")) json_object_set_new(o, "model", json_string(h->model));
    char *text;
    int rc = ft_json_text(o, JSON_COMPACT | JSON_SORT_KEYS, &text);
    json_decref(o);
    FT_TRY(rc);
    ft_free(e->facts);
    e->facts = text;
    return FT_OK;
}

/* Groups and facts of the rows whose file is in the collection */
static int settle(ft_labels *l, const collection *c)
{
    ft_lookup place = {0};
    int patients = 0, studies = 0, of_list = 0, unnamed = 0, rc = FT_OK, *number = ft_alloc_n(c->n + 1, sizeof *number);
    char **real = ft_alloc_n(c->n + 1, sizeof *real); /* a list may call them by other ways */
    if (!number || !real) rc = no_memory(c->root);
    if (rc == FT_OK) rc = number_patients(c, number, &patients, &studies);
    for (int i = 0; rc == FT_OK && i < c->n; i++) {
        if (!(real[i] = realpath(c->path[i], NULL))) rc = no_memory(c->root);
        else rc = ft_lookup_add(&place, real[i], strlen(real[i]), i);
    }
    if (rc == FT_OK) ft_lookup_sort(&place);
    for (int i = 0; i < l->n; i++) of_list += strcmp(l->row[i].group, l->row[i].video) != 0;
    for (int i = 0; rc == FT_OK && i < l->n; i++) {
        char *file = l->row[i].file ? realpath(l->row[i].file, NULL) : NULL;
        int64_t at = file ? ft_lookup_find(&place, file, strlen(file)) : -1;
        free(file);
        if (at < 0 || !c->good[at]) continue;
        unnamed += !*c->head[at].patient;
        if (!of_list) rc = set_group(&l->row[i], &c->head[at], number[at]);
        if (rc == FT_OK) rc = add_facts(&l->row[i], &c->head[at]);
    }
    if (rc == FT_OK && of_list) ft_log("%s: groups are those of the list, not the patients that the files name", c->root);
    else if (rc == FT_OK && patients)
        ft_log("%s: %d patients, who are groups under numbers; names and ids stay in the files", c->root, patients);
    if (rc == FT_OK && !of_list && unnamed)
        ft_warn("%s: %d of %d videos name no patient: each of their %d studies is a group, and two studies of one patient may "
                "stand on "
                "both sides of a split. A list with a column for the patient says more",
                c->root, unnamed, l->n, studies);
    ft_lookup_free(&place);
    for (int i = 0; real && i < c->n; i++) free(real[i]);
    ft_free(real);
    ft_free(number);
    return rc;
}

/* ---- the videos ----------------------------------------------------------------------------------------------------------- */

static int add_video(ft_labels *l, const char *root, const char *path)
{
    const char *name = path + strlen(root);
    while (*name == '/') name++;
    FT_TRY(ft_check_name(name, strlen(name), root, "the file"));
    return ft_labels_add(l, &(ft_label_texts){.video = name, .group = name, .file = path});
}

static int dicom_read(ft_labels *l, const char *root, const ft_list_words *w, const ft_list_opt *opt)
{
    collection c;
    (void)w;
    FT_TRY(look(&c, root));
    int rc = (l->list[0] = ft_strdup(root)) ? FT_OK : no_memory(root);
    for (int i = 0; rc == FT_OK && i < c.n; i++)
        if (c.good[i] && c.head[i].frames > 1) rc = add_video(l, root, c.path[i]);
    if (rc == FT_OK && c.single) ft_log("%s: %d DICOM files of one picture each are no videos and are left out", root, c.single);
    if (rc == FT_OK && l->n == 0) rc = FT_FAIL(FT_EDATA, "%s: no DICOM file of several pictures in it or in its folders", root);
    if (rc == FT_OK && opt->group_from && *opt->group_from) rc = ft_labels_group(l, opt->group_from);
    if (rc == FT_OK) rc = settle(l, &c);
    collection_free(&c);
    return rc;
}

static int dicom_groups(ft_labels *l, const char *folder)
{
    collection c;
    if (l->n > 0 && l->row[0].line == 0) return FT_OK; /* no list: dicom_read has looked at the files */
    FT_TRY(look(&c, folder));
    int rc = settle(l, &c);
    collection_free(&c);
    return rc;
}

const ft_dataset ft_dataset_dicom = {
    .help = "DICOM files in folders of folders; labels by --labels, groups are the patients that the files name",
    .read = dicom_read,
    .found = dicom_groups};
