/*
 * For the tests of endpoints: an endpoint that answers at the end of each turn with what it was
 * asked, and raw sockets that say to it whatever a test wants.
 *
 * The echo keeps views of the bodies until the end of the turn, as a shard does: were one moved or
 * freed before, the answers would be wrong.
 */
#ifndef SLUICE_TESTS_ENDPOINT_FIXTURE_H
#define SLUICE_TESTS_ENDPOINT_FIXTURE_H

#include "runtime/endpoint.h"
#include "runtime/endpoint_sp.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/loop_wait.h"

/* Requests of one turn that the echo can hold. */
#define ECHO_TURN_MAX 65536

struct echo {
    uv_loop_t loop;
    struct endpoint *endpoint;
    char *url; /* kept past the endpoint's close */
    struct endpoint_caller *callers;
    struct bytes *bodies;
    uint32_t count; /* of this turn */
    uint64_t turns, requests, oversize;
    uint64_t small_requests; /* of fewer than 10 bytes */
    uint64_t oversize_size;
    uint8_t oversize_first[256];
    uint32_t oversize_first_size;
    uint32_t amplify; /* a reply is this often the request; 0: no reply, keep the last caller */
    bool local;       /* what the last caller was */
    bool closed;
    struct endpoint_caller last;
};

/* Opens at `url` on a loop of its own. */
void echo_open(struct echo *echo, const char *url);

/* Closes the endpoint if it is still open, runs the loop dry and checks that nothing is left. */
void echo_close(struct echo *echo);

/* Starts the close; the loop has to run for it. */
void echo_close_start(struct echo *echo);
void echo_on_closed(void *ctx);

/* A connected socket; greeted if `greet`. Blocking, so only for what fits the kernel's buffers. */
int raw_connect(struct echo *echo, bool greet);
void raw_send(int fd, const void *data, size_t size);

/* Sends one frame: the header's words (the last gets no bit set by this), then the body. */
void raw_send_request(int fd, uint32_t id, const void *body, size_t size);

/* Runs the loop until `size` bytes have come (true) or the connection ended before (false). */
bool raw_receive(struct echo *echo, int fd, void *out, size_t size);

/* Runs the loop until the endpoint has closed this connection. */
bool raw_sees_end(struct echo *echo, int fd);

/* Asks on a greeted connection and checks the answer. */
void raw_assert_usable(struct echo *echo, int fd);

/* Runs the loop until a counter has reached `least`. */
void wait_for(struct echo *echo, const uint64_t *counter, uint64_t least);

#endif
