/* What no request touches: refilled buckets leave, changed plans reach every bucket. */
#include "tests/unit/cmocka_all.h"
#include "tests/unit/shard_fixture.h"

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

static void take_many(uint32_t count, uint64_t cost, const char *plan) {
    char key[32];
    for (uint32_t i = 0; i < count; i++) {
        snprintf(key, sizeof key, "key-%u", i);
        assert_true(fixture_take(&fixture, key, cost, plan).allowed);
    }
}

static void test_rest_is_rest(void **state) {
    assert_true(fixture_pass(&fixture, 100 * SECOND) <= 101);
    fixture_take(&fixture, "a", 20, NULL);
    fixture_pass(&fixture, 100 * MS);
    /* Few buckets: a round a second is enough. */
    assert_true(fixture_pass(&fixture, SECOND) <= 4);
}

static void test_many_buckets_leave_soon(void **state) {
    take_many(30000, 1, NULL);
    assert_int_equal(counters()->buckets, 30000);
    fixture_pass(&fixture, 100 * MS);
    fixture_pass(&fixture, 2 * SECOND);
    assert_int_equal(counters()->buckets, 0);
    assert_int_equal(fixture_records(&fixture), 0);
    /* A page is kept for reuse. */
    assert_true(counters()->memory_bytes <= 1u << 20);
}

static void test_a_step_is_bounded(void **state) {
    fixture_close(&fixture);
    fixture_open(&fixture,
                 &(struct fixture_options){.slot_count = 1, .memory_bytes_max = 1u << 28});
    static struct shard_item items[TAKES_PER_REQUEST_MAX];
    static char keys[TAKES_PER_REQUEST_MAX][24];
    for (uint32_t batch = 0; batch < 20; batch++) {
        for (uint32_t i = 0; i < TAKES_PER_REQUEST_MAX; i++) {
            snprintf(keys[i], sizeof keys[i], "key-%u-%u", batch, i);
            items[i].take = (struct take){.key = bytes_of_text(keys[i]), .cost_tokens = 20};
        }
        struct shard_event event = {.kind = SHARD_EVENT_TAKES};
        event.takes.items = items;
        event.takes.count = TAKES_PER_REQUEST_MAX;
        fixture_step(&fixture, &event);
    }
    uint64_t buckets = counters()->buckets;
    assert_int_equal(buckets, 20 * TAKES_PER_REQUEST_MAX);
    /* A newer owner: everything goes, but not in one step. */
    fixture.fences[0] = 9;
    fixture.hold = true;
    fixture_pass(&fixture, 100 * MS);
    fixture_answer(&fixture, SHARD_STORED_OK);
    uint32_t steps = 0;
    while (counters()->buckets > 0) {
        assert_true(buckets - counters()->buckets <= 2 * SHARD_SWEEP_ENTRIES);
        buckets = counters()->buckets;
        assert_true(fixture.wake_at_ns <= fixture.now_ns);
        fixture_tick(&fixture);
        steps++;
    }
    assert_true(steps >= 20);
    assert_int_equal(counters()->buckets_dirty, 0);
}

static void test_a_changed_plan_reaches_untouched_buckets(void **state) {
    take_many(1000, 20, NULL);
    fixture_pass(&fixture, 200 * MS); /* 18 spent */
    struct fixture_plan raised[] = {
        {"default", 2, {{10, SECOND, 100}, {1000, 60 * SECOND, 1000}}},
        {"pair", 2, {{10, SECOND, 20}, {100, 60 * SECOND, 100}}},
    };
    fixture_plans(&fixture, raised, 2);
    struct stored *stored = fixture_stored(&fixture, "key-0", false);
    struct record record;
    struct fault fault;
    assert_int_equal(record_read(bytes_of(stored->value, stored->value_size), &record, &fault), 0);
    assert_int_equal(record.generation, 1);
    fixture_pass(&fixture, SECOND + 200 * MS); /* 6 spent */
    char key[32];
    for (uint32_t i = 0; i < 1000; i++) {
        snprintf(key, sizeof key, "key-%u", i);
        stored = fixture_stored(&fixture, key, false);
        record_read(bytes_of(stored->value, stored->value_size), &record, &fault);
        assert_int_equal(record.generation, 2);
        assert_int_equal(record.tat_count, 2);
    }
    assert_int_equal(fixture_take(&fixture, "key-7", 1, NULL).remaining_tokens, 93);
    assert_int_equal(counters()->buckets, 1000);
    uint64_t writes = fixture.write_count;
    fixture_pass(&fixture, 300 * MS);
    assert_true(fixture.write_count <= writes + 1); /* each once */
}

static void test_a_plan_taken_away_leaves_its_buckets_alone(void **state) {
    take_many(10, 20, "pair");
    fixture_pass(&fixture, 200 * MS);
    uint64_t writes = fixture.write_count;
    struct fixture_plan only = {"default", 1, {{10, SECOND, 20}}};
    fixture_plans(&fixture, &only, 1);
    fixture_pass(&fixture, 1500 * MS);
    assert_int_equal(fixture.write_count, writes);
    assert_string_equal(fixture_show(&fixture, "key-3").bucket_plan.text, "pair");
    assert_int_equal(fixture_take(&fixture, "key-3", 1, NULL).remaining_tokens, 16);
    fixture_pass(&fixture, 100 * SECOND);
    assert_int_equal(counters()->buckets, 0);
    assert_int_equal(fixture_records(&fixture), 0);
}

static void test_plans_change_many_times(void **state) {
    take_many(5, 20, NULL);
    for (uint64_t i = 1; i < 100; i++) {
        struct fixture_plan plan = {"default", 1 + i % 4, {{10, SECOND, 20 + i}}};
        for (uint32_t k = 1; k < 4; k++) {
            plan.limits[k] = (struct limit){10 * k, 10 * SECOND, 1000 + i};
        }
        fixture_plans(&fixture, &plan, 1);
        fixture_pass(&fixture, 10 * MS);
    }
    assert_int_equal(fixture_verb(&fixture, VERB_PEEK, "key-0", 0, NULL).remaining_tokens,
                     20 + 99 - 20 + 9);
    fixture_pass(&fixture, 100 * SECOND);
    assert_int_equal(counters()->buckets, 0);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_usual, close_any)
    const struct CMUnitTest tests[] = {
        TEST(test_rest_is_rest),
        TEST(test_many_buckets_leave_soon),
        TEST(test_a_step_is_bounded),
        TEST(test_a_changed_plan_reaches_untouched_buckets),
        TEST(test_a_plan_taken_away_leaves_its_buckets_alone),
        TEST(test_plans_change_many_times),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
