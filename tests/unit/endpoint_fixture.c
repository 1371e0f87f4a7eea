#include "tests/unit/endpoint_fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "runtime/tcp_address.h"

static void on_request(void *ctx, struct endpoint *endpoint, const struct endpoint_caller *caller,
                       struct bytes body) {
    struct echo *echo = ctx;
    assert_true(echo->count < ECHO_TURN_MAX);
    echo->callers[echo->count] = *caller;
    echo->bodies[echo->count++] = body;
    echo->local = endpoint_caller_is_local(endpoint, caller);
    echo->requests++;
    echo->small_requests += body.size < 10;
}

static void on_oversize(void *ctx, struct endpoint *endpoint, const struct endpoint_caller *caller,
                        struct bytes first, uint64_t size) {
    struct echo *echo = ctx;
    assert_true(first.size <= sizeof echo->oversize_first);
    memcpy(echo->oversize_first, first.data, first.size);
    echo->oversize_first_size = first.size;
    echo->oversize_size = size;
    echo->oversize++;
    endpoint_reply(endpoint, caller, bytes_of_text("too large"));
}

/* By turns given as a whole, and encoded in place in more space than it needs. */
static void echo_reply(struct echo *echo, struct endpoint *endpoint, uint32_t at) {
    struct writer writer;
    if (at % 2 == 0) {
        endpoint_reply(endpoint, &echo->callers[at], echo->bodies[at]);
    } else if (endpoint_reply_begin(endpoint, &echo->callers[at], echo->bodies[at].size + 1000,
                                    &writer)) {
        write_encoded(&writer, echo->bodies[at]);
        endpoint_reply_end(endpoint, &writer);
    }
}

static void on_turn(void *ctx, struct endpoint *endpoint) {
    struct echo *echo = ctx;
    echo->turns++;
    for (uint32_t i = 0; i < echo->count; i++) {
        echo->last = echo->callers[i];
        if (echo->amplify == 1) {
            echo_reply(echo, endpoint, i);
        } else if (echo->amplify > 1) {
            size_t size = (size_t)echo->bodies[i].size * echo->amplify;
            uint8_t *reply = calloc(1, size);
            assert_non_null(reply);
            endpoint_reply(endpoint, &echo->callers[i], bytes_of(reply, size));
            free(reply);
        }
    }
    echo->count = 0;
}

void echo_open(struct echo *echo, const char *url) {
    const struct endpoint_handler handler = {
        .ctx = echo, .on_request = on_request, .on_oversize = on_oversize, .on_turn = on_turn};
    char why[256] = "";
    *echo = (struct echo){.amplify = 1};
    signal(SIGPIPE, SIG_IGN);
    echo->callers = calloc(ECHO_TURN_MAX, sizeof *echo->callers);
    echo->bodies = calloc(ECHO_TURN_MAX, sizeof *echo->bodies);
    assert_int_equal(uv_loop_init(&echo->loop), 0);
    if (endpoint_open(&echo->endpoint, &echo->loop, url, &handler, why, sizeof why) != 0)
        fail_msg("%s", why);
    echo->url = strdup(endpoint_url(echo->endpoint));
}

void echo_on_closed(void *ctx) {
    ((struct echo *)ctx)->closed = true;
}

void echo_close_start(struct echo *echo) {
    endpoint_close(echo->endpoint, echo_on_closed, echo);
    echo->endpoint = NULL;
}

void echo_close(struct echo *echo) {
    if (echo->endpoint != NULL)
        echo_close_start(echo);
    assert_true(loop_wait(&echo->loop, loop_wait_flag, &echo->closed));
    uv_run(&echo->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&echo->loop), 0);
    free(echo->url);
    free(echo->callers);
    free(echo->bodies);
}

/* --- raw sockets -------------------------------------------------------------------------------
 */

int raw_connect(struct echo *echo, bool greet) {
    struct tcp_address address;
    struct sockaddr_storage to;
    char why[256];
    assert_true(tcp_address_parse(echo->url, &address, why, sizeof why));
    assert_true(tcp_address_numeric(&address, &to));
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(struct sockaddr_in)), 0);
    if (greet) {
        uint8_t greeting[SP_GREETING_SIZE];
        sp_greeting_write(greeting, SP_PROTOCOL_REQ);
        raw_send(fd, greeting, sizeof greeting);
        assert_true(raw_receive(echo, fd, greeting, sizeof greeting));
        assert_true(sp_greeting_check(greeting, SP_PROTOCOL_REP));
    }
    return fd;
}

void raw_send(int fd, const void *data, size_t size) {
    const uint8_t *next = data;
    while (size > 0) {
        ssize_t sent = send(fd, next, size, MSG_NOSIGNAL);
        assert_true(sent > 0);
        next += sent;
        size -= (size_t)sent;
    }
}

void raw_send_request(int fd, uint32_t id, const void *body, size_t size) {
    uint8_t head[SP_LENGTH_SIZE + 4];
    struct sp_header header;
    sp_header_of_id(&header, id);
    sp_length_write(head, 4 + size);
    memcpy(head + SP_LENGTH_SIZE, header.bytes, 4);
    raw_send(fd, head, sizeof head);
    raw_send(fd, body, size);
}

struct reception {
    int fd;
    uint8_t *next;
    size_t left;
    bool ended;
};

static bool reception_done(void *ctx) {
    struct reception *reception = ctx;
    uint8_t rest[4096];
    while (reception->left > 0) {
        /* Without a place for the bytes they are thrown away: only the end matters. */
        uint8_t *out = reception->next != NULL ? reception->next : rest;
        size_t size = reception->next != NULL ? reception->left : sizeof rest;
        ssize_t got = recv(reception->fd, out, size, MSG_DONTWAIT);
        if (got == 0 || (got < 0 && errno != EAGAIN)) {
            reception->ended = true;
            return true;
        }
        if (got < 0)
            return false;
        if (reception->next != NULL) {
            reception->next += got;
            reception->left -= (size_t)got;
        }
    }
    return true;
}

bool raw_receive(struct echo *echo, int fd, void *out, size_t size) {
    struct reception reception = {.fd = fd, .next = out, .left = size};
    assert_true(loop_wait(&echo->loop, reception_done, &reception));
    return !reception.ended;
}

bool raw_sees_end(struct echo *echo, int fd) {
    struct reception reception = {.fd = fd, .left = 1};
    return loop_wait(&echo->loop, reception_done, &reception) && reception.ended;
}

void raw_assert_usable(struct echo *echo, int fd) {
    uint8_t reply[SP_LENGTH_SIZE + 4 + 5];
    const uint8_t expected[] = {0, 0, 0, 0, 0, 0, 0, 9, 0x80, 0, 0, 77, 'h', 'e', 'l', 'l', 'o'};
    raw_send_request(fd, 77, "hello", 5);
    assert_true(raw_receive(echo, fd, reply, sizeof reply));
    assert_memory_equal(reply, expected, sizeof expected);
}

struct awaited {
    struct echo *echo;
    const uint64_t *counter;
    uint64_t least;
};

static bool awaited_reached(void *ctx) {
    struct awaited *awaited = ctx;
    if (awaited->echo->endpoint != NULL)
        (void)endpoint_counters(awaited->echo->endpoint);
    return *awaited->counter >= awaited->least;
}

void wait_for(struct echo *echo, const uint64_t *counter, uint64_t least) {
    struct awaited awaited = {echo, counter, least};
    assert_true(loop_wait(&echo->loop, awaited_reached, &awaited));
}
