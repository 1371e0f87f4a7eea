#include "server/core/arena.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/heap_fixture.h"

#define MIB (UINT64_C(1) << 20)

static void test_pieces_do_not_overlap(void **state) {
    struct heap heap;
    struct budget budget = heap_budget(&heap, 64 * MIB);
    struct arena arena;
    assert_true(arena_init(&arena, &budget));
    static uint32_t refs[20000], sizes[20000];
    for (uint32_t i = 0; i < 20000; i++) {
        sizes[i] = i * 7919 % 300 + 1;
        refs[i] = arena_get(&arena, sizes[i]);
        assert_int_not_equal(refs[i], 0);
        assert_true(arena_size(&arena, refs[i]) >= sizes[i]);
        assert_true(arena_size(&arena, refs[i]) < sizes[i] + 8);
        memset(arena_at(&arena, refs[i]), (int)(i & 0xff), sizes[i]);
    }
    for (uint32_t i = 0; i < 20000; i++) {
        const uint8_t *piece = arena_at(&arena, refs[i]);
        assert_int_equal(piece[0], i & 0xff);
        assert_int_equal(piece[sizes[i] - 1], i & 0xff);
        arena_put(&arena, refs[i]);
    }
    assert_true(budget.bytes <= MIB); /* the spare page */
    arena_fini(&arena);
    assert_int_equal(budget.bytes, 0);
    assert_int_equal(heap.bytes, 0);
}

static void test_large_classes_are_powers_of_two(void **state) {
    struct heap heap;
    struct budget budget = heap_budget(&heap, 64 * MIB);
    struct arena arena;
    assert_true(arena_init(&arena, &budget));
    for (uint32_t size = 1024; size <= ARENA_PIECE_MAX; size *= 2) {
        uint32_t exact = arena_get(&arena, size), above = arena_get(&arena, size / 2 + 1);
        assert_int_equal(arena_size(&arena, exact), size);
        assert_int_equal(arena_size(&arena, above), size);
        memset(arena_at(&arena, exact), 1, size);
        memset(arena_at(&arena, above), 2, size);
        assert_int_equal(((uint8_t *)arena_at(&arena, exact))[size - 1], 1);
        arena_put(&arena, exact);
        arena_put(&arena, above);
    }
    arena_fini(&arena);
    assert_int_equal(heap.bytes, 0);
}

static void test_freed_pieces_are_used_again(void **state) {
    struct heap heap;
    struct budget budget = heap_budget(&heap, 64 * MIB);
    struct arena arena;
    assert_true(arena_init(&arena, &budget));
    uint32_t kept = arena_get(&arena, 24);
    uint64_t bytes = budget.bytes;
    for (uint32_t i = 0; i < 1000000; i++) {
        uint32_t ref = arena_get(&arena, 24);
        assert_int_not_equal(ref, kept);
        arena_put(&arena, ref);
    }
    assert_int_equal(budget.bytes, bytes);
    arena_put(&arena, kept);
    /* One bucket that comes and goes does not fetch a page each time. */
    uint64_t gets = heap.gets;
    for (uint32_t i = 0; i < 1000; i++) {
        arena_put(&arena, arena_get(&arena, 24));
    }
    assert_int_equal(heap.gets, gets);
    arena_fini(&arena);
}

static void test_full_is_an_answer(void **state) {
    struct heap heap;
    struct budget budget = heap_budget(&heap, 2 * MIB);
    struct arena arena;
    assert_true(arena_init(&arena, &budget));
    static uint32_t refs[40000];
    uint32_t count = 0;
    while ((refs[count] = arena_get(&arena, 64)) != 0) {
        count++;
    }
    assert_int_equal(count, 2 * MIB / 64 - 1); /* reference 0 is nobody's */
    assert_int_equal(arena_get(&arena, 8), 0);
    arena_put(&arena, refs[count - 1]);
    assert_int_equal(arena_get(&arena, 64), refs[count - 1]);
    for (uint32_t i = 0; i < count; i++) {
        arena_put(&arena, refs[i]);
    }
    assert_int_not_equal(arena_get(&arena, 8), 0); /* pages serve any size again */
    arena_fini(&arena);
    assert_int_equal(heap.bytes, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces_do_not_overlap),
        cmocka_unit_test(test_large_classes_are_powers_of_two),
        cmocka_unit_test(test_freed_pieces_are_used_again),
        cmocka_unit_test(test_full_is_an_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
