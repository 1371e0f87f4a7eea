/*
 * When a node may take over the slots of another: a pure step, fed by heartbeats.
 *
 * A node without a lease is dead or cut off. Which of the two does not matter for safety: fences
 * keep two writers apart. It matters for calm, so a takeover is proposed only if the store has been
 * answering this node, promptly and on one connection, for OWNERSHIP_CALM leases: after a pause of
 * the store all leases have run out, and nobody is dead. A store that comes back without the tail
 * of what it had acknowledged lacks the newest leases too, however short it was away, and the
 * newest marks: who lives is to be given the time to write them again.
 * The proposal is one compare-and-set of the map: of several nodes that propose at once one wins.
 */
#ifndef SLUICE_SERVER_CORE_OWNERSHIP_H
#define SLUICE_SERVER_CORE_OWNERSHIP_H

#include "proto/placement.h"

/* Leases for which the store must have answered promptly before a takeover is proposed. */
#define OWNERSHIP_CALM 3

struct ownership {
    uint64_t lease_ttl_ns;
    uint64_t calm_since_ns; /* 0: not calm */
    uint64_t last_beat_ns;
};

void ownership_init(struct ownership *ownership, uint64_t lease_ttl_ns);

/* The next heartbeat is the first on a new connection to the store. */
void ownership_reconnected(struct ownership *ownership);

/* A heartbeat that was sent at sent_ns and took round_trip_ns (monotonic); `absent` has an entry
 * for each node of the map. Returns the number of moves (into `moves`, room for every slot) that
 * should be proposed: 0 for none. `self` is this node's index in the map, or -1. */
uint32_t ownership_beat(struct ownership *ownership, const struct map *map, int32_t self,
                        const bool *absent, uint64_t sent_ns, uint64_t round_trip_ns,
                        struct placement_move *moves);

#endif
