#include "ctl/command_line.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/text.h"

/* argp tells what it prints itself, and returns: it must not end the program. Its own --help would
 * go on behind the help, so that is ours, too. */
#define PARSE_FLAGS (ARGP_NO_HELP | ARGP_NO_EXIT)

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

#define ROUTER_DEFAULT "tcp://127.0.0.1:7400"
#define CONTROL_DEFAULT "tcp://127.0.0.1:7590"
#define REDIS_DEFAULT "redis://127.0.0.1:6379"

/* Milliseconds of one request: well above any that a healthy cluster needs. */
#define TIMEOUT_MS_DEFAULT 5000

static const struct command *const families[] = {
    take_commands, cluster_commands, map_commands,    plans_commands,
    key_commands,  node_commands,    weight_commands, rebalance_commands,
    slot_commands, events_commands,  backup_commands,
};

/* The key of --help stands where argp puts its own. */
#define KEY_HELP '?'

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
    {"help", KEY_HELP, 0, 0, "Give this help list", -1},
    {"usage", OPTION_USAGE, 0, 0, "Give a short usage message", -1},
    {"version", 'V', 0, 0, "Print program version", -1},
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
    bool asked;                    /* for help or the version, which was printed */
};

/* --- the environment ------------------------------------------------------------------------ */

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

struct invocation invocation_of_environment(void) {
    return (struct invocation){
        .settings = {.router = environment("SLUICE_ROUTER", ROUTER_DEFAULT),
                     .control = environment("SLUICE_CONTROL", CONTROL_DEFAULT),
                     .timeout_ms = TIMEOUT_MS_DEFAULT},
        .options = {.store = store_environment()}};
}

/* --- parsing -------------------------------------------------------------------------------- */

static error_t argument_take(const char *argument, struct argp_state *state, struct parse *parse) {
    struct invocation *invocation = parse->invocation;
    if (parse->command == NULL) {
        parse->stopped_at = state->next - 1;
        state->next = state->argc;
        return 0;
    }
    if (invocation->argument_count == parse->command->most_arguments) {
        argp_error(state, "\"%s\" is one argument too many", argument);
        return OPTION_REFUSED;
    }
    invocation->arguments[invocation->argument_count++] = argument;
    return 0;
}

static error_t arguments_end(struct argp_state *state, const struct parse *parse) {
    const struct command *command = parse->command;
    if (command != NULL && parse->invocation->argument_count < command->least_arguments) {
        argp_error(state, "expected %s", command->arguments);
        return OPTION_REFUSED;
    }
    return 0;
}

static error_t help_print(struct argp_state *state, unsigned what, struct parse *parse) {
    argp_state_help(state, stdout, what);
    parse->asked = true;
    return OPTION_REFUSED; /* whatever follows */
}

static error_t parse_one(int key, char *argument, struct argp_state *state) {
    struct parse *parse = state->input;
    switch (key) {
    case 'h':
    case KEY_HELP:
        return help_print(state, ARGP_HELP_STD_HELP, parse);
    case OPTION_USAGE:
        return help_print(state, ARGP_HELP_USAGE, parse);
    case 'V':
        printf("sluicectl %s\n", SLUICE_VERSION);
        parse->asked = true;
        return OPTION_REFUSED;
    case ARGP_KEY_ARG:
        return argument_take(argument, state, parse);
    case ARGP_KEY_END:
        return arguments_end(state, parse);
    default:
        return option_set(key, argument, state, parse->invocation);
    }
}

/* False, with what the shell gets, if that was the end of it. */
static bool parse_run(const struct argp *argp, int count, char **words, unsigned flags,
                      struct parse *parse, enum exit_code *code) {
    switch (argp_parse(argp, count, words, PARSE_FLAGS | flags, NULL, parse)) {
    case 0:
        return true;
    case ENOMEM:
        fputs("sluicectl: no memory\n", stderr);
        *code = EXIT_MEMORY;
        return false;
    default:
        *code = parse->asked ? EXIT_DONE : EXIT_USAGE;
        return false;
    }
}

/* --- finding the command -------------------------------------------------------------------- */

static bool text_same(const char *a, const char *b) {
    return a != NULL && b != NULL && strcmp(a, b) == 0;
}

uint32_t commands_all(const struct command *out[COMMANDS_MAX]) {
    uint32_t count = 0;
    for (size_t i = 0; i < COUNT_OF(families); i++) {
        for (const struct command *at = families[i]; at->name != NULL; at++) {
            assert(count < COMMANDS_MAX);
            out[count++] = at;
        }
    }
    return count;
}

void command_words(const struct command *command, char out[COMMAND_WORDS_BYTES]) {
    snprintf(out, COMMAND_WORDS_BYTES, "%s%s%s", command->family ? command->family : "",
             command->family ? " " : "", command->name);
}

static void commands_list(FILE *out, const char *family) {
    const struct command *all[COMMANDS_MAX];
    uint32_t count = commands_all(all);
    for (uint32_t i = 0; i < count; i++) {
        if (family == NULL || text_same(all[i]->family, family)) {
            char words[COMMAND_WORDS_BYTES];
            command_words(all[i], words);
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

static void unknown_command(const char *family, const char *word) {
    const struct command *all[COMMANDS_MAX];
    const char *names[COMMANDS_MAX];
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
}

/* `sluicectl plans` with no verb, or with --help. */
static void family_help(const char *family, bool asked) {
    FILE *out = asked ? stdout : stderr;
    fprintf(out, "Usage: sluicectl %s COMMAND [OPTION...]\n\n", family);
    commands_list(out, family);
    fprintf(out, "\n`sluicectl %s COMMAND --help` says more.\n", family);
}

/* Says why the words name no command, and what there is. */
static enum exit_code no_command(int count, char **words, bool is_family) {
    if (!is_family) {
        unknown_command(NULL, words[0]);
    } else if (count < 2 || words[1][0] == '-') {
        bool asked = count > 1 && (strcmp(words[1], "--help") == 0 || strcmp(words[1], "-h") == 0);
        family_help(words[0], asked);
        return asked ? EXIT_DONE : EXIT_USAGE;
    } else {
        unknown_command(words[0], words[1]);
    }
    return EXIT_USAGE;
}

/* The command that the words name, *used gets how many of them that took; or NULL, with *code. */
static const struct command *command_find(int count, char **words, int *used,
                                          enum exit_code *code) {
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
    *used = 1;
    if (single == NULL) { /* `rebalance` is a command, and a family too */
        *code = no_command(count, words, is_family);
    }
    return single;
}

/* --- the whole ------------------------------------------------------------------------------ */

/* Parses what follows the command's words, its own and the global options mixed. The last of these
 * words stands where argp wants the program's name. */
static bool command_parse(const struct command *command, int count, char **words,
                          struct parse *parse, enum exit_code *code) {
    struct argp_option rows[OPTION_ROWS_MAX];
    uint32_t row_count = 0;
    for (const struct argp_option *row = command->options; row && (row->name || row->doc); row++) {
        assert(row_count + COUNT_OF(global_options) < OPTION_ROWS_MAX);
        rows[row_count++] = *row;
    }
    memcpy(&rows[row_count], global_options, sizeof global_options);
    char name[COMMAND_WORDS_BYTES + 16], of_command[COMMAND_WORDS_BYTES], *last = words[0];
    command_words(command, of_command);
    snprintf(name, sizeof name, "sluicectl %s", of_command);
    struct argp argp = {
        .options = rows, .parser = parse_one, .args_doc = command->arguments, .doc = command->doc};
    parse->command = command;
    words[0] = name;
    bool parsed = parse_run(&argp, count, words, 0, parse, code);
    words[0] = last;
    return parsed;
}

const struct command *command_line_read(int argc, char **argv, struct invocation *invocation,
                                        enum exit_code *code) {
    static const struct argp general = {.options = global_options,
                                        .parser = parse_one,
                                        .args_doc = "COMMAND [ARGUMENT...]",
                                        .doc = "Asks a Sluice cluster for tokens, and runs it.\v ",
                                        .help_filter = general_help};
    struct parse parse = {.invocation = invocation};
    if (!parse_run(&general, argc, argv, ARGP_IN_ORDER, &parse, code)) {
        return NULL;
    }
    if (parse.stopped_at == 0) {
        argp_help(&general, stderr, ARGP_HELP_STD_USAGE, (char *)"sluicectl");
        *code = EXIT_USAGE;
        return NULL;
    }
    int used = 0;
    const struct command *command =
        command_find(argc - parse.stopped_at, argv + parse.stopped_at, &used, code);
    if (command == NULL) {
        return NULL;
    }
    int skipped = parse.stopped_at + used - 1; /* the last word makes room for argv[0] */
    return command_parse(command, argc - skipped, argv + skipped, &parse, code) ? command : NULL;
}
