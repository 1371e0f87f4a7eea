#include "tests/unit/cmocka_all.h"

#include <stdlib.h>
#include <unistd.h>

#include "bench/record.h"

static const struct limit limit = {100, UINT64_C(1000000000), 7};

static void what_was_written_is_read(void **state) {
    char path[] = "/tmp/sluice-test-record-XXXXXX", why[256] = "";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    struct record_file record;
    assert_true(record_create(&record, path, &limit, why, sizeof why));
    const struct grant grants[] = {{1, 2, 3, 4, 0}, {5, UINT64_C(1) << 60, 1, UINT32_MAX, 1}};
    assert_true(record_add(&record, &grants[0]) && record_add(&record, &grants[1]));
    assert_true(record_close(&record));

    uint8_t bytes[RECORD_HEAD_SIZE + 2 * RECORD_GRANT_SIZE + 1];
    assert_int_equal(read(fd, bytes, sizeof bytes), sizeof bytes - 1);
    struct limit found;
    struct grant grant;
    assert_true(record_head_read(bytes_of(bytes, RECORD_HEAD_SIZE), &found, why, sizeof why));
    assert_true(limit_equal(&found, &limit));
    for (int i = 0; i < 2; i++) {
        assert_true(record_grant_read(bytes + RECORD_HEAD_SIZE + i * RECORD_GRANT_SIZE, &grant, why,
                                      sizeof why));
        assert_true(grant.sent_ns == grants[i].sent_ns && grant.key == grants[i].key &&
                    grant.received_ns == grants[i].received_ns && grant.flags == grants[i].flags &&
                    grant.cost_tokens == grants[i].cost_tokens);
    }
    close(fd);
    unlink(path);
}

static void what_cannot_be_is_refused(void **state) {
    uint8_t head[RECORD_HEAD_SIZE], bytes[RECORD_GRANT_SIZE];
    char why[256];
    struct limit found;
    struct grant grant = {.sent_ns = 2, .received_ns = 1};
    record_head_write(head, NULL);
    assert_true(record_head_read(bytes_of(head, sizeof head), &found, why, sizeof why));
    assert_true(found.rate_tokens == 0);
    assert_false(record_head_read(bytes_of(head, sizeof head - 1), &found, why, sizeof why));
    head[0] ^= 1;
    assert_false(record_head_read(bytes_of(head, sizeof head), &found, why, sizeof why));
    const struct limit wrong = {1, 0, 1};
    record_head_write(head, &wrong);
    assert_false(record_head_read(bytes_of(head, sizeof head), &found, why, sizeof why));

    record_grant_write(bytes, &grant);
    assert_false(record_grant_read(bytes, &grant, why, sizeof why));
    grant = (struct grant){.received_ns = UINT64_MAX};
    record_grant_write(bytes, &grant);
    assert_false(record_grant_read(bytes, &grant, why, sizeof why));
    grant = (struct grant){.cost_tokens = TOKENS_MAX + 1};
    record_grant_write(bytes, &grant);
    assert_false(record_grant_read(bytes, &grant, why, sizeof why));
}

static void a_file_that_cannot_be_is_named(void **state) {
    struct record_file record;
    char why[256] = "";
    assert_false(record_create(&record, "/nowhere/at/all", &limit, why, sizeof why));
    assert_non_null(strstr(why, "/nowhere/at/all"));
    assert_true(record_create(&record, "/dev/full", &limit, why, sizeof why));
    const struct grant grant = {0};
    (void)record_add(&record, &grant);
    assert_false(record_close(&record));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_written_is_read),
        cmocka_unit_test(what_cannot_be_is_refused),
        cmocka_unit_test(a_file_that_cannot_be_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
