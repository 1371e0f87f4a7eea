/* Strict plans: marks ahead of the buckets, results held until the store has acknowledged them. */
#include "server/core/term_set.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/shard_fixture.h"

#define HOUR (3600 * SECOND)
#define BURST 800u
#define RESERVE_MOST (BURST / SHARD_RESERVE_PART)

static struct fixture fixture;

/* A token an hour: what is spent stays spent. */
static const struct fixture_plan plans[] = {
    {"default", 1, {{1, HOUR, BURST}}},
    {"strict", 1, {{1, HOUR, BURST}}},
    {"strict-small", 1, {{1, HOUR, 7}}},
    {"strict-pair", 2, {{1, HOUR, BURST}, {1, HOUR, 80}}},
    {"strict-fast", 1, {{1000, SECOND, 1000}}},
    {"pair", 2, {{1, HOUR, BURST}, {1, HOUR, 80}}},
};

static int open_strict(void **state) {
    fixture_open_bare(&fixture, NULL);
    fixture_plans(&fixture, plans, sizeof plans / sizeof plans[0]);
    fixture_store(&fixture, true, false);
    fixture_own_all(&fixture);
    return 0;
}

static int close_any(void **state) {
    fixture_close(&fixture);
    return 0;
}

/* What the store's record leaves of the bucket. */
static uint64_t stored_left(const char *key) {
    const struct stored *stored = fixture_stored(&fixture, key, false);
    struct record record;
    struct fault fault;
    if (stored == NULL) {
        return BURST;
    }
    assert_int_equal(record_read(bytes_of(stored->value, stored->value_size), &record, &fault),
                     CODE_OK);
    uint64_t ns = record.tats[0].ns > fixture.now_ns ? record.tats[0].ns - fixture.now_ns : 0;
    uint64_t spent = (ns + HOUR - 1) / HOUR;
    return spent > BURST ? 0 : BURST - spent;
}

static bool stored_is_rounded(const char *key, uint64_t left) {
    return stored_left(key) < left && stored_left(key) + BURST / TERM_GRID_PART >= left;
}

static bool taken_at_once(const char *key, uint64_t cost, const char *plan) {
    struct take_result result = fixture_take(&fixture, key, cost, plan);
    assert_int_equal(result.reason, REASON_NONE);
    assert_true(result.allowed);
    return fixture.update.held_count == 0;
}

/* Takes until the bucket has a lead that is not used up; the store answers. */
static void warm_up(const char *key) {
    for (int i = 0; i < 30; i++) {
        fixture_take(&fixture, key, 2, "strict");
        fixture_pass(&fixture, 10 * MS);
    }
}

static const struct shard_counters *counters(void) {
    return shard_counters(fixture.shard);
}

static void test_a_grant_waits_for_its_record(void **state) {
    fixture.hold = true;
    assert_false(taken_at_once("a", 5, "strict"));
    assert_int_equal(counters()->held, 1);
    assert_int_equal(fixture.held_count, 1); /* at once, not with the next snapshot */
    assert_int_equal(fixture.held[0].kind, SHARD_OP_WRITE);
    assert_int_equal(fixture.update.release_count, 0);
    fixture_answer(&fixture, SHARD_STORED_OK);
    assert_int_equal(fixture.update.release_count, 1);
    assert_int_equal(fixture.update.releases[0].reason, REASON_NONE);
    assert_int_equal(stored_left("a"), BURST - 5);
    assert_int_equal(counters()->held, 0);
}

/* A result that is held for "a", whose bucket then moves to more memory under other limits. Another
 * key's mark goes out; it does not stand for that of "a". */
static void held_while_its_bucket_moves(enum verb verb, uint64_t cost, const char *plan) {
    fixture_close(&fixture);
    fixture_open_bare(&fixture, &(struct fixture_options){.slot_count = 1});
    fixture_plans(&fixture, plans, sizeof plans / sizeof plans[0]);
    fixture_store(&fixture, true, false);
    fixture_own_all(&fixture);
    fixture.hold = true;
    assert_false(taken_at_once("first", 1, "strict"));
    assert_false(taken_at_once("a", 5, "strict")); /* waits for the next write */
    fixture_verb(&fixture, verb, "a", cost, plan);
    assert_int_equal(fixture_show(&fixture, "a").limit_count, 2);
    assert_false(taken_at_once("last", 1, "strict"));
    for (int i = 0; i < 4 && counters()->held > 0; i++) {
        assert_int_equal(fixture.held_count, 1);
        fixture_answer(&fixture, SHARD_STORED_OK);
    }
    assert_int_equal(counters()->held, 0);
    assert_true(stored_left("a") <= BURST - 5 + (verb == VERB_REFUND ? cost : 0));
}

static void test_a_relaxed_take_moves_a_held_bucket(void **state) {
    held_while_its_bucket_moves(VERB_TAKE, 1, "pair");
}

static void test_a_refund_moves_a_held_bucket(void **state) {
    held_while_its_bucket_moves(VERB_REFUND, 1, "pair");
}

static void test_a_refusal_moves_a_held_bucket(void **state) {
    held_while_its_bucket_moves(VERB_TAKE, 81, "strict-pair");
}

static void test_relaxed_and_refusals_and_peeks_do_not_wait(void **state) {
    fixture.hold = true;
    assert_true(taken_at_once("a", 5, "default"));
    assert_false(fixture_take(&fixture, "b", BURST + 1, "strict").allowed);
    assert_int_equal(fixture.update.held_count, 0);
    fixture_verb(&fixture, VERB_PEEK, "b", 1, "strict");
    assert_int_equal(fixture.update.held_count, 0);
    assert_true(taken_at_once("b", 0, "strict"));
    assert_int_equal(fixture.held_count, 0);
}

static void test_what_waits_in_a_slot_shares_a_write(void **state) {
    fixture.hold = true;
    fixture_take(&fixture, "a", 1, "strict");
    for (int i = 0; i < 20; i++) {
        assert_false(taken_at_once("a", 1, "strict"));
    }
    assert_int_equal(fixture.held_count, 1);
    fixture_answer(&fixture, SHARD_STORED_OK);
    assert_int_equal(fixture.update.release_count, 1); /* of what was decided before it went */
    assert_int_equal(fixture.held_count, 1);
    fixture_answer(&fixture, SHARD_STORED_OK);
    assert_int_equal(fixture.update.release_count, 20);
    assert_true(stored_is_rounded("a", BURST - 21));
    assert_int_equal(counters()->held, 0);
}

static void test_a_busy_bucket_gets_ahead(void **state) {
    uint32_t held = 0;
    for (uint32_t i = 0; i < 400; i++) {
        held += !taken_at_once("a", 1, "strict");
        assert_true(stored_left("a") <= BURST - 1 - i); /* never behind */
        assert_true(stored_left("a") + RESERVE_MOST >= BURST - 1 - i);
        fixture_pass(&fixture, 5 * MS);
    }
    assert_true(held <= 4); /* as it is, rounded up, reserved, reserved again */
    assert_true(fixture.write_count < 40);
}

static void test_a_rare_key_reserves_nothing(void **state) {
    for (uint32_t i = 0; i < 20; i++) {
        assert_false(taken_at_once("a", 1, "strict"));
        assert_int_equal(stored_left("a"), BURST - 1 - i);
        fixture_pass(&fixture, (SHARD_RESERVE_SLOW_MS + 1000) * MS);
    }
}

/* How long ago a record was written that has been read is not known. */
static void test_a_key_that_was_read_reserves_nothing(void **state) {
    assert_false(taken_at_once("a", 1, "strict"));
    fixture_crash(&fixture);
    fixture_pass(&fixture, SECOND);
    assert_false(taken_at_once("a", 1, "strict"));
    assert_int_equal(stored_left("a"), BURST - 2);
    fixture_pass(&fixture, SECOND);
    assert_false(taken_at_once("a", 1, "strict"));
    assert_true(stored_is_rounded("a", BURST - 3)); /* the second time soon after the first */
}

static void test_small_bursts_reserve_nothing(void **state) {
    for (uint32_t i = 0; i < 7; i++) {
        assert_false(taken_at_once("a", 1, "strict-small"));
        fixture_pass(&fixture, MS);
    }
    assert_false(fixture_take(&fixture, "a", 1, "strict-small").allowed);
}

/* Of two limits the smaller burst says how much may be reserved. */
static void test_reservations_of_two_limits(void **state) {
    for (uint32_t i = 0; i < 60; i++) {
        assert_true(fixture_take(&fixture, "a", 1, "strict-pair").allowed);
        assert_true(stored_left("a") <= BURST - 1 - i);
        assert_true(stored_left("a") + 80 / SHARD_RESERVE_PART >= BURST - 1 - i);
        fixture_pass(&fixture, MS);
    }
}

static void test_a_crash_costs_at_most_the_reservation(void **state) {
    warm_up("a");
    fixture_take(&fixture, "a", 1, "strict");
    uint64_t left = fixture_show(&fixture, "a").level_tokens[0];
    fixture_crash(&fixture);
    uint64_t after = fixture_show(&fixture, "a").level_tokens[0];
    assert_true(after < left); /* it was ahead */
    assert_true(after + RESERVE_MOST >= left);
}

static void test_a_planned_stop_costs_nothing(void **state) {
    warm_up("a");
    uint64_t left = fixture_show(&fixture, "a").level_tokens[0];
    assert_true(stored_left("a") < left);
    fixture_stop(&fixture);
    assert_true(fixture.stopped);
    assert_int_equal(stored_left("a"), left);
}

static void test_sealing_costs_nothing(void **state) {
    warm_up("a");
    uint64_t left = fixture_show(&fixture, "a").level_tokens[0];
    fixture.hold = true;
    fixture_take(&fixture, "a", 3 * RESERVE_MOST, "strict");
    assert_int_equal(fixture.update.held_count, 1);
    uint8_t all[SLOTS_MAX / 8];
    memset(all, 0xff, sizeof all);
    struct shard_event event = {.kind = SHARD_EVENT_SEAL};
    event.seal.slots = all;
    fixture_step(&fixture, &event);
    assert_false(fixture.update.sealed);
    fixture_answer(&fixture, SHARD_STORED_OK); /* the mark that the take waited for, ahead */
    assert_int_equal(fixture.update.release_count, 1);
    assert_false(fixture.update.sealed);
    fixture_answer(&fixture, SHARD_STORED_OK);
    assert_true(fixture.update.sealed);
    assert_int_equal(stored_left("a"), left - 3 * RESERVE_MOST);
}

static void test_giving_a_slot_away_costs_nothing(void **state) {
    warm_up("a");
    uint64_t left = fixture_show(&fixture, "a").level_tokens[0];
    fixture_own(&fixture, fixture_slot(&fixture, "a"), false);
    assert_int_equal(stored_left("a"), left);
    assert_int_equal(counters()->buckets, 0);
}

static void test_a_failed_write_grants_nothing_and_costs_nothing(void **state) {
    fixture.hold = true;
    fixture_take(&fixture, "a", 5, "strict");
    fixture_take(&fixture, "a", 6, "strict"); /* waits for the next write */
    fixture_answer(&fixture, SHARD_STORED_FAILED);
    assert_int_equal(fixture.update.release_count, 2);
    assert_int_equal(fixture.update.releases[0].reason, REASON_STORE_AWAY);
    assert_int_equal(fixture.update.releases[1].reason, REASON_STORE_AWAY);
    assert_int_equal(counters()->takes_granted, 0);
    assert_int_equal(counters()->tokens_granted, 0);
    fixture.hold = false;
    fixture_pass(&fixture, SECOND);
    assert_int_equal(fixture_take(&fixture, "a", 1, "strict").remaining_tokens, BURST - 1);
}

/* What a take that was not held found in between would be counted twice. */
static void test_what_was_mixed_is_not_given_back(void **state) {
    fixture.hold = true;
    fixture_take(&fixture, "a", 5, "strict");
    fixture_take(&fixture, "a", 1, "default");
    fixture_answer(&fixture, SHARD_STORED_FAILED);
    assert_int_equal(fixture.update.release_count, 1);
    fixture.hold = false;
    fixture_pass(&fixture, SECOND);
    assert_int_equal(fixture_take(&fixture, "a", 0, "default").remaining_tokens, BURST - 6);
}

static void test_the_store_is_lost(void **state) {
    warm_up("a");
    fixture.hold = true;
    fixture_take(&fixture, "b", 5, "strict");
    fixture_store(&fixture, false, false);
    /* Within its mark a bucket goes on; beyond it nobody can promise anything. */
    assert_true(taken_at_once("a", 1, "strict"));
    assert_int_equal(fixture_take(&fixture, "a", RESERVE_MOST + 1, "strict").reason,
                     REASON_STORE_AWAY);
    assert_int_equal(fixture_take(&fixture, "b", 1, "strict").reason, REASON_STORE_AWAY);
    assert_int_equal(fixture_verb(&fixture, VERB_PEEK, "b", 0, "strict").remaining_tokens, BURST);
    assert_true(taken_at_once("c", 1, "default"));
    assert_int_equal(counters()->held, 0);
    fixture.hold = false;
    fixture_store(&fixture, true, false);
    fixture_pass(&fixture, 200 * MS);
    assert_int_equal(fixture_take(&fixture, "b", 5, "strict").remaining_tokens, BURST - 5);
}

/* A server that has lost the end of its log: nothing counts as acknowledged any more. */
static void test_the_store_forgets(void **state) {
    warm_up("a");
    assert_true(taken_at_once("a", 1, "strict"));
    fixture_store(&fixture, false, false);
    fixture.record_count = 0;
    fixture.hold = true;
    fixture_store(&fixture, true, true);
    assert_false(taken_at_once("a", 1, "strict"));
    fixture_answer_all(&fixture);
    assert_true(stored_left("a") <= fixture_show(&fixture, "a").level_tokens[0]);
}

static void test_a_newer_owner_decides_what_waited(void **state) {
    fixture.hold = true;
    fixture_take(&fixture, "a", 5, "strict");
    fixture.fences[fixture_slot(&fixture, "a").index] += 1000;
    fixture_answer(&fixture, SHARD_STORED_OK);
    assert_int_equal(fixture.update.release_count, 1);
    assert_int_equal(fixture.update.releases[0].reason, REASON_LOADING);
    assert_null(fixture_stored(&fixture, "a", false));
}

static void test_within_both_leads_while_a_record_is_under_way(void **state) {
    warm_up("a");
    fixture.hold = true;
    /* Down to half of the lead: a newer record goes out, and nobody waits for it. */
    uint32_t at_once = 0;
    while (fixture.held_count == 0) {
        assert_true(taken_at_once("a", 1, "strict"));
        at_once++;
        assert_true(at_once < BURST);
    }
    uint64_t acknowledged = stored_left("a");
    while (fixture_show(&fixture, "a").level_tokens[0] > acknowledged) {
        assert_true(taken_at_once("a", 1, "strict"));
    }
    /* Beyond the acknowledged one, within the one under way. */
    assert_false(taken_at_once("a", 1, "strict"));
    assert_int_equal(fixture.held_count, 1);
    fixture_answer(&fixture, SHARD_STORED_OK);
    assert_int_equal(fixture.update.release_count, 1);
    assert_true(stored_left("a") <= fixture_show(&fixture, "a").level_tokens[0]);
}

/* A limit that refills at once: what was refilled counts against the lead, too. */
static void test_idle_time_uses_the_lead_up(void **state) {
    for (int i = 0; i < 12; i++) {
        fixture_take(&fixture, "a", 10, "strict-fast");
        fixture_pass(&fixture, MS);
    }
    fixture_pass(&fixture, 500 * MS); /* full, and its record long past */
    fixture.hold = true;
    struct take_result result = fixture_take(&fixture, "a", 10, "strict-fast");
    assert_int_equal(result.remaining_tokens, 990);
    assert_int_equal(fixture.update.held_count, 1);
}

static void test_refunds_and_other_plans_keep_the_mark_ahead(void **state) {
    warm_up("a");
    fixture_verb(&fixture, VERB_REFUND, "a", 4, "strict");
    fixture.hold = true;
    assert_true(taken_at_once("a", 4, "strict"));
    fixture.hold = false;
    fixture_pass(&fixture, SECOND);
    /* Under other terms the record says nothing. */
    fixture.hold = true;
    fixture_take(&fixture, "a", 1, "strict-pair");
    assert_int_equal(fixture.update.held_count, 1);
    fixture_answer_all(&fixture);
    fixture.hold = false;
    /* Relaxed takes of a key that also has a mark: they may pass it, and the next strict one waits.
     */
    warm_up("b");
    fixture.hold = true;
    assert_true(fixture_take(&fixture, "b", 2 * RESERVE_MOST, "default").allowed);
    assert_int_equal(fixture.update.held_count, 0);
    assert_false(taken_at_once("b", 1, "strict"));
}

static void test_the_held_are_bounded(void **state) {
    static struct shard_item items[TAKES_PER_REQUEST_MAX];
    static char keys[TAKES_PER_REQUEST_MAX][32];
    fixture.hold = true;
    uint64_t decided = 0, held = 0;
    while (decided < SHARD_HELD_MAX + TAKES_PER_REQUEST_MAX) {
        for (uint32_t i = 0; i < TAKES_PER_REQUEST_MAX; i++) {
            snprintf(keys[i], sizeof keys[i], "key-%u", i);
            items[i] = (struct shard_item){.verb = VERB_TAKE, .token = decided + i};
            items[i].take = (struct take){.key = bytes_of_text(keys[i]), .cost_tokens = 1};
            items[i].take.plan.kind = PLAN_CHOICE_NAMED;
            items[i].take.plan.name = bytes_of_text("strict");
        }
        struct shard_event event = {.kind = SHARD_EVENT_TAKES};
        event.takes.items = items;
        event.takes.count = TAKES_PER_REQUEST_MAX;
        fixture_step(&fixture, &event);
        held += fixture.update.held_count;
        decided += TAKES_PER_REQUEST_MAX;
    }
    assert_int_equal(held, SHARD_HELD_MAX);
    assert_int_equal(fixture.update.results[TAKES_PER_REQUEST_MAX - 1].reason, REASON_QUEUE_FULL);
    assert_int_equal(counters()->held, SHARD_HELD_MAX);
    fixture_store(&fixture, false, false);
    assert_int_equal(counters()->held, 0);
    assert_int_equal(counters()->tokens_granted, 0);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_strict, close_any)
    const struct CMUnitTest tests[] = {
        TEST(test_a_grant_waits_for_its_record),
        TEST(test_a_relaxed_take_moves_a_held_bucket),
        TEST(test_a_refund_moves_a_held_bucket),
        TEST(test_a_refusal_moves_a_held_bucket),
        TEST(test_relaxed_and_refusals_and_peeks_do_not_wait),
        TEST(test_what_waits_in_a_slot_shares_a_write),
        TEST(test_a_busy_bucket_gets_ahead),
        TEST(test_a_rare_key_reserves_nothing),
        TEST(test_a_key_that_was_read_reserves_nothing),
        TEST(test_small_bursts_reserve_nothing),
        TEST(test_reservations_of_two_limits),
        TEST(test_a_crash_costs_at_most_the_reservation),
        TEST(test_a_planned_stop_costs_nothing),
        TEST(test_sealing_costs_nothing),
        TEST(test_giving_a_slot_away_costs_nothing),
        TEST(test_a_failed_write_grants_nothing_and_costs_nothing),
        TEST(test_what_was_mixed_is_not_given_back),
        TEST(test_the_store_is_lost),
        TEST(test_the_store_forgets),
        TEST(test_a_newer_owner_decides_what_waited),
        TEST(test_within_both_leads_while_a_record_is_under_way),
        TEST(test_idle_time_uses_the_lead_up),
        TEST(test_refunds_and_other_plans_keep_the_mark_ahead),
        TEST(test_the_held_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
