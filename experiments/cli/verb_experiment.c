/* experiment: the main job, alone, by many workers, and what it has done so far. */
#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/files.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/base/threads.h"
#include "experiments/cli/cli.h"
#include "experiments/sweep/experiment.h"
#include "experiments/sweep/sweep_status.h"

extern char **environ;
enum { WORKERS = 256 };

/* The processes of `-j N` beside this one. */
typedef struct {
    const ft_cli *c;
    int n, threads;
    pid_t pid[WORKERS];
} helpers;

/* Starts them: this command again with `worker` for `run`, a share of the threads, and the next GPU in turn. They end with us. */
static int start_helpers(void *ctx)
{
    helpers *h = ctx;
    const ft_cli *c = h->c;
    const char *const *arg;
    char **given, count[16], number[16], program[] = "forty", worker[] = "worker";
    ft_cli_args(c, &arg);
    int n_given = ft_cli_given(c, &given), rc = FT_OK;
    char **argv = ft_alloc((size_t)(n_given + 8) * sizeof *argv);
    if (!argv) return FT_FAIL(FT_ENOMEM, "no memory for workers");
    int at = 0;
    argv[at++] = program;
    for (int i = 0; i < n_given; i++) argv[at++] = given[i] == arg[0] ? worker : given[i];
    snprintf(count, sizeof count, "%d", h->threads);
    argv[at++] = (char *)(uintptr_t) "--threads", argv[at++] = count, argv[at++] = (char *)(uintptr_t) "--with-parent";
    for (int i = 0; i < h->n && rc == FT_OK; i++) {
        snprintf(number, sizeof number, "%d", i + 1);
        setenv("FORTY_WORKER", number, 1);
        int why = posix_spawn(&h->pid[i], "/proc/self/exe", NULL, NULL, argv, environ);
        if (why) rc = FT_FAIL(FT_EIO, "a worker cannot be started (%s)", strerror(why)), h->pid[i] = 0;
    }
    unsetenv("FORTY_WORKER");
    ft_free(argv);
    return rc;
}

static int run_all(ft_cli *c, ft_config *cfg, const char *dir, const char *config, bool report)
{
    char command[2048];
    int64_t jobs;
    const char *launcher = ft_cli_text(c, "--launcher");
    FT_TRY(ft_cli_int(c, "-j", 1, WORKERS, &jobs));
    bool slurm = launcher && !strcmp(launcher, "slurm");
    if (launcher && !slurm && strcmp(launcher, "local"))
        return FT_FAIL(FT_EUSAGE, "--launcher %s is not known: local, slurm", launcher);
    int threads = ft_threads_get() / (int)jobs;
    helpers h = {.c = c, .n = (int)jobs - 1, .threads = threads ? threads : 1};
    if (jobs > 1) ft_threads_set(h.threads);
    /* the overrides are part of config.yaml; paths of this machine are not kept, only names */
    snprintf(command, sizeof command, "forty experiment run %s", ft_base_name(config));
    ft_run_opt opt = {command, ft_cli_json(c),           ft_cli_flag(c, "--dry-run"), report, slurm, start_helpers,
                      &h,      ft_cli_flag(c, "--force")};
    int rc = ft_experiment_run(cfg, dir, &opt);
    for (int i = 0; i < WORKERS && h.pid[i] > 0; i++) {
        if (rc < 0) kill(h.pid[i], SIGTERM);
        while (waitpid(h.pid[i], NULL, 0) < 0 && errno == EINTR) continue;
    }
    return rc;
}

static int run_experiment(ft_cli *c)
{
    const char *const *arg, *out = ft_cli_text(c, "-o");
    char dir[FT_PATH_GIVEN + 16];
    ft_config *cfg;
    FT_TRY(ft_cli_need(c, 2, "run|status|report|worker|gc CONFIG.yaml"));
    ft_cli_args(c, &arg);
    bool run = !strcmp(arg[0], "run"), report = !strcmp(arg[0], "report"), status = !strcmp(arg[0], "status"),
         worker = !strcmp(arg[0], "worker"), gc = !strcmp(arg[0], "gc");
    if (!run && !report && !status && !worker && !gc)
        return FT_FAIL(FT_EUSAGE, "experiment %s is not known: run, status, report, worker, gc", arg[0]);
    if (worker && ft_cli_flag(c, "--with-parent")) {
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        ft_log_no_bars();
    }
    FT_TRY(ft_cli_config(c, arg[1], &cfg));
    if (out) snprintf(dir, sizeof dir, "%s", out);
    else {
        const char *base = ft_base_name(arg[1]);
        snprintf(dir, sizeof dir, "results/%.*s", (int)strcspn(base, "."), base);
    }
    int rc = FT_OK;
    if (ft_cli_flag(c, "--print-config")) ft_config_print(cfg, stdout);
    else if (status) rc = ft_experiment_status(cfg, dir, ft_cli_json(c));
    else if (worker) rc = ft_experiment_worker(cfg, dir, ft_cli_text(c, "--stage"));
    else if (gc) rc = ft_experiment_gc(cfg, dir, ft_cli_json(c));
    else rc = run_all(c, cfg, dir, arg[1], report);
    ft_config_free(cfg);
    return rc;
}
static const ft_option experiment_options[] = {
    {"-o", "DIR", NULL, "results folder; without: results/ and the name of the file"},
    {"-j", "N", "1", "processes that share the work; each gets its part of the threads"},
    {"--launcher", "local|slurm", "local", "slurm: submit the stages as arrays of jobs (slurm.* settings), then end"},
    {"--dry-run", NULL, NULL, "check everything, run every kind of stage for a few steps, say how long and how large, and end"},
    {"--stage", "NAME", NULL, "of a worker: this stage alone, KIND-KEY as `status --json` lists it"},
    {"--resume", NULL, NULL, "accepted: every stage continues by itself"},
    {"--print-config", NULL, NULL, "show every setting and where it comes from"},
    {"--with-parent", NULL, NULL, "of a worker: end with the process that started it, and show no bars"},
    {NULL, NULL, NULL, NULL}};
const ft_verb ft_verb_experiment = {
    "experiment",
    "the main job: arms x splits x seeds, then the table and the report",
    "experiment run|status|report|worker|gc CONFIG.yaml [-o results/NAME] [-j N] [--launcher slurm]",
    "forty experiment run experiments/quickstart.yaml -j 2",
    experiment_options,
    run_experiment};
