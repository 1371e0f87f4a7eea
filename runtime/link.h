/*
 * A link: our own connection to an endpoint, nng's REQ side, with many requests outstanding.
 *
 * Belongs to one libuv loop. Speaks the SP wire format over `tcp://` natively, so that a loop can
 * keep any number of requests in flight on one connection without a thread. Reconnects by itself,
 * with back-off and jitter, until closed.
 *
 * Guarantees: each request sent gets at most one on_reply; requests that were outstanding when the
 * connection was lost get none: on_down says so once for all of them. Handlers are called from the
 * loop only, never from within a function of this header. A reply above MESSAGE_BYTES_MAX is thrown
 * away (its request gets none); a length above MESSAGE_DRAIN_BYTES_MAX drops the connection.
 */
#ifndef SLUICE_RUNTIME_LINK_H
#define SLUICE_RUNTIME_LINK_H

#include <uv.h>

#include "proto/bounds.h"
#include "proto/bytes.h"
#include "proto/writer.h"

struct link;

/* Milliseconds between attempts to connect: the first, doubling up to the last, each +-25 %. */
#define LINK_RETRY_FIRST_MS 10
#define LINK_RETRY_LAST_MS 500

/* Milliseconds an attempt to connect and greet may take. */
#define LINK_CONNECT_MS 1000

/* Bytes of requests not yet written, above which link_send answers LINK_FULL. */
#define LINK_OUTPUT_MAX_BYTES (16u << 20)

enum link_status { LINK_SENT, LINK_FULL, LINK_DOWN };

struct link_handler {
    void *ctx;
    void (*on_up)(void *ctx, struct link *link);
    /* The connection was lost, or an attempt failed (`was_up` false). `why` is for a log line. */
    void (*on_down)(void *ctx, struct link *link, bool was_up, const char *why);
    /* `body` is borrowed for the call. */
    void (*on_reply)(void *ctx, struct link *link, uint32_t id, struct bytes body);
};

/* Starts connecting to `url` ("tcp://host:port", copied). -1 and `why` if it is not such a URL. */
int link_open(struct link **out, uv_loop_t *loop, const char *url,
              const struct link_handler *handler, char *why, size_t why_size);

bool link_is_up(const struct link *link);
const char *link_url(const struct link *link);

/* Queues a request under `id` (31 bits, the caller's choice; may be used again after its reply or
 * on_down). `body` is copied; written by link_flush. */
enum link_status link_send(struct link *link, uint32_t id, struct bytes body);

/* The same for a body that is encoded where it leaves from: at most `capacity` bytes between begin
 * and end. Only after LINK_SENT is there something to encode and to end, and nothing else may be
 * done with the link before that. */
enum link_status link_send_begin(struct link *link, uint32_t id, uint32_t capacity,
                                 struct writer *writer);
void link_send_end(struct link *link, const struct writer *writer);
void link_flush(struct link *link);

/* Closes and frees the link; no handler is called any more. `on_closed` may be NULL. */
void link_close(struct link *link, void (*on_closed)(void *ctx), void *ctx);

#endif
