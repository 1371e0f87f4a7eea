/* libuv's TCP streams on the simulated network. */
#include <arpa/inet.h>
#include <assert.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/loop.h"
#include "tests/sim/net.h"
#include "tests/sim/shim.h"

/* Bytes under way above which a write waits: what a socket's buffer holds. */
#define SEND_BUFFER_BYTES (256u << 10)

/* Connections that wait to be accepted. */
#define BACKLOG_MAX 128

/* What libuv suggests for a read. */
#define READ_BYTES 65536

struct stream {
    uv_tcp_t *handle; /* NULL: closed */
    uv_loop_t *loop;
    struct net_end *end;
    struct net_listener *listener;
    struct net_end *backlog[BACKLOG_MAX];
    uint32_t backlog_count;
    struct sockaddr_in bound;
    bool reading, posted, connected;
    int ended; /* 1: not yet; else what the last read is to say */
    int connect_status;
    bool connect_done;
    uint8_t *received;
    size_t received_size, received_room;
    uv_write_t *write;
    uint8_t *write_rest;
    size_t write_size;
    int write_status; /* of a write that is over; 1: under way */
};

static struct stream *stream_of(const void *handle) {
    return ((const uv_handle_t *)handle)->u.reserved[0];
}

static void post(struct stream *stream);

/* --- what the network says ----------------------------------------------------------------- */

static void on_opened(void *ctx, int status) {
    struct stream *stream = ctx;
    stream->connect_done = true;
    stream->connect_status = status;
    post(stream);
}

static void on_arrived(void *ctx, const void *data, size_t size) {
    struct stream *stream = ctx;
    size_t wanted = stream->received_size + size;
    if (wanted > stream->received_room) {
        stream->received_room = wanted * 2;
        stream->received = realloc(stream->received, stream->received_room);
        assert(stream->received != NULL);
    }
    memcpy(stream->received + stream->received_size, data, size);
    stream->received_size = wanted;
    post(stream);
}

static void on_ended(void *ctx, int status) {
    struct stream *stream = ctx;
    stream->ended = status == 0 ? UV_EOF : status;
    if (stream->write != NULL) {
        stream->write_status = UV_EPIPE;
    }
    post(stream);
}

static void on_drained(void *ctx) {
    struct stream *stream = ctx;
    if (stream->write != NULL && stream->write_status == 1) {
        if (stream->write_size > 0) {
            net_send(stream->end, stream->write_rest, stream->write_size);
            stream->write_size = 0;
            return;
        }
        stream->write_status = 0;
        post(stream);
    }
}

static const struct net_handler handler = {on_opened, on_arrived, on_ended, on_drained};

/* --- turns --------------------------------------------------------------------------------- */

static void connect_report(struct stream *stream) {
    uv_connect_t *request = stream->handle->connect_req;
    stream->connect_done = false;
    stream->handle->connect_req = NULL;
    stream->connected = stream->connect_status == 0;
    request->cb(request, stream->connect_status);
}

static void write_report(struct stream *stream) {
    uv_write_t *request = stream->write;
    stream->write = NULL;
    free(stream->write_rest);
    stream->write_rest = NULL;
    stream->handle->write_queue_size = 0;
    request->cb(request, stream->write_status);
}

static bool open_and_reading(const struct stream *stream) {
    return stream->handle != NULL && stream->reading &&
           !uv_is_closing((uv_handle_t *)stream->handle);
}

static void received_read(struct stream *stream) {
    while (open_and_reading(stream) && stream->received_size > 0) {
        uv_stream_t *uv = (uv_stream_t *)stream->handle;
        uv_buf_t buffer = {0};
        uv->alloc_cb((uv_handle_t *)uv, READ_BYTES, &buffer);
        if (buffer.base == NULL || buffer.len == 0) {
            uv->read_cb(uv, UV_ENOBUFS, &buffer);
            if (open_and_reading(stream)) {
                post(stream); /* what is left is still there in the next turn */
            }
            return;
        }
        size_t size = stream->received_size < buffer.len ? stream->received_size : buffer.len;
        memcpy(buffer.base, stream->received, size);
        stream->received_size -= size;
        memmove(stream->received, stream->received + size, stream->received_size);
        uv->read_cb(uv, (ssize_t)size, &buffer);
    }
    if (open_and_reading(stream) && stream->ended != 1) {
        uv_stream_t *uv = (uv_stream_t *)stream->handle;
        uv_buf_t none = {0};
        int status = stream->ended;
        stream->reading = false;
        uv->read_cb(uv, status, &none);
    }
}

static void on_item(void *ctx) {
    struct stream *stream = ctx;
    stream->posted = false;
    if (stream->handle == NULL || uv_is_closing((uv_handle_t *)stream->handle)) {
        return;
    }
    if (stream->listener != NULL) {
        while (stream->backlog_count > 0 && stream->handle != NULL &&
               !uv_is_closing((uv_handle_t *)stream->handle)) {
            stream->handle->connection_cb((uv_stream_t *)stream->handle, 0);
        }
        return;
    }
    if (stream->connect_done) {
        connect_report(stream);
    }
    if (stream->handle != NULL && stream->write != NULL && stream->write_status != 1 &&
        !uv_is_closing((uv_handle_t *)stream->handle)) {
        write_report(stream);
    }
    received_read(stream);
}

static void post(struct stream *stream) {
    if (!stream->posted && stream->handle != NULL) {
        stream->posted = true;
        loop_post(stream->loop, on_item, stream);
    }
}

/* --- opening ------------------------------------------------------------------------------- */

int uv_tcp_init(uv_loop_t *loop, uv_tcp_t *tcp) {
    struct stream *stream = sim_keep(sizeof *stream);
    loop_handle_init(loop, (uv_handle_t *)tcp, UV_TCP);
    tcp->u.reserved[0] = stream;
    tcp->connect_req = NULL;
    tcp->write_queue_size = 0;
    stream->handle = tcp;
    stream->loop = loop;
    stream->ended = 1;
    return 0;
}

int uv_tcp_bind(uv_tcp_t *tcp, const struct sockaddr *address, unsigned flags) {
    memcpy(&stream_of(tcp)->bound, address, sizeof(struct sockaddr_in));
    return 0;
}

static void on_accept(void *ctx, struct net_end *end) {
    struct stream *stream = ctx;
    assert(stream->backlog_count < BACKLOG_MAX);
    stream->backlog[stream->backlog_count] = end;
    stream->backlog_count++;
    post(stream);
}

int uv_listen(uv_stream_t *uv, int backlog, uv_connection_cb callback) {
    struct stream *stream = stream_of(uv);
    struct process *process = process_current();
    uv->connection_cb = callback;
    stream->listener =
        net_listen(process->machine, ntohs(stream->bound.sin_port), process, on_accept, stream);
    return stream->listener == NULL ? UV_EADDRINUSE : 0;
}

int uv_accept(uv_stream_t *server, uv_stream_t *client) {
    struct stream *from = stream_of(server), *to = stream_of(client);
    if (from->backlog_count == 0) {
        return UV_EAGAIN;
    }
    to->end = from->backlog[0];
    from->backlog_count--;
    memmove(&from->backlog[0], &from->backlog[1], from->backlog_count * sizeof from->backlog[0]);
    to->connected = true;
    net_take(to->end, process_current(), &handler, to);
    return 0;
}

int uv_tcp_connect(uv_connect_t *request, uv_tcp_t *tcp, const struct sockaddr *address,
                   uv_connect_cb callback) {
    struct stream *stream = stream_of(tcp);
    const struct sockaddr_in *to = (const struct sockaddr_in *)address;
    struct process *process = process_current();
    request->handle = (uv_stream_t *)tcp;
    request->cb = callback;
    tcp->connect_req = request;
    stream->end = net_connect(process->machine, process, ntohl(to->sin_addr.s_addr),
                              ntohs(to->sin_port), &handler, stream);
    return 0;
}

int uv_tcp_getsockname(const uv_tcp_t *tcp, struct sockaddr *name, int *size) {
    memcpy(name, &stream_of(tcp)->bound, sizeof(struct sockaddr_in));
    *size = sizeof(struct sockaddr_in);
    return 0;
}

/* Operators sit on every machine: who may ask for what is tested elsewhere. */
int uv_tcp_getpeername(const uv_tcp_t *tcp, struct sockaddr *name, int *size) {
    struct sockaddr_in local = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    memcpy(name, &local, sizeof local);
    *size = sizeof local;
    return 0;
}

int uv_tcp_nodelay(uv_tcp_t *tcp, int enable) {
    return 0;
}
int uv_tcp_keepalive(uv_tcp_t *tcp, int enable, unsigned delay) {
    return 0;
}

/* --- reading and writing ------------------------------------------------------------------- */

int uv_read_start(uv_stream_t *uv, uv_alloc_cb alloc, uv_read_cb read) {
    struct stream *stream = stream_of(uv);
    uv->alloc_cb = alloc;
    uv->read_cb = read;
    stream->reading = true;
    if (stream->received_size > 0 || stream->ended != 1) {
        post(stream);
    }
    return 0;
}

int uv_read_stop(uv_stream_t *uv) {
    stream_of(uv)->reading = false;
    return 0;
}

int uv_try_write(uv_stream_t *uv, const uv_buf_t buffers[], unsigned count) {
    struct stream *stream = stream_of(uv);
    assert(count == 1);
    if (!stream->connected || stream->write != NULL) {
        return UV_EAGAIN;
    }
    if (stream->ended != 1) {
        return UV_EPIPE;
    }
    size_t room = net_unsent(stream->end) >= SEND_BUFFER_BYTES
                      ? 0
                      : SEND_BUFFER_BYTES - net_unsent(stream->end);
    if (room == 0) {
        return UV_EAGAIN;
    }
    size_t size = buffers[0].len < room ? buffers[0].len : room;
    net_send(stream->end, buffers[0].base, size);
    return (int)size;
}

int uv_write(uv_write_t *request, uv_stream_t *uv, const uv_buf_t buffers[], unsigned count,
             uv_write_cb callback) {
    struct stream *stream = stream_of(uv);
    assert(count == 1 && stream->write == NULL);
    if (stream->ended != 1) {
        return UV_EPIPE;
    }
    request->cb = callback;
    request->handle = uv;
    stream->write = request;
    stream->write_status = 1;
    stream->write_size = buffers[0].len;
    stream->write_rest = malloc(buffers[0].len);
    assert(stream->write_rest != NULL);
    memcpy(stream->write_rest, buffers[0].base, buffers[0].len);
    uv->write_queue_size = buffers[0].len;
    if (net_unsent(stream->end) == 0) {
        on_drained(stream);
    }
    return 0;
}

size_t uv_stream_get_write_queue_size(const uv_stream_t *uv) {
    return uv->write_queue_size;
}

static void shutdown_item(void *ctx) {
    uv_shutdown_t *request = ctx;
    struct stream *stream = stream_of(request->handle);
    if (stream != NULL && stream->handle != NULL) {
        request->cb(request, 0);
    }
}

int uv_shutdown(uv_shutdown_t *request, uv_stream_t *uv, uv_shutdown_cb callback) {
    struct stream *stream = stream_of(uv);
    request->handle = uv;
    request->cb = callback;
    if (!stream->connected || stream->ended != 1) {
        return UV_ENOTCONN;
    }
    net_shutdown(stream->end);
    loop_post(stream->loop, shutdown_item, request);
    return 0;
}

/* --- closing ------------------------------------------------------------------------------- */

void tcp_closing(uv_handle_t *handle) {
    struct stream *stream = stream_of(handle);
    stream->reading = false;
    if (stream->listener != NULL) {
        net_unlisten(stream->listener);
        for (uint32_t i = 0; i < stream->backlog_count; i++) {
            net_close(stream->backlog[i]);
        }
        stream->backlog_count = 0;
    }
    if (stream->end != NULL) {
        net_close(stream->end);
    }
}

void tcp_closed(uv_handle_t *handle) {
    struct stream *stream = stream_of(handle);
    uv_connect_t *connect = ((uv_tcp_t *)handle)->connect_req;
    uv_write_t *write = stream->write;
    stream->handle = NULL;
    stream->write = NULL;
    free(stream->received);
    free(stream->write_rest);
    stream->received = stream->write_rest = NULL;
    if (connect != NULL) {
        ((uv_tcp_t *)handle)->connect_req = NULL;
        connect->cb(connect, UV_ECANCELED);
    }
    if (write != NULL) {
        write->cb(write, UV_ECANCELED);
    }
}

/* --- sockets ------------------------------------------------------------------------------- */

int uv_fileno(const uv_handle_t *handle, uv_os_fd_t *fd) {
    struct stream *stream = stream_of(handle);
    if (stream->end == NULL) {
        return UV_EBADF;
    }
    net_patience(stream->end, 0);
    *fd = shim_fd(stream->end);
    return 0;
}

int uv_inet_pton(int family, const char *text, void *out) {
    return inet_pton(family, text, out) == 1 ? 0 : UV_EINVAL;
}

/* Every address in a simulated cluster is a number. */
int uv_getaddrinfo(uv_loop_t *loop, uv_getaddrinfo_t *request, uv_getaddrinfo_cb callback,
                   const char *node, const char *service, const struct addrinfo *hints) {
    return UV_EAI_NONAME;
}
void uv_freeaddrinfo(struct addrinfo *found) {}
int uv_cancel(uv_req_t *request) {
    return 0;
}
int uv_ip_name(const struct sockaddr *address, char *text, size_t size) {
    return UV_EAFNOSUPPORT;
}

uv_buf_t uv_buf_init(char *base, unsigned size) {
    return (uv_buf_t){.base = base, .len = size};
}

/* Addresses that several loops share are not simulated. */
int uv_tcp_open(uv_tcp_t *tcp, uv_os_sock_t socket_fd) {
    return UV_EINVAL;
}
int uv_translate_sys_error(int error) {
    return -error;
}
