/* The few names of cmocka that test_ops.c uses, for machines where nothing can be installed. A failure ends its test by longjmp.
 */
#ifndef FT_DEVICE_CMOCKA_H
#define FT_DEVICE_CMOCKA_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct CMUnitTest {
    const char *name;
    void (*run)(void **state);
    void *before, *after;
    void *state;
};

static jmp_buf ft_end_of_test;
static inline void ft_fail_test(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "ERROR: ");
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
    longjmp(ft_end_of_test, 1);
}
#define fail_msg(...)          ft_fail_test(__VA_ARGS__)
#define assert_true(c)         ((c) ? (void)0 : ft_fail_test("%s:%d: %s", __FILE__, __LINE__, #c))
#define assert_int_equal(a, b) assert_true((a) == (b))

static inline int _cmocka_run_group_tests(const char *group, const struct CMUnitTest *t, size_t n, void *a, void *b)
{
    int failed = 0;
    (void)group, (void)a, (void)b;
    for (size_t i = 0; i < n; i++) {
        void *state = t[i].state;
        if (setjmp(ft_end_of_test) == 0) t[i].run(&state);
        else {
            failed++;
            fprintf(stderr, "[  FAILED  ] %s\n", t[i].name);
        }
        fflush(stderr);
    }
    printf("%zu tests, %d failed\n", n, failed);
    return failed;
}

#endif
