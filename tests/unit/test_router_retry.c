/* Items that are tried again: MOVED, links lost, maps that change, shards that cannot decide. */

#include <stdlib.h>

#include "tests/unit/test_router_fixture.h"

/* The first map with every slot given to one shard. */
static struct map *map_all_to(uint64_t epoch, uint32_t shards, uint16_t owner) {
    struct map *map = map_make(epoch, shards);
    for (uint32_t i = 0; i < map->slot_count; i++) {
        map->owner[i] = owner;
    }
    return map;
}

static void sent_to(struct fixture *fixture, uint32_t link) {
    assert_int_equal(only_batch(fixture)->link, link);
}

static void test_items_wait_for_a_map_and_for_links(void **state) {
    struct fixture *fixture = fixture_create(64);
    ask(fixture, 1, VERB_TAKE, "a");
    assert_true(fixture->refresh_map);
    turn(fixture);
    give_view(fixture, map_make(1, 1), plans_make(1, true));
    assert_int_equal(fixture->order_count, 1);
    assert_int_equal(fixture->orders[0].kind, ROUTER_LINK_OPEN);
    assert_string_equal(fixture->orders[0].endpoint->text, "tcp://shard-0:1");
    turn(fixture);
    assert_int_equal(fixture->batch_count, 0);
    give_link(fixture, 0, true);
    turn(fixture);
    sent_to(fixture, 0);
    fixture_destroy(fixture);
}

static void test_slots_without_an_owner_wait_for_the_next_map(void **state) {
    struct fixture *fixture = fixture_create(64);
    give_view(fixture, map_all_to(1, 1, UINT16_MAX), plans_make(1, true));
    assert_int_equal(fixture->order_count, 0); /* no link is needed yet */
    ask(fixture, 1, VERB_TAKE, "a");
    assert_true(fixture->refresh_map);
    give_view(fixture, map_make(2, 1), plans_make(1, true));
    give_link(fixture, 0, true);
    turn(fixture);
    sent_to(fixture, 0);
    fixture_destroy(fixture);
}

static void test_moved_goes_at_once_where_a_newer_map_says(void **state) {
    struct fixture *fixture = fixture_create_ready(64, 2);
    const char *key = key_of(fixture, 0, 0);
    ask(fixture, 1, VERB_TAKE, key);
    turn(fixture);
    struct kept_batch batch = *only_batch(fixture);
    give_view(fixture, map_all_to(2, 2, 1), plans_make(1, true));
    forget(fixture);
    reply_error(fixture, &batch, CODE_MOVED, "gone", 2);
    assert_false(fixture->refresh_map);
    assert_int_equal(fixture->orders[0].kind, ROUTER_LINK_CLOSE); /* nothing left on it */
    turn(fixture);
    sent_to(fixture, 1);
    reply_allow(fixture, only_batch(fixture));
    assert_true(only_answer(fixture)->results[0].allowed);
    assert_int_equal(counter(fixture, moved), 1);
    fixture_destroy(fixture);
}

static void test_moved_with_a_newer_epoch_asks_for_it_and_waits(void **state) {
    struct fixture *fixture = fixture_create_ready(64, 2);
    const char *key = key_of(fixture, 0, 0);
    ask(fixture, 1, VERB_TAKE, key);
    turn(fixture);
    reply_error(fixture, only_batch(fixture), CODE_MOVED, "gone", 2);
    assert_true(fixture->refresh_map);
    forget(fixture);
    turn_after(fixture, 2 * MS);
    assert_int_equal(fixture->batch_count, 0); /* no spinning */
    give_view(fixture, map_all_to(2, 2, 1), plans_make(1, true));
    turn(fixture);
    sent_to(fixture, 1); /* the map ended its wait */
    fixture_destroy(fixture);
}

static void test_moved_by_a_shard_that_is_behind_backs_off(void **state) {
    struct fixture *fixture = fixture_create_ready(64, 1);
    uint64_t waits_ms[] = {5, 10, 20, 40, 80, 100, 100};
    struct take take = take_of("k");
    take.deadline_ms = 1000;
    ask_takes(fixture, 1, VERB_TAKE, false, &take, 1);
    turn(fixture);
    for (uint32_t i = 0; i < sizeof waits_ms / sizeof waits_ms[0]; i++) {
        struct kept_batch batch = *only_batch(fixture);
        forget(fixture);
        reply_error(fixture, &batch, CODE_MOVED, "not mine yet", 1);
        assert_false(fixture->refresh_map); /* our map is no older */
        assert_int_equal(fixture->wake_at_ns, fixture->now_ns + waits_ms[i] * MS);
        turn_after(fixture, waits_ms[i] * MS - 1);
        assert_int_equal(fixture->batch_count, 0);
        turn_after(fixture, 1);
        assert_int_equal(fixture->batch_count, 1);
    }
    fixture_destroy(fixture);
}

static void test_a_lost_link_gives_its_items_back(void **state) {
    struct fixture *fixture = fixture_create_ready(64, 2);
    const char *key = key_of(fixture, 0, 0);
    ask(fixture, 1, VERB_TAKE, key);
    turn(fixture);
    struct kept_batch batch = *only_batch(fixture);
    ask(fixture, 2, VERB_TAKE, key); /* not yet sent */
    give_link(fixture, 0, false);
    assert_true(fixture->refresh_map);
    forget(fixture);
    turn(fixture);
    assert_int_equal(fixture->batch_count, 0);
    assert_int_equal(counter(fixture, pending_batches), 0);
    reply_allow(fixture, &batch); /* cannot come, and would not count */
    assert_int_equal(fixture->answer_count, 0);
    give_link(fixture, 0, true);
    turn(fixture);
    assert_int_equal(only_batch(fixture)->count, 2);
    reply_allow(fixture, only_batch(fixture));
    assert_int_equal(fixture->answer_count, 2);
    assert_int_equal(counter(fixture, retries), 1);
    fixture_destroy(fixture);
}

static void test_a_lost_links_items_follow_the_next_map(void **state) {
    struct fixture *fixture = fixture_create_ready(64, 2);
    const char *key = key_of(fixture, 0, 0);
    ask(fixture, 1, VERB_TAKE, key);
    turn(fixture);
    give_link(fixture, 0, false);
    forget(fixture);
    give_view(fixture, map_all_to(2, 2, 1), plans_make(1, true));
    assert_int_equal(fixture->order_count, 1);
    assert_int_equal(fixture->orders[0].kind, ROUTER_LINK_CLOSE);
    turn(fixture);
    sent_to(fixture, 1);
    fixture_destroy(fixture);
}

static void test_a_link_of_no_map_is_closed_once_idle(void **state) {
    struct fixture *fixture = fixture_create_ready(64, 2);
    ask(fixture, 1, VERB_TAKE, key_of(fixture, 0, 0));
    turn(fixture);
    struct kept_batch batch = *only_batch(fixture);
    ask(fixture, 2, VERB_TAKE, key_of(fixture, 0, 0)); /* still here: follows the map */
    forget(fixture);
    give_view(fixture, map_all_to(2, 2, 1), plans_make(1, true));
    assert_int_equal(fixture->order_count, 0);
    turn(fixture);
    sent_to(fixture, 1);
    reply_allow(fixture, &batch);
    assert_int_equal(only_answer(fixture)->client, 1);
    assert_int_equal(fixture->orders[0].kind, ROUTER_LINK_CLOSE);
    assert_int_equal(fixture->orders[0].link, 0);
    struct router_link_info info;
    assert_false(router_link_info(fixture->router, 0, &info));
    give_link(fixture, 0, true); /* of a link that is gone: nothing */
    assert_false(router_link_info(fixture->router, 0, &info));
    fixture_destroy(fixture);
}

static void test_links_of_old_maps_give_way_to_new_ones(void **state) {
    struct fixture *fixture = fixture_create_ready(64, 8); /* links_max */
    ask(fixture, 1, VERB_TAKE, key_of(fixture, 3, 0));
    turn(fixture);
    forget(fixture);
    struct map *map = map_make(2, 8);
    for (uint32_t i = 0; i < 8; i++) {
        map->shards[i].endpoint.text[6] = 'S'; /* other places all */
    }
    give_view(fixture, map, plans_make(1, true));
    assert_int_equal(fixture->order_count, 16);
    uint32_t opened = 0;
    for (uint32_t i = 0; i < 16; i++) {
        opened += fixture->orders[i].kind == ROUTER_LINK_OPEN;
    }
    assert_int_equal(opened, 8);
    for (uint32_t i = 0; i < 8; i++) {
        give_link(fixture, i, true);
    }
    turn(fixture);
    assert_int_equal(only_batch(fixture)->count, 1); /* what was on the old link */
    reply_allow(fixture, only_batch(fixture));
    assert_int_equal(fixture->answer_count, 1);
    fixture_destroy(fixture);
}

static void test_an_epoch_never_goes_backward(void **state) {
    struct fixture *fixture = fixture_create_ready(64, 2);
    give_view(fixture, map_all_to(5, 2, 1), plans_make(3, true));
    give_view(fixture, map_all_to(4, 2, 0), plans_make(2, false));
    give_view(fixture, map_all_to(5, 2, 0), plans_make(3, false));
    struct map *none = malloc(sizeof *none);
    map_init(none);
    give_view(fixture, none, plans_make(1, false));
    assert_int_equal(router_map(fixture->router)->epoch.number, 5);
    assert_int_equal(router_plans(fixture->router)->version, 3);
    assert_int_equal(router_plans(fixture->router)->default_at, 0);
    ask(fixture, 1, VERB_TAKE, "a");
    turn(fixture);
    sent_to(fixture, 1);
    fixture_destroy(fixture);
}

static void test_overloaded_is_not_tried_again_at_once(void **state) {
    struct fixture *fixture = fixture_create_ready(64, 1);
    ask(fixture, 1, VERB_TAKE, "a");
    turn(fixture);
    reply_error(fixture, only_batch(fixture), CODE_OVERLOADED, "full", 0);
    forget(fixture);
    turn_after(fixture, 10 * MS - 1);
    assert_int_equal(fixture->batch_count, 0);
    turn_after(fixture, 1);
    assert_int_equal(fixture->batch_count, 1);
    reply_allow(fixture, only_batch(fixture));
    assert_true(only_answer(fixture)->results[0].allowed);
    fixture_destroy(fixture);
}

static void test_an_error_for_the_whole_batch_is_each_items(void **state) {
    struct fixture *fixture = fixture_create_ready(64, 1);
    ask(fixture, 1, VERB_TAKE, "a");
    ask(fixture, 2, VERB_TAKE, "b");
    turn(fixture);
    struct router_verdict verdict = {.take = {.code = CODE_UNAVAILABLE},
                                     .text = bytes_of_text("stopping")};
    reply_raw(fixture, 0, only_batch(fixture)->id, ROUTER_OUTCOME_ERROR, &verdict, 1);
    forget(fixture);
    turn_after(fixture, 5 * MS);
    assert_int_equal(only_batch(fixture)->count, 2);
    verdict.take.code = CODE_TOO_LARGE;
    verdict.text = bytes_of_text("no");
    reply_raw(fixture, 0, only_batch(fixture)->id, ROUTER_OUTCOME_ERROR, &verdict, 1);
    assert_int_equal(fixture->answer_count, 2);
    assert_int_equal(fixture->answers[1].results[0].code, CODE_TOO_LARGE);
    assert_string_equal(fixture->answers[1].texts[0], "no");
    fixture_destroy(fixture);
}

static void test_what_was_not_sent_is_tried_again(void **state) {
    struct fixture *fixture = fixture_create_ready(64, 1);
    ask(fixture, 1, VERB_REFUND, "a");
    turn(fixture);
    reply_raw(fixture, 0, only_batch(fixture)->id, ROUTER_OUTCOME_UNSENT, NULL, 0);
    forget(fixture);
    turn_after(fixture, 5 * MS);
    assert_int_equal(only_batch(fixture)->verb, VERB_REFUND);
    assert_int_equal(counter(fixture, batches_unsent), 1);
    fixture_destroy(fixture);
}

static void test_a_silent_link_is_opened_anew(void **state) {
    struct fixture *fixture = fixture_create_ready(64, 1);
    struct take take = take_of("a");
    take.deadline_ms = 20000;
    ask_takes(fixture, 1, VERB_TAKE, false, &take, 1);
    turn(fixture);
    uint64_t end_ns = fixture->now_ns + BATCH_ANSWER_NS;
    forget(fixture);
    while (fixture->now_ns < end_ns) {
        assert_int_equal(fixture->order_count, 0);
        assert_true(fixture->wake_at_ns > fixture->now_ns);
        turn_after(fixture, fixture->wake_at_ns - fixture->now_ns);
    }
    assert_int_equal(fixture->order_count, 1);
    assert_int_equal(fixture->orders[0].kind, ROUTER_LINK_RESET);
    assert_int_equal(counter(fixture, links_silent), 1);
    give_link(fixture, 0, true);
    turn(fixture);
    sent_to(fixture, 0);
    fixture_destroy(fixture);
}

static void test_a_long_or_odd_text_is_cut_to_fit(void **state) {
    struct fixture *fixture = fixture_create_ready(64, 1);
    char text[1000];
    memset(text, 'x', sizeof text);
    text[2] = '\0';
    ask(fixture, 1, VERB_TAKE, "a");
    turn(fixture);
    struct router_verdict verdict = {.take = {.code = CODE_FORBIDDEN},
                                     .text = bytes_of(text, sizeof text)};
    reply_raw(fixture, 0, only_batch(fixture)->id, ROUTER_OUTCOME_RESULTS, &verdict, 1);
    assert_int_equal(strlen(only_answer(fixture)->texts[0]), FAULT_TEXT_BYTES_MAX - 1);
    fixture_destroy(fixture);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_items_wait_for_a_map_and_for_links),
        cmocka_unit_test(test_slots_without_an_owner_wait_for_the_next_map),
        cmocka_unit_test(test_moved_goes_at_once_where_a_newer_map_says),
        cmocka_unit_test(test_moved_with_a_newer_epoch_asks_for_it_and_waits),
        cmocka_unit_test(test_moved_by_a_shard_that_is_behind_backs_off),
        cmocka_unit_test(test_a_lost_link_gives_its_items_back),
        cmocka_unit_test(test_a_lost_links_items_follow_the_next_map),
        cmocka_unit_test(test_a_link_of_no_map_is_closed_once_idle),
        cmocka_unit_test(test_links_of_old_maps_give_way_to_new_ones),
        cmocka_unit_test(test_an_epoch_never_goes_backward),
        cmocka_unit_test(test_overloaded_is_not_tried_again_at_once),
        cmocka_unit_test(test_an_error_for_the_whole_batch_is_each_items),
        cmocka_unit_test(test_what_was_not_sent_is_tried_again),
        cmocka_unit_test(test_a_silent_link_is_opened_anew),
        cmocka_unit_test(test_a_long_or_odd_text_is_cut_to_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
