#include "experiments/data/video_names.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/base/files.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/io/lookup.h"

enum { DEEPEST = 8, MOST_FILES = 1000000 };

typedef struct {
    char *path; /* within the folder */
    char *stem; /* of its last part, in small letters and without extension */
    bool folder;
} entry;

typedef struct {
    const char *folder;
    entry *entry;
    size_t n;
    bool made;
} file_index;

static int no_memory(const char *folder) { return FT_FAIL(FT_ENOMEM, "%s: no memory for its list of files", folder); }

/* fresh; NULL: no memory */
static char *stem_of(const char *path, bool cut)
{
    char *stem = ft_strdup(ft_base_name(path)), *dot = stem ? strrchr(stem, '.') : NULL;
    if (cut && dot > stem) *dot = 0;
    for (char *p = stem; p && *p; p++) *p = (char)tolower((unsigned char)*p);
    return stem;
}

static int add_folder(file_index *x, const char *below, int depth)
{
    char **name, *path = *below ? ft_format("%s/%s", x->folder, below) : ft_strdup(x->folder);
    int n, rc = path ? ft_list_dir(path, &name, &n) : no_memory(x->folder);
    ft_free(path);
    FT_TRY(rc);
    for (int i = 0; i < n && rc == FT_OK; i++) {
        if (*name[i] == '.') continue;
        if (x->n == MOST_FILES)
            rc = FT_FAIL(FT_EDATA,
                         "%s: more than %d files. Give the folder that holds the videos alone, or their whole paths in it",
                         x->folder, MOST_FILES);
        if (rc == FT_OK) rc = ft_grow(&x->entry, x->n, sizeof *x->entry);
        if (rc < 0) break;
        entry *e = &x->entry[x->n++];
        *e = (entry){.path = *below ? ft_format("%s/%s", below, name[i]) : ft_strdup(name[i])};
        char *whole = e->path ? ft_format("%s/%s", x->folder, e->path) : NULL;
        e->folder = whole && ft_is_dir(whole);
        e->stem = stem_of(name[i], !e->folder);
        rc = e->path && e->stem && whole ? FT_OK : no_memory(x->folder);
        ft_free(whole);
        char *deeper = e->path; /* the entries may move */
        if (rc == FT_OK && e->folder && depth < DEEPEST) rc = add_folder(x, deeper, depth + 1);
    }
    ft_free_names(name, n);
    return rc;
}

static int by_stem(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    int c = strcmp(x->stem, y->stem);
    return c ? c : strcmp(x->path, y->path);
}

static int make_index(file_index *x)
{
    x->made = true;
    FT_TRY(add_folder(x, "", 1));
    if (x->n) qsort(x->entry, x->n, sizeof *x->entry, by_stem);
    return FT_OK;
}

static void index_free(file_index *x)
{
    for (size_t i = 0; i < x->n; i++) ft_free(x->entry[i].path), ft_free(x->entry[i].stem);
    ft_free(x->entry);
}

/* the part of a path before `end`; *begin is moved to it. 0: there is none */
static size_t last_part(const char *path, size_t *end)
{
    size_t n = 0;
    while (*end > 0 && path[*end - 1] == '/') --*end;
    while (*end > 0 && path[*end - 1] != '/') --*end, n++;
    return n;
}

/* Does the shorter of the two end the longer one, part by part? The last part may lack its extension in the list. */
static bool ends_alike(const entry *e, const char *name)
{
    size_t a = strlen(e->path), b = strlen(name), m = last_part(e->path, &a), n = last_part(name, &b);
    const char *dot = strrchr(e->path + a, '.');
    bool cut = !e->folder && dot && n == (size_t)(dot - (e->path + a));
    if ((m != n && !cut) || n == 0 || strncasecmp(e->path + a, name + b, n)) return false;
    for (;;) {
        m = last_part(e->path, &a), n = last_part(name, &b);
        if (m == 0 || n == 0) return true;
        if (m != n || strncasecmp(e->path + a, name + b, n)) return false;
    }
}

typedef struct {
    const entry *found, *also, *near; /* near: called so but for the extension */
} search;

static void look(const file_index *x, const char *stem, const char *name, search *s)
{
    size_t low = 0, high = x->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(x->entry[middle].stem, stem) < 0) low = middle + 1;
        else high = middle;
    }
    for (; low < x->n && !strcmp(x->entry[low].stem, stem); low++) {
        const entry *e = &x->entry[low];
        if (!ends_alike(e, name)) {
            if (!e->folder) s->near = e;
            continue;
        }
        if (s->found == e) continue;
        if (s->found && s->found->folder == e->folder) s->also = e;
        if (!s->found || (s->found->folder && !e->folder)) s->found = e, s->also = NULL; /* a folder only where no file is */
    }
}

/* As it would be written here: / between the parts, no drive. Fresh; NULL: no memory. */
static char *as_here(const char *name)
{
    if (isalpha((unsigned char)name[0]) && name[1] == ':' && (name[2] == '\\' || name[2] == '/')) name += 2;
    char *here = ft_strdup(name);
    for (char *p = here; p && *p; p++)
        if (*p == '\\') *p = '/';
    return here;
}

static bool climbs(const char *name)
{
    for (const char *p = name, *slash;; p = slash + 1) {
        if (!strncmp(p, "..", 2) && (!p[2] || p[2] == '/')) return true;
        if (!(slash = strchr(p, '/'))) return false;
    }
}

static int leads_out(const ft_label *e)
{
    return FT_FAIL(FT_EDATA,
                   "%s:%d: video %s lies outside of the folder of videos. Link to it from there, or allow it: --outside, "
                   "data.outside: true",
                   e->list, e->line, e->video);
}

/* A list of a stranger's names no file outside of the folder; links within it are the user's own. */
static int find_one(file_index *x, ft_label *e, bool outside, search *s)
{
    bool out = *e->video == '/' || climbs(e->video);
    if (outside || !out) {
        char *path = *e->video == '/' ? ft_strdup(e->video) : ft_format("%s/%s", x->folder, e->video);
        if (!path) return no_memory(x->folder);
        if (ft_exists(path)) {
            e->file = path;
            return FT_OK;
        }
        ft_free(path);
    }
    char *here = as_here(e->video), *whole = here ? stem_of(here, false) : NULL, *cut = here ? stem_of(here, true) : NULL;
    int rc = whole && cut ? FT_OK : no_memory(x->folder);
    if (rc == FT_OK && climbs(here)) rc = outside ? FT_OK : leads_out(e);
    else if (rc == FT_OK) {
        if (!x->made) rc = make_index(x);
        if (rc == FT_OK) look(x, cut, here, s);
        if (rc == FT_OK && strcmp(whole, cut)) look(x, whole, here, s);
    }
    if (rc == FT_OK && s->also)
        rc = FT_FAIL(FT_EDATA, "%s:%d: %s may be %s or %s in %s. Write the path of the one that is meant", e->list, e->line,
                     e->video, s->found->path, s->also->path, x->folder);
    else if (rc == FT_OK && s->found && !(e->file = ft_format("%s/%s", x->folder, s->found->path))) rc = no_memory(x->folder);
    else if (rc == FT_OK && !s->found && *e->video == '/' && !outside && ft_exists(e->video)) rc = leads_out(e);
    ft_free(here);
    ft_free(whole);
    ft_free(cut);
    return rc;
}

/* Two names of one video: it would count twice, and stand on both sides of a split. */
static int check_files(const ft_labels *l)
{
    ft_lookup all = {0};
    int rc = FT_OK;
    for (int i = 0; i < l->n && rc == FT_OK; i++)
        if (l->row[i].file && !l->row[i].frames) rc = ft_lookup_add(&all, l->row[i].file, strlen(l->row[i].file), i);
    if (rc == FT_OK) ft_lookup_sort(&all);
    if (rc == FT_OK && all.repeated >= 0) {
        const ft_label *first = &l->row[all.repeated];
        const ft_label *again = &l->row[ft_lookup_find(&all, first->file, strlen(first->file))];
        rc = FT_FAIL(FT_EDATA, "%s:%d: %s and %s of line %d are one video, %s. Leave out one", again->list, again->line,
                     again->video, first->video, first->line, first->file);
    }
    ft_lookup_free(&all);
    return rc;
}

int ft_video_names_find(ft_labels *l, const char *folder, bool outside, bool skip)
{
    file_index x = {.folder = folder};
    const ft_label *missing = NULL, *other = NULL;
    int rc = FT_OK, n_missing = 0, n_other = 0;
    char near[300] = "";
    for (int i = 0; i < l->n && rc == FT_OK; i++) {
        ft_label *e = &l->row[i];
        search s = {NULL, NULL, NULL};
        if (e->file) continue; /* whoever made the list knows */
        if ((rc = find_one(&x, e, outside, &s)) < 0) break;
        if (s.found && n_other++ == 0) other = e;
        if (e->file || n_missing++) continue;
        missing = e;
        if (s.near) snprintf(near, sizeof near, " Is %s meant?", s.near->path);
    }
    if (rc == FT_OK && missing && !skip)
        rc = FT_FAIL(
            FT_EDATA,
            "%s:%d: there is no video %s in %s, and %d of the %d are not there.%s Check list and folder, or leave out what is "
            "not there: --on-error skip, data.on_error: skip",
            missing->list, missing->line, missing->video, folder, n_missing, l->n, near);
    if (rc == FT_OK && other)
        ft_log("%s: %d of %d videos are called otherwise in the list: %s is %s", other->list, n_other, l->n, other->video,
               other->file);
    if (rc == FT_OK) rc = check_files(l);
    index_free(&x);
    return rc;
}
