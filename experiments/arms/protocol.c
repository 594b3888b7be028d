#include "experiments/arms/protocol.h"

#include <stdio.h>
#include <string.h>

#include "common/base/status.h"

/* What Endora's Downstream-Semi does to PolypDiag, shared by its code and its text: TimeSformer-B from
 * classifier.weights, 8 frames a second apart, 20 epochs of 10 steps, SGD with 0.001 * 4 / 256. */
#define PUBLISHED                                                                                                                \
    "data.frames=8", "data.stride=32", "data.sampler=released", "data.size=224", "data.view=left", "data.clips_per_video=8",     \
        "data.test_clips=1", "labels=40", "generated=200", "validation=0", "classifier.model=timesformer-b16",                   \
        "classifier.optimizer=sgd", "classifier.lr=1.5625e-5", "classifier.weight_decay=0", "classifier.clip=0",                 \
        "classifier.warmup=0", "classifier.dropout=0", "classifier.batch=4", "classifier.mu=1", "classifier.steps=200",          \
        "classifier.epoch=10", "classifier.ema=0.999", "classifier.augment=released", "ssl.threshold=0.95", "ssl.lambda_u=1",    \
        "looks=20"

static const char *const none[] = {NULL};
static const char *const endora_paper[] = {PUBLISHED, "ssl.algorithm=fixmatch", NULL};
static const char *const endora_repo[] = {PUBLISHED,
                                          "labels_from=first",
                                          "splits=1",
                                          "ssl.algorithm=endora",
                                          "classifier.ema_warmup=false",
                                          "classifier.evaluate=released",
                                          "selection=best-on-test",
                                          NULL};

static const ft_protocol rows[] = {
    {"strict", "one look at the test list, the same evaluation of every arm, random label splits", false, false, none},
    {"endora-paper", "what the text of the field's papers says; last and best look printed", true, false, endora_paper},
    {"endora-repo", "what their released code does, faults included: the best of 20 looks at the test list", true, true,
     endora_repo},
    {"quickstart", "strict, with step counts of minutes", false, false, none},
};

const ft_protocol *ft_protocol_at(int i) { return i < (int)(sizeof rows / sizeof *rows) ? &rows[i] : NULL; }

static const ft_protocol *find(const char *name)
{
    for (int i = 0; ft_protocol_at(i); i++)
        if (!strcmp(rows[i].name, name)) return &rows[i];
    return NULL;
}

int ft_protocol_apply(ft_config *cfg)
{
    const char *name = ft_config_text(cfg, "protocol");
    const ft_protocol *p = find(name);
    char origin[64], key[64];
    if (!p)
        return FT_FAIL(FT_ECONFIG, "%s: the protocol %s is not known: strict, endora-paper, endora-repo, quickstart",
                       ft_config_origin(cfg, "protocol"), name);
    snprintf(origin, sizeof origin, "protocol %s", name);
    for (int i = 0; p->settings[i]; i++) {
        snprintf(key, sizeof key, "%.*s", (int)strcspn(p->settings[i], "="), p->settings[i]);
        if (!strcmp(ft_config_origin(cfg, key), "default")) FT_TRY(ft_config_set(cfg, p->settings[i], origin));
    }
    return FT_OK;
}

int ft_protocol_check(const ft_config *cfg)
{
    const ft_protocol *p = find(ft_config_text(cfg, "protocol"));
    bool best = ft_config_is(cfg, "selection", "best-on-test");
    int64_t looks = ft_config_int(cfg, "looks");
    if (best && !p->best_on_test)
        return FT_FAIL(FT_ECONFIG,
                       "%s: selection: best-on-test chooses weights by the test list; only the protocol endora-repo "
                       "does that. Use last or validation",
                       ft_config_origin(cfg, "selection"));
    if (looks > 0 && !p->looks)
        return FT_FAIL(FT_ECONFIG, "%s: looks: the protocol %s scores the test list once, when the training is over",
                       ft_config_origin(cfg, "looks"), p->name);
    if (best && looks == 0)
        return FT_FAIL(FT_ECONFIG, "%s: selection: best-on-test needs looks above 0", ft_config_origin(cfg, "selection"));
    if (looks > 0 && ft_config_is(cfg, "selection", "validation"))
        return FT_FAIL(FT_ECONFIG, "%s: looks cannot go with selection: validation", ft_config_origin(cfg, "looks"));
    return FT_OK;
}
