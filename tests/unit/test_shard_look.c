/* A store that was restored under a living shard: what others have written is seen at once, also
 * where the shard has nothing to write. */
#include "tests/unit/cmocka_all.h"
#include "tests/unit/shard_fixture.h"

#define HOUR (3600 * SECOND)

static struct fixture fixture;

static const struct fixture_plan plans[] = {{"default", 1, {{1, HOUR, 20}}}};

static int open_any(void **state) {
    fixture_open_bare(&fixture, &(struct fixture_options){.slot_count = 4});
    fixture_plans(&fixture, plans, 1);
    return 0;
}

static int close_any(void **state) {
    fixture_close(&fixture);
    return 0;
}

static void serve(void) {
    fixture_store(&fixture, true, false);
    fixture_own_all(&fixture);
}

/* As a restore does it: the fence first, then the record, of which so many tokens are spent. */
static void restore(const char *key, uint64_t spent) {
    struct record record = {.plan = bytes_of_text("default"), .generation = 1, .tat_count = 1};
    record.tats[0].ns = fixture.now_ns + spent * HOUR;
    fixture.fences[fixture_slot(&fixture, key).index] += 7;
    fixture_put_record(&fixture, key, &record);
}

static void tell(bool restored) {
    struct shard_event event = {.kind = SHARD_EVENT_OWN};
    event.own.slots = fixture.owned;
    event.own.restored = restored;
    fixture_step(&fixture, &event);
    fixture_pass(&fixture, SECOND);
}

static uint64_t level(const char *key) {
    return fixture_verb(&fixture, VERB_PEEK, key, 0, NULL).remaining_tokens;
}

static void test_a_restored_slot_is_read_anew(void **state) {
    serve();
    fixture_take(&fixture, "a", 2, NULL);
    fixture_pass(&fixture, SECOND);
    restore("a", 15);
    tell(false); /* any other map */
    assert_int_equal(level("a"), 18);
    tell(true);
    assert_int_equal(fixture.notices[SHARD_NOTICE_FENCED], 1);
    assert_int_equal(level("a"), 5);
    assert_int_equal(shard_counters(fixture.shard)->slots_serving, 4);
}

/* The others' fences hold: they are looked at, and go on. */
static void test_the_others_stay(void **state) {
    serve();
    uint64_t before = fixture.write_count;
    tell(true);
    assert_int_equal(fixture.write_count - before, 4);
    assert_int_equal(fixture.entry_count, 0);
    assert_int_equal(fixture.notices[SHARD_NOTICE_FENCED], 0);
    tell(false);
    assert_int_equal(fixture.write_count - before, 4); /* once */
}

/* A write under way may have come before the restore. */
static void test_behind_a_write_under_way(void **state) {
    serve();
    fixture.hold = true;
    fixture_take(&fixture, "a", 2, NULL);
    fixture_pass(&fixture, SECOND);
    assert_int_equal(fixture.held_count, 1);
    struct shard_event event = {.kind = SHARD_EVENT_OWN};
    event.own.slots = fixture.owned;
    event.own.restored = true;
    fixture_step(&fixture, &event);
    uint32_t others = fixture.held_count - 1;
    fixture_answer(&fixture, SHARD_STORED_OK);
    restore("a", 15);
    assert_int_equal(others, 3);
    fixture.hold = false;
    fixture_answer_all(&fixture);
    fixture_pass(&fixture, SECOND);
    assert_int_equal(level("a"), 5);
}

/* A slot that is being read has pages from before, and pages from after. */
static void test_while_it_is_read(void **state) {
    char key[16];
    for (uint32_t i = 0; i < 40; i++) {
        snprintf(key, sizeof key, "key-%u", i);
        restore(key, 1);
    }
    fixture.hold = true;
    serve();
    for (uint32_t i = 0; i < 10; i++) { /* fences, and the first pages */
        fixture_answer(&fixture, SHARD_STORED_OK);
    }
    assert_true(shard_counters(fixture.shard)->buckets > 0);
    assert_int_equal(shard_counters(fixture.shard)->slots_serving, 0);
    for (uint32_t i = 0; i < 40; i++) {
        snprintf(key, sizeof key, "key-%u", i);
        restore(key, 15);
    }
    fixture.hold = false;
    tell(true);
    fixture_answer_all(&fixture);
    fixture_pass(&fixture, 2 * SECOND);
    for (uint32_t i = 0; i < 40; i++) {
        snprintf(key, sizeof key, "key-%u", i);
        assert_int_equal(level(key), 5);
    }
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_any, close_any)
    const struct CMUnitTest tests[] = {
        TEST(test_a_restored_slot_is_read_anew),
        TEST(test_the_others_stay),
        TEST(test_behind_a_write_under_way),
        TEST(test_while_it_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
