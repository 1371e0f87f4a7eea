#include "runtime/redis_uv.h"

#include <stdio.h>
#include <stdlib.h>

#include "runtime/redis_replies.h"

struct redis_uv {
    uv_poll_t poll;
    redisAsyncContext *context; /* NULL once hiredis has let go of it */
    int events;
    void (*on_gone)(void *ctx, const redisAsyncContext *context);
    void *ctx;
};

static void on_poll(uv_poll_t *poll, int status, int events);

static void events_set(struct redis_uv *adapter, int events) {
    adapter->events = events;
    if (events != 0)
        uv_poll_start(&adapter->poll, events, on_poll);
    else
        uv_poll_stop(&adapter->poll);
}

/* A text arrives whole before anybody sees it. One that does not end must not fill our memory. */
static void length_check(redisAsyncContext *context) {
    if (context->c.reader != NULL && context->c.reader->len > REDIS_REPLY_BYTES_MAX) {
        context->c.err = REDIS_ERR_PROTOCOL;
        snprintf(context->c.errstr, sizeof context->c.errstr, "a text takes more than 256 MiB");
        redisAsyncFree(context);
    }
}

static void on_poll(uv_poll_t *poll, int status, int events) {
    struct redis_uv *adapter = poll->data;
    /* An error of the socket: libuv has stopped polling. Reading makes hiredis find out which; if
     * it finds none, polling goes on. hiredis may free the context within either call. */
    if (status < 0)
        events = UV_READABLE;
    if (adapter->context != NULL && (events & UV_READABLE))
        redisAsyncHandleRead(adapter->context);
    if (adapter->context != NULL && (events & UV_READABLE))
        length_check(adapter->context);
    if (adapter->context != NULL && (events & UV_WRITABLE))
        redisAsyncHandleWrite(adapter->context);
    if (adapter->context != NULL && status < 0)
        events_set(adapter, adapter->events);
}

static void read_add(void *data) {
    struct redis_uv *adapter = data;
    if (!(adapter->events & UV_READABLE))
        events_set(adapter, adapter->events | UV_READABLE);
}

static void read_remove(void *data) {
    struct redis_uv *adapter = data;
    events_set(adapter, adapter->events & ~UV_READABLE);
}

static void write_add(void *data) {
    struct redis_uv *adapter = data;
    if (!(adapter->events & UV_WRITABLE))
        events_set(adapter, adapter->events | UV_WRITABLE);
}

static void write_remove(void *data) {
    struct redis_uv *adapter = data;
    if (adapter->events & UV_WRITABLE)
        events_set(adapter, adapter->events & ~UV_WRITABLE);
}

static void on_poll_closed(uv_handle_t *handle) {
    free(handle->data);
}

static void cleanup(void *data) {
    struct redis_uv *adapter = data;
    redisAsyncContext *context = adapter->context;
    adapter->context = NULL;
    uv_close((uv_handle_t *)&adapter->poll, on_poll_closed);
    adapter->on_gone(adapter->ctx, context);
}

bool redis_uv_attach(redisAsyncContext *context, uv_loop_t *loop,
                     void (*on_gone)(void *ctx, const redisAsyncContext *context), void *ctx) {
    struct redis_uv *adapter = calloc(1, sizeof *adapter);
    if (adapter == NULL)
        return false;
    if (uv_poll_init(loop, &adapter->poll, context->c.fd) != 0) {
        free(adapter);
        return false;
    }
    adapter->poll.data = adapter;
    adapter->context = context;
    adapter->on_gone = on_gone;
    adapter->ctx = ctx;
    context->ev.data = adapter;
    context->ev.addRead = read_add;
    context->ev.delRead = read_remove;
    context->ev.addWrite = write_add;
    context->ev.delWrite = write_remove;
    context->ev.cleanup = cleanup;
    return true;
}
