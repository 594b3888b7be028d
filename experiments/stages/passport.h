/* The memorisation passport of a set of clips: gen/memorisation.h on clips of stores. */
#ifndef FT_PASSPORT_H
#define FT_PASSPORT_H

#include <jansson.h>

#include "gen/latents.h"
#include "gen/memorisation.h"

/* What is compared with what, and in what: the latents of a VAE trained on `train` (its folder, the settings that it is run with,
 * and its files of the latents of both real sets), or without it thumbnails of the pixels, of which all may have any shape. */
typedef struct {
    ft_clip_pool train, held_out, clips;
    const ft_config *cfg;
    const char *vae, *latents, *held_out_latents; /* vae: NULL without */
} ft_passport;

/* of_clip: fresh, one for each of `clips`; nearest: an index into train.clip. */
int ft_passport_make(const ft_passport *p, ft_recall **of_clip, ft_memorisation *m);

/* As facts of a stage and for --json: "memorisation", what is compared, and the most similar pairs, [clip, training clip,
 * correlation] each, both as indices into their stores. */
enum { FT_PAIRS = 4 };
json_t *ft_passport_json(const ft_passport *p, const ft_recall *of_clip, const ft_memorisation *m);
json_t *ft_memorisation_json(const ft_memorisation *m);         /* shares as [value, low, high]; null: nothing to tell it by */
bool ft_passport_read(const json_t *facts, ft_memorisation *m); /* false: there is no passport */

/* "copies its training videos: 71 % [60, 80] of its clips (held-out real clips: 4 % [1, 13])": what the first line says of a
 * generator, with `copying` alone; "" else. And all of the numbers in a sentence or two. */
enum { FT_PASSPORT_TEXT = 700 };
void ft_passport_head(const ft_memorisation *m, char text[FT_PASSPORT_TEXT]);
void ft_passport_text(const ft_memorisation *m, char text[FT_PASSPORT_TEXT]);

#endif
