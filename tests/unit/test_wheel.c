/* The timer wheel alone. */
#include "tests/unit/cmocka_all.h"

#include <stdlib.h>

#include "router/core/wheel.h"

#define MS WHEEL_STEP_NS
#define OWNERS 4

static struct wheel wheel;

static int open_any(void **state) {
    wheel_init(&wheel, calloc(OWNERS, sizeof(struct wheel_node)),
               calloc(WHEEL_STEPS, sizeof(uint32_t)), calloc(WHEEL_STEPS / 64, sizeof(uint64_t)));
    return 0;
}

static int close_any(void **state) {
    free(wheel.nodes);
    free(wheel.first);
    free(wheel.filled);
    return 0;
}

static void test_a_timer_fires_within_its_millisecond(void **state) {
    wheel_set(&wheel, 1, 10 * MS + 1);
    wheel_set(&wheel, 2, 10 * MS);
    assert_int_equal(wheel_next_ns(&wheel), 10 * MS);
    assert_int_equal(wheel_pop(&wheel, 10 * MS - 1), WHEEL_NONE);
    assert_int_equal(wheel_pop(&wheel, 10 * MS), 2);
    assert_int_equal(wheel_pop(&wheel, 11 * MS - 1), WHEEL_NONE);
    assert_int_equal(wheel_pop(&wheel, 11 * MS), 1);
    assert_int_equal(wheel_next_ns(&wheel), UINT64_MAX);
    assert_int_equal(wheel_pop(&wheel, 100 * MS), WHEEL_NONE);
}

static void test_a_clock_that_goes_back_fires_nothing(void **state) {
    assert_int_equal(wheel_pop(&wheel, 50 * MS), WHEEL_NONE);
    wheel_set(&wheel, 1, 20 * MS); /* is over: at once */
    assert_int_equal(wheel_pop(&wheel, 49 * MS), WHEEL_NONE);
    assert_int_equal(wheel_next_ns(&wheel), 50 * MS);
    assert_int_equal(wheel_pop(&wheel, 50 * MS), 1);
}

static void test_all_of_one_millisecond_fire_once(void **state) {
    for (uint32_t i = 0; i < OWNERS; i++) {
        wheel_set(&wheel, i, 5 * MS);
    }
    wheel_clear(&wheel, 1); /* from the middle of the list */
    wheel_clear(&wheel, 1);
    wheel_set(&wheel, 3, 6 * MS); /* and its first */
    uint32_t fired = 0, owner;
    while ((owner = wheel_pop(&wheel, 7 * MS)) != WHEEL_NONE) {
        assert_false(fired & (1u << owner));
        assert_true(owner != 3 || fired == 0x5); /* last */
        fired |= 1u << owner;
    }
    assert_int_equal(fired, 0xd);
}

static void test_what_is_too_far_away_fires_at_the_wheels_end(void **state) {
    assert_int_equal(wheel_pop(&wheel, 3 * MS), WHEEL_NONE);
    wheel_set(&wheel, 0, 10 * WHEEL_STEPS * MS);
    assert_int_equal(wheel_next_ns(&wheel), (3 + WHEEL_STEPS - 1) * MS);
    assert_int_equal(wheel_pop(&wheel, (3 + WHEEL_STEPS - 2) * MS), WHEEL_NONE);
    assert_int_equal(wheel_pop(&wheel, (3 + WHEEL_STEPS - 1) * MS), 0);
}

#define OPEN(test) cmocka_unit_test_setup_teardown(test, open_any, close_any)

int main(void) {
    const struct CMUnitTest tests[] = {
        OPEN(test_a_timer_fires_within_its_millisecond),
        OPEN(test_a_clock_that_goes_back_fires_nothing),
        OPEN(test_all_of_one_millisecond_fire_once),
        OPEN(test_what_is_too_far_away_fires_at_the_wheels_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
