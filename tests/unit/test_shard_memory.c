/* Memory ends in the middle of something: what is refused leaves nothing behind, what is held stays
 * exact, and all goes on when there is room again. */
#include "tests/unit/cmocka_all.h"

#include "server/core/arena.h"
#include "tests/unit/shard_fixture.h"

#define HOUR (3600 * SECOND)
#define KEYS_MAX 10000

static struct fixture fixture;

static const struct fixture_plan plans[] = {{"default", 1, {{1, HOUR, 20}}},
                                            {"other", 1, {{1, HOUR, 50}}}};

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

static void open_bare(const struct fixture_options *options) {
    fixture_open_bare(&fixture, options);
    memset(&told, 0, sizeof told);
    fixture.on_update = on_update;
    fixture_plans(&fixture, plans, 2);
}

static int open_one(void **state) {
    open_bare(&(struct fixture_options){.slot_count = 1});
    fixture_store(&fixture, true, false);
    fixture_own_all(&fixture);
    return 0;
}

static int close_any(void **state) {
    fixture_close(&fixture);
    return 0;
}

static const struct shard_counters *counters(void) {
    return shard_counters(fixture.shard);
}

static const char *key_of(uint32_t i) {
    static char key[32];
    snprintf(key, sizeof key, "key-%u", i);
    return key;
}

/* Not a piece more from now on; as much as is wanted. */
static void memory_ends(void) {
    fixture.heap_bytes_max = fixture.heap_bytes;
}
static void memory_is_back(void) {
    fixture.heap_bytes_max = UINT64_C(1) << 40;
}

static void go_on(void) {
    fixture.hold = false;
    fixture_answer_all(&fixture);
    fixture_pass(&fixture, SECOND);
}

static uint64_t left(const char *key) {
    return fixture_verb(&fixture, VERB_PEEK, key, 0, NULL).remaining_tokens;
}

/* All that the slot has is given back, what was refused too: but for one page, kept for later. */
static void nothing_is_left(void) {
    fixture_own(&fixture, (struct slot){0}, false);
    fixture_pass(&fixture, SECOND);
    assert_int_equal(counters()->slots_owned, 0);
    assert_true(counters()->memory_bytes <= ARENA_PAGE_BYTES);
}

/* --- new keys ------------------------------------------------------------------------------- */

/* Pages have room for another bucket, and the table has none for its reference. */
static void test_a_table_that_cannot_grow(void **state) {
    uint32_t count = 3;
    for (uint32_t i = 0; i < count; i++) {
        assert_true(fixture_take(&fixture, key_of(i), 1 + i, NULL).allowed);
    }
    memory_ends();
    while (count < KEYS_MAX && fixture_take(&fixture, key_of(count), 1, NULL).allowed) {
        count++;
    }
    assert_in_range(count, 4, KEYS_MAX - 1);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(fixture_take(&fixture, key_of(count), 1, NULL).reason, REASON_MEMORY_FULL);
        assert_int_equal(left(key_of(count)), 20);
        assert_int_equal(left(key_of(i)), 20 - 1 - i);
    }
    assert_int_equal(counters()->buckets, count);
    memory_is_back();
    assert_int_equal(fixture_take(&fixture, key_of(count), 1, NULL).remaining_tokens, 19);
    fixture_pass(&fixture, SECOND);
    assert_int_equal(fixture_records(&fixture), count + 1);
    nothing_is_left();
}

static void test_the_same_of_assignments(void **state) {
    uint32_t count = 0;
    enum reason reason = REASON_NONE;
    for (; count < KEYS_MAX && reason == REASON_NONE; count++) {
        fixture_admin(&fixture, SHARD_ADMIN_ASSIGN, key_of(count), "other");
        reason = fixture_reply(&fixture).reason;
        memory_ends();
    }
    assert_int_equal(reason, REASON_MEMORY_FULL);
    count--; /* the one that was refused */
    assert_true(count >= 2);
    assert_int_equal(counters()->assignments, count);
    assert_null(fixture_stored(&fixture, key_of(count), true)); /* refused before it was asked */
    memory_is_back();
    assert_int_equal(fixture_take(&fixture, key_of(0), 1, NULL).remaining_tokens, 49);
    assert_int_equal(fixture_take(&fixture, key_of(count), 1, NULL).remaining_tokens, 19);
    fixture_admin(&fixture, SHARD_ADMIN_ASSIGN, key_of(count), "other");
    assert_int_equal(fixture_reply(&fixture).reason, REASON_NONE);
    nothing_is_left();
}

/* --- keys on demand ------------------------------------------------------------------------- */

static struct record record_of(uint64_t spent_tokens) {
    struct record record = {.plan = bytes_of_text("default"), .generation = 1, .tat_count = 1};
    record.tats[0].ns = fixture.now_ns + spent_tokens * HOUR;
    return record;
}

/* One slot that is fenced, and whose first page is not answered. */
static int open_loading(void **state) {
    open_bare(&(struct fixture_options){.slot_count = 1});
    struct record record = record_of(5);
    fixture_put_record(&fixture, "plain", &record);
    fixture_put_record(&fixture, "assigned", &record);
    fixture_put(&fixture, bytes_of_text("assigned"), bytes_of_text("other"), true);
    fixture.hold = true;
    fixture_store(&fixture, true, false);
    fixture_own_all(&fixture);
    fixture_answer(&fixture, SHARD_STORED_OK);
    assert_int_equal(fixture.held[0].kind, SHARD_OP_LOAD_KEYS);
    return 0;
}

/* Asks for the key, and lets the store answer that alone. */
static void fetch(const char *key) {
    fixture_take(&fixture, key, 1, NULL);
    struct held_op op = fixture.held[fixture.held_count - 1];
    assert_int_equal(op.kind, SHARD_OP_FETCH);
    memmove(fixture.held + 1, fixture.held, (fixture.held_count - 1) * sizeof op);
    fixture.held[0] = op;
    fixture_answer(&fixture, SHARD_STORED_OK);
}

static void test_a_key_that_finds_no_room(void **state) {
    static const char *const keys[] = {"plain", "assigned", "nowhere"};
    memory_ends();
    for (uint32_t i = 0; i < 3; i++) {
        fetch(keys[i]);
        assert_int_equal(told.results + told.errors, i + 1);
    }
    assert_int_equal(told.errors, 2);
    assert_int_equal(told.results, 1); /* there was nothing to be kept, until it is taken from */
    assert_int_equal(told.last.reason, REASON_MEMORY_FULL);
    assert_int_equal(counters()->buckets + counters()->assignments, 0);
    memory_is_back();
    fetch("plain");
    assert_int_equal(told.last.remaining_tokens, 14);
    fetch("assigned");
    assert_int_equal(told.last.remaining_tokens, 50 - 5 - 1);
    go_on();
    assert_int_equal(left("plain"), 14);
    assert_int_equal(left("assigned"), 44);
}

/* --- what is there already ------------------------------------------------------------------ */

/* A plan gets a second limit, and no bucket the room for its second time. */
static void test_limits_change_without_room(void **state) {
    static const struct fixture_plan more[] = {{"default", 2, {{1, HOUR, 20}, {1, HOUR, 30}}},
                                               {"other", 1, {{1, HOUR, 50}}}};
    fixture_take(&fixture, "a", 5, NULL);
    fixture_take(&fixture, "b", 6, "other");
    fixture_pass(&fixture, SECOND);
    memory_ends();
    fixture_plans(&fixture, more, 2);
    fixture_pass(&fixture, 5 * SECOND);
    assert_int_equal(fixture_show(&fixture, "a").limit_count, 1);
    assert_int_equal(fixture_take(&fixture, "a", 1, NULL).reason, REASON_MEMORY_FULL);
    assert_int_equal(left("a"), 15); /* it is no secret what it would be */
    memory_is_back();
    fixture_pass(&fixture, 5 * SECOND);
    assert_int_equal(fixture_show(&fixture, "a").limit_count, 2);
    assert_int_equal(fixture_take(&fixture, "a", 1, NULL).remaining_tokens, 14);
    assert_int_equal(fixture_take(&fixture, "b", 1, "other").remaining_tokens, 43);
}

/* --- reading a slot ------------------------------------------------------------------------- */

/* As many as memory may hold have been read when it ends: the slot serves, and the rest is asked
 * for by key. */
static void test_it_ends_when_enough_has_been_read(void **state) {
    enum { RECORDS = 9, ENOUGH = 7 }; /* so many fit into the smallest table */
    open_bare(&(struct fixture_options){.slot_count = 1, .resident_max = ENOUGH});
    for (uint32_t i = 0; i < RECORDS; i++) {
        struct record record = record_of(1 + i);
        fixture_put_record(&fixture, key_of(i), &record);
    }
    fixture.hold = true;
    fixture_store(&fixture, true, false);
    fixture_own_all(&fixture);
    while (counters()->buckets < FIXTURE_PAGE) {
        fixture_answer(&fixture, SHARD_STORED_OK);
    }
    memory_ends();
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(counters()->slots_serving, 0);
        fixture_answer(&fixture, SHARD_STORED_OK);
    }
    assert_int_equal(counters()->buckets, ENOUGH);
    assert_int_equal(counters()->slots_serving, 1);
    assert_int_equal(counters()->slots_asleep, 1);
    memory_is_back();
    fixture.hold = false;
    for (uint32_t i = 0; i < RECORDS; i++) {
        uint32_t results = told.results;
        struct take_result result = fixture_take(&fixture, key_of(i), 1, NULL);
        result = told.results > results ? told.last : result;
        assert_int_equal(result.remaining_tokens, 20 - 1 - i - 1);
    }
    assert_int_equal(counters()->keys_fetched, RECORDS - ENOUGH);
}

int main(void) {
#define TEST(name, open) cmocka_unit_test_setup_teardown(name, open, close_any)
    const struct CMUnitTest tests[] = {
        TEST(test_a_table_that_cannot_grow, open_one),
        TEST(test_the_same_of_assignments, open_one),
        TEST(test_a_key_that_finds_no_room, open_loading),
        TEST(test_limits_change_without_room, open_one),
        TEST(test_it_ends_when_enough_has_been_read, NULL),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
