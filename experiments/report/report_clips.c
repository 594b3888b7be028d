/* Galleries: clips that play, without a script and in one file. A film is a JPEG with a clip in every row and its frames side by
 * side; a cell shows one row and moves through it (report_html.c). Printed, and on request, the film itself is shown. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/io/image.h"
#include "experiments/report/report_parts.h"
#include "experiments/stages/passport.h"
#include "gen/align.h"

enum { SHOWN = 4, FRAMES = 8 }; /* clips of a row and frames of each, evenly over its length: the page should fit into a mail */

typedef struct {
    const uint8_t *clip[2 * SHOWN];
    int n, frames, size; /* frames: of the clips */
} film;

static int shown_frames(const film *m) { return m->frames < FRAMES ? m->frames : FRAMES; }

/* Opens a figure that holds the film; its cells follow. */
static int open_film(FILE *f, const film *m)
{
    uint8_t *rgb, *jpeg;
    size_t size;
    int w, h, shown = shown_frames(m);
    FT_TRY(ft_contact_sheet(m->clip, m->n, m->frames, m->size, shown, 0, &rgb, &w, &h));
    int rc = ft_jpeg_encode(rgb, w, h, &jpeg, &size);
    ft_free(rgb);
    FT_TRY(rc);
    fprintf(f, "<figure style=\"--n:%d;--rows:%d;--film:url(data:image/jpeg;base64,", shown, m->n);
    ft_html_base64(f, jpeg, size);
    fputs(")\">\n", f);
    ft_free(jpeg);
    return FT_OK;
}

static void cell(FILE *f, int row) { fprintf(f, "<div class=clip style=--row:%d></div>", row); }

static void close_film(FILE *f, const film *m, const char *caption)
{
    fputs("<figcaption>", f);
    ft_html_text(f, caption);
    fprintf(
        f,
        "</figcaption><label class=screen>frame by frame</label> <input type=checkbox class=\"all screen\" aria-label=\"frame by "
        "frame\"><div class=film style=\"aspect-ratio:%d/%d\"></div></figure>\n",
        m->frames, m->n);
}

/* The first clips of a class in the training pool. */
static int real_clips(FILE *f, const ft_experiment *x, int class)
{
    const ft_videos *pool = &x->folds[0].pool;
    film m = {.frames = x->store.frames, .size = x->store.size};
    char caption[300];
    for (int64_t i = 0; i < pool->n && m.n < SHOWN; i++) {
        if (!ft_classes_has(&x->classes, pool->video[i], class)) continue;
        for (int64_t k = 0; k < x->store.n_clip; k++)
            if (x->store.clip[k].video == pool->video[i]) {
                m.clip[m.n++] = ft_clip_pixels(&x->store, k);
                break;
            }
    }
    if (m.n == 0) return FT_OK;
    FT_TRY(open_film(f, &m));
    fputs("<div class=clips>", f);
    for (int i = 0; i < m.n; i++) cell(f, i);
    fputs("</div>", f);
    snprintf(caption, sizeof caption, "Real clips of the training pool, class %s", x->classes.name[class]);
    close_film(f, &m, caption);
    return FT_OK;
}

/* clips above, a training clip below each, and how much they correlate */
static int pairs(FILE *f, const film *m, const double *correlation, const char *caption)
{
    int n = m->n / 2;
    FT_TRY(open_film(f, m));
    fputs("<div class=clips>", f);
    for (int k = 0; k < n; k++) {
        fputs("<div class=pair>", f);
        cell(f, k);
        cell(f, n + k);
        fprintf(f, "%.2f</div>", correlation[k]);
    }
    fputs("</div>", f);
    close_film(f, m, caption);
    return FT_OK;
}

/* The first clips of an arm, not chosen, or those most like a training clip, each above it. `s` may be of another shape than the
 * real ones: then they stand alone. */
static int film_of(FILE *f, const ft_experiment *x, const ft_clipstore *s, int shown, const int64_t *real,
                   const double *correlation, const char *what)
{
    char caption[400];
    bool together = real && s->frames == x->store.frames && s->size == x->store.size;
    film m = {.n = together ? 2 * shown : shown, .frames = s->frames, .size = s->size};
    for (int k = 0; k < shown; k++) m.clip[k] = ft_clip_pixels(s, k);
    for (int k = 0; together && k < shown; k++)
        m.clip[shown + k] = real[k] >= 0 && real[k] < x->store.n_clip ? ft_clip_pixels(&x->store, real[k]) : m.clip[k];
    snprintf(caption, sizeof caption, "Above: %s.%s", what,
             together ? " Below each: the training clip most like it, or its mirror image, and their correlation" : "");
    if (together) return pairs(f, &m, correlation, caption);
    FT_TRY(open_film(f, &m));
    fputs("<div class=clips>", f);
    for (int k = 0; k < shown; k++) cell(f, k);
    fputs("</div>", f);
    close_film(f, &m, caption);
    return FT_OK;
}

static json_t *found_of(const ft_arm_result *a)
{
    char path[FT_PATH];
    ft_stage_file(path, a->likeness, "clips.json");
    return ft_read_json(path);
}

static int first_clips(FILE *f, const ft_experiment *x, const ft_arm_result *a)
{
    ft_clipstore s;
    int64_t real[SHOWN];
    double correlation[SHOWN];
    char what[60];
    FT_TRY(ft_clipstore_head(&s, a->clips, SHOWN));
    int n = s.n_clip < SHOWN ? (int)s.n_clip : SHOWN;
    json_t *found = a->passport ? found_of(a) : NULL;
    for (int k = 0; k < n; k++) {
        real[k] = json_integer_value(json_array_get(json_object_get(found, "nearest"), (size_t)k));
        correlation[k] = json_number_value(json_array_get(json_object_get(found, "correlation"), (size_t)k));
    }
    snprintf(what, sizeof what, "the first %d clips of the arm", n);
    int rc = film_of(f, x, &s, n, found ? real : NULL, correlation, what);
    json_decref(found);
    ft_clipstore_free(&s);
    return rc;
}

static int closest_clips(FILE *f, const ft_experiment *x, const ft_arm_result *a)
{
    ft_clipstore s;
    int64_t real[SHOWN];
    double correlation[SHOWN];
    char path[FT_PATH], what[60];
    ft_stage_file(path, a->likeness, "pairs.h5");
    FT_TRY(ft_clipstore_head(&s, path, SHOWN));
    int n = s.n_clip < SHOWN ? (int)s.n_clip : SHOWN;
    json_t *facts = ft_stage_facts(a->likeness), *list = json_object_get(facts, "pairs");
    for (int k = 0; k < n; k++) {
        real[k] = json_integer_value(json_array_get(json_array_get(list, (size_t)k), 1));
        correlation[k] = json_number_value(json_array_get(json_array_get(list, (size_t)k), 2));
    }
    snprintf(what, sizeof what, "the %d clips that are most like a training clip", n);
    int rc = film_of(f, x, &s, n, real, correlation, what);
    json_decref(facts);
    ft_clipstore_free(&s);
    return rc;
}

/* how like real clips: a row a distance */
static void likeness(FILE *f, const char *where, const ft_set_distance of[FT_SET_DISTANCES], int64_t alike)
{
    char heads[300];
    if (isnan(of[0].value)) return;
    if (alike)
        snprintf(heads, sizeof heads,
                 "how like real clips%s|all clips [95 %% interval]|the first %lld|%lld held-out real clips|best", where,
                 (long long)alike, (long long)alike);
    else snprintf(heads, sizeof heads, "how like real clips%s|all clips [95 %% interval]|best", where);
    ft_html_table t = ft_html_table_begin(f, heads);
    for (int i = 0; i < FT_SET_DISTANCES; i++) {
        const ft_set_distance *d = &of[i];
        if (isnan(d->value)) continue; /* of an older run */
        ft_html_row(&t, false);
        ft_html_name(&t, ft_set_distance_names[i].title, "");
        if (isnan(d->low)) ft_html_cell(&t, "%.3g", d->value);
        else ft_html_cell(&t, "%.3g [%.3g, %.3g]", d->value, d->low, d->high);
        if (alike) ft_html_cell(&t, "%.3g", d->alike), ft_html_cell(&t, "%.3g", d->floor);
        ft_html_name(&t, ft_set_distance_names[i].best, "");
    }
    ft_html_table_end(&t);
}

static int arm_clips(FILE *f, const ft_experiment *x, const ft_arm_result *a)
{
    char text[FT_PASSPORT_TEXT];
    fputs("<h3>", f);
    ft_html_text(f, a->name);
    fputs("</h3>\n", f);
    FT_TRY(first_clips(f, x, a));
    if (!a->passport) return FT_OK;
    FT_TRY(closest_clips(f, x, a));
    ft_passport_text(&a->copies, text);
    fprintf(f, "<p%s>", a->copies.copying ? " class=bad" : "");
    ft_html_text(f, text);
    json_t *facts = ft_stage_facts(a->likeness);
    const char *embedding = json_string_value(json_object_get(facts, "embedding"));
    fputs(". Clips are compared as ", f);
    ft_html_text(f, embedding ? embedding : "they are");
    fputs(".</p>\n", f);
    json_decref(facts);
    likeness(f, "", a->distance, a->alike);
    char where[80];
    snprintf(where, sizeof where, ", in %s", a->network);
    likeness(f, where, a->seen, a->seen_alike);
    return FT_OK;
}

static void filtered(FILE *f, const ft_arm_result *a)
{
    char text[300];
    ft_filtered_text(&a->filtered, text);
    if (!*text) return;
    fputs("<p><b>", f);
    ft_html_text(f, a->name);
    fputs("</b>: ", f);
    ft_html_text(f, text);
    fputs(".</p>\n", f);
}

static void checks(FILE *f, const ft_result *r)
{
    ft_html_table t = ft_html_table_begin(f, "check on held-out videos|value|compare with");
    char aligned[300];
    if (!isnan(r->psnr)) {
        ft_html_row(&t, false);
        ft_html_name(&t, "VAE reconstruction, PSNR", "");
        ft_html_cell(&t, "%.1f dB", r->psnr);
        ft_html_cell(&t, "%s", "");
    }
    for (int i = 0; i < r->n; i++) {
        const ft_arm_result *a = &r->arm[i];
        if (!isnan(a->eps_mse)) {
            ft_align_text(a->cfg, aligned, sizeof aligned);
            ft_html_row(&t, false);
            ft_html_name(&t, a->name, ": denoising error, mean over t");
            ft_html_cell(&t, "%.3f", a->eps_mse);
            ft_html_cell(&t, "1 for predicting zero; alignment: %s", aligned);
        }
    }
    ft_html_table_end(&t);
}

int ft_report_clips(FILE *f, const ft_result *r)
{
    const ft_experiment *x = r->x;
    int rc = FT_OK;
    bool checked = !isnan(r->psnr), measured = false;
    fputs("<h2>Clips</h2>\n", f);
    for (int c = 0; rc == FT_OK && c < x->classes.n; c++) rc = real_clips(f, x, c);
    for (int i = 0; i < r->n; i++) checked |= !isnan(r->arm[i].eps_mse);
    if (checked) checks(f, r);
    for (int i = 0; i < r->n; i++) measured |= !isnan(r->arm[i].distance[0].value);
    if (measured)
        fputs("<p class=soft>How like real clips: distances to the training pool in pooled features of a fixed random X3D whose "
              "normalisation is that of the pool. None is FVD, and they compare only within this page. Most depend on how many "
              "clips there are, so hold the first clips against as many held-out real ones. Balls reach to the fifth "
              "neighbour. Where probes look through a frozen network, the same distances in its features stand below.</p>\n",
              f);
    for (int i = 0; rc == FT_OK && i < r->n; i++) {
        bool same = false; /* arms that differ in their settings often share their clips */
        for (int k = 0; k < i; k++) same |= !strcmp(r->arm[k].clips, r->arm[i].clips);
        if (*r->arm[i].clips && !same) rc = arm_clips(f, x, &r->arm[i]);
        filtered(f, &r->arm[i]);
    }
    return rc;
}
