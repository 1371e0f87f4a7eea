/* A slot's life: fenced, loaded, served, given away, taken by a newer owner. */
#include "tests/unit/cmocka_all.h"
#include "tests/unit/shard_fixture.h"

static struct fixture fixture;

static int open_bare(void **state) {
    fixture_open_bare(&fixture, &(struct fixture_options){.slot_count = 64});
    return 0;
}

static int open_usual(void **state) {
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

static const struct fixture_plan usual = {"default", 1, {{10, SECOND, 20}}};

static struct record record_of(const char *plan, uint32_t generation, uint64_t tat_ns) {
    return (struct record){.plan = bytes_of_text(plan),
                           .generation = generation,
                           .tat_count = 1,
                           .tats = {{.ns = tat_ns}}};
}

static void test_fence_keys_buckets_in_order(void **state) {
    fixture.hold = true;
    fixture_plans(&fixture, &usual, 1);
    fixture_store(&fixture, true, false);
    assert_int_equal(fixture_take(&fixture, "a", 1, NULL).reason, REASON_NOT_OWNER);
    struct slot slot = fixture_slot(&fixture, "a");
    fixture_own(&fixture, slot, true);
    assert_int_equal(fixture.held_count, 1);
    assert_int_equal(fixture.held[0].kind, SHARD_OP_RAISE_FENCE);
    assert_int_equal(fixture.held[0].slot.index, slot.index);
    assert_int_equal(fixture_take(&fixture, "a", 1, NULL).reason, REASON_LOADING);
    fixture_answer(&fixture, SHARD_STORED_OK);
    assert_int_equal(fixture.held[0].kind, SHARD_OP_LOAD_KEYS);
    assert_int_equal(fixture.held[0].fence, 1);
    fixture_answer(&fixture, SHARD_STORED_OK);
    assert_int_equal(fixture.held[0].kind, SHARD_OP_LOAD_BUCKETS);
    assert_int_equal(fixture.notices[SHARD_NOTICE_SERVING], 0);
    fixture_answer(&fixture, SHARD_STORED_OK);
    assert_int_equal(fixture.held_count, 0);
    assert_int_equal(fixture.notices[SHARD_NOTICE_SERVING], 1);
    assert_true(fixture_take(&fixture, "a", 1, NULL).allowed);
    assert_int_equal(counters()->slots_owned, 1);
    assert_int_equal(counters()->slots_serving, 1);
}

static void test_few_slots_load_at_once(void **state) {
    fixture.hold = true;
    fixture_plans(&fixture, &usual, 1);
    fixture_own_all(&fixture);
    assert_int_equal(fixture.held_count, 0); /* the store is away */
    fixture_store(&fixture, true, false);
    assert_int_equal(fixture.held_count, 64); /* fences, of all */
    uint32_t answered = 0;
    while (fixture.held_count > 0) {
        uint32_t pages = 0;
        for (uint32_t i = 0; i < fixture.held_count; i++) {
            pages += fixture.held[i].kind != SHARD_OP_RAISE_FENCE;
        }
        assert_true(pages <= SHARD_LOADING_MAX);
        fixture_answer(&fixture, SHARD_STORED_OK);
        answered++;
    }
    assert_int_equal(answered, 64 * 3);
    assert_int_equal(counters()->slots_serving, 64);
    assert_int_equal(fixture.notices[SHARD_NOTICE_SERVING], 1);
}

/* As of slots under whose names somebody else keeps something. */
static void test_slots_that_cannot_be_read_hold_up_no_other(void **state) {
    fixture.hold = true;
    fixture_plans(&fixture, &usual, 1);
    fixture_store(&fixture, true, false);
    fixture_own_all(&fixture);
    for (uint32_t i = 0; i < 1000; i++) {
        if (fixture.held_count == 0) {
            fixture_pass(&fixture, 100 * MS);
            continue;
        }
        bool bad = fixture.held[0].kind == SHARD_OP_LOAD_BUCKETS &&
                   fixture.held[0].slot.index <= SHARD_LOADING_MAX;
        fixture_answer(&fixture, bad ? SHARD_STORED_FAILED : SHARD_STORED_OK);
    }
    assert_int_equal(counters()->slots_serving, 64 - (SHARD_LOADING_MAX + 1));
    fixture_answer_all(&fixture);
    for (uint32_t i = 0; i < 10; i++) {
        fixture_pass(&fixture, 100 * MS);
        fixture_answer_all(&fixture);
    }
    assert_int_equal(counters()->slots_serving, 64); /* mended, they are read as well */
}

static void test_records_are_loaded_page_by_page(void **state) {
    char key[32];
    for (uint32_t i = 0; i < 500; i++) {
        snprintf(key, sizeof key, "key-%u", i);
        struct record record = record_of("default", 1, fixture.now_ns + (i % 10 + 1) * 100 * MS);
        fixture_put_record(&fixture, key, &record);
    }
    fixture_plans(&fixture, &usual, 1);
    fixture_store(&fixture, true, false);
    fixture_own_all(&fixture);
    assert_int_equal(counters()->buckets, 500);
    assert_int_equal(counters()->records_loaded, 500);
    for (uint32_t i = 0; i < 500; i++) {
        snprintf(key, sizeof key, "key-%u", i);
        assert_int_equal(fixture_verb(&fixture, VERB_PEEK, key, 1, NULL).remaining_tokens,
                         20 - (i % 10 + 1));
    }
    fixture_pass(&fixture, 200 * MS);
    assert_int_equal(fixture.write_count, 0); /* what was loaded is not dirty */
}

static void test_records_of_former_plans(void **state) {
    fixture_plans(&fixture, &usual, 1);
    struct fixture_plan raised = {"default", 1, {{100, SECOND, 200}}};
    fixture_plans(&fixture, &raised, 1);
    /* Written under generation 1: 10 tokens spent, at 10/s. */
    struct record record = record_of("default", 1, fixture.now_ns + SECOND);
    fixture_put_record(&fixture, "old", &record);
    record.plan = bytes_of_text("vanished");
    record.tat_count = 2;
    record.tats[0].ns += SHARD_FORMER_NS;
    record.tats[1].ns = fixture.now_ns + 1000 * SECOND;
    fixture_put_record(&fixture, "lost", &record);
    fixture_store(&fixture, true, false);
    fixture_own_all(&fixture);
    assert_int_equal(fixture_verb(&fixture, VERB_PEEK, "old", 1, NULL).remaining_tokens, 190);
    /* Nobody knows what was spent, nor what a former owner may still grant of it. */
    assert_int_equal(fixture_take(&fixture, "lost", 1, NULL).reason, REASON_FORMER_OWNER);
    fixture_pass(&fixture, SHARD_FORMER_NS);
    /* The time that was left stays. */
    assert_int_equal(fixture_verb(&fixture, VERB_PEEK, "lost", 1, NULL).remaining_tokens, 100);
    assert_int_equal(fixture_show(&fixture, "lost").limit_count, 2);
    assert_string_equal(fixture_show(&fixture, "lost").bucket_plan.text, "vanished");
    fixture_pass(&fixture, 100 * MS);
    assert_non_null(fixture_stored(&fixture, "lost", false));
    struct fixture_plan both[] = {raised, {"vanished", 2, {{10, SECOND, 20}, {1, SECOND, 2000}}}};
    fixture_plans(&fixture, both, 2);
    assert_int_equal(fixture_verb(&fixture, VERB_PEEK, "lost", 1, "vanished").limit_tokens, 20);
}

/* Whatever stands beside it in its page, each record is read under its own plan and generation. */
static void test_records_of_many_plans_share_pages(void **state) {
    static const struct {
        const char *plan;
        uint32_t generation;
        uint64_t remaining_tokens;
    } kinds[] = {{"default", 1, 190}, {"other", 1, 999}, {"default", 2, 100}};
    fixture_close(&fixture);
    struct fixture_options options = {.slot_count = 1};
    fixture_open_bare(&fixture, &options);
    struct fixture_plan plans[] = {usual, {"other", 1, {{1, SECOND, 1000}}}};
    fixture_plans(&fixture, plans, 2);
    plans[0].limits[0] = (struct limit){100, SECOND, 200};
    fixture_plans(&fixture, plans, 2);
    char key[32];
    for (uint32_t i = 0; i < 90; i++) { /* all orders of two, three and more of a kind */
        uint32_t kind = (i + i / 3 + i / 9 * (i % 2)) % 3;
        snprintf(key, sizeof key, "%u-%u", kind, i);
        struct record record =
            record_of(kinds[kind].plan, kinds[kind].generation, fixture.now_ns + SECOND);
        fixture_put_record(&fixture, key, &record);
    }
    fixture_store(&fixture, true, false);
    fixture_own_all(&fixture);
    assert_int_equal(counters()->records_loaded, 90);
    for (uint32_t i = 0; i < 90; i++) {
        uint32_t kind = (i + i / 3 + i / 9 * (i % 2)) % 3;
        snprintf(key, sizeof key, "%u-%u", kind, i);
        assert_int_equal(
            fixture_verb(&fixture, VERB_PEEK, key, 1, kinds[kind].plan).remaining_tokens,
            kinds[kind].remaining_tokens);
    }
}

static void test_a_newer_generation_than_the_set_waits_for_the_set(void **state) {
    fixture_plans(&fixture, &usual, 1);
    /* The owner before had a newer set already: 100/s burst 200, of which 50 are spent. */
    struct record record = record_of("default", 2, fixture.now_ns + 500 * MS);
    fixture_put_record(&fixture, "a", &record);
    fixture_store(&fixture, true, false);
    fixture_own_all(&fixture);
    struct fixture_plan raised = {"default", 1, {{100, SECOND, 200}}};
    fixture_plans(&fixture, &raised, 1);
    assert_int_equal(fixture_verb(&fixture, VERB_PEEK, "a", 1, NULL).remaining_tokens, 150);
}

static void test_unreadable_records_refuse_until_reset(void **state) {
    fixture_put(&fixture, bytes_of_text("bad"), bytes_of_text("not msgpack"), false);
    fixture_plans(&fixture, &usual, 1);
    fixture_store(&fixture, true, false);
    fixture_own_all(&fixture);
    assert_int_equal(fixture.notices[SHARD_NOTICE_UNREADABLE], 1);
    assert_true(strlen(fixture.notice_text) > 0);
    assert_int_equal(counters()->records_unreadable, 1);
    assert_int_equal(fixture_take(&fixture, "bad", 1, NULL).reason, REASON_RECORD_UNREADABLE);
    fixture_pass(&fixture, 10 * SECOND);
    assert_non_null(fixture_stored(&fixture, "bad", false)); /* nobody has touched it */
    fixture_admin(&fixture, SHARD_ADMIN_SHOW, "bad", NULL);
    assert_int_equal(fixture_reply(&fixture).reason, REASON_RECORD_UNREADABLE);
    fixture_admin(&fixture, SHARD_ADMIN_RESET, "bad", NULL);
    assert_int_equal(fixture_reply(&fixture).reason, REASON_NONE);
    assert_null(fixture_stored(&fixture, "bad", false));
    assert_true(fixture_take(&fixture, "bad", 20, NULL).allowed);
}

/* A page that could not be read is read again, from the start; what has been read stays. */
static void test_loading_starts_over_when_the_store_fails(void **state) {
    char key[32];
    for (uint32_t i = 0; i < 500; i++) {
        snprintf(key, sizeof key, "key-%u", i);
        struct record record = record_of("default", 1, fixture.now_ns + 2 * SECOND);
        fixture_put_record(&fixture, key, &record);
    }
    fixture.hold = true;
    fixture_plans(&fixture, &usual, 1);
    fixture_store(&fixture, true, false);
    fixture_own(&fixture, fixture_slot(&fixture, "key-0"), true);
    fixture_answer(&fixture, SHARD_STORED_OK);
    fixture_answer(&fixture, SHARD_STORED_OK);
    fixture_answer(&fixture, SHARD_STORED_OK); /* a first page of buckets */
    assert_int_equal(counters()->buckets, FIXTURE_PAGE);
    fixture_store(&fixture, false, false);
    assert_int_equal(counters()->buckets, FIXTURE_PAGE);
    fixture.hold = false;
    fixture_pass(&fixture, SECOND);
    assert_int_equal(counters()->slots_serving, 0);
    fixture_store(&fixture, true, false);
    fixture_pass(&fixture, 200 * MS);
    assert_int_equal(counters()->slots_serving, 1);
    assert_int_equal(fixture_verb(&fixture, VERB_PEEK, "key-0", 1, NULL).remaining_tokens, 12);
    assert_int_equal(fixture.fences[fixture_slot(&fixture, "key-0").index], 1);
}

static void test_a_slot_given_away_is_written_first(void **state) {
    struct slot slot = fixture_slot(&fixture, "a");
    fixture_take(&fixture, "a", 5, NULL);
    fixture.hold = true;
    fixture_own(&fixture, slot, false);
    assert_int_equal(fixture.held_count, 1);
    assert_int_equal(fixture.held[0].kind, SHARD_OP_WRITE);
    assert_int_equal(fixture_take(&fixture, "a", 1, NULL).reason, REASON_NOT_OWNER);
    fixture_own(&fixture, slot, true); /* and back before it is through */
    assert_int_equal(fixture_take(&fixture, "a", 1, NULL).reason, REASON_LOADING);
    fixture_answer(&fixture, SHARD_STORED_OK);
    assert_int_equal(fixture_take(&fixture, "a", 1, NULL).reason, REASON_LOADING);
    fixture.hold = false;
    fixture_pass(&fixture, 200 * MS);
    assert_int_equal(fixture_take(&fixture, "a", 1, NULL).remaining_tokens, 16);
    fixture_own(&fixture, slot, false);
    assert_int_equal(counters()->buckets, 0);
    assert_int_equal(counters()->slots_owned, 3);
    assert_int_equal(counters()->slots_serving, 3);
    assert_non_null(fixture_stored(&fixture, "a", false));
}

/* A write that was given up may still come, and only a raised fence would keep it from overwriting
 * the next one: but the fence is the new owner's by now. */
static void test_a_slot_given_away_is_not_written_again(void **state) {
    struct slot slot = fixture_slot(&fixture, "a");
    fixture_take(&fixture, "a", 5, NULL);
    fixture.hold = true;
    fixture_own(&fixture, slot, false);
    fixture_answer(&fixture, SHARD_STORED_FAILED);
    fixture_pass(&fixture, SECOND);
    assert_int_equal(fixture.held_count, 0);
    assert_int_equal(counters()->buckets, 0);
}

static void test_fenced_drops_the_slot_and_loads_it_again(void **state) {
    struct slot slot = fixture_slot(&fixture, "a");
    fixture_take(&fixture, "a", 5, NULL);
    fixture_pass(&fixture, 100 * MS);
    fixture_take(&fixture, "a", 5, NULL);
    fixture.fences[slot.index] = 100;
    /* The newer owner has granted more. */
    struct record record = record_of("default", 1, fixture.now_ns + 1700 * MS);
    fixture_put_record(&fixture, "a", &record);
    fixture.hold = true;
    fixture_pass(&fixture, 100 * MS);
    fixture_answer(&fixture, SHARD_STORED_OK);
    assert_int_equal(fixture.notices[SHARD_NOTICE_FENCED], 1);
    assert_int_equal(counters()->buckets, 0);
    assert_int_equal(counters()->buckets_dirty, 0);
    assert_int_equal(fixture_take(&fixture, "a", 1, NULL).reason, REASON_LOADING);
    fixture.hold = false;
    fixture_pass(&fixture, 100 * MS);
    assert_int_equal(fixture.fences[slot.index], 101);
    assert_int_equal(fixture_take(&fixture, "a", 1, NULL).remaining_tokens, 20 - 15 - 1);
}

static void test_late_answers_are_ignored(void **state) {
    struct slot slot = fixture_slot(&fixture, "a");
    fixture_take(&fixture, "a", 5, NULL);
    fixture.hold = true;
    fixture_pass(&fixture, 100 * MS);
    assert_int_equal(fixture.held_count, 1);
    struct shard_event late = {.kind = SHARD_EVENT_STORED};
    late.stored.op_kind = SHARD_OP_WRITE;
    late.stored.slot = slot;
    late.stored.op_id = fixture.held[0].op_id;
    late.stored.status = SHARD_STORED_FENCED;
    fixture_store(&fixture, false, false);
    fixture_step(&fixture, &late);
    assert_int_equal(counters()->writes_fenced, 0);
    assert_int_equal(fixture_take(&fixture, "a", 1, NULL).remaining_tokens, 15);
}

static void test_memory_full_while_loading_waits_for_room(void **state) {
    fixture_close(&fixture);
    struct fixture_options options = {.slot_count = 1, .memory_bytes_max = 4u << 20};
    fixture_open_bare(&fixture, &options);
    char key[KEY_BYTES_MAX];
    /* One long key a size class: each takes a page. */
    for (uint32_t i = 0; i < 6; i++) {
        memset(key, 'k', sizeof key);
        key[20 + i * 16] = '\0';
        struct record record =
            record_of("default", 1, fixture.now_ns + (i < 3 ? 1 : 1000) * SECOND);
        fixture_put_record(&fixture, key, &record);
    }
    fixture_plans(&fixture, &usual, 1);
    fixture_store(&fixture, true, false);
    fixture_own_all(&fixture);
    assert_int_equal(counters()->slots_serving, 0);
    /* A page that fits in the end is taken whole. Full buckets need no room. */
    assert_true(fixture_pass(&fixture, 2 * SECOND) < 100);
    assert_int_equal(counters()->slots_serving, 0);
    fixture_pass(&fixture, 2000 * SECOND);
    assert_int_equal(counters()->slots_serving, 1);
    assert_true(fixture_take(&fixture, "a", 1, NULL).allowed);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_fence_keys_buckets_in_order, open_bare, close_any),
        cmocka_unit_test_setup_teardown(test_few_slots_load_at_once, open_bare, close_any),
        cmocka_unit_test_setup_teardown(test_slots_that_cannot_be_read_hold_up_no_other, open_bare,
                                        close_any),
        cmocka_unit_test_setup_teardown(test_records_are_loaded_page_by_page, open_bare, close_any),
        cmocka_unit_test_setup_teardown(test_records_of_former_plans, open_bare, close_any),
        cmocka_unit_test_setup_teardown(test_records_of_many_plans_share_pages, open_bare,
                                        close_any),
        cmocka_unit_test_setup_teardown(test_a_newer_generation_than_the_set_waits_for_the_set,
                                        open_bare, close_any),
        cmocka_unit_test_setup_teardown(test_unreadable_records_refuse_until_reset, open_bare,
                                        close_any),
        cmocka_unit_test_setup_teardown(test_loading_starts_over_when_the_store_fails, open_bare,
                                        close_any),
        cmocka_unit_test_setup_teardown(test_a_slot_given_away_is_written_first, open_usual,
                                        close_any),
        cmocka_unit_test_setup_teardown(test_a_slot_given_away_is_not_written_again, open_usual,
                                        close_any),
        cmocka_unit_test_setup_teardown(test_fenced_drops_the_slot_and_loads_it_again, open_usual,
                                        close_any),
        cmocka_unit_test_setup_teardown(test_late_answers_are_ignored, open_usual, close_any),
        cmocka_unit_test_setup_teardown(test_memory_full_while_loading_waits_for_room, open_bare,
                                        close_any),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
