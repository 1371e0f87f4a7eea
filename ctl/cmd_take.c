/* take, peek, refund: what an edge service asks, by hand. They go to the router. */
#include <inttypes.h>

#include "ctl/key_argument.h"
#include "ctl/out.h"
#include "ctl/rpc.h"
#include "ctl/text.h"

#define NS_PER_MS UINT64_C(1000000)

/* Microseconds as people say them. */
static void wait_write(int64_t us, char *out, size_t capacity) {
    if (us < 1000) {
        snprintf(out, capacity, "%" PRId64 " us", us);
    } else if (us < 1000000) {
        snprintf(out, capacity, "%.1f ms", (double)us / 1e3);
    } else if (us < INT64_C(7200) * 1000000) {
        snprintf(out, capacity, "%.1f s", (double)us / 1e6);
    } else {
        snprintf(out, capacity, "%.1f h", (double)us / 3.6e9);
    }
}

static bool plan_choose(const struct invocation *invocation, struct plan_choice *plan) {
    const struct command_options *options = &invocation->options;
    const struct settings *settings = &invocation->settings;
    *plan = (struct plan_choice){.kind = PLAN_CHOICE_DEFAULT};
    if (options->plan != NULL) {
        if (options->rate_tokens != 0 || options->period_ms != 0 || options->burst_tokens != 0) {
            out_failure(settings, "--plan and --rate exclude each other");
            return false;
        }
        plan->kind = PLAN_CHOICE_NAMED;
        plan->name = bytes_of_text(options->plan);
        return true;
    }
    if (options->rate_tokens == 0) {
        if (options->period_ms != 0 || options->burst_tokens != 0) {
            out_failure(settings, "--period-ms and --burst go with --rate");
            return false;
        }
        return true;
    }
    plan->kind = PLAN_CHOICE_INLINE;
    plan->limit.rate_tokens = options->rate_tokens;
    plan->limit.period_ns = (options->period_ms == 0 ? 1000 : options->period_ms) * NS_PER_MS;
    plan->limit.burst_tokens =
        options->burst_tokens == 0 ? options->rate_tokens : options->burst_tokens;
    struct fault fault;
    if (limit_check(&plan->limit, "--rate", &fault) != CODE_OK) {
        out_failure(settings, "%s", fault.text);
        return false;
    }
    return true;
}

static void result_print(const struct settings *settings, enum verb verb, const char *key,
                         const struct take_result *result) {
    static const char *const granted[] = {
        [VERB_TAKE] = "granted", [VERB_PEEK] = "would be granted", [VERB_REFUND] = "refunded"};
    static const char *const refused[] = {
        [VERB_TAKE] = "refused", [VERB_PEEK] = "would be refused", [VERB_REFUND] = "refused"};
    char reset[40], retry[40];
    wait_write((int64_t)result->reset_after_us, reset, sizeof reset);
    wait_write(result->retry_after_us, retry, sizeof retry);
    printf("%s%s%s  %s", color_on(settings, result->allowed ? COLOR_GREEN : COLOR_RED),
           result->allowed ? granted[verb] : refused[verb], color_off(settings), key);
    if (result->flags & TAKE_FLAG_DEGRADED) {
        printf("  %sdegraded: no owner answered; decided by the plan's on_unavailable%s\n",
               color_on(settings, COLOR_YELLOW), color_off(settings));
        return;
    }
    printf("  %" PRIu64 " of %" PRIu64 " left", result->remaining_tokens, result->limit_tokens);
    if (!result->allowed && result->retry_after_us == RETRY_NEVER) {
        printf(", never: the cost is above the burst");
    } else if (!result->allowed) {
        printf(", try again in %s", retry);
    }
    printf(result->reset_after_us > 0 ? ", full in %s\n" : ", full\n", reset);
}

static void result_json(const char *key, const struct take_result *result) {
    out_json(json_pack("{s:s, s:b, s:I, s:I, s:I, s:I, s:b}", "key", key, "allowed",
                       (int)result->allowed, "remaining", (json_int_t)result->remaining_tokens,
                       "limit", (json_int_t)result->limit_tokens, "retry_after_us",
                       (json_int_t)result->retry_after_us, "reset_after_us",
                       (json_int_t)result->reset_after_us, "degraded",
                       (int)((result->flags & TAKE_FLAG_DEGRADED) != 0)));
}

static enum exit_code verb_run(const struct invocation *invocation, enum verb verb) {
    const struct settings *settings = &invocation->settings;
    struct key_argument key;
    struct take take = {.cost_tokens = 1};
    if (!key_argument_read(invocation, invocation->arguments[0], &key) ||
        !plan_choose(invocation, &take.plan)) {
        return EXIT_USAGE;
    }
    take.key = key.bytes;
    const char *cost = invocation->arguments[1];
    if (cost != NULL &&
        (!text_uint(bytes_of_text(cost), &take.cost_tokens) || take.cost_tokens > TOKENS_MAX)) {
        out_failure(settings, "COST: expected a whole number from 0 to %" PRIu64 ", got \"%s\"",
                    TOKENS_MAX, cost);
        return EXIT_USAGE;
    }
    uint8_t memory[1024];
    struct writer writer = writer_of(memory, sizeof memory);
    request_write_single(&writer, 1, verb, &take, invocation->options.deadline_ms);
    if (writer.overflow) {
        out_failure(settings, "--plan: the name is too long");
        return EXIT_USAGE;
    }
    struct rpc_answer answer;
    enum exit_code code =
        rpc_ask(settings, settings->router, false, writer_bytes(&writer), &answer);
    if (code == EXIT_DONE) {
        struct reader reader = reader_of(answer.reply.result);
        struct take_result result;
        if (!result_read(&reader, &result, NULL) || result.code != CODE_OK) {
            out_failure(settings, "the answer is not a take's result");
            code = EXIT_ANSWERED_ERROR;
        } else {
            settings->json ? result_json(key.escaped, &result)
                           : result_print(settings, verb, key.escaped, &result);
            code = result.allowed ? EXIT_DONE : EXIT_REFUSED;
        }
    }
    rpc_answer_fini(&answer);
    return code;
}

static enum exit_code take_run(const struct invocation *invocation) {
    return verb_run(invocation, VERB_TAKE);
}

static enum exit_code peek_run(const struct invocation *invocation) {
    return verb_run(invocation, VERB_PEEK);
}

static enum exit_code refund_run(const struct invocation *invocation) {
    return verb_run(invocation, VERB_REFUND);
}

static const struct argp_option take_options[] = {
    {"plan", OPTION_PLAN, "NAME", 0, "decide under this plan, not the key's own or the default", 0},
    {"rate", OPTION_RATE, "R", 0, "decide under an inline limit of R tokens a period", 0},
    {"period-ms", OPTION_PERIOD, "P", 0, "with --rate: the period (1000)", 0},
    {"burst", OPTION_BURST, "B", 0, "with --rate: at most B tokens at once (the rate)", 0},
    {"deadline-ms", OPTION_DEADLINE, "N", 0, "the router must have answered by then (250)", 0},
    OPTION_HEX_ROW,
    {0},
};

const struct command take_commands[] = {
    {NULL, "take", "spend tokens of a key", "KEY [COST]", 1, 2, take_options,
     "Spends COST tokens (1) of KEY, or none at all. Exits with 0 if granted, 1 if refused.\v"
     "Examples:\n"
     "  sluicectl take alice\n"
     "  sluicectl take alice 5 --plan premium\n"
     "  sluicectl take 203.0.113.9 --rate 10 --burst 20\n"
     "  sluicectl take --hex 00ff17 3\n"
     "  sluicectl take -- -key-with-a-dash",
     take_run},
    {NULL, "peek", "what take would answer, spending nothing", "KEY [COST]", 1, 2, take_options,
     "Answers what take would, and spends nothing.\v"
     "Example:\n"
     "  sluicectl peek alice 5",
     peek_run},
    {NULL, "refund", "give tokens back to a key", "KEY [COST]", 1, 2, take_options,
     "Gives COST tokens (1) back to KEY, never above full.\v"
     "Example:\n"
     "  sluicectl refund alice 5",
     refund_run},
    {0},
};
