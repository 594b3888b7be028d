/* Sizes that do not fit a network are said while planning, with the setting and what fits; every size that is let through is one
 * that the network can be built for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "classify/classifier.h"
#include "common/base/status.h"
#include "experiments/sweep/shapes.h"
#include "gen/generator.h"

static ft_config *settings(const char *const *set)
{
    ft_config *cfg;
    assert_int_equal(ft_config_new(&cfg), FT_OK);
    for (; *set; set++) assert_int_equal(ft_config_set(cfg, *set, "test"), FT_OK);
    return cfg;
}

static void refused(int rc, const char *says)
{
    assert_int_equal(rc, FT_ECONFIG);
    if (!strstr(ft_error_message(), says)) fail_msg("'%s' does not say '%s'", ft_error_message(), says);
}

static void test_says_what_fits(void **state)
{
    (void)state;
    ft_config *cfg = settings((const char *[]){"classifier.model=timesformer-ti16", NULL});
    assert_int_equal(ft_shapes_vae(cfg, NULL, 8, 32), FT_OK);
    refused(ft_shapes_vae(cfg, NULL, 4, 32),
            "(vae.model, default; data.frames, default; data.size, default). What fits: data.frames: 1 or 8");
    refused(ft_shapes_vae(cfg, NULL, 8, 40), "What fits: data.size: 32 or 48");
    refused(ft_shapes_vae(cfg, NULL, 4, 40), "What fits: data.size: 32 or 48 with data.frames: 1 or 8");
    refused(ft_shapes_vae(cfg, "clips.h5", 4, 32), "clips of clips.h5). What fits: --frames: 1 or 8");
    refused(ft_shapes_generator(cfg, "medsora-tiny", NULL, 4, 32), "do not fit vae-tiny");
    assert_int_equal(ft_shapes_generator(cfg, "medsora-tiny", NULL, 8, 32), FT_OK);
    assert_int_equal(ft_shapes_classifier(cfg, NULL, 8, 64), FT_OK);
    refused(ft_shapes_classifier(cfg, NULL, 8, 33), "clips of 33 pixels, a multiple of 16 needed (classifier.model, test; ");
    assert_int_equal(ft_config_set(cfg, "align.weight=1", "test"), FT_OK);
    assert_int_equal(ft_config_set(cfg, "align.flow=raft-small", "test"), FT_OK);
    refused(ft_shapes_generator(cfg, "medsora-tiny", NULL, 8, 48),
            "align.flow raft-small needs at least 64 pixels, a multiple of 8, not 48");
    assert_non_null(strstr(ft_error_message(), "What fits: data.size: 64"));
    ft_config_free(cfg);

    cfg = settings((const char *[]){"classifier.model=linear-probe", "features.model=dinov2-s14", "features.grid=4", NULL});
    assert_int_equal(ft_shapes_classifier(cfg, NULL, 8, 33), FT_OK); /* 16 places of 224 pixels */
    assert_int_equal(ft_config_set(cfg, "features.grid=5", "test"), FT_OK);
    refused(ft_shapes_classifier(cfg, NULL, 8, 33),
            "16 places a side (224 pixels, patches of 14) cannot be averaged to 5. What fits: 4 or 8");
    assert_int_equal(ft_config_set(cfg, "features.size=0", "test"), FT_OK);
    refused(ft_shapes_classifier(cfg, NULL, 8, 33), "a multiple of 14 pixels, not 33. What fits: 28 or 42");
    ft_config_free(cfg);
}

/* No size ends the program, and every network takes some. */
static void test_all_networks(void **state)
{
    (void)state;
    static const int frames[] = {1, 3, 8, 16}, size[] = {16, 20, 33, 64};
    char set[100];
    for (int i = 0; ft_classifier_at(i); i++)
        for (int k = 0; ft_classifier_preset_at(ft_classifier_at(i), k); k++) {
            int fit = 0;
            snprintf(set, sizeof set, "classifier.model=%s", ft_classifier_preset_at(ft_classifier_at(i), k));
            ft_config *cfg = settings((const char *[]){set, NULL});
            for (int q = 0; q < 16; q++) fit += ft_shapes_classifier(cfg, NULL, frames[q % 4], size[q / 4]) == FT_OK;
            if (fit == 0) fail_msg("%s takes no size: %s", set, ft_error_message());
            ft_config_free(cfg);
        }
    ft_config *cfg = settings((const char *[]){NULL});
    for (int i = 0; ft_generator_at(i); i++) { /* the smallest of each family */
        const ft_generator_preset *p = NULL;
        for (int k = 0; ft_generator_preset_at(ft_generator_at(i), k); k++) {
            const ft_generator_preset *one = ft_generator_preset_at(ft_generator_at(i), k);
            if (strstr(one->name, "-tiny")) p = one;
        }
        for (int q = 0; q < 16; q++) {
            int rc = ft_shapes_generator(cfg, p->name, NULL, frames[q % 4], size[q / 4]);
            bool pixels = ft_generator_at(i)->gan; /* halved down to 4; of three frames; others are asked by their VAE alone */
            bool fits = pixels ? frames[q % 4] >= 3 && size[q / 4] == 64 : frames[q % 4] != 3 && size[q / 4] % 16 == 0;
            if ((rc == FT_OK) != fits)
                fail_msg("%s, %d frames, %d pixels: %s", p->name, frames[q % 4], size[q / 4], ft_error_message());
        }
    }
    ft_config_free(cfg);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_says_what_fits), cmocka_unit_test(test_all_networks)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
