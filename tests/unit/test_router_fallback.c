/* Takes that leave for the store when no owner answers: which, when, and what they are answered. */
#include <stdlib.h>

#include "tests/unit/router_fallback_fixture.h"

static void test_a_take_leaves_when_a_quarter_of_its_deadline_is_left(void **state) {
    ask_one(VERB_TAKE, key_of(fixture, 0, 0), NULL, 200);
    assert_int_equal(fixture->batch_count, 1);
    assert_int_equal(fixture->wake_at_ns, fixture->now_ns + 150 * MS);
    turn_after(fixture, 149 * MS);
    assert_int_equal(fixture->call_count, 0);
    turn_after(fixture, 1 * MS);
    const struct fallback_call *call = only_call();
    assert_true(call->writes);
    assert_true(call->by_default);
    assert_int_equal(call->assigned.size, 0);
    answer(call, FALLBACK_GRANTED, (struct bytes){0}, "");
    const struct take_result *result = only_result();
    assert_true(result->allowed);
    assert_int_equal(result->flags, TAKE_FLAG_DEGRADED);
    assert_int_equal(result->remaining_tokens, 99);
    assert_int_equal(result->limit_tokens, 100);
    assert_int_equal(counter(fixture, fallback_writes), 1);
    assert_int_equal(counter(fixture, pending_fallbacks), 0);
    /* What the owner says at last is no answer to anybody. */
    reply_allow(fixture, &fixture->batches[0]);
    assert_int_equal(fixture->answer_count, 1);
    turn(fixture);
    assert_int_equal(counter(fixture, pending_items), 0);
}

static void test_an_owner_that_answers_in_time_decides(void **state) {
    ask_one(VERB_TAKE, key_of(fixture, 0, 0), NULL, 200);
    turn_after(fixture, 149 * MS);
    reply_allow(fixture, only_batch(fixture));
    assert_int_equal(only_result()->flags, 0);
    turn_after(fixture, 100 * MS);
    assert_int_equal(fixture->call_count, 0);
}

static void test_a_parked_item_leaves(void **state) {
    give_link(fixture, 1, false);
    ask_one(VERB_TAKE, key_of(fixture, 1, 0), NULL, 200);
    turn_after(fixture, 150 * MS);
    answer(only_call(), FALLBACK_GRANTED, (struct bytes){0}, "");
    assert_true(only_result()->allowed);
    turn_after(fixture, 300 * MS);
    assert_int_equal(counter(fixture, pending_items), 0);
    assert_int_equal(counter(fixture, timeouts), 0);
}

static void test_an_owner_that_speaks_is_not_fenced(void **state) {
    const char *key = key_of(fixture, 0, 0); /* one backs off, and one waits behind it */
    ask_one(VERB_TAKE, key, NULL, 200);
    turn_after(fixture, 146 * MS);
    reply_error(fixture, only_batch(fixture), CODE_UNAVAILABLE, "being loaded", 0);
    ask_one(VERB_TAKE, key, "small", 200);
    turn_after(fixture, 4 * MS);
    assert_int_equal(fixture->call_count, 0);
    turn_after(fixture, 196 * MS);
    assert_int_equal(fixture->answer_count, 2);
    denied(&fixture->answers[0].results[0]);
}

static void test_silence_makes_the_next_ones_leave_soon(void **state) {
    const char *key = key_of(fixture, 0, 0);
    ask_one(VERB_TAKE, key, NULL, 200);
    turn_after(fixture, 150 * MS);
    ask_one(VERB_TAKE, key, NULL, 200);
    turn_after(fixture, FALLBACK_DOUBT_NS);
    assert_int_equal(fixture->call_count, 2);
    ask_one(VERB_TAKE, key_of(fixture, 1, 0), NULL, 200); /* another's: not doubted */
    turn_after(fixture, FALLBACK_DOUBT_NS);
    assert_int_equal(fixture->call_count, 2);
    /* Any word of the owner ends it. */
    reply_error(fixture, &fixture->batches[0], CODE_UNAVAILABLE, "being loaded", 0);
    ask_one(VERB_TAKE, key, NULL, 200);
    turn_after(fixture, FALLBACK_DOUBT_NS);
    assert_int_equal(fixture->call_count, 2);
    give_link(fixture, 0, false); /* so does a link that comes up again */
    turn_after(fixture, 130 * MS);
    assert_int_equal(fixture->call_count, 4);
    give_link(fixture, 0, true);
    ask_one(VERB_TAKE, key, NULL, 200);
    turn_after(fixture, FALLBACK_DOUBT_NS);
    assert_int_equal(fixture->call_count, 4);
}

static void test_the_impatient_do_not_fence_slow_owners(void **state) {
    ask_one(VERB_TAKE, key_of(fixture, 0, 0), NULL, 60);
    turn_after(fixture, 59 * MS);
    assert_int_equal(fixture->call_count, 0);
    turn_after(fixture, 1 * MS);
    denied(only_result());
    /* Silence shows that it is not only slow. */
    forget(fixture);
    ask_one(VERB_TAKE, key_of(fixture, 0, 0), NULL, 60);
    turn_after(fixture, FALLBACK_DOUBT_NS);
    assert_int_equal(fixture->call_count, 1);
}

static void test_other_policies_and_refunds_stay(void **state) {
    ask_one(VERB_TAKE, key_of(fixture, 0, 0), "firm", 200);
    ask_one(VERB_REFUND, key_of(fixture, 0, 1), NULL, 200);
    turn_after(fixture, 200 * MS);
    assert_int_equal(fixture->call_count, 0);
    assert_int_equal(fixture->answer_count, 2);
    uint32_t refund = fixture->answers[0].results[0].code == CODE_OK;
    denied(&fixture->answers[1 - refund].results[0]);
    assert_int_equal(fixture->answers[refund].results[0].code, CODE_UNAVAILABLE);
}

static void test_an_overloaded_owner_has_answered(void **state) {
    ask_one(VERB_TAKE, key_of(fixture, 0, 0), NULL, 200);
    turn_after(fixture, 140 * MS);
    reply_error(fixture, only_batch(fixture), CODE_OVERLOADED, "full", 0);
    turn_after(fixture, 10 * MS);
    assert_int_equal(fixture->call_count, 0);
}

static void test_without_a_store_it_is_denied_at_the_deadline(void **state) {
    give_store(fixture, false);
    ask_one(VERB_TAKE, key_of(fixture, 0, 0), NULL, 200);
    turn_after(fixture, 150 * MS);
    assert_int_equal(fixture->answer_count, 0);
    assert_int_equal(counter(fixture, fallback_unready), 1);
    turn_after(fixture, 50 * MS);
    denied(only_result());
    assert_int_equal(fixture->call_count, 0);
}

static void test_a_store_that_fails_or_is_late(void **state) {
    ask_one(VERB_TAKE, key_of(fixture, 0, 0), NULL, 200);
    ask_one(VERB_PEEK, key_of(fixture, 0, 0), NULL, 200);
    ask_one(VERB_TAKE, key_of(fixture, 0, 1), NULL, 200);
    turn_after(fixture, 150 * MS);
    assert_int_equal(fixture->call_count, 3);
    answer(&fixture->calls[0], FALLBACK_FAILED, (struct bytes){0}, "");
    denied(only_result());
    answer(&fixture->calls[1], FALLBACK_FAILED, (struct bytes){0}, "");
    assert_int_equal(fixture->answers[1].results[0].code, CODE_UNAVAILABLE);
    assert_int_equal(counter(fixture, fallback_failed), 2);
    turn_after(fixture, 50 * MS);
    denied(&fixture->answers[2].results[0]);
    turn(fixture);
    ask_one(VERB_TAKE, key_of(fixture, 0, 1), NULL, 200); /* in the place of the one given up */
    answer(&fixture->calls[2], FALLBACK_GRANTED, (struct bytes){0}, "");
    assert_int_equal(fixture->answer_count, 3);
    assert_int_equal(counter(fixture, fallback_late), 1);
    assert_int_equal(counter(fixture, pending_fallbacks), 0);
}

static void test_a_worn_fence_is_denied(void **state) {
    ask_one(VERB_TAKE, key_of(fixture, 0, 0), NULL, 200);
    turn_after(fixture, 150 * MS);
    answer(only_call(), FALLBACK_WORN, (struct bytes){0}, "");
    denied(only_result());
}

static void test_the_assigned_plan_counts(void **state) {
    ask_one(VERB_TAKE, key_of(fixture, 0, 0), NULL, 200);
    turn_after(fixture, 150 * MS);
    answer(only_call(), FALLBACK_OTHER_PLAN, (struct bytes){0}, "small");
    assert_int_equal(fixture->answer_count, 0);
    assert_int_equal(fixture->call_count, 2);
    const struct fallback_call *call = &fixture->calls[1];
    assert_int_equal(call->index, fixture->calls[0].index);
    assert_string_equal(call->assigned.text, "small");
    answer(call, FALLBACK_GRANTED, (struct bytes){0}, "small");
    assert_int_equal(only_result()->remaining_tokens, 9);
    /* Its own policy, its absence. */
    forget(fixture);
    ask_one(VERB_TAKE, key_of(fixture, 0, 0), NULL, 200);
    ask_one(VERB_TAKE, key_of(fixture, 0, 1), NULL, 200);
    turn_after(fixture, 150 * MS);
    answer(&fixture->calls[0], FALLBACK_OTHER_PLAN, (struct bytes){0}, "firm");
    denied(only_result());
    answer(&fixture->calls[1], FALLBACK_OTHER_PLAN, (struct bytes){0}, "gone");
    assert_int_equal(fixture->answers[1].results[0].code, CODE_UNKNOWN_PLAN);
    assert_int_equal(counter(fixture, pending_fallbacks), 0);
}

static void test_one_that_changes_its_plan_for_ever_is_given_up(void **state) {
    ask_one(VERB_TAKE, key_of(fixture, 0, 0), NULL, 200);
    turn_after(fixture, 150 * MS);
    for (uint32_t i = 0; i < FALLBACK_ROUNDS_MAX; i++) {
        assert_int_equal(fixture->answer_count, 0);
        assert_int_equal(fixture->call_count, i + 1);
        answer(&fixture->calls[i], FALLBACK_OTHER_PLAN, (struct bytes){0}, i % 2 ? "" : "small");
    }
    denied(only_result());
    assert_int_equal(counter(fixture, pending_fallbacks), 0);
}

static void test_records_under_other_terms_are_converted(void **state) {
    uint8_t bytes[RECORD_BYTES_MAX];
    uint32_t size = record_of(bytes, "small", 7, 3 * SECOND); /* three tokens spent */
    ask_one(VERB_TAKE, key_of(fixture, 0, 0), "safe", 200);
    turn_after(fixture, 150 * MS);
    answer(only_call(), FALLBACK_OTHER_TERMS, bytes_of(bytes, size), "");
    const struct fallback_call *call = &fixture->calls[1];
    assert_int_equal(call->expected_size, size);
    assert_int_equal(call->limits[0].tat.ns, STORE_NOW_NS + 3 * SECOND);
    answer(call, FALLBACK_GRANTED, bytes_of(bytes, size), "");
    assert_int_equal(only_result()->remaining_tokens, 96);
}

static void test_what_cannot_be_told_is_not_decided(void **state) {
    uint8_t newer[RECORD_BYTES_MAX];
    uint32_t size = record_of(newer, "small", 8, SECOND); /* of plans that this router has not */
    ask_one(VERB_TAKE, key_of(fixture, 0, 0), "safe", 200);
    ask_one(VERB_TAKE, key_of(fixture, 0, 1), "safe", 200);
    ask_one(VERB_TAKE, key_of(fixture, 0, 2), "safe", 200);
    turn_after(fixture, 150 * MS);
    answer(&fixture->calls[0], FALLBACK_OTHER_TERMS, bytes_of(newer, size), "");
    denied(only_result());
    answer(&fixture->calls[1], FALLBACK_OTHER_TERMS, bytes_of_text("nothing of ours"), "");
    assert_int_equal(fixture->answers[1].results[0].reason, REASON_RECORD_UNREADABLE);
    static const uint8_t later[] = {0x94, 9, 0xa1, 'x', 1, 2};
    answer(&fixture->calls[2], FALLBACK_OTHER_TERMS, bytes_of(later, sizeof later), "");
    assert_int_equal(fixture->answers[2].results[0].reason, REASON_RECORD_NEWER);
    assert_int_equal(counter(fixture, pending_fallbacks), 0);
}

static void test_both_must_grant(void **state) {
    uint8_t bytes[RECORD_BYTES_MAX];
    uint32_t size = record_of(bytes, "safe", 7, 100 * SECOND); /* empty */
    ask_one(VERB_TAKE, key_of(fixture, 0, 0), NULL, 200);
    turn_after(fixture, 150 * MS);
    answer(only_call(), FALLBACK_GRANTED, bytes_of(bytes, size), "");
    denied(only_result());
    assert_int_equal(counter(fixture, fallback_disagreed), 1);
}

static void test_a_refusal_says_how_long_to_wait(void **state) {
    uint8_t bytes[RECORD_BYTES_MAX];
    uint32_t size = record_of(bytes, "safe", 7, 100 * SECOND);
    ask_one(VERB_TAKE, key_of(fixture, 0, 0), NULL, 200);
    turn_after(fixture, 150 * MS);
    answer(only_call(), FALLBACK_REFUSED, bytes_of(bytes, size), "");
    assert_false(only_result()->allowed);
    assert_int_equal(only_result()->retry_after_us, 1000000);
    assert_int_equal(counter(fixture, fallback_refused), 1);
}

static void test_a_cost_above_the_burst_only_looks(void **state) {
    struct take take = take_under(key_of(fixture, 0, 0), NULL, 200);
    take.cost_tokens = 101;
    ask_takes(fixture, 1, VERB_TAKE, false, &take, 1);
    turn_after(fixture, 150 * MS);
    assert_false(only_call()->writes);
    answer(only_call(), FALLBACK_LOOKED, (struct bytes){0}, "");
    assert_int_equal(only_result()->retry_after_us, RETRY_NEVER);
    assert_int_equal(only_result()->remaining_tokens, 100);
}

static void test_calls_are_bounded(void **state) {
    fixture_destroy(fixture);
    fixture = fixture_create(FALLBACK_CALLS_MAX + 10);
    give_view(fixture, map_make(1, 1), plans_of(1));
    give_store(fixture, true);
    struct take *takes = calloc(FALLBACK_CALLS_MAX, sizeof *takes);
    for (uint32_t i = 0; i < FALLBACK_CALLS_MAX; i++) {
        takes[i] = take_under("key", NULL, 200);
    }
    ask_takes(fixture, 1, VERB_TAKE, true, takes, FALLBACK_CALLS_MAX);
    ask_takes(fixture, 2, VERB_TAKE, true, takes, 10);
    turn_after(fixture, 150 * MS);
    assert_int_equal(counter(fixture, pending_fallbacks), FALLBACK_CALLS_MAX);
    assert_int_equal(counter(fixture, fallback_full), 10);
    turn_after(fixture, 50 * MS);
    assert_int_equal(fixture->answer_count, 2);
    free(takes);
}

static void test_plans_without_limits_are_an_older_nodes(void **state) {
    struct plan_set *plans = plans_of(2);
    for (uint32_t i = 0; i < plans->plan_count; i++) {
        plans->plans[i].generations[0].terms.limit_count = 0;
    }
    give_view(fixture, map_make(1, 2), plans);
    ask_one(VERB_TAKE, key_of(fixture, 0, 0), NULL, 200);
    turn_after(fixture, 200 * MS);
    denied(only_result());
    assert_int_equal(fixture->call_count, 0);
}

static void test_a_stop_answers_what_is_asked(void **state) {
    ask_one(VERB_TAKE, key_of(fixture, 0, 0), NULL, 200);
    turn_after(fixture, 150 * MS);
    struct fallback_call call = *only_call();
    give_stop(fixture);
    assert_int_equal(only_result()->code, CODE_UNAVAILABLE);
    answer(&call, FALLBACK_GRANTED, (struct bytes){0}, "");
    assert_int_equal(fixture->answer_count, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        READY(test_a_take_leaves_when_a_quarter_of_its_deadline_is_left),
        READY(test_an_owner_that_answers_in_time_decides),
        READY(test_a_parked_item_leaves),
        READY(test_an_owner_that_speaks_is_not_fenced),
        READY(test_silence_makes_the_next_ones_leave_soon),
        READY(test_the_impatient_do_not_fence_slow_owners),
        READY(test_other_policies_and_refunds_stay),
        READY(test_an_overloaded_owner_has_answered),
        READY(test_without_a_store_it_is_denied_at_the_deadline),
        READY(test_a_store_that_fails_or_is_late),
        READY(test_a_worn_fence_is_denied),
        READY(test_the_assigned_plan_counts),
        READY(test_one_that_changes_its_plan_for_ever_is_given_up),
        READY(test_records_under_other_terms_are_converted),
        READY(test_what_cannot_be_told_is_not_decided),
        READY(test_both_must_grant),
        READY(test_a_refusal_says_how_long_to_wait),
        READY(test_a_cost_above_the_burst_only_looks),
        READY(test_calls_are_bounded),
        READY(test_plans_without_limits_are_an_older_nodes),
        READY(test_a_stop_answers_what_is_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
