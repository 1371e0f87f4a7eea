/*
 * An edge service: asks Sluice before it serves, without ever blocking its event loop.
 *
 *     cc edge_service.c $(pkg-config --cflags --libs sluice libuv) -o edge_service
 *     ./edge_service [PORT] [ROUTER]            127.0.0.1:8088, tcp://127.0.0.1:7400
 *     curl -i -H 'x-api-key: alice' 'http://127.0.0.1:8088/?cost=2&plan=premium'
 *
 * 200 with RateLimit headers: granted. 429 with Retry-After: refused. 400: no x-api-key, or a
 * request that is no plain GET. 503: nobody could decide.
 *
 * One request of a connection is under way at a time: reading stops until it is answered, so a slow
 * client holds one buffer and no more. libsluice calls back on a thread of its own; results cross
 * over to the loop through a list under a mutex and uv_async_send.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* memmem */
#endif
#include <inttypes.h>
#include <pthread.h>
#include <sluice/client.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

/* Connections at once, and bytes of a request's head. Arbitrary, but safe. */
#define CONNECTIONS_MAX 1024
#define HEAD_BYTES_MAX 8192

struct server {
    uv_loop_t loop;
    uv_tcp_t listener;
    uv_async_t wake;
    uv_signal_t interrupted;
    uv_signal_t terminated;
    struct sluice_client *client;
    uint32_t connection_count;
    pthread_mutex_t mutex;
    struct connection *answered; /* under the mutex: results for the loop to pick up */
};

struct connection {
    uv_tcp_t tcp; /* first: a handle is its connection */
    struct server *server;
    struct connection *next;
    struct sluice_result result;
    uv_write_t write;
    bool keep_alive;
    size_t head_size; /* of the request that is being answered, end of line included */
    size_t size;      /* bytes in `head` */
    char head[HEAD_BYTES_MAX];
    char response[1024];
};

static void requests_serve(struct connection *connection);

/* --- writing --------------------------------------------------------------------------------- */

static void connection_closed(uv_handle_t *handle) {
    struct connection *connection = (struct connection *)handle;
    connection->server->connection_count--;
    free(connection);
}

static void connection_close(struct connection *connection) {
    if (!uv_is_closing((uv_handle_t *)&connection->tcp)) {
        uv_close((uv_handle_t *)&connection->tcp, connection_closed);
    }
}

static void written(uv_write_t *write, int status) {
    struct connection *connection = (struct connection *)write->handle;
    if (status != 0 || !connection->keep_alive) {
        connection_close(connection);
        return;
    }
    connection->size -= connection->head_size;
    memmove(connection->head, connection->head + connection->head_size, connection->size);
    requests_serve(connection);
}

/* `headers`: whole lines; `body`: JSON. */
static void respond(struct connection *connection, const char *status, const char *type,
                    const char *headers, const char *body) {
    int size = snprintf(connection->response, sizeof connection->response,
                        "HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n%s%s\r\n%s",
                        status, type, strlen(body), headers,
                        connection->keep_alive ? "" : "Connection: close\r\n", body);
    uv_buf_t buffer = uv_buf_init(connection->response, (unsigned)size);
    if (uv_write(&connection->write, (uv_stream_t *)&connection->tcp, &buffer, 1, written) != 0) {
        connection_close(connection);
    }
}

static void refuse(struct connection *connection, const char *status, const char *headers,
                   const char *title) {
    char body[256];
    snprintf(body, sizeof body, "{\"title\":\"%s\",\"status\":%.3s}\n", title, status);
    respond(connection, status, "application/problem+json", headers, body);
}

static void malformed(struct connection *connection, const char *title) {
    connection->keep_alive = false;
    refuse(connection, "400 Bad Request", "", title);
}

static uint64_t seconds_up(uint64_t us) {
    return (us + 999999) / 1000000;
}

static void result_respond(struct connection *connection) {
    const struct sluice_result *result = &connection->result;
    char headers[256];
    if (result->error == SLUICE_UNKNOWN_PLAN) {
        refuse(connection, "400 Bad Request", "", "no such plan");
        return;
    }
    if (result->error != SLUICE_OK || (result->degraded && !result->allowed)) {
        refuse(connection, "503 Service Unavailable", "Retry-After: 1\r\n",
               "the rate limit cannot be decided now");
        return;
    }
    int size = snprintf(headers, sizeof headers,
                        "RateLimit-Limit: %" PRIu64 "\r\nRateLimit-Remaining: %" PRIu64
                        "\r\nRateLimit-Reset: %" PRIu64 "\r\n",
                        result->limit, result->remaining, seconds_up(result->reset_after_us));
    if (result->allowed) {
        respond(connection, "200 OK", "application/json", result->degraded ? "" : headers,
                "{\"served\":true}\n");
        return;
    }
    if (result->retry_after_us != SLUICE_RETRY_NEVER) {
        snprintf(headers + size, sizeof headers - (size_t)size, "Retry-After: %" PRIu64 "\r\n",
                 seconds_up((uint64_t)result->retry_after_us));
    }
    refuse(connection, "429 Too Many Requests", headers, "rate limit exceeded");
}

/* --- asking Sluice ---------------------------------------------------------------------------- */

/* On a thread of nng's: leaves the result for the loop. */
static void take_answered(void *context, const struct sluice_result *result) {
    struct connection *connection = context;
    struct server *server = connection->server;
    connection->result = *result;
    pthread_mutex_lock(&server->mutex);
    connection->next = server->answered;
    server->answered = connection;
    uv_async_send(&server->wake);
    pthread_mutex_unlock(&server->mutex);
}

static void answers_deliver(uv_async_t *wake) {
    struct server *server = wake->data;
    pthread_mutex_lock(&server->mutex);
    struct connection *connection = server->answered;
    server->answered = NULL;
    pthread_mutex_unlock(&server->mutex);
    while (connection != NULL) {
        struct connection *next = connection->next;
        result_respond(connection);
        connection = next;
    }
}

/* --- reading ---------------------------------------------------------------------------------- */

/* The value of a header, NULL if it is not there. `headers` begins behind the request line. */
static char *header_find(char *headers, const char *name) {
    size_t size = strlen(name);
    for (char *line = headers; *line != '\0'; line += strlen(line) + 1) {
        if (strncasecmp(line, name, size) == 0 && line[size] == ':') {
            char *value = line + size + 1;
            return value + strspn(value, " \t");
        }
    }
    return NULL;
}

/* Makes lines of the head: a zero for each CR LF, and one more at the end. */
static void lines_split(char *head, size_t size) {
    size_t to = 0;
    for (size_t from = 0; from < size; from++) {
        bool ends = head[from] == '\r' && from + 1 < size && head[from + 1] == '\n';
        head[to++] = ends ? '\0' : head[from];
        from += ends;
    }
    head[to] = '\0';
}

/* Takes apart "cost=2&plan=premium"; what else there may be is the service's own business. */
static bool query_read(char *query, struct sluice_request *take) {
    char *pair;
    while (query != NULL && (pair = strsep(&query, "&")) != NULL) {
        if (strncmp(pair, "cost=", 5) == 0) {
            char *end;
            take->cost = strtoull(pair + 5, &end, 10);
            if (pair[5] < '0' || pair[5] > '9' || *end != '\0') {
                return false;
            }
        } else if (strncmp(pair, "plan=", 5) == 0) {
            take->plan = pair + 5;
        }
    }
    return true;
}

/* Serves one request whose head is complete. `head` is a copy to take apart, with room for a zero.
 */
static void request_serve(struct connection *connection, char *head, size_t size) {
    struct sluice_request take = {.cost = 1};
    lines_split(head, size);
    char *headers = head + strlen(head) + 1;
    char *method = strsep(&head, " "), *target = strsep(&head, " ");
    if (target == NULL || head == NULL || strcmp(method, "GET") != 0 || target[0] != '/' ||
        strcmp(head, "HTTP/1.1") != 0 || header_find(headers, "transfer-encoding") != NULL ||
        header_find(headers, "content-length") != NULL) {
        malformed(connection, "expected a GET of HTTP/1.1 without a body");
        return;
    }
    const char *closing = header_find(headers, "connection");
    connection->keep_alive = closing == NULL || strcasecmp(closing, "close") != 0;
    strsep(&target, "?");
    take.key = header_find(headers, "x-api-key");
    if (take.key == NULL || ((const char *)take.key)[0] == '\0') {
        refuse(connection, "400 Bad Request", "", "x-api-key is missing");
        return;
    }
    if (!query_read(target, &take)) {
        refuse(connection, "400 Bad Request", "", "cost must be a whole number");
        return;
    }
    enum sluice_error error =
        sluice_take_async(connection->server->client, &take, take_answered, connection);
    if (error == SLUICE_INVALID) {
        refuse(connection, "400 Bad Request", "", "key, cost or plan is out of bounds");
    } else if (error != SLUICE_OK) {
        refuse(connection, "503 Service Unavailable", "Retry-After: 1\r\n", "too busy");
    }
}

static void buffer_offer(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer) {
    struct connection *connection = (struct connection *)handle;
    *buffer = uv_buf_init(connection->head + connection->size,
                          (unsigned)(HEAD_BYTES_MAX - connection->size));
}

static void bytes_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *buffer) {
    struct connection *connection = (struct connection *)stream;
    if (count < 0) {
        connection_close(connection);
        return;
    }
    connection->size += (size_t)count;
    requests_serve(connection);
}

/* Serves the next request if its head is there, else reads on. */
static void requests_serve(struct connection *connection) {
    char copy[HEAD_BYTES_MAX + 1];
    const char *end = memmem(connection->head, connection->size, "\r\n\r\n", 4);
    if (end == NULL && connection->size < HEAD_BYTES_MAX) {
        uv_read_start((uv_stream_t *)&connection->tcp, buffer_offer, bytes_read);
        return;
    }
    uv_read_stop((uv_stream_t *)&connection->tcp);
    if (end == NULL) {
        malformed(connection, "the request's head is too large");
        return;
    }
    connection->head_size = (size_t)(end - connection->head) + 4;
    memcpy(copy, connection->head, connection->head_size);
    request_serve(connection, copy, connection->head_size);
}

static void accepted(uv_stream_t *listener, int status) {
    struct server *server = listener->data;
    struct connection *connection = status == 0 ? calloc(1, sizeof *connection) : NULL;
    if (connection == NULL) {
        return;
    }
    connection->server = server;
    server->connection_count++;
    uv_tcp_init(&server->loop, &connection->tcp);
    if (uv_accept(listener, (uv_stream_t *)&connection->tcp) != 0 ||
        server->connection_count > CONNECTIONS_MAX) {
        connection_close(connection);
        return;
    }
    requests_serve(connection);
}

/* --- life ------------------------------------------------------------------------------------- */

static void handle_close(uv_handle_t *handle, void *argument) {
    struct server *server = argument;
    if (uv_is_closing(handle)) {
        return;
    }
    bool own = handle == (uv_handle_t *)&server->listener ||
               handle == (uv_handle_t *)&server->wake || handle->type == UV_SIGNAL;
    uv_close(handle, own ? NULL : connection_closed);
}

/* Ends the calls that are under way first: their connections must outlive them. */
static void stop(uv_signal_t *signal, int number) {
    struct server *server = signal->data;
    sluice_close(server->client);
    server->client = NULL;
    uv_walk(&server->loop, handle_close, server);
}

static int server_run(struct server *server, int port) {
    struct sockaddr_in address;
    uv_ip4_addr("127.0.0.1", port, &address);
    pthread_mutex_init(&server->mutex, NULL);
    uv_loop_init(&server->loop);
    uv_tcp_init(&server->loop, &server->listener);
    uv_async_init(&server->loop, &server->wake, answers_deliver);
    uv_signal_init(&server->loop, &server->interrupted);
    uv_signal_init(&server->loop, &server->terminated);
    server->listener.data = server->wake.data = server;
    server->interrupted.data = server->terminated.data = server;
    uv_signal_start(&server->interrupted, stop, SIGINT);
    uv_signal_start(&server->terminated, stop, SIGTERM);
    int error = uv_tcp_bind(&server->listener, (const struct sockaddr *)&address, 0);
    if (error == 0) {
        error = uv_listen((uv_stream_t *)&server->listener, 128, accepted);
    }
    if (error != 0) {
        fprintf(stderr, "cannot listen on 127.0.0.1:%d: %s\n", port, uv_strerror(error));
        stop(&server->interrupted, 0);
    } else {
        printf("http://127.0.0.1:%d/ is served; it needs an x-api-key header\n", port);
        fflush(stdout);
    }
    uv_run(&server->loop, UV_RUN_DEFAULT);
    uv_loop_close(&server->loop);
    pthread_mutex_destroy(&server->mutex);
    return error == 0 ? 0 : 1;
}

int main(int argc, char **argv) {
    struct server server = {0};
    long port = argc > 1 ? strtol(argv[1], NULL, 10) : 8088;
    const char *router = argc > 2 ? argv[2] : "tcp://127.0.0.1:7400";
    enum sluice_error error = sluice_open(&server.client, router, NULL);
    if (error != SLUICE_OK || port < 1 || port > 65535) {
        fprintf(stderr, "usage: edge_service [PORT] [ROUTER]; %s\n", sluice_error_text(error));
        sluice_close(server.client);
        return 2;
    }
    return server_run(&server, (int)port);
}
