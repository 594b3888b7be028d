/* What the parts of the settings share: config.c, config_yaml.c, config_print.c. */
#ifndef FT_CONFIG_PARTS_H
#define FT_CONFIG_PARTS_H

#include "common/base/memory.h"
#include "common/io/config.h"
#include "common/io/config_keys.h"

enum { FT_SETTING_ITEMS = 256 }; /* of a list, at most */

typedef enum { TEXT, CHOICE, INT, REAL, BOOL, LIST } ft_setting_type;
extern const char *const ft_setting_types[]; /* their names in messages */

typedef struct {
    const char *name;
    ft_setting_type type;
    const char *standard;
    double low, high;
    const char *help;
} ft_setting;

enum {
#define KEY(name, type, standard, low, high, help) +1
    FT_N_SETTINGS = 0 FT_CONFIG_TABLE(KEY)
#undef KEY
};
extern const ft_setting ft_settings[FT_N_SETTINGS];

typedef struct {
    char *text;  /* as written; for lists NULL */
    char **item; /* lists */
    int n;
    char *origin;
} ft_setting_value;

struct ft_config {
    ft_arena *arena;
    ft_setting_value v[FT_N_SETTINGS];
    bool scoped, open[FT_N_SETTINGS]; /* scoped: only what is open may be read */
};

int ft_setting_index(const char *name); /* -1: not known */
/* Values become paths, names of arms and classes, lines of batch files. */
int ft_setting_check_text(const char *s, const char *key, const char *origin);
/* Setting i: text, or of a list n items. origin: where it came from */
int ft_setting_store(ft_config *c, int i, const char *text, int n, char **item, const char *origin);
/* errors */
int ft_setting_too_many(const char *where, const char *key);
int ft_setting_unknown(const char *where, const char *name);
int ft_settings_no_memory(void);

#endif
