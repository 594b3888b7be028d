#include "experiments/sweep/shapes.h"

#include <stdio.h>
#include <string.h>

#include "classify/classifier.h"
#include "common/base/status.h"
#include "common/base/streams.h"
#include "common/io/clipstore.h"
#include "common/vision/dino.h"
#include "common/vision/judge.h"
#include "gen/align.h"
#include "gen/gan.h"
#include "gen/generator.h"
#include "gen/vae_train.h"

typedef int check(const ft_config *cfg, const char *preset, int frames, int size);

typedef struct {
    ft_params *params;
    ft_graph *g;
} sketch;

static int sketch_new(sketch *s)
{
    *s = (sketch){ft_params_new(0), NULL};
    s->g = s->params ? ft_graph_new(s->params, FT_F32, FT_GRAPH_NAMES) : NULL;
    return s->g ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory to plan a network");
}

static int sketch_end(sketch *s, const char *preset, int frames, int size, int rc)
{
    const char *why = s->g ? ft_graph_error(s->g) : NULL;
    if (rc == FT_OK && why) {
        bool named = !strncmp(why, preset, strlen(preset));
        rc = FT_FAIL(FT_ECONFIG, "clips of %d frames and %d pixels do not fit %s%s%s", frames, size, named ? "" : preset,
                     named ? "" : ": ", why);
    }
    ft_graph_free(s->g);
    ft_params_free(s->params);
    return rc;
}

static int vae(const ft_config *cfg, const char *preset, int frames, int size)
{
    ft_vae_preset p;
    sketch s;
    FT_TRY(ft_vae_of(cfg, frames, size, &p));
    int rc = sketch_new(&s);
    if (rc == FT_OK) {
        int64_t side = size / ft_vae_space_factor(&p);
        ft_vae_encode(s.g, &p, ft_input(s.g, "x", FT_F32, 5, (int64_t[]){1, frames, size, size, 3}));
        ft_vae_decode(s.g, &p,
                      ft_input(s.g, "z", FT_F32, 5, (int64_t[]){1, ft_vae_latent_frames(&p, frames), side, side, p.latent}));
    }
    return sketch_end(&s, preset, frames, size, rc);
}

static int generator(const ft_config *cfg, const char *preset, int frames, int size)
{
    ft_vae_preset p;
    sketch s;
    if (ft_generator_find(preset)->gan) return ft_gan_fits(preset, frames, size);
    FT_TRY(vae(cfg, ft_config_text(cfg, "vae.model"), frames, size));
    FT_TRY(ft_vae_of(cfg, frames, size, &p));
    FT_TRY(ft_align_fits(cfg, size));
    int rc = sketch_new(&s);
    if (rc == FT_OK) {
        int64_t side = size / ft_vae_space_factor(&p), clip = ft_vae_latent_frames(&p, frames), batch = 2;
        ft_t z = ft_input(s.g, "z", FT_F32, 5,
                          (int64_t[]){batch, clip + ft_image_frames(ft_image_options(cfg), &p), side, side, p.latent});
        ft_generator_predict(s.g, preset, cfg, z, clip, (ft_told){ft_input(s.g, "t", FT_F32, 1, &batch), NULL});
    }
    return sketch_end(&s, preset, frames, size, rc);
}

static int classifier(const ft_config *cfg, const char *preset, int frames, int size)
{
    sketch s;
    int rc = sketch_new(&s);
    (void)cfg;
    if (rc == FT_OK)
        ft_classifier_network(s.g, preset, ft_input(s.g, "x", FT_F32, 5, (int64_t[]){2, frames, size, size, 3}), 2, 0, 0, NULL);
    return sketch_end(&s, preset, frames, size, rc);
}

enum { MOST_FRAMES = 256, LEAST_SIZE = 16, MOST_SIZE = 512 }; /* as the settings have them */

/* The nearest sizes below and above at which clips of so many frames fit; 0: there is none. */
static bool sizes(check *fits, const ft_config *cfg, const char *preset, int frames, int size, int found[2])
{
    found[0] = found[1] = 0;
    for (int v = size; v >= LEAST_SIZE && v > size - 64 && !found[0]; v--)
        if (fits(cfg, preset, frames, v) == FT_OK) found[0] = v;
    for (int v = size; v <= MOST_SIZE && v < size + 64 && !found[1]; v++)
        if (fits(cfg, preset, frames, v) == FT_OK) found[1] = v;
    return found[0] || found[1];
}

/* The same of frames, at this size. */
static bool lengths(check *fits, const ft_config *cfg, const char *preset, int frames, int size, int found[2])
{
    found[0] = found[1] = 0;
    for (int v = frames; v >= 1 && v > frames - 64 && !found[0]; v--)
        if (fits(cfg, preset, v, size) == FT_OK) found[0] = v;
    for (int v = frames; v <= MOST_FRAMES && v < frames + 64 && !found[1]; v++)
        if (fits(cfg, preset, v, size) == FT_OK) found[1] = v;
    return found[0] || found[1];
}

static void values(char text[80], const char *setting, const int found[2])
{
    if (found[0] && found[1] && found[0] != found[1]) snprintf(text, 80, "%s: %d or %d", setting, found[0], found[1]);
    else snprintf(text, 80, "%s: %d", setting, found[0] ? found[0] : found[1]);
}

/* FT_ECONFIG with what would fit. key: the setting that names the network */
static int ask(check *fits, const ft_config *cfg, const char *key, const char *preset, const char *store, int frames, int size)
{
    int rc = fits(cfg, preset, frames, size), of_size[2], of_frames[2];
    char why[600], a[80] = "", b[80] = "", from[300];
    const char *size_key = store ? "--size" : "data.size", *frames_key = store ? "--frames" : "data.frames";
    if (rc != FT_ECONFIG && rc != FT_EGRAPH) return rc;
    snprintf(why, sizeof why, "%s", ft_error_message());
    bool alone = false, with = false;
    if (sizes(fits, cfg, preset, frames, size, of_size)) values(a, size_key, of_size), alone = true;
    if (lengths(fits, cfg, preset, frames, size, of_frames)) values(b, frames_key, of_frames), alone = true;
    int best = size; /* both are wrong: the nearest size at which some length fits */
    for (int d = 1; !alone && !with && d < 64; d++)
        for (int side = 0; side < 2 && !with; side++) {
            best = side ? size + d : size - d;
            with = best >= LEAST_SIZE && best <= MOST_SIZE && lengths(fits, cfg, preset, frames, best, of_frames);
        }
    if (with && sizes(fits, cfg, preset, of_frames[0] ? of_frames[0] : of_frames[1], size, of_size))
        values(a, size_key, of_size), values(b, frames_key, of_frames);
    if (!alone && !with) return FT_FAIL(FT_ECONFIG, "%s", why); /* sizes are not what is wrong */
    if (store) snprintf(from, sizeof from, "clips of %.200s", store);
    else
        snprintf(from, sizeof from, "data.frames, %.90s; data.size, %.90s", ft_config_origin(cfg, "data.frames"),
                 ft_config_origin(cfg, "data.size"));
    return FT_FAIL(FT_ECONFIG, "%s (%s, %s; %s). What fits: %s%s%s", why, key, ft_config_origin(cfg, key), from, a,
                   !*a || !*b ? ""
                   : with     ? " with "
                              : ", or ",
                   b);
}

int ft_shapes_vae(const ft_config *cfg, const char *store, int frames, int size)
{
    return ask(vae, cfg, "vae.model", ft_config_text(cfg, "vae.model"), store, frames, size);
}

int ft_shapes_generator(const ft_config *cfg, const char *preset, const char *store, int frames, int size)
{
    if (!ft_generator_find(preset) || !ft_generator_find(preset)->gan) FT_TRY(ft_shapes_vae(cfg, store, frames, size));
    if (!ft_generator_find(preset)) return FT_OK; /* said elsewhere */
    return ask(generator, cfg, "generator.model", preset, store, frames, size);
}

/* What a frozen network looks at: clips that are long enough; pictures of whole patches, and places that can be averaged to a
 * grid. */
static int features(const ft_config *cfg, int frames, int size)
{
    const ft_judge_preset *judge = ft_judge_find(ft_config_text(cfg, "features.model"));
    if (judge && frames < judge->fewest)
        return FT_FAIL(FT_ECONFIG, "%s: features.model: %s sees clips of %d frames at least, these have %d",
                       ft_config_origin(cfg, "features.model"), judge->name, judge->fewest, frames);
    const ft_dino_preset *d = ft_dino_find(ft_config_text(cfg, "features.model"));
    int64_t side = ft_config_int(cfg, "features.size"), grid = ft_config_int(cfg, "features.grid");
    if (!d) return FT_OK;
    if (side == 0) side = size;
    int64_t places = side / d->patch, below = places * d->patch;
    if (side % d->patch)
        return FT_FAIL(FT_ECONFIG, "%s: features.size: %s looks at a multiple of %d pixels, not %lld. What fits: %.0lld%s%lld",
                       ft_config_origin(cfg, "features.size"), d->name, d->patch, (long long)side, (long long)below,
                       below ? " or " : "", (long long)(below + d->patch));
    if (grid == 0 || places % grid == 0) return FT_OK;
    int64_t less = grid, more = grid;
    while (places % less) less--;
    while (more < places && places % more) more++;
    return FT_FAIL(FT_ECONFIG,
                   "%s: features.grid: %lld places a side (%lld pixels, patches of %d) cannot be averaged to %lld. What "
                   "fits: %lld or %lld",
                   ft_config_origin(cfg, "features.grid"), (long long)places, (long long)side, d->patch, (long long)grid,
                   (long long)less, (long long)(more > places ? places : more));
}

int ft_shapes_classifier(const ft_config *cfg, const char *store, int frames, int size)
{
    const char *model = ft_config_text(cfg, "classifier.model");
    const ft_classifier *f = ft_classifier_find(model);
    if (!f) return FT_OK; /* said elsewhere */
    if (f->of_features) return features(cfg, frames, size);
    return ask(classifier, cfg, "classifier.model", model, store, frames, size);
}

static int shapes_arm(const ft_arm_result *a, const char *store, int frames, int size)
{
    const ft_generator *generates = ft_generator_find(a->arm);
    if ((generates && !generates->gan) || !strncmp(a->arm, "vae-", 4) || ft_config_is(a->cfg, "features.model", "vae"))
        FT_TRY(ft_shapes_vae(a->cfg, store, frames, size));
    if (generates) FT_TRY(ask(generator, a->cfg, "arms", a->arm, store, frames, size));
    return ft_shapes_classifier(a->cfg, store, frames, size);
}

int ft_shapes_arms(const ft_result *r)
{
    const ft_config *cfg = r->x->cfg;
    const char *clips = ft_config_text(cfg, "data.clips"), *store = *clips ? clips : NULL;
    int frames = (int)ft_config_int(cfg, "data.frames"), size = (int)ft_config_int(cfg, "data.size"), rc = FT_OK;
    if (store) {
        ft_clipstore head = {0};
        FT_TRY(ft_clipstore_head(&head, store, 1));
        frames = head.frames, size = head.size;
        ft_clipstore_free(&head);
    }
    for (int i = 0; rc == FT_OK && i < r->n; i++) rc = shapes_arm(&r->arm[i], store, frames, size);
    return rc;
}
