/* The native endpoint and its good callers: stock libnng, and raw sockets that pipeline. */
#include <stdlib.h>
#include <unistd.h>

#include "tests/unit/endpoint_fixture.h"
#include "tests/unit/nng_client.h"

static void libnng_is_answered(void **state) {
    struct echo echo;
    echo_open(&echo, "tcp://127.0.0.1:0");
    struct nng_client client = {.url = echo.url, .contexts = 1, .rounds = 200, .size = 40};
    nng_client_start(&client);
    assert_true(loop_wait(&echo.loop, loop_wait_flag, &client.done));
    nng_client_join(&client);
    assert_int_equal(client.error, 0);
    assert_int_equal(client.right, 200);
    assert_true(echo.local);
    echo_close(&echo);
}

static void many_contexts_each_get_their_own_answer(void **state) {
    struct echo echo;
    echo_open(&echo, "tcp://127.0.0.1:0");
    struct nng_client clients[2] = {
        {.url = echo.url, .contexts = 100, .rounds = 10, .size = 100},
        {.url = echo.url, .contexts = 10, .rounds = 5, .size = 300000},
    };
    for (int i = 0; i < 2; i++)
        nng_client_start(&clients[i]);
    for (int i = 0; i < 2; i++) {
        assert_true(loop_wait(&echo.loop, loop_wait_flag, &clients[i].done));
        nng_client_join(&clients[i]);
        assert_int_equal(clients[i].error, 0);
        assert_int_equal(clients[i].right, clients[i].contexts * clients[i].rounds);
    }
    assert_int_equal(endpoint_counters(echo.endpoint)->requests, 1050);
    assert_int_equal(endpoint_counters(echo.endpoint)->replies, 1050);
    echo_close(&echo);
}

static void the_largest_message_passes(void **state) {
    struct echo echo;
    echo_open(&echo, "tcp://127.0.0.1:0");
    struct nng_client client = {
        .url = echo.url, .contexts = 2, .rounds = 2, .size = MESSAGE_BYTES_MAX - 4};
    nng_client_start(&client);
    assert_true(loop_wait(&echo.loop, loop_wait_flag, &client.done));
    nng_client_join(&client);
    assert_int_equal(client.error, 0);
    assert_int_equal(client.right, 4);
    assert_int_equal(echo.oversize, 0);
    echo_close(&echo);
}

static void addresses_are_understood(void **state) {
    const char *urls[][2] = {
        {"tcp://127.0.0.1:0", "tcp://127.0.0.1:"},
        {"tcp://localhost:0", "tcp://localhost:"},
        {"tcp://*:0", "tcp://*:"},
        {"tcp://[::1]:0", "tcp://[::1]:"},
    };
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        struct echo echo;
        echo_open(&echo, urls[i][0]);
        assert_memory_equal(echo.url, urls[i][1], strlen(urls[i][1]));
        assert_true(atoi(echo.url + strlen(urls[i][1])) > 0);
        echo_close(&echo);
    }
}

static void what_cannot_be_opened_says_why(void **state) {
    struct echo echo;
    echo_open(&echo, "tcp://127.0.0.1:0");
    const char *wrong[][2] = {
        {echo.url, "another process listens there"}, {"tcp://127.0.0.1", "port is missing"},
        {"tcp://127.0.0.1:99999", "0 to 65535"},     {"tcp://:7500", "host is missing"},
        {"tcp://192.0.2.1:0", "no interface"},       {"127.0.0.1:7500", "no URL"},
        {"tls+tcp://127.0.0.1:0", "certificate"},    {"gopher://127.0.0.1:0", "no such transport"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        const struct endpoint_handler handler = {
            .on_request = (void *)abort, .on_oversize = (void *)abort, .on_turn = (void *)abort};
        struct endpoint *endpoint = NULL;
        char why[256] = "";
        assert_int_equal(
            endpoint_open(&endpoint, &echo.loop, wrong[i][0], &handler, why, sizeof why), -1);
        if (strstr(why, wrong[i][1]) == NULL)
            fail_msg("%s: %s", wrong[i][0], why);
    }
    echo_close(&echo);
}

static void an_address_can_be_shared_but_not_taken(void **state) {
    enum { CALLERS = 64 };
    struct echo echo; /* only for its loop */
    echo_open(&echo, "tcp://127.0.0.1:0");
    const struct endpoint_handler handler = {
        .on_request = (void *)abort, .on_oversize = (void *)abort, .on_turn = (void *)abort};
    struct endpoint *shared[2], *other = NULL;
    char url[ENDPOINT_BYTES_MAX + 1] = "tcp://127.0.0.1:0", why[256];
    for (int i = 0; i < 2; i++) {
        assert_int_equal(endpoint_open_shared(&shared[i], &echo.loop, url,
                                              i == 0 ? ENDPOINT_SHARED_FIRST : ENDPOINT_SHARED,
                                              &handler, why, sizeof why),
                         0);
        snprintf(url, sizeof url, "%s", endpoint_url(shared[i]));
    }
    assert_string_equal(endpoint_url(shared[0]), endpoint_url(shared[1]));
    for (int sharing = ENDPOINT_ALONE; sharing <= ENDPOINT_SHARED_FIRST; sharing++) {
        assert_int_equal(endpoint_open_shared(&other, &echo.loop, url,
                                              (enum endpoint_sharing)sharing, &handler, why,
                                              sizeof why),
                         -1);
        assert_non_null(strstr(why, "another process listens there"));
    }
    char *echo_url = echo.url;
    int fds[CALLERS];
    echo.url = url;
    for (int i = 0; i < CALLERS; i++)
        fds[i] = raw_connect(&echo, false);
    uint64_t each[2] = {0};
    while (each[0] + each[1] < CALLERS) {
        uv_run(&echo.loop, UV_RUN_ONCE);
        for (int i = 0; i < 2; i++)
            each[i] = endpoint_counters(shared[i])->connections_opened;
    }
    assert_in_range(each[0], 1, CALLERS - 1); /* all on one side: 2 in 2^64 */
    for (int i = 0; i < CALLERS; i++)
        close(fds[i]);
    for (int i = 0; i < 2; i++)
        endpoint_close(shared[i], NULL, NULL);
    echo.url = echo_url;
    echo_close(&echo);
}

static void a_burst_is_answered_in_order_and_in_few_turns(void **state) {
    enum { COUNT = 10000 };
    struct echo echo;
    echo_open(&echo, "tcp://127.0.0.1:0");
    int fd = raw_connect(&echo, true);
    for (uint32_t i = 0; i < COUNT; i++)
        raw_send_request(fd, i, &i, sizeof i);
    for (uint32_t i = 0; i < COUNT; i++) {
        uint8_t reply[16];
        uint32_t body;
        struct sp_header header;
        sp_header_of_id(&header, i);
        assert_true(raw_receive(&echo, fd, reply, sizeof reply));
        memcpy(&body, reply + 12, sizeof body);
        assert_int_equal(body, i);
        assert_memory_equal(reply + 8, header.bytes, 4);
    }
    assert_int_equal(echo.requests, COUNT);
    assert_in_range(echo.turns, 1, COUNT / 20);
    close(fd);
    echo_close(&echo);
}

static void bytes_may_come_one_by_one(void **state) {
    struct echo echo;
    echo_open(&echo, "tcp://127.0.0.1:0");
    int fd = raw_connect(&echo, false);
    const uint8_t bytes[] = {0, 'S', 'P', 0, 0, 0x30, 0, 0, 0, 0,   0,
                             0, 0,   0,   0, 6, 0x80, 0, 0, 7, 'h', 'i'};
    for (size_t i = 0; i < sizeof bytes; i++) {
        raw_send(fd, &bytes[i], 1);
        uv_run(&echo.loop, UV_RUN_NOWAIT);
    }
    uint8_t reply[8 + 14];
    assert_true(raw_receive(&echo, fd, reply, sizeof reply));
    assert_memory_equal(reply + 8, bytes + 8, 14);
    close(fd);
    echo_close(&echo);
}

static void the_words_of_devices_come_back(void **state) {
    struct echo echo;
    echo_open(&echo, "tcp://127.0.0.1:0");
    int fd = raw_connect(&echo, true);
    const uint8_t frame[] = {0, 0, 0, 0, 0, 0,    0, 14, 0, 0,   0,
                             5, 0, 1, 2, 3, 0x80, 0, 0,  9, 'h', 'i'};
    uint8_t reply[sizeof frame];
    raw_send(fd, frame, sizeof frame);
    assert_true(raw_receive(&echo, fd, reply, sizeof reply));
    assert_memory_equal(reply, frame, sizeof frame);
    close(fd);
    echo_close(&echo);
}

static void a_reply_to_a_gone_caller_goes_nowhere(void **state) {
    struct echo echo;
    echo_open(&echo, "tcp://127.0.0.1:0");
    const struct endpoint_counters *counters = endpoint_counters(echo.endpoint);
    echo.amplify = 0;
    int fd = raw_connect(&echo, true);
    raw_send_request(fd, 1, "x", 1);
    wait_for(&echo, &echo.requests, 1);
    loop_run_ms(&echo.loop, 1);
    struct endpoint_caller gone = echo.last;
    assert_true(endpoint_caller_is_local(echo.endpoint, &gone));
    close(fd);
    while (counters->connections_open > 0)
        uv_run(&echo.loop, UV_RUN_ONCE);

    echo.amplify = 1;
    fd = raw_connect(&echo, true); /* takes the same place */
    raw_assert_usable(&echo, fd);
    assert_int_equal(echo.last.peer, gone.peer);
    endpoint_reply(echo.endpoint, &gone, bytes_of_text("for another"));
    endpoint_flush(echo.endpoint);
    assert_int_equal(counters->replies_dropped, 1);
    assert_false(endpoint_caller_is_local(echo.endpoint, &gone));
    raw_assert_usable(&echo, fd);
    close(fd);
    echo_close(&echo);
}

static void a_late_reply_leaves_with_the_flush(void **state) {
    struct echo echo;
    uint8_t reply[8 + 4 + 4];
    echo_open(&echo, "tcp://127.0.0.1:0");
    echo.amplify = 0;
    int fd = raw_connect(&echo, true);
    raw_send_request(fd, 1, "x", 1);
    wait_for(&echo, &echo.turns, 1);
    endpoint_reply(echo.endpoint, &echo.last, bytes_of_text("late"));
    endpoint_flush(echo.endpoint);
    assert_true(raw_receive(&echo, fd, reply, sizeof reply));
    assert_memory_equal(reply + 12, "late", 4);
    close(fd);
    echo_close(&echo);
}

static void a_request_outlives_its_sender_until_the_turns_end(void **state) {
    struct echo echo;
    echo_open(&echo, "tcp://127.0.0.1:0");
    int fd = raw_connect(&echo, true);
    raw_send_request(fd, 1, "x", 1);
    uint8_t bad[8];
    sp_length_write(bad, UINT64_MAX); /* in the same read: closed before the turn ends */
    raw_send(fd, bad, sizeof bad);
    wait_for(&echo, &echo.turns, 1);
    assert_int_equal(echo.requests, 1);
    assert_int_equal(endpoint_counters(echo.endpoint)->replies_dropped, 1);
    close(fd);
    echo_close(&echo);
}

static void stopped_it_takes_in_nothing_and_still_replies(void **state) {
    struct echo echo;
    uint8_t reply[8 + 4 + 4];
    echo_open(&echo, "tcp://127.0.0.1:0");
    echo.amplify = 0;
    int fd = raw_connect(&echo, true);
    raw_send_request(fd, 1, "x", 1);
    wait_for(&echo, &echo.turns, 1);
    endpoint_stop(echo.endpoint);
    raw_send_request(fd, 2, "y", 1);
    loop_run_ms(&echo.loop, 20);
    assert_int_equal(echo.requests, 1);
    const struct endpoint_sp *inside = (struct endpoint_sp *)echo.endpoint;
    assert_false(inside->places[echo.last.peer].peer->reading);
    endpoint_reply(echo.endpoint, &echo.last, bytes_of_text("late"));
    endpoint_flush(echo.endpoint);
    assert_true(raw_receive(&echo, fd, reply, sizeof reply));
    assert_memory_equal(reply + 12, "late", 4);
    close(fd);
    echo_close(&echo);
}

static void closing_sends_what_is_queued(void **state) {
    enum { SIZE = 10 << 20 }; /* more than the kernel takes at once */
    struct echo echo;
    echo_open(&echo, "tcp://127.0.0.1:0");
    echo.amplify = 0;
    int fd = raw_connect(&echo, true);
    raw_send_request(fd, 1, "x", 1);
    wait_for(&echo, &echo.turns, 1);
    uint8_t *reply = malloc(SIZE + 12);
    for (size_t i = 0; i < SIZE; i++)
        reply[i] = (uint8_t)(i * 2654435761u >> 13);
    raw_send_request(fd, 2, "never read", 10); /* must not reset the connection */
    endpoint_reply(echo.endpoint, &echo.last, bytes_of(reply, SIZE));
    echo_close_start(&echo);
    memset(reply, 0, SIZE);
    assert_true(raw_receive(&echo, fd, reply, SIZE + 12));
    assert_true(raw_sees_end(&echo, fd));
    loop_run_ms(&echo.loop, 20);
    assert_false(echo.closed); /* it said goodbye and waits for ours, rather than run out of time */
    for (size_t i = 12; i < SIZE + 12; i++)
        assert_int_equal(reply[i], (uint8_t)((i - 12) * 2654435761u >> 13));
    close(fd);
    echo_close(&echo);
    free(reply);
}

static void closing_waits_a_second_at_most(void **state) {
    struct echo echo;
    echo_open(&echo, "tcp://127.0.0.1:0");
    int fd = raw_connect(&echo, true); /* neither reads nor closes */
    uint64_t start_ns = uv_hrtime();
    echo_close_start(&echo);
    assert_true(loop_wait(&echo.loop, loop_wait_flag, &echo.closed));
    assert_in_range(uv_hrtime() - start_ns, 0, UINT64_C(3000000000));
    close(fd);
    echo_close(&echo);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(libnng_is_answered),
        cmocka_unit_test(many_contexts_each_get_their_own_answer),
        cmocka_unit_test(the_largest_message_passes),
        cmocka_unit_test(addresses_are_understood),
        cmocka_unit_test(what_cannot_be_opened_says_why),
        cmocka_unit_test(an_address_can_be_shared_but_not_taken),
        cmocka_unit_test(a_burst_is_answered_in_order_and_in_few_turns),
        cmocka_unit_test(bytes_may_come_one_by_one),
        cmocka_unit_test(the_words_of_devices_come_back),
        cmocka_unit_test(a_reply_to_a_gone_caller_goes_nowhere),
        cmocka_unit_test(a_late_reply_leaves_with_the_flush),
        cmocka_unit_test(a_request_outlives_its_sender_until_the_turns_end),
        cmocka_unit_test(stopped_it_takes_in_nothing_and_still_replies),
        cmocka_unit_test(closing_sends_what_is_queued),
        cmocka_unit_test(closing_waits_a_second_at_most),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
