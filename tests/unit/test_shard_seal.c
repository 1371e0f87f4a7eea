/* A slot that is to be handed over: sealed, written to the last bucket, given up or taken back. */
#include "tests/unit/cmocka_all.h"
#include "tests/unit/shard_fixture.h"

static struct fixture fixture;
static uint8_t sealed[SLOTS_MAX / 8];

static int open_usual(void **state) {
    memset(sealed, 0, sizeof sealed);
    fixture_open(&fixture, NULL);
    return 0;
}

static int close_any(void **state) {
    fixture_close(&fixture);
    return 0;
}

static const struct shard_counters *counters(void) {
    return shard_counters(fixture.shard);
}

static void seal_tell(void) {
    fixture_seal(&fixture, sealed, false);
}

static void seal(const char *key) {
    uint16_t slot = fixture_slot(&fixture, key).index;
    sealed[slot / 8] |= (uint8_t)(1u << (slot % 8));
    seal_tell();
}

static void unseal(void) {
    memset(sealed, 0, sizeof sealed);
    seal_tell();
}

/* Another key of the same slot, or of another one. */
static const char *key_near(const char *key, bool same) {
    static char text[32];
    for (uint32_t i = 0;; i++) {
        snprintf(text, sizeof text, "near-%u", i);
        if ((fixture_slot(&fixture, text).index == fixture_slot(&fixture, key).index) == same) {
            return text;
        }
    }
}

static enum reason reason_of(const char *key) {
    return fixture_take(&fixture, key, 1, NULL).reason;
}

/* What a next owner would read: whole tokens left of "default" (10/s, burst 20). */
static uint64_t stored_left(const char *key) {
    const struct stored *stored = fixture_stored(&fixture, key, false);
    struct record record;
    struct fault fault;
    if (stored == NULL) {
        return 20;
    }
    assert_int_equal(record_read(bytes_of(stored->value, stored->value_size), &record, &fault),
                     CODE_OK);
    uint64_t debt_ns = record.tats[0].ns > fixture.now_ns ? record.tats[0].ns - fixture.now_ns : 0;
    return 20 - (debt_ns + 100 * MS - 1) / (100 * MS);
}

static void test_sealed_slot_decides_nothing(void **state) {
    assert_true(fixture_take(&fixture, "a", 3, NULL).allowed);
    seal("a");
    assert_int_equal(reason_of("a"), REASON_MOVING);
    assert_int_equal(fixture_verb(&fixture, VERB_PEEK, "a", 1, NULL).reason, REASON_MOVING);
    assert_int_equal(fixture_verb(&fixture, VERB_REFUND, "a", 1, NULL).reason, REASON_MOVING);
    assert_int_equal(reason_of(key_near("a", true)), REASON_MOVING);
    assert_true(fixture_take(&fixture, key_near("a", false), 1, NULL).allowed);
    assert_int_equal(counters()->slots_sealed, 1);
    assert_int_equal(counters()->slots_serving, 3);
    assert_int_equal(counters()->slots_owned, 4);
}

/* At once, not when the interval has passed; and only what is acknowledged counts. */
static void test_sealed_when_everything_is_written(void **state) {
    fixture.hold = true;
    for (int i = 0; i < 5; i++) {
        fixture_take(&fixture, "a", 1, NULL);
    }
    assert_int_equal(fixture.held_count, 0);
    seal("a");
    assert_int_equal(fixture.held_count, 1);
    assert_false(fixture.update.sealed);
    fixture_tick(&fixture);
    assert_false(fixture.update.sealed);
    fixture_answer(&fixture, SHARD_STORED_OK);
    assert_true(fixture.update.sealed);
    assert_int_equal(fixture.held_count, 0);
    assert_int_equal(stored_left("a"), 15);
}

static void test_a_clean_slot_is_sealed_at_once(void **state) {
    seal("a");
    assert_true(fixture.update.sealed);
    assert_int_equal(fixture.write_count, 0);
    fixture_tick(&fixture);
    assert_true(fixture.update.sealed);
}

static void test_not_sealed_says_nothing(void **state) {
    fixture_take(&fixture, "a", 1, NULL);
    assert_false(fixture.update.sealed);
    seal_tell(); /* of no slot */
    assert_false(fixture.update.sealed);
    assert_true(fixture_take(&fixture, "a", 1, NULL).allowed);
}

/* Taken while a write of the same bucket was on its way: the newer state follows it. */
static void test_what_changed_under_a_write_follows(void **state) {
    fixture.hold = true;
    fixture_take(&fixture, "a", 4, NULL);
    fixture_pass(&fixture, 100 * MS);
    assert_int_equal(fixture.held_count, 1);
    fixture_take(&fixture, "a", 4, NULL);
    seal("a");
    fixture_answer(&fixture, SHARD_STORED_OK);
    assert_false(fixture.update.sealed);
    assert_int_equal(fixture.held_count, 1);
    fixture_answer(&fixture, SHARD_STORED_OK);
    assert_true(fixture.update.sealed);
    assert_int_equal(stored_left("a"), 13); /* 8 spent, 1 refilled */
}

static void test_every_chunk_of_a_large_slot(void **state) {
    char key[32];
    fixture.hold = true;
    for (uint32_t i = 0; i < 4 * SHARD_WRITE_ENTRIES_MAX * 3; i++) {
        snprintf(key, sizeof key, "key-%u", i);
        fixture_take(&fixture, key, 2, NULL);
    }
    memset(sealed, 0xff, sizeof sealed);
    seal_tell();
    uint32_t writes = 0;
    while (fixture.held_count > 0) {
        assert_false(fixture.update.sealed);
        fixture_answer(&fixture, SHARD_STORED_OK);
        writes++;
    }
    assert_true(fixture.update.sealed);
    assert_true(writes >= 4 * 3);
    assert_int_equal(counters()->buckets_dirty, 0);
    assert_int_equal(fixture_records(&fixture), 4 * SHARD_WRITE_ENTRIES_MAX * 3);
}

static void test_an_assignment_counts(void **state) {
    fixture.hold = true;
    fixture_admin(&fixture, SHARD_ADMIN_ASSIGN, "a", "pair");
    assert_int_equal(fixture.held_count, 1);
    seal("a");
    assert_false(fixture.update.sealed);
    fixture_answer(&fixture, SHARD_STORED_OK);
    assert_true(fixture.update.sealed);
    assert_int_equal(fixture_reply(&fixture).reason, REASON_NONE);
    assert_non_null(fixture_stored(&fixture, "a", true));
}

static void test_a_reset_counts(void **state) {
    fixture_take(&fixture, "a", 9, NULL);
    fixture_pass(&fixture, 100 * MS);
    assert_non_null(fixture_stored(&fixture, "a", false));
    fixture.hold = true;
    fixture_admin(&fixture, SHARD_ADMIN_RESET, "a", NULL);
    seal("a");
    while (fixture.held_count > 0) {
        assert_false(fixture.update.sealed);
        fixture_answer(&fixture, SHARD_STORED_OK);
    }
    assert_true(fixture.update.sealed);
    assert_int_equal(fixture_reply(&fixture).reason, REASON_NONE);
    assert_int_equal(stored_left("a"), 20);
}

/* An operator's change would come behind the slot's last write. */
static void test_no_admin_change_while_sealed(void **state) {
    fixture_take(&fixture, "a", 2, NULL);
    seal("a");
    fixture_admin(&fixture, SHARD_ADMIN_RESET, "a", NULL);
    assert_int_equal(fixture_reply(&fixture).reason, REASON_MOVING);
    fixture_admin(&fixture, SHARD_ADMIN_ASSIGN, "a", "pair");
    assert_int_equal(fixture_reply(&fixture).reason, REASON_MOVING);
    assert_true(fixture.update.sealed);
}

static void test_unsealed_it_goes_on(void **state) {
    fixture_take(&fixture, "a", 5, NULL);
    seal("a");
    assert_int_equal(reason_of("a"), REASON_MOVING);
    unseal();
    assert_false(fixture.update.sealed);
    struct take_result result = fixture_take(&fixture, "a", 1, NULL);
    assert_true(result.allowed);
    assert_int_equal(result.remaining_tokens, 14);
    assert_int_equal(fixture.fences[fixture_slot(&fixture, "a").index], 1); /* not loaded again */
    fixture_pass(&fixture, 100 * MS);
    assert_int_equal(stored_left("a"), 15);
    seal("a");
    assert_true(fixture.update.sealed);
}

static void reload(void) {
    memset(sealed, 0, sizeof sealed);
    fixture_seal(&fixture, sealed, true);
    fixture_pass(&fixture, 10 * MS);
}

/* Another shard had the slot while this one waited to hear: its grants are in the store. */
static void test_reloaded_it_has_what_another_granted(void **state) {
    uint16_t slot = fixture_slot(&fixture, "a").index;
    fixture_take(&fixture, "a", 5, NULL);
    seal("a");
    fixture.fences[slot]++;
    fixture.record_count = 0; /* it was reset there, say */
    reload();
    assert_int_equal(fixture.fences[slot], 3);
    assert_int_equal(fixture_take(&fixture, "a", 1, NULL).remaining_tokens, 19);
    assert_int_equal(counters()->writes_fenced, 0);
}

static void test_reload_leaves_other_slots_alone(void **state) {
    const char *other = key_near("a", false);
    fixture_take(&fixture, other, 5, NULL);
    seal("a");
    reload();
    assert_int_equal(fixture.fences[fixture_slot(&fixture, other).index], 1);
    assert_int_equal(fixture_take(&fixture, other, 1, NULL).remaining_tokens, 14);
}

static void test_reload_reads_a_loading_slot_again(void **state) {
    struct slot slot = fixture_slot(&fixture, "a");
    fixture_own(&fixture, slot, false);
    fixture.hold = true;
    fixture_own(&fixture, slot, true);
    seal("a");
    reload();
    fixture.hold = false;
    fixture_answer_all(&fixture);
    fixture_pass(&fixture, 10 * MS);
    assert_int_equal(fixture.fences[slot.index], 3); /* raised by the old life, and by the new */
    assert_true(fixture_take(&fixture, "a", 1, NULL).allowed);
}

static void test_given_away_when_sealed(void **state) {
    fixture_take(&fixture, "a", 5, NULL);
    seal("a");
    assert_true(fixture.update.sealed);
    uint64_t writes = fixture.write_count;
    fixture_own(&fixture, fixture_slot(&fixture, "a"), false);
    assert_int_equal(fixture.write_count, writes);
    assert_int_equal(reason_of("a"), REASON_NOT_OWNER);
    assert_int_equal(counters()->slots_sealed, 0);
    assert_int_equal(counters()->buckets, 0);
    assert_false(fixture.update.sealed);
    assert_int_equal(stored_left("a"), 15);
    unseal();
    assert_int_equal(reason_of("a"), REASON_NOT_OWNER);
}

/* The map changed although not all was written: it is written on the way out. */
static void test_given_away_before_it_was_written(void **state) {
    fixture.hold = true;
    fixture_take(&fixture, "a", 5, NULL);
    seal("a");
    fixture_own(&fixture, fixture_slot(&fixture, "a"), false);
    assert_int_equal(fixture.held_count, 1);
    assert_int_equal(reason_of("a"), REASON_NOT_OWNER);
    fixture_answer(&fixture, SHARD_STORED_OK);
    assert_int_equal(stored_left("a"), 15);
    fixture_pass(&fixture, SECOND);
    assert_int_equal(counters()->buckets, 0);
}

static void test_given_back(void **state) {
    fixture_take(&fixture, "a", 5, NULL);
    seal("a");
    fixture_own(&fixture, fixture_slot(&fixture, "a"), false);
    unseal();
    fixture_own(&fixture, fixture_slot(&fixture, "a"), true);
    assert_int_equal(fixture.fences[fixture_slot(&fixture, "a").index], 2);
    struct take_result result = fixture_take(&fixture, "a", 1, NULL);
    assert_true(result.allowed);
    assert_int_equal(result.remaining_tokens, 14);
}

/* Somebody took the slot over while it was being sealed: what is in memory is worth nothing. */
static void test_fenced_while_sealed(void **state) {
    uint16_t slot = fixture_slot(&fixture, "a").index;
    fixture.hold = true;
    fixture_take(&fixture, "a", 5, NULL);
    seal("a");
    fixture.fences[slot]++;
    fixture_answer(&fixture, SHARD_STORED_OK);
    assert_false(fixture.update.sealed);
    assert_int_equal(counters()->writes_fenced, 1);
    assert_int_equal(counters()->slots_sealed, 0);
    assert_int_equal(fixture.notices[SHARD_NOTICE_FENCED], 1);
    assert_null(fixture_stored(&fixture, "a", false));
    fixture.hold = false;
    unseal();
    fixture_pass(&fixture, SECOND);
    assert_int_equal(fixture_take(&fixture, "a", 1, NULL).remaining_tokens, 19);
}

static void test_store_lost_while_sealed(void **state) {
    fixture.hold = true;
    fixture_take(&fixture, "a", 5, NULL);
    seal("a");
    fixture_store(&fixture, false, false);
    assert_false(fixture.update.sealed);
    fixture_pass(&fixture, SECOND);
    assert_false(fixture.update.sealed);
    assert_int_equal(reason_of("a"), REASON_MOVING);
    fixture_store(&fixture, true, false);
    fixture_pass(&fixture, 200 * MS);
    assert_int_equal(fixture.held[0].kind, SHARD_OP_RAISE_FENCE);
    fixture_answer(&fixture, SHARD_STORED_OK);
    assert_false(fixture.update.sealed);
    assert_int_equal(fixture.held_count, 1);
    fixture_answer(&fixture, SHARD_STORED_OK);
    assert_true(fixture.update.sealed);
}

/* The store comes back without its last second: what was written has to be written again. */
static void test_store_restarted_while_sealed(void **state) {
    fixture_take(&fixture, "a", 5, NULL);
    seal("a");
    assert_true(fixture.update.sealed);
    fixture_store(&fixture, false, false);
    fixture.record_count = 0;
    fixture.hold = true;
    fixture_store(&fixture, true, true);
    assert_false(fixture.update.sealed);
    fixture.hold = false;
    fixture_answer_all(&fixture);
    fixture_pass(&fixture, 300 * MS);
    assert_true(fixture.update.sealed);
    assert_non_null(fixture_stored(&fixture, "a", false));
}

static void test_failed_write_while_sealed(void **state) {
    fixture.hold = true;
    fixture_take(&fixture, "a", 5, NULL);
    seal("a");
    fixture_answer(&fixture, SHARD_STORED_FAILED);
    assert_false(fixture.update.sealed);
    fixture_pass(&fixture, 100 * MS);
    assert_int_equal(fixture.held[0].kind, SHARD_OP_RAISE_FENCE);
    fixture_answer(&fixture, SHARD_STORED_OK);
    assert_false(fixture.update.sealed);
    assert_int_equal(fixture.held_count, 1);
    fixture_answer(&fixture, SHARD_STORED_OK);
    assert_true(fixture.update.sealed);
    assert_int_equal(stored_left("a"), 16); /* one has refilled */
}

static void test_stop_while_sealed(void **state) {
    fixture.hold = true;
    fixture_take(&fixture, "a", 5, NULL);
    seal("a");
    fixture_stop(&fixture);
    assert_false(fixture.stopped);
    fixture_answer(&fixture, SHARD_STORED_OK);
    assert_true(fixture.stopped);
    assert_int_equal(stored_left("a"), 15);
}

/* Asked for while the slot is still being read: it must not begin to serve meanwhile, or what it
 * then grants would come behind the "sealed" that was said. */
static void test_a_slot_being_loaded_does_not_begin_to_serve(void **state) {
    struct slot slot = fixture_slot(&fixture, "a");
    fixture_take(&fixture, "a", 5, NULL);
    fixture_own(&fixture, slot, false);
    fixture.hold = true;
    fixture_own(&fixture, slot, true);
    assert_int_equal(reason_of("a"), REASON_LOADING);
    const char *other = key_near("a", false);
    uint16_t at = fixture_slot(&fixture, other).index;
    sealed[at / 8] |= (uint8_t)(1u << (at % 8));
    seal("a");
    fixture.hold = false;
    fixture_answer_all(&fixture);
    assert_int_equal(reason_of("a"), REASON_MOVING);
    assert_int_equal(counters()->slots_sealed, 2);
    assert_true(fixture.update.sealed);
    unseal();
    assert_true(fixture_take(&fixture, "a", 1, NULL).allowed);
}

/* One slot of several is still being read, and has granted: that the others are written is not
 * enough. */
static void test_all_of_several_are_written(void **state) {
    struct slot slot = fixture_slot(&fixture, "a");
    const char *other = key_near("a", false);
    uint16_t at = fixture_slot(&fixture, other).index;
    fixture_own(&fixture, slot, false);
    fixture.hold = true;
    fixture_own(&fixture, slot, true);
    fixture_answer(&fixture, SHARD_STORED_OK);
    assert_int_equal(fixture.held[0].kind, SHARD_OP_LOAD_KEYS);
    (void)fixture_take(&fixture, "a", 5, NULL); /* is read, and waits for that */
    assert_int_equal(fixture.held[1].kind, SHARD_OP_FETCH);
    struct held_op page = fixture.held[0];
    fixture.held[0] = fixture.held[1];
    fixture.held[1] = page;
    fixture_answer(&fixture, SHARD_STORED_OK);
    assert_int_equal(counters()->takes_granted, 1);
    sealed[at / 8] |= (uint8_t)(1u << (at % 8));
    seal("a");
    assert_int_equal(counters()->slots_sealed, 1);
    assert_false(fixture.update.sealed);
    while (!fixture.update.sealed) {
        assert_int_equal(stored_left("a"), 20);
        assert_true(fixture.held_count > 0);
        fixture_answer(&fixture, SHARD_STORED_OK);
    }
    assert_int_equal(stored_left("a"), 15);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_usual, close_any)
    const struct CMUnitTest tests[] = {
        TEST(test_sealed_slot_decides_nothing),
        TEST(test_sealed_when_everything_is_written),
        TEST(test_a_clean_slot_is_sealed_at_once),
        TEST(test_not_sealed_says_nothing),
        TEST(test_what_changed_under_a_write_follows),
        TEST(test_every_chunk_of_a_large_slot),
        TEST(test_an_assignment_counts),
        TEST(test_a_reset_counts),
        TEST(test_no_admin_change_while_sealed),
        TEST(test_unsealed_it_goes_on),
        TEST(test_reloaded_it_has_what_another_granted),
        TEST(test_reload_leaves_other_slots_alone),
        TEST(test_reload_reads_a_loading_slot_again),
        TEST(test_given_away_when_sealed),
        TEST(test_given_away_before_it_was_written),
        TEST(test_given_back),
        TEST(test_fenced_while_sealed),
        TEST(test_store_lost_while_sealed),
        TEST(test_store_restarted_while_sealed),
        TEST(test_failed_write_while_sealed),
        TEST(test_stop_while_sealed),
        TEST(test_a_slot_being_loaded_does_not_begin_to_serve),
        TEST(test_all_of_several_are_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
