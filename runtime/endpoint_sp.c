#include "runtime/endpoint_sp.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runtime/tcp_address.h"

/* Connections the kernel holds for us until we accept them: what Linux allows by default. */
#define ENDPOINT_BACKLOG 4096

static struct endpoint_sp *endpoint_sp_of(struct endpoint *endpoint) {
    return (struct endpoint_sp *)endpoint;
}

static void on_sweep(uv_timer_t *timer);

/* --- the table of peers ------------------------------------------------------------------------
 */

static struct sp_peer *peer_of(const struct endpoint_sp *endpoint,
                               const struct endpoint_caller *caller) {
    assert(caller->peer < ENDPOINT_PEERS_MAX);
    const struct sp_place *place = &endpoint->places[caller->peer];
    return place->generation == caller->generation ? place->peer : NULL;
}

void endpoint_sp_enter(struct endpoint_sp *endpoint, struct sp_peer *peer) {
    assert(endpoint->peer_count < ENDPOINT_PEERS_MAX);
    uint32_t index = endpoint->free_count > 0 ? endpoint->free_places[--endpoint->free_count]
                                              : endpoint->place_end++;
    struct sp_place *place = &endpoint->places[index];
    assert(place->peer == NULL);
    place->peer = peer;
    place->generation++;
    peer->endpoint = endpoint;
    peer->index = index;
    peer->generation = place->generation;
    if (endpoint->peer_count++ == 0)
        uv_timer_start(&endpoint->sweep, on_sweep, ENDPOINT_SWEEP_MS, ENDPOINT_SWEEP_MS);
    endpoint->base.counters.connections_opened++;
    endpoint->base.counters.connections_open++;
}

void endpoint_sp_leave(struct endpoint_sp *endpoint, struct sp_peer *peer) {
    struct sp_place *place = &endpoint->places[peer->index];
    assert(place->peer == peer);
    place->peer = NULL;
    place->generation++;
    endpoint->free_places[endpoint->free_count++] = peer->index;
    endpoint->peer_count--;
    endpoint->base.counters.connections_open--;
    if (endpoint->peer_count == 0 && !endpoint->base.closing)
        uv_timer_stop(&endpoint->sweep);
}

/* --- turns -------------------------------------------------------------------------------------
 */

static void unflushed_flush(struct endpoint_sp *endpoint) {
    struct sp_peer *peer;
    while ((peer = TAILQ_FIRST(&endpoint->unflushed)) != NULL)
        sp_peer_flush(peer);
}

static void on_turn_end(uv_check_t *check) {
    struct endpoint_sp *endpoint = check->data;
    uv_check_stop(check);
    if (endpoint->turn_requests > 0) {
        endpoint->turn_requests = 0;
        endpoint->base.handler.on_turn(endpoint->base.handler.ctx, &endpoint->base);
    }
    if (endpoint->base.closing)
        return;
    unflushed_flush(endpoint);
    struct sp_peer *peer;
    while ((peer = TAILQ_FIRST(&endpoint->turn_peers)) != NULL) {
        TAILQ_REMOVE(&endpoint->turn_peers, peer, turn_entry);
        peer->in_turn = false;
        sp_peer_turn_end(peer);
    }
}

void endpoint_sp_turn_join(struct endpoint_sp *endpoint, struct sp_peer *peer) {
    if (peer->in_turn)
        return;
    peer->in_turn = true;
    TAILQ_INSERT_TAIL(&endpoint->turn_peers, peer, turn_entry);
    uv_check_start(&endpoint->turn, on_turn_end);
}

/* --- what takes too long -----------------------------------------------------------------------
 */

static void peer_sweep(struct sp_peer *peer, uint64_t now_ms) {
    struct endpoint_counters *counters = &peer->endpoint->base.counters;
    if (!peer->greeted && now_ms - peer->opened_ms >= ENDPOINT_GREETING_MS) {
        counters->closed_bad_peer++;
        sp_peer_close(peer);
        return;
    }
    size_t unsent = sp_output_unsent(&peer->output, (uv_stream_t *)&peer->tcp);
    uint64_t sent_total = peer->output.appended_total - unsent;
    if (unsent == 0 || sent_total != peer->sent_total) {
        peer->sent_total = sent_total;
        peer->progress_ms = now_ms;
    }
    bool paused = !peer->reading && !peer->endpoint->base.stopped;
    if (now_ms - peer->progress_ms >= ENDPOINT_STALL_MS ||
        (paused && now_ms - peer->paused_ms >= ENDPOINT_STALL_MS)) {
        counters->closed_stalled++;
        sp_peer_close(peer);
        return;
    }
    if (now_ms - peer->active_ms >= ENDPOINT_IDLE_MS && !peer->in_turn) {
        if (peer->input.start == peer->input.end && peer->input.oversize_left == 0)
            sp_input_free(&peer->input);
        sp_output_trim(&peer->output);
    }
}

void endpoint_sp_sweep(struct endpoint_sp *endpoint, uint64_t now_ms) {
    for (uint32_t i = 0; i < endpoint->place_end; i++) {
        if (endpoint->places[i].peer != NULL)
            peer_sweep(endpoint->places[i].peer, now_ms);
    }
}

static void on_sweep(uv_timer_t *timer) {
    struct endpoint_sp *endpoint = timer->data;
    endpoint_sp_sweep(endpoint, uv_now(endpoint->base.loop));
}

/* --- opening -----------------------------------------------------------------------------------
 */

static void on_connection(uv_stream_t *listener, int status) {
    struct endpoint_sp *endpoint = listener->data;
    if (status < 0)
        return; /* gone before it was accepted */
    sp_peer_accept(endpoint);
}

static int resolve(uv_loop_t *loop, const struct tcp_address *address,
                   struct sockaddr_storage *out) {
    if (tcp_address_numeric(address, out))
        return 0;
    char port[8];
    snprintf(port, sizeof port, "%u", (unsigned)address->port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    uv_getaddrinfo_t request;
    int status = uv_getaddrinfo(loop, &request, NULL, address->host, port, &hints);
    if (status != 0)
        return status;
    memcpy(out, request.addrinfo->ai_addr, request.addrinfo->ai_addrlen);
    uv_freeaddrinfo(request.addrinfo);
    return 0;
}

static const char *listen_advice(int status) {
    switch (status) {
    case UV_EADDRINUSE:
        return "; another process listens there: stop it or choose another port";
    case UV_EADDRNOTAVAIL:
        return "; no interface of this machine has that address";
    case UV_EACCES:
        return "; ports below 1024 need privileges: choose a higher one";
    default:
        return "";
    }
}

/* Whether somebody listens at the address already. Sockets that share a port never hear of others
 * that do, so this is asked by one that does not share. */
static int address_probe(const struct sockaddr_storage *address) {
    const int on = 1;
    socklen_t size =
        address->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    int fd = socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return uv_translate_sys_error(errno);
    int status = 0;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        bind(fd, (const struct sockaddr *)address, size) != 0)
        status = uv_translate_sys_error(errno);
    close(fd);
    return status;
}

/* libuv makes a socket when it binds it; sharing has to be asked for before. */
static int port_share(struct endpoint_sp *endpoint, const struct sockaddr_storage *address) {
    const int on = 1;
    int fd = socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return uv_translate_sys_error(errno);
    int status = 0;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0)
        status = uv_translate_sys_error(errno);
    if (status == 0)
        status = uv_tcp_open(&endpoint->listener, fd);
    if (status != 0)
        close(fd);
    return status;
}

static int listen_at(struct endpoint_sp *endpoint, struct tcp_address *address,
                     enum endpoint_sharing sharing) {
    struct sockaddr_storage bound;
    int size = sizeof bound;
    int status = resolve(endpoint->base.loop, address, &bound);
    if (status == 0 && sharing == ENDPOINT_SHARED_FIRST)
        status = address_probe(&bound);
    if (status == 0 && sharing != ENDPOINT_ALONE)
        status = port_share(endpoint, &bound);
    if (status == 0)
        status = uv_tcp_bind(&endpoint->listener, (struct sockaddr *)&bound, 0);
    if (status == 0)
        status = uv_listen((uv_stream_t *)&endpoint->listener, ENDPOINT_BACKLOG, on_connection);
    if (status == 0)
        status = uv_tcp_getsockname(&endpoint->listener, (struct sockaddr *)&bound, &size);
    if (status == 0)
        address->port = tcp_port_of((struct sockaddr *)&bound);
    return status;
}

static const struct endpoint_kind sp_kind;

int endpoint_sp_open(struct endpoint **out, uv_loop_t *loop, const char *url,
                     enum endpoint_sharing sharing, const struct endpoint_handler *handler,
                     char *why, size_t why_size) {
    struct tcp_address address;
    if (!tcp_address_parse(url, &address, why, why_size))
        return -1;
    struct endpoint_sp *endpoint = calloc(1, sizeof *endpoint);
    if (endpoint == NULL) {
        snprintf(why, why_size, "no memory");
        return -1;
    }
    endpoint->base = (struct endpoint){.kind = &sp_kind, .loop = loop, .handler = *handler};
    TAILQ_INIT(&endpoint->turn_peers);
    TAILQ_INIT(&endpoint->unflushed);
    uv_tcp_init(loop, &endpoint->listener);
    uv_check_init(loop, &endpoint->turn);
    uv_timer_init(loop, &endpoint->sweep);
    endpoint->handles_open = 3;
    endpoint->listener.data = endpoint->turn.data = endpoint->sweep.data = endpoint;

    int status = listen_at(endpoint, &address, sharing);
    if (status != 0) {
        snprintf(why, why_size, "cannot listen at %s: %s%s", url, uv_strerror(status),
                 listen_advice(status));
        endpoint_close(&endpoint->base, NULL, NULL);
        return -1;
    }
    tcp_address_format(&address, endpoint->base.url);
    *out = &endpoint->base;
    return 0;
}

/* --- closing -----------------------------------------------------------------------------------
 */

static void on_handle_closed(uv_handle_t *handle) {
    endpoint_sp_handle_closed(handle->data);
}

void endpoint_sp_handle_closed(struct endpoint_sp *endpoint) {
    assert(endpoint->handles_open > 0);
    endpoint->handles_open--;
    if (!endpoint->base.closing)
        return;
    uv_handle_t *sweep = (uv_handle_t *)&endpoint->sweep;
    if (endpoint->handles_open == 1 && !uv_is_closing(sweep)) {
        uv_close(sweep, on_handle_closed); /* it only waited for the peers */
        return;
    }
    if (endpoint->handles_open > 0)
        return;
    void (*on_closed)(void *ctx) = endpoint->base.on_closed;
    void *ctx = endpoint->base.closed_ctx;
    free(endpoint);
    if (on_closed != NULL)
        on_closed(ctx);
}

static void on_linger_end(uv_timer_t *timer) {
    struct endpoint_sp *endpoint = timer->data;
    for (uint32_t i = 0; i < endpoint->place_end; i++) {
        if (endpoint->places[i].peer != NULL)
            sp_peer_close(endpoint->places[i].peer);
    }
}

static void sp_stop(struct endpoint *base) {
    struct endpoint_sp *endpoint = endpoint_sp_of(base);
    uv_close((uv_handle_t *)&endpoint->listener, on_handle_closed);
    for (uint32_t i = 0; i < endpoint->place_end; i++) {
        if (endpoint->places[i].peer != NULL)
            sp_peer_update_reading(endpoint->places[i].peer);
    }
}

static void sp_close(struct endpoint *base) {
    struct endpoint_sp *endpoint = endpoint_sp_of(base);
    uv_close((uv_handle_t *)&endpoint->turn, on_handle_closed);
    uv_timer_start(&endpoint->sweep, on_linger_end, ENDPOINT_LINGER_MS, 0);
    for (uint32_t i = 0; i < endpoint->place_end; i++) {
        if (endpoint->places[i].peer != NULL)
            sp_peer_finish(endpoint->places[i].peer);
    }
}

/* --- what endpoint.h asks for ------------------------------------------------------------------
 */

static uint8_t *sp_reply_begin(struct endpoint *base, const struct endpoint_caller *caller,
                               uint32_t capacity) {
    struct endpoint_sp *endpoint = endpoint_sp_of(base);
    endpoint->replying = peer_of(endpoint, caller);
    if (endpoint->replying == NULL) {
        base->counters.replies_dropped++;
        return NULL;
    }
    return sp_peer_reply_begin(endpoint->replying, &caller->header, capacity);
}

static void sp_reply_end(struct endpoint *base, uint32_t size) {
    sp_peer_reply_end(endpoint_sp_of(base)->replying, size);
}

static void sp_flush(struct endpoint *base) {
    unflushed_flush(endpoint_sp_of(base));
}

static bool sp_caller_is_local(const struct endpoint *base, const struct endpoint_caller *caller) {
    const struct sp_peer *peer = peer_of((const struct endpoint_sp *)base, caller);
    return peer != NULL && peer->local;
}

static const struct endpoint_kind sp_kind = {
    .reply_begin = sp_reply_begin,
    .reply_end = sp_reply_end,
    .flush = sp_flush,
    .caller_is_local = sp_caller_is_local,
    .stop = sp_stop,
    .close = sp_close,
};
