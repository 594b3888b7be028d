#include "experiments/stages/passport.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/status.h"
#include "experiments/statistics/confounds.h"

enum { SAMPLES = 2000 };

/* ---- clips as vectors ------------------------------------------------------------------------------------------------------ */

/* (n, FT_THUMBNAIL); mirrored: the mirror images behind them */
static int thumbnails(const ft_clip_pool *pool, bool mirrored, float **value)
{
    enum { SIDE = 16 };
    *value = ft_alloc_n((mirrored ? 2 : 1) * pool->n + 1, FT_THUMBNAIL * sizeof **value);
    if (!*value) return FT_FAIL(FT_ENOMEM, "no memory to compare clips");
    for (int64_t i = 0; i < pool->n; i++) ft_thumbnail(pool->store, pool->clip[i], *value + i * FT_THUMBNAIL);
    for (int64_t i = 0; mirrored && i < pool->n; i++)
        for (int k = 0; k < FT_THUMBNAIL; k++) {
            int c = k % 3, x = k / 3 % SIDE, row = k / 3 / SIDE;
            (*value)[(pool->n + i) * FT_THUMBNAIL + k] = (*value)[i * FT_THUMBNAIL + (row * SIDE + SIDE - 1 - x) * 3 + c];
        }
    return FT_OK;
}

typedef struct {
    float *train, *held_out, *clips; /* train: with mirror images */
    int64_t d;
} vectors;

static int embed_latents(const ft_passport *p, vectors *v)
{
    int64_t dim[5], held[5], made[5];
    FT_TRY(ft_latent_means_read(p->latents, p->latents, &v->train, dim));
    v->d = dim[1] * dim[2] * dim[3] * dim[4];
    if (p->held_out.n > 0) FT_TRY(ft_latent_means_read(p->held_out_latents, p->latents, &v->held_out, held));
    FT_TRY(ft_latent_means(p->cfg, p->vae, &p->clips, p->latents, &v->clips, made));
    if (dim[0] == 2 * p->train.n && (p->held_out.n == 0 || (held[0] == 2 * p->held_out.n && !memcmp(held + 1, dim + 1, 32))) &&
        !memcmp(made + 1, dim + 1, 32))
        return FT_OK;
    return FT_FAIL(FT_EDATA, "%s: latents of other clips. Remove its folder to make them again", p->latents);
}

static int embed_pixels(const ft_passport *p, vectors *v)
{
    v->d = FT_THUMBNAIL;
    FT_TRY(thumbnails(&p->train, true, &v->train));
    FT_TRY(thumbnails(&p->held_out, false, &v->held_out));
    return thumbnails(&p->clips, false, &v->clips);
}

int ft_passport_make(const ft_passport *p, ft_recall **of_clip, ft_memorisation *m)
{
    vectors v = {0};
    ft_copy_ruler *ruler = NULL;
    int64_t *video[3] = {0}, videos[3];
    *of_clip = ft_alloc_n(p->clips.n + 1, sizeof **of_clip);
    int rc = *of_clip ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory to compare clips");
    if (rc == FT_OK) rc = p->vae ? embed_latents(p, &v) : embed_pixels(p, &v);
    if (rc == FT_OK) rc = ft_number_videos(&p->train, &video[0], &videos[0]);
    if (rc == FT_OK) rc = ft_number_videos(&p->held_out, &video[1], &videos[1]);
    if (rc == FT_OK) rc = ft_number_videos(&p->clips, &video[2], &videos[2]);
    if (rc == FT_OK) {
        ft_embedded train = {v.train, v.train + p->train.n * v.d, video[0], p->train.n, videos[0]},
                    held = {v.held_out, NULL, video[1], p->held_out.n, videos[1]},
                    clips = {v.clips, NULL, video[2], p->clips.n, videos[2]};
        rc = ft_copy_ruler_new(&ruler, &train, &held, v.d, SAMPLES);
        if (rc == FT_OK) rc = ft_copies_find(ruler, &clips, *of_clip, m);
    }
    ft_copy_ruler_free(ruler);
    ft_free(v.train);
    ft_free(v.held_out);
    ft_free(v.clips);
    for (int i = 0; i < 3; i++) ft_free(video[i]);
    return rc;
}

/* ---- JSON ------------------------------------------------------------------------------------------------------------------ */

static json_t *real(double v) { return isnan(v) ? json_null() : json_real(v); }
static json_t *share(ft_share s) { return json_pack("[o,o,o]", real(s.value), real(s.low), real(s.high)); }

static double number(const json_t *v) { return json_is_number(v) ? json_number_value(v) : (double)NAN; }
static ft_share read_share(const json_t *v)
{
    return (ft_share){number(json_array_get(v, 0)), number(json_array_get(v, 1)), number(json_array_get(v, 2))};
}

/* the most similar pairs, those of the largest correlations */
static json_t *pairs_of(const ft_passport *p, const ft_recall *of_clip)
{
    json_t *list = json_array();
    double below = INFINITY; /* clips of one correlation are shown in their order */
    int64_t last = -1;
    for (int k = 0; k < FT_PAIRS; k++) {
        int64_t best = -1;
        for (int64_t i = 0; i < p->clips.n; i++) {
            double c = of_clip[i].correlation;
            if ((c < below || (c == below && i > last)) && (best < 0 || c > of_clip[best].correlation)) best = i;
        }
        if (best < 0) break;
        below = of_clip[best].correlation, last = best;
        json_array_append_new(
            list, json_pack("[I,I,f]", (json_int_t)p->clips.clip[best], (json_int_t)p->train.clip[of_clip[best].nearest], below));
    }
    return list;
}

json_t *ft_memorisation_json(const ft_memorisation *m)
{
    return json_pack("{s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:b}", "tau", real(m->tau), "copies", share(m->copies), "copies_held_out",
                     share(m->copies_held_out), "ratio", share(m->ratio), "ratio_held_out", share(m->ratio_held_out), "coverage",
                     share(m->coverage), "correlation", real(m->correlation), "correlation_held_out",
                     real(m->correlation_held_out), "copying", m->copying);
}

json_t *ft_passport_json(const ft_passport *p, const ft_recall *of_clip, const ft_memorisation *m)
{
    return json_pack("{s:s,s:I,s:I,s:I,s:o,s:o}", "embedding", p->vae ? "latents of the VAE" : "thumbnails", "clips",
                     (json_int_t)p->clips.n, "training_clips", (json_int_t)p->train.n, "held_out_clips",
                     (json_int_t)p->held_out.n, "pairs", pairs_of(p, of_clip), "memorisation", ft_memorisation_json(m));
}

bool ft_passport_read(const json_t *facts, ft_memorisation *m)
{
    const json_t *o = json_object_get(facts, "memorisation");
    *m = (ft_memorisation){number(json_object_get(o, "tau")),
                           read_share(json_object_get(o, "copies")),
                           read_share(json_object_get(o, "copies_held_out")),
                           read_share(json_object_get(o, "ratio")),
                           read_share(json_object_get(o, "ratio_held_out")),
                           read_share(json_object_get(o, "coverage")),
                           number(json_object_get(o, "correlation")),
                           number(json_object_get(o, "correlation_held_out")),
                           json_is_true(json_object_get(o, "copying"))};
    return !isnan(m->ratio.value);
}

/* ---- words ----------------------------------------------------------------------------------------------------------------- */

/* "71 % [60, 80]" */
static void percent(char text[60], ft_share s)
{
    snprintf(text, 60, "%.0f %% [%.0f, %.0f]", 100 * s.value, 100 * s.low, 100 * s.high);
}

void ft_passport_head(const ft_memorisation *m, char text[FT_PASSPORT_TEXT])
{
    char own[60], real_ones[60];
    text[0] = 0;
    if (!m->copying) return;
    percent(own, m->copies);
    percent(real_ones, m->copies_held_out);
    snprintf(text, FT_PASSPORT_TEXT, "copies its training videos: %s of its clips (held-out real clips: %s)", own, real_ones);
}

void ft_passport_text(const ft_memorisation *m, char text[FT_PASSPORT_TEXT])
{
    char own[60], real_ones[60], ratio[60], coverage[60];
    percent(own, m->copies);
    percent(real_ones, m->copies_held_out);
    percent(ratio, m->ratio);
    percent(coverage, m->coverage);
    if (isnan(m->tau))
        snprintf(text, FT_PASSPORT_TEXT, "copies cannot be told without held-out real clips; %s pass the ratio test", ratio);
    else
        snprintf(text, FT_PASSPORT_TEXT,
                 "copies of training clips %s (held-out real clips: %s; correlation above %.3f); ratio test %s; they show %s of "
                 "the training videos",
                 own, real_ones, m->tau, ratio, coverage);
}
