/*
 * A plan's moves cut into batches that one handover can take: one source node, one target shard.
 *
 * Pure. Sources take turns, so that no node hands over batch after batch while others wait.
 */
#ifndef SLUICE_CTL_BATCHES_H
#define SLUICE_CTL_BATCHES_H

#include "proto/placement.h"

/* Slots that a node hands over at once: what slots.move takes. */
#define BATCH_SLOTS_MAX 64

struct batch {
    uint32_t node;      /* the source's index in the map */
    struct shard_id to; /* the target */
    uint32_t first;     /* of the sorted moves */
    uint32_t count;
    uint32_t turn; /* which batch of its source, from 0 */
};

/* Sorts the moves by source node, target shard and slot. All of them have an owner. */
void moves_sort(const struct map *map, struct placement_move *moves, uint32_t count);

/* How many of the sorted moves from `first` on have the same source node and target shard. */
uint32_t moves_alike(const struct map *map, const struct placement_move *moves, uint32_t count,
                     uint32_t first);

/* Cuts sorted moves into batches of at most `most` slots (1 to BATCH_SLOTS_MAX), in the order in
 * which to make them. `batches` has room for `count`. Returns their number. */
uint32_t batches_make(const struct map *map, const struct placement_move *moves, uint32_t count,
                      uint32_t most, struct batch *batches);

#endif
