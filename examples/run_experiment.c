/* An experiment driven from C: settings, the main job, its results as JSON.
 *
 *     cc run_experiment.c -o run_experiment $(pkg-config --cflags --libs forty) && ./run_experiment RESULTS
 *
 * What it does is what `forty experiment run` does, with the same folder as result: a second call finds all that is there. */
#include <forty/experiment.h>

static const char *const settings[] = {"data.phantom=true",   "data.size=32", "data.frames=8", "phantom.videos=40",
                                       "positive=polyp",      "labels=8",     "splits=1",      "arms=supervised,noise",
                                       "classifier.steps=10", "generated=10", "bootstrap=200", "rehearse=never"};

int main(int argc, char **argv)
{
    if (argc != 2) return fprintf(stderr, "usage: run_experiment RESULTS\n"), 2;
    ft_config *cfg = NULL;
    int rc = ft_config_new(&cfg);
    for (size_t i = 0; rc == FT_OK && i < sizeof settings / sizeof *settings; i++)
        rc = ft_config_set(cfg, settings[i], "run_experiment");
    if (rc == FT_OK) rc = ft_backend_select("cpu");
    ft_log_quiet(true);
    if (rc == FT_OK) rc = ft_experiment_run(cfg, argv[1], &(ft_run_opt){.command = "run_experiment", .json = true});
    if (rc < 0) fprintf(stderr, "run_experiment: %s\n", ft_error_message());
    ft_config_free(cfg);
    return rc < 0;
}
