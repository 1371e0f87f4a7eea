/* argp.h brings getopt's `struct option`, whose name ours has: it is of no use here. */
#define option getopt_option
#include <argp.h>
#undef option

#include <stdlib.h>
#include <string.h>

#include "runtime/options_impl.h"

/* argp takes keys below 256 for letters. Each option has two: itself, and its negation. */
#define KEY_FIRST 1000
#define KEY_HELP 300
#define KEY_VERSION 301
#define KEY_CONFIG 302

/* Bytes of a flag without its dashes: a name, perhaps after "no-", and room to spare. */
#define FLAG_BYTES_MAX (OPTION_NAME_BYTES_MAX + 16)

struct flag_table {
    struct argp_option *flags;
    char (*names)[FLAG_BYTES_MAX];
    size_t count;
};

static void flag_add(struct flag_table *table, const char *prefix, const char *name, int key,
                     const char *value, int flags) {
    char flag[OPTION_NAME_BYTES_MAX + 8];
    option_flag_name(name, flag);
    char *kept = table->names[table->count];
    snprintf(kept, sizeof table->names[0], "%s%s", prefix, flag + strlen("--"));
    table->flags[table->count++] =
        (struct argp_option){.name = kept, .key = key, .arg = value, .flags = flags};
}

static bool table_build(struct flag_table *table, const struct options_program *program) {
    size_t most = 2 * program->option_count + 4; /* negations; help, version, config; the end */
    table->flags = calloc(most, sizeof table->flags[0]);
    table->names = calloc(most, sizeof table->names[0]);
    if (table->flags == NULL || table->names == NULL)
        return false;
    flag_add(table, "", "help", KEY_HELP, NULL, 0);
    flag_add(table, "", "version", KEY_VERSION, NULL, 0);
    flag_add(table, "", "config", KEY_CONFIG, "FILE", 0);
    for (size_t i = 0; i < program->option_count; i++) {
        const struct option *known = &program->options[i];
        int key = KEY_FIRST + 2 * (int)i;
        /* Secrets are in the table to be refused: else getopt would take --redis-password for an
         * abbreviation of --redis-password-file, and its value for a file's name. */
        bool is_switch = known->kind == OPTION_SWITCH;
        flag_add(table, "", known->name, key, "VALUE", is_switch ? OPTION_ARG_OPTIONAL : 0);
        if (is_switch)
            flag_add(table, "no-", known->name, key + 1, NULL, 0);
    }
    return true;
}

static void config_keep(struct options_run *run, const char *name) {
    free(run->config);
    run->config = strdup(name);
    if (run->config == NULL)
        options_mistake(run, "--config", "no memory");
}

static void secret_refuse(struct options_run *run, const struct option *known) {
    char flag[OPTION_NAME_BYTES_MAX + 8], variable[OPTION_NAME_BYTES_MAX + 8];
    option_flag_name(known->name, flag);
    option_variable_name(known->name, variable);
    options_mistake(run, flag,
                    "a secret is never a flag, where every user of the machine can read it: set "
                    "%s, or %s in the --config file",
                    variable, known->name);
}

static error_t on_flag(int key, char *value, struct argp_state *state) {
    struct options_run *run = state->input;
    switch (key) {
    case KEY_HELP:
        run->help_wanted = true;
        return 0;
    case KEY_VERSION:
        run->version_wanted = true;
        return 0;
    case KEY_CONFIG:
        config_keep(run, value);
        return 0;
    case ARGP_KEY_ERROR: /* the only place where argp says how far it came */
        run->flags_next = state->next;
        return 0;
    case ARGP_KEY_ARG:
        options_mistake(run, value, "not expected: values follow their option (--name value)");
        return 0;
    default:
        break;
    }
    if (key < KEY_FIRST || key >= KEY_FIRST + 2 * (int)run->program->option_count)
        return ARGP_ERR_UNKNOWN;
    const struct option *known = &run->program->options[(key - KEY_FIRST) / 2];
    if (known->secret) {
        secret_refuse(run, known);
        return 0;
    }
    bool negated = (key - KEY_FIRST) % 2 == 1;
    char where[OPTION_NAME_BYTES_MAX + 8];
    option_flag_name(known->name, where);
    const char *text = value;
    if (known->kind == OPTION_SWITCH && value == NULL)
        text = negated ? "false" : "true";
    options_offer(run, known, ORIGIN_FLAG, where, text);
    return 0;
}

/* argp stopped at this argument and does not say why: find out. */
static void culprit_name(struct options_run *run, const char *argument) {
    char name[OPTION_NAME_BYTES_MAX + 8], flag[OPTION_NAME_BYTES_MAX + 8];
    const char *start = argument + strspn(argument, "-");
    size_t size = strcspn(start, "=");
    if (argument[0] != '-' || argument[1] != '-' || size >= sizeof name) {
        options_mistake(run, argument, "no such option (names are words: --name)");
        return;
    }
    memcpy(name, start, size);
    name[size] = '\0';
    const struct option *known = options_find(run->program, name);
    if (known != NULL && known->secret) {
        secret_refuse(run, known);
    } else if (known != NULL || strcmp(name, "config") == 0) {
        options_mistake(run, argument, "a value must follow");
    } else if (start[size] == '=' && (strncmp(name, "no-", 3) == 0 || strcmp(name, "help") == 0 ||
                                      strcmp(name, "version") == 0)) {
        options_mistake(run, argument, "takes no value");
    } else {
        const char *nearest = options_nearest(run->program, name);
        option_flag_name(nearest != NULL ? nearest : "", flag);
        options_mistake(run, argument,
                        nearest != NULL ? "no such option; did you mean %s?" : "no such option%s",
                        nearest != NULL ? flag : "");
    }
}

/* Takes every word that is in the table. Letters are in none: getopt's '?' is one that it refuses.
 */
static error_t on_word(int key, char *value, struct argp_state *state) {
    return key > 0 && key < 256 ? ARGP_ERR_UNKNOWN : 0;
}

/* The word at which argp stopped, behind argv[0]. `next` is what it would have read next: that is
 * behind the culprit, but for letters behind one dash, of which it may have read a few. Then all
 * words before are good. */
static int culprit_find(const struct argp *argp, unsigned flags, int next, int argc, char **argv) {
    const struct argp again = {.options = argp->options, .parser = on_word};
    bool before_good = next < argc && argp_parse(&again, next, argv, flags, NULL, NULL) == 0;
    return before_good || next < 2 ? next : next - 1;
}

void options_flags_read(struct options_run *run, int argc, char **argv) {
    struct flag_table table = {0};
    if (!table_build(&table, run->program)) {
        options_mistake(run, "start", "no memory");
    } else {
        const struct argp argp = {.options = table.flags, .parser = on_flag};
        unsigned quiet = ARGP_NO_HELP | ARGP_NO_EXIT | ARGP_NO_ERRS | ARGP_IN_ORDER;
        /* argp stops at the first mistake: go on behind it, with it in the program's place. */
        while (argc > 1) {
            run->flags_next = 0;
            if (argp_parse(&argp, argc, argv, quiet, NULL, run) == 0)
                break;
            if (run->flags_next == 0) {
                options_mistake(run, "start", "no memory");
                break;
            }
            int at = culprit_find(&argp, quiet, run->flags_next, argc, argv);
            culprit_name(run, argv[at]);
            /* What follows it is most likely its value, perhaps a secret: no mistake of its own. */
            bool value_follows =
                at + 1 < argc && argv[at + 1][0] != '-' && strchr(argv[at], '=') == NULL;
            at += value_follows;
            argc -= at;
            argv += at;
        }
    }
    free(table.flags);
    free(table.names);
}
