#include "runtime/options.h"

#include <assert.h>
#include <ctype.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/options_impl.h"

/* --- names -------------------------------------------------------------------------------------
 */

static char name_fold(char letter) {
    return letter == '-' ? '_' : letter;
}

static bool names_equal(const char *a, const char *b) {
    while (*a != '\0' && name_fold(*a) == name_fold(*b)) {
        a++;
        b++;
    }
    return *a == '\0' && *b == '\0';
}

const struct option *options_find(const struct options_program *program, const char *name) {
    for (size_t i = 0; i < program->option_count; i++) {
        if (names_equal(program->options[i].name, name))
            return &program->options[i];
    }
    return NULL;
}

/* Levenshtein's distance, of names that fit OPTION_NAME_BYTES_MAX. */
static size_t distance(const char *a, const char *b) {
    size_t row[OPTION_NAME_BYTES_MAX + 1];
    size_t width = strlen(b);
    for (size_t k = 0; k <= width; k++)
        row[k] = k;
    for (size_t i = 0; a[i] != '\0'; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t k = 0; k < width; k++) {
            size_t least = diagonal + (name_fold(a[i]) != name_fold(b[k]));
            diagonal = row[k + 1];
            if (row[k] + 1 < least)
                least = row[k] + 1;
            if (diagonal + 1 < least)
                least = diagonal + 1;
            row[k + 1] = least;
        }
    }
    return row[width];
}

const char *options_nearest(const struct options_program *program, const char *name) {
    size_t size = strlen(name);
    if (size > OPTION_NAME_BYTES_MAX)
        return NULL;
    /* A third of the letters may be wrong: more is no likeness. */
    const char *nearest = NULL;
    size_t least = size / 3 + 2;
    for (size_t i = 0; i < program->option_count; i++) {
        size_t apart = distance(name, program->options[i].name);
        if (apart < least) {
            least = apart;
            nearest = program->options[i].name;
        }
    }
    return nearest;
}

void option_flag_name(const char *name, char out[OPTION_NAME_BYTES_MAX + 8]) {
    snprintf(out, OPTION_NAME_BYTES_MAX + 8, "--%s", name);
    for (char *letter = out; *letter != '\0'; letter++)
        *letter = *letter == '_' ? '-' : *letter;
}

void option_variable_name(const char *name, char out[OPTION_NAME_BYTES_MAX + 8]) {
    snprintf(out, OPTION_NAME_BYTES_MAX + 8, "SLUICE_%s", name);
    for (char *letter = out; *letter != '\0'; letter++)
        *letter = (char)toupper((unsigned char)*letter);
}

/* --- offers and mistakes -----------------------------------------------------------------------
 */

void options_mistake(struct options_run *run, const char *where, const char *format, ...) {
    char what[OPTION_WHY_BYTES_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    fprintf(stderr, "%s: %s: %s\n", run->program->name, where, what);
    run->mistakes++;
}

void options_offer(struct options_run *run, const struct option *option, enum option_origin origin,
                   const char *where, const char *text) {
    enum option_origin *kept = &run->origins[option - run->program->options];
    char why[OPTION_WHY_BYTES_MAX] = "";
    /* Checked even if something nearer wins: a bad value must not wait for the day it counts. */
    void *settings = origin >= *kept ? run->settings : NULL;
    if (!option_set(option, settings, text, why, sizeof why)) {
        /* A check of its own may repeat the value in its reason: not that of a secret. */
        options_mistake(run, where, "%s", option->secret ? "the secret is not valid" : why);
        return;
    }
    if (settings != NULL)
        *kept = origin;
}

void options_environment_read(struct options_run *run) {
    char variable[OPTION_NAME_BYTES_MAX + 8];
    for (size_t i = 0; i < run->program->option_count; i++) {
        const struct option *option = &run->program->options[i];
        option_variable_name(option->name, variable);
        const char *text = getenv(variable);
        if (text != NULL && text[0] != '\0')
            options_offer(run, option, ORIGIN_ENVIRONMENT, variable, text);
    }
}

/* --- loading -----------------------------------------------------------------------------------
 */

/* A table that a programmer got wrong. */
static void table_assert(const struct options_program *program) {
    for (size_t i = 0; i < program->option_count; i++) {
        const struct option *option = &program->options[i];
        assert(option->help != NULL);
        assert(strlen(option->name) <= OPTION_NAME_BYTES_MAX);
        assert(strchr(option->name, '-') == NULL);
        assert(strcmp(option->name, "config") != 0 && strcmp(option->name, "help") != 0);
        assert(strcmp(option->name, "version") != 0);
        assert(options_find(program, option->name) == option); /* no name twice */
        assert(option->kind != OPTION_CHOICE || option->choices != NULL);
    }
}

/* False if a default was refused: there was no memory for it, which has been said. */
static bool defaults_set(struct options_run *run) {
    for (size_t i = 0; i < run->program->option_count; i++) {
        const struct option *option = &run->program->options[i];
        if (option->initial != NULL)
            options_offer(run, option, ORIGIN_DEFAULT, option->name, option->initial);
    }
    return run->mistakes == 0;
}

static void config_from_environment(struct options_run *run) {
    const char *config = getenv("SLUICE_CONFIG");
    if (run->config == NULL && config != NULL && config[0] != '\0') {
        run->config = strdup(config);
        if (run->config == NULL)
            options_mistake(run, "SLUICE_CONFIG", "no memory");
    }
}

enum options_outcome options_load(const struct options_program *program, int argc, char **argv,
                                  void *settings) {
    table_assert(program);
    struct options_run run = {.program = program, .settings = settings};
    run.origins = calloc(program->option_count + 1, sizeof run.origins[0]);
    if (run.origins == NULL) {
        options_mistake(&run, "start", "no memory");
        return OPTIONS_INVALID;
    }
    if (defaults_set(&run))
        options_flags_read(&run, argc, argv);
    if (!run.help_wanted && !run.version_wanted) {
        config_from_environment(&run);
        options_environment_read(&run);
        if (run.config != NULL)
            options_file_read(&run);
    }
    free(run.config);
    free(run.origins);

    if (run.help_wanted) {
        options_help_print(program, stdout);
    } else if (run.version_wanted) {
        printf("%s %s\n", program->name, SLUICE_VERSION);
    } else if (run.mistakes > 0) {
        fprintf(stderr, "%s: %u mistake%s; --help lists every option\n", program->name,
                (unsigned)run.mistakes, run.mistakes == 1 ? "" : "s");
    } else {
        return OPTIONS_OK;
    }
    options_free(program, settings);
    return run.help_wanted || run.version_wanted ? OPTIONS_HELP : OPTIONS_INVALID;
}

void options_free(const struct options_program *program, void *settings) {
    for (size_t i = 0; i < program->option_count; i++) {
        const struct option *option = &program->options[i];
        if (option->kind != OPTION_TEXT && option->kind != OPTION_CHOICE)
            continue;
        char **field = (char **)(void *)((char *)settings + option->offset);
        if (*field != NULL && option->secret)
            explicit_bzero(*field, strlen(*field));
        free(*field);
        *field = NULL;
    }
}
