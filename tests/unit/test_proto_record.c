/* Stored records: random ones come back, damaged ones are refused or whole. */
#include <stdlib.h>

#include "cmocka_all.h"
#include "proto/record.h"

#define ROUNDS 20000

static struct record record_make(unsigned *seed, char name[NAME_BYTES_MAX + 1]) {
    struct record record = {.is_inline = rand_r(seed) % 2 == 0, .tat_count = 1};
    uint32_t size = 1 + (uint32_t)rand_r(seed) % NAME_BYTES_MAX;
    if (record.is_inline) {
        record.limit.rate_tokens = 1 + (uint64_t)rand_r(seed);
        record.limit.period_ns = (1 + (uint64_t)rand_r(seed) % 86400000) * 1000000;
        record.limit.burst_tokens = 1 + (uint64_t)rand_r(seed) % 1000;
    } else {
        memset(name, 'a' + rand_r(seed) % 26, size);
        record.plan = bytes_of(name, size);
        record.generation = (uint32_t)rand_r(seed);
        record.tat_count = 1 + (uint32_t)rand_r(seed) % LIMITS_PER_PLAN_MAX;
    }
    for (uint32_t i = 0; i < record.tat_count; i++) {
        record.tats[i].part = rand_r(seed) % 2 == 0 ? 0 : (uint64_t)rand_r(seed);
        record.tats[i].ns =
            ((uint64_t)rand_r(seed) << 31 | (uint64_t)rand_r(seed)) >> (rand_r(seed) % 62);
    }
    return record;
}

static void record_expect(const struct record *got, const struct record *expected) {
    assert_int_equal(got->is_inline, expected->is_inline);
    if (got->is_inline) {
        assert_true(limit_equal(&got->limit, &expected->limit));
    } else {
        assert_true(bytes_equal(got->plan, expected->plan));
    }
    assert_int_equal(got->generation, expected->generation);
    assert_int_equal(got->tat_count, expected->tat_count);
    for (uint32_t i = 0; i < got->tat_count; i++) {
        assert_int_equal(got->tats[i].ns, expected->tats[i].ns);
        assert_int_equal(got->tats[i].part, expected->tats[i].part);
    }
}

static void test_random_records_come_back(void **state) {
    unsigned seed = 1;
    for (int round = 0; round < ROUNDS; round++) {
        char name[NAME_BYTES_MAX + 1];
        uint8_t out[RECORD_BYTES_MAX];
        struct record record = record_make(&seed, name), copy;
        struct fault fault = {0};
        uint32_t size = record_write(&record, out);
        if (record_read(bytes_of(out, size), &copy, &fault) != CODE_OK) {
            fail_msg("%s", fault.text);
        }
        record_expect(&copy, &record);
    }
}

static void test_largest_record_fits_its_bound(void **state) {
    char name[NAME_BYTES_MAX];
    uint8_t out[RECORD_BYTES_MAX];
    memset(name, 'n', sizeof name);
    struct record record = {.plan = bytes_of(name, sizeof name),
                            .generation = UINT32_MAX,
                            .tat_count = LIMITS_PER_PLAN_MAX};
    for (uint32_t i = 0; i < LIMITS_PER_PLAN_MAX; i++) {
        record.tats[i] = (struct tat){INT64_MAX, TOKENS_MAX - 1};
    }
    struct record copy;
    struct fault fault;
    assert_int_equal(record_read(bytes_of(out, record_write(&record, out)), &copy, &fault),
                     CODE_OK);
    record_expect(&copy, &record);
}

static void test_truncated_and_damaged_records(void **state) {
    unsigned seed = 2;
    for (int round = 0; round < ROUNDS; round++) {
        char name[NAME_BYTES_MAX + 1];
        uint8_t out[RECORD_BYTES_MAX];
        struct record record = record_make(&seed, name), copy;
        struct fault fault = {0};
        uint32_t size = record_write(&record, out), cut = (uint32_t)rand_r(&seed) % size;
        uint8_t *exact = malloc(size);
        assert_non_null(exact);
        memcpy(exact, out, cut);
        assert_int_equal(record_read(bytes_of(exact, cut), &copy, &fault), CODE_BAD_REQUEST);
        memcpy(exact, out, size);
        exact[(uint32_t)rand_r(&seed) % size] = (uint8_t)rand_r(&seed);
        if (record_read(bytes_of(exact, size), &copy, &fault) == CODE_OK) {
            assert_in_range(copy.tat_count, 1, LIMITS_PER_PLAN_MAX);
            assert_true(copy.is_inline ? limit_check(&copy.limit, "", &fault) == CODE_OK
                                       : name_valid(copy.plan));
        } else {
            assert_true(fault.text[0] != '\0');
        }
        free(exact);
    }
}

static void test_a_newer_schema_is_named(void **state) {
    static const uint8_t newer[] = {0x94, 2, 0xa1, 'p', 1, 0};
    struct record record;
    struct fault fault;
    assert_int_equal(record_read(bytes_of(newer, sizeof newer), &record, &fault), CODE_BAD_REQUEST);
    assert_true(record_is_newer(&record));
    assert_string_equal(fault.text, "record: schema 2, this version reads up to 1: it is too old "
                                    "for this record, upgrade it");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_records_come_back),
        cmocka_unit_test(test_largest_record_fits_its_bound),
        cmocka_unit_test(test_truncated_and_damaged_records),
        cmocka_unit_test(test_a_newer_schema_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
