/*
 * A client's connection to a router, as PROTOCOL.md describes it for a plain socket: takes go out
 * in take_many requests, any number outstanding, and each is told of exactly once: answered, or
 * lost with its connection. Connects again by itself.
 *
 * One thread, non-blocking; its owner polls `fd` for `peer_events` and calls peer_ready.
 */
#ifndef SLUICE_CHAOS_PEER_H
#define SLUICE_CHAOS_PEER_H

#include <netinet/in.h>

#include "tests/chaos/records.h"

/* Requests outstanding on one connection, and takes in a request. Arbitrary, but enough to keep a
 * router busy. */
#define PEER_WINDOW_MAX 256
#define PEER_BATCH_MAX 256

/* A router answers within its deadline of 250 ms; one that has said nothing for so long is gone. */
#define PEER_SILENCE_NS UINT64_C(2000000000)

#define PEER_RETRY_NS UINT64_C(50000000)

struct peer_request {
    bool used;
    struct record_batch batch;
    struct record_take takes[PEER_BATCH_MAX];
};

struct peer;

/* The request's takes have their outcomes, its batch its times. */
typedef void peer_done(void *ctx, struct peer *peer, struct peer_request *request);

struct peer {
    struct sockaddr_in address;
    const struct record_class *classes;
    peer_done *done;
    void *ctx;
    int fd; /* -1: not connected */
    bool greeted;
    uint64_t retry_at_ns, heard_ns;
    uint64_t connections;
    struct peer_request *requests; /* PEER_WINDOW_MAX */
    uint32_t outstanding;
    uint8_t *input, *output;
    uint32_t input_size, output_size, output_at;
};

/* "127.0.0.1:7400". False if it is no such thing. */
bool peer_init(struct peer *peer, const char *address, const struct record_class *classes,
               peer_done *done, void *ctx);
void peer_fini(struct peer *peer);

/* Connects when it is time, gives up a connection that is silent. */
void peer_tick(struct peer *peer, uint64_t now_ns);

short peer_events(const struct peer *peer);
void peer_ready(struct peer *peer, short revents);

/* Whether a request may be sent now: greeted, and fewer than `window` outstanding. */
bool peer_may_send(const struct peer *peer, uint32_t window);

/* A request to fill in (batch.intended_ns, take_count, each take's key and cost), then to send. */
struct peer_request *peer_request_get(struct peer *peer);
void peer_send(struct peer *peer, struct peer_request *request);

/* Writes what peer_send has gathered. */
void peer_flush(struct peer *peer);

/* Closes; all that is outstanding is unanswered. */
void peer_close(struct peer *peer, uint64_t now_ns);

#endif
