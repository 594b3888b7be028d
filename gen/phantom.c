#include "gen/phantom.h"

#include <math.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include "common/base/files.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/rng.h"
#include "common/base/status.h"
#include "common/base/streams.h"
#include "common/io/clipstore.h"
#include "common/io/video.h"

enum { FPS = 8, MAX_BUMPS = 6 };

/* A bump on the wall: at depth z (tube radii) and angle a, radius r, height h; tint towards red (polyp) or brown (residue). */
typedef struct {
    double z, a, r, h, red, gloss;
} bump;

typedef struct {
    double base[3], fold_spacing, fold_depth, fold_phase, vessel, speed, sway, sway_rate, sway_phase, roll, light, blur, noise,
        bubbles, haze;
    bump b[MAX_BUMPS];
    int n;
    uint32_t salt;
} scene;

/* smooth noise on a lattice, periodic in the first coordinate; in [-1, 1] */
static double lattice(uint32_t salt, int x, int y)
{
    uint32_t h = (uint32_t)x * 0x9E3779B1u ^ (uint32_t)y * 0x85EBCA77u ^ salt * 0xC2B2AE3Du;
    h ^= h >> 15, h *= 0x2C1B3C6Du, h ^= h >> 12, h *= 0x297A2D39u, h ^= h >> 15;
    return (double)h / 2147483648.0 - 1.0;
}

static double smooth_noise(uint32_t salt, double x, double y, int period)
{
    double fx = floor(x), fy = floor(y), u = x - fx, v = y - fy;
    int x0 = ((int)fx % period + period) % period, x1 = (x0 + 1) % period, y0 = (int)fy;
    u = u * u * (3 - 2 * u), v = v * v * (3 - 2 * v);
    double a = lattice(salt, x0, y0), b = lattice(salt, x1, y0), c = lattice(salt, x0, y0 + 1), d = lattice(salt, x1, y0 + 1);
    return a + u * (b - a) + v * (c - a) + u * v * (a - b - c + d);
}

enum { PD_TRAIN_POLYP = 102, PD_TRAIN = 173, PD_TEST_POLYP = 233, PD_ALL = 253, PD_FPS = 30 };

bool ft_phantom_has_polyp(const ft_phantom_opt *opt, int index)
{
    if (opt->polypdiag) return index < PD_TRAIN_POLYP || (index >= PD_TRAIN && index < PD_TEST_POLYP);
    /* an even spread over the list, so that every part of it has the same balance */
    return (int)floor((index + 1) * opt->balance) > (int)floor(index * opt->balance);
}

static scene make_scene(const ft_phantom_opt *opt, int index)
{
    ft_rng r = ft_rng_make(opt->seed, FT_STREAM_PHANTOM_SCENE, (uint64_t)index);
    scene s = {0};
    double warm = ft_rng_range(&r, -1, 1), pale = ft_rng_range(&r, 0, 1);
    s.base[0] = 0.80 + 0.05 * pale;
    s.base[1] = 0.46 + 0.04 * warm + 0.07 * pale;
    s.base[2] = 0.36 + 0.03 * warm + 0.06 * pale;
    s.fold_spacing = ft_rng_range(&r, 0.9, 1.7);
    s.fold_depth = ft_rng_range(&r, 0.12, 0.34);
    s.fold_phase = ft_rng_range(&r, 0, 6.28);
    s.vessel = ft_rng_range(&r, 0.03, 0.16);
    s.speed = ft_rng_range(&r, 0.10, 0.55) * (ft_rng_bits(&r) & 1 ? 1 : -1);
    s.sway = ft_rng_range(&r, 0.05, 0.32);
    s.sway_rate = ft_rng_range(&r, 0.5, 1.6);
    s.sway_phase = ft_rng_range(&r, 0, 6.28);
    s.roll = ft_rng_range(&r, -0.25, 0.25);
    s.light = ft_rng_range(&r, 0.75, 1.0);
    s.blur = ft_rng_range(&r, 0, 0.9);
    s.noise = ft_rng_range(&r, 1, 6);
    s.bubbles = ft_rng_range(&r, 0, 5);
    s.haze = ft_rng_range(&r, 0, 0.12);
    s.salt = ft_rng_bits(&r);
    bool polyp = ft_phantom_has_polyp(opt, index);
    int look_alikes = (int)ft_rng_below(&r, 4);
    for (int i = 0; i < look_alikes + polyp; i++) {
        bool p = polyp && i == 0;
        bump *b = &s.b[s.n++];
        /* the polyp is in front of the camera for most of the clip, whichever way it moves */
        b->z = ft_rng_range(&r, 0.85, 1.7) + s.speed;
        b->a = ft_rng_range(&r, 0, 6.28);
        b->r = p ? ft_rng_range(&r, 0.45, 0.75) : ft_rng_range(&r, 0.15, 0.50);
        b->h = p ? ft_rng_range(&r, 0.60, 1.00) : ft_rng_range(&r, 0.0, 0.30);
        b->red = p ? ft_rng_range(&r, 0.45, 0.90) : ft_rng_range(&r, -0.65, 0.10);
        double seen = p && opt->visibility > 0 ? opt->visibility : 1;
        b->h *= seen, b->red *= seen;
        b->gloss = p ? ft_rng_range(&r, 0.2, 0.9) : ft_rng_range(&r, 0.0, 0.7);
    }
    return s;
}

/* Wall colour where a ray meets the tube at angle `a` and depth `z`; `d` = distance from the light. */
static void shade(const scene *s, double a, double z, double travelled, double d, double rgb[3])
{
    double wall = z + travelled, turn = a / 6.283185307179586;
    turn -= floor(turn);
    /* folds: ridges around the tube, bent by slow noise, three-cornered like haustra */
    double bend = smooth_noise(s->salt, turn * 6, wall * 0.7, 6);
    double ridge = 0.5 + 0.5 * sin(6.283185307179586 * (wall / s->fold_spacing) + s->fold_phase + 0.9 * bend + 0.5 * cos(3 * a));
    ridge = ridge * ridge * ridge;
    double lit = 1 - s->fold_depth + 1.6 * s->fold_depth * ridge;
    double mottle =
        0.06 * smooth_noise(s->salt + 1, turn * 24, wall * 5, 24) + 0.03 * smooth_noise(s->salt + 2, turn * 48, wall * 11, 48);
    double v = fabs(smooth_noise(s->salt + 3, turn * 10, wall * 2.2, 10));
    double vessel = v < 0.10 ? s->vessel * (1 - v / 0.10) : 0;
    double fall = s->light * 1.35 / (0.55 + 0.42 * d * d), tone = (lit + mottle) * fall, gloss = 0;
    double red = 0;
    for (int i = 0; i < s->n; i++) {
        const bump *b = &s->b[i];
        double da = remainder(a - b->a, 6.283185307179586), dz = wall - b->z, q = (da * da + dz * dz) / (b->r * b->r);
        if (q > 2.2) continue;
        double in = q < 1 ? sqrt(1 - q) : 0, edge = exp(-6 * (sqrt(q) - 1) * (sqrt(q) - 1));
        tone *=
            1 + b->h * (0.55 * in * (0.6 - 0.8 * dz / b->r) - 0.40 * edge * (dz > 0 ? 1 : 0.35)); /* lit side, shadow behind */
        red += b->red * (q < 1 ? 0.4 + 0.6 * in : 0.4 * edge);
        double hx = da / b->r + 0.25, hz = dz / b->r + 0.35;
        gloss += b->gloss * b->h * exp(-14 * (hx * hx + hz * hz));
    }
    double wet = smooth_noise(s->salt + 5, turn * 30, wall * 8, 30) + ridge * 0.35;
    if (wet > 0.92) gloss += (wet - 0.92) * 3.0;
    rgb[0] = s->base[0] * tone * (1 + 0.18 * red) - 0.25 * vessel * fall;
    rgb[1] = s->base[1] * tone * (1 - 0.40 * red) - 0.60 * vessel * fall;
    rgb[2] = s->base[2] * tone * (1 - 0.30 * red) - 0.45 * vessel * fall;
    for (int k = 0; k < 3; k++) rgb[k] += gloss * fall * 0.55;
}

void ft_phantom_frame(const ft_phantom_opt *opt, int index, double t, uint8_t *rgb)
{
    scene s = make_scene(opt, index);
    int n = opt->size;
    double cx = s.sway * sin(s.sway_rate * t + s.sway_phase), cy = s.sway * cos(0.8 * s.sway_rate * t + 1.7 * s.sway_phase);
    double travelled = s.speed * t, roll = s.roll * t;
    ft_rng r = ft_rng_make(opt->seed ^ FT_SEED_PHANTOM_GRAIN, (uint32_t)index, (uint64_t)llround(t * 1000));
    double(*image)[3] = ft_alloc(sizeof *image * (size_t)(n * n)); /* small; a failure leaves the frame black */
    memset(rgb, 0, (size_t)(n * n * 3));
    if (!image) return;
    for (int y = 0; y < n; y++)
        for (int x = 0; x < n; x++) {
            double u = (x + 0.5) / n * 2 - 1 - cx, v = (y + 0.5) / n * 2 - 1 - cy, rad = sqrt(u * u + v * v) + 1e-3;
            double z = 0.62 / rad, d = sqrt(1 + z * z); /* the tube's wall seen along this ray */
            double *c = image[y * n + x];
            if (z > 9) c[0] = c[1] = c[2] = 0.02;
            else shade(&s, atan2(v, u) + roll, z, travelled, d, c);
            double edge = sqrt((u + cx) * (u + cx) + (v + cy) * (v + cy));
            double vignette = edge > 1.25 ? 0 : edge > 1.05 ? (1.25 - edge) / 0.2 : 1;
            for (int k = 0; k < 3; k++) c[k] = (c[k] * (1 - s.haze) + s.haze * 0.5) * vignette;
        }
    ft_rng br = ft_rng_make(opt->seed ^ FT_SEED_PHANTOM_BUBBLES, (uint32_t)index, 0);
    for (int i = 0; i < (int)s.bubbles; i++) { /* on the lens side of the scene, drifting */
        double bx = ft_rng_range(&br, -0.9, 0.9) + 0.06 * t * ft_rng_range(&br, -1, 1),
               by = ft_rng_range(&br, -0.9, 0.9) + 0.05 * t, rr = ft_rng_range(&br, 0.03, 0.12);
        for (int y = 0; y < n; y++)
            for (int x = 0; x < n; x++) {
                double u = (x + 0.5) / n * 2 - 1 - bx, v = (y + 0.5) / n * 2 - 1 - by, q = sqrt(u * u + v * v) / rr;
                if (q > 1.3) continue;
                double ring = exp(-30 * (q - 1) * (q - 1)) * 0.22 +
                              exp(-40 * ((u / rr + 0.4) * (u / rr + 0.4) + (v / rr + 0.4) * (v / rr + 0.4))) * 0.5;
                for (int k = 0; k < 3; k++) image[y * n + x][k] += ring;
            }
    }
    for (int y = 0; y < n; y++)
        for (int x = 0; x < n; x++)
            for (int k = 0; k < 3; k++) { /* a blur of five points, then sensor noise */
                double c = image[y * n + x][k], side = 0;
                side += image[(y > 0 ? y - 1 : y) * n + x][k] + image[(y < n - 1 ? y + 1 : y) * n + x][k];
                side += image[y * n + (x > 0 ? x - 1 : x)][k] + image[y * n + (x < n - 1 ? x + 1 : x)][k];
                double w = s.blur * 0.2,
                       value = 255 * (c * (1 - 4 * w) + w * side) + s.noise * (ft_rng_uniform(&r) + ft_rng_uniform(&r) - 1) * 2.4;
                rgb[(y * n + x) * 3 + k] = (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value + 0.5);
            }
    ft_free(image);
}

static const char *split_of(const ft_phantom_opt *opt, int index)
{
    /* blocks of 16 keep the balance: 2 validation, 4 test, 10 train */
    int k = index % 16;
    if (opt->polypdiag) return index < PD_TRAIN ? "train" : "test";
    return k < 10 ? "train" : k < 12 ? "validation" : "test";
}

/* frames of a video: log-linear through PolypDiag's least, median and largest length of its list and class */
static int64_t length_of(const ft_phantom_opt *opt, int index)
{
    static const double lengths[2][2][3] = {{{170, 5623, 12007}, {27, 410, 512}}, {{235, 1223, 11250}, {59, 220, 773}}};
    bool polyp = ft_phantom_has_polyp(opt, index) || !opt->polypdiag_lengths;
    const double *q = lengths[index >= PD_TRAIN][polyp];
    ft_rng r = ft_rng_make(opt->seed, FT_STREAM_PHANTOM_LENGTH, (uint64_t)index);
    double u = 2 * ft_rng_uniform(&r);
    return (int64_t)exp(u < 1 ? log(q[0]) + u * log(q[1] / q[0]) : log(q[1]) + (u - 1) * log(q[2] / q[1]));
}

/* clips of a long video, whose camera goes forth and back over two seconds */
static int long_clips(const ft_phantom_opt *opt, int index, ft_clipwriter *w, int row, uint8_t *rgb)
{
    enum { ROOM = 64 };
    int64_t at[ROOM * 256], total = length_of(opt, index);
    int n, per_clip = opt->sampling.frames;
    double used;
    size_t each = (size_t)opt->size * (size_t)opt->size * 3;
    FT_TRY(ft_sample_clips(&opt->sampling, "phantom", total, PD_FPS, at, ROOM, &n, &used));
    for (int k = 0; k < n; k++) {
#pragma omp parallel for
        for (int f = 0; f < per_clip; f++) {
            double t = fmod((double)at[k * per_clip + f] / PD_FPS, 4);
            ft_phantom_frame(opt, index, t < 2 ? t : 4 - t, rgb + (size_t)f * each);
        }
        FT_TRY(ft_clipwriter_clip(w, row, (int)at[k * per_clip], used, rgb));
    }
    return FT_OK;
}

enum { LONG_PATH = FT_PATH_GIVEN + 64 };
static void name_of(int index, char name[32]) { snprintf(name, 32, "phantom-%05d", index); }

static int video_path(const ft_phantom_opt *opt, const char *name, char path[LONG_PATH])
{
    int n = snprintf(path, LONG_PATH, "%s/%s.mp4", opt->mp4, name);
    return n < LONG_PATH ? FT_OK : FT_FAIL(FT_EUSAGE, "%s: the path is too long", opt->mp4);
}

/* All names that will be written to opt->mp4, looked at before the first of them is. */
static int claim_files(const ft_phantom_opt *opt, int videos, char list[LONG_PATH])
{
    FT_TRY(ft_mkdirs(opt->mp4));
    for (int i = 0; i < videos; i++) {
        char name[32], path[LONG_PATH];
        name_of(i, name);
        FT_TRY(video_path(opt, name, path));
        FT_TRY(ft_claim_output(path, opt->force));
    }
    snprintf(list, LONG_PATH, "%s/labels.csv", opt->mp4); /* shorter than a video's */
    return ft_claim_output(list, opt->force);
}

static int whole_video(const ft_phantom_opt *opt, int index, const char *name)
{
    bool polyp = ft_phantom_has_polyp(opt, index);
    int n = opt->frames * (opt->length_by_class && !polyp ? 4 : 2);
    size_t each = (size_t)opt->size * (size_t)opt->size * 3;
    char path[LONG_PATH];
    FT_TRY(video_path(opt, name, path));
    uint8_t *rgb = ft_alloc(each * (size_t)n);
    if (!rgb) return FT_FAIL(FT_ENOMEM, "no memory for a video of %d frames", n);
#pragma omp parallel for
    for (int f = 0; f < n; f++) ft_phantom_frame(opt, index, (double)f / FPS, rgb + (size_t)f * each);
    int rc = ft_video_write(path, rgb, n, opt->size, opt->size, FPS);
    ft_free(rgb);
    return rc;
}

int ft_phantom_write(const ft_phantom_opt *opt, const char *path)
{
    ft_clipwriter *w;
    char config[256], labels[LONG_PATH];
    int videos = opt->polypdiag ? PD_ALL : opt->videos;
    if (opt->mp4) FT_TRY(claim_files(opt, videos, labels));
    snprintf(config, sizeof config, "{\"phantom\": {\"videos\": %d, \"balance\": %g, \"seed\": %llu}}", opt->videos, opt->balance,
             (unsigned long long)opt->seed);
    FT_TRY(ft_clipwriter_open(&w, path,
                              &(ft_clipwriter_opt){.frames = opt->frames, .size = opt->size, .stride = 1, .config = config}));
    size_t each = (size_t)opt->size * (size_t)opt->size * 3;
    uint8_t *rgb = ft_alloc(each * (size_t)opt->frames);
    ft_text list = {NULL, NULL, 0};
    int rc = rgb ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for a clip");
    if (rc == FT_OK && opt->mp4) rc = ft_text_begin(&list);
    if (list.f) fprintf(list.f, "video,label,group,split\n");
    ft_progress bar;
    ft_progress_start(&bar, "phantom", videos);
    for (int i = 0; rc == FT_OK && i < videos; i++) {
        char name[32];
        const char *label = ft_phantom_has_polyp(opt, i) ? "polyp" : "normal";
        name_of(i, name);
        int row = ft_clipwriter_video(w, &(ft_store_video){.name = name,
                                                           .label = label,
                                                           .group = name,
                                                           .split = split_of(opt, i),
                                                           .source = "phantom",
                                                           .frames = opt->polypdiag ? (int32_t)length_of(opt, i) : opt->frames,
                                                           .fps = opt->polypdiag ? PD_FPS : FPS});
        FT_TRY_TO(rc, done, row);
        if (opt->polypdiag) FT_TRY_TO(rc, done, long_clips(opt, i, w, row, rgb));
        else {
#pragma omp parallel for
            for (int f = 0; f < opt->frames; f++) ft_phantom_frame(opt, i, (double)f / FPS, rgb + (size_t)f * each);
            FT_TRY_TO(rc, done, ft_clipwriter_clip(w, row, 0, 1, rgb));
        }
        if (opt->mp4) {
            FT_TRY_TO(rc, done, whole_video(opt, i, name));
            fprintf(list.f, "%s.mp4,%s,%s,%s\n", name, label, name, split_of(opt, i));
        }
        ft_progress_step(&bar, i + 1);
    }
    ft_progress_end(&bar, videos);
done:
    if (rc == FT_OK && opt->mp4) rc = ft_text_write(&list, labels);
    ft_text_free(&list);
    ft_free(rgb);
    if (rc == FT_OK) return ft_clipwriter_finish(w);
    ft_clipwriter_abort(w);
    return rc;
}
