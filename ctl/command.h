/*
 * A command of sluicectl: how it is called, and what it does.
 *
 * Every command family is a file (cmd_*.c) with a table of these; command_line.c parses by the
 * table, and main.c calls run() once. One thread.
 */
#ifndef SLUICE_CTL_COMMAND_H
#define SLUICE_CTL_COMMAND_H

#include <argp.h>
#include <errno.h>

#include "proto/bytes.h"

/* X(name, number, meaning): what the shell gets. */
#define EXITS(X)                                                                                   \
    X(DONE, 0, "done; of take, peek and refund: granted")                                          \
    X(REFUSED, 1, "the take or peek was refused: too few tokens; or you said no when asked")       \
    X(USAGE, 2, "the command line is wrong")                                                       \
    X(UNREACHABLE, 3, "nobody could be reached, or the answer took too long")                      \
    X(ANSWERED_ERROR, 4, "the cluster answered an error, or cannot do it as it stands")            \
    X(FILE, 5, "a file of plans or a backup cannot be read or written, or has mistakes")           \
    X(NOT_YET, 6, "the plans are in force, but not every live node has shown them in time")        \
    X(CANCELLED, 7, "another operator cancelled the rebalance, or took it over")                   \
    X(MEMORY, 71, "there was no memory")                                                           \
    X(INTERRUPTED, 130, "Ctrl-C ended a rebalance after the batch under way, a backup or a restore")

enum exit_code {
#define X(name, number, meaning) EXIT_##name = number,
    EXITS(X)
#undef X
};

/* Positional arguments that a command may have. */
#define ARGUMENTS_MAX 2

struct settings {
    const char *router;  /* URL that takes go to */
    const char *control; /* URL that operator's verbs go to */
    uint32_t timeout_ms; /* of one request */
    bool json;
    bool no_color;
};

/* How to get at the store, for the commands that ask it themselves: as a node's options. */
struct store_options {
    const char *url;
    const char *prefix; /* NULL: not said */
    const char *password, *password_file, *sentinel_password;
    const char *ca, *cert, *key, *server_name;
};

/* Options of all commands: each command's table admits some of them. */
struct command_options {
    bool hex;
    bool dry_run;
    bool no_wait;
    bool none;
    const char *plan;
    uint64_t rate_tokens; /* 0: no inline limit */
    uint64_t period_ms;
    uint64_t burst_tokens; /* 0: the rate */
    uint32_t deadline_ms;  /* 0: the server's default */
    uint32_t slot_count;   /* 0: the server's default */
    bool yes;
    bool resume;
    bool by_load;
    bool follow;
    bool has_weight;
    uint32_t weight;
    uint32_t throttle_slots; /* a second; 0: none */
    uint32_t batch_slots;    /* 0: as many as go */
    uint32_t event_count;    /* 0: the server's default */
    bool has_base;
    uint64_t base;
    struct store_options store;
    const char *slot_list; /* NULL: all */
    bool verify, replace, live;
};

struct invocation {
    struct settings settings;
    struct command_options options;
    const char *arguments[ARGUMENTS_MAX];
    uint32_t argument_count;
};

struct command {
    const char *family; /* "plans" of "plans apply"; NULL: a command of one word */
    const char *name;
    const char *summary;   /* one line, for lists */
    const char *arguments; /* as in "KEY [COST]" */
    uint32_t least_arguments, most_arguments;
    const struct argp_option *options; /* ended by {0} */
    const char *doc;                   /* what it does, \v, examples */
    enum exit_code (*run)(const struct invocation *invocation);
};

/* A family's commands, ended by one without a name. */
extern const struct command take_commands[];
extern const struct command cluster_commands[];
extern const struct command plans_commands[];
extern const struct command key_commands[];
extern const struct command node_commands[];
extern const struct command weight_commands[];
extern const struct command slot_commands[];
extern const struct command map_commands[];
extern const struct command rebalance_commands[];
extern const struct command events_commands[];
extern const struct command backup_commands[];

/* Keys of options that have no letter. */
enum option_key {
    OPTION_ROUTER = 0x100,
    OPTION_CONTROL,
    OPTION_TIMEOUT,
    OPTION_JSON,
    OPTION_NO_COLOR,
    OPTION_USAGE,
    OPTION_HEX,
    OPTION_PLAN,
    OPTION_RATE,
    OPTION_PERIOD,
    OPTION_BURST,
    OPTION_DEADLINE,
    OPTION_SLOTS,
    OPTION_BASE,
    OPTION_DRY_RUN,
    OPTION_NO_WAIT,
    OPTION_NONE,
    OPTION_YES,
    OPTION_RESUME,
    OPTION_BY,
    OPTION_THROTTLE,
    OPTION_BATCH,
    OPTION_WEIGHT,
    OPTION_COUNT,
    OPTION_FOLLOW,
    OPTION_SLOT_LIST,
    OPTION_VERIFY,
    OPTION_REPLACE,
    OPTION_LIVE,
    OPTION_REDIS,
    OPTION_REDIS_PASSWORD_FILE,
    OPTION_REDIS_PASSWORD,
    OPTION_REDIS_SENTINEL_PASSWORD,
    OPTION_REDIS_CA,
    OPTION_REDIS_CERT,
    OPTION_REDIS_KEY,
    OPTION_REDIS_SERVER_NAME,
    OPTION_KEY_PREFIX,
};

/* "KEY as given, or in hexadecimal": for a command's table of options. */
#define OPTION_HEX_ROW                                                                             \
    { "hex", OPTION_HEX, 0, 0, "KEY is given in hexadecimal digits", 0 }

/* What a parser returns to argp once it has said what is wrong: it stops, and says no more. */
#define OPTION_REFUSED ECANCELED

/* Sets the option: 0. OPTION_REFUSED: what is wrong with it has been printed. ARGP_ERR_UNKNOWN if
 * the key is no option of ours. */
error_t option_set(int key, const char *argument, struct argp_state *state,
                   struct invocation *invocation);

#endif
