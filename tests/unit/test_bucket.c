/* The bucket's arithmetic at its edges; tests/model walks the rest at random. */
#include "proto/bucket.h"
#include "tests/unit/cmocka_all.h"

#define MS UINT64_C(1000000)
#define SECOND UINT64_C(1000000000)
#define DAY (UINT64_C(86400) * SECOND)
#define NOW (UINT64_C(1700000000) * SECOND)

static struct terms one(uint64_t rate, uint64_t period_ns, uint64_t burst) {
    return (struct terms){.limit_count = 1, .limits = {{rate, period_ns, burst}}};
}

static struct take_result take(const struct terms *terms, struct tat tats[], uint64_t cost,
                               uint64_t now_ns) {
    struct take_result result;
    bucket_decide(terms, tats, VERB_TAKE, cost, now_ns, &result);
    assert_int_equal(result.code, CODE_OK);
    return result;
}

static void test_spends_the_burst_then_the_rate(void **state) {
    struct terms terms = one(10, SECOND, 20);
    struct tat tat[1] = {0};
    for (uint64_t i = 0; i < 20; i++) {
        struct take_result result = take(&terms, tat, 1, NOW);
        assert_true(result.allowed);
        assert_int_equal(result.remaining_tokens, 19 - i);
        assert_int_equal(result.limit_tokens, 20);
        assert_int_equal(result.reset_after_us, (i + 1) * 100000);
    }
    struct take_result result = take(&terms, tat, 1, NOW);
    assert_false(result.allowed);
    assert_int_equal(result.retry_after_us, 100000);
    assert_int_equal(result.remaining_tokens, 0);
    assert_false(take(&terms, tat, 1, NOW + 100 * MS - 1).allowed);
    assert_true(take(&terms, tat, 1, NOW + 100 * MS).allowed);
}

/* Rates whose tokens take no whole number of ns: whole ns would lose one, or give one too early. */
static void test_is_exact_when_rates_do_not_divide(void **state) {
    struct terms third = one(3, SECOND, 1);
    struct tat tat[1] = {0};
    assert_true(take(&third, tat, 1, NOW).allowed);
    struct take_result result = take(&third, tat, 1, NOW);
    assert_false(result.allowed);
    assert_int_equal(result.retry_after_us, 333334);
    assert_false(take(&third, tat, 1, NOW + 333333333).allowed);
    assert_true(take(&third, tat, 1, NOW + 333333334).allowed);

    /* What rounding the tolerance up would have let through: 6 tokens in 1/3 s less 1/3 ns. */
    struct terms five = one(3, SECOND, 5);
    tat[0] = (struct tat){0};
    assert_true(take(&five, tat, 3, NOW).allowed);
    assert_false(take(&five, tat, 3, NOW + 333333333).allowed);
    assert_true(take(&five, tat, 3, NOW + 333333334).allowed);

    /* What rounding each increment up would have refused: the burst, one by one. */
    const struct limit limits[] = {{3, SECOND, 3}, {30, SECOND, 30}, {7, SECOND, 700}, {7, DAY, 7}};
    for (uint32_t i = 0; i < 4; i++) {
        struct terms terms = {.limit_count = 1, .limits = {limits[i]}};
        tat[0] = (struct tat){0};
        for (uint64_t spent = 1; spent <= limits[i].burst_tokens; spent++) {
            result = take(&terms, tat, 1, NOW);
            assert_true(result.allowed);
            assert_int_equal(result.remaining_tokens, limits[i].burst_tokens - spent);
        }
        assert_false(take(&terms, tat, 1, NOW).allowed);
    }
}

static void test_cost_zero_is_a_look(void **state) {
    struct terms terms = one(3, SECOND, 1);
    struct tat tat[1] = {0};
    assert_true(take(&terms, tat, 0, NOW).allowed);
    assert_int_equal(tat[0].ns, 0);
    assert_true(take(&terms, tat, 1, NOW).allowed);
    struct tat before = tat[0];
    struct take_result result = take(&terms, tat, 0, NOW); /* empty, but not in debt */
    assert_true(result.allowed);
    assert_int_equal(result.remaining_tokens, 0);
    assert_memory_equal(&tat[0], &before, sizeof before);
    tat[0] = (struct tat){.ns = NOW + 2 * SECOND}; /* in debt */
    result = take(&terms, tat, 0, NOW);
    assert_false(result.allowed);
    assert_int_equal(result.retry_after_us, 1666667);
}

static void test_above_the_burst_is_never(void **state) {
    struct terms terms = one(10, SECOND, 20);
    struct tat tat[1] = {0};
    struct take_result result = take(&terms, tat, 21, NOW);
    assert_false(result.allowed);
    assert_int_equal(result.retry_after_us, RETRY_NEVER);
    assert_int_equal(result.remaining_tokens, 20);
    assert_int_equal(tat[0].ns, 0);
    assert_int_equal(take(&terms, tat, UINT64_MAX, NOW).retry_after_us, RETRY_NEVER);
    assert_true(take(&terms, tat, 20, NOW).allowed);
}

static void test_peek_and_refund(void **state) {
    struct terms terms = one(10, SECOND, 20);
    struct tat tat[1] = {0};
    struct take_result result;
    take(&terms, tat, 15, NOW);
    bucket_decide(&terms, tat, VERB_PEEK, 5, NOW, &result);
    assert_true(result.allowed);
    assert_int_equal(result.remaining_tokens, 5);
    bucket_decide(&terms, tat, VERB_PEEK, 6, NOW, &result);
    assert_false(result.allowed);
    assert_int_equal(result.retry_after_us, 100000);
    assert_int_equal(tat[0].ns, NOW + 1500 * MS);
    bucket_decide(&terms, tat, VERB_REFUND, 10, NOW, &result);
    assert_true(result.allowed);
    assert_int_equal(result.remaining_tokens, 15);
    assert_int_equal(tat[0].ns, NOW + 500 * MS);
    bucket_decide(&terms, tat, VERB_REFUND, UINT64_MAX, NOW, &result);
    assert_true(result.allowed);
    assert_int_equal(result.remaining_tokens, 20);
    assert_true(bucket_full(&terms, tat, NOW));
}

static void test_all_limits_or_none_and_the_tightest_speaks(void **state) {
    struct terms terms = {.limit_count = 2, .limits = {{10, SECOND, 20}, {100, DAY, 30}}};
    struct tat tat[2] = {0};
    struct take_result result = take(&terms, tat, 15, NOW);
    assert_true(result.allowed);
    assert_int_equal(result.remaining_tokens, 5);
    assert_int_equal(result.limit_tokens, 20);
    uint64_t later = NOW + 10 * SECOND;
    result = take(&terms, tat, 14, later);
    assert_true(result.allowed);
    assert_int_equal(result.remaining_tokens, 1);
    assert_int_equal(result.limit_tokens, 30);
    struct tat before[2] = {tat[0], tat[1]};
    result = take(&terms, tat, 6, later); /* the first has 6, the second 1 */
    assert_false(result.allowed);
    assert_int_equal(result.limit_tokens, 30);
    assert_int_equal(result.remaining_tokens, 1);
    assert_memory_equal(tat, before, sizeof tat);
    result = take(&terms, tat, 25, later); /* never for the first, long for the second */
    assert_int_equal(result.retry_after_us, RETRY_NEVER);
    assert_int_equal(result.limit_tokens, 20);
}

static void test_retry_after_is_when_it_is_granted(void **state) {
    struct terms terms = one(7, SECOND, 9);
    struct tat tat[1] = {0};
    take(&terms, tat, 9, NOW);
    for (uint64_t cost = 1; cost <= 9; cost++) {
        struct take_result result = take(&terms, tat, cost, NOW);
        assert_false(result.allowed);
        struct tat copy[1] = {tat[0]};
        uint64_t at = NOW + (uint64_t)result.retry_after_us * 1000;
        assert_false(take(&terms, copy, cost, at - 1000).allowed);
        assert_true(take(&terms, copy, cost, at).allowed);
    }
}

static void test_largest_limits_do_not_overflow(void **state) {
    struct fault fault;
    const struct limit limits[] = {
        {TOKENS_MAX, PERIOD_NS_MAX, TOKENS_MAX},
        {TOKENS_MAX, MS, TOKENS_MAX},
        {1, PERIOD_NS_MAX, TOLERANCE_NS_MAX / PERIOD_NS_MAX},
        {1, MS, TOLERANCE_NS_MAX / MS},
        {TOKENS_MAX, MS, 1},
        {1, MS, 1},
    };
    for (uint32_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        assert_int_equal(limit_check(&limits[i], "limit", &fault), CODE_OK);
        struct terms terms = {.limit_count = 1, .limits = {limits[i]}};
        struct tat tat[1] = {0};
        struct take_result result = take(&terms, tat, limits[i].burst_tokens, NOW);
        assert_true(result.allowed);
        assert_int_equal(result.remaining_tokens, 0);
        assert_true(bucket_reset_ns(tat[0], NOW) > 0);
        assert_int_equal(bucket_level(&limits[i], tat[0], NOW), 0);
        assert_int_equal(bucket_level(&limits[i], tat[0], tat[0].ns + 1), limits[i].burst_tokens);
        result = take(&terms, tat, 1, NOW);
        assert_false(result.allowed);
        assert_true(result.retry_after_us > 0);
        assert_true(take(&terms, tat, limits[i].burst_tokens, tat[0].ns + 1).allowed);
        struct take_result refund;
        bucket_decide(&terms, tat, VERB_REFUND, TOKENS_MAX, NOW, &refund);
        assert_true(refund.allowed);
    }
}

static void test_convert_keeps_the_tokens_spent(void **state) {
    struct terms from = one(10, SECOND, 20), to = one(100, 60 * SECOND, 100);
    struct tat tat[2] = {0};
    take(&from, tat, 12, NOW);
    bucket_convert(&from, &to, tat, NOW);
    assert_int_equal(bucket_level(&to.limits[0], tat[0], NOW), 88);
    bucket_convert(&to, &from, tat, NOW);
    assert_int_equal(bucket_level(&from.limits[0], tat[0], NOW), 8);

    /* Lowered below what was spent: in debt, until it has been refilled. */
    struct terms low = one(1, SECOND, 5);
    bucket_convert(&from, &low, tat, NOW);
    assert_int_equal(bucket_level(&low.limits[0], tat[0], NOW), 0);
    assert_false(take(&low, tat, 1, NOW + 7 * SECOND).allowed);
    assert_true(take(&low, tat, 1, NOW + 8 * SECOND).allowed);

    /* A limit that was not there before starts full; a full one stays full. */
    struct terms two = {.limit_count = 2, .limits = {{1, SECOND, 5}, {3, DAY, 7}}};
    bucket_convert(&low, &two, tat, NOW + 100 * SECOND);
    assert_int_equal(bucket_level(&two.limits[0], tat[0], NOW + 100 * SECOND), 5);
    assert_int_equal(bucket_level(&two.limits[1], tat[1], NOW + 100 * SECOND), 7);
}

static void test_convert_is_bounded(void **state) {
    struct terms fast = one(TOKENS_MAX, MS, TOKENS_MAX), slow = one(1, PERIOD_NS_MAX, 1);
    struct tat tat[1] = {0};
    take(&fast, tat, TOKENS_MAX, NOW);
    bucket_convert(&fast, &slow, tat, NOW);
    assert_int_equal(tat[0].ns, NOW + TOLERANCE_NS_MAX);
    bucket_convert(&slow, &fast, tat, NOW);
    assert_true(tat[0].ns <= NOW + TOLERANCE_NS_MAX);
    tat[0] = (struct tat){.ns = UINT64_MAX}; /* from a record that nobody of us wrote */
    bucket_convert(&fast, &slow, tat, NOW);
    assert_true(tat[0].ns <= NOW + TOLERANCE_NS_MAX);
    tat[0] = (struct tat){.ns = UINT64_MAX};
    assert_false(take(&slow, tat, 1, NOW).allowed);
}

static void test_idle_tokens_are_rounded_up_and_bounded(void **state) {
    const struct limit third = {3, SECOND, 10}, fast = {TOKENS_MAX, MS, TOKENS_MAX};
    const struct tat now = {.ns = NOW}, never = {0};
    assert_int_equal(bucket_idle_tokens(&third, now, NOW), 0);
    assert_int_equal(bucket_idle_tokens(&third, now, NOW - 1), 0);
    assert_int_equal(bucket_idle_tokens(&third, now, NOW + 1), 1);
    assert_int_equal(bucket_idle_tokens(&third, now, NOW + SECOND), 3);
    assert_int_equal(bucket_idle_tokens(&third, now, NOW + SECOND + 1), 4);
    /* The product does not fit 64 bits: first the quotient does, then that does not either. */
    assert_int_equal(bucket_idle_tokens(&fast, now, NOW + 10 * SECOND), 10000 * TOKENS_MAX);
    assert_int_equal(bucket_idle_tokens(&fast, now, NOW + 10 * SECOND + 1),
                     10000 * TOKENS_MAX + TOKENS_MAX / MS + 1);
    assert_int_equal(bucket_idle_tokens(&fast, never, UINT64_MAX), UINT64_MAX);
}

/* Up to a multiple of a power of two, and a part of a nanosecond is more than none. */
static void test_rounding_up(void **state) {
    static const struct {
        struct tat tat;
        uint64_t rounded_ns;
    } cases[] = {{{0, 0}, 0},   {{0, 1}, 64},   {{1, 0}, 64},    {{63, 2}, 64},
                 {{64, 0}, 64}, {{64, 1}, 128}, {{100, 0}, 128}, {{128, 0}, 128}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct tat rounded = bucket_rounded(cases[i].tat, 64);
        assert_int_equal(rounded.ns, cases[i].rounded_ns);
        assert_int_equal(rounded.part, 0);
    }
    assert_int_equal(bucket_rounded((struct tat){7, 1}, 1).ns, 8);
}

/* A power of two, at most the part of the burst, and two tokens at least. */
static void test_the_grid_of_a_limit(void **state) {
    static const struct {
        struct limit limit;
        uint64_t grid_ns;
    } cases[] = {
        {{1, 1 << 20, 32}, 0}, /* one token */
        {{1, 1 << 20, 63}, 0},        {{1, 1 << 20, 64}, 2 << 20},
        {{1, 1 << 20, 127}, 2 << 20}, {{1, 1 << 20, 128}, 4 << 20},
        {{3, 1 << 20, 64}, 0}, /* 2^19 ns, and two tokens are 699,051 */
        {{3, 1 << 20, 96}, 1 << 20},  {{1, 1, 1}, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(bucket_grid_ns(&cases[i].limit, 32), cases[i].grid_ns);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spends_the_burst_then_the_rate),
        cmocka_unit_test(test_is_exact_when_rates_do_not_divide),
        cmocka_unit_test(test_cost_zero_is_a_look),
        cmocka_unit_test(test_above_the_burst_is_never),
        cmocka_unit_test(test_peek_and_refund),
        cmocka_unit_test(test_all_limits_or_none_and_the_tightest_speaks),
        cmocka_unit_test(test_retry_after_is_when_it_is_granted),
        cmocka_unit_test(test_largest_limits_do_not_overflow),
        cmocka_unit_test(test_convert_keeps_the_tokens_spent),
        cmocka_unit_test(test_convert_is_bounded),
        cmocka_unit_test(test_idle_tokens_are_rounded_up_and_bounded),
        cmocka_unit_test(test_rounding_up),
        cmocka_unit_test(test_the_grid_of_a_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
