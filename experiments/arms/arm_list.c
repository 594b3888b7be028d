/* The setting `arms`: a list, with grids in braces, of what is compared. */
#include "experiments/arms/arm_list.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "classify/classifier.h"
#include "common/base/files.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "experiments/arms/arm.h"
#include "experiments/arms/protocol.h"

enum { MAX_ARMS = 1000, MAX_RUNS = 100000 };

typedef struct {
    char **entry;
    int n;
} arm_list;

/* How many arms an entry is, before any is made: the product of what stands in its braces. */
static int count(const char *where, const char *entry, int64_t *n)
{
    *n = 1;
    for (const char *p = entry; (p = strchr(p, '{')) != NULL;) {
        size_t inside = strcspn(p + 1, "{}");
        int64_t choices = 1;
        if (p[1 + inside] != '}')
            return FT_FAIL(FT_ECONFIG, "%s: %s: %s", where, entry, p[1 + inside] ? "braces inside braces" : "a { without its }");
        for (size_t i = 0; i < inside; i++) choices += p[1 + i] == ',';
        *n *= choices;
        if (*n > MAX_ARMS) return FT_FAIL(FT_ECONFIG, "%s: %s: more than %d arms. Leave out some values", where, entry, MAX_ARMS);
        p += inside + 2;
    }
    return FT_OK;
}

/* A grid as shells write it: `real-unlabelled labels={10,20} ssl.algorithm={fixmatch,softmatch}` is four arms. */
static int expand(arm_list *l, const char *entry)
{
    const char *open = strchr(entry, '{'), *close = open ? strchr(open, '}') : NULL;
    if (!open) {
        FT_TRY(ft_grow(&l->entry, (size_t)l->n, sizeof *l->entry));
        return (l->entry[l->n++] = ft_strdup(entry)) ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for arms");
    }
    for (const char *p = open + 1; p <= close;) {
        size_t n = strcspn(p, ",}");
        char *one = ft_format("%.*s%.*s%s", (int)(open - entry), entry, (int)n, p, close + 1);
        int rc = one ? expand(l, one) : FT_FAIL(FT_ENOMEM, "no memory for arms");
        ft_free(one);
        FT_TRY(rc);
        p += n + 1;
    }
    return FT_OK;
}

static void arm_list_free(arm_list *l)
{
    for (int i = 0; i < l->n; i++) ft_free(l->entry[i]);
    ft_free(l->entry);
}

/* Names stand in tables and file names, whole and each for one arm: else one's scores would be written over another's. */
static int check_names(const ft_result *r, char **entry, const char *where)
{
    const ft_arm_result *a = &r->arm[r->n - 1];
    char mine[128], other[128];
    if (strlen(a->arm) + 1 >= sizeof a->arm)
        return FT_FAIL(FT_ECONFIG, "%s: %s: an arm has at most %zu bytes before its settings. Use a shorter path", where,
                       entry[r->n - 1], sizeof a->arm - 2);
    ft_arm_file_name(mine, a->name);
    for (int k = 0; k + 1 < r->n; k++) {
        if (!strcmp(a->name, r->arm[k].name))
            return FT_FAIL(FT_ECONFIG, "%s: the arm %s stands there twice (%s; %s). Give one of them name=", where, a->name,
                           entry[k], entry[r->n - 1]);
        ft_arm_file_name(other, r->arm[k].name);
        if (!strcmp(mine, other))
            return FT_FAIL(FT_ECONFIG,
                           "%s: the arms '%s' and '%s' would both write to files called %s. Give one of them name=", where,
                           r->arm[k].name, a->name, mine);
    }
    return FT_OK;
}

/* What did not fit into its array was cut (arm.c), perhaps within a character. */
static int check_length(const ft_arm_result *a, const char *entry, const char *where)
{
    if (!*a->name || strlen(a->name) + 1 >= sizeof a->name)
        return FT_FAIL(FT_ECONFIG, "%s: %s: the name of an arm has 1 to %zu bytes. End it with name=A SHORT NAME", where, entry,
                       sizeof a->name - 2);
    return FT_OK;
}

static int arms_of(ft_result *r, char **entry, int n)
{
    const ft_config *cfg = r->x->cfg;
    const char *where = ft_config_origin(cfg, "arms");
    int runs = r->opt.splits * r->opt.seeds;
    bool baseline = false;
    if (n == 0) return FT_FAIL(FT_ECONFIG, "%s: arms is empty. Name at least supervised", where);
    if ((int64_t)n * runs > MAX_RUNS)
        return FT_FAIL(FT_ECONFIG, "%s: %d arms x %d splits and seeds are more than %d runs. Take fewer", where, n, runs,
                       MAX_RUNS);
    if (!(r->arm = ft_alloc(sizeof *r->arm * (size_t)n))) return FT_FAIL(FT_ENOMEM, "no memory for %d arms", n);
    for (r->n = 0; r->n < n;) {
        ft_arm_result *a = &r->arm[r->n++];
        FT_TRY(ft_arm_begin(a, runs));
        FT_TRY(ft_arm_read(a, cfg, entry[r->n - 1]));
        FT_TRY(check_names(r, entry, where));
        if (!strncmp(a->arm, "clips: ", 7) && !ft_exists(a->arm + 7))
            return FT_FAIL(FT_EIO, "%s: %s is not there", where, a->arm + 7);
        FT_TRY(ft_protocol_check(a->cfg));
        FT_TRY(ft_classifier_check(a->cfg, true));
        baseline |= !strcmp(a->name, r->opt.baseline);
    }
    for (int k = 0; k < n; k++) FT_TRY(check_length(&r->arm[k], entry[k], where));
    if (!baseline && strcmp(ft_config_origin(cfg, "baseline"), "default"))
        return FT_FAIL(FT_ECONFIG, "%s: the baseline %s is none of the arms", ft_config_origin(cfg, "baseline"), r->opt.baseline);
    return FT_OK;
}

int ft_arms_read(ft_result *r)
{
    const char *const *entry, *where = ft_config_origin(r->x->cfg, "arms");
    int n = ft_config_list(r->x->cfg, "arms", &entry), rc = FT_OK;
    arm_list l = {0};
    int64_t arms = 0, of_entry;
    r->opt = ft_arm_options_of(r->x->cfg);
    for (int i = 0; i < n && rc == FT_OK; i++) {
        rc = count(where, entry[i], &of_entry);
        if (rc == FT_OK && (arms += of_entry) > MAX_ARMS) rc = FT_FAIL(FT_ECONFIG, "%s: more than %d arms", where, MAX_ARMS);
    }
    for (int i = 0; i < n && rc == FT_OK; i++) rc = expand(&l, entry[i]);
    if (rc == FT_OK) rc = arms_of(r, l.entry, l.n);
    arm_list_free(&l);
    return rc;
}
