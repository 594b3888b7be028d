#include "experiments/data/lists.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "classify/scores.h"
#include "common/base/files.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/io/lookup.h"
#include "experiments/data/datasets.h"
#include "experiments/data/video_names.h"

static const char *const keys[] = {FT_LIST_WORD_KEYS};

ft_list_words ft_list_words_of(const ft_config *cfg)
{
    return (ft_list_words){ft_config_text(cfg, "data.as"),
                           ft_config_text(cfg, "data.columns"),
                           ft_config_text(cfg, "data.group_from"),
                           ft_config_text(cfg, "data.threshold"),
                           ft_config_text(cfg, "data.bins"),
                           (int)ft_config_int(cfg, "data.window"),
                           ft_config_is(cfg, "data.window_positive", "majority"),
                           ft_config_bool(cfg, "data.multilabel")};
}

json_t *ft_list_words_key(const ft_config *cfg)
{
    json_t *said = NULL;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (!strcmp(ft_config_origin(cfg, keys[i]), "default")) continue;
        const char *const one[] = {keys[i], NULL};
        json_t *value = ft_config_json(cfg, one);
        if (!said) said = json_object();
        json_object_update(said, value);
        json_decref(value);
    }
    return said;
}

static bool given(const char *s) { return s && *s; }

/* Bounds of classes are rising numbers; the one of a threshold is a list of one. */
int ft_list_options(ft_list_opt *o, const ft_list_words *w)
{
    const ft_dataset *d = given(w->as) ? ft_dataset_find(w->as) : NULL;
    if (given(w->as) && !d) return FT_FAIL(FT_EUSAGE, "the data set %s is not known. There are %s", w->as, FT_DATASETS);
    if (given(w->threshold) && given(w->bins)) return FT_FAIL(FT_EUSAGE, "a threshold or bins, not both");
    if (given(w->threshold) && strchr(w->threshold, ','))
        return FT_FAIL(FT_EUSAGE, "the threshold is one number, not %s. Several are bins", w->threshold);
    if (w->multilabel && (given(w->threshold) || given(w->bins)))
        return FT_FAIL(FT_EUSAGE,
                       "classes of a number by --threshold or --bins, or several labels a video by --multilabel, not both");
    *o = (ft_list_opt){.columns = given(w->columns) || !d ? w->columns : d->columns,
                       .leave_out = d ? d->leave_out : NULL,
                       .group_from = given(w->group_from) || !d ? w->group_from : d->group_from,
                       .bins = given(w->threshold) ? w->threshold : w->bins,
                       .multilabel = w->multilabel};
    return FT_OK;
}

/* ---- what can be wrong -------------------------------------------------------------------------------------------------- */

/* Groups that stand on two sides: an experiment refuses them, but for cross-validation, which deals groups itself. */
static int check_groups(const ft_labels *l)
{
    enum { SAID = 5 };
    ft_lookup all = {0};
    int rc = FT_OK, *first = ft_alloc_n(l->n + 1, sizeof *first), groups = 0, divided = 0; /* first: row + 1 */
    if (!first) rc = FT_FAIL(FT_ENOMEM, "no memory for groups");
    for (int i = 0; rc == FT_OK && i < l->n; i++) rc = ft_lookup_add(&all, l->row[i].group, strlen(l->row[i].group), i);
    if (rc == FT_OK) ft_lookup_sort(&all);
    for (int i = 0; rc == FT_OK && i < l->n; i++) {
        const ft_label *e = &l->row[i];
        int *at = &first[ft_lookup_find(&all, e->group, strlen(e->group))];
        if (!*at) *at = i + 1, groups++;
        const ft_label *was = &l->row[*at - 1];
        if (strcmp(was->split, e->split) && divided++ < SAID)
            ft_warn("%s:%d: group %s is in the split '%s' here, '%s' in line %d. An experiment with these lists refuses it",
                    e->list, e->line, e->group, e->split, was->split, was->line);
    }
    if (divided > SAID) ft_warn("%s: %d more videos whose group is in two splits", l->row[0].list, divided - SAID);
    if (rc == FT_OK && groups == 1 && l->n > 1)
        ft_warn("%s: all %d videos are of one group, %s: there is none to test on", l->row[0].list, l->n, l->row[0].group);
    else if (rc == FT_OK && groups < l->n) ft_log("%s: %d videos of %d groups", l->row[0].list, l->n, groups);
    ft_free(first);
    ft_lookup_free(&all);
    return rc;
}

/* Labels that look as if they named several classes count as one class each, unless it is said. */
static void check_several(const ft_labels *l)
{
    for (int i = 0; i < l->n; i++) {
        const char *at = l->row[i].label;
        size_t n;
        ft_label_part(&at, &n);
        if (!ft_label_part(&at, &n)) continue;
        ft_warn("%s:%d: the label '%s' counts as one class. If it names several: --multilabel (data.multilabel: true)",
                l->row[i].list, l->row[i].line, l->row[i].label);
        return;
    }
}

/* The next class of a label, the whole of it where it is one; NULL: there are no more. */
static const char *next_class(const char **at, size_t *bytes, bool multilabel)
{
    const char *whole = *at;
    if (multilabel) return ft_label_part(at, bytes);
    *at += *bytes = strlen(whole);
    return *whole ? whole : NULL;
}

static int check_classes(const ft_labels *l, bool multilabel)
{
    const char *name[FT_MAX_CLASSES + 1];
    size_t size[FT_MAX_CLASSES + 1], bytes;
    int n = 0, most = multilabel ? FT_MAX_SET : FT_MAX_CLASSES;
    if (!multilabel) check_several(l);
    for (int i = 0; i < l->n && n <= most; i++) {
        const char *at = l->row[i].label;
        for (const char *one; n <= most && (one = next_class(&at, &bytes, multilabel));) {
            bool known = multilabel && bytes == strlen(FT_NO_LABEL) && !memcmp(one, FT_NO_LABEL, bytes);
            for (int k = 0; k < n && !known; k++) known = size[k] == bytes && !memcmp(name[k], one, bytes);
            if (!known) name[n] = one, size[n++] = bytes;
        }
    }
    if (multilabel && n <= most) return FT_OK; /* one class is enough: the others do not have it */
    if (n == 1 && l->n > 1)
        ft_warn("%s: all %d videos have the label %s: there is nothing to tell apart. Is it the right column?", l->row[0].list,
                l->n, name[0]);
    if (n > most)
        ft_warn("%s: more than %d different labels: an experiment asks for data.map, which joins them. Is it the right column?",
                l->row[0].list, most);
    return FT_OK;
}

/* ---- the list ----------------------------------------------------------------------------------------------------------- */

/* The data set's list in its folder; fresh, NULL when there is none. */
static int list_of(const ft_dataset *d, const char *root, char **path)
{
    *path = NULL;
    for (const char *p = d->list; p && *p; p += strcspn(p, "|"), p += *p == '|') {
        if (!(*path = ft_format("%s/%.*s", root, (int)strcspn(p, "|"), p))) return FT_FAIL(FT_ENOMEM, "no memory");
        if (ft_exists(*path)) return FT_OK;
        ft_free(*path);
        *path = NULL;
    }
    return FT_OK;
}

static int read_as(ft_labels *l, const ft_dataset *d, const ft_list_words *w, const ft_list_opt *opt, const char *root,
                   const char *labels)
{
    char *list = NULL;
    if (d->measured && !given(opt->bins) && !given(w->columns))
        return FT_FAIL(FT_EUSAGE,
                       "%s: its label is a number. --threshold N makes two classes of it, --bins A,B more (data.threshold, "
                       "data.bins)",
                       w->as);
    ft_log("%s", d->help);
    if (d->warning) ft_warn("%s: %s", w->as, d->warning);
    if (d->read && !(given(labels))) {
        FT_TRY(d->read(l, root, w, opt));
        if (w->multilabel) FT_TRY(ft_labels_to_sets(l));
        return given(opt->group_from) ? ft_labels_group(l, opt->group_from) : FT_OK;
    }
    if (given(labels)) return ft_labels_read(l, labels, opt);
    if (d->folders) return ft_labels_from_folders(l, root, opt);
    FT_TRY(list_of(d, root, &list));
    if (!list)
        return FT_FAIL(FT_EIO,
                       "%s: %s is not there, the list of %s. Give the folder that holds it with --videos (data.videos), or "
                       "the list with --labels (data.labels)",
                       root, d->list ? d->list : "a list", w->as);
    int rc = ft_labels_read(l, list, opt);
    ft_free(list);
    return rc;
}

int ft_list_open(ft_labels *l, const ft_list_words *w, const char *videos, const char *labels, bool outside, bool skip)
{
    const ft_dataset *d = given(w->as) ? ft_dataset_find(w->as) : NULL;
    ft_list_opt opt;
    memset(l, 0, sizeof *l);
    if (!ft_is_dir(videos)) return FT_FAIL(FT_EIO, "%s: not a folder. Give the folder of the videos with --videos", videos);
    FT_TRY(ft_list_options(&opt, w));
    char *inner = d && d->videos ? ft_format("%s/%s", videos, d->videos) : NULL;
    if (d && d->videos && !inner) return FT_FAIL(FT_ENOMEM, "%s: no memory", videos);
    const char *folder = inner && ft_is_dir(inner) ? inner : videos;
    int rc = d               ? read_as(l, d, w, &opt, d->folders ? folder : videos, labels)
             : given(labels) ? ft_labels_read(l, labels, &opt)
                             : ft_labels_from_folders(l, videos, &opt);
    if (rc == FT_OK && d && d->check) rc = d->check(l, videos);
    if (rc == FT_OK && l->n == 0) rc = FT_FAIL(FT_EDATA, "%s: no video is left", videos);
    if (rc == FT_OK) rc = ft_video_names_find(l, folder, outside, skip);
    if (rc == FT_OK && d && d->found) rc = d->found(l, folder);
    if (rc == FT_OK) rc = check_groups(l);
    if (rc == FT_OK) rc = check_classes(l, w->multilabel);
    ft_free(inner);
    if (rc < 0) ft_labels_free(l);
    return rc;
}
