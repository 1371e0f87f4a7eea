/* Links: against our endpoint, against a stock libnng REP, and against servers that misbehave. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <nng/nng.h>
#include <nng/protocol/reqrep0/rep.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "runtime/link.h"
#include "tests/unit/endpoint_fixture.h"

#define ID_MAX 200000

struct caller {
    struct link *link;
    uint64_t ups, downs, downs_when_up, replies;
    uint8_t *answered; /* by id: how often */
    bool wrong;        /* a reply that was not to its question */
    bool closed;
    bool close_on_reply, close_on_down;
    char why[512];
};

static void on_closed(void *ctx) {
    ((struct caller *)ctx)->closed = true;
}

static void caller_close(struct caller *caller) {
    link_close(caller->link, on_closed, caller);
    caller->link = NULL;
}

static void on_up(void *ctx, struct link *link) {
    struct caller *caller = ctx;
    caller->ups++;
    assert_true(link_is_up(link));
}

static void on_down(void *ctx, struct link *link, bool was_up, const char *why) {
    struct caller *caller = ctx;
    caller->downs++;
    caller->downs_when_up += was_up;
    snprintf(caller->why, sizeof caller->why, "%s", why);
    assert_false(link_is_up(link));
    assert_int_equal(link_send(link, 1, bytes_of_text("x")), LINK_DOWN);
    if (caller->close_on_down)
        caller_close(caller);
}

static void on_reply(void *ctx, struct link *link, uint32_t id, struct bytes body) {
    struct caller *caller = ctx;
    uint32_t said = UINT32_MAX;
    if (body.size >= sizeof said)
        memcpy(&said, body.data, sizeof said);
    caller->replies++;
    caller->wrong |= id >= ID_MAX || said != id || ++caller->answered[id] > 1;
    if (caller->close_on_reply)
        caller_close(caller);
}

static void caller_open(struct caller *caller, uv_loop_t *loop, const char *url) {
    const struct link_handler handler = {
        .ctx = caller, .on_up = on_up, .on_down = on_down, .on_reply = on_reply};
    char why[256];
    *caller = (struct caller){.answered = calloc(1, ID_MAX)};
    signal(SIGPIPE, SIG_IGN);
    if (link_open(&caller->link, loop, url, &handler, why, sizeof why) != 0)
        fail_msg("%s", why);
    assert_int_equal(caller->ups + caller->downs, 0); /* handlers are called from the loop only */
}

static void caller_fini(struct caller *caller, uv_loop_t *loop) {
    if (caller->link != NULL)
        caller_close(caller);
    assert_true(loop_wait(loop, loop_wait_flag, &caller->closed));
    assert_false(caller->wrong);
    free(caller->answered);
}

static void ask(struct caller *caller, uint32_t id, size_t size) {
    uint8_t *body = calloc(1, size);
    memcpy(body, &id, sizeof id);
    assert_int_equal(link_send(caller->link, id, bytes_of(body, size)), LINK_SENT);
    free(body);
}

struct reached {
    const uint64_t *counter;
    uint64_t least;
};

static bool has_reached(void *ctx) {
    const struct reached *reached = ctx;
    return *reached->counter >= reached->least;
}

static void until(uv_loop_t *loop, const uint64_t *counter, uint64_t least) {
    struct reached reached = {counter, least};
    assert_true(loop_wait(loop, has_reached, &reached));
}

static void many_requests_are_outstanding_at_once(void **state) {
    struct echo echo;
    struct caller caller;
    echo_open(&echo, "tcp://127.0.0.1:0");
    caller_open(&caller, &echo.loop, echo.url);
    assert_string_equal(link_url(caller.link), echo.url);
    assert_int_equal(link_send(caller.link, 1, bytes_of_text("x")), LINK_DOWN);
    until(&echo.loop, &caller.ups, 1);
    for (uint32_t id = 0; id < 20000; id++)
        ask(&caller, id, 50);
    assert_int_equal(caller.replies, 0);
    link_flush(caller.link);
    until(&echo.loop, &caller.replies, 20000);
    assert_in_range(echo.turns, 1, 2000);
    caller_fini(&caller, &echo.loop);
    echo_close(&echo);
}

static void large_messages_pass_both_ways(void **state) {
    struct echo echo;
    struct caller caller;
    echo_open(&echo, "tcp://127.0.0.1:0");
    caller_open(&caller, &echo.loop, echo.url);
    until(&echo.loop, &caller.ups, 1);
    for (uint32_t id = 0; id < 4; id++)
        ask(&caller, id, MESSAGE_BYTES_MAX - 4);
    link_flush(caller.link);
    until(&echo.loop, &caller.replies, 4);
    caller_fini(&caller, &echo.loop);
    echo_close(&echo);
}

static void a_name_is_looked_up(void **state) {
    struct echo echo;
    struct caller caller;
    char url[64];
    echo_open(&echo, "tcp://127.0.0.1:0");
    snprintf(url, sizeof url, "tcp://localhost:%s", strrchr(echo.url, ':') + 1);
    caller_open(&caller, &echo.loop, url);
    until(&echo.loop, &caller.ups, 1);
    ask(&caller, 7, 10);
    link_flush(caller.link);
    until(&echo.loop, &caller.replies, 1);
    caller_fini(&caller, &echo.loop);

    caller_open(&caller, &echo.loop, "tcp://no-such-host.invalid:7500");
    until(&echo.loop, &caller.downs, 2);
    assert_non_null(strstr(caller.why, "looking up"));
    caller_fini(&caller, &echo.loop);
    caller_open(&caller, &echo.loop, "tcp://no-such-host.invalid:7500");
    uv_run(&echo.loop, UV_RUN_NOWAIT); /* closed while it looks up */
    caller_fini(&caller, &echo.loop);
    echo_close(&echo);
}

static void what_is_no_address_is_refused(void **state) {
    const char *wrong[] = {"ipc:///tmp/x", "tcp://127.0.0.1", "tcp://127.0.0.1:0", "tcp://h:x", ""};
    const struct link_handler handler = {.on_up = on_up, .on_down = on_down, .on_reply = on_reply};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct link *link;
        char why[512] = "";
        assert_int_equal(link_open(&link, uv_default_loop(), wrong[i], &handler, why, sizeof why),
                         -1);
        assert_true(strlen(why) > 0);
    }
}

static void a_lost_connection_is_told_once_and_made_again(void **state) {
    struct echo echo, again;
    struct caller caller;
    echo_open(&echo, "tcp://127.0.0.1:0");
    echo.amplify = 0; /* asks, but gets no answer */
    caller_open(&caller, &echo.loop, echo.url);
    until(&echo.loop, &caller.ups, 1);
    for (uint32_t id = 0; id < 100; id++)
        ask(&caller, id, 50);
    link_flush(caller.link);
    until(&echo.loop, &echo.requests, 100);
    char *url = strdup(echo.url);
    echo_close_start(&echo);
    until(&echo.loop, &caller.downs, 1);
    assert_int_equal(caller.downs_when_up, 1);
    assert_true(loop_wait(&echo.loop, loop_wait_flag, &echo.closed));
    until(&echo.loop, &caller.downs, 4); /* attempts at a closed port */
    assert_int_equal(caller.downs_when_up, 1);
    assert_non_null(strstr(caller.why, "refused"));
    assert_int_equal(caller.replies, 0);

    /* The endpoint comes back on a loop of its own; both loops run. */
    echo_open(&again, url);
    uint64_t end_ns = uv_hrtime() + UINT64_C(10000000000);
    while ((caller.ups < 2 || caller.replies < 1) && uv_hrtime() < end_ns) {
        uv_run(&echo.loop, UV_RUN_NOWAIT);
        uv_run(&again.loop, UV_RUN_NOWAIT);
        if (caller.ups == 2 && link_is_up(caller.link) && again.requests == 0) {
            (void)link_send(caller.link, 5, bytes_of("\5\0\0\0", 4));
            link_flush(caller.link);
        }
    }
    assert_int_equal(caller.ups, 2);
    assert_true(caller.replies >= 1);
    memset(caller.answered, 0, ID_MAX);
    caller.wrong = false;
    free(url);
    caller_fini(&caller, &echo.loop);
    echo_close(&again);
    echo_close(&echo);
}

static void attempts_come_at_growing_intervals(void **state) {
    struct echo echo;
    struct caller caller;
    echo_open(&echo, "tcp://127.0.0.1:0");
    char *url = strdup(echo.url);
    echo_close_start(&echo);
    assert_true(loop_wait(&echo.loop, loop_wait_flag, &echo.closed));
    caller_open(&caller, &echo.loop, url);
    loop_run_ms(&echo.loop, 700);
    /* 10 20 40 80 160 320 ms, each -25 %, are over after 473 ms at the least. */
    assert_in_range(caller.downs, 3, 8);
    caller_fini(&caller, &echo.loop);
    free(url);
    echo_close(&echo);
}

static void a_handler_may_close_its_link(void **state) {
    struct echo echo;
    struct caller caller;
    echo_open(&echo, "tcp://127.0.0.1:0");
    caller_open(&caller, &echo.loop, echo.url);
    until(&echo.loop, &caller.ups, 1);
    caller.close_on_reply = true;
    for (uint32_t id = 0; id < 10; id++)
        ask(&caller, id, 50);
    link_flush(caller.link);
    assert_true(loop_wait(&echo.loop, loop_wait_flag, &caller.closed));
    assert_int_equal(caller.replies, 1);
    assert_int_equal(caller.downs, 0);
    caller_fini(&caller, &echo.loop);

    caller_open(&caller, &echo.loop, echo.url);
    until(&echo.loop, &caller.ups, 1);
    caller.close_on_down = true;
    echo_close_start(&echo);
    assert_true(loop_wait(&echo.loop, loop_wait_flag, &caller.closed));
    assert_int_equal(caller.downs, 1);
    caller_fini(&caller, &echo.loop);
    echo_close(&echo);
}

/* --- a stock libnng REP ------------------------------------------------------------------------
 */

struct rep {
    nng_socket socket;
    uint32_t count;
};

static void rep_run(void *arg) {
    struct rep *rep = arg;
    for (uint32_t i = 0; i < rep->count; i++) {
        nng_msg *message;
        if (nng_recvmsg(rep->socket, &message, 0) != 0)
            return;
        if (nng_sendmsg(rep->socket, message, 0) != 0)
            nng_msg_free(message);
    }
}

static void a_stock_rep_answers(void **state) {
    struct rep rep = {.count = 1000};
    struct caller caller;
    nng_listener listener;
    uv_loop_t loop;
    uv_thread_t thread;
    char url[64];
    int port = 0;
    assert_int_equal(nng_rep0_open(&rep.socket), 0);
    assert_int_equal(nng_listen(rep.socket, "tcp://127.0.0.1:0", &listener, 0), 0);
    assert_int_equal(nng_listener_get_int(listener, NNG_OPT_TCP_BOUND_PORT, &port), 0);
    snprintf(url, sizeof url, "tcp://127.0.0.1:%d", port);
    uv_thread_create(&thread, rep_run, &rep);

    uv_loop_init(&loop);
    caller_open(&caller, &loop, url);
    until(&loop, &caller.ups, 1);
    for (uint32_t id = 0; id < 1000; id++)
        ask(&caller, id, 100);
    link_flush(caller.link);
    until(&loop, &caller.replies, 1000);
    uv_thread_join(&thread);
    nng_close(rep.socket);
    until(&loop, &caller.downs, 1);
    assert_int_equal(caller.downs_when_up, 1);
    caller_fini(&caller, &loop);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
}

/* --- servers that misbehave --------------------------------------------------------------------
 */

struct server {
    uv_loop_t loop;
    int listener, fd;
    char url[64];
};

static void server_open(struct server *server) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    uv_loop_init(&server->loop);
    server->fd = -1;
    server->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(server->listener, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(server->listener, 10), 0);
    assert_int_equal(getsockname(server->listener, (struct sockaddr *)&at, &size), 0);
    snprintf(server->url, sizeof server->url, "tcp://127.0.0.1:%d", ntohs(at.sin_port));
}

static bool server_has_accepted(void *ctx) {
    struct server *server = ctx;
    server->fd = accept(server->listener, NULL, NULL);
    return server->fd >= 0;
}

static void server_accept(struct server *server, const void *greeting) {
    assert_true(loop_wait(&server->loop, server_has_accepted, server));
    if (greeting != NULL)
        raw_send(server->fd, greeting, SP_GREETING_SIZE);
}

static void server_close(struct server *server) {
    close(server->fd);
    close(server->listener);
    uv_run(&server->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&server->loop), 0);
}

#define REP_GREETING "\0SP\0\0\x31\0"

static void who_is_no_rep_is_left(void **state) {
    struct server server;
    struct caller caller;
    server_open(&server);
    caller_open(&caller, &server.loop, server.url);
    server_accept(&server, "HTTP/1.1");
    until(&server.loop, &caller.downs, 1);
    assert_int_equal(caller.ups, 0);
    assert_non_null(strstr(caller.why, "greeting"));
    caller_fini(&caller, &server.loop);
    server_close(&server);
}

static void who_never_greets_is_left(void **state) {
    struct server server;
    struct caller caller;
    server_open(&server);
    caller_open(&caller, &server.loop, server.url);
    server_accept(&server, NULL);
    raw_send(server.fd, REP_GREETING, 5);
    uint64_t start_ns = uv_hrtime();
    until(&server.loop, &caller.downs, 1);
    assert_in_range(uv_hrtime() - start_ns, UINT64_C(700000000), UINT64_C(5000000000));
    assert_int_equal(caller.ups, 0);
    assert_non_null(strstr(caller.why, "in time"));
    caller_fini(&caller, &server.loop);
    server_close(&server);
}

static void a_length_beyond_every_bound_drops_the_connection(void **state) {
    struct server server;
    struct caller caller;
    uint8_t length[8];
    server_open(&server);
    caller_open(&caller, &server.loop, server.url);
    server_accept(&server, REP_GREETING);
    until(&server.loop, &caller.ups, 1);
    sp_length_write(length, MESSAGE_DRAIN_BYTES_MAX + 1);
    raw_send(server.fd, length, sizeof length);
    until(&server.loop, &caller.downs, 1);
    assert_int_equal(caller.downs_when_up, 1);
    caller_fini(&caller, &server.loop);
    server_close(&server);
}

static void replies_that_nobody_asked_for_are_harmless(void **state) {
    const uint8_t frames[] = {
        0, 0, 0, 0, 0, 0, 0, 0,                               /* nothing */
        0, 0, 0, 0, 0, 0, 0, 3, 1,    2, 3,                   /* no header */
        0, 0, 0, 0, 0, 0, 0, 8, 0,    0, 0, 1, 0x80, 0, 0, 9, /* two words */
        0, 0, 0, 0, 0, 0, 0, 8, 0x80, 0, 0, 3, 3,    0, 0, 0, /* the answer */
    };
    struct server server;
    struct caller caller;
    server_open(&server);
    caller_open(&caller, &server.loop, server.url);
    server_accept(&server, REP_GREETING);
    until(&server.loop, &caller.ups, 1);
    raw_send(server.fd, frames, sizeof frames);
    until(&server.loop, &caller.replies, 1);
    assert_int_equal(caller.answered[3], 1);
    assert_int_equal(caller.downs, 0);
    caller_fini(&caller, &server.loop);
    server_close(&server);
}

static void who_never_reads_fills_the_link(void **state) {
    struct server server;
    struct caller caller;
    uint8_t *body = calloc(1, 1 << 20);
    server_open(&server);
    caller_open(&caller, &server.loop, server.url);
    server_accept(&server, REP_GREETING);
    until(&server.loop, &caller.ups, 1);
    int sent = 0;
    enum link_status status;
    while ((status = link_send(caller.link, 1, bytes_of(body, 1 << 20))) == LINK_SENT &&
           sent < 1000) {
        sent++;
        link_flush(caller.link);
        uv_run(&server.loop, UV_RUN_NOWAIT);
    }
    assert_int_equal(status, LINK_FULL);
    assert_in_range(sent, LINK_OUTPUT_MAX_BYTES >> 20, 64);
    assert_true(link_is_up(caller.link));
    caller_fini(&caller, &server.loop); /* with a write under way */
    server_close(&server);
    free(body);
}

static void who_greets_and_hangs_up_is_not_hammered(void **state) {
    struct server server;
    struct caller caller;
    server_open(&server);
    caller_open(&caller, &server.loop, server.url);
    uint64_t start_ns = uv_hrtime();
    for (uint64_t i = 1; i <= 6; i++) {
        server_accept(&server, REP_GREETING);
        until(&server.loop, &caller.ups, i);
        close(server.fd);
        until(&server.loop, &caller.downs_when_up, i);
    }
    assert_true(uv_hrtime() - start_ns > UINT64_C(200000000)); /* 10 + 20 + ... 160, -25 % */
    server.fd = -1;
    caller_fini(&caller, &server.loop);
    server_close(&server);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_requests_are_outstanding_at_once),
        cmocka_unit_test(large_messages_pass_both_ways),
        cmocka_unit_test(a_name_is_looked_up),
        cmocka_unit_test(what_is_no_address_is_refused),
        cmocka_unit_test(a_lost_connection_is_told_once_and_made_again),
        cmocka_unit_test(attempts_come_at_growing_intervals),
        cmocka_unit_test(a_handler_may_close_its_link),
        cmocka_unit_test(a_stock_rep_answers),
        cmocka_unit_test(who_is_no_rep_is_left),
        cmocka_unit_test(who_never_greets_is_left),
        cmocka_unit_test(a_length_beyond_every_bound_drops_the_connection),
        cmocka_unit_test(replies_that_nobody_asked_for_are_harmless),
        cmocka_unit_test(who_never_reads_fills_the_link),
        cmocka_unit_test(who_greets_and_hangs_up_is_not_hammered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
