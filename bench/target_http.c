/*
 * A peer behind HTTP/1.1: connections are kept alive, and requests pipelined where --outstanding is
 * above 1 (replies come in order then). GET of a path; 200 is a grant, 429 a refusal.
 */
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench/http_reply.h"
#include "bench/target.h"
#include "runtime/tcp_address.h"

/* Bytes of a request: the longest path and key. */
#define REQUEST_BYTES_MAX 2048
#define PATH_BYTES_MAX 1024

/* Where the path names the key. */
#define KEY_MARK "{key}"

struct http_lane {
    struct lane *lane;
    uv_tcp_t tcp;
    uv_connect_t connect;
    bool open, broken;
    uint32_t *waiting; /* ring of shot ids, in the order they were sent */
    uint32_t waiting_first, waiting_count;
    uint32_t output_size, input_size;
    uint8_t *output; /* requests of this turn: REQUEST_BYTES_MAX for each that may be under way */
    uint8_t input[HTTP_REPLY_BYTES_MAX];
};

struct http_target {
    struct sockaddr_storage address;
    char host[TCP_URL_BYTES_MAX];
};

static struct http_target *target_of(const struct load *load) {
    return load->memory;
}

static void lane_break(struct http_lane *own, const char *why) {
    if (!own->broken) {
        own->broken = true;
        load_lane_down(own->lane, why);
    }
}

/* --- replies -------------------------------------------------------------------------------- */

static struct outcome outcome_of_reply(const struct http_reply *reply) {
    return reply->status == 200 || reply->status == 429 ? outcome_of_answer(reply->status == 200)
                                                        : outcome_of_error(OUTCOME_SERVER);
}

static void reply_take(struct http_lane *own, const struct http_reply *reply) {
    struct load *load = own->lane->load;
    uint32_t id = own->waiting[own->waiting_first];
    own->waiting_first = (own->waiting_first + 1) % load->settings.outstanding;
    own->waiting_count--;
    struct shot *shot = load_shot_of(own->lane, id);
    if (shot != NULL) {
        load_take_done(shot, 0, outcome_of_reply(reply));
        load_shot_done(shot);
    }
}

static void on_space(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer) {
    struct http_lane *own = handle->data;
    *buffer = uv_buf_init((char *)own->input + own->input_size,
                          (unsigned)(sizeof own->input - own->input_size));
}

static void on_read(uv_stream_t *stream, ssize_t size, const uv_buf_t *buffer) {
    struct http_lane *own = stream->data;
    if (size < 0) {
        lane_break(own, uv_strerror((int)size));
        return;
    }
    own->input_size += (uint32_t)size;
    uint32_t done = 0;
    while (!own->broken) {
        struct http_reply reply;
        enum http_found found =
            http_reply_find(bytes_of(own->input + done, own->input_size - done), &reply);
        if (found == HTTP_FOUND_NONE) {
            break;
        }
        if (found == HTTP_FOUND_BAD || own->waiting_count == 0) {
            lane_break(own, "an answer that is no HTTP/1.1 reply with a length");
            return;
        }
        reply_take(own, &reply);
        done += reply.size;
    }
    own->input_size -= done;
    memmove(own->input, own->input + done, own->input_size);
}

/* --- requests ------------------------------------------------------------------------------- */

static int get_write(const struct load *load, char *out, struct bytes key) {
    const char *path = load->settings.http_path, *mark = strstr(path, KEY_MARK);
    int before = mark != NULL ? (int)(mark - path) : (int)strlen(path);
    return snprintf(out, REQUEST_BYTES_MAX, "GET %.*s%.*s%s HTTP/1.1\r\nHost: %s\r\n\r\n", before,
                    path, mark != NULL ? (int)key.size : 0, (const char *)key.data,
                    mark != NULL ? mark + strlen(KEY_MARK) : "", target_of(load)->host);
}

static bool http_send(struct lane *lane, struct shot *shot) {
    struct load *load = lane->load;
    struct http_lane *own = lane->connection;
    char name[KEY_TEXT_BYTES_MAX], *out = (char *)own->output + own->output_size;
    struct bytes key = load_key(load, shot->keys[0], name);
    if (own->broken || own->waiting_count == load->settings.outstanding) {
        return false; /* shots that were given up still have their replies to come */
    }
    own->output_size += (uint32_t)get_write(load, out, key);
    uint32_t last = (own->waiting_first + own->waiting_count++) % load->settings.outstanding;
    own->waiting[last] = load_shot_id(shot);
    return true;
}

static void http_flush(struct lane *lane) {
    struct http_lane *own = lane->connection;
    uint32_t sent = 0;
    while (sent < own->output_size && !own->broken) {
        uv_buf_t buffer = uv_buf_init((char *)own->output + sent, own->output_size - sent);
        int status = uv_try_write((uv_stream_t *)&own->tcp, &buffer, 1);
        if (status < 0) { /* EAGAIN too: the kernel holds far more than may be outstanding */
            own->output_size = 0;
            lane_break(own, uv_strerror(status));
            return;
        }
        sent += (uint32_t)status;
    }
    own->output_size = 0;
}

/* --- life ----------------------------------------------------------------------------------- */

static void on_connected(uv_connect_t *request, int status) {
    struct http_lane *own = request->data;
    if (status == UV_ECANCELED) {
        return;
    }
    if (status == 0) {
        uv_tcp_nodelay(&own->tcp, 1);
        status = uv_read_start((uv_stream_t *)&own->tcp, on_space, on_read);
    }
    if (status != 0) {
        lane_break(own, uv_strerror(status));
        return;
    }
    load_lane_up(own->lane);
}

static bool http_lane_open(struct lane *lane, char *why, size_t why_size) {
    struct load *load = lane->load;
    struct http_lane *own = calloc(1, sizeof *own);
    lane->connection = own;
    snprintf(why, why_size, "no memory");
    if (own == NULL) {
        return false;
    }
    own->lane = lane;
    own->waiting = calloc(load->settings.outstanding, sizeof *own->waiting);
    own->output = malloc((size_t)load->settings.outstanding * REQUEST_BYTES_MAX);
    if (own->waiting == NULL || own->output == NULL || uv_tcp_init(&load->loop, &own->tcp) != 0) {
        return false;
    }
    own->open = true;
    own->tcp.data = own;
    own->connect.data = own;
    return uv_tcp_connect(&own->connect, &own->tcp,
                          (const struct sockaddr *)&target_of(load)->address, on_connected) == 0;
}

static void lane_free(struct http_lane *own) {
    free(own->waiting);
    free(own->output);
    free(own);
}

static void on_closed(uv_handle_t *handle) {
    lane_free(handle->data);
}

static void http_lane_close(struct lane *lane) {
    struct http_lane *own = lane->connection;
    if (own == NULL) {
        return;
    }
    lane->connection = NULL;
    own->broken = true;
    if (own->open) {
        uv_close((uv_handle_t *)&own->tcp, on_closed);
    } else {
        lane_free(own);
    }
}

static bool http_open(struct load *load, char *why, size_t why_size) {
    const struct load_settings *settings = &load->settings;
    struct http_target *target = calloc(1, sizeof *target);
    struct tcp_address address;
    char url[TCP_URL_BYTES_MAX];
    load->memory = target;
    if (target == NULL) {
        snprintf(why, why_size, "no memory");
        return false;
    }
    if (settings->batch != 1 || settings->plan != NULL) {
        snprintf(why, why_size, "%s knows neither --plan nor --batch", settings->target->name);
        return false;
    }
    if (settings->http_path == NULL || strlen(settings->http_path) > PATH_BYTES_MAX) {
        snprintf(why, why_size, "--http-path is needed, at most %d bytes", PATH_BYTES_MAX);
        return false;
    }
    if (strncmp(settings->url, "http://", 7) != 0) {
        snprintf(why, why_size, "\"%.200s\": expected http://host:port", settings->url);
        return false;
    }
    snprintf(url, sizeof url, "tcp://%.260s", settings->url + 7);
    if (!tcp_address_parse(url, &address, why, why_size)) {
        return false;
    }
    if (!tcp_address_numeric(&address, &target->address)) {
        snprintf(why, why_size, "%s: give the host as a number", settings->url);
        return false;
    }
    snprintf(target->host, sizeof target->host, "%s", url + 6);
    return true;
}

static void http_close(struct load *load) {
    free(load->memory);
    load->memory = NULL;
}

const struct target target_http = {.name = "http",
                                   .open = http_open,
                                   .lane_open = http_lane_open,
                                   .lane_send = http_send,
                                   .lane_flush = http_flush,
                                   .lane_close = http_lane_close,
                                   .close = http_close};
