/* Galleries: clips that play, without a script and in one file. A film is a PNG with a clip in every row and its frames side by
 * side; a cell shows one row and moves through it (report_html.c). Printed, and on request, the film itself is shown. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/io/image.h"
#include "experiments/report/report_parts.h"
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
    uint8_t *rgb, *png;
    size_t size;
    int w, h, shown = shown_frames(m);
    FT_TRY(ft_contact_sheet(m->clip, m->n, m->frames, m->size, shown, 0, &rgb, &w, &h));
    int rc = ft_png_encode(rgb, w, h, &png, &size);
    ft_free(rgb);
    FT_TRY(rc);
    fprintf(f, "<figure style=\"--n:%d;--rows:%d;--film:url(data:image/png;base64,", shown, m->n);
    ft_html_base64(f, png, size);
    fputs(")\">\n", f);
    ft_free(png);
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

static void compared(FILE *f, const json_t *facts, const json_t *held)
{
    const json_t *d = json_object_get(facts, "neighbour_distance"), *h = json_object_get(held, "neighbour_distance");
    long long copies = json_integer_value(json_object_get(facts, "copies")),
              clips = json_integer_value(json_object_get(facts, "clips"));
    fprintf(f, "<p>Nearest real neighbour, in grey levels of 255: median %.1f, least %.1f",
            json_number_value(json_array_get(d, 1)), json_number_value(json_array_get(d, 0)));
    if (h)
        fprintf(f, " (held-out real clips: median %.1f, least %.1f)", json_number_value(json_array_get(h, 1)),
                json_number_value(json_array_get(h, 0)));
    fprintf(f, ". %s%lld of %lld clips are copies of training clips%s (under 3).</p>\n", copies ? "<b class=bad>" : "", copies,
            clips, copies ? "</b>" : "");
}

/* The first clips of an arm, each above the training clip that is most like it. */
static int arm_clips(FILE *f, const ft_experiment *x, const ft_arm_result *a, const json_t *held)
{
    ft_clipstore s;
    char caption[400];
    FT_TRY(ft_clipstore_head(&s, a->clips, SHOWN));
    json_t *facts = a->likeness ? ft_stage_facts(a->likeness) : NULL, *nearest = json_object_get(facts, "nearest");
    bool pairs = json_array_size(nearest) > 0 && s.frames == x->store.frames && s.size == x->store.size;
    int shown = s.n_clip < SHOWN ? (int)s.n_clip : SHOWN, rc;
    film m = {.n = pairs ? 2 * shown : shown, .frames = s.frames, .size = s.size};
    for (int k = 0; k < shown; k++) {
        m.clip[k] = ft_clip_pixels(&s, k); /* the first ones: not chosen */
        int64_t real = json_integer_value(json_array_get(json_array_get(nearest, (size_t)k), 0));
        if (pairs && real >= 0 && real < x->store.n_clip) m.clip[shown + k] = ft_clip_pixels(&x->store, real);
        else if (pairs) m.clip[shown + k] = m.clip[k];
    }
    fputs("<h3>", f);
    ft_html_text(f, a->name);
    fputs("</h3>\n", f);
    rc = open_film(f, &m);
    fputs("<div class=clips>", f);
    for (int k = 0; k < shown; k++) {
        fputs("<div class=pair>", f);
        cell(f, k);
        if (pairs) {
            cell(f, shown + k);
            fprintf(f, "%.1f", json_number_value(json_array_get(json_array_get(nearest, (size_t)k), 1)));
        }
        fputs("</div>", f);
    }
    fputs("</div>", f);
    snprintf(caption, sizeof caption, "Above: the first %d clips of the arm.%s", shown,
             pairs ? " Below each: the training clip most like it, and their difference" : "");
    close_film(f, &m, caption);
    if (pairs) compared(f, facts, held);
    json_decref(facts);
    ft_clipstore_free(&s);
    return rc;
}

static void checks(FILE *f, const ft_result *r)
{
    ft_html_table t = ft_html_table_begin(f, "check on held-out videos|value|compare with");
    char aligned[300];
    ft_html_row(&t, false);
    ft_html_name(&t, "VAE reconstruction, PSNR", "");
    if (isnan(r->psnr)) ft_html_cell(&t, "%s", "");
    else ft_html_cell(&t, "%.1f dB", r->psnr);
    ft_html_cell(&t, "%s", "");
    for (int i = 0; i < r->n; i++) {
        const ft_arm_result *a = &r->arm[i];
        if (!isnan(a->eps_mse)) {
            ft_align_text(a->cfg, aligned, sizeof aligned);
            ft_html_row(&t, false);
            ft_html_name(&t, a->name, ": denoising error, mean over t");
            ft_html_cell(&t, "%.3f", a->eps_mse);
            ft_html_cell(&t, "1 for predicting zero; alignment: %s", aligned);
        }
        if (isnan(a->frechet)) continue;
        ft_html_row(&t, false);
        ft_html_name(&t, a->name, ": self-feature Fr&eacute;chet distance to the pool");
        ft_html_cell(&t, "%.3g", a->frechet);
        if (isnan(r->frechet_real)) ft_html_cell(&t, "%s", "");
        else ft_html_cell(&t, "%.3g for held-out real clips", r->frechet_real);
    }
    ft_html_table_end(&t);
    fputs("<p class=soft>Self-feature: pooled features of a fixed random X3D whose normalisation is that of the real pool. It is "
          "not FVD "
          "and compares only within this page.</p>\n",
          f);
}

int ft_report_clips(FILE *f, const ft_result *r)
{
    const ft_experiment *x = r->x;
    json_t *held = r->held_out ? ft_stage_facts(r->held_out) : NULL;
    int rc = FT_OK;
    fputs("<h2>Clips</h2>\n", f);
    for (int c = 0; rc == FT_OK && c < x->classes.n; c++) rc = real_clips(f, x, c);
    if (r->held_out) checks(f, r);
    for (int i = 0; rc == FT_OK && i < r->n; i++) {
        bool same = false; /* arms that differ in their settings often share their clips */
        for (int k = 0; k < i; k++) same |= !strcmp(r->arm[k].clips, r->arm[i].clips);
        if (*r->arm[i].clips && !same) rc = arm_clips(f, x, &r->arm[i], held);
    }
    json_decref(held);
    return rc;
}
