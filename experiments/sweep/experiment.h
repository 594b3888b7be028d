/* The main job: every arm x label split x seed, then tables and the report.
 *
 * The data (labelled videos as a clip store) come first; from them and the configuration the whole graph of stages is known
 * (stage.h). Any number of processes on any number of machines then compute what is missing (work.c), and one of them reads it
 * all in order for the tables. A second run finds everything and only reports. */
#ifndef FT_EXPERIMENT_H
#define FT_EXPERIMENT_H

#include <stdbool.h>

#include "common/io/config.h"

typedef struct {
    const char *command; /* for environment.json and the report */
    bool json;
    bool dry;                    /* everything is checked and rehearsed, then it ends */
    bool report;                 /* nothing is computed: what is not there is an error */
    bool slurm;                  /* the stages are computed by jobs of a cluster (slurm.c), not here */
    int (*helpers)(void *given); /* starts further workers once the graph is known; may be NULL */
    void *given;
    bool force; /* also where the folder's tables are of other videos */
} ft_run_opt;

/* Both return FT_OK or a negative status: FT_ECONFIG, FT_EDATA, FT_EIO, FT_ENOMEM, FT_EDEVICE, or FT_EINTERRUPTED after SIGINT or
 * SIGTERM: called again, they go on. `dir`: the results folder, made if it is not there. */

/* Everything: stages that are not there yet (each continues from its saved state), tables, report. */
int ft_experiment_run(ft_config *cfg, const char *dir, const ft_run_opt *opt);
/* The stages alone, as one of many workers. `stage`: that one, by the name of its folder; NULL: all that are left. */
int ft_experiment_worker(ft_config *cfg, const char *dir, const char *stage);

#endif
