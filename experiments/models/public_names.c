/* Names that other people's checkpoints use for our tensors. */
#include <stdio.h>
#include <string.h>

#include "classify/classifier.h"
#include "common/base/names.h"
#include "common/base/status.h"
#include "experiments/models/model_table.h"
#include "gen/generator.h"

static bool starts(const char *s, const char *head) { return !strncmp(s, head, strlen(head)); }

typedef struct {
    const char *from, *to;
} pair;

static void swap_all(char *s, size_t size, const pair *p)
{
    for (; p->from; p++) ft_replace(s, size, p->from, p->to);
}

/* ldm's layout and the old attention names of diffusers, to diffusers of today */
static void sd_vae(char *s, size_t size)
{
    static const pair names[] = {{".mid.block_1.", ".mid_block.resnets.0."},
                                 {".mid.block_2.", ".mid_block.resnets.1."},
                                 {".mid.attn_1.norm.", ".mid_block.attentions.0.group_norm."},
                                 {".mid.attn_1.q.", ".mid_block.attentions.0.to_q."},
                                 {".mid.attn_1.k.", ".mid_block.attentions.0.to_k."},
                                 {".mid.attn_1.v.", ".mid_block.attentions.0.to_v."},
                                 {".mid.attn_1.proj_out.", ".mid_block.attentions.0.to_out.0."},
                                 {".attentions.0.query.", ".attentions.0.to_q."},
                                 {".attentions.0.key.", ".attentions.0.to_k."},
                                 {".attentions.0.value.", ".attentions.0.to_v."},
                                 {".attentions.0.proj_attn.", ".attentions.0.to_out.0."},
                                 {".nin_shortcut.", ".conv_shortcut."},
                                 {NULL, NULL}};
    char rest[200];
    int level, block;
    swap_all(s, size, names);
    if (starts(s, "encoder.norm_out.")) ft_replace(s, size, "encoder.norm_out.", "encoder.conv_norm_out.");
    if (starts(s, "decoder.norm_out.")) ft_replace(s, size, "decoder.norm_out.", "decoder.conv_norm_out.");
    if (sscanf(s, "encoder.down.%d.block.%d.%199s", &level, &block, rest) == 3)
        snprintf(s, size, "encoder.down_blocks.%d.resnets.%d.%s", level, block, rest);
    else if (sscanf(s, "encoder.down.%d.downsample.%199s", &level, rest) == 2)
        snprintf(s, size, "encoder.down_blocks.%d.downsamplers.0.%s", level, rest);
    else if (sscanf(s, "decoder.up.%d.block.%d.%199s", &level, &block, rest) == 3) /* ldm counts levels, diffusers the order */
        snprintf(s, size, "decoder.up_blocks.%d.resnets.%d.%s", 3 - level, block, rest);
    else if (sscanf(s, "decoder.up.%d.upsample.%199s", &level, rest) == 2)
        snprintf(s, size, "decoder.up_blocks.%d.upsamplers.0.%s", 3 - level, rest);
}

/* Princeton's layout to torchvision's */
static void raft(char *s, size_t size)
{
    static const pair update[] = {{"update_block.encoder.convc1.", "update_block.motion_encoder.convcorr1.0."},
                                  {"update_block.encoder.convc2.", "update_block.motion_encoder.convcorr2.0."},
                                  {"update_block.encoder.convf1.", "update_block.motion_encoder.convflow1.0."},
                                  {"update_block.encoder.convf2.", "update_block.motion_encoder.convflow2.0."},
                                  {"update_block.encoder.conv.", "update_block.motion_encoder.conv.0."},
                                  {"update_block.mask.0.", "mask_predictor.convrelu.0."},
                                  {"update_block.mask.2.", "mask_predictor.conv."},
                                  {NULL, NULL}};
    char gate, rest[200];
    int level, block, n;
    bool context = starts(s, "cnet.");
    swap_all(s, size, update);
    if (sscanf(s, "update_block.gru.conv%c%d.%199s", &gate, &n, rest) == 3)
        snprintf(s, size, "update_block.recurrent_block.convgru%d.conv%c.%s", n, gate, rest);
    else if (sscanf(s, "update_block.gru.conv%c.%199s", &gate, rest) == 2)
        snprintf(s, size, "update_block.recurrent_block.convgru1.conv%c.%s", gate, rest);
    if (!context && !starts(s, "fnet.")) return;
    const char *name = context ? "context_encoder" : "feature_encoder", *p = s + 5;
    char from[256];
    snprintf(from, sizeof from, "%s", p);
    if (sscanf(from, "layer%d.%d.conv%d.%199s", &level, &block, &n, rest) == 4)
        snprintf(s, size, "%s.layer%d.%d.convnormrelu%d.0.%s", name, level, block, n, rest);
    else if (sscanf(from, "layer%d.%d.norm%d.%199s", &level, &block, &n, rest) == 4)
        snprintf(s, size, "%s.layer%d.%d.convnormrelu%d.1.%s", name, level, block, n, rest);
    else if (sscanf(from, "conv1.%199s", rest) == 1) snprintf(s, size, "%s.convnormrelu.0.%s", name, rest);
    else if (sscanf(from, "norm1.%199s", rest) == 1) snprintf(s, size, "%s.convnormrelu.1.%s", name, rest);
    else if (sscanf(from, "conv2.%199s", rest) == 1) snprintf(s, size, "%s.conv.%s", name, rest);
    else snprintf(s, size, "%s.%s", name, from);
}

/* torchvision's features.N to the slices of the package lpips */
static void lpips(const char *preset, char *s, size_t size)
{
    static const int vgg[5] = {4, 9, 16, 23, 30}, alex[5] = {2, 5, 8, 10, 12}; /* where slices end */
    const int *end = !strcmp(preset, "lpips-vgg") ? vgg : alex;
    char rest[200];
    int i, slice = 0;
    if (sscanf(s, "lins.%d.%199s", &i, rest) == 2) snprintf(s, size, "lin%d.%s", i, rest); /* the same ones a second time */
    if (sscanf(s, "features.%d.%199s", &i, rest) != 2) return;
    while (slice < 4 && i >= end[slice]) slice++;
    snprintf(s, size, "net.slice%d.%d.%s", slice + 1, i, rest);
}

/* LVDM's convolutions note their weight twice: X.conv.weight, and the alias X.weight */
static void lvdm_vae(char *s, size_t size)
{
    static const char *const plain[] = {".conv.", ".convt.", ".norm", "final_block.0."};
    size_t n = strlen(s), tail = strlen(".weight");
    if (n < tail || strcmp(s + n - tail, ".weight")) return;
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        if (strstr(s, plain[i])) return;
    snprintf(s + n - tail, size - (n - tail), ".conv.weight");
}

/* Hugging Face's DINO and DINOv2, older and newer, to facebookresearch's; q, k and v apart become parts of qkv (ft_public_part)
 */
static void dino(char *s, size_t size)
{
    static const pair names[] = {{"embeddings.cls_token", "cls_token"},
                                 {"embeddings.position_embeddings", "pos_embed"},
                                 {"embeddings.mask_token", "mask_token"},
                                 {"embeddings.register_tokens", "register_tokens"},
                                 {"embeddings.patch_embeddings.projection.", "patch_embed.proj."},
                                 {"encoder.layer.", "blocks."},
                                 {".attention.attention.", ".attention."},
                                 {".attention.output.dense.", ".attn.proj."},
                                 {".attention.o_proj.", ".attn.proj."},
                                 {".attention.q_proj.", ".attn.q."},
                                 {".attention.k_proj.", ".attn.k."},
                                 {".attention.v_proj.", ".attn.v."},
                                 {".attention.query.", ".attn.q."},
                                 {".attention.key.", ".attn.k."},
                                 {".attention.value.", ".attn.v."},
                                 {".layernorm_before.", ".norm1."},
                                 {".layernorm_after.", ".norm2."},
                                 {".intermediate.dense.", ".mlp.fc1."},
                                 {".output.dense.", ".mlp.fc2."},
                                 {".layer_scale1.lambda1", ".ls1.gamma"},
                                 {".layer_scale2.lambda1", ".ls2.gamma"},
                                 {NULL, NULL}};
    int chunk, block;
    char rest[200];
    swap_all(s, size, names);
    if (starts(s, "layernorm.")) ft_replace(s, size, "layernorm.", "norm.");
    if (sscanf(s, "blocks.%d.%d.%199s", &chunk, &block, rest) == 3) snprintf(s, size, "blocks.%d.%s", block, rest);
}

int ft_public_part(const char *preset, char *name, int *part)
{
    static const char *const dinos[] = {".attn.q.", ".attn.k.", ".attn.v.", ".attn.qkv."}, *const clips[] = {
                                                                                               ".attn.in_q_", ".attn.in_k_",
                                                                                               ".attn.in_v_", ".attn.in_proj_"};
    const char *const *parts = starts(preset, "clip-") ? clips : dinos;
    *part = 0;
    for (int i = 0; (starts(preset, "dino") || parts == clips) && i < 3; i++) {
        if (!strstr(name, parts[i])) continue;
        ft_replace(name, 256, parts[i], parts[3]);
        *part = i;
        return 3;
    }
    return 1;
}

void ft_public_name(const char *preset, const char *from, char *to, size_t size)
{
    static const char *const prefix[] = {"module.",
                                         "backbone.",
                                         "_orig_mod.",
                                         "first_stage_model.",
                                         "model.diffusion_model.",
                                         "model.",
                                         "dinov2.",
                                         "dinov2_with_registers."};
    for (size_t i = 0; i < sizeof prefix / sizeof *prefix;)
        if (starts(from, prefix[i])) from += strlen(prefix[i]), i = 0;
        else i++;
    snprintf(to, size, "%s", from);
    if (!strcmp(preset, "sd-vae")) sd_vae(to, size);
    if (starts(preset, "dino")) dino(to, size);
    if (starts(preset, "raft-")) raft(to, size);
    if (starts(preset, "lpips-")) lpips(preset, to, size);
    if (starts(preset, "lvdm-vae")) lvdm_vae(to, size);
    ft_judge_public_name(preset, to, size);
}

bool ft_public_average(const char *preset, const char *name, char *to, size_t size)
{
    static const char head[] = "model_ema.diffusion_model";
    size_t n = sizeof head - 1;
    if (!ft_generator_find(preset) || strcmp(ft_generator_find(preset)->family, "lvdm")) return false;
    snprintf(to, size, "%s", head);
    for (; *name && n + 1 < size; name++)
        if (*name != '.') to[n++] = *name;
    to[n] = 0;
    return true;
}

const char *ft_public_settings(const char *preset)
{
    const ft_generator *f = ft_generator_find(preset);
    if (f && !strcmp(f->family, "lvdm")) return "generator.relative=released";
    if (f && !strcmp(f->family, "feat")) return "generator.kernel=released";
    if (f && !strcmp(f->family, "medsora")) return "generator.scan=released";
    return NULL;
}

bool ft_public_stand_in(const char *preset, const char *name, char *to, size_t size)
{
    snprintf(to, size, "%s", name);
    if (!starts(preset, "timesformer-")) return false;
    ft_replace(to, size, ".temporal_attn.", ".attn.");
    ft_replace(to, size, ".temporal_norm1.", ".norm1.");
    return strcmp(to, name) != 0;
}

bool ft_public_optional(const char *preset, const char *name)
{
    const ft_classifier *family = ft_classifier_find(preset);
    if (starts(name, "scaling_layer.")) return true; /* fixed colours of LPIPS */
    if (ft_judge_public_optional(preset, name)) return true;
    if (starts(preset, "dinov2") && !strcmp(name, "mask_token")) return true;
    if (family && !strncmp(name, family->head, (size_t)(strrchr(family->head, '.') - family->head) + 1)) return true;
    return starts(preset, "timesformer-") && (!strcmp(name, "time_embed") || strstr(name, ".temporal_fc.") != NULL);
}

enum { LONGEST = 190 }; /* bytes of a public tensor's name; the rules have room for that */

const char *ft_model_our_name(const char *preset, const ft_st_tensor *t, char name[256])
{
    *name = 0;
    if (strlen(t->name) <= LONGEST) ft_public_name(preset, t->name, name, 256);
    return name;
}

int ft_model_classes_in(const char *preset, ft_config *cfg, const ft_safetensors *file, int n_files, int64_t *classes)
{
    const ft_classifier *family = ft_classifier_find(preset);
    *classes = 2;
    for (int f = 0; f < n_files; f++)
        for (int i = 0; i < file[f].n; i++) {
            const ft_st_tensor *t = &file[f].tensor[i];
            char name[256];
            ft_model_our_name(preset, t, name);
            if (family && !strcmp(name, family->head) && t->count > 0) return *classes = t->count, FT_OK;
            if (!ft_model_is_table(preset, name) || t->ndim != 2 || t->dim[0] < 2) continue;
            *classes = t->dim[0] - 1;
            return ft_config_set(cfg, "generator.condition=labels", "the weights");
        }
    return FT_OK;
}
