#include <ctype.h>
#include <math.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/base/files.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/io/labels.h"
#include "common/io/lookup.h"

static int replace(const ft_label *e, char **text, const char *by)
{
    char *copy = ft_strdup(by);
    if (!copy) return FT_FAIL(FT_ENOMEM, "%s: no memory", e->list);
    ft_free(*text);
    *text = copy;
    return FT_OK;
}

/* ---- splits ------------------------------------------------------------------------------------------------------------- */

const char *ft_split_name(const char *given, char digits[8])
{
    static const char *const words[][2] = {{"train", "train"},      {"training", "train"},        {"val", "validation"},
                                           {"valid", "validation"}, {"validation", "validation"}, {"dev", "validation"},
                                           {"test", "test"},        {"testing", "test"}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (!strcasecmp(given, words[i][0])) return words[i][1];
    if (!strncasecmp(given, "fold", 4)) given += 4, given += strspn(given, " _-");
    while (*given == '0' && isdigit((unsigned char)given[1])) given++;
    size_t n = strspn(given, "0123456789");
    if (n == 0 || n > 4 || given[n]) return NULL;
    memcpy(digits, given, n + 1);
    return digits;
}

int ft_labels_name_splits(ft_labels *l)
{
    const ft_label *named = NULL, *numbered = NULL, *none = NULL;
    char digits[8];
    int without = 0;
    for (int i = 0; i < l->n; i++) {
        ft_label *e = &l->row[i];
        if (!*e->split) {
            if (without++ == 0) none = e;
            continue;
        }
        const char *name = ft_split_name(e->split, digits);
        if (!name)
            return FT_FAIL(FT_EDATA,
                           "%s:%d: the split is '%s'; train, validation, test and numbers of folds are known. If this column is "
                           "no split: --columns split= (data.columns)",
                           e->list, e->line, e->split);
        const ft_label **first = isdigit((unsigned char)*name) ? &numbered : &named;
        if (!*first) *first = e;
        FT_TRY(replace(e, &e->split, name));
    }
    if (named && numbered)
        return FT_FAIL(FT_EDATA, "%s:%d: the split is the fold %s, in line %d it is %s. Use one of them for all videos",
                       numbered->list, numbered->line, numbered->split, named->line, named->split);
    if (without && (named || numbered))
        ft_warn("%s:%d: no split, and %d videos like this: they count as training videos", none->list, none->line, without);
    return FT_OK;
}

/* ---- classes ------------------------------------------------------------------------------------------------------------ */

/* The whole of `s` as a number; decimal commas are those of spreadsheets. */
static bool number(const ft_labels *l, const char *s, double *value)
{
    char copy[64], *end;
    size_t n = strlen(s);
    if (n == 0 || n >= sizeof copy || strspn(s, "0123456789+-.,eE ") != n) return false;
    memcpy(copy, s, n + 1);
    char *comma = strchr(copy, ',');
    if (comma && l->decimal_commas && !strchr(copy, '.') && !strchr(comma + 1, ',')) *comma = '.';
    *value = strtod(copy, &end);
    return end != copy && !end[strspn(end, " ")] && isfinite(*value);
}

enum { MOST_BINS = 31 };

static int read_bins(const char *bins, double bound[MOST_BINS], int *n)
{
    *n = 0;
    for (const char *p = bins;; p++) {
        char *end;
        if (*n == MOST_BINS) return FT_FAIL(FT_EUSAGE, "more than %d bounds of bins: %s", MOST_BINS, bins);
        bound[*n] = strtod(p, &end);
        if (end == p || (*end && *end != ',') || !isfinite(bound[*n]) || (*n && bound[*n] <= bound[*n - 1]))
            return FT_FAIL(FT_EUSAGE, "the bounds %s are no rising numbers with commas between, as 30,50", bins);
        ++*n;
        if (!*(p = end)) return FT_OK;
    }
}

static int by_bins(ft_labels *l, const char *bins)
{
    double bound[MOST_BINS], value;
    int n, in[MOST_BINS + 1] = {0};
    char name[MOST_BINS + 1][64];
    FT_TRY(read_bins(bins, bound, &n));
    snprintf(name[0], sizeof name[0], "below %.10g", bound[0]);
    for (int k = 1; k < n; k++) snprintf(name[k], sizeof name[k], "%.10g to %.10g", bound[k - 1], bound[k]);
    snprintf(name[n], sizeof name[n], "from %.10g", bound[n - 1]);
    for (int i = 0; i < l->n; i++) {
        ft_label *e = &l->row[i];
        int k = 0;
        if (!number(l, e->label, &value))
            return FT_FAIL(FT_EDATA, "%s:%d: the label '%s' is no number, and --threshold or --bins makes classes of numbers",
                           e->list, e->line, e->label);
        while (k < n && value >= bound[k]) k++;
        in[k]++;
        FT_TRY(replace(e, &e->label, name[k]));
    }
    for (int k = 0; k <= n; k++) ft_log("%s: %d videos %s", l->n ? l->row[0].list : "", in[k], name[k]);
    return FT_OK;
}

/* How a label is compared: small letters, blanks as one, numbers by value. Fresh; NULL: no memory. */
static char *form_of(const ft_labels *l, const char *label)
{
    double value;
    if (number(l, label, &value)) return ft_format("%.17g", value == 0 ? 0.0 : value);
    char *form = ft_strdup(label), *to = form;
    for (const char *p = label; form && *p; p++) {
        if (!isspace((unsigned char)*p)) *to++ = (char)tolower((unsigned char)*p);
        else if (to > form && to[-1] != ' ') *to++ = ' ';
    }
    if (form) *(to > form && to[-1] == ' ' ? to - 1 : to) = 0;
    return form;
}

/* Measurements are not taken for classes: each video would be its own. */
static int check_numbers(const ft_labels *l, const int *first_of, int classes)
{
    enum { MOST_CLASSES = 32 };
    const ft_label *fraction = NULL;
    double value;
    for (int i = 0; i < l->n; i++) {
        if (first_of[i] != i) continue;
        if (!number(l, l->row[i].label, &value)) return FT_OK;
        if (!fraction && value != floor(value)) fraction = &l->row[i];
    }
    if (!fraction && classes <= MOST_CLASSES) return FT_OK;
    if (!fraction) fraction = &l->row[0];
    return FT_FAIL(
        FT_EDATA,
        "%s:%d: the label is the number %s, one of %d different ones: a measurement, no class. --threshold N makes two "
        "classes of it, --bins A,B more (data.bins)",
        fraction->list, fraction->line, fraction->label, classes);
}

/* Every spelling is said once. */
enum { MOST_SPELLINGS = 8 };
typedef struct {
    char text[MOST_SPELLINGS][64];
    int n;
} spellings;

static void say_spelling(spellings *s, const ft_label *e, const ft_label *as)
{
    for (int i = 0; i < s->n; i++)
        if (!strncmp(s->text[i], e->label, sizeof s->text[i] - 1)) return;
    if (s->n == MOST_SPELLINGS) return;
    snprintf(s->text[s->n++], sizeof s->text[0], "%s", e->label);
    ft_warn("%s:%d: the label '%s' is taken for '%s' of line %d", e->list, e->line, e->label, as->label, as->line);
}

/* Labels that differ in case, blanks or the form of a number are one class, spelt as where it stands first. */
static int join_forms(ft_labels *l)
{
    spellings said = {.n = 0};
    ft_lookup all = {0};
    int rc = FT_OK, classes = 0;
    char **form = ft_alloc_n(l->n + 1, sizeof *form);
    int *first_of = ft_alloc_n(l->n + 1, sizeof *first_of), *first = ft_alloc_n(l->n + 1, sizeof *first); /* first: row + 1 */
    if (!form || !first_of || !first) rc = FT_FAIL(FT_ENOMEM, "no memory for labels");
    for (int i = 0; rc == FT_OK && i < l->n; i++) {
        if (!(form[i] = form_of(l, l->row[i].label))) rc = FT_FAIL(FT_ENOMEM, "no memory for labels");
        else rc = ft_lookup_add(&all, form[i], strlen(form[i]), i);
    }
    if (rc == FT_OK) ft_lookup_sort(&all);
    for (int i = 0; rc == FT_OK && i < l->n; i++) {
        int *at = &first[ft_lookup_find(&all, form[i], strlen(form[i]))];
        if (!*at) *at = i + 1, classes++;
        first_of[i] = *at - 1;
    }
    if (rc == FT_OK) rc = check_numbers(l, first_of, classes);
    for (int i = 0; rc == FT_OK && i < l->n; i++) {
        ft_label *e = &l->row[i];
        const ft_label *as = &l->row[first_of[i]];
        if (!strcmp(e->label, as->label)) continue;
        say_spelling(&said, e, as);
        rc = replace(e, &e->label, as->label);
    }
    for (int i = 0; form && i < l->n; i++) ft_free(form[i]);
    ft_free(form);
    ft_free(first_of);
    ft_free(first);
    ft_lookup_free(&all);
    return rc;
}

int ft_labels_to_classes(ft_labels *l, const char *bins) { return bins && *bins ? by_bins(l, bins) : join_forms(l); }

/* ---- several labels ----------------------------------------------------------------------------------------------------- */

static bool between(char c) { return c == '|' || c == ';'; }

const char *ft_label_part(const char **at, size_t *n)
{
    while (between(**at) || isspace((unsigned char)**at)) ++*at;
    const char *from = *at;
    while (**at && !between(**at)) ++*at;
    for (*n = (size_t)(*at - from); *n && isspace((unsigned char)from[*n - 1]);) --*n;
    return *n ? from : NULL;
}

char *ft_label_of_bits(const char *const *name, int n, int bits, const char *none)
{
    ft_text t;
    if (bits == 0) return ft_strdup(none);
    if (ft_text_begin(&t) < 0) return NULL;
    for (int k = 0, some = 0; k < n; k++)
        if (bits >> k & 1) fprintf(t.f, "%s%s", some++ ? "|" : "", name[k]);
    char *text = ft_text_end(&t) < 0 ? NULL : ft_strdup(t.text);
    ft_text_free(&t);
    return text;
}

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* The row's parts, joined forms, in order and each once: "blood|polyp" */
static int set_label(ft_label *e, const ft_label *part, int n)
{
    ft_text t;
    const char **name = ft_alloc_n(n + 1, sizeof *name), *last = NULL;
    int rc = name ? ft_text_begin(&t) : FT_FAIL(FT_ENOMEM, "no memory for labels");
    bool none = n == 0;
    for (int i = 0; rc == FT_OK && i < n; i++) {
        none |= !strcasecmp(part[i].label, FT_NO_LABEL);
        name[i] = part[i].label;
    }
    if (rc == FT_OK && none && n > 1) {
        rc = FT_FAIL(FT_EDATA, "%s:%d: the label '%s' is " FT_NO_LABEL " and others", e->list, e->line, e->label);
        ft_text_free(&t);
    }
    if (rc == FT_OK) {
        qsort(name, (size_t)n, sizeof *name, by_text);
        for (int i = 0; i < n && !none; i++) {
            if (!last || strcmp(last, name[i])) fprintf(t.f, "%s%s", last ? "|" : "", name[i]);
            last = name[i];
        }
        if (none) fputs(FT_NO_LABEL, t.f);
        rc = ft_text_end(&t);
        if (rc == FT_OK) rc = replace(e, &e->label, t.text);
        ft_text_free(&t);
    }
    ft_free(name);
    return rc;
}

int ft_labels_to_sets(ft_labels *l)
{
    ft_labels part = {.decimal_commas = l->decimal_commas};
    int rc = FT_OK, at = 0, several = 0, *parts = ft_alloc_n(l->n + 1, sizeof *parts);
    if (!parts) rc = FT_FAIL(FT_ENOMEM, "no memory for labels");
    for (int i = 0; rc == FT_OK && i < l->n; i++) {
        const char *p = l->row[i].label, *from;
        size_t n;
        while (rc == FT_OK && (from = ft_label_part(&p, &n))) {
            rc = ft_grow(&part.row, (size_t)part.n, sizeof *part.row);
            if (rc < 0) break;
            ft_label *e = &part.row[part.n++];
            *e = (ft_label){.label = ft_format("%.*s", (int)n, from), .list = l->row[i].list, .line = l->row[i].line};
            if (!e->label) rc = FT_FAIL(FT_ENOMEM, "no memory for labels");
            parts[i]++;
        }
    }
    if (rc == FT_OK) rc = join_forms(&part);
    for (int i = 0; rc == FT_OK && i < l->n; at += parts[i++]) {
        several += parts[i] > 1;
        rc = set_label(&l->row[i], part.row + at, parts[i]);
    }
    if (rc == FT_OK && l->n && !several)
        ft_warn("%s: several labels a video are expected, and no video has more than one. They stand in the column label with | "
                "or ; between, or --columns label=A+B+C names columns of 0 and 1",
                l->row[0].list);
    ft_free(parts);
    ft_labels_free(&part);
    return rc;
}

/* ---- groups ------------------------------------------------------------------------------------------------------------- */

static int group_row(ft_label *e, const regex_t *rule, const char *group_from)
{
    regmatch_t part[2];
    const char *text = *e->group ? e->group : e->video;
    if (regexec(rule, text, 2, part, 0) || part[1].rm_so < 0 || part[1].rm_eo == part[1].rm_so)
        return FT_FAIL(FT_EDATA, "%s:%d: group_from '%s' finds no group in %s", e->list, e->line, group_from, text);
    char *group = ft_strdup(text + part[1].rm_so);
    if (!group) return FT_FAIL(FT_ENOMEM, "%s: no memory", e->list);
    group[part[1].rm_eo - part[1].rm_so] = 0;
    ft_free(e->group);
    e->group = group;
    return FT_OK;
}

static int by_rule(ft_labels *l, const char *group_from)
{
    regex_t rule;
    char why[200];
    if (strstr(group_from, "\\d")) /* Perl's; here it would be a d */
        return FT_FAIL(FT_EUSAGE, "group_from '%s': \\d is not known here, write [0-9]", group_from);
    int bad = regcomp(&rule, group_from, REG_EXTENDED);
    if (bad) {
        regerror(bad, &rule, why, sizeof why);
        return FT_FAIL(FT_EUSAGE, "group_from '%s': %s. A POSIX extended regular expression is needed, as '^(P[0-9]+)_'",
                       group_from, why);
    }
    int rc = rule.re_nsub >= 1
                 ? FT_OK
                 : FT_FAIL(FT_EUSAGE, "group_from '%s': put the part that is the group into ( ), as '^(P[0-9]+)_'", group_from);
    for (int i = 0; rc == FT_OK && i < l->n; i++) rc = group_row(&l->row[i], &rule, group_from);
    regfree(&rule);
    return rc;
}

int ft_labels_group(ft_labels *l, const char *group_from)
{
    bool ruled = group_from && *group_from;
    if (ruled) FT_TRY(by_rule(l, group_from));
    for (int i = 0; i < l->n; i++)
        if (!*l->row[i].group) FT_TRY(replace(&l->row[i], &l->row[i].group, l->row[i].video)); /* each video is its own group */
    if (ruled)
        ft_log("%s:%d: %s is of group %s, by group_from", l->row[0].list, l->row[0].line, l->row[0].video, l->row[0].group);
    return FT_OK;
}
