/* Which bucket's entry makes room for another bucket's. */
#include <stdlib.h>

#include "server/core/marks.h"
#include "tests/unit/cmocka_all.h"

/* Entries: sixteen sets. */
#define COUNT (16 * MARKS_WAYS)

static void *heap_get(void *ctx, size_t size) {
    bool *is_empty = ctx;
    return *is_empty ? NULL : calloc(1, size);
}

static void heap_put(void *ctx, void *piece, size_t size) {
    free(piece);
}

static bool heap_is_empty;
static struct memory heap = {.ctx = &heap_is_empty, .get = heap_get, .put = heap_put};
static struct marks marks;

static int open_marks(void **state) {
    heap_is_empty = false;
    return marks_init(&marks, COUNT, &heap) ? 0 : -1;
}

static int close_marks(void **state) {
    marks_fini(&marks, &heap);
    return 0;
}

/* Hashes of one number share a set, and those of another number are in another one. */
static uint64_t hash_of(uint32_t set, uint32_t serial) {
    return (uint64_t)set << 24 | serial;
}

static struct mark *put(uint32_t set, uint32_t serial, uint32_t now_ms) {
    uint64_t hash = hash_of(set, serial);
    struct mark *mark = marks_place(&marks, hash, now_ms, 0);
    assert_non_null(mark);
    assert_int_equal(mark->ref, 0);
    *mark = (struct mark){.hash = hash, .ref = serial + 1, .used_ms = now_ms};
    return mark;
}

/* A full set, last used at 1000, 400, 700 and 100 ms. */
static void fill(struct mark *set[MARKS_WAYS], uint32_t from_ms) {
    static const uint32_t used_ms[MARKS_WAYS] = {1000, 400, 700, 100};
    for (uint32_t i = 0; i < MARKS_WAYS; i++) {
        set[i] = put(3, i, from_ms + used_ms[i]);
    }
}

static struct mark *place(uint32_t now_ms, uint32_t idle_ms) {
    return marks_place(&marks, hash_of(3, 99), now_ms, idle_ms);
}

static void test_a_free_one_first(void **state) {
    struct mark *set[MARKS_WAYS];
    fill(set, 0);
    marks_drop(&marks, set[2]);
    assert_ptr_equal(place(5000, 0), set[2]);
    assert_ptr_equal(place(5000, UINT32_MAX), set[2]); /* however long the new one was idle */
}

static void test_the_longest_unused(void **state) {
    struct mark *set[MARKS_WAYS];
    fill(set, 0);
    assert_ptr_equal(place(2000, 0), set[3]);
    set[3]->used_ms = 1999;
    assert_ptr_equal(place(2000, 0), set[1]);
    set[1]->used_ms = 2000;
    assert_ptr_equal(place(2000, 0), set[2]);
    set[2]->used_ms = 2000;
    assert_ptr_equal(place(2000, 0), set[0]);
}

/* Who is to come in was idle for so long itself, and pushes out none that was used since. */
static void test_none_that_is_used_more_often(void **state) {
    struct mark *set[MARKS_WAYS];
    fill(set, 0);
    assert_ptr_equal(place(2000, 1900), set[3]); /* as long as that: it may go */
    assert_null(place(2000, 1901));
    assert_null(place(2000, UINT32_MAX));
    set[3]->used_ms = 2000;
    assert_ptr_equal(place(2000, 1600), set[1]);
    assert_null(place(2000, 1601));
}

/* Its record is under way, with a lead that is noted here when it is acknowledged. */
static void test_none_that_is_being_written(void **state) {
    struct mark *set[MARKS_WAYS];
    fill(set, 0);
    set[3]->writing = true;
    assert_ptr_equal(place(2000, 0), set[1]);
    assert_null(place(2000, 1601)); /* the other one has been, but cannot go */
    set[0]->writing = set[1]->writing = set[2]->writing = true;
    assert_null(place(2000, 0));
    marks_drop(&marks, set[0]);
    assert_ptr_equal(place(2000, 0), set[0]);
}

/* 49.7 days after the clock's zero, and again and again. */
static void test_when_32_bits_wrap(void **state) {
    struct mark *set[MARKS_WAYS];
    uint32_t from_ms = UINT32_MAX - 500; /* two of the four are used after it has wrapped */
    fill(set, from_ms);
    assert_ptr_equal(place(from_ms + 2000, 0), set[3]);
    assert_ptr_equal(place(from_ms + 2000, 1900), set[3]);
    assert_null(place(from_ms + 2000, 1901));
    set[3]->used_ms = from_ms + 2000;
    assert_ptr_equal(place(from_ms + 2000, 1600), set[1]);
    assert_null(place(from_ms + 2000, 1601));
}

static void test_sets_do_not_share(void **state) {
    struct mark *set[MARKS_WAYS];
    struct mark *other = put(4, 0, 1);
    fill(set, 100);
    for (uint32_t i = 0; i < MARKS_WAYS; i++) {
        assert_ptr_equal(marks_find(&marks, hash_of(3, i), i + 1), set[i]);
        assert_ptr_not_equal(set[i], other);
    }
    struct mark *chosen = place(2000, 0);
    assert_ptr_equal(chosen, set[3]); /* not the other, which is older */
    marks_drop(&marks, chosen);
    assert_null(marks_find(&marks, hash_of(3, 3), 4));
    assert_ptr_equal(marks_find(&marks, hash_of(4, 0), 1), other);
}

/* A bucket that is gone leaves its number to another one: only both together name a mark. */
static void test_found_by_hash_and_number(void **state) {
    struct mark *mark = put(3, 7, 0);
    assert_ptr_equal(marks_find(&marks, hash_of(3, 7), 8), mark);
    assert_null(marks_find(&marks, hash_of(3, 6), 8));
    assert_null(marks_find(&marks, hash_of(3, 7), 9));
    assert_null(marks_find(&marks, hash_of(5, 7), 8));
}

static void test_those_ahead_are_counted(void **state) {
    struct mark *set[MARKS_WAYS];
    fill(set, 0);
    marks_set_ahead(&marks, set[0], true);
    marks_set_ahead(&marks, set[1], true);
    marks_set_ahead(&marks, set[1], true);
    assert_int_equal(marks.ahead_count, 2);
    marks_set_ahead(&marks, set[0], false);
    marks_set_ahead(&marks, set[2], false);
    assert_int_equal(marks.ahead_count, 1);
    marks_drop(&marks, set[2]);
    assert_int_equal(marks.ahead_count, 1);
    marks_drop(&marks, set[1]);
    assert_int_equal(marks.ahead_count, 0);
    assert_false(set[1]->ahead);
}

static void test_without_memory(void **state) {
    struct marks none;
    heap_is_empty = true;
    assert_false(marks_init(&none, COUNT, &heap));
    marks_fini(&none, &heap);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_marks, close_marks)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_a_free_one_first),
        TEST(test_the_longest_unused),
        TEST(test_none_that_is_used_more_often),
        TEST(test_none_that_is_being_written),
        TEST(test_when_32_bits_wrap),
        TEST(test_sets_do_not_share),
        TEST(test_found_by_hash_and_number),
        TEST(test_those_ahead_are_counted),
        TEST(test_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
