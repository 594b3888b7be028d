#include "classify/pretrain.h"

#include <stdio.h>
#include <string.h>

#include "classify/classifier.h"
#include "classify/motions.h"
#include "common/base/memory.h"
#include "common/base/ranks.h"
#include "common/base/status.h"
#include "common/graph/layers.h"
#include "common/train/precision.h"
#include "common/train/train_loop.h"

enum { KINDS = 1 + FT_MOTION_SHAPES, VELOCITY = KINDS + FT_MOTION_TEXTURES, COUNTS = FT_MOTION_MOST + 1 };

typedef struct {
    int64_t batch, frames, size;
    uint64_t seed;
    ft_t rgb, kind, texture, velocity, colour, camera, light, count;
} feeder;

static int feed(void *ctx, int64_t step)
{
    feeder *f = ctx;
    int64_t each = f->frames * f->size * f->size * 3, cells = f->frames / 2 * (f->size / 16) * (f->size / 16),
            first = ft_first_sample(step, f->batch);
    int rc = FT_OK;
#pragma omp parallel for schedule(dynamic)
    for (int64_t b = 0; b < f->batch; b++) {
        ft_motions m;
        float *cell = ft_alloc((size_t)(cells * FT_MOTION_CELL) * sizeof *cell);
        if (!cell) {
#pragma omp atomic write
            rc = FT_ENOMEM;
            continue;
        }
        ft_motions_clip(f->seed, (uint64_t)(first + b), (int)f->frames, (int)f->size, (uint8_t *)ft_data(f->rgb) + b * each, cell,
                        &m);
        for (int64_t i = 0; i < cells; i++) {
            const float *c = cell + i * FT_MOTION_CELL;
            memcpy((float *)ft_data(f->kind) + (b * cells + i) * KINDS, c, KINDS * sizeof *c);
            memcpy((float *)ft_data(f->texture) + (b * cells + i) * FT_MOTION_TEXTURES, c + KINDS,
                   FT_MOTION_TEXTURES * sizeof *c);
            memcpy((float *)ft_data(f->velocity) + (b * cells + i) * 2, c + VELOCITY, 2 * sizeof *c);
            memcpy((float *)ft_data(f->colour) + (b * cells + i) * 3, c + VELOCITY + 2, 3 * sizeof *c);
        }
        ft_free(cell);
        ((int32_t *)ft_data(f->camera))[b] = m.camera;
        ((int32_t *)ft_data(f->light))[b] = m.light;
        ((int32_t *)ft_data(f->count))[b] = m.shapes;
    }
    return rc < 0 ? FT_FAIL(FT_ENOMEM, "no memory for a procedural clip") : FT_OK;
}

int ft_pretrain(const ft_config *cfg, const char *dir, uint64_t seed, bool resume)
{
    const char *model = ft_config_text(cfg, "classifier.model");
    const ft_classifier *family = ft_classifier_find(model);
    feeder f = {.batch = ft_config_int(cfg, "pretrain.batch"),
                .frames = ft_config_int(cfg, "data.frames"),
                .size = ft_config_int(cfg, "data.size"),
                .seed = seed};
    if (!family)
        return FT_FAIL(FT_ECONFIG, "%s: classifier.model %s is not known. `forty models` lists the presets",
                       ft_config_origin(cfg, "classifier.model"), model);
    if (!family->map)
        return FT_FAIL(FT_ECONFIG, "%s: classifier.model %s cannot be pretrained here. Use eye",
                       ft_config_origin(cfg, "classifier.model"), model);
    if (f.frames % 2 || f.frames > 64 || f.size % 16 || f.size > 256)
        return FT_FAIL(FT_ECONFIG,
                       "%s: procedural clips have an even number of frames, 64 at most, and a multiple of 16 pixels, 256 at "
                       "most; data.frames is %lld, data.size %lld",
                       ft_config_origin(cfg, f.frames % 2 || f.frames > 64 ? "data.frames" : "data.size"), (long long)f.frames,
                       (long long)f.size);
    ft_dtype dtype;
    FT_TRY(ft_precision(cfg, family->work, &dtype));
    int64_t B = f.batch, cells = B * f.frames / 2 * (f.size / 16) * (f.size / 16);
    ft_params *params = ft_params_new(seed);
    ft_graph *g = params ? ft_graph_new(params, dtype, 31) : NULL;
    ft_plan *plan = NULL;
    json_t *about = json_pack("{s:s}", "model", model);
    int rc = g && about ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for %s", model);
    if (rc < 0) goto done;
    f.rgb = ft_input(g, "rgb", FT_U8, 5, (int64_t[]){B, f.frames, f.size, f.size, 3});
    f.kind = ft_input(g, "kind", FT_F32, 2, (int64_t[]){cells, KINDS});
    f.texture = ft_input(g, "texture", FT_F32, 2, (int64_t[]){cells, FT_MOTION_TEXTURES});
    f.velocity = ft_input(g, "velocity", FT_F32, 2, (int64_t[]){cells, 2});
    f.colour = ft_input(g, "colour", FT_F32, 2, (int64_t[]){cells, 3});
    f.camera = ft_input(g, "camera", FT_I32, 1, &B);
    f.light = ft_input(g, "light", FT_I32, 1, &B);
    f.count = ft_input(g, "count", FT_I32, 1, &B);
    ft_t x = ft_augment(g, f.rgb, NULL, NULL, FT_CLASSIFIER_MEAN, FT_CLASSIFIER_STD), pooled;
    ft_t map = ft_classifier_map(g, model, x, &pooled);
    ft_t each = ft_reshape(g, map, 2, (int64_t[]){cells, ft_dim(map, 4)});
    const struct {
        const char *name;
        ft_t from, target;
        int64_t width;
    } asked[] = {{"shape", each, f.kind, KINDS},
                 {"texture", each, f.texture, FT_MOTION_TEXTURES},
                 {"velocity", each, f.velocity, 2},
                 {"colour", each, f.colour, 3},
                 {"camera", pooled, f.camera, FT_MOTION_CAMERAS},
                 {"light", pooled, f.light, FT_MOTION_LIGHTS},
                 {"count", pooled, f.count, COUNTS}};
    enum { ASKED = sizeof asked / sizeof *asked };
    ft_trainer t = {.dir = dir,
                    .what = "pretrain",
                    .model = model,
                    .params = params,
                    .main = {.lr = ft_config_real(cfg, "pretrain.lr")},
                    .steps = ft_config_int(cfg, "pretrain.steps"),
                    .warmup = (ft_config_int(cfg, "pretrain.steps") + 19) / 20,
                    .save_every = ft_config_int(cfg, "save_every"),
                    .tensorboard = ft_config_bool(cfg, "log.tensorboard"),
                    .ema = ft_config_real(cfg, "pretrain.ema"),
                    .seed = seed,
                    .resume = resume,
                    .feed = feed,
                    .ctx = &f,
                    .n_logged = 1 + ASKED,
                    .logged_name = {"loss"},
                    .metadata = about};
    ft_t total = NULL;
    for (int i = 0; i < ASKED; i++) {
        bool place = asked[i].from == each;
        ft_t y =
            ft_cast(g, ft_layer_linear(g, ft_name(g, "training.%s", asked[i].name), asked[i].from, asked[i].width, true), FT_F32);
        ft_t loss = ft_dtype_of(asked[i].target) == FT_I32 || (place && asked[i].width > 3)
                        ? ft_softmax_xent(g, y, asked[i].target, NULL)
                        : ft_loss_mean(g, y, asked[i].target, FT_MSE);
        ft_t part = ft_affine(g, loss, (float)ft_config_real(cfg, place ? "pretrain.cells" : "pretrain.whole"), 0);
        total = total ? ft_add(g, total, part) : part;
        ft_keep(loss);
        t.logged_name[1 + i] = asked[i].name, t.main.logged[1 + i] = loss;
    }
    ft_keep(total);
    ft_backward(g, total);
    t.main.logged[0] = total;
    t.main.grad_norm =
        ft_optimise(g, (ft_optim_opt){.weight_decay = (float)ft_config_real(cfg, "pretrain.weight_decay"), .clip = 5});
    FT_TRY_TO(rc, done, ft_plan_new(&plan, g, FT_WEIGHTS));
    t.main.plan = plan;
    rc = ft_train(&t);
done:
    ft_plan_free(plan);
    ft_graph_free(g);
    ft_params_free(params);
    json_decref(about);
    return rc;
}
