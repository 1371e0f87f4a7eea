/*
 * The options of sluice-bench's commands, with what they check besides: their own tables, from
 * words and the environment (options_line.h). The first byte picks the command. What is taken is
 * within the bounds that its code relies on.
 */
#include "bench/check_options.h"
#include "bench/compare.h"
#include "bench/compare_options.h"
#include "bench/echo_options.h"
#include "bench/load_options.h"
#include "tests/fuzz/options_line.h"

static char why[LOAD_WHY_BYTES];

static bool between(uint64_t value, uint64_t least, uint64_t most) {
    return value >= least && value <= most;
}

static void load_check(const void *of) {
    const struct load_options *given = of;
    char text[KEY_TEXT_BYTES_MAX];
    struct load_settings load;
    struct fault fault;
    why[0] = '\0';
    load_options_set(given, &load);
    FUZZ_CHECK(load.target != NULL && load.url != NULL && load.http_path != NULL);
    FUZZ_CHECK(load.keys.exponent >= 0.01 && load.keys.exponent <= 10);
    FUZZ_CHECK(load.burst_factor >= 1 && load.burst_factor <= 1000);
    FUZZ_CHECK(load.keys.hot_share >= 0 && load.keys.hot_share <= 1);
    FUZZ_CHECK(between(load.timeout_ns, 1000000, UINT64_C(120000000000)) && load.rate <= 1e8);
    if (!load_options_fit(given, &load, why, sizeof why)) {
        FUZZ_CHECK(why[0] != '\0');
        return;
    }
    FUZZ_CHECK(between((uint64_t)load.lanes * load.outstanding, 1, SHOTS_MAX));
    FUZZ_CHECK(between(load.lanes, 1, LANES_MAX) && between(load.outstanding, 1, OUTSTANDING_MAX));
    FUZZ_CHECK(between(load.batch, 1, TAKES_PER_REQUEST_MAX));
    FUZZ_CHECK((uint64_t)load.lanes * load.outstanding * load.batch <= 64 * SHOTS_MAX);
    FUZZ_CHECK(load.burst_length_ns < load.burst_every_ns && load.cost_tokens <= TOKENS_MAX);
    FUZZ_CHECK(limit_check(&load.limit, "", &fault) == CODE_OK);
    key_choice_start(&load.keys, load.seed);
    for (int i = 0; i < 4; i++) {
        uint64_t key = key_choice_next(&load.keys);
        FUZZ_CHECK(key < load.keys.key_count);
        FUZZ_CHECK(key_text(bytes_of_text(load.key_prefix), key, text).size <= sizeof text);
    }
}

static void check_check(const void *of) {
    const struct check_options *given = of;
    const char *option = NULL;
    struct limit limit;
    struct fault fault;
    FUZZ_CHECK(given->clock_error <= UINT64_C(3600000000000));
    if (!check_options_limit(given, &limit, &option, &fault)) {
        FUZZ_CHECK(option != NULL && fault.text[0] != '\0');
        FUZZ_CHECK((given->records == NULL) == (strcmp(option, "--records") == 0));
        return;
    }
    FUZZ_CHECK(given->records != NULL && limit.rate_tokens == given->limit_rate);
    FUZZ_CHECK(limit.rate_tokens == 0 || limit_check(&limit, "", &fault) == CODE_OK);
}

static void compare_check(const void *of) {
    const struct compare_options *given = of;
    uint32_t wanted = 0, all = 0;
    for (; ways[all].name != NULL; all++) {
        bool want = compare_options_want(given, ways[all].name);
        FUZZ_CHECK(!want || given->ways == NULL || strstr(given->ways, ways[all].name) != NULL);
        wanted += want;
    }
    FUZZ_CHECK(all <= WAYS_MAX && (given->ways == NULL ? wanted == all : wanted > 0));
    FUZZ_CHECK(between(given->seconds, 1, 3600) && between(given->rate, 100, 1000000));
}

static void echo_check(const void *of) {
    struct tcp_address address;
    struct sockaddr_storage number;
    why[0] = '\0';
    if (!echo_options_address(of, &address, &number, why, sizeof why)) {
        FUZZ_CHECK(why[0] != '\0');
    } else {
        FUZZ_CHECK(tcp_port_of((struct sockaddr *)&number) == address.port);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const struct options_subject subjects[] = {
        {.program = &load_options_program,
         .settings_size = sizeof(struct load_options),
         .check = load_check},
        {.program = &check_options_program,
         .settings_size = sizeof(struct check_options),
         .check = check_check},
        {.program = &compare_options_program,
         .settings_size = sizeof(struct compare_options),
         .check = compare_check},
        {.program = &echo_options_program,
         .settings_size = sizeof(struct echo_options),
         .check = echo_check},
    };
    struct fuzz fuzz = fuzz_of(data, size);
    options_line_try(&subjects[fuzz_below(&fuzz, 4)], &fuzz);
    return 0;
}
