/* A record from a backup beside the store's: never is anything given back. */
#include <stdlib.h>

#include "ctl/restore_merge.h"
#include "proto/bucket.h"
#include "tests/unit/cmocka_all.h"

#define SECOND UINT64_C(1000000000)
#define HOUR (3600 * SECOND)
#define NOW (UINT64_C(1700000000) * SECOND)
#define ROUNDS 20000

/* Version 2 of the plans: "one" had 1/h burst 20, and has 2/h burst 40 since. */
static struct plan_set *plans;

static int plans_make(void **state) {
    plans = malloc(sizeof *plans);
    assert_non_null(plans);
    plan_set_init(plans);
    plans->version = 2;
    struct plan one = {.name = name_of(bytes_of_text("one")), .generation_count = 2};
    one.generations[0] = (struct plan_generation){2, {1, {{2, HOUR, 40}}}};
    one.generations[1] = (struct plan_generation){1, {1, {{1, HOUR, 20}}}};
    struct plan two = {.name = name_of(bytes_of_text("two")), .generation_count = 1};
    two.generations[0] = (struct plan_generation){1, {2, {{1, HOUR, 20}, {1, SECOND, 5}}}};
    plan_set_add(plans, &one);
    plan_set_add(plans, &two);
    return 0;
}

static int plans_free(void **state) {
    free(plans);
    return 0;
}

static struct record record_of(const char *plan, uint32_t generation, uint32_t count,
                               uint64_t first_ns, uint64_t second_ns) {
    struct record record = {.plan = bytes_of_text(plan), .generation = generation};
    record.tat_count = count;
    record.tats[0].ns = NOW + first_ns;
    record.tats[1].ns = count > 1 ? NOW + second_ns : 0;
    return record;
}

static uint8_t out[RECORD_BYTES_MAX];
static struct record merged;

static enum merge merge(const struct record *kept, const struct record *held) {
    uint8_t file[RECORD_BYTES_MAX], store[RECORD_BYTES_MAX];
    uint32_t size = 0;
    struct fault fault;
    struct bytes in_store = {0};
    if (held != NULL) {
        in_store = bytes_of(store, record_write(held, store));
    }
    enum merge done =
        restore_merge(plans, NOW, bytes_of(file, record_write(kept, file)), in_store, out, &size);
    if (done == MERGE_RAISED) {
        assert_int_equal(record_read(bytes_of(out, size), &merged, &fault), CODE_OK);
    }
    return done;
}

static void test_the_fuller_spent_of_the_two(void **state) {
    struct record file = record_of("two", 1, 2, 5 * HOUR, SECOND);
    struct record store = record_of("two", 1, 2, 3 * HOUR, 2 * SECOND);
    assert_int_equal(merge(&file, NULL), MERGE_NEW);
    assert_int_equal(merge(&file, &file), MERGE_SAME);
    assert_int_equal(merge(&file, &store), MERGE_RAISED);
    assert_int_equal(merged.tats[0].ns, NOW + 5 * HOUR); /* limit by limit */
    assert_int_equal(merged.tats[1].ns, NOW + 2 * SECOND);
    store.tats[0].ns = NOW + 6 * HOUR;
    assert_int_equal(merge(&file, &store), MERGE_SAME);
}

static void test_parts_of_a_nanosecond_count(void **state) {
    struct record file = record_of("one", 2, 1, HOUR, 0), store = file;
    file.tats[0].part = 1;
    assert_int_equal(merge(&file, &store), MERGE_RAISED);
    assert_int_equal(merged.tats[0].part, 1);
    assert_int_equal(merge(&store, &file), MERGE_SAME);
}

/* Five tokens of the old terms are five of the new ones. */
static void test_other_terms_are_converted(void **state) {
    struct record file = record_of("one", 1, 1, 5 * HOUR, 0);
    struct record store = record_of("one", 2, 1, HOUR, 0); /* two tokens */
    assert_int_equal(merge(&file, &store), MERGE_RAISED);
    assert_int_equal(merged.generation, 2);
    struct limit limit = {2, HOUR, 40};
    assert_int_equal(bucket_level(&limit, merged.tats[0], NOW), 35);
    store.tats[0].ns = NOW + 3 * HOUR; /* six */
    assert_int_equal(merge(&file, &store), MERGE_SAME);
    struct record inline_record = {.is_inline = true, .limit = {1, HOUR, 10}, .tat_count = 1};
    inline_record.tats[0].ns = NOW + 8 * HOUR;
    assert_int_equal(merge(&inline_record, &store), MERGE_RAISED);
    assert_int_equal(bucket_level(&limit, merged.tats[0], NOW), 32);
}

static void test_what_cannot_be_compared_stays(void **state) {
    struct record store = record_of("one", 2, 1, HOUR, 0);
    struct record gone = record_of("gone", 1, 1, 9 * HOUR, 0);
    struct record future = record_of("one", 3, 1, 9 * HOUR, 0);
    assert_int_equal(merge(&gone, &store), MERGE_KEPT);
    assert_int_equal(merge(&future, &store), MERGE_KEPT);
    assert_int_equal(merge(&store, &gone), MERGE_KEPT);
    uint32_t size;
    uint8_t good[RECORD_BYTES_MAX];
    struct bytes record = bytes_of(good, record_write(&store, good));
    static const uint8_t newer[] = {0x92, 9, 1};
    struct bytes bad[] = {bytes_of("x", 1), bytes_of(newer, sizeof newer)};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(restore_merge(plans, NOW, bad[i], record, out, &size), MERGE_KEPT);
        assert_int_equal(restore_merge(plans, NOW, record, bad[i], out, &size), MERGE_KEPT);
        assert_int_equal(restore_merge(plans, NOW, bad[i], (struct bytes){0}, out, &size),
                         MERGE_NEW);
        assert_int_equal(restore_merge(plans, NOW, bad[i], bad[i], out, &size), MERGE_SAME);
    }
}

/* No limit is fuller afterwards than in either. */
static void test_nothing_is_ever_given_back(void **state) {
    unsigned seed = 1;
    static const struct limit now_of_one = {2, HOUR, 40};
    for (int round = 0; round < ROUNDS; round++) {
        uint32_t generation = 1 + (uint32_t)rand_r(&seed) % 2;
        uint64_t spent = (uint64_t)rand_r(&seed) % 21, also = (uint64_t)rand_r(&seed) % 41;
        struct record file = record_of("one", generation, 1, spent * HOUR / generation, 0);
        struct record store = record_of("one", 2, 1, also * HOUR / 2, 0);
        enum merge done = merge(&file, &store);
        struct tat tat = done == MERGE_RAISED ? merged.tats[0] : store.tats[0];
        uint64_t least = spent > also ? spent : also;
        assert_int_equal(bucket_level(&now_of_one, tat, NOW), 40 - least);
        assert_int_equal(done == MERGE_RAISED, spent > also);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_fuller_spent_of_the_two),
        cmocka_unit_test(test_parts_of_a_nanosecond_count),
        cmocka_unit_test(test_other_terms_are_converted),
        cmocka_unit_test(test_what_cannot_be_compared_stays),
        cmocka_unit_test(test_nothing_is_ever_given_back),
    };
    return cmocka_run_group_tests(tests, plans_make, plans_free);
}
