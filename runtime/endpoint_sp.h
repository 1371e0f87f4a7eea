/*
 * The native endpoint from the inside: its listener and table of peers (endpoint_sp.c), and what
 * one peer does (endpoint_sp_peer.c). Private to those two and to their test.
 *
 * A peer lives from its accept to libuv's close callback; a caller finds it through its place in
 * the table and the place's generation, which is raised when the peer leaves it.
 */
#ifndef SLUICE_RUNTIME_ENDPOINT_SP_H
#define SLUICE_RUNTIME_ENDPOINT_SP_H

#include <sys/queue.h>

#include "runtime/endpoint_impl.h"
#include "runtime/sp_input.h"
#include "runtime/sp_output.h"

/* Milliseconds a peer has for its greeting: three retransmissions of a first packet. */
#define ENDPOINT_GREETING_MS 3000

/* Milliseconds between two looks at all peers for what takes too long. */
#define ENDPOINT_SWEEP_MS 500

/* Milliseconds without a request after which a peer's buffers are given back. */
#define ENDPOINT_IDLE_MS 1000

/* Milliseconds that a closing endpoint waits for its peers to have read their replies. */
#define ENDPOINT_LINGER_MS 1000

/* Seconds of silence after which the kernel asks whether a peer's machine still lives. */
#define ENDPOINT_KEEPALIVE_S 60

struct sp_peer {
    uv_tcp_t tcp;
    uv_shutdown_t shutdown;
    struct endpoint_sp *endpoint;
    uint32_t index, generation; /* its place */
    bool local, greeted, closing, reading, finishing;
    bool in_turn, unflushed;
    uint32_t turn_bytes; /* read in this turn */
    uint64_t opened_ms, active_ms;
    uint64_t sent_total; /* bytes the kernel had taken at `progress_ms` */
    uint64_t progress_ms;
    uint64_t paused_ms; /* when it was last no longer read from */
    struct sp_input input;
    struct sp_output output;
    TAILQ_ENTRY(sp_peer) turn_entry, unflushed_entry;
};

TAILQ_HEAD(sp_peer_list, sp_peer);

struct sp_place {
    struct sp_peer *peer;
    uint32_t generation;
};

struct endpoint_sp {
    struct endpoint base; /* first: the two are one pointer */
    uv_tcp_t listener;
    uv_check_t turn;
    uv_timer_t sweep;
    uint32_t handles_open;
    uint32_t peer_count;
    uint32_t place_end;  /* places from here on were never used */
    uint32_t free_count; /* of free_places */
    uint32_t free_places[ENDPOINT_PEERS_MAX];
    struct sp_place places[ENDPOINT_PEERS_MAX];
    uint32_t turn_requests;
    struct sp_peer_list turn_peers; /* that were read from in this turn */
    struct sp_peer_list unflushed;  /* that have replies to be written */
    struct sp_peer *replying;       /* whose reply is being encoded */
    char discarded[16384];          /* what peers say while the endpoint closes */
};

/* Looks at every peer as of `now_ms`: closes those that neither greet nor read, trims idle ones. */
void endpoint_sp_sweep(struct endpoint_sp *endpoint, uint64_t now_ms);

/* A handle of the endpoint is closed; after the last one it is freed. */
void endpoint_sp_handle_closed(struct endpoint_sp *endpoint);

/* A peer takes a free place (there must be one), and leaves it. */
void endpoint_sp_enter(struct endpoint_sp *endpoint, struct sp_peer *peer);
void endpoint_sp_leave(struct endpoint_sp *endpoint, struct sp_peer *peer);

/* A peer was read from: the turn ends after this round of the loop's polling. */
void endpoint_sp_turn_join(struct endpoint_sp *endpoint, struct sp_peer *peer);

/* Accepts the waiting connection, or closes it at once if there is no place for it. */
void sp_peer_accept(struct endpoint_sp *endpoint);
void sp_peer_close(struct sp_peer *peer);

/* Where a reply's body of at most `capacity` bytes is to be encoded; NULL: the peer has too many
 * unread already, and is closed. */
uint8_t *sp_peer_reply_begin(struct sp_peer *peer, const struct sp_header *header,
                             uint32_t capacity);
void sp_peer_reply_end(struct sp_peer *peer, uint32_t size);
void sp_peer_flush(struct sp_peer *peer);

/* The turn is over: its requests are done with. */
void sp_peer_turn_end(struct sp_peer *peer);

/* Starts or stops reading, as the endpoint's state and the unsent replies want it. */
void sp_peer_update_reading(struct sp_peer *peer);

/* Sends what is queued, says goodbye and closes when the peer has as well. */
void sp_peer_finish(struct sp_peer *peer);

#endif
