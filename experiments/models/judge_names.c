/* Names that public files use for the tensors of the networks of common/vision/judge.h. */
#include <stdio.h>
#include <string.h>

#include "common/base/names.h"
#include "common/vision/judge.h"
#include "experiments/models/model_table.h"

typedef struct {
    const char *from, *to;
} pair;

static bool starts(const char *s, const char *head) { return !strncmp(s, head, strlen(head)); }
static bool of(const char *preset, const char *family) { return ft_judge_find(preset) && starts(preset, family); }

/* `s` becomes the `to` of the row whose `from` it begins with, and its rest. False: there is none. */
static bool swap_head(char *s, size_t size, const pair *p)
{
    for (; p->from; p++)
        if (starts(s, p->from)) return ft_replace(s, size, p->from, p->to), true;
    return false;
}

/* NVIDIA's TorchScript translation of the graph of 2015, to torchvision's names. Longer heads first. */
static void inception(char *s, size_t size)
{
    static const pair blocks[] = {{"layers.conv_1.", "Conv2d_2a_3x3."},
                                  {"layers.conv_2.", "Conv2d_2b_3x3."},
                                  {"layers.conv_3.", "Conv2d_3b_1x1."},
                                  {"layers.conv_4.", "Conv2d_4a_3x3."},
                                  {"layers.conv.", "Conv2d_1a_3x3."},
                                  {"layers.mixed_10.", "Mixed_7c."},
                                  {"layers.mixed_1.", "Mixed_5c."},
                                  {"layers.mixed_2.", "Mixed_5d."},
                                  {"layers.mixed_3.", "Mixed_6a."},
                                  {"layers.mixed_4.", "Mixed_6b."},
                                  {"layers.mixed_5.", "Mixed_6c."},
                                  {"layers.mixed_6.", "Mixed_6d."},
                                  {"layers.mixed_7.", "Mixed_6e."},
                                  {"layers.mixed_8.", "Mixed_7a."},
                                  {"layers.mixed_9.", "Mixed_7b."},
                                  {"layers.mixed.", "Mixed_5b."},
                                  {"output.", "fc."},
                                  {NULL, NULL}};
    static const pair a[] = {{"conv.", "branch1x1."},
                             {"tower.conv.", "branch5x5_1."},
                             {"tower.conv_1.", "branch5x5_2."},
                             {"tower_1.conv.", "branch3x3dbl_1."},
                             {"tower_1.conv_1.", "branch3x3dbl_2."},
                             {"tower_1.conv_2.", "branch3x3dbl_3."},
                             {"tower_2.conv.", "branch_pool."},
                             {NULL, NULL}},
                      b[] = {{"conv.", "branch3x3."},
                             {"tower.conv.", "branch3x3dbl_1."},
                             {"tower.conv_1.", "branch3x3dbl_2."},
                             {"tower.conv_2.", "branch3x3dbl_3."},
                             {NULL, NULL}},
                      c[] = {{"conv.", "branch1x1."},
                             {"tower.conv.", "branch7x7_1."},
                             {"tower.conv_1.", "branch7x7_2."},
                             {"tower.conv_2.", "branch7x7_3."},
                             {"tower_1.conv.", "branch7x7dbl_1."},
                             {"tower_1.conv_1.", "branch7x7dbl_2."},
                             {"tower_1.conv_2.", "branch7x7dbl_3."},
                             {"tower_1.conv_3.", "branch7x7dbl_4."},
                             {"tower_1.conv_4.", "branch7x7dbl_5."},
                             {"tower_2.conv.", "branch_pool."},
                             {NULL, NULL}},
                      d[] = {{"tower.conv.", "branch3x3_1."},
                             {"tower.conv_1.", "branch3x3_2."},
                             {"tower_1.conv.", "branch7x7x3_1."},
                             {"tower_1.conv_1.", "branch7x7x3_2."},
                             {"tower_1.conv_2.", "branch7x7x3_3."},
                             {"tower_1.conv_3.", "branch7x7x3_4."},
                             {NULL, NULL}},
                      e[] = {{"conv.", "branch1x1."},
                             {"tower_conv.", "branch3x3_1."},
                             {"tower_mixed_conv.", "branch3x3_2a."},
                             {"tower_mixed_conv_1.", "branch3x3_2b."},
                             {"tower_1_conv.", "branch3x3dbl_1."},
                             {"tower_1_conv_1.", "branch3x3dbl_2."},
                             {"tower_1_mixed_conv.", "branch3x3dbl_3a."},
                             {"tower_1_mixed_conv_1.", "branch3x3dbl_3b."},
                             {"tower_2_conv.", "branch_pool."},
                             {NULL, NULL}};
    static const pair tails[] = {
        {"weight", "conv.weight"}, {"beta", "bn.bias"}, {"mean", "bn.running_mean"}, {"var", "bn.running_var"}, {NULL, NULL}};
    bool layer = starts(s, "layers.");
    if (!swap_head(s, size, blocks) || !layer) return;
    if (starts(s, "Mixed_"))
        swap_head(s + 9, size - 9, s[6] == '5' ? a : s[6] == '6' && s[7] == 'a' ? b : s[6] == '6' ? c : s[7] == 'a' ? d : e);
    char *tail = strrchr(s, '.');
    if (tail) swap_head(tail + 1, size - (size_t)(tail + 1 - s), tails);
}

/* the layout of kinetics_i3d_pytorch to that of pytorch-i3d */
static void i3d(char *s, size_t size)
{
    static const pair heads[] = {{"conv3d_0c_1x1.", "logits."}, {"conv3d_", "Conv3d_"}, {"mixed_", "Mixed_"}, {NULL, NULL}};
    static const pair parts[] = {
        {".branch_0.", ".b0."},    {".branch_1.0.", ".b1a."}, {".branch_1.1.", ".b1b."}, {".branch_2.0.", ".b2a."},
        {".branch_2.1.", ".b2b."}, {".branch_3.1.", ".b3b."}, {".batch3d.", ".bn."},     {NULL, NULL}};
    swap_head(s, size, heads);
    for (const pair *p = parts; p->from; p++) ft_replace(s, size, p->from, p->to);
}

/* Hugging Face's CLIP to OpenAI's; q, k and v apart become parts of in_proj (ft_public_part) */
static void clip(char *s, size_t size)
{
    static const pair names[] = {{"vision_model.embeddings.class_embedding", "visual.class_embedding"},
                                 {"vision_model.embeddings.position_embedding.weight", "visual.positional_embedding"},
                                 {"vision_model.embeddings.patch_embedding.", "visual.conv1."},
                                 {"vision_model.pre_layrnorm.", "visual.ln_pre."},
                                 {"vision_model.post_layernorm.", "visual.ln_post."},
                                 {"vision_model.encoder.layers.", "visual.transformer.resblocks."},
                                 {"visual_projection.weight", "visual.proj"},
                                 {".self_attn.q_proj.", ".attn.in_q_"},
                                 {".self_attn.k_proj.", ".attn.in_k_"},
                                 {".self_attn.v_proj.", ".attn.in_v_"},
                                 {".self_attn.out_proj.", ".attn.out_proj."},
                                 {".layer_norm1.", ".ln_1."},
                                 {".layer_norm2.", ".ln_2."},
                                 {".mlp.fc1.", ".mlp.c_fc."},
                                 {".mlp.fc2.", ".mlp.c_proj."},
                                 {NULL, NULL}};
    if (!starts(s, "vision_model.") && !starts(s, "visual_projection.")) return; /* the text tower has the same tails */
    for (const pair *p = names; p->from; p++) ft_replace(s, size, p->from, p->to);
}

void ft_judge_public_name(const char *preset, char *s, size_t size)
{
    if (of(preset, "inception")) inception(s, size);
    if (of(preset, "i3d")) i3d(s, size);
    if (of(preset, "clip")) clip(s, size);
}

bool ft_public_turned(const char *preset, const char *name)
{
    return of(preset, "clip") && !strcmp(name, "visual_projection.weight");
}

bool ft_judge_public_idle(const char *preset, const char *name)
{
    static const char *const text[] = {
        "transformer.", "token_embedding.", "positional_embedding", "ln_final.",  "text_",
        "logit_scale",  "input_resolution", "context_length",       "vocab_size", "vision_model.embeddings.position_ids"};
    for (size_t i = 0; of(preset, "clip") && i < sizeof text / sizeof *text; i++)
        if (starts(name, text[i])) return true;
    return of(preset, "inception") && starts(name, "AuxLogits.");
}

bool ft_judge_public_optional(const char *preset, const char *name)
{
    size_t n = strlen(name);
    /* TensorFlow's networks of both have no scales: 1 */
    return (of(preset, "inception") || of(preset, "i3d")) && n > 10 && !strcmp(name + n - 10, ".bn.weight");
}
