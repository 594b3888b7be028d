/* models: every preset, algorithm, protocol and arm. */
#include <stdio.h>
#include <string.h>

#include "classify/ssl.h"
#include "common/base/status.h"
#include "experiments/arms/arm.h"
#include "experiments/arms/protocol.h"
#include "experiments/cli/cli.h"
#include "experiments/models/model_table.h"

/* "(B,16,64,64,3)" and the like; batch is free */
static void input_text(const ft_model *row, const char *preset, const ft_config *cfg, char *text, size_t size)
{
    size_t at = 0;
    for (int i = 0; i < row->n_in && at < size; i++) {
        int64_t dim[FT_MAX_DIMS];
        ft_model_example(row, preset, cfg, i, dim);
        at += (size_t)snprintf(text + at, size - at, "%s%s (B", i ? ", " : "", row->in[i].name);
        for (int k = 1; k < ft_model_dims(&row->in[i]) && at < size; k++)
            at += (size_t)snprintf(text + at, size - at, ",%lld",
                                   (long long)dim[strchr(row->in[i].axes, row->in[i].file_axes[k]) - row->in[i].axes]);
        if (at < size) at += (size_t)snprintf(text + at, size - at, ")");
    }
}

static int run_models(ft_cli *c)
{
    json_t *list = json_array();
    ft_config *cfg;
    char input[160];
    FT_TRY(ft_cli_config(c, NULL, &cfg));
    for (int i = 0; ft_model_at(i); i++)
        for (int k = 0; ft_model_at(i)->preset(k); k++) {
            const ft_model *row = ft_model_at(i);
            const char *name = row->preset(k);
            ft_params *p;
            if (!strcmp(row->suffix, "-decode")) continue;
            FT_TRY(ft_model_store(&p, name, cfg, 2, 0));
            input_text(row, name, cfg, input, sizeof input);
            json_array_append_new(list, json_pack("{s:s,s:s,s:I,s:s}", "name", name, "kind", row->kind, "parameters",
                                                  (json_int_t)ft_model_parameters(p), "input", input));
            ft_params_free(p);
        }
    ft_config_free(cfg);
    if (!ft_cli_json(c)) {
        size_t i;
        json_t *m;
        printf("%-16s %-12s %14s  %s\n", "model", "kind", "parameters", "input");
        json_array_foreach(list, i, m)
            printf("%-16s %-12s %14lld  %s\n", json_string_value(json_object_get(m, "name")),
                   json_string_value(json_object_get(m, "kind")), (long long)json_integer_value(json_object_get(m, "parameters")),
                   json_string_value(json_object_get(m, "input")));
        printf("\nsemi-supervised algorithms (ssl.algorithm):\n");
        for (int k = 0; ft_ssl_at(k); k++) printf("  %-18s %s\n", ft_ssl_at(k)->name, ft_ssl_at(k)->help);
        printf("\nprotocols:\n");
        for (int k = 0; ft_protocol_at(k); k++) printf("  %-18s %s\n", ft_protocol_at(k)->name, ft_protocol_at(k)->help);
        printf("\narms of an experiment:\n");
        for (int k = 0; ft_arm_at(k); k++) printf("  %-18s %s\n", ft_arm_at(k)->name, ft_arm_at(k)->help);
    }
    ft_cli_print(c, list, "%s", "");
    return FT_OK;
}
const ft_verb ft_verb_models = {"models", "every preset: name, kind, parameters, input; algorithms and arms",
                                "models", "forty models --json",
                                NULL,     run_models};
