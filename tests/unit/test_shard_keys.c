/* Assignments that the store has lost, or has back, when it comes back as another process. */
#include "tests/unit/cmocka_all.h"
#include "tests/unit/shard_fixture.h"

static struct fixture fixture;

static int open_usual(void **state) {
    fixture_open(&fixture, NULL);
    return 0;
}

static int open_one_slot(void **state) {
    fixture_open(&fixture, &(struct fixture_options){.slot_count = 1});
    return 0;
}

static int close_any(void **state) {
    fixture_close(&fixture);
    return 0;
}

static enum reason assign(const char *key, const char *plan) {
    fixture_admin(&fixture, SHARD_ADMIN_ASSIGN, key, plan);
    return fixture_reply(&fixture).reason;
}

/* What the store says of the key; "" if nothing. */
static const char *stored_plan(const char *key) {
    static char text[RECORD_BYTES_MAX + 1];
    const struct stored *stored = fixture_stored(&fixture, key, true);
    snprintf(text, sizeof text, "%.*s", stored == NULL ? 0 : (int)stored->value_size,
             stored == NULL ? "" : (const char *)stored->value);
    return text;
}

static void stored_set(const char *key, const char *plan) {
    fixture_put(&fixture, bytes_of_text(key), bytes_of_text(plan), true);
}

static const char *shown_plan(const char *key) {
    static struct shard_key_info info;
    info = fixture_show(&fixture, key);
    return info.assigned ? info.plan.text : "";
}

static void restart(void) {
    fixture_store(&fixture, false, false);
    fixture_store(&fixture, true, true);
}

static void restart_empty(void) {
    fixture_store(&fixture, false, false);
    fixture.record_count = 0;
    fixture_store(&fixture, true, true);
}

/* Answers what is outstanding one by one, with a tick between, until nothing is left. */
static void answer_slowly(void) {
    for (int i = 0; i < 2000; i++) {
        fixture_tick(&fixture);
        if (fixture.held_count > 0) {
            fixture_answer(&fixture, SHARD_STORED_OK);
        }
    }
    assert_int_equal(fixture.held_count, 0);
}

/* The oldest operation of the kind that is held, all before it being answered. */
static const struct held_op *held_next(enum shard_op_kind kind, bool assignments) {
    for (int i = 0; i < 1000; i++) {
        const struct held_op *op = &fixture.held[0];
        if (fixture.held_count > 0 && op->kind == kind && op->assignments == assignments) {
            return op;
        }
        if (fixture.held_count > 0) {
            fixture_answer(&fixture, SHARD_STORED_OK);
        } else {
            fixture_tick(&fixture);
        }
    }
    fail_msg("no such operation");
    return NULL;
}

static void test_lost_ones_are_written_again(void **state) {
    char key[32];
    for (int i = 0; i < 3000; i++) {
        snprintf(key, sizeof key, "key-%d", i);
        assert_int_equal(assign(key, i % 2 == 0 ? "pair" : "default"), REASON_NONE);
    }
    fixture_store(&fixture, false, false);
    fixture.record_count = 0;
    fixture_store(&fixture, true, false); /* the same process: it has lost nothing */
    fixture_pass(&fixture, SECOND);
    assert_int_equal(fixture.record_count, 0);
    uint64_t ops = fixture.op_count;
    restart_empty();
    fixture_pass(&fixture, SECOND);
    assert_int_equal(fixture.record_count, 3000);
    for (int i = 0; i < 3000; i++) {
        snprintf(key, sizeof key, "key-%d", i);
        assert_string_equal(stored_plan(key), i % 2 == 0 ? "pair" : "default");
    }
    /* A write each, of some hundred, and the pages of the fixture (3) to look for more. */
    assert_true(fixture.op_count - ops < 3000 / 3 + 4 + 60);
    assert_true(fixture_pass(&fixture, 100 * SECOND) <= 101); /* at rest */
    fixture_crash(&fixture);
    assert_string_equal(shown_plan("key-2998"), "pair");
}

static void test_what_is_back_is_taken_away(void **state) {
    char key[32];
    assign("kept", "pair");
    assign("changed", "default");
    assign("cleared", "pair");
    assign("cleared", NULL);
    fixture_store(&fixture, false, false);
    stored_set("changed", "pair");
    stored_set("cleared", "pair");
    for (int i = 0; i < 20; i++) { /* of several pages */
        snprintf(key, sizeof key, "old-%d", i);
        stored_set(key, "pair");
    }
    fixture_store(&fixture, true, true);
    fixture_pass(&fixture, SECOND);
    assert_string_equal(stored_plan("kept"), "pair");
    assert_string_equal(stored_plan("changed"), "default");
    assert_string_equal(stored_plan("cleared"), "");
    assert_int_equal(fixture.record_count, 2);
    assert_string_equal(shown_plan("cleared"), "");
    assert_int_equal(shard_counters(fixture.shard)->assignments, 2);
    assert_true(fixture_pass(&fixture, 100 * SECOND) <= 101); /* at rest */
}

/* An operator assigns while what was lost is on its way, before it and behind it. */
static void test_assigned_meanwhile(void **state) {
    assign("a", "pair");
    assign("b", "pair");
    assign("c", "pair");
    fixture.hold = true;
    restart_empty();
    held_next(SHARD_OP_WRITE, true);
    uint32_t held = fixture.held_count;
    fixture_admin(&fixture, SHARD_ADMIN_ASSIGN, "a", "default");
    fixture_admin(&fixture, SHARD_ADMIN_ASSIGN, "b", NULL);
    assert_int_equal(fixture.held_count, held + 2); /* they wait for nothing */
    answer_slowly();
    assert_int_equal(fixture_reply(&fixture).reason, REASON_NONE);
    assert_int_equal(fixture_reply(&fixture).reason, REASON_NONE);
    assert_string_equal(stored_plan("a"), "default");
    assert_string_equal(stored_plan("b"), "");
    assert_string_equal(stored_plan("c"), "pair");

    /* Their requests are outstanding when all is written again: they have the last word. */
    fixture_admin(&fixture, SHARD_ADMIN_ASSIGN, "a", "pair");
    fixture_admin(&fixture, SHARD_ADMIN_ASSIGN, "c", NULL);
    fixture_admin(&fixture, SHARD_ADMIN_ASSIGN, "d", "pair");
    struct shard_event event = {.kind = SHARD_EVENT_STORE};
    event.store.up = event.store.restarted = true; /* of a cluster's slots, which are elsewhere */
    fixture_step(&fixture, &event);
    answer_slowly();
    fixture.reply_count = 0;
    assert_string_equal(stored_plan("a"), "pair");
    assert_string_equal(stored_plan("c"), "");
    assert_string_equal(stored_plan("d"), "pair");
    assert_string_equal(shown_plan("d"), "pair");
    /* They may have been executed by a server that lost them: all is written once more. */
    fixture_forget_assignment(&fixture, "d");
    fixture_admin(&fixture, SHARD_ADMIN_ASSIGN, "a", "default");
    fixture_step(&fixture, &event);
    answer_slowly();
    assert_string_equal(stored_plan("a"), "default");
    assert_string_equal(stored_plan("d"), "pair");
}

/* Nobody knows what the store has of a request that failed: it gets what memory has. */
static void test_in_doubt(void **state) {
    assign("a", "pair");
    assign("b", "pair");
    fixture.answer = SHARD_STORED_FAILED;
    fixture.fail_applies = true;
    assert_int_equal(assign("a", "default"), REASON_STORE_AWAY);
    assert_int_equal(assign("b", NULL), REASON_STORE_AWAY);
    assert_int_equal(assign("c", "pair"), REASON_STORE_AWAY);
    fixture_pass(&fixture, SECOND); /* writes go on to fail, for all that is told */
    fixture.answer = SHARD_STORED_OK;
    fixture_pass(&fixture, SECOND);
    assert_string_equal(stored_plan("a"), "pair");
    assert_string_equal(stored_plan("b"), "pair");
    assert_string_equal(stored_plan("c"), "");
    assert_string_equal(shown_plan("a"), "pair");
    assert_string_equal(shown_plan("c"), "");
    assert_true(fixture_pass(&fixture, 100 * SECOND) <= 101); /* at rest */
}

/* A first assignment fails while the store still has one of old under that key. */
static void test_in_doubt_where_one_is_back(void **state) {
    fixture.hold = true;
    fixture_store(&fixture, false, false);
    stored_set("a", "pair");
    fixture_store(&fixture, true, true);
    fixture_admin(&fixture, SHARD_ADMIN_ASSIGN, "a", "default");
    held_next(SHARD_OP_LOAD_KEYS, false); /* that page is answered first */
    while (fixture.held_count > 0 && fixture.held[0].kind != SHARD_OP_ASSIGN) {
        fixture_answer(&fixture, SHARD_STORED_OK);
    }
    if (fixture.held_count > 0) {
        fixture_answer(&fixture, SHARD_STORED_FAILED);
        assert_int_equal(fixture_reply(&fixture).reason, REASON_STORE_AWAY);
    }
    answer_slowly();
    fixture.hold = false;
    fixture_pass(&fixture, SECOND);
    assert_string_equal(stored_plan("a"), shown_plan("a"));
}

static void test_a_failed_write_is_made_again(void **state) {
    assign("a", "pair");
    fixture.hold = true;
    restart_empty();
    held_next(SHARD_OP_WRITE, true);
    fixture_answer(&fixture, SHARD_STORED_FAILED);
    fixture_pass(&fixture, 200 * MS);
    held_next(SHARD_OP_RAISE_FENCE, false); /* which keeps the failed one out */
    fixture_answer(&fixture, SHARD_STORED_OK);
    held_next(SHARD_OP_WRITE, true);
    fixture_store(&fixture, false, false); /* gone once more, and nothing is known of that write */
    fixture.record_count = 0;
    fixture_store(&fixture, true, true);
    answer_slowly();
    assert_string_equal(stored_plan("a"), "pair");
}

static void test_a_newer_owner(void **state) {
    assign("a", "pair");
    fixture_store(&fixture, false, false);
    fixture.record_count = 0;
    fixture.fences[fixture_slot(&fixture, "a").index] += 5;
    stored_set("a", "default"); /* the newer owner's */
    fixture_store(&fixture, true, true);
    fixture_pass(&fixture, SECOND);
    assert_string_equal(stored_plan("a"), "default");
    assert_string_equal(shown_plan("a"), "default"); /* it was read anew */
}

static void seal(const char *key) {
    uint8_t sealed[SLOTS_MAX / 8] = {0};
    struct shard_event event = {.kind = SHARD_EVENT_SEAL};
    if (key != NULL) {
        uint16_t slot = fixture_slot(&fixture, key).index;
        sealed[slot / 8] |= (uint8_t)(1u << (slot % 8));
    }
    event.seal.slots = sealed;
    fixture_step(&fixture, &event);
}

/* A slot is given away only when the store has its assignments as they are. */
static void sealed_answers(void) {
    for (int i = 0; i < 100 && !fixture.update.sealed; i++) {
        bool done = strcmp(stored_plan("a"), "pair") == 0 && strcmp(stored_plan("b"), "") == 0;
        assert_true(!fixture.update.sealed || done);
        if (fixture.held_count > 0) {
            fixture_answer(&fixture, SHARD_STORED_OK);
        } else {
            fixture_tick(&fixture);
        }
    }
    assert_true(fixture.update.sealed);
    assert_string_equal(stored_plan("a"), "pair");
    assert_string_equal(stored_plan("b"), "");
}

static void test_sealed_before_and_after(void **state) {
    assign("a", "pair");
    for (int after = 0; after < 2; after++) {
        fixture.hold = true;
        if (after == 1) {
            seal("a");
            sealed_answers();
        }
        fixture_store(&fixture, false, false);
        fixture.record_count = 0;
        stored_set("b", "pair"); /* was cleared */
        fixture_store(&fixture, true, true);
        if (after == 0) {
            seal("a");
        }
        assert_false(fixture.update.sealed);
        sealed_answers();
        seal(NULL);
        fixture.hold = false;
        fixture_answer_all(&fixture);
        fixture_pass(&fixture, SECOND);
        assert_string_equal(shown_plan("a"), "pair");
    }
}

/* Unsealed while a page of it is on its way. */
static void test_unsealed_meanwhile(void **state) {
    assign("a", "pair");
    fixture.hold = true;
    fixture_store(&fixture, false, false);
    for (int i = 0; i < 10; i++) {
        char key[32];
        snprintf(key, sizeof key, "old-%d", i);
        stored_set(key, "pair");
    }
    fixture_store(&fixture, true, true);
    seal("a");
    held_next(SHARD_OP_LOAD_KEYS, false);
    seal(NULL);
    answer_slowly();
    fixture.hold = false;
    fixture_pass(&fixture, SECOND);
    assert_int_equal(fixture.record_count, 1);
}

static void test_a_stop_waits(void **state) {
    assign("a", "pair");
    fixture.hold = true;
    fixture_store(&fixture, false, false);
    fixture.record_count = 0;
    stored_set("b", "pair");
    fixture_store(&fixture, true, true);
    fixture_stop(&fixture);
    for (int i = 0; i < 100 && !fixture.stopped; i++) {
        if (fixture.held_count > 0) {
            fixture_answer(&fixture, SHARD_STORED_OK);
        } else {
            fixture_tick(&fixture);
        }
    }
    assert_true(fixture.stopped);
    assert_string_equal(stored_plan("a"), "pair");
    assert_string_equal(stored_plan("b"), "");
}

/* That the store was restarted is heard of when all have been told to stop already: slots that have
 * no assignments look for those that are back all the same. */
static void test_a_stop_before_the_store_is_back(void **state) {
    fixture_store(&fixture, false, false);
    stored_set("b", "pair");
    fixture_take(&fixture, "a", 1, NULL); /* to be written: else there is nothing to wait for */
    fixture_stop(&fixture);
    assert_false(fixture.stopped);
    fixture_store(&fixture, true, true);
    for (int i = 0; i < 100 && !fixture.stopped; i++) {
        fixture_tick(&fixture);
    }
    assert_true(fixture.stopped);
    assert_string_equal(stored_plan("b"), "");
}

/* Its assignments have been read, its buckets not yet. */
static void test_read_before_the_restart(void **state) {
    struct record record = {.plan = bytes_of_text("default"), .generation = 1, .tat_count = 1};
    char key[32];
    record.tats[0].ns = fixture.now_ns + 2 * SECOND;
    assign("a", "pair");
    for (int i = 0; i < 20; i++) {
        snprintf(key, sizeof key, "key-%d", i);
        fixture_put_record(&fixture, key, &record);
    }
    fixture_own(&fixture, (struct slot){0}, false);
    fixture.hold = true;
    fixture_own(&fixture, (struct slot){0}, true);
    held_next(SHARD_OP_LOAD_BUCKETS, false);
    fixture_store(&fixture, false, false);
    fixture_forget_assignment(&fixture, "a");
    stored_set("b", "pair"); /* its former owner had cleared it */
    fixture_store(&fixture, true, true);
    answer_slowly();
    fixture.hold = false;
    fixture_pass(&fixture, SECOND);
    assert_string_equal(stored_plan("a"), "pair");
    assert_string_equal(stored_plan("b"), "");
    assert_string_equal(shown_plan("a"), "pair");
    assert_string_equal(shown_plan("b"), "");
}

/* What nobody of us wrote is not written again, but stays where it is. */
static void test_a_name_that_is_none(void **state) {
    stored_set("a", "no name!");
    assign("b", "pair");
    fixture_crash(&fixture);
    assert_int_equal(fixture_take(&fixture, "a", 1, NULL).reason, REASON_ASSIGNED_PLAN_GONE);
    restart();
    fixture_pass(&fixture, SECOND);
    assert_string_equal(stored_plan("a"), "no name!");
    assert_string_equal(stored_plan("b"), "pair");
}

/* Takes that wait for their mark do not wait until all assignments are through. */
static void test_takes_go_in_between(void **state) {
    char key[32];
    struct fixture_plan plans[] = {{"default", 1, {{10, SECOND, 20}}},
                                   {"strict", 1, {{10, SECOND, 20}}}};
    fixture_plans(&fixture, plans, 2);
    for (int i = 0; i < 2000; i++) {
        snprintf(key, sizeof key, "key-%d", i);
        assert_int_equal(assign(key, "strict"), REASON_NONE);
    }
    fixture.hold = true;
    restart_empty();
    held_next(SHARD_OP_WRITE, true);
    fixture_take(&fixture, "key-1", 1, NULL);
    assert_int_equal(fixture.update.held_count, 1);
    assert_int_equal(fixture.held_count, 1);
    fixture_answer(&fixture, SHARD_STORED_OK);
    held_next(SHARD_OP_WRITE, false);
    assert_int_equal(fixture.held[0].entry_count, 1);
    fixture_answer(&fixture, SHARD_STORED_OK);
    assert_int_equal(fixture.update.release_count, 1);
    assert_true(fixture.record_count < 1000);
    answer_slowly();
    assert_int_equal(fixture.record_count, 2001);
}

#define TEST(name, open) cmocka_unit_test_setup_teardown(name, open, close_any)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_lost_ones_are_written_again, open_usual),
        TEST(test_what_is_back_is_taken_away, open_usual),
        TEST(test_assigned_meanwhile, open_one_slot),
        TEST(test_in_doubt, open_usual),
        TEST(test_in_doubt_where_one_is_back, open_one_slot),
        TEST(test_a_failed_write_is_made_again, open_usual),
        TEST(test_a_newer_owner, open_usual),
        TEST(test_sealed_before_and_after, open_one_slot),
        TEST(test_unsealed_meanwhile, open_one_slot),
        TEST(test_a_stop_waits, open_usual),
        TEST(test_a_stop_before_the_store_is_back, open_usual),
        TEST(test_read_before_the_restart, open_one_slot),
        TEST(test_a_name_that_is_none, open_usual),
        TEST(test_takes_go_in_between, open_one_slot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
