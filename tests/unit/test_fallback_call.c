/* What a router asks of the store, and what it makes of records and answers, without the router. */
#include "tests/unit/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "proto/bucket.h"
#include "router/core/fallback.h"

#define SECOND UINT64_C(1000000000)
#define NOW_NS (UINT64_C(1700000000) * SECOND)

/* Rates of which no period is a whole number of nanoseconds. */
static const struct limit third = {3, SECOND, 30}, slow = {1, 60 * SECOND, 5};

static struct plan_set *plans;
static struct fallback_call call;

static struct plan *plan_put(const char *name, const struct limit *limits, uint32_t count) {
    struct plan plan = {.name = name_of(bytes_of_text(name)),
                        .on_unavailable = POLICY_REDIS,
                        .generation_count = 1};
    plan.generations[0].generation = 7;
    plan.generations[0].terms.limit_count = count;
    memcpy(plan.generations[0].terms.limits, limits, count * sizeof limits[0]);
    plan_set_add(plans, &plan);
    return &plans->plans[plans->plan_count - 1];
}

/* "one" has the first limit, "both" has both, "unknown" was told without any. The call is a take of
 * one under "both". */
static int open_any(void **state) {
    const struct limit both[] = {third, slow};
    plans = malloc(sizeof *plans);
    plan_set_init(plans);
    plans->version = 7;
    plan_put("one", both, 1);
    plan_put("unknown", both, 0);
    const struct plan *plan = plan_put("both", both, 2);
    memset(&call, 0, sizeof call);
    fallback_call_plan(&call, plan);
    fallback_call_cost(&call, VERB_TAKE, 1);
    return 0;
}

static int close_any(void **state) {
    free(plans);
    return 0;
}

static struct record record_under(const char *plan, struct tat first, struct tat second,
                                  uint32_t count) {
    return (struct record){
        .plan = bytes_of_text(plan), .generation = 7, .tat_count = count, .tats = {first, second}};
}

static enum reason convert(const struct record *record) {
    uint8_t bytes[RECORD_BYTES_MAX];
    uint32_t size = record_write(record, bytes);
    return fallback_call_convert(&call, plans, bytes_of(bytes, size), NOW_NS);
}

static void assert_tat(struct tat tat, uint64_t ns, uint64_t part) {
    assert_int_equal(tat.ns, ns);
    assert_int_equal(tat.part, part);
}

/* --- what is asked -------------------------------------------------------------------------- */

static void test_increments_and_room_are_exact(void **state) {
    fallback_call_cost(&call, VERB_TAKE, 4);
    assert_true(call.writes);
    assert_tat(call.limits[0].increment, SECOND + SECOND / 3, 1); /* 4/3 s */
    assert_tat(call.limits[0].room, 26 * SECOND / 3, 2);          /* 26/3 s */
    assert_tat(call.limits[1].increment, 240 * SECOND, 0);
    assert_tat(call.limits[1].room, 60 * SECOND, 0);
}

static void test_only_a_take_that_may_pass_writes(void **state) {
    fallback_call_cost(&call, VERB_TAKE, 6); /* beyond the second limit's burst only */
    assert_false(call.writes);
    assert_tat(call.limits[0].increment, 2 * SECOND, 0);
    assert_tat(call.limits[1].increment, 0, 0);
    assert_tat(call.limits[1].room, 0, 0);
    fallback_call_cost(&call, VERB_TAKE, 0);
    assert_false(call.writes);
    fallback_call_cost(&call, VERB_PEEK, 1);
    assert_false(call.writes);
    fallback_call_cost(&call, VERB_TAKE, 5);
    assert_true(call.writes);
}

/* --- records under other terms -------------------------------------------------------------- */

static void test_tokens_spent_stay_spent(void **state) {
    const struct limit faster[] = {{9, SECOND, 30}};
    struct record record =
        record_under("fast", (struct tat){NOW_NS + 2 * SECOND, 0}, (struct tat){0}, 1);
    plan_put("fast", faster, 1);
    fallback_call_plan(&call, &plans->plans[0]);
    fallback_call_cost(&call, VERB_TAKE, 1);
    assert_int_equal(convert(&record), REASON_NONE);
    assert_tat(call.limits[0].tat, NOW_NS + 6 * SECOND, 0); /* 18 tokens, at 3/s */
    assert_int_equal(call.plan.size, 3);
    assert_true(call.expected_size > 0);
}

/* Its owner may be cut off, and go on within what the record says, under the record's limits. */
static void test_a_bucket_is_full_no_sooner(void **state) {
    const struct limit faster[] = {{9, SECOND, 30}};
    struct record record =
        record_under("one", (struct tat){NOW_NS + 2 * SECOND / 3, 2}, (struct tat){0}, 1);
    const struct plan *fast = plan_put("fast", faster, 1);
    fallback_call_plan(&call, fast);
    fallback_call_cost(&call, VERB_TAKE, 4);
    assert_int_equal(convert(&record), REASON_NONE);
    assert_string_equal(call.plan.text, "one");
    assert_int_equal(call.generation, 7);
    assert_tat(call.limits[0].tat, NOW_NS + 2 * SECOND / 3, 2);
    assert_tat(call.limits[0].increment, SECOND + SECOND / 3, 1); /* 4/3 s */
    assert_true(call.writes);
    /* A limit that was not there starts full: the same. */
    fallback_call_plan(&call, &plans->plans[2]);
    fallback_call_cost(&call, VERB_TAKE, 1);
    assert_int_equal(convert(&record), REASON_NONE);
    assert_int_equal(call.limit_count, 1);
    /* A limit of its own; and a cost that is above its burst. */
    record = (struct record){.is_inline = true, .limit = slow, .tat_count = 1};
    record.tats[0].ns = NOW_NS + SECOND;
    fallback_call_plan(&call, fast);
    fallback_call_cost(&call, VERB_TAKE, 6);
    assert_true(call.writes);
    assert_int_equal(convert(&record), REASON_NONE);
    assert_int_equal(call.plan.size, 0);
    assert_false(call.writes);
    /* A full bucket is full, whatever its limits were. */
    record.tats[0].ns = NOW_NS;
    fallback_call_plan(&call, fast);
    fallback_call_cost(&call, VERB_TAKE, 6);
    assert_int_equal(convert(&record), REASON_NONE);
    assert_string_equal(call.plan.text, "fast");
    assert_tat(call.limits[0].tat, 0, 0);
}

static void test_a_record_with_fewer_times_than_its_terms(void **state) {
    struct record record =
        record_under("both", (struct tat){NOW_NS + SECOND, 0}, (struct tat){0}, 1);
    assert_int_equal(convert(&record), REASON_NONE);
    assert_tat(call.limits[0].tat, NOW_NS + SECOND, 0);
    assert_int_equal(bucket_level(&slow, call.limits[1].tat, NOW_NS), 5);
}

static void test_times_that_are_none_are_rounded_up(void **state) {
    /* Three thirds are a whole nanosecond, and nobody of us writes that. */
    struct record record =
        record_under("one", (struct tat){NOW_NS + SECOND, 3}, (struct tat){0}, 1);
    assert_int_equal(convert(&record), REASON_NONE);
    assert_tat(call.limits[0].tat, NOW_NS + SECOND + 1, 0);
}

/* Nobody knows its limits: only when it is full. */
static void test_of_a_plan_that_is_gone_nothing_is_decided(void **state) {
    struct record record = record_under("gone", (struct tat){NOW_NS + 1, 0}, (struct tat){0}, 1);
    assert_int_equal(convert(&record), REASON_STORE_REFUSED);
    assert_int_equal(call.expected_size, 0);
    record.tats[0].ns = NOW_NS;
    assert_int_equal(convert(&record), REASON_NONE);
    assert_tat(call.limits[0].tat, 0, 0);
    assert_tat(call.limits[1].tat, 0, 0);
}

static void test_plans_that_do_not_tell_enough(void **state) {
    struct record record = record_under("unknown", (struct tat){NOW_NS + 1, 0}, (struct tat){0}, 1);
    assert_int_equal(convert(&record), REASON_STORE_REFUSED);
    record = record_under("one", (struct tat){NOW_NS + 1, 0}, (struct tat){0}, 1);
    record.generation = 8;
    assert_int_equal(convert(&record), REASON_STORE_REFUSED);
    record.generation = 6; /* that is forgotten */
    assert_int_equal(convert(&record), REASON_STORE_REFUSED);
    assert_int_equal(call.expected_size, 0);
}

static void test_a_record_longer_than_any_is_not_read(void **state) {
    /* Good, and then something that is no part of it. */
    uint8_t bytes[RECORD_BYTES_MAX + 1] = {0};
    struct record record = record_under("one", (struct tat){NOW_NS, 0}, (struct tat){0}, 1);
    record_write(&record, bytes);
    assert_int_equal(fallback_call_convert(&call, plans, bytes_of(bytes, sizeof bytes), NOW_NS),
                     REASON_RECORD_UNREADABLE);
    assert_int_equal(call.expected_size, 0);
}

/* --- what was answered ---------------------------------------------------------------------- */

static bool judge(enum fallback_status status, struct bytes record, uint64_t cost_tokens,
                  struct take_result *result) {
    struct fallback_answer answer = {.status = status, .now_ns = NOW_NS, .record = record};
    return fallback_call_judge(&call, &answer, VERB_TAKE, cost_tokens, result);
}

static void test_a_record_under_its_own_terms_is_judged(void **state) {
    uint8_t bytes[RECORD_BYTES_MAX];
    struct take_result result;
    /* Four of five are spent of the second limit. */
    struct record record =
        record_under("both", (struct tat){0}, (struct tat){NOW_NS + 240 * SECOND, 0}, 2);
    struct bytes stored = bytes_of(bytes, record_write(&record, bytes));
    assert_true(judge(FALLBACK_GRANTED, stored, 1, &result));
    assert_true(result.allowed);
    assert_int_equal(result.remaining_tokens, 0);
    assert_int_equal(result.flags, TAKE_FLAG_DEGRADED);
    fallback_call_cost(&call, VERB_TAKE, 2);
    assert_false(judge(FALLBACK_GRANTED, stored, 2, &result)); /* the store is wrong */
    assert_true(judge(FALLBACK_REFUSED, stored, 2, &result));
    assert_false(result.allowed);
    assert_int_equal(result.retry_after_us, 60000000);
    /* One that writes is not looked at, and the other way round. */
    assert_false(judge(FALLBACK_LOOKED, (struct bytes){0}, 2, &result));
    fallback_call_cost(&call, VERB_TAKE, 6);
    assert_true(judge(FALLBACK_LOOKED, stored, 6, &result));
    assert_false(judge(FALLBACK_GRANTED, stored, 6, &result));
}

static void test_what_was_expected_counts_as_converted(void **state) {
    uint8_t bytes[RECORD_BYTES_MAX];
    struct take_result result;
    const struct limit faster[] = {{9, SECOND, 30}};
    struct record record = /* all of 30 tokens */
        record_under("fast", (struct tat){NOW_NS + 10 * SECOND / 3, 3}, (struct tat){0}, 1);
    plan_put("fast", faster, 1);
    fallback_call_plan(&call, &plans->plans[0]);
    fallback_call_cost(&call, VERB_TAKE, 1);
    struct bytes stored = bytes_of(bytes, record_write(&record, bytes));
    assert_false(judge(FALLBACK_REFUSED, stored, 1, &result)); /* under whose terms? */
    assert_int_equal(convert(&record), REASON_NONE);
    assert_true(judge(FALLBACK_REFUSED, stored, 1, &result));
    assert_int_equal(result.remaining_tokens, 0);
    assert_int_equal(result.retry_after_us, 333334);
}

static void test_a_record_that_cannot_be_is_no_answer(void **state) {
    uint8_t bytes[RECORD_BYTES_MAX];
    struct take_result result;
    struct record record = record_under("both", (struct tat){0}, (struct tat){0}, 2);
    uint32_t size = record_write(&record, bytes);
    assert_true(judge(FALLBACK_GRANTED, bytes_of(bytes, size), 1, &result));
    /* Every piece of its start, in memory that ends with it. */
    for (uint32_t i = 1; i < size; i++) {
        uint8_t *piece = malloc(i);
        memcpy(piece, bytes, i);
        assert_false(judge(FALLBACK_GRANTED, bytes_of(piece, i), 1, &result));
        free(piece);
    }
    /* Another plan of a name as long, a time that is no number. */
    record = record_under("both", (struct tat){0}, (struct tat){0}, 2);
    record.plan = bytes_of_text("boat");
    assert_int_equal(record_write(&record, bytes), size);
    assert_false(judge(FALLBACK_GRANTED, bytes_of(bytes, size), 1, &result));
    record.plan = bytes_of_text("both");
    record_write(&record, bytes);
    bytes[size - 1] = 0xc0;
    assert_false(judge(FALLBACK_GRANTED, bytes_of(bytes, size), 1, &result));
}

#define OPEN(test) cmocka_unit_test_setup_teardown(test, open_any, close_any)

int main(void) {
    const struct CMUnitTest tests[] = {
        OPEN(test_increments_and_room_are_exact),
        OPEN(test_only_a_take_that_may_pass_writes),
        OPEN(test_tokens_spent_stay_spent),
        OPEN(test_a_record_with_fewer_times_than_its_terms),
        OPEN(test_times_that_are_none_are_rounded_up),
        OPEN(test_a_bucket_is_full_no_sooner),
        OPEN(test_of_a_plan_that_is_gone_nothing_is_decided),
        OPEN(test_plans_that_do_not_tell_enough),
        OPEN(test_a_record_longer_than_any_is_not_read),
        OPEN(test_a_record_under_its_own_terms_is_judged),
        OPEN(test_what_was_expected_counts_as_converted),
        OPEN(test_a_record_that_cannot_be_is_no_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
