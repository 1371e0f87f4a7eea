/* When buckets leave memory, when the records of sleeping slots are read, and when not. */
#include "tests/unit/cmocka_all.h"

#include "tests/unit/shard_fixture.h"

#define HOUR (3600 * SECOND)

static struct fixture fixture;
static uint64_t pages; /* asked for */

static const struct fixture_plan one[] = {{"default", 1, {{1, HOUR, 20}}}};

static void on_update(struct fixture *f, const struct shard_update *update) {
    for (uint32_t i = 0; i < update->op_count; i++) {
        pages += update->ops[i].kind == SHARD_OP_LOAD_BUCKETS;
    }
}

static int close_any(void **state) {
    fixture_close(&fixture);
    return 0;
}

static const struct shard_counters *counters(void) {
    return shard_counters(fixture.shard);
}

/* One slot with so many keys, each of which has spent five tokens of twenty. */
static void open_with(const struct fixture_options *options, uint32_t keys) {
    char key[32];
    fixture_open_bare(&fixture, options);
    fixture_plans(&fixture, one, 1);
    fixture_store(&fixture, true, false);
    fixture_own_all(&fixture);
    for (uint32_t i = 0; i < keys; i++) {
        snprintf(key, sizeof key, "key-%u", i);
        fixture_take(&fixture, key, 5, NULL);
    }
    fixture.on_update = on_update;
    pages = 0;
}

static void test_records_settle_for_a_while_unless_told_otherwise(void **state) {
    open_with(&(struct fixture_options){.slot_count = 1, .resident_max = 16}, 40);
    fixture_pass(&fixture, SHARD_SETTLE_MS * MS);
    assert_int_equal(counters()->hibernations, 0);
    fixture_pass(&fixture, SHARD_SETTLE_MS * MS);
    assert_in_range(counters()->buckets, 15, 16);
}

static void test_room_is_made_once_there_are_too_many(void **state) {
    const uint32_t most = 2 * SHARD_RESIDENT_LOW_PART;
    open_with(&(struct fixture_options){.slot_count = 1, .resident_max = most, .settle_ms = 500},
              most);
    fixture_pass(&fixture, 5 * SECOND);
    assert_int_equal(counters()->buckets, most);
    fixture_take(&fixture, "one more", 5, NULL);
    fixture_pass(&fixture, 5 * SECOND);
    assert_int_equal(counters()->buckets, most - most / SHARD_RESIDENT_LOW_PART);
    /* And not again until there are too many again. */
    fixture_take(&fixture, "and another", 5, NULL);
    uint64_t left = counters()->hibernations;
    fixture_pass(&fixture, 5 * SECOND);
    assert_int_equal(counters()->hibernations, left);
}

static void test_nothing_is_read_while_too_much_is_here(void **state) {
    const uint32_t most = 8, crowd = most + most / 4 + SHARD_WRITE_ENTRIES_MAX;
    open_with(&(struct fixture_options){.slot_count = 1, .resident_max = most}, crowd + 1);
    fixture_pass(&fixture, SECOND);
    assert_int_equal(counters()->hibernations, 0); /* not settled */
    assert_int_equal(pages, 0);
    /* The store is heard of all the same, though nobody takes anything: they leave in time. */
    fixture_pass(&fixture, 10 * SECOND);
    assert_int_equal(counters()->buckets, most);
    assert_true(pages > 0);
    /* One fewer, and it goes on. */
    fixture_close(&fixture);
    open_with(&(struct fixture_options){.slot_count = 1, .resident_max = most}, crowd);
    fixture_pass(&fixture, SECOND);
    assert_int_equal(counters()->hibernations, 0);
    assert_true(pages > 0);
}

/* Many that leave at once make it read sooner than it would by time: as many pages as it takes to
 * see twice as many records as have left. */
static void test_many_that_leave_are_followed_by_pages(void **state) {
    open_with(&(struct fixture_options){.slot_count = 1, .resident_max = 8, .settle_ms = 500},
              2 * SHARD_SURVEY_DROPS);
    while (counters()->hibernations < 2 * SHARD_SURVEY_DROPS - 8) {
        pages = 0;
        fixture_pass(&fixture, 10 * MS);
        assert_true(fixture.now_ns < UINT64_C(1700000000) * SECOND + 10 * SECOND);
    }
    uint64_t asked = pages;
    fixture_pass(&fixture, 10 * MS);
    assert_true(asked + pages > 0);
}

/* What the store may have lost is not let go of: not in the step that says so, and not before all
 * is written and read again, however much time goes by. */
static void test_a_server_that_may_have_lost_them(void **state) {
    open_with(&(struct fixture_options){.slot_count = 1, .resident_max = 8, .settle_ms = 500}, 40);
    fixture_pass(&fixture, 300 * MS);
    assert_int_equal(fixture_records(&fixture), 40);
    fixture.now_ns += SECOND; /* the sweep comes with the news */
    fixture.hold = true;
    fixture_store(&fixture, true, true);
    assert_int_equal(counters()->hibernations, 0);
    for (uint32_t i = 0; i < 10; i++) { /* the last pages are still to come */
        fixture_pass(&fixture, SECOND);
        fixture_answer(&fixture, SHARD_STORED_OK);
        assert_int_equal(counters()->hibernations, 0);
    }
    assert_int_equal(counters()->buckets_dirty, 0);
    fixture.hold = false;
    fixture_answer_all(&fixture);
    fixture_pass(&fixture, 5 * SECOND);
    assert_int_equal(counters()->buckets, 8);
    assert_int_equal(fixture_records(&fixture), 40);
}

/* What waited for the page is written, whatever came of it. */
static void test_a_page_that_fails_holds_up_no_write(void **state) {
    open_with(&(struct fixture_options){.slot_count = 1, .resident_max = 8, .settle_ms = 500}, 40);
    fixture_pass(&fixture, 5 * SECOND);
    assert_int_equal(counters()->buckets, 8);
    fixture.hold = true;
    for (uint32_t i = 0; i < 1000 && fixture.held_count == 0; i++) {
        fixture_pass(&fixture, 10 * MS);
    }
    assert_int_equal(fixture.held_count, 1);
    assert_int_equal(fixture.held[0].kind, SHARD_OP_LOAD_BUCKETS);
    fixture_take(&fixture, "new", 5, NULL);
    assert_int_equal(fixture.held_count, 2);
    struct held_op page = fixture.held[0]; /* the store says first that there is no such record */
    fixture.held[0] = fixture.held[1];
    fixture.held[1] = page;
    fixture_answer(&fixture, SHARD_STORED_OK);
    fixture_pass(&fixture, SECOND); /* it is due, and the slot's page is still outstanding */
    assert_int_equal(fixture_records(&fixture), 40);
    fixture_answer(&fixture, SHARD_STORED_FAILED);
    assert_int_equal(fixture.held_count, 1);
    assert_int_equal(fixture.held[0].kind, SHARD_OP_WRITE);
    fixture_answer(&fixture, SHARD_STORED_OK);
    assert_int_equal(fixture_records(&fixture), 41);
}

int main(void) {
#define TEST(name) cmocka_unit_test_teardown(name, close_any)
    const struct CMUnitTest tests[] = {
        TEST(test_records_settle_for_a_while_unless_told_otherwise),
        TEST(test_room_is_made_once_there_are_too_many),
        TEST(test_nothing_is_read_while_too_much_is_here),
        TEST(test_many_that_leave_are_followed_by_pages),
        TEST(test_a_page_that_fails_holds_up_no_write),
        TEST(test_a_server_that_may_have_lost_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
