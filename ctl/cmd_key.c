/* key show, reset, assign: one key's plan and level. They follow the key to its node. */
#include <inttypes.h>

#include "ctl/cluster.h"
#include "ctl/key_argument.h"
#include "ctl/out.h"
#include "ctl/rpc.h"
#include "ctl/text.h"

/* Milliseconds that a reset waits at most until no former owner can grant any more: a few times
 * what a node asks for, since the slot may get another owner meanwhile. */
#define RESET_WAIT_MS_MAX 60000

/* True: what was asked for can be done now, after a wait. */
static bool key_wait(const struct invocation *invocation, const struct rpc_answer *answer,
                     uint64_t until_ms) {
    uint32_t wait_ms = rpc_retry_ms(answer);
    if (wait_ms == 0 || invocation->options.no_wait || time_monotonic_ms() + wait_ms > until_ms) {
        return false;
    }
    fprintf(stderr,
            "sluicectl: a former owner of this key's slot may still grant what it had reserved: "
            "asking again in %.1f s\n",
            (double)wait_ms / 1000);
    time_sleep_ms(wait_ms);
    return true;
}

static enum exit_code key_ask(const struct invocation *invocation, enum method method,
                              const struct key_argument *key, const char *plan,
                              struct rpc_answer *answer) {
    uint8_t memory[1024];
    struct writer writer = writer_of(memory, sizeof memory);
    request_write_head(&writer, 1, method);
    write_array(&writer, method == METHOD_KEY_ASSIGN ? 2 : 1);
    write_bin(&writer, key->bytes);
    if (method == METHOD_KEY_ASSIGN && plan != NULL) {
        write_text(&writer, plan);
    } else if (method == METHOD_KEY_ASSIGN) {
        write_nil(&writer);
    }
    if (writer.overflow) {
        memset(answer, 0, sizeof *answer);
        out_failure(&invocation->settings, "PLAN: the name is too long");
        return EXIT_USAGE;
    }
    const struct settings *settings = &invocation->settings;
    uint64_t until_ms = time_monotonic_ms() + RESET_WAIT_MS_MAX;
    enum exit_code code = rpc_try(settings, settings->control, true, writer_bytes(&writer), answer);
    while (code == EXIT_ANSWERED_ERROR && key_wait(invocation, answer, until_ms)) {
        rpc_answer_fini(answer);
        code = rpc_try(settings, settings->control, true, writer_bytes(&writer), answer);
    }
    if (code == EXIT_ANSWERED_ERROR) {
        out_error(settings, &answer->reply);
    }
    return code;
}

static void limits_print(const struct settings *settings, const json_t *limits) {
    struct table table;
    table_init(&table, 5);
    table_row(&table, (const char *const[]){"LIMIT", "RATE", "BURST", "LEVEL", "FULL IN"});
    for (size_t i = 0; i < json_array_size(limits); i++) {
        const json_t *limit = json_array_get(limits, i);
        char number[24], rate[TEXT_RATE_BYTES_MAX], burst[24], level[24], reset[32];
        text_rate_write((uint64_t)json_int(limit, "rate"), (uint64_t)json_int(limit, "period_ms"),
                        rate);
        snprintf(number, sizeof number, "%zu", i + 1);
        snprintf(burst, sizeof burst, "%lld", json_int(limit, "burst"));
        snprintf(level, sizeof level, "%lld", json_int(limit, "level"));
        snprintf(reset, sizeof reset, "%.3f s", (double)json_int(limit, "reset_after_us") / 1e6);
        table_row(&table, (const char *const[]){number, rate, burst, level, reset});
    }
    table_print(&table, settings);
}

static void key_print(const struct settings *settings, const struct key_argument *key,
                      const json_t *shown) {
    const char *plan = json_text(shown, "plan"), *bucket_plan = json_text(shown, "bucket_plan");
    bool resident = json_is_true(json_object_get(shown, "resident"));
    printf("key     %s\n", key->escaped);
    printf("slot    %lld\n", json_int(shown, "slot"));
    printf("plan    %s (%s)\n", plan[0] ? plan : "none",
           json_is_true(json_object_get(shown, "assigned")) ? "assigned to the key"
                                                            : "the default");
    printf("bucket  %s%s%s\n", resident ? "in memory, under " : "not in memory",
           !resident ? "" : (bucket_plan[0] ? bucket_plan : "an inline limit"),
           json_is_true(json_object_get(shown, "dirty")) ? ", not yet in the store" : "");
    const json_t *limits = json_object_get(shown, "limits");
    if (json_array_size(limits) > 0) {
        putchar('\n');
        limits_print(settings, limits);
    }
}

static enum exit_code show_run(const struct invocation *invocation) {
    const struct settings *settings = &invocation->settings;
    struct key_argument key;
    struct rpc_answer answer;
    if (!key_argument_read(invocation, invocation->arguments[0], &key)) {
        return EXIT_USAGE;
    }
    enum exit_code code = key_ask(invocation, METHOD_KEY_SHOW, &key, NULL, &answer);
    json_t *shown = code == EXIT_DONE ? json_of_value(answer.reply.result) : NULL;
    if (code == EXIT_DONE && !json_is_object(shown)) {
        out_failure(settings, "the answer is not a key's state");
        code = EXIT_ANSWERED_ERROR;
    } else if (code == EXIT_DONE && settings->json) {
        out_json(json_incref(shown));
    } else if (code == EXIT_DONE) {
        key_print(settings, &key, shown);
    }
    json_decref(shown);
    rpc_answer_fini(&answer);
    return code;
}

/* reset and assign: they answer the slot. */
static enum exit_code change_run(const struct invocation *invocation, enum method method,
                                 const char *plan, const char *done) {
    const struct settings *settings = &invocation->settings;
    struct key_argument key;
    struct rpc_answer answer;
    if (!key_argument_read(invocation, invocation->arguments[0], &key)) {
        return EXIT_USAGE;
    }
    enum exit_code code = key_ask(invocation, method, &key, plan, &answer);
    if (code == EXIT_DONE && settings->json) {
        json_t *result = json_of_value(answer.reply.result);
        out_json(result != NULL ? result : json_null());
    } else if (code == EXIT_DONE) {
        printf("%s%s%s  %s%s%s\n", color_on(settings, COLOR_GREEN), done, color_off(settings),
               key.escaped, plan ? "  " : "", plan ? plan : "");
    }
    rpc_answer_fini(&answer);
    return code;
}

static enum exit_code reset_run(const struct invocation *invocation) {
    return change_run(invocation, METHOD_KEY_RESET, NULL, "reset");
}

static enum exit_code assign_run(const struct invocation *invocation) {
    const char *plan = invocation->arguments[1];
    if ((plan != NULL) == invocation->options.none) {
        out_failure(&invocation->settings,
                    "expected either a PLAN to assign or --none to take the assignment back");
        return EXIT_USAGE;
    }
    return change_run(invocation, METHOD_KEY_ASSIGN, plan, plan ? "assigned" : "unassigned");
}

static const struct argp_option key_options[] = {OPTION_HEX_ROW, {0}};
static const struct argp_option reset_options[] = {
    {"no-wait", OPTION_NO_WAIT, 0, 0, "fail instead of waiting until no former owner can grant", 0},
    OPTION_HEX_ROW,
    {0},
};
static const struct argp_option assign_options[] = {
    {"none", OPTION_NONE, 0, 0, "take the assignment back: the default plan counts again", 0},
    OPTION_HEX_ROW,
    {0},
};

const struct command key_commands[] = {
    {"key", "show", "a key's plan, slot and level", "KEY", 1, 1, key_options,
     "Shows a key's plan, slot and what is left under each limit; spends nothing.\v"
     "Example:\n"
     "  sluicectl key show alice",
     show_run},
    {"key", "reset", "fill a key's bucket", "KEY", 1, 1, reset_options,
     "Makes the key's bucket full again, in memory and in the store. For 16 s after the key's slot "
     "has changed hands a former owner may still grant what it had reserved: then it waits, a "
     "minute at most.\v"
     "Example:\n"
     "  sluicectl key reset alice",
     reset_run},
    {"key", "assign", "give a key a plan of its own", "KEY [PLAN]", 1, 2, assign_options,
     "Takes of KEY that name no plan are decided under PLAN from now on.\v"
     "Examples:\n"
     "  sluicectl key assign alice premium\n"
     "  sluicectl key assign alice --none",
     assign_run},
    {0},
};
