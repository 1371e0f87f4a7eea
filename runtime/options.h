/*
 * A program's options, declared once in a table: flags (--snapshot-interval 100ms), environment
 * (SLUICE_SNAPSHOT_INTERVAL) and a YAML file (snapshot_interval: 100ms, read with --config FILE)
 * all come from it, and so does --help. The nearest wins: flag, then environment, then file, then
 * default. Every value is checked at start; a bad one is named with where it stood (flag, variable,
 * file:line), what was expected, and an example. A variable that is set but empty counts as not
 * set.
 *
 * --config, --help and --version belong to every program; SLUICE_CONFIG names the file as well.
 * Called once, before threads start (it reads the environment and prints). The header declares a
 * `struct option` of its own: don't include <getopt.h> or <argp.h> beside it.
 */
#ifndef SLUICE_RUNTIME_OPTIONS_H
#define SLUICE_RUNTIME_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum option_kind {
    OPTION_TEXT,     /* const char * : owned by the options, freed by options_free */
    OPTION_COUNT,    /* uint64_t: a whole number between min and max */
    OPTION_BYTES,    /* uint64_t: "64MiB", "1GiB", "4096" between min and max */
    OPTION_DURATION, /* uint64_t ns: "100ms", "1s", "2m" between min and max (ns) */
    OPTION_SWITCH,   /* bool: --name, --no-name, true/false/yes/no/on/off */
    OPTION_CHOICE,   /* const char *: one of `choices`, separated by '|' */
};

struct option {
    const char *name; /* lower case with '_' ("snapshot_interval"); the flag has '-' instead */
    enum option_kind kind;
    size_t offset;       /* of the field in the program's settings struct */
    const char *initial; /* the default, as text; NULL: none (text stays NULL, numbers 0) */
    uint64_t min, max;   /* for numbers, sizes, durations; max 0: no upper bound */
    const char *choices; /* for OPTION_CHOICE */
    const char *metavar; /* "URL", "N"; NULL: from the kind */
    const char *help;    /* one sentence */
    bool secret;         /* environment or file only, never a flag, never shown */
    /* A check of its own, may be NULL: true, or false with the reason in `why`. */
    bool (*check)(const char *text, char *why, size_t why_size);
};

struct options_program {
    const char *name;     /* "sluice-node" */
    const char *summary;  /* one line under the usage */
    const char *examples; /* shown at the end of --help */
    const struct option *options;
    size_t option_count;
};

enum options_outcome {
    OPTIONS_OK,
    OPTIONS_HELP,    /* --help or --version was printed to standard output: exit 0 */
    OPTIONS_INVALID, /* every mistake was printed to standard error: exit 2 */
};

/* Fills `settings` (zeroed by the caller) from argv, the environment and --config. Positional
 * arguments are a mistake. */
enum options_outcome options_load(const struct options_program *program, int argc, char **argv,
                                  void *settings);

/* Frees the texts in `settings`. */
void options_free(const struct options_program *program, void *settings);

/* Shared parsers, for tests and for other front ends. False with the reason in `why`. */
bool option_parse_duration(const char *text, uint64_t *ns, char *why, size_t why_size);
bool option_parse_bytes(const char *text, uint64_t *bytes, char *why, size_t why_size);
bool option_parse_count(const char *text, uint64_t *count, char *why, size_t why_size);

#endif
