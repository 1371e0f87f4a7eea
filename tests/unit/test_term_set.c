#include "server/core/term_set.h"

#include "proto/slot.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/heap_fixture.h"

#define SECOND UINT64_C(1000000000)
#define CAPACITY 64

static struct heap heap;
static struct term_set set;

static int open_set(void **state) {
    struct budget budget = heap_budget(&heap, 1u << 30);
    return term_set_init(&set, &budget.memory, CAPACITY) ? 0 : -1;
}

static int close_set(void **state) {
    term_set_fini(&set);
    return heap.bytes == 0 ? 0 : -1;
}

static struct name named(const char *text) {
    return name_of(bytes_of_text(text));
}

static const struct terms some_terms = {.limit_count = 1, .limits = {{10, SECOND, 20}}};

static void test_same_terms_share_an_index(void **state) {
    struct name gold = named("gold"), silver = named("silver");
    uint16_t a = term_set_plan(&set, &gold, 3, &some_terms);
    assert_int_equal(term_set_plan(&set, &gold, 3, &some_terms), a);
    assert_int_equal(term_set_at(&set, a)->users, 2);
    assert_int_not_equal(term_set_plan(&set, &gold, 4, &some_terms), a);
    assert_int_not_equal(term_set_plan(&set, &silver, 3, &some_terms), a);
    struct terms other = some_terms;
    other.limits[0].burst_tokens++;
    assert_int_not_equal(term_set_plan(&set, &gold, 3, &other), a);
    assert_int_not_equal(term_set_unknown(&set, &gold, 3, 1), a);
    assert_int_not_equal(term_set_name(&set, &gold), a);
    assert_int_not_equal(term_set_inline(&set, &some_terms.limits[0]), a);
    assert_int_equal(set.count, 7);
}

static void test_forgotten_with_its_last_user(void **state) {
    struct limit limit = {7, SECOND, 9};
    uint16_t a = term_set_inline(&set, &limit);
    term_set_hold(&set, a);
    term_set_release(&set, a);
    assert_int_equal(set.count, 1);
    assert_true(limit_equal(&term_set_at(&set, a)->terms.limits[0], &limit));
    term_set_release(&set, a);
    assert_int_equal(set.count, 0);
    assert_int_equal(set.inline_count, 0);
}

static void test_inline_limits_may_have_half(void **state) {
    for (uint32_t i = 0; i < CAPACITY / 2; i++) {
        struct limit limit = {i + 1, SECOND, 9};
        assert_int_not_equal(term_set_inline(&set, &limit), TERM_NONE);
    }
    struct limit more = {1000, SECOND, 9}, first = {1, SECOND, 9};
    assert_int_equal(term_set_inline(&set, &more), TERM_NONE);
    assert_int_not_equal(term_set_inline(&set, &first), TERM_NONE); /* it is there already */
    struct name gold = named("gold");
    for (uint32_t i = 0; i < CAPACITY / 2; i++) {
        assert_int_not_equal(term_set_plan(&set, &gold, i, &some_terms), TERM_NONE);
    }
    assert_int_equal(term_set_plan(&set, &gold, 1000, &some_terms), TERM_NONE);
}

static void test_found_again_whatever_was_released(void **state) {
    uint16_t held[CAPACITY] = {0};
    struct name name = named("plan");
    uint64_t random = 1;
    bool there[CAPACITY] = {false};
    for (uint32_t round = 0; round < 100000; round++) {
        random = random * UINT64_C(6364136223846793005) + 1442695040888963407u;
        uint32_t at = (uint32_t)(random >> 33) % CAPACITY;
        if (there[at]) {
            assert_int_equal(term_set_at(&set, held[at])->generation, at);
            uint16_t again = term_set_plan(&set, &name, at, &some_terms);
            assert_int_equal(again, held[at]);
            term_set_release(&set, again);
            term_set_release(&set, held[at]);
        } else {
            held[at] = term_set_plan(&set, &name, at, &some_terms);
            assert_int_not_equal(held[at], TERM_NONE);
        }
        there[at] = !there[at];
    }
    uint32_t count = 0;
    for (uint32_t i = 0; i < CAPACITY; i++) {
        count += there[i];
    }
    assert_int_equal(set.count, count);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_same_terms_share_an_index, open_set, close_set),
        cmocka_unit_test_setup_teardown(test_forgotten_with_its_last_user, open_set, close_set),
        cmocka_unit_test_setup_teardown(test_inline_limits_may_have_half, open_set, close_set),
        cmocka_unit_test_setup_teardown(test_found_again_whatever_was_released, open_set,
                                        close_set),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
