/* The store on a Redis Cluster: where a slot's calls go when its master changes, in which order,
 * and what the shard hears of it. The journal's letters are told in fake_masters.h. */
#include "runtime/redis_slots.h"
#include "tests/unit/fake_masters.h"

enum { A, B };

#define RAISE SHARD_OP_RAISE_FENCE
#define WRITE SHARD_OP_WRITE
#define ASSIGN SHARD_OP_ASSIGN
#define FETCH SHARD_OP_FETCH
#define PAGE SHARD_OP_LOAD_BUCKETS

static struct fake_masters all;

/* Opens the store with every slot at A, and has it raise the fence of one. */
static uint16_t open_with_a_slot(const char *ack) {
    fake_open(&all, ack);
    uint16_t slot = fake_slot(false);
    fake_do(&all, RAISE, slot, 0);
    fake_expect(&all, "Ar=1o");
    return slot;
}

static void each_slot_goes_to_its_master(void **state) {
    fake_open(&all, "memory");
    all.high = B;
    fake_await_table(&all);
    fake_do(&all, RAISE, fake_slot(false), 0);
    fake_do(&all, RAISE, fake_slot(true), 0);
    fake_expect(&all, "Ar=1oBr=2o");
    fake_close(&all);
}

static void a_call_follows_moved(void **state) {
    uint16_t slot = open_with_a_slot("memory");
    all.low = all.high = B;
    fake_say(&all, A, "-MOVED 1 PLACE\r\n");
    fake_do(&all, WRITE, slot, 0);
    /* B has another history: what A had acknowledged is written again. */
    char expected[64];
    snprintf(expected, sizeof expected, "Aw!%uBw=2o", slot);
    fake_expect(&all, expected);
    fake_do(&all, WRITE, slot, 0); /* it is known from now on */
    fake_expect(&all, "Bw=3o");
    fake_close(&all);
}

static void a_call_asks_elsewhere_once(void **state) {
    uint16_t slot = open_with_a_slot("memory");
    fake_say(&all, A, "-ASK 1 PLACE\r\n");
    fake_do(&all, WRITE, slot, 0);
    fake_expect(&all, "AwB?Bw=2o");
    fake_do(&all, WRITE, slot, 0);
    fake_expect(&all, "Aw=3o");
    fake_close(&all);
}

static void a_slot_between_two_masters_is_tried_again(void **state) {
    uint16_t slot = open_with_a_slot("memory");
    fake_say(&all, A, "-TRYAGAIN Multiple keys request during rehashing of slot\r\n");
    fake_say(&all, A, "-ASK 1 PLACE\r\n");
    fake_say(&all, B, "-TRYAGAIN Multiple keys request during rehashing of slot\r\n");
    fake_do(&all, WRITE, slot, 0);
    fake_do(&all, ASSIGN, slot, 0); /* does not overtake it */
    fake_expect(&all, "AwAwB?BwAw=2oAa=3o");
    fake_close(&all);
}

static void a_slot_that_stays_between_is_given_up(void **state) {
    uint16_t slot = open_with_a_slot("memory");
    all.masters[A].said_count = 0;
    for (int i = 0; i < FAKE_SAID_MAX; i++)
        fake_say(&all, A, "-TRYAGAIN Multiple keys request during rehashing of slot\r\n");
    fake_do(&all, WRITE, slot, 0);
    uint64_t began_ns = uv_hrtime();
    while (strchr(all.journal, '=') == NULL) {
        if (all.masters[A].said_count < 2)
            fake_say(&all, A, "-TRYAGAIN Multiple keys request during rehashing of slot\r\n");
        loop_run_ms(&all.loop, 1);
        assert_true(uv_hrtime() - began_ns < UINT64_C(1000000) * LOOP_WAIT_MS);
    }
    assert_non_null(strstr(all.journal, "Aw=2F"));
    assert_null(strchr(all.journal, 'B'));
    assert_true(uv_hrtime() - began_ns >= UINT64_C(900) * 1000000);
    fake_close(&all);
}

static void masters_that_disagree_are_not_asked_for_ever(void **state) {
    uint16_t slot = open_with_a_slot("memory");
    fake_do(&all, WRITE, slot, 0);
    fake_expect(&all, "Aw=2o");
    for (int i = 0; i < FAKE_SAID_MAX / 2; i++) {
        fake_say(&all, A, "-MOVED 1 PLACE\r\n");
        fake_say(&all, B, "-MOVED 1 PLACE\r\n");
    }
    fake_do(&all, WRITE, slot, 0);
    /* Three times there and back at once, the rest with pauses; it ends well when they agree. */
    uint64_t began_ns = uv_hrtime();
    while (strstr(all.journal, "=3o") == NULL) {
        loop_run_ms(&all.loop, 1);
        assert_true(uv_hrtime() - began_ns < UINT64_C(1000000) * LOOP_WAIT_MS);
    }
    assert_true(uv_hrtime() - began_ns >= UINT64_C(50) * 1000000);
    fake_close(&all);
}

static void writes_of_a_slot_go_one_by_one(void **state) {
    uint16_t slot = open_with_a_slot("memory");
    fake_hold(&all, A, true);
    fake_do(&all, ASSIGN, slot, 0);
    fake_do(&all, ASSIGN, slot, 0);
    fake_do(&all, FETCH, slot, 0);
    fake_do(&all, FETCH, slot, 0);
    fake_expect(&all, "Aa");
    fake_hold(&all, A, false);
    fake_expect(&all, "=2oAaAfAf=3o=4o=5o");
    fake_close(&all);
}

/* Of a slot, what was sent to the old master is answered before anything goes to the new one. */
static void a_slot_has_one_master_at_a_time(void **state) {
    uint16_t slot = open_with_a_slot("memory");
    fake_hold(&all, A, true);
    fake_do(&all, FETCH, slot, 0);
    fake_expect(&all, "Af");
    all.low = all.high = B;
    fake_hold(&all, A, false);
    fake_expect(&all, "=2o");
    fake_hold(&all, A, true);
    fake_say(&all, A, "-MOVED 1 PLACE\r\n");
    fake_do(&all, WRITE, slot, 0);
    fake_do(&all, FETCH, slot, 0);
    fake_do(&all, FETCH, slot, 0);
    fake_expect(&all, "AwAfAf"); /* A answers the last two itself */
    fake_hold(&all, A, false);
    char expected[64];
    snprintf(expected, sizeof expected, "=4o=5o!%uBw=3o", slot);
    fake_expect(&all, expected);
    fake_close(&all);
}

static void a_lost_write_is_not_sent_again(void **state) {
    uint16_t slot = open_with_a_slot("memory");
    fake_hold(&all, A, true);
    fake_do(&all, WRITE, slot, 0);
    fake_expect(&all, "Aw");
    all.masters[A].peers[0].out_size = 0;
    fake_cut(&all, A);
    fake_expect(&all, "=2F-"); /* home is gone with it */
    for (uint32_t i = 0; i < FAKE_PEERS_MAX; i++)
        all.masters[A].peers[i].out_size = 0;
    fake_hold(&all, A, false);
    fake_expect(&all, "+");
    uint64_t began_ns = uv_hrtime();
    while (strchr(all.journal, 'o') == NULL) { /* the link to A may take longer than home's */
        fake_do(&all, RAISE, slot, 0);
        loop_run_ms(&all.loop, 10);
        assert_true(uv_hrtime() - began_ns < UINT64_C(1000000) * LOOP_WAIT_MS);
    }
    assert_null(strchr(all.journal, 'w'));
    fake_close(&all);
}

/* A cursor is of one connection to one server. */
static void a_scan_is_not_continued_elsewhere(void **state) {
    uint16_t slot = open_with_a_slot("memory");
    fake_say(&all, A, "*2\r\n$1\r\n9\r\n*0\r\n");
    fake_say(&all, A, "*2\r\n$2\r\n11\r\n*0\r\n");
    fake_do(&all, PAGE, slot, 0);
    fake_expect(&all, "Ah0=2o");
    fake_do(&all, PAGE, slot, 9);
    fake_expect(&all, "Ah9=3o");
    fake_say(&all, A, "-MOVED 1 PLACE\r\n");
    all.low = all.high = B;
    fake_do(&all, PAGE, slot, 11);
    char expected[64];
    snprintf(expected, sizeof expected, "Ah11!%u=4F", slot);
    fake_expect(&all, expected);
    fake_do(&all, PAGE, slot, 0);
    fake_expect(&all, "Bh0=5o");
    fake_close(&all);
}

static void a_scan_does_not_outlive_its_connection(void **state) {
    uint16_t slot = open_with_a_slot("memory");
    fake_say(&all, A, "*2\r\n$1\r\n9\r\n*0\r\n");
    fake_do(&all, PAGE, slot, 0);
    fake_expect(&all, "Ah0=2o");
    fake_cut(&all, A);
    fake_expect(&all, "-+");
    fake_do(&all, PAGE, slot, 9);
    fake_expect(&all, "=3F");
    fake_do(&all, PAGE, slot, 0);
    fake_expect(&all, "Ah0=4o");
    fake_close(&all);
}

/* WAIT goes to the link that carried the write that was executed. */
static void an_acknowledgement_is_the_writers(void **state) {
    fake_open(&all, "replicas:1");
    uint16_t slot = fake_slot(false);
    fake_do(&all, RAISE, slot, 0);
    fake_expect(&all, "ArAW=1o");
    fake_say(&all, A, "-ASK 1 PLACE\r\n");
    fake_hold(&all, B, true);
    fake_do(&all, WRITE, slot, 0);
    fake_expect(&all, "AwAW"); /* B has not told yet that it keeps what is asked */
    fake_hold(&all, B, false);
    fake_expect(&all, "B?BwBW=2o");
    fake_close(&all);
}

static void a_master_that_comes_back_as_another_is_written_to_again(void **state) {
    uint16_t slot = open_with_a_slot("memory");
    uint32_t links = fake_links(&all, A);
    assert_true(links > 0);
    fake_cut(&all, A);
    fake_expect(&all, "-+"); /* the same as before */
    fake_await_links(&all, A, links);
    fake_do(&all, WRITE, slot, 0);
    fake_expect(&all, "Aw=2o");
    all.masters[A].history = 7;
    fake_cut(&all, A);
    char expected[64];
    snprintf(expected, sizeof expected, "-+!%u", slot);
    fake_expect(&all, expected);
    /* It may also have been a replica for a moment, unseen. */
    all.masters[A].history = 8;
    snprintf(expected, sizeof expected, "!%u", slot);
    fake_expect(&all, expected);
    fake_close(&all);
}

static void others_go_on_without_a_master(void **state) {
    fake_open(&all, "memory");
    all.high = B;
    uint16_t low = fake_slot(false), high = fake_slot(true);
    fake_do(&all, RAISE, low, 0);
    fake_expect(&all, "Ar=1o");
    fake_await_table(&all);
    fake_do(&all, RAISE, high, 0);
    fake_expect(&all, "Br=2o");
    uv_close((uv_handle_t *)&all.masters[B].listener, NULL);
    fake_cut(&all, B);
    loop_run_ms(&all.loop, 50);
    fake_do(&all, WRITE, high, 0);
    fake_expect(&all, "=3F"); /* at once or at the end of the turn, as hiredis has it */
    fake_do(&all, WRITE, low, 0);
    fake_expect(&all, "Aw=4o");
    store_close(all.store);
    fake_cut(&all, A);
    uv_close((uv_handle_t *)&all.masters[A].listener, NULL);
    uv_run(&all.loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&all.loop), 0);
}

static void a_slot_that_nobody_serves_fails(void **state) {
    uint16_t slot = open_with_a_slot("memory");
    fake_say(&all, A, "-CLUSTERDOWN Hash slot not served\r\n");
    fake_do(&all, WRITE, slot, 0);
    fake_expect(&all, "Aw=2F");
    fake_close(&all);
}

static void closing_answers_nothing(void **state) {
    uint16_t slot = open_with_a_slot("memory");
    fake_hold(&all, A, true);
    fake_do(&all, WRITE, slot, 0);
    fake_do(&all, ASSIGN, slot, 0);
    fake_expect(&all, "Aw");
    fake_close(&all);
    assert_string_equal(all.journal, "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_slot_goes_to_its_master),
        cmocka_unit_test(a_call_follows_moved),
        cmocka_unit_test(a_call_asks_elsewhere_once),
        cmocka_unit_test(a_slot_between_two_masters_is_tried_again),
        cmocka_unit_test(a_slot_that_stays_between_is_given_up),
        cmocka_unit_test(masters_that_disagree_are_not_asked_for_ever),
        cmocka_unit_test(writes_of_a_slot_go_one_by_one),
        cmocka_unit_test(a_slot_has_one_master_at_a_time),
        cmocka_unit_test(a_lost_write_is_not_sent_again),
        cmocka_unit_test(a_scan_is_not_continued_elsewhere),
        cmocka_unit_test(a_scan_does_not_outlive_its_connection),
        cmocka_unit_test(an_acknowledgement_is_the_writers),
        cmocka_unit_test(a_master_that_comes_back_as_another_is_written_to_again),
        cmocka_unit_test(others_go_on_without_a_master),
        cmocka_unit_test(a_slot_that_nobody_serves_fails),
        cmocka_unit_test(closing_answers_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
