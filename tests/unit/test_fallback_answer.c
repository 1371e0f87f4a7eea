/* What a router reads of the answer of its script. */
#include "proto/bytes.h"
#include "router/io/fallback_script.h"
#include "tests/unit/cmocka_all.h"

static bool reads(const char *word, const char *seconds, const char *micros,
                  struct fallback_answer *answer) {
    const struct bytes parts[5] = {bytes_of_text(word), bytes_of_text(seconds),
                                   bytes_of_text(micros), bytes_of_text("record"),
                                   bytes_of_text("plan")};
    return fallback_answer_read(parts, answer);
}

static void test_each_word(void **state) {
    static const char *const words[] = {
        [FALLBACK_GRANTED] = "GRANTED",   [FALLBACK_REFUSED] = "REFUSED",
        [FALLBACK_LOOKED] = "LOOKED",     [FALLBACK_OTHER_PLAN] = "PLAN",
        [FALLBACK_OTHER_TERMS] = "TERMS", [FALLBACK_WORN] = "WORN",
    };
    struct fallback_answer answer;
    for (int status = 0; status < FALLBACK_FAILED; status++) {
        assert_true(reads(words[status], "1700000000", "999999", &answer));
        assert_int_equal(answer.status, status);
        assert_int_equal(answer.now_ns, UINT64_C(1700000000999999000));
        assert_true(bytes_equal(answer.record, bytes_of_text("record")));
        assert_true(bytes_equal(answer.assigned, bytes_of_text("plan")));
    }
    assert_false(reads("granted", "1700000000", "0", &answer));
    assert_false(reads("", "1700000000", "0", &answer));
    assert_false(reads("GRANTED ", "1700000000", "0", &answer));
}

/* A clock that no shard would go by is none for a router either. */
static void test_times_that_are_none(void **state) {
    struct fallback_answer answer;
    assert_true(reads("GRANTED", "0", "0", &answer));
    assert_true(reads("GRANTED", "4294967295", "999999", &answer));
    assert_int_equal(answer.now_ns, UINT64_C(4294967295999999000));
    assert_false(reads("GRANTED", "4294967296", "0", &answer));
    assert_false(reads("GRANTED", "9223372036", "999999", &answer)); /* beyond 63 bits of ns */
    assert_false(reads("GRANTED", "18446744073709551617", "0", &answer));
    assert_false(reads("GRANTED", "1700000000", "1000000", &answer));
    assert_false(reads("GRANTED", "", "0", &answer));
    assert_false(reads("GRANTED", "-1", "0", &answer));
    assert_false(reads("GRANTED", "1e9", "0", &answer));
    assert_false(reads("GRANTED", "1700000000", " 1", &answer));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_word),
        cmocka_unit_test(test_times_that_are_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
