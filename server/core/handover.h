/*
 * Handing slots over to another shard: the decisions, as a pure step. The node that owns the slots
 * drives it (server/io/handover.h is the shell).
 *
 *           start          reached           sealed            changed          beat
 *     IDLE -------> REACHING -----> SEALING ------> CHANGING -------> SETTLING ------> IDLE
 *      ^               |              |                 ^                |              ^
 *      |   timeout,    |    timeout,  |                 +----------------+              |
 *      |  not our      |  map changed |              another change came first,         |
 *      |  cluster's    |              |              the slots are still ours           |
 *      +---------------+              |                                                 |
 *      +------------------------------+                 (moved or not: the map tells) --+
 *
 *     REACHING  is the target's node there at all, and is it of this cluster?
 *     SEALING   our shards decide nothing on the slots and write what they have
 *     CHANGING  the map that gives the slots to the target is proposed (compare-and-set)
 *     SETTLING  a heartbeat sent after that shows which map is in force; if another change of the
 *               map came first and the slots are still ours, the next is proposed (CHANGING again);
 *               so it is if none did, for what was proposed may still come to the store. If several
 *               came first the slots may have gone and come back, so they are sealed again
 * (SEALING)
 *
 * Any failure unseals, and the slots stay where they were. What happened is read from the map in
 * force, never guessed: when the outcome of the change is unknown the slots stay sealed until a
 * heartbeat tells. A crash at any point leaves the old map or the new one: one owner. If the map in
 * force is newer than the proposed one and gives the slots to this node, they may have been away
 * and back between two heartbeats (unless the proposal is known to have lost): then they are read
 * anew instead of unsealed.
 *
 * Bound: slots are sealed for at most HANDOVER_SEAL_NS, and HANDOVER_PROPOSALS_MAX times a change
 * and a heartbeat; without other changes of the map, once.
 */
#ifndef SLUICE_SERVER_CORE_HANDOVER_H
#define SLUICE_SERVER_CORE_HANDOVER_H

#include "proto/map.h"

/* Time for the target's node to answer at all; and for our shards to write what sealed slots have,
 * well below the 250 ms that a caller waits by default. */
#define HANDOVER_REACH_NS UINT64_C(2000000000)
#define HANDOVER_SEAL_NS UINT64_C(100000000)

/* Slots of one handover: enough to move a cluster in few rounds, few enough that sealing, loading
 * and answering stay within a caller's deadline. */
#define HANDOVER_SLOTS_MAX 64

/* Proposals of one handover. Others may change the map at the same time, and one change wins each
 * time; so many losses in a row mean that something else is wrong. */
#define HANDOVER_PROPOSALS_MAX 8

enum handover_state {
    HANDOVER_IDLE,
    HANDOVER_REACHING,
    HANDOVER_SEALING,
    HANDOVER_CHANGING,
    HANDOVER_SETTLING,
};

struct handover {
    enum handover_state state;
    struct name self;
    uint64_t turn; /* which handover this is; answers to earlier ones are ignored */
    struct slot slots[HANDOVER_SLOTS_MAX];
    uint32_t slot_count;
    struct name target_node;
    uint32_t target_number;
    uint32_t shards_outstanding; /* of ours, that have not yet said that they are sealed */
    uint64_t sealed_at_ns;
    uint64_t deadline_ns; /* REACHING, SEALING */
    uint32_t proposals;
    struct epoch proposed; /* CHANGING, SETTLING: of the map that gives the slots away */
    bool lost;             /* SETTLING: that map is known never to have been in force */
    bool passed;           /* several maps came before one that was proposed: the slots may have
                              been away */
    bool doubted;        /* of a map proposed before it, to follow the same one, nothing is known */
    uint64_t settles_at; /* SETTLING: the number of the first heartbeat that can tell */
};

enum handover_event_kind {
    HANDOVER_EVENT_REACHED, /* the target's node answered, and is what the map says */
    HANDOVER_EVENT_REFUSED, /* it is not: `fault` says what it is instead */
    HANDOVER_EVENT_SEALED,  /* one of our shards has written everything sealed (`turn`) */
    HANDOVER_EVENT_CHANGED, /* the change was answered, whatever the answer; `beat` is the number of
                               the first heartbeat sent from now on */
    HANDOVER_EVENT_BEAT,    /* heartbeat `beat` was answered, and `map` is what it found */
    HANDOVER_EVENT_TIME,    /* look at the deadline */
};

struct handover_event {
    enum handover_event_kind kind;
    uint64_t now_ns;       /* monotonic */
    const struct map *map; /* in force as far as this node knows; borrowed */
    uint64_t turn, beat;
    bool lost;                 /* CHANGED: another change came first, for certain */
    const struct fault *fault; /* REFUSED; borrowed */
};

/* What a node that is asked for it says of itself. Older versions leave members out: 0, empty. */
struct handover_peer {
    struct name node;
    struct cluster_id cluster;
    uint64_t slots;      /* of the map that it has; 0: none yet */
    uint64_t map_format; /* the newest that it reads */
    struct bytes version;
};

/* What is to be done now, in this order. */
struct handover_update {
    bool reach;   /* open a link to the target's control endpoint (it is another node) */
    bool seal;    /* seal exactly the slots, on each of our shards that owns any */
    bool unseal;  /* seal nothing any more, on every shard of ours */
    bool reload;  /* with unseal: others may have owned the slots, so those start over */
    bool change;  /* propose `*next` */
    bool refresh; /* tell the target that a newer map is in force */
    bool done;    /* over: `fault.code` is CODE_OK if the slots are the target's now */
    struct fault fault;
    uint64_t sealed_ns;   /* how long they were sealed */
    uint64_t deadline_ns; /* when a TIME event is wanted; 0: none */
};

/* CODE_OK if slots may be handed over to that node: it is the node that the handover wants, of the
 * cluster of `map`, with as many slots, and reads its format; else CONFLICT with what it is. */
enum code handover_check_peer(const struct handover *handover, const struct map *map,
                              uint64_t map_format, const struct handover_peer *peer,
                              struct fault *fault);

void handover_init(struct handover *handover, struct bytes self);

const char *handover_state_name(enum handover_state state);

/* Starts one: `slots` (1 to HANDOVER_SLOTS_MAX, all of this node's by `map`) are to go to `target`,
 * a shard of the map. CODE_OK and an update, or OVERLOADED if one is under way. */
enum code handover_start(struct handover *handover, const struct map *map, const struct slot *slots,
                         uint32_t count, struct shard_id target, uint64_t now_ns,
                         struct handover_update *update);

/* Events that do not fit the state are ignored. `next` has room for a map. */
void handover_step(struct handover *handover, const struct handover_event *event, struct map *next,
                   struct handover_update *update);

#endif
