/*
 * The command line of sluicectl, and what its commands do until they ask somebody: words that are
 * made of its own tables, values at their bounds, and raw ones. Something is run only if everything
 * that it relies on is within its bounds; a mistake is told, and named; what is asked of the
 * cluster is a request as a node or router reads it; all memory returns.
 *
 * Nobody is asked: what would open a socket or a file is here, and says that nobody is there.
 */
#include "ctl/backup_io.h"
#include "ctl/batches.h"
#include "ctl/command_line.h"
#include "ctl/interrupt.h"
#include "ctl/key_argument.h"
#include "ctl/plans_file.h"
#include "ctl/rpc.h"
#include "ctl/slot_argument.h"
#include "ctl/slot_list.h"
#include "ctl/store.h"
#include "proto/store_keys.h"
#include "tests/fuzz/words.h"

static const struct invocation *running; /* whose command runs */
static uint32_t asked;                   /* requests and files of it */

/* --- nobody is there -------------------------------------------------------------------------- */

static void take_check(struct bytes params) {
    const struct command_options *options = &running->options;
    struct take take;
    struct fault fault;
    if (request_read_take(params, &take, &fault) != CODE_OK) {
        FUZZ_CHECK(options->plan != NULL && !name_valid(bytes_of_text(options->plan)));
        return;
    }
    FUZZ_CHECK(take.key.size >= 1 && take.key.size <= KEY_BYTES_MAX);
    FUZZ_CHECK(take.cost_tokens <= TOKENS_MAX);
    FUZZ_CHECK((take.plan.kind == PLAN_CHOICE_NAMED) == (options->plan != NULL));
    FUZZ_CHECK((take.plan.kind == PLAN_CHOICE_INLINE) == (options->rate_tokens != 0));
}

static void request_check(struct bytes bytes) {
    static struct plan_set set;
    struct request request;
    struct fault fault;
    struct bytes key, plan;
    uint32_t slot_count;
    uint64_t number;
    FUZZ_CHECK(request_read(bytes, &request, &fault) == CODE_OK);
    switch (request.method) {
    case METHOD_TAKE:
    case METHOD_PEEK:
    case METHOD_REFUND:
        take_check(request.params);
        break;
    case METHOD_CLUSTER_INIT:
        FUZZ_CHECK(request_read_init(request.params, &slot_count, &fault) == CODE_OK);
        FUZZ_CHECK(running->options.slot_count == 0 || slot_count == running->options.slot_count);
        break;
    case METHOD_KEY_SHOW:
    case METHOD_KEY_RESET:
        FUZZ_CHECK(request_read_key(request.params, &key, &fault) == CODE_OK);
        break;
    case METHOD_KEY_ASSIGN:
        FUZZ_CHECK(request_read_assign(request.params, &key, &plan, &fault) == CODE_OK ||
                   !name_valid(bytes_of_text(running->arguments[1])));
        break;
    case METHOD_CLUSTER_EVENTS:
        FUZZ_CHECK(request_read_number(request.params, "", 100, 1, 1000, &number, &fault) ==
                   CODE_OK);
        break;
    case METHOD_PLANS_APPLY:
        FUZZ_CHECK(request_read_apply(request.params, &set, &number, &fault) == CODE_OK);
        FUZZ_CHECK(number == (running->options.has_base ? running->options.base : 0));
        break;
    default:
        FUZZ_CHECK(request_read_none(request.params, &fault) == CODE_OK);
        break;
    }
}

/* The plans in force: none yet. */
static struct bytes plans_none(void) {
    static uint8_t memory[64];
    static struct plan_set none;
    struct writer writer = writer_of(memory, sizeof memory);
    plan_set_init(&none);
    plan_set_write(&writer, &none);
    FUZZ_CHECK(!writer.overflow);
    return writer_bytes(&writer);
}

bool rpc_call(const char *url, struct bytes request, uint32_t timeout_ms,
              struct rpc_answer *answer) {
    FUZZ_CHECK(running != NULL && url != NULL);
    FUZZ_CHECK(timeout_ms >= 1 && timeout_ms <= 3600000);
    request_check(request);
    asked++;
    memset(answer, 0, sizeof *answer);
    answer->nobody_there = true;
    snprintf(answer->failure, sizeof answer->failure, "nobody is there");
    return false;
}

void rpc_answer_fini(struct rpc_answer *answer) {
    FUZZ_CHECK(answer->message == NULL);
}

enum exit_code rpc_try(const struct settings *settings, const char *url, bool follow,
                       struct bytes request, struct rpc_answer *answer) {
    FUZZ_CHECK(!rpc_call(url, request, settings->timeout_ms, answer));
    fputs("sluicectl: nobody is there\n", stderr);
    return EXIT_UNREACHABLE;
}

enum exit_code rpc_ask(const struct settings *settings, const char *url, bool follow,
                       struct bytes request, struct rpc_answer *answer) {
    return rpc_try(settings, url, follow, request, answer);
}

uint32_t rpc_retry_ms(const struct rpc_answer *answer) {
    return 0;
}

enum exit_code rpc_ask_plain(const struct settings *settings, enum method method,
                             struct rpc_answer *answer) {
    uint8_t memory[64];
    struct writer writer = writer_of(memory, sizeof memory);
    request_write_head(&writer, 1, method);
    write_array(&writer, 0);
    enum exit_code code =
        rpc_ask(settings, settings->control, false, writer_bytes(&writer), answer);
    if (method == METHOD_PLANS_GET) {
        answer->reply.result = plans_none();
        code = EXIT_DONE;
    }
    return code;
}

void interrupt_install(void) {}

bool interrupt_came(void) {
    return false;
}

/* The linker puts these before those of sluicectl (fuzz.cmake names them). */
bool __wrap_store_open(struct store *store, const struct store_options *options);
bool __wrap_plans_file_parse(const char *path, struct plan_set *set,
                             struct plans_mistakes *mistakes);
bool __wrap_backup_in_open(struct backup_in *in, const char *path, char why[BACKUP_WHY_BYTES]);

/* As far as it goes without a file or a socket. */
bool __wrap_store_open(struct store *store, const struct store_options *options) {
    struct redis_access access;
    char why[STORE_WHY_BYTES] = "";
    asked++;
    memset(store, 0, sizeof *store);
    if (options->password_file != NULL) {
        return store_fail(store, "nobody is there");
    }
    store->misused = !store_options_check(options, &access, why);
    if (store->misused) {
        FUZZ_CHECK(strncmp(why, "--redis", strlen("--redis")) == 0);
        return store_fail(store, "%s", why);
    }
    FUZZ_CHECK(access.address.place_count > 0 && !access.address.cluster);
    FUZZ_CHECK(access.password == NULL && access.sentinel_password == NULL);
    return store_fail(store, "nobody is there");
}

bool __wrap_plans_file_parse(const char *path, struct plan_set *set,
                             struct plans_mistakes *mistakes) {
    asked++;
    memset(mistakes, 0, sizeof *mistakes);
    plan_set_init(set);
    if (strlen(path) % 2 == 0) {
        return true;
    }
    mistakes->count = 1;
    snprintf(mistakes->items[0].text, sizeof mistakes->items[0].text, "no such file");
    return false;
}

bool __wrap_backup_in_open(struct backup_in *in, const char *path, char why[BACKUP_WHY_BYTES]) {
    asked++;
    memset(in, 0, sizeof *in);
    snprintf(why, BACKUP_WHY_BYTES, "%.100s: no such file", path);
    return false;
}

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
        FUZZ_CHECK(strlen(key.escaped) >= key.bytes.size &&
                   strlen(key.escaped) < sizeof key.escaped);
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
    uint32_t count = options_of(line->command, rows), how = fuzz_below(fuzz, 4);
    const struct argp_option *row = count > 0 ? rows[fuzz_below(fuzz, count)] : NULL;
    if (row == NULL || row->name == NULL) {
        return;
    }
    char *value = words_value(fuzz);
    if (how == 0 && row->arg == NULL) {
        words_add(&line->words, "--%s", row->name);
    } else if (how <= 1) {
        words_add(&line->words, "--%s=%s", row->name, value);
    } else if (how == 2) {
        words_add(&line->words, "--%s", row->name);
        words_add(&line->words, "%s", value);
        line->loose = true;
    } else {
        words_add(&line->words, "--%.*s", 1 + (int)(strlen(value) % 5), row->name);
        line->loose = true;
    }
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

static void word_add(struct line *line, struct fuzz *fuzz) {
    uint32_t how = fuzz_below(fuzz, 9);
    if (how <= 2) {
        option_add(line, fuzz);
    } else if (how <= 4) {
        char *value = words_value(fuzz);
        line->loose = line->loose || value[0] == '-';
        words_add(&line->words, "%s", value);
        free(value);
    } else if (how == 5) {
        global_add(line, fuzz);
    } else if (how == 6) {
        secret_add(line, fuzz);
    } else {
        char *raw = how == 7 ? words_raw(fuzz, fuzz_u8(fuzz) % 32) : strdup("--");
        words_add(&line->words, "%s", raw);
        line->loose = true;
        free(raw);
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
    }
    while (!fuzz_done(fuzz) && line->words.count < WORDS_MAX) {
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
    running = invocation;
    asked = 0;
    words_listen();
    enum exit_code code = command->run(invocation);
    struct words_told told = words_heard();
    running = NULL;
    FUZZ_CHECK(code != EXIT_DONE || told.out[0] != '\0');
    FUZZ_CHECK(code == EXIT_DONE || told.err[0] != '\0');
    /* Nobody was there, so that all else was known before anybody was asked. */
    FUZZ_CHECK(code == EXIT_USAGE || asked > 0 || strcmp(command->name, "version") == 0);
    words_listen();
    for (uint32_t i = 0; i < invocation->argument_count; i++) {
        argument_try(invocation, invocation->arguments[i]);
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
