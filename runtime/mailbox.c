#include "runtime/mailbox.h"

#include <assert.h>
#include <stdlib.h>

/* Messages handled at one wake, so that a busy mailbox does not starve the rest of its loop.
 * Arbitrary: some tens of microseconds of work. */
#define MAILBOX_BATCH 256

struct mailbox {
    uv_async_t wake;
    uv_mutex_t mutex; /* guards head, count and ring */
    uint32_t capacity, head, count;
    bool closed; /* the loop's thread only */
    void (*on_message)(void *ctx, void *message);
    void *ctx;
    void *ring[];
};

/* NULL if it is empty. */
static void *mailbox_take(struct mailbox *mailbox) {
    void *message = NULL;
    uv_mutex_lock(&mailbox->mutex);
    if (mailbox->count > 0) {
        message = mailbox->ring[mailbox->head];
        mailbox->head = (mailbox->head + 1) % mailbox->capacity;
        mailbox->count--;
    }
    uv_mutex_unlock(&mailbox->mutex);
    return message;
}

static void on_wake(uv_async_t *wake) {
    struct mailbox *mailbox = wake->data;
    for (int i = 0; i < MAILBOX_BATCH; i++) {
        void *message = mailbox_take(mailbox);
        if (message == NULL)
            return; /* always so once it was closed */
        mailbox->on_message(mailbox->ctx, message);
    }
    if (!mailbox->closed)
        uv_async_send(wake); /* perhaps more: after the loop has had a turn */
}

struct mailbox *mailbox_create(uv_loop_t *loop, uint32_t capacity,
                               void (*on_message)(void *ctx, void *message), void *ctx) {
    assert(capacity > 0);
    struct mailbox *mailbox = calloc(1, sizeof *mailbox + capacity * sizeof mailbox->ring[0]);
    if (mailbox == NULL)
        return NULL;
    mailbox->capacity = capacity;
    mailbox->on_message = on_message;
    mailbox->ctx = ctx;
    mailbox->wake.data = mailbox;
    if (uv_mutex_init(&mailbox->mutex) != 0) {
        free(mailbox);
        return NULL;
    }
    if (uv_async_init(loop, &mailbox->wake, on_wake) != 0) {
        uv_mutex_destroy(&mailbox->mutex);
        free(mailbox);
        return NULL;
    }
    return mailbox;
}

bool mailbox_put(struct mailbox *mailbox, void *message) {
    assert(message != NULL);
    uv_mutex_lock(&mailbox->mutex);
    bool room = mailbox->count < mailbox->capacity;
    if (room) {
        uint32_t tail = (mailbox->head + mailbox->count) % mailbox->capacity;
        mailbox->ring[tail] = message;
        mailbox->count++;
        /* Under the lock: a putter that has let go of it never touches the mailbox again, so the
         * owner may close as soon as it has seen this message. */
        uv_async_send(&mailbox->wake);
    }
    uv_mutex_unlock(&mailbox->mutex);
    return room;
}

static void on_closed(uv_handle_t *handle) {
    struct mailbox *mailbox = handle->data;
    uv_mutex_destroy(&mailbox->mutex);
    free(mailbox);
}

void mailbox_close(struct mailbox *mailbox, void (*discard)(void *message)) {
    assert(!mailbox->closed);
    mailbox->closed = true;
    void *message;
    while ((message = mailbox_take(mailbox)) != NULL) {
        if (discard != NULL)
            discard(message);
    }
    uv_close((uv_handle_t *)&mailbox->wake, on_closed);
}
