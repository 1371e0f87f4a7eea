#include <assert.h>
#include <stdlib.h>

#include "runtime/endpoint_sp.h"
#include "runtime/tcp_address.h"

static uv_stream_t *stream_of(struct sp_peer *peer) {
    return (uv_stream_t *)&peer->tcp;
}

static void bad_peer_close(struct sp_peer *peer) {
    peer->endpoint->base.counters.closed_bad_peer++;
    sp_peer_close(peer);
}

/* --- closing -----------------------------------------------------------------------------------
 */

static void on_closed(uv_handle_t *handle) {
    struct sp_peer *peer = handle->data;
    struct endpoint_sp *endpoint = peer->endpoint;
    assert(!peer->in_turn || endpoint->base.closing);
    sp_input_free(&peer->input);
    sp_output_free(&peer->output);
    free(peer);
    endpoint_sp_handle_closed(endpoint);
}

/* Its buffer lives on until the loop's close callbacks, which follow the end of the turn: requests
 * of this turn stay readable although their sender is gone. */
void sp_peer_close(struct sp_peer *peer) {
    if (peer->closing)
        return;
    peer->closing = true;
    if (peer->unflushed) {
        TAILQ_REMOVE(&peer->endpoint->unflushed, peer, unflushed_entry);
        peer->unflushed = false;
    }
    endpoint_sp_leave(peer->endpoint, peer);
    uv_close((uv_handle_t *)&peer->tcp, on_closed);
}

static void on_shutdown(uv_shutdown_t *request, int status) {
    struct sp_peer *peer = request->handle->data;
    if (status < 0)
        sp_peer_close(peer);
    /* Else the peer closes when it has read all: on_read sees the end. */
}

void sp_peer_finish(struct sp_peer *peer) {
    if (!peer->greeted) {
        sp_peer_close(peer);
        return;
    }
    sp_peer_flush(peer);
    if (peer->closing || peer->output.busy || peer->finishing)
        return;
    peer->finishing = true;
    if (uv_shutdown(&peer->shutdown, stream_of(peer), on_shutdown) != 0)
        sp_peer_close(peer);
    else
        sp_peer_update_reading(peer);
}

/* --- requests in -------------------------------------------------------------------------------
 */

static bool greeting_read(struct sp_peer *peer) {
    const uint8_t *greeting = sp_input_take(&peer->input, SP_GREETING_SIZE);
    if (greeting == NULL)
        return false;
    if (!sp_greeting_check(greeting, SP_PROTOCOL_REQ)) {
        bad_peer_close(peer);
        return false;
    }
    peer->greeted = true;
    return true;
}

static void message_deliver(struct sp_peer *peer, enum sp_frame frame, struct bytes message,
                            uint64_t size) {
    struct endpoint *endpoint = &peer->endpoint->base;
    struct endpoint_caller caller = {.peer = peer->index, .generation = peer->generation};
    struct bytes body;
    if (!sp_header_read(message, &caller.header, &body)) {
        /* As nng's own REP does: too many hops are dropped, since the peer is a device that serves
         * others as well; a message without an id is garbage. */
        if (message.size < 4 * SP_HOPS_MAX)
            bad_peer_close(peer);
        return;
    }
    peer->endpoint->turn_requests++;
    endpoint->counters.requests++;
    if (frame == SP_FRAME_MESSAGE) {
        endpoint->handler.on_request(endpoint->handler.ctx, endpoint, &caller, body);
        return;
    }
    if (body.size > SP_OVERSIZE_KEPT_BYTES)
        body.size = SP_OVERSIZE_KEPT_BYTES;
    endpoint->handler.on_oversize(endpoint->handler.ctx, endpoint, &caller, body,
                                  size - caller.header.size);
}

static void messages_read(struct sp_peer *peer) {
    const struct endpoint *endpoint = &peer->endpoint->base;
    if (!peer->greeted && !greeting_read(peer))
        return;
    /* A handler may stop or close the endpoint, or overfill this peer: look each time. */
    while (!peer->closing && !endpoint->stopped) {
        struct bytes message;
        uint64_t size;
        enum sp_frame frame = sp_input_next(&peer->input, &message, &size);
        if (frame == SP_FRAME_NONE)
            return;
        if (frame == SP_FRAME_BAD)
            bad_peer_close(peer);
        else
            message_deliver(peer, frame, message, size);
    }
}

static void on_space(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer) {
    struct sp_peer *peer = handle->data;
    struct endpoint_sp *endpoint = peer->endpoint;
    if (endpoint->base.closing) {
        *buffer = uv_buf_init(endpoint->discarded, sizeof endpoint->discarded);
        return;
    }
    uint8_t *space = NULL;
    uint32_t size = sp_input_space(&peer->input, ENDPOINT_READ_BYTES - peer->turn_bytes, &space);
    *buffer = uv_buf_init((char *)space, size);
}

static void on_read(uv_stream_t *stream, ssize_t size, const uv_buf_t *buffer) {
    struct sp_peer *peer = stream->data;
    if (size == UV_ENOBUFS) {
        /* Enough for this turn; the rest waits in the kernel. Outside a turn: no memory. */
        if (!peer->in_turn)
            sp_peer_close(peer);
        return;
    }
    if (size < 0) {
        sp_peer_close(peer);
        return;
    }
    if (size == 0 || peer->endpoint->base.closing)
        return;
    peer->active_ms = uv_now(stream->loop);
    peer->turn_bytes += (uint32_t)size;
    sp_input_filled(&peer->input, (uint32_t)size);
    endpoint_sp_turn_join(peer->endpoint, peer);
    messages_read(peer);
}

void sp_peer_update_reading(struct sp_peer *peer) {
    if (peer->closing)
        return;
    const struct endpoint *endpoint = &peer->endpoint->base;
    size_t unsent = sp_output_unsent(&peer->output, stream_of(peer));
    /* Half of the bound to start again, so that it does not flutter around it. */
    size_t bound = peer->reading ? ENDPOINT_OUTPUT_HIGH_BYTES : ENDPOINT_OUTPUT_HIGH_BYTES / 2;
    bool want = (!endpoint->stopped && unsent <= bound) || endpoint->closing;
    if (want == peer->reading)
        return;
    peer->reading = want;
    if (!want) {
        peer->paused_ms = uv_now(endpoint->loop);
        uv_read_stop(stream_of(peer));
    } else if (uv_read_start(stream_of(peer), on_space, on_read) != 0) {
        sp_peer_close(peer);
    }
}

void sp_peer_turn_end(struct sp_peer *peer) {
    peer->turn_bytes = 0;
    if (!peer->closing)
        sp_input_release(&peer->input);
}

/* --- replies out -------------------------------------------------------------------------------
 */

static void on_written(struct sp_output *output, int status) {
    struct sp_peer *peer = (struct sp_peer *)((char *)output - offsetof(struct sp_peer, output));
    if (peer->closing)
        return;
    if (status < 0)
        sp_peer_close(peer);
    else if (peer->endpoint->base.closing)
        sp_peer_finish(peer);
    else
        sp_peer_flush(peer);
}

uint8_t *sp_peer_reply_begin(struct sp_peer *peer, const struct sp_header *header,
                             uint32_t capacity) {
    struct endpoint_sp *endpoint = peer->endpoint;
    size_t unsent = sp_output_unsent(&peer->output, stream_of(peer));
    uint8_t *space = NULL;
    if (unsent + capacity <= ENDPOINT_OUTPUT_MAX_BYTES)
        space = sp_output_frame_begin(&peer->output, header, capacity);
    if (space == NULL) {
        endpoint->base.counters.replies_dropped++;
        endpoint->base.counters.closed_stalled++;
        sp_peer_close(peer);
    }
    return space;
}

void sp_peer_reply_end(struct sp_peer *peer, uint32_t size) {
    struct endpoint_sp *endpoint = peer->endpoint;
    sp_output_frame_end(&peer->output, size);
    if (!peer->unflushed) {
        peer->unflushed = true;
        TAILQ_INSERT_TAIL(&endpoint->unflushed, peer, unflushed_entry);
    }
}

void sp_peer_flush(struct sp_peer *peer) {
    if (peer->unflushed) {
        peer->unflushed = false;
        TAILQ_REMOVE(&peer->endpoint->unflushed, peer, unflushed_entry);
    }
    if (peer->closing)
        return;
    if (sp_output_flush(&peer->output, stream_of(peer)) != 0)
        sp_peer_close(peer);
    else
        sp_peer_update_reading(peer);
}

/* --- opening -----------------------------------------------------------------------------------
 */

static bool address_is_loopback(const uv_tcp_t *tcp) {
    struct sockaddr_storage address;
    int size = sizeof address;
    if (uv_tcp_getpeername(tcp, (struct sockaddr *)&address, &size) != 0)
        return false;
    return tcp_is_loopback((struct sockaddr *)&address);
}

static void on_refused_closed(uv_handle_t *handle) {
    struct endpoint_sp *endpoint = handle->data;
    free(handle);
    endpoint_sp_handle_closed(endpoint);
}

static void connection_refuse(struct endpoint_sp *endpoint) {
    endpoint->base.counters.connections_refused++;
    uv_tcp_t *tcp = malloc(sizeof *tcp);
    if (tcp == NULL)
        return;
    uv_tcp_init(endpoint->base.loop, tcp);
    tcp->data = endpoint;
    endpoint->handles_open++;
    (void)uv_accept((uv_stream_t *)&endpoint->listener, (uv_stream_t *)tcp);
    uv_close((uv_handle_t *)tcp, on_refused_closed);
}

static void greeting_send(struct sp_peer *peer) {
    uint8_t greeting[SP_GREETING_SIZE];
    sp_greeting_write(greeting, SP_PROTOCOL_REP);
    if (sp_output_raw(&peer->output, bytes_of(greeting, sizeof greeting)))
        sp_peer_flush(peer);
    else
        sp_peer_close(peer);
}

void sp_peer_accept(struct endpoint_sp *endpoint) {
    struct sp_peer *peer = NULL;
    if (endpoint->peer_count < ENDPOINT_PEERS_MAX)
        peer = calloc(1, sizeof *peer);
    if (peer == NULL) {
        connection_refuse(endpoint);
        return;
    }
    uv_tcp_init(endpoint->base.loop, &peer->tcp);
    peer->tcp.data = peer;
    endpoint->handles_open++;
    peer->output.on_written = on_written;
    peer->opened_ms = uv_now(endpoint->base.loop);
    peer->active_ms = peer->progress_ms = peer->opened_ms;
    endpoint_sp_enter(endpoint, peer);
    if (uv_accept((uv_stream_t *)&endpoint->listener, stream_of(peer)) != 0) {
        sp_peer_close(peer);
        return;
    }
    peer->local = address_is_loopback(&peer->tcp);
    uv_tcp_nodelay(&peer->tcp, 1);
    uv_tcp_keepalive(&peer->tcp, 1, ENDPOINT_KEEPALIVE_S);
    greeting_send(peer); /* and, by flushing, starts to read */
}
