/* A whole router on a loop: what goes through it, and what it makes of shards that fail. */

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "runtime/clock.h"
#include "tests/unit/test_router_io_fixture.h"

/* --- tests ---------------------------------------------------------------------------------- */

static void test_takes_peeks_and_refunds_are_answered(void **state) {
    struct fixture *fixture = *state;
    for (int verb = VERB_TAKE; verb <= VERB_REFUND; verb++) {
        struct reply reply = call(fixture, (enum verb)verb, "alice", 5 + (uint64_t)verb, NULL, 0);
        assert_true(result_of(&reply).allowed);
        assert_int_equal(result_of(&reply).remaining_tokens, 5 + verb);
        assert_int_equal(result_of(&reply).flags, 0);
    }
    assert_int_equal(fixture->shards[0].takes_seen, 3);
}

static void test_a_full_take_many_goes_through(void **state) {
    struct fixture *fixture = *state;
    const uint32_t count = TAKES_PER_REQUEST_MAX;
    static uint8_t memory[1 << 20];
    struct writer writer = writer_of(memory, sizeof memory);
    request_write_head(&writer, 5, METHOD_TAKE_MANY);
    write_array(&writer, count);
    for (uint32_t i = 0; i < count; i++) {
        char key[32];
        snprintf(key, sizeof key, "key-%u", i);
        struct take take = {.key = bytes_of_text(key), .cost_tokens = i};
        request_write_take(&writer, &take, 0);
    }
    struct reply reply = call_bytes(fixture, writer_bytes(&writer));
    assert_false(reply.is_error);
    struct reader reader = reader_of(reply.result);
    uint32_t results;
    assert_true(read_array(&reader, &results));
    assert_int_equal(results, count);
    for (uint32_t i = 0; i < count; i++) {
        struct take_result result;
        assert_true(result_read(&reader, &result, NULL));
        assert_int_equal(result.remaining_tokens, i);
    }
}

static void test_requests_of_one_turn_share_a_batch(void **state) {
    struct fixture *fixture = *state;
    uint8_t memory[64];
    struct take take = {.key = bytes_of_text("k"), .cost_tokens = 1};
    uint64_t batches = COUNTED(fixture, batches);
    for (uint32_t i = 0; i < 100; i++) {
        struct writer writer = writer_of(memory, sizeof memory);
        request_write_single(&writer, i, VERB_TAKE, &take, 0);
        assert_int_equal(link_send(fixture->client, fixture->next_id++, writer_bytes(&writer)),
                         LINK_SENT);
    }
    link_flush(fixture->client);
    WAIT(fixture, fixture->reply_count == 100);
    assert_true(COUNTED(fixture, batches) - batches < 10);
}

static void test_bad_requests_are_refused_with_their_msgid(void **state) {
    struct fixture *fixture = *state;
    static const uint8_t no_method[] = "\x94\x00\x07\xa5\x74\x61\x6b\x65\x73\x90";
    static const uint8_t no_key[] = "\x94\x00\x08\xa4\x74\x61\x6b\x65\x90";
    static const uint8_t nothing[] = "\xc1";
    struct reply reply = call_bytes(fixture, bytes_of(no_method, sizeof no_method - 1));
    assert_int_equal(reply.code, CODE_UNKNOWN_METHOD);
    assert_int_equal(reply.msgid, 7);
    reply = call_bytes(fixture, bytes_of(no_key, sizeof no_key - 1));
    assert_int_equal(reply.code, CODE_BAD_REQUEST);
    assert_int_equal(reply.msgid, 8);
    reply = call_bytes(fixture, bytes_of(nothing, sizeof nothing - 1));
    assert_int_equal(reply.code, CODE_BAD_REQUEST);
    assert_false(reply.has_msgid);
    reply = call_method(fixture, METHOD_PLANS_GET);
    assert_int_equal(reply.code, CODE_FORBIDDEN);
    assert_int_equal(reply.msgid, 78);
}

/* Sends a message beyond the bound over a plain socket, and reads the answer: its own thread, since
 * it blocks. */
struct oversize {
    int port;
    bool done;
    uint8_t answer[512];
    size_t size;
};

static void oversize_run(void *ctx) {
    struct oversize *oversize = ctx;
    static const uint8_t greeting[8] = {0, 'S', 'P', 0, 0, 0x30, 0, 0};
    static const uint8_t start[] = {0x80, 0,   0,   1, /* the request's id */
                                    0x94, 0,   42,     /* msgid 42 */
                                    0xa4, 't', 'a', 'k', 'e', 0x90};
    const uint64_t size = MESSAGE_BYTES_MAX + 100;
    uint8_t *message = calloc(1, 16 + size);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)oversize->port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    memcpy(message, greeting, sizeof greeting);
    for (int i = 0; i < 8; i++) {
        message[8 + i] = (uint8_t)(size >> (56 - 8 * i));
    }
    memcpy(message + 16, start, sizeof start);
    bool good = connect(fd, (struct sockaddr *)&to, sizeof to) == 0;
    for (uint64_t sent = 0; good && sent < 16 + size;) {
        ssize_t part = write(fd, message + sent, 16 + size - sent);
        good = part > 0;
        sent += good ? (uint64_t)part : 0;
    }
    while (good && oversize->size < 30) {
        ssize_t part =
            read(fd, oversize->answer + oversize->size, sizeof oversize->answer - oversize->size);
        good = part > 0;
        oversize->size += good ? (size_t)part : 0;
    }
    close(fd);
    free(message);
    __atomic_store_n(&oversize->done, true, __ATOMIC_RELEASE);
}

static void test_an_oversize_request_is_too_large(void **state) {
    struct fixture *fixture = *state;
    struct oversize oversize = {.port =
                                    (int)strtol(strrchr(fixture->router_url, ':') + 1, NULL, 10)};
    uv_thread_t thread;
    assert_int_equal(uv_thread_create(&thread, oversize_run, &oversize), 0);
    uv_timer_start(&fixture->patience, on_patience_end, 10, 10); /* keeps the loop turning */
    for (int i = 0; i < 500 && !__atomic_load_n(&oversize.done, __ATOMIC_ACQUIRE); i++) {
        uv_run(&fixture->loop, UV_RUN_ONCE);
    }
    uv_timer_stop(&fixture->patience);
    fixture->out_of_patience = false;
    uv_thread_join(&thread);
    assert_true(oversize.size > 20);
    struct reply reply;
    assert_true(reply_read(bytes_of(oversize.answer + 20, oversize.size - 20), &reply));
    assert_int_equal(reply.code, CODE_TOO_LARGE);
    assert_int_equal(reply.msgid, 42);
}

static void test_the_map_and_the_status_can_be_asked_for(void **state) {
    struct fixture *fixture = *state;
    struct map *map = calloc(1, sizeof *map);
    struct plan_set *plans = calloc(1, sizeof *plans);
    struct fault fault;
    uint64_t age_ms;
    struct reply reply = call_method(fixture, METHOD_CLUSTER_MAP);
    assert_int_equal(cluster_view_read(reply.result, map, plans, &age_ms, &fault), CODE_OK);
    assert_int_equal(map->epoch.number, 1);
    assert_int_equal(plans->plan_count, 2);
    free(map);
    free(plans);

    reply = call_method(fixture, METHOD_CLUSTER_STATUS);
    struct reader reader = reader_of(reply.result);
    struct bytes text;
    uint32_t members;
    assert_true(read_map(&reader, &members));
    assert_int_equal(members, 12);
    assert_true(read_bytes(&reader, &text) && bytes_equal(text, bytes_of_text("program")));
    assert_true(read_bytes(&reader, &text) && bytes_equal(text, bytes_of_text("sluice-router")));
    for (uint32_t i = 2; i < 2 * members; i++) {
        assert_true(read_any(&reader, &text));
    }
    assert_true(reader_done(&reader));
}

static void test_a_silent_shard_is_answered_for_at_the_deadline(void **state) {
    struct fixture *fixture = *state;
    fixture->shards[0].manner = SILENT;
    static const uint32_t deadlines_ms[] = {20, 100, 250};
    for (uint32_t i = 0; i < 3; i++) {
        uint64_t start_ns = clock_monotonic_ns();
        struct reply reply = call(fixture, VERB_TAKE, "k", 1, "open", deadlines_ms[i]);
        uint64_t late_ns = clock_monotonic_ns() - start_ns - deadlines_ms[i] * MS;
        assert_true(result_of(&reply).allowed);
        assert_int_equal(result_of(&reply).flags, TAKE_FLAG_DEGRADED);
        assert_true((int64_t)late_ns >= 0);
        print_message("deadline %u ms: answered %.1f ms after it\n", deadlines_ms[i],
                      (double)late_ns / 1e6);
        assert_true(late_ns < 100 * MS); /* 5 ms on a machine that is not busy otherwise */
    }
    struct reply reply = call(fixture, VERB_TAKE, "k", 1, NULL, 20);
    assert_false(result_of(&reply).allowed);
    assert_int_equal(result_of(&reply).retry_after_us, 1000000);
    reply = call(fixture, VERB_PEEK, "k", 1, NULL, 20);
    assert_int_equal(reply.code, CODE_UNAVAILABLE);
    reply = call(fixture, VERB_TAKE, "k", 1, "nosuch", 20);
    assert_int_equal(reply.code, CODE_UNKNOWN_PLAN);
}

static void test_moved_is_followed_to_the_new_owner(void **state) {
    struct fixture *fixture = *state;
    struct reply reply = call(fixture, VERB_TAKE, "k", 1, NULL, 0);
    map_give_to(fixture, 1);
    fixture->shards[0].manner = MOVED;
    reply = call(fixture, VERB_TAKE, "k", 9, NULL, 0);
    assert_int_equal(result_of(&reply).remaining_tokens, 9);
    assert_int_equal(result_of(&reply).flags, 0);
    assert_int_equal(fixture->shards[1].takes_seen, 1);
    assert_int_equal(router_shell_map(fixture->shell)->epoch.number, 2);
}

static void test_a_shard_that_dies_is_replaced_by_the_next_map(void **state) {
    struct fixture *fixture = *state;
    fixture->shards[0].manner = SILENT;
    uint8_t memory[64];
    struct writer writer = writer_of(memory, sizeof memory);
    struct take take = {.key = bytes_of_text("k"), .cost_tokens = 3};
    request_write_single(&writer, 1, VERB_TAKE, &take, 3000);
    uint32_t before = fixture->reply_count;
    send_bytes(fixture, writer_bytes(&writer));
    WAIT(fixture, fixture->shards[0].takes_seen == 1);
    map_give_to(fixture, 1);
    shard_close(fixture, 0);
    WAIT(fixture, fixture->reply_count > before);
    struct reply reply;
    assert_true(reply_read(fixture->reply_bytes, &reply));
    assert_int_equal(result_of(&reply).remaining_tokens, 3);
    assert_int_equal(result_of(&reply).flags, 0);
    assert_int_equal(fixture->shards[1].takes_seen, 1);
}

static void test_nonsense_from_a_shard_is_no_answer(void **state) {
    struct fixture *fixture = *state;
    static const enum manner manners[] = {GARBAGE, SHORT_LIST};
    for (uint32_t i = 0; i < 2; i++) {
        fixture->shards[0].manner = manners[i];
        struct reply reply = call(fixture, VERB_TAKE, "k", 1, NULL, 400);
        assert_int_equal(result_of(&reply).flags, TAKE_FLAG_DEGRADED);
    }
    assert_true(COUNTED(fixture, replies_bad) >= 4);
    fixture->shards[0].manner = ALLOW;
    struct reply reply = call(fixture, VERB_TAKE, "k", 1, NULL, 0);
    assert_int_equal(result_of(&reply).flags, 0);
}

static void test_refreshes_are_not_more_than_they_may_be(void **state) {
    struct fixture *fixture = *state;
    fixture->epochs_ahead = 1;
    fixture->shards[0].manner = MOVED;
    uint64_t end_ns = clock_monotonic_ns() + 500 * MS;
    uint32_t before = fixture->shards[0].polls_seen + fixture->shards[1].polls_seen;
    while (clock_monotonic_ns() < end_ns) {
        call(fixture, VERB_TAKE, "k", 1, NULL, 5);
    }
    uint32_t polls = fixture->shards[0].polls_seen + fixture->shards[1].polls_seen - before;
    print_message("%u polls in 500 ms\n", polls);
    assert_in_range(polls, 1, 500 / 50 + 12); /* a new source is asked at once */
}

static void test_stopping_answers_what_is_outstanding(void **state) {
    struct fixture *fixture = *state;
    fixture->shards[0].manner = SILENT;
    uint8_t memory[64];
    struct take take = {.key = bytes_of_text("k"), .cost_tokens = 1};
    for (uint32_t i = 0; i < 2; i++) {
        struct writer writer = writer_of(memory, sizeof memory);
        request_write_single(&writer, i, VERB_TAKE, &take, i == 0 ? 100 : 30000);
        send_bytes(fixture, writer_bytes(&writer));
    }
    WAIT(fixture, fixture->shards[0].takes_seen == 2);
    uint64_t start_ns = clock_monotonic_ns();
    router_shell_stop(fixture->shell, on_router_stopped, fixture);
    fixture->shell = NULL;
    WAIT(fixture, fixture->reply_count == 1);
    assert_true(clock_monotonic_ns() - start_ns < 1000 * MS);
    WAIT(fixture, fixture->reply_count == 2);
    struct reply reply;
    assert_true(reply_read(fixture->reply_bytes, &reply));
    assert_int_equal(reply.code, CODE_UNAVAILABLE);
    WAIT(fixture, fixture->router_stopped);
    assert_true(clock_monotonic_ns() - start_ns < 3000 * MS);
}

static void test_without_nodes_nothing_is_invented(void **state) {
    struct fixture *fixture = *state;
    struct reply reply = call(fixture, VERB_TAKE, "k", 1, "open", 50);
    assert_int_equal(reply.code, CODE_UNAVAILABLE);
    reply = call_method(fixture, METHOD_CLUSTER_MAP);
    assert_int_equal(reply.code, CODE_UNAVAILABLE);
    reply = call_method(fixture, METHOD_CLUSTER_STATUS);
    assert_false(reply.is_error);
}

static void test_a_port_in_use_is_named(void **state) {
    struct fixture *fixture = *state;
    struct router_settings settings = {0};
    struct router_shell *shell;
    char why[256], urls[2 * ENDPOINT_BYTES_MAX];
    snprintf(urls, sizeof urls, "tcp://127.0.0.1:0,%s", fixture->router_url);
    assert_true(url_list_parse(urls, &settings.listen, why, sizeof why));
    assert_true(url_list_parse("tcp://127.0.0.1:1", &settings.nodes, why, sizeof why));
    assert_int_equal(
        router_shell_open(&shell, &fixture->loop, &settings, &fixture->log, why, sizeof why), -1);
    assert_non_null(strstr(why, fixture->router_url));
}

static void test_lists_of_urls(void **state) {
    struct url_list list;
    char why[256], many[URL_LIST_MAX * 8 + 16] = "a://b";
    assert_true(url_list_parse(" tcp://a:1 , ipc:///tmp/b", &list, why, sizeof why));
    assert_int_equal(list.count, 2);
    assert_string_equal(list.urls[0].text, "tcp://a:1");
    assert_string_equal(list.urls[1].text, "ipc:///tmp/b");
    static const char *const wrong[] = {"", ",", "tcp://a,", "tcp://a tcp://b", "a:1", "://x"};
    for (uint32_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_false(url_list_parse(wrong[i], &list, why, sizeof why));
    }
    for (uint32_t i = 0; i < URL_LIST_MAX; i++) {
        assert_true(url_list_parse(many, &list, why, sizeof why));
        size_t size = strlen(many);
        snprintf(many + size, sizeof many - size, ",a://b");
    }
    assert_false(url_list_parse(many, &list, why, sizeof why));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define TEST_ALONE(name) cmocka_unit_test_setup_teardown(name, setup_alone, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_takes_peeks_and_refunds_are_answered),
        TEST(test_a_full_take_many_goes_through),
        TEST(test_requests_of_one_turn_share_a_batch),
        TEST(test_bad_requests_are_refused_with_their_msgid),
        TEST(test_an_oversize_request_is_too_large),
        TEST(test_the_map_and_the_status_can_be_asked_for),
        TEST(test_a_silent_shard_is_answered_for_at_the_deadline),
        TEST(test_moved_is_followed_to_the_new_owner),
        TEST(test_a_shard_that_dies_is_replaced_by_the_next_map),
        TEST(test_nonsense_from_a_shard_is_no_answer),
        TEST(test_refreshes_are_not_more_than_they_may_be),
        TEST(test_stopping_answers_what_is_outstanding),
        TEST_ALONE(test_without_nodes_nothing_is_invented),
        TEST_ALONE(test_a_port_in_use_is_named),
        cmocka_unit_test(test_lists_of_urls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
