/* Show, reset, assign. */
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

static enum reason admin(enum shard_admin_kind kind, const char *key, const char *plan) {
    fixture_admin(&fixture, kind, key, plan);
    enum reason reason = fixture_reply(&fixture).reason;
    assert_int_equal(fixture.reply_count, 0);
    return reason;
}

static void test_show(void **state) {
    struct shard_key_info info = fixture_show(&fixture, "a");
    assert_false(info.resident);
    assert_false(info.assigned);
    assert_string_equal(info.plan.text, "default");
    assert_int_equal(info.limit_count, 1);
    assert_int_equal(info.level_tokens[0], 20);
    assert_int_equal(info.reset_after_ns[0], 0);
    fixture_take(&fixture, "a", 5, "pair");
    info = fixture_show(&fixture, "a");
    assert_true(info.resident);
    assert_true(info.dirty);
    assert_string_equal(info.bucket_plan.text, "pair");
    assert_int_equal(info.limits[1].burst_tokens, 100);
    assert_int_equal(info.level_tokens[1], 95);
    assert_int_equal(info.reset_after_ns[0], 500 * MS);
    fixture_pass(&fixture, 100 * MS);
    assert_false(fixture_show(&fixture, "a").dirty);
}

static void test_reset_of_a_stored_bucket_waits_for_its_delete(void **state) {
    fixture_take(&fixture, "a", 20, NULL);
    fixture_pass(&fixture, 100 * MS);
    fixture.hold = true;
    fixture_admin(&fixture, SHARD_ADMIN_RESET, "a", NULL);
    assert_int_equal(fixture.reply_count, 0);
    assert_int_equal(fixture.held_count, 1); /* at once */
    assert_true(fixture.held[0].entries[0].remove);
    assert_int_equal(fixture_take(&fixture, "a", 1, NULL).remaining_tokens, 19);
    fixture_answer(&fixture, SHARD_STORED_OK);
    assert_int_equal(fixture_reply(&fixture).reason, REASON_NONE);
    assert_int_equal(fixture_take(&fixture, "a", 1, NULL).remaining_tokens, 18);
}

static void test_reset_while_a_write_is_outstanding(void **state) {
    fixture_take(&fixture, "a", 20, NULL);
    fixture.hold = true;
    fixture_pass(&fixture, 100 * MS);
    assert_int_equal(fixture.held_count, 1);
    fixture_admin(&fixture, SHARD_ADMIN_RESET, "a", NULL);
    fixture_answer(&fixture, SHARD_STORED_OK); /* of the older state */
    assert_int_equal(fixture.reply_count, 0);
    assert_non_null(fixture_stored(&fixture, "a", false));
    assert_int_equal(fixture.held_count, 1);
    fixture_answer(&fixture, SHARD_STORED_OK);
    assert_int_equal(fixture_reply(&fixture).reason, REASON_NONE);
    assert_null(fixture_stored(&fixture, "a", false));
    assert_int_equal(counters()->buckets, 0);
}

static void test_reset_of_what_was_never_written(void **state) {
    assert_int_equal(admin(SHARD_ADMIN_RESET, "a", NULL), REASON_NONE);
    fixture_take(&fixture, "a", 20, NULL);
    assert_int_equal(admin(SHARD_ADMIN_RESET, "a", NULL), REASON_NONE);
    assert_true(fixture_take(&fixture, "a", 20, NULL).allowed);
    assert_int_equal(admin(SHARD_ADMIN_RESET, "a", NULL), REASON_NONE);
    fixture_pass(&fixture, 100 * MS);
    assert_int_equal(counters()->buckets, 0);
    assert_int_equal(fixture.write_count, 0);
}

static void test_reset_then_other_plan(void **state) {
    fixture_take(&fixture, "a", 20, NULL);
    fixture_pass(&fixture, 100 * MS);
    fixture.hold = true;
    fixture_admin(&fixture, SHARD_ADMIN_RESET, "a", NULL);
    fixture_take(&fixture, "a", 1, "pair"); /* its piece of memory changes */
    fixture_answer(&fixture, SHARD_STORED_OK);
    assert_int_equal(fixture_reply(&fixture).reason, REASON_NONE);
}

static void test_reset_when_the_store_is_away(void **state) {
    fixture_take(&fixture, "a", 20, NULL);
    fixture_pass(&fixture, 100 * MS);
    fixture.hold = true;
    fixture_admin(&fixture, SHARD_ADMIN_RESET, "a", NULL);
    fixture_store(&fixture, false, false);
    assert_int_equal(fixture_reply(&fixture).reason, REASON_STORE_AWAY);
    fixture_take(&fixture, "b", 20, NULL);
    assert_int_equal(admin(SHARD_ADMIN_RESET, "a", NULL), REASON_STORE_AWAY);
    assert_int_equal(admin(SHARD_ADMIN_RESET, "b", NULL), REASON_NONE); /* never written */
    assert_int_equal(admin(SHARD_ADMIN_RESET, "c", NULL), REASON_NONE); /* absent */
    assert_int_equal(admin(SHARD_ADMIN_ASSIGN, "c", "pair"), REASON_STORE_AWAY);
    fixture.hold = false;
    fixture_store(&fixture, true, false);
    fixture_pass(&fixture, 200 * MS);
    assert_null(fixture_stored(&fixture, "a", false));
}

static void test_assign(void **state) {
    assert_int_equal(admin(SHARD_ADMIN_ASSIGN, "a", "nothing"), REASON_PLAN_NOT_FOUND);
    fixture.hold = true;
    fixture_admin(&fixture, SHARD_ADMIN_ASSIGN, "a", "pair");
    assert_int_equal(fixture.held_count, 1);
    assert_int_equal(fixture.held[0].kind, SHARD_OP_ASSIGN);
    assert_false(fixture_show(&fixture, "a").assigned); /* the write comes first */
    fixture_answer(&fixture, SHARD_STORED_OK);
    assert_int_equal(fixture_reply(&fixture).reason, REASON_NONE);
    fixture.hold = false;
    assert_true(fixture_show(&fixture, "a").assigned);
    assert_string_equal(fixture_show(&fixture, "a").plan.text, "pair");
    assert_int_equal(counters()->assignments, 1);
    fixture_take(&fixture, "a", 1, NULL);
    assert_string_equal(fixture_show(&fixture, "a").bucket_plan.text, "pair");
    assert_non_null(fixture_stored(&fixture, "a", true));

    fixture_crash(&fixture);
    assert_string_equal(fixture_show(&fixture, "a").plan.text, "pair");
    struct fixture_plan only = {"default", 1, {{10, SECOND, 20}}};
    fixture_plans(&fixture, &only, 1);
    assert_int_equal(fixture_take(&fixture, "a", 1, NULL).reason, REASON_ASSIGNED_PLAN_GONE);
    assert_true(fixture_take(&fixture, "b", 1, NULL).allowed);

    assert_int_equal(admin(SHARD_ADMIN_ASSIGN, "a", NULL), REASON_NONE);
    assert_null(fixture_stored(&fixture, "a", true));
    assert_true(fixture_take(&fixture, "a", 1, NULL).allowed);
    assert_int_equal(counters()->assignments, 0);
    assert_int_equal(admin(SHARD_ADMIN_ASSIGN, "a", NULL), REASON_NONE);
}

static void test_assign_fails_and_nothing_has_changed(void **state) {
    fixture.hold = true;
    fixture_admin(&fixture, SHARD_ADMIN_ASSIGN, "a", "pair");
    fixture_admin(&fixture, SHARD_ADMIN_ASSIGN, "a", "default");
    assert_int_equal(fixture.held_count, 2);
    fixture_answer(&fixture, SHARD_STORED_FAILED);
    assert_int_equal(fixture_reply(&fixture).reason, REASON_STORE_AWAY);
    fixture_answer(&fixture, SHARD_STORED_OK);
    assert_int_equal(fixture_reply(&fixture).reason, REASON_NONE);
    assert_string_equal(fixture_show(&fixture, "a").plan.text, "default");
    assert_true(fixture_show(&fixture, "a").assigned);
    fixture_admin(&fixture, SHARD_ADMIN_ASSIGN, "a", NULL);
    fixture_store(&fixture, false, false);
    assert_int_equal(fixture_reply(&fixture).reason, REASON_STORE_AWAY);
    assert_true(fixture_show(&fixture, "a").assigned);
    fixture_admin(&fixture, SHARD_ADMIN_ASSIGN, "b", "pair");
    assert_int_equal(fixture_reply(&fixture).reason, REASON_STORE_AWAY);
    assert_int_equal(counters()->assignments, 1);
}

static void test_requests_that_wait_are_bounded(void **state) {
    fixture.hold = true;
    char key[32];
    for (uint32_t i = 0; i < SHARD_ADMIN_PENDING_MAX; i++) {
        snprintf(key, sizeof key, "key-%u", i);
        fixture_admin(&fixture, SHARD_ADMIN_ASSIGN, key, "pair");
    }
    assert_int_equal(fixture.reply_count, 0);
    assert_int_equal(admin(SHARD_ADMIN_ASSIGN, "more", "pair"), REASON_QUEUE_FULL);
    fixture_answer_all(&fixture);
    assert_int_equal(fixture.reply_count, SHARD_ADMIN_PENDING_MAX);
    assert_int_equal(counters()->assignments, SHARD_ADMIN_PENDING_MAX);
}

static void test_where_the_slot_is_not_served(void **state) {
    struct slot slot = fixture_slot(&fixture, "a");
    fixture_take(&fixture, "a", 20, NULL);
    fixture_pass(&fixture, 100 * MS);
    fixture.hold = true;
    fixture_admin(&fixture, SHARD_ADMIN_RESET, "a", NULL);
    fixture_admin(&fixture, SHARD_ADMIN_ASSIGN, "a", "pair");
    fixture.fences[slot.index] = 50; /* a newer owner answers both */
    fixture_answer(&fixture, SHARD_STORED_OK);
    assert_int_equal(fixture_reply(&fixture).reason, REASON_NOT_OWNER);
    assert_int_equal(fixture_reply(&fixture).reason, REASON_NOT_OWNER);
    assert_int_equal(admin(SHARD_ADMIN_SHOW, "a", NULL), REASON_LOADING);
    fixture.hold = false;
    fixture_answer_all(&fixture); /* too late */
    fixture_own(&fixture, slot, false);
    assert_int_equal(admin(SHARD_ADMIN_SHOW, "a", NULL), REASON_NOT_OWNER);
    assert_int_equal(admin(SHARD_ADMIN_RESET, "a", NULL), REASON_NOT_OWNER);
    fixture_stop(&fixture);
    assert_int_equal(admin(SHARD_ADMIN_ASSIGN, "a", "pair"), REASON_STOPPING);
}

static void test_release_waits_for_assignments(void **state) {
    struct slot slot = fixture_slot(&fixture, "a");
    fixture.hold = true;
    fixture_admin(&fixture, SHARD_ADMIN_ASSIGN, "a", "pair");
    fixture_own(&fixture, slot, false);
    fixture_answer(&fixture, SHARD_STORED_OK);
    assert_int_equal(fixture_reply(&fixture).reason, REASON_NONE);
    fixture.hold = false;
    fixture_own(&fixture, slot, true);
    assert_string_equal(fixture_show(&fixture, "a").plan.text, "pair");
}

/* A store that no longer keeps its promise is away, and has not answered what it was asked. The
 * last assignment of a slot that was given away takes the slot's other requests with it. */
static void test_store_away_while_a_slot_is_released(void **state) {
    struct slot slot = fixture_slot(&fixture, "a");
    struct shard_event event = {.kind = SHARD_EVENT_STORE};
    fixture.hold = true;
    fixture_admin(&fixture, SHARD_ADMIN_ASSIGN, "a", "pair");
    fixture_admin(&fixture, SHARD_ADMIN_ASSIGN, "a", "default");
    fixture_admin(&fixture, SHARD_ADMIN_ASSIGN, "a", "pair");
    fixture_own(&fixture, slot, false);
    assert_int_equal(fixture.reply_count, 0);
    fixture.store_up = false;
    fixture_step(&fixture, &event);
    for (int i = 0; i < 3; i++) {
        assert_int_not_equal(fixture_reply(&fixture).reason, REASON_NONE);
    }
    assert_int_equal(fixture.reply_count, 0);
    fixture_answer_all(&fixture); /* too late */
    fixture.hold = false;
    fixture_store(&fixture, true, false);
    fixture_own(&fixture, slot, true);
    assert_int_equal(admin(SHARD_ADMIN_SHOW, "a", NULL), REASON_NONE);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_usual, close_any)
    const struct CMUnitTest tests[] = {
        TEST(test_show),
        TEST(test_reset_of_a_stored_bucket_waits_for_its_delete),
        TEST(test_reset_while_a_write_is_outstanding),
        TEST(test_reset_of_what_was_never_written),
        TEST(test_reset_then_other_plan),
        TEST(test_reset_when_the_store_is_away),
        TEST(test_assign),
        TEST(test_assign_fails_and_nothing_has_changed),
        TEST(test_requests_that_wait_are_bounded),
        TEST(test_where_the_slot_is_not_served),
        TEST(test_release_waits_for_assignments),
        TEST(test_store_away_while_a_slot_is_released),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
