/*
 * sluice-bench echo: the least that a server of this wire format can do on libuv. It finds the
 * frames and sends them back as they are, all of one read with one write. Neither the endpoint of
 * runtime/ nor any of its care (bounds on slow readers, fairness, sweeps): a floor, not a server.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <uv.h>

#include "bench/command.h"
#include "bench/echo_options.h"
#include "runtime/sp.h"

/* Bytes of one read, and of the largest frame: as much as a shard reads at once. */
#define ECHO_BUFFER_BYTES (256u << 10)

struct echo_peer {
    uv_tcp_t tcp;
    uv_write_t write;
    bool greeted;
    uint32_t size;  /* bytes in the buffer */
    uint32_t whole; /* of which a write has yet to send */
    uint8_t buffer[ECHO_BUFFER_BYTES];
};

static void on_peer_closed(uv_handle_t *handle) {
    free(handle->data);
}

static void peer_close(struct echo_peer *peer) {
    if (!uv_is_closing((uv_handle_t *)&peer->tcp)) {
        uv_close((uv_handle_t *)&peer->tcp, on_peer_closed);
    }
}

static void on_space(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer) {
    struct echo_peer *peer = handle->data;
    *buffer = uv_buf_init((char *)peer->buffer + peer->size, ECHO_BUFFER_BYTES - peer->size);
}

static void on_read(uv_stream_t *stream, ssize_t size, const uv_buf_t *buffer);

static void sent(struct echo_peer *peer) {
    peer->size -= peer->whole;
    memmove(peer->buffer, peer->buffer + peer->whole, peer->size);
}

static void on_written(uv_write_t *request, int status) {
    struct echo_peer *peer = request->handle->data;
    if (status != 0) {
        peer_close(peer);
        return;
    }
    sent(peer);
    uv_read_start((uv_stream_t *)&peer->tcp, on_space, on_read);
}

/* Bytes of the whole frames in the buffer; UINT32_MAX: one that never fits. */
static uint32_t frames_size(const struct echo_peer *peer) {
    uint32_t at = 0;
    while (peer->size - at >= SP_LENGTH_SIZE) {
        uint64_t length = sp_length_read(peer->buffer + at);
        if (length > ECHO_BUFFER_BYTES - SP_LENGTH_SIZE) {
            return UINT32_MAX;
        }
        if (peer->size - at < SP_LENGTH_SIZE + length) {
            break;
        }
        at += SP_LENGTH_SIZE + (uint32_t)length;
    }
    return at;
}

static bool greeting_take(struct echo_peer *peer) {
    peer->whole = SP_GREETING_SIZE;
    peer->greeted = sp_greeting_check(peer->buffer, SP_PROTOCOL_REQ);
    sent(peer);
    return peer->greeted;
}

static void on_read(uv_stream_t *stream, ssize_t size, const uv_buf_t *buffer) {
    struct echo_peer *peer = stream->data;
    if (size < 0) {
        peer_close(peer);
        return;
    }
    peer->size += (uint32_t)size;
    if (!peer->greeted) {
        if (peer->size < SP_GREETING_SIZE) {
            return;
        }
        if (!greeting_take(peer)) {
            peer_close(peer);
            return;
        }
    }
    peer->whole = frames_size(peer);
    if (peer->whole == UINT32_MAX) {
        peer_close(peer);
        return;
    }
    uv_buf_t out = uv_buf_init((char *)peer->buffer, peer->whole);
    int written = peer->whole == 0 ? 0 : uv_try_write(stream, &out, 1);
    if (written == (int)peer->whole) {
        sent(peer);
        return;
    }
    if (written > 0) {
        out = uv_buf_init((char *)peer->buffer + written, peer->whole - (uint32_t)written);
    }
    uv_read_stop(stream); /* the buffer must not move meanwhile */
    if ((written < 0 && written != UV_EAGAIN) ||
        uv_write(&peer->write, stream, &out, 1, on_written) != 0) {
        peer_close(peer);
    }
}

static void on_connection(uv_stream_t *listener, int status) {
    struct echo_peer *peer = status == 0 ? calloc(1, sizeof *peer) : NULL;
    uint8_t greeting[SP_GREETING_SIZE];
    if (peer == NULL) {
        return;
    }
    uv_tcp_init(listener->loop, &peer->tcp);
    peer->tcp.data = peer;
    sp_greeting_write(greeting, SP_PROTOCOL_REP);
    uv_buf_t out = uv_buf_init((char *)greeting, sizeof greeting);
    if (uv_accept(listener, (uv_stream_t *)&peer->tcp) != 0 || uv_tcp_nodelay(&peer->tcp, 1) != 0 ||
        uv_try_write((uv_stream_t *)&peer->tcp, &out, 1) != SP_GREETING_SIZE ||
        uv_read_start((uv_stream_t *)&peer->tcp, on_space, on_read) != 0) {
        peer_close(peer);
    }
}

static void on_signal(uv_signal_t *handle, int number) {
    uv_stop(handle->loop);
}

static void close_handle(uv_handle_t *handle, void *argument) {
    if (handle->type == UV_TCP && handle->data != NULL) {
        peer_close(handle->data);
    } else if (!uv_is_closing(handle)) {
        uv_close(handle, NULL);
    }
}

static int listen_at(uv_tcp_t *listener, const struct echo_options *given, char *why,
                     size_t why_size) {
    struct tcp_address address;
    struct sockaddr_storage number;
    int name_size = sizeof number;
    if (!echo_options_address(given, &address, &number, why, why_size)) {
        return BENCH_EXIT_USAGE;
    }
    int status = uv_tcp_bind(listener, (struct sockaddr *)&number, 0);
    if (status == 0) {
        status = uv_listen((uv_stream_t *)listener, 1024, on_connection);
    }
    if (status == 0) {
        status = uv_tcp_getsockname(listener, (struct sockaddr *)&number, &name_size);
    }
    if (status != 0) {
        snprintf(why, why_size, "%s: %s", given->listen, uv_strerror(status));
        return BENCH_EXIT_UNREACHABLE;
    }
    char bound[TCP_URL_BYTES_MAX];
    address.port = tcp_port_of((struct sockaddr *)&number);
    tcp_address_format(&address, bound);
    printf("echoing at %s\n", bound);
    fflush(stdout);
    return BENCH_EXIT_DONE;
}

static int serve(const struct echo_options *given) {
    static const int numbers[2] = {SIGINT, SIGTERM};
    uv_loop_t loop;
    uv_tcp_t listener;
    uv_signal_t signals[2];
    char why[512];
    if (uv_loop_init(&loop) != 0) {
        fprintf(stderr, "sluice-bench echo: no memory\n");
        return BENCH_EXIT_UNREACHABLE;
    }
    uv_tcp_init(&loop, &listener);
    listener.data = NULL;
    for (int i = 0; i < 2; i++) {
        uv_signal_init(&loop, &signals[i]);
        uv_signal_start(&signals[i], on_signal, numbers[i]);
    }
    int code = listen_at(&listener, given, why, sizeof why);
    if (code == BENCH_EXIT_DONE) {
        uv_run(&loop, UV_RUN_DEFAULT);
    } else {
        fprintf(stderr, "sluice-bench echo: %s\n", why);
    }
    uv_walk(&loop, close_handle, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    return code;
}

int command_echo(int argc, char **argv) {
    struct echo_options settings = {0};
    switch (options_load(&echo_options_program, argc, argv, &settings)) {
    case OPTIONS_HELP:
        return BENCH_EXIT_DONE;
    case OPTIONS_INVALID:
        return BENCH_EXIT_USAGE;
    case OPTIONS_OK:
        break;
    }
    int code = serve(&settings);
    options_free(&echo_options_program, &settings);
    return code;
}
