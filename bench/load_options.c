#include "bench/load_options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/target.h"

#define NS_PER_S UINT64_C(1000000000)

static bool number_parse(const char *text, double least, double most, double *value) {
    char *end;
    *value = strtod(text, &end);
    return end != text && *end == '\0' && *value >= least && *value <= most;
}

static bool zipf_check(const char *text, char *why, size_t why_size) {
    double value;
    snprintf(why, why_size, "expected a number from 0.01 to 10, for example 1.1");
    return number_parse(text, 0.01, 10, &value);
}

static bool factor_check(const char *text, char *why, size_t why_size) {
    double value;
    snprintf(why, why_size, "expected a number from 1 to 1000, for example 2");
    return number_parse(text, 1, 1000, &value);
}

static bool prefix_check(const char *text, char *why, size_t why_size) {
    snprintf(why, why_size, "expected at most %d bytes", KEY_PREFIX_BYTES_MAX);
    return strlen(text) <= KEY_PREFIX_BYTES_MAX;
}

#define FIELD(field) .offset = offsetof(struct load_options, field)

static const struct option options[] = {
    {.name = "protocol",
     .kind = OPTION_CHOICE,
     FIELD(protocol),
     .initial = "sluice",
     .choices = TARGET_NAMES,
     .help =
         "What is asked, and how: a router or one shard (sluice), every shard by the map (map), "
         "the shard's core in this process (core), `sluice-bench echo` (echo), or a peer."},
    {.name = "target",
     .kind = OPTION_TEXT,
     FIELD(target),
     .initial = "tcp://127.0.0.1:7400",
     .metavar = "URL",
     .help = "Where it listens: tcp://host:port, redis://host:port, http://number:port."},
    {.name = "replica",
     .kind = OPTION_TEXT,
     FIELD(replica),
     .metavar = "URL",
     .help = "kv, hybrid: the replica that is read from; --target is its primary."},
    {.name = "second",
     .kind = OPTION_TEXT,
     FIELD(second),
     .metavar = "URL",
     .help = "hybrid: the Redis behind the key-value store."},
    {.name = "http_path",
     .kind = OPTION_TEXT,
     FIELD(http_path),
     .initial = "/take?key={key}",
     .metavar = "PATH",
     .help = "http: what is fetched; {key} becomes the key."},
    {.name = "connections",
     .kind = OPTION_COUNT,
     FIELD(connections),
     .initial = "64",
     .min = 1,
     .max = LANES_MAX,
     .help = "Connections; with `map` as many to each shard."},
    {.name = "outstanding",
     .kind = OPTION_COUNT,
     FIELD(outstanding),
     .initial = "1",
     .min = 1,
     .max = OUTSTANDING_MAX,
     .help = "Requests under way on one connection, at most."},
    {.name = "batch",
     .kind = OPTION_COUNT,
     FIELD(batch),
     .initial = "1",
     .min = 1,
     .max = TAKES_PER_REQUEST_MAX,
     .help = "Takes of a request: above 1 they travel as take_many."},
    {.name = "rate",
     .kind = OPTION_COUNT,
     FIELD(rate),
     .initial = "0",
     .max = 100000000,
     .help =
         "Open loop: takes a second, due whatever was answered, with latency from when each was "
         "due. 0: closed loop, as fast as answers come."},
    {.name = "arrivals",
     .kind = OPTION_CHOICE,
     FIELD(arrivals),
     .initial = "poisson",
     .choices = "poisson|even",
     .help = "Open loop: random gaps between requests, as of many independent callers, or equal."},
    {.name = "burst_factor",
     .kind = OPTION_TEXT,
     FIELD(burst_factor),
     .initial = "1",
     .metavar = "NUMBER",
     .help = "Open loop: the rate's multiple within a burst.",
     .check = factor_check},
    {.name = "burst_every",
     .kind = OPTION_DURATION,
     FIELD(burst_every),
     .initial = "10s",
     .min = 1000000,
     .max = 3600 * NS_PER_S,
     .help = "From the begin of one burst to the next."},
    {.name = "burst_length",
     .kind = OPTION_DURATION,
     FIELD(burst_length),
     .initial = "2s",
     .min = 1000000,
     .max = 3600 * NS_PER_S,
     .help = "Of one burst; below --burst-every."},
    {.name = "duration",
     .kind = OPTION_DURATION,
     FIELD(duration),
     .initial = "10s",
     .min = 1000000,
     .max = 86400 * NS_PER_S,
     .help = "For how long requests are made, after the warm-up."},
    {.name = "warmup",
     .kind = OPTION_DURATION,
     FIELD(warmup),
     .initial = "1s",
     .max = 3600 * NS_PER_S,
     .help = "Requests before that count for nothing but the record."},
    {.name = "timeout",
     .kind = OPTION_DURATION,
     FIELD(timeout),
     .initial = "2s",
     .min = 1000000,
     .max = 120 * NS_PER_S,
     .help = "When a request without an answer is given up as TIMEOUT."},
    {.name = "keys",
     .kind = OPTION_COUNT,
     FIELD(keys),
     .initial = "100000",
     .min = 1,
     .max = KEYS_MAX,
     .help = "Different keys."},
    {.name = "keys_spread",
     .kind = OPTION_CHOICE,
     FIELD(keys_spread),
     .initial = "uniform",
     .choices = "uniform|zipf|hot",
     .help = "Which key is asked about: any alike, by Zipf's law, or mostly the hot ones."},
    {.name = "zipf",
     .kind = OPTION_TEXT,
     FIELD(zipf),
     .initial = "1.1",
     .metavar = "NUMBER",
     .help = "The exponent of Zipf's law.",
     .check = zipf_check},
    {.name = "hot_keys",
     .kind = OPTION_COUNT,
     FIELD(hot_keys),
     .initial = "1",
     .min = 1,
     .max = KEYS_MAX,
     .help = "How many keys are hot."},
    {.name = "hot_percent",
     .kind = OPTION_COUNT,
     FIELD(hot_percent),
     .initial = "90",
     .max = 100,
     .help = "The share of takes that goes to them."},
    {.name = "key_prefix",
     .kind = OPTION_TEXT,
     FIELD(key_prefix),
     .initial = "bench:",
     .metavar = "TEXT",
     .help = "Keys are this and ten digits.",
     .check = prefix_check},
    {.name = "cost",
     .kind = OPTION_COUNT,
     FIELD(cost),
     .initial = "1",
     .max = TOKENS_MAX,
     .help = "Tokens of a take."},
    {.name = "plan",
     .kind = OPTION_TEXT,
     FIELD(plan),
     .metavar = "NAME",
     .help = "Takes are under this plan; unless given, under the limit below, inline."},
    {.name = "limit_rate",
     .kind = OPTION_COUNT,
     FIELD(limit_rate),
     .initial = "1000",
     .min = 1,
     .max = TOKENS_MAX,
     .help = "Tokens a period."},
    {.name = "limit_period",
     .kind = OPTION_DURATION,
     FIELD(limit_period),
     .initial = "1s",
     .min = 1000000,
     .max = PERIOD_NS_MAX,
     .help = "The period."},
    {.name = "limit_burst",
     .kind = OPTION_COUNT,
     FIELD(limit_burst),
     .initial = "1000",
     .min = 1,
     .max = TOKENS_MAX,
     .help = "Tokens that a bucket holds."},
    {.name = "seed",
     .kind = OPTION_COUNT,
     FIELD(seed),
     .initial = "1",
     .help = "Of the choice of keys and of arrivals: the same seed asks the same."},
    {.name = "record",
     .kind = OPTION_TEXT,
     FIELD(record),
     .metavar = "FILE",
     .help = "Write every grant here, warm-up included, for `sluice-bench check`."},
    {.name = "json",
     .kind = OPTION_SWITCH,
     FIELD(json),
     .initial = "false",
     .help = "Print one JSON document; times in it are microseconds."},
    {.name = "progress",
     .kind = OPTION_SWITCH,
     FIELD(progress),
     .initial = "true",
     .help = "A line a second on standard error, if that is a terminal."},
};

const struct options_program load_options_program = {
    .name = "sluice-bench load",
    .summary = "Asks for tokens, and tells how fast and how the answers came.",
    .examples =
        "  sluice-bench load --outstanding 32                      as fast as a router answers\n"
        "  sluice-bench load --protocol map --target tcp://127.0.0.1:7590 --batch 100\n"
        "  sluice-bench load --rate 10000 --burst-factor 2 --duration 5m --record grants\n"
        "  sluice-bench load --keys 1000000 --keys-spread zipf --zipf 1.2 --json\n"
        "  sluice-bench load --protocol redis --target redis://127.0.0.1:6379\n",
    .options = options,
    .option_count = sizeof options / sizeof options[0],
};

void load_options_set(const struct load_options *given, struct load_settings *load) {
    double exponent = 1, factor = 1;
    number_parse(given->zipf, 0.01, 10, &exponent);
    number_parse(given->burst_factor, 1, 1000, &factor);
    enum key_spread spread = strcmp(given->keys_spread, "zipf") == 0  ? KEY_SPREAD_ZIPF
                             : strcmp(given->keys_spread, "hot") == 0 ? KEY_SPREAD_HOT
                                                                      : KEY_SPREAD_UNIFORM;
    *load = (struct load_settings){
        .target = target_of_name(given->protocol),
        .url = given->target,
        .replica_url = given->replica,
        .second_url = given->second,
        .http_path = given->http_path,
        .lanes = (uint32_t)given->connections,
        .outstanding = (uint32_t)given->outstanding,
        .batch = (uint32_t)given->batch,
        .key_prefix = given->key_prefix,
        .keys = {.spread = spread,
                 .key_count = given->keys,
                 .exponent = exponent,
                 .hot_count = given->hot_keys,
                 .hot_share = (double)given->hot_percent / 100},
        .cost_tokens = given->cost,
        .limit = {given->limit_rate, given->limit_period, given->limit_burst},
        .plan = given->plan,
        .rate = (double)given->rate,
        .even = strcmp(given->arrivals, "even") == 0,
        .burst_factor = factor,
        .burst_every_ns = given->burst_every,
        .burst_length_ns = given->burst_length,
        .warmup_ns = given->warmup,
        .duration_ns = given->duration,
        .timeout_ns = given->timeout,
        .seed = given->seed,
        .progress = given->progress && isatty(STDERR_FILENO),
    };
}

bool load_options_fit(const struct load_options *given, const struct load_settings *load, char *why,
                      size_t why_size) {
    struct fault fault;
    const char *wrong = NULL;
    if (limit_check(&load->limit, "the limit", &fault) != CODE_OK) {
        wrong = fault.text;
    } else if (given->connections * given->outstanding > SHOTS_MAX) {
        wrong = "--connections times --outstanding is more than 262144";
    } else if (given->connections * given->outstanding * given->batch > 64 * SHOTS_MAX) {
        wrong = "--connections times --outstanding times --batch is more than 16777216";
    } else if (given->burst_length >= given->burst_every) {
        wrong = "--burst-length must be below --burst-every";
    } else if (given->record != NULL && given->keys > UINT32_MAX) {
        wrong = "--record counts keys with 32 bits: fewer --keys";
    }
    if (wrong != NULL) {
        snprintf(why, why_size, "%s", wrong);
    }
    return wrong == NULL;
}
