/* Marks that end by time, and what the newer owner of a slot waits for because of them. */
#include "tests/unit/cmocka_all.h"
#include "tests/unit/shard_fixture.h"

#define HOUR (3600 * SECOND)
#define BURST 800u
#define WAIT_MS (SHARD_FORMER_NS / MS)

static struct fixture fixture;

/* A token an hour: what is spent stays spent. */
static const struct fixture_plan plans[] = {
    {"default", 1, {{1, HOUR, BURST}}},
    {"strict", 1, {{1, HOUR, BURST}}},
    {"strict-fast", 1, {{BURST, SECOND, 2 * BURST}}},
    {"strict-slow", 1, {{1, 2 * HOUR, BURST}}},
    {"strict-long", 1, {{1, HOUR, 2 * BURST}}},
    {"strict-pair", 2, {{1, HOUR, BURST}, {1, HOUR, BURST}}},
    {"strict-gone", 1, {{1, HOUR, BURST}}},
};
#define PLAN_COUNT (sizeof plans / sizeof plans[0])

static int open_any(void **state) {
    fixture_open_bare(&fixture, NULL);
    fixture_plans(&fixture, plans, PLAN_COUNT);
    fixture_store(&fixture, true, false);
    fixture_own_all(&fixture);
    fixture_pass(&fixture, SECOND); /* what is written now is not older than the slot */
    return 0;
}

static int close_any(void **state) {
    fixture_close(&fixture);
    return 0;
}

static bool taken_at_once(const char *key) {
    struct take_result result = fixture_take(&fixture, key, 1, "strict");
    assert_int_equal(result.reason, REASON_NONE);
    assert_true(result.allowed);
    return fixture.update.held_count == 0;
}

/* Until its record is rounded up, or it has a reservation; the store answers. */
static void warm_up(const char *key, uint32_t takes) {
    for (uint32_t i = 0; i < takes; i++) {
        fixture_take(&fixture, key, 1, "strict");
        fixture_pass(&fixture, 10 * MS);
    }
    assert_true(taken_at_once(key));
}

static enum reason reset_asked(const char *key, uint32_t *wait_ms) {
    fixture_admin(&fixture, SHARD_ADMIN_RESET, key, NULL);
    struct shard_admin_reply reply = fixture_reply(&fixture);
    *wait_ms = reply.wait_ms;
    return reply.reason;
}

static void assert_reset(const char *key) {
    uint32_t wait_ms;
    assert_int_equal(reset_asked(key, &wait_ms), REASON_NONE);
    assert_int_equal(wait_ms, 0);
}

static void assert_reset_waits(const char *key) {
    uint32_t wait_ms;
    assert_int_equal(reset_asked(key, &wait_ms), REASON_FORMER_OWNER);
    assert_int_equal(wait_ms, WAIT_MS);
    fixture_pass(&fixture, SHARD_FORMER_NS - MS);
    assert_int_equal(reset_asked(key, &wait_ms), REASON_FORMER_OWNER);
    assert_int_equal(wait_ms, 1);
    fixture_pass(&fixture, MS);
    assert_reset(key);
}

/* --- marks ---------------------------------------------------------------------------------- */

/* The store goes; takes within the mark go on for a time, then none does. */
static void without_a_store(uint32_t warm_takes) {
    warm_up("a", warm_takes);
    fixture_pass(&fixture, 3 * SECOND);
    assert_true(taken_at_once("a")); /* which has it proved, at this time */
    uint64_t proved_ns = fixture.now_ns;
    fixture_store(&fixture, false, false);
    fixture_pass(&fixture, SHARD_MARK_LIVES_NS - 1 - (fixture.now_ns - proved_ns));
    assert_true(taken_at_once("a"));
    fixture_pass(&fixture, 1);
    assert_int_equal(fixture_take(&fixture, "a", 1, "strict").reason, REASON_STORE_AWAY);
    fixture_store(&fixture, true, false);
    assert_false(taken_at_once("a"));
    assert_true(taken_at_once("a"));
}

static void test_a_rounded_record_ends(void **state) {
    without_a_store(2);
}

static void test_a_reservation_ends(void **state) {
    without_a_store(60);
}

/* Writes of nothing prove a mark that is in use, and those of other keys of the slot do as well. */
static void test_a_mark_in_use_is_proved(void **state) {
    warm_up("a", 60);
    uint64_t records = fixture.entry_count, writes = fixture.write_count;
    for (uint32_t i = 0; i < 20; i++) {
        fixture_pass(&fixture, SECOND);
        assert_true(taken_at_once("a"));
    }
    assert_in_range(fixture.entry_count - records, 0, 4); /* renewed when it was half used */
    assert_in_range(fixture.write_count - writes, 6, 10); /* four in its life at most */
    writes = fixture.write_count;
    fixture_pass(&fixture, 20 * SECOND);
    assert_int_equal(fixture.write_count, writes); /* nobody needs it */
    assert_false(taken_at_once("a"));
}

/* A newer owner is met with the write that was to prove the mark. */
static void test_a_proof_that_is_refused(void **state) {
    warm_up("a", 60);
    fixture.fences[fixture_slot(&fixture, "a").index] += 1000;
    assert_true(taken_at_once("a"));
    fixture_pass(&fixture, SHARD_MARK_LIVES_NS / SHARD_MARK_PROVE_PART);
    fixture_take(&fixture, "a", 1, "strict");
    assert_int_equal(fixture.notices[SHARD_NOTICE_FENCED], 1);
}

/* The answers do not come, and nobody knows whose the slot is. */
static void test_without_an_answer_it_ends(void **state) {
    warm_up("a", 60);
    fixture_pass(&fixture, 3 * SECOND);
    fixture.hold = true;
    assert_true(taken_at_once("a"));
    assert_int_equal(fixture.held_count, 1); /* the proof, which is not answered */
    fixture_pass(&fixture, SHARD_MARK_LIVES_NS);
    assert_false(taken_at_once("a"));
    fixture_answer(&fixture, SHARD_STORED_OK);
    assert_int_equal(fixture.update.release_count,
                     0); /* that it was the shard's then says nothing */
    assert_int_equal(fixture.held_count, 1);
    fixture_answer(&fixture, SHARD_STORED_OK);
    assert_int_equal(fixture.update.release_count, 1);
}

/* A record under way proves what was decided soon after it was sent, and no more. */
static void test_a_record_under_way_ends(void **state) {
    warm_up("a", 60);
    fixture.hold = true;
    while (taken_at_once("a")) {
    }
    fixture_answer_all(&fixture);
    while (taken_at_once("a") && fixture.held_count == 0) {
    } /* half of the reservation is used: it is renewed */
    assert_int_equal(fixture.held_count, 1);
    assert_true(taken_at_once("a"));
    fixture_pass(&fixture, SHARD_MARK_LIVES_NS);
    assert_false(taken_at_once("a"));
    fixture_answer(&fixture, SHARD_STORED_OK);
    assert_int_equal(fixture.update.release_count, 0);
    fixture_answer(&fixture, SHARD_STORED_OK);
    assert_int_equal(fixture.update.release_count, 1);
}

/* --- resets --------------------------------------------------------------------------------- */

static void test_a_reset_waits_for_a_former_owner(void **state) {
    warm_up("a", 3);
    assert_reset("a"); /* this owner has made it itself */
    warm_up("a", 3);
    fixture_crash(&fixture);
    assert_reset_waits("a");
}

static void test_a_slot_that_came_back_waits_too(void **state) {
    warm_up("a", 3);
    fixture_own(&fixture, fixture_slot(&fixture, "a"), false);
    fixture_own(&fixture, fixture_slot(&fixture, "a"), true);
    fixture_pass(&fixture, SECOND);
    uint32_t wait_ms;
    assert_int_equal(reset_asked("a", &wait_ms), REASON_FORMER_OWNER);
    assert_in_range(wait_ms, WAIT_MS - 1000, WAIT_MS);
}

static void test_resets_that_need_not_wait(void **state) {
    fixture_take(&fixture, "relaxed", 5, "default");
    fixture_take(&fixture, "full", 1, "strict-fast");
    fixture_pass(&fixture, 200 * MS);
    fixture_crash(&fixture);
    assert_reset("relaxed");
    assert_reset("full");
    assert_reset("never-taken");
    /* A bucket of which the store has heard nothing yet. */
    fixture.hold = true;
    assert_int_equal(fixture_take(&fixture, "new", 5, "default").reason, REASON_NONE);
    fixture_admin(&fixture, SHARD_ADMIN_RESET, "new", NULL);
    assert_int_equal(fixture_reply(&fixture).reason, REASON_NONE);
}

/* In a slot that had no records nobody has a mark. */
static void test_a_slot_without_records_has_no_marks(void **state) {
    fixture_own(&fixture, fixture_slot(&fixture, "a"), false);
    fixture_own(&fixture, fixture_slot(&fixture, "a"), true);
    fixture_pass(&fixture, 200 * MS);
    warm_up("a", 3);
    assert_reset("a");
}

/* --- faster limits -------------------------------------------------------------------------- */

static uint64_t limit_now(const char *key, const char *plan) {
    return fixture_verb(&fixture, VERB_PEEK, key, 1, plan).limit_tokens;
}

static void test_faster_limits_wait(void **state) {
    warm_up("a", 9);
    uint64_t left = fixture_show(&fixture, "a").level_tokens[0];
    fixture_crash(&fixture);
    struct take_result result = fixture_take(&fixture, "a", 1, "strict-fast");
    assert_true(result.allowed);
    assert_int_equal(result.limit_tokens, BURST);
    assert_in_range(result.remaining_tokens, left - BURST / 32 - 1, left - 1);
    assert_string_equal(fixture_show(&fixture, "a").bucket_plan.text, "strict");
    fixture_pass(&fixture, SHARD_FORMER_NS - 1);
    assert_int_equal(limit_now("a", "strict-fast"), BURST);
    fixture_pass(&fixture, 1);
    assert_int_equal(limit_now("a", "strict-fast"), 2 * BURST);
}

/* What it asks for may be there under the other limits: it is told when they count. */
static void test_a_refusal_says_when_they_count(void **state) {
    warm_up("a", 9);
    fixture_crash(&fixture);
    fixture_pass(&fixture, SECOND);
    struct take_result result = fixture_take(&fixture, "a", BURST, "strict-fast");
    assert_false(result.allowed);
    assert_int_equal(result.retry_after_us, (WAIT_MS - 1000) * 1000);
    result = fixture_take(&fixture, "a", BURST + 1, "strict-fast"); /* more than the old burst */
    assert_int_equal(result.retry_after_us, (WAIT_MS - 1000) * 1000);
    fixture_pass(&fixture, SHARD_FORMER_NS - SECOND);
    assert_true(fixture_take(&fixture, "a", BURST + 1, "strict-fast").allowed);
}

static void test_a_plan_made_faster_waits(void **state) {
    struct fixture_plan raised[PLAN_COUNT];
    warm_up("a", 9);
    fixture_crash(&fixture);
    memcpy(raised, plans, sizeof raised);
    raised[1].limits[0].rate_tokens = 7;
    fixture_plans(&fixture, raised, PLAN_COUNT);
    assert_int_equal(fixture_take(&fixture, "a", 1, "strict").reason, REASON_NONE);
    fixture_pass(&fixture, SHARD_FORMER_NS - SECOND); /* the sweep leaves it, too */
    assert_int_equal(fixture_show(&fixture, "a").limits[0].rate_tokens, 1);
    fixture_pass(&fixture, 3 * SECOND);
    assert_int_equal(fixture_show(&fixture, "a").limits[0].rate_tokens, 7);
}

static void test_limits_that_need_not_wait(void **state) {
    static const char *const after[] = {"strict-slow", "strict-long"};
    for (uint32_t i = 0; i < 2; i++) {
        char key[] = {'a', (char)('0' + i), '\0'};
        warm_up(key, 9);
        fixture_crash(&fixture);
        assert_true(fixture_take(&fixture, key, 1, after[i]).allowed);
        assert_string_equal(fixture_show(&fixture, key).bucket_plan.text, after[i]);
    }
    /* Those of a bucket that nobody has a mark of. */
    fixture_take(&fixture, "relaxed", 5, "default");
    fixture_pass(&fixture, 200 * MS);
    fixture_crash(&fixture);
    assert_true(fixture_take(&fixture, "relaxed", 1, "strict-fast").allowed);
    assert_string_equal(fixture_show(&fixture, "relaxed").bucket_plan.text, "strict-fast");
}

/* A limit that was not there starts full. */
static void test_one_limit_more_waits(void **state) {
    warm_up("a", 9);
    fixture_crash(&fixture);
    assert_true(fixture_take(&fixture, "a", 1, "strict-pair").allowed);
    assert_int_equal(fixture_show(&fixture, "a").limit_count, 1);
    fixture_pass(&fixture, SHARD_FORMER_NS);
    assert_true(fixture_take(&fixture, "a", 1, "strict-pair").allowed);
    assert_int_equal(fixture_show(&fixture, "a").limit_count, 2);
    assert_true(fixture_take(&fixture, "a", 1, "strict").allowed); /* and one less does not */
    assert_int_equal(fixture_show(&fixture, "a").limit_count, 1);
}

/* Of a plan that is gone nobody knows how fast it was. */
static void test_a_plan_that_is_gone_waits(void **state) {
    fixture_take(&fixture, "a", 9, "strict-gone");
    fixture_pass(&fixture, 200 * MS);
    fixture_plans(&fixture, plans, PLAN_COUNT - 1);
    fixture_crash(&fixture);
    assert_int_equal(fixture_take(&fixture, "a", 1, "strict-slow").reason, REASON_FORMER_OWNER);
    fixture_pass(&fixture, SHARD_FORMER_NS);
    assert_true(fixture_take(&fixture, "a", 1, "strict-slow").allowed);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_any, close_any)
    const struct CMUnitTest tests[] = {
        TEST(test_a_rounded_record_ends),
        TEST(test_a_reservation_ends),
        TEST(test_a_mark_in_use_is_proved),
        TEST(test_a_proof_that_is_refused),
        TEST(test_without_an_answer_it_ends),
        TEST(test_a_record_under_way_ends),
        TEST(test_a_reset_waits_for_a_former_owner),
        TEST(test_a_slot_that_came_back_waits_too),
        TEST(test_resets_that_need_not_wait),
        TEST(test_a_slot_without_records_has_no_marks),
        TEST(test_faster_limits_wait),
        TEST(test_a_refusal_says_when_they_count),
        TEST(test_a_plan_made_faster_waits),
        TEST(test_limits_that_need_not_wait),
        TEST(test_one_limit_more_waits),
        TEST(test_a_plan_that_is_gone_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
