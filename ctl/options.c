/* Options of the command line: text in, checked values out. */
#include <inttypes.h>

#include "ctl/batches.h"
#include "ctl/command.h"
#include "ctl/text.h"
#include "proto/bounds.h"
#include "proto/slot.h"
#include "proto/store_keys.h"

/* Milliseconds of --timeout at most: an hour. Arbitrary, but safe. */
#define TIMEOUT_MS_MAX 3600000

/* Events that the cluster keeps. */
#define EVENTS_MAX 1000

static uint64_t number(const char *text, const char *option, uint64_t least, uint64_t most,
                       struct argp_state *state) {
    uint64_t value = 0;
    if (!text_uint(bytes_of_text(text), &value) || value < least || value > most) {
        argp_error(state, "%s: expected a whole number from %" PRIu64 " to %" PRIu64 ", got \"%s\"",
                   option, least, most, text);
    }
    return value;
}

static uint32_t timeout(const char *text, struct argp_state *state) {
    uint64_t value = 0;
    if (!text_duration_ms(bytes_of_text(text), false, &value) || value < 1 ||
        value > TIMEOUT_MS_MAX) {
        argp_error(state, "--timeout: expected a duration from 1ms to 1h, as in 5s, got \"%s\"",
                   text);
    }
    return (uint32_t)value;
}

static error_t global_set(int key, const char *argument, struct argp_state *state,
                          struct settings *settings) {
    switch (key) {
    case OPTION_ROUTER:
        settings->router = argument;
        return 0;
    case OPTION_CONTROL:
        settings->control = argument;
        return 0;
    case OPTION_TIMEOUT:
        settings->timeout_ms = timeout(argument, state);
        return 0;
    case OPTION_JSON:
        settings->json = true;
        return 0;
    case OPTION_NO_COLOR:
        settings->no_color = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static error_t flag_set(int key, struct command_options *options) {
    switch (key) {
    case OPTION_HEX:
        options->hex = true;
        return 0;
    case OPTION_DRY_RUN:
        options->dry_run = true;
        return 0;
    case OPTION_NO_WAIT:
        options->no_wait = true;
        return 0;
    case OPTION_NONE:
        options->none = true;
        return 0;
    case OPTION_YES:
        options->yes = true;
        return 0;
    case OPTION_RESUME:
        options->resume = true;
        return 0;
    case OPTION_FOLLOW:
        options->follow = true;
        return 0;
    case OPTION_VERIFY:
        options->verify = true;
        return 0;
    case OPTION_REPLACE:
        options->replace = true;
        return 0;
    case OPTION_LIVE:
        options->live = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static error_t value_set(int key, const char *argument, struct argp_state *state,
                         struct command_options *options) {
    switch (key) {
    case OPTION_PLAN:
        options->plan = argument;
        return 0;
    case OPTION_RATE:
        options->rate_tokens = number(argument, "--rate", 1, TOKENS_MAX, state);
        return 0;
    case OPTION_PERIOD:
        options->period_ms =
            number(argument, "--period-ms", 1, PERIOD_NS_MAX / UINT64_C(1000000), state);
        return 0;
    case OPTION_BURST:
        options->burst_tokens = number(argument, "--burst", 1, TOKENS_MAX, state);
        return 0;
    case OPTION_DEADLINE:
        options->deadline_ms =
            (uint32_t)number(argument, "--deadline-ms", 1, DEADLINE_MS_MAX, state);
        return 0;
    case OPTION_SLOTS:
        options->slot_count = (uint32_t)number(argument, "--slots", 1, SLOTS_MAX, state);
        if (!slot_count_valid(options->slot_count)) {
            argp_error(state, "--slots: expected a power of two, got \"%s\"", argument);
        }
        return 0;
    case OPTION_BASE:
        options->base = number(argument, "--base", 0, INT64_MAX, state);
        options->has_base = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* Options of what moves slots and of events. */
static error_t cluster_set(int key, const char *argument, struct argp_state *state,
                           struct command_options *options) {
    switch (key) {
    case OPTION_BY:
        options->by_load = strcmp(argument, "load") == 0;
        if (!options->by_load && strcmp(argument, "slots") != 0) {
            argp_error(state, "--by: expected slots or load, got \"%s\"", argument);
        }
        return 0;
    case OPTION_THROTTLE:
        options->throttle_slots = (uint32_t)number(argument, "--throttle", 1, SLOTS_MAX, state);
        return 0;
    case OPTION_BATCH:
        options->batch_slots = (uint32_t)number(argument, "--batch", 1, BATCH_SLOTS_MAX, state);
        return 0;
    case OPTION_WEIGHT:
        options->weight = (uint32_t)number(argument, "--weight", 1, WEIGHT_MAX, state);
        options->has_weight = true;
        return 0;
    case OPTION_COUNT:
        options->event_count = (uint32_t)number(argument, "--count", 1, EVENTS_MAX, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* Options of what goes to the store itself. */
static error_t store_set(int key, const char *argument, struct argp_state *state,
                         struct command_options *options) {
    struct store_options *store = &options->store;
    switch (key) {
    case OPTION_SLOT_LIST:
        options->slot_list = argument;
        return 0;
    case OPTION_REDIS:
        store->url = argument;
        return 0;
    case OPTION_REDIS_PASSWORD_FILE:
        store->password_file = argument;
        return 0;
    case OPTION_REDIS_CA:
        store->ca = argument;
        return 0;
    case OPTION_REDIS_CERT:
        store->cert = argument;
        return 0;
    case OPTION_REDIS_KEY:
        store->key = argument;
        return 0;
    case OPTION_REDIS_SERVER_NAME:
        store->server_name = argument;
        return 0;
    case OPTION_KEY_PREFIX:
        if (strlen(argument) > KEY_PREFIX_BYTES_MAX || strpbrk(argument, "{}") != NULL) {
            argp_error(state, "--key-prefix: expected at most %d bytes and no braces, got \"%s\"",
                       KEY_PREFIX_BYTES_MAX, argument);
        }
        store->prefix = argument;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

error_t option_set(int key, const char *argument, struct argp_state *state,
                   struct invocation *invocation) {
    error_t error = global_set(key, argument, state, &invocation->settings);
    if (error == ARGP_ERR_UNKNOWN) {
        error = flag_set(key, &invocation->options);
    }
    if (error == ARGP_ERR_UNKNOWN) {
        error = value_set(key, argument, state, &invocation->options);
    }
    if (error == ARGP_ERR_UNKNOWN) {
        error = cluster_set(key, argument, state, &invocation->options);
    }
    return error == ARGP_ERR_UNKNOWN ? store_set(key, argument, state, &invocation->options)
                                     : error;
}
