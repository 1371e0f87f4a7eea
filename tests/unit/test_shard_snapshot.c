/* What changed is written in time, in chunks, once, and again if that failed. */
#include <stdlib.h>

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

static const struct shard_counters *counters(void) {
    return shard_counters(fixture.shard);
}

static uint64_t stored_tat(const char *key) {
    struct stored *stored = fixture_stored(&fixture, key, false);
    assert_non_null(stored);
    struct record record;
    struct fault fault;
    assert_int_equal(record_read(bytes_of(stored->value, stored->value_size), &record, &fault),
                     CODE_OK);
    return record.tats[0].ns;
}

static void take_many(uint32_t from, uint32_t count, uint64_t cost) {
    char key[32];
    for (uint32_t i = from; i < from + count; i++) {
        snprintf(key, sizeof key, "key-%u", i);
        assert_true(fixture_take(&fixture, key, cost, NULL).allowed);
    }
}

static void test_written_within_the_interval(void **state) {
    uint64_t taken_ns = fixture.now_ns;
    fixture_take(&fixture, "a", 5, NULL);
    assert_true(fixture.wake_at_ns <= taken_ns + 100 * MS);
    fixture_pass(&fixture, 99 * MS);
    assert_int_equal(fixture.write_count, 0);
    fixture_take(&fixture, "a", 5, NULL);
    fixture_pass(&fixture, 1 * MS);
    assert_int_equal(fixture.write_count, 1);
    assert_int_equal(fixture.entry_count, 1); /* once, in its newest state */
    assert_int_equal(stored_tat("a"), taken_ns + SECOND);
    assert_int_equal(counters()->records_written, 1);
    assert_int_equal(counters()->buckets_dirty, 0);
    fixture_pass(&fixture, 800 * MS);
    assert_int_equal(fixture.write_count, 1); /* clean: nothing more */
}

static void test_chunks_follow_each_other(void **state) {
    take_many(0, 1300, 20);
    fixture.hold = true;
    fixture_pass(&fixture, 100 * MS);
    assert_int_equal(fixture.held_count, 1);
    assert_int_equal(fixture.held[0].entry_count, SHARD_WRITE_ENTRIES_MAX);
    take_many(1300, 1, 20); /* the next snapshot's */
    fixture_pass(&fixture, 10 * MS);
    assert_int_equal(fixture.held_count, 1); /* one outstanding a slot */
    fixture_answer(&fixture, SHARD_STORED_OK);
    assert_int_equal(fixture.held_count, 1);
    fixture_answer(&fixture, SHARD_STORED_OK);
    assert_int_equal(fixture.held[0].entry_count, 1300 - 2 * SHARD_WRITE_ENTRIES_MAX);
    fixture_answer(&fixture, SHARD_STORED_OK);
    assert_int_equal(fixture.held_count, 0);
    assert_int_equal(fixture_records(&fixture), 1300);
    fixture_pass(&fixture, 100 * MS);
    assert_int_equal(fixture.held_count, 1);
    assert_int_equal(fixture.held[0].entry_count, 1);
}

static void test_a_slow_store_does_not_delay_more_than_it_must(void **state) {
    fixture.hold = true;
    take_many(0, 1, 10);
    fixture_pass(&fixture, 100 * MS);
    take_many(0, 2, 10); /* while the write is outstanding */
    fixture_pass(&fixture, 500 * MS);
    assert_int_equal(fixture.held_count, 1);
    fixture_answer(&fixture, SHARD_STORED_OK);
    assert_int_equal(fixture.held_count, 1); /* overdue: at once */
    assert_int_equal(fixture.held[0].entry_count, 2);
    fixture_answer(&fixture, SHARD_STORED_OK);
    assert_int_equal(counters()->buckets_dirty, 0);
}

static void test_updates_are_bounded(void **state) {
    fixture_close(&fixture);
    fixture_open(&fixture, &(struct fixture_options){.slot_count = 16384});
    fixture_pass(&fixture, SECOND);
    assert_int_equal(counters()->slots_serving, 16384);
    fixture.hold = true;
    take_many(0, 3000, 20);
    fixture.now_ns += 100 * MS;
    uint32_t steps = 0;
    while (fixture.wake_at_ns <= fixture.now_ns) {
        fixture_tick(&fixture);
        assert_true(fixture.update.op_count <= SHARD_UPDATE_OPS_MAX);
        steps++;
    }
    assert_true(steps > 3 && steps < 20);
    assert_int_equal(fixture.entry_count, 3000);
}

static void test_a_failed_write_is_written_again(void **state) {
    uint64_t taken_ns = fixture.now_ns;
    fixture.hold = true;
    fixture_take(&fixture, "a", 5, NULL);
    fixture_pass(&fixture, 100 * MS);
    fixture_take(&fixture, "a", 1, NULL);
    fixture_answer(&fixture, SHARD_STORED_FAILED);
    assert_int_equal(counters()->writes_failed, 1);
    assert_int_equal(fixture.held_count, 0); /* not at once */
    fixture_pass(&fixture, 100 * MS);
    /* The failed one may still come: it is to find a higher fence. */
    assert_int_equal(fixture.held_count, 1);
    assert_int_equal(fixture.held[0].kind, SHARD_OP_RAISE_FENCE);
    fixture_answer(&fixture, SHARD_STORED_OK);
    assert_int_equal(fixture.held_count, 1);
    assert_int_equal(fixture.held[0].entry_count, 1);
    assert_int_equal(fixture.held[0].fence, fixture.fences[fixture.held[0].slot.index]);
    fixture_answer(&fixture, SHARD_STORED_OK);
    assert_int_equal(stored_tat("a"), taken_ns + 600 * MS);
}

/* Writes of several slots that are answered together fare each by itself. */
static void test_answered_together(void **state) {
    fixture_close(&fixture);
    fixture_open(&fixture, &(struct fixture_options){.slot_count = 32});
    fixture_pass(&fixture, SECOND);
    fixture.hold = true;
    take_many(0, 40, 20);
    fixture_pass(&fixture, 100 * MS);
    assert_true(fixture.held_count > 8);
    uint32_t count = fixture.held_count, records[3] = {0};
    struct shard_written written[64];
    for (uint32_t i = 0; i < count; i++) {
        const struct held_op *op = &fixture.held[i];
        assert_int_equal(op->kind, SHARD_OP_WRITE);
        written[i] = (struct shard_written){op->slot, op->op_id, (enum shard_stored_status)(i % 3)};
        records[i % 3] += op->entry_count;
        free(op->entries);
    }
    written[count] = written[0]; /* of a life that is over */
    written[count].op_id += 1000;
    written[count].status = SHARD_STORED_FENCED;
    fixture.held_count = 0;
    struct shard_event event = {.kind = SHARD_EVENT_WRITTEN};
    event.written.writes = written;
    event.written.count = count + 1;
    fixture_step(&fixture, &event);
    assert_int_equal(counters()->writes, (count + 2) / 3);
    assert_int_equal(counters()->writes_fenced, (count + 1) / 3);
    assert_int_equal(counters()->writes_failed, count / 3);
    assert_int_equal(counters()->records_written, records[SHARD_STORED_OK]);
    assert_int_equal(fixture.notices[SHARD_NOTICE_FENCED], (count + 1) / 3);
    assert_int_equal(counters()->buckets_dirty, records[SHARD_STORED_FAILED]);
    fixture.hold = false;
    fixture_answer_all(&fixture);
    fixture_pass(&fixture, SECOND);
    assert_int_equal(counters()->buckets_dirty, 0);
    assert_int_equal(counters()->slots_serving, fixture.options.slot_count);
}

static void test_a_write_that_was_given_up_comes_too_late(void **state) {
    uint64_t taken_ns = fixture.now_ns;
    fixture.hold = true;
    fixture.fail_lingers = true;
    fixture_take(&fixture, "a", 5, NULL);
    fixture_pass(&fixture, 100 * MS);
    fixture_answer(&fixture, SHARD_STORED_FAILED);
    fixture.hold = false;
    fixture_take(&fixture, "a", 1, NULL);
    fixture_pass(&fixture, 100 * MS);
    assert_int_equal(stored_tat("a"), taken_ns + 600 * MS);
    fixture_linger(&fixture);
    assert_int_equal(stored_tat("a"), taken_ns + 600 * MS);
}

/* A fence that cannot be raised is tried once an interval, and nothing is written meanwhile. */
static void test_a_fence_that_cannot_be_raised(void **state) {
    fixture.hold = true;
    fixture_take(&fixture, "a", 5, NULL);
    fixture_pass(&fixture, 100 * MS);
    fixture_answer(&fixture, SHARD_STORED_FAILED);
    for (int i = 0; i < 3; i++) {
        fixture_pass(&fixture, 100 * MS);
        assert_int_equal(fixture.held_count, 1);
        assert_int_equal(fixture.held[0].kind, SHARD_OP_RAISE_FENCE);
        fixture_answer(&fixture, SHARD_STORED_FAILED);
        assert_int_equal(fixture.held_count, 0);
    }
    fixture_admin(&fixture, SHARD_ADMIN_ASSIGN, "a", "pair");
    assert_int_equal(fixture.held_count, 1);
    assert_int_equal(fixture.held[0].kind, SHARD_OP_RAISE_FENCE);
    fixture_answer(&fixture, SHARD_STORED_OK);
    assert_int_equal(fixture.held_count, 2); /* the assignment, and the bucket */
    fixture_answer(&fixture, SHARD_STORED_OK);
    fixture_answer(&fixture, SHARD_STORED_OK);
    assert_int_equal(fixture_reply(&fixture).reason, REASON_NONE);
    assert_non_null(fixture_stored(&fixture, "a", true));
    assert_non_null(fixture_stored(&fixture, "a", false));
}

static void test_a_newer_owner_is_met_by_the_fence(void **state) {
    fixture.hold = true;
    fixture_take(&fixture, "a", 5, NULL);
    fixture_pass(&fixture, 100 * MS);
    fixture_answer(&fixture, SHARD_STORED_FAILED);
    fixture.fences[fixture_slot(&fixture, "a").index] += 1000;
    fixture_pass(&fixture, 100 * MS);
    fixture_answer(&fixture, SHARD_STORED_OK);
    assert_int_equal(fixture.notices[SHARD_NOTICE_FENCED], 1);
    assert_int_equal(fixture_take(&fixture, "a", 1, NULL).reason, REASON_LOADING);
    fixture.hold = false;
    fixture_pass(&fixture, SECOND);
    assert_int_equal(fixture_take(&fixture, "a", 1, NULL).remaining_tokens, 19);
}

static void test_store_away_and_back(void **state) {
    fixture_store(&fixture, false, false);
    take_many(0, 100, 20);
    assert_true(fixture_pass(&fixture, SECOND) < 150); /* no busy waiting */
    assert_int_equal(fixture.write_count, 0);
    assert_int_equal(counters()->buckets_dirty, 100);
    fixture_store(&fixture, true, false);
    assert_int_equal(fixture_records(&fixture), 100);
    assert_int_equal(counters()->buckets_dirty, 0);
}

static void test_a_restarted_server_gets_everything_again(void **state) {
    take_many(0, 2000, 20);
    fixture_pass(&fixture, 200 * MS);
    assert_int_equal(fixture_records(&fixture), 2000);
    fixture_store(&fixture, false, false);
    fixture.record_count = 0;
    fixture_store(&fixture, true, false); /* the same process: it has lost nothing */
    fixture_pass(&fixture, 200 * MS);
    assert_int_equal(fixture_records(&fixture), 0);
    fixture_store(&fixture, false, false);
    fixture_store(&fixture, true, true);
    fixture_pass(&fixture, 200 * MS);
    assert_int_equal(fixture_records(&fixture), 2000);
}

/* Its master is away, the others are not: what has refilled meanwhile does not fill the memory. */
static void test_a_slot_that_cannot_be_written_is_thinned(void **state) {
    fixture.hold = true;
    fixture_take(&fixture, "a", 5, NULL);
    fixture_pass(&fixture, 100 * MS);
    fixture_answer(&fixture, SHARD_STORED_FAILED);
    take_many(0, 1000, 20);
    assert_int_equal(counters()->buckets, 1001);
    for (int i = 0; i < 60; i++) { /* they are full after two seconds */
        fixture_pass(&fixture, 100 * MS);
        while (fixture.held_count > 0) {
            assert_int_equal(fixture.held[0].kind, SHARD_OP_RAISE_FENCE);
            fixture_answer(&fixture, SHARD_STORED_FAILED);
        }
    }
    assert_int_equal(counters()->buckets, 1); /* the store may have the one */
    fixture.hold = false;
    fixture_pass(&fixture, 2 * SECOND);
    assert_int_equal(counters()->buckets, 0);
    assert_int_equal(fixture_records(&fixture), 0);
}

static void lose_slot(uint16_t at) {
    uint8_t lost[SLOTS_MAX / 8] = {0};
    struct shard_event event = {.kind = SHARD_EVENT_STORE};
    lost[at / 8] = (uint8_t)(1u << (at % 8));
    event.store.up = event.store.restarted = true;
    event.store.lost = lost;
    fixture_step(&fixture, &event);
}

/* A slot whose master is another now; the records of the others are where they were. */
static void test_lost_slots_are_written_again_alone(void **state) {
    char key[32];
    uint32_t of_two = 0, one = fixture_slot(&fixture, "key-1").index, other = 0;
    take_many(0, 2000, 20);
    fixture_pass(&fixture, 200 * MS);
    assert_int_equal(fixture_records(&fixture), 2000);
    for (uint32_t i = 2; other == 0 || other == one; i++) {
        snprintf(key, sizeof key, "key-%u", i);
        other = fixture_slot(&fixture, key).index;
    }
    for (uint32_t i = 0; i < 2000; i++) {
        snprintf(key, sizeof key, "key-%u", i);
        uint32_t at = fixture_slot(&fixture, key).index;
        of_two += at == one || at == other;
    }
    fixture.record_count = 0;
    lose_slot((uint16_t)one);
    lose_slot((uint16_t)other); /* before it is through with the first */
    lose_slot((uint16_t)one);
    fixture_pass(&fixture, 300 * MS);
    assert_in_range(of_two, 2, 1999);
    assert_int_equal(fixture_records(&fixture), of_two);
}

/* What was taken away is back with a server that has lost the tail of its file. */
static void test_a_restarted_server_brings_removed_records_back(void **state) {
    struct record old = {.plan = bytes_of_text("default"), .generation = 1, .tat_count = 1};
    char key[32];
    take_many(0, 50, 10);
    fixture_pass(&fixture, 5 * SECOND);
    assert_int_equal(fixture_records(&fixture), 0);
    assert_int_equal(counters()->buckets, 0);
    fixture_store(&fixture, false, false);
    /* One was reset while it was empty: its record says so still. */
    old.tats[0].ns = fixture.now_ns + SECOND;
    for (uint32_t i = 0; i < 50; i++) {
        snprintf(key, sizeof key, "key-%u", i);
        fixture_put_record(&fixture, key, &old);
    }
    fixture_pass(&fixture, 5 * SECOND);
    fixture_store(&fixture, true, true);
    assert_int_equal(fixture_take(&fixture, "key-8", 20, NULL).remaining_tokens, 0);
    fixture_pass(&fixture, SECOND);
    assert_int_equal(fixture_records(&fixture), 1); /* key-8's, which has been taken since */
    fixture_pass(&fixture, 5 * SECOND);
    assert_int_equal(fixture_records(&fixture), 0);
    assert_int_equal(counters()->buckets, 0);
    assert_true(fixture_pass(&fixture, 100 * SECOND) <= 101); /* at rest */
}

/* It is in memory again when the page comes that has it, and full before it is ever written. */
static void test_a_record_that_is_back_beside_a_new_bucket(void **state) {
    struct record old = {.plan = bytes_of_text("default"), .generation = 1, .tat_count = 1};
    fixture_store(&fixture, false, false);
    fixture_put_record(&fixture, "a", &old);
    fixture.hold = true;
    fixture_store(&fixture, true, true);
    for (uint32_t i = 0; i < 20 && counters()->buckets == 0; i++) {
        const struct held_op *op = &fixture.held[0];
        if (op->kind == SHARD_OP_LOAD_BUCKETS &&
            op->slot.index == fixture_slot(&fixture, "a").index) {
            fixture_inline(&fixture, "a", 1, (struct limit){1000, SECOND, 10}); /* for 1 ms */
        }
        fixture_answer(&fixture, SHARD_STORED_OK);
    }
    assert_int_equal(counters()->buckets, 1);
    fixture.hold = false;
    fixture_answer_all(&fixture);
    fixture_pass(&fixture, 2 * SECOND);
    assert_int_equal(counters()->buckets, 0);
    assert_int_equal(fixture_records(&fixture), 0);
}

/* The slot is sealed, or the server goes once more, while it is being read again. */
static void test_reading_again_is_begun_again(void **state) {
    struct record old = {.plan = bytes_of_text("default"), .generation = 1, .tat_count = 1};
    uint8_t all[SLOTS_MAX / 8], none[SLOTS_MAX / 8] = {0};
    struct shard_event event = {.kind = SHARD_EVENT_SEAL};
    char key[32];
    memset(all, 0xff, sizeof all);
    fixture_store(&fixture, false, false);
    for (uint32_t i = 0; i < 200; i++) {
        snprintf(key, sizeof key, "key-%u", i);
        fixture_put_record(&fixture, key, &old);
    }
    fixture.hold = true;
    fixture_store(&fixture, true, true);
    fixture_answer(&fixture, SHARD_STORED_OK); /* one page */
    fixture_store(&fixture, false, false);
    fixture_store(&fixture, true, true);
    event.seal.slots = all;
    fixture_step(&fixture, &event);
    fixture_answer_all(&fixture);
    fixture.hold = false;
    fixture_pass(&fixture, SECOND);
    assert_true(fixture.update.sealed);
    event = (struct shard_event){.kind = SHARD_EVENT_SEAL};
    event.seal.slots = none;
    fixture_step(&fixture, &event);
    fixture_pass(&fixture, 2 * SECOND);
    assert_int_equal(fixture_records(&fixture), 0);
}

static void test_full_buckets_leave_memory_and_store(void **state) {
    take_many(0, 50, 10);
    fixture_pass(&fixture, 500 * MS);
    assert_int_equal(fixture_records(&fixture), 50);
    fixture_pass(&fixture, 4 * SECOND);
    assert_int_equal(fixture_records(&fixture), 0);
    assert_int_equal(counters()->buckets, 0);
    assert_int_equal(counters()->records_removed, 50);
    uint64_t ops = fixture.op_count;
    assert_true(fixture_pass(&fixture, 100 * SECOND) <= 101); /* at rest */
    assert_int_equal(fixture.op_count, ops);
}

static void test_taken_while_its_delete_is_outstanding(void **state) {
    fixture_take(&fixture, "a", 2, NULL);
    fixture_pass(&fixture, 100 * MS);
    fixture.hold = true;
    fixture_pass(&fixture, 3 * SECOND);
    assert_int_equal(fixture.held_count, 1);
    assert_true(fixture.held[0].entries[0].remove);
    assert_int_equal(fixture_take(&fixture, "a", 7, NULL).remaining_tokens, 13);
    fixture_answer(&fixture, SHARD_STORED_OK);
    assert_int_equal(fixture_verb(&fixture, VERB_PEEK, "a", 0, NULL).remaining_tokens, 13);
    assert_null(fixture_stored(&fixture, "a", false));
    fixture.hold = false;
    fixture_pass(&fixture, 100 * MS);
    assert_non_null(fixture_stored(&fixture, "a", false));
}

static void test_deleted_then_full_again_needs_no_second_delete(void **state) {
    fixture_take(&fixture, "a", 2, NULL);
    fixture_pass(&fixture, 100 * MS);
    fixture.hold = true;
    fixture_pass(&fixture, 3 * SECOND);
    assert_int_equal(fixture.removal_count, 1);
    fixture_take(&fixture, "a", 7, NULL);
    fixture_answer(&fixture, SHARD_STORED_OK);
    fixture_verb(&fixture, VERB_REFUND, "a", 7, NULL);
    fixture.hold = false;
    fixture_pass(&fixture, 3 * SECOND);
    assert_int_equal(fixture.removal_count, 1);
    assert_int_equal(counters()->buckets, 0);
}

/* Finding what is to be written again takes some steps if there are many slots; the last of them is
 * just being let go. */
static void test_a_slot_is_not_let_go_before_it_is_written_again(void **state) {
    fixture_close(&fixture);
    fixture_open(&fixture, &(struct fixture_options){.slot_count = SLOTS_MAX});
    fixture_pass(&fixture, SECOND);
    char first[32] = "", second[32] = "";
    for (uint32_t i = 0; second[0] == '\0'; i++) {
        char key[32];
        snprintf(key, sizeof key, "key-%u", i);
        if (fixture_slot(&fixture, key).index == SLOTS_MAX - 1) {
            memcpy(first[0] == '\0' ? first : second, key, sizeof key);
        }
    }
    fixture_take(&fixture, first, 20, NULL);
    fixture_pass(&fixture, 100 * MS);
    assert_non_null(fixture_stored(&fixture, first, false));
    fixture_take(&fixture, second, 20, NULL);
    fixture.hold = true;
    fixture_store(&fixture, false, false);
    fixture_own(&fixture, fixture_slot(&fixture, first), false);
    fixture_pass(&fixture, 200 * MS); /* the second is due as soon as the store is there */
    fixture.record_count = 0;
    fixture.hold = false;
    fixture_store(&fixture, true, true);
    fixture_pass(&fixture, 200 * MS);
    assert_non_null(fixture_stored(&fixture, first, false));
    assert_non_null(fixture_stored(&fixture, second, false));
    assert_int_equal(counters()->buckets, 0);
}

static void test_never_written_needs_no_delete(void **state) {
    fixture_inline(&fixture, "a", 1, (struct limit){1000, SECOND, 10}); /* full after 1 ms */
    fixture_pass(&fixture, 10 * SECOND);
    assert_int_equal(counters()->buckets, 0);
    assert_int_equal(fixture.write_count, 0);
}

static void test_a_bucket_that_grows_while_it_is_written(void **state) {
    fixture_take(&fixture, "a", 5, NULL);
    fixture.hold = true;
    fixture_pass(&fixture, 100 * MS);
    fixture_take(&fixture, "a", 1, "pair"); /* one limit more: another piece of memory */
    fixture_take(&fixture, "b", 1, NULL);
    fixture_take(&fixture, "b", 1, "pair");
    assert_int_equal(counters()->buckets_dirty, 2);
    while (fixture.held_count > 0) {
        fixture_answer(&fixture, SHARD_STORED_FAILED);
    }
    fixture.hold = false;
    fixture_pass(&fixture, 100 * MS);
    assert_int_equal(counters()->buckets_dirty, 0);
    assert_int_equal(fixture_records(&fixture), 2);
    fixture_crash(&fixture);
    assert_int_equal(fixture_show(&fixture, "a").limit_count, 2);
    assert_int_equal(fixture_show(&fixture, "a").level_tokens[1], 99);
    fixture_pass(&fixture, 100 * SECOND);
    assert_int_equal(fixture_records(&fixture), 0);
    assert_int_equal(counters()->buckets, 0);
}

static void test_stop_writes_everything_then_says_so(void **state) {
    take_many(0, 700, 20);
    fixture.answer = SHARD_STORED_FAILED;
    fixture_stop(&fixture);
    assert_int_equal(fixture_take(&fixture, "key-0", 1, NULL).reason, REASON_STOPPING);
    fixture_pass(&fixture, SECOND);
    assert_false(fixture.stopped);
    fixture.answer = SHARD_STORED_OK;
    fixture_pass(&fixture, 100 * MS);
    assert_true(fixture.stopped);
    assert_int_equal(fixture_records(&fixture), 700);
    uint64_t ops = fixture.op_count;
    fixture_pass(&fixture, 10 * SECOND);
    assert_true(fixture.stopped);
    assert_int_equal(fixture.op_count, ops);
    assert_int_equal(fixture_take(&fixture, "key-0", 1, NULL).reason, REASON_STOPPING);
}

static void test_stop_with_nothing_to_write(void **state) {
    fixture_stop(&fixture);
    assert_true(fixture.stopped);
}

static void test_a_crash_loses_no_more_than_an_interval(void **state) {
    take_many(0, 100, 5);
    fixture_pass(&fixture, 100 * MS);
    take_many(0, 100, 5);
    fixture_crash(&fixture);
    for (uint32_t i = 0; i < 100; i++) {
        char key[32];
        snprintf(key, sizeof key, "key-%u", i);
        assert_int_equal(fixture_verb(&fixture, VERB_PEEK, key, 0, NULL).remaining_tokens, 16);
    }
}

int main(void) {
#define TEST(name, open) cmocka_unit_test_setup_teardown(name, open, close_any)
    const struct CMUnitTest tests[] = {
        TEST(test_written_within_the_interval, open_usual),
        TEST(test_chunks_follow_each_other, open_one_slot),
        TEST(test_a_slow_store_does_not_delay_more_than_it_must, open_one_slot),
        TEST(test_updates_are_bounded, open_usual),
        TEST(test_a_write_that_was_given_up_comes_too_late, open_usual),
        TEST(test_a_fence_that_cannot_be_raised, open_usual),
        TEST(test_a_newer_owner_is_met_by_the_fence, open_usual),
        TEST(test_a_failed_write_is_written_again, open_usual),
        TEST(test_answered_together, open_usual),
        TEST(test_store_away_and_back, open_usual),
        TEST(test_a_restarted_server_gets_everything_again, open_usual),
        TEST(test_lost_slots_are_written_again_alone, open_usual),
        TEST(test_a_slot_that_cannot_be_written_is_thinned, open_one_slot),
        TEST(test_a_restarted_server_brings_removed_records_back, open_usual),
        TEST(test_a_record_that_is_back_beside_a_new_bucket, open_usual),
        TEST(test_reading_again_is_begun_again, open_usual),
        TEST(test_full_buckets_leave_memory_and_store, open_usual),
        TEST(test_taken_while_its_delete_is_outstanding, open_usual),
        TEST(test_deleted_then_full_again_needs_no_second_delete, open_usual),
        TEST(test_a_slot_is_not_let_go_before_it_is_written_again, open_usual),
        TEST(test_never_written_needs_no_delete, open_usual),
        TEST(test_a_bucket_that_grows_while_it_is_written, open_usual),
        TEST(test_stop_writes_everything_then_says_so, open_usual),
        TEST(test_stop_with_nothing_to_write, open_usual),
        TEST(test_a_crash_loses_no_more_than_an_interval, open_usual),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
