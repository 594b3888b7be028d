#include "classify/ssl.h"

#include <string.h>

#include "classify/ssl_table.h"

#define SSL(name) extern const ft_ssl ft_ssl_##name;
FT_SSL_TABLE(SSL)
#undef SSL

static const ft_ssl *const rows[] = {
#define SSL(name) &ft_ssl_##name,
    FT_SSL_TABLE(SSL)
#undef SSL
};

const ft_ssl *ft_ssl_at(int i) { return i < (int)(sizeof rows / sizeof *rows) ? rows[i] : NULL; }

const ft_ssl *ft_ssl_find(const char *name)
{
    for (int i = 0; ft_ssl_at(i); i++)
        if (!strcmp(rows[i]->name, name)) return rows[i];
    return NULL;
}
