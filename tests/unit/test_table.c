/* The table against an array of what should be in it. */
#include "server/core/table.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/heap_fixture.h"

#define MIB (UINT64_C(1) << 20)
#define ITEMS 60000

/* Pieces are not needed for a table of references: item i has reference i + 1. */
static uint32_t tags[ITEMS];
static bool present[ITEMS];
static uint8_t seen[ITEMS];

struct setup {
    struct heap heap;
    struct budget budget;
    struct arena arena;
    struct table table;
    uint64_t random;
};

static uint32_t random_next(struct setup *setup) {
    setup->random = setup->random * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (uint32_t)(setup->random >> 32);
}

static void setup_init(struct setup *setup, uint64_t bytes_max, uint32_t tag_mask,
                       uint32_t tag_base) {
    *setup = (struct setup){.random = 42};
    setup->budget = heap_budget(&setup->heap, bytes_max);
    assert_true(arena_init(&setup->arena, &setup->budget));
    for (uint32_t i = 0; i < ITEMS; i++) {
        tags[i] = (random_next(setup) & tag_mask) | tag_base;
        present[i] = false;
    }
}

static void setup_fini(struct setup *setup) {
    table_fini(&setup->table, &setup->arena);
    arena_fini(&setup->arena);
    assert_int_equal(setup->budget.bytes, 0);
    assert_int_equal(setup->heap.bytes, 0);
}

static bool is_item(const void *ctx, uint32_t ref) {
    return ref == *(const uint32_t *)ctx + 1;
}

static void expect_found(struct setup *setup, uint32_t item) {
    uint32_t found = table_find(&setup->table, tags[item], is_item, &item);
    assert_int_equal(found, present[item] ? item + 1 : 0);
}

static void toggle(struct setup *setup, uint32_t item) {
    if (present[item]) {
        table_remove(&setup->table, &setup->arena, tags[item], item + 1);
    } else {
        assert_true(table_insert(&setup->table, &setup->arena, tags[item], item + 1));
    }
    present[item] = !present[item];
}

static void churn(uint32_t items, uint32_t tag_mask, uint32_t tag_base, uint32_t rounds) {
    struct setup setup;
    setup_init(&setup, 64 * MIB, tag_mask, tag_base);
    uint32_t count = 0;
    for (uint32_t round = 0; round < rounds; round++) {
        /* Grow, then shrink: resizing is under way most of the time. */
        bool growing = round / items % 2 == 0;
        uint32_t item = random_next(&setup) % items;
        if (present[item] != growing || random_next(&setup) % 8 == 0) {
            toggle(&setup, item);
            count = present[item] ? count + 1 : count - 1;
        }
        expect_found(&setup, item);
        expect_found(&setup, random_next(&setup) % items);
        assert_int_equal(setup.table.count, count);
    }
    for (uint32_t i = 0; i < items; i++) {
        expect_found(&setup, i);
        if (present[i]) {
            toggle(&setup, i);
        }
    }
    assert_int_equal(setup.table.count, 0);
    setup_fini(&setup);
}

static void test_finds_what_is_there(void **state) {
    churn(20000, UINT32_MAX, 0, 400000);
}

static void test_small_and_crowded(void **state) {
    churn(6, UINT32_MAX, 0, 20000);
    churn(100, UINT32_MAX, 0, 50000);
    churn(300, 0xf000000f, 0, 30000); /* few homes, long runs, which wrap around the end */
    churn(200, 0, 0, 20000);          /* one home for all */
    /* The last homes only: what is left of a table on the move has no free position. */
    churn(3000, UINT32_MAX, 0xf0000000, 40000);
    churn(200, 0, UINT32_MAX, 20000);
}

static void test_no_step_moves_everything(void **state) {
    struct setup setup;
    setup_init(&setup, 64 * MIB, UINT32_MAX, 0);
    uint32_t resizing = 0;
    for (uint32_t i = 0; i < ITEMS; i++) {
        uint32_t moved = setup.table.moved;
        bool old = setup.table.old.entries != NULL;
        toggle(&setup, i);
        if (old && setup.table.old.entries != NULL) {
            assert_true(setup.table.moved - moved <= TABLE_MOVES);
            resizing++;
        }
    }
    assert_true(resizing > 1000);
    setup_fini(&setup);
}

static void test_full_is_an_answer(void **state) {
    struct setup setup;
    setup_init(&setup, MIB, UINT32_MAX, 0); /* one page: small tables only */
    uint32_t count = 0;
    while (table_insert(&setup.table, &setup.arena, tags[count], count + 1)) {
        present[count] = true;
        count++;
    }
    assert_true(count >= 7);
    for (uint32_t i = 0; i <= count; i++) {
        expect_found(&setup, i);
    }
    toggle(&setup, 0);
    toggle(&setup, count);
    setup_fini(&setup);
}

static bool see(void *ctx, uint32_t *ref) {
    seen[*ref - 1]++;
    return true;
}

static void test_scan_meets_all_while_the_table_changes(void **state) {
    struct setup setup;
    setup_init(&setup, 64 * MIB, UINT32_MAX, 0);
    uint32_t fixed = 5000; /* these stay; the others come and go */
    for (uint32_t i = 0; i < fixed; i++) {
        toggle(&setup, i);
    }
    uint64_t cursor = 0;
    for (uint32_t pass = 0; pass < 20; pass++) {
        memset(seen, 0, sizeof seen);
        do {
            table_scan(&setup.table, &setup.arena, &cursor, 64, see, NULL);
            for (uint32_t i = 0; i < 400; i++) {
                uint32_t item = fixed + random_next(&setup) % (ITEMS - fixed);
                if (present[item] == (pass % 2 == 1)) {
                    toggle(&setup, item);
                }
            }
        } while (cursor != 0);
        for (uint32_t i = 0; i < fixed; i++) {
            assert_int_equal(seen[i], 1);
        }
    }
    setup_fini(&setup);
}

static bool see_and_drop_odd(void *ctx, uint32_t *ref) {
    uint32_t item = *ref - 1;
    seen[item]++;
    if (item % 2 == 1) {
        present[item] = false;
        return false;
    }
    return true;
}

static void test_scan_may_remove(void **state) {
    const uint32_t masks[] = {UINT32_MAX, 0xf000000f, 0};
    for (uint32_t m = 0; m < 3; m++) {
        for (uint32_t items = 1; items < 3000; items = items * 3 + 1) {
            uint32_t count = masks[m] == 0 && items > 300 ? 300 : items;
            struct setup setup;
            setup_init(&setup, 64 * MIB, masks[m], 0);
            memset(seen, 0, sizeof seen);
            for (uint32_t i = 0; i < count; i++) {
                toggle(&setup, i);
            }
            uint64_t cursor = 0;
            do {
                table_scan(&setup.table, &setup.arena, &cursor, 3, see_and_drop_odd, NULL);
            } while (cursor != 0);
            for (uint32_t i = 0; i < count; i++) {
                assert_true(seen[i] >= 1);
                assert_true(i % 2 == 0 || seen[i] == 1);
                expect_found(&setup, i);
            }
            assert_int_equal(setup.table.count, (count + 1) / 2);
            setup_fini(&setup);
        }
    }
}

static void test_replace(void **state) {
    struct setup setup;
    setup_init(&setup, 64 * MIB, 0, 0);
    for (uint32_t i = 0; i < 20; i++) {
        toggle(&setup, i);
    }
    table_replace(&setup.table, tags[3], 4, 1000);
    uint32_t item = 999;
    assert_int_equal(table_find(&setup.table, tags[3], is_item, &item), 1000);
    present[3] = false;
    expect_found(&setup, 3);
    expect_found(&setup, 4);
    setup_fini(&setup);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_finds_what_is_there),
        cmocka_unit_test(test_small_and_crowded),
        cmocka_unit_test(test_no_step_moves_everything),
        cmocka_unit_test(test_full_is_an_answer),
        cmocka_unit_test(test_scan_meets_all_while_the_table_changes),
        cmocka_unit_test(test_scan_may_remove),
        cmocka_unit_test(test_replace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
