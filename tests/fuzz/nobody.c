#include "tests/fuzz/nobody.h"

#include "ctl/backup_io.h"
#include "ctl/interrupt.h"
#include "ctl/plans_file.h"
#include "ctl/rpc.h"
#include "ctl/store.h"
#include "tests/fuzz/fuzz.h"

static const struct invocation *running; /* whose command runs */
static uint32_t asked;

void nobody_expect(const struct invocation *invocation) {
    running = invocation;
    asked = 0;
}

uint32_t nobody_asked(void) {
    running = NULL;
    return asked;
}

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
    FUZZ_CHECK(access.address.place_count > 0);
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
