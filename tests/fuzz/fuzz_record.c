/* Stored records of buckets: what is read is written as the same. */
#include "proto/record.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct record record, again;
    struct fault fault = {.code = CODE_OK};
    enum code code = record_read(bytes_of(data, size), &record, &fault);
    if (code != CODE_OK) {
        FUZZ_CHECK(code == fault.code && fault.text[0] != '\0');
        return 0;
    }
    FUZZ_CHECK(record.tat_count >= 1 && record.tat_count <= LIMITS_PER_PLAN_MAX);
    if (record.is_inline) {
        FUZZ_CHECK(limit_check(&record.limit, "limit", &fault) == CODE_OK);
    } else {
        FUZZ_CHECK(name_valid(record.plan));
    }
    uint8_t written[RECORD_BYTES_MAX];
    uint32_t written_size = record_write(&record, written);
    FUZZ_CHECK(record_read(bytes_of(written, written_size), &again, &fault) == CODE_OK);
    FUZZ_CHECK(record.is_inline == again.is_inline && record.generation == again.generation);
    FUZZ_CHECK(record.is_inline ? limit_equal(&record.limit, &again.limit)
                                : bytes_equal(record.plan, again.plan));
    FUZZ_CHECK(record.tat_count == again.tat_count);
    FUZZ_CHECK(memcmp(record.tats, again.tats, sizeof record.tats) == 0);
    return 0;
}
