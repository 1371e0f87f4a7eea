/* Pages of the store that hold what the fixture's store would not: many records at once, keys of no
 * size, records that nobody can read, and pages that come when they are no longer expected. */
#include "tests/unit/cmocka_all.h"

#include "tests/unit/shard_fixture.h"

#define HOUR (3600 * SECOND)
#define PAIRS_MAX 64
#define RESIDENT_MAX 8

static struct fixture fixture;

static const struct fixture_plan plans[] = {
    {"default", 1, {{1, HOUR, 20}}},
    {"pair", 2, {{1, HOUR, 30}, {1, HOUR, 40}}},
};

static int close_any(void **state) {
    fixture_close(&fixture);
    return 0;
}

static const struct shard_counters *counters(void) {
    return shard_counters(fixture.shard);
}

static void open_with(const struct fixture_options *options) {
    fixture_open_bare(&fixture, options);
    fixture_plans(&fixture, plans, 2);
    fixture_store(&fixture, true, false);
}

/* --- a page of our own ---------------------------------------------------------------------- */

static struct page {
    uint32_t count;
    struct shard_stored_pair pairs[PAIRS_MAX];
    char keys[PAIRS_MAX][KEY_BYTES_MAX + 1];
    uint8_t values[PAIRS_MAX][RECORD_BYTES_MAX];
} page;

static void page_add(struct bytes key, struct bytes value) {
    assert_true(page.count < PAIRS_MAX);
    page.pairs[page.count] = (struct shard_stored_pair){key, value};
    page.count++;
}

/* A record of "key-<i>" in that plan of so many times, the first that much from now. */
static void page_add_record(uint32_t i, const char *plan, uint32_t tat_count, uint64_t after_ns) {
    struct record record = {.plan = bytes_of_text(plan), .generation = 1, .tat_count = tat_count};
    record.tats[0].ns = fixture.now_ns + after_ns;
    uint32_t at = page.count;
    snprintf(page.keys[at], sizeof page.keys[at], "key-%u", i);
    uint32_t size = record_write(&record, page.values[at]);
    page_add(bytes_of_text(page.keys[at]), bytes_of(page.values[at], size));
}

static void page_add_odd_keys(void) {
    static const uint8_t long_key[KEY_BYTES_MAX + 1];
    page_add(bytes_of(long_key, 0), bytes_of_text("?"));
    page_add(bytes_of(long_key, sizeof long_key), bytes_of_text("?"));
}

static int32_t held_find(enum shard_op_kind kind) {
    for (uint32_t i = 0; i < fixture.held_count; i++) {
        if (fixture.held[i].kind == kind) {
            return (int32_t)i;
        }
    }
    return -1;
}

/* The first operation of that kind is answered with what the page has. */
static void answer_page(enum shard_op_kind kind, uint64_t cursor) {
    int32_t at = held_find(kind);
    assert_true(at >= 0);
    struct shard_event event = {.kind = SHARD_EVENT_STORED};
    event.stored.op_kind = (uint8_t)kind;
    event.stored.slot = fixture.held[at].slot;
    event.stored.op_id = fixture.held[at].op_id;
    event.stored.pairs = page.pairs;
    event.stored.pair_count = page.count;
    event.stored.cursor = cursor;
    fixture.held_count--;
    memmove(fixture.held + at, fixture.held + at + 1,
            (fixture.held_count - (uint32_t)at) * sizeof fixture.held[0]);
    fixture_step(&fixture, &event);
    page.count = 0;
}

/* The first operation of that kind is answered by the store. */
static void answer_first(enum shard_op_kind kind, uint16_t slot) {
    for (uint32_t i = 0; i < fixture.held_count; i++) {
        struct held_op op = fixture.held[i];
        if (op.kind == kind && op.slot.index == slot) {
            memmove(fixture.held + 1, fixture.held, i * sizeof op);
            fixture.held[0] = op;
            fixture_answer(&fixture, SHARD_STORED_OK);
            return;
        }
    }
    fail_msg("it has not asked for that");
}

static void go_on(void) {
    fixture.hold = false;
    fixture_answer_all(&fixture);
    fixture_pass(&fixture, SECOND);
}

static uint64_t left(const char *key, const char *plan) {
    return fixture_verb(&fixture, VERB_PEEK, key, 0, plan).remaining_tokens;
}

/* --- while a slot is read ------------------------------------------------------------------- */

/* One slot that is fenced and asks for its first page. */
static int open_loading(void **state) {
    page.count = 0;
    fixture_open_bare(&fixture, &(struct fixture_options){.slot_count = 1});
    fixture_plans(&fixture, plans, 2);
    fixture.hold = true;
    fixture_store(&fixture, true, false);
    fixture_own_all(&fixture);
    fixture_answer(&fixture, SHARD_STORED_OK);
    return 0;
}

static void test_a_long_page_of_good_and_bad(void **state) {
    page_add_odd_keys();
    answer_page(SHARD_OP_LOAD_KEYS, 0);
    assert_int_equal(fixture.notices[SHARD_NOTICE_UNREADABLE], 2);
    fixture.notices[SHARD_NOTICE_UNREADABLE] = 0;
    for (uint32_t i = 0; i < 20; i++) {
        page_add_record(i, "default", 1, (1 + i % 5) * HOUR);
    }
    page_add_odd_keys();
    for (uint32_t i = 20; i < 50; i++) { /* more than notices of one step */
        page_add_record(i, "default", 1, HOUR);
        page.pairs[page.count - 1].value = bytes_of_text("?");
    }
    answer_page(SHARD_OP_LOAD_BUCKETS, 0);
    assert_int_equal(fixture.notices[SHARD_NOTICE_UNREADABLE], SHARD_NOTICES_MAX);
    assert_int_equal(counters()->records_unreadable, 30);
    assert_int_equal(counters()->records_loaded, 20);
    assert_int_equal(counters()->slots_serving, 1);
    char key[32];
    for (uint32_t i = 0; i < 50; i++) {
        snprintf(key, sizeof key, "key-%u", i);
        struct take_result result = fixture_take(&fixture, key, 1, NULL);
        assert_int_equal(result.reason, i < 20 ? REASON_NONE : REASON_RECORD_UNREADABLE);
        assert_int_equal(result.remaining_tokens, i < 20 ? 20 - (1 + i % 5) - 1 : 0);
    }
}

static void test_a_record_of_fewer_times_than_its_plan(void **state) {
    answer_page(SHARD_OP_LOAD_KEYS, 0);
    page_add_record(0, "pair", 1, 12 * HOUR);
    page_add_record(1, "pair", 1, 0);
    answer_page(SHARD_OP_LOAD_BUCKETS, 0);
    struct shard_key_info info = fixture_show(&fixture, "key-0");
    assert_int_equal(info.limit_count, 2);
    assert_int_equal(info.level_tokens[0], 18);
    assert_int_equal(info.level_tokens[1], 40); /* what is not said is full */
    assert_int_equal(fixture_take(&fixture, "key-0", 1, "pair").remaining_tokens, 17);
}

/* Its plan comes back with another number of limits than the record has times. */
static void test_a_record_whose_plan_comes_back_with_more_limits(void **state) {
    static const struct fixture_plan back[] = {{"default", 1, {{1, HOUR, 20}}},
                                               {"later", 2, {{1, HOUR, 30}, {1, HOUR, 40}}}};
    answer_page(SHARD_OP_LOAD_KEYS, 0);
    page_add_record(0, "later", 1, 100 * HOUR);
    page_add_record(1, "later", 1, 10 * HOUR);
    answer_page(SHARD_OP_LOAD_BUCKETS, 0);
    fixture_plans(&fixture, back, 2);
    /* How many tokens that were nobody knows: the times stay, at most a whole bucket's. */
    assert_int_equal(left("key-0", "later"), 0);
    assert_int_equal(left("key-1", "later"), 20);
    assert_int_equal(fixture_take(&fixture, "key-1", 1, "later").remaining_tokens, 19);
    assert_int_equal(fixture_show(&fixture, "key-1").level_tokens[1], 39);
}

/* --- the survey ----------------------------------------------------------------------------- */

/* One slot that sleeps, and whose survey asks for its next page. */
static int open_asleep(void **state) {
    char key[32];
    page.count = 0;
    open_with(&(struct fixture_options){
        .slot_count = 1, .resident_max = RESIDENT_MAX, .settle_ms = 1000});
    fixture_own_all(&fixture);
    for (uint32_t i = 0; i < 2 * RESIDENT_MAX; i++) {
        snprintf(key, sizeof key, "%u", i);
        fixture_take(&fixture, key, 5, NULL);
    }
    fixture_pass(&fixture, 3 * SECOND);
    assert_int_equal(counters()->slots_asleep, 1);
    fixture.hold = true;
    fixture_pass(&fixture, SECOND);
    assert_true(held_find(SHARD_OP_LOAD_BUCKETS) >= 0);
    return 0;
}

static void test_a_survey_of_what_cannot_be_read(void **state) {
    uint64_t buckets = counters()->buckets;
    page_add_odd_keys();
    page_add(bytes_of_text("bad"), bytes_of_text("?"));
    page_add_record(0, "default", 1, HOUR); /* in use, and as it should be */
    answer_page(SHARD_OP_LOAD_BUCKETS, 0);
    assert_int_equal(counters()->buckets, buckets);
    assert_int_equal(counters()->slots_asleep, 1); /* the bad one is there */
    assert_int_equal(counters()->records_unreadable, 0);
}

static void test_a_survey_that_meets_nothing_wakes_the_slot(void **state) {
    answer_page(SHARD_OP_LOAD_BUCKETS, 0); /* ends the round that has met some */
    assert_int_equal(counters()->slots_asleep, 1);
    fixture_pass(&fixture, SECOND);
    page_add_odd_keys(); /* nobody can ask for those */
    answer_page(SHARD_OP_LOAD_BUCKETS, 0);
    assert_int_equal(counters()->slots_asleep, 0);
    assert_int_equal(counters()->buckets_hibernated, 0);
}

/* Keys as long as no other here: each wants a page of memory of its own, and one may be left. */
static void test_a_full_record_that_finds_no_room(void **state) {
    uint64_t buckets = counters()->buckets, removals = fixture.removal_count;
    fixture.heap_bytes_max = fixture.heap_bytes;
    for (uint32_t i = 0; i < 4; i++) {
        page_add_record(i, "default", 1, 0);
        struct shard_stored_pair *pair = &page.pairs[page.count - 1];
        pair->key.size = 100 + 40 * i;
        memset(page.keys[page.count - 1], 'k', pair->key.size);
    }
    answer_page(SHARD_OP_LOAD_BUCKETS, 0);
    uint64_t taken_in = counters()->buckets - buckets;
    assert_in_range(taken_in, 0, 1);
    assert_true(counters()->buckets_hibernated >= 4 - taken_in); /* they are known to be there */
    assert_int_equal(counters()->slots_asleep, 1);
    fixture.heap_bytes_max = UINT64_C(1) << 40;
    go_on();
    assert_int_equal(fixture.removal_count - removals, taken_in);
}

/* --- pages that are late -------------------------------------------------------------------- */

/* Keys of the slot, which differ by a number. */
static void slot_key(char key[32], uint16_t slot, uint32_t n) {
    for (uint32_t i = 0;; i++) {
        snprintf(key, 32, "k%u", i);
        if (fixture_slot(&fixture, key).index == slot && n-- == 0) {
            return;
        }
    }
}

static void seal(uint16_t slot, bool sealed) {
    uint8_t bits[SLOTS_MAX / 8] = {(uint8_t)(sealed ? 1u << slot : 0)};
    struct shard_event event = {.kind = SHARD_EVENT_SEAL};
    event.seal.slots = bits;
    fixture_step(&fixture, &event);
}

/* The server has lost its newest deletes, and two slots are read again, one at a time. The first is
 * sealed while its page is under way, so the other one's turn comes; and is unsealed before that
 * page is answered. It must not be taken for another page: what it brings back would stay. */
static void test_a_page_of_before_the_seal(void **state) {
    char key[32];
    struct record spent = {.plan = bytes_of_text("default"), .generation = 1, .tat_count = 1};
    open_with(&(struct fixture_options){.slot_count = 2});
    fixture_own_all(&fixture);
    fixture_pass(&fixture, SECOND);
    spent.tats[0].ns = fixture.now_ns + 5 * HOUR;
    for (uint16_t slot = 0; slot < 2; slot++) {
        for (uint32_t n = 0; n < FIXTURE_PAGE + 2; n++) {
            slot_key(key, slot, n);
            fixture_put_record(&fixture, key, &spent);
        }
    }
    fixture.hold = true;
    fixture_store(&fixture, true, true);           /* as another server */
    while (held_find(SHARD_OP_LOAD_BUCKETS) < 0) { /* first come the assignments */
        fixture_answer(&fixture, SHARD_STORED_OK);
        fixture_tick(&fixture);
    }
    uint16_t first = fixture.held[held_find(SHARD_OP_LOAD_BUCKETS)].slot.index;
    seal(first, true);
    fixture_tick(&fixture);
    seal(first, false);
    answer_first(SHARD_OP_LOAD_BUCKETS, first);
    go_on();
    fixture_pass(&fixture, 5 * SECOND);
    assert_int_equal(fixture_records(&fixture), 0);
    assert_int_equal(counters()->buckets_hibernated, 0);
}

int main(void) {
#define TEST(name, open) cmocka_unit_test_setup_teardown(name, open, close_any)
    const struct CMUnitTest tests[] = {
        TEST(test_a_long_page_of_good_and_bad, open_loading),
        TEST(test_a_record_of_fewer_times_than_its_plan, open_loading),
        TEST(test_a_record_whose_plan_comes_back_with_more_limits, open_loading),
        TEST(test_a_survey_of_what_cannot_be_read, open_asleep),
        TEST(test_a_survey_that_meets_nothing_wakes_the_slot, open_asleep),
        TEST(test_a_full_record_that_finds_no_room, open_asleep),
        TEST(test_a_page_of_before_the_seal, NULL),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
