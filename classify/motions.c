#include "classify/motions.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "common/base/rng.h"

enum { TILE = 64, CELL = 16, MOST_SIZE = 256, MOST_FRAMES = 64 };
static const float tau = 6.2831853f;

typedef struct {
    uint8_t value[TILE * TILE]; /* periodic; 0 to 255 between the two colours */
} tile;

typedef struct {
    int texture;
    tile paint;
    float low[3], span[3]; /* colours 0..255: low + span * value / 255 */
    float mean[3];         /* colour, -1 to 1 */
    float repeat;          /* tiles over the width of the picture, at scale 1 */
} surface;

typedef struct {
    float x, y, cos_s, sin_s, scale; /* of a frame: where its middle is, turn, size of it */
} pose;

typedef struct {
    surface skin;
    int kind;   /* 0: the ground */
    tile cover; /* of a shape: how much of what lies below is covered, over a square that holds it */
    float radius, x, y, vx, vy, angle, spin, growth, shake[4], opacity;
    bool rides;   /* moves with the ground */
    int from, to; /* frames in which it is there */
    pose at[MOST_FRAMES + 2];
} layer;

static float uniform(ft_rng *r, double low, double high) { return (float)ft_rng_range(r, low, high); }
static bool chance(ft_rng *r, double p) { return ft_rng_uniform(r) < p; }

/* ---- textures ------------------------------------------------------------------------------------------------------------ */

static float smooth(float u) { return u * u * (3 - 2 * u); }

/* adds periodic noise of `n` waves over the tile, -weight to weight */
static void add_noise(ft_rng *r, int n, float weight, float *v)
{
    float knot[TILE * TILE];
    for (int i = 0; i < n * n; i++) knot[i] = weight * (2 * (float)ft_rng_bits(r) / 4294967296.0f - 1);
    if (n == TILE) {
        for (int i = 0; i < TILE * TILE; i++) v[i] += knot[i];
        return;
    }
    int step = TILE / n;
    for (int y = 0; y < TILE; y++) {
        const float *a = knot + y / step * n, *b = knot + (y / step + 1) % n * n;
        float t = smooth((float)(y % step) / (float)step), row[TILE];
        for (int k = 0; k < n; k++) row[k] = a[k] + t * (b[k] - a[k]);
        for (int x = 0; x < TILE; x++) {
            float s = smooth((float)(x % step) / (float)step);
            v[y * TILE + x] += row[x / step] + s * (row[(x / step + 1) % n] - row[x / step]);
        }
    }
}

/* octaves from n waves on, each `fall` times as strong as the one before */
static void octaves(ft_rng *r, int n, float fall, float *v)
{
    for (float weight = 1; n <= TILE && weight > 0.05f; n *= 2, weight *= fall) add_noise(r, n, weight, v);
}

static void cells(ft_rng *r, float *v)
{
    int n = 6 + (int)ft_rng_below(r, 14);
    float px[20], py[20], tone[20], edge = chance(r, 0.5) ? 1 : 0;
    for (int i = 0; i < n; i++) px[i] = uniform(r, 0, TILE), py[i] = uniform(r, 0, TILE), tone[i] = uniform(r, 0, 1);
    for (int y = 0; y < TILE; y++)
        for (int x = 0; x < TILE; x++) {
            float first = 1e9f, second = 1e9f, of = 0;
            for (int i = 0; i < n; i++) {
                float dx = fabsf((float)x - px[i]), dy = fabsf((float)y - py[i]);
                dx = fminf(dx, TILE - dx), dy = fminf(dy, TILE - dy);
                float d = dx * dx + dy * dy;
                if (d < first) second = first, first = d, of = tone[i];
                else if (d < second) second = d;
            }
            v[y * TILE + x] = edge > 0 ? fminf(sqrtf(second) - sqrtf(first), 4) : of;
        }
}

static void texture(ft_rng *r, int kind, tile *t)
{
    float v[TILE * TILE] = {0}, w[TILE * TILE] = {0};
    int waves = 1 << (1 + ft_rng_below(r, 3));
    switch (kind) {
        case 1: octaves(r, waves, uniform(r, 0.25, 0.55), v); break; /* cloud */
        case 2: octaves(r, 16, uniform(r, 0.7, 1), v); break;        /* grain */
        case 3:                                                      /* stripes, bent by a cloud */
        case 8: {                                                    /* checks */
            int kx = 1 + (int)ft_rng_below(r, 5), ky = (int)ft_rng_below(r, 6) - (kind == 3 ? 3 : 0);
            float bend = uniform(r, 0, kind == 3 ? 2 : 0.4), hard = uniform(r, 1, 8);
            if (kind == 8) ky = kx;
            octaves(r, 2, 0.4f, w);
            for (int i = 0; i < TILE * TILE; i++) {
                float x = tau * (float)(i % TILE) / TILE, y = tau * (float)(i / TILE) / TILE;
                float s = kind == 3 ? sinf((float)kx * x + (float)ky * y + bend * w[i])
                                    : sinf((float)kx * x + bend * w[i]) * sinf((float)ky * y + bend * w[i]);
                v[i] = fmaxf(-1, fminf(1, hard * s));
            }
            break;
        }
        case 4: { /* spots */
            float level = uniform(r, 0.1, 0.4), hard = uniform(r, 3, 12);
            octaves(r, 8 << (ft_rng_bits(r) & 1), 0.3f, v);
            for (int i = 0; i < TILE * TILE; i++) v[i] = fmaxf(0, fminf(1, hard * (v[i] - level)));
            break;
        }
        case 5: cells(r, v); break;
        case 6: { /* net: ridges where noise changes its sign */
            float thin = uniform(r, 2, 6);
            octaves(r, 2 * waves, uniform(r, 0.3, 0.6), v);
            for (int i = 0; i < TILE * TILE; i++) v[i] = expf(-thin * fabsf(v[i]));
            break;
        }
        case 7: { /* speckle: the log of the magnitude of complex noise, as coherent waves leave it, below a cloud */
            float a[TILE * TILE] = {0}, b[TILE * TILE] = {0}, depth = uniform(r, 0, 3);
            int fine = 16 << (ft_rng_bits(r) & 1);
            add_noise(r, fine, 1, a), add_noise(r, fine, 1, b);
            octaves(r, waves, 0.4f, w);
            for (int i = 0; i < TILE * TILE; i++) v[i] = logf(a[i] * a[i] + b[i] * b[i] + 0.02f) + depth * w[i];
            break;
        }
        default: break;
    }
    float low = v[0], high = v[0];
    for (int i = 0; i < TILE * TILE; i++) low = fminf(low, v[i]), high = fmaxf(high, v[i]);
    float relief = kind && chance(r, 0.25) ? uniform(r, 0.5, 2) : 0, dx = uniform(r, -1, 1), dy = uniform(r, -1, 1);
    float scale = high > low ? 255 / (high - low) : 0;
    for (int i = 0; i < TILE * TILE; i++) {
        int x = i % TILE, y = i / TILE, right = y * TILE + (x + 1) % TILE, down = (y + 1) % TILE * TILE + x;
        float p = (v[i] - low) * scale + relief * scale * (dx * (v[right] - v[i]) + dy * (v[down] - v[i]));
        t->value[i] = (uint8_t)fmaxf(0, fminf(255, p));
    }
}

/* like: colours are near those of another surface, so that only little tells them apart; NULL: any */
static void paint(ft_rng *r, surface *s, bool grey, const surface *like)
{
    s->texture = (int)ft_rng_below(r, FT_MOTION_TEXTURES);
    if (like && chance(r, 0.5)) s->texture = like->texture;
    texture(r, s->texture, &s->paint);
    float base = uniform(r, 20, 235), contrast = uniform(r, 15, 130) * (chance(r, 0.5) ? 1 : -1), tint = uniform(r, 0, 60);
    for (int c = 0; c < 3; c++) {
        float shift = grey ? 0 : uniform(r, -1, 1) * tint;
        s->low[c] = base - contrast / 2 + shift;
        s->span[c] = contrast + (grey ? 0 : uniform(r, -1, 1) * tint / 2);
    }
    if (like) {
        float step = uniform(r, 8, 50) * (chance(r, 0.5) ? 1 : -1), hue = uniform(r, 0, 40), share = uniform(r, 0.3, 1.2);
        for (int c = 0; c < 3; c++) {
            s->span[c] = like->span[c] * share;
            s->low[c] = like->low[c] + (like->span[c] - s->span[c]) / 2 + step + (grey ? 0 : uniform(r, -1, 1) * hue);
        }
    }
    float sum = 0;
    for (int i = 0; i < TILE * TILE; i++) sum += (float)s->paint.value[i] / (255 * TILE * TILE);
    for (int c = 0; c < 3; c++) s->mean[c] = (s->low[c] + s->span[c] * sum) / 127.5f - 1;
    s->repeat = expf(uniform(r, -0.7, 0.9));
}

/* ---- shapes -------------------------------------------------------------------------------------------------------------- */

/* cover of a shape over [-1, 1]^2, with an edge of some softness */
static void outline(ft_rng *r, int kind, tile *t)
{
    int n = 3 + (int)ft_rng_below(r, 4);
    float wave[4], phase[4], soft = expf(uniform(r, 0.6, 3)), long_ = uniform(r, 0.55, 1), thin = uniform(r, 0.15, 0.45);
    for (int k = 0; k < 4; k++) wave[k] = uniform(r, 0, 0.3f / (float)(k + 1)), phase[k] = uniform(r, 0, tau);
    for (int i = 0; i < TILE * TILE; i++) {
        float x = ((float)(i % TILE) + 0.5f) / TILE * 2 - 1, y = (((float)(i / TILE) + 0.5f) / TILE * 2 - 1), inside;
        float e = y / long_, d = sqrtf(x * x + e * e), a = atan2f(e, x);
        switch (kind) {
            case 1: /* blob */
                inside = 0.7f;
                for (int k = 0; k < 4; k++) inside += 0.7f * wave[k] * sinf((float)(k + 1) * a + phase[k]);
                inside -= d;
                break;
            case 2: { /* polygon */
                float turn = fmodf(a + phase[0] + tau, tau / (float)n) - tau / (float)n / 2;
                inside = 0.9f * cosf(tau / (float)n / 2) - d * cosf(turn);
                break;
            }
            case 3: inside = 0.6f + 0.3f * cosf((float)n * a + phase[0]) - d; break; /* star */
            case 4: inside = thin / 2 - fabsf(d - 0.7f); break;                      /* ring */
            case 5: inside = fminf(thin - fabsf(y), 0.92f - fabsf(x)); break;        /* bar */
            default:
                inside = fminf(fmaxf(thin - fabsf(y), thin - fabsf(x)), 0.92f - fmaxf(fabsf(x), fabsf(y)));
                break; /* cross */
        }
        t->value[i] = (uint8_t)(255 * fmaxf(0, fminf(1, 0.5f + inside * soft)));
    }
    for (int i = 0; i < TILE; i++) /* nothing reaches over the square */
        t->value[i] = t->value[(TILE - 1) * TILE + i] = t->value[i * TILE] = t->value[i * TILE + TILE - 1] = 0;
}

/* ---- a clip -------------------------------------------------------------------------------------------------------------- */

typedef struct {
    layer of[1 + FT_MOTION_MOST];
    int n, frames, size, light, aperture;
    float bend[2], bend_k[2], bend_w[2], bend_p[2]; /* in widths, radians over the width, a frame */
    float level[MOST_FRAMES];                       /* brightness of a frame */
    float spot[4], fall; /* of the light: place and drift, how much darker at a distance of one width */
    float noise, hole[4];
    int blur;
} scene;

/* a point of the layer (widths, from its middle) in a frame */
static void place(const pose *p, float u, float v, float *x, float *y)
{
    *x = p->x + p->scale * (p->cos_s * u - p->sin_s * v);
    *y = p->y + p->scale * (p->sin_s * u + p->cos_s * v);
}

static void locate(const pose *p, float x, float y, float *u, float *v)
{
    float dx = (x - p->x) / p->scale, dy = (y - p->y) / p->scale;
    *u = p->cos_s * dx + p->sin_s * dy;
    *v = -p->sin_s * dx + p->cos_s * dy;
}

static void move(layer *l, const layer *ground, int frames)
{
    for (int f = 0; f < frames + 2; f++) {
        float t = (float)f, s = l->angle + l->spin * t, x = l->x + l->vx * t + l->shake[0] * sinf(l->shake[2] * t + l->shake[3]),
              y = l->y + l->vy * t + l->shake[1] * cosf(l->shake[2] * t + l->shake[3]);
        float scale = (l->kind ? l->radius : 1) * expf(l->growth * (t - (float)frames / 2));
        if (l->kind && l->rides) {
            const pose *g = &ground->at[f];
            place(g, l->x, l->y, &x, &y);
            s = l->angle + atan2f(g->sin_s, g->cos_s), scale = l->radius * g->scale;
        }
        l->at[f] = (pose){x, y, cosf(s), sinf(s), scale};
    }
}

static void ground_moves(ft_rng *r, layer *g, int frames, int camera)
{
    float whole = 1 / (float)frames, way = uniform(r, 0, tau), far = uniform(r, 0.15, 1);
    g->x = g->y = 0.5f;
    g->angle = uniform(r, 0, tau);
    if (camera == 1) g->vx = far * whole * cosf(way), g->vy = far * whole * sinf(way);
    if (camera == 2) g->spin = uniform(r, 0.3, 1.5) * whole * (chance(r, 0.5) ? 1 : -1);
    if (camera == 3 || camera == 4) g->growth = uniform(r, 0.25, 1) * whole * (camera == 3 ? 1 : -1);
    if (camera == 5) g->shake[0] = uniform(r, 0.02, 0.1), g->shake[1] = uniform(r, 0.02, 0.1), g->shake[2] = uniform(r, 0.8, 2.5);
    g->shake[3] = uniform(r, 0, tau);
}

static void shape_moves(ft_rng *r, layer *l, int frames)
{
    float whole = 1 / (float)frames, way = uniform(r, 0, tau), far = uniform(r, 0, 0.7);
    l->radius = 0.5f * expf(uniform(r, -2.2, -0.5));
    l->rides = chance(r, 0.5);
    l->angle = uniform(r, 0, tau);
    l->opacity = chance(r, 0.6) ? 1 : uniform(r, 0.35, 1);
    l->to = frames + 2;
    if (l->rides) { /* in widths of the ground, from its middle */
        l->x = uniform(r, -0.4, 0.4), l->y = uniform(r, -0.4, 0.4);
        return;
    }
    l->x = uniform(r, 0.1, 0.9), l->y = uniform(r, 0.1, 0.9);
    if (chance(r, 0.7)) {
        l->vx = far * whole * cosf(way), l->vy = far * whole * sinf(way);
        l->x -= l->vx * (float)frames / 2, l->y -= l->vy * (float)frames / 2; /* in the picture at half time */
    }
    if (chance(r, 0.3)) l->spin = uniform(r, -2, 2) * whole;
    if (chance(r, 0.3)) l->growth = uniform(r, -0.8, 0.8) * whole;
    if (chance(r, 0.2)) l->shake[0] = l->shake[1] = uniform(r, 0.02, 0.08), l->shake[2] = uniform(r, 0.5, 2);
    if (chance(r, 0.1)) *(chance(r, 0.5) ? &l->from : &l->to) = frames / 2;
}

static void light_of(ft_rng *r, scene *s)
{
    float strong = uniform(r, 0.15, 0.5) * (chance(r, 0.5) ? 1 : -1), rate = uniform(r, 1, 2.5);
    int when = (int)ft_rng_below(r, s->frames);
    s->light = (int)ft_rng_below(r, FT_MOTION_LIGHTS);
    for (int f = 0; f < s->frames; f++) {
        float t = (float)f / (float)s->frames;
        s->level[f] = 1 + (s->light == 1   ? strong * (2 * t - 1)
                           : s->light == 2 ? strong * sinf(rate * (float)f)
                           : s->light == 3 ? (f == when ? fabsf(strong) + 0.3f : 0)
                                           : 0);
    }
    s->spot[0] = uniform(r, 0.1, 0.9), s->spot[1] = uniform(r, 0.1, 0.9);
    s->spot[2] = uniform(r, -0.4, 0.4), s->spot[3] = uniform(r, -0.4, 0.4);
    s->fall = chance(r, 0.5) ? uniform(r, 0.2, 1.2) : 0;
}

static void make_scene(scene *s, uint64_t seed, uint64_t index, int frames, int size, ft_motions *truth)
{
    ft_rng r = ft_rng_make(seed, 0x3071F, index);
    memset(s, 0, sizeof *s);
    s->frames = frames, s->size = size;
    bool grey = chance(&r, 0.35);
    layer *g = &s->of[0];
    int camera = (int)ft_rng_below(&r, FT_MOTION_CAMERAS);
    paint(&r, &g->skin, grey, NULL);
    ground_moves(&r, g, frames, camera);
    g->opacity = 1, g->to = frames + 2;
    move(g, NULL, frames);
    s->n = 1 + (int)ft_rng_below(&r, FT_MOTION_MOST + 1);
    for (int i = 1; i < s->n; i++) {
        layer *l = &s->of[i];
        l->kind = 1 + (int)ft_rng_below(&r, FT_MOTION_SHAPES);
        paint(&r, &l->skin, grey, chance(&r, 0.6) ? &g->skin : NULL);
        outline(&r, l->kind, &l->cover);
        shape_moves(&r, l, frames);
        move(l, g, frames);
    }
    for (int i = 0; i < 2; i++) {
        s->bend[i] = chance(&r, 0.5) ? uniform(&r, 0, 0.04) : 0;
        s->bend_k[i] = uniform(&r, 3, 12), s->bend_w[i] = uniform(&r, -1, 1), s->bend_p[i] = uniform(&r, 0, tau);
    }
    light_of(&r, s);
    s->noise = uniform(&r, 0, 14) * uniform(&r, 0, 1);
    s->blur = chance(&r, 0.4) ? 1 + (int)ft_rng_below(&r, 2) : 0;
    s->aperture = chance(&r, 0.3) ? 1 + (int)ft_rng_below(&r, 3) : 0; /* circle, fan, frame */
    s->hole[0] = uniform(&r, 0.4, 0.6), s->hole[1] = uniform(&r, 0.4, 0.6), s->hole[2] = uniform(&r, 0.35, 0.6);
    s->hole[3] = uniform(&r, 0.4, 1);
    float x, y;
    place(&g->at[frames - 1], 0, 0, &x, &y);
    *truth = (ft_motions){.camera = camera,
                          .light = s->light,
                          .shapes = s->n - 1,
                          .velocity = {10 * (x - g->at[0].x) / (float)(frames - 1), 10 * (y - g->at[0].y) / (float)(frames - 1)},
                          .turn = g->spin * (float)frames,
                          .growth = g->growth * (float)frames};
}

/* value 0..255 of a tile at (u, v) in tiles: bilinear, periodic */
static float look_up(const tile *t, float u, float v)
{
    u = (u + 64) * TILE, v = (v + 64) * TILE; /* positive: layers stay within some widths */
    int x = (int)u, y = (int)v, x0 = x & (TILE - 1), x1 = (x + 1) & (TILE - 1), y0 = (y & (TILE - 1)) * TILE,
        y1 = ((y + 1) & (TILE - 1)) * TILE;
    float a = u - (float)x, b = v - (float)y;
    float top = (float)t->value[y0 + x0] + a * (float)(t->value[y0 + x1] - t->value[y0 + x0]);
    float low = (float)t->value[y1 + x0] + a * (float)(t->value[y1 + x1] - t->value[y1 + x0]);
    return top + b * (low - top);
}

static bool outside(const scene *s, float x, float y)
{
    float dx = x - s->hole[0], dy = y - s->hole[1];
    if (s->aperture == 1) return dx * dx + dy * dy > s->hole[2] * s->hole[2];
    if (s->aperture == 2) { /* a fan that opens downwards */
        float top = y + 0.15f, d = dx * dx + top * top;
        return d < 0.05f || d > 1.1f || fabsf(dx) > s->hole[3] * top;
    }
    return s->aperture == 3 && (fabsf(dx) > s->hole[2] || fabsf(dy) > s->hole[2] * s->hole[3] + 0.1f);
}

/* one frame into rgb (floats), and which layer is seen at each pixel */
static void draw(const scene *s, int f, float *rgb, uint8_t *seen)
{
    int n = s->size;
    float shift_x[MOST_SIZE], shift_y[MOST_SIZE], one = 1 / (float)n;
    for (int i = 0; i < n; i++) {
        float at = (float)i * one, t = (float)f;
        shift_x[i] = s->bend[0] * sinf(s->bend_k[0] * at + s->bend_w[0] * t + s->bend_p[0]);
        shift_y[i] = s->bend[1] * sinf(s->bend_k[1] * at + s->bend_w[1] * t + s->bend_p[1]);
    }
    for (int k = 0; k < s->n; k++) {
        const layer *l = &s->of[k];
        const pose *p = &l->at[f];
        if (f < l->from || f >= l->to) continue;
        float reach = 1.42f * p->scale + 0.05f;
        int x0 = 0, y0 = 0, x1 = n, y1 = n;
        if (l->kind) {
            x0 = (int)fmaxf(0, (p->x - reach) * (float)n), x1 = (int)fminf((float)n, (p->x + reach) * (float)n + 1);
            y0 = (int)fmaxf(0, (p->y - reach) * (float)n), y1 = (int)fminf((float)n, (p->y + reach) * (float)n + 1);
        }
        const surface *skin = &l->skin;
        float fine = skin->repeat * (l->kind ? l->radius : 1);
        for (int y = y0; y < y1; y++)
            for (int x = x0; x < x1; x++) {
                float u, v, cover = l->opacity;
                locate(p, ((float)x + 0.5f) * one + shift_x[y], ((float)y + 0.5f) * one + shift_y[x], &u, &v);
                if (l->kind) {
                    if (u < -1 || u >= 1 || v < -1 || v >= 1) continue;
                    float c = look_up(&l->cover, u / 2 + 0.5f - 0.5f / TILE, v / 2 + 0.5f - 0.5f / TILE);
                    if (c <= 0) continue;
                    cover *= c / 255;
                }
                float value = look_up(&skin->paint, u * fine, v * fine) / 255, *to = rgb + (y * n + x) * 3;
                for (int c = 0; c < 3; c++) to[c] += cover * (skin->low[c] + skin->span[c] * value - to[c]);
                if (cover >= 0.3f) seen[y * n + x] = (uint8_t)k;
            }
    }
}

/* the light, the frame around the picture, blur, noise; to bytes */
static void finish(const scene *s, int f, uint64_t seed, uint64_t index, float *rgb, uint8_t *out)
{
    int n = s->size, row = 3 * n;
    float t = (float)f / (float)s->frames, one = 1 / (float)n;
    for (int pass = 0; pass < s->blur; pass++) {
        for (int y = 0; y < n; y++) /* each pixel with the one behind it, and the one below: half a pixel each way */
            for (int i = 0; i + 3 < row; i++) rgb[y * row + i] = (rgb[y * row + i] + rgb[y * row + i + 3]) / 2;
        for (int i = 0; i + row < n * row; i++) rgb[i] = (rgb[i] + rgb[i + row]) / 2;
    }
    uint32_t bits[4];
    ft_philox(seed, 0x3071E, index, (uint64_t)f, bits);
    uint32_t h = bits[0] | 1;
    for (int y = 0; y < n; y++)
        for (int x = 0; x < n; x++) {
            float *p = rgb + (y * n + x) * 3, at_x = ((float)x + 0.5f) * one, at_y = ((float)y + 0.5f) * one;
            float dx = at_x - s->spot[0] - t * s->spot[2], dy = at_y - s->spot[1] - t * s->spot[3];
            float light = s->level[f] / (1 + s->fall * (dx * dx + dy * dy));
            bool dark = s->aperture && outside(s, at_x, at_y);
            h ^= h << 13, h ^= h >> 17, h ^= h << 5; /* xorshift: as good as noise to the eye */
            float grain = s->noise * ((float)(h & 255) + (float)(h >> 8 & 255) + (float)(h >> 16 & 255) - 382.5f) / 128;
            for (int c = 0; c < 3; c++) out[(y * n + x) * 3 + c] = dark ? 0 : (uint8_t)fmaxf(0, fminf(255, p[c] * light + grain));
        }
}

/* shares and velocities of the cells of a frame, added to the pair it is in */
static void count(const scene *s, int f, const uint8_t *seen, float *cell)
{
    int n = s->size, side = n / CELL;
    for (int j = 0; j < side * side; j++) {
        float *to = cell + ((int64_t)(f / 2) * side * side + j) * FT_MOTION_CELL, share = 0.5f / (CELL * CELL);
        float cx = ((float)(j % side) + 0.5f) * CELL / (float)n, cy = ((float)(j / side) + 0.5f) * CELL / (float)n;
        int pixels[1 + FT_MOTION_MOST] = {0};
        for (int y = j / side * CELL; y < (j / side + 1) * CELL; y++)
            for (int x = j % side * CELL; x < (j % side + 1) * CELL; x++) pixels[seen[y * n + x]]++;
        for (int k = 0; k < s->n; k++) {
            if (!pixels[k]) continue;
            const layer *l = &s->of[k];
            float u, v, x, y, part = share * (float)pixels[k];
            locate(&l->at[f], cx, cy, &u, &v);
            place(&l->at[f + 1], u, v, &x, &y);
            to[l->kind] += part;
            to[1 + FT_MOTION_SHAPES + l->skin.texture] += part;
            to[1 + FT_MOTION_SHAPES + FT_MOTION_TEXTURES] += part * 16 * (x - cx);
            to[2 + FT_MOTION_SHAPES + FT_MOTION_TEXTURES] += part * 16 * (y - cy);
            for (int c = 0; c < 3; c++) to[3 + FT_MOTION_SHAPES + FT_MOTION_TEXTURES + c] += part * l->skin.mean[c];
        }
    }
}

void ft_motions_clip(uint64_t seed, uint64_t index, int frames, int size, uint8_t *rgb, float *cell, ft_motions *truth)
{
    static _Thread_local float picture[MOST_SIZE * MOST_SIZE * 3];
    static _Thread_local uint8_t seen[MOST_SIZE * MOST_SIZE];
    static _Thread_local scene s;
    int side = size / CELL;
    make_scene(&s, seed, index, frames, size, truth);
    if (cell) memset(cell, 0, (size_t)(frames / 2 * side * side * FT_MOTION_CELL) * sizeof *cell);
    for (int f = 0; f < frames; f++) {
        memset(seen, 0, (size_t)(size * size));
        draw(&s, f, picture, seen);
        if (cell) count(&s, f, seen, cell);
        finish(&s, f, seed, index, picture, rgb + (int64_t)f * size * size * 3);
    }
}
