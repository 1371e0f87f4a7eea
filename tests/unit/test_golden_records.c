/* Records as past releases wrote them (tests/golden): each is read as what it meant, and means the
 * same when it is written in the schema of today. Every schema that is read has such a file. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "ctl/text.h"
#include "proto/record.h"
#include "tests/unit/cmocka_all.h"

#define LINE_BYTES 1024
#define RECORDS_LEAST 5

/* "plan generation: tat tat..." */
static void meaning_write(const struct record *record, char *out, size_t capacity) {
    int used = record->is_inline
                   ? snprintf(out, capacity, "%" PRIu64 "/%" PRIu64 "ms/%" PRIu64,
                              record->limit.rate_tokens, record->limit.period_ns / 1000000,
                              record->limit.burst_tokens)
                   : snprintf(out, capacity, "%.*s", (int)record->plan.size,
                              (const char *)record->plan.data);
    used += snprintf(out + used, capacity - (size_t)used, " %" PRIu32 ":", record->generation);
    for (uint32_t i = 0; i < record->tat_count; i++) {
        const struct tat *tat = &record->tats[i];
        used += snprintf(out + used, capacity - (size_t)used,
                         tat->part > 0 ? " %" PRIu64 "+%" PRIu64 : " %" PRIu64, tat->ns, tat->part);
    }
}

static void meaning_expect(struct bytes stored, uint64_t schema, const char *expected) {
    struct record record;
    struct fault fault;
    char meaning[LINE_BYTES];
    if (record_read(stored, &record, &fault) != CODE_OK) {
        fail_msg("%s: %s", expected, fault.text);
    }
    assert_int_equal(record.schema, schema);
    meaning_write(&record, meaning, sizeof meaning);
    assert_string_equal(meaning, expected);
}

static void line_check(char *line, uint32_t schema) {
    uint8_t stored[RECORD_BYTES_MAX], rewritten[RECORD_BYTES_MAX];
    uint32_t size;
    struct record record;
    struct fault fault;
    char *meaning = strstr(line, " = ");
    assert_non_null(meaning);
    *meaning = '\0';
    meaning += strlen(" = ");
    meaning[strcspn(meaning, "\n")] = '\0';
    assert_true(text_unhex(line, stored, sizeof stored, &size));
    meaning_expect(bytes_of(stored, size), schema, meaning);
    record_read(bytes_of(stored, size), &record, &fault);
    meaning_expect(bytes_of(rewritten, record_write(&record, rewritten)), record_schema_written,
                   meaning);
}

static void test_each_schema_that_is_read_has_its_records(void **state) {
    for (uint32_t schema = 1; schema <= record_schema_newest; schema++) {
        char path[64], line[LINE_BYTES];
        uint32_t records = 0;
        snprintf(path, sizeof path, "tests/golden/records-schema-%" PRIu32 ".txt", schema);
        FILE *file = fopen(path, "r");
        if (file == NULL) {
            fail_msg("%s: no such file: a schema came without records of it", path);
        }
        while (fgets(line, sizeof line, file) != NULL) {
            if (line[0] != '#') {
                line_check(line, schema);
                records++;
            }
        }
        fclose(file);
        assert_true(records >= RECORDS_LEAST);
    }
}

static void test_none_is_written_that_is_not_read(void **state) {
    assert_true(record_schema_written >= 1 && record_schema_written <= record_schema_newest);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_schema_that_is_read_has_its_records),
        cmocka_unit_test(test_none_is_written_that_is_not_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
