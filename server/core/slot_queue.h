/*
 * A queue of slots, each in it at most once: linked through an array with one place a slot, so that
 * it never needs memory.
 */
#ifndef SLUICE_SERVER_CORE_SLOT_QUEUE_H
#define SLUICE_SERVER_CORE_SLOT_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#define SLOT_QUEUE_END UINT16_MAX
#define SLOT_QUEUE_OUT (UINT16_MAX - 1) /* not in the queue */

struct slot_queue {
    uint16_t *next; /* one place a slot; borrowed */
    uint16_t first, last;
};

static inline void slot_queue_init(struct slot_queue *queue, uint16_t *next, uint32_t slot_count) {
    *queue = (struct slot_queue){.next = next, .first = SLOT_QUEUE_END, .last = SLOT_QUEUE_END};
    for (uint32_t i = 0; i < slot_count; i++) {
        next[i] = SLOT_QUEUE_OUT;
    }
}

static inline bool slot_queue_empty(const struct slot_queue *queue) {
    return queue->first == SLOT_QUEUE_END;
}

static inline bool slot_queue_has(const struct slot_queue *queue, uint16_t slot) {
    return queue->next[slot] != SLOT_QUEUE_OUT;
}

/* Nothing if it is in the queue already. */
static inline void slot_queue_push(struct slot_queue *queue, uint16_t slot) {
    if (slot_queue_has(queue, slot)) {
        return;
    }
    queue->next[slot] = SLOT_QUEUE_END;
    if (slot_queue_empty(queue)) {
        queue->first = slot;
    } else {
        queue->next[queue->last] = slot;
    }
    queue->last = slot;
}

/* The queue must not be empty. */
static inline uint16_t slot_queue_pop(struct slot_queue *queue) {
    uint16_t slot = queue->first;
    queue->first = queue->next[slot];
    queue->next[slot] = SLOT_QUEUE_OUT;
    return slot;
}

#endif
