/* sluicectl: finds the command by its words, parses its options, runs it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/command.h"
#include "ctl/text.h"

#define ROUTER_DEFAULT "tcp://127.0.0.1:7400"
#define CONTROL_DEFAULT "tcp://127.0.0.1:7590"
#define REDIS_DEFAULT "redis://127.0.0.1:6379"

/* Milliseconds of one request: well above any that a healthy cluster needs. */
#define TIMEOUT_MS_DEFAULT 5000

/* Options of one command with the global ones, at most. */
#define OPTION_ROWS_MAX 24

/* Commands of all families, at most. */
#define COMMANDS_MAX 32

static const struct command *const families[] = {
    take_commands, cluster_commands, map_commands,    plans_commands,
    key_commands,  node_commands,    weight_commands, rebalance_commands,
    slot_commands, events_commands,  backup_commands,
};

static const struct argp_option global_options[] = {
    {0, 0, 0, 0, "Of every command:", 10},
    {"router", OPTION_ROUTER, "URL", 0,
     "router that takes go to (SLUICE_ROUTER; " ROUTER_DEFAULT ")", 10},
    {"control", OPTION_CONTROL, "URL", 0,
     "node's control endpoint that the other commands go to (SLUICE_CONTROL; " CONTROL_DEFAULT ")",
     10},
    {"timeout", OPTION_TIMEOUT, "DURATION", 0, "wait this long for an answer (5s)", 10},
    {"json", OPTION_JSON, 0, 0, "print one JSON document", 10},
    {"no-color", OPTION_NO_COLOR, 0, 0, "no colours, as with NO_COLOR set", 10},
    {0, 'h', 0, OPTION_HIDDEN, 0, -1},
    {0},
};

static const char examples[] =
    "Examples:\n"
    "  sluicectl init                                  make a new cluster's map\n"
    "  sluicectl plans apply deploy/plans/example.yaml put plans in force\n"
    "  sluicectl take alice 5                          spend five tokens of alice\n"
    "  sluicectl status                                is everybody there?\n"
    "  sluicectl map                                   who owns what, as a picture\n"
    "  sluicectl rebalance                             give new nodes their share\n"
    "  sluicectl node drain n3                         move everything off a node\n"
    "  sluicectl backup /var/backups/sluice            keep what the store holds\n"
    "\n";

/* What one parse works on. */
struct parse {
    struct invocation *invocation;
    const struct command *command; /* NULL: the words of the command are still to come */
    int stopped_at;                /* index in argv of the command's first word; 0: none */
};

static error_t argument_take(const char *argument, struct argp_state *state, struct parse *parse) {
    struct invocation *invocation = parse->invocation;
    if (parse->command == NULL) {
        parse->stopped_at = state->next - 1;
        state->next = state->argc;
        return 0;
    }
    if (invocation->argument_count == parse->command->most_arguments) {
        argp_error(state, "\"%s\" is one argument too many", argument);
    }
    invocation->arguments[invocation->argument_count++] = argument;
    return 0;
}

static error_t parse_one(int key, char *argument, struct argp_state *state) {
    struct parse *parse = state->input;
    switch (key) {
    case 'h':
        argp_state_help(state, stdout, ARGP_HELP_STD_HELP);
        return 0;
    case ARGP_KEY_ARG:
        return argument_take(argument, state, parse);
    case ARGP_KEY_END:
        if (parse->command != NULL &&
            parse->invocation->argument_count < parse->command->least_arguments) {
            argp_error(state, "expected %s", parse->command->arguments);
        }
        return 0;
    default:
        return option_set(key, argument, state, parse->invocation);
    }
}

/* --- finding the command -------------------------------------------------------------------- */

static bool text_same(const char *a, const char *b) {
    return a != NULL && b != NULL && strcmp(a, b) == 0;
}

static uint32_t commands_all(const struct command *out[COMMANDS_MAX]) {
    uint32_t count = 0;
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++) {
        for (const struct command *at = families[i]; at->name != NULL; at++) {
            out[count++] = at;
        }
    }
    return count;
}

static void commands_list(FILE *out, const char *family) {
    const struct command *all[COMMANDS_MAX];
    uint32_t count = commands_all(all);
    for (uint32_t i = 0; i < count; i++) {
        if (family == NULL || text_same(all[i]->family, family)) {
            char words[64];
            snprintf(words, sizeof words, "%s%s%s", all[i]->family ? all[i]->family : "",
                     all[i]->family ? " " : "", all[i]->name);
            fprintf(out, "  %-17s %s\n", words, all[i]->summary);
        }
    }
}

static void exits_list(FILE *out) {
    fprintf(out, "Exit status:\n");
#define X(name, number, meaning) fprintf(out, "  %d  %s\n", number, meaning);
    EXITS(X)
#undef X
}

/* Text behind the options of the general help. Freed by argp. */
static char *general_help(int key, const char *text, void *input) {
    if (key != ARGP_KEY_HELP_POST_DOC) {
        return (char *)text;
    }
    char *made = NULL;
    size_t size;
    FILE *out = open_memstream(&made, &size);
    if (out == NULL) {
        return NULL;
    }
    fprintf(out, "Commands (sluicectl COMMAND --help says more):\n");
    commands_list(out, NULL);
    fprintf(out, "\n%s", examples);
    exits_list(out);
    fclose(out);
    return made;
}

_Noreturn static void unknown_command(const char *family, const char *word) {
    const struct command *all[COMMANDS_MAX];
    const char *names[2 * COMMANDS_MAX];
    uint32_t count = commands_all(all), name_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (family == NULL && all[i]->family != NULL) {
            names[name_count++] = all[i]->family;
        } else if (family == NULL || text_same(all[i]->family, family)) {
            names[name_count++] = all[i]->name;
        }
    }
    const char *nearest = text_nearest(bytes_of_text(word), names, name_count);
    fprintf(stderr, "sluicectl: no command is called \"%s%s%s\"", family ? family : "",
            family ? " " : "", word);
    if (nearest != NULL) {
        fprintf(stderr, "; did you mean \"%s\"?", nearest);
    }
    fprintf(stderr, "\nThere are:\n");
    commands_list(stderr, family);
    exit(EXIT_USAGE);
}

/* `sluicectl plans` with no verb, or with --help. */
_Noreturn static void family_help(const char *family, bool asked) {
    FILE *out = asked ? stdout : stderr;
    fprintf(out, "Usage: sluicectl %s COMMAND [OPTION...]\n\n", family);
    commands_list(out, family);
    fprintf(out, "\n`sluicectl %s COMMAND --help` says more.\n", family);
    exit(asked ? EXIT_DONE : EXIT_USAGE);
}

/* The command that the words name; *used gets how many of them that took. */
static const struct command *command_find(int count, char **words, int *used) {
    const struct command *all[COMMANDS_MAX];
    uint32_t command_count = commands_all(all);
    const struct command *single = NULL;
    bool is_family = false;
    for (uint32_t i = 0; i < command_count; i++) {
        if (all[i]->family == NULL && strcmp(all[i]->name, words[0]) == 0) {
            single = all[i];
        }
        if (text_same(all[i]->family, words[0])) {
            is_family = true;
            if (count > 1 && strcmp(all[i]->name, words[1]) == 0) {
                *used = 2;
                return all[i];
            }
        }
    }
    if (single != NULL) { /* `rebalance` is a command, and a family too */
        *used = 1;
        return single;
    }
    if (!is_family) {
        unknown_command(NULL, words[0]);
    }
    if (count < 2 || words[1][0] == '-') {
        family_help(words[0],
                    count > 1 && (strcmp(words[1], "--help") == 0 || strcmp(words[1], "-h") == 0));
    }
    unknown_command(words[0], words[1]);
}

/* Parses what follows the command's words, its own and the global options mixed. */
static void command_parse(const struct command *command, int count, char **words,
                          struct parse *parse) {
    struct argp_option rows[OPTION_ROWS_MAX];
    uint32_t row_count = 0;
    for (const struct argp_option *row = command->options; row && (row->name || row->doc); row++) {
        rows[row_count++] = *row;
    }
    memcpy(&rows[row_count], global_options, sizeof global_options);
    char name[64];
    snprintf(name, sizeof name, "sluicectl %s%s%s", command->family ? command->family : "",
             command->family ? " " : "", command->name);
    struct argp argp = {
        .options = rows, .parser = parse_one, .args_doc = command->arguments, .doc = command->doc};
    words[0] = name;
    parse->command = command;
    argp_parse(&argp, count, words, 0, NULL, parse);
}

static const char *environment(const char *name, const char *otherwise) {
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0' ? value : otherwise;
}

/* As a node has them: the same names, so that one environment file does for both. */
static struct store_options store_environment(void) {
    return (struct store_options){.url = environment("SLUICE_REDIS", REDIS_DEFAULT),
                                  .prefix = environment("SLUICE_KEY_PREFIX", NULL),
                                  .password = environment("SLUICE_REDIS_PASSWORD", NULL),
                                  .password_file = environment("SLUICE_REDIS_PASSWORD_FILE", NULL),
                                  .sentinel_password =
                                      environment("SLUICE_REDIS_SENTINEL_PASSWORD", NULL),
                                  .ca = environment("SLUICE_REDIS_CA", NULL),
                                  .cert = environment("SLUICE_REDIS_CERT", NULL),
                                  .key = environment("SLUICE_REDIS_KEY", NULL),
                                  .server_name = environment("SLUICE_REDIS_SERVER_NAME", NULL)};
}

static void version_print(FILE *out, struct argp_state *state) {
    fprintf(out, "sluicectl %s\n", SLUICE_VERSION);
}

int main(int argc, char **argv) {
    argp_err_exit_status = EXIT_USAGE;
    argp_program_version_hook = version_print;
    struct invocation invocation = {
        .settings = {.router = environment("SLUICE_ROUTER", ROUTER_DEFAULT),
                     .control = environment("SLUICE_CONTROL", CONTROL_DEFAULT),
                     .timeout_ms = TIMEOUT_MS_DEFAULT},
        .options = {.store = store_environment()}};
    struct parse parse = {.invocation = &invocation};
    struct argp general = {.options = global_options,
                           .parser = parse_one,
                           .args_doc = "COMMAND [ARGUMENT...]",
                           .doc = "Asks a Sluice cluster for tokens, and runs it.\v ",
                           .help_filter = general_help};
    argp_parse(&general, argc, argv, ARGP_IN_ORDER, NULL, &parse);
    if (parse.stopped_at == 0) {
        argp_help(&general, stderr, ARGP_HELP_STD_USAGE, (char *)"sluicectl");
        return EXIT_USAGE;
    }
    int used = 0;
    const struct command *command =
        command_find(argc - parse.stopped_at, argv + parse.stopped_at, &used);
    int skipped = parse.stopped_at + used - 1; /* the last word makes room for argv[0] */
    command_parse(command, argc - skipped, argv + skipped, &parse);
    enum exit_code code = command->run(&invocation);
    if (fflush(stdout) != 0) {
        perror("sluicectl: standard output");
        return EXIT_USAGE;
    }
    return code;
}
