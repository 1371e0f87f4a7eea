/*
 * A bounded mailbox: how one thread hands a message to a loop of another.
 *
 * Any thread may put; the owner's loop takes, in the order put by each thread. Messages are moved:
 * the pointer belongs to the mailbox from a successful put, to the handler when it is called.
 */
#ifndef SLUICE_RUNTIME_MAILBOX_H
#define SLUICE_RUNTIME_MAILBOX_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

struct mailbox;

/* `on_message` runs on the loop's thread, once a message. `capacity` in messages. NULL: no memory.
 */
struct mailbox *mailbox_create(uv_loop_t *loop, uint32_t capacity,
                               void (*on_message)(void *ctx, void *message), void *ctx);

/* False if it is full (the message stays the caller's). Any thread. */
bool mailbox_put(struct mailbox *mailbox, void *message);

/* On the loop's thread, after all putters have stopped: messages not yet handled are given to
 * `discard` (may be NULL). Freed when the loop has run its close callbacks. */
void mailbox_close(struct mailbox *mailbox, void (*discard)(void *message));

#endif
