#include "experiments/confounds.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/rng.h"
#include "common/base/status.h"

enum { SHUFFLES = 1000 };

typedef struct {
    double *number; /* rank of a numeric fact (of equal ones the mean); else the number of the word */
    double *rank;
    bool *is; /* of the positive class */
    int64_t n;
    bool numeric;
    int words;
} column;

static double area(const column *c) /* Mann-Whitney from ranks */
{
    double ranks = 0, hits = 0;
    for (int64_t i = 0; i < c->n; i++)
        if (c->is[i]) ranks += c->number[i], hits++;
    double others = (double)c->n - hits, a = hits > 0 && others > 0 ? (ranks - hits * (hits + 1) / 2) / (hits * others) : 0.5;
    return a > 0.5 ? a : 1 - a;
}

static double majority(const column *c) /* leaving each video out of its own count */
{
    double right[2] = {0, 0}, all[2] = {0, 0}, *positive = ft_alloc((size_t)c->words * 2 * sizeof *positive), share = 0;
    if (!positive) return 0;
    double *total = positive + c->words;
    for (int64_t i = 0; i < c->n; i++) positive[(int)c->number[i]] += c->is[i], total[(int)c->number[i]]++, share += c->is[i];
    for (int64_t i = 0; i < c->n; i++) {
        int w = (int)c->number[i];
        double others = total[w] - 1, hits = positive[w] - c->is[i], prior = (share - c->is[i]) / (double)(c->n - 1);
        bool says = others > 0 ? hits / others > prior : false; /* more often than anywhere */
        all[c->is[i]]++;
        right[c->is[i]] += says == c->is[i];
    }
    ft_free(positive);
    return all[0] > 0 && all[1] > 0 ? (right[0] / all[0] + right[1] / all[1]) / 2 : 0.5;
}

static double strength(const column *c) { return c->numeric ? area(c) : majority(c); }

static const char *fact(const ft_clipstore *s, json_t *const *facts, int64_t video, const char *name, char room[32])
{
    if (!strcmp(name, "frames")) snprintf(room, 32, "%d", s->video[video].frames);
    else if (!strcmp(name, "fps")) snprintf(room, 32, "%.6g", s->video[video].fps);
    else {
        const char *v = json_string_value(json_object_get(facts[video], name));
        return v ? v : "";
    }
    return room;
}

static bool is_number(const char *v, double *out)
{
    char *end;
    *out = strtod(v, &end);
    return end != v && !*end && isfinite(*out);
}

static void rank(column *c)
{
    for (int64_t i = 0; i < c->n; i++) {
        double below = 0, same = 0;
        for (int64_t k = 0; k < c->n; k++) below += c->number[k] < c->number[i], same += c->number[k] <= c->number[i];
        c->rank[i] = (below + same + 1) / 2;
    }
    memcpy(c->number, c->rank, (size_t)c->n * sizeof *c->number);
}

/* false: the fact does not vary, or is a name rather than a fact */
static bool fill(column *c, const ft_clipstore *s, const ft_classes *k, json_t *const *facts, const char *name)
{
    const char *word[64];
    char room[32], (*copy)[64] = ft_alloc(sizeof *copy * 64);
    c->n = 0, c->words = 0, c->numeric = true;
    for (int pass = 0; copy && pass < 2; pass++) { /* numbers if all are numbers, else words */
        c->n = 0;
        for (int64_t i = 0; i < s->n_video; i++) {
            if (k->of_video[i] < 0) continue;
            const char *v = fact(s, facts, i, name, room);
            c->is[c->n] = k->of_video[i] == k->positive;
            if (pass == 0) {
                if (!is_number(v, &c->number[c->n])) c->numeric = false;
            } else {
                int w = 0;
                while (w < c->words && strcmp(word[w], v) != 0) w++;
                if (w == c->words) {
                    if (w == 64) goto no;
                    snprintf(copy[w], 64, "%s", v);
                    word[c->words++] = copy[w];
                }
                c->number[c->n] = w;
            }
            c->n++;
        }
        if (c->numeric) break;
    }
    bool varies = false;
    for (int64_t i = 1; i < c->n; i++) varies |= c->number[i] > c->number[0] || c->number[i] < c->number[0];
    ft_free(copy);
    if (varies && c->numeric) rank(c);
    return varies && (c->numeric || c->words * 2 <= c->n);
no:
    ft_free(copy);
    return false;
}

static int different(const column *c)
{
    int n = 0;
    for (int64_t i = 0; i < c->n; i++) {
        bool new = true;
        for (int64_t k = 0; k < i; k++) new &= c->number[k] < c->number[i] || c->number[k] > c->number[i];
        n += new;
    }
    return n;
}

static int judge(ft_confound **list, int *n, column *c, const char *name)
{
    FT_TRY(ft_grow(list, (size_t)*n, sizeof **list));
    ft_confound *f = &(*list)[(*n)++];
    *f = (ft_confound){.numeric = c->numeric, .values = different(c), .strength = strength(c)};
    snprintf(f->name, sizeof f->name, "%s", name);
    int reached = 0;
    for (int t = 0; t < SHUFFLES; t++) {
        ft_rng r = ft_rng_make(3, 0xC0F0, (uint64_t)t);
        for (int64_t i = c->n - 1; i > 0; i--) {
            int64_t k = ft_rng_below(&r, i + 1);
            bool swap = c->is[i];
            c->is[i] = c->is[k], c->is[k] = swap;
        }
        reached += strength(c) >= f->strength - 1e-12;
    }
    f->p = (reached + 1.0) / (SHUFFLES + 1.0);
    f->warn = f->strength >= 0.7 && f->p <= 0.01;
    return FT_OK;
}

int ft_confounds(const ft_clipstore *s, const ft_classes *k, ft_confound **list, int *n)
{
    json_t **facts = ft_alloc((size_t)(s->n_video + 1) * sizeof *facts), *names = json_pack("{s:n,s:n}", "frames", "fps");
    size_t room = (size_t)(s->n_video + 1);
    column c = {
        .number = ft_alloc(room * sizeof(double)), .rank = ft_alloc(room * sizeof(double)), .is = ft_alloc(room * sizeof(bool))};
    int rc = facts && names && c.number && c.rank && c.is ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for facts of videos");
    const char *name;
    json_t *v;
    *list = NULL, *n = 0;
    for (int64_t i = 0; rc == FT_OK && i < s->n_video; i++) {
        facts[i] = s->video[i].facts && *s->video[i].facts ? json_loads(s->video[i].facts, 0, NULL) : NULL;
        json_object_foreach(facts[i], name, v) json_object_set_new(names, name, json_null());
    }
    json_object_foreach(names, name, v) if (rc == FT_OK && fill(&c, s, k, facts, name)) rc = judge(list, n, &c, name);
    for (int64_t i = 0; facts && i < s->n_video; i++) json_decref(facts[i]);
    json_decref(names);
    ft_free(facts);
    ft_free(c.number);
    ft_free(c.rank);
    ft_free(c.is);
    return rc;
}

/* ---- twins ---------------------------------------------------------------------------------------------------------------- */

enum { SMALL = 16, SEEN = 3, EACH = FT_THUMBNAIL };

void ft_thumbnail(const ft_clipstore *s, int64_t clip, float out[FT_THUMBNAIL])
{
    for (int k = 0; k < SEEN; k++) {
        const uint8_t *p = ft_clip_pixels(s, clip) + (int64_t)(k * (s->frames - 1) / (SEEN - 1)) * s->size * s->size * 3;
        for (int y = 0; y < SMALL; y++)
            for (int x = 0; x < SMALL; x++)
                for (int c = 0; c < 3; c++) {
                    double sum = 0, count = 0;
                    for (int v = y * s->size / SMALL; v < (y + 1) * s->size / SMALL; v++)
                        for (int u = x * s->size / SMALL; u < (x + 1) * s->size / SMALL; u++)
                            sum += p[((int64_t)v * s->size + u) * 3 + c], count++;
                    out[((k * SMALL + y) * SMALL + x) * 3 + c] = (float)(sum / (count > 0 ? count : 1));
                }
    }
}

int ft_twins(const ft_clipstore *s, const ft_videos *a, const ft_videos *b, ft_twin **list, int *n)
{
    const ft_videos *side[2] = {a, b};
    int64_t *clip[2] = {NULL, NULL}, m[2] = {0, 0};
    float *small[2] = {NULL, NULL};
    int rc = FT_OK;
    *list = NULL, *n = 0;
    for (int k = 0; rc == FT_OK && k < 2; k++) {
        rc = ft_clips_of(s, side[k], &clip[k], &m[k]);
        if (rc == FT_OK && !(small[k] = ft_alloc((size_t)(m[k] + 1) * EACH * sizeof(float))))
            rc = FT_FAIL(FT_ENOMEM, "no memory for twins");
        for (int64_t i = 0; rc == FT_OK && i < m[k]; i++) ft_thumbnail(s, clip[k][i], small[k] + i * EACH);
    }
    for (int64_t i = 0; rc == FT_OK && i < m[0]; i++)
        for (int64_t k = 0; rc == FT_OK && k < m[1]; k++) {
            const ft_store_video *v = &s->video[s->clip[clip[0][i]].video], *w = &s->video[s->clip[clip[1][k]].video];
            const float *p = small[0] + i * EACH, *q = small[1] + k * EACH;
            double sum = 0;
            bool same_file = *v->sha256 && !strcmp(v->sha256, w->sha256);
            for (int e = 0; e < EACH && sum < 3.0 * EACH; e++) sum += fabs((double)(p[e] - q[e]));
            if (!same_file && sum >= 3.0 * EACH) continue;
            ft_twin t = {s->clip[clip[0][i]].video, s->clip[clip[1][k]].video, same_file ? 0 : sum / EACH};
            bool known = false;
            for (int e = 0; e < *n; e++) known |= (*list)[e].a == t.a && (*list)[e].b == t.b;
            if (known) continue;
            rc = ft_grow(list, (size_t)*n, sizeof **list);
            if (rc == FT_OK) (*list)[(*n)++] = t;
        }
    for (int k = 0; k < 2; k++) ft_free(clip[k]), ft_free(small[k]);
    return rc;
}
