/* The setting `arms`: a list, with grids in braces, of what is compared. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "classify/classifier.h"
#include "common/base/files.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "experiments/arm.h"
#include "experiments/protocol.h"

enum { MAX_ARMS = 1024 };

typedef struct {
    char **entry;
    int n;
} arm_list;

/* A grid as shells write it: `real-unlabelled labels={10,20} ssl.algorithm={fixmatch,softmatch}` is four arms. */
static int expand(arm_list *l, const char *where, const char *entry)
{
    const char *open = strchr(entry, '{'), *close = open ? strchr(open, '}') : NULL;
    if (open && !close) return FT_FAIL(FT_ECONFIG, "%s: %s: a { without its }", where, entry);
    if (l->n == MAX_ARMS) return FT_FAIL(FT_ECONFIG, "%s: more than %d arms", where, MAX_ARMS);
    if (!open) {
        FT_TRY(ft_grow(&l->entry, (size_t)l->n, sizeof *l->entry));
        return (l->entry[l->n++] = ft_strdup(entry)) ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for arms");
    }
    for (const char *p = open + 1; p <= close;) {
        size_t n = strcspn(p, ",}");
        char *one = ft_format("%.*s%.*s%s", (int)(open - entry), entry, (int)n, p, close + 1);
        int rc = one ? expand(l, where, one) : FT_FAIL(FT_ENOMEM, "no memory for arms");
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

static int arms_of(ft_result *r, char **entry, int n)
{
    const ft_config *cfg = r->x->cfg;
    const char *where = ft_config_origin(cfg, "arms");
    int runs = (int)(ft_config_int(cfg, "splits") * ft_config_int(cfg, "seeds"));
    bool baseline = false;
    if (n == 0) return FT_FAIL(FT_ECONFIG, "%s: arms is empty. Name at least supervised", where);
    if (!(r->arm = ft_alloc(sizeof *r->arm * (size_t)n))) return FT_FAIL(FT_ENOMEM, "no memory for %d arms", n);
    for (r->n = 0; r->n < n;) {
        ft_arm_result *a = &r->arm[r->n++];
        a->psnr = a->eps_mse = a->frechet = NAN;
        a->run = ft_alloc(sizeof *a->run * (size_t)runs);
        a->line = ft_alloc(sizeof *a->line * (size_t)runs);
        if (!a->run || !a->line) return FT_FAIL(FT_ENOMEM, "no memory for %d runs", runs);
        FT_TRY(ft_arm_read(a, cfg, entry[r->n - 1]));
        for (int k = 0; k + 1 < r->n; k++)
            if (!strcmp(a->name, r->arm[k].name)) return FT_FAIL(FT_ECONFIG, "%s: the arm %s stands there twice", where, a->name);
        if (!strncmp(a->arm, "clips: ", 7) && !ft_exists(a->arm + 7))
            return FT_FAIL(FT_EIO, "%s: %s is not there", where, a->arm + 7);
        FT_TRY(ft_protocol_check(a->cfg));
        FT_TRY(ft_classifier_check(a->cfg));
        baseline |= !strcmp(a->name, ft_config_text(cfg, "baseline"));
    }
    if (!baseline && strcmp(ft_config_origin(cfg, "baseline"), "default"))
        return FT_FAIL(FT_ECONFIG, "%s: the baseline %s is none of the arms", ft_config_origin(cfg, "baseline"),
                       ft_config_text(cfg, "baseline"));
    return FT_OK;
}

int ft_arms_read(ft_result *r)
{
    const char *const *entry, *where = ft_config_origin(r->x->cfg, "arms");
    int n = ft_config_list(r->x->cfg, "arms", &entry), rc = FT_OK;
    arm_list l = {0};
    for (int i = 0; i < n && rc == FT_OK; i++) rc = expand(&l, where, entry[i]);
    if (rc == FT_OK) rc = arms_of(r, l.entry, l.n);
    arm_list_free(&l);
    return rc;
}
