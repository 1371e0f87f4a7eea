/* The native endpoint and its bad callers. None may hurt the endpoint or another caller. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/endpoint_fixture.h"

static struct endpoint_sp *inside_of(struct echo *echo) {
    return (struct endpoint_sp *)echo->endpoint;
}

/* The only peer. */
static struct sp_peer *peer_of(struct echo *echo) {
    struct endpoint_sp *endpoint = inside_of(echo);
    for (uint32_t i = 0; i < endpoint->place_end; i++) {
        if (endpoint->places[i].peer != NULL)
            return endpoint->places[i].peer;
    }
    return NULL;
}

static const struct endpoint_counters *counters_of(struct echo *echo) {
    return endpoint_counters(echo->endpoint);
}

static void who_greets_wrong_is_closed(void **state) {
    const uint8_t greetings[][9] = {
        "GET / HT",
        {0, 'S', 'P', 0, 0, 0x31, 0, 0}, /* a REP */
        {0, 'S', 'P', 0, 0, 0x10, 0, 0}, /* a PAIR */
        {0, 'S', 'P', 1, 0, 0x30, 0, 0}, /* another version */
        {0, 'S', 'P', 0, 0, 0x30, 0, 1},
    };
    struct echo echo;
    echo_open(&echo, "tcp://127.0.0.1:0");
    for (uint64_t i = 0; i < sizeof greetings / sizeof greetings[0]; i++) {
        int fd = raw_connect(&echo, false);
        raw_send(fd, greetings[i], 8);
        assert_true(raw_sees_end(&echo, fd));
        assert_int_equal(counters_of(&echo)->closed_bad_peer, i + 1);
        close(fd);
    }
    assert_int_equal(echo.requests, 0);
    echo_close(&echo);
}

static void who_greets_by_half_is_closed_in_time(void **state) {
    struct echo echo;
    echo_open(&echo, "tcp://127.0.0.1:0");
    int fd = raw_connect(&echo, false), good = raw_connect(&echo, true);
    raw_send(fd, "\0SP", 3);
    wait_for(&echo, &counters_of(&echo)->connections_open, 2);
    endpoint_sp_sweep(inside_of(&echo), uv_now(&echo.loop) + ENDPOINT_GREETING_MS / 2);
    assert_int_equal(counters_of(&echo)->connections_open, 2);
    endpoint_sp_sweep(inside_of(&echo), uv_now(&echo.loop) + ENDPOINT_GREETING_MS);
    assert_true(raw_sees_end(&echo, fd));
    assert_int_equal(counters_of(&echo)->closed_bad_peer, 1);
    raw_assert_usable(&echo, good);
    close(fd);
    close(good);
    echo_close(&echo);
}

static void the_sweep_comes_by_itself(void **state) {
    struct echo echo;
    echo_open(&echo, "tcp://127.0.0.1:0");
    int fd = raw_connect(&echo, false);
    wait_for(&echo, &counters_of(&echo)->connections_open, 1);
    assert_true(uv_is_active((uv_handle_t *)&inside_of(&echo)->sweep));
    peer_of(&echo)->opened_ms -= ENDPOINT_GREETING_MS;
    assert_true(raw_sees_end(&echo, fd));
    loop_run_ms(&echo.loop, 1);
    assert_false(uv_is_active((uv_handle_t *)&inside_of(&echo)->sweep)); /* nobody to look at */
    close(fd);
    echo_close(&echo);
}

static void a_message_without_an_id_closes(void **state) {
    const uint8_t frames[][12] = {
        {0, 0, 0, 0, 0, 0, 0, 0},             /* nothing at all */
        {0, 0, 0, 0, 0, 0, 0, 3, 0x80, 0, 0}, /* three bytes */
        {0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 1}, /* a hop that leads nowhere */
    };
    const size_t sizes[] = {8, 11, 12};
    struct echo echo;
    echo_open(&echo, "tcp://127.0.0.1:0");
    for (uint64_t i = 0; i < 3; i++) {
        int fd = raw_connect(&echo, true);
        raw_send(fd, frames[i], sizes[i]);
        assert_true(raw_sees_end(&echo, fd));
        assert_int_equal(counters_of(&echo)->closed_bad_peer, i + 1);
        close(fd);
    }
    assert_int_equal(echo.requests, 0);
    echo_close(&echo);
}

static void too_many_hops_are_dropped(void **state) {
    uint8_t frame[8 + 4 * (SP_HOPS_MAX + 1)] = {0};
    struct echo echo;
    echo_open(&echo, "tcp://127.0.0.1:0");
    int fd = raw_connect(&echo, true);
    sp_length_write(frame, sizeof frame - 8);
    frame[sizeof frame - 4] = 0x80;
    raw_send(fd, frame, sizeof frame);
    raw_assert_usable(&echo, fd);
    assert_int_equal(echo.requests, 1);
    close(fd);
    echo_close(&echo);
}

/* Sends in pieces and lets the loop run between them. */
static void send_slowly(struct echo *echo, int fd, const uint8_t *data, size_t size) {
    uint64_t end_ns = uv_hrtime() + (uint64_t)LOOP_WAIT_MS * 1000000;
    while (size > 0 && uv_hrtime() < end_ns) {
        ssize_t sent = send(fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
        assert_true(sent > 0 || errno == EAGAIN);
        data += sent > 0 ? sent : 0;
        size -= sent > 0 ? (size_t)sent : 0;
        uv_run(&echo->loop, UV_RUN_NOWAIT);
    }
    assert_int_equal(size, 0);
}

static void the_oversize_are_answered_and_the_connection_stays(void **state) {
    const size_t size = MESSAGE_BYTES_MAX + 100000;
    struct echo echo;
    uint8_t reply[8 + 4 + 9];
    echo_open(&echo, "tcp://127.0.0.1:0");
    int fd = raw_connect(&echo, true);
    uint8_t *frame = malloc(8 + size);
    for (size_t i = 0; i < 8 + size; i++)
        frame[i] = (uint8_t)i;
    sp_length_write(frame, size);
    memcpy(frame + 8, "\x80\0\0\x05", 4);
    send_slowly(&echo, fd, frame, 8 + size);
    assert_true(raw_receive(&echo, fd, reply, sizeof reply));
    assert_memory_equal(reply + 8, "\x80\0\0\x05too large", 13);
    assert_int_equal(echo.oversize, 1);
    assert_int_equal(echo.oversize_size, size - 4);
    assert_int_equal(echo.oversize_first_size, SP_OVERSIZE_KEPT_BYTES);
    assert_memory_equal(echo.oversize_first, frame + 12, SP_OVERSIZE_KEPT_BYTES);
    assert_true(echo.turns >= 1);
    assert_true(peer_of(&echo)->input.capacity <= SP_INPUT_KEEP_BYTES);
    raw_assert_usable(&echo, fd);
    free(frame);
    close(fd);
    echo_close(&echo);
}

static void a_length_beyond_every_bound_closes(void **state) {
    const uint64_t sizes[] = {MESSAGE_DRAIN_BYTES_MAX + 1, UINT64_MAX};
    struct echo echo;
    echo_open(&echo, "tcp://127.0.0.1:0");
    for (uint64_t i = 0; i < 2; i++) {
        uint8_t length[8];
        int fd = raw_connect(&echo, true);
        sp_length_write(length, sizes[i]);
        raw_send(fd, length, sizeof length);
        assert_true(raw_sees_end(&echo, fd));
        assert_int_equal(counters_of(&echo)->closed_bad_peer, i + 1);
        close(fd);
    }
    echo_close(&echo);
}

static void a_truncated_request_is_forgotten(void **state) {
    uint8_t frame[8 + 100] = {0};
    struct echo echo;
    echo_open(&echo, "tcp://127.0.0.1:0");
    int fd = raw_connect(&echo, true);
    sp_length_write(frame, MESSAGE_BYTES_MAX);
    raw_send(fd, frame, sizeof frame);
    loop_run_ms(&echo.loop, 10);
    assert_in_range(peer_of(&echo)->input.capacity, sizeof frame, SP_INPUT_FIRST_BYTES);
    close(fd);
    while (counters_of(&echo)->connections_open > 0)
        uv_run(&echo.loop, UV_RUN_ONCE);
    assert_int_equal(echo.requests, 0);
    assert_int_equal(echo.turns, 0); /* no turn without a request */
    echo_close(&echo);
}

static void idle_peers_hold_no_buffers(void **state) {
    struct echo echo;
    echo_open(&echo, "tcp://127.0.0.1:0");
    int fd = raw_connect(&echo, true);
    raw_assert_usable(&echo, fd);
    struct sp_peer *peer = peer_of(&echo);
    assert_true(peer->input.capacity > 0);
    endpoint_sp_sweep(inside_of(&echo), uv_now(&echo.loop) + ENDPOINT_IDLE_MS);
    assert_int_equal(peer->input.capacity, 0);
    assert_int_equal(peer->output.pending.capacity + peer->output.writing.capacity, 0);
    assert_true(sizeof *peer < 2048);
    raw_assert_usable(&echo, fd);
    close(fd);
    echo_close(&echo);
}

#define ASKED_BYTES 60012

/* The frame of one request, no two of which are alike. */
static void asked_write(uint8_t frame[ASKED_BYTES], uint32_t number) {
    struct sp_header header;
    sp_header_of_id(&header, number);
    sp_length_write(frame, ASKED_BYTES - SP_LENGTH_SIZE);
    memcpy(frame + SP_LENGTH_SIZE, header.bytes, header.size);
    for (uint32_t i = 12; i < ASKED_BYTES; i++)
        frame[i] = (uint8_t)((number * 7919 + i) * 2654435761u >> 13);
}

/* Asks until the endpoint takes no more, never reading a reply. Bytes it was sent. */
static size_t ask_until_stuck(struct echo *echo, int fd) {
    const struct sp_peer *peer = peer_of(echo); /* the one at `fd` came first */
    uint8_t frame[ASKED_BYTES];
    size_t sent_total = 0, offset = 0;
    int stuck = 0;
    asked_write(frame, 0);
    /* The kernel's buffers fill in bursts: stuck is who stays so and is not read from. */
    while (stuck < 20 || (stuck < LOOP_WAIT_MS && peer->reading)) {
        ssize_t sent = send(fd, frame + offset, sizeof frame - offset, MSG_DONTWAIT | MSG_NOSIGNAL);
        stuck = sent > 0 ? 0 : stuck + 1;
        offset = (offset + (sent > 0 ? (size_t)sent : 0)) % sizeof frame;
        sent_total += sent > 0 ? (size_t)sent : 0;
        if (sent > 0 && offset == 0)
            asked_write(frame, (uint32_t)(sent_total / sizeof frame));
        if (stuck > 0)
            uv_sleep(1);
        uv_run(&echo->loop, UV_RUN_NOWAIT);
    }
    return sent_total;
}

static void who_never_reads_is_not_read_from_then_closed(void **state) {
    struct echo echo;
    echo_open(&echo, "tcp://127.0.0.1:0");
    int fd = raw_connect(&echo, true), good = raw_connect(&echo, true);
    struct sp_peer *peer = peer_of(&echo);
    ask_until_stuck(&echo, fd);

    size_t unsent = sp_output_unsent(&peer->output, (uv_stream_t *)&peer->tcp);
    assert_false(peer->reading);
    assert_in_range(unsent, ENDPOINT_OUTPUT_HIGH_BYTES, ENDPOINT_OUTPUT_HIGH_BYTES + (1 << 20));
    raw_assert_usable(&echo, good);
    endpoint_sp_sweep(inside_of(&echo), uv_now(&echo.loop));
    uint64_t since_ms = peer->progress_ms < peer->paused_ms ? peer->progress_ms : peer->paused_ms;
    endpoint_sp_sweep(inside_of(&echo), since_ms + ENDPOINT_STALL_MS - 1);
    assert_int_equal(counters_of(&echo)->closed_stalled, 0);
    endpoint_sp_sweep(inside_of(&echo), since_ms + ENDPOINT_STALL_MS);
    assert_int_equal(counters_of(&echo)->closed_stalled, 1);
    assert_int_equal(counters_of(&echo)->connections_open, 1);
    assert_true(raw_sees_end(&echo, fd));
    raw_assert_usable(&echo, good);
    close(fd);
    close(good);
    echo_close(&echo);
}

#define HEAVY_BODY 2000
#define HEAVY_FRAME (SP_LENGTH_SIZE + 4 + HEAVY_BODY)

/* Sends requests until the kernel takes no more; `at` bytes of the next one are sent already. */
static uint32_t heavy_fill(int fd, uint32_t at) {
    uint8_t frame[HEAVY_FRAME] = {0};
    sp_length_write(frame, HEAVY_FRAME - SP_LENGTH_SIZE);
    frame[SP_LENGTH_SIZE] = 0x80;
    for (;;) {
        ssize_t sent = send(fd, frame + at, HEAVY_FRAME - at, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0)
            return at;
        at = (at + (uint32_t)sent) % HEAVY_FRAME;
    }
}

/* However much a heavy peer has sent: of it, at most one turn's worth is handled before the answer
 * to a light one leaves, if the light one's request is there when the turn begins. */
static void a_heavy_peer_does_not_starve_a_light_one(void **state) {
    struct echo echo;
    uint64_t worst = 0;
    uint32_t at = 0;
    echo_open(&echo, "tcp://127.0.0.1:0");
    int light = raw_connect(&echo, true), light_inside, on = 1;
    setsockopt(light, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    raw_assert_usable(&echo, light);
    echo.amplify = 0; /* the heavy one does not read */
    assert_int_equal(uv_fileno((uv_handle_t *)&peer_of(&echo)->tcp, &light_inside), 0);
    int heavy = raw_connect(&echo, true);
    for (uint32_t round = 0; round < 20; round++) {
        at = heavy_fill(heavy, at);
        uint64_t before = echo.requests;
        echo.small_requests = 0;
        raw_send_request(light, round, "light", 5);
        for (int arrived = 0; arrived < SP_LENGTH_SIZE + 4 + 5;)
            assert_int_equal(ioctl(light_inside, FIONREAD, &arrived), 0);
        while (echo.small_requests == 0)
            uv_run(&echo.loop, UV_RUN_ONCE);
        uint64_t handled = echo.requests - before - 1;
        worst = handled > worst ? handled : worst;
    }
    at = heavy_fill(heavy, at);
    uint64_t before = echo.requests;
    loop_run_ms(&echo.loop, 20);
    assert_true(echo.requests - before > worst); /* there was more to be had */
    assert_in_range(worst, 1, ENDPOINT_READ_BYTES / HEAVY_FRAME + 1);
    close(light);
    close(heavy);
    echo_close(&echo);
}

static void who_reads_again_is_read_from_again(void **state) {
    struct echo echo;
    echo_open(&echo, "tcp://127.0.0.1:0");
    int fd = raw_connect(&echo, true);
    struct sp_peer *peer = peer_of(&echo);
    size_t sent = ask_until_stuck(&echo, fd);
    assert_false(peer->reading);
    uint64_t whole = sent / ASKED_BYTES;
    uint8_t *replies = malloc(whole * ASKED_BYTES);
    assert_true(raw_receive(&echo, fd, replies, whole * ASKED_BYTES));
    assert_true(peer->reading);
    assert_int_equal(echo.requests, whole);
    for (uint32_t i = 0; i < whole; i++) {
        uint8_t frame[ASKED_BYTES];
        asked_write(frame, i);
        assert_memory_equal(replies + (size_t)i * ASKED_BYTES, frame, ASKED_BYTES);
    }
    free(replies);
    close(fd);
    echo_close(&echo);
}

static void too_many_replies_for_one_peer_close_it_at_once(void **state) {
    struct echo echo;
    echo_open(&echo, "tcp://127.0.0.1:0");
    echo.amplify = 100000;
    int fd = raw_connect(&echo, true);
    uint8_t body[20] = {0};
    for (uint32_t i = 0; i < 40; i++) /* 80 MB of replies, in one turn */
        raw_send_request(fd, i, body, sizeof body);
    wait_for(&echo, &counters_of(&echo)->closed_stalled, 1);
    assert_true(counters_of(&echo)->replies_dropped >= 1);
    assert_int_equal(counters_of(&echo)->connections_open, 0);
    close(fd);
    echo_close(&echo);
}

static void full_is_an_answer(void **state) {
    struct echo echo;
    echo_open(&echo, "tcp://127.0.0.1:0");
    int good = raw_connect(&echo, true);
    inside_of(&echo)->peer_count = ENDPOINT_PEERS_MAX;
    int fd = raw_connect(&echo, false);
    assert_true(raw_sees_end(&echo, fd));
    inside_of(&echo)->peer_count = 1;
    assert_int_equal(counters_of(&echo)->connections_refused, 1);
    raw_assert_usable(&echo, good);
    int next = raw_connect(&echo, true);
    raw_assert_usable(&echo, next);
    close(fd);
    close(good);
    close(next);
    echo_close(&echo);
}

static void garbage_never_hurts(void **state) {
    struct echo echo;
    uint32_t seed = 4711;
    echo_open(&echo, "tcp://127.0.0.1:0");
    int good = raw_connect(&echo, true);
    for (int i = 0; i < 300; i++) {
        uint8_t garbage[512];
        for (size_t k = 0; k < sizeof garbage; k++) {
            seed = seed * 1664525 + 1013904223;
            garbage[k] = (seed >> 24) % 3 == 0 ? (uint8_t)(seed >> 16) : 0;
        }
        garbage[0] = garbage[1] = garbage[2] = garbage[3] = garbage[4] = garbage[5] = 0;
        int fd = raw_connect(&echo, true);
        raw_send(fd, garbage, 1 + seed % sizeof garbage);
        loop_run_ms(&echo.loop, 0);
        close(fd);
    }
    raw_assert_usable(&echo, good);
    close(good);
    echo_close(&echo);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_greets_wrong_is_closed),
        cmocka_unit_test(who_greets_by_half_is_closed_in_time),
        cmocka_unit_test(the_sweep_comes_by_itself),
        cmocka_unit_test(a_message_without_an_id_closes),
        cmocka_unit_test(too_many_hops_are_dropped),
        cmocka_unit_test(the_oversize_are_answered_and_the_connection_stays),
        cmocka_unit_test(a_length_beyond_every_bound_closes),
        cmocka_unit_test(a_truncated_request_is_forgotten),
        cmocka_unit_test(idle_peers_hold_no_buffers),
        cmocka_unit_test(who_never_reads_is_not_read_from_then_closed),
        cmocka_unit_test(a_heavy_peer_does_not_starve_a_light_one),
        cmocka_unit_test(who_reads_again_is_read_from_again),
        cmocka_unit_test(too_many_replies_for_one_peer_close_it_at_once),
        cmocka_unit_test(full_is_an_answer),
        cmocka_unit_test(garbage_never_hurts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
