/* Classes that a generator is told of (Ho & Salimans 2022): a clip's own while it learns, a wanted one while it samples.
 *
 * A clip of no class is one more condition, learned from clips without a label and, now and then, from all others
 * (generator.class_drop). Samples lean towards a class by the difference between both predictions (gen/sampler.h). */
#ifndef FT_CONDITIONS_H
#define FT_CONDITIONS_H

#include "gen/latents.h"

typedef struct {
    const char *const *name;
    int n;              /* 0: it is told of none */
    const int *of_clip; /* class of each clip of the pool; -1: none is known */
    const bool *pseudo; /* of which a classifier says it; NULL: of none */
} ft_conditions;

/* Is generator.condition something? FT_ECONFIG: it is not, and yet there is guidance; the images beside a clip (generator.images)
 * would be told its class, or a video has several labels (data.multilabel). */
int ft_conditions_wanted(const ft_config *cfg, bool *wanted);

/* Whether the label of the training's `draw`-th clip is left out, which befalls this share of them. */
bool ft_label_dropped(uint64_t seed, int64_t draw, double share);

/* The control of generator.condition: shuffled-labels. The videos of each class are dealt out evenly to all classes, in an order
 * by `seed`, so that what a clip is told says nothing of what it shows. All clips of a video are told the same. */
int ft_conditions_shuffle(int *of_clip, const ft_clip_pool *pool, int classes, uint64_t seed);

/* Into DIR/conditions.csv the pool's videos with a class, as a list: video,label and, where some are pseudo-labels, source.
 * Nothing else was told. FT_EDATA when there are none; c NULL or of no classes: nothing is done. */
int ft_conditions_take(const ft_conditions *c, const ft_clip_pool *pool, const char *dir);
char *ft_conditions_text(const ft_conditions *c); /* names for the weights' metadata, one a line; fresh, NULL: no memory */

/* The classes that the generator in `dir` knows; n = 0: none. */
typedef struct {
    char **name;
    int n;
} ft_class_names;
int ft_class_names_read(ft_class_names *c, const char *dir);
void ft_class_names_free(ft_class_names *c);
/* Its number, -1 for name = NULL: every class in turn. FT_ECONFIG with the names there are. dir: for messages */
int ft_class_names_find(const ft_class_names *c, const char *name, const char *dir, int *class);

#endif
