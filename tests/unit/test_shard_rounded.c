/* Strict plans: records of buckets that are warm are rounded up, and takes between are answered at
 * once. */
#include "proto/bucket.h"
#include "server/core/term_set.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/shard_fixture.h"

#define HOUR (3600 * SECOND)
#define BURST 800u
#define ROUND_MOST (BURST / TERM_GRID_PART)

static struct fixture fixture;

/* A token an hour: what is spent stays spent. */
static const struct fixture_plan plans[] = {
    {"default", 1, {{1, HOUR, BURST}}},
    {"strict", 1, {{1, HOUR, BURST}}},
    {"strict-small", 1, {{1, HOUR, 60}}},
    {"strict-pair", 2, {{1, HOUR, BURST}, {2, HOUR, 3 * BURST}}},
    {"strict-uneven", 2, {{1, HOUR, BURST}, {1, HOUR, 60}}},
};

static int open_with(const struct fixture_options *options) {
    fixture_open_bare(&fixture, options);
    fixture_plans(&fixture, plans, 5);
    fixture_store(&fixture, true, false);
    fixture_own_all(&fixture);
    fixture_pass(&fixture, SECOND); /* what is written now is not older than the slot */
    return 0;
}

static int open_strict(void **state) {
    return open_with(NULL);
}

static int open_crowded(void **state) {
    return open_with(&(struct fixture_options){.resident_max = 2, .settle_ms = 100});
}

static int open_one_slot(void **state) {
    return open_with(&(struct fixture_options){.slot_count = 1});
}

static int close_any(void **state) {
    fixture_close(&fixture);
    return 0;
}

static uint64_t stored_ns(const char *key, uint32_t limit_at) {
    const struct stored *stored = fixture_stored(&fixture, key, false);
    assert_non_null(stored);
    struct record record;
    struct fault fault;
    assert_int_equal(record_read(bytes_of(stored->value, stored->value_size), &record, &fault),
                     CODE_OK);
    return record.tats[limit_at].ns;
}

/* Tokens by which the record is ahead of the bucket. */
static uint64_t ahead(const char *key) {
    uint64_t full_ns = fixture.now_ns + BURST * HOUR; /* when an empty one is full */
    uint64_t left = (full_ns - stored_ns(key, 0)) / HOUR;
    uint64_t level = fixture_show(&fixture, key).level_tokens[0];
    assert_true(left <= level); /* never behind */
    return level - left;
}

static bool taken_at_once(const char *key, uint64_t cost, const char *plan) {
    struct take_result result = fixture_take(&fixture, key, cost, plan);
    assert_int_equal(result.reason, REASON_NONE);
    assert_true(result.allowed);
    return fixture.update.held_count == 0;
}

/* Whole tokens between the record and a bucket that has taken so many since it was full. */
static uint64_t room(const char *key, uint64_t full_ns, uint64_t taken) {
    return (stored_ns(key, 0) - (full_ns + taken * HOUR)) / HOUR;
}

/* Two takes: the second finds a record that was written lately. */
static void warm_up(const char *key) {
    assert_false(taken_at_once(key, 1, "strict"));
    fixture_pass(&fixture, SECOND);
    assert_false(taken_at_once(key, 1, "strict"));
    fixture_pass(&fixture, SECOND);
    assert_in_range(ahead(key), 2, ROUND_MOST);
}

static void test_what_is_within_the_record_costs_no_write(void **state) {
    uint64_t full_ns = fixture.now_ns;
    warm_up("a");
    uint64_t records = fixture.entry_count; /* writes of nothing prove that the mark lives */
    for (uint64_t left = room("a", full_ns, 2); left > 0; left--) {
        assert_true(taken_at_once("a", 1, "strict"));
        fixture_pass(&fixture, SECOND);
        assert_in_range(ahead("a"), left - 1, left);
    }
    assert_int_equal(fixture.entry_count, records);
    assert_false(taken_at_once("a", 1, "strict"));
    assert_int_equal(fixture.entry_count, records + 1);
}

static void test_a_take_as_large_as_what_is_left(void **state) {
    static const char *const keys[] = {"a", "b"};
    for (uint64_t i = 0; i < 2; i++) {
        uint64_t full_ns = fixture.now_ns;
        warm_up(keys[i]);
        uint64_t cost = room(keys[i], full_ns, 2) + i;
        assert_int_equal(taken_at_once(keys[i], cost, "strict"), i == 0);
    }
}

/* Each limit has times of its own. */
static void test_of_two_limits_the_nearer_one_counts(void **state) {
    fixture_take(&fixture, "a", 1, "strict-pair");
    fixture_take(&fixture, "a", 1, "strict-pair");
    uint64_t first_ns = stored_ns("a", 0), second_ns = stored_ns("a", 1);
    struct limit first = plans[3].limits[0], second = plans[3].limits[1];
    assert_int_equal(first_ns % bucket_grid_ns(&first, TERM_GRID_PART), 0);
    assert_int_equal(second_ns % bucket_grid_ns(&second, TERM_GRID_PART), 0);
    uint64_t taken = 2, writes = fixture.write_count;
    while (taken_at_once("a", 1, "strict-pair")) {
        taken++;
        assert_true(fixture.now_ns + taken * HOUR <= first_ns);
        assert_true(fixture.now_ns + taken * HOUR / 2 <= second_ns);
    }
    assert_int_equal(fixture.write_count, writes + 1);
    assert_true(fixture.now_ns + (taken + 1) * HOUR > first_ns ||
                fixture.now_ns + (taken + 1) * HOUR / 2 > second_ns);
}

/* Less than two tokens would be between: all limits have to be large enough. */
static void test_small_bursts_are_not_rounded(void **state) {
    static const char *const names[] = {"strict-small", "strict-uneven"};
    for (int i = 0; i < 2; i++) {
        fixture_take(&fixture, names[i], 1, names[i]);
        fixture_pass(&fixture, SECOND);
        fixture_take(&fixture, names[i], 1, names[i]);
        assert_int_equal(stored_ns(names[i], 0) % HOUR, (fixture.now_ns - SECOND) % HOUR);
    }
}

static void test_a_cold_key_is_written_as_it_is(void **state) {
    assert_false(taken_at_once("a", 1, "strict"));
    assert_int_equal(ahead("a"), 0);
    fixture_pass(&fixture, (SHARD_RESERVE_SLOW_MS + 1000) * MS);
    assert_false(taken_at_once("a", 1, "strict"));
    assert_int_equal(ahead("a"), 0);
}

/* Its record is old, and it stays as it was: warm. */
static void test_what_was_rounded_is_rounded_again(void **state) {
    warm_up("a");
    fixture_pass(&fixture, (SHARD_RESERVE_SLOW_MS + 1000) * MS);
    assert_false(taken_at_once("a", ahead("a") + 1, "strict"));
    assert_in_range(ahead("a"), 1, ROUND_MOST);
}

static void test_an_old_record_is_written_as_the_bucket_is(void **state) {
    warm_up("a");
    fixture_pass(&fixture, (SHARD_ROUND_MS - 5000) * MS);
    assert_in_range(ahead("a"), 1, ROUND_MOST);
    fixture_pass(&fixture, 10 * SECOND);
    assert_int_equal(ahead("a"), 0);
    fixture.hold = true;
    assert_false(taken_at_once("a", 1, "strict"));
}

/* Takes within the record that is under way are answered with it. */
static void test_what_is_within_the_record_under_way_waits_for_it(void **state) {
    assert_false(taken_at_once("a", 1, "strict"));
    fixture.hold = true;
    assert_false(taken_at_once("a", 1, "strict"));
    assert_int_equal(fixture.held_count, 1);
    assert_false(taken_at_once("a", 2, "strict"));
    assert_int_equal(fixture.held_count, 1);
    fixture_answer(&fixture, SHARD_STORED_OK);
    assert_int_equal(fixture.update.release_count, 2);
    assert_int_equal(fixture.held_count, 0); /* nothing is left to be written */
    assert_in_range(ahead("a"), 0, ROUND_MOST);
}

static void test_a_failed_write_gives_all_of_it_back(void **state) {
    assert_false(taken_at_once("a", 1, "strict"));
    fixture.hold = true;
    fixture_take(&fixture, "a", 1, "strict");
    fixture_take(&fixture, "a", 2, "strict");
    fixture_answer(&fixture, SHARD_STORED_FAILED);
    assert_int_equal(fixture.update.release_count, 2);
    assert_int_equal(fixture.update.releases[1].reason, REASON_STORE_AWAY);
    /* What failed may have been written, or not: the next one waits. */
    assert_false(taken_at_once("a", 1, "strict"));
    fixture.hold = false;
    fixture_answer_all(&fixture);
    fixture_pass(&fixture, SECOND);
    assert_int_equal(fixture_show(&fixture, "a").level_tokens[0], BURST - 2);
    ahead("a");
}

static void test_without_a_store_it_goes_on_within_the_record(void **state) {
    uint64_t full_ns = fixture.now_ns;
    warm_up("a");
    fixture_store(&fixture, false, false);
    assert_true(taken_at_once("a", room("a", full_ns, 2), "strict"));
    assert_int_equal(fixture_take(&fixture, "a", 1, "strict").reason, REASON_STORE_AWAY);
}

/* A server that has lost the end of its log: nothing counts before it is written again. */
static void test_what_the_store_forgot_does_not_count(void **state) {
    warm_up("a");
    fixture_store(&fixture, false, false);
    fixture_forget(&fixture, bytes_of_text("a"));
    fixture.hold = true;
    fixture_store(&fixture, true, true);
    assert_false(taken_at_once("a", 1, "strict"));
    assert_null(fixture_stored(&fixture, "a", false));
    fixture.hold = false;
    fixture_answer_all(&fixture);
    assert_in_range(ahead("a"), 0, ROUND_MOST);
}

static void test_a_crash_costs_at_most_what_was_rounded(void **state) {
    warm_up("a");
    uint64_t lead = ahead("a"), level = fixture_show(&fixture, "a").level_tokens[0];
    assert_in_range(lead, 1, ROUND_MOST);
    fixture_crash(&fixture);
    fixture_pass(&fixture, 10 * MS);
    assert_int_equal(fixture_show(&fixture, "a").level_tokens[0], level - lead);
}

static void test_a_planned_stop_costs_nothing(void **state) {
    uint64_t full_ns = fixture.now_ns;
    warm_up("a");
    fixture_stop(&fixture);
    fixture_pass(&fixture, 10 * MS);
    assert_true(fixture.stopped);
    assert_int_equal(stored_ns("a", 0), full_ns + 2 * HOUR);
}

static void test_sealing_and_giving_away_cost_nothing(void **state) {
    uint64_t full_ns = fixture.now_ns;
    warm_up("a");
    uint8_t all[SLOTS_MAX / 8];
    memset(all, 0xff, sizeof all);
    struct shard_event event = {.kind = SHARD_EVENT_SEAL};
    event.seal.slots = all;
    fixture.hold = true;
    fixture_step(&fixture, &event);
    assert_false(fixture.update.sealed);
    assert_int_equal(fixture.held_count, 1);
    fixture_answer(&fixture, SHARD_STORED_OK);
    assert_true(fixture.update.sealed);
    assert_int_equal(stored_ns("a", 0), full_ns + 2 * HOUR);
    fixture.hold = false;
    fixture_own(&fixture, fixture_slot(&fixture, "a"), false);
    fixture_pass(&fixture, 10 * MS);
    assert_int_equal(stored_ns("a", 0), full_ns + 2 * HOUR);
    assert_int_equal(shard_counters(fixture.shard)->buckets, 0);
}

/* While its record, rounded up, is under way as well. */
static void test_giving_away_what_is_being_written_costs_nothing(void **state) {
    uint64_t full_ns = fixture.now_ns;
    assert_false(taken_at_once("a", 1, "strict"));
    fixture.hold = true;
    assert_false(taken_at_once("a", 1, "strict"));
    fixture_own(&fixture, fixture_slot(&fixture, "a"), false);
    fixture.hold = false;
    fixture_answer_all(&fixture);
    fixture_pass(&fixture, 10 * MS);
    assert_int_equal(stored_ns("a", 0), full_ns + 2 * HOUR);
    assert_int_equal(shard_counters(fixture.shard)->buckets, 0);
}

static void test_leaving_memory_costs_nothing(void **state) {
    uint64_t full_ns = fixture.now_ns;
    warm_up("a");
    for (char key[] = "b"; key[0] <= 'h'; key[0]++) {
        fixture_take(&fixture, key, 1, "strict");
    }
    for (int i = 0; i < 40 && shard_counters(fixture.shard)->buckets > 2; i++) {
        fixture_pass(&fixture, SECOND);
        fixture_take(&fixture, "h", 1, "strict"); /* in use, so others go */
    }
    assert_true(shard_counters(fixture.shard)->hibernations > 0);
    assert_int_equal(stored_ns("a", 0), full_ns + 2 * HOUR);
}

static void test_relaxed_takes_and_refunds_and_other_terms(void **state) {
    static const char *const keys[] = {"a", "b", "c"};
    for (int i = 0; i < 3; i++) {
        warm_up(keys[i]);
    }
    fixture.hold = true;
    assert_true(taken_at_once("a", ahead("a") + 1, "default")); /* beyond, and nobody waits */
    fixture_verb(&fixture, VERB_REFUND, "b", 1, "strict");
    for (int i = 0; i < 2; i++) {
        assert_false(taken_at_once(keys[i], 1, "strict"));
    }
    assert_false(taken_at_once("c", 1, "strict-pair")); /* under which it says nothing */
    fixture.hold = false;
    fixture_answer_all(&fixture);
    fixture_pass(&fixture, SECOND);
    for (int i = 0; i < 3; i++) {
        assert_in_range(ahead(keys[i]), 0, ROUND_MOST);
    }
}

/* What a crash may cost a bucket whose takes do not wait is said in time, not in tokens. */
static void test_a_relaxed_take_has_a_record_as_it_is(void **state) {
    uint64_t full_ns = fixture.now_ns;
    warm_up("a");
    for (uint32_t i = 0; i < fixture.plans->plan_count; i++) {
        fixture.plans->plans[i].durability = DURABILITY_RELAXED;
    }
    struct shard_event event = {.kind = SHARD_EVENT_PLANS};
    event.plans.set = fixture.plans;
    fixture_step(&fixture, &event);
    assert_true(taken_at_once("a", ROUND_MOST, "strict"));
    fixture_pass(&fixture, SECOND);
    assert_int_equal(stored_ns("a", 0), full_ns + (2 + ROUND_MOST) * HOUR);
}

/* A slot that is too large to be looked through at once. */
static void test_what_the_store_forgot_does_not_count_before_it_is_looked_at(void **state) {
    static char keys[3 * SHARD_SWEEP_ENTRIES][16];
    uint32_t count = sizeof keys / sizeof keys[0];
    for (int round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < count; i++) {
            snprintf(keys[i], sizeof keys[i], "key-%u", i);
            fixture_take(&fixture, keys[i], 1, "strict");
        }
        fixture_pass(&fixture, SECOND);
    }
    assert_true(taken_at_once(keys[0], 1, "strict"));
    fixture_store(&fixture, false, false);
    fixture.hold = true;
    fixture_store(&fixture, true, true);
    for (uint32_t i = 0; i < count; i++) {
        assert_false(taken_at_once(keys[i], 1, "strict"));
    }
    fixture.hold = false;
    fixture_answer_all(&fixture);
}

/* One that uses it up within seconds gets reservations that grow. */
static void test_a_hot_bucket_gets_further_ahead(void **state) {
    warm_up("a");
    uint64_t most = 0;
    for (uint32_t i = 0; i < 300; i++) {
        fixture_take(&fixture, "a", 1, "strict");
        uint64_t lead = ahead("a");
        most = lead > most ? lead : most;
        fixture_pass(&fixture, 5 * MS);
    }
    assert_in_range(most, 2 * ROUND_MOST, BURST / SHARD_RESERVE_PART);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_strict, close_any)
    const struct CMUnitTest tests[] = {
        TEST(test_what_is_within_the_record_costs_no_write),
        TEST(test_a_take_as_large_as_what_is_left),
        TEST(test_of_two_limits_the_nearer_one_counts),
        TEST(test_small_bursts_are_not_rounded),
        TEST(test_a_cold_key_is_written_as_it_is),
        TEST(test_what_was_rounded_is_rounded_again),
        TEST(test_an_old_record_is_written_as_the_bucket_is),
        TEST(test_what_is_within_the_record_under_way_waits_for_it),
        TEST(test_a_failed_write_gives_all_of_it_back),
        TEST(test_without_a_store_it_goes_on_within_the_record),
        TEST(test_what_the_store_forgot_does_not_count),
        TEST(test_a_crash_costs_at_most_what_was_rounded),
        TEST(test_a_planned_stop_costs_nothing),
        TEST(test_sealing_and_giving_away_cost_nothing),
        TEST(test_giving_away_what_is_being_written_costs_nothing),
        cmocka_unit_test_setup_teardown(test_leaving_memory_costs_nothing, open_crowded, close_any),
        TEST(test_relaxed_takes_and_refunds_and_other_terms),
        TEST(test_a_relaxed_take_has_a_record_as_it_is),
        cmocka_unit_test_setup_teardown(
            test_what_the_store_forgot_does_not_count_before_it_is_looked_at, open_one_slot,
            close_any),
        TEST(test_a_hot_bucket_gets_further_ahead),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
