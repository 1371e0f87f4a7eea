#include "runtime/link.h"

#include <assert.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>

#include "runtime/retry.h"
#include "runtime/sp_input.h"
#include "runtime/sp_output.h"
#include "runtime/tcp_address.h"

/* Milliseconds that sent bytes may stay unacknowledged by the other machine's kernel before the
 * connection is taken for dead: a cut cable shows in seconds, not in the kernel's 15 minutes. */
#define LINK_UNACKED_MS 5000

/* Bytes of one read, so that one link does not starve the loop. */
#define LINK_READ_BYTES (256u << 10)

/*
 *           +--------------------------- settled ---------------------------+
 *           v                                                               |
 *        RESTING --time--> RESOLVING --> CONNECTING --> GREETING --> UP --> FALLING
 *                              |              |             |               ^
 *                              +--------------+-------------+---------------+
 *
 * FALLING waits until the old connection's handle is closed (or its resolver has come back), since
 * a new attempt uses the same memory. Every state may go to CLOSED, which is final.
 */
enum link_state {
    LINK_STATE_RESTING,
    LINK_STATE_RESOLVING,
    LINK_STATE_CONNECTING,
    LINK_STATE_GREETING,
    LINK_STATE_UP,
    LINK_STATE_FALLING,
    LINK_STATE_CLOSED,
};

#define MAY(state) (1u << LINK_STATE_##state)
static const struct {
    const char *name;
    uint32_t next;
} states[] = {
    [LINK_STATE_RESTING] = {"resting", MAY(RESOLVING) | MAY(CLOSED)},
    [LINK_STATE_RESOLVING] = {"resolving", MAY(CONNECTING) | MAY(FALLING) | MAY(CLOSED)},
    [LINK_STATE_CONNECTING] = {"connecting", MAY(GREETING) | MAY(FALLING) | MAY(CLOSED)},
    [LINK_STATE_GREETING] = {"greeting", MAY(UP) | MAY(FALLING) | MAY(CLOSED)},
    [LINK_STATE_UP] = {"up", MAY(FALLING) | MAY(CLOSED)},
    [LINK_STATE_FALLING] = {"falling", MAY(RESTING) | MAY(CLOSED)},
    [LINK_STATE_CLOSED] = {"closed", 0},
};
#undef MAY

struct link {
    uv_loop_t *loop;
    struct link_handler handler;
    enum link_state state;
    struct tcp_address address;
    char url[TCP_URL_BYTES_MAX];

    uv_timer_t timer; /* the next attempt, the end of this one, or (up) a failed write */
    uv_tcp_t tcp;
    uv_connect_t connect;
    uv_getaddrinfo_t resolve;
    bool tcp_open, resolving, timer_open;
    struct sp_input input;
    struct sp_output output;

    int write_status; /* < 0: a write failed, to be told from the loop */
    struct retry retry;
    uint64_t up_since_ms;
    void (*on_closed)(void *ctx);
    void *closed_ctx;
};

static void link_move(struct link *link, enum link_state next) {
    assert(states[link->state].next & 1u << next);
    link->state = next;
}

static uv_stream_t *stream_of(struct link *link) {
    return (uv_stream_t *)&link->tcp;
}

/* --- falling and resting -----------------------------------------------------------------------
 */

static void on_timer(uv_timer_t *timer);

static void link_free(struct link *link) {
    void (*on_closed)(void *ctx) = link->on_closed;
    void *ctx = link->closed_ctx;
    sp_input_free(&link->input);
    sp_output_free(&link->output);
    free(link);
    if (on_closed != NULL)
        on_closed(ctx);
}

/* Called whenever something that used the link's memory is done. */
static void link_settle(struct link *link) {
    if (link->tcp_open || link->resolving)
        return;
    if (link->state == LINK_STATE_CLOSED) {
        if (!link->timer_open)
            link_free(link);
        return;
    }
    link_move(link, LINK_STATE_RESTING);
    uv_timer_start(&link->timer, on_timer, retry_next(&link->retry), 0);
}

static void on_tcp_closed(uv_handle_t *handle) {
    struct link *link = handle->data;
    link->tcp_open = false;
    sp_input_free(&link->input);
    sp_output_free(&link->output);
    link->output.appended_total = 0;
    link->write_status = 0;
    link_settle(link);
}

static void connection_drop(struct link *link) {
    if (link->resolving)
        uv_cancel((uv_req_t *)&link->resolve);
    if (link->tcp_open && !uv_is_closing((uv_handle_t *)&link->tcp))
        uv_close((uv_handle_t *)&link->tcp, on_tcp_closed);
}

static void link_fail(struct link *link, const char *why) {
    bool was_up = link->state == LINK_STATE_UP;
    /* A peer that greets and hangs up would else be knocked at a hundred times a second. */
    if (was_up && uv_now(link->loop) - link->up_since_ms > LINK_RETRY_LAST_MS)
        retry_reset(&link->retry);
    link_move(link, LINK_STATE_FALLING);
    uv_timer_stop(&link->timer);
    connection_drop(link);
    if (!link->tcp_open && !link->resolving)
        uv_timer_start(&link->timer, on_timer, 0, 0); /* nothing else will settle it */
    link->handler.on_down(link->handler.ctx, link, was_up, why);
}

static void link_fail_status(struct link *link, const char *what, int status) {
    char why[TCP_URL_BYTES_MAX + 128];
    snprintf(why, sizeof why, "%s %s: %s", what, link->url, uv_strerror(status));
    link_fail(link, why);
}

/* --- replies in --------------------------------------------------------------------------------
 */

static void greeting_read(struct link *link) {
    const uint8_t *greeting = sp_input_take(&link->input, SP_GREETING_SIZE);
    if (greeting == NULL)
        return;
    if (!sp_greeting_check(greeting, SP_PROTOCOL_REP)) {
        link_fail(link, "what listens there is no nng REP socket (wrong greeting)");
        return;
    }
    uv_timer_stop(&link->timer);
    link_move(link, LINK_STATE_UP);
    link->up_since_ms = uv_now(link->loop);
    link->handler.on_up(link->handler.ctx, link);
}

static void replies_read(struct link *link) {
    while (link->state == LINK_STATE_UP) {
        struct bytes message, body;
        uint64_t size;
        struct sp_header header;
        uint32_t id;
        switch (sp_input_next(&link->input, &message, &size)) {
        case SP_FRAME_NONE:
            return;
        case SP_FRAME_BAD:
            link_fail(link, "a reply's length is beyond every bound");
            return;
        case SP_FRAME_OVERSIZE:
            break; /* its request gets none */
        case SP_FRAME_MESSAGE:
            if (sp_header_read(message, &header, &body) && sp_header_id(&header, &id)) {
                retry_reset(&link->retry);
                link->handler.on_reply(link->handler.ctx, link, id, body);
            }
            break;
        }
    }
}

static void on_space(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer) {
    struct link *link = handle->data;
    uint8_t *space = NULL;
    uint32_t size = sp_input_space(&link->input, LINK_READ_BYTES, &space);
    *buffer = uv_buf_init((char *)space, size);
}

static void on_read(uv_stream_t *stream, ssize_t size, const uv_buf_t *buffer) {
    struct link *link = stream->data;
    if (size == UV_EOF) {
        link_fail(link, link->state == LINK_STATE_UP ? "the other side closed the connection"
                                                     : "the other side closed before it greeted");
        return;
    }
    if (size < 0) {
        link_fail_status(link, "reading from", (int)size);
        return;
    }
    if (size == 0)
        return;
    sp_input_filled(&link->input, (uint32_t)size);
    if (link->state == LINK_STATE_GREETING)
        greeting_read(link);
    replies_read(link);
    sp_input_release(&link->input);
}

/* --- connecting --------------------------------------------------------------------------------
 */

static void on_written(struct sp_output *output, int status) {
    struct link *link = (struct link *)((char *)output - offsetof(struct link, output));
    if (link->state != LINK_STATE_UP && link->state != LINK_STATE_GREETING)
        return;
    if (status == 0)
        status = sp_output_flush(output, stream_of(link));
    if (status != 0)
        link_fail_status(link, "writing to", status);
}

static void on_connected(uv_connect_t *request, int status) {
    struct link *link = request->handle->data;
    if (link->state != LINK_STATE_CONNECTING)
        return;
    if (status != 0) {
        link_fail_status(link, "connecting to", status);
        return;
    }
    link_move(link, LINK_STATE_GREETING);
    uv_tcp_nodelay(&link->tcp, 1);
    uv_os_fd_t fd;
    unsigned unacked_ms = LINK_UNACKED_MS;
    if (uv_fileno((uv_handle_t *)&link->tcp, &fd) == 0)
        (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unacked_ms, sizeof unacked_ms);

    uint8_t greeting[SP_GREETING_SIZE];
    sp_greeting_write(greeting, SP_PROTOCOL_REQ);
    if (!sp_output_raw(&link->output, bytes_of(greeting, sizeof greeting)))
        status = UV_ENOMEM;
    if (status == 0)
        status = sp_output_flush(&link->output, stream_of(link));
    if (status == 0)
        status = uv_read_start(stream_of(link), on_space, on_read);
    if (status != 0)
        link_fail_status(link, "greeting", status);
}

static void connect_to(struct link *link, const struct sockaddr *address) {
    link_move(link, LINK_STATE_CONNECTING);
    int status = uv_tcp_init(link->loop, &link->tcp);
    if (status == 0) {
        link->tcp.data = link;
        link->tcp_open = true;
        status = uv_tcp_connect(&link->connect, &link->tcp, address, on_connected);
    }
    if (status != 0)
        link_fail_status(link, "connecting to", status);
}

static void on_resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *found) {
    struct link *link = request->data;
    link->resolving = false;
    if (link->state != LINK_STATE_RESOLVING)
        link_settle(link);
    else if (status == 0)
        connect_to(link, found->ai_addr);
    else
        link_fail_status(link, "looking up", status);
    uv_freeaddrinfo(found);
}

static void link_attempt(struct link *link) {
    link_move(link, LINK_STATE_RESOLVING);
    uv_timer_start(&link->timer, on_timer, LINK_CONNECT_MS, 0);
    struct sockaddr_storage address;
    if (tcp_address_numeric(&link->address, &address)) {
        connect_to(link, (struct sockaddr *)&address);
        return;
    }
    char port[8];
    snprintf(port, sizeof port, "%u", (unsigned)link->address.port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    link->resolve.data = link;
    int status =
        uv_getaddrinfo(link->loop, &link->resolve, on_resolved, link->address.host, port, &hints);
    link->resolving = status == 0;
    if (status != 0)
        link_fail_status(link, "looking up", status);
}

static void on_timer(uv_timer_t *timer) {
    struct link *link = timer->data;
    switch (link->state) {
    case LINK_STATE_RESTING:
        link_attempt(link);
        break;
    case LINK_STATE_RESOLVING:
    case LINK_STATE_CONNECTING:
        link_fail_status(link, "connecting to", UV_ETIMEDOUT);
        break;
    case LINK_STATE_GREETING:
        link_fail(link, "the other side took the connection but did not greet in time");
        break;
    case LINK_STATE_UP:
        link_fail_status(link, "writing to", link->write_status);
        break;
    case LINK_STATE_FALLING:
        link_settle(link);
        break;
    case LINK_STATE_CLOSED:
        assert(false);
    }
}

/* --- what link.h offers ------------------------------------------------------------------------
 */

int link_open(struct link **out, uv_loop_t *loop, const char *url,
              const struct link_handler *handler, char *why, size_t why_size) {
    assert(handler->on_up != NULL && handler->on_down != NULL && handler->on_reply != NULL);
    struct tcp_address address;
    if (!tcp_address_parse(url, &address, why, why_size))
        return -1;
    if (address.port == 0) {
        snprintf(why, why_size, "\"%.300s\": port 0 is nowhere to connect to", url);
        return -1;
    }
    struct link *link = calloc(1, sizeof *link);
    if (link == NULL) {
        snprintf(why, why_size, "no memory");
        return -1;
    }
    link->loop = loop;
    link->handler = *handler;
    link->address = address;
    tcp_address_format(&address, link->url);
    retry_init(&link->retry, LINK_RETRY_FIRST_MS, LINK_RETRY_LAST_MS,
               uv_hrtime() ^ (uint64_t)(uintptr_t)link);
    link->output.on_written = on_written;
    uv_timer_init(loop, &link->timer);
    link->timer.data = link;
    link->timer_open = true;
    uv_timer_start(&link->timer, on_timer, 0, 0);
    *out = link;
    return 0;
}

bool link_is_up(const struct link *link) {
    return link->state == LINK_STATE_UP;
}

const char *link_url(const struct link *link) {
    return link->url;
}

enum link_status link_send_begin(struct link *link, uint32_t id, uint32_t capacity,
                                 struct writer *writer) {
    assert(link->state != LINK_STATE_CLOSED);
    if (link->state != LINK_STATE_UP || link->write_status != 0)
        return LINK_DOWN;
    struct sp_header header;
    sp_header_of_id(&header, id);
    if (sp_output_unsent(&link->output, stream_of(link)) > LINK_OUTPUT_MAX_BYTES)
        return LINK_FULL;
    uint8_t *space = sp_output_frame_begin(&link->output, &header, capacity);
    if (space == NULL)
        return LINK_FULL;
    *writer = writer_of(space, capacity);
    return LINK_SENT;
}

void link_send_end(struct link *link, const struct writer *writer) {
    assert(!writer->overflow);
    sp_output_frame_end(&link->output, writer->size);
}

enum link_status link_send(struct link *link, uint32_t id, struct bytes body) {
    struct writer writer;
    enum link_status status = link_send_begin(link, id, body.size, &writer);
    if (status == LINK_SENT) {
        write_encoded(&writer, body);
        link_send_end(link, &writer);
    }
    return status;
}

void link_flush(struct link *link) {
    if (link->state != LINK_STATE_UP || link->write_status != 0)
        return;
    link->write_status = sp_output_flush(&link->output, stream_of(link));
    if (link->write_status != 0) /* on_down must not be called from within */
        uv_timer_start(&link->timer, on_timer, 0, 0);
}

static void on_timer_closed(uv_handle_t *handle) {
    struct link *link = handle->data;
    link->timer_open = false;
    link_settle(link);
}

void link_close(struct link *link, void (*on_closed)(void *ctx), void *ctx) {
    link_move(link, LINK_STATE_CLOSED);
    link->on_closed = on_closed;
    link->closed_ctx = ctx;
    connection_drop(link);
    uv_close((uv_handle_t *)&link->timer, on_timer_closed);
}
