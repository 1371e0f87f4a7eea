/* Routing, batching and putting answers together. */

#include <stdio.h>
#include <stdlib.h>

#include "tests/unit/test_router_fixture.h"

static void test_a_take_goes_to_its_owner_and_its_answer_back(void **state) {
    struct fixture *fixture = fixture_create_ready(64, 2);
    ask(fixture, 7, VERB_TAKE, key_of(fixture, 1, 0));
    assert_int_equal(fixture->batch_count, 0); /* not before the turn's end */
    turn(fixture);
    struct kept_batch *batch = only_batch(fixture);
    assert_int_equal(batch->link, 1);
    assert_true(batch->many);
    assert_int_equal(batch->count, 1);
    assert_string_equal(batch->first_key, key_of(fixture, 1, 0));
    reply_allow(fixture, batch);
    struct kept_answer *answer = only_answer(fixture);
    assert_int_equal(answer->client, 7);
    assert_int_equal(answer->msgid, 1007);
    assert_false(answer->many);
    assert_int_equal(answer->count, 1);
    assert_true(answer->results[0].allowed);
    assert_int_equal(answer->results[0].remaining_tokens, 100);
    turn(fixture);
    assert_int_equal(counter(fixture, pending_items), 0);
    assert_int_equal(counter(fixture, pending_requests), 0);
    assert_int_equal(counter(fixture, pending_batches), 0);
    fixture_destroy(fixture);
}

static void test_takes_of_one_turn_share_a_batch_peeks_do_not(void **state) {
    struct fixture *fixture = fixture_create_ready(64, 1);
    ask(fixture, 1, VERB_TAKE, "a");
    ask(fixture, 2, VERB_PEEK, "b");
    ask(fixture, 3, VERB_TAKE, "c");
    ask(fixture, 4, VERB_REFUND, "d");
    turn(fixture);
    assert_int_equal(fixture->batch_count, 3);
    assert_true(fixture->batches[0].many);
    assert_int_equal(fixture->batches[0].count, 2);
    assert_string_equal(fixture->batches[0].first_key, "a");
    assert_string_equal(fixture->batches[0].last_key, "c");
    assert_false(fixture->batches[1].many);
    assert_int_equal(fixture->batches[1].verb, VERB_PEEK);
    assert_false(fixture->batches[2].many);
    assert_int_equal(fixture->batches[2].verb, VERB_REFUND);
    for (int i = 2; i >= 0; i--) {
        reply_allow(fixture, &fixture->batches[i]);
    }
    assert_int_equal(fixture->answer_count, 4);
    assert_int_equal(fixture->answers[0].client, 4);
    assert_int_equal(fixture->answers[1].client, 2);
    assert_int_equal(fixture->answers[2].client, 1);
    assert_int_equal(fixture->answers[3].client, 3);
    assert_int_equal(fixture->answers[3].results[0].remaining_tokens, 101);
    fixture_destroy(fixture);
}

static void test_take_many_is_split_over_shards_and_answered_in_order(void **state) {
    struct fixture *fixture = fixture_create_ready(64, 2);
    struct take takes[4];
    for (uint32_t i = 0; i < 4; i++) {
        takes[i] = take_of(key_of(fixture, i % 2, i));
    }
    ask_takes(fixture, 9, VERB_TAKE, true, takes, 4);
    turn(fixture);
    assert_int_equal(fixture->batch_count, 2);
    reply_allow(fixture, &fixture->batches[1]);
    assert_int_equal(fixture->answer_count, 0);
    reply_error(fixture, &fixture->batches[0], CODE_UNKNOWN_PLAN, "no such plan here", 0);
    struct kept_answer *answer = only_answer(fixture);
    assert_true(answer->many);
    assert_int_equal(answer->count, 4);
    uint32_t bad = fixture->batches[0].link;
    for (uint32_t i = 0; i < 4; i++) {
        if (i % 2 == bad) {
            assert_int_equal(answer->results[i].code, CODE_UNKNOWN_PLAN);
            assert_string_equal(answer->texts[i], "no such plan here");
        } else {
            assert_int_equal(answer->results[i].code, CODE_OK);
            assert_int_equal(answer->results[i].remaining_tokens, 100 + i / 2);
        }
    }
    fixture_destroy(fixture);
}

static void test_an_empty_take_many_is_answered_at_once(void **state) {
    struct fixture *fixture = fixture_create(64);
    ask_takes(fixture, 9, VERB_TAKE, true, NULL, 0);
    assert_int_equal(only_answer(fixture)->count, 0);
    assert_int_equal(only_answer(fixture)->refusal, REASON_NONE);
    fixture_destroy(fixture);
}

static void test_what_a_request_says_is_copied(void **state) {
    struct fixture *fixture = fixture_create_ready(64, 1);
    char key[] = "alice", plan[] = "open";
    struct take take = take_of(key);
    take.cost_tokens = 12;
    take.plan.kind = PLAN_CHOICE_NAMED;
    take.plan.name = bytes_of_text(plan);
    ask_takes(fixture, 1, VERB_TAKE, false, &take, 1);
    memset(key, 'x', sizeof key);
    memset(plan, 'x', sizeof plan);
    memset(&take, 0xff, sizeof take);
    struct router_update update;
    struct router_event event = {.kind = ROUTER_EVENT_TURN, .now_ns = fixture->now_ns};
    router_step(fixture->router, &event, &update);
    assert_int_equal(update.batch_count, 1);
    const struct take *sent = update.batches[0].takes[0];
    assert_true(bytes_equal(sent->key, bytes_of_text("alice")));
    assert_int_equal(sent->cost_tokens, 12);
    assert_true(bytes_equal(sent->plan.name, bytes_of_text("open")));
    fixture_destroy(fixture);
}

static void test_batches_grow_while_the_link_is_busy(void **state) {
    struct fixture *fixture = fixture_create_ready(64, 1);
    for (uint32_t i = 0; i < 4; i++) {
        ask(fixture, i, VERB_TAKE, "k");
        turn(fixture);
    }
    assert_int_equal(fixture->batch_count, 4); /* batches_per_link_max */
    for (uint32_t i = 4; i < 20; i++) {
        ask(fixture, i, VERB_TAKE, "k");
        turn(fixture);
    }
    assert_int_equal(fixture->batch_count, 4);
    reply_allow(fixture, &fixture->batches[2]);
    turn(fixture);
    assert_int_equal(fixture->batch_count, 5);
    assert_int_equal(fixture->batches[4].count, 16);
    fixture_destroy(fixture);
}

static void test_peeks_do_not_keep_takes_waiting(void **state) {
    struct fixture *fixture = fixture_create_ready(64, 1);
    for (uint32_t i = 0; i < 10; i++) {
        ask(fixture, i, VERB_PEEK, "k");
    }
    ask(fixture, 10, VERB_TAKE, "k");
    turn(fixture);
    assert_int_equal(fixture->batch_count, 4);
    assert_true(fixture->batches[0].many);
    fixture_destroy(fixture);
}

static void test_a_batch_holds_no_more_than_a_request_may(void **state) {
    struct fixture *fixture = fixture_create_ready(TAKES_PER_REQUEST_MAX + 10, 1);
    struct take *takes = calloc(TAKES_PER_REQUEST_MAX, sizeof *takes);
    for (uint32_t i = 0; i < TAKES_PER_REQUEST_MAX; i++) {
        takes[i] = take_of("k");
    }
    ask(fixture, 1, VERB_TAKE, "first");
    ask_takes(fixture, 2, VERB_TAKE, true, takes, TAKES_PER_REQUEST_MAX);
    turn(fixture);
    assert_int_equal(fixture->batch_count, 2);
    assert_int_equal(fixture->batches[0].count, TAKES_PER_REQUEST_MAX);
    assert_int_equal(fixture->batches[1].count, 1);
    reply_allow(fixture, &fixture->batches[0]);
    assert_int_equal(fixture->answer_count, 1);
    reply_allow(fixture, &fixture->batches[1]);
    assert_int_equal(fixture->answer_count, 2);
    assert_int_equal(fixture->answers[1].count, TAKES_PER_REQUEST_MAX);
    assert_int_equal(fixture->answers[1].results[TAKES_PER_REQUEST_MAX - 1].remaining_tokens, 100);
    free(takes);
    fixture_destroy(fixture);
}

static void test_a_full_pool_refuses_whole_requests_at_once(void **state) {
    struct fixture *fixture = fixture_create_ready(8, 1);
    struct take takes[6];
    for (uint32_t i = 0; i < 6; i++) {
        takes[i] = take_of("k");
    }
    ask_takes(fixture, 1, VERB_TAKE, true, takes, 6);
    ask_takes(fixture, 2, VERB_TAKE, true, takes, 3);
    struct kept_answer *answer = only_answer(fixture);
    assert_int_equal(answer->client, 2);
    assert_int_equal(answer->refusal, REASON_QUEUE_FULL);
    ask_takes(fixture, 3, VERB_TAKE, true, takes, 2);
    ask(fixture, 4, VERB_TAKE, "k");
    assert_int_equal(fixture->answer_count, 2);
    assert_int_equal(fixture->answers[1].client, 4);
    turn(fixture);
    assert_int_equal(only_batch(fixture)->count, 8);
    reply_allow(fixture, only_batch(fixture));
    assert_int_equal(fixture->answer_count, 4);
    ask_takes(fixture, 5, VERB_TAKE, true, takes, 6); /* there is room again */
    assert_int_equal(fixture->answer_count, 4);
    assert_int_equal(counter(fixture, overloaded), 2);
    fixture_destroy(fixture);
}

static void test_replies_to_no_batch_are_ignored(void **state) {
    struct fixture *fixture = fixture_create_ready(64, 2);
    ask(fixture, 1, VERB_TAKE, key_of(fixture, 0, 0));
    turn(fixture);
    struct kept_batch batch = *only_batch(fixture);
    reply_raw(fixture, 1, batch.id, ROUTER_OUTCOME_UNREADABLE, NULL, 0); /* another link's */
    reply_raw(fixture, 0, batch.id + BATCHES_MAX, ROUTER_OUTCOME_UNREADABLE, NULL, 0);
    reply_raw(fixture, 0, batch.id + 1, ROUTER_OUTCOME_UNREADABLE, NULL, 0);
    assert_int_equal(counter(fixture, replies_late), 3);
    assert_int_equal(counter(fixture, replies_bad), 0);
    reply_allow(fixture, &batch);
    reply_allow(fixture, &batch); /* once more */
    assert_int_equal(fixture->answer_count, 1);
    assert_int_equal(counter(fixture, replies_late), 4);
    fixture_destroy(fixture);
}

static void test_ids_are_31_bits_and_come_back_late(void **state) {
    struct fixture *fixture = fixture_create_ready(8, 1);
    uint32_t first = 0;
    for (uint32_t i = 0; i < 3 * BATCHES_MAX; i++) {
        ask(fixture, 1, VERB_TAKE, "k");
        turn(fixture);
        struct kept_batch *batch = only_batch(fixture);
        assert_true(batch->id <= INT32_MAX);
        assert_true(i == 0 || batch->id != first);
        first = i == 0 ? batch->id : first;
        reply_allow(fixture, batch);
        forget(fixture);
    }
    fixture_destroy(fixture);
}

static void test_results_of_the_wrong_length_are_no_answer(void **state) {
    struct fixture *fixture = fixture_create_ready(64, 1);
    ask(fixture, 1, VERB_TAKE, "a");
    ask(fixture, 2, VERB_TAKE, "b");
    turn(fixture);
    struct kept_batch batch = *only_batch(fixture);
    batch.count = 1;
    reply_allow(fixture, &batch);
    assert_int_equal(fixture->answer_count, 0);
    assert_int_equal(counter(fixture, replies_bad), 1);
    forget(fixture);
    turn_after(fixture, 6 * MS);
    assert_int_equal(only_batch(fixture)->count, 2); /* tried again */
    reply_allow(fixture, only_batch(fixture));
    assert_int_equal(fixture->answer_count, 2);
    fixture_destroy(fixture);
}

static void test_stop_answers_everything(void **state) {
    struct fixture *fixture = fixture_create_ready(64, 2);
    give_link(fixture, 1, false);
    ask(fixture, 1, VERB_TAKE, key_of(fixture, 0, 0));
    ask(fixture, 2, VERB_TAKE, key_of(fixture, 1, 0));
    turn(fixture);
    ask(fixture, 3, VERB_PEEK, key_of(fixture, 0, 0));
    struct router_event event = {.kind = ROUTER_EVENT_STOP, .now_ns = fixture->now_ns};
    struct router_update update;
    router_step(fixture->router, &event, &update);
    assert_int_equal(update.answer_count, 3);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(update.answers[i].results[0].take.code, CODE_UNAVAILABLE);
        assert_int_equal(update.answers[i].results[0].take.reason, REASON_STOPPING);
    }
    turn(fixture);
    assert_int_equal(counter(fixture, pending_items), 0);
    reply_allow(fixture, only_batch(fixture));
    assert_int_equal(fixture->answer_count, 0);
    fixture_destroy(fixture);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_take_goes_to_its_owner_and_its_answer_back),
        cmocka_unit_test(test_takes_of_one_turn_share_a_batch_peeks_do_not),
        cmocka_unit_test(test_take_many_is_split_over_shards_and_answered_in_order),
        cmocka_unit_test(test_an_empty_take_many_is_answered_at_once),
        cmocka_unit_test(test_what_a_request_says_is_copied),
        cmocka_unit_test(test_batches_grow_while_the_link_is_busy),
        cmocka_unit_test(test_peeks_do_not_keep_takes_waiting),
        cmocka_unit_test(test_a_batch_holds_no_more_than_a_request_may),
        cmocka_unit_test(test_a_full_pool_refuses_whole_requests_at_once),
        cmocka_unit_test(test_replies_to_no_batch_are_ignored),
        cmocka_unit_test(test_ids_are_31_bits_and_come_back_late),
        cmocka_unit_test(test_results_of_the_wrong_length_are_no_answer),
        cmocka_unit_test(test_stop_answers_everything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
