/* The core's parts when memory ends: at each single piece that they ask for, and at the bounds. */
#include "server/core/arena.h"
#include "server/core/shard.h"
#include "server/core/table.h"
#include "server/core/term_set.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/heap_fixture.h"

#define MIB (UINT64_C(1) << 20)
#define SLOT_COUNT 8

/* Makes one with the k-th piece missing, for every k, until all that it asks for is there. Each
 * time all must come back. Returns how many pieces it takes. */
static uint64_t fail_each(bool (*make)(struct heap *heap, struct memory memory)) {
    for (uint64_t k = 1; k < 1000; k++) {
        struct heap heap = {.fail_at = k};
        struct memory memory = {heap_get, heap_put, &heap};
        bool made = make(&heap, memory);
        assert_int_equal(heap.bytes, 0);
        assert_int_equal(made, heap.gets < k);
        if (made) {
            return heap.gets;
        }
    }
    fail_msg("it never has enough");
    return 0;
}

static bool arena_make(struct heap *heap, struct memory memory) {
    struct budget budget = {.memory = memory, .bytes_max = 64 * MIB};
    struct arena arena;
    bool made = arena_init(&arena, &budget) && arena_get(&arena, 8) != 0;
    arena_fini(&arena);
    return made;
}

static bool term_set_make(struct heap *heap, struct memory memory) {
    struct term_set set;
    bool made = term_set_init(&set, &memory, 64);
    if (made) {
        term_set_fini(&set);
    }
    return made;
}

/* Large enough a table that it has pieces of its own, beside the arena's. Without memory to grow
 * it stays as it is, until it is full. */
static bool table_make(struct heap *heap, struct memory memory) {
    struct budget budget = {.memory = memory, .bytes_max = 64 * MIB};
    struct arena arena;
    struct table table = {0};
    uint32_t count = 0;
    if (arena_init(&arena, &budget)) {
        while (count < 20000 && table_insert(&table, &arena, count * 2654435761u, count + 1)) {
            count++;
        }
        for (uint32_t i = 0; i < count; i++) {
            assert_int_equal(table_candidate(&table, i * 2654435761u), i + 1);
        }
        for (uint32_t i = 0; i < count; i++) {
            table_remove(&table, &arena, i * 2654435761u, i + 1);
        }
        table_fini(&table, &arena);
    }
    arena_fini(&arena);
    /* What fails on the way down leaves the table large, and is no failure. */
    return count == 20000 && (heap->fail_at == 0 || heap->gets < heap->fail_at);
}

static bool shard_make(struct heap *heap, struct memory memory) {
    struct shard_options options = {.slot_count = SLOT_COUNT,
                                    .snapshot_interval_ns = 100000000,
                                    .memory_bytes_max = 64 * MIB,
                                    .memory = memory};
    struct shard *shard = shard_create(&options);
    if (shard != NULL) {
        shard_destroy(shard);
    }
    return shard != NULL;
}

static void test_each_piece_may_be_missing(void **state) {
    assert_int_equal(fail_each(arena_make), 2);
    assert_int_equal(fail_each(term_set_make), 2);
    assert_true(fail_each(table_make) > 4);
    assert_true(fail_each(shard_make) >= 6);
}

static void test_pages_without_a_number(void **state) {
    struct heap heap;
    struct budget budget = heap_budget(&heap, 64 * MIB);
    struct arena arena;
    assert_true(arena_init(&arena, &budget));
    uint32_t numbers = arena.page_count_max, refs[64], count = 0;
    arena.page_count_max = 2;
    while ((refs[count] = arena_get(&arena, ARENA_PIECE_MAX)) != 0) {
        count++;
    }
    assert_int_equal(count, 2 * 16 - 1); /* reference 0 is nobody's */
    assert_int_equal(budget.bytes, 2 * MIB);
    while (count > 0) {
        arena_put(&arena, refs[--count]);
    }
    arena.page_count_max = numbers;
    arena_fini(&arena);
    assert_int_equal(heap.bytes, 0);
}

/* The directory of pages is as long as references can name, however much memory is allowed. */
static void test_more_memory_than_can_be_named(void **state) {
    struct heap heap;
    struct budget budget = heap_budget(&heap, UINT64_C(1) << 50);
    struct arena arena;
    assert_true(arena_init(&arena, &budget));
    assert_int_equal(arena.page_count_max, ARENA_PAGES_MAX);
    arena_fini(&arena);
    arena_fini(&arena); /* again: nothing to give back */
    assert_int_equal(heap.bytes, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_piece_may_be_missing),
        cmocka_unit_test(test_pages_without_a_number),
        cmocka_unit_test(test_more_memory_than_can_be_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
