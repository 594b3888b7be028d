#include "experiments/models/model_table.h"

#include <string.h>

#include "classify/classifier.h"
#include "classify/mil.h"
#include "common/base/status.h"
#include "common/base/streams.h"
#include "common/vision/dino.h"
#include "common/vision/judge.h"
#include "gen/generator.h"
#include "gen/image_vae.h"
#include "gen/lpips.h"
#include "gen/patchgan.h"
#include "gen/raft.h"
#include "gen/stylegan.h"
#include "gen/vae.h"

/* ---- presets and networks under one signature --------------------------------------------------------------------------- */

#define AS_IS(preset, cfg, classes) ((void)(preset), (void)(cfg), (void)(classes))
#define NAMES(what)                                                                                                              \
    static const char *what##_preset(int i) { return ft_##what##_at(i) ? ft_##what##_at(i)->name : NULL; }
NAMES(vae)
NAMES(image_vae)
NAMES(dino)
NAMES(mil)
#undef NAMES
static const char *patchgan_preset(int i) { return i == 0 ? "patchgan" : NULL; }

/* the i-th of those that look at pixels, or at features */
static const char *classifier_at(int i, bool of_features)
{
    for (int k = 0; ft_classifier_at(k); k++)
        for (int j = 0; ft_classifier_at(k)->of_features == of_features && ft_classifier_preset_at(ft_classifier_at(k), j); j++)
            if (i-- == 0) return ft_classifier_preset_at(ft_classifier_at(k), j);
    return NULL;
}
static const char *classifier_preset(int i) { return classifier_at(i, false); }
static const char *probe_preset(int i) { return classifier_at(i, true); }

/* of those that draw pixels, and of the discriminators that teach them */
static const char *gan_preset(int i) { return ft_stylegan_at(i) ? ft_stylegan_at(i)->base.name : NULL; }
static const char *gan_critic(int i) { return ft_stylegan_at(i) ? ft_stylegan_at(i)->critic : NULL; }
static ft_t gan_generate(ft_graph *g, const char *preset, const ft_config *cfg, const ft_t *in, int64_t classes)
{
    const ft_stylegan_preset *p = ft_stylegan_find(preset);
    (void)classes;
    ft_training(g, false); /* the mean style stays as it is */
    return ft_generator_find(p->base.name)
        ->gan->generate(g, p, (ft_gan_in){in[0], in[1], in[2], NULL}, p->base.size, ft_config_real(cfg, "gan.truncation"));
}
static ft_t gan_judge(ft_graph *g, const char *preset, const ft_config *cfg, const ft_t *in, int64_t classes)
{
    const ft_stylegan_preset *p = ft_stylegan_find(preset);
    return AS_IS(preset, cfg, classes), ft_generator_find(p->base.name)->gan->judge(g, p, in[0], in[1], NULL);
}
static void gan_shape(const char *preset, const ft_config *cfg, int input, int64_t *dim)
{
    const ft_stylegan_preset *p = ft_stylegan_find(preset);
    int64_t F = FT_STYLEGAN_FRAMES, shape[3][3] = {{1, p->width, 0}, {1, ft_stylegan_codes(p->base.frames), p->width}, {1, F, 0}};
    (void)cfg;
    memcpy(dim, shape[input], sizeof shape[input]);
}
static void critic_shape(const char *preset, const ft_config *cfg, int input, int64_t *dim)
{
    int64_t size = ft_stylegan_find(preset)->base.size,
            shape[2][5] = {{1, FT_STYLEGAN_FRAMES, size, size, 3}, {1, FT_STYLEGAN_FRAMES}};
    (void)cfg;
    memcpy(dim, shape[input], sizeof shape[input]);
}

/* the i-th of those whose public code has latents as (b,f,c,h,w), or (b,c,f,h,w), as LVDM's has */
static const char *generator_at(int i, bool channels_first)
{
    for (int k = 0; ft_generator_at(k); k++)
        for (int j = 0; ft_generator_at(k)->network && !strcmp(ft_generator_at(k)->family, "lvdm") == channels_first &&
                        ft_generator_preset_at(ft_generator_at(k), j);
             j++)
            if (i-- == 0) return ft_generator_preset_at(ft_generator_at(k), j)->name;
    return NULL;
}
static const char *generator_preset(int i) { return generator_at(i, false); }
static const char *unet_preset(int i) { return generator_at(i, true); }
/* the last generator.images frames are images; what can be aligned is not asked for */
static ft_t generator(ft_graph *g, const char *preset, const ft_config *cfg, const ft_t *in, int64_t classes)
{
    ft_taps taps = {0};
    int64_t images = ft_config_int(cfg, "generator.images"), n = ft_dim(in[0], 1);
    (void)classes;
    return ft_generator_find(preset)->network(g, ft_generator_preset_of(preset), cfg, in[0], images < n ? n - images : n,
                                              (ft_told){in[1], in[2]}, &taps);
}
static void generator_shape(const char *preset, const ft_config *cfg, int input, int64_t *dim)
{
    const ft_generator_preset *p = ft_generator_preset_of(preset);
    int64_t images = ft_generator_find(preset)->images_apart ? ft_config_int(cfg, "generator.images") : 0;
    dim[0] = 1;
    if (input == 0) memcpy(dim, (int64_t[]){1, p->frames + images, p->size, p->size, p->channels}, 5 * sizeof *dim);
}

static ft_t vae_encode(ft_graph *g, const char *preset, const ft_config *cfg, const ft_t *in, int64_t classes)
{
    return AS_IS(preset, cfg, classes), ft_vae_encode(g, ft_vae_find(preset), in[0]);
}
static ft_t vae_decode(ft_graph *g, const char *preset, const ft_config *cfg, const ft_t *in, int64_t classes)
{
    return AS_IS(preset, cfg, classes), ft_vae_decode(g, ft_vae_find(preset), in[0]);
}
static void latent_shape(const char *preset, const ft_config *cfg, int input, int64_t *dim)
{
    const ft_vae_preset *p = ft_vae_find(preset);
    int64_t z[5] = {1, ft_vae_latent_frames(p, 16), 64 / ft_vae_space_factor(p), 64 / ft_vae_space_factor(p), p->latent};
    (void)input, (void)cfg;
    memcpy(dim, z, sizeof z);
}
static ft_t image_encode(ft_graph *g, const char *preset, const ft_config *cfg, const ft_t *in, int64_t classes)
{
    return AS_IS(preset, cfg, classes), ft_image_vae_encode(g, ft_image_vae_find(preset), in[0]);
}
static ft_t image_decode(ft_graph *g, const char *preset, const ft_config *cfg, const ft_t *in, int64_t classes)
{
    return AS_IS(preset, cfg, classes), ft_image_vae_decode(g, ft_image_vae_find(preset), in[0]);
}
static ft_t dino(ft_graph *g, const char *preset, const ft_config *cfg, const ft_t *in, int64_t classes)
{
    const ft_dino_preset *p = ft_dino_find(preset);
    ft_t y;
    ft_dino(g, p, in[0], 1, (int[]){p->depth - 1}, &y);
    return AS_IS(preset, cfg, classes), y;
}
static ft_t raft(ft_graph *g, const char *preset, const ft_config *cfg, const ft_t *in, int64_t classes)
{
    (void)classes;
    return ft_raft(g, ft_raft_find(preset), in[0], in[1], (int)ft_config_int(cfg, "align.flow_iterations"));
}
static ft_t lpips(ft_graph *g, const char *preset, const ft_config *cfg, const ft_t *in, int64_t classes)
{
    ft_t frame[2];
    for (int i = 0; i < 2; i++)
        frame[i] = ft_reshape(g, in[i], 5, (int64_t[]){ft_dim(in[i], 0), 1, ft_dim(in[i], 1), ft_dim(in[i], 2), 3});
    return AS_IS(preset, cfg, classes), ft_lpips(g, ft_lpips_find(preset), frame[0], frame[1]);
}
static ft_t patchgan(ft_graph *g, const char *preset, const ft_config *cfg, const ft_t *in, int64_t classes)
{
    ft_t x = ft_reshape(g, in[0], 5, (int64_t[]){ft_dim(in[0], 0), 1, ft_dim(in[0], 1), ft_dim(in[0], 2), 3});
    x = ft_patchgan(g, x);
    return AS_IS(preset, cfg, classes), ft_reshape(g, x, 4, (int64_t[]){ft_dim(x, 0), ft_dim(x, 2), ft_dim(x, 3), 1});
}
static ft_t classifier(ft_graph *g, const char *preset, const ft_config *cfg, const ft_t *in, int64_t classes)
{
    return AS_IS(preset, cfg, classes), ft_classifier_network(g, preset, in[0], classes, 0, 0, NULL);
}

/* the i-th of those that see pictures, or clips */
static const char *judge_at(int i, bool clips)
{
    for (int k = 0; ft_judge_at(k); k++)
        if ((ft_judge_at(k)->frames > 0) == clips && i-- == 0) return ft_judge_at(k)->name;
    return NULL;
}
static const char *picture_judge_preset(int i) { return judge_at(i, false); }
static const char *clip_judge_preset(int i) { return judge_at(i, true); }
static ft_t judge(ft_graph *g, const char *preset, const ft_config *cfg, const ft_t *in, int64_t classes)
{
    return AS_IS(preset, cfg, classes), ft_judge_network(g, preset, in[0]);
}
static void judge_shape(const char *preset, const ft_config *cfg, int input, int64_t *dim)
{
    const ft_judge_preset *p = ft_judge_find(preset);
    (void)cfg, (void)input;
    *dim++ = 1;
    if (p->frames) *dim++ = p->frames;
    memcpy(dim, (int64_t[]){p->size, p->size, 3}, 3 * sizeof *dim);
}

/* x (B,T,D) -> p(positive) of the video, then of its snippets (B,1+T) */
static ft_t mil(ft_graph *g, const char *preset, const ft_config *cfg, const ft_t *in, int64_t classes)
{
    const ft_mil_preset *p = ft_mil_find(preset);
    bool snippet = ft_config_is(cfg, "mil.tokens", "snippet");
    ft_t e = ft_mil_embed(g, in[0]), z[2] = {ft_mil_video(g, p, snippet ? FT_MIL_SNIPPET : FT_MIL_CHANNEL, e)};
    z[1] = ft_mil_snippets(g, p, e);
    return AS_IS(preset, cfg, classes), ft_unary(g, FT_SIGMOID, ft_concat(g, 1, 2, z));
}
static void mil_shape(const char *preset, const ft_config *cfg, int input, int64_t *dim)
{
    (void)cfg, (void)input;
    memcpy(dim, (int64_t[]){1, ft_mil_find(preset)->segments, ft_mil_find(preset)->width}, 3 * sizeof *dim);
}

/* ---- the table ---------------------------------------------------------------------------------------------------------- */

static const ft_model rows[] = {
    {.kind = "generator",
     .suffix = "",
     .preset = generator_preset,
     .n_in = 2,
     .in = {{"x", "bfchw", "bfhwc", {0}}, {"t", "b", "b", {0}}},
     .file_axes = "bfchw",
     .axes = "bfhwc",
     .build = generator,
     .shape = generator_shape},
    {.kind = "generator",
     .suffix = "",
     .preset = unet_preset,
     .n_in = 2,
     .in = {{"x", "bcfhw", "bfhwc", {0}}, {"t", "b", "b", {0}}},
     .file_axes = "bcfhw",
     .axes = "bfhwc",
     .build = generator,
     .shape = generator_shape},
    {.kind = "generator",
     .suffix = "",
     .preset = gan_preset,
     .n_in = 3,
     .in = {{"z", "bc", "bc", {0}}, {"motion", "btc", "btc", {0}}, {"t", "bf", "bf", {0}}},
     .file_axes = "bfchw",
     .axes = "bfhwc",
     .build = gan_generate,
     .shape = gan_shape},
    {.kind = "critic",
     .suffix = "",
     .preset = gan_critic,
     .n_in = 2,
     .in = {{"x", "bfchw", "bfhwc", {0}}, {"t", "bf", "bf", {0}}},
     .file_axes = "b",
     .axes = "b",
     .build = gan_judge,
     .shape = critic_shape},
    {.kind = "vae",
     .suffix = "-encode",
     .preset = vae_preset,
     .n_in = 1,
     .in = {{"x", "bcfhw", "bfhwc", {1, 16, 64, 64, 3}}},
     .file_axes = "bcfhw",
     .axes = "bfhwc",
     .build = vae_encode},
    {.kind = "vae",
     .suffix = "-decode",
     .preset = vae_preset,
     .n_in = 1,
     .in = {{"x", "bcfhw", "bfhwc", {0}}},
     .file_axes = "bcfhw",
     .axes = "bfhwc",
     .build = vae_decode,
     .shape = latent_shape},
    {.kind = "vae",
     .suffix = "-encode",
     .preset = image_vae_preset,
     .n_in = 1,
     .in = {{"x", "bchw", "bhwc", {1, 64, 64, 3}}},
     .file_axes = "bchw",
     .axes = "bhwc",
     .build = image_encode},
    {.kind = "vae",
     .suffix = "-decode",
     .preset = image_vae_preset,
     .n_in = 1,
     .in = {{"x", "bchw", "bhwc", {1, 8, 8, 4}}},
     .file_axes = "bchw",
     .axes = "bhwc",
     .build = image_decode},
    {.kind = "classifier",
     .suffix = "",
     .preset = classifier_preset,
     .n_in = 1,
     .in = {{"x", "bcfhw", "bfhwc", {1, 16, 64, 64, 3}}},
     .file_axes = "bc",
     .axes = "bc",
     .build = classifier},
    {.kind = "classifier",
     .suffix = "",
     .preset = probe_preset,
     .n_in = 1,
     .in = {{"x", "bftc", "bftc", {1, 4, 2, 384}}}, /* of frames and tokens, as a backbone gives them */
     .file_axes = "bc",
     .axes = "bc",
     .build = classifier},
    {.kind = "classifier",
     .suffix = "",
     .preset = mil_preset,
     .n_in = 1,
     .in = {{"x", "btc", "btc", {0}}},
     .file_axes = "bc",
     .axes = "bc",
     .build = mil,
     .shape = mil_shape},
    {.kind = "prior",
     .suffix = "",
     .preset = dino_preset,
     .n_in = 1,
     .in = {{"x", "bchw", "bhwc", {1, 128, 128, 3}}},
     .file_axes = "btc",
     .axes = "btc",
     .frozen = true,
     .build = dino},
    {.kind = "prior",
     .suffix = "",
     .preset = ft_raft_at,
     .n_in = 2,
     .in = {{"image1", "bchw", "bhwc", {1, 128, 128, 3}}, {"image2", "bchw", "bhwc", {1, 128, 128, 3}}},
     .file_axes = "bchw",
     .axes = "bhwc",
     .frozen = true,
     .build = raft},
    {.kind = "metric",
     .suffix = "",
     .preset = ft_lpips_at,
     .n_in = 2,
     .in = {{"x", "bchw", "bhwc", {1, 64, 64, 3}}, {"y", "bchw", "bhwc", {1, 64, 64, 3}}},
     .file_axes = "b",
     .axes = "b",
     .frozen = true,
     .build = lpips},
    {.kind = "metric",
     .suffix = "",
     .preset = picture_judge_preset,
     .n_in = 1,
     .in = {{"x", "bchw", "bhwc", {0}}},
     .file_axes = "bc",
     .axes = "bc",
     .frozen = true,
     .build = judge,
     .shape = judge_shape},
    {.kind = "metric",
     .suffix = "",
     .preset = clip_judge_preset,
     .n_in = 1,
     .in = {{"x", "bcfhw", "bfhwc", {0}}},
     .file_axes = "bc",
     .axes = "bc",
     .frozen = true,
     .build = judge,
     .shape = judge_shape},
    {.kind = "critic",
     .suffix = "",
     .preset = patchgan_preset,
     .n_in = 1,
     .in = {{"x", "bchw", "bhwc", {1, 128, 128, 3}}},
     .file_axes = "bchw",
     .axes = "bhwc",
     .build = patchgan},
};

const ft_model_input ft_model_label = {"label", "bk", "bk", {0}};
bool ft_model_told(const ft_model *row, const ft_config *cfg)
{
    return row->build == generator && ft_config_is(cfg, "generator.condition", "labels");
}
bool ft_model_is_table(const char *preset, const char *tensor)
{
    return ft_generator_find(preset) &&
           (!strcmp(tensor, "y_embedder.embedding_table.weight") || !strcmp(tensor, "label_emb.weight"));
}

const ft_model *ft_model_at(int i) { return i < (int)(sizeof rows / sizeof *rows) ? &rows[i] : NULL; }
int ft_model_dims(const ft_model_input *in) { return (int)strlen(in->axes); }

int ft_model_find(const char *name, const ft_model **row, const char **preset)
{
    for (int i = 0; ft_model_at(i); i++)
        for (int k = 0; rows[i].preset(k); k++) {
            const char *p = rows[i].preset(k);
            if (strncmp(name, p, strlen(p)) || strcmp(name + strlen(p), rows[i].suffix)) continue;
            *row = &rows[i], *preset = p;
            return FT_OK;
        }
    return FT_FAIL(FT_ECONFIG,
                   "the model %s is not known. `forty models` lists the presets; VAEs are NAME-encode and NAME-decode", name);
}

void ft_model_example(const ft_model *row, const char *preset, const ft_config *cfg, int input, int64_t *dim)
{
    if (row->shape) row->shape(preset, cfg, input, dim);
    else memcpy(dim, row->in[input].example, sizeof row->in[input].example);
}

int ft_model_store(ft_params **params, const char *preset, const ft_config *cfg, int64_t classes, uint64_t seed)
{
    bool known = false;
    int rc = (*params = ft_params_new(seed)) ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for %s", preset);
    for (int i = 0; rc == FT_OK && ft_model_at(i); i++)
        for (int k = 0; rc == FT_OK && rows[i].preset(k); k++) {
            if (strcmp(rows[i].preset(k), preset)) continue;
            if (rows[i].frozen && !known) rc = ft_params_train_only(*params, 0, NULL);
            known = true;
            ft_graph *g = ft_graph_new(*params, FT_F32, FT_GRAPH_NAMES);
            if (!g) rc = FT_FAIL(FT_ENOMEM, "no memory for %s", preset);
            ft_t in[FT_MODEL_INPUTS] = {NULL};
            for (int j = 0; rc == FT_OK && j < rows[i].n_in; j++) {
                int64_t dim[FT_MAX_DIMS];
                ft_model_example(&rows[i], preset, cfg, j, dim);
                in[j] = ft_input(g, rows[i].in[j].name, FT_F32, ft_model_dims(&rows[i].in[j]), dim);
            }
            if (rc == FT_OK && ft_model_told(&rows[i], cfg))
                in[2] = ft_input(g, ft_model_label.name, FT_F32, 2, (int64_t[]){1, classes + 1});
            if (rc == FT_OK) rows[i].build(g, preset, cfg, in, classes);
            if (rc == FT_OK && ft_graph_error(g)) rc = FT_FAIL(FT_EGRAPH, "%s cannot be built: %s", preset, ft_graph_error(g));
            if (g) ft_graph_free(g);
        }
    if (rc == FT_OK && !known) rc = FT_FAIL(FT_ECONFIG, "the model %s is not known. `forty models` lists the presets", preset);
    if (rc < 0) ft_params_free(*params), *params = NULL;
    return rc;
}

int64_t ft_model_parameters(const ft_params *params)
{
    static const char *const fixed[] = {"running_", "scaling_layer.", "w_avg", "freqs", "phase_scales", "fourier_coefs"};
    int64_t n = 0;
    for (int i = 0; i < ft_params_count(params); i++) {
        bool counts = true;
        for (size_t k = 0; k < sizeof fixed / sizeof *fixed; k++) counts &= !strstr(ft_params_at(params, i)->name, fixed[k]);
        if (counts) n += ft_params_at(params, i)->count;
    }
    return n;
}

ft_work ft_model_work(const char *name)
{
    if (ft_generator_find(name)) return ft_generator_find(name)->work;
    if (ft_classifier_find(name)) return ft_classifier_find(name)->work;
    if (ft_judge_find(name)) return ft_judge_work(name);
    return !strncmp(name, "dino", 4) ? FT_WORK_PRODUCTS : FT_WORK_CONVOLUTIONS; /* VAEs, RAFT, LPIPS */
}
