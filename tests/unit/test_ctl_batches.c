/* Plans cut into batches: each of one source and one target, all slots once, sources in turn. */
#include <stdlib.h>

#include "cmocka_all.h"
#include "ctl/batches.h"

struct workspace {
    struct map map;
    struct placement_move moves[SLOTS_MAX];
    struct batch batches[SLOTS_MAX];
};

static int setup(void **state) {
    struct workspace *workspace = calloc(1, sizeof *workspace);
    *state = workspace;
    return workspace == NULL;
}

static int teardown(void **state) {
    free(*state);
    return 0;
}

/* `nodes` nodes of two shards; the last `fresh` of them own nothing yet. */
static void cluster_make(struct map *map, uint32_t nodes, uint32_t fresh) {
    map_init(map);
    map->epoch.number = 1;
    map->slot_count = 1024;
    map->node_count = nodes;
    map->shard_count = 2 * nodes;
    for (uint32_t i = 0; i < nodes; i++) {
        map->nodes[i].id = name_of(bytes_of_text((char[]){(char)('a' + i), '\0'}));
        map->nodes[i].weight = WEIGHT_DEFAULT;
        map->shards[2 * i] = (struct map_shard){.node = (uint16_t)i, .number = 0};
        map->shards[2 * i + 1] = (struct map_shard){.node = (uint16_t)i, .number = 1};
    }
    for (uint32_t i = 0; i < map->slot_count; i++) {
        map->owner[i] = (uint16_t)(i * (2 * (nodes - fresh)) / map->slot_count);
    }
}

static void check(struct workspace *workspace, uint32_t count, uint32_t most) {
    struct map *map = &workspace->map;
    bool seen[SLOTS_MAX] = {false};
    uint32_t batches = batches_make(map, workspace->moves, count, most, workspace->batches),
             total = 0;
    for (uint32_t i = 0; i < batches; i++) {
        const struct batch *batch = &workspace->batches[i];
        assert_in_range(batch->count, 1, most);
        assert_true(i == 0 || batch->turn >= workspace->batches[i - 1].turn);
        for (uint32_t j = batch->first; j < batch->first + batch->count; j++) {
            const struct placement_move *move = &workspace->moves[j];
            assert_int_equal(map->shards[move->from.index].node, batch->node);
            assert_int_equal(move->to.index, batch->to.index);
            assert_false(seen[move->slot.index]);
            seen[move->slot.index] = true;
            total++;
        }
    }
    assert_int_equal(total, count);
}

static void test_a_new_node(void **state) {
    struct workspace *workspace = *state;
    static const uint32_t sizes[] = {1, 7, 64};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct placement placement;
        cluster_make(&workspace->map, 4, 1);
        placement_init(&placement, &workspace->map);
        uint32_t count = placement_by_count(&placement, workspace->moves);
        assert_int_equal(count, 256);
        moves_sort(&workspace->map, workspace->moves, count);
        check(workspace, count, sizes[i]);
    }
}

static void test_sources_take_turns(void **state) {
    struct workspace *workspace = *state;
    struct placement placement;
    cluster_make(&workspace->map, 3, 1);
    placement_init(&placement, &workspace->map);
    uint32_t count = placement_by_count(&placement, workspace->moves);
    moves_sort(&workspace->map, workspace->moves, count);
    uint32_t batches =
        batches_make(&workspace->map, workspace->moves, count, 16, workspace->batches);
    assert_true(batches >= 4);
    assert_int_not_equal(workspace->batches[0].node, workspace->batches[1].node);
    assert_int_equal(workspace->batches[0].node, workspace->batches[2].node);
}

static void test_nothing(void **state) {
    struct workspace *workspace = *state;
    cluster_make(&workspace->map, 2, 0);
    assert_int_equal(batches_make(&workspace->map, workspace->moves, 0, 64, workspace->batches), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_new_node, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sources_take_turns, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nothing, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
