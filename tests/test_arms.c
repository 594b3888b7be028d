/* What the arms of controls give to a classifier: the very clips. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/status.h"
#include "experiments/arms/arm.h"
#include "gen/controls.h"
#include "gen/phantom.h"
#include "gen/vae_train.h"
#include "tree.h"

static char dir[] = "/tmp/forty-arms-XXXXXX";

static const char *in_dir(const char *name)
{
    static char path[2][200];
    static int next;
    char *p = path[next++ % 2];
    snprintf(p, sizeof path[0], "%s/%s", dir, name);
    return p;
}

/* each labelled clip as often as any other, however many are wanted, and no other clip */
static void test_duplicate(void **state)
{
    (void)state;
    ft_store_clip clip[12];
    for (int i = 0; i < 12; i++) clip[i] = (ft_store_clip){.video = i / 2};
    int64_t video[] = {1, 2, 5}; /* clips 2 to 5, 10, 11 */
    ft_experiment x = {.store = {.n_video = 6, .n_clip = 12, .clip = clip}};
    for (int want = 1; want < 40; want++) {
        ft_arm_context c = {.x = &x, .opt = &(ft_arm_options){.generated = want}, .labelled = {video, 3}};
        assert_int_equal(ft_arm_find("duplicate-labelled")->prepare(&c), FT_OK);
        int times[12] = {0}, most = 0, least = want, last = 0;
        assert_int_equal(c.n_clips, want);
        for (int i = 0; i < want; i++) times[c.clips[i]]++, last = (int)c.clips[i];
        for (int i = 0; i < 12; i++) {
            if (i < 2 || (i > 5 && i < 10)) assert_int_equal(times[i], 0);
            else most = times[i] > most ? times[i] : most, least = times[i] < least ? times[i] : least;
        }
        assert_true(most - least <= 1);
        assert_true(want < 2 || last >= 5); /* few are spread over all of them: no class is left out */
        ft_free(c.clips);
    }
}

static double psnr(const uint8_t *a, const uint8_t *b, int64_t n)
{
    double square = 0;
    for (int64_t i = 0; i < n; i++) square += (double)(a[i] - b[i]) * (a[i] - b[i]);
    return 10 * log10(255.0 * 255.0 / (square / (double)n));
}

/* the pool's clips in order, each as like the real one as the VAE's own score says */
static void test_roundtrip(void **state)
{
    (void)state;
    enum { N = 5 };
    int64_t pick[N] = {7, 0, 3, 5, 6};
    ft_clipstore real, rebuilt;
    ft_config *cfg;
    ft_vae_score score;
    ft_phantom_opt o = {.videos = 8, .frames = 8, .size = 16, .balance = 0.5, .visibility = 1};
    assert_int_equal(ft_phantom_write(&o, in_dir("p.h5")), FT_OK);
    assert_int_equal(ft_clipstore_read(&real, in_dir("p.h5")), FT_OK);
    assert_int_equal(ft_config_new(&cfg), FT_OK);
    assert_int_equal(ft_config_set(cfg, "vae.steps=3", "test"), FT_OK);
    assert_int_equal(ft_config_set(cfg, "precision=f32", "test"), FT_OK);
    ft_clip_pool pool = {&real, pick, N};
    assert_int_equal(ft_vae_train(cfg, &pool, in_dir("vae"), 0, false), FT_OK);
    assert_int_equal(ft_vae_roundtrip_clips(cfg, in_dir("vae"), &pool, true, in_dir("l.h5")), FT_OK);
    assert_int_equal(ft_clipstore_read(&rebuilt, in_dir("l.h5")), FT_OK);
    for (int i = 0; i < N; i++)
        assert_string_equal(rebuilt.video[rebuilt.clip[i].video].label, real.video[real.clip[pick[i]].video].label);
    ft_clipstore_free(&rebuilt);
    assert_int_equal(ft_vae_roundtrip_clips(cfg, in_dir("vae"), &pool, false, in_dir("r.h5")), FT_OK);
    assert_int_equal(ft_clipstore_read(&rebuilt, in_dir("r.h5")), FT_OK);
    for (int i = 0; i < N; i++) assert_string_equal(rebuilt.video[rebuilt.clip[i].video].label, "");
    assert_int_equal(rebuilt.n_clip, N);
    for (int i = 0; i < N; i++) {
        double own = psnr(ft_clip_pixels(&rebuilt, i), ft_clip_pixels(&real, pick[i]), ft_clip_bytes(&real));
        assert_int_equal(ft_vae_evaluate(cfg, in_dir("vae"), &(ft_clip_pool){&real, &pick[i], 1}, &score), FT_OK);
        assert_float_equal(own, score.psnr, 1e-3);
        assert_true(i == 0 || memcmp(ft_clip_pixels(&rebuilt, i), ft_clip_pixels(&rebuilt, 0), (size_t)ft_clip_bytes(&real)));
    }
    ft_clipstore_free(&real);
    ft_clipstore_free(&rebuilt);
    ft_config_free(cfg);
}

static int set_up(void **state) { return (void)state, mkdtemp(dir) ? 0 : -1; }
static int tear_down(void **state) { return (void)state, remove_tree(dir); }

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_duplicate), cmocka_unit_test(test_roundtrip)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
