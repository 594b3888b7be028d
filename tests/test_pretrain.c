/* Pretraining on procedural clips: the loss falls, a resumed run is the same bit for bit, what is kept has no heads and starts a
 * classifier of any number of classes, and settings that cannot work are named. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "classify/classifier.h"
#include "classify/pretrain.h"
#include "common/base/files.h"
#include "common/base/interrupt.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/io/safetensors.h"
#include "common/io/weights.h"
#include "tests/tree.h"

static char dir[64] = "/tmp/forty-pretrain-XXXXXX";
static char *in(const char *name)
{
    static char path[4][160];
    static int next;
    snprintf(path[next = (next + 1) % 4], sizeof path[0], "%s/%s", dir, name);
    return path[next];
}

static ft_config *settings(int steps)
{
    ft_config *cfg;
    char text[64];
    snprintf(text, sizeof text, "pretrain.steps=%d", steps);
    const char *const set[] = {
        text, "classifier.model=eye", "data.frames=4", "data.size=32", "pretrain.batch=4", "precision=f32", "threads=1"};
    assert_int_equal(ft_config_new(&cfg), FT_OK);
    for (size_t i = 0; i < sizeof set / sizeof *set; i++) assert_int_equal(ft_config_set(cfg, set[i], "test"), FT_OK);
    return cfg;
}

static void train(const ft_config *cfg, const char *run, bool resume)
{
    if (ft_pretrain(cfg, in(run), 3, resume) < 0) fail_msg("%s", ft_error_message());
}

/* means of the loss over the first and the last ten rows of a log */
static void losses(const char *run, double *first, double *last)
{
    char path[200], *text;
    size_t size;
    double row[1000];
    int n = 0;
    snprintf(path, sizeof path, "%s/log.csv", in(run));
    assert_int_equal(ft_read_file(path, 1u << 20, &text, &size), FT_OK);
    for (char *at = strchr(text, '\n'); at && at[1] && n < 1000; at = strchr(at + 1, '\n'))
        assert_int_equal(sscanf(at + 1, "%*[^,],%*[^,],%lf", &row[n]), 1), n++;
    ft_free(text);
    assert_true(n >= 20);
    *first = *last = 0;
    for (int i = 0; i < 10; i++) *first += row[i] / 10, *last += row[n - 1 - i] / 10;
}

static void test_learns(void **state)
{
    (void)state;
    double first, last;
    ft_safetensors st;
    ft_config *cfg = settings(120);
    train(cfg, "learns", false);
    losses("learns", &first, &last);
    if (last > 0.85 * first) fail_msg("the loss went from %.3f to %.3f", first, last);
    assert_int_equal(ft_safetensors_read(&st, in("learns/ema.safetensors")), FT_OK);
    for (int i = 0; i < st.n; i++)
        assert_true(strncmp(st.tensor[i].name, "training.", 9) && strncmp(st.tensor[i].name, "head.", 5));
    for (int classes = 2; classes <= 5; classes += 3) { /* all but the head of a classifier is taken */
        ft_params *p = ft_params_new(0);
        ft_graph *g = ft_graph_new(p, FT_F32, 0);
        ft_classifier_network(g, "eye", ft_input(g, "x", FT_F32, 5, (int64_t[]){1, 4, 32, 32, 3}), classes, 0, 0, NULL);
        assert_int_equal(ft_weights_load_some(in("learns/ema.safetensors"), p), FT_OK);
        assert_int_equal(ft_params_count(p), st.n + 2);
        ft_graph_free(g);
        ft_params_free(p);
    }
    ft_safetensors_free(&st);
    ft_config_free(cfg);
}

static void test_resume(void **state)
{
    (void)state;
    char a[65], b[65];
    ft_config *cfg = settings(12);
    train(cfg, "once", false);
    for (int i = 0; i < 4; i++) { /* an interrupt stops it behind the step that it is in */
        ft_interrupted = 1;
        assert_int_equal(ft_pretrain(cfg, in("again"), 3, i > 0), FT_EINTERRUPTED);
    }
    ft_interrupted = 0;
    train(cfg, "again", true);
    static const char *const files[] = {"state", "ema", "weights"};
    for (int i = 0; i < 3; i++) {
        char name[64];
        snprintf(name, sizeof name, "once/%s.safetensors", files[i]);
        assert_int_equal(ft_sha256_file(in(name), a), FT_OK);
        snprintf(name, sizeof name, "again/%s.safetensors", files[i]);
        assert_int_equal(ft_sha256_file(in(name), b), FT_OK);
        assert_string_equal(a, b);
    }
    ft_config_free(cfg);
}

static void refused(const char *setting, const char *word)
{
    ft_config *cfg = settings(2);
    assert_int_equal(ft_config_set(cfg, setting, "test"), FT_OK);
    assert_int_equal(ft_pretrain(cfg, in("refused"), 0, false), FT_ECONFIG);
    if (!strstr(ft_error_message(), word)) fail_msg("'%s' does not say %s", ft_error_message(), word);
    ft_config_free(cfg);
}

static void test_refused(void **state)
{
    (void)state;
    refused("classifier.model=x3d-tiny", "cannot be pretrained");
    refused("classifier.model=nothing", "is not known");
    refused("data.frames=5", "data.frames is 5");
    refused("data.frames=66", "data.frames is 66");
    refused("data.size=40", "data.size 40");
    refused("data.size=272", "data.size 272");
}

static int begin(void **state)
{
    (void)state;
    return !mkdtemp(dir);
}
static int end(void **state)
{
    (void)state;
    remove_tree(dir);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_learns), cmocka_unit_test(test_resume),
                                       cmocka_unit_test(test_refused)};
    return cmocka_run_group_tests(tests, begin, end);
}
