#include "common/base/ranks.h"

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/plugin.h"
#include "common/base/status.h"

enum { QUEUE = 256 };
typedef enum { SUM, MEET, END } job_kind;

/* All calls of the library are made by one thread, in the order in which they were asked for. */
static struct {
    const ft_ranks_api *api;
    int rank, ranks, failed;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t asked, finished;
    struct {
        job_kind kind;
        float *x;
        int64_t n;
    } job[QUEUE];
    int64_t begun, done;
} all = {.ranks = 1, .lock = PTHREAD_MUTEX_INITIALIZER, .asked = PTHREAD_COND_INITIALIZER, .finished = PTHREAD_COND_INITIALIZER};

int ft_this_rank(void) { return all.rank; }
int ft_ranks(void) { return all.ranks; }

static int carry(job_kind kind, float *x, int64_t n)
{
    if (kind == MEET) return all.api->meet();
    int bad = all.api->sum(x, n);
    float part = 1.0f / (float)all.ranks;
    for (int64_t i = 0; i < n; i++) x[i] *= part;
    return bad;
}

static void *work(void *unused)
{
    (void)unused;
    all.failed = all.api->start(&all.rank, &all.ranks);
    pthread_mutex_lock(&all.lock);
    all.done++;
    pthread_cond_signal(&all.finished);
    for (bool over = false; !over;) {
        while (all.done == all.begun) pthread_cond_wait(&all.asked, &all.lock);
        int64_t i = all.done % QUEUE;
        pthread_mutex_unlock(&all.lock);
        int bad = 0;
        over = all.job[i].kind == END;
        if (over) all.api->end(all.job[i].n != 0);
        else bad = carry(all.job[i].kind, all.job[i].x, all.job[i].n);
        pthread_mutex_lock(&all.lock);
        all.failed |= bad;
        all.done++;
        pthread_cond_signal(&all.finished);
    }
    pthread_mutex_unlock(&all.lock);
    return NULL;
}

static void ask(job_kind kind, float *x, int64_t n)
{
    pthread_mutex_lock(&all.lock);
    while (all.begun - all.done == QUEUE) pthread_cond_wait(&all.finished, &all.lock);
    int64_t i = all.begun++ % QUEUE;
    all.job[i].kind = kind, all.job[i].x = x, all.job[i].n = n;
    pthread_cond_signal(&all.asked);
    pthread_mutex_unlock(&all.lock);
}

static int wait_for_all(void)
{
    pthread_mutex_lock(&all.lock);
    while (all.done < all.begun) pthread_cond_wait(&all.finished, &all.lock);
    int bad = all.failed;
    pthread_mutex_unlock(&all.lock);
    return bad ? FT_FAIL(FT_EIO, "rank %d of %d: the other ranks cannot be reached", all.rank, all.ranks) : FT_OK;
}

/* Has a launcher started several of us? */
static bool launched(void)
{
    static const char *const size[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE"};
    for (int i = 0; i < 3; i++)
        if (getenv(size[i])) return atoi(getenv(size[i])) > 1;
    return getenv("PMIX_RANK") != NULL; /* srun --mpi=pmix */
}

int ft_ranks_start(void)
{
    char path[4096];
    if (all.api || !launched()) return FT_OK;
    ft_plugin_path(path, sizeof path, "libforty_mpi.so");
    const ft_ranks_api *const *api = ft_plugin_symbol(path, true, "ft_ranks_mpi"); /* Open MPI looks for its own symbols */
    if (!api)
        return FT_FAIL(
            FT_EDEVICE,
            "several ranks were started, but this build has no MPI (%s). Install libopenmpi-dev or libmpich-dev and build "
            "again, or start one process",
            dlerror());
    sigset_t every, before;
    sigfillset(&every);
    pthread_sigmask(SIG_SETMASK, &every, &before); /* signals are for the thread that trains */
    all.api = *api;
    all.begun = 1; /* the start */
    int bad = pthread_create(&all.thread, NULL, work, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (bad) return FT_FAIL(FT_ENOMEM, "no thread for the other ranks");
    return wait_for_all();
}

void ft_mean_begin(float *x, int64_t n)
{
    if (all.ranks > 1) ask(SUM, x, n);
}
int ft_mean_wait(void) { return all.ranks > 1 ? wait_for_all() : FT_OK; }

int ft_ranks_meet(void)
{
    if (all.ranks == 1) return FT_OK;
    ask(MEET, NULL, 0);
    return wait_for_all();
}

void ft_ranks_end(bool failed)
{
    if (!all.api) return;
    ask(END, NULL, failed);
    pthread_join(all.thread, NULL);
    all.api = NULL;
}
