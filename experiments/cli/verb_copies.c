/* copies: the memorisation passport of any clips, without an experiment. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/files.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/io/image.h"
#include "experiments/cli/cli.h"
#include "experiments/stages/passport.h"

/* all clips of a store; path NULL: none */
static int open_pool(const char *path, ft_clipstore *s, int64_t **all, ft_clip_pool *pool)
{
    *pool = (ft_clip_pool){.store = s};
    if (!path) return FT_OK;
    FT_TRY(ft_clipstore_read(s, path));
    if (s->n_clip == 0) return FT_FAIL(FT_EDATA, "%s: holds no clips", path);
    if (!(*all = ft_alloc_n(s->n_clip, sizeof **all))) return FT_FAIL(FT_ENOMEM, "no memory for clips");
    for (int64_t i = 0; i < s->n_clip; i++) (*all)[i] = i;
    pool->clip = *all, pool->n = s->n_clip;
    return FT_OK;
}

/* each of the most similar clips above the training clip that it is like */
static int draw_pairs(const ft_passport *p, const json_t *list, const char *path)
{
    const ft_clipstore *a = p->clips.store, *b = p->train.store;
    const uint8_t *clip[2 * FT_PAIRS];
    uint8_t *rgb, *png;
    size_t k, size;
    json_t *pair;
    int n = 0, w, h;
    if (a->frames != b->frames || a->size != b->size)
        return FT_FAIL(FT_EDATA, "%s: clips of %d frames and %d pixels; the training clips have %d and %d, and -o shows both",
                       a->path, a->frames, a->size, b->frames, b->size);
    json_array_foreach(list, k, pair)
    {
        clip[n++] = ft_clip_pixels(a, json_integer_value(json_array_get(pair, 0)));
        clip[n++] = ft_clip_pixels(b, json_integer_value(json_array_get(pair, 1)));
    }
    FT_TRY(ft_contact_sheet(clip, n, a->frames, a->size, a->frames < 8 ? a->frames : 8, 2, &rgb, &w, &h));
    int rc = ft_png_encode(rgb, w, h, &png, &size);
    ft_free(rgb);
    FT_TRY(rc);
    rc = ft_write_file(path, png, size);
    ft_free(png);
    return rc;
}

/* names of both videos into every pair, for people */
static void name_pairs(const ft_passport *p, json_t *list)
{
    const ft_clipstore *a = p->clips.store, *b = p->train.store;
    size_t k;
    json_t *pair;
    json_array_foreach(list, k, pair)
    {
        int64_t i = json_integer_value(json_array_get(pair, 0)), j = json_integer_value(json_array_get(pair, 1));
        json_array_append_new(pair, json_string(a->video[a->clip[i].video].name));
        json_array_append_new(pair, json_string(b->video[b->clip[j].video].name));
    }
}

static void print(ft_cli *c, const char *path, const ft_memorisation *m, json_t *o)
{
    char text[FT_PASSPORT_TEXT];
    size_t k;
    json_t *pair;
    if (!ft_cli_json(c)) {
        ft_passport_head(m, text);
        if (*text) printf("%s: %s\n", path, text);
        ft_passport_text(m, text);
        printf("%s: %s\n", path, text);
        json_array_foreach(json_object_get(o, "pairs"), k, pair)
            printf("%s is like %s: correlation %.3f\n", json_string_value(json_array_get(pair, 3)),
                   json_string_value(json_array_get(pair, 4)), json_number_value(json_array_get(pair, 2)));
    }
    ft_cli_print(c, o, "%s", "");
}

static int run_copies(ft_cli *c)
{
    const char *const *arg, *train = ft_cli_text(c, "--train"), *held = ft_cli_text(c, "--held-out"), *out = ft_cli_text(c, "-o");
    ft_clipstore store[3] = {0};
    int64_t *all[3] = {0};
    ft_passport p = {0};
    ft_recall *of_clip = NULL;
    ft_memorisation m;
    FT_TRY(ft_cli_need(c, 1, "GENERATED.h5"));
    if (!train)
        return FT_FAIL(FT_EUSAGE, "--train TRAIN.h5, the clips that the generator was trained on, is missing. usage: forty %s",
                       ft_verb_copies.usage);
    ft_cli_args(c, &arg);
    if (out) FT_TRY(ft_claim_output(out, ft_cli_flag(c, "--force")));
    int rc = open_pool(train, &store[0], &all[0], &p.train);
    if (rc == FT_OK) rc = open_pool(held, &store[1], &all[1], &p.held_out);
    if (rc == FT_OK) rc = open_pool(arg[0], &store[2], &all[2], &p.clips);
    if (rc == FT_OK && held && !strcmp(store[0].id, store[1].id))
        rc =
            FT_FAIL(FT_EUSAGE, "%s and %s hold the same clips: held-out clips are those that no generator has seen", train, held);
    if (rc == FT_OK) rc = ft_passport_make(&p, &of_clip, &m);
    if (rc == FT_OK) {
        json_t *o = ft_passport_json(&p, of_clip, &m), *pairs = json_object_get(o, "pairs");
        name_pairs(&p, pairs);
        if (out) rc = draw_pairs(&p, pairs, out);
        if (rc == FT_OK) print(c, arg[0], &m, o);
        else json_decref(o);
    }
    ft_free(of_clip);
    for (int i = 0; i < 3; i++) ft_free(all[i]), ft_clipstore_free(&store[i]);
    return rc;
}

static const ft_option copies_options[] = {
    {"--train", "TRAIN.h5", NULL, "the clips that the generator was trained on"},
    {"--held-out", "REAL.h5", NULL,
     "real clips of other videos: they say how alike two videos are; without them the ratio test alone"},
    {"-o", "PAIRS.png", NULL, "picture of the most similar pairs, generated above training clip"},
    {NULL, NULL, NULL, NULL}};
const ft_verb ft_verb_copies = {"copies",
                                "which generated clips show training videos again",
                                "copies --train TRAIN.h5 --held-out REAL.h5 GENERATED.h5",
                                "forty copies --train train.h5 --held-out test.h5 generated.h5 -o pairs.png",
                                copies_options,
                                run_copies};
