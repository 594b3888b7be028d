#include "experiments/cli/cli.h"
#include "experiments/arms/protocol.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/context.h"
#include "common/base/files.h"
#include "common/base/memory.h"
#include "common/base/names.h"
#include "common/base/ranks.h"
#include "common/base/status.h"
#include "common/base/threads.h"
#include "common/graph/backend.h"
#include "common/base/interrupt.h"
#include "experiments/cli/main.h"

enum { MAX_GIVEN = 256, MAX_ARGS = 1 << 16 };

struct ft_cli {
    const ft_verb *verb;
    const char *name[MAX_GIVEN], *value[MAX_GIVEN], *arg[MAX_ARGS];
    int n_given, n_args, argc;
    char **argv; /* from the verb on */
};

static const ft_option common[] = {
    {"--set", "KEY=VALUE", NULL, "override a setting (repeatable)"},
    {"--seed", "N", NULL, "seed"},
    {"--threads", "N", NULL, "0: all cores, or OMP_NUM_THREADS"},
    {"--precision", "auto|f32|bf16", NULL, "storage of activations"},
    {"--device", "auto|cpu|cuda[:N]", NULL, "where to compute; auto: a GPU if there is one"},
    {"--force", NULL, NULL, "replace an existing output"},
    {"--json", NULL, NULL, "one JSON document on standard output"},
    {"--quiet", NULL, NULL, "no progress, no log lines"},
    {"--help", NULL, NULL, "this text"},
    {NULL, NULL, NULL, NULL},
};

static const ft_option *find(const ft_verb *v, const char *name, size_t n)
{
    const ft_option *lists[2] = {v->options, common};
    for (int i = 0; i < 2; i++)
        for (const ft_option *o = lists[i]; o && o->name; o++)
            if (strlen(o->name) == n && !strncmp(o->name, name, n)) return o;
    return NULL;
}

static void help(const ft_verb *v)
{
    printf("forty %s: %s\n\nusage: forty %s\n\n", v->name, v->summary, v->usage);
    const ft_option *lists[2] = {v->options, common};
    for (int i = 0; i < 2; i++)
        for (const ft_option *o = lists[i]; o && o->name; o++) {
            char left[64];
            snprintf(left, sizeof left, "%s %s", o->name, o->value ? o->value : "");
            printf("  %-28s %s%s%s%s\n", left, o->help, o->standard ? " [" : "", o->standard ? o->standard : "",
                   o->standard ? "]" : "");
        }
    printf("\nexample: %s\n", v->example);
    if (strstr(v->usage, "CONFIG")) {
        printf("\n");
        ft_config_help(stdout);
    }
}

static json_t *options_json(const ft_option *o)
{
    json_t *list = json_array();
    for (; o && o->name; o++)
        json_array_append_new(
            list, json_pack("{s:s,s:s?,s:s?,s:s}", "name", o->name, "value", o->value, "default", o->standard, "help", o->help));
    return list;
}

static json_t *verb_json(const ft_verb *v)
{
    return json_pack("{s:s,s:s,s:s,s:s,s:o,s:b}", "name", v->name, "summary", v->summary, "usage", v->usage, "example",
                     v->example, "options", options_json(v->options), "settings", strstr(v->usage, "CONFIG") != NULL);
}

/* What is given may be a path, goes into JSON, batch files, commands of workers. */
static int check_given(const char *s)
{
    FT_TRY(ft_check_name(s, strlen(s), "the command line", "the argument"));
    if (strlen(s) <= FT_PATH_GIVEN || strchr(s, '=')) return FT_OK; /* settings: config.c */
    return FT_FAIL(FT_EUSAGE, "%.60s...: an argument of %zu bytes; paths have at most %d", s, strlen(s), FT_PATH_GIVEN);
}

static int parse(ft_cli *c, int argc, char **argv)
{
    bool ended = false;
    for (int i = 0; i < argc; i++) {
        FT_TRY(check_given(argv[i]));
        if (!ended && !strcmp(argv[i], "--")) {
            ended = true; /* what follows are names, whatever they begin with */
            continue;
        }
        if (ended || argv[i][0] != '-' || !argv[i][1]) {
            if (c->n_args == MAX_ARGS) return FT_FAIL(FT_EUSAGE, "more than %d names are given", MAX_ARGS);
            c->arg[c->n_args++] = argv[i];
            continue;
        }
        size_t n = strcspn(argv[i], "=");
        const ft_option *o = find(c->verb, argv[i], argv[i][1] == '-' ? n : strlen(argv[i]));
        if (!o)
            return FT_FAIL(FT_EUSAGE, "forty %s does not know %s. `forty %s --help` lists its options", c->verb->name, argv[i],
                           c->verb->name);
        const char *value = "";
        if (o->value) {
            if (argv[i][1] == '-' && argv[i][n] == '=') value = argv[i] + n + 1;
            else if (i + 1 < argc) FT_TRY(check_given(value = argv[++i]));
            else return FT_FAIL(FT_EUSAGE, "%s needs a value: %s %s", o->name, o->name, o->value);
        }
        if (c->n_given == MAX_GIVEN) return FT_FAIL(FT_EUSAGE, "too many options");
        c->name[c->n_given] = o->name;
        c->value[c->n_given++] = value;
    }
    return FT_OK;
}

static const char *given(const ft_cli *c, const char *name)
{
    for (int i = c->n_given - 1; i >= 0; i--)
        if (!strcmp(c->name[i], name)) return c->value[i];
    return NULL;
}

const char *ft_cli_text(const ft_cli *c, const char *option)
{
    const char *v = given(c, option);
    const ft_option *o = find(c->verb, option, strlen(option));
    FT_ASSERT(o);
    return v ? v : o->standard;
}

bool ft_cli_flag(const ft_cli *c, const char *option) { return given(c, option) != NULL; }
bool ft_cli_json(const ft_cli *c) { return ft_cli_flag(c, "--json"); }

int ft_cli_real(const ft_cli *c, const char *option, double low, double high, double *value)
{
    const char *s = ft_cli_text(c, option);
    char *end;
    *value = strtod(s, &end);
    if (*end || end == s || !isfinite(*value) || *value < low || *value > high)
        return FT_FAIL(FT_EUSAGE, "%s is %s; a number from %g to %g is needed", option, s, low, high);
    return FT_OK;
}

int ft_cli_int(const ft_cli *c, const char *option, int64_t low, int64_t high, int64_t *value)
{
    double v;
    FT_TRY(ft_cli_real(c, option, (double)low, (double)high, &v));
    if (v != floor(v)) return FT_FAIL(FT_EUSAGE, "%s is %g; a whole number is needed", option, v);
    *value = (int64_t)v;
    return FT_OK;
}

int ft_cli_args(const ft_cli *c, const char *const **args)
{
    *args = c->arg;
    return c->n_args;
}

int ft_cli_given(const ft_cli *c, char ***argv)
{
    *argv = c->argv;
    return c->argc;
}

int ft_cli_need(const ft_cli *c, int n, const char *what)
{
    if (c->n_args >= n) return FT_OK;
    return FT_FAIL(FT_EUSAGE, "%s is missing. usage: forty %s", what, c->verb->usage);
}

int ft_cli_config(const ft_cli *c, const char *file, ft_config **cfg)
{
    FT_TRY(ft_config_new(cfg));
    int rc = file ? ft_config_read(*cfg, file) : FT_OK;
    static const char *const direct[] = {"seed", "threads", "precision", "device"};
    for (int i = 0; rc == FT_OK && i < 4; i++) {
        char option[32], assignment[256];
        snprintf(option, sizeof option, "--%s", direct[i]);
        const char *v = given(c, option);
        if (!v) continue;
        snprintf(assignment, sizeof assignment, "%s=%s", direct[i], v);
        rc = ft_config_set(*cfg, assignment, option);
    }
    for (int i = 0; rc == FT_OK && i < c->n_given; i++)
        if (!strcmp(c->name[i], "--set")) rc = ft_config_set(*cfg, c->value[i], "--set");
    if (rc == FT_OK) rc = ft_protocol_apply(*cfg);
    if (rc == FT_OK) ft_threads_set((int)ft_config_int(*cfg, "threads"));
    if (rc == FT_OK) rc = ft_backend_select(ft_config_text(*cfg, "device"));
    if (rc == FT_OK && !strncmp(ft_config_text(*cfg, "device"), "cuda", 4)) rc = ft_backend_open(); /* before anything is made */
    if (rc < 0) ft_config_free(*cfg), *cfg = NULL;
    return rc;
}

static int printed; /* FT_OK, or why a result could not be printed */

void ft_cli_print(const ft_cli *c, json_t *o, const char *format, ...)
{
    if (ft_cli_json(c)) {
        char *text;
        printed = ft_json_text(o, JSON_INDENT(2), &text);
        if (printed == FT_OK) printf("%s\n", text);
        ft_free(text);
    } else {
        va_list args;
        va_start(args, format);
        vprintf(format, args);
        va_end(args);
    }
    json_decref(o);
}

static const ft_verb *const verbs[] = {
#define VERB(name) &ft_verb_##name,
    FT_VERB_TABLE(VERB)
#undef VERB
};
enum { N_VERBS = sizeof verbs / sizeof *verbs };

/* All of the command line and all settings, for pages and completions that are made of them (docs/make.py) */
static int everything(void)
{
    json_t *list = json_array();
    for (int i = 0; i < N_VERBS; i++) json_array_append_new(list, verb_json(verbs[i]));
    json_t *o = json_pack("{s:s,s:o,s:o,s:o}", "version", FT_VERSION, "verbs", list, "common", options_json(common), "settings",
                          ft_config_keys());
    int rc = o ? json_dumpf(o, stdout, JSON_INDENT(1)) : -1;
    json_decref(o);
    printf("\n");
    return rc == 0 && fflush(stdout) == 0 ? 0 : 1;
}

static void overview(void)
{
    printf("forty: do generated clips help a classifier that has forty labelled videos?\n\nusage: forty VERB ...\n\n");
    for (int i = 0; i < N_VERBS; i++) printf("  %-12s %s\n", verbs[i]->name, verbs[i]->summary);
    printf("\n`forty VERB --help` shows options and an example.\n");
}

static int run_verb(ft_cli *c)
{
    ft_context *context;
    const char *device = given(c, "--device"); /* a configuration file may say another, and threads, if these do not */
    FT_TRY(ft_context_new(&context, (ft_context_opt){.level = ft_cli_flag(c, "--quiet") ? FT_LOG_NOTHING : FT_LOG_PROGRESS,
                                                     .device = device ? device : "auto"}));
    ft_context_enter(context);
    ft_catch_interrupts();
    int rc = c->verb->run(c);
    if (rc == FT_OK) rc = printed;
    if (rc == FT_OK && (fflush(stdout) != 0 || ferror(stdout)))
        rc = FT_FAIL(FT_EIO, "standard output cannot be written (%s)", strerror(errno));
    ft_context_free(context);
    return rc;
}

int ft_main(int argc, char **argv)
{
    if (argc < 2 || !strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
        if (argc > 2 && !strcmp(argv[2], "--json")) return everything();
        overview();
        return argc < 2 ? 2 : 0;
    }
    if (!strcmp(argv[1], "--version")) {
        printf("forty %s\n", FT_VERSION);
        return 0;
    }
    static ft_cli cli;
    cli.argc = argc - 1, cli.argv = argv + 1;
    for (int i = 0; i < N_VERBS; i++)
        if (!strcmp(verbs[i]->name, argv[1])) cli.verb = verbs[i];
    int rc;
    if (!cli.verb) rc = FT_FAIL(FT_EUSAGE, "the verb %s is not known. `forty --help` lists the verbs", argv[1]);
    else rc = parse(&cli, argc - 2, argv + 2);
    if (rc == FT_OK && ft_cli_flag(&cli, "--help")) {
        if (ft_cli_json(&cli)) ft_cli_print(&cli, verb_json(cli.verb), "%s", "");
        else help(cli.verb);
        return printed == FT_OK ? 0 : 1;
    }
    if (rc == FT_OK) rc = run_verb(&cli);
    if (rc >= 0) {
        ft_ranks_end(false);
        return 0;
    }
    if (rc != FT_EINTERRUPTED || ft_this_rank() == 0) fprintf(stderr, "forty: error: %s\n", ft_error_message());
    if (getenv("FORTY_TRACE")) fprintf(stderr, "forty: at %s: %s\n", ft_error_place(), ft_status_text(rc));
    ft_ranks_end(rc != FT_EINTERRUPTED);
    return rc == FT_EUSAGE ? 2 : rc == FT_EINTERRUPTED ? 130 : 1;
}
