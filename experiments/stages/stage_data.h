/* The clips of an experiment: of its labelled videos, and of files that arms name. */
#ifndef FT_STAGE_DATA_H
#define FT_STAGE_DATA_H

#include "common/io/clip_sampler.h"
#include "experiments/stages/stage.h"

int ft_experiment_data(ft_experiment *x); /* reads the store, made if need be; FT_EBUSY while another process makes it */
/* A clip store of somebody else, its clips made as long as those of the labelled videos by unlabelled.sampler. */
int ft_clips_alike(ft_clipstore *s, const ft_experiment *x, const char *path);
ft_clip_sampler ft_alike_sampler(const ft_config *cfg); /* of the arm; `same`: that of the labelled videos */
/* For a key: the content of such a store and, where clips are made alike, how. *key is fresh. */
int ft_alike_key(const ft_experiment *x, const ft_config *cfg, const char *file, json_t **key);
/* Names, sizes and times of a folder's files, which stand for their content in keys. */
int ft_folder_identity(const char *folder, json_t *list);

/* Settings that a stage's key holds by what they lead to: who is labelled, and how clips are made alike. */
#define FT_LABELS_AND_CLIPS "data.multilabel", "positive", "labels", "labels_from", "data.sampler", "data.stride"

#endif
