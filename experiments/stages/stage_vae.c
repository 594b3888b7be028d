/* The VAE of a fold's pool, its latents and those of the validation videos. */
#include "experiments/stages/stage_vae.h"

#include <math.h>

#include "common/base/memory.h"
#include "common/base/status.h"
#include "experiments/stages/stage_data.h"
#include "gen/vae_train.h"

static double work(const ft_config *cfg) { return (double)ft_config_int(cfg, "vae.steps"); }

static int compute(const ft_experiment *x, const ft_stage *s, json_t *facts)
{
    const ft_fold *f = &x->folds[s->fold];
    char latents[FT_PATH], held_out[FT_PATH];
    int64_t *clip = NULL, *held = NULL, n = 0, m = 0;
    ft_vae_score score = {.psnr = NAN};
    ft_stage_file(latents, s, "latents.safetensors");
    ft_stage_file(held_out, s, "held-out.safetensors");
    int rc = ft_clips_of(&x->store, &f->pool, &clip, &n);
    if (rc == FT_OK) rc = ft_clips_of(&x->store, &f->validation, &held, &m);
    ft_clip_pool pool = {&x->store, clip, n}, rest = {&x->store, held, m};
    if (rc == FT_OK) rc = ft_vae_train(s->own, &pool, s->folder, 0, true);
    if (rc == FT_OK) rc = ft_vae_encode_pool(s->own, s->folder, &pool, latents);
    if (rc == FT_OK && m > 0) rc = ft_vae_encode_pool(s->own, s->folder, &rest, held_out);
    if (rc == FT_OK && m > 0) rc = ft_vae_evaluate(s->own, s->folder, &rest, &score);
    ft_free(clip);
    ft_free(held);
    json_object_set_new(facts, "psnr", isnan(score.psnr) ? json_null() : json_real(score.psnr));
    json_object_set_new(facts, "band_error", json_pack("[f,f,f]", score.band[0], score.band[1], score.band[2]));
    return rc;
}
static const ft_stage_kind vae = {"vae", compute, work};

int ft_stage_vae(ft_experiment *x, const ft_config *cfg, const char *label, int fold, ft_stage **stage)
{
    static const char *const keys[] = {"vae.", "generator.image", "precision", NULL};
    const ft_fold *f = &x->folds[fold];
    json_t *settings;
    FT_TRY(ft_key_settings(cfg, keys, &settings));
    json_t *key = json_pack("{s:o,s:s,s:o,s:o}", "config", settings, "store", x->store.id, "pool",
                            ft_video_names(&x->store, &f->pool), "held_out", ft_video_names(&x->store, &f->validation));
    return ft_stage_add(x, &(ft_stage){.kind = &vae, .cfg = cfg, .arm = "", .label = label, .file = "", .fold = fold}, key,
                        stage);
}
