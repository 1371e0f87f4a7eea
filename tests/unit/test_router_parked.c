/* Takes that wait in the router: in which order they go on, that they are bounded, and how long
 * they waited. */

#include <stdlib.h>

#include "router/core/histogram.h"
#include "tests/unit/test_router_fixture.h"

/* The newest batch goes to that link and is of takes of these costs, in this order; 0 ends them. */
static struct kept_batch sent(struct fixture *fixture, uint32_t link, const uint64_t *costs) {
    assert_int_equal(fixture->batch_count, 1);
    struct kept_batch batch = fixture->batches[0];
    uint32_t count = 0;
    assert_int_equal(batch.link, link);
    while (costs[count] != 0) {
        assert_true(count < batch.count);
        assert_int_equal(batch.costs[count], costs[count]);
        count++;
    }
    assert_int_equal(batch.count, count);
    forget(fixture);
    return batch;
}
#define COSTS(...) ((const uint64_t[]){__VA_ARGS__, 0})

static void nothing_sent(struct fixture *fixture) {
    turn(fixture);
    assert_int_equal(fixture->batch_count, 0);
}

/* A sealed slot, a loading one. */
static void refuse(struct fixture *fixture, const struct kept_batch *batch) {
    reply_error(fixture, batch, CODE_UNAVAILABLE, "sealed", 0);
}

static struct map *map_all_to(uint64_t epoch, uint16_t owner) {
    struct map *map = map_make(epoch, 2);
    for (uint32_t i = 0; i < map->slot_count; i++) {
        map->owner[i] = owner;
    }
    return map;
}

/* One that is refused, and one that comes while it waits. */
static struct kept_batch first_two(struct fixture *fixture) {
    ask_cost(fixture, "a", 1);
    turn(fixture);
    struct kept_batch batch = sent(fixture, 0, COSTS(1));
    refuse(fixture, &batch);
    ask_cost(fixture, "a", 2);
    nothing_sent(fixture);
    assert_int_equal(counter(fixture, pending_parked), 2);
    turn_after(fixture, 5 * MS);
    return sent(fixture, 0, COSTS(1, 2));
}

static void test_released_in_order(void **state) {
    struct fixture *fixture = fixture_create_ready(64, 1);
    struct kept_batch batch = first_two(fixture);
    assert_int_equal(counter(fixture, retries), 1); /* the second was never refused */
    ask_cost(fixture, "a", 3);
    nothing_sent(fixture); /* the first two are not decided yet */
    refuse(fixture, &batch);
    ask_cost(fixture, "a", 4);
    turn_after(fixture, 10 * MS);
    batch = sent(fixture, 0, COSTS(1, 2, 3, 4));
    ask_cost(fixture, "a", 5);
    nothing_sent(fixture);
    reply_allow(fixture, &batch);
    turn(fixture); /* at once: the key is free again */
    batch = sent(fixture, 0, COSTS(5));
    ask_cost(fixture, "a", 6);
    nothing_sent(fixture);
    reply_allow(fixture, &batch);
    forget(fixture);
    turn(fixture);
    batch = sent(fixture, 0, COSTS(6));
    reply_allow(fixture, &batch);
    forget(fixture);
    ask_cost(fixture, "a", 7);
    turn(fixture);
    sent(fixture, 0, COSTS(7));
    ask_cost(fixture, "a", 8); /* nobody has been waiting for a while: no reason to hold it */
    turn(fixture);
    sent(fixture, 0, COSTS(8));
    assert_int_equal(counter(fixture, pending_parked), 0);
    fixture_destroy(fixture);
}

static void test_other_keys_do_not_wait(void **state) {
    struct fixture *fixture = fixture_create_ready(64, 1);
    ask_cost(fixture, "a", 1);
    turn(fixture);
    struct kept_batch batch = sent(fixture, 0, COSTS(1));
    refuse(fixture, &batch);
    ask_cost(fixture, "b", 2);
    turn(fixture);
    sent(fixture, 0, COSTS(2));
    fixture_destroy(fixture);
}

static void test_two_batches_refused_one_after_the_other(void **state) {
    struct fixture *fixture = fixture_create_ready(64, 1);
    ask_cost(fixture, "a", 1);
    ask_cost(fixture, "a", 2);
    turn(fixture);
    struct kept_batch first = sent(fixture, 0, COSTS(1, 2));
    ask_cost(fixture, "a", 3);
    ask_cost(fixture, "a", 4);
    turn(fixture);
    struct kept_batch second = sent(fixture, 0, COSTS(3, 4));
    refuse(fixture, &first);
    ask_cost(fixture, "a", 5);
    ask_cost(fixture, "a", 6);
    refuse(fixture, &second); /* these belong in front of those that came meanwhile */
    turn_after(fixture, 5 * MS);
    sent(fixture, 0, COSTS(1, 2, 3, 4, 5, 6));
    fixture_destroy(fixture);
}

static void test_what_could_not_be_sent_yet_does_not_overtake(void **state) {
    struct fixture *fixture = fixture_create_ready(64, 1);
    ask_cost(fixture, "a", 1);
    turn(fixture);
    struct kept_batch batch = sent(fixture, 0, COSTS(1));
    for (uint64_t i = 2; i <= 4; i++) { /* the link takes four batches */
        ask_cost(fixture, "b", i);
        turn(fixture);
        sent(fixture, 0, COSTS(i));
    }
    ask_cost(fixture, "a", 5);
    nothing_sent(fixture);
    refuse(fixture, &batch); /* there is room again */
    nothing_sent(fixture);
    turn_after(fixture, 5 * MS);
    sent(fixture, 0, COSTS(1, 5));
    fixture_destroy(fixture);
}

static void test_a_new_owner_gets_them_at_once_and_in_order(void **state) {
    struct fixture *fixture = fixture_create_ready(64, 2);
    give_view(fixture, map_all_to(2, 0), plans_make(1, true));
    struct kept_batch batch = first_two(fixture);
    ask_cost(fixture, "a", 3); /* waits for the two, of which nothing is heard any more */
    nothing_sent(fixture);
    give_view(fixture, map_all_to(3, 1), plans_make(1, true));
    give_link(fixture, 1, true);
    turn(fixture);
    struct kept_batch moved = sent(fixture, 1, COSTS(3));
    ask_cost(fixture, "a", 4);
    nothing_sent(fixture);
    reply_error(fixture, &batch, CODE_MOVED, "gone", 3);
    reply_allow(fixture, &moved);
    forget(fixture);
    turn(fixture);
    sent(fixture, 1, COSTS(1, 2, 4));
    fixture_destroy(fixture);
}

static void test_released_but_unsent_when_the_map_changes(void **state) {
    struct fixture *fixture = fixture_create_ready(64, 2);
    give_view(fixture, map_all_to(2, 0), plans_make(1, true));
    ask_cost(fixture, "a", 1);
    turn(fixture);
    struct kept_batch batch = sent(fixture, 0, COSTS(1));
    refuse(fixture, &batch);
    ask_cost(fixture, "a", 2);
    give_link(fixture, 0, false);
    turn_after(fixture, 5 * MS); /* released, and parked: the link is down */
    ask_cost(fixture, "a", 3);
    give_view(fixture, map_all_to(3, 1), plans_make(1, true));
    give_link(fixture, 1, true);
    turn(fixture);
    sent(fixture, 1, COSTS(1, 2, 3));
    fixture_destroy(fixture);
}

static void test_a_lost_links_items_stay_in_order(void **state) {
    struct fixture *fixture = fixture_create_ready(64, 1);
    ask_cost(fixture, "a", 1);
    turn(fixture);
    sent(fixture, 0, COSTS(1));
    ask_cost(fixture, "a", 2); /* not yet sent */
    give_link(fixture, 0, false);
    ask_cost(fixture, "a", 3);
    give_link(fixture, 0, true);
    turn(fixture);
    sent(fixture, 0, COSTS(1, 2, 3));
    fixture_destroy(fixture);
}

static void test_who_gives_up_lets_the_others_go_on(void **state) {
    struct fixture *fixture = fixture_create_ready(64, 1);
    struct take take = take_of("a");
    take.deadline_ms = 20;
    take.cost_tokens = 1;
    ask_takes(fixture, 1, VERB_TAKE, false, &take, 1);
    turn(fixture);
    struct kept_batch batch = sent(fixture, 0, COSTS(1));
    refuse(fixture, &batch);
    turn_after(fixture, 5 * MS);
    sent(fixture, 0, COSTS(1)); /* and never answered */
    ask_cost(fixture, "a", 2);
    nothing_sent(fixture);
    turn_after(fixture, 15 * MS);
    assert_int_equal(only_answer(fixture)->client, 1);
    sent(fixture, 0, COSTS(2));
    fixture_destroy(fixture);
}

static void test_parked_is_bounded(void **state) {
    struct fixture *fixture = fixture_create_ready(4, 1);
    ask_cost(fixture, "a", 1);
    turn(fixture);
    struct kept_batch batch = sent(fixture, 0, COSTS(1));
    refuse(fixture, &batch);
    for (uint64_t i = 2; i <= 4; i++) {
        ask_cost(fixture, "a", i);
    }
    assert_int_equal(counter(fixture, pending_parked), 4);
    assert_int_equal(fixture->answer_count, 0);
    ask_cost(fixture, "a", 5);
    assert_int_equal(only_answer(fixture)->refusal, REASON_QUEUE_FULL);
    forget(fixture);
    turn_after(fixture, 5 * MS);
    batch = sent(fixture, 0, COSTS(1, 2, 3, 4));
    reply_allow(fixture, &batch);
    assert_int_equal(fixture->answer_count, 4); /* nobody was lost to it */
    fixture_destroy(fixture);
}

static void test_parked_time_is_measured(void **state) {
    struct fixture *fixture = fixture_create_ready(64, 1);
    ask_cost(fixture, "b", 9);
    turn(fixture);
    struct kept_batch batch = sent(fixture, 0, COSTS(9));
    reply_allow(fixture, &batch); /* it never waited */
    forget(fixture);
    assert_int_equal(router_parked_us(fixture->router)->count, 0);
    ask_cost(fixture, "a", 1);
    turn(fixture);
    batch = sent(fixture, 0, COSTS(1));
    turn_after(fixture, 3 * MS);
    refuse(fixture, &batch);
    turn_after(fixture, 2 * MS);
    ask_cost(fixture, "a", 2);
    turn_after(fixture, 3 * MS);
    batch = sent(fixture, 0, COSTS(1, 2));
    fixture->now_ns += MS;
    reply_allow(fixture, &batch);
    const struct histogram *parked = router_parked_us(fixture->router);
    assert_int_equal(parked->count, 2);
    assert_int_equal(counter(fixture, parked), 2);
    assert_int_equal(counter(fixture, pending_parked), 0);
    assert_int_equal(parked->longest, 6000); /* 2 + 3 + 1 ms since it was refused */
    assert_in_range(histogram_median(parked), 4000, 4000 + 4000 / HISTOGRAM_PARTS);
    fixture_destroy(fixture);
}

static void test_histogram_buckets(void **state) {
    uint64_t above = 0;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        uint64_t upper = histogram_upper(i);
        assert_true(i == 0 || upper > histogram_upper(i - 1));
        for (uint64_t value = above; value <= upper; value += 1 + (upper - above) / 5) {
            struct histogram histogram = {.count = 0};
            histogram_add(&histogram, value);
            assert_int_equal(histogram.counts[i], 1);
            assert_true(upper < value + value / HISTOGRAM_PARTS + 1);
        }
        above = upper + 1;
    }
    assert_int_equal(above, HISTOGRAM_VALUE_MAX + 1);
    struct histogram histogram = {.count = 0};
    histogram_add(&histogram, UINT64_MAX);
    assert_int_equal(histogram.counts[HISTOGRAM_BUCKETS - 1], 1);
    assert_int_equal(histogram.longest, UINT64_MAX);
}

static void test_histogram_median(void **state) {
    struct histogram histogram = {.count = 0};
    assert_int_equal(histogram_median(&histogram), 0);
    histogram_add(&histogram, 1000);
    assert_int_equal(histogram_median(&histogram), 1000); /* never more than the longest */
    for (uint64_t i = 1; i <= 6; i++) {
        histogram_add(&histogram, i);
    }
    assert_int_equal(histogram_median(&histogram), 4);
    struct histogram other = {.count = 0};
    histogram_add(&other, 2000);
    histogram_merge(&other, &histogram);
    histogram_merge(&histogram, &other);
    assert_int_equal(histogram.count, 15);
    assert_int_equal(histogram.longest, 2000);
    histogram = (struct histogram){.count = 0};
    histogram_merge(&histogram, &other);
    histogram_add(&histogram, 1);
    assert_int_equal(histogram.longest, 2000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_released_in_order),
        cmocka_unit_test(test_other_keys_do_not_wait),
        cmocka_unit_test(test_two_batches_refused_one_after_the_other),
        cmocka_unit_test(test_what_could_not_be_sent_yet_does_not_overtake),
        cmocka_unit_test(test_a_new_owner_gets_them_at_once_and_in_order),
        cmocka_unit_test(test_released_but_unsent_when_the_map_changes),
        cmocka_unit_test(test_a_lost_links_items_stay_in_order),
        cmocka_unit_test(test_who_gives_up_lets_the_others_go_on),
        cmocka_unit_test(test_parked_is_bounded),
        cmocka_unit_test(test_parked_time_is_measured),
        cmocka_unit_test(test_histogram_buckets),
        cmocka_unit_test(test_histogram_median),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
