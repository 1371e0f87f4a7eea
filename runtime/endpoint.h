/*
 * An endpoint: an address at which callers' requests arrive and are answered, nng's REP side.
 *
 * Belongs to one libuv loop; every function is called, and every handler runs, on that loop's
 * thread. `tcp://` is read natively on the loop (SP over uv_tcp); `ipc://`, `ws://` and other
 * schemes go through libnng, whose threads push into a mailbox. A caller cannot tell them apart,
 * and neither can the code behind this header.
 *
 * Requests of one loop turn are handed over one by one, then `on_turn` is called once: decide
 * there, in a batch. Replies go into the output of their peer, which is written once a turn.
 *
 * Guarantees: a reply goes to the connection that asked, or nowhere if that is gone (the caller is
 * a value, safe to keep past the connection's end). A peer that does not read its replies is first
 * no longer read from (above ENDPOINT_OUTPUT_HIGH_BYTES) and closed when it stays so.
 */
#ifndef SLUICE_RUNTIME_ENDPOINT_H
#define SLUICE_RUNTIME_ENDPOINT_H

#include <uv.h>

#include "proto/bytes.h"
#include "proto/writer.h"
#include "runtime/sp.h"

struct endpoint;

/* Connections of one endpoint. Beyond it new ones are closed at once: full is an answer. */
#define ENDPOINT_PEERS_MAX 10000

/* Bytes of unsent replies above which a peer is not read from, and above which it is closed. */
#define ENDPOINT_OUTPUT_HIGH_BYTES (4u << 20)
#define ENDPOINT_OUTPUT_MAX_BYTES (32u << 20)

/* Milliseconds that a peer may leave its replies unread before it is closed. */
#define ENDPOINT_STALL_MS 10000

/* Bytes of one read from a peer, so that one peer cannot starve the others in a turn. */
#define ENDPOINT_READ_BYTES (256u << 10)

/* Requests that a libnng endpoint takes in before it waits for replies (contexts). A request that
 * is never answered holds its place until the endpoint is closed: answer every one. */
#define ENDPOINT_NNG_CONTEXTS 256

struct endpoint_caller {
    uint32_t peer;
    uint32_t generation;
    struct sp_header header;
};

struct endpoint_handler {
    void *ctx;
    /* A whole request; `body` is borrowed until `on_turn` has returned. */
    void (*on_request)(void *ctx, struct endpoint *endpoint, const struct endpoint_caller *caller,
                       struct bytes body);
    /* A request above MESSAGE_BYTES_MAX, already thrown away but for its first bytes (borrowed for
     * the call): answer it TOO_LARGE. */
    void (*on_oversize)(void *ctx, struct endpoint *endpoint, const struct endpoint_caller *caller,
                        struct bytes first, uint64_t size);
    /* After the last request of a loop turn; never without one since the last call. */
    void (*on_turn)(void *ctx, struct endpoint *endpoint);
};

struct endpoint_counters {
    uint64_t connections_opened;
    uint64_t connections_open;
    uint64_t connections_refused;
    uint64_t requests;
    uint64_t replies;
    uint64_t replies_dropped; /* the connection was gone */
    uint64_t closed_bad_peer; /* wrong greeting, length above the bound, unanswerable message */
    uint64_t closed_stalled;
};

/* Opens `url` (zero-terminated, copied) on `loop`. On success 0 and *out owns the endpoint; else -1
 * and `why` says what failed and how to mend it ("address in use: ..."); handles that were opened
 * meanwhile are closed by the loop, so run it once more before it goes. */
int endpoint_open(struct endpoint **out, uv_loop_t *loop, const char *url,
                  const struct endpoint_handler *handler, char *why, size_t why_size);

/* Whether several loops of this process listen at one address (SO_REUSEPORT: the kernel gives each
 * connection to one of them, for good). The first of them makes sure that nobody else listens
 * there, as an endpoint that is alone does by itself. Only `tcp://` can be shared. */
enum endpoint_sharing { ENDPOINT_ALONE, ENDPOINT_SHARED_FIRST, ENDPOINT_SHARED };

int endpoint_open_shared(struct endpoint **out, uv_loop_t *loop, const char *url,
                         enum endpoint_sharing sharing, const struct endpoint_handler *handler,
                         char *why, size_t why_size);
bool endpoint_can_be_shared(const char *url);

/* The URL it listens at, with the port the system chose where `url` said 0. */
const char *endpoint_url(const struct endpoint *endpoint);

/* Queues a reply, at most one a request, that is encoded where it leaves from: at most `capacity`
 * bytes between begin and end. No other function of the endpoint may be called between the two.
 * False: the caller is gone (counted), there is nothing to encode and nothing to end. Written at
 * the end of the turn if called within a handler, else by endpoint_flush. */
bool endpoint_reply_begin(struct endpoint *endpoint, const struct endpoint_caller *caller,
                          uint32_t capacity, struct writer *writer);
void endpoint_reply_end(struct endpoint *endpoint, const struct writer *writer);

/* The same for a body that exists already; it is copied. */
void endpoint_reply(struct endpoint *endpoint, const struct endpoint_caller *caller,
                    struct bytes body);
void endpoint_flush(struct endpoint *endpoint);

/* True if the caller is on this machine: a loopback address or a local socket. */
bool endpoint_caller_is_local(const struct endpoint *endpoint,
                              const struct endpoint_caller *caller);

const struct endpoint_counters *endpoint_counters(const struct endpoint *endpoint);

/* Stops taking in connections and requests; replies still leave. */
void endpoint_stop(struct endpoint *endpoint);

/* Sends what is queued (bounded by one second), closes everything, frees the endpoint, then calls
 * `on_closed` (may be NULL) from the loop. The pointer is dead from this call on. */
void endpoint_close(struct endpoint *endpoint, void (*on_closed)(void *ctx), void *ctx);

#endif
