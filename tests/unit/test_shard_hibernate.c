/* More buckets than memory may hold: the coldest leave it, and come back as they were. */
#include "tests/unit/cmocka_all.h"
#include "tests/unit/shard_fixture.h"

#define HOUR (3600 * SECOND)
#define KEYS 60
#define RESIDENT_MAX 16
#define SETTLE_MS 1000

static struct fixture fixture;

/* One more than before of "short" when its limits change. */
static const struct fixture_plan plans[] = {{"default", 1, {{1, HOUR, 20}}},
                                            {"strict", 1, {{1, HOUR, 80}}},
                                            {"short", 1, {{10, SECOND, 20}}},
                                            {"other", 1, {{1, HOUR, 1000}}}};
#define PLANS 4

static struct {
    uint32_t results, errors;
    struct take_result last;
    enum reason reason;
} told;

static void on_update(struct fixture *f, const struct shard_update *update) {
    for (uint32_t i = 0; i < update->release_count; i++) {
        const struct shard_release *release = &update->releases[i];
        told.results += release->result != NULL;
        told.errors += release->kind == SHARD_RELEASE_REASON;
        told.reason = release->reason;
        if (release->result != NULL) {
            told.last = *release->result;
        }
    }
}

static const struct shard_counters *counters(void) {
    return shard_counters(fixture.shard);
}

static const char *key_of(uint32_t i) {
    static char key[32];
    snprintf(key, sizeof key, "key-%u", i);
    return key;
}

static int open_one(void **state) {
    fixture_open_bare(&fixture, &(struct fixture_options){.slot_count = 1,
                                                          .resident_max = RESIDENT_MAX,
                                                          .settle_ms = SETTLE_MS});
    memset(&told, 0, sizeof told);
    fixture.on_update = on_update;
    fixture_plans(&fixture, plans, PLANS);
    fixture_store(&fixture, true, false);
    fixture_own_all(&fixture);
    return 0;
}

static int close_any(void **state) {
    fixture_close(&fixture);
    return 0;
}

/* The result, of the store if memory does not know. */
static struct take_result take(const char *key, uint64_t cost, const char *plan) {
    uint32_t results = told.results;
    struct take_result result = fixture_take(&fixture, key, cost, plan);
    return told.results > results ? told.last : result;
}

/* Keys key-0.. have spent 1, 2, 3, 1, 2, 3... of their 20. */
static void keys_spend(uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        assert_true(take(key_of(i), 1 + i % 3, NULL).allowed);
    }
}

static void test_the_coldest_leave_and_come_back(void **state) {
    keys_spend(KEYS);
    assert_int_equal(counters()->buckets, KEYS);
    fixture_pass(&fixture, 3 * SECOND);
    assert_in_range(counters()->buckets, RESIDENT_MAX - 2, RESIDENT_MAX);
    assert_int_equal(counters()->hibernations, KEYS - counters()->buckets);
    assert_int_equal(counters()->buckets_hibernated, KEYS - counters()->buckets);
    assert_int_equal(counters()->slots_asleep, 1);
    assert_int_equal(fixture_records(&fixture), KEYS);
    for (uint32_t i = 0; i < KEYS; i++) {
        assert_int_equal(take(key_of(i), 1, NULL).remaining_tokens, 20 - 1 - i % 3 - 1);
    }
    assert_true(counters()->keys_fetched >= KEYS - RESIDENT_MAX);
    assert_int_equal(counters()->keys_fetched_absent, 0);
}

static void test_what_is_used_stays(void **state) {
    keys_spend(KEYS);
    for (uint32_t i = 0; i < 400; i++) {
        fixture_pass(&fixture, 10 * MS);
        for (uint32_t k = 0; k < 8; k++) {
            fixture_verb(&fixture, VERB_PEEK, key_of(k), 0, NULL);
        }
    }
    assert_int_equal(counters()->keys_fetched, 0);
    assert_int_equal(counters()->buckets, RESIDENT_MAX - RESIDENT_MAX / SHARD_RESIDENT_LOW_PART);
}

static void test_what_is_not_written_stays(void **state) {
    fixture.hold = true;
    keys_spend(KEYS);
    fixture_pass(&fixture, 5 * SECOND);
    assert_int_equal(counters()->buckets, KEYS);
    assert_int_equal(counters()->hibernations, 0);
    /* Takes go on all the same. */
    assert_int_equal(fixture_take(&fixture, key_of(7), 1, NULL).remaining_tokens, 17);
    assert_true(fixture_take(&fixture, "one more", 1, NULL).allowed);
    fixture.hold = false;
    fixture_answer_all(&fixture);
    fixture_pass(&fixture, 3 * SECOND);
    assert_in_range(counters()->buckets, 1, RESIDENT_MAX);
}

/* A store that comes back without its newest records finds them in memory. */
static void test_what_is_newly_written_stays(void **state) {
    keys_spend(KEYS);
    fixture_pass(&fixture, SETTLE_MS * MS - 10 * MS);
    assert_int_equal(counters()->buckets, KEYS);
    fixture_store(&fixture, false, false);
    fixture.record_count = 0;
    fixture_pass(&fixture, 5 * SECOND); /* nothing is heard of it: nothing is dropped */
    assert_int_equal(counters()->buckets, KEYS);
    fixture_store(&fixture, true, true);
    fixture_pass(&fixture, 500 * MS);
    assert_int_equal(counters()->buckets, KEYS);
    assert_int_equal(fixture_records(&fixture), KEYS);
    fixture_pass(&fixture, 3 * SECOND);
    assert_in_range(counters()->buckets, 1, RESIDENT_MAX);
    assert_int_equal(take(key_of(5), 1, NULL).remaining_tokens, 16);
}

static uint64_t stored_spent(const char *key) {
    const struct stored *stored = fixture_stored(&fixture, key, false);
    struct record record;
    struct fault fault;
    assert_non_null(stored);
    record_read(bytes_of(stored->value, stored->value_size), &record, &fault);
    return (record.tats[0].ns - fixture.now_ns + HOUR - 1) / HOUR;
}

static void test_a_mark_ahead_is_written_off_first(void **state) {
    for (uint32_t i = 0; i < 8; i++) {
        take("busy", 1, "strict");
        fixture_pass(&fixture, 10 * MS);
    }
    assert_true(stored_spent("busy") > 8); /* a reservation */
    for (uint32_t i = 0; i < 5; i++) {
        keys_spend(KEYS); /* those that are gone come back, and others go */
        fixture_pass(&fixture, 2 * SECOND);
    }
    assert_int_equal(stored_spent("busy"), 8);
    uint64_t fetched = counters()->keys_fetched;
    take("busy", 1, "strict");
    assert_int_equal(counters()->keys_fetched, fetched + 1);
    assert_int_equal(told.last.remaining_tokens, 71);
}

static void test_a_key_that_is_nowhere(void **state) {
    keys_spend(KEYS);
    fixture_pass(&fixture, 3 * SECOND);
    assert_int_equal(take("nobody", 3, NULL).remaining_tokens, 17);
    assert_int_equal(fixture_take(&fixture, "nobody", 1, NULL).remaining_tokens, 16);
}

/* Nobody touches it any more, and it becomes full: its record goes, at last the slot wakes. */
static void test_a_full_record_is_deleted(void **state) {
    for (uint32_t i = 0; i < KEYS; i++) {
        take(key_of(i), 15, "short"); /* full in 1.5 s */
    }
    keys_spend(RESIDENT_MAX);
    fixture.hold = true; /* the survey does not come before they are full */
    fixture_pass(&fixture, SECOND);
    fixture.hold = false;
    fixture_answer_all(&fixture);
    fixture_pass(&fixture, 30 * SECOND);
    assert_int_equal(fixture_records(&fixture), RESIDENT_MAX);
    assert_int_equal(counters()->slots_asleep, counters()->buckets_hibernated > 0);
    fixture_pass(&fixture, 19 * HOUR); /* what was spent under another plan counts */
    assert_int_equal(fixture_records(&fixture), 0);
    assert_int_equal(counters()->buckets, 0);
    assert_int_equal(counters()->buckets_hibernated, 0);
    assert_int_equal(counters()->slots_asleep, 0);
    uint64_t ops = fixture.op_count;
    fixture_pass(&fixture, HOUR);
    assert_int_equal(fixture.op_count, ops);
    assert_int_equal(fixture_take(&fixture, "anybody", 1, NULL).remaining_tokens, 19);
}

static void test_full_ones_are_found_by_the_survey_alone(void **state) {
    const struct fixture_plan hour[] = {{"default", 1, {{3600, HOUR, 100}}}};
    fixture_plans(&fixture, hour, 1);
    for (uint32_t i = 0; i < KEYS; i++) {
        take(key_of(i), 10, NULL); /* full in 10 s */
    }
    fixture_pass(&fixture, 5 * SECOND);
    assert_in_range(counters()->buckets, 1, RESIDENT_MAX);
    assert_int_equal(fixture_records(&fixture), KEYS);
    fixture_pass(&fixture, 20 * SECOND);
    assert_int_equal(fixture_records(&fixture), 0);
    assert_int_equal(counters()->slots_asleep, 0);
}

static void test_limits_change_for_those_away(void **state) {
    keys_spend(KEYS);
    fixture_pass(&fixture, 3 * SECOND);
    struct fixture_plan changed[] = {{"default", 1, {{1, HOUR, 20}}}};
    for (uint32_t i = 0; i <= PLAN_HISTORY_MAX; i++) { /* more than anybody remembers */
        changed[0].limits[0].burst_tokens++;
        fixture_plans(&fixture, changed, 1);
        fixture_pass(&fixture, 60 * SECOND);
    }
    for (uint32_t i = 0; i < KEYS; i++) {
        assert_int_equal(take(key_of(i), 1, NULL).remaining_tokens,
                         20 + PLAN_HISTORY_MAX + 1 - 1 - i % 3 - 1);
    }
}

static void test_operators_reach_them(void **state) {
    keys_spend(KEYS);
    fixture_pass(&fixture, 3 * SECOND);
    uint64_t fetched = counters()->keys_fetched;
    for (uint32_t i = 0; i < KEYS; i++) {
        struct shard_key_info info = fixture_show(&fixture, key_of(i));
        assert_true(info.resident);
        assert_int_equal(info.level_tokens[0], 20 - 1 - i % 3);
    }
    assert_true(counters()->keys_fetched > fetched);
    fixture_pass(&fixture, 3 * SECOND);
    fetched = counters()->keys_fetched;
    for (uint32_t i = 0; i < KEYS; i++) {
        fixture_admin(&fixture, SHARD_ADMIN_RESET, key_of(i), NULL);
        assert_int_equal(fixture_reply(&fixture).reason, REASON_NONE);
        assert_null(fixture_stored(&fixture, key_of(i), false));
    }
    assert_true(counters()->keys_fetched > fetched);
    assert_false(fixture_show(&fixture, "nobody").resident);
    fixture_admin(&fixture, SHARD_ADMIN_ASSIGN, key_of(9), "other");
    assert_int_equal(fixture_reply(&fixture).reason, REASON_NONE);
    assert_int_equal(take(key_of(9), 1, NULL).remaining_tokens, 999);
}

static void test_an_assigned_key_comes_back_under_its_plan(void **state) {
    fixture_admin(&fixture, SHARD_ADMIN_ASSIGN, key_of(9), "other");
    fixture_reply(&fixture);
    keys_spend(KEYS);
    fixture_pass(&fixture, 3 * SECOND);
    fixture_admin(&fixture, SHARD_ADMIN_ASSIGN, key_of(9), NULL);
    assert_int_equal(fixture_reply(&fixture).reason, REASON_NONE);
    for (uint32_t i = 0; i < KEYS; i++) {
        assert_int_equal(take(key_of(i), 1, NULL).remaining_tokens, 20 - 1 - i % 3 - 1);
    }
}

static void test_operators_are_answered_when_the_store_is_not(void **state) {
    keys_spend(KEYS);
    fixture_pass(&fixture, 3 * SECOND);
    fixture.hold = true;
    for (uint32_t i = 0; i < SHARD_ADMIN_PENDING_MAX; i++) {
        fixture_admin(&fixture, SHARD_ADMIN_SHOW, "nobody", NULL);
    }
    assert_int_equal(fixture.reply_count, 0);
    fixture_admin(&fixture, SHARD_ADMIN_SHOW, "nobody", NULL);
    assert_int_equal(fixture_reply(&fixture).reason, REASON_QUEUE_FULL);
    fixture_store(&fixture, false, false);
    for (uint32_t i = 0; i < SHARD_ADMIN_PENDING_MAX; i++) {
        assert_int_equal(fixture_reply(&fixture).reason, REASON_STORE_AWAY);
    }
    fixture_admin(&fixture, SHARD_ADMIN_SHOW, "nobody", NULL);
    assert_int_equal(fixture_reply(&fixture).reason, REASON_ASLEEP);
}

static void test_the_store_is_away(void **state) {
    keys_spend(KEYS);
    fixture_pass(&fixture, 3 * SECOND);
    fixture_store(&fixture, false, false);
    uint32_t away = 0;
    for (uint32_t i = 0; i < KEYS; i++) {
        struct take_result result = fixture_take(&fixture, key_of(i), 1, NULL);
        away += result.reason == REASON_ASLEEP;
        assert_true(result.reason == REASON_ASLEEP || result.remaining_tokens == 18 - i % 3);
    }
    assert_in_range(away, KEYS - RESIDENT_MAX, KEYS - 1);
    fixture_store(&fixture, true, false);
    for (uint32_t i = 0; i < KEYS; i++) {
        assert_true(take(key_of(i), 1, NULL).remaining_tokens <= 18 - i % 3);
    }
}

/* More is stored than memory may hold: it is not read in, and nothing is full for that. */
static void test_a_start_reads_no_more_than_it_may(void **state) {
    keys_spend(KEYS);
    fixture_pass(&fixture, 3 * SECOND);
    fixture_crash(&fixture);
    assert_int_equal(counters()->slots_serving, 1);
    assert_in_range(counters()->buckets, 1, RESIDENT_MAX + FIXTURE_PAGE);
    assert_int_equal(counters()->slots_asleep, 1);
    for (uint32_t i = 0; i < KEYS; i++) {
        assert_int_equal(take(key_of(i), 1, NULL).remaining_tokens, 20 - 1 - i % 3 - 1);
    }
    fixture_pass(&fixture, 5 * SECOND);
    assert_in_range(counters()->buckets, 1, RESIDENT_MAX);
    /* The survey has counted them. */
    assert_int_equal(counters()->buckets + counters()->buckets_hibernated, KEYS);
}

/* Far more come in than there is room for, so that the survey stands still, and then nobody asks
 * for anything: a slot that asks the store nothing is heard of all the same. */
static void test_a_crowd_leaves_though_all_is_silent(void **state) {
    for (uint32_t i = 0; i < 1500; i++) {
        assert_true(fixture_take(&fixture, key_of(i), 1, NULL).allowed || told.results > 0);
    }
    fixture_pass(&fixture, 200 * MS);
    fixture_crash(&fixture);
    for (uint32_t i = 0; i < 1500; i++) {
        fixture_verb(&fixture, VERB_PEEK, key_of(i), 0, NULL);
    }
    assert_true(counters()->buckets > RESIDENT_MAX + RESIDENT_MAX / 4 + SHARD_WRITE_ENTRIES_MAX);
    assert_int_equal(counters()->buckets_dirty, 0);
    fixture_pass(&fixture, 6 * SECOND);
    assert_true(counters()->buckets <= RESIDENT_MAX);
    uint64_t writes = fixture.write_count;
    fixture_pass(&fixture, 10 * SECOND);
    assert_true(fixture.write_count - writes <= 1); /* there is room: nobody has to be heard of */
    assert_int_equal(fixture_records(&fixture), 1500);
}

static void test_given_away_and_taken_back(void **state) {
    keys_spend(KEYS);
    fixture_pass(&fixture, 3 * SECOND);
    uint64_t entries = fixture.entry_count;
    fixture_own(&fixture, fixture_slot(&fixture, "a"), false);
    fixture_pass(&fixture, SECOND);
    assert_int_equal(fixture.entry_count, entries); /* nothing was left to write */
    assert_int_equal(counters()->buckets + counters()->buckets_hibernated, 0);
    assert_int_equal(counters()->slots_asleep, 0);
    fixture_own_all(&fixture);
    for (uint32_t i = 0; i < KEYS; i++) {
        assert_int_equal(take(key_of(i), 1, NULL).remaining_tokens, 20 - 1 - i % 3 - 1);
    }
}

static void test_a_take_waits_when_the_slot_goes(void **state) {
    keys_spend(KEYS);
    fixture_pass(&fixture, 3 * SECOND);
    fixture.hold = true;
    fixture_take(&fixture, "nobody", 1, NULL);
    assert_int_equal(fixture.update.held_count, 1);
    uint8_t all[SLOTS_MAX / 8];
    memset(all, 0xff, sizeof all);
    struct shard_event event = {.kind = SHARD_EVENT_SEAL};
    event.seal.slots = all;
    fixture_step(&fixture, &event);
    assert_int_equal(told.errors, 1);
    assert_int_equal(told.reason, REASON_LOADING);
    assert_int_equal(fixture_take(&fixture, "nobody", 1, NULL).reason, REASON_MOVING);
    fixture.hold = false;
    fixture_answer_all(&fixture);
    fixture_pass(&fixture, SECOND);
    assert_true(fixture.update.sealed);
    memset(all, 0, sizeof all);
    fixture_step(&fixture, &event);
    assert_int_equal(take("nobody", 1, NULL).remaining_tokens, 19);
    assert_int_equal(take(key_of(3), 1, NULL).remaining_tokens, 18);
    fixture_pass(&fixture, 60 * SECOND); /* the survey goes on */
    assert_int_equal(counters()->buckets + counters()->buckets_hibernated, KEYS + 1);
}

/* Pages of the survey and writes of the slot take turns, whatever there is to write. */
static void test_the_survey_holds_nothing_up(void **state) {
    keys_spend(KEYS);
    fixture_pass(&fixture, 3 * SECOND);
    fixture.hold = true;
    uint32_t pages = 0, writes = 0;
    for (uint32_t i = 0; i < 2000; i++) {
        char key[32];
        snprintf(key, sizeof key, "new-%u", i % 500);
        fixture_take(&fixture, key, 1, "strict");
        while (fixture.held_count > 0 && fixture.held[0].kind == SHARD_OP_FETCH) {
            fixture_answer(&fixture, SHARD_STORED_OK);
        }
        if (fixture.held_count > 0) {
            pages += fixture.held[0].kind == SHARD_OP_LOAD_BUCKETS;
            writes += fixture.held[0].kind == SHARD_OP_WRITE;
            fixture_answer(&fixture, SHARD_STORED_OK);
        }
        fixture.now_ns += MS;
    }
    assert_in_range(pages, 20, 60); /* in 2 s, one in 50 ms */
    assert_true(writes > 100);
}

static void test_a_page_that_fails_is_read_again(void **state) {
    keys_spend(KEYS);
    fixture_pass(&fixture, 3 * SECOND);
    fixture.hold = true;
    uint32_t failed = 0;
    for (uint32_t i = 0; i < 3000; i++) {
        fixture.now_ns += MS;
        fixture_tick(&fixture);
        while (fixture.held_count > 0) {
            bool fails = fixture.held[0].kind == SHARD_OP_LOAD_BUCKETS && failed < 5;
            failed += fails;
            fixture_answer(&fixture, fails ? SHARD_STORED_FAILED : SHARD_STORED_OK);
        }
    }
    assert_int_equal(failed, 5);
    assert_int_equal(counters()->buckets + counters()->buckets_hibernated, KEYS);
    assert_int_equal(fixture_take(&fixture, "nobody", 1, NULL).reason, REASON_NONE);
    assert_int_equal(fixture.update.held_count, 1); /* nobody takes it for full */
}

static void test_an_unreadable_record_stays(void **state) {
    fixture_put(&fixture, bytes_of_text("broken"), bytes_of_text("nonsense"), false);
    fixture_crash(&fixture);
    keys_spend(KEYS);
    fixture_pass(&fixture, 20 * SECOND);
    assert_int_equal(take("broken", 1, NULL).reason, REASON_RECORD_UNREADABLE);
    assert_int_equal(fixture.notices[SHARD_NOTICE_UNREADABLE], 1);
    assert_non_null(fixture_stored(&fixture, "broken", false));
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_one, close_any)
    const struct CMUnitTest tests[] = {
        TEST(test_the_coldest_leave_and_come_back),
        TEST(test_what_is_used_stays),
        TEST(test_what_is_not_written_stays),
        TEST(test_what_is_newly_written_stays),
        TEST(test_a_mark_ahead_is_written_off_first),
        TEST(test_a_key_that_is_nowhere),
        TEST(test_a_full_record_is_deleted),
        TEST(test_full_ones_are_found_by_the_survey_alone),
        TEST(test_limits_change_for_those_away),
        TEST(test_operators_reach_them),
        TEST(test_an_assigned_key_comes_back_under_its_plan),
        TEST(test_operators_are_answered_when_the_store_is_not),
        TEST(test_the_store_is_away),
        TEST(test_a_start_reads_no_more_than_it_may),
        TEST(test_a_crowd_leaves_though_all_is_silent),
        TEST(test_given_away_and_taken_back),
        TEST(test_a_take_waits_when_the_slot_goes),
        TEST(test_the_survey_holds_nothing_up),
        TEST(test_a_page_that_fails_is_read_again),
        TEST(test_an_unreadable_record_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
