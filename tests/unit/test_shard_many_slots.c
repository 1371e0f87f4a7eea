/* More slots than are started, read, or looked at in one step, and times that are far apart. */
#include "tests/unit/cmocka_all.h"

#include "tests/unit/shard_fixture.h"

#define HOUR (3600 * SECOND)
#define SLOTS (2 * SHARD_FENCING_MAX)

static struct fixture fixture;

static const struct fixture_plan one[] = {{"default", 1, {{1, HOUR, 20}}}};

static int close_any(void **state) {
    fixture_close(&fixture);
    return 0;
}

static const struct shard_counters *counters(void) {
    return shard_counters(fixture.shard);
}

static void open_held(const struct fixture_options *options) {
    fixture_open_bare(&fixture, options);
    fixture.hold = true;
    fixture_plans(&fixture, one, 1);
    fixture_store(&fixture, true, false);
}

static uint32_t held_of(enum shard_op_kind kind) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < fixture.held_count; i++) {
        count += fixture.held[i].kind == kind;
    }
    return count;
}

static void go_on(void) {
    fixture.hold = false;
    fixture_answer_all(&fixture);
    fixture_pass(&fixture, SECOND);
}

static void test_fences_are_raised_so_many_at_once(void **state) {
    open_held(&(struct fixture_options){.slot_count = SLOTS});
    fixture_own_all(&fixture);
    assert_int_equal(held_of(SHARD_OP_RAISE_FENCE), SHARD_FENCING_MAX);
    assert_true(fixture.update.wake_at_ns > fixture.now_ns); /* nothing to do until an answer */
    /* Most of those that wait for their turn are given away again. */
    memset(fixture.owned + SHARD_FENCING_MAX / 8, 0, SHARD_FENCING_MAX / 8);
    fixture_own(&fixture, (struct slot){SLOTS - 1}, true);
    go_on();
    assert_int_equal(counters()->slots_owned, SHARD_FENCING_MAX + 1);
    assert_int_equal(counters()->slots_serving, SHARD_FENCING_MAX + 1);
    for (uint16_t i = SHARD_FENCING_MAX; i < SLOTS - 1; i++) {
        assert_int_equal(fixture.fences[i], 0);
    }
    assert_int_equal(fixture.fences[SLOTS - 1], 1);
}

static void test_a_slot_goes_while_it_waits_to_be_read(void **state) {
    open_held(&(struct fixture_options){.slot_count = 8});
    fixture_own_all(&fixture);
    for (uint32_t i = 0; i < 8; i++) {
        fixture_answer(&fixture, SHARD_STORED_OK);
    }
    assert_int_equal(held_of(SHARD_OP_LOAD_KEYS), SHARD_LOADING_MAX);
    /* One goes for good, one comes back: it is fenced anew, and read once. */
    fixture_own(&fixture, (struct slot){6}, false);
    fixture_own(&fixture, (struct slot){7}, false);
    fixture_own(&fixture, (struct slot){7}, true);
    go_on();
    assert_int_equal(counters()->slots_serving, 7);
    assert_int_equal(fixture.fences[6], 1);
    assert_int_equal(fixture.fences[7], 2);
    fixture.op_count = 0;
    fixture_pass(&fixture, SECOND);
    assert_int_equal(fixture.op_count, 0);
}

/* The store was restored. */
static void restored(void) {
    struct shard_event event = {.kind = SHARD_EVENT_OWN};
    event.own.slots = fixture.owned;
    event.own.restored = true;
    fixture_step(&fixture, &event);
}

static void test_a_restored_store_is_looked_at(void **state) {
    uint16_t busy = slot_of_hash(key_hash(bytes_of_text("a")), 4).index;
    uint16_t gone = (uint16_t)(busy + 1) % 4, lost = (uint16_t)(busy + 2) % 4;
    open_held(NULL);
    fixture_own_all(&fixture);
    go_on();
    fixture_own(&fixture, (struct slot){gone}, false);
    fixture_pass(&fixture, SECOND);
    fixture_take(&fixture, "a", 1, NULL);
    fixture.hold = true;
    fixture_pass(&fixture, 200 * MS);
    assert_int_equal(held_of(SHARD_OP_WRITE), 1);
    /* Each slot that decides looks at its fence, but for the one that has a write under way. */
    restored();
    assert_int_equal(held_of(SHARD_OP_WRITE), 3);
    /* What is under way may have been before this one: all look once more when it is answered. */
    restored();
    restored();
    assert_int_equal(held_of(SHARD_OP_WRITE), 3);
    fixture.write_count = 0;
    fixture.fences[lost]++;
    go_on();
    assert_int_equal(fixture.write_count, 2); /* the lost one is read anew instead */
    assert_int_equal(fixture.notices[SHARD_NOTICE_FENCED], 1);
    assert_int_equal(fixture.fences[lost], 3);
    assert_int_equal(fixture.fences[gone], 1);
    assert_int_equal(counters()->slots_serving, 3);
}

static void test_an_interval_longer_than_any_rest(void **state) {
    open_held(&(struct fixture_options){.slot_count = 1, .snapshot_interval_ns = HOUR});
    fixture_own_all(&fixture);
    go_on();
    fixture_take(&fixture, "a", 20, NULL);
    assert_true(fixture.wake_at_ns < fixture.now_ns + HOUR / 2);
    fixture_pass(&fixture, HOUR - SECOND);
    assert_int_equal(fixture_records(&fixture), 0);
    fixture_pass(&fixture, 2 * SECOND);
    assert_int_equal(fixture_records(&fixture), 1);
}

/* A clock that begins at nothing: what is to be done at once is not taken for "never". */
static void test_a_clock_at_zero(void **state) {
    static struct shard_item items[SHARD_UPDATE_OPS_MAX + 1];
    static char keys[SHARD_UPDATE_OPS_MAX + 1][16];
    fixture_open_bare(&fixture, &(struct fixture_options){.slot_count = 1});
    fixture.hold = true;
    fixture.now_ns = 0;
    fixture_plans(&fixture, one, 1);
    fixture_store(&fixture, true, false);
    fixture_own_all(&fixture);
    fixture_answer(&fixture, SHARD_STORED_OK);
    uint32_t held = fixture.held_count;
    struct shard_event event = {.kind = SHARD_EVENT_TAKES};
    event.takes.items = items;
    event.takes.count = SHARD_UPDATE_OPS_MAX + 1;
    for (uint32_t i = 0; i < event.takes.count; i++) {
        snprintf(keys[i], sizeof keys[i], "%u", i);
        items[i] = (struct shard_item){.take = {.key = bytes_of_text(keys[i]), .cost_tokens = 1}};
    }
    fixture_step(&fixture, &event); /* one more key than operations of one step */
    assert_int_equal(fixture.held_count - held, SHARD_UPDATE_OPS_MAX);
    assert_int_equal(fixture.update.wake_at_ns, 1);
    fixture_tick(&fixture);
    assert_int_equal(fixture.held_count - held, SHARD_UPDATE_OPS_MAX + 1);
    assert_true(fixture.update.wake_at_ns > 1);
}

int main(void) {
#define TEST(name) cmocka_unit_test_teardown(name, close_any)
    const struct CMUnitTest tests[] = {
        TEST(test_fences_are_raised_so_many_at_once),
        TEST(test_a_slot_goes_while_it_waits_to_be_read),
        TEST(test_a_restored_store_is_looked_at),
        TEST(test_an_interval_longer_than_any_rest),
        TEST(test_a_clock_at_zero),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
