/*
 * The parts of runtime/options.h among themselves: one run of options_load, to which each source
 * (flags, environment, file) offers texts, and which keeps the nearest and counts the mistakes.
 */
#ifndef SLUICE_RUNTIME_OPTIONS_IMPL_H
#define SLUICE_RUNTIME_OPTIONS_IMPL_H

#include <stdio.h>

#include "runtime/options.h"

/* Bytes of a name, and of the place where a value stood ("--config FILE" and its path). */
#define OPTION_NAME_BYTES_MAX 64
#define OPTION_WHERE_BYTES_MAX 512
#define OPTION_WHY_BYTES_MAX 512

/* Ascending: the nearer wins. */
enum option_origin { ORIGIN_DEFAULT, ORIGIN_FILE, ORIGIN_ENVIRONMENT, ORIGIN_FLAG };

struct options_run {
    const struct options_program *program;
    void *settings;
    enum option_origin *origins; /* of each option's value */
    char *config;                /* the file's name, owned; NULL: none */
    enum option_origin config_origin;
    uint32_t mistakes;
    bool help_wanted, version_wanted;
    int flags_next; /* where argp stopped */
};

/* One mistake: "program: where: what" on standard error. */
void options_mistake(struct options_run *run, const char *where, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Checks `text` and keeps it if nothing nearer was offered. */
void options_offer(struct options_run *run, const struct option *option, enum option_origin origin,
                   const char *where, const char *text);

/* The option of that name ('_' and '-' are the same), or NULL. */
const struct option *options_find(const struct options_program *program, const char *name);

/* The known name nearest to `name`, or NULL if none is near. */
const char *options_nearest(const struct options_program *program, const char *name);

/* "snapshot_interval" as --snapshot-interval and as SLUICE_SNAPSHOT_INTERVAL. */
void option_flag_name(const char *name, char out[OPTION_NAME_BYTES_MAX + 8]);
void option_variable_name(const char *name, char out[OPTION_NAME_BYTES_MAX + 8]);

/* Checks `text` against the option's kind, bounds and own check; writes the field if `settings` is
 * not NULL, freeing a text that stood there. */
bool option_set(const struct option *option, void *settings, const char *text, char *why,
                size_t why_size);

/* A number of the option's kind as a person writes it ("100ms", "64MiB", "7"). */
void option_number_format(enum option_kind kind, uint64_t value, char *out, size_t out_size);

/* The three sources. */
void options_flags_read(struct options_run *run, int argc, char **argv);
void options_environment_read(struct options_run *run);
void options_file_read(struct options_run *run);

void options_help_print(const struct options_program *program, FILE *out);

#endif
