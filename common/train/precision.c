#include "common/train/precision.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/files.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/machine.h"
#include "common/base/status.h"
#include "common/graph/backend.h"
#include "common/graph/choices.h"

bool ft_bf16_wins(const ft_rates *r, ft_work work) { return r->gflops[work][1] > 1.05 * r->gflops[work][0]; }

static const char *setting(ft_work work) /* its key */
{
    static const char *const key[FT_WORKS] = {"auto.products", "auto.convolutions", "auto.depthwise"};
    return key[work];
}

ft_precision_opt ft_precision_options(const ft_config *cfg)
{
    const char *all = ft_config_text(cfg, "precision");
    ft_precision_opt o;
    for (int w = 0; w < FT_WORKS; w++) {
        const char *key = strcmp(all, "auto") ? "precision" : setting((ft_work)w), *wish = ft_config_text(cfg, key);
        o.take[w] = !strcmp(wish, "bf16") ? FT_PRECISION_BF16 : !strcmp(wish, "f32") ? FT_PRECISION_F32 : FT_PRECISION_MEASURED;
        o.from[w] = ft_config_origin(cfg, key);
    }
    return o;
}

int ft_precision_of(const ft_precision_opt *o, ft_work work, ft_dtype *dtype)
{
    ft_rates r;
    FT_TRY(ft_backend_open());
    bool half = o->take[work] == FT_PRECISION_BF16;
    if (o->take[work] == FT_PRECISION_MEASURED && ft_backend_now()->device) half = true;
    else if (o->take[work] == FT_PRECISION_MEASURED && ft_backend_has_bf16()) {
        FT_TRY(ft_rates_here(&r));
        half = ft_bf16_wins(&r, work);
    }
    *dtype = half ? FT_BF16 : FT_F32;
    if (half && !ft_backend_has_bf16())
        return FT_FAIL(FT_EDEVICE, "%s: bf16 needs a processor with AVX-512, which this one has not. Use --precision f32",
                       o->from[work] ? o->from[work] : "precision");
    return FT_OK;
}

int ft_precision(const ft_config *cfg, ft_work work, ft_dtype *dtype)
{
    ft_precision_opt o = ft_precision_options(cfg);
    return ft_precision_of(&o, work, dtype);
}

static int choose(ft_config *cfg, ft_work work, const char *what, const char *origin)
{
    char assignment[64];
    snprintf(assignment, sizeof assignment, "%s=%s", setting(work), what);
    return ft_config_set(cfg, assignment, origin);
}

/* Of two processes that begin, the first one's choice holds. */
static int write_once(const char *path, json_t *o)
{
    char *text;
    FT_TRY(ft_json_text(o, JSON_INDENT(1), &text));
    int rc = ft_write_once(path, text, strlen(text));
    ft_free(text);
    return rc;
}

static int choices(json_t **out)
{
    char cpu[200];
    ft_rates r = {0};
    const ft_device *gpu = ft_backend_now()->device;
    bool measured = !gpu && ft_backend_has_bf16();
    if (measured) FT_TRY(ft_rates_here(&r));
    ft_processor(cpu, sizeof cpu);
    json_t *o = *out =
        json_pack("{s:s,s:s}", "processor", gpu ? gpu->describe() : cpu, "library", gpu ? "CUDA" : ft_cpu_library());
    if (!o) return FT_FAIL(FT_ENOMEM, "no memory for choices");
    if (measured) json_object_set_new(o, "gflops", ft_rates_json(&r));
    for (int w = 0; w < FT_WORKS; w++)
        json_object_set_new(o, ft_work_name[w], json_string(gpu || ft_bf16_wins(&r, (ft_work)w) ? "bf16" : "f32"));
    return FT_OK;
}

/* A GPU's sums are not the processor's: what lies in one folder is of one kind. */
static int same_kind(const json_t *o, const char *folder)
{
    const char *library = json_string_value(json_object_get(o, "library"));
    bool gpu = ft_backend_now()->device != NULL, was = library && !strcmp(library, "CUDA");
    if (!library || was == gpu) return FT_OK;
    return FT_FAIL(FT_ECONFIG,
                   "%s was begun on %s and would go on on %s: its numbers would be of both. Use --device %s, or another folder",
                   folder, was ? "a GPU" : "the processor", gpu ? "a GPU" : "the processor", was ? "cuda" : "cpu");
}

int ft_precision_keep(ft_config *cfg, const char *folder, bool begin)
{
    char path[1100];
    json_error_t e;
    if (snprintf(path, sizeof path, "%s/precision.json", folder) >= (int)sizeof path)
        return FT_FAIL(FT_EIO, "%s: the path is too long", folder);
    if (!ft_exists(path) && !begin) return FT_OK;
    if (begin) ft_choices_keep(folder);
    if (begin) FT_TRY(ft_backend_open());
    if (!ft_exists(path)) {
        json_t *o;
        FT_TRY(choices(&o));
        for (int w = 0; w < FT_WORKS; w++) /* what the settings say goes before */
            if (strcmp(ft_config_text(cfg, setting((ft_work)w)), "measure"))
                json_object_set_new(o, ft_work_name[w], json_string(ft_config_text(cfg, setting((ft_work)w))));
        int rc = write_once(path, o);
        json_decref(o);
        FT_TRY(rc);
    }
    char *text;
    size_t size;
    FT_TRY(ft_read_file(path, 1u << 20, &text, &size));
    json_t *o = json_loadb(text, size, 0, &e);
    ft_free(text);
    if (!o)
        return FT_FAIL(FT_EDATA,
                       "%s:%d: %s. It says what the results beside it were computed in: restore it, or use another folder", path,
                       e.line, e.text);
    int rc = begin ? same_kind(o, folder) : FT_OK;
    for (int w = 0; rc == FT_OK && w < FT_WORKS; w++) {
        const char *kept = json_string_value(json_object_get(o, ft_work_name[w])),
                   *asked = ft_config_text(cfg, setting((ft_work)w));
        if (!kept || (strcmp(kept, "f32") && strcmp(kept, "bf16")))
            rc = FT_FAIL(FT_EDATA,
                         "%s: %s is neither f32 nor bf16. It says what the results beside it were computed in: restore it, or "
                         "use another folder",
                         path, ft_work_name[w]);
        else if (strcmp(asked, "measure") && strcmp(asked, kept))
            rc = FT_FAIL(FT_ECONFIG, "%s: %s is %s, but %s was begun with %s. Use another folder, or --precision",
                         setting((ft_work)w), setting((ft_work)w), asked, folder, kept);
        else if (begin && !strcmp(kept, "bf16") && !ft_backend_now()->device && !ft_backend_has_bf16() &&
                 ft_config_is(cfg, "precision", "auto"))
            rc = FT_FAIL(FT_EDEVICE, "%s was begun in bf16, which this processor cannot compute. Use another machine or folder",
                         folder);
        else rc = choose(cfg, (ft_work)w, kept, path);
    }
    json_decref(o);
    return rc;
}
