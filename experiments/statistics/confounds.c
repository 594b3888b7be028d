#include "experiments/statistics/confounds.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/files.h"
#include "common/base/memory.h"
#include "common/base/rng.h"
#include "common/base/status.h"
#include "common/base/streams.h"

enum { SHUFFLES = 1000, WORDS = 64 };

typedef struct {
    double *number; /* rank of a numeric fact (of equal ones the mean); else the number of the word */
    double *sorted;
    bool *is; /* of the class that is to be told */
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
    double right[2] = {0, 0}, all[2] = {0, 0}, positive[WORDS] = {0}, total[WORDS] = {0}, share = 0;
    for (int64_t i = 0; i < c->n; i++) positive[(int)c->number[i]] += c->is[i], total[(int)c->number[i]]++, share += c->is[i];
    for (int64_t i = 0; i < c->n; i++) {
        int w = (int)c->number[i];
        double others = total[w] - 1, hits = positive[w] - c->is[i], prior = (share - c->is[i]) / (double)(c->n - 1);
        bool says = others > 0 ? hits / others > prior : false; /* more often than anywhere */
        all[c->is[i]]++;
        right[c->is[i]] += says == c->is[i];
    }
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

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void sort(column *c)
{
    memcpy(c->sorted, c->number, (size_t)c->n * sizeof *c->sorted);
    qsort(c->sorted, (size_t)c->n, sizeof *c->sorted, by_size);
}

/* How many are smaller (or, with `same`, not larger). */
static int64_t below(const column *c, double x, bool same)
{
    int64_t low = 0, high = c->n;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if (c->sorted[middle] < x || (same && c->sorted[middle] <= x)) low = middle + 1;
        else high = middle;
    }
    return low;
}

static void rank(column *c)
{
    sort(c);
    for (int64_t i = 0; i < c->n; i++)
        c->number[i] = (double)(below(c, c->number[i], false) + below(c, c->number[i], true) + 1) / 2;
}

static bool all_numbers(column *c, const ft_clipstore *s, const ft_classes *k, json_t *const *facts, const char *name)
{
    char room[32];
    c->n = 0;
    for (int64_t i = 0; i < s->n_video; i++)
        if (k->of_video[i] >= 0 && !is_number(fact(s, facts, i, name, room), &c->number[c->n++])) return false;
    return true;
}

/* Words of the label list, whatever their length, by number; *few: there are no more than WORDS. */
static int number_words(column *c, const ft_clipstore *s, const ft_classes *k, json_t *const *facts, const char *name, bool *few)
{
    char room[32], *word[WORDS];
    int rc = FT_OK;
    *few = true;
    c->n = 0, c->words = 0;
    for (int64_t i = 0; rc == FT_OK && *few && i < s->n_video; i++) {
        if (k->of_video[i] < 0) continue;
        const char *v = fact(s, facts, i, name, room);
        int w = 0;
        while (w < c->words && strcmp(word[w], v) != 0) w++;
        if (w == WORDS) *few = false;
        else if (w == c->words && !(word[c->words++] = ft_strdup(v))) rc = FT_FAIL(FT_ENOMEM, "no memory for facts of videos");
        c->number[c->n++] = w;
    }
    for (int w = 0; w < c->words; w++) ft_free(word[w]);
    return rc;
}

/* *fit = false: the fact does not vary, or is a name rather than a fact */
static int fill(column *c, const ft_clipstore *s, const ft_classes *k, int class, json_t *const *facts, const char *name,
                bool *fit)
{
    bool varies = false, few = true;
    c->numeric = all_numbers(c, s, k, facts, name);
    if (!c->numeric) FT_TRY(number_words(c, s, k, facts, name, &few));
    c->n = 0;
    for (int64_t i = 0; i < s->n_video; i++) {
        if (k->of_video[i] < 0) continue;
        c->is[c->n] = ft_classes_has(k, i, class);
        varies |= c->number[c->n] < c->number[0] || c->number[c->n] > c->number[0];
        c->n++;
    }
    if (varies && c->numeric) rank(c);
    *fit = varies && few && (c->numeric || c->words * 2 <= c->n);
    return FT_OK;
}

static int different(column *c)
{
    int n = c->n > 0;
    sort(c);
    for (int64_t i = 1; i < c->n; i++) n += c->sorted[i] > c->sorted[i - 1];
    return n;
}

static int judge(ft_confound **list, int *n, column *c, int class, const char *name)
{
    if (strlen(name) > FT_NAME_MOST)
        return FT_FAIL(FT_EDATA, "a column's name has %zu bytes, at most %d are taken", strlen(name), FT_NAME_MOST);
    FT_TRY(ft_grow(list, (size_t)*n, sizeof **list));
    ft_confound *f = &(*list)[(*n)++];
    *f = (ft_confound){.numeric = c->numeric, .told = class, .values = different(c), .strength = strength(c)};
    snprintf(f->name, sizeof f->name, "%s", name);
    int reached = 0;
    for (int t = 0; t < SHUFFLES; t++) {
        ft_rng r = ft_rng_make(3, FT_STREAM_CONFOUNDS, (uint64_t)t);
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

static int read_facts(json_t **facts, const ft_clipstore *s, int64_t video)
{
    const char *text = s->video[video].facts;
    if (!text || !*text) return FT_OK;
    *facts = json_loads(text, 0, NULL);
    if (ft_json_lacked()) return FT_FAIL(FT_ENOMEM, "no memory for facts of videos");
    if (json_is_object(*facts)) return FT_OK;
    return FT_FAIL(FT_EDATA, "%s: /video/facts of %s is not a JSON object: the store is damaged. Make it again", s->path,
                   s->video[video].name);
}

int ft_confounds(const ft_clipstore *s, const ft_classes *k, ft_confound **list, int *n)
{
    json_t **facts = ft_alloc((size_t)(s->n_video + 1) * sizeof *facts), *names = json_pack("{s:n,s:n}", "frames", "fps");
    size_t room = (size_t)(s->n_video + 1);
    column c = {.number = ft_alloc(room * sizeof(double)),
                .sorted = ft_alloc(room * sizeof(double)),
                .is = ft_alloc(room * sizeof(bool))};
    int rc = facts && names && c.number && c.sorted && c.is ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for facts of videos");
    const char *name;
    json_t *v;
    *list = NULL, *n = 0;
    for (int64_t i = 0; rc == FT_OK && i < s->n_video; i++) {
        rc = read_facts(&facts[i], s, i);
        json_object_foreach(facts[i], name, v) if (rc == FT_OK && json_object_set_new(names, name, json_null()) < 0) rc =
            FT_FAIL(FT_ENOMEM, "no memory for facts of videos");
    }
    if (rc == FT_OK && ft_json_lacked()) rc = FT_FAIL(FT_ENOMEM, "no memory for facts of videos");
    json_object_foreach(names, name, v)
    {
        bool each = k->positive == FT_MULTILABEL;
        for (int class = each ? 0 : k->positive; class < (each ? k->n : k->positive + 1); class ++) {
            bool fit = false;
            if (rc == FT_OK) rc = fill(&c, s, k, class, facts, name, &fit);
            if (rc == FT_OK && fit) rc = judge(list, n, &c, class, name);
        }
    }
    for (int64_t i = 0; facts && i < s->n_video; i++) json_decref(facts[i]);
    json_decref(names);
    ft_free(facts);
    ft_free(c.number);
    ft_free(c.sorted);
    ft_free(c.is);
    if (rc < 0) ft_free(*list), *list = NULL, *n = 0;
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

/* Clips of one side with what bounds their distance, for most pairs need no more. The mean of |p - q| is at least the difference
 * of the means, over a clip or summed over its parts; and at least 1 less than that of both rounded to whole levels. */
enum { CELL = 4, CELLS = SEEN * (SMALL / CELL) * (SMALL / CELL) * 3, ROUNDED = CELLS + EACH };
static const double near = 3.0 * EACH, slack = 1; /* slack: of sums in floating point */

typedef struct {
    int64_t clip, video, rank; /* rank: as ft_clips_of has it */
    float *small;
    uint8_t *rounded; /* means of its cells, then all of `small` */
    double sum;
    bool repeats; /* the one before it, pixel by pixel */
} seen;

typedef struct {
    const char *sha;
    int64_t video, rank; /* rank: of the video's first clip */
} seen_file;

typedef struct {
    seen *clip;
    seen_file *file; /* videos of known SHA-256, sorted by it */
    int64_t n, files;
    float *small;
    uint8_t *rounded;
} seen_side;

static void look(const ft_clipstore *s, seen *x)
{
    float mean[CELLS] = {0};
    ft_thumbnail(s, x->clip, x->small);
    for (int e = 0; e < EACH; e++) {
        int c = e % 3, u = e / 3 % SMALL / CELL, v = e / 3 / SMALL % SMALL / CELL, k = e / 3 / SMALL / SMALL;
        mean[((k * (SMALL / CELL) + v) * (SMALL / CELL) + u) * 3 + c] += x->small[e] / (CELL * CELL);
        x->rounded[CELLS + e] = (uint8_t)lrintf(x->small[e]);
        x->sum += (double)x->small[e];
    }
    for (int e = 0; e < CELLS; e++) x->rounded[e] = (uint8_t)lrintf(mean[e]);
}

static int by_video(const void *a, const void *b)
{
    const seen *x = a, *y = b;
    if (x->video != y->video) return x->video < y->video ? -1 : 1;
    return x->rank < y->rank ? -1 : x->rank > y->rank;
}

static int by_sum(const void *a, const void *b)
{
    const seen *x = a, *y = b;
    if (x->sum < y->sum || x->sum > y->sum) return x->sum < y->sum ? -1 : 1;
    int order = memcmp(x->small, y->small, EACH * sizeof *x->small);
    return order ? order : x->rank < y->rank ? -1 : x->rank > y->rank;
}

static int by_sha(const void *a, const void *b)
{
    const seen_file *x = a, *y = b;
    int order = strcmp(x->sha, y->sha);
    return order ? order : x->rank < y->rank ? -1 : x->rank > y->rank;
}

static void side_free(seen_side *d)
{
    ft_free(d->clip);
    ft_free(d->file);
    ft_free(d->small);
    ft_free(d->rounded);
}

static int side_make(seen_side *d, const ft_clipstore *s, const ft_videos *videos)
{
    int64_t *clip;
    FT_TRY(ft_clips_of(s, videos, &clip, &d->n));
    d->clip = ft_alloc_n(d->n + 1, sizeof *d->clip);
    d->file = ft_alloc_n(d->n + 1, sizeof *d->file);
    d->small = ft_alloc_n(d->n + 1, sizeof *d->small * EACH);
    d->rounded = ft_alloc_n(d->n + 1, ROUNDED);
    int rc = d->clip && d->file && d->small && d->rounded ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for twins");
    for (int64_t i = 0; rc == FT_OK && i < d->n; i++) {
        d->clip[i] = (seen){.clip = clip[i],
                            .video = s->clip[clip[i]].video,
                            .rank = i,
                            .small = d->small + i * EACH,
                            .rounded = d->rounded + i * ROUNDED};
        look(s, &d->clip[i]);
    }
    ft_free(clip);
    if (rc < 0) return rc;
    qsort(d->clip, (size_t)d->n, sizeof *d->clip, by_video);
    for (int64_t i = 0; i < d->n; i++) {
        int64_t v = d->clip[i].video;
        if (*s->video[v].sha256 && (i == 0 || d->clip[i - 1].video != v))
            d->file[d->files++] = (seen_file){s->video[v].sha256, v, d->clip[i].rank};
    }
    qsort(d->file, (size_t)d->files, sizeof *d->file, by_sha);
    return FT_OK;
}

static void sort_by_sum(seen_side *d)
{
    qsort(d->clip, (size_t)d->n, sizeof *d->clip, by_sum);
    for (int64_t i = 1; i < d->n; i++)
        d->clip[i].repeats = !memcmp(d->clip[i].small, d->clip[i - 1].small, EACH * sizeof *d->clip[i].small);
}

/* Is the mean of |p - q| over 4 levels, and so over 3 before they were rounded? */
enum { STRIDE = 48 };
_Static_assert(CELLS % STRIDE == 0 && EACH % STRIDE == 0, "whole strides");
static bool far(const uint8_t *p, const uint8_t *q, int n)
{
    int sum = 0;
    for (int e = 0; e < n && sum <= 4 * n; e += STRIDE)
        for (int i = e; i < e + STRIDE; i++) sum += abs(p[i] - q[i]);
    return sum > 4 * n;
}

/* Sum of |p - q|, or anything from `near` on where it is no less. */
static double difference(const seen *x, const seen *y)
{
    double sum = 0;
    if (far(x->rounded, y->rounded, CELLS) || far(x->rounded + CELLS, y->rounded + CELLS, EACH)) return near;
    for (int e = 0; e < EACH && sum < near; e++) sum += fabs((double)(x->small[e] - y->small[e]));
    return sum;
}

typedef struct {
    int64_t video, rank;
    double sum;
} match;

static int by_rank(const void *a, const void *b)
{
    const match *x = a, *y = b;
    if (x->rank != y->rank) return x->rank < y->rank ? -1 : 1;
    return x->sum < y->sum ? -1 : x->sum > y->sum;
}

/* Clips of `d` (sorted by sum) that show what x shows, but for those of videos that met[] knows of already. */
static int64_t matches_of(const seen *x, const seen_side *d, const int64_t *met, match *out)
{
    int64_t low = 0, high = d->n, n = 0;
    double sum = near;
    bool known = false; /* sum is of the clip before, or of one like it */
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if (d->clip[middle].sum < x->sum - near - slack) low = middle + 1;
        else high = middle;
    }
    for (int64_t i = low; i < d->n && d->clip[i].sum <= x->sum + near + slack; i++) {
        known &= d->clip[i].repeats;
        if (met[d->clip[i].video] == x->video + 1) continue;
        if (!known) sum = difference(x, &d->clip[i]), known = true;
        if (sum < near) out[n++] = (match){d->clip[i].video, d->clip[i].rank, sum};
    }
    return n;
}

/* Videos of `d` that are the same file as the video v. */
static int64_t files_of(const ft_clipstore *s, int64_t v, const seen_side *d, match *out)
{
    const char *sha = s->video[v].sha256;
    int64_t low = 0, high = *sha ? d->files : 0, n = 0;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if (strcmp(d->file[middle].sha, sha) < 0) low = middle + 1;
        else high = middle;
    }
    for (int64_t i = low; *sha && i < d->files && !strcmp(d->file[i].sha, sha); i++)
        out[n++] = (match){d->file[i].video, d->file[i].rank, 0};
    return n;
}

static int add_twins(ft_twin **list, int *n, int64_t video, int64_t *met, match *m, int64_t count)
{
    qsort(m, (size_t)count, sizeof *m, by_rank);
    for (int64_t i = 0; i < count && *n < FT_TWINS_MOST; i++) {
        if (met[m[i].video] == video + 1) continue;
        met[m[i].video] = video + 1;
        FT_TRY(ft_grow(list, (size_t)*n, sizeof **list));
        (*list)[(*n)++] = (ft_twin){video, m[i].video, m[i].sum / EACH};
    }
    return FT_OK;
}

int ft_twins(const ft_clipstore *s, const ft_videos *a, const ft_videos *b, ft_twin **list, int *n)
{
    seen_side of_a = {0}, of_b = {0};
    int64_t *met = ft_alloc_n(s->n_video + 1, sizeof *met); /* the video of `a`, + 1, that each one of `b` was found for last */
    match *found = NULL;
    int rc = met ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for twins");
    *list = NULL, *n = 0;
    if (rc == FT_OK) rc = side_make(&of_a, s, a);
    if (rc == FT_OK) rc = side_make(&of_b, s, b);
    if (rc == FT_OK && !(found = ft_alloc_n(2 * of_b.n + 1, sizeof *found))) rc = FT_FAIL(FT_ENOMEM, "no memory for twins");
    if (rc == FT_OK) sort_by_sum(&of_b);
    for (int64_t i = 0; rc == FT_OK && *n < FT_TWINS_MOST && i < of_a.n; i++) {
        const seen *x = &of_a.clip[i];
        bool first = i == 0 || x[-1].video != x->video;
        if (!first && !memcmp(x->small, x[-1].small, EACH * sizeof *x->small)) continue; /* found what there is */
        int64_t files = first ? files_of(s, x->video, &of_b, found) : 0;
        rc = add_twins(list, n, x->video, met, found, files + matches_of(x, &of_b, met, found + files));
    }
    side_free(&of_a);
    side_free(&of_b);
    ft_free(met);
    ft_free(found);
    if (rc < 0) ft_free(*list), *list = NULL, *n = 0;
    return rc;
}
