/*
 * The store of one shard: performs the shard's operations in Redis and brings the answers back as
 * the shard's own events.
 *
 * Belongs to the shard's loop. One connection. Operations are performed in the order given; each
 * gets exactly one STORED event (FAILED when the link is or goes down), never within store_perform
 * itself, always before the STORE event that says the link is down.
 *
 * STORED_OK means what `ack` says: a write whose acknowledgement by disk or replicas has not come
 * within STORE_ACK_MS is FAILED. A server that cannot keep the promise counts as away, and is asked
 * again each second.
 */
#ifndef SLUICE_SERVER_IO_STORE_H
#define SLUICE_SERVER_IO_STORE_H

#include <uv.h>

#include "proto/map.h"
#include "runtime/clock.h"
#include "runtime/log.h"
#include "runtime/redis_link.h"
#include "server/core/shard.h"
#include "server/io/ack.h"

/* Nanoseconds between two readings of the store's clock. */
#define STORE_CLOCK_INTERVAL_MS 1000

/* Milliseconds that a disk or a replica may take to acknowledge: above the pauses of healthy ones,
 * below the time (REDIS_COMMAND_MS) after which the link would be taken for dead. */
#define STORE_ACK_MS 1000

/* Entries asked for in one page while loading: half a millisecond of Redis's time, and less of the
 * shard's. That is how long others wait behind it; larger ones are hardly cheaper (decision 0027).
 */
#define STORE_PAGE_ENTRIES "1000"

struct store;

/* Borrowed for the store's life. */
struct store_options {
    const struct redis_access *access;
    const char *prefix;
    struct ack ack;
    const char *incarnation; /* of the process */
    uint32_t shard;          /* its number there */
    const struct log *log;   /* copied */
};

struct store_handler {
    void *ctx;
    /* STORED and STORE events; now_ns is left for the handler to fill. */
    void (*on_event)(void *ctx, struct shard_event *event);
    void (*on_clock)(void *ctx, const struct clock_sample *sample);
};

/* NULL: no memory. Starts connecting. */
struct store *store_open(uv_loop_t *loop, const struct store_options *options,
                         const struct store_handler *handler);

/* `epoch` is that of the map by which the shard owns the slot. */
void store_perform(struct store *store, const struct shard_op *op, struct epoch epoch);

/* Brings the FAILED events that performing left behind; called by the loop after each update. */
void store_turn(struct store *store);

bool store_is_up(const struct store *store);

/* No event comes any more. Freed from the loop. */
void store_close(struct store *store);

#endif
