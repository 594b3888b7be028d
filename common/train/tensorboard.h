/* TensorBoard event files: scalars of a training run, written as it goes (log.tensorboard: true).
 *
 * TFRecord framing (length, masked CRC-32C, data, masked CRC-32C) around Event messages of tensorflow/core/util/event.proto:
 * fields wall_time 1, step 2, file_version 3, summary 5 {value 1 {tag 1, simple_value 2}}, session_log 7. Every start of a run is
 * a file of its own, which tells TensorBoard to forget what an interrupted start logged beyond its saved state. */
#ifndef FT_TENSORBOARD_H
#define FT_TENSORBOARD_H

#include <stdint.h>

typedef struct ft_tensorboard ft_tensorboard;

int ft_tensorboard_open(ft_tensorboard **t, const char *dir, int64_t step); /* step: the first that will be logged */
int ft_tensorboard_scalar(ft_tensorboard *t, int64_t step, const char *tag, double value);
int ft_tensorboard_close(ft_tensorboard *t); /* NULL is allowed */

#endif
