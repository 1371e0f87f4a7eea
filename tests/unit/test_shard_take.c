/* Takes, peeks and refunds: which plan applies, what changes, what is refused and why. */
#include "tests/unit/cmocka_all.h"
#include "tests/unit/shard_fixture.h"

#define HOUR (3600 * SECOND)

static struct fixture fixture;

static int open_usual(void **state) {
    fixture_open(&fixture, NULL);
    return 0;
}

static int close_any(void **state) {
    fixture_close(&fixture);
    return 0;
}

static const struct shard_counters *counters(void) {
    return shard_counters(fixture.shard);
}

static void expect_reason(struct take_result result, enum reason reason) {
    assert_int_equal(result.reason, reason);
    assert_int_equal(result.code, reason_code(reason));
    assert_false(result.allowed);
}

static void test_the_default_plan(void **state) {
    struct take_result result = fixture_take(&fixture, "alice", 1, NULL);
    assert_int_equal(result.code, CODE_OK);
    assert_true(result.allowed);
    assert_int_equal(result.remaining_tokens, 19);
    assert_int_equal(result.limit_tokens, 20);
    assert_int_equal(result.reset_after_us, 100000);
    assert_int_equal(counters()->buckets, 1);
    assert_int_equal(counters()->takes_granted, 1);
    assert_int_equal(counters()->tokens_granted, 1);
}

static void test_a_named_plan_has_two_limits(void **state) {
    for (int i = 0; i < 10; i++) {
        assert_true(fixture_take(&fixture, "bob", 10, "pair").allowed);
        fixture.now_ns += SECOND;
    }
    struct take_result result = fixture_take(&fixture, "bob", 20, "pair");
    assert_false(result.allowed);
    assert_int_equal(result.limit_tokens, 100);
    assert_int_equal(counters()->takes_refused, 1);
}

static void test_no_such_plan(void **state) {
    expect_reason(fixture_take(&fixture, "a", 1, "gone"), REASON_PLAN_NOT_FOUND);
    assert_int_equal(counters()->takes_failed, 1);
    struct fixture_plan only = {"other", 1, {{1, SECOND, 1}}};
    fixture_plans(&fixture, &only, 1);
    expect_reason(fixture_take(&fixture, "a", 1, NULL), REASON_NO_DEFAULT_PLAN);
    assert_true(fixture_take(&fixture, "a", 1, "other").allowed);
}

static void test_what_changes_nothing_makes_no_bucket(void **state) {
    assert_true(fixture_verb(&fixture, VERB_PEEK, "a", 20, NULL).allowed);
    assert_false(fixture_verb(&fixture, VERB_PEEK, "a", 21, NULL).allowed);
    assert_true(fixture_verb(&fixture, VERB_REFUND, "a", 5, NULL).allowed);
    assert_true(fixture_take(&fixture, "a", 0, NULL).allowed);
    assert_int_equal(fixture_take(&fixture, "a", 21, NULL).retry_after_us, RETRY_NEVER);
    assert_int_equal(counters()->buckets, 0);
    assert_int_equal(counters()->peeks, 2);
    assert_int_equal(counters()->refunds, 1);
}

static void test_refund_gives_back(void **state) {
    fixture_take(&fixture, "a", 15, NULL);
    struct take_result result = fixture_verb(&fixture, VERB_REFUND, "a", 10, NULL);
    assert_true(result.allowed);
    assert_int_equal(result.remaining_tokens, 15);
    assert_int_equal(fixture_verb(&fixture, VERB_REFUND, "a", 100, NULL).remaining_tokens, 20);
}

static void test_naming_another_plan_keeps_what_was_spent(void **state) {
    fixture_take(&fixture, "a", 12, NULL);
    struct take_result result = fixture_verb(&fixture, VERB_PEEK, "a", 1, "pair");
    assert_int_equal(result.remaining_tokens, 8);
    assert_int_equal(fixture_show(&fixture, "a").limit_count, 1); /* a peek converts nothing */
    assert_false(fixture_verb(&fixture, VERB_PEEK, "a", 9, "pair").allowed);
    assert_true(fixture_take(&fixture, "a", 0, "pair").allowed);
    assert_int_equal(fixture_show(&fixture, "a").limit_count, 1); /* nor does a take of nothing */
    result = fixture_take(&fixture, "a", 1, "pair");
    assert_true(result.allowed);
    assert_int_equal(result.remaining_tokens, 7);
    struct shard_key_info info = fixture_show(&fixture, "a");
    assert_int_equal(info.limit_count, 2);
    assert_string_equal(info.bucket_plan.text, "pair");
    assert_int_equal(info.level_tokens[0], 7);
    assert_int_equal(info.level_tokens[1], 99);
    assert_int_equal(fixture_take(&fixture, "a", 1, NULL).remaining_tokens, 6);
    assert_int_equal(counters()->buckets, 1);
    assert_int_equal(counters()->buckets_dirty, 1);
}

/* Ten tokens a day, all taken; then the key gets a plan of ten a second. What the refusal says it
 * has to wait is true, whatever is asked in between, and after a crash. */
static void test_a_refusal_counts_by_the_limits_it_names(void **state) {
    struct limit day = {10, 24 * HOUR, 40};
    for (int i = 0; i < 2; i++) {
        const char *key = i == 0 ? "a" : "b";
        assert_true(fixture_inline(&fixture, key, 40, day).allowed);
        fixture_pass(&fixture, SECOND); /* written */
        struct take_result result = fixture_take(&fixture, key, 1, NULL);
        assert_false(result.allowed);
        uint64_t wait_ns = (uint64_t)result.retry_after_us * 1000;
        assert_true(wait_ns > 2099 * MS &&
                    wait_ns <= 2100 * MS); /* 20 of 40 are its burst; and 1 */
        assert_string_equal(fixture_show(&fixture, key).bucket_plan.text, "default");
        fixture_pass(&fixture, SECOND);
        if (i == 1) {
            fixture_crash(&fixture); /* its record is under the new limits, too */
        }
        fixture_pass(&fixture, wait_ns - SECOND - MS);
        assert_false(fixture_take(&fixture, key, 1, NULL).allowed);
        fixture_pass(&fixture, MS);
        assert_true(fixture_take(&fixture, key, 1, NULL).allowed);
    }
}

/* The same back: from then on it refills by the slower ones. */
static void test_a_refusal_by_slower_limits(void **state) {
    struct limit slow = {1, SECOND, 5};
    assert_true(fixture_take(&fixture, "a", 20, NULL).allowed);
    assert_int_equal(fixture_inline(&fixture, "a", 1, slow).retry_after_us, 16000000);
    fixture_pass(&fixture, 16 * SECOND - MS);
    assert_false(fixture_inline(&fixture, "a", 1, slow).allowed);
    fixture_pass(&fixture, MS);
    assert_true(fixture_inline(&fixture, "a", 1, slow).allowed);
}

/* What is full under the limits that were asked under waits for nothing: it keeps its own. */
static void test_a_refusal_of_a_full_bucket(void **state) {
    for (int i = 0; i < 4; i++) {
        assert_true(fixture_take(&fixture, "a", 20, "pair").allowed);
        fixture_pass(&fixture, 2 * SECOND);
    }
    assert_int_equal(fixture_take(&fixture, "a", 21, NULL).retry_after_us, RETRY_NEVER);
    assert_string_equal(fixture_show(&fixture, "a").bucket_plan.text, "pair");
    assert_int_equal(fixture_show(&fixture, "a").level_tokens[1], 100 - 80 + 13);
}

/* A record under limits that this shard has not heard of yet: they will say what its time is worth,
 * so a refusal does not put it under those of before. */
static void test_a_refusal_leaves_limits_that_are_to_come(void **state) {
    struct fixture_plan plans[] = {{"default", 1, {{1, SECOND, 20}}}, {"pair", 1, {{1, HOUR, 9}}}};
    struct record record = {
        .plan = bytes_of_text("default"), .generation = 2, .tat_count = 1, .tats = {{0}}};
    record.tats[0].ns = fixture.now_ns + 40 * SECOND;
    fixture_put_record(&fixture, "a", &record);
    fixture_crash(&fixture);
    assert_false(fixture_take(&fixture, "a", 1, NULL).allowed);
    fixture_plans(&fixture, plans, 2); /* 40 tokens are owed */
    assert_int_equal(fixture_take(&fixture, "a", 1, NULL).retry_after_us, 21000000);
}

static void test_inline_limits(void **state) {
    struct limit limit = {5, SECOND, 5};
    assert_int_equal(fixture_inline(&fixture, "a", 2, limit).remaining_tokens, 3);
    assert_int_equal(fixture_inline(&fixture, "a", 1, limit).remaining_tokens, 2);
    assert_int_equal(fixture_show(&fixture, "a").bucket_plan.size, 0);
    limit.burst_tokens = 10;
    assert_int_equal(fixture_inline(&fixture, "a", 0, limit).remaining_tokens, 7);
    assert_int_equal(fixture_take(&fixture, "a", 1, "pair").remaining_tokens, 16);
}

static void test_too_many_inline_limits(void **state) {
    char key[32];
    for (uint32_t i = 0; i < SHARD_TERMS_MAX / 2; i++) {
        snprintf(key, sizeof key, "key-%u", i);
        assert_true(fixture_inline(&fixture, key, 1, (struct limit){1, SECOND, i + 1}).allowed);
    }
    struct limit one_more = {1, SECOND, 1000000};
    expect_reason(fixture_inline(&fixture, "more", 1, one_more), REASON_TERMS_FULL);
    assert_int_equal(counters()->buckets, SHARD_TERMS_MAX / 2);
    assert_true(fixture_take(&fixture, "more", 1, NULL).allowed);
    assert_true(fixture_inline(&fixture, "other", 1, (struct limit){1, SECOND, 5}).allowed);
    fixture_pass(&fixture, 3000 * SECOND); /* they refill, and their limits are forgotten */
    assert_true(fixture_inline(&fixture, "more", 1, one_more).allowed);
}

static void test_batches_are_decided_in_order(void **state) {
    static struct shard_item items[TAKES_PER_REQUEST_MAX];
    static char keys[100][16];
    for (uint32_t i = 0; i < 100; i++) {
        snprintf(keys[i], sizeof keys[i], "key-%u", i);
    }
    for (uint32_t i = 0; i < TAKES_PER_REQUEST_MAX; i++) {
        items[i] = (struct shard_item){
            .take = {.key = bytes_of_text(keys[i % 100]), .cost_tokens = 1, .deadline_ms = 1}};
    }
    struct shard_event event = {.kind = SHARD_EVENT_TAKES};
    event.takes.items = items;
    event.takes.count = TAKES_PER_REQUEST_MAX;
    fixture_step(&fixture, &event);
    assert_int_equal(fixture.update.result_count, TAKES_PER_REQUEST_MAX);
    for (uint32_t i = 0; i < TAKES_PER_REQUEST_MAX; i++) {
        uint32_t turn = i / 100; /* of this key */
        assert_int_equal(fixture.update.results[i].allowed, turn < 20);
        assert_int_equal(fixture.update.results[i].remaining_tokens, turn < 20 ? 19 - turn : 0);
    }
    assert_int_equal(counters()->buckets, 100);
}

static void test_keys_are_binary_and_up_to_256_bytes(void **state) {
    uint8_t key[KEY_BYTES_MAX];
    for (uint32_t size = 1; size <= KEY_BYTES_MAX; size++) {
        memset(key, 0, sizeof key);
        key[size - 1] = (uint8_t)size;
        struct shard_item item = {.take = {.key = bytes_of(key, size), .cost_tokens = 1}};
        struct shard_event event = {.kind = SHARD_EVENT_TAKES};
        event.takes.items = &item;
        event.takes.count = 1;
        fixture_step(&fixture, &event);
        assert_int_equal(fixture.update.results[0].remaining_tokens, 19);
        fixture_step(&fixture, &event);
        assert_int_equal(fixture.update.results[0].remaining_tokens, 18);
    }
    assert_int_equal(counters()->buckets, KEY_BYTES_MAX);
}

static void test_time_never_runs_backward(void **state) {
    fixture_take(&fixture, "a", 20, NULL);
    fixture.now_ns -= 10 * SECOND;
    assert_false(fixture_take(&fixture, "a", 1, NULL).allowed);
    assert_int_equal(counters()->clock_clamps, 1);
    fixture.now_ns += 10 * SECOND + 100 * MS;
    assert_true(fixture_take(&fixture, "a", 1, NULL).allowed);
}

static void test_memory_full_refuses_new_keys_only(void **state) {
    fixture_close(&fixture);
    struct fixture_options options = {.memory_bytes_max = 8u << 20};
    fixture_open(&fixture, &options);
    fixture_store(&fixture, false, false);
    fixture_take(&fixture, "first", 1, NULL);
    char key[32];
    uint32_t granted = 0;
    struct take_result result;
    do {
        snprintf(key, sizeof key, "a-somewhat-long-key-%u", granted);
        result = fixture_take(&fixture, key, 1, NULL);
        granted += result.allowed;
    } while (result.allowed && granted < 1000000);
    expect_reason(result, REASON_MEMORY_FULL);
    assert_true(granted > 10000);
    assert_true(counters()->memory_bytes <= options.memory_bytes_max);
    assert_int_equal(fixture_take(&fixture, "first", 1, NULL).remaining_tokens, 18);
    expect_reason(fixture_take(&fixture, key, 1, NULL), REASON_MEMORY_FULL);
    assert_true(fixture_verb(&fixture, VERB_PEEK, key, 1, NULL).allowed);

    /* What has refilled without ever having been written leaves even now. */
    fixture_pass(&fixture, 10 * SECOND);
    assert_true(fixture_take(&fixture, key, 1, NULL).allowed);
    assert_int_equal(counters()->buckets, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_the_default_plan, open_usual, close_any),
        cmocka_unit_test_setup_teardown(test_a_named_plan_has_two_limits, open_usual, close_any),
        cmocka_unit_test_setup_teardown(test_no_such_plan, open_usual, close_any),
        cmocka_unit_test_setup_teardown(test_what_changes_nothing_makes_no_bucket, open_usual,
                                        close_any),
        cmocka_unit_test_setup_teardown(test_refund_gives_back, open_usual, close_any),
        cmocka_unit_test_setup_teardown(test_naming_another_plan_keeps_what_was_spent, open_usual,
                                        close_any),
        cmocka_unit_test_setup_teardown(test_a_refusal_counts_by_the_limits_it_names, open_usual,
                                        close_any),
        cmocka_unit_test_setup_teardown(test_a_refusal_by_slower_limits, open_usual, close_any),
        cmocka_unit_test_setup_teardown(test_a_refusal_of_a_full_bucket, open_usual, close_any),
        cmocka_unit_test_setup_teardown(test_a_refusal_leaves_limits_that_are_to_come, open_usual,
                                        close_any),
        cmocka_unit_test_setup_teardown(test_inline_limits, open_usual, close_any),
        cmocka_unit_test_setup_teardown(test_too_many_inline_limits, open_usual, close_any),
        cmocka_unit_test_setup_teardown(test_batches_are_decided_in_order, open_usual, close_any),
        cmocka_unit_test_setup_teardown(test_keys_are_binary_and_up_to_256_bytes, open_usual,
                                        close_any),
        cmocka_unit_test_setup_teardown(test_time_never_runs_backward, open_usual, close_any),
        cmocka_unit_test_setup_teardown(test_memory_full_refuses_new_keys_only, open_usual,
                                        close_any),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
