/* What is at its bound, comes at the wrong moment, or was written by nobody of us. */
#include "tests/unit/cmocka_all.h"

#include <stdlib.h>

#include "tests/unit/shard_fixture.h"

#define HOUR (3600 * SECOND)

static struct fixture fixture;

static const struct fixture_plan one[] = {{"default", 1, {{1, HOUR, 20}}}};

static struct {
    uint32_t results, errors;
    enum reason reason;
} told;

static void on_update(struct fixture *f, const struct shard_update *update) {
    for (uint32_t i = 0; i < update->release_count; i++) {
        bool error = update->releases[i].kind == SHARD_RELEASE_REASON;
        told.results += !error;
        told.errors += error;
        told.reason = error ? update->releases[i].reason : told.reason;
    }
}

static int close_any(void **state) {
    fixture_close(&fixture);
    return 0;
}

static int open_usual(void **state) {
    fixture_open(&fixture, NULL);
    return 0;
}

/* One slot that is fenced and asks for its first page, which is not answered. */
static int open_loading(void **state) {
    fixture_open_bare(&fixture, &(struct fixture_options){.slot_count = 1});
    memset(&told, 0, sizeof told);
    fixture.on_update = on_update;
    fixture.hold = true;
    fixture_plans(&fixture, one, 1);
    fixture_store(&fixture, true, false);
    fixture_own_all(&fixture);
    fixture_answer(&fixture, SHARD_STORED_OK);
    return 0;
}

static const struct shard_counters *counters(void) {
    return shard_counters(fixture.shard);
}

/* The first operation of that kind that has no answer yet, or -1. */
static int32_t held_find(enum shard_op_kind kind) {
    for (uint32_t i = 0; i < fixture.held_count; i++) {
        if (fixture.held[i].kind == kind) {
            return (int32_t)i;
        }
    }
    return -1;
}

/* Inline limits that are all different, until the shard knows no more. */
static uint32_t inline_fill(void) {
    char key[32];
    for (uint32_t i = 0; i < SHARD_TERMS_MAX + 10; i++) {
        snprintf(key, sizeof key, "inline-%u", i);
        struct limit limit = {1, HOUR, 20 + i};
        if (fixture_inline(&fixture, key, 1, limit).reason == REASON_TERMS_FULL) {
            return i;
        }
    }
    fail_msg("there was always room");
    return 0;
}

/* Records of plans that nobody knows any more, each its own. */
static void names_fill(void) {
    char key[32];
    for (uint32_t i = 0; i < SHARD_TERMS_MAX / 2; i++) {
        snprintf(key, sizeof key, "name-%u", i);
        struct record record = {.plan = bytes_of_text(key), .generation = 1, .tat_count = 1};
        record.tats[0].ns = fixture.now_ns + HOUR;
        fixture_put_record(&fixture, key, &record);
    }
    fixture_crash(&fixture);
    fixture_pass(&fixture, SECOND);
}

static void test_more_terms_than_there_is_room_for(void **state) {
    const struct fixture_plan more[] = {{"default", 1, {{10, SECOND, 20}}},
                                        {"pair", 2, {{10, SECOND, 20}, {100, 60 * SECOND, 100}}},
                                        {"extra", 1, {{5, SECOND, 20}}}};
    struct record record = {.is_inline = true, .limit = {3, HOUR, 7}, .tat_count = 1};
    names_fill();
    assert_in_range(inline_fill(), SHARD_TERMS_MAX / 2 - 10, SHARD_TERMS_MAX / 2);
    fixture_plans(&fixture, more, 3);
    assert_int_equal(fixture_take(&fixture, "c", 1, "extra").reason, REASON_TERMS_FULL);
    fixture_admin(&fixture, SHARD_ADMIN_ASSIGN, "b", "extra");
    assert_int_equal(fixture_reply(&fixture).reason, REASON_TERMS_FULL);
    /* A record under terms that find no room is refused, not made up. */
    fixture_own(&fixture, fixture_slot(&fixture, "d"), false);
    fixture_pass(&fixture, SECOND);
    record.tats[0].ns = fixture.now_ns + HOUR;
    fixture_put_record(&fixture, "d", &record);
    inline_fill();
    fixture_own_all(&fixture);
    fixture_pass(&fixture, SECOND);
    assert_true(counters()->records_unreadable > 0);
    assert_false(fixture_take(&fixture, "d", 1, NULL).allowed);
}

static void test_records_of_nobody_we_know(void **state) {
    char key[32];
    static const uint8_t none[1] = {0};
    struct slot slot = fixture_slot(&fixture, "a");
    fixture_own(&fixture, slot, false);
    fixture_pass(&fixture, SECOND);
    uint32_t of_slot = 0;
    for (uint32_t i = 0; of_slot < 2 * SHARD_NOTICES_MAX; i++) {
        snprintf(key, sizeof key, "bad-%u", i);
        if (fixture_slot(&fixture, key).index == slot.index) {
            fixture_put(&fixture, bytes_of_text(key), bytes_of_text("?"), false);
            of_slot++;
        }
    }
    fixture_own_all(&fixture);
    fixture_pass(&fixture, SECOND);
    assert_int_equal(counters()->records_unreadable, of_slot);
    assert_in_range(fixture.notices[SHARD_NOTICE_UNREADABLE], 1, of_slot);
    /* They stay where they are when a restarted store is read again, as do keys of no size. */
    uint32_t before = fixture_records(&fixture);
    struct shard_event event = {.kind = SHARD_EVENT_STORE, .now_ns = fixture.now_ns};
    event.store.up = false;
    fixture.hold = true;
    fixture_step(&fixture, &event);
    event.store.up = event.store.restarted = true;
    fixture_step(&fixture, &event);
    for (uint32_t i = 0; i < 40 && fixture.held_count > 0; i++) {
        int32_t page = held_find(SHARD_OP_LOAD_BUCKETS);
        if (page < 0) {
            fixture_answer(&fixture, SHARD_STORED_OK);
            fixture_tick(&fixture);
            continue;
        }
        struct shard_stored_pair pairs[] = {{bytes_of(none, 0), bytes_of_text("?")},
                                            {bytes_of_text("odd"), bytes_of_text("?")}};
        struct held_op op = fixture.held[page];
        fixture.held_count--;
        memmove(fixture.held + page, fixture.held + page + 1,
                (fixture.held_count - (uint32_t)page) * sizeof op);
        struct shard_event stored = {.kind = SHARD_EVENT_STORED, .now_ns = fixture.now_ns};
        stored.stored.op_kind = (uint8_t)op.kind;
        stored.stored.slot = op.slot;
        stored.stored.op_id = op.op_id;
        stored.stored.status = SHARD_STORED_OK;
        stored.stored.pairs = pairs;
        stored.stored.pair_count = 2;
        fixture_step(&fixture, &stored);
    }
    fixture.hold = false;
    fixture_pass(&fixture, SECOND);
    assert_int_equal(fixture_records(&fixture), before);
    assert_int_equal(counters()->buckets, of_slot);
}

/* More keys in one event than operations in one update: the rest is asked for in the next. */
static void test_more_keys_than_operations(void **state) {
    static struct shard_item items[SHARD_UPDATE_OPS_MAX + 100];
    static char keys[SHARD_UPDATE_OPS_MAX + 100][24];
    uint32_t count = SHARD_UPDATE_OPS_MAX + 100;
    for (uint32_t i = 0; i < count; i++) {
        snprintf(keys[i], sizeof keys[i], "new-%u", i);
        items[i] = (struct shard_item){.token = i + 1,
                                       .take = {.key = bytes_of_text(keys[i]), .cost_tokens = 1}};
    }
    struct shard_event event = {.kind = SHARD_EVENT_TAKES, .now_ns = fixture.now_ns};
    event.takes.items = items;
    event.takes.count = count;
    fixture_step(&fixture, &event);
    assert_int_equal(fixture.update.op_count, SHARD_UPDATE_OPS_MAX);
    assert_true(fixture.update.wake_at_ns <= fixture.now_ns); /* at once */
    /* The slot goes: what was asked for and what was not are answered alike. */
    fixture_own(&fixture, (struct slot){0}, false);
    assert_int_equal(told.errors, count);
    assert_int_equal(told.reason, REASON_NOT_OWNER);
    fixture.hold = false;
    fixture_answer_all(&fixture);
    assert_int_equal(told.errors + told.results, count);
}

static void test_operators_wait_for_the_whole_slot(void **state) {
    fixture_admin(&fixture, SHARD_ADMIN_RESET, "a", NULL);
    assert_int_equal(fixture_reply(&fixture).reason, REASON_LOADING);
    fixture.hold = false;
    fixture_answer_all(&fixture);
    fixture_admin(&fixture, SHARD_ADMIN_RESET, "a", NULL);
    assert_int_equal(fixture_reply(&fixture).reason, REASON_NONE);
}

/* A store that answers a key's question with something else than the two that were asked for. */
static void test_a_fetch_is_answered_in_part(void **state) {
    fixture_take(&fixture, "a", 1, NULL);
    int32_t at = held_find(SHARD_OP_FETCH);
    assert_true(at >= 0);
    struct shard_event stored = {.kind = SHARD_EVENT_STORED, .now_ns = fixture.now_ns};
    stored.stored.op_kind = SHARD_OP_FETCH;
    stored.stored.slot = fixture.held[at].slot;
    stored.stored.op_id = fixture.held[at].op_id;
    stored.stored.status = SHARD_STORED_OK;
    stored.stored.pair_count = 1;
    fixture.held_count--;
    fixture_step(&fixture, &stored);
    assert_int_equal(told.errors, 1);
    assert_int_equal(told.reason, REASON_STORE_AWAY);
}

/* The link is gone, and nobody has said of the operations that they failed. */
static void test_the_store_goes_with_everything_outstanding(void **state) {
    fixture.hold = true;
    fixture_take(&fixture, "a", 20, NULL);
    fixture_pass(&fixture, 200 * MS);
    assert_int_equal(fixture.held_count, 1);
    fixture_admin(&fixture, SHARD_ADMIN_ASSIGN, "b", "pair");
    assert_int_equal(fixture.held_count, 2);
    struct shard_event event = {.kind = SHARD_EVENT_STORE, .now_ns = fixture.now_ns};
    event.store.up = false;
    fixture_step(&fixture, &event);
    assert_int_equal(fixture_reply(&fixture).reason, REASON_STORE_AWAY);
    while (fixture.held_count > 0) {
        fixture.held_count--;
        free(fixture.held[fixture.held_count].entries);
    }
    fixture.hold = false;
    event.store.up = true;
    fixture_step(&fixture, &event);
    fixture_pass(&fixture, SECOND);
    assert_int_equal(fixture_records(&fixture), 1); /* written again, under a raised fence */
    assert_int_equal(counters()->buckets_dirty, 0);
}

static void test_resets_are_bounded(void **state) {
    char key[32];
    for (uint32_t i = 0; i <= SHARD_ADMIN_PENDING_MAX; i++) {
        snprintf(key, sizeof key, "key-%u", i);
        fixture_take(&fixture, key, 20, NULL);
    }
    fixture_pass(&fixture, 200 * MS);
    fixture.hold = true;
    for (uint32_t i = 0; i < SHARD_ADMIN_PENDING_MAX; i++) {
        snprintf(key, sizeof key, "key-%u", i);
        fixture_admin(&fixture, SHARD_ADMIN_RESET, key, NULL);
    }
    assert_int_equal(fixture.reply_count, 0);
    snprintf(key, sizeof key, "key-%u", SHARD_ADMIN_PENDING_MAX);
    fixture_admin(&fixture, SHARD_ADMIN_RESET, key, NULL);
    assert_int_equal(fixture_reply(&fixture).reason, REASON_QUEUE_FULL);
    fixture.hold = false;
    fixture_answer_all(&fixture);
    assert_int_equal(fixture.reply_count, SHARD_ADMIN_PENDING_MAX);
}

/* A plan leaves the set; its buckets are put under a plan of more limits. */
static void test_a_plan_that_is_gone_and_one_of_more_limits(void **state) {
    const struct fixture_plan before[] = {{"default", 1, {{10, SECOND, 20}}},
                                          {"gone", 1, {{1, HOUR, 20}}}};
    const struct fixture_plan after[] = {{"default", 1, {{10, SECOND, 20}}},
                                         {"pair", 2, {{10, SECOND, 20}, {1, HOUR, 100}}}};
    fixture_plans(&fixture, before, 2);
    fixture_take(&fixture, "a", 5, "gone");
    fixture_pass(&fixture, 200 * MS);
    fixture_plans(&fixture, after, 2);
    fixture_crash(&fixture);
    /* Nor what a former owner may still grant of it. */
    assert_int_equal(fixture_take(&fixture, "a", 1, "pair").reason, REASON_FORMER_OWNER);
    fixture_pass(&fixture, SHARD_FORMER_NS);
    /* How many tokens were spent cannot be told any more: an empty bucket at most. */
    assert_false(fixture_take(&fixture, "a", 1, "pair").allowed);
    assert_int_equal(fixture_verb(&fixture, VERB_REFUND, "a", 1, "pair").remaining_tokens, 1);
    assert_int_equal(fixture_show(&fixture, "a").limit_count, 2);
}

int main(void) {
#define TEST(name, open) cmocka_unit_test_setup_teardown(name, open, close_any)
    const struct CMUnitTest tests[] = {
        TEST(test_more_terms_than_there_is_room_for, open_usual),
        TEST(test_records_of_nobody_we_know, open_usual),
        TEST(test_more_keys_than_operations, open_loading),
        TEST(test_operators_wait_for_the_whole_slot, open_loading),
        TEST(test_a_fetch_is_answered_in_part, open_loading),
        TEST(test_the_store_goes_with_everything_outstanding, open_usual),
        TEST(test_resets_are_bounded, open_usual),
        TEST(test_a_plan_that_is_gone_and_one_of_more_limits, open_usual),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
