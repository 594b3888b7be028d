/* Settings: a typed table (config_keys.h), YAML files, and --set. Unknown keys, wrong types, duplicates and values out of range
 * are errors (FT_ECONFIG, FT_EIO for a file) with file, line and column. Every value remembers where it came from.
 * docs/settings.md lists the keys. Texts and lists belong to the configuration and live as long as it does. */
#ifndef FT_CONFIG_H
#define FT_CONFIG_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef struct ft_config ft_config;

int ft_config_new(ft_config **c);                         /* defaults */
int ft_config_copy(ft_config **copy, const ft_config *c); /* borrows the values of `c`, which must outlive it */
/* A copy of which nothing may be read but settings that change no result (threads, device, ...) and those that are opened: what
 * is computed and kept under a key of settings reads them through a scope of that key, so none is forgotten there. Reading
 * another is a fault of forty and ends the program. Names that are no settings are ignored. */
int ft_config_scope(ft_config **scope, const ft_config *c);
void ft_config_open(ft_config *scope, const char *name);
void ft_config_open_like(ft_config *scope, const ft_config *other); /* what is open in another scope, too */
/* Settings that start with prefix are their defaults again, and may be read in a scope: nothing of them decides the result. */
int ft_config_reset(ft_config *c, const char *prefix);
void ft_config_free(ft_config *c);
int ft_config_read(ft_config *c, const char *path);                          /* YAML, later values win over earlier files */
int ft_config_set(ft_config *c, const char *assignment, const char *origin); /* "key.path=value"; lists: a,b,c */

/* Reading. The key must be in the table (assert): a wrong key is a fault of forty. */
const char *ft_config_text(const ft_config *c, const char *key);
bool ft_config_is(const ft_config *c, const char *key, const char *value); /* of a text or a choice */
int64_t ft_config_int(const ft_config *c, const char *key);
double ft_config_real(const ft_config *c, const char *key);
bool ft_config_bool(const ft_config *c, const char *key);
int ft_config_list(const ft_config *c, const char *key, const char *const **items); /* number of items; "k: v" for mappings */
const char *ft_config_origin(const ft_config *c, const char *key);                  /* "default", "FILE:LINE", "--set" */

int ft_config_write(const ft_config *c, const char *path);             /* resolved YAML */
void ft_config_print(const ft_config *c, FILE *f);                     /* the same with origins as comments */
json_t *ft_config_json(const ft_config *c, const char *const *prefix); /* keys that start with one of the prefixes (NULL: all) */
void ft_config_help(FILE *f);
json_t *ft_config_keys(void); /* the table: name, type, default, values or low and high, help; fresh */

#endif
