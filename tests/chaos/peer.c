#include "tests/chaos/peer.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/reply.h"
#include "proto/request.h"
#include "runtime/clock.h"

static const uint8_t greeting_out[8] = {0, 'S', 'P', 0, 0, 0x30, 0, 0};
static const uint8_t greeting_in[8] = {0, 'S', 'P', 0, 0, 0x31, 0, 0};

/* Bytes of one take in a request and of its answer, with room to spare. */
#define TAKE_BYTES_MAX 160
#define OUTPUT_BYTES (PEER_WINDOW_MAX * (32 + 16 * TAKE_BYTES_MAX))
#define INPUT_BYTES (2 * (64 + PEER_BATCH_MAX * RESULT_BYTES_MAX))

bool peer_init(struct peer *peer, const char *address, const struct record_class *classes,
               peer_done *done, void *ctx) {
    char host[64];
    unsigned port;
    memset(peer, 0, sizeof *peer);
    peer->fd = -1;
    peer->address.sin_family = AF_INET;
    if (sscanf(address, "%63[0-9.]:%u", host, &port) != 2 || port == 0 || port > 65535 ||
        inet_pton(AF_INET, host, &peer->address.sin_addr) != 1)
        return false;
    peer->address.sin_port = htons((uint16_t)port);
    peer->classes = classes;
    peer->done = done;
    peer->ctx = ctx;
    peer->requests = calloc(PEER_WINDOW_MAX, sizeof *peer->requests);
    peer->input = malloc(INPUT_BYTES);
    peer->output = malloc(OUTPUT_BYTES);
    assert(peer->requests != NULL && peer->input != NULL && peer->output != NULL);
    return true;
}

void peer_fini(struct peer *peer) {
    if (peer->fd >= 0)
        close(peer->fd);
    free(peer->requests);
    free(peer->input);
    free(peer->output);
}

/* --- the connection ------------------------------------------------------------------------- */

static void peer_connect(struct peer *peer, uint64_t now_ns) {
    int yes = 1;
    peer->retry_at_ns = now_ns + PEER_RETRY_NS;
    peer->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert(peer->fd >= 0);
    setsockopt(peer->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    if (connect(peer->fd, (struct sockaddr *)&peer->address, sizeof peer->address) != 0 &&
        errno != EINPROGRESS) {
        close(peer->fd);
        peer->fd = -1;
        return;
    }
    peer->greeted = false;
    peer->heard_ns = now_ns;
    peer->input_size = peer->output_at = 0;
    peer->output_size = sizeof greeting_out;
    memcpy(peer->output, greeting_out, sizeof greeting_out);
}

static void request_end(struct peer *peer, struct peer_request *request, uint64_t now_ns) {
    request->batch.answered_ns = now_ns;
    request->used = false;
    peer->outstanding--;
    peer->done(peer->ctx, peer, request);
}

static void outcomes_set(struct peer_request *request, enum record_outcome outcome,
                         uint8_t detail) {
    for (uint32_t i = 0; i < request->batch.take_count; i++) {
        request->takes[i].outcome = (uint8_t)outcome;
        request->takes[i].detail = detail;
    }
}

void peer_close(struct peer *peer, uint64_t now_ns) {
    if (peer->fd < 0)
        return;
    close(peer->fd);
    peer->fd = -1;
    peer->greeted = false;
    peer->retry_at_ns = now_ns + PEER_RETRY_NS;
    for (uint32_t i = 0; i < PEER_WINDOW_MAX; i++) {
        if (peer->requests[i].used) {
            outcomes_set(&peer->requests[i], RECORD_UNANSWERED, 0);
            request_end(peer, &peer->requests[i], now_ns);
        }
    }
}

void peer_tick(struct peer *peer, uint64_t now_ns) {
    if (peer->fd < 0) {
        if (now_ns >= peer->retry_at_ns)
            peer_connect(peer, now_ns);
    } else if ((peer->outstanding > 0 || !peer->greeted) &&
               now_ns > peer->heard_ns + PEER_SILENCE_NS) {
        peer_close(peer, now_ns);
    }
}

short peer_events(const struct peer *peer) {
    return (short)(POLLIN | (peer->output_at < peer->output_size ? POLLOUT : 0));
}

/* --- requests ------------------------------------------------------------------------------- */

bool peer_may_send(const struct peer *peer, uint32_t window) {
    return peer->greeted && peer->outstanding < window &&
           OUTPUT_BYTES - peer->output_size > 64 + PEER_BATCH_MAX * TAKE_BYTES_MAX;
}

struct peer_request *peer_request_get(struct peer *peer) {
    for (uint32_t i = 0; i < PEER_WINDOW_MAX; i++) {
        if (!peer->requests[i].used)
            return &peer->requests[i];
    }
    assert(!"peer_may_send said yes");
    return NULL;
}

void peer_send(struct peer *peer, struct peer_request *request) {
    uint32_t at = (uint32_t)(request - peer->requests);
    uint8_t *frame = peer->output + peer->output_size;
    struct writer writer = writer_of(frame + 12, OUTPUT_BYTES - peer->output_size - 12);
    request->batch.sent_ns = clock_monotonic_ns();
    request_write_head(&writer, at, METHOD_TAKE_MANY);
    write_array(&writer, request->batch.take_count);
    for (uint32_t i = 0; i < request->batch.take_count; i++) {
        const struct record_class *class = &peer->classes[key_class(request->takes[i].key)];
        char text[KEY_TEXT_BYTES];
        struct take take = {.cost_tokens = request->takes[i].cost};
        take.key = bytes_of(text, key_text(class, request->takes[i].key, text));
        take.plan.kind = PLAN_CHOICE_NAMED;
        take.plan.name = bytes_of_text(class->plan);
        request_write_take(&writer, &take, 0);
    }
    assert(!writer.overflow);
    uint32_t size = writer.size + 4, id = UINT32_C(1) << 31 | at;
    for (int i = 0; i < 8; i++)
        frame[i] = i < 4 ? 0 : (uint8_t)(size >> (8 * (7 - i)));
    for (int i = 0; i < 4; i++)
        frame[8 + i] = (uint8_t)(id >> (8 * (3 - i)));
    peer->output_size += 8 + size;
    request->used = true;
    if (peer->outstanding++ == 0)
        peer->heard_ns = request->batch.sent_ns;
}

void peer_flush(struct peer *peer) {
    while (peer->fd >= 0 && peer->output_at < peer->output_size) {
        ssize_t size = send(peer->fd, peer->output + peer->output_at,
                            peer->output_size - peer->output_at, MSG_NOSIGNAL);
        if (size <= 0) {
            if (errno != EAGAIN && errno != EINTR && errno != ENOTCONN)
                peer_close(peer, clock_monotonic_ns());
            return;
        }
        peer->output_at += (uint32_t)size;
    }
    peer->output_at = peer->output_size = 0;
}

/* --- answers -------------------------------------------------------------------------------- */

static bool take_read(struct reader *reader, struct record_take *take) {
    struct take_result result;
    if (!result_read(reader, &result, NULL))
        return false;
    bool degraded = (result.flags & TAKE_FLAG_DEGRADED) != 0;
    take->detail = (uint8_t)result.code;
    take->remaining =
        result.remaining_tokens < UINT32_MAX ? (uint32_t)result.remaining_tokens : UINT32_MAX;
    if (result.code != CODE_OK)
        take->outcome = RECORD_ERROR;
    else if (degraded)
        take->outcome = result.allowed ? RECORD_DEGRADED_GRANTED : RECORD_DEGRADED_REFUSED;
    else
        take->outcome = take->cost == 0  ? RECORD_LOOKED
                        : result.allowed ? RECORD_GRANTED
                                         : RECORD_REFUSED;
    return true;
}

/* False if these bytes are no answer to anything outstanding: a fault of the router. */
static bool answer_read(struct peer *peer, const uint8_t *bytes, uint32_t size, uint64_t now_ns) {
    struct reply reply;
    uint32_t at = (uint32_t)bytes[2] << 8 | bytes[3], count;
    if (bytes[0] != 0x80 || bytes[1] != 0 || at >= PEER_WINDOW_MAX || !peer->requests[at].used ||
        !reply_read(bytes_of(bytes + 4, size - 4), &reply) || reply.msgid != at)
        return false;
    struct peer_request *request = &peer->requests[at];
    if (reply.is_error) {
        outcomes_set(request, RECORD_ERROR, (uint8_t)reply.code);
    } else {
        struct reader reader = reader_of(reply.result);
        if (!read_array(&reader, &count) || count != request->batch.take_count)
            return false;
        for (uint32_t i = 0; i < count; i++) {
            if (!take_read(&reader, &request->takes[i]))
                return false;
        }
    }
    request_end(peer, request, now_ns);
    return true;
}

static bool input_read(struct peer *peer, uint64_t now_ns) {
    uint32_t at = 0;
    if (!peer->greeted && peer->input_size >= sizeof greeting_in) {
        if (memcmp(peer->input, greeting_in, sizeof greeting_in) != 0)
            return false;
        peer->greeted = true;
        peer->connections++;
        at = sizeof greeting_in;
    }
    while (peer->greeted && peer->input_size - at >= 8) {
        uint64_t size = 0;
        for (int i = 0; i < 8; i++)
            size = size << 8 | peer->input[at + (uint32_t)i];
        if (size < 5 || size > INPUT_BYTES - 8)
            return false;
        if (peer->input_size - at < 8 + size)
            break;
        if (!answer_read(peer, peer->input + at + 8, (uint32_t)size, now_ns))
            return false;
        at += 8 + (uint32_t)size;
    }
    memmove(peer->input, peer->input + at, peer->input_size - at);
    peer->input_size -= at;
    return true;
}

void peer_ready(struct peer *peer, short revents) {
    if (peer->fd >= 0 && (revents & (POLLIN | POLLHUP | POLLERR)) != 0) {
        ssize_t size =
            recv(peer->fd, peer->input + peer->input_size, INPUT_BYTES - peer->input_size, 0);
        uint64_t now_ns = clock_monotonic_ns();
        if (size > 0) {
            peer->heard_ns = now_ns;
            peer->input_size += (uint32_t)size;
            if (!input_read(peer, now_ns)) {
                fprintf(stderr, "chaos-load: an answer that answers nothing\n");
                abort();
            }
        } else if (size == 0 || (errno != EAGAIN && errno != EINTR)) {
            peer_close(peer, now_ns);
        }
    }
    if (peer->fd >= 0)
        peer_flush(peer);
}
