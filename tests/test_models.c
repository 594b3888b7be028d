/* Networks against PyTorch: outputs and gradients of the golden files (tests/golden/make_golden.py and make_golden_public.py made
 * them), parameter totals of the public checkpoints, and properties that the papers' designs imply. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "classify/classifier.h"
#include "classify/mil.h"
#include "common/base/files.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/base/threads.h"
#include "common/graph/graph.h"
#include "common/graph/node.h"
#include "common/io/safetensors.h"
#include "experiments/models/model_table.h"
#include "common/vision/dino.h"
#include "common/vision/judge.h"
#include "gen/endora.h"
#include "gen/feat.h"
#include "gen/forty.h"
#include "gen/image_vae.h"
#include "gen/lpips.h"
#include "gen/lvdm.h"
#include "gen/medsora.h"
#include "gen/patchgan.h"
#include "gen/raft.h"
#include "gen/vae_loss.h"
#include "tests/golden_value.h"

static bool ends(const char *s, const char *tail)
{
    return strlen(s) >= strlen(tail) && !strcmp(s + strlen(s) - strlen(tail), tail);
}

static void fill(ft_params *p, bool spread)
{
    assert_int_equal(ft_params_seal(p), FT_OK);
    for (int i = 0; i < ft_params_count(p); i++) {
        const ft_param_info *e = ft_params_at(p, i);
        float *v = ft_params_flat(p, FT_WEIGHTS) + e->offset;
        uint32_t name = crc32_of(e->name);
        for (int64_t k = 0; spread && ends(e->name, ".running_var") && k < e->count; k++) v[k] = 1 / 6.0f;
        if (!e->trained) continue;
        bool one = ends(e->name, "weight") || ends(e->name, "A_log") || ends(e->name, ".D");
        for (int64_t k = 0; k < e->count; k++)
            v[k] = e->ndim >= 2 ? (float)((double)value(name, k) * pow((double)(e->count / e->dim[0]), -0.5))
                                : 0.2f * value(name, k) + (one ? 1.0f : 0.0f);
    }
    ft_params_touched(p);
}

typedef struct {
    const char *name;
    ft_t (*build)(ft_graph *g);
    bool eval;                             /* running statistics */
    enum { TRAINED, FROZEN, SPREAD } kind; /* outputs only; and running variances of 1/6, so that nothing fades through ReLUs */
} model;

static void fill_input(ft_t x, const char *name)
{
    for (int64_t i = 0; i < ft_count(x); i++) ((float *)ft_data(x))[i] = value(crc32_of(name), i);
}

static ft_t filled(ft_graph *g, const char *name, int nd, const int64_t *dim)
{
    ft_t x = ft_input(g, name, FT_F32, nd, dim);
    fill_input(x, name);
    return x;
}
static ft_t clip(ft_graph *g) { return filled(g, "x", 5, (int64_t[]){2, 8, 32, 32, 3}); }

static ft_t build_x3d(ft_graph *g) { return ft_classifier_network(g, "x3d-tiny", clip(g), 3, 0, 0, NULL); }
static ft_t build_eye(ft_graph *g) { return ft_classifier_network(g, "eye", clip(g), 3, 0, 0, NULL); }
static ft_t build_r2plus1d(ft_graph *g) { return ft_classifier_network(g, "r2plus1d-tiny", clip(g), 3, 0, 0, NULL); }
static ft_t build_timesformer(ft_graph *g) { return ft_classifier_network(g, "timesformer-tiny", clip(g), 3, 0, 0, NULL); }
static ft_t mil(ft_graph *g, ft_mil_tokens tokens)
{
    const ft_mil_preset *p = ft_mil_find("mil-tiny");
    ft_t e = ft_mil_embed(g, filled(g, "x", 3, (int64_t[]){2, 16, 24})), z[2] = {ft_mil_video(g, p, tokens, e)};
    z[1] = ft_mil_snippets(g, p, e);
    return ft_concat(g, 1, 2, z);
}
static ft_t build_mil_channel(ft_graph *g) { return mil(g, FT_MIL_CHANNEL); }
static ft_t build_mil_snippet(ft_graph *g) { return mil(g, FT_MIL_SNIPPET); }
static ft_t build_mil_loss(ft_graph *g) /* what it looks at, as parameters */
{
    ft_t e = ft_param(g, "embedding", 3, (int64_t[]){8, 32, 24}, FT_ZERO),
         s = ft_param(g, "score", 2, (int64_t[]){8, 32}, FT_ZERO);
    ft_mil_loss_terms l = ft_mil_loss(g, e, ft_unary(g, FT_SIGMOID, s), ft_param(g, "video", 2, (int64_t[]){8, 1}, FT_ZERO),
                                      (ft_mil_weights){1, 0.3, 0.2, 0.25});
    return ft_concat(g, 0, 4, (ft_t[]){l.total, l.video, l.ranking, l.contrast});
}
static ft_t there_and_back(ft_graph *g, const char *name)
{
    const ft_vae_preset *p = ft_vae_find(name);
    return ft_cast(g, ft_vae_decode(g, p, ft_slice(g, ft_vae_encode(g, p, clip(g)), 4, 0, p->latent)), FT_F32);
}
static ft_t build_vae(ft_graph *g) { return there_and_back(g, "vae-tiny"); }
static ft_t build_lvdm_vae(ft_graph *g) { return there_and_back(g, "lvdm-vae-tiny"); }
static ft_t build_medsora(ft_graph *g)
{
    ft_t z = ft_input(g, "z", FT_F32, 5, (int64_t[]){2, 4, 8, 8, 16}), t = ft_input(g, "t", FT_F32, 1, (int64_t[]){2});
    fill_input(z, "z");
    ((float *)ft_data(t))[0] = 17, ((float *)ft_data(t))[1] = 900;
    return ft_medsora(g, ft_generator_preset_of("medsora-tiny"), (ft_medsora_opt){0}, z, (ft_told){t, NULL}, NULL);
}

/* four frames of a clip and two images */
static ft_t clip_and_images(ft_graph *g, ft_t *t)
{
    ft_t z = ft_input(g, "z", FT_F32, 5, (int64_t[]){2, 6, 8, 8, 16});
    *t = ft_input(g, "t", FT_F32, 1, (int64_t[]){2});
    fill_input(z, "z");
    ((float *)ft_data(*t))[0] = 17, ((float *)ft_data(*t))[1] = 900;
    return z;
}
static ft_t build_endora(ft_graph *g)
{
    ft_t t, z = clip_and_images(g, &t);
    return ft_endora(g, ft_generator_preset_of("endora-tiny"), z, 4, (ft_told){t, NULL}, NULL);
}
static ft_t build_forty(ft_graph *g)
{
    ft_t t, z = clip_and_images(g, &t);
    return ft_forty(g, ft_generator_preset_of("forty-tiny"), z, 4, (ft_told){t, NULL});
}
static ft_t feat(ft_graph *g, bool guided)
{
    ft_t t, z = clip_and_images(g, &t);
    return ft_feat(g, ft_generator_preset_of("feat-tiny"), (ft_feat_opt){.channel_guidance = guided}, z, 4, (ft_told){t, NULL},
                   NULL);
}
static ft_t build_feat_released(ft_graph *g) /* 64 tokens in a frame: chunks of 4 */
{
    ft_t z = filled(g, "z", 5, (int64_t[]){1, 2, 16, 16, 4}), t = ft_input(g, "t", FT_F32, 1, (int64_t[]){1});
    ((float *)ft_data(t))[0] = 17;
    return ft_feat(g, ft_generator_preset_of("feat-tiny"), (ft_feat_opt){.released_kernel = true}, z, 2, (ft_told){t, NULL},
                   NULL);
}
static ft_t lvdm(ft_graph *g, bool transposed)
{
    ft_t t, z = clip_and_images(g, &t);
    return ft_lvdm(g, ft_generator_preset_of("lvdm-tiny"), (ft_lvdm_opt){.transposed = transposed}, z, 4, (ft_told){t, NULL});
}
static ft_t build_lvdm_public(ft_graph *g) /* a clip alone: images beside it are an idea of ours */
{
    ft_t z = filled(g, "z", 5, (int64_t[]){2, 4, 8, 8, 16}), t = ft_input(g, "t", FT_F32, 1, (int64_t[]){2});
    ((float *)ft_data(t))[0] = 17, ((float *)ft_data(t))[1] = 900;
    return ft_lvdm(g, ft_generator_preset_of("lvdm-tiny"), (ft_lvdm_opt){.transposed = true}, z, 4, (ft_told){t, NULL});
}
static ft_t build_lvdm(ft_graph *g) { return lvdm(g, false); }
static ft_t build_lvdm_released(ft_graph *g) { return lvdm(g, true); }
static ft_t build_feat(ft_graph *g) { return feat(g, false); }
static ft_t build_feat_guided(ft_graph *g) { return feat(g, true); }

/* two clips, told of three classes: the second, and none; what is behind `frames` are images */
static ft_t told(ft_graph *g, const char *preset, int64_t frames)
{
    ft_taps taps = {0};
    ft_t z = filled(g, "z", 5, (int64_t[]){2, 4, 8, 8, 4}), t = ft_input(g, "t", FT_F32, 1, (int64_t[]){2}),
         label = ft_input(g, "label", FT_F32, 2, (int64_t[]){2, 4});
    ((float *)ft_data(t))[0] = 17, ((float *)ft_data(t))[1] = 900;
    ft_label_row(label, 0, 1), ft_label_row(label, 1, -1);
    ft_config *cfg;
    assert_int_equal(ft_config_new(&cfg), FT_OK);
    ft_t y = ft_generator_find(preset)->network(g, ft_generator_preset_of(preset), cfg, z, frames, (ft_told){t, label}, &taps);
    ft_config_free(cfg);
    return y;
}
static ft_t build_medsora_told(ft_graph *g) { return told(g, "medsora-tiny", 4); }
static ft_t build_endora_told(ft_graph *g) { return told(g, "endora-tiny", 4); }
static ft_t build_feat_told(ft_graph *g) { return told(g, "feat-tiny", 4); }
static ft_t build_forty_told(ft_graph *g) { return told(g, "forty-tiny", 3); }
static ft_t build_lvdm_told(ft_graph *g) { return told(g, "lvdm-tiny", 4); }

/* public networks, made narrow: the same code as the presets */
static const ft_vae_preset narrow_vae = {&ft_vae_causal,   "narrow",     4,         1,         4, 1,    2,         2, 8,
                                         {16, 16, 32, 32}, {3, 3, 3, 3}, {2, 2, 1}, {2, 2, 2}, 8, true, FT_FC_NONE};
static const ft_image_vae_preset narrow_image_vae = {"narrow", 4, 4, 2, 8, {16, 16, 32, 32}};
static const ft_dino_preset narrow_dino = {"narrow", 48, 3, 3, 8, 7, 0, false, 0.1},
                            narrow_dinov2 = {"narrow", 48, 3, 3, 8, 7, 0, true, 0},
                            narrow_registers = {"narrow", 48, 3, 3, 8, 7, 4, true, 0};

static ft_vae_preset with(ft_frequency_compensation fc)
{
    ft_vae_preset p = narrow_vae;
    p.fc = fc;
    return p;
}
static ft_t pictures(ft_graph *g, const char *name, int64_t b, int64_t s, int64_t c)
{
    return filled(g, name, 4, (int64_t[]){b, s, s, c});
}
static ft_t build_cog_encode(ft_graph *g)
{
    ft_vae_preset p = with(FT_FC_NONE);
    return ft_vae_encode(g, &p, filled(g, "x", 5, (int64_t[]){1, 17, 16, 16, 3}));
}
static ft_t build_cog_decode(ft_graph *g)
{
    ft_vae_preset p = with(FT_FC_NONE);
    return ft_vae_decode(g, &p, filled(g, "z", 5, (int64_t[]){1, 5, 2, 2, 4}));
}
static ft_t build_fc_encode(ft_graph *g)
{
    ft_vae_preset p = with(FT_FC_RELEASED);
    return ft_vae_encode(g, &p, filled(g, "x", 5, (int64_t[]){1, 16, 16, 16, 3}));
}
static ft_t build_fc_decode(ft_graph *g)
{
    ft_vae_preset p = with(FT_FC_RELEASED);
    return ft_vae_decode(g, &p, filled(g, "z", 5, (int64_t[]){1, 4, 2, 2, 4}));
}
static ft_t build_sd_encode(ft_graph *g) { return ft_image_vae_encode(g, &narrow_image_vae, pictures(g, "x", 2, 16, 3)); }
static ft_t build_sd_decode(ft_graph *g) { return ft_image_vae_decode(g, &narrow_image_vae, pictures(g, "z", 2, 4, 4)); }
static ft_t dino(ft_graph *g, const ft_dino_preset *p)
{
    ft_t y;
    ft_dino(g, p, pictures(g, "x", 2, 32, 3), 1, (int[]){2}, &y);
    return y;
}
static ft_t build_dino(ft_graph *g) { return dino(g, &narrow_dino); }
static ft_t build_dinov2(ft_graph *g) { return dino(g, &narrow_dinov2); }
static ft_t build_dinov2_reg(ft_graph *g) { return dino(g, &narrow_registers); }
static ft_t frames_of(ft_graph *g, ft_t x)
{
    return ft_reshape(g, x, 5, (int64_t[]){ft_dim(x, 0), 1, ft_dim(x, 1), ft_dim(x, 2), 3});
}
static ft_t build_patchgan(ft_graph *g) { return ft_patchgan(g, frames_of(g, pictures(g, "x", 2, 32, 3))); }
static ft_t lpips_of(ft_graph *g, const char *name)
{
    return ft_lpips(g, ft_lpips_find(name), frames_of(g, pictures(g, "x", 1, 48, 3)), frames_of(g, pictures(g, "y", 1, 48, 3)));
}
static ft_t build_vgg(ft_graph *g) { return lpips_of(g, "lpips-vgg"); }
static ft_t build_alex(ft_graph *g) { return lpips_of(g, "lpips-alex"); }
static ft_t raft_of(ft_graph *g, const char *name) /* every fourth pixel of the flow is in the file */
{
    ft_t y = ft_raft(g, ft_raft_find(name), pictures(g, "x", 1, 128, 3), pictures(g, "y", 1, 128, 3), 3);
    int32_t begin[33], index[32];
    for (int32_t i = 0; i <= 32; i++) begin[i] = i;
    for (int32_t i = 0; i < 32; i++) index[i] = 4 * i;
    for (int axis = 1; axis < 3; axis++) y = ft_resample(g, y, axis, &(ft_sparse){32, begin, index, NULL});
    return y;
}
static ft_t build_raft_large(ft_graph *g) { return raft_of(g, "raft-large"); }
static ft_t build_raft_small(ft_graph *g) { return raft_of(g, "raft-small"); }

static ft_t build_inception(ft_graph *g) { return ft_judge_network(g, "inception", pictures(g, "x", 2, 107, 3)); }
static ft_t build_i3d(ft_graph *g) { return ft_judge_network(g, "i3d-port", filled(g, "x", 5, (int64_t[]){1, 9, 68, 68, 3})); }
static ft_t build_clip(ft_graph *g) { return ft_judge_network(g, "clip-tiny", pictures(g, "x", 2, 32, 3)); }
static ft_t build_videomae(ft_graph *g)
{
    return ft_judge_network(g, "videomae-tiny", filled(g, "x", 5, (int64_t[]){2, 16, 32, 32, 3}));
}

static const model models[] = {{"x3d-tiny", build_x3d, false, TRAINED},
                               {"r2plus1d-tiny", build_r2plus1d, false, TRAINED},
                               {"eye", build_eye, false, TRAINED},
                               {"timesformer-tiny", build_timesformer, false, TRAINED},
                               {"mil-channel", build_mil_channel, true, TRAINED},
                               {"mil-snippet", build_mil_snippet, true, TRAINED},
                               {"mil-loss", build_mil_loss, true, TRAINED},
                               {"vae-tiny", build_vae, false, TRAINED},
                               {"medsora-tiny", build_medsora, false, TRAINED},
                               {"endora-tiny", build_endora, false, TRAINED},
                               {"forty-tiny", build_forty, false, TRAINED},
                               {"feat-tiny", build_feat, false, TRAINED},
                               {"feat-tiny-guided", build_feat_guided, false, TRAINED},
                               {"feat-tiny-released", build_feat_released, false, TRAINED},
                               {"lvdm-vae-tiny", build_lvdm_vae, false, TRAINED},
                               {"lvdm-tiny", build_lvdm, false, TRAINED},
                               {"lvdm-tiny-released", build_lvdm_released, false, TRAINED},
                               {"lvdm-public", build_lvdm_public, false, TRAINED},
                               {"medsora-tiny-told", build_medsora_told, false, TRAINED},
                               {"endora-tiny-told", build_endora_told, false, TRAINED},
                               {"feat-tiny-told", build_feat_told, false, TRAINED},
                               {"forty-tiny-told", build_forty_told, false, TRAINED},
                               {"lvdm-tiny-told", build_lvdm_told, false, TRAINED},
                               {"cogvideox-encode", build_cog_encode, true, TRAINED},
                               {"cogvideox-decode", build_cog_decode, true, TRAINED},
                               {"medsora-vae-encode", build_fc_encode, true, TRAINED},
                               {"medsora-vae-decode", build_fc_decode, true, TRAINED},
                               {"sd-vae-encode", build_sd_encode, true, TRAINED},
                               {"sd-vae-decode", build_sd_decode, true, TRAINED},
                               {"dino", build_dino, true, TRAINED},
                               {"dinov2", build_dinov2, true, TRAINED},
                               {"dinov2-reg", build_dinov2_reg, true, TRAINED},
                               {"patchgan", build_patchgan, false, TRAINED},
                               {"lpips-vgg", build_vgg, true, FROZEN},
                               {"lpips-alex", build_alex, true, FROZEN},
                               {"raft-large", build_raft_large, true, FROZEN},
                               {"raft-small", build_raft_small, true, FROZEN},
                               {"inception", build_inception, true, SPREAD},
                               {"i3d", build_i3d, true, SPREAD},
                               {"clip-tiny", build_clip, true, FROZEN},
                               {"videomae-tiny", build_videomae, true, FROZEN}};
enum { N_MODELS = sizeof models / sizeof *models };

/* 2e-4 of the largest value: f32 against f32, both with sums of thousands of terms in other orders over some 30 layers */
static const double tolerance = 2e-4;

static void test_golden(void **state)
{
    const model *m = *state;
    char path[600];
    ft_safetensors golden;
    snprintf(path, sizeof path, "%s/golden/%s.safetensors", FT_TEST_DIR, m->name);
    if (ft_safetensors_read(&golden, path) < 0) fail_msg("%s", ft_error_message());
    ft_params *params = ft_params_new(0);
    ft_graph *g = ft_graph_new(params, FT_F32, 1);
    ft_training(g, !m->eval);
    ft_t y = ft_cast(g, m->build(g), FT_F32);
    ft_keep(y);
    int64_t n = ft_count(y);
    float *w = malloc((size_t)n * sizeof *w);
    for (int64_t i = 0; i < n; i++) w[i] = value(crc32_of("projection"), i);
    if (m->kind == TRAINED) {
        ft_t s = ft_reduce(g, ft_mul(g, y, ft_const(g, FT_F32, ft_ndim(y), y->dim, w)), (1u << ft_ndim(y)) - 1, false);
        ft_backward(g, ft_reshape(g, s, 1, (int64_t[]){1}));
    }
    if (ft_graph_error(g)) fail_msg("%s", ft_graph_error(g));
    fill(params, m->kind == SPREAD);
    ft_plan *plan;
    if (ft_plan_new(&plan, g, FT_WEIGHTS) < 0) fail_msg("%s", ft_error_message());
    ft_step step = {0, 0, 0, 0, 0};
    assert_int_equal(ft_run(plan, &step), FT_OK);

    const ft_st_tensor *out = ft_safetensors_find(&golden, "output");
    assert_int_equal(out->count, n);
    double top = 0;
    ft_safetensors_f32(out, w);
    for (int64_t i = 0; i < n; i++) top = fmax(top, fabs((double)w[i]));
    for (int64_t i = 0; i < n; i++)
        if (!(fabs((double)((float *)ft_data(y))[i] - (double)w[i]) <= tolerance * top))
            fail_msg("%s: output %lld is %g, PyTorch has %g", m->name, (long long)i, (double)((float *)ft_data(y))[i],
                     (double)w[i]);
    int known = 0;
    for (int i = 0; i < ft_params_count(params); i++) {
        const ft_param_info *e = ft_params_at(params, i);
        char name[200];
        float ref[3];
        double a = 0, b = 0, norm = 0;
        if (!e->trained || m->kind != TRAINED) continue;
        snprintf(name, sizeof name, "grad.%s", e->name);
        const ft_st_tensor *t = ft_safetensors_find(&golden, name);
        if (!t) fail_msg("%s: PyTorch's twin has no parameter %s", m->name, e->name);
        ft_safetensors_f32(t, ref);
        const float *gr = ft_params_grad(params) + e->offset;
        for (int64_t k = 0; k < e->count; k++) {
            a += (double)gr[k] * (double)value(crc32_of("a"), k);
            b += (double)gr[k] * (double)value(crc32_of("b"), k);
            norm += (double)gr[k] * (double)gr[k];
        }
        norm = sqrt(norm);
        double allowed = 5 * tolerance * (double)ref[2] + 1e-5; /* the rest: gradients that are 0 in exact numbers */
        if (!(fabs(a - (double)ref[0]) <= allowed) || !(fabs(b - (double)ref[1]) <= allowed) ||
            !(fabs(norm - (double)ref[2]) <= allowed))
            fail_msg("%s: gradient of %s: (%g, %g, %g), PyTorch has (%g, %g, %g)", m->name, e->name, a, b, norm, (double)ref[0],
                     (double)ref[1], (double)ref[2]);
        known++;
    }
    assert_int_equal(known, golden.n - 1); /* no parameter of the twin is missing here */
    free(w);
    ft_plan_free(plan);
    ft_graph_free(g);
    ft_params_free(params);
    ft_safetensors_free(&golden);
}

/* names, shapes and totals of the public checkpoints */
static void test_manifests(void **state)
{
    (void)state;
    static const struct {
        const char *manifest, *preset;
        int64_t total;
    } list[] = {{"cogvideox_vae", "cogvideox-vae", 215583907},
                {"medsora_freqcomp_vae", "medsora-vae", 264399395},
                {"sd_vae_f8_diffusers", "sd-vae", 83653863},
                {"raft_large_torchvision", "raft-large", 5257536},
                {"raft_small_torchvision", "raft-small", 990162},
                {"dino_vits16", "dino-vits16", 21665664},
                {"dino_vits8", "dino-vits8", 21670272},
                {"dino_vitb16", "dino-vitb16", 85798656},
                {"dino_vitb8", "dino-vitb8", 85807872},
                {NULL, "dinov2-s14", 22056576},
                {NULL, "dinov2-b14", 86580480},
                {NULL, "dinov2-l14", 304368640},
                {NULL, "dinov2-s14-reg", 22058112},
                {NULL, "dinov2-b14-reg", 86583552},
                {NULL, "dinov2-l14-reg", 304372736},
                {"lpips_vgg_full", "lpips-vgg", 14716160},
                {"patchgan_nlayer3", "patchgan", 2765633},
                {NULL, "lpips-alex", 2469696 + 1152}, /* AlexNet's convolutions and the five heads */
                {NULL, "medsora-s", 43758784},
                {NULL, "medsora-b", 86466304},
                {NULL, "medsora-l", 171881344},
                {"forty_tiny", "forty-tiny", 766752},
                {NULL, "forty-small", 9703808},
                {NULL, "forty-base", 67041160},
                {NULL, "endora-s", 32511392},
                {NULL, "endora-b", 129608480},
                {NULL, "endora-l", 456897568},
                {NULL, "endora-xl", 673773728},
                {NULL, "feat-s", 158100624},
                {NULL, "feat-l", 629201112},
                {"inception_fid", "inception", 23850960},
                {"i3d_400", "i3d", 12697264},
                {"clip_b32_visual", "clip-b32", 87849216},
                {NULL, "clip-l14", 303966208},
                {NULL, "lvdm-vae", 19446759},
                {"lvdm_unet_short", "lvdm", 548904580},
                {"styleganv_G_128", "styleganv-128", 31863698},
                {"styleganv_G_256", "styleganv-256", 32105941},
                {"styleganv_D_128", "styleganv-128-critic", 25214848},
                {"styleganv_D_256", "styleganv-256-critic", 25333568},
                {"mostganv_G_128", "mostganv-128", 40673170},
                {"mostganv_G_256", "mostganv-256", 40915413},
                {"mostganv_G_256", "mostganv-256-paper", 40915413},
                {"mostganv_D_128", "mostganv-128-critic", 25804288},
                {"mostganv_D_256", "mostganv-256-critic", 25923008}};
    ft_config *cfg;
    assert_int_equal(ft_config_new(&cfg), FT_OK);
    for (size_t m = 0; m < sizeof list / sizeof *list; m++) {
        ft_params *p;
        if (ft_model_store(&p, list[m].preset, cfg, 2, 0) < 0) fail_msg("%s", ft_error_message());
        assert_int_equal(ft_model_parameters(p), list[m].total);
        char path[600], *text = NULL;
        size_t size;
        int rows = 0;
        snprintf(path, sizeof path, "%s/manifests/%s.tsv", FT_TEST_DIR, list[m].manifest ? list[m].manifest : "");
        if (list[m].manifest && ft_read_file(path, 0, &text, &size) < 0) fail_msg("%s", ft_error_message());
        for (char *line = text ? strtok(text, "\n") : NULL; line; line = strtok(NULL, "\n"), rows++) {
            char name[200], shape[100], own[100] = "[";
            assert_int_equal(sscanf(line, "%199[^\t]\t%99[^\t]", name, shape), 2);
            int i = 0;
            while (i < ft_params_count(p) && strcmp(ft_params_at(p, i)->name, name)) i++;
            if (i == ft_params_count(p)) fail_msg("%s has no tensor %s", list[m].preset, name);
            for (int k = 0; k < ft_params_at(p, i)->ndim; k++)
                snprintf(own + strlen(own), sizeof own - strlen(own), "%s%lld", k ? ", " : "",
                         (long long)ft_params_at(p, i)->dim[k]);
            snprintf(own + strlen(own), sizeof own - strlen(own), "]");
            assert_string_equal(own, shape);
        }
        if (text) assert_int_equal(rows, ft_params_count(p));
        ft_free(text);
        ft_params_free(p);
    }
    ft_config_free(cfg);
    ft_params *p = ft_params_new(0);
    ft_graph *g = ft_graph_new(p, FT_F32, 0);
    ft_classifier_network(g, "x3d-s", ft_input(g, "x", FT_F32, 5, (int64_t[]){1, 13, 160, 160, 3}), 400, 0, 0, NULL);
    assert_null(ft_graph_error(g));
    assert_int_equal(ft_model_parameters(p), 3794274);
    ft_graph_free(g);
    ft_params_free(p);
}

/* Other public layouts of the same networks: each of their tensors is ours, whole, a part, or transposed, and nothing of ours
 * that a file must hold is left without one. */
static void test_layouts(void **state)
{
    (void)state;
    static const struct {
        const char *manifest, *preset;
    } list[] = {{"inception_fid_nvidia", "inception"}, {"i3d_400_hassony2", "i3d"}, {"clip_b32_visual_huggingface", "clip-b32"}};
    ft_config *cfg;
    assert_int_equal(ft_config_new(&cfg), FT_OK);
    for (size_t m = 0; m < sizeof list / sizeof *list; m++) {
        const char *preset = list[m].preset;
        ft_params *p;
        if (ft_model_store(&p, preset, cfg, 2, 0) < 0) fail_msg("%s", ft_error_message());
        char path[600], *text;
        size_t size;
        int64_t *filled = calloc((size_t)ft_params_count(p), sizeof *filled);
        snprintf(path, sizeof path, "%s/manifests/%s.tsv", FT_TEST_DIR, list[m].manifest);
        if (ft_read_file(path, 0, &text, &size) < 0) fail_msg("%s", ft_error_message());
        for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
            char theirs[200], ours[256], shape[100], own[100] = "[";
            int64_t dim[FT_MAX_DIMS] = {0}, count = 1;
            int i = 0, part;
            assert_int_equal(sscanf(line, "%199[^\t]\t%99[^\t]", theirs, shape), 2);
            ft_public_name(preset, theirs, ours, sizeof ours);
            int parts = ft_public_part(preset, ours, &part);
            while (i < ft_params_count(p) && strcmp(ft_params_at(p, i)->name, ours)) i++;
            if (i == ft_params_count(p)) fail_msg("%s: %s becomes %s, which nobody has", preset, theirs, ours);
            const ft_param_info *e = ft_params_at(p, i);
            bool turned = ft_public_turned(preset, theirs);
            for (int k = 0; k < e->ndim; k++) {
                dim[k] = e->dim[turned ? e->ndim - 1 - k : k] / (k == 0 ? parts : 1), count *= dim[k];
                snprintf(own + strlen(own), sizeof own - strlen(own), "%s%lld", k ? ", " : "", (long long)dim[k]);
            }
            snprintf(own + strlen(own), sizeof own - strlen(own), "]");
            assert_string_equal(own, shape);
            filled[i] += count;
        }
        for (int i = 0; i < ft_params_count(p); i++) {
            const ft_param_info *e = ft_params_at(p, i);
            if (filled[i] != e->count && !(filled[i] == 0 && ft_public_optional(preset, e->name)))
                fail_msg("%s: %lld of %lld values of %s", preset, (long long)filled[i], (long long)e->count, e->name);
        }
        ft_free(text);
        free(filled);
        ft_params_free(p);
    }
    ft_config_free(cfg);
}

/* I3D's tensors under names of nobody: found by their order and shapes, unless a shape is another's or a vector says nothing */
static void test_by_order(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to;
    } tails[] = {{".conv3d.weight", "kernel"},
                 {".bn.bias", "beta"},
                 {".bn.running_mean", "moving_mean"},
                 {".bn.running_var", "moving_variance"},
                 {".conv3d.bias", "bias"}};
    ft_config *cfg;
    ft_params *p;
    assert_int_equal(ft_config_new(&cfg), FT_OK);
    if (ft_model_store(&p, "i3d", cfg, 2, 0) < 0) fail_msg("%s", ft_error_message());
    for (int change = 0; change < 3; change++) { /* nothing; two layers swapped; a mean that is called otherwise */
        ft_safetensors st = {.tensor = calloc((size_t)ft_params_count(p), sizeof *st.tensor)};
        int of[400], unit = 0, renamed, places[2] = {-1, -1};
        for (int i = 0; i < ft_params_count(p); i++) {
            const ft_param_info *e = ft_params_at(p, i);
            if (ends(e->name, ".bn.weight")) continue; /* TensorFlow's have none */
            ft_st_tensor *t = &st.tensor[st.n];
            char name[64];
            for (size_t k = 0; k < sizeof tails / sizeof *tails; k++)
                if (ends(e->name, tails[k].from)) snprintf(name, sizeof name, "net.%d.%s", unit += k == 0, tails[k].to);
            if (change == 2 && !strcmp(name, "net.9.moving_mean")) strcpy(name, "net.9.m");
            t->name = ft_strdup(name), t->ndim = e->ndim, t->count = e->count;
            memcpy(t->dim, e->dim, sizeof e->dim);
            if (!strcmp(e->name, "Mixed_4b.b1a.conv3d.weight")) places[0] = st.n;
            if (!strcmp(e->name, "Mixed_4b.b2a.conv3d.weight")) places[1] = st.n;
            of[st.n++] = i;
        }
        if (change == 1) {
            ft_st_tensor t = st.tensor[places[0]];
            st.tensor[places[0]] = st.tensor[places[1]], st.tensor[places[1]] = t;
        }
        assert_int_equal(ft_public_by_order("i3d", p, &st, &renamed), FT_OK);
        assert_int_equal(renamed, change ? 0 : st.n);
        for (int i = 0; i < st.n; i++) {
            if (change == 0) assert_string_equal(st.tensor[i].name, ft_params_at(p, of[i])->name);
            else assert_int_equal(strncmp(st.tensor[i].name, "net.", 4), 0);
            ft_free(st.tensor[i].name);
        }
        free(st.tensor);
    }
    ft_params_free(p);
    ft_config_free(cfg);
}

/* frames in, latents, frames out: as diffusers' AutoencoderKLCogVideoX */
static void test_vae_chunks(void **state)
{
    (void)state;
    static const int table[][3] = {{1, 1, 1},    {8, 2, 8}, {9, 3, 9}, {16, 4, 16}, {17, 5, 17}, {24, 6, 24},
                                   {49, 13, 49}, {4, 1, 1}, {5, 2, 8}, {12, 3, 9},  {13, 4, 16}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        assert_int_equal(ft_vae_latent_frames(ft_vae_find("cogvideox-vae"), table[i][0]), table[i][1]);
        assert_int_equal(ft_vae_decoded_frames(ft_vae_find("cogvideox-vae"), table[i][1]), table[i][2]);
    }
}

static ft_plan *run_once(ft_graph *g)
{
    ft_plan *plan;
    if (ft_plan_new(&plan, g, FT_WEIGHTS) < 0) fail_msg("%s", ft_error_message());
    assert_int_equal(ft_run(plan, &(ft_step){0}), FT_OK);
    return plan;
}

/* ---- numbers found apart in double precision by finite differences -------- */

static void near_all(const char *what, ft_t t, int n, const double *want)
{
    for (int i = 0; i < n; i++)
        if (!(fabs((double)((const float *)ft_data(t))[i] - want[i]) < 4e-6))
            fail_msg("%s[%d]: %g, double precision has %g", what, i, (double)((const float *)ft_data(t))[i], want[i]);
}

static ft_t values(ft_graph *g, const char *name, int n, const float *v)
{
    ft_t t = ft_input(g, name, FT_F32, 1, (int64_t[]){n});
    memcpy(ft_data(t), v, (size_t)n * sizeof *v);
    ft_need_grad(t);
    return t;
}

/* k, v of four tokens and one channel; columns: on a 2x2 grid */
static ft_t wkv_of(ft_graph *g, ft_t k, ft_t v, ft_t w, ft_t u, int64_t columns)
{
    int64_t dim[3] = {1, 4, 1};
    return ft_reshape(g, ft_wkv(g, ft_reshape(g, k, 3, dim), ft_reshape(g, v, 3, dim), w, u, columns), 1, (int64_t[]){4});
}

static void test_wkv_vectors(void **state)
{
    (void)state;
    ft_params *params = ft_params_new(0);
    ft_graph *g = ft_graph_new(params, FT_F32, 0);
    ft_t k = values(g, "k", 4, (float[]){0.1f, -0.2f, 0.3f, 0}), v = values(g, "v", 4, (float[]){1, 2, -1, 0.5f}),
         w = values(g, "w", 1, (float[]){0.25f}), u = values(g, "u", 1, (float[]){0.1f}), y = wkv_of(g, k, v, w, u, 0);
    ft_t again = wkv_of(g, k, y, values(g, "w2", 1, (float[]){-0.5f}), values(g, "u2", 1, (float[]){0.2f}), 2);
    ft_t steep = values(g, "steep", 4, (float[]){80, -90, 85, -70});
    ft_t far = wkv_of(g, steep, v, values(g, "w3", 1, (float[]){-5}), values(g, "u3", 1, (float[]){100}), 0);
    ft_keep(y), ft_keep(again), ft_keep(far);
    ft_backward_from(g, y, ft_const(g, FT_F32, 1, (int64_t[]){4}, (float[]){1, -1, 0.5f, 2}));
    ft_t grad[4] = {ft_grad(g, k), ft_grad(g, v), ft_grad(g, w), ft_grad(g, u)};
    for (int i = 0; i < 4; i++) ft_keep(grad[i]);
    ft_plan *plan = run_once(g);
    near_all("y", y, 4, (double[]){0.57082084, 0.47222618, 0.36112435, 0.30515805});
    near_all("dk", grad[0], 4, (double[]){0.31428624, 0.71761858, -1.14615775, 0.11425292});
    near_all("dv", grad[1], 4, (double[]){0.52269994, 0.43980695, 0.85439164, 0.68310147});
    near_all("dw", grad[2], 1, (double[]){-0.66037140});
    near_all("du", grad[3], 1, (double[]){-0.32121242});
    near_all("rows, then columns", again, 4, (double[]){0.40262939, 0.44566212, 0.40525860, 0.45088810});
    near_all("steep", far, 4, (double[]){1, -0.98661430, -1, 0.98661430});
    ft_plan_free(plan);
    ft_graph_free(g);

    g = ft_graph_new(params, FT_F32, 0); /* three tokens of q|k|v, two channels each */
    static const float qkv[] = {1, .5f, 1, -1, 1, 4, 2, 0, 0, 1, 2, 5, -1, 1, 1, .5f, 3, 6};
    ft_t x = values(g, "qkv", 18, qkv), theta = values(g, "theta", 1, (float[]){1.5f});
    y = ft_attention_channel(g, ft_reshape(g, x, 3, (int64_t[]){1, 3, 6}), theta, 1);
    ft_keep(y);
    plan = run_once(g);
    near_all("channel attention", y, 6, (double[]){2.65256374, 1.58256342, 3.65256374, 2.58256342, 4.65256374, 3.58256342});
    ft_plan_free(plan);
    ft_graph_free(g);
    ft_params_free(params);
}

/* Clean frequency compensation is the identity at the start, for any number of latents, and learns from there. The released form
 * is not, and refuses chunks of other than two latents. */
static void test_frequency_compensation(void **state)
{
    (void)state;
    float *plain = NULL;
    for (int fc = FT_FC_NONE; fc <= FT_FC_RELEASED; fc++) {
        ft_vae_preset p = with((ft_frequency_compensation)fc);
        ft_params *params = ft_params_new(3);
        ft_graph *g = ft_graph_new(params, FT_F32, 1);
        ft_t z = filled(g, "z", 5, (int64_t[]){1, 3, 2, 2, 4});
        ft_t y = ft_vae_decode(g, &p, z);
        if (fc == FT_FC_RELEASED) {
            assert_non_null(ft_graph_error(g));
            assert_non_null(strstr(ft_graph_error(g), "clean"));
        } else {
            ft_keep(y);
            ft_backward(g, ft_reshape(g, ft_reduce(g, ft_unary(g, FT_SQUARE, y), 31, true), 1, (int64_t[]){1}));
            ft_plan *plan = run_once(g);
            if (!plain) plain = malloc((size_t)ft_count(y) * 4), memcpy(plain, ft_data(y), (size_t)ft_count(y) * 4);
            else assert_memory_equal(plain, ft_data(y), (size_t)ft_count(y) * 4);
            int moved = 0;
            for (int i = 0; fc && i < ft_params_count(params); i++) {
                const ft_param_info *e = ft_params_at(params, i);
                double norm = 0;
                for (int64_t k = 0; k < e->count; k++)
                    norm += e->trained ? fabs((double)ft_params_grad(params)[e->offset + k]) : 0;
                if (strstr(e->name, "freq") && (strstr(e->name, ".3.conv.weight") || strstr(e->name, ".2.weight")))
                    moved += norm > 0;
            }
            assert_int_equal(moved, fc ? 5 : 0); /* the last layer of each branch of the decoder feels the loss */
            ft_plan_free(plan);
        }
        ft_graph_free(g);
        ft_params_free(params);
    }
    free(plain);
}

/* rank tables of 6 x 8, written by hand; every step of a true spiral goes to a neighbour */
/* What a cubic kernel makes of black and white squares reaches beyond both; what a network sees does not, as in clean-fid */
static void test_overshoot(void **state)
{
    (void)state;
    const ft_judge_preset *row = ft_judge_find("inception-clean");
    ft_params *p = ft_params_new(0);
    ft_graph *g = ft_graph_new(p, FT_F32, 0);
    ft_t x = ft_input(g, "x", FT_F32, 4, (int64_t[]){1, 24, 24, 3}), y = ft_judge_prepare(g, row, x);
    float least = 1, most = 0;
    ft_plan *plan;
    for (int i = 0; i < 24 * 24 * 3; i++) ((float *)ft_data(x))[i] = (float)((i / 3 / 24 / 6 + i / 3 % 24 / 6) % 2);
    ft_keep(y);
    assert_int_equal(ft_plan_new(&plan, g, FT_WEIGHTS), FT_OK);
    assert_int_equal(ft_run(plan, &(ft_step){0}), FT_OK);
    for (int64_t i = 0; i < ft_count(y); i++) {
        float v = ((const float *)ft_data(y))[i] * row->std[i % 3] + row->mean[i % 3];
        least = fminf(least, v), most = fmaxf(most, v);
    }
    assert_true(fabsf(least) < 1e-6f && fabsf(most - 1) < 1e-6f);
    ft_plan_free(plan);
    ft_graph_free(g);
    ft_params_free(p);
}

static void test_spiral(void **state)
{
    (void)state;
    static const int cw_row1[8] = {23, 24, 25, 26, 27, 28, 29, 8}, ccw_row2[8] = {2, 25, 40, 47, 46, 45, 34, 15};
    int32_t order[48], rank[48], back[48];
    ft_medsora_scan(6, 8, 0, false, FT_SCAN_SPIRAL, order);
    for (int k = 0; k < 48; k++) rank[order[k]] = k;
    for (int x = 0; x < 8; x++) assert_int_equal(rank[8 + x], cw_row1[x]);
    ft_medsora_scan(6, 8, 4, false, FT_SCAN_SPIRAL, order);
    for (int k = 0; k < 48; k++) rank[order[k]] = k;
    for (int x = 0; x < 8; x++) assert_int_equal(rank[16 + x], ccw_row2[x]);
    for (int variant = 0; variant < 8; variant++) {
        ft_medsora_scan(6, 8, variant, false, FT_SCAN_SPIRAL, order);
        ft_medsora_scan(6, 8, variant, true, FT_SCAN_SPIRAL, back);
        for (int k = 0; k < 48; k++) assert_int_equal(order[k], back[47 - k]); /* the reverse is the time reversal */
        for (int k = 1; k < 48; k++)
            assert_int_equal(abs(order[k] / 8 - order[k - 1] / 8) + abs(order[k] % 8 - order[k - 1] % 8), 1);
    }
}

static float *run_medsora(bool change, bool init)
{
    ft_params *params = ft_params_new(3);
    ft_graph *g = ft_graph_new(params, FT_F32, 1);
    ft_t y = build_medsora(g);
    ft_keep(y);
    for (int i = 0; change && i < g->n_tensor; i++)
        if (g->tensor[i]->kind == FT_IS_INPUT && g->tensor[i]->ndim == 5)
            for (int k = 0; k < 1024; k++)
                ((float *)g->tensor[i]->data)[3 * 1024 + k] += 1; /* the last latent frame of sample 0 */
    if (!init) fill(params, false);
    ft_plan *plan;
    assert_int_equal(ft_plan_new(&plan, g, FT_WEIGHTS), FT_OK);
    ft_step step = {0, 0, 0, 0, 0};
    assert_int_equal(ft_run(plan, &step), FT_OK);
    float *out = malloc((size_t)ft_count(y) * sizeof *out);
    memcpy(out, ft_data(y), (size_t)ft_count(y) * sizeof *out);
    ft_plan_free(plan);
    ft_graph_free(g);
    ft_params_free(params);
    return out;
}

static void test_medsora_properties(void **state)
{
    (void)state;
    float *zero = run_medsora(false, true), *a = run_medsora(false, false), *b = run_medsora(true, false);
    for (int i = 0; i < 2 * 4 * 8 * 8 * 32; i++) assert_true(zero[i] == 0); /* adaLN-zero: nothing comes out at the start */
    bool moved = false;
    for (int i = 0; i < 1024 * 2; i++) moved |= a[i] != b[i]; /* the spatial scans join frames: frame 0 sees frame 3 */
    assert_true(moved);
    for (int i = 4 * 8 * 8 * 32; i < 2 * 4 * 8 * 8 * 32; i++) assert_true(a[i] == b[i]); /* samples do not see each other */
    free(zero);
    free(a);
    free(b);
}

/* a guarded plan without reuse, run on one thread, computes the same bits as the packed plan on two; both are planned for two */
static void test_guarded_plan(void **state)
{
    (void)state;
    if (ft_threads_get() < 2) ft_threads_set(2);
    for (int m = 0; m < N_MODELS; m++) {
        if (models[m].kind != TRAINED) continue;
        float *grad[2] = {0};
        int64_t n = 0;
        for (int guard = 0; guard < 2; guard++) {
            setenv("FT_PLAN_GUARD", guard ? "1" : "0", 1);
            setenv("FORTY_THREADS_NOW", guard ? "1" : "2", 1);
            ft_params *params = ft_params_new(5);
            ft_graph *g = ft_graph_new(params, FT_F32, 1);
            ft_training(g, !models[m].eval);
            ft_t y = models[m].build(g);
            ft_t loss = ft_reduce(g, ft_unary(g, FT_SQUARE, y), (1u << ft_ndim(y)) - 1, true);
            ft_backward(g, ft_reshape(g, loss, 1, (int64_t[]){1}));
            fill(params, false);
            ft_plan *plan;
            assert_int_equal(ft_plan_new(&plan, g, FT_WEIGHTS), FT_OK);
            ft_step step = {0, 0, 0, 0, 0};
            if (ft_run(plan, &step) < 0) fail_msg("%s", ft_error_message());
            n = ft_params_trained_size(params);
            grad[guard] = malloc((size_t)n * sizeof(float));
            memcpy(grad[guard], ft_params_grad(params), (size_t)n * sizeof(float));
            ft_plan_info info = ft_plan_describe(plan);
            if (!guard) assert_true((double)info.act_bytes <= 1.05 * (double)info.live_bytes); /* within 5 % of the lower bound */
            ft_plan_free(plan);
            ft_graph_free(g);
            ft_params_free(params);
        }
        unsetenv("FT_PLAN_GUARD");
        unsetenv("FORTY_THREADS_NOW");
        for (int64_t i = 0; i < n; i++)
            if (memcmp(&grad[0][i], &grad[1][i], sizeof(float)) != 0)
                fail_msg("%s: gradient %lld is %.9g and %.9g", models[m].name, (long long)i, grad[0][i], grad[1][i]);
        free(grad[0]);
        free(grad[1]);
    }
    ft_threads_set(0);
}

int main(int argc, char **argv)
{
    enum { OTHERS = 10 };
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    struct CMUnitTest tests[N_MODELS + OTHERS] = {cmocka_unit_test(test_manifests),
                                                  cmocka_unit_test(test_layouts),
                                                  cmocka_unit_test(test_by_order),
                                                  cmocka_unit_test(test_vae_chunks),
                                                  cmocka_unit_test(test_spiral),
                                                  cmocka_unit_test(test_overshoot),
                                                  cmocka_unit_test(test_medsora_properties),
                                                  cmocka_unit_test(test_guarded_plan),
                                                  cmocka_unit_test(test_wkv_vectors),
                                                  cmocka_unit_test(test_frequency_compensation)};
    for (int i = 0; i < N_MODELS; i++)
        tests[OTHERS + i] = (struct CMUnitTest){models[i].name, test_golden, NULL, NULL, (void *)(uintptr_t)&models[i]};
    return cmocka_run_group_tests_name("models", tests, NULL, NULL);
}
