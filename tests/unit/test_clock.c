#include "tests/unit/cmocka_all.h"

#include <stdlib.h>

#include "runtime/clock.h"

#define MS UINT64_C(1000000)
#define S UINT64_C(1000000000)
#define EPOCH (UINT64_C(1700000000) * S) /* the store's time when monotonic time is zero */

/* A sample taken at `at_ns` over a trip of `trip_ns`, of a store whose clock is ahead by
 * `ahead_ns`; the way there takes `share` percent of the trip. */
static bool sample(struct cluster_clock *clock, uint64_t at_ns, uint64_t trip_ns, int64_t ahead_ns,
                   uint64_t share) {
    const struct clock_sample sample = {
        .before_ns = at_ns,
        .after_ns = at_ns + trip_ns,
        .store_ns = EPOCH + at_ns + trip_ns * share / 100 + (uint64_t)ahead_ns,
    };
    return clock_sample_add(clock, &sample);
}

static void monotonic_time_does_not_run_backward(void **state) {
    uint64_t before = clock_monotonic_ns();
    for (int i = 0; i < 1000; i++) {
        uint64_t now = clock_monotonic_ns();
        assert_true(now >= before);
        before = now;
    }
}

static void the_first_sample_sets_the_clock(void **state) {
    struct cluster_clock clock;
    clock_init(&clock);
    assert_false(clock.set);
    assert_true(sample(&clock, 10 * S, 2 * MS, 0, 50));
    assert_true(clock_now_ns(&clock, 11 * S) == EPOCH + 11 * S);
    assert_true(clock_error_ns(&clock, 10 * S) == MS + CLOCK_STORE_UNIT_NS);
}

/* A node measures before it reads, and its first question may have been a slow one. */
static void until_it_is_read_the_best_sample_sets_it(void **state) {
    struct cluster_clock clock;
    clock_init(&clock);
    sample(&clock, 10 * S, 200 * MS, 0, 0);
    sample(&clock, 11 * S, 2 * MS, 0, 50);
    sample(&clock, 12 * S, 20 * MS, 0, 0);
    assert_true(clock_now_ns(&clock, 13 * S) == EPOCH + 13 * S);
    assert_true(clock_error_ns(&clock, 11 * S) == MS + CLOCK_STORE_UNIT_NS);
}

static void a_reading_is_off_by_half_a_trip_at_most(void **state) {
    for (uint64_t share = 0; share <= 100; share += 10) {
        struct cluster_clock clock;
        clock_init(&clock);
        sample(&clock, 10 * S, 8 * MS, 0, share);
        uint64_t now = clock_now_ns(&clock, 11 * S), truth = EPOCH + 11 * S;
        uint64_t off = now > truth ? now - truth : truth - now;
        assert_true(off <= clock_error_ns(&clock, 11 * S));
    }
}

static void of_the_window_the_shortest_trip_counts(void **state) {
    struct cluster_clock clock;
    clock_init(&clock);
    sample(&clock, 1 * S, 10 * MS, 0, 100);
    sample(&clock, 2 * S, MS / 2, 0, 50);
    sample(&clock, 3 * S, 20 * MS, 0, 0);
    assert_true(clock.target_offset_ns == (int64_t)EPOCH);
    assert_true(clock.error_ns == MS / 4 + CLOCK_STORE_UNIT_NS);
    for (uint64_t i = 0; i < CLOCK_WINDOW; i++) /* the good one grows old and leaves */
        sample(&clock, (4 + i) * S, 6 * MS, 0, 50);
    assert_true(clock.error_ns == 3 * MS + CLOCK_STORE_UNIT_NS);
}

/* The store was away: what was measured before is worth less than a slower answer now. */
static void a_sample_counts_for_less_the_older_it_is(void **state) {
    const uint64_t drifted = 30 * S / 1000000 * CLOCK_DRIFT_PPM; /* in half a minute */
    struct cluster_clock clock;
    clock_init(&clock);
    sample(&clock, S, MS / 4, 0, 50);
    sample(&clock, 31 * S, drifted * 2 + MS, 0, 50); /* worse even than the old one */
    assert_true(clock.asked_ns == S);
    sample(&clock, 31 * S + MS, drifted * 2 - MS, 0, 50);
    assert_true(clock.asked_ns == 31 * S + MS);
    assert_true(clock.error_ns == drifted - MS / 2 + CLOCK_STORE_UNIT_NS);
}

static void while_the_store_is_away_the_error_grows(void **state) {
    struct cluster_clock clock;
    clock_init(&clock);
    sample(&clock, 10 * S, 2 * MS, 0, 50);
    for (uint64_t age = 0; age <= 10000 * S; age += 1000 * S) {
        assert_true(clock_error_ns(&clock, 10 * S + age) ==
                    MS + CLOCK_STORE_UNIT_NS + age / 1000000 * CLOCK_DRIFT_PPM);
    }
    /* Rounded up. */
    assert_true(clock_error_ns(&clock, 10 * S + 1) == MS + CLOCK_STORE_UNIT_NS + 1);
}

/* A store whose clock runs apart as fast as clocks may, asked with gaps and over trips of any
 * length, answers in whole microseconds: at each moment the truth is within what is stated. */
static void the_truth_is_within_what_is_stated(void **state) {
    uint64_t seed = 86, held = 0;
    for (int run = 0; run < 200; run++) {
        int64_t ppm = run % 2 == 0 ? CLOCK_DRIFT_PPM : -CLOCK_DRIFT_PPM;
        struct cluster_clock clock;
        clock_init(&clock);
        uint64_t t = S;
        for (int i = 0; i < 500; i++) {
            seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
            uint64_t random = seed >> 33, trip = random % (random % 7 == 0 ? 50 * MS : MS);
            t += random % 11 == 0 ? random % (60 * S) : random % S;
            if (i == 0 || random % 3 == 0) {
                uint64_t at = t + trip * (random % 101) / 100;
                uint64_t shown = EPOCH + (uint64_t)((int64_t)at + (int64_t)at * ppm / 1000000);
                clock_sample_add(&clock, &(struct clock_sample){
                                             .before_ns = t,
                                             .after_ns = t + trip,
                                             .store_ns = shown / 1000 * 1000,
                                         });
                t += trip;
            }
            uint64_t truth = EPOCH + (uint64_t)((int64_t)t + (int64_t)t * ppm / 1000000);
            uint64_t now = clock_now_ns(&clock, t);
            uint64_t off = now > truth ? now - truth : truth - now;
            assert_true(off <= clock_error_ns(&clock, t));
            held += off > clock_error_ns(&clock, t) / 2;
        }
    }
    assert_true(held > 1000); /* nor is much more stated than that */
}

static void a_senseless_sample_is_refused(void **state) {
    struct cluster_clock clock;
    clock_init(&clock);
    const struct clock_sample backward = {.before_ns = 5, .after_ns = 4, .store_ns = EPOCH};
    const struct clock_sample absurd = {.before_ns = 4, .after_ns = 5, .store_ns = UINT64_MAX};
    assert_false(clock_sample_add(&clock, &backward));
    assert_false(clock_sample_add(&clock, &absurd));
    assert_false(clock.set);
}

/* Replaces the whole window by samples that say `ahead_ns`. */
static uint64_t shift(struct cluster_clock *clock, uint64_t at_ns, int64_t ahead_ns) {
    for (int i = 0; i < CLOCK_WINDOW; i++)
        sample(clock, at_ns + (uint64_t)i, 0, ahead_ns, 50);
    return at_ns + CLOCK_WINDOW;
}

static void a_shift_is_slewed_in_either_direction(void **state) {
    const int64_t shifts[] = {(int64_t)MS, -(int64_t)MS};
    for (size_t i = 0; i < 2; i++) {
        struct cluster_clock clock;
        clock_init(&clock);
        sample(&clock, 0, 0, 0, 50);
        clock_now_ns(&clock, 0);
        uint64_t t = shift(&clock, 10 * S, shifts[i]);
        uint64_t before = clock_now_ns(&clock, t);
        assert_in_range(before - EPOCH, t - 100, t + 100); /* no jump */
        assert_in_range(clock_error_ns(&clock, t) - CLOCK_STORE_UNIT_NS, MS - 100, MS + 100);
        /* 1 ms at 500 ppm takes 2 s: half of it after 1 s. */
        uint64_t half = clock_now_ns(&clock, t + S) - EPOCH - (t + S);
        assert_in_range(half * (shifts[i] > 0 ? 1 : UINT64_MAX), MS / 2 - 100, MS / 2 + 100);
        clock_now_ns(&clock, t + 3 * S);
        assert_true(clock_now_ns(&clock, t + 4 * S) == EPOCH + t + 4 * S + (uint64_t)shifts[i]);
        assert_true(clock_error_ns(&clock, t - 1) == CLOCK_STORE_UNIT_NS);
    }
}

static void time_that_nobody_read_is_no_credit_for_a_jump(void **state) {
    struct cluster_clock clock;
    clock_init(&clock);
    sample(&clock, 0, 0, 0, 50);
    clock_now_ns(&clock, 0);
    uint64_t t = shift(&clock, 1000000 * S, 100 * (int64_t)MS); /* 11 days later */
    uint64_t now = clock_now_ns(&clock, t);
    assert_in_range(now - EPOCH, t - 100, t + 100);
}

static void readings_a_nanosecond_apart_slew_as_well(void **state) {
    struct cluster_clock clock;
    clock_init(&clock);
    sample(&clock, 0, 0, 0, 50);
    clock_now_ns(&clock, 0);
    uint64_t t = shift(&clock, S, 1000000);
    uint64_t end = t + 1000000;
    for (; t < end; t += 7)
        clock_now_ns(&clock, t);
    uint64_t ahead = clock_now_ns(&clock, end) - EPOCH - end;
    assert_in_range(ahead, 490, 510); /* 500 ppm of 1 ms */
}

static void time_never_runs_backward_whatever_the_samples(void **state) {
    uint64_t seed = 7;
    struct cluster_clock clock;
    clock_init(&clock);
    sample(&clock, 0, 0, 0, 50);
    uint64_t t = 0, before = 0;
    for (int i = 0; i < 200000; i++) {
        seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        uint64_t random = seed >> 33;
        t += random % 100000;
        if (random % 5 == 0)
            sample(&clock, t, random % MS, (int64_t)(random % (10 * S)) - 5 * (int64_t)S,
                   random % 101);
        uint64_t now = clock_now_ns(&clock, t);
        assert_true(now >= before);
        before = now;
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(monotonic_time_does_not_run_backward),
        cmocka_unit_test(the_first_sample_sets_the_clock),
        cmocka_unit_test(until_it_is_read_the_best_sample_sets_it),
        cmocka_unit_test(a_reading_is_off_by_half_a_trip_at_most),
        cmocka_unit_test(of_the_window_the_shortest_trip_counts),
        cmocka_unit_test(a_sample_counts_for_less_the_older_it_is),
        cmocka_unit_test(while_the_store_is_away_the_error_grows),
        cmocka_unit_test(the_truth_is_within_what_is_stated),
        cmocka_unit_test(a_senseless_sample_is_refused),
        cmocka_unit_test(a_shift_is_slewed_in_either_direction),
        cmocka_unit_test(time_that_nobody_read_is_no_credit_for_a_jump),
        cmocka_unit_test(readings_a_nanosecond_apart_slew_as_well),
        cmocka_unit_test(time_never_runs_backward_whatever_the_samples),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
