/* When a node may take over the slots of another: only in calm, never its own, evenly. */
#include <stdio.h>
#include <stdlib.h>

#include "server/core/ownership.h"
#include "tests/unit/cmocka_all.h"

#define MS UINT64_C(1000000)
#define TTL (1500 * MS)
#define BEAT (TTL / 10)

struct workspace {
    struct ownership ownership;
    struct map map;
    struct map after;
    struct placement_move moves[SLOTS_MAX];
    bool absent[NODES_MAX];
    uint64_t now_ns;
};

static int setup(void **state) {
    struct workspace *w = calloc(1, sizeof *w);
    *state = w;
    if (w == NULL) {
        return 1;
    }
    ownership_init(&w->ownership, TTL);
    w->now_ns = 1000 * TTL;
    map_init(&w->map);
    w->map.epoch.number = 5;
    w->map.slot_count = 1024;
    w->map.node_count = 4;
    w->map.shard_count = 8;
    for (uint32_t i = 0; i < 4; i++) {
        char text[8];
        snprintf(text, sizeof text, "n%u", i);
        w->map.nodes[i].id = name_of(bytes_of_text(text));
        w->map.nodes[i].weight = WEIGHT_DEFAULT;
        for (uint32_t k = 0; k < 2; k++) {
            w->map.shards[2 * i + k].node = (uint16_t)i;
            w->map.shards[2 * i + k].number = (uint16_t)k;
        }
    }
    map_spread(&w->map);
    return 0;
}

static int teardown(void **state) {
    free(*state);
    return 0;
}

static uint32_t beat(struct workspace *w, int32_t self, uint64_t after_ns, uint64_t round_trip_ns) {
    w->now_ns += after_ns;
    return ownership_beat(&w->ownership, &w->map, self, w->absent, w->now_ns, round_trip_ns,
                          w->moves);
}

/* Heartbeats as they should be, for that long. Returns what the last one proposed. */
static uint32_t calm_pass(struct workspace *w, uint64_t ns) {
    uint32_t count = 0;
    for (uint64_t passed = 0; passed < ns; passed += BEAT) {
        count = beat(w, 0, BEAT, MS);
    }
    return count;
}

static void test_not_before_calm(void **state) {
    struct workspace *w = *state;
    w->absent[1] = true;
    uint64_t since_ns = w->now_ns + BEAT; /* of the first beat */
    for (;;) {
        uint32_t count = beat(w, 0, BEAT, MS);
        bool calm = w->now_ns - since_ns >= OWNERSHIP_CALM * TTL;
        assert_int_equal(count, calm ? 256 : 0);
        if (calm) {
            return;
        }
    }
}

static void test_nobody_absent_moves_nothing(void **state) {
    assert_int_equal(calm_pass(*state, 10 * TTL), 0);
}

/* Calm is only lost by what happens to the store: a death is acted on at the first beat. */
static void test_at_once_when_calm(void **state) {
    struct workspace *w = *state;
    calm_pass(w, 2 * OWNERSHIP_CALM * TTL);
    w->absent[2] = true;
    assert_int_equal(beat(w, 0, BEAT, MS), 256);
}

static void test_a_slow_answer_ends_calm(void **state) {
    struct workspace *w = *state;
    calm_pass(w, 2 * OWNERSHIP_CALM * TTL);
    w->absent[1] = true;
    assert_int_equal(beat(w, 0, BEAT, TTL / 3 + 1), 0);
    assert_int_equal(calm_pass(w, OWNERSHIP_CALM * TTL - BEAT), 0);
    assert_int_equal(calm_pass(w, 2 * BEAT), 256);
}

/* This node was stopped, or its store was: everybody's lease has run out meanwhile. */
static void test_a_late_beat_ends_calm(void **state) {
    struct workspace *w = *state;
    calm_pass(w, 2 * OWNERSHIP_CALM * TTL);
    w->absent[1] = w->absent[2] = w->absent[3] = true;
    assert_int_equal(beat(w, 0, TTL / 2 + 1, MS), 0);
    memset(w->absent, 0, sizeof w->absent);
    assert_int_equal(calm_pass(w, 2 * OWNERSHIP_CALM * TTL), 0);
}

/* Its store was gone for a moment, and is back without the newest leases of those who live. */
static void test_a_new_connection_ends_calm(void **state) {
    struct workspace *w = *state;
    calm_pass(w, 2 * OWNERSHIP_CALM * TTL);
    ownership_reconnected(&w->ownership);
    w->absent[1] = true;
    assert_int_equal(beat(w, 0, BEAT, MS), 0);
    assert_int_equal(calm_pass(w, OWNERSHIP_CALM * TTL - BEAT), 0);
    assert_int_equal(calm_pass(w, 2 * BEAT), 256);
}

static void test_not_of_oneself(void **state) {
    struct workspace *w = *state;
    w->absent[0] = true;
    assert_int_equal(calm_pass(w, 2 * OWNERSHIP_CALM * TTL), 0);
    w->absent[3] = true;
    uint32_t count = beat(w, 0, BEAT, MS);
    assert_int_equal(count, 256);
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(w->map.shards[w->moves[i].from.index].node, 3);
    }
}

static void test_who_stands_not_in_the_map_takes_nothing(void **state) {
    struct workspace *w = *state;
    w->absent[1] = true;
    for (uint64_t passed = 0; passed < 2 * OWNERSHIP_CALM * TTL; passed += BEAT) {
        assert_int_equal(beat(w, -1, BEAT, MS), 0);
    }
}

static uint32_t apply(struct workspace *w, uint32_t count, uint32_t node) {
    w->after = w->map;
    placement_apply(&w->after, w->moves, count);
    return map_slots_of_node(&w->after, (int32_t)node);
}

static void test_spread_is_even(void **state) {
    struct workspace *w = *state;
    w->absent[1] = true;
    uint32_t count = calm_pass(w, 2 * OWNERSHIP_CALM * TTL);
    assert_int_equal(apply(w, count, 1), 0);
    for (uint32_t s = 0; s < 8; s++) {
        uint32_t slots = map_slots_owned(&w->after, (struct shard_id){.index = (uint16_t)s});
        if (w->map.shards[s].node != 1) {
            assert_in_range(slots, 170, 171);
        }
    }
}

static void test_two_dead_at_once(void **state) {
    struct workspace *w = *state;
    w->absent[1] = w->absent[2] = true;
    uint32_t count = calm_pass(w, 2 * OWNERSHIP_CALM * TTL);
    assert_int_equal(count, 512);
    assert_int_equal(apply(w, count, 0), 512);
    assert_int_equal(apply(w, count, 3), 512);
}

/* A drained node gets nothing of it, and what it still has is not taken from it. */
static void test_drained_nodes_that_live(void **state) {
    struct workspace *w = *state;
    w->map.nodes[2].weight = 0;
    w->absent[1] = true;
    uint32_t count = calm_pass(w, 2 * OWNERSHIP_CALM * TTL);
    assert_int_equal(count, 256);
    assert_int_equal(apply(w, count, 2), 256);
    assert_int_equal(apply(w, count, 0), 384);
    /* Unless only drained ones are left. */
    w->absent[0] = false;
    w->absent[3] = true;
    w->map.nodes[0].weight = 0;
    count = beat(w, 0, BEAT, MS);
    assert_int_equal(count, 512);
    assert_int_equal(apply(w, count, 0), 512);
    assert_int_equal(apply(w, count, 2), 512);
}

static void test_the_dead_without_slots_and_the_drained_dead(void **state) {
    struct workspace *w = *state;
    w->map.nodes[1].weight = 0;
    w->absent[1] = true;
    uint32_t count = calm_pass(w, 2 * OWNERSHIP_CALM * TTL);
    assert_int_equal(apply(w, count, 1), 0);
    w->map = w->after;
    assert_int_equal(beat(w, 0, BEAT, MS), 0);
}

static void test_orphans_go_along(void **state) {
    struct workspace *w = *state;
    w->map.owner[9] = UINT16_MAX;
    w->absent[1] = true;
    assert_int_equal(calm_pass(w, 2 * OWNERSHIP_CALM * TTL), 257);
}

/* Two nodes that see the same propose the same map: whoever comes first, it is one outcome. */
static void test_all_propose_the_same(void **state) {
    struct workspace *w = *state;
    w->absent[1] = true;
    uint32_t count = calm_pass(w, 2 * OWNERSHIP_CALM * TTL);
    apply(w, count, 0);
    uint16_t owner[1024];
    memcpy(owner, w->after.owner, sizeof owner);
    for (int32_t self = 2; self < 4; self++) {
        count = beat(w, self, BEAT, MS);
        apply(w, count, 0);
        assert_memory_equal(owner, w->after.owner, sizeof owner);
    }
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_not_before_calm),         TEST(test_nobody_absent_moves_nothing),
        TEST(test_at_once_when_calm),       TEST(test_a_slow_answer_ends_calm),
        TEST(test_a_late_beat_ends_calm),   TEST(test_a_new_connection_ends_calm),
        TEST(test_not_of_oneself),          TEST(test_who_stands_not_in_the_map_takes_nothing),
        TEST(test_spread_is_even),          TEST(test_two_dead_at_once),
        TEST(test_drained_nodes_that_live), TEST(test_the_dead_without_slots_and_the_drained_dead),
        TEST(test_orphans_go_along),        TEST(test_all_propose_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
