/* Semi-supervised algorithms. Adding one is a file classify/ssl_NAME.c and a row of ssl_table.h; see CONTRIBUTING.md. */
#ifndef FT_SSL_H
#define FT_SSL_H

#include "common/graph/graph.h"
#include "common/io/config.h"

typedef struct {
    const char *name, *help;
    /* Unlabelled loss (scalar) from the logits of the weak and strong views (U, classes) f32. *mask (U): 1 where a clip got a
     * pseudo-label; its mean is logged as the utilisation. The caller multiplies by ssl.lambda_u. */
    ft_t (*loss)(ft_graph *g, ft_t weak, ft_t strong, const ft_config *cfg, ft_t *mask);
} ft_ssl;

const ft_ssl *ft_ssl_find(const char *name);
const ft_ssl *ft_ssl_at(int i);

#endif
