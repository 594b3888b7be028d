/* Leases of folders: one owner at a time, whoever dies or sleeps. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "common/base/files.h"
#include "tests/tree.h"
#include "common/base/lease.h"
#include "common/base/memory.h"
#include "common/base/status.h"

static char dir[] = "/tmp/forty-lease-XXXXXX";
static char folder[200], file[300];

static void age(const char *path, int seconds)
{
    struct timespec now, t[2];
    clock_gettime(CLOCK_REALTIME, &now);
    t[0] = t[1] = (struct timespec){now.tv_sec - seconds, 0};
    assert_int_equal(utimensat(AT_FDCWD, path, t, 0), 0);
}

/* a lease as a process of another machine leaves it */
static void foreign(const char *path, const char *nonce, int seconds)
{
    char text[300];
    snprintf(text, sizeof text, "{\"machine\": \"elsewhere\", \"host\": \"node7\", \"pid\": 1, \"start\": 1, \"nonce\": \"%s\"}",
             nonce);
    assert_int_equal(ft_write_file(path, text, strlen(text)), FT_OK);
    age(path, seconds);
}

static void test_one_owner(void **state)
{
    (void)state;
    ft_lease *a, *b;
    char owner[200];
    assert_false(ft_lease_owner(folder, owner));
    assert_int_equal(ft_lease_take(folder, false, &a), FT_OK);
    assert_int_equal(ft_lease_take(folder, false, &b), FT_EBUSY);
    assert_non_null(strstr(ft_error_message(), folder));
    assert_true(ft_lease_owner(folder, owner) && ft_lease_kept(a));
    ft_lease_drop(a);
    char **name;
    int n;
    assert_int_equal(ft_list_dir(folder, &name, &n), FT_OK);
    assert_int_equal(n, 1); /* nothing is left behind but the mark that the folder is forty's */
    assert_string_equal(name[0], ".forty");
    ft_free(name[0]), ft_free(name);
    assert_int_equal(ft_lease_take(folder, false, &b), FT_OK);
    ft_lease_drop(b);
}

static void test_dead_owner(void **state)
{
    (void)state;
    ft_lease *a;
    int ready[2];
    char byte;
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        ft_lease *mine;
        int rc = ft_lease_take(folder, false, &mine);
        if (write(ready[1], rc == FT_OK ? "+" : "-", 1) != 1) _exit(1);
        pause();
    }
    assert_true(read(ready[0], &byte, 1) == 1 && byte == '+');
    assert_int_equal(ft_lease_take(folder, false, &a), FT_EBUSY);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    close(ready[0]), close(ready[1]);
    assert_int_equal(ft_lease_take(folder, false, &a), FT_OK);
    /* the number of a dead process may be used again: the time of its start tells them apart */
    json_t *o = json_load_file(file, 0, NULL);
    ft_lease_drop(a);
    json_object_set_new(o, "start", json_integer(1));
    assert_int_equal(json_dump_file(o, file, 0), 0);
    json_decref(o);
    assert_int_equal(ft_lease_take(folder, false, &a), FT_OK);
    ft_lease_drop(a);
}

static void test_other_machine(void **state)
{
    (void)state;
    ft_lease *a;
    foreign(file, "00000000000000000000000000000000", FT_LEASE_STALE / 2);
    assert_int_equal(ft_lease_take(folder, false, &a), FT_EBUSY);
    assert_non_null(strstr(ft_error_message(), "node7"));
    age(file, FT_LEASE_STALE + 2);
    assert_int_equal(ft_lease_take(folder, false, &a), FT_OK);
    ft_lease_drop(a);
    /* a process that died while it replaced a void lease */
    char right[320];
    snprintf(right, sizeof right, "%s.aaaaaaaa", file);
    foreign(file, "aaaaaaaa000000000000000000000000", FT_LEASE_STALE + 2);
    foreign(right, "bbbbbbbb000000000000000000000000", FT_LEASE_STALE / 2);
    assert_int_equal(ft_lease_take(folder, false, &a), FT_EBUSY);
    age(right, FT_LEASE_STALE + 2);
    assert_int_equal(ft_lease_take(folder, false, &a), FT_OK);
    assert_true(ft_lease_kept(a));
    ft_lease_drop(a);
}

static void test_lost(void **state)
{
    (void)state;
    ft_lease *a;
    assert_int_equal(ft_lease_take(folder, false, &a), FT_OK);
    foreign(file, "cccccccccccccccccccccccccccccccc", 0); /* somebody took us for dead, and replaced it */
    assert_false(ft_lease_kept(a));
    ft_lease_drop(a);
    assert_true(ft_exists(file)); /* and it is theirs */
    age(file, FT_LEASE_STALE + 2);
    assert_int_equal(ft_lease_take(folder, false, &a), FT_OK);
    assert_int_equal(remove_tree(folder), FT_OK);
    assert_false(ft_lease_kept(a));
    ft_lease_drop(a);
}

/* a replaced owner completes nothing any more, whenever it was stopped: not what it had begun, and nothing new */
static void test_fence(void **state)
{
    (void)state;
    ft_lease *a, *b;
    ft_atomic begun;
    char at[400], deeper[400], *text;
    size_t size;
    snprintf(at, sizeof at, "%s/state.safetensors", folder);
    snprintf(deeper, sizeof deeper, "%s/vae/log.csv", folder);
    assert_int_equal(ft_lease_take(folder, false, &a), FT_OK);
    assert_int_equal(ft_write_file(at, "mine", 4), FT_OK);
    assert_int_equal(ft_write_file(deeper, "mine", 4), FT_OK);
    assert_int_equal(ft_atomic_begin(&begun, at), FT_OK);
    json_t *o = json_load_file(file, 0, NULL); /* as if another machine had it, which fell asleep */
    json_object_set_new(o, "machine", json_string("node7 boot"));
    FILE *f = fopen(file, "r+");
    json_dumpf(o, f, 0);
    fclose(f);
    json_decref(o);
    age(file, FT_LEASE_STALE + 2);
    assert_true(ft_lease_kept(a));
    pid_t child = fork();
    if (child == 0) { /* the new owner writes, and keeps the folder */
        bool good = ft_lease_take(folder, false, &b) == FT_OK && ft_write_file(at, "theirs", 6) == FT_OK;
        _exit(good ? 0 : 1);
    }
    int status;
    assert_true(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_false(ft_lease_kept(a));
    assert_int_equal(ft_atomic_commit(&begun), FT_EIO);
    assert_non_null(strstr(ft_error_message(), "another process took it"));
    assert_int_equal(ft_write_file(at, "late", 4), FT_EIO);
    assert_int_equal(ft_write_file(deeper, "late", 4), FT_EIO);
    assert_int_equal(ft_read_file(at, 0, &text, &size), FT_OK);
    assert_string_equal(text, "theirs");
    ft_free(text);
    ft_lease_drop(a);
    if (ft_lease_take(folder, false, &b) != FT_OK) fail_msg("%s", ft_error_message()); /* the child is gone */
    assert_int_equal(ft_write_file(deeper, "new", 3), FT_OK);
    ft_lease_drop(b);
}

/* many processes at one void lease: one of them gets it */
static void test_race(void **state)
{
    (void)state;
    enum { RACERS = 8, RACES = 40 };
    for (int race = 0; race < RACES; race++) {
        int start[2], won[2], winners = 0;
        char byte;
        pid_t pid[RACERS];
        if (race % 2) foreign(file, "dddddddddddddddddddddddddddddddd", FT_LEASE_STALE + 2);
        assert_true(pipe(start) == 0 && pipe(won) == 0);
        for (int i = 0; i < RACERS; i++)
            if ((pid[i] = fork()) == 0) {
                ft_lease *mine;
                close(start[1]);
                if (read(start[0], &byte, 1) != 0) _exit(1); /* the end of the file is the shot */
                int rc = ft_lease_take(folder, false, &mine);
                if (write(won[1], rc == FT_OK ? "+" : rc == FT_EBUSY ? "-" : "?", 1) != 1) _exit(1);
                pause();
            }
        close(start[1]);
        for (int i = 0; i < RACERS; i++) {
            assert_true(read(won[0], &byte, 1) == 1 && byte != '?');
            winners += byte == '+';
        }
        for (int i = 0; i < RACERS; i++) kill(pid[i], SIGKILL), waitpid(pid[i], NULL, 0);
        close(start[0]), close(won[0]), close(won[1]);
        if (winners != 1) fail_msg("race %d: %d winners", race, winners);
        assert_int_equal(unlink(file), 0);
    }
}

static int set_up(void **state)
{
    (void)state;
    if (!mkdtemp(dir)) return -1;
    snprintf(folder, sizeof folder, "%s/run", dir);
    snprintf(file, sizeof file, "%s/.lease", folder);
    return FT_OK; /* the first lease makes the folder */
}
static int tear_down(void **state) { return (void)state, remove_tree(dir); }

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_one_owner),     cmocka_unit_test(test_dead_owner),
                                       cmocka_unit_test(test_other_machine), cmocka_unit_test(test_lost),
                                       cmocka_unit_test(test_fence),         cmocka_unit_test(test_race)};
    return cmocka_run_group_tests_name("leases", tests, set_up, tear_down);
}
