/* Placement: shares, minimal moves, drained and orphaned slots, loads; and random maps. */
#include <stdio.h>
#include <stdlib.h>

#include "cmocka_all.h"
#include "proto/placement.h"

struct workspace {
    struct map map;
    struct map after;
    struct placement placement;
    struct placement_move moves[SLOTS_MAX];
    struct placement_move again[SLOTS_MAX];
    uint64_t loads[SLOTS_MAX];
    uint32_t shares[SHARDS_MAX];
};

static int setup(void **state) {
    *state = calloc(1, sizeof(struct workspace));
    return *state == NULL;
}

static int teardown(void **state) {
    free(*state);
    return 0;
}

static void node_add(struct map *map, uint32_t weight, uint32_t shards) {
    char text[32];
    uint32_t node = map->node_count++;
    snprintf(text, sizeof text, "n%u", node);
    map->nodes[node].id = name_of(bytes_of_text(text));
    map->nodes[node].weight = weight;
    for (uint32_t i = 0; i < shards; i++) {
        map->shards[map->shard_count].node = (uint16_t)node;
        map->shards[map->shard_count].number = (uint16_t)i;
        map->shard_count++;
    }
}

static void map_make(struct map *map, uint32_t nodes, uint32_t shards_each, uint32_t slots) {
    map_init(map);
    map->epoch.number = 1;
    map->slot_count = slots;
    for (uint32_t i = 0; i < nodes; i++) {
        node_add(map, WEIGHT_DEFAULT, shards_each);
    }
    if (nodes > 0) {
        map_spread(map);
    }
}

static uint32_t shards_of(const struct map *map, uint32_t node) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < map->shard_count; i++) {
        count += map->shards[i].node == node;
    }
    return count;
}

/* --- what every plan of moves must keep ----------------------------------------------------- */

/* Why the moves are no plan of this map, or NULL. Applies them to `after`. */
static const char *moves_fault(const struct map *map, const struct placement_move *moves,
                               uint32_t count, struct map *after) {
    static bool moved[SLOTS_MAX];
    memset(moved, 0, sizeof moved);
    *after = *map;
    if (count > map->slot_count) {
        return "more moves than slots";
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t slot = moves[i].slot.index;
        if (slot >= map->slot_count || moves[i].to.index >= map->shard_count) {
            return "a slot or a shard that does not exist";
        }
        if (moves[i].from.index != map->owner[slot]) {
            return "a slot moves from where it is not";
        }
        if (moves[i].from.index == moves[i].to.index) {
            return "a slot moves to where it is";
        }
        if (moved[slot]) {
            return "a slot moves twice";
        }
        moved[slot] = true;
    }
    placement_apply(after, moves, count);
    return NULL;
}

static void moves_check(struct workspace *w, uint32_t count) {
    const char *fault = moves_fault(&w->map, w->moves, count, &w->after);
    if (fault != NULL) {
        fail_msg("%s", fault);
    }
}

/* The checker itself: a plan with one thing wrong is found, and told by what is wrong. */
static void test_checker_finds_planted_faults(void **state) {
    struct workspace *w = *state;
    map_make(&w->map, 2, 1, 8);
    node_add(&w->map, WEIGHT_DEFAULT, 1);
    placement_init(&w->placement, &w->map);
    assert_int_equal(placement_by_count(&w->placement, w->moves), 2);
    assert_null(moves_fault(&w->map, w->moves, 2, &w->after));
    struct placement_move good = w->moves[1];
    w->moves[1] = w->moves[0];
    assert_string_equal(moves_fault(&w->map, w->moves, 2, &w->after), "a slot moves twice");
    w->moves[1] = good;
    w->moves[1].from.index ^= 1;
    assert_string_equal(moves_fault(&w->map, w->moves, 2, &w->after),
                        "a slot moves from where it is not");
    w->moves[1] = good;
    w->moves[1].to = w->moves[1].from;
    assert_string_equal(moves_fault(&w->map, w->moves, 2, &w->after),
                        "a slot moves to where it is");
    w->moves[1] = good;
    w->moves[1].to.index = 3;
    assert_string_equal(moves_fault(&w->map, w->moves, 2, &w->after),
                        "a slot or a shard that does not exist");
}

/* Shares add up, each within one of slots * weight of its node / shards of its node / total; moving
 * brings every shard exactly to its share, by no more moves than slots are above one. */
static void count_check(struct workspace *w) {
    uint64_t total_weight = 0;
    uint32_t total = 0, above = 0, orphans = 0;
    placement_shares(&w->placement, w->shares);
    for (uint32_t i = 0; i < w->map.node_count; i++) {
        total_weight += w->placement.weights[i];
    }
    for (uint32_t s = 0; s < w->map.shard_count; s++) {
        uint32_t node = w->map.shards[s].node, shards = shards_of(&w->map, node);
        double exact = total_weight == 0 ? 0
                                         : (double)w->map.slot_count * w->placement.weights[node] /
                                               shards / (double)total_weight;
        assert_true((double)w->shares[s] > exact - 1.001 && (double)w->shares[s] < exact + 1.001);
        assert_true(w->placement.weights[node] > 0 || w->shares[s] == 0);
        uint32_t owned = map_slots_owned(&w->map, (struct shard_id){.index = (uint16_t)s});
        above += owned > w->shares[s] ? owned - w->shares[s] : 0;
        total += w->shares[s];
    }
    for (uint32_t i = 0; i < w->map.slot_count; i++) {
        orphans += w->map.owner[i] == UINT16_MAX;
    }
    uint32_t count = placement_by_count(&w->placement, w->moves);
    moves_check(w, count);
    if (total_weight == 0) {
        assert_int_equal(count, 0);
        assert_int_equal(total, 0);
        return;
    }
    assert_int_equal(total, w->map.slot_count);
    assert_int_equal(count, above + orphans);
    for (uint32_t s = 0; s < w->map.shard_count; s++) {
        assert_int_equal(map_slots_owned(&w->after, (struct shard_id){.index = (uint16_t)s}),
                         w->shares[s]);
    }
}

static void test_nodes_added_to_equal_ones(void **state) {
    struct workspace *w = *state;
    for (uint32_t slots = 64; slots <= SLOTS_MAX; slots *= 4) {
        for (uint32_t nodes = 1; nodes <= 16; nodes++) {
            map_make(&w->map, nodes, 1, slots);
            node_add(&w->map, WEIGHT_DEFAULT, 1);
            placement_init(&w->placement, &w->map);
            count_check(w);
            uint32_t count = placement_by_count(&w->placement, w->moves);
            uint32_t share = slots / (nodes + 1);
            assert_in_range(count, share, share + 1);
            for (uint32_t i = 0; i < count; i++) {
                assert_int_equal(w->moves[i].to.index, nodes);
            }
        }
    }
}

static void test_removing_moves_only_its_own(void **state) {
    struct workspace *w = *state;
    for (uint32_t nodes = 2; nodes <= 16; nodes++) {
        map_make(&w->map, nodes, 2, 1024);
        uint32_t gone = nodes / 2;
        w->map.nodes[gone].weight = 0;
        placement_init(&w->placement, &w->map);
        count_check(w);
        uint32_t count = placement_by_count(&w->placement, w->moves);
        assert_int_equal(count, map_slots_of_node(&w->map, (int32_t)gone));
        for (uint32_t i = 0; i < count; i++) {
            assert_int_equal(w->map.shards[w->moves[i].from.index].node, gone);
        }
        assert_int_equal(map_slots_of_node(&w->after, (int32_t)gone), 0);
    }
}

static void test_a_balanced_map_stays(void **state) {
    struct workspace *w = *state;
    for (uint32_t nodes = 1; nodes <= 16; nodes++) {
        map_make(&w->map, nodes, 3, 1024);
        placement_init(&w->placement, &w->map);
        assert_int_equal(placement_by_count(&w->placement, w->moves), 0);
        assert_int_equal(placement_evacuate(&w->placement, w->moves), 0);
    }
}

static void test_weights(void **state) {
    struct workspace *w = *state;
    map_make(&w->map, 1, 2, 1024);
    node_add(&w->map, 3 * WEIGHT_DEFAULT, 2);
    placement_init(&w->placement, &w->map);
    count_check(w);
    assert_int_equal(map_slots_of_node(&w->after, 0), 256);
    assert_int_equal(map_slots_of_node(&w->after, 1), 768);
    /* A node with more shards owns no more for that. */
    map_make(&w->map, 1, 1, 1024);
    node_add(&w->map, WEIGHT_DEFAULT, 7);
    placement_init(&w->placement, &w->map);
    count_check(w);
    assert_in_range(map_slots_of_node(&w->after, 0), 512 - 7, 512 + 7);
    w->map.nodes[0].weight = 1;
    w->map.nodes[1].weight = WEIGHT_MAX;
    placement_init(&w->placement, &w->map);
    count_check(w);
    assert_in_range(map_slots_of_node(&w->after, 0), 0, 1);
}

static void test_nobody_has_weight(void **state) {
    struct workspace *w = *state;
    map_make(&w->map, 2, 2, 64);
    w->map.nodes[0].weight = w->map.nodes[1].weight = 0;
    placement_init(&w->placement, &w->map);
    count_check(w);
    assert_int_equal(placement_evacuate(&w->placement, w->moves), 0);
    assert_int_equal(placement_by_load(&w->placement, w->loads, w->moves), 0);
}

static void test_orphans_find_owners(void **state) {
    struct workspace *w = *state;
    map_make(&w->map, 2, 2, 64);
    for (uint32_t i = 0; i < 64; i += 3) {
        w->map.owner[i] = UINT16_MAX;
    }
    placement_init(&w->placement, &w->map);
    count_check(w);
    uint32_t count = placement_evacuate(&w->placement, w->moves);
    assert_int_equal(count, 22);
    moves_check(w, count);
    for (uint32_t i = 0; i < 64; i++) {
        assert_true(w->after.owner[i] != UINT16_MAX);
    }
}

static void test_evacuation_is_even_and_moves_nothing_else(void **state) {
    struct workspace *w = *state;
    map_make(&w->map, 3, 2, 1024);
    w->map.nodes[1].weight = 0;
    w->map.nodes[2].weight = 2 * WEIGHT_DEFAULT;
    placement_init(&w->placement, &w->map);
    uint32_t count = placement_evacuate(&w->placement, w->moves);
    assert_int_equal(count, map_slots_of_node(&w->map, 1));
    moves_check(w, count);
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(w->map.shards[w->moves[i].from.index].node, 1);
    }
    assert_int_equal(map_slots_of_node(&w->after, 1), 0);
    /* 1 to 2 by weight: 341 and 682. The first owned 342 before, and nothing was taken from it. */
    assert_in_range(map_slots_of_node(&w->after, 0), 341, 343);
}

/* --- by load -------------------------------------------------------------------------------- */

static uint64_t load_of(const struct workspace *w, const uint16_t *owner, uint32_t shard) {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < w->map.slot_count; i++) {
        sum += owner[i] == shard ? w->loads[i] : 0;
    }
    return sum;
}

static double weight_of(const struct workspace *w, uint32_t shard) {
    uint32_t node = w->map.shards[shard].node;
    return w->placement.weights[node] / (double)shards_of(&w->map, node);
}

/* How far the shard that is furthest off is from its share of the whole load. */
static uint64_t largest_deviation(const struct workspace *w, const uint16_t *owner) {
    uint64_t total = load_of(w, owner, UINT16_MAX), largest = 0;
    double weight = 0;
    for (uint32_t s = 0; s < w->map.shard_count; s++) {
        total += load_of(w, owner, s);
        weight += weight_of(w, s);
    }
    for (uint32_t s = 0; s < w->map.shard_count && weight > 0; s++) {
        uint64_t load = load_of(w, owner, s);
        uint64_t share = (uint64_t)((double)total * weight_of(w, s) / weight);
        uint64_t off = load > share ? load - share : share - load;
        largest = off > largest ? off : largest;
    }
    return largest;
}

/* Each move narrows the gap between its two shards; the largest deviation does not grow. */
static void load_check(struct workspace *w) {
    uint32_t count = placement_by_load(&w->placement, w->loads, w->moves);
    moves_check(w, count);
    uint64_t before = largest_deviation(w, w->map.owner);
    uint32_t leaving = 0;
    uint16_t owner[SLOTS_MAX];
    memcpy(owner, w->map.owner, sizeof owner);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t from = load_of(w, owner, w->moves[i].from.index);
        uint64_t to = load_of(w, owner, w->moves[i].to.index);
        uint64_t load = w->loads[w->moves[i].slot.index];
        bool leaves = w->moves[i].from.index >= w->map.shard_count ||
                      weight_of(w, w->moves[i].from.index) == 0;
        assert_true(load > 0 || leaves);
        leaving += leaves;
        /* Of two shards with equal shares the busier one gives, and not so much that the gap
         * becomes as wide the other way round. */
        if (w->moves[i].from.index < w->map.shard_count &&
            weight_of(w, w->moves[i].from.index) == weight_of(w, w->moves[i].to.index)) {
            assert_true(from > to && load < from - to);
        }
        owner[w->moves[i].slot.index] = w->moves[i].to.index;
    }
    /* What has to leave is put where there is most room, and that may not be enough. */
    assert_true(leaving > 0 || largest_deviation(w, w->after.owner) <= before + 2);
    uint64_t total = 0;
    for (uint32_t i = 0; i < w->map.node_count; i++) {
        total += w->placement.weights[i];
    }
    for (uint32_t i = 0; i < w->map.slot_count && total > 0; i++) {
        assert_true(w->after.owner[i] != UINT16_MAX && weight_of(w, w->after.owner[i]) > 0);
    }
}

static void test_by_load_evens_out(void **state) {
    struct workspace *w = *state;
    map_make(&w->map, 2, 1, 1024);
    for (uint32_t i = 0; i < 1024; i++) {
        w->loads[i] = i < 512 ? 30 : 10;
    }
    placement_init(&w->placement, &w->map);
    uint64_t before = largest_deviation(w, w->map.owner);
    load_check(w);
    uint64_t after = largest_deviation(w, w->after.owner);
    assert_int_equal(before, 5120);
    assert_true(after <= 10240 * 5 / 100);
    uint32_t count = placement_by_load(&w->placement, w->loads, w->moves);
    assert_in_range(count, (5120 - 512) / 30, 5120 / 30 + 1); /* no more than it takes */
}

static void test_by_load_leaves_small_gaps_alone(void **state) {
    struct workspace *w = *state;
    map_make(&w->map, 2, 2, 64);
    for (uint32_t i = 0; i < 64; i++) {
        w->loads[i] = i < 32 ? 104 : 100;
    }
    placement_init(&w->placement, &w->map);
    assert_int_equal(placement_by_load(&w->placement, w->loads, w->moves), 0);
    memset(w->loads, 0, sizeof w->loads);
    assert_int_equal(placement_by_load(&w->placement, w->loads, w->moves), 0);
}

/* Nothing is asked of most slots, of none at all in the end: a drained node keeps none of them. */
static void test_by_load_empties_drained_nodes(void **state) {
    struct workspace *w = *state;
    map_make(&w->map, 3, 2, 1024);
    w->map.nodes[1].weight = 0;
    w->map.owner[5] = UINT16_MAX;
    placement_init(&w->placement, &w->map);
    for (uint32_t hot = 20;; hot = 0) {
        for (uint32_t i = 0; i < 1024; i++) {
            w->loads[i] = i % 50 == 0 ? hot : 0;
        }
        load_check(w);
        assert_int_equal(map_slots_of_node(&w->after, 1), 0);
        /* They are spread as well, though nothing in the loads asks for it. */
        assert_in_range(map_slots_of_node(&w->after, 0), 480, 544);
        if (hot == 0) {
            break;
        }
    }
}

/* One slot that is hotter than a whole share cannot be helped: everything else leaves it. */
static void test_by_load_with_one_hot_slot(void **state) {
    struct workspace *w = *state;
    map_make(&w->map, 2, 1, 16);
    for (uint32_t i = 0; i < 16; i++) {
        w->loads[i] = i == 3 ? 1000 : 10;
    }
    placement_init(&w->placement, &w->map);
    load_check(w);
    for (uint32_t i = 0; i < 16; i++) {
        assert_int_equal(w->after.owner[i], i == 3 ? 0 : 1);
    }
}

/* --- anything at all ------------------------------------------------------------------------ */

static uint64_t chance_state;

static uint32_t chance(uint32_t below) { /* SplitMix64 */
    uint64_t z = chance_state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (uint32_t)((z ^ (z >> 31)) % below);
}

static void map_random(struct workspace *w) {
    map_init(&w->map);
    w->map.epoch.number = 1;
    w->map.slot_count = 1u << chance(11);
    uint32_t nodes = 1 + chance(12);
    for (uint32_t i = 0; i < nodes; i++) {
        uint32_t kind = chance(6);
        node_add(&w->map,
                 kind == 0   ? 0
                 : kind == 1 ? 1 + chance(WEIGHT_MAX)
                             : WEIGHT_DEFAULT,
                 1 + chance(4));
    }
    for (uint32_t i = 0; i < w->map.slot_count; i++) {
        bool orphan = chance(10) == 0;
        w->map.owner[i] = orphan ? UINT16_MAX : (uint16_t)chance(w->map.shard_count);
        w->loads[i] = chance(4) == 0 ? chance(1000000) : chance(100);
    }
    placement_init(&w->placement, &w->map);
}

static void evacuation_check(struct workspace *w) {
    uint64_t weight = 0;
    for (uint32_t i = 0; i < w->map.node_count; i++) {
        weight += w->placement.weights[i];
    }
    uint32_t count = placement_evacuate(&w->placement, w->moves), due = 0;
    moves_check(w, count);
    for (uint32_t i = 0; i < w->map.slot_count; i++) {
        uint16_t owner = w->map.owner[i], after = w->after.owner[i];
        bool leaves = owner == UINT16_MAX || w->placement.weights[w->map.shards[owner].node] == 0;
        due += leaves && weight > 0;
        assert_true(leaves || after == owner);
        assert_true(weight == 0 || w->placement.weights[w->map.shards[after].node] > 0);
    }
    assert_int_equal(count, due);
}

static void test_random_maps(void **state) {
    struct workspace *w = *state;
    for (uint64_t seed = 1; seed <= 1500; seed++) {
        chance_state = seed;
        map_random(w);
        count_check(w);
        evacuation_check(w);
        load_check(w);
        /* The same map gives the same moves. */
        uint32_t count = placement_by_count(&w->placement, w->moves);
        assert_int_equal(placement_by_count(&w->placement, w->again), count);
        assert_memory_equal(w->moves, w->again, count * sizeof w->moves[0]);
    }
}

/* A job that broke off after any number of its moves is resumed by planning again: nothing that
 * moved moves again, and the end is the same. */
static void test_planning_again_resumes(void **state) {
    struct workspace *w = *state;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        chance_state = seed;
        map_random(w);
        uint32_t count = placement_by_count(&w->placement, w->moves);
        if (count == 0) {
            continue;
        }
        uint32_t done = chance(count);
        w->after = w->map;
        placement_apply(&w->after, w->moves, done);
        struct placement rest = w->placement;
        rest.map = &w->after;
        uint32_t left = placement_by_count(&rest, w->again);
        assert_int_equal(left, count - done);
        for (uint32_t i = 0; i < left; i++) {
            for (uint32_t k = 0; k < done; k++) {
                assert_int_not_equal(w->again[i].slot.index, w->moves[k].slot.index);
            }
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_checker_finds_planted_faults),
        cmocka_unit_test(test_nodes_added_to_equal_ones),
        cmocka_unit_test(test_removing_moves_only_its_own),
        cmocka_unit_test(test_a_balanced_map_stays),
        cmocka_unit_test(test_weights),
        cmocka_unit_test(test_nobody_has_weight),
        cmocka_unit_test(test_orphans_find_owners),
        cmocka_unit_test(test_evacuation_is_even_and_moves_nothing_else),
        cmocka_unit_test(test_by_load_evens_out),
        cmocka_unit_test(test_by_load_leaves_small_gaps_alone),
        cmocka_unit_test(test_by_load_with_one_hot_slot),
        cmocka_unit_test(test_by_load_empties_drained_nodes),
        cmocka_unit_test(test_random_maps),
        cmocka_unit_test(test_planning_again_resumes),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
