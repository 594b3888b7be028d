/* Protocols: named settings of everything that decides a score. `protocol: NAME` gives each of its keys that neither a file nor
 * --set gives. Adding one is a row in protocol.c. */
#ifndef FT_PROTOCOL_H
#define FT_PROTOCOL_H

#include "common/io/config.h"

typedef struct {
    const char *name, *help;
    bool looks, best_on_test;    /* may the test list be scored while training; may that choose the weights */
    const char *const *settings; /* key=value, NULL at the end */
} ft_protocol;

const ft_protocol *ft_protocol_at(int i);

/* Fills in the settings of the protocol that `cfg` names. FT_ECONFIG: no such protocol. */
int ft_protocol_apply(ft_config *cfg);

/* Whether an arm's settings obey the protocol: the test list is not looked at where that is not allowed. */
int ft_protocol_check(const ft_config *cfg);

#endif
