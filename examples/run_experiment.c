/* An experiment driven from C: settings, the main job, its results as JSON.
 *
 *     cc run_experiment.c -o run_experiment $(pkg-config --cflags --libs forty) && ./run_experiment RESULTS
 *
 * What it does is what `forty experiment run` does, with the same folder as result: a second call finds all that is there. */
#include <forty/experiment.h>

static const char *const settings[] = {"data.phantom=true",   "data.size=32", "data.frames=8", "phantom.videos=40",
                                       "positive=polyp",      "labels=8",     "splits=1",      "arms=supervised,noise",
                                       "classifier.steps=10", "generated=10", "bootstrap=200", "rehearse=never"};

static void hear(void *user, ft_log_level level, const char *text)
{
    (void)user, (void)level;
    fprintf(stderr, "run_experiment: warning: %s\n", text);
}

int main(int argc, char **argv)
{
    if (argc != 2) return fprintf(stderr, "usage: run_experiment RESULTS\n"), 2;
    ft_context *context = NULL; /* where to compute, in how many threads, who hears the log */
    ft_config *cfg = NULL;
    int rc = ft_context_new(&context, (ft_context_opt){.device = "cpu", .threads = 1, .log = hear, .level = FT_LOG_WARNING});
    if (rc == FT_OK) ft_context_enter(context);
    if (rc == FT_OK) rc = ft_config_new(&cfg);
    for (size_t i = 0; rc == FT_OK && i < sizeof settings / sizeof *settings; i++)
        rc = ft_config_set(cfg, settings[i], "run_experiment");
    if (rc == FT_OK) rc = ft_experiment_run(cfg, argv[1], &(ft_run_opt){.command = "run_experiment", .json = true});
    if (rc < 0) fprintf(stderr, "run_experiment: %s\n", ft_error_message());
    ft_config_free(cfg);
    ft_context_free(context);
    return rc < 0;
}
