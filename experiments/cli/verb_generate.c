/* generate: clips of a trained generator. */
#include <stdio.h>

#include "common/base/files.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/graph/choices.h"
#include "common/io/clipstore.h"
#include "common/io/video.h"
#include "experiments/cli/cli.h"
#include "gen/generator.h"

/* Clips as files DIR/NAME.EXTENSION: looks at all names before anything is sampled (write false), and writes them. */
static int clip_files(const char *store, const char *preset, int64_t n, const char *dir, const char *extension, bool write,
                      bool force)
{
    ft_clipstore s = {0};
    int rc = FT_OK;
    if (!write) FT_TRY(ft_mkdirs(dir));
    else FT_TRY(ft_clipstore_read(&s, store));
    for (int64_t i = 0; rc == FT_OK && i < n; i++) {
        char name[FT_SAMPLE_NAME];
        ft_sample_name(preset, i, name);
        char *path = ft_format("%s/%s.%s", dir, name, extension);
        if (!path) rc = FT_FAIL(FT_ENOMEM, "no memory");
        else if (!write) rc = ft_claim_output(path, force);
        else rc = ft_video_write(path, ft_clip_pixels(&s, i), s.frames, s.size, s.size, 8);
        ft_free(path);
    }
    ft_clipstore_free(&s);
    return rc;
}

/* Options that are settings of the run, for this call otherwise. */
static int set_options(ft_cli *c, ft_config *cfg)
{
    static const struct {
        const char *option, *key;
    } as[] = {
        {"--sampler", "generator.sampler"}, {"--steps", "generator.sample_steps"}, {"--guidance", "generator.class_guidance"}};
    for (size_t i = 0; i < sizeof as / sizeof *as; i++) {
        if (!ft_cli_text(c, as[i].option)) continue;
        char *set = ft_format("%s=%s", as[i].key, ft_cli_text(c, as[i].option));
        int rc = set ? ft_config_set(cfg, set, as[i].option) : FT_FAIL(FT_ENOMEM, "no memory");
        ft_free(set);
        FT_TRY(rc);
    }
    return FT_OK;
}

static int run_generate(ft_cli *c)
{
    const char *const *arg, *out = ft_cli_text(c, "-o");
    char path[1200], vae[1200], latents[1200];
    int64_t n, steps;
    ft_config *cfg = NULL;
    ft_clipstore s = {0};
    static const struct {
        const char *option, *extension;
    } as[2] = {{"--mp4", "mp4"}, {"--gif", "gif"}};
    FT_TRY(ft_cli_need(c, 1, "RUN"));
    ft_cli_args(c, &arg);
    if (!out) return FT_FAIL(FT_EUSAGE, "-o CLIPS.h5 is missing. usage: forty %s", ft_verb_generate.usage);
    FT_TRY(ft_cli_int(c, "-n", 1, 1000000, &n));
    if (ft_cli_text(c, "--steps")) FT_TRY(ft_cli_int(c, "--steps", 1, 1000, &steps));
    FT_TRY(ft_claim_output(out, ft_cli_flag(c, "--force")));
    snprintf(path, sizeof path, "%s/config.yaml", arg[0]);
    ft_choices_keep(arg[0]);
    FT_TRY(ft_cli_config(c, path, &cfg));
    int rc = FT_OK;
    for (size_t k = 0; k < 2; k++)
        if (ft_cli_text(c, as[k].option))
            FT_TRY_TO(rc, done,
                      clip_files(out, ft_config_text(cfg, "generator.model"), n, ft_cli_text(c, as[k].option), as[k].extension,
                                 false, ft_cli_flag(c, "--force")));
    FT_TRY_TO(rc, done, set_options(c, cfg));
    snprintf(vae, sizeof vae, "%s/vae", arg[0]);
    snprintf(latents, sizeof latents, "%s/latents.safetensors", arg[0]);
    FT_TRY_TO(rc, done, ft_clipstore_read(&s, ft_config_text(cfg, "data.clips"))); /* the shape of the training clips */
    FT_TRY_TO(rc, done,
              ft_generator_sample(cfg, ft_config_text(cfg, "generator.model"), arg[0], vae, latents, ft_cli_text(c, "--class"), n,
                                  s.frames, s.size, (uint64_t)ft_config_int(cfg, "seed"), out));
    for (size_t k = 0; k < 2; k++)
        if (ft_cli_text(c, as[k].option))
            FT_TRY_TO(rc, done,
                      clip_files(out, ft_config_text(cfg, "generator.model"), n, ft_cli_text(c, as[k].option), as[k].extension,
                                 true, true));
    ft_cli_print(c, json_pack("{s:s,s:I}", "output", out, "clips", (json_int_t)n), "%s: %lld clips\n", out, (long long)n);
done:
    ft_clipstore_free(&s);
    ft_config_free(cfg);
    return rc;
}
static const ft_option generate_options[] = {{"-n", "N", "200", "clips to sample"},
                                             {"-o", "CLIPS.h5", NULL, "clip store to write"},
                                             {"--sampler", "unipc|ddim|ddpm", NULL, "sampler; as in the configuration"},
                                             {"--steps", "N", NULL, "sampling steps; as in the configuration"},
                                             {"--class", "NAME", NULL, "clips of this class alone; without it of each in turn"},
                                             {"--guidance", "S", NULL, "how far they lean towards it; as in the configuration"},
                                             {"--mp4", "DIR", NULL, "also write MP4 files"},
                                             {"--gif", "DIR", NULL, "also write GIF files"},
                                             {NULL, NULL, NULL, NULL}};
const ft_verb ft_verb_generate = {"generate",
                                  "samples clips from a trained generator",
                                  "generate RUN -n 200 -o CLIPS.h5",
                                  "forty generate runs/medsora -n 50 -o fake.h5 --gif gifs",
                                  generate_options,
                                  run_generate};
