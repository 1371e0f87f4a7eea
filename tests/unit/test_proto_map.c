/* Maps: spread, found in, checked, written and read back, damaged. */
#include <stdio.h>
#include <stdlib.h>

#include "cmocka_all.h"
#include "proto/cluster_view.h"
#include "proto/map_codec.h"

struct workspace {
    struct map map;
    struct map copy;
    struct plan_set plans;
    struct plan_set plans_copy;
    uint8_t memory[MAP_BYTES_MAX];
};

static int setup(void **state) {
    *state = malloc(sizeof(struct workspace));
    return *state == NULL;
}

static int teardown(void **state) {
    free(*state);
    return 0;
}

static void map_make(struct map *map, uint32_t nodes, uint32_t shards_each, uint32_t slots) {
    map_init(map);
    map->epoch.number = 3;
    map->slot_count = slots;
    map->node_count = nodes;
    map->shard_count = nodes * shards_each;
    for (uint32_t i = 0; i < nodes; i++) {
        char text[32];
        snprintf(text, sizeof text, "n%u", i);
        map->nodes[i].id = name_of(bytes_of_text(text));
        assert_true(endpoint_name_set(&map->nodes[i].control, bytes_of_text("tcp://c:1")));
    }
    for (uint32_t i = 0; i < map->shard_count; i++) {
        char text[32];
        snprintf(text, sizeof text, "tcp://s:%u", i);
        map->shards[i].node = (uint16_t)(i / shards_each);
        map->shards[i].number = (uint16_t)(i % shards_each);
        assert_true(endpoint_name_set(&map->shards[i].endpoint, bytes_of_text(text)));
    }
    if (map->shard_count > 0) {
        map_spread(map);
    }
}

static bool maps_same(const struct map *a, const struct map *b) {
    bool same = a->epoch.number == b->epoch.number && a->slot_count == b->slot_count &&
                a->node_count == b->node_count && a->shard_count == b->shard_count &&
                memcmp(a->owner, b->owner, a->slot_count * sizeof a->owner[0]) == 0;
    for (uint32_t i = 0; same && i < a->node_count; i++) {
        same = strcmp(a->nodes[i].id.text, b->nodes[i].id.text) == 0 &&
               strcmp(a->nodes[i].control.text, b->nodes[i].control.text) == 0;
    }
    for (uint32_t i = 0; same && i < a->shard_count; i++) {
        same = a->shards[i].node == b->shards[i].node &&
               a->shards[i].number == b->shards[i].number &&
               strcmp(a->shards[i].endpoint.text, b->shards[i].endpoint.text) == 0;
    }
    return same;
}

static void round_trip(struct workspace *workspace) {
    struct writer writer = writer_of(workspace->memory, sizeof workspace->memory);
    struct fault fault = {0};
    map_write(&writer, &workspace->map);
    assert_false(writer.overflow);
    struct reader reader = reader_of(writer_bytes(&writer));
    if (map_read(&reader, &workspace->copy, &fault) != CODE_OK) {
        fail_msg("%s", fault.text);
    }
    assert_true(reader_done(&reader));
    assert_true(maps_same(&workspace->map, &workspace->copy));
}

static void test_spread_is_even(void **state) {
    struct workspace *workspace = *state;
    static const uint32_t shard_counts[] = {1, 2, 3, 5, 7, 64, 1000};
    for (size_t i = 0; i < sizeof shard_counts / sizeof shard_counts[0]; i++) {
        uint32_t shards = shard_counts[i], total = 0;
        map_make(&workspace->map, 1, shards, SLOTS_DEFAULT);
        for (uint32_t j = 0; j < shards; j++) {
            uint32_t owned =
                map_slots_owned(&workspace->map, (struct shard_id){.index = (uint16_t)j});
            assert_in_range(owned, SLOTS_DEFAULT / shards, SLOTS_DEFAULT / shards + 1);
            total += owned;
        }
        assert_int_equal(total, SLOTS_DEFAULT);
        round_trip(workspace);
    }
}

static void test_what_is_found(void **state) {
    struct map *map = &((struct workspace *)*state)->map;
    map_make(map, 3, 2, 16);
    assert_int_equal(map_find_node(map, bytes_of_text("n2")), 2);
    assert_int_equal(map_find_node(map, bytes_of_text("n")), -1);
    assert_int_equal(map_find_node(map, bytes_of_text("")), -1);
    assert_int_equal(map_find_shard(map, 1, 1).index, 3);
    assert_int_equal(map_find_shard(map, 1, 2).index, SHARD_ID_NONE.index);
    assert_int_equal(map_owner(map, (struct slot){.index = 15}).index, 5);
}

static void test_largest_map_fits_its_bound(void **state) {
    struct workspace *workspace = *state;
    struct map *map = &workspace->map;
    char url[ENDPOINT_BYTES_MAX + 1], id[NAME_BYTES_MAX + 1];
    memset(url, 'u', ENDPOINT_BYTES_MAX);
    url[ENDPOINT_BYTES_MAX] = '\0';
    map_make(map, NODES_MAX, SHARDS_MAX / NODES_MAX, SLOTS_MAX);
    map->epoch.number = UINT64_MAX;
    for (uint32_t i = 0; i < NODES_MAX; i++) {
        snprintf(id, sizeof id, "%063u", i);
        map->nodes[i].id = name_of(bytes_of_text(id));
        assert_true(endpoint_name_set(&map->nodes[i].control, bytes_of_text(url)));
    }
    for (uint32_t i = 0; i < SHARDS_MAX; i++) {
        assert_true(endpoint_name_set(&map->shards[i].endpoint, bytes_of_text(url)));
    }
    for (uint32_t i = 0; i < SLOTS_MAX; i++) { /* every slot a run of its own */
        map->owner[i] = (uint16_t)(i % 2 == 0 ? 1023 : 1022);
    }
    round_trip(workspace);
    assert_false(endpoint_name_set(&map->nodes[0].control, bytes_of(url, ENDPOINT_BYTES_MAX + 1)));
    assert_false(endpoint_name_set(&map->nodes[0].control, bytes_of("a\0b", 3)));
}

static void test_random_owners_come_back(void **state) {
    struct workspace *workspace = *state;
    unsigned seed = 11;
    for (int round = 0; round < 200; round++) {
        map_make(&workspace->map, 1 + (uint32_t)rand_r(&seed) % 5, 3,
                 1u << ((uint32_t)rand_r(&seed) % 15));
        for (uint32_t i = 0; i < workspace->map.slot_count; i++) {
            uint32_t dice = (uint32_t)rand_r(&seed);
            if (dice % 3 == 0) {
                workspace->map.owner[i] =
                    dice % 7 == 0 ? UINT16_MAX : (uint16_t)(dice / 16 % workspace->map.shard_count);
            }
        }
        round_trip(workspace);
    }
}

static void test_what_does_not_fit_is_refused(void **state) {
    struct map *map = &((struct workspace *)*state)->map;
    struct fault fault;
    map_make(map, 2, 2, 8);
    assert_int_equal(map_check(map, &fault), CODE_OK);
    map->owner[3] = 4;
    assert_int_equal(map_check(map, &fault), CODE_BAD_REQUEST);
    map_make(map, 2, 2, 8);
    map->shards[3].node = 2;
    assert_int_equal(map_check(map, &fault), CODE_BAD_REQUEST);
    map_make(map, 2, 2, 8);
    map->shards[3].number = 0;
    assert_int_equal(map_check(map, &fault), CODE_BAD_REQUEST);
    map_make(map, 2, 2, 8);
    map->nodes[1].id = map->nodes[0].id;
    assert_int_equal(map_check(map, &fault), CODE_BAD_REQUEST);
    map_make(map, 2, 2, 8);
    map->slot_count = 7;
    assert_int_equal(map_check(map, &fault), CODE_BAD_REQUEST);
}

static void test_damaged_maps_are_refused_or_whole(void **state) {
    struct workspace *workspace = *state;
    struct writer writer = writer_of(workspace->memory, sizeof workspace->memory);
    map_make(&workspace->map, 3, 2, 64);
    map_write(&writer, &workspace->map);
    unsigned seed = 5;
    for (int round = 0; round < 50000; round++) {
        size_t size = round < (int)writer.size ? (size_t)round : writer.size;
        uint8_t *exact = malloc(size + (size == 0));
        struct fault fault;
        assert_non_null(exact);
        memcpy(exact, workspace->memory, size);
        if (size == writer.size) {
            exact[(size_t)rand_r(&seed) % size] = (uint8_t)rand_r(&seed);
        }
        struct reader reader = reader_of(bytes_of(exact, size));
        if (map_read(&reader, &workspace->copy, &fault) == CODE_OK) {
            assert_int_equal(map_check(&workspace->copy, &fault), CODE_OK);
            assert_int_equal(size, writer.size);
        }
        free(exact);
    }
}

static void test_cluster_view_comes_back(void **state) {
    struct workspace *workspace = *state;
    struct fault fault;
    uint64_t age_ms;
    struct plan plan = {.name = name_of(bytes_of_text("free")),
                        .on_unavailable = POLICY_ALLOW,
                        .generation_count = 1};
    plan_set_init(&workspace->plans);
    workspace->plans.version = 5;
    plan_set_add(&workspace->plans, &plan);
    workspace->plans.default_at = 0;
    map_make(&workspace->map, 2, 2, 8);
    struct writer writer = writer_of(workspace->memory, sizeof workspace->memory);
    cluster_view_write(&writer, &workspace->map, &workspace->plans, 321);
    assert_int_equal(cluster_view_read(writer_bytes(&writer), &workspace->copy,
                                       &workspace->plans_copy, &age_ms, &fault),
                     CODE_OK);
    assert_true(maps_same(&workspace->map, &workspace->copy));
    assert_int_equal(age_ms, 321);
    assert_int_equal(workspace->plans_copy.version, 5);
    assert_int_equal(workspace->plans_copy.default_at, 0);
    assert_int_equal(workspace->plans_copy.plans[0].on_unavailable, POLICY_ALLOW);

    writer = writer_of(workspace->memory, sizeof workspace->memory);
    cluster_view_write(&writer, NULL, &workspace->plans, 0);
    assert_int_equal(cluster_view_read(writer_bytes(&writer), &workspace->copy,
                                       &workspace->plans_copy, &age_ms, &fault),
                     CODE_OK);
    assert_int_equal(workspace->copy.epoch.number, 0);
    for (uint32_t size = 0; size < writer.size; size++) {
        assert_int_not_equal(cluster_view_read(bytes_of(workspace->memory, size), &workspace->copy,
                                               &workspace->plans_copy, &age_ms, &fault),
                             CODE_OK);
    }
}

static void test_a_node_has_the_slots_of_its_shards(void **state) {
    struct map *map = &((struct workspace *)*state)->map;
    map_make(map, 2, 2, 16);
    assert_int_equal(map_slots_of_node(map, 0), 8);
    assert_int_equal(map_slots_of_node(map, 1), 8);
    map->owner[0] = UINT16_MAX; /* nobody's, and so not of the first node either */
    map->owner[15] = UINT16_MAX;
    assert_int_equal(map_slots_of_node(map, 0), 7);
    assert_int_equal(map_slots_of_node(map, 1), 7);
}

static void test_ids_of_clusters(void **state) {
    static const char *const bad[] = {"",
                                      "0123456789abcde",
                                      "0123456789abcdef0",
                                      "0123456789abcdeF",
                                      "0123456789abcde:",
                                      "0123456789abcde/",
                                      "0123456789abcde`",
                                      "0123456789abcdeg"};
    struct cluster_id id;
    assert_int_equal(CLUSTER_ID_DIGITS, 16);
    assert_true(cluster_id_set(&id, bytes_of_text("0123456789abcdef")));
    assert_string_equal(id.text, "0123456789abcdef");
    assert_true(cluster_id_set(&id, bytes_of_text("9999999999999999")));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(cluster_id_set(&id, bytes_of_text(bad[i])));
        assert_string_equal(id.text, "");
    }
}

static void test_maps_of_the_same_cluster(void **state) {
    struct workspace *workspace = *state;
    struct map *known = &workspace->map, *next = &workspace->copy;
    struct fault fault = {0};
    map_make(known, 1, 1, 16);
    map_make(next, 1, 1, 16);
    assert_int_equal(map_check_same(known, next, &fault), CODE_OK);
    cluster_id_set(&known->cluster, bytes_of_text("0123456789abcdef"));
    assert_int_equal(map_check_same(known, next, &fault), CODE_OK); /* it does not say */
    cluster_id_set(&next->cluster, bytes_of_text("0123456789abcde0"));
    assert_int_equal(map_check_same(known, next, &fault), CODE_BAD_REQUEST);
    assert_string_equal(fault.text, "the map is of cluster 0123456789abcde0, this is cluster "
                                    "0123456789abcdef");
    next->epoch.number = 0; /* that is no map */
    assert_int_equal(map_check_same(known, next, &fault), CODE_OK);
    assert_int_equal(map_check_same(next, known, &fault), CODE_OK);
    next->epoch.number = 4;
    next->cluster = known->cluster;
    next->slot_count = 32;
    assert_int_equal(map_check_same(known, next, &fault), CODE_BAD_REQUEST);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spread_is_even),
        cmocka_unit_test(test_what_is_found),
        cmocka_unit_test(test_largest_map_fits_its_bound),
        cmocka_unit_test(test_random_owners_come_back),
        cmocka_unit_test(test_what_does_not_fit_is_refused),
        cmocka_unit_test(test_damaged_maps_are_refused_or_whole),
        cmocka_unit_test(test_cluster_view_comes_back),
        cmocka_unit_test(test_a_node_has_the_slots_of_its_shards),
        cmocka_unit_test(test_ids_of_clusters),
        cmocka_unit_test(test_maps_of_the_same_cluster),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
