/* What is at its bound, or comes when nothing of that kind is to be expected. */
#include <stdio.h>
#include <stdlib.h>

#include "tests/unit/test_router_fixture.h"

static void ask_peeks(struct fixture *fixture, uint32_t count) {
    char key[16];
    for (uint32_t i = 0; i < count; i++) {
        snprintf(key, sizeof key, "%u", i);
        ask(fixture, i, VERB_PEEK, key);
    }
}

static struct kept_batch sent[SENT_MAX];

/* A router whose batches are all outstanding; the newest ones are in `sent`. */
static struct fixture *fixture_create_full(uint32_t shards) {
    struct fixture *fixture =
        fixture_create_of(&(struct router_options){.items_max = PENDING_ITEMS_MAX,
                                                   .links_max = shards,
                                                   .batches_per_link_max = BATCHES_MAX + 1});
    give_view(fixture, map_make(1, shards), plans_make(1, true));
    for (uint32_t i = 0; i < shards; i++) {
        give_link(fixture, i, true);
    }
    for (uint32_t i = 0; i < BATCHES_MAX; i += SENT_MAX) {
        forget(fixture);
        ask_peeks(fixture, SENT_MAX);
        turn(fixture);
        assert_int_equal(fixture->batch_count, SENT_MAX);
    }
    memcpy(sent, fixture->batches, sizeof sent);
    assert_int_equal(counter(fixture, pending_batches), BATCHES_MAX);
    forget(fixture);
    return fixture;
}

static void test_items_wait_for_a_batch_when_all_are_out(void **state) {
    struct fixture *fixture = fixture_create_full(1);
    ask_peeks(fixture, 3);
    turn(fixture);
    turn(fixture);
    assert_int_equal(fixture->batch_count, 0);
    assert_int_equal(counter(fixture, pending_items), BATCHES_MAX + 3);
    /* The first that comes back is the first that goes, under another id. */
    for (uint32_t i = 0; i < 2; i++) {
        reply_allow(fixture, &sent[i]);
        turn(fixture);
        assert_int_equal(fixture->batch_count, i + 1);
        assert_int_equal(fixture->batches[i].id % BATCHES_MAX, sent[i].id % BATCHES_MAX);
        assert_int_not_equal(fixture->batches[i].id, sent[i].id);
    }
    assert_string_equal(fixture->batches[0].first_key, "0");
    assert_string_equal(fixture->batches[1].first_key, "1");
    /* Several that come back in one turn are all good for use. */
    for (uint32_t i = 2; i < 5; i++) {
        reply_allow(fixture, &sent[i]);
    }
    ask_peeks(fixture, 4);
    turn(fixture);
    assert_int_equal(fixture->batch_count, 5);
    assert_string_equal(fixture->batches[2].first_key, "2");
    assert_int_equal(counter(fixture, pending_batches), BATCHES_MAX);
    assert_int_equal(counter(fixture, replies_late), 0);
    fixture_destroy(fixture);
}

static void test_takes_and_peeks_share_what_is_left(void **state) {
    struct fixture *fixture = fixture_create_full(1);
    reply_allow(fixture, &sent[0]);
    ask_peeks(fixture, 1);
    ask(fixture, 1, VERB_TAKE, "take");
    turn(fixture);
    assert_true(only_batch(fixture)->many);
    forget(fixture);
    reply_allow(fixture, &sent[1]);
    turn(fixture);
    assert_int_equal(only_batch(fixture)->verb, VERB_PEEK);
    fixture_destroy(fixture);
}

static void test_a_link_gets_the_batch_of_another(void **state) {
    struct fixture *fixture = fixture_create_full(2);
    uint32_t other = 0;
    while (sent[other].link != 1) {
        other++;
    }
    ask(fixture, 1, VERB_PEEK, key_of(fixture, 0, 0));
    turn(fixture);
    assert_int_equal(fixture->batch_count, 0);
    reply_allow(fixture, &sent[other]);
    turn(fixture); /* nothing was heard on the link that waits */
    assert_int_equal(only_batch(fixture)->link, 0);
    fixture_destroy(fixture);
}

static void test_an_error_for_all_is_exactly_one(void **state) {
    struct fixture *fixture = fixture_create_ready(64, 1);
    const struct router_verdict fine = {.take = {.code = CODE_OK, .allowed = true}};
    struct router_verdict wrong[2] = {{.take = {.code = CODE_TOO_LARGE}},
                                      {.take = {.code = CODE_TOO_LARGE}}};
    const struct router_verdict *verdicts[] = {wrong, &fine, wrong};
    static const uint32_t counts[] = {2, 1, 0};
    for (uint32_t i = 0; i < 3; i++) {
        forget(fixture);
        ask(fixture, 1, VERB_TAKE, "key");
        turn(fixture);
        reply_raw(fixture, 0, only_batch(fixture)->id, ROUTER_OUTCOME_ERROR, verdicts[i],
                  counts[i]);
        assert_int_equal(fixture->answer_count, 0); /* nobody has decided it: once more */
        assert_int_equal(counter(fixture, replies_bad), i + 1);
        turn_after(fixture, RETRY_LAST_NS);
        assert_int_equal(fixture->batch_count, 2);
        reply_raw(fixture, 0, fixture->batches[1].id, ROUTER_OUTCOME_ERROR, wrong, 1);
        assert_int_equal(only_answer(fixture)->results[0].code, CODE_TOO_LARGE);
    }
    fixture_destroy(fixture);
}

static void test_shards_behind_one_endpoint_share_a_link(void **state) {
    struct fixture *fixture = fixture_create(64);
    struct map *map = map_make(1, 3);
    map->shards[2].endpoint = map->shards[0].endpoint;
    give_view(fixture, map, plans_make(1, true));
    assert_int_equal(fixture->order_count, 2);
    give_link(fixture, 0, true);
    ask(fixture, 1, VERB_TAKE, key_of(fixture, 2, 0));
    ask(fixture, 2, VERB_TAKE, key_of(fixture, 0, 0));
    turn(fixture);
    assert_int_equal(only_batch(fixture)->link, 0);
    assert_int_equal(only_batch(fixture)->count, 2);
    fixture_destroy(fixture);
}

static void test_views_that_tell_nothing_new(void **state) {
    struct fixture *fixture = fixture_create_ready(64, 2);
    const struct map *map = router_map(fixture->router);
    uint64_t views = counter(fixture, views);
    give_view(fixture, NULL, plans_make(1, true));
    give_view(fixture, map_make(0, 2), plans_make(1, true));
    assert_ptr_equal(router_map(fixture->router), map);
    assert_int_equal(counter(fixture, views), views);
    assert_int_equal(counter(fixture, views_old), 0);
    assert_int_equal(counter(fixture, views_refused), 0);
    /* Newer plans without a map are good. */
    give_view(fixture, NULL, plans_make(2, true));
    assert_int_equal(router_plans(fixture->router)->version, 2);
    assert_ptr_equal(router_map(fixture->router), map);
    assert_int_equal(fixture->order_count, 0);
    fixture_destroy(fixture);
}

static void test_links_that_there_are_not(void **state) {
    struct fixture *fixture = fixture_create_ready(64, 2);
    struct router_link_info info;
    assert_true(router_link_info(fixture->router, 1, &info));
    assert_string_equal(info.endpoint->text, "tcp://shard-1:1");
    assert_true(info.up);
    assert_false(router_link_info(fixture->router, 2, &info)); /* a place for one */
    assert_false(router_link_info(fixture->router, 8, &info));
    assert_false(router_link_info(fixture->router, UINT32_MAX, &info));
    fixture_destroy(fixture);
}

static void test_a_clock_that_starts_at_nothing(void **state) {
    struct fixture *fixture = fixture_create(64);
    fixture->now_ns = 0;
    give_view(fixture, map_make(1, 1), plans_make(1, true));
    ask(fixture, 1, VERB_TAKE, "key");
    assert_int_equal(counter(fixture, parked), 1);
    turn_after(fixture, 7 * MS);
    give_link(fixture, 0, true);
    turn(fixture);
    reply_allow(fixture, only_batch(fixture));
    assert_int_equal(counter(fixture, parked), 1); /* it had to wait once */
    assert_int_equal(router_parked_us(fixture->router)->count, 1);
    fixture_destroy(fixture);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_items_wait_for_a_batch_when_all_are_out),
        cmocka_unit_test(test_takes_and_peeks_share_what_is_left),
        cmocka_unit_test(test_a_link_gets_the_batch_of_another),
        cmocka_unit_test(test_an_error_for_all_is_exactly_one),
        cmocka_unit_test(test_shards_behind_one_endpoint_share_a_link),
        cmocka_unit_test(test_views_that_tell_nothing_new),
        cmocka_unit_test(test_links_that_there_are_not),
        cmocka_unit_test(test_a_clock_that_starts_at_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
