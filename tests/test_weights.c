/* Weight files of other people: PyTorch's containers read without executing them, damaged and hostile files refused, public
 * names. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/files.h"
#include "tests/tree.h"
#include "common/base/memory.h"
#include "common/base/rng.h"
#include "common/base/status.h"
#include "common/io/pth.h"
#include "experiments/model_table.h"

static char folder[200];

static const char *golden(const char *name)
{
    static char path[600];
    snprintf(path, sizeof path, "%s/golden/%s", FT_TEST_DIR, name);
    return path;
}

static void expect(const ft_safetensors *st, const char *prefix, const char *name, int n, const double *want)
{
    char full[100];
    float v[32];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    const ft_st_tensor *t = ft_safetensors_find(st, full);
    if (!t) fail_msg("no tensor %s", full);
    assert_int_equal(t->count, n);
    assert_int_equal(ft_safetensors_f32(t, v), FT_OK);
    for (int i = 0; i < n; i++)
        if (!(fabs((double)v[i] - want[i]) <= 1e-6 * fabs(want[i])))
            fail_msg("%s[%d] is %g, not %g", full, i, (double)v[i], want[i]);
}

static void check_state(const ft_safetensors *st, const char *prefix)
{
    double plain[24], turned[24], last[24];
    for (int i = 0; i < 24; i++) plain[i] = i, turned[i] = i % 4 * 6 + i / 4, last[i] = i;
    expect(st, prefix, "plain", 24, plain);
    expect(st, prefix, "transposed", 24, turned);
    expect(st, prefix, "channels_last", 24, last);
    expect(st, prefix, "part", 6, plain + 5);
    expect(st, prefix, "shared", 12, plain + 12);
    expect(st, prefix, "expanded", 6, (double[]){7, 7, 7, 7, 7, 7});
    expect(st, prefix, "scalar", 1, (double[]){2.5});
    expect(st, prefix, "empty", 0, plain);
    expect(st, prefix, "half", 3, (double[]){1.5, -2, 65504});
    expect(st, prefix, "bfloat", 3, (double[]){1.5, -2, 3.0040553e38});
    expect(st, prefix, "double", 2, (double[]){1e-3, -1e3});
    expect(st, prefix, "long", 2, (double[]){-5, 1099511627776.0});
    expect(st, prefix, "parameter", 2, (double[]){0.25, 0.5});
    assert_int_equal(st->n, 13);
}

static void test_containers(void **state)
{
    (void)state;
    static const char *const plain[] = {"zip.pth", "legacy.pth", "protocol4.pth"}, *const nested[] = {"nested.pth",
                                                                                                      "nested_legacy.pth"};
    ft_safetensors st;
    char used[64];
    for (int i = 0; i < 3; i++) {
        if (ft_pth_read(&st, golden(plain[i]), NULL, used) < 0) fail_msg("%s", ft_error_message());
        assert_string_equal(used, "");
        check_state(&st, "");
        ft_safetensors_free(&st);
    }
    for (int i = 0; i < 2; i++) {
        if (ft_weights_file_read(&st, golden(nested[i]), NULL, used) < 0) fail_msg("%s", ft_error_message());
        assert_string_equal(used, "teacher");
        check_state(&st, "module.backbone.");
        ft_safetensors_free(&st);
        assert_int_equal(ft_pth_read(&st, golden(nested[i]), "student", used), FT_EDATA); /* an empty dict */
        assert_int_equal(ft_pth_read(&st, golden(nested[i]), "nobody", used), FT_EDATA);
        assert_non_null(strstr(ft_error_message(), "nobody"));
    }
    /* a pickled module is an object of some class: nothing of it is run, and there is no dict to take */
    assert_int_equal(ft_pth_read(&st, golden("module.pth"), NULL, used), FT_EDATA);
    assert_int_equal(ft_weights_file_read(&st, golden("make_golden.py"), NULL, used), FT_EDATA);
    assert_int_equal(ft_weights_file_read(&st, golden("absent.pth"), NULL, used), FT_EIO);
}

/* Cut at every length, and with bytes changed at random: an error or other values, never more. (Sanitizers watch.) */
static void test_damage(void **state)
{
    (void)state;
    static const char *const files[] = {"zip.pth", "legacy.pth", "nested_legacy.pth", "protocol4.pth"};
    char path[300], *data, used[64];
    size_t size;
    ft_safetensors st;
    int refused = 0, total = 0;
    snprintf(path, sizeof path, "%s/damaged.pth", folder);
    for (int f = 0; f < 4; f++) {
        assert_int_equal(ft_read_file(golden(files[f]), 0, &data, &size), FT_OK);
        for (size_t n = 0; n < size; n += n < 200 ? 1 : 7) {
            FILE *o = fopen(path, "wb");
            assert_int_equal(fwrite(data, 1, n, o), n);
            fclose(o);
            assert_true(ft_weights_file_read(&st, path, NULL, used) < 0); /* nothing is complete before its end */
        }
        for (int k = 0; k < 1500; k++, total++) {
            ft_rng r = ft_rng_make(5, (uint32_t)f, (uint64_t)k);
            char *copy = malloc(size);
            memcpy(copy, data, size);
            for (int64_t c = 1 + ft_rng_below(&r, 3); c-- > 0;) copy[ft_rng_below(&r, (int64_t)size)] = (char)ft_rng_bits(&r);
            FILE *o = fopen(path, "wb");
            assert_int_equal(fwrite(copy, 1, size, o), size);
            fclose(o);
            free(copy);
            if (ft_weights_file_read(&st, path, NULL, used) < 0) refused++;
            else ft_safetensors_free(&st);
        }
        ft_free(data);
    }
    assert_true(refused > total / 10 && refused < total); /* the damage reaches the reader, and values may change unseen */
}

static void write_pickle(const char *path, const void *body, size_t n)
{
    static const unsigned char head[] = {0x80, 2,    0x8a, 10,  0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19,
                                         '.',  0x80, 2,    'M', 0xe9, 3,    '.',  0x80, 2,    '}',  'U',  13,   'l',  'i',
                                         't',  't',  'l',  'e', '_',  'e',  'n',  'd',  'i',  'a',  'n',  0x88, 's',  '.'};
    FILE *o = fopen(path, "wb");
    assert_int_equal(fwrite(head, 1, sizeof head, o), sizeof head);
    assert_int_equal(fwrite(body, 1, n, o), n);
    fclose(o);
}

/* os.system stays a name; a tower of marks, a memo of its own, a list inside itself, a stack of a million come to an end */
static void test_hostile(void **state)
{
    (void)state;
    char path[300], used[64];
    ft_safetensors st;
    snprintf(path, sizeof path, "%s/hostile.pth", folder);
    char witness[300], body[900];
    snprintf(witness, sizeof witness, "%s/executed", folder);
    int n = snprintf(body, sizeof body, "cos\nsystem\n(U%ctouch %stR.", (char)(6 + strlen(witness)), witness);
    write_pickle(path, body, (size_t)n);
    assert_int_equal(ft_pth_read(&st, path, NULL, used), FT_EDATA);
    assert_false(ft_exists(witness));
    static const struct {
        const char *text;
        size_t n;
    } bodies[] = {{"]q\0h\0a.", 7},           /* a list that holds itself */
                  {"(((((((((.", 10},         /* marks alone */
                  {"h\7.", 3},                /* a memo that was never made */
                  {"U\377abc", 5},            /* a text beyond the end */
                  {"X\377\377\377\377a.", 7}, /* four gigabytes of text */
                  {"c"
                   "torch._utils\n_rebuild_tensor_v2\n)R.",
                   36},      /* a tensor without arguments */
                  {"i.", 2}, /* an instruction that is not allowed */
                  {"}(", 2},
                  {"(u.", 3},
                  {"r\377\377\377\177.", 6}, /* memo two billion */
                  {"\x81.", 2}};
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        write_pickle(path, bodies[i].text, bodies[i].n);
        assert_int_equal(ft_pth_read(&st, path, NULL, used), FT_EDATA);
        assert_non_null(strstr(ft_error_message(), "hostile.pth"));
    }
    char *bomb = malloc(3000000); /* twice itself, a million times: shared nodes, never walked */
    size_t at = 0;
    bomb[at++] = ']';
    for (int i = 0; i < 500000; i++) bomb[at++] = '2', bomb[at++] = 0x86 - 256;
    bomb[at++] = '.';
    write_pickle(path, bomb, at);
    assert_int_equal(ft_pth_read(&st, path, NULL, used), FT_EDATA);
    free(bomb);
}

static void test_names(void **state)
{
    (void)state;
    static const char *const list[][3] = {
        {"dino-vits8", "module.backbone.blocks.3.attn.qkv.weight", "blocks.3.attn.qkv.weight"},
        {"sd-vae", "first_stage_model.encoder.down.1.block.0.nin_shortcut.weight",
         "encoder.down_blocks.1.resnets.0.conv_shortcut.weight"},
        {"sd-vae", "encoder.down.2.downsample.conv.bias", "encoder.down_blocks.2.downsamplers.0.conv.bias"},
        {"sd-vae", "decoder.up.3.block.2.conv1.weight", "decoder.up_blocks.0.resnets.2.conv1.weight"},
        {"sd-vae", "decoder.up.1.upsample.conv.weight", "decoder.up_blocks.2.upsamplers.0.conv.weight"},
        {"sd-vae", "decoder.mid.attn_1.proj_out.weight", "decoder.mid_block.attentions.0.to_out.0.weight"},
        {"sd-vae", "encoder.mid_block.attentions.0.query.weight", "encoder.mid_block.attentions.0.to_q.weight"},
        {"sd-vae", "decoder.norm_out.weight", "decoder.conv_norm_out.weight"},
        {"raft-large", "module.cnet.layer2.0.downsample.1.running_var", "context_encoder.layer2.0.downsample.1.running_var"},
        {"raft-large", "module.fnet.layer3.1.conv2.weight", "feature_encoder.layer3.1.convnormrelu2.0.weight"},
        {"raft-large", "module.cnet.norm1.bias", "context_encoder.convnormrelu.1.bias"},
        {"raft-large", "module.update_block.gru.convq2.bias", "update_block.recurrent_block.convgru2.convq.bias"},
        {"raft-small", "module.update_block.gru.convz.weight", "update_block.recurrent_block.convgru1.convz.weight"},
        {"raft-large", "module.update_block.mask.2.weight", "mask_predictor.conv.weight"},
        {"raft-large", "module.update_block.encoder.conv.weight", "update_block.motion_encoder.conv.0.weight"},
        {"lpips-vgg", "features.17.bias", "net.slice4.17.bias"},
        {"lpips-alex", "features.6.weight", "net.slice3.6.weight"},
        {"lpips-vgg", "lin2.model.1.weight", "lin2.model.1.weight"}};
    char to[256];
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        ft_public_name(list[i][0], list[i][1], to, sizeof to);
        assert_string_equal(to, list[i][2]);
    }
}

/* Princeton's names of RAFT and ldm's and old diffusers' of the SD VAE, as their manifests list them, cover every tensor of ours.
 */
static void test_other_layouts(void **state)
{
    (void)state;
    static const char *const list[][2] = {{"raft_large_princeton", "raft-large"},
                                          {"raft_small_princeton", "raft-small"},
                                          {"sd_vae_f8_ldm", "sd-vae"},
                                          {"sd_vae_f8_diffusers_oldattn", "sd-vae"},
                                          {"lvdm_videoae", "lvdm-vae"}};
    ft_config *cfg;
    assert_int_equal(ft_config_new(&cfg), FT_OK);
    for (size_t m = 0; m < sizeof list / sizeof *list; m++) {
        ft_params *p;
        char path[600], *text, to[256];
        size_t size;
        int covered = 0;
        if (ft_model_store(&p, list[m][1], cfg, 2, 0) < 0) fail_msg("%s", ft_error_message());
        bool *seen = calloc((size_t)ft_params_count(p), sizeof *seen);
        snprintf(path, sizeof path, "%s/manifests/%s.tsv", FT_TEST_DIR, list[m][0]);
        if (ft_read_file(path, 0, &text, &size) < 0) fail_msg("%s", ft_error_message());
        for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
            *strchr(line, '\t') = 0;
            ft_public_name(list[m][1], line, to, sizeof to);
            for (int i = 0; i < ft_params_count(p); i++)
                if (!strcmp(ft_params_at(p, i)->name, to)) covered += !seen[i], seen[i] = true;
        }
        for (int i = 0; i < ft_params_count(p); i++)
            if (!seen[i]) fail_msg("%s names nothing that becomes %s", list[m][0], ft_params_at(p, i)->name);
        assert_int_equal(covered, ft_params_count(p));
        free(seen);
        ft_free(text);
        ft_params_free(p);
    }
    ft_config_free(cfg);
}

static int set_up(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/forty-weights-%d", (int)getpid());
    return ft_mkdirs(folder);
}
static int tear_down(void **state) { return (void)state, remove_tree(folder); }

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_containers), cmocka_unit_test(test_damage),
                                       cmocka_unit_test(test_hostile), cmocka_unit_test(test_names),
                                       cmocka_unit_test(test_other_layouts)};
    return cmocka_run_group_tests_name("weights", tests, set_up, tear_down);
}
