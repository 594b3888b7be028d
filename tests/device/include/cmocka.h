/* The few names of cmocka that test_ops.c uses, for machines where nothing can be installed. A failure ends its test by longjmp.
 * Every line is one write: several processes append to one file. */
#ifndef FT_DEVICE_CMOCKA_H
#define FT_DEVICE_CMOCKA_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
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
    char text[2000];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    fprintf(stderr, "ERROR: %s\n", text);
    longjmp(ft_end_of_test, 1);
}
#define fail_msg(...)          ft_fail_test(__VA_ARGS__)
#define assert_true(c)         ((c) ? (void)0 : ft_fail_test("%s:%d: %s", __FILE__, __LINE__, #c))
#define assert_int_equal(a, b) assert_true((a) == (b))

bool ft_device_usable(void);          /* shim/use.c: after a failure: does the device still take work? */
void ft_device_say(const char *name); /* and what its libraries were asked to do since the last call, to stderr */

static inline int _cmocka_run_group_tests(const char *group, const struct CMUnitTest *t, size_t n, void *a, void *b)
{
    int failed = 0;
    (void)group, (void)a, (void)b;
    fprintf(stderr, "[  PLANNED ] %zu\n", n);
    for (size_t i = 0; i < n; i++) {
        void *state = t[i].state;
        bool fine = setjmp(ft_end_of_test) == 0;
        if (fine) t[i].run(&state);
        failed += !fine;
        fprintf(stderr, fine ? "[       OK ] %s\n" : "[  FAILED  ] %s\n", t[i].name);
        if (!fine && !ft_device_usable()) {
            fprintf(stderr, "[   LOST   ] the device takes no work any more: %zu cases are not run\n", n - i - 1);
            break;
        }
        ft_device_say(t[i].name);
    }
    return failed;
}

#endif
