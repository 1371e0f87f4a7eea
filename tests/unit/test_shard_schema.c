/* Records of other schemas, as a shard of the release after next sees them: it reads schemas 1 and
 * 2 and writes 2 (tests/schema). Older ones are read and become its own when next written; newer
 * ones are named and stay as they are. */
#include "tests/unit/cmocka_all.h"
#include "tests/unit/shard_fixture.h"

#define HOUR (3600 * SECOND)

/* [1, "default", 1, tat] and [3, 7]: a schema that only the future knows. */
static const uint8_t newer_record[] = {0x92, 3, 7};

static struct fixture fixture;
static struct take_result released;

static const struct fixture_plan plans[] = {{"default", 1, {{1, HOUR, 20}}}};

static void on_update(struct fixture *f, const struct shard_update *update) {
    for (uint32_t i = 0; i < update->release_count; i++) {
        if (update->releases[i].result != NULL) {
            released = *update->releases[i].result;
        }
    }
}

static const struct shard_counters *counters(void) {
    return shard_counters(fixture.shard);
}

static uint64_t stored_schema(const char *key) {
    const struct stored *stored = fixture_stored(&fixture, key, false);
    assert_non_null(stored);
    struct record record;
    struct fault fault;
    record_read(bytes_of(stored->value, stored->value_size), &record, &fault);
    return record.schema;
}

/* Nobody has written it, and nobody has taken it away. */
static void newer_expect_unharmed(const char *key) {
    const struct stored *stored = fixture_stored(&fixture, key, false);
    assert_non_null(stored);
    assert_int_equal(stored->value_size, sizeof newer_record);
    assert_memory_equal(stored->value, newer_record, sizeof newer_record);
}

/* A record of schema 1 with 15 tokens left of 20, and one that is newer. */
static int open_stored(void **state) {
    uint8_t memory[RECORD_BYTES_MAX];
    struct writer writer = writer_of(memory, sizeof memory);
    fixture_open_bare(&fixture, &(struct fixture_options){.slot_count = 1});
    struct record record = {.plan = bytes_of_text("default"), .generation = 1, .tat_count = 1};
    record.tats[0] = (struct tat){.ns = fixture.now_ns + 5 * HOUR};
    record_write_1(&writer, &record);
    fixture_put(&fixture, bytes_of_text("old"), writer_bytes(&writer), false);
    fixture_put(&fixture, bytes_of_text("newer"), bytes_of(newer_record, sizeof newer_record),
                false);
    fixture.on_update = on_update;
    fixture_plans(&fixture, plans, 1);
    return 0;
}

static int close_any(void **state) {
    fixture_close(&fixture);
    return 0;
}

static void serve(void) {
    fixture_store(&fixture, true, false);
    fixture_own_all(&fixture);
    assert_int_equal(counters()->slots_serving, 1);
}

static void test_an_older_one_becomes_our_own_when_it_is_written(void **state) {
    serve();
    assert_int_equal(fixture_verb(&fixture, VERB_PEEK, "old", 0, NULL).remaining_tokens, 15);
    fixture_pass(&fixture, 10 * SECOND);
    assert_int_equal(stored_schema("old"), 1); /* read, not touched */
    assert_int_equal(fixture.write_count, 0);
    assert_int_equal(fixture_take(&fixture, "old", 3, NULL).remaining_tokens, 12);
    fixture_pass(&fixture, SECOND);
    assert_int_equal(stored_schema("old"), 2);
    fixture_crash(&fixture);
    assert_int_equal(fixture_verb(&fixture, VERB_PEEK, "old", 0, NULL).remaining_tokens, 12);
}

static void test_a_newer_one_is_named_and_stays(void **state) {
    serve();
    assert_int_equal(fixture.notices[SHARD_NOTICE_NEWER], 1);
    assert_int_equal(fixture.notices[SHARD_NOTICE_UNREADABLE], 0);
    assert_non_null(strstr(fixture.notice_text, "schema 3, this version reads up to 2"));
    assert_int_equal(fixture_take(&fixture, "newer", 1, NULL).reason, REASON_RECORD_NEWER);
    assert_int_equal(fixture_verb(&fixture, VERB_REFUND, "newer", 1, NULL).reason,
                     REASON_RECORD_NEWER);
    fixture_admin(&fixture, SHARD_ADMIN_SHOW, "newer", NULL);
    assert_int_equal(fixture_reply(&fixture).reason, REASON_RECORD_NEWER);
    fixture_admin(&fixture, SHARD_ADMIN_RESET, "newer", NULL);
    assert_int_equal(fixture_reply(&fixture).reason, REASON_RECORD_NEWER);
    fixture_pass(&fixture, 100 * HOUR); /* long after any bucket is full again */
    newer_expect_unharmed("newer");
}

/* A store that has lost its tail gets everything again that the shard knows: not what it does not.
 */
static void test_a_newer_one_stays_when_all_is_written_again(void **state) {
    serve();
    fixture_take(&fixture, "old", 1, NULL);
    fixture_store(&fixture, true, true);
    fixture_pass(&fixture, 10 * SECOND);
    assert_int_equal(stored_schema("old"), 2);
    newer_expect_unharmed("newer");
}

static void test_a_newer_one_stays_when_its_slot_goes(void **state) {
    serve();
    fixture_own(&fixture, fixture_slot(&fixture, "newer"), false);
    fixture_pass(&fixture, SECOND);
    newer_expect_unharmed("newer");
    fixture_own_all(&fixture);
    assert_int_equal(fixture_take(&fixture, "newer", 1, NULL).reason, REASON_RECORD_NEWER);
    fixture_stop(&fixture);
    assert_true(fixture.stopped);
    newer_expect_unharmed("newer");
}

/* The same when the key is asked for before its slot has been read. */
static void test_on_demand(void **state) {
    fixture.hold = true;
    fixture_store(&fixture, true, false);
    fixture_own_all(&fixture);
    fixture_answer(&fixture, SHARD_STORED_OK); /* the fence; the first page stays unanswered */
    static const struct {
        const char *key;
        enum reason reason;
    } keys[] = {{"newer", REASON_RECORD_NEWER}, {"old", REASON_NONE}};
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(fixture_take(&fixture, keys[i].key, 1, NULL).reason, REASON_NONE);
        struct held_op *newest = &fixture.held[fixture.held_count - 1], op = *newest;
        assert_int_equal(op.kind, SHARD_OP_FETCH);
        memmove(fixture.held + 1, fixture.held, (fixture.held_count - 1) * sizeof op);
        fixture.held[0] = op;
        fixture_answer(&fixture, SHARD_STORED_OK);
        assert_int_equal(released.reason, keys[i].reason);
    }
    assert_int_equal(released.remaining_tokens, 14);
    fixture.hold = false;
    fixture_answer_all(&fixture);
    fixture_pass(&fixture, SECOND);
    assert_int_equal(stored_schema("old"), 2);
    newer_expect_unharmed("newer");
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_stored, close_any)
    const struct CMUnitTest tests[] = {
        TEST(test_an_older_one_becomes_our_own_when_it_is_written),
        TEST(test_a_newer_one_is_named_and_stays),
        TEST(test_a_newer_one_stays_when_all_is_written_again),
        TEST(test_a_newer_one_stays_when_its_slot_goes),
        TEST(test_on_demand),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
