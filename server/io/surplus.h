/*
 * Giving away what this node owns above its share, batch by batch, to the shards that lack it: how
 * a node drains itself before a planned stop, and how it follows the weights of the map by itself
 * when auto_rebalance is on. Belongs to the node's loop.
 */
#ifndef SLUICE_SERVER_IO_SURPLUS_H
#define SLUICE_SERVER_IO_SURPLUS_H

#include "server/io/handover_shell.h"

struct surplus {
    struct log log;
    const char *node_id;
    struct membership *membership;
    struct handover_shell *handover;
    struct name absent[NODES_MAX]; /* without a lease at the last heartbeat: no targets */
    uint32_t absent_count;
    bool draining;     /* this node's share is nothing, whatever the map says */
    uint32_t failures; /* in a row */
    void (*on_drained)(void *ctx, bool empty); /* called once after surplus_drain */
    void *ctx;
};

/* Handovers that may fail in a row before a drain gives up. */
#define SURPLUS_FAILURES_MAX 5

void surplus_init(struct surplus *surplus, const char *node_id, const struct log *log,
                  struct membership *membership, struct handover_shell *handover);

/* Starts to give everything away; `on_drained` says whether nothing is left. */
void surplus_drain(struct surplus *surplus, void (*on_drained)(void *ctx, bool empty), void *ctx);

/* Ends a drain where it is, with on_drained. False: none is under way. */
bool surplus_give_up(struct surplus *surplus);

/* Keeps who is absent. Called at each heartbeat. */
void surplus_on_beat(struct surplus *surplus, const struct beat *beat);

/* Gives away the next batch, if there is any and no handover is under way. */
void surplus_step(struct surplus *surplus);

#endif
