/* What an item is answered when no owner answers it in time; and the timer wheel. */

#include <stdlib.h>

#include "router/core/wheel.h"
#include "tests/unit/test_router_fixture.h"

#define DEADLINE (DEADLINE_MS_DEFAULT * MS)

/* The answer that a take of that plan gets at its deadline, in a fixture with a view and no link.
 */
static struct take_result answer_at_deadline(struct plan_set *plans, const struct plan_choice *plan,
                                             enum verb verb) {
    struct fixture *fixture = fixture_create(64);
    give_view(fixture, map_make(1, 1), plans);
    struct take take = take_of("k");
    take.plan = *plan;
    ask_takes(fixture, 1, verb, false, &take, 1);
    turn_after(fixture, DEADLINE - 1);
    assert_int_equal(fixture->answer_count, 0);
    assert_int_equal(fixture->wake_at_ns, fixture->now_ns + 1);
    turn_after(fixture, 1);
    struct take_result result = only_answer(fixture)->results[0];
    turn(fixture);
    assert_int_equal(counter(fixture, pending_items), 0);
    assert_int_equal(fixture->wake_at_ns, UINT64_MAX);
    fixture_destroy(fixture);
    return result;
}

static struct plan_choice named(const char *name) {
    return (struct plan_choice){.kind = PLAN_CHOICE_NAMED, .name = bytes_of_text(name)};
}

static const struct plan_choice by_default = {.kind = PLAN_CHOICE_DEFAULT};
static const struct plan_choice by_limit = {
    .kind = PLAN_CHOICE_INLINE,
    .limit = {.rate_tokens = 1, .period_ns = 1000 * MS, .burst_tokens = 1}};

static void degraded(struct take_result result, bool allowed) {
    assert_int_equal(result.code, CODE_OK);
    assert_int_equal(result.flags, TAKE_FLAG_DEGRADED);
    assert_int_equal(result.allowed, allowed);
    assert_int_equal(result.retry_after_us, allowed ? 0 : 1000000);
    assert_int_equal(result.remaining_tokens, 0);
    assert_int_equal(result.limit_tokens, 0);
    assert_int_equal(result.reset_after_us, 0);
}

static void test_the_plans_policy_answers_a_take(void **state) {
    struct plan_choice free_plan = named("free"), open_plan = named("open");
    degraded(answer_at_deadline(plans_make(1, true), &free_plan, VERB_TAKE), false);
    degraded(answer_at_deadline(plans_make(1, true), &open_plan, VERB_TAKE), true);
    struct plan_set *plans = plans_make(1, true);
    plans->default_at = 1;
    degraded(answer_at_deadline(plans, &by_default, VERB_TAKE), true);
    degraded(answer_at_deadline(plans_make(1, true), &by_default, VERB_TAKE), false);
    plans = plans_make(1, true);
    plans->default_at = 1;
    degraded(answer_at_deadline(plans, &by_limit, VERB_TAKE), true);
    degraded(answer_at_deadline(plans_make(1, false), &by_limit, VERB_TAKE), false);
    degraded(answer_at_deadline(plans_make(1, false), &by_default, VERB_TAKE), false);
}

static void test_a_plan_that_no_view_knows_is_an_error(void **state) {
    struct plan_choice other = named("other");
    struct take_result result = answer_at_deadline(plans_make(1, true), &other, VERB_TAKE);
    assert_int_equal(result.code, CODE_UNKNOWN_PLAN);
    struct plan_set *none = plans_make(0, false); /* no plans were ever applied: deny */
    none->plan_count = 0;
    plan_set_init(none);
    degraded(answer_at_deadline(none, &other, VERB_TAKE), false);
}

static void test_no_policy_can_answer_a_peek_or_a_refund(void **state) {
    for (int verb = VERB_PEEK; verb <= VERB_REFUND; verb++) {
        struct plan_choice open_plan = named("open");
        struct take_result result =
            answer_at_deadline(plans_make(1, true), &open_plan, (enum verb)verb);
        assert_int_equal(result.code, CODE_UNAVAILABLE);
        assert_int_equal(result.reason, REASON_DEADLINE);
    }
}

static void test_without_a_map_nothing_is_invented(void **state) {
    struct fixture *fixture = fixture_create(64);
    ask(fixture, 1, VERB_TAKE, "k");
    turn_after(fixture, DEADLINE);
    assert_int_equal(only_answer(fixture)->results[0].code, CODE_UNAVAILABLE);
    assert_int_equal(only_answer(fixture)->results[0].reason, REASON_NO_MAP);
    assert_non_null(strstr(only_answer(fixture)->texts[0], "not yet reached any node"));
    forget(fixture);
    struct map *none = malloc(sizeof *none);
    map_init(none);
    give_view(fixture, none, plans_make(0, false));
    ask(fixture, 1, VERB_TAKE, "k");
    turn_after(fixture, DEADLINE);
    assert_int_equal(only_answer(fixture)->results[0].code, CODE_UNAVAILABLE);
    assert_string_equal(only_answer(fixture)->texts[0], reason_text(REASON_NO_MAP));
    fixture_destroy(fixture);
}

static void test_the_last_word_overloaded_is_passed_on(void **state) {
    struct fixture *fixture = fixture_create_ready(64, 1);
    struct take take = take_of("k");
    take.deadline_ms = 8;
    ask_takes(fixture, 1, VERB_TAKE, false, &take, 1);
    turn(fixture);
    reply_error(fixture, only_batch(fixture), CODE_OVERLOADED, "no room for buckets", 0);
    turn_after(fixture, 8 * MS);
    assert_int_equal(only_answer(fixture)->results[0].code, CODE_OVERLOADED);
    assert_string_equal(only_answer(fixture)->texts[0], "no room for buckets");
    assert_int_equal(fixture->batch_count, 1);
    fixture_destroy(fixture);
}

static void test_unavailable_shards_leave_takes_to_the_policy(void **state) {
    struct fixture *fixture = fixture_create_ready(64, 1);
    ask(fixture, 1, VERB_TAKE, "k");
    ask(fixture, 2, VERB_PEEK, "k");
    turn(fixture);
    uint64_t end_ns = fixture->now_ns + DEADLINE;
    while (fixture->now_ns < end_ns) {
        uint32_t count = fixture->batch_count;
        struct kept_batch batches[4];
        memcpy(batches, fixture->batches, count * sizeof batches[0]);
        fixture->batch_count = 0;
        for (uint32_t i = 0; i < count; i++) {
            reply_error(fixture, &batches[i], CODE_UNAVAILABLE, "being loaded", 0);
        }
        turn_after(fixture, 1 * MS);
    }
    assert_int_equal(fixture->answer_count, 2);
    degraded(fixture->answers[fixture->answers[0].client != 1].results[0], false);
    struct kept_answer *peek = &fixture->answers[fixture->answers[0].client != 2];
    assert_int_equal(peek->results[0].code, CODE_UNAVAILABLE);
    assert_string_equal(peek->texts[0], "being loaded");
    /* 0, 5, 15, 35, 75, 155 ms; the seventh, at 255 ms, would be too late. */
    assert_int_equal(counter(fixture, shard_unavailable), 2 * 6);
    fixture_destroy(fixture);
}

static void test_items_past_their_deadline_leave_their_batch(void **state) {
    struct fixture *fixture = fixture_create_ready(64, 1);
    struct take takes[3] = {take_of("a"), take_of("b"), take_of("c")};
    takes[0].deadline_ms = takes[2].deadline_ms = 1000;
    takes[1].deadline_ms = 10;
    ask_takes(fixture, 1, VERB_TAKE, true, takes, 3);
    turn(fixture);
    turn_after(fixture, 10 * MS);
    reply_allow(fixture, only_batch(fixture));
    struct kept_answer *answer = only_answer(fixture);
    assert_int_equal(answer->results[0].remaining_tokens, 100);
    degraded(answer->results[1], false);
    assert_int_equal(answer->results[2].remaining_tokens, 102); /* by its place in the batch */
    fixture_destroy(fixture);
}

static void test_an_expired_batch_still_counts_until_answered(void **state) {
    struct fixture *fixture = fixture_create_ready(64, 1);
    for (uint32_t i = 0; i < 4; i++) {
        ask(fixture, i, VERB_TAKE, "k");
        turn(fixture);
    }
    turn_after(fixture, DEADLINE);
    assert_int_equal(fixture->answer_count, 4);
    assert_true(fixture->refresh_map); /* who says nothing may be the owner no longer */
    ask(fixture, 9, VERB_TAKE, "k");
    turn(fixture);
    assert_int_equal(fixture->batch_count, 4); /* the link is as busy as before */
    reply_allow(fixture, &fixture->batches[0]);
    assert_int_equal(fixture->answer_count, 4); /* nobody is told twice */
    turn(fixture);
    assert_int_equal(fixture->batch_count, 5);
    fixture_destroy(fixture);
}

/* --- the wheel ------------------------------------------------------------------------------ */

static struct wheel_node nodes[64];
static uint32_t first[WHEEL_STEPS];
static uint64_t filled[WHEEL_STEPS / 64];

static struct wheel wheel_make(void) {
    struct wheel wheel;
    memset(nodes, 0, sizeof nodes);
    memset(filled, 0, sizeof filled);
    wheel_init(&wheel, nodes, first, filled);
    return wheel;
}

static void test_wheel_fires_in_time_and_once(void **state) {
    struct wheel wheel = wheel_make();
    assert_int_equal(wheel_next_ns(&wheel), UINT64_MAX);
    wheel_set(&wheel, 1, 5 * MS + 1);
    wheel_set(&wheel, 2, 5 * MS);
    wheel_set(&wheel, 3, 7 * MS);
    wheel_clear(&wheel, 3);
    wheel_clear(&wheel, 3);
    assert_int_equal(wheel_next_ns(&wheel), 5 * MS);
    assert_int_equal(wheel_pop(&wheel, 5 * MS - 1), WHEEL_NONE);
    assert_int_equal(wheel_pop(&wheel, 5 * MS), 2);
    assert_int_equal(wheel_pop(&wheel, 5 * MS + 999999), WHEEL_NONE);
    assert_int_equal(wheel_pop(&wheel, 6 * MS), 1);
    assert_int_equal(wheel_pop(&wheel, 100 * MS), WHEEL_NONE);
    wheel_set(&wheel, 4, 3 * MS); /* long due */
    assert_int_equal(wheel_pop(&wheel, 100 * MS), 4);
}

static void test_wheel_goes_round(void **state) {
    struct wheel wheel = wheel_make();
    uint64_t now_ns = 0;
    for (uint32_t i = 0; i < 1000; i++) {
        uint64_t wait_ms = (i * 7919) % 60000 + 1;
        wheel_set(&wheel, i % 64, now_ns + wait_ms * MS);
        assert_int_equal(wheel_next_ns(&wheel), now_ns + wait_ms * MS);
        assert_int_equal(wheel_pop(&wheel, now_ns + wait_ms * MS - 1), WHEEL_NONE);
        now_ns += wait_ms * MS;
        assert_int_equal(wheel_pop(&wheel, now_ns), i % 64);
    }
}

static void test_wheel_keeps_what_is_too_far_for_it(void **state) {
    struct wheel wheel = wheel_make();
    wheel_set(&wheel, 1, UINT64_C(1000000) * MS);
    assert_int_equal(wheel_pop(&wheel, (WHEEL_STEPS - 2) * MS), WHEEL_NONE);
    assert_int_equal(wheel_pop(&wheel, (WHEEL_STEPS - 1) * MS), 1);
}

static void test_deadlines_hold_after_a_long_sleep(void **state) {
    struct fixture *fixture = fixture_create_ready(64, 1);
    turn(fixture);
    fixture->now_ns += 1000000 * MS;
    give_link(fixture, 0, false);
    ask(fixture, 1, VERB_TAKE, "k");
    turn(fixture);
    assert_int_equal(fixture->answer_count, 0);
    turn_after(fixture, DEADLINE - 1);
    assert_int_equal(fixture->answer_count, 0);
    turn_after(fixture, 1);
    assert_int_equal(fixture->answer_count, 1);
    fixture_destroy(fixture);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_plans_policy_answers_a_take),
        cmocka_unit_test(test_a_plan_that_no_view_knows_is_an_error),
        cmocka_unit_test(test_no_policy_can_answer_a_peek_or_a_refund),
        cmocka_unit_test(test_without_a_map_nothing_is_invented),
        cmocka_unit_test(test_the_last_word_overloaded_is_passed_on),
        cmocka_unit_test(test_unavailable_shards_leave_takes_to_the_policy),
        cmocka_unit_test(test_items_past_their_deadline_leave_their_batch),
        cmocka_unit_test(test_an_expired_batch_still_counts_until_answered),
        cmocka_unit_test(test_wheel_fires_in_time_and_once),
        cmocka_unit_test(test_wheel_goes_round),
        cmocka_unit_test(test_wheel_keeps_what_is_too_far_for_it),
        cmocka_unit_test(test_deadlines_hold_after_a_long_sleep),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
