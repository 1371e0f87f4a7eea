/* Operators' requests that something else overtakes: another owner, a write under way, a store that
 * goes, takes of the key. */
#include "tests/unit/cmocka_all.h"

#include "tests/unit/shard_fixture.h"

#define HOUR (3600 * SECOND)

static struct fixture fixture;

static const struct fixture_plan plans[] = {{"default", 1, {{1, HOUR, 20}}},
                                            {"short", 1, {{10, SECOND, 20}}},
                                            {"pair", 2, {{1, HOUR, 30}, {1, HOUR, 40}}}};

/* One slot. */
static int open_one(void **state) {
    fixture_open_bare(&fixture, &(struct fixture_options){.slot_count = 1});
    fixture_plans(&fixture, plans, 3);
    fixture_store(&fixture, true, false);
    fixture_own_all(&fixture);
    return 0;
}

/* And a record that nobody can read. */
static int open_unreadable(void **state) {
    fixture_open_bare(&fixture, &(struct fixture_options){.slot_count = 1});
    fixture_plans(&fixture, plans, 3);
    fixture_put(&fixture, bytes_of_text("x"), bytes_of_text("?"), false);
    fixture_store(&fixture, true, false);
    fixture_own_all(&fixture);
    assert_int_equal(fixture_take(&fixture, "x", 1, NULL).reason, REASON_RECORD_UNREADABLE);
    return 0;
}

static int close_any(void **state) {
    fixture_close(&fixture);
    return 0;
}

static void go_on(void) {
    fixture.hold = false;
    fixture_answer_all(&fixture);
    fixture_pass(&fixture, SECOND);
}

/* --- assignments ---------------------------------------------------------------------------- */

static void test_an_assignment_meets_a_newer_owner(void **state) {
    fixture.hold = true;
    fixture_admin(&fixture, SHARD_ADMIN_ASSIGN, "a", "pair");
    fixture.fences[0]++;
    fixture_answer(&fixture, SHARD_STORED_OK);
    assert_int_equal(fixture_reply(&fixture).reason, REASON_NOT_OWNER);
    assert_int_equal(fixture.notices[SHARD_NOTICE_FENCED], 1);
    go_on();
    assert_null(fixture_stored(&fixture, "a", true));
    assert_false(fixture_show(&fixture, "a").assigned);
    assert_int_equal(fixture.fences[0], 3); /* read anew, since the map still says so */
    fixture_admin(&fixture, SHARD_ADMIN_ASSIGN, "a", "pair");
    assert_int_equal(fixture_reply(&fixture).reason, REASON_NONE);
    assert_non_null(fixture_stored(&fixture, "a", true));
}

static void test_the_store_goes_before_an_assignment_is_sent(void **state) {
    fixture.hold = true;
    fixture_admin(&fixture, SHARD_ADMIN_ASSIGN, "a", "pair");
    fixture_answer(&fixture, SHARD_STORED_FAILED);
    assert_int_equal(fixture_reply(&fixture).reason, REASON_STORE_AWAY);
    /* The next one waits for a higher fence, which does not come. */
    fixture_admin(&fixture, SHARD_ADMIN_ASSIGN, "b", "pair");
    assert_int_equal(fixture.held_count, 1);
    assert_int_equal(fixture.held[0].kind, SHARD_OP_RAISE_FENCE);
    fixture_store(&fixture, false, false);
    assert_int_equal(fixture_reply(&fixture).reason, REASON_STORE_AWAY);
    fixture_store(&fixture, true, false);
    fixture_admin(&fixture, SHARD_ADMIN_ASSIGN, "b", "pair");
    go_on();
    assert_int_equal(fixture_reply(&fixture).reason, REASON_NONE);
    assert_null(fixture_stored(&fixture, "a", true));
    assert_non_null(fixture_stored(&fixture, "b", true));
    assert_int_equal(fixture.fences[0], 2);
}

/* --- resets --------------------------------------------------------------------------------- */

static void test_a_reset_of_a_bucket_that_is_being_removed(void **state) {
    fixture_take(&fixture, "a", 20, "short");
    fixture_pass(&fixture, SECOND);
    assert_int_equal(fixture_records(&fixture), 1);
    fixture.hold = true;
    fixture_pass(&fixture, 3 * SECOND); /* it is full, and its record goes */
    assert_int_equal(fixture.held_count, 1);
    assert_true(fixture.held[0].entries[0].remove);
    fixture_admin(&fixture, SHARD_ADMIN_RESET, "a", NULL);
    assert_int_equal(fixture.reply_count, 0);
    go_on();
    assert_int_equal(fixture_reply(&fixture).reason, REASON_NONE);
    assert_int_equal(fixture.removal_count, 1); /* once is enough */
    assert_int_equal(fixture_records(&fixture), 0);
    assert_int_equal(shard_counters(fixture.shard)->buckets, 0);
}

static void test_the_store_goes_before_a_reset_is_sent(void **state) {
    fixture_take(&fixture, "a", 5, NULL);
    fixture_take(&fixture, "b", 5, NULL);
    fixture_pass(&fixture, SECOND);
    fixture.hold = true;
    fixture_take(&fixture, "a", 5, NULL);
    fixture_pass(&fixture, 200 * MS);
    assert_int_equal(fixture.held_count, 1); /* the write that it has to wait for */
    fixture_admin(&fixture, SHARD_ADMIN_RESET, "b", NULL);
    fixture_admin(&fixture, SHARD_ADMIN_RESET, "b", NULL);
    fixture_store(&fixture, false, false);
    assert_int_equal(fixture_reply(&fixture).reason, REASON_STORE_AWAY);
    assert_int_equal(fixture_reply(&fixture).reason, REASON_STORE_AWAY);
    /* Nobody knows, they were told. In memory it was done, and the store follows. */
    fixture_store(&fixture, true, false);
    go_on();
    assert_null(fixture_stored(&fixture, "b", false));
    assert_int_equal(fixture_verb(&fixture, VERB_PEEK, "a", 0, NULL).remaining_tokens, 10);
    assert_int_equal(fixture.reply_count, 0);
}

static void test_many_resets_of_one_key_are_one_write(void **state) {
    fixture_take(&fixture, "a", 5, NULL);
    fixture_pass(&fixture, SECOND);
    fixture.hold = true;
    uint64_t writes = fixture.write_count;
    for (uint32_t i = 0; i < 3; i++) {
        fixture_admin(&fixture, SHARD_ADMIN_RESET, "a", NULL);
    }
    assert_int_equal(fixture.write_count, writes + 1);
    assert_int_equal(fixture.reply_count, 0);
    go_on();
    assert_int_equal(fixture.reply_count, 3);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(fixture_reply(&fixture).reason, REASON_NONE);
    }
    assert_int_equal(fixture_records(&fixture), 0);
}

/* --- what could not be read, and is reset ---------------------------------------------------- */

static void reset_unreadable(void) {
    fixture.hold = true;
    fixture_admin(&fixture, SHARD_ADMIN_RESET, "x", NULL);
    assert_int_equal(fixture.held_count, 1);
    assert_true(fixture.held[0].entries[0].remove);
}

static void test_what_was_unreadable_is_shown_without_limits(void **state) {
    reset_unreadable();
    struct shard_key_info info = fixture_show(&fixture, "x");
    assert_true(info.resident);
    assert_true(info.dirty);
    assert_int_equal(info.limit_count, 0);
    assert_int_equal(info.bucket_plan.size, 0);
    go_on();
    assert_int_equal(fixture_reply(&fixture).reason, REASON_NONE);
    info = fixture_show(&fixture, "x");
    assert_false(info.resident);
    assert_int_equal(info.limit_count, 1);
}

/* What is taken while its delete is under way is written behind that, and survives. */
static void test_what_was_unreadable_is_taken_from_at_once(void **state) {
    reset_unreadable();
    assert_int_equal(fixture_take(&fixture, "x", 3, NULL).remaining_tokens, 17);
    go_on();
    assert_int_equal(fixture_reply(&fixture).reason, REASON_NONE);
    assert_int_equal(fixture_records(&fixture), 1);
    fixture_crash(&fixture);
    assert_int_equal(fixture_verb(&fixture, VERB_PEEK, "x", 0, NULL).remaining_tokens, 17);
}

static void test_the_same_under_a_limit_of_its_own(void **state) {
    struct limit limit = {1, HOUR, 9};
    reset_unreadable();
    assert_int_equal(fixture_inline(&fixture, "x", 3, limit).remaining_tokens, 6);
    assert_int_equal(fixture_inline(&fixture, "x", 1, limit).remaining_tokens, 5);
    go_on();
    fixture_crash(&fixture);
    assert_int_equal(fixture_inline(&fixture, "x", 1, limit).remaining_tokens, 4);
    /* Another limit, of a plan again: what was spent stays spent. */
    assert_int_equal(fixture_take(&fixture, "x", 1, "pair").remaining_tokens, 24);
}

int main(void) {
#define TEST(name, open) cmocka_unit_test_setup_teardown(name, open, close_any)
    const struct CMUnitTest tests[] = {
        TEST(test_an_assignment_meets_a_newer_owner, open_one),
        TEST(test_the_store_goes_before_an_assignment_is_sent, open_one),
        TEST(test_a_reset_of_a_bucket_that_is_being_removed, open_one),
        TEST(test_the_store_goes_before_a_reset_is_sent, open_one),
        TEST(test_many_resets_of_one_key_are_one_write, open_one),
        TEST(test_what_was_unreadable_is_shown_without_limits, open_unreadable),
        TEST(test_what_was_unreadable_is_taken_from_at_once, open_unreadable),
        TEST(test_the_same_under_a_limit_of_its_own, open_unreadable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
