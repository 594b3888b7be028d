/* Do clips of these sizes fit the networks that will see them? Asked while planning, before a video is decoded or a step is made:
 * the networks are built, which costs neither weights nor memory. What does not fit is FT_ECONFIG, with the setting and the
 * nearest values that do. */
#ifndef FT_SHAPES_H
#define FT_SHAPES_H

#include "common/io/config.h"
#include "experiments/arms/results.h"

/* store: where the sizes come from; NULL: the settings data.frames and data.size */
int ft_shapes_vae(const ft_config *cfg, const char *store, int frames, int size);
int ft_shapes_generator(const ft_config *cfg, const char *preset, const char *store, int frames, int size); /* and its VAE */
int ft_shapes_classifier(const ft_config *cfg, const char *store, int frames, int size);
int ft_shapes_arms(const ft_result *r); /* all networks of an experiment's arms */

#endif
