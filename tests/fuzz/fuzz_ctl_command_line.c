/*
 * The command line of sluicectl, and what its commands do until they ask somebody: words that are
 * made of its own tables, values at their bounds, and raw ones. Something is run only if everything
 * that it relies on is within its bounds; a mistake is told, and named; what is asked of the
 * cluster is a request as a node or router reads it (nobody.h: nobody answers); all memory returns.
 */
#include "ctl/batches.h"
#include "ctl/command_line.h"
#include "ctl/key_argument.h"
#include "ctl/slot_argument.h"
#include "ctl/slot_list.h"
#include "proto/store_keys.h"
#include "tests/fuzz/nobody.h"
#include "tests/fuzz/words.h"

/* --- what commands rely on -------------------------------------------------------------------- */

static bool between(uint64_t value, uint64_t least, uint64_t most) {
    return value >= least && value <= most;
}

/* Whether what the key sets is other than it was. */
static bool option_given(const struct command_options *options, int key) {
    const struct store_options *store = &options->store;
    switch (key) {
    case OPTION_HEX:
        return options->hex;
    case OPTION_PLAN:
        return options->plan != NULL;
    case OPTION_RATE:
        return options->rate_tokens != 0;
    case OPTION_PERIOD:
        return options->period_ms != 0;
    case OPTION_BURST:
        return options->burst_tokens != 0;
    case OPTION_DEADLINE:
        return options->deadline_ms != 0;
    case OPTION_SLOTS:
        return options->slot_count != 0;
    case OPTION_BASE:
        return options->has_base || options->base != 0;
    case OPTION_DRY_RUN:
        return options->dry_run;
    case OPTION_NO_WAIT:
        return options->no_wait;
    case OPTION_NONE:
        return options->none;
    case OPTION_YES:
        return options->yes;
    case OPTION_RESUME:
        return options->resume;
    case OPTION_BY:
        return options->by_load;
    case OPTION_THROTTLE:
        return options->throttle_slots != 0;
    case OPTION_BATCH:
        return options->batch_slots != 0;
    case OPTION_WEIGHT:
        return options->has_weight || options->weight != 0;
    case OPTION_COUNT:
        return options->event_count != 0;
    case OPTION_FOLLOW:
        return options->follow;
    case OPTION_SLOT_LIST:
        return options->slot_list != NULL;
    case OPTION_VERIFY:
        return options->verify;
    case OPTION_REPLACE:
        return options->replace;
    case OPTION_LIVE:
        return options->live;
    case OPTION_REDIS_PASSWORD_FILE:
        return store->password_file != NULL;
    case OPTION_REDIS_CA:
        return store->ca != NULL;
    case OPTION_REDIS_CERT:
        return store->cert != NULL;
    case OPTION_REDIS_KEY:
        return store->key != NULL;
    case OPTION_REDIS_SERVER_NAME:
        return store->server_name != NULL;
    case OPTION_KEY_PREFIX:
        return store->prefix != NULL;
    default:
        return false;
    }
}

static bool command_admits(const struct command *command, int key) {
    for (const struct argp_option *row = command->options; row && (row->name || row->doc); row++) {
        if (row->key == key) {
            return true;
        }
    }
    return false;
}

static void options_check(const struct command *command, const struct command_options *options) {
    for (int key = OPTION_ROUTER; key <= OPTION_KEY_PREFIX; key++) {
        FUZZ_CHECK(!option_given(options, key) || command_admits(command, key));
    }
    FUZZ_CHECK(options->rate_tokens <= TOKENS_MAX && options->burst_tokens <= TOKENS_MAX);
    FUZZ_CHECK(options->period_ms <= PERIOD_NS_MAX / 1000000);
    FUZZ_CHECK(options->deadline_ms <= DEADLINE_MS_MAX);
    FUZZ_CHECK(options->slot_count == 0 || slot_count_valid(options->slot_count));
    FUZZ_CHECK(options->throttle_slots <= SLOTS_MAX && options->batch_slots <= BATCH_SLOTS_MAX);
    FUZZ_CHECK(!options->has_weight || between(options->weight, 1, WEIGHT_MAX));
    FUZZ_CHECK(options->event_count <= 1000 && options->base <= INT64_MAX);
    FUZZ_CHECK(options->store.url != NULL);
    FUZZ_CHECK(options->store.password == NULL && options->store.sentinel_password == NULL);
    FUZZ_CHECK(options->store.prefix == NULL ||
               (strlen(options->store.prefix) <= KEY_PREFIX_BYTES_MAX &&
                strpbrk(options->store.prefix, "{}") == NULL));
}

static void invocation_check(const struct command *command, const struct invocation *invocation) {
    FUZZ_CHECK(
        between(invocation->argument_count, command->least_arguments, command->most_arguments));
    for (uint32_t i = 0; i < ARGUMENTS_MAX; i++) {
        FUZZ_CHECK((invocation->arguments[i] != NULL) == (i < invocation->argument_count));
    }
    FUZZ_CHECK(invocation->settings.router != NULL && invocation->settings.control != NULL);
    FUZZ_CHECK(between(invocation->settings.timeout_ms, 1, 3600000));
    options_check(command, &invocation->options);
}

/* --- parts of it ------------------------------------------------------------------------------ */

/* The same slots when they are written and read again. */
static void slots_try(const char *text, uint32_t slot_count) {
    static char runs[1 << 17];
    static struct slot slots[SLOTS_MAX];
    struct slot_set set, again;
    char why[512] = "";
    uint32_t count = 0;
    if (!slot_list_parse(text, slot_count, &set, why, sizeof why)) {
        FUZZ_CHECK(strncmp(why, "--slots: ", 9) == 0);
        return;
    }
    for (uint32_t slot = 0; slot < SLOTS_MAX; slot++) {
        FUZZ_CHECK(!slot_set_has(&set, slot) || slot < slot_count);
        if (slot_set_has(&set, slot)) {
            slots[count++].index = (uint16_t)slot;
        }
    }
    FUZZ_CHECK(count > 0 && count == slot_set_count(&set));
    slot_runs_write(slots, count, runs, sizeof runs);
    char *to = runs;
    for (const char *from = runs; *from != '\0'; from++) {
        *to = *from;
        to += *from != ' ';
    }
    *to = '\0';
    FUZZ_CHECK(slot_list_parse(runs, slot_count, &again, why, sizeof why));
    FUZZ_CHECK(memcmp(&set, &again, sizeof set) == 0);
}

static void argument_try(const struct invocation *invocation, const char *text) {
    char small[24], duration[TEXT_DURATION_BYTES_MAX];
    struct slot slots[3];
    struct slot_range range;
    struct shard_name name;
    struct key_argument key;
    uint64_t ms, again;
    if (slot_range_parse(text, &range)) {
        FUZZ_CHECK(range.first <= range.last && range.last < SLOTS_MAX);
        for (uint16_t i = 0; i < 3; i++) {
            slots[i].index = (uint16_t)(range.first + 2 * i);
        }
        slot_runs_write(slots, 3, small, sizeof small); /* less room than that may need */
        FUZZ_CHECK(strlen(small) < sizeof small);
    }
    if (shard_name_parse(text, &name)) {
        FUZZ_CHECK(name_valid(name.node) && (!name.has_number || name.number < SHARDS_MAX));
    }
    if (key_argument_read(invocation, text, &key)) {
        FUZZ_CHECK(key.bytes.size >= 1 && key.bytes.size <= KEY_BYTES_MAX);
        FUZZ_CHECK(between(strlen(key.escaped), key.bytes.size, sizeof key.escaped - 1));
    }
    if (text_duration_ms(bytes_of_text(text), false, &ms)) {
        text_duration_write(ms, duration);
        FUZZ_CHECK(text_duration_ms(bytes_of_text(duration), false, &again) && again == ms);
    }
}

/* --- words ------------------------------------------------------------------------------------ */

struct line {
    struct words words;
    const struct command *command; /* whose words were added; NULL: none */
    bool loose;                    /* a word may have taken the next one for its value */
    bool secret;                   /* a password as an option, where it would count as one */
};

static uint32_t options_of(const struct command *command, const struct argp_option **out) {
    uint32_t count = 0;
    for (const struct argp_option *row = command ? command->options : NULL;
         row != NULL && (row->name || row->doc); row++) {
        out[count++] = row;
    }
    return count;
}

/* An option of the command's table: with its value, before it, or cut. */
static void option_add(struct line *line, struct fuzz *fuzz) {
    const struct argp_option *rows[OPTION_ROWS_MAX];
    uint32_t count = options_of(line->command, rows), how = fuzz_below(fuzz, 12);
    const struct argp_option *row = count > 0 ? rows[fuzz_below(fuzz, count)] : NULL;
    if (row == NULL || row->name == NULL) {
        return;
    }
    bool is_number = row->arg != NULL && strlen(row->arg) == 1; /* "N" */
    char *value = is_number && how % 2 == 0 ? words_number(fuzz) : words_value(fuzz);
    if (how <= 9 && row->arg == NULL) {
        words_add(&line->words, "--%s", row->name);
    } else if (how <= 9) {
        words_add(&line->words, "--%s=%s", row->name, value);
    } else if (how == 10) {
        words_add(&line->words, "--%s", row->name);
        words_add(&line->words, "%s", value);
        line->loose = true;
    } else {
        words_add(&line->words, "--%.*s", 1 + (int)(strlen(value) % 5), row->name);
        line->loose = true;
    }
    free(value);
}

static void argument_add(struct line *line, struct fuzz *fuzz) {
    char *value = words_value(fuzz);
    line->loose = line->loose || value[0] == '-';
    words_add(&line->words, "%s", value);
    free(value);
}

static void secret_add(struct line *line, struct fuzz *fuzz) {
    const char *of = fuzz_below(fuzz, 2) == 0 ? "redis-password" : "redis-sentinel-password";
    line->secret = line->secret || (!line->loose && line->command != NULL);
    words_add(&line->words, fuzz_below(fuzz, 2) == 0 ? "--%s=" WORDS_SECRET : "--%s", of);
    if (strchr(line->words.made[line->words.count - 1], '=') == NULL) {
        words_add(&line->words, WORDS_SECRET);
    }
}

static void global_add(struct line *line, struct fuzz *fuzz) {
    static const char *const switches[] = {"--json", "--no-color", "--help", "--usage",
                                           "-h",     "--version",  "-V",     "-?"};
    static const char *const valued[] = {"--timeout", "--router", "--control"};
    uint32_t which = fuzz_below(fuzz, 11);
    if (which < 8) {
        words_add(&line->words, "%s", switches[which]);
        return;
    }
    char *value = words_value(fuzz);
    words_add(&line->words, "%s=%s", valued[which - 8], value);
    free(value);
}

static void raw_add(struct line *line, struct fuzz *fuzz) {
    char *raw = words_raw(fuzz, fuzz_u8(fuzz) % 32);
    words_add(&line->words, "%s", raw);
    line->loose = true;
    free(raw);
}

static void word_add(struct line *line, struct fuzz *fuzz) {
    uint32_t how = fuzz_below(fuzz, 16);
    if (how <= 9) {
        option_add(line, fuzz);
    } else if (how <= 11) {
        argument_add(line, fuzz);
    } else if (how == 12) {
        global_add(line, fuzz);
    } else if (how == 13) {
        secret_add(line, fuzz);
    } else if (how == 14) {
        raw_add(line, fuzz);
    } else {
        words_add(&line->words, "--");
        line->loose = true;
    }
}

static void line_make(struct line *line, struct fuzz *fuzz) {
    const struct command *all[COMMANDS_MAX];
    uint32_t count = commands_all(all), which = fuzz_below(fuzz, count + 3);
    words_add(&line->words, "sluicectl");
    for (uint32_t before = fuzz_below(fuzz, 2); before > 0; before--) {
        global_add(line, fuzz);
    }
    if (which < count) { /* else whatever words there are */
        line->command = all[which];
        if (line->command->family != NULL) {
            words_add(&line->words, "%s", line->command->family);
        }
        words_add(&line->words, "%s", line->command->name);
        for (uint32_t i = 0; i < line->command->least_arguments; i++) {
            argument_add(line, fuzz);
        }
    }
    /* Mostly a few: of many, one is wrong. */
    uint8_t most = fuzz_u8(fuzz);
    for (uint32_t left = most < 224 ? most % 4 : WORDS_MAX;
         left > 0 && !fuzz_done(fuzz) && line->words.count < WORDS_MAX; left--) {
        word_add(line, fuzz);
    }
}

/* --- the whole -------------------------------------------------------------------------------- */

/* Of a line that runs nothing: what was said, and what it is about. */
static void refusal_check(const struct line *line, enum exit_code code, struct words_told told) {
    if (code == EXIT_DONE) {
        /* argp takes the refusal of the letter \xff for -?, and helps. */
        FUZZ_CHECK(told.out[0] != '\0');
        FUZZ_CHECK(told.err[0] == '\0' || strstr(told.err, ": invalid option -- '\xff'") != NULL);
        return;
    }
    FUZZ_CHECK(code == EXIT_USAGE && told.out[0] == '\0');
    FUZZ_CHECK(words_named(&line->words, told.err) || strstr(told.err, "Usage: ") != NULL ||
               strstr(told.err, ": expected ") != NULL || strstr(told.err, "\"\"") != NULL ||
               strstr(told.err, ": invalid option -- '") != NULL);
    FUZZ_CHECK(!line->secret || line->loose || !command_admits(line->command, OPTION_REDIS) ||
               strstr(told.err, WORDS_SECRET) == NULL);
}

static void command_try(const struct command *command, const struct invocation *invocation) {
    nobody_expect(invocation);
    words_listen();
    enum exit_code code = command->run(invocation);
    struct words_told told = words_heard();
    uint32_t asked = nobody_asked();
    FUZZ_CHECK(code != EXIT_DONE || told.out[0] != '\0');
    FUZZ_CHECK(code == EXIT_DONE || told.err[0] != '\0');
    /* Nobody was there, so that all else was known before anybody was asked. */
    FUZZ_CHECK(code == EXIT_USAGE || asked > 0 || strcmp(command->name, "version") == 0);
    words_listen();
    for (uint32_t i = 0; i < invocation->argument_count; i++) {
        struct invocation hex = *invocation;
        hex.options.hex = true;
        argument_try(invocation, invocation->arguments[i]);
        argument_try(&hex, invocation->arguments[i]);
        slots_try(invocation->arguments[i], 1024);
    }
    (void)words_heard();
    if (invocation->options.slot_list != NULL) {
        slots_try(invocation->options.slot_list, SLOTS_MAX);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct fuzz fuzz = fuzz_of(data, size);
    struct line line = {0};
    words_environment_clear();
    line_make(&line, &fuzz);
    struct invocation invocation = invocation_of_environment();
    enum exit_code code = EXIT_INTERRUPTED;
    words_listen();
    const struct command *command =
        command_line_read(line.words.count, line.words.at, &invocation, &code);
    struct words_told told = words_heard();
    if (command == NULL) {
        refusal_check(&line, code, told);
    } else {
        FUZZ_CHECK(told.out[0] == '\0' && told.err[0] == '\0' && !line.secret);
        invocation_check(command, &invocation);
        command_try(command, &invocation);
    }
    words_free(&line.words);
    return 0;
}
