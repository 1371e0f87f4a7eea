/* The endpoint over libnng: the same promises, for the schemes that are not tcp://. */
#include <nng/nng.h>
#include <nng/protocol/reqrep0/req.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/unit/endpoint_fixture.h"
#include "tests/unit/nng_client.h"

struct place {
    char dir[64];
    char url[128];
};

static void place_make(struct place *place) {
    snprintf(place->dir, sizeof place->dir, "/tmp/sluice-test-XXXXXX");
    assert_non_null(mkdtemp(place->dir));
    snprintf(place->url, sizeof place->url, "ipc://%s/socket", place->dir);
}

static void place_remove(struct place *place) {
    char path[128];
    snprintf(path, sizeof path, "%s/socket", place->dir);
    unlink(path);
    assert_int_equal(rmdir(place->dir), 0);
}

static void client_assert_right(struct echo *echo, struct nng_client *client) {
    nng_client_start(client);
    assert_true(loop_wait(&echo->loop, loop_wait_flag, &client->done));
    nng_client_join(client);
    assert_int_equal(client->error, 0);
    assert_int_equal(client->right, client->contexts * client->rounds);
}

static void ipc_callers_are_answered(void **state) {
    struct place place;
    struct echo echo;
    place_make(&place);
    echo_open(&echo, place.url);
    assert_string_equal(echo.url, place.url);
    struct nng_client client = {.url = place.url, .contexts = 1, .rounds = 100, .size = 40};
    client_assert_right(&echo, &client);
    assert_true(echo.local);
    const struct endpoint_counters *counters = endpoint_counters(echo.endpoint);
    assert_int_equal(counters->requests, 100);
    assert_int_equal(counters->replies, 100);
    assert_int_equal(counters->connections_opened, 1);
    echo_close(&echo);
    place_remove(&place);
}

static void more_contexts_than_ours_are_answered(void **state) {
    struct place place;
    struct echo echo;
    place_make(&place);
    echo_open(&echo, place.url);
    struct nng_client client = {
        .url = place.url, .contexts = ENDPOINT_NNG_CONTEXTS + 50, .rounds = 5, .size = 500};
    client_assert_right(&echo, &client);
    assert_true(echo.turns < client.contexts * client.rounds); /* batches */
    echo_close(&echo);
    place_remove(&place);
}

static void inproc_callers_are_answered(void **state) {
    struct echo echo;
    echo_open(&echo, "inproc://sluice-test");
    struct nng_client client = {.url = echo.url, .contexts = 10, .rounds = 10, .size = 40};
    client_assert_right(&echo, &client);
    assert_true(echo.local);
    echo_close(&echo);
}

static void websocket_callers_are_answered(void **state) {
    struct echo echo;
    echo_open(&echo, "ws://127.0.0.1:0/sluice");
    assert_null(strstr(echo.url, ":0/"));
    struct nng_client client = {.url = echo.url, .contexts = 10, .rounds = 10, .size = 4000};
    client_assert_right(&echo, &client);
    assert_true(echo.local);
    echo_close(&echo);
}

static void the_oversize_are_answered_and_the_connection_stays(void **state) {
    const size_t size = MESSAGE_BYTES_MAX + 1000;
    struct place place;
    struct echo echo;
    place_make(&place);
    echo_open(&echo, place.url);
    struct nng_client large = {.url = place.url, .contexts = 1, .rounds = 2, .size = size};
    nng_client_start(&large);
    assert_true(loop_wait(&echo.loop, loop_wait_flag, &large.done));
    nng_client_join(&large);
    assert_int_equal(large.error, 0); /* both were answered, but not with the question */
    assert_int_equal(large.right, 0);
    assert_int_equal(echo.oversize, 2);
    assert_int_equal(echo.oversize_size, size);
    assert_int_equal(echo.oversize_first_size, SP_OVERSIZE_KEPT_BYTES);
    assert_int_equal(echo.requests, 0);
    echo_close(&echo);
    place_remove(&place);
}

/* A question without waiting for its answer. */
static char question[] = "question";

static nng_socket question_send(const char *url) {
    nng_socket socket;
    assert_int_equal(nng_req0_open(&socket), 0);
    assert_int_equal(nng_dial(socket, url, NULL, 0), 0);
    assert_int_equal(nng_send(socket, question, 8, 0), 0);
    return socket;
}

static void closing_sends_what_is_queued(void **state) {
    struct place place;
    struct echo echo;
    place_make(&place);
    echo_open(&echo, place.url);
    echo.amplify = 0;
    nng_socket socket = question_send(place.url);
    wait_for(&echo, &echo.turns, 1);
    size_t size = 100000;
    char *reply = malloc(size);
    memset(reply, 'r', size);
    endpoint_reply(echo.endpoint, &echo.last, bytes_of(reply, size));
    echo_close(&echo);
    nng_socket_set_ms(socket, NNG_OPT_RECVTIMEO, 5000);
    assert_int_equal(nng_recv(socket, reply, &size, 0), 0);
    assert_int_equal(size, 100000);
    free(reply);
    nng_close(socket);
    place_remove(&place);
}

static void a_reply_to_a_gone_caller_harms_nobody(void **state) {
    struct place place;
    struct echo echo;
    place_make(&place);
    echo_open(&echo, place.url);
    echo.amplify = 0;
    nng_socket socket = question_send(place.url);
    wait_for(&echo, &echo.turns, 1);
    struct endpoint_caller gone = echo.last;
    nng_close(socket);
    while (endpoint_counters(echo.endpoint)->connections_open > 0)
        loop_run_ms(&echo.loop, 1);
    endpoint_reply(echo.endpoint, &gone, bytes_of_text("for nobody"));
    endpoint_reply(echo.endpoint, &gone, bytes_of_text("twice")); /* at most one counts */
    endpoint_flush(echo.endpoint);
    assert_int_equal(endpoint_counters(echo.endpoint)->replies_dropped, 1);
    loop_run_ms(&echo.loop, 20);
    endpoint_reply(echo.endpoint, &gone, bytes_of_text("much later"));
    assert_int_equal(endpoint_counters(echo.endpoint)->replies_dropped, 2);
    echo.amplify = 1;
    struct nng_client client = {.url = place.url, .contexts = 300, .rounds = 2, .size = 40};
    client_assert_right(&echo, &client);
    echo_close(&echo);
    place_remove(&place);
}

static void a_stale_caller_gets_nothing(void **state) {
    struct place place;
    struct echo echo;
    place_make(&place);
    echo_open(&echo, place.url);
    echo.amplify = 0;
    nng_socket socket = question_send(place.url);
    wait_for(&echo, &echo.turns, 1);
    struct endpoint_caller stale = echo.last; /* who had this context the round before */
    stale.generation--;
    endpoint_reply(echo.endpoint, &stale, bytes_of_text("for another"));
    assert_int_equal(endpoint_counters(echo.endpoint)->replies_dropped, 1);
    assert_false(endpoint_caller_is_local(echo.endpoint, &stale));
    assert_true(endpoint_caller_is_local(echo.endpoint, &echo.last));
    nng_close(socket);
    echo_close(&echo);
    place_remove(&place);
}

static void stopped_it_takes_in_nothing_and_still_replies(void **state) {
    struct place place;
    struct echo echo;
    place_make(&place);
    echo_open(&echo, place.url);
    echo.amplify = 0;
    nng_socket first = question_send(place.url);
    wait_for(&echo, &echo.turns, 1);
    endpoint_stop(echo.endpoint);
    nng_socket second;
    assert_int_equal(nng_req0_open(&second), 0);
    (void)nng_dial(second, place.url, NULL, NNG_FLAG_NONBLOCK);
    (void)nng_send(second, question, 8, NNG_FLAG_NONBLOCK);
    loop_run_ms(&echo.loop, 50);
    assert_int_equal(echo.requests, 1);
    endpoint_reply(echo.endpoint, &echo.last, bytes_of_text("late"));
    endpoint_flush(echo.endpoint);
    char reply[16];
    size_t size = sizeof reply;
    wait_for(&echo, &endpoint_counters(echo.endpoint)->connections_refused, 1);
    nng_socket_set_ms(first, NNG_OPT_RECVTIMEO, 5000);
    assert_int_equal(nng_recv(first, reply, &size, 0), 0);
    assert_memory_equal(reply, "late", 4);
    nng_close(first);
    nng_close(second);
    echo_close(&echo);
    place_remove(&place);
}

static void a_taken_place_says_so(void **state) {
    const struct endpoint_handler handler = {
        .on_request = (void *)abort, .on_oversize = (void *)abort, .on_turn = (void *)abort};
    struct place place;
    struct echo echo;
    struct endpoint *endpoint;
    char why[256];
    place_make(&place);
    echo_open(&echo, place.url);
    assert_int_equal(endpoint_open(&endpoint, &echo.loop, place.url, &handler, why, sizeof why),
                     -1);
    assert_non_null(strstr(why, "another process"));
    echo_close(&echo);
    place_remove(&place);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ipc_callers_are_answered),
        cmocka_unit_test(more_contexts_than_ours_are_answered),
        cmocka_unit_test(inproc_callers_are_answered),
        cmocka_unit_test(websocket_callers_are_answered),
        cmocka_unit_test(the_oversize_are_answered_and_the_connection_stays),
        cmocka_unit_test(closing_sends_what_is_queued),
        cmocka_unit_test(a_reply_to_a_gone_caller_harms_nobody),
        cmocka_unit_test(a_stale_caller_gets_nothing),
        cmocka_unit_test(stopped_it_takes_in_nothing_and_still_replies),
        cmocka_unit_test(a_taken_place_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
