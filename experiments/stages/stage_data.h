/* The clips of an experiment: of its labelled videos, and of files that arms name. */
#ifndef FT_STAGE_DATA_H
#define FT_STAGE_DATA_H

#include "experiments/stages/stage.h"

int ft_experiment_data(ft_experiment *x); /* reads the store, made if need be; FT_EBUSY while another process makes it */
/* A clip store of somebody else, its clips made as long as those of the labelled videos. */
int ft_clips_alike(ft_clipstore *s, const ft_experiment *x, const ft_config *cfg, const char *path);
/* Names, sizes and times of a folder's files, which stand for their content in keys. */
int ft_folder_identity(const char *folder, json_t *list);
json_t *ft_video_names(const ft_clipstore *s, const ft_videos *v);

#endif
