/* A shard under plans that let routers decide in the store looks at its fences, written or not. */
#include "tests/unit/cmocka_all.h"
#include "tests/unit/shard_fixture.h"

#define HOUR (3600 * SECOND)

static struct fixture fixture;

static const struct fixture_plan plans[] = {{"default", 1, {{1, HOUR, 100}}},
                                            {"redis", 1, {{1, HOUR, 100}}}};

static void open_with(uint32_t plan_count) {
    struct fixture_options options = {.slot_count = 256};
    fixture_open_bare(&fixture, &options);
    fixture_plans(&fixture, plans, plan_count);
    fixture_store(&fixture, true, false);
    fixture_own_all(&fixture);
    fixture_pass(&fixture, SECOND);
}

/* What a router does: half a fence that no owner holds, and a record of its own. */
static void router_decides(const char *key, uint64_t spent_tokens) {
    struct record record = {.plan = bytes_of_text("default"), .generation = 1, .tat_count = 1};
    record.tats[0].ns = fixture.now_ns + spent_tokens * HOUR;
    fixture_put_record(&fixture, key, &record);
    fixture.fences[fixture_slot(&fixture, key).index]++;
}

static uint64_t left(const char *key) {
    return fixture_verb(&fixture, VERB_PEEK, key, 0, "default").remaining_tokens;
}

static void test_an_idle_slot_is_read_anew_within_a_round(void **state) {
    open_with(2);
    fixture_take(&fixture, "a", 10, "default");
    fixture_pass(&fixture, SECOND);
    router_decides("a", 40);
    assert_int_equal(left("a"), 90);
    fixture_pass(&fixture, SHARD_WATCH_ROUND_NS + SECOND);
    assert_int_equal(left("a"), 60);
    assert_int_equal(fixture.notices[SHARD_NOTICE_FENCED], 1);
    fixture_close(&fixture);
}

static void test_a_round_writes_nothing_to_each_slot_once(void **state) {
    open_with(2);
    uint64_t writes = fixture.write_count;
    fixture_pass(&fixture, SHARD_WATCH_ROUND_NS);
    assert_in_range(fixture.write_count - writes, 250, 310);
    assert_int_equal(fixture.entry_count, 0);
    fixture_close(&fixture);
}

static void test_other_plans_look_at_nothing(void **state) {
    open_with(1);
    uint64_t ops = fixture.op_count;
    router_decides("a", 40);
    fixture_pass(&fixture, 2 * SHARD_WATCH_ROUND_NS);
    assert_int_equal(fixture.op_count, ops);
    fixture_close(&fixture);
}

static void test_nothing_is_looked_at_while_the_store_is_away(void **state) {
    open_with(2);
    fixture_store(&fixture, false, false);
    uint64_t ops = fixture.op_count;
    uint32_t ticks = fixture_pass(&fixture, SHARD_WATCH_ROUND_NS);
    assert_int_equal(fixture.op_count, ops);
    assert_in_range(ticks, 1, 30);
    fixture_store(&fixture, true, false);
    fixture_pass(&fixture, SECOND);
    assert_true(fixture.op_count > ops);
    fixture_close(&fixture);
}

static void test_takes_that_wait_for_a_refused_write_are_not_granted(void **state) {
    static const struct fixture_plan both[] = {{"strict", 1, {{1, HOUR, 100}}},
                                               {"redis", 1, {{1, HOUR, 100}}}};
    fixture_open_bare(&fixture, NULL);
    fixture_plans(&fixture, both, 2);
    fixture_store(&fixture, true, false);
    fixture_own_all(&fixture);
    fixture_take(&fixture, "a", 10, "strict");
    fixture_pass(&fixture, SECOND);
    struct record record = {.plan = bytes_of_text("strict"), .generation = 1, .tat_count = 1};
    record.tats[0].ns = fixture.now_ns + 95 * HOUR;
    fixture_put_record(&fixture, "a", &record);
    fixture.fences[fixture_slot(&fixture, "a").index]++;
    assert_true(fixture_take(&fixture, "a", 60, "strict").allowed); /* by what it remembers */
    assert_int_equal(fixture.update.release_count, 1);
    assert_int_equal(fixture.update.releases[0].kind, SHARD_RELEASE_REASON);
    fixture_pass(&fixture, SECOND);
    assert_false(fixture_take(&fixture, "a", 60, "strict").allowed);
    assert_true(fixture_take(&fixture, "a", 5, "strict").allowed);
    fixture_close(&fixture);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_idle_slot_is_read_anew_within_a_round),
        cmocka_unit_test(test_a_round_writes_nothing_to_each_slot_once),
        cmocka_unit_test(test_other_plans_look_at_nothing),
        cmocka_unit_test(test_nothing_is_looked_at_while_the_store_is_away),
        cmocka_unit_test(test_takes_that_wait_for_a_refused_write_are_not_granted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
