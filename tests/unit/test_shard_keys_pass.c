/* Assignments that are written again, a stretch of the slot's table at a time: tables of many
 * stretches, stretches with too much or nothing in them, tables that grow, memory that is full. */
#include "tests/unit/cmocka_all.h"
#include "tests/unit/shard_fixture.h"

/* Assignments that take a table of 8,192 positions: 32 stretches, twice what a turn passes over. */
#define MANY 3600

/* The first tag of the last stretch of it, and the first behind the first quarter of any. */
#define LAST_STRETCH UINT32_C(0xf8000000)
#define QUARTER UINT32_C(0x40000000)

static struct fixture fixture;

/* What the store took: writes of assignments, and the most entries of one. */
static struct { uint32_t writes, entries, removals, entries_max; } took;

static bool on_apply(struct fixture *of, const struct held_op *op) {
    if (op->kind == SHARD_OP_WRITE && op->assignments) {
        took.writes++;
        took.entries += op->entry_count;
        for (uint32_t i = 0; i < op->entry_count; i++) {
            took.removals += op->entries[i].remove;
        }
        took.entries_max = op->entry_count > took.entries_max ? op->entry_count : took.entries_max;
    }
    return true;
}

static int open_one_slot(void **state) {
    fixture_open(&fixture, &(struct fixture_options){.slot_count = 1});
    fixture.apply = on_apply;
    memset(&took, 0, sizeof took);
    return 0;
}

static int open_small(void **state) {
    fixture_open(&fixture,
                 &(struct fixture_options){.slot_count = 1, .memory_bytes_max = 4u << 20});
    return 0;
}

static int close_any(void **state) {
    fixture_close(&fixture);
    return 0;
}

struct key {
    char text[KEY_BYTES_MAX + 1];
};

/* The next key that was not given yet with from <= tag <= to. */
static struct key key_between(uint32_t from, uint32_t to) {
    static uint32_t number;
    struct key key;
    uint32_t tag;
    do {
        snprintf(key.text, sizeof key.text, "key-%u", number++);
        tag = (uint32_t)(key_hash(bytes_of_text(key.text)) >> 32);
    } while (tag < from || tag > to);
    return key;
}

static enum reason assign(const char *key, const char *plan) {
    fixture_admin(&fixture, SHARD_ADMIN_ASSIGN, key, plan);
    return fixture_reply(&fixture).reason;
}

static void assign_many(uint32_t count, uint32_t from, uint32_t to) {
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(assign(key_between(from, to).text, "pair"), REASON_NONE);
    }
}

static bool is_stored(const char *key, const char *plan) {
    const struct stored *stored = fixture_stored(&fixture, key, true);
    return stored == NULL ? plan == NULL
                          : plan != NULL && bytes_equal(bytes_of(stored->value, stored->value_size),
                                                        bytes_of_text(plan));
}

static void stored_set(const char *key, const char *plan) {
    fixture_put(&fixture, bytes_of_text(key), bytes_of_text(plan), true);
}

static void at_rest(void) {
    uint64_t writes = fixture.write_count;
    assert_true(fixture_pass(&fixture, 100 * SECOND) <= 101);
    assert_int_equal(fixture.write_count, writes);
}

/* Of keys that were made to stand together a stretch has more than a write may hold: so many are
 * written, and the pass goes on behind them. */
static void test_a_crowded_stretch(void **state) {
    struct key last = key_between(LAST_STRETCH, UINT32_MAX);
    assign_many(SHARD_WRITE_ENTRIES_MAX + 88, 0, QUARTER - 1);
    assert_int_equal(assign(last.text, "default"), REASON_NONE);
    fixture_store(&fixture, false, false);
    fixture.record_count = 0;
    fixture_store(&fixture, true, true);
    fixture_pass(&fixture, SECOND);
    assert_int_equal(took.entries_max, SHARD_WRITE_ENTRIES_MAX);
    assert_int_equal(took.entries, SHARD_WRITE_ENTRIES_MAX + 1);
    assert_int_equal(fixture.record_count, SHARD_WRITE_ENTRIES_MAX + 1);
    assert_true(is_stored(last.text, "default"));
    assert_int_equal(shard_counters(fixture.shard)->assignments, SHARD_WRITE_ENTRIES_MAX + 89);
    at_rest();
}

/* What is back is found when all others have been written again: then only that is written, and
 * stretches without any are passed over. */
static void test_only_what_is_back(void **state) {
    struct key back[8];
    assign_many(MANY, 0, UINT32_MAX);
    fixture_store(&fixture, false, false);
    for (uint32_t i = 0; i < 8; i++) { /* of three pages */
        back[i] = key_between(i % 2 == 0 ? LAST_STRETCH : 0, UINT32_MAX);
        stored_set(back[i].text, "pair");
    }
    fixture_store(&fixture, true, true);
    fixture_pass(&fixture, 5 * SECOND);
    for (uint32_t i = 0; i < 8; i++) {
        assert_true(is_stored(back[i].text, NULL));
    }
    assert_int_equal(fixture.record_count, MANY);
    assert_int_equal(took.removals, 8);
    assert_int_equal(took.entries, MANY + 8); /* each once */
    at_rest();
}

/* A turn that has only passed over stretches leaves nothing outstanding, and is not the end. */
static void test_a_stop_goes_through_empty_stretches(void **state) {
    struct key back = key_between(LAST_STRETCH, UINT32_MAX);
    assign_many(MANY, 0, UINT32_MAX);
    fixture_store(&fixture, false, false);
    stored_set(back.text, "pair");
    fixture.hold = true;
    fixture_store(&fixture, true, true);
    fixture_stop(&fixture);
    uint32_t idle = 0;
    for (int i = 0; i < 10000 && !fixture.stopped; i++) {
        if (fixture.held_count > 0) {
            fixture_answer(&fixture, SHARD_STORED_OK);
        } else {
            idle++;
            fixture_tick(&fixture);
        }
    }
    assert_true(fixture.stopped);
    assert_true(idle > 0);
    assert_true(is_stored(back.text, NULL));
    assert_int_equal(fixture.record_count, MANY);
}

/* The oldest operation that is held is to be a write of assignments: all before it are answered. */
static const struct held_op *write_next(void) {
    for (int i = 0; i < 1000; i++) {
        if (fixture.held_count == 0) {
            fixture_tick(&fixture);
        } else if (fixture.held[0].kind == SHARD_OP_WRITE && fixture.held[0].assignments) {
            return &fixture.held[0];
        } else {
            fixture_answer(&fixture, SHARD_STORED_OK);
        }
    }
    fail_msg("no assignments are written");
    return NULL;
}

static void answer_slowly(void) {
    for (int i = 0; i < 10000; i++) {
        fixture_tick(&fixture);
        if (fixture.held_count > 0) {
            fixture_answer(&fixture, SHARD_STORED_OK);
        }
    }
    assert_int_equal(fixture.held_count, 0);
}

/* An operator assigns what is being taken away: the assignment stays. */
static void test_assigned_while_it_is_taken_away(void **state) {
    assert_int_equal(assign("a", "pair"), REASON_NONE);
    fixture_store(&fixture, false, false);
    stored_set("b", "pair");
    fixture.hold = true;
    fixture_store(&fixture, true, true);
    while (!write_next()->entries[0].remove || fixture.held[0].entry_count != 1) {
        fixture_answer(&fixture, SHARD_STORED_OK);
    }
    fixture_admin(&fixture, SHARD_ADMIN_ASSIGN, "b", "default"); /* goes behind the removal */
    assert_int_equal(fixture.held_count, 2);
    fixture_answer(&fixture, SHARD_STORED_OK);
    assert_true(is_stored("b", NULL));
    answer_slowly();
    assert_int_equal(fixture_reply(&fixture).reason, REASON_NONE);
    assert_true(is_stored("a", "pair"));
    assert_true(is_stored("b", "default"));
    struct shard_key_info info = fixture_show(&fixture, "b");
    assert_true(info.assigned);
    assert_string_equal(info.plan.text, "default");
}

/* The table grows while a stretch of it is outstanding: that is as many of the new one's as stand
 * for the same tags, and no other is taken for written. */
static void test_grows_under_a_write(void **state) {
    struct key back[3];
    assign_many(891, 0, UINT32_MAX); /* of 1,024 positions, four stretches; 896 are too many */
    fixture_store(&fixture, false, false);
    for (uint32_t i = 0; i < 3; i++) { /* of one page; the last of them in the second stretch */
        back[i] = i < 2 ? key_between(QUARTER / 4 * 3 * i, QUARTER / 4 * (1 + 3 * i) - 1)
                        : key_between(QUARTER, 2 * QUARTER - 1);
        stored_set(back[i].text, "pair");
    }
    fixture.hold = true;
    fixture_store(&fixture, true, true);
    while (!write_next()->entries[0].remove) {
        fixture_answer(&fixture, SHARD_STORED_OK);
    }
    assert_int_equal(fixture.held[0].entry_count, 2); /* those of the first */
    for (uint32_t i = 0; i < 10; i++) { /* each waits for its answer, behind the write */
        fixture_admin(&fixture, SHARD_ADMIN_ASSIGN, key_between(0, UINT32_MAX).text, "default");
    }
    answer_slowly();
    assert_int_equal(fixture.reply_count, 10);
    fixture.reply_count = 0;
    fixture.hold = false;
    fixture_pass(&fixture, SECOND);
    /* Nothing stays in memory either: all that is written once more are assignments. */
    assert_int_equal(took.removals, 3);
    fixture_store(&fixture, false, false);
    fixture_store(&fixture, true, true);
    fixture_pass(&fixture, SECOND);
    assert_int_equal(took.removals, 3);
    for (uint32_t i = 0; i < 3; i++) {
        assert_true(is_stored(back[i].text, NULL));
        assert_false(fixture_show(&fixture, back[i].text).assigned);
    }
    assert_int_equal(fixture.record_count, shard_counters(fixture.shard)->assignments);
    at_rest();
}

/* Keys that nobody of us has written: they stay, and the one beside them is dealt with. */
static void test_keys_of_no_length_of_ours(void **state) {
    static const char bytes[KEY_BYTES_MAX + 1] = "";
    const struct shard_stored_pair pairs[] = {
        {.key = bytes_of("", 0), .value = bytes_of_text("pair")},
        {.key = bytes_of(bytes, sizeof bytes), .value = bytes_of_text("pair")},
        {.key = bytes_of_text("b"), .value = bytes_of_text("pair")},
    };
    assert_int_equal(assign("a", "pair"), REASON_NONE);
    fixture_store(&fixture, false, false);
    stored_set("b", "pair");
    fixture.hold = true;
    fixture_store(&fixture, true, true);
    while (fixture.held_count == 0 || fixture.held[0].kind != SHARD_OP_LOAD_KEYS) {
        if (fixture.held_count == 0) {
            fixture_tick(&fixture);
        } else {
            fixture_answer(&fixture, SHARD_STORED_OK);
        }
    }
    struct shard_event event = {.kind = SHARD_EVENT_STORED};
    event.stored.op_kind = SHARD_OP_LOAD_KEYS;
    event.stored.slot = fixture.held[0].slot;
    event.stored.op_id = fixture.held[0].op_id;
    event.stored.status = SHARD_STORED_OK;
    event.stored.pairs = pairs;
    event.stored.pair_count = 3;
    fixture.held_count--;
    memmove(fixture.held, fixture.held + 1, fixture.held_count * sizeof fixture.held[0]);
    fixture_step(&fixture, &event);
    answer_slowly();
    assert_int_equal(took.removals, 1);
    assert_int_equal(took.entries, 2); /* a again, and b, once */
    assert_true(is_stored("a", "pair"));
    assert_true(is_stored("b", NULL));
    assert_int_equal(shard_counters(fixture.shard)->assignments, 1);
}

static const char *long_key(uint32_t number) {
    static char text[KEY_BYTES_MAX + 1];
    int size = snprintf(text, sizeof text, "%u", number);
    memset(text + size, '.', (size_t)(KEY_BYTES_MAX - size));
    return text;
}

/* How many of the keys that are back the store still has. */
static uint32_t back_count(void) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < 4; i++) {
        count += is_stored(long_key(90000 + i), "pair");
    }
    return count;
}

/* There is room for one more: of a page that brings several back one is found and taken away, and
 * the others stay in the store until there is room for them. */
static void test_no_memory_for_what_is_back(void **state) {
    uint32_t count = 0;
    while (assign(long_key(count), "pair") == REASON_NONE) {
        count++;
        assert_true(count < 10000);
    }
    assert_true(count > 100);
    assert_int_equal(assign(long_key(0), NULL), REASON_NONE);
    fixture_store(&fixture, false, false);
    for (uint32_t i = 0; i < 4; i++) { /* of two pages */
        stored_set(long_key(90000 + i), "pair");
    }
    fixture_store(&fixture, true, true);
    fixture_pass(&fixture, 5 * SECOND);
    uint32_t back = back_count();
    assert_in_range(back, 1, 3);
    assert_int_equal(fixture.record_count, count - 1 + back);
    assert_int_equal(shard_counters(fixture.shard)->assignments, count - 1);
    for (uint32_t i = 1; i < 10; i++) {
        assert_int_equal(assign(long_key(i), NULL), REASON_NONE);
    }
    fixture_store(&fixture, false, false);
    fixture_store(&fixture, true, true);
    fixture_pass(&fixture, 5 * SECOND);
    assert_int_equal(back_count(), 0);
    assert_int_equal(fixture.record_count, count - 10);
}

#define TEST(name, open) cmocka_unit_test_setup_teardown(name, open, close_any)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_a_crowded_stretch, open_one_slot),
        TEST(test_only_what_is_back, open_one_slot),
        TEST(test_a_stop_goes_through_empty_stretches, open_one_slot),
        TEST(test_assigned_while_it_is_taken_away, open_one_slot),
        TEST(test_grows_under_a_write, open_one_slot),
        TEST(test_keys_of_no_length_of_ours, open_one_slot),
        TEST(test_no_memory_for_what_is_back, open_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
