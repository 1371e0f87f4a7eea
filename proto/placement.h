/*
 * Placement: which slots should move so that every node owns its share. Pure functions of a map.
 *
 * The same rules serve an operator's rebalance, a drain and a failover: nodes have weights, a node
 * of weight 0 is to own nothing (it is drained, or dead), a node's share is split evenly over its
 * shards. Deterministic: the same map and weights give the same moves, so a job that broke off is
 * resumed by planning again.
 *
 * Guarantee: minimal by count. With loads all 1 the number of moves is the sum of what shards have
 * above their share: adding one node to n equal ones moves 1/(n+1) of the slots (rounded), removing
 * one moves its own and no other.
 */
#ifndef SLUICE_PROTO_PLACEMENT_H
#define SLUICE_PROTO_PLACEMENT_H

#include "proto/map.h"

struct placement_move {
    struct slot slot;
    struct shard_id from; /* SHARD_ID_NONE: nobody owned it */
    struct shard_id to;
};

/* What a placement is made from. */
struct placement {
    const struct map *map;
    uint32_t weights[NODES_MAX]; /* by index of the node in the map, up to WEIGHT_MAX */
    bool keeps[NODES_MAX];       /* evacuate: a node of weight 0 that keeps what it has */
};

/* With the weights that stand in the map. */
void placement_init(struct placement *placement, const struct map *map);

/* The slots that each shard should own: whole numbers that add up to the slot count, each within
 * one of its exact share. All 0 if no node has weight. */
void placement_shares(const struct placement *placement, uint32_t shares[SHARDS_MAX]);

/* The moves that bring every shard to its share. `moves` has room for the map's slot count.
 * Returns their number; 0 also if no node has weight. */
uint32_t placement_by_count(const struct placement *placement, struct placement_move *moves);

/* Moves that even out measured load instead: `loads` by slot, any unit. A slot moves only if that
 * narrows the gap between two shards; what is within 5 % of its share is left alone. But every slot
 * of a node of weight 0 moves, and every one that nobody owns, however little is asked of it. */
uint32_t placement_by_load(const struct placement *placement, const uint64_t *loads,
                           struct placement_move *moves);

/* Gives the slots of nodes of weight 0 (but for those that keep theirs), and those that nobody
 * owns, to the others; moves nothing else. This is what a failover does. */
uint32_t placement_evacuate(const struct placement *placement, struct placement_move *moves);

/* Makes the moves in the map. */
void placement_apply(struct map *map, const struct placement_move *moves, uint32_t count);

#endif
