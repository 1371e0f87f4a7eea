#include "runtime/endpoint.h"

#include <assert.h>
#include <stdio.h>

#include "runtime/endpoint_impl.h"

bool endpoint_can_be_shared(const char *url) {
    return strncmp(url, "tcp://", strlen("tcp://")) == 0;
}

int endpoint_open(struct endpoint **out, uv_loop_t *loop, const char *url,
                  const struct endpoint_handler *handler, char *why, size_t why_size) {
    return endpoint_open_shared(out, loop, url, ENDPOINT_ALONE, handler, why, why_size);
}

int endpoint_open_shared(struct endpoint **out, uv_loop_t *loop, const char *url,
                         enum endpoint_sharing sharing, const struct endpoint_handler *handler,
                         char *why, size_t why_size) {
    assert(handler->on_request != NULL && handler->on_oversize != NULL);
    assert(handler->on_turn != NULL);
    if (strlen(url) > ENDPOINT_BYTES_MAX) {
        snprintf(why, why_size, "the URL is longer than %d bytes", ENDPOINT_BYTES_MAX);
        return -1;
    }
    if (endpoint_can_be_shared(url))
        return endpoint_sp_open(out, loop, url, sharing, handler, why, why_size);
    assert(sharing == ENDPOINT_ALONE);
    return endpoint_nng_open(out, loop, url, handler, why, why_size);
}

const char *endpoint_url(const struct endpoint *endpoint) {
    return endpoint->url;
}

bool endpoint_reply_begin(struct endpoint *endpoint, const struct endpoint_caller *caller,
                          uint32_t capacity, struct writer *writer) {
    assert(!endpoint->closing && !endpoint->replying);
    uint8_t *space = endpoint->kind->reply_begin(endpoint, caller, capacity);
    if (space == NULL)
        return false;
    endpoint->replying = true;
    *writer = writer_of(space, capacity);
    return true;
}

void endpoint_reply_end(struct endpoint *endpoint, const struct writer *writer) {
    assert(endpoint->replying && !writer->overflow);
    endpoint->replying = false;
    endpoint->counters.replies++;
    endpoint->kind->reply_end(endpoint, writer->size);
}

void endpoint_reply(struct endpoint *endpoint, const struct endpoint_caller *caller,
                    struct bytes body) {
    struct writer writer;
    assert(body.size <= UINT32_MAX);
    if (endpoint_reply_begin(endpoint, caller, (uint32_t)body.size, &writer)) {
        if (body.size > 0)
            write_encoded(&writer, body);
        endpoint_reply_end(endpoint, &writer);
    }
}

void endpoint_flush(struct endpoint *endpoint) {
    assert(!endpoint->closing && !endpoint->replying);
    endpoint->kind->flush(endpoint);
}

bool endpoint_caller_is_local(const struct endpoint *endpoint,
                              const struct endpoint_caller *caller) {
    return endpoint->kind->caller_is_local(endpoint, caller);
}

const struct endpoint_counters *endpoint_counters(const struct endpoint *endpoint) {
    if (endpoint->kind->count != NULL)
        endpoint->kind->count((struct endpoint *)endpoint);
    return &endpoint->counters;
}

void endpoint_stop(struct endpoint *endpoint) {
    if (endpoint->stopped)
        return;
    endpoint->stopped = true;
    endpoint->kind->stop(endpoint);
}

void endpoint_close(struct endpoint *endpoint, void (*on_closed)(void *ctx), void *ctx) {
    assert(!endpoint->closing);
    endpoint_stop(endpoint);
    endpoint->closing = true;
    endpoint->on_closed = on_closed;
    endpoint->closed_ctx = ctx;
    endpoint->kind->close(endpoint);
}
