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

static error_t number(const char *text, const char *option, uint64_t least, uint64_t most,
                      struct argp_state *state, uint64_t *value) {
    if (!text_uint(bytes_of_text(text), value) || *value < least || *value > most) {
        argp_error(state, "%s: expected a whole number from %" PRIu64 " to %" PRIu64 ", got \"%s\"",
                   option, least, most, text);
        return OPTION_REFUSED;
    }
    return 0;
}

/* The same with `most` below 2^32. */
static error_t number_short(const char *text, const char *option, uint32_t least, uint32_t most,
                            struct argp_state *state, uint32_t *value) {
    uint64_t wide = 0;
    error_t error = number(text, option, least, most, state, &wide);
    *value = (uint32_t)wide;
    return error;
}

static error_t timeout(const char *text, struct argp_state *state, uint32_t *timeout_ms) {
    uint64_t value = 0;
    if (!text_duration_ms(bytes_of_text(text), false, &value) || value < 1 ||
        value > TIMEOUT_MS_MAX) {
        argp_error(state, "--timeout: expected a duration from 1ms to 1h, as in 5s, got \"%s\"",
                   text);
        return OPTION_REFUSED;
    }
    *timeout_ms = (uint32_t)value;
    return 0;
}

static error_t slots(const char *text, struct argp_state *state, uint32_t *count) {
    error_t error = number_short(text, "--slots", 1, SLOTS_MAX, state, count);
    if (error == 0 && !slot_count_valid(*count)) {
        argp_error(state, "--slots: expected a power of two, got \"%s\"", text);
        error = OPTION_REFUSED;
    }
    return error;
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
        return timeout(argument, state, &settings->timeout_ms);
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
        return number(argument, "--rate", 1, TOKENS_MAX, state, &options->rate_tokens);
    case OPTION_PERIOD:
        return number(argument, "--period-ms", 1, PERIOD_NS_MAX / UINT64_C(1000000), state,
                      &options->period_ms);
    case OPTION_BURST:
        return number(argument, "--burst", 1, TOKENS_MAX, state, &options->burst_tokens);
    case OPTION_DEADLINE:
        return number_short(argument, "--deadline-ms", 1, DEADLINE_MS_MAX, state,
                            &options->deadline_ms);
    case OPTION_SLOTS:
        return slots(argument, state, &options->slot_count);
    case OPTION_BASE:
        options->has_base = true;
        return number(argument, "--base", 0, INT64_MAX, state, &options->base);
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
            return OPTION_REFUSED;
        }
        return 0;
    case OPTION_THROTTLE:
        return number_short(argument, "--throttle", 1, SLOTS_MAX, state, &options->throttle_slots);
    case OPTION_BATCH:
        return number_short(argument, "--batch", 1, BATCH_SLOTS_MAX, state, &options->batch_slots);
    case OPTION_WEIGHT:
        options->has_weight = true;
        return number_short(argument, "--weight", 1, WEIGHT_MAX, state, &options->weight);
    case OPTION_COUNT:
        return number_short(argument, "--count", 1, EVENTS_MAX, state, &options->event_count);
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static error_t secret_refuse(const char *option, const char *instead, struct argp_state *state) {
    argp_error(state,
               "%s: a secret is never an option, where every user of the machine can read it: %s",
               option, instead);
    return OPTION_REFUSED;
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
    case OPTION_REDIS_PASSWORD:
        return secret_refuse("--redis-password",
                             "set SLUICE_REDIS_PASSWORD, or name a file with --redis-password-file",
                             state);
    case OPTION_REDIS_SENTINEL_PASSWORD:
        return secret_refuse("--redis-sentinel-password", "set SLUICE_REDIS_SENTINEL_PASSWORD",
                             state);
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
            return OPTION_REFUSED;
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
