/*
 * The endpoint over libnng: a REP socket with many contexts, for every scheme that is not tcp://.
 *
 * libnng's threads do two things here: put a context whose operation is done into the mailbox, and
 * count connections. A context goes round: RECEIVING (libnng's) -> ASKED (ours) -> REPLIED (ours,
 * until the flush) -> SENDING (libnng's) -> RECEIVING; once the endpoint is stopped it goes from
 * SENDING or RECEIVING to RESTING.
 *
 * Known: libnng 1.5 leaks a reply that it is given in the very moment in which its connection is
 * closed (its rep0_ctx_send against rep0_pipe_close): at most one a connection.
 */
#include <nng/nng.h>
#include <nng/protocol/reqrep0/rep.h>

#include <arpa/inet.h>
#include <assert.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "runtime/endpoint_impl.h"
#include "runtime/mailbox.h"
#include "runtime/sp_input.h"
#include "runtime/tcp_address.h"

/* Milliseconds between the last reply and the closing of the socket: libnng says that a message was
 * sent when it has queued it, and drops it when the socket is closed before it was written. There
 * is no telling when it was; this is long enough for any peer that reads. */
#define ENDPOINT_NNG_DRAIN_MS 200

/* Milliseconds that closing waits for sends that are under way. */
#define ENDPOINT_NNG_LINGER_MS 1000

enum slot_state { SLOT_RECEIVING, SLOT_ASKED, SLOT_REPLIED, SLOT_SENDING, SLOT_RESTING };

/* One context of libnng. `peer` of a caller is its place among them, `generation` its round. */
struct nng_slot {
    struct endpoint_nng *endpoint;
    nng_ctx ctx;
    nng_aio *aio;
    enum slot_state state;
    uint32_t generation;
    bool local, in_turn;
    atomic_bool under_way; /* libnng has the aio, and has not yet told of its end */
    nng_pipe pipe;         /* the asker's */
    nng_msg *request;      /* until the end of the turn in which it came */
    nng_msg *reply;        /* until the flush */
    TAILQ_ENTRY(nng_slot) turn_entry, unflushed_entry;
};

TAILQ_HEAD(nng_slot_list, nng_slot);

struct endpoint_nng {
    struct endpoint base; /* first: the two are one pointer */
    nng_socket socket;
    struct mailbox *mailbox;
    uv_check_t turn;
    uv_timer_t linger;
    uint32_t handles_open;
    uint32_t slot_count; /* that were opened */
    uint32_t sending_count;
    uint64_t sent_ms; /* when the last reply was given to libnng */
    bool local_only;  /* the scheme cannot leave this machine */
    bool in_turn;
    struct nng_slot_list turn_slots, unflushed;
    struct nng_slot *replying; /* whose reply is being encoded */
    struct nng_slot slots[ENDPOINT_NNG_CONTEXTS];
    atomic_uint_fast64_t connections_opened, connections_open, connections_refused;
    atomic_bool refusing; /* the endpoint is stopped */
};

static struct endpoint_nng *endpoint_nng_of(struct endpoint *endpoint) {
    return (struct endpoint_nng *)endpoint;
}

/* --- on libnng's threads -----------------------------------------------------------------------
 */

static void on_aio_done(void *arg) {
    struct nng_slot *slot = arg;
    /* There is room: the mailbox has a place for each slot, and a slot one operation at a time. */
    bool put = mailbox_put(slot->endpoint->mailbox, slot);
    assert(put);
    (void)put;
    atomic_store(&slot->under_way, false);
}

static void on_pipe(nng_pipe pipe, nng_pipe_ev event, void *arg) {
    struct endpoint_nng *endpoint = arg;
    switch (event) {
    case NNG_PIPE_EV_ADD_PRE: /* the end is told of each that was told of here */
        if (atomic_fetch_add(&endpoint->connections_open, 1) >= ENDPOINT_PEERS_MAX ||
            atomic_load(&endpoint->refusing)) {
            atomic_fetch_add(&endpoint->connections_refused, 1);
            nng_pipe_close(pipe);
        }
        break;
    case NNG_PIPE_EV_ADD_POST:
        atomic_fetch_add(&endpoint->connections_opened, 1);
        break;
    case NNG_PIPE_EV_REM_POST:
        atomic_fetch_sub(&endpoint->connections_open, 1);
        break;
    default:
        break;
    }
}

/* --- rounds of a slot, on the loop -------------------------------------------------------------
 */

static void slot_receive(struct nng_slot *slot) {
    slot->state = SLOT_RECEIVING;
    slot->generation++;
    nng_aio_set_timeout(slot->aio, NNG_DURATION_INFINITE);
    atomic_store(&slot->under_way, true);
    nng_ctx_recv(slot->ctx, slot->aio);
}

static void slot_receive_or_rest(struct nng_slot *slot) {
    if (slot->endpoint->base.stopped)
        slot->state = SLOT_RESTING;
    else
        slot_receive(slot);
}

static void slot_send(struct nng_slot *slot) {
    struct endpoint_nng *endpoint = slot->endpoint;
    assert(slot->state == SLOT_REPLIED);
    TAILQ_REMOVE(&endpoint->unflushed, slot, unflushed_entry);
    if (slot->reply == NULL) { /* there was no memory for it */
        slot_receive_or_rest(slot);
        return;
    }
    slot->state = SLOT_SENDING;
    endpoint->sending_count++;
    endpoint->sent_ms = uv_now(endpoint->base.loop);
    nng_aio_set_timeout(slot->aio, ENDPOINT_STALL_MS);
    nng_aio_set_msg(slot->aio, slot->reply);
    slot->reply = NULL;
    atomic_store(&slot->under_way, true);
    nng_ctx_send(slot->ctx, slot->aio);
}

static bool pipe_is_local(const struct endpoint_nng *endpoint, nng_pipe pipe) {
    nng_sockaddr address;
    if (endpoint->local_only)
        return true;
    if (nng_pipe_get_addr(pipe, NNG_OPT_REMADDR, &address) != 0)
        return false;
    if (address.s_family == NNG_AF_INET)
        return tcp_is_loopback_v4((const uint8_t *)&address.s_in.sa_addr);
    if (address.s_family == NNG_AF_INET6)
        return tcp_is_loopback_v6(address.s_in6.sa_addr);
    return false;
}

static void on_turn_end(uv_check_t *check);

static void slot_asked(struct nng_slot *slot) {
    struct endpoint_nng *endpoint = slot->endpoint;
    struct endpoint_handler *handler = &endpoint->base.handler;
    assert(!slot->in_turn && slot->request == NULL);
    slot->state = SLOT_ASKED;
    slot->request = nng_aio_get_msg(slot->aio);
    slot->pipe = nng_msg_get_pipe(slot->request);
    slot->local = pipe_is_local(endpoint, slot->pipe);
    slot->in_turn = true;
    TAILQ_INSERT_TAIL(&endpoint->turn_slots, slot, turn_entry);
    endpoint->in_turn = true;
    uv_check_start(&endpoint->turn, on_turn_end);

    endpoint->base.counters.requests++;
    struct endpoint_caller caller = {.peer = (uint32_t)(slot - endpoint->slots),
                                     .generation = slot->generation};
    size_t size = nng_msg_len(slot->request);
    const void *data = nng_msg_body(slot->request);
    if (size <= MESSAGE_BYTES_MAX) {
        handler->on_request(handler->ctx, &endpoint->base, &caller, bytes_of(data, size));
        return;
    }
    handler->on_oversize(handler->ctx, &endpoint->base, &caller,
                         bytes_of(data, SP_OVERSIZE_KEPT_BYTES), size);
}

static void linger_or_finish(struct endpoint_nng *endpoint);

static void slot_sent(struct nng_slot *slot, int result) {
    struct endpoint_nng *endpoint = slot->endpoint;
    endpoint->sending_count--;
    if (result != 0) {
        nng_msg_free(nng_aio_get_msg(slot->aio));
        nng_aio_set_msg(slot->aio, NULL);
        endpoint->base.counters.replies_dropped++;
    }
    if (result == NNG_ETIMEDOUT) {
        endpoint->base.counters.closed_stalled++;
        nng_pipe_close(slot->pipe);
    }
    slot_receive_or_rest(slot);
    if (endpoint->base.closing)
        linger_or_finish(endpoint);
}

static void on_slot_done(void *ctx, void *message) {
    struct nng_slot *slot = message;
    struct endpoint_nng *endpoint = slot->endpoint;
    int result = nng_aio_result(slot->aio);
    if (slot->state == SLOT_SENDING) {
        slot_sent(slot, result);
        return;
    }
    assert(slot->state == SLOT_RECEIVING);
    if (endpoint->base.stopped) {
        if (result == 0)
            nng_msg_free(nng_aio_get_msg(slot->aio));
        slot->state = SLOT_RESTING;
    } else if (result == 0) {
        slot_asked(slot);
    } else if (result != NNG_ECLOSED && result != NNG_ECANCELED) {
        slot_receive(slot); /* no memory, say: the next message may be smaller */
    }
}

/* --- turns -------------------------------------------------------------------------------------
 */

static void turn_release(struct endpoint_nng *endpoint) {
    struct nng_slot *slot;
    while ((slot = TAILQ_FIRST(&endpoint->turn_slots)) != NULL) {
        TAILQ_REMOVE(&endpoint->turn_slots, slot, turn_entry);
        slot->in_turn = false;
        nng_msg_free(slot->request);
        slot->request = NULL;
    }
    endpoint->in_turn = false;
}

static void unflushed_flush(struct endpoint_nng *endpoint) {
    struct nng_slot *slot;
    while ((slot = TAILQ_FIRST(&endpoint->unflushed)) != NULL)
        slot_send(slot);
}

static void on_turn_end(uv_check_t *check) {
    struct endpoint_nng *endpoint = check->data;
    uv_check_stop(check);
    endpoint->base.handler.on_turn(endpoint->base.handler.ctx, &endpoint->base);
    if (endpoint->base.closing)
        return;
    turn_release(endpoint);
    unflushed_flush(endpoint);
}

/* --- closing -----------------------------------------------------------------------------------
 */

static void on_handle_closed(uv_handle_t *handle) {
    struct endpoint_nng *endpoint = handle->data;
    if (--endpoint->handles_open > 0)
        return;
    void (*on_closed)(void *ctx) = endpoint->base.on_closed;
    void *ctx = endpoint->base.closed_ctx;
    free(endpoint);
    if (on_closed != NULL)
        on_closed(ctx);
}

/* After this libnng's threads know nothing of the endpoint any more. The aios go first: nng 1.5 may
 * be about to end one whose time is over, and would reach for a context that closing has freed.
 * Freeing an aio waits for that. */
static void libnng_close(struct endpoint_nng *endpoint) {
    for (uint32_t i = 0; i < endpoint->slot_count; i++) {
        struct nng_slot *slot = &endpoint->slots[i];
        nng_aio_stop(slot->aio);
        /* That of nng 1.10 does not wait for one that ends in this moment. */
        while (atomic_load(&slot->under_way))
            uv_sleep(1);
        if (slot->state == SLOT_SENDING && nng_aio_result(slot->aio) != 0)
            nng_msg_free(nng_aio_get_msg(slot->aio));
        if (slot->state == SLOT_RECEIVING && nng_aio_result(slot->aio) == 0)
            nng_msg_free(nng_aio_get_msg(slot->aio));
        nng_msg_free(slot->reply);
        nng_aio_free(slot->aio);
        nng_ctx_close(slot->ctx);
    }
    nng_close(endpoint->socket);
}

static void endpoint_finish(struct endpoint_nng *endpoint) {
    turn_release(endpoint);
    libnng_close(endpoint);
    if (endpoint->mailbox != NULL)
        mailbox_close(endpoint->mailbox, NULL);
    uv_close((uv_handle_t *)&endpoint->turn, on_handle_closed);
    uv_close((uv_handle_t *)&endpoint->linger, on_handle_closed);
}

static void on_linger_end(uv_timer_t *timer) {
    endpoint_finish(timer->data);
}

static void linger_or_finish(struct endpoint_nng *endpoint) {
    uint64_t quiet_ms = uv_now(endpoint->base.loop) - endpoint->sent_ms;
    uint64_t wait_ms = 0;
    if (endpoint->sending_count > 0)
        wait_ms = ENDPOINT_NNG_LINGER_MS;
    else if (endpoint->sent_ms > 0 && quiet_ms < ENDPOINT_NNG_DRAIN_MS)
        wait_ms = ENDPOINT_NNG_DRAIN_MS - quiet_ms;
    uv_timer_start(&endpoint->linger, on_linger_end, wait_ms, 0);
}

static void nng_kind_stop(struct endpoint *base) {
    /* The listener stays: closing it would close its connections, on which replies still leave. */
    struct endpoint_nng *endpoint = endpoint_nng_of(base);
    atomic_store(&endpoint->refusing, true);
    for (uint32_t i = 0; i < endpoint->slot_count; i++) {
        if (endpoint->slots[i].state == SLOT_RECEIVING)
            nng_aio_cancel(endpoint->slots[i].aio);
    }
}

static void nng_kind_close(struct endpoint *base) {
    struct endpoint_nng *endpoint = endpoint_nng_of(base);
    uv_check_stop(&endpoint->turn);
    unflushed_flush(endpoint);
    linger_or_finish(endpoint);
}

/* --- opening -----------------------------------------------------------------------------------
 */

static int slots_open(struct endpoint_nng *endpoint) {
    for (uint32_t i = 0; i < ENDPOINT_NNG_CONTEXTS; i++) {
        struct nng_slot *slot = &endpoint->slots[i];
        slot->endpoint = endpoint;
        slot->state = SLOT_RESTING;
        int status = nng_ctx_open(&slot->ctx, endpoint->socket);
        if (status != 0)
            return status;
        status = nng_aio_alloc(&slot->aio, on_aio_done, slot);
        if (status != 0) {
            nng_ctx_close(slot->ctx);
            return status;
        }
        endpoint->slot_count++;
    }
    return 0;
}

/* Where the URL said port 0, puts the port that the system chose. */
static void url_port_fill(struct endpoint_nng *endpoint, nng_listener listener) {
    char *host = strstr(endpoint->base.url, "://") + strlen("://");
    char *zero = strstr(host, ":0");
    int port;
    if (zero == NULL || (zero[2] != '\0' && zero[2] != '/') ||
        nng_listener_get_int(listener, NNG_OPT_TCP_BOUND_PORT, &port) != 0)
        return;
    char path[ENDPOINT_BYTES_MAX + 1];
    snprintf(path, sizeof path, "%s", zero + 2);
    size_t left = sizeof endpoint->base.url - (size_t)(zero - endpoint->base.url);
    snprintf(zero, left, ":%d%s", port, path);
}

static int libnng_open(struct endpoint_nng *endpoint, const char *url) {
    int status = nng_socket_set_size(endpoint->socket, NNG_OPT_RECVMAXSZ, MESSAGE_DRAIN_BYTES_MAX);
    for (int event = NNG_PIPE_EV_ADD_PRE; status == 0 && event < NNG_PIPE_EV_NUM; event++)
        status = nng_pipe_notify(endpoint->socket, (nng_pipe_ev)event, on_pipe, endpoint);
    if (status == 0)
        status = slots_open(endpoint);
    nng_listener listener;
    if (status == 0)
        status = nng_listen(endpoint->socket, url, &listener, 0);
    if (status != 0)
        return status;
    url_port_fill(endpoint, listener);
    for (uint32_t i = 0; i < endpoint->slot_count; i++)
        slot_receive(&endpoint->slots[i]);
    return 0;
}

static bool starts_with(const char *text, const char *start) {
    return strncmp(text, start, strlen(start)) == 0;
}

static bool scheme_check(const char *url, char *why, size_t why_size) {
    if (starts_with(url, "tls+tcp:") || starts_with(url, "wss:")) {
        snprintf(why, why_size,
                 "cannot listen at %s: TLS needs a certificate, for which there is "
                 "no option yet; put a TLS proxy in front of tcp://",
                 url);
        return false;
    }
    if (strstr(url, "://") == NULL) {
        snprintf(why, why_size,
                 "\"%s\" is no URL; expected for example tcp://127.0.0.1:7500, "
                 "ipc:///run/sluice/node.sock or ws://127.0.0.1:7500/sluice",
                 url);
        return false;
    }
    return true;
}

static const char *listen_advice(int status) {
    switch (status) {
    case NNG_EADDRINUSE:
        return "; another process listens there: stop it or choose another address";
    case NNG_ENOTSUP:
        return "; this libnng has no such transport: use tcp://, ipc:// or ws://";
    case NNG_EPERM:
        return "; check who may write to that directory";
    default:
        return "";
    }
}

static const struct endpoint_kind nng_kind;

int endpoint_nng_open(struct endpoint **out, uv_loop_t *loop, const char *url,
                      const struct endpoint_handler *handler, char *why, size_t why_size) {
    if (!scheme_check(url, why, why_size))
        return -1;
    struct endpoint_nng *endpoint = calloc(1, sizeof *endpoint);
    struct mailbox *mailbox = mailbox_create(loop, ENDPOINT_NNG_CONTEXTS, on_slot_done, endpoint);
    int status = NNG_ENOMEM;
    if (endpoint == NULL || mailbox == NULL || (status = nng_rep0_open(&endpoint->socket)) != 0) {
        snprintf(why, why_size, "cannot listen at %s: %s", url, nng_strerror(status));
        if (mailbox != NULL)
            mailbox_close(mailbox, NULL);
        free(endpoint);
        return -1;
    }
    endpoint->base = (struct endpoint){.kind = &nng_kind, .loop = loop, .handler = *handler};
    endpoint->mailbox = mailbox;
    endpoint->local_only = starts_with(url, "ipc:") || starts_with(url, "inproc:") ||
                           starts_with(url, "abstract:") || starts_with(url, "unix:");
    snprintf(endpoint->base.url, sizeof endpoint->base.url, "%s", url);
    TAILQ_INIT(&endpoint->turn_slots);
    TAILQ_INIT(&endpoint->unflushed);
    uv_check_init(loop, &endpoint->turn);
    uv_timer_init(loop, &endpoint->linger);
    endpoint->handles_open = 2;
    endpoint->turn.data = endpoint->linger.data = endpoint;

    status = libnng_open(endpoint, url);
    if (status != 0) {
        snprintf(why, why_size, "cannot listen at %s: %s%s", url, nng_strerror(status),
                 listen_advice(status));
        endpoint_close(&endpoint->base, NULL, NULL);
        return -1;
    }
    *out = &endpoint->base;
    return 0;
}

/* --- what endpoint.h asks for ------------------------------------------------------------------
 */

static struct nng_slot *slot_of(const struct endpoint_nng *endpoint,
                                const struct endpoint_caller *caller) {
    assert(caller->peer < ENDPOINT_NNG_CONTEXTS);
    const struct nng_slot *slot = &endpoint->slots[caller->peer];
    bool open = slot->state == SLOT_ASKED || slot->state == SLOT_REPLIED;
    return open && slot->generation == caller->generation ? (struct nng_slot *)slot : NULL;
}

static uint8_t *nng_kind_reply_begin(struct endpoint *base, const struct endpoint_caller *caller,
                                     uint32_t capacity) {
    struct endpoint_nng *endpoint = endpoint_nng_of(base);
    struct nng_slot *slot = slot_of(endpoint, caller);
    if (slot == NULL || slot->state != SLOT_ASKED) {
        base->counters.replies_dropped++;
        return NULL;
    }
    slot->state = SLOT_REPLIED;
    TAILQ_INSERT_TAIL(&endpoint->unflushed, slot, unflushed_entry);
    if (nng_msg_alloc(&slot->reply, capacity) != 0) {
        slot->reply = NULL;
        base->counters.replies_dropped++;
        return NULL;
    }
    endpoint->replying = slot;
    return nng_msg_body(slot->reply);
}

static void nng_kind_reply_end(struct endpoint *base, uint32_t size) {
    nng_msg *reply = endpoint_nng_of(base)->replying->reply;
    (void)nng_msg_chop(reply, nng_msg_len(reply) - size);
}

static void nng_kind_flush(struct endpoint *base) {
    struct endpoint_nng *endpoint = endpoint_nng_of(base);
    /* Within a turn its end does it: a slot sent now could be asked again before its request, which
     * is borrowed until then, is freed. */
    if (!endpoint->in_turn)
        unflushed_flush(endpoint);
}

static bool nng_kind_caller_is_local(const struct endpoint *base,
                                     const struct endpoint_caller *caller) {
    const struct nng_slot *slot = slot_of((const struct endpoint_nng *)base, caller);
    return slot != NULL && slot->local;
}

static void nng_kind_count(struct endpoint *base) {
    struct endpoint_nng *endpoint = endpoint_nng_of(base);
    base->counters.connections_opened = atomic_load(&endpoint->connections_opened);
    base->counters.connections_open = atomic_load(&endpoint->connections_open);
    base->counters.connections_refused = atomic_load(&endpoint->connections_refused);
}

static const struct endpoint_kind nng_kind = {
    .reply_begin = nng_kind_reply_begin,
    .reply_end = nng_kind_reply_end,
    .flush = nng_kind_flush,
    .caller_is_local = nng_kind_caller_is_local,
    .count = nng_kind_count,
    .stop = nng_kind_stop,
    .close = nng_kind_close,
};
