/*
 * Handing slots over to another shard, driven by the node that owns them.
 *
 *     IDLE --> REACHING ---> SEALING ----> CHANGING ----> SETTLING --> IDLE
 *               target's      our shards    the map is     a heartbeat sent after
 *               control       write what    replaced       the change shows which map
 *               endpoint      they have     (CAS)          is in force
 *               answers
 *
 * One at a time, on the node's loop. Any failure on the way unseals, and the slots stay where they
 * were; what happened is read from the map that is in force, never guessed: when the outcome of the
 * change is unknown the slots stay sealed until a heartbeat tells. A crash at any point leaves
 * either the old map or the new one, so one owner.
 *
 * Bound: a slot is sealed for at most HANDOVER_SEAL_MS, the round trips to Redis of the change and
 * of a heartbeat, and the target's loading of it.
 */
#ifndef SLUICE_SERVER_IO_HANDOVER_H
#define SLUICE_SERVER_IO_HANDOVER_H

#include "runtime/log.h"
#include "server/io/membership.h"
#include "server/io/shard_loop.h"

/* Milliseconds for the target to answer at all, and for our shards to write what sealed slots have:
 * well below the 250 ms that a caller waits by default. */
#define HANDOVER_REACH_MS 2000
#define HANDOVER_SEAL_MS 100

/* Slots of one handover: enough to move a cluster in few rounds, few enough that sealing, loading
 * and answering stay within a caller's deadline. */
#define HANDOVER_SLOTS_MAX 64

struct handover;

struct handover_options {
    const struct node_settings *settings;
    const struct log *log;
    struct membership *membership;
    struct shard_loop **shards; /* borrowed for the handover's life */
    uint32_t shard_count;
};

struct handover *handover_open(uv_loop_t *loop, const struct handover_options *options);

/* The outcome: CODE_OK (all slots belong to the target), or an error with its text. `sealed_ns` is
 * how long the slots were sealed. */
typedef void (*handover_done_fn)(void *ctx, const struct fault *fault, uint64_t sealed_ns);

/* Hands the slots, all of them this node's, to a shard of the map (any node's, this one's too).
 * CODE_OK: started, and `done` will be called from the loop. Else the fault: OVERLOADED if one is
 * under way. */
enum code handover_start(struct handover *handover, const struct slot *slots, uint32_t count,
                         struct shard_id target, handover_done_fn done, void *ctx,
                         struct fault *fault);

bool handover_busy(const struct handover *handover);

/* From the node: a shard has sealed; a heartbeat has come. */
void handover_on_sealed(struct handover *handover, const struct node_message *message);
void handover_on_beat(struct handover *handover, const struct beat *beat);

/* Calls an owed `done` with UNAVAILABLE. Freed from the loop. */
void handover_close(struct handover *handover);

#endif
