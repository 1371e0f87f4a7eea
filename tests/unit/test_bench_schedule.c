#include "tests/unit/cmocka_all.h"

#include <math.h>

#include "bench/schedule.h"

#define S UINT64_C(1000000000)

static struct schedule bursty(bool even) {
    return (struct schedule){.per_ns = 1e4 / 1e9,
                             .even = even,
                             .factor = 2,
                             .every_ns = 10 * S,
                             .length_ns = 2 * S,
                             .random = 5};
}

static void even_gaps_are_even(void **state) {
    struct schedule schedule = {
        .per_ns = 1e3 / 1e9, .even = true, .factor = 1, .every_ns = S, .length_ns = 1};
    for (uint64_t i = 1; i <= 5000; i++) {
        uint64_t due = schedule_next(&schedule);
        assert_true(due + 2 > i * 1000000 && due < i * 1000000 + 2);
    }
}

/* 10,000 a second, twice that in the first two of each ten seconds. */
static void bursts_are_where_they_should_be(void **state) {
    for (int even = 0; even <= 1; even++) {
        struct schedule schedule = bursty(even);
        uint32_t by_second[30] = {0};
        uint64_t before = 0;
        for (uint64_t due; (due = schedule_next(&schedule)) < 30 * S; before = due) {
            assert_true(due >= before);
            by_second[due / S]++;
        }
        for (int second = 0; second < 30; second++) {
            double expected = second % 10 < 2 ? 20000 : 10000;
            double off = fabs(by_second[second] - expected);
            assert_true(off <= (even ? 2 : 6 * sqrt(expected)));
        }
    }
}

/* The gaps of a Poisson process: as spread out as they are long. */
static void random_gaps_are_exponential(void **state) {
    struct schedule schedule = bursty(false);
    schedule.factor = 1;
    double sum = 0, squares = 0, before = 0;
    enum { COUNT = 200000 };
    for (int i = 0; i < COUNT; i++) {
        double due = (double)schedule_next(&schedule), gap = due - before;
        before = due;
        sum += gap;
        squares += gap * gap;
    }
    double mean = sum / COUNT, deviation = sqrt(squares / COUNT - mean * mean);
    assert_true(fabs(mean - 1e5) < 1e3);
    assert_true(fabs(deviation - 1e5) < 2e3);
}

static void what_is_expected_is_what_comes(void **state) {
    static const uint64_t ends[] = {S, 2 * S, 3 * S, 10 * S, 11 * S, 25 * S};
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        struct schedule schedule = bursty(true);
        uint64_t count = 0;
        while (schedule_next(&schedule) < ends[i]) {
            count++;
        }
        assert_true(fabs(schedule_expected(&schedule, ends[i]) - (double)count) <= 2);
    }
    struct schedule schedule = bursty(true);
    assert_true(fabs(schedule_expected(&schedule, 10 * S) - 120000) < 1e-3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(even_gaps_are_even),
        cmocka_unit_test(bursts_are_where_they_should_be),
        cmocka_unit_test(random_gaps_are_exponential),
        cmocka_unit_test(what_is_expected_is_what_comes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
