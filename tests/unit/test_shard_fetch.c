/* Keys on demand: a slot that is still being read answers all the same. */
#include "tests/unit/cmocka_all.h"
#include "tests/unit/shard_fixture.h"

#define HOUR (3600 * SECOND)
#define KEYS 60

static struct fixture fixture;

static const struct fixture_plan plans[] = {{"default", 1, {{1, HOUR, 20}}},
                                            {"strict", 1, {{1, HOUR, 20}}},
                                            {"strict-wide", 1, {{1, HOUR, 40}}},
                                            {"other", 1, {{1, HOUR, 1000}}}};

/* The newest results and errors that were released, by token. */
static struct {
    uint32_t results, held, granted, errors;
    struct take_result last;
    enum reason reason;
} told;

static void on_update(struct fixture *f, const struct shard_update *update) {
    for (uint32_t i = 0; i < update->release_count; i++) {
        const struct shard_release *release = &update->releases[i];
        told.results += release->kind == SHARD_RELEASE_RESULT;
        told.held += release->kind == SHARD_RELEASE_RESULT_HELD;
        told.granted += release->kind == SHARD_RELEASE_GRANTED;
        told.errors += release->kind == SHARD_RELEASE_REASON;
        if (release->result != NULL) {
            told.last = *release->result;
        }
        told.reason = release->reason;
    }
}

static const struct shard_counters *counters(void) {
    return shard_counters(fixture.shard);
}

/* One slot with many records, fenced, and its first page asked for: "key-59" comes last. */
static int open_loading(void **state) {
    fixture_open_bare(&fixture, &(struct fixture_options){.slot_count = 1});
    memset(&told, 0, sizeof told);
    char key[32];
    for (uint32_t i = 0; i < KEYS; i++) {
        snprintf(key, sizeof key, "key-%u", i);
        struct record record = {.plan = bytes_of_text("default"), .generation = 1, .tat_count = 1};
        record.tats[0] = (struct tat){.ns = fixture.now_ns + 5 * HOUR};
        fixture_put_record(&fixture, key, &record);
    }
    fixture_put(&fixture, bytes_of_text("key-58"), bytes_of_text("other"), true);
    fixture.on_update = on_update;
    fixture.hold = true;
    fixture_plans(&fixture, plans, sizeof plans / sizeof plans[0]);
    fixture_store(&fixture, true, false);
    fixture_own_all(&fixture);
    fixture_answer(&fixture, SHARD_STORED_OK);
    assert_int_equal(fixture.held_count, 1);
    assert_int_equal(fixture.held[0].kind, SHARD_OP_LOAD_KEYS);
    return 0;
}

static int close_any(void **state) {
    fixture_close(&fixture);
    return 0;
}

/* The operation at the end of the queue. */
static const struct held_op *newest(void) {
    return &fixture.held[fixture.held_count - 1];
}

static void ask(const char *key, uint64_t cost, const char *plan) {
    struct take_result result = fixture_take(&fixture, key, cost, plan);
    assert_int_equal(result.reason, REASON_NONE);
    assert_int_equal(fixture.update.held_count, 1);
}

/* The store answers the newest operation out of turn. */
static void answer_newest(enum shard_stored_status status) {
    struct held_op op = *newest();
    memmove(fixture.held + 1, fixture.held, (fixture.held_count - 1) * sizeof op);
    fixture.held[0] = op;
    fixture_answer(&fixture, status);
}

static void test_a_key_is_read_when_it_is_asked_for(void **state) {
    ask("key-59", 1, NULL);
    assert_int_equal(newest()->kind, SHARD_OP_FETCH);
    ask("key-59", 2, NULL); /* waits with the first one */
    assert_int_equal(fixture.held_count, 2);
    answer_newest(SHARD_STORED_OK);
    assert_int_equal(told.results, 2);
    assert_true(told.last.allowed);
    assert_int_equal(told.last.remaining_tokens, 12);
    /* Known now. */
    assert_int_equal(fixture_take(&fixture, "key-59", 1, NULL).remaining_tokens, 11);
    assert_int_equal(fixture.update.held_count, 0);
    assert_int_equal(counters()->slots_serving, 0);
    fixture.hold = false;
    fixture_answer_all(&fixture);
    assert_int_equal(counters()->slots_serving, 1);
    /* The page that brought its old record did not put it back. */
    assert_int_equal(fixture_take(&fixture, "key-59", 1, NULL).remaining_tokens, 10);
    assert_int_equal(counters()->buckets, KEYS);
}

static void test_a_key_that_is_not_stored(void **state) {
    ask("nobody", 3, NULL);
    answer_newest(SHARD_STORED_OK);
    assert_int_equal(told.results, 1);
    assert_int_equal(told.last.remaining_tokens, 17);
}

static void test_the_assignment_comes_with_it(void **state) {
    ask("key-58", 1, NULL);
    answer_newest(SHARD_STORED_OK);
    assert_int_equal(told.last.limit_tokens, 1000);
    assert_int_equal(told.last.remaining_tokens, 994);
}

static void test_strict_waits_for_its_mark_as_well(void **state) {
    ask("key-59", 1, "strict");
    answer_newest(SHARD_STORED_OK);
    assert_int_equal(told.held, 1);
    assert_int_equal(told.last.remaining_tokens, 14);
    assert_int_equal(told.granted, 0);
    /* The page under way is answered; then the mark goes before the next page. */
    fixture_answer(&fixture, SHARD_STORED_OK);
    assert_int_equal(newest()->kind, SHARD_OP_WRITE);
    fixture_answer(&fixture, SHARD_STORED_OK);
    assert_int_equal(told.granted, 1);
    assert_int_equal(newest()->kind, SHARD_OP_LOAD_BUCKETS);
}

static void test_writes_and_pages_take_turns(void **state) {
    uint32_t pages = 0, writes = 0;
    for (uint32_t i = 0; i < 300 && counters()->slots_serving == 0; i++) {
        char key[32];
        snprintf(key, sizeof key, "new-%u", i);
        fixture_take(&fixture, key, 1, "strict");
        if (newest()->kind == SHARD_OP_FETCH) {
            answer_newest(SHARD_STORED_OK);
        }
        pages += fixture.held[0].kind == SHARD_OP_LOAD_BUCKETS;
        writes += fixture.held[0].kind == SHARD_OP_WRITE;
        fixture_answer(&fixture, SHARD_STORED_OK);
    }
    assert_int_equal(counters()->slots_serving, 1); /* however many takes come */
    assert_true(writes >= pages - 1);
}

static void test_an_answer_that_does_not_come(void **state) {
    ask("key-59", 1, NULL);
    answer_newest(SHARD_STORED_FAILED);
    assert_int_equal(told.errors, 1);
    assert_int_equal(told.reason, REASON_STORE_AWAY);
    ask("key-59", 1, NULL);
    fixture_store(&fixture, false, false);
    assert_int_equal(told.errors, 2);
    assert_int_equal(fixture_take(&fixture, "key-59", 1, NULL).reason, REASON_LOADING);
    fixture.hold = false;
    fixture_store(&fixture, true, false);
    fixture_pass(&fixture, SECOND);
    assert_int_equal(fixture_take(&fixture, "key-59", 1, NULL).remaining_tokens, 14);
}

static void test_the_slot_goes_before_the_answer(void **state) {
    ask("key-59", 1, NULL);
    fixture_own(&fixture, fixture_slot(&fixture, "a"), false);
    assert_int_equal(told.errors, 1);
    assert_int_equal(told.reason, REASON_NOT_OWNER);
    fixture_answer_all(&fixture);
    assert_int_equal(counters()->buckets, 0);
    assert_int_equal(told.errors + told.results, 1);
}

/* What was decided before the slot was read to its end is written all the same. */
static void test_given_away_while_it_is_read(void **state) {
    ask("key-59", 4, NULL);
    answer_newest(SHARD_STORED_OK);
    fixture_own(&fixture, fixture_slot(&fixture, "a"), false);
    fixture.hold = false;
    fixture_answer_all(&fixture);
    fixture_pass(&fixture, SECOND);
    assert_int_equal(counters()->buckets, 0);
    fixture_own_all(&fixture);
    assert_int_equal(fixture_verb(&fixture, VERB_PEEK, "key-59", 0, NULL).remaining_tokens, 11);
}

/* A page has failed, and the next is asked for in a while: a take that waits for its mark does not
 * keep the slot from being given away meanwhile. */
static void test_given_away_between_two_pages(void **state) {
    ask("key-59", 4, "strict");
    answer_newest(SHARD_STORED_OK);
    assert_int_equal(told.held, 1);
    fixture_answer(&fixture, SHARD_STORED_FAILED);
    fixture_own(&fixture, fixture_slot(&fixture, "a"), false);
    fixture.hold = false;
    fixture_answer_all(&fixture);
    fixture_pass(&fixture, SECOND);
    assert_int_equal(told.granted, 1);
    assert_int_equal(counters()->buckets, 0);
    assert_int_equal(counters()->held, 0);
    fixture_own_all(&fixture);
    fixture_answer_all(&fixture);
    assert_int_equal(counters()->slots_serving, 1);
    assert_int_equal(fixture_verb(&fixture, VERB_PEEK, "key-59", 0, "strict").remaining_tokens, 11);
}

static void test_stopped_while_it_is_read(void **state) {
    ask("key-59", 4, NULL);
    answer_newest(SHARD_STORED_OK);
    ask("key-57", 4, NULL);
    fixture.hold = false;
    fixture_stop(&fixture);
    assert_int_equal(told.reason, REASON_STOPPING);
    fixture_answer_all(&fixture);
    assert_true(fixture.stopped);
    fixture_crash(&fixture);
    assert_int_equal(fixture_verb(&fixture, VERB_PEEK, "key-59", 0, NULL).remaining_tokens, 11);
}

static void seal_all(void) {
    uint8_t all[SLOTS_MAX / 8];
    memset(all, 0xff, sizeof all);
    fixture_seal(&fixture, all, false);
}

/* Hours until the stored bucket is full: what a next owner reads. */
static uint64_t stored_hours(const char *key) {
    const struct stored *stored = fixture_stored(&fixture, key, false);
    struct record record;
    struct fault fault;
    assert_non_null(stored);
    assert_int_equal(record_read(bytes_of(stored->value, stored->value_size), &record, &fault),
                     CODE_OK);
    return (record.tats[0].ns - fixture.now_ns + HOUR - 1) / HOUR;
}

static void test_sealed_while_it_is_read(void **state) {
    ask("key-59", 4, NULL);
    answer_newest(SHARD_STORED_OK);
    seal_all();
    assert_int_equal(fixture_take(&fixture, "key-57", 1, NULL).reason, REASON_LOADING);
    assert_int_equal(fixture_take(&fixture, "key-59", 1, NULL).reason, REASON_LOADING);
    fixture.hold = false;
    fixture_answer_all(&fixture);
    fixture_pass(&fixture, SECOND);
    assert_true(fixture.update.sealed);
    assert_int_equal(stored_hours("key-59"), 9);
}

/* It need not be read to the end before it is given away, but what it has granted meanwhile has to
 * be in the store: with the next write, and not with the next snapshot. */
static void test_given_away_while_it_is_read_but_not_unwritten(void **state) {
    ask("key-59", 4, NULL);
    answer_newest(SHARD_STORED_OK);
    seal_all();
    assert_false(fixture.update.sealed);
    fixture_answer(&fixture, SHARD_STORED_OK); /* a page */
    assert_false(fixture.update.sealed);
    assert_int_equal(newest()->kind, SHARD_OP_WRITE);
    fixture_answer(&fixture, SHARD_STORED_OK);
    assert_true(fixture.update.sealed);
    assert_int_equal(stored_hours("key-59"), 9);
    assert_int_equal(counters()->slots_serving + counters()->slots_sealed, 0);
    fixture.fences[0]++;
    fixture_own(&fixture, fixture_slot(&fixture, "a"), false);
    fixture.hold = false;
    fixture_answer_all(&fixture);
    fixture_pass(&fixture, SECOND);
    assert_int_equal(counters()->writes_fenced, 0);
    assert_int_equal(stored_hours("key-59"), 9);
}

static void test_a_failed_write_is_made_again_before_it_is_given_away(void **state) {
    ask("key-59", 4, NULL);
    answer_newest(SHARD_STORED_OK);
    seal_all();
    fixture_answer(&fixture, SHARD_STORED_OK);
    assert_int_equal(newest()->kind, SHARD_OP_WRITE);
    fixture_answer(&fixture, SHARD_STORED_FAILED);
    for (uint32_t i = 0; i < 20 && !fixture.update.sealed; i++) {
        assert_true(stored_hours("key-59") == 5);
        fixture_pass(&fixture, 20 * MS);
        if (fixture.held_count > 0) {
            fixture_answer(&fixture, SHARD_STORED_OK);
        }
    }
    assert_true(fixture.update.sealed);
    assert_int_equal(stored_hours("key-59"), 9);
}

/* What a strict key's record is ahead of its bucket would be lost with it. */
static void test_a_mark_is_taken_back_before_it_is_given_away(void **state) {
    uint64_t spent = 0;
    do {
        assert_int_equal(fixture_take(&fixture, "nobody", 1, "strict-wide").reason, REASON_NONE);
        for (uint32_t i = 0; i < 3 && told.granted == spent; i++) {
            answer_newest(SHARD_STORED_OK); /* the key, a page, its record: as they come */
        }
        spent++;
        assert_int_equal(told.granted, spent);
        fixture_pass(&fixture, 5 * MS);
    } while (spent < 15 && stored_hours("nobody") == spent);
    assert_true(stored_hours("nobody") > spent);
    assert_int_equal(counters()->slots_serving, 0);
    seal_all();
    assert_false(fixture.update.sealed);
    for (uint32_t i = 0; i < 3 && !fixture.update.sealed; i++) {
        fixture_answer(&fixture, SHARD_STORED_OK);
    }
    assert_true(fixture.update.sealed);
    assert_int_equal(counters()->slots_serving + counters()->slots_sealed, 0);
    assert_int_equal(stored_hours("nobody"), spent);
}

/* A page is known by a cursor that the server gave, and another server knows nothing of it: it
 * would leave records out. So does a server that went away while a write was under way. */
static void test_pages_begin_anew_on_another_server(void **state) {
    fixture_answer(&fixture, SHARD_STORED_OK);
    assert_int_equal(newest()->kind, SHARD_OP_LOAD_BUCKETS);
    ask("key-59", 1, "strict");
    answer_newest(SHARD_STORED_OK);
    fixture_answer(&fixture, SHARD_STORED_OK); /* the first page, with a cursor for the next */
    assert_int_equal(newest()->kind, SHARD_OP_WRITE);
    fixture_store(&fixture, false, false);
    fixture_store(&fixture, true, true);
    for (uint32_t i = 0; i < 20; i++) {
        if (fixture.held_count > 0 && newest()->kind == SHARD_OP_LOAD_BUCKETS) {
            break;
        }
        fixture_pass(&fixture, 200 * MS);
        if (fixture.held_count > 0 && newest()->kind != SHARD_OP_LOAD_BUCKETS) {
            fixture_answer(&fixture, SHARD_STORED_OK);
        }
    }
    assert_int_equal(newest()->kind, SHARD_OP_LOAD_BUCKETS);
    assert_int_equal(newest()->cursor, 0);
}

static void test_keys_on_demand_are_bounded(void **state) {
    char key[32];
    for (uint32_t i = 0; i < SHARD_FETCHES_MAX; i++) {
        snprintf(key, sizeof key, "new-%u", i);
        ask(key, 1, NULL);
    }
    assert_int_equal(fixture_take(&fixture, "one more", 1, NULL).reason, REASON_LOADING);
    for (uint32_t i = 0; i < SHARD_ASKERS_MAX - SHARD_FETCHES_MAX; i++) {
        ask("new-7", 1, NULL);
    }
    assert_int_equal(fixture_take(&fixture, "new-7", 1, NULL).reason, REASON_LOADING);
    fixture.hold = false;
    for (uint32_t i = 0; i < 100 && fixture.held_count > 0; i++) {
        fixture_answer_all(&fixture);
        fixture_tick(&fixture);
    }
    assert_int_equal(told.results, SHARD_ASKERS_MAX);
    assert_int_equal(counters()->slots_serving, 1);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_loading, close_any)
    const struct CMUnitTest tests[] = {
        TEST(test_a_key_is_read_when_it_is_asked_for),
        TEST(test_a_key_that_is_not_stored),
        TEST(test_the_assignment_comes_with_it),
        TEST(test_strict_waits_for_its_mark_as_well),
        TEST(test_writes_and_pages_take_turns),
        TEST(test_an_answer_that_does_not_come),
        TEST(test_the_slot_goes_before_the_answer),
        TEST(test_given_away_while_it_is_read),
        TEST(test_given_away_between_two_pages),
        TEST(test_stopped_while_it_is_read),
        TEST(test_sealed_while_it_is_read),
        TEST(test_given_away_while_it_is_read_but_not_unwritten),
        TEST(test_a_failed_write_is_made_again_before_it_is_given_away),
        TEST(test_a_mark_is_taken_back_before_it_is_given_away),
        TEST(test_keys_on_demand_are_bounded),
        TEST(test_pages_begin_anew_on_another_server),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
