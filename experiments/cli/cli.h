/* The command line: verbs are rows of a table (main.c), options are rows of a verb. */
#ifndef FT_CLI_H
#define FT_CLI_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/io/config.h"

typedef struct {
    const char *name;  /* "--frames" or "-o" */
    const char *value; /* "N", "FILE"; NULL: a flag */
    const char *standard;
    const char *help;
} ft_option;

typedef struct ft_cli ft_cli;
typedef struct {
    const char *name, *summary, *usage, *example;
    const ft_option *options; /* ends with a NULL name */
    int (*run)(ft_cli *cli);
} ft_verb;

const char *ft_cli_text(const ft_cli *c, const char *option); /* given, else standard, else NULL */
bool ft_cli_flag(const ft_cli *c, const char *option);
int ft_cli_int(const ft_cli *c, const char *option, int64_t low, int64_t high,
               int64_t *value); /* FT_EUSAGE if not a number in range */
int ft_cli_real(const ft_cli *c, const char *option, double low, double high, double *value);
int ft_cli_args(const ft_cli *c, const char *const **args); /* positional arguments */
int ft_cli_given(const ft_cli *c, char ***argv);            /* the command line behind the program's name */
int ft_cli_need(const ft_cli *c, int n, const char *what);  /* FT_EUSAGE unless there are n or more */
bool ft_cli_json(const ft_cli *c);
/* Configuration: file (may be NULL), then --set, --seed, --threads, --precision, --device. Sets the thread count. */
int ft_cli_config(const ft_cli *c, const char *file, ft_config **cfg);
/* Prints `o` when --json was given, else the text. Takes the reference. If it cannot be printed, the program ends with an error.
 */
void ft_cli_print(const ft_cli *c, json_t *o, const char *format, ...) __attribute__((format(printf, 3, 4)));

#define FT_VERB_TABLE(VERB)                                                                                                      \
    VERB(ingest)                                                                                                                 \
    VERB(phantom)                                                                                                                \
    VERB(info)                                                                                                                   \
    VERB(models)                                                                                                                 \
    VERB(init)                                                                                                                   \
    VERB(weights)                                                                                                                \
    VERB(forward)                                                                                                                \
    VERB(train)                                                                                                                  \
    VERB(generate)                                                                                                               \
    VERB(evaluate)                                                                                                               \
    VERB(predict)                                                                                                                \
    VERB(metrics)                                                                                                                \
    VERB(copies)                                                                                                                 \
    VERB(features)                                                                                                               \
    VERB(experiment)                                                                                                             \
    VERB(bench)                                                                                                                  \
    VERB(doctor)
#define VERB(name) extern const ft_verb ft_verb_##name;
FT_VERB_TABLE(VERB)
#undef VERB

#endif
