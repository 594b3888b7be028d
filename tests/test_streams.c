/* common/base/streams.h: no two rows draw from one stream, but for the overlaps that the table owns up to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/rng.h"
#include "common/base/streams.h"
#include "gen/diffusion.h"

typedef struct {
    const char *name;
    int64_t first, count;
    bool graph, draws;
} row;

#define STREAM(name, number, streams, seed, step, what) {#name, number, streams, false, true},
#define GRAPH(name, number, draws, what)                {#name, 65536LL * (number), 65536, true, draws},
static const row table[] = {FT_STREAM_TABLE(STREAM) FT_GRAPH_TABLE(GRAPH)};
enum { N_ROWS = sizeof table / sizeof *table };

/* known and kept with the bits; see the head of the table */
static const char *known[][2] = {
    {"LABELLED", "ALONE"},         {"NOISE_CLIPS", "GENERATOR_SCORE"}, {"PHANTOM_SCENE", "PREDICTION"}, {"SAMPLE_NOISE", "VIEWS"},
    {"SAMPLE_NOISE", "KEPT_VIEW"}, {"SAMPLE_NOISE", "ALONE"},          {"SAMPLE_NOISE", "GENERATOR"}};
enum { N_KNOWN = sizeof known / sizeof *known };

static bool meet(const row *a, int64_t first, int64_t count) { return first < a->first + a->count && a->first < first + count; }

static void test_rows_are_apart(void **state)
{
    (void)state;
    bool seen[N_KNOWN] = {0};
    int strangers = 0;
    for (int i = 0; i < N_ROWS; i++)
        for (int j = i + 1; j < N_ROWS; j++) {
            const row *a = table + i, *b = table + j;
            assert_true(strcmp(a->name, b->name));
            bool one = meet(a, b->first, b->count) && a->draws && b->draws;
            /* a sampler's noise: step k << 40 is XORed with the stream at bit 32 */
            for (int64_t k = 1; !strcmp(a->name, "SAMPLE_NOISE") && b->draws && k <= FT_T; k++)
                one |= meet(b, a->first ^ k << 8, 1);
            for (int64_t k = 1; !strcmp(b->name, "SAMPLE_NOISE") && a->draws && k <= FT_T; k++)
                one |= meet(a, b->first ^ k << 8, 1);
            if (!one) continue;
            int k = 0;
            while (k < N_KNOWN && !((!strcmp(known[k][0], a->name) && !strcmp(known[k][1], b->name)) ||
                                    (!strcmp(known[k][0], b->name) && !strcmp(known[k][1], a->name))))
                k++;
            if (k < N_KNOWN) seen[k] = true;
            else strangers++, print_error("%s and %s draw the same numbers\n", a->name, b->name);
        }
    assert_int_equal(strangers, 0);
    for (int k = 0; k < N_KNOWN; k++)
        if (!seen[k])
            fail_msg("%s and %s are apart now: take them out of the table's head and of this list", known[k][0], known[k][1]);
}

/* what rng.h says of steps above 2^32, and the table of SAMPLE_NOISE */
static void test_stream_in_step(void **state)
{
    (void)state;
    uint32_t a[4], b[4], c[4];
    ft_philox(7, FT_STREAM_SAMPLE_NOISE, 3 | (uint64_t)15 << 40, 5, a);
    ft_philox(7, FT_STREAM_SAMPLE_NOISE ^ 15 << 8, 3, 5, b);
    ft_philox(7, FT_STREAM_SAMPLE_NOISE, 3, 5, c);
    assert_memory_equal(a, b, sizeof a);
    assert_true(memcmp(a, c, sizeof a));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows_are_apart), cmocka_unit_test(test_stream_in_step)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
