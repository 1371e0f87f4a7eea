/*
 * Slots: the hash partitions of the key space, and the unit of ownership, storage and movement.
 *
 *     slot = XXH3_64bits(key) & (slot_count - 1)
 *
 * Pure. The number of slots is a power of two from 1 to SLOTS_MAX, fixed when a cluster is created.
 */
#ifndef SLUICE_PROTO_SLOT_H
#define SLUICE_PROTO_SLOT_H

#include "proto/bounds.h"
#include "proto/bytes.h"

struct slot {
    uint16_t index;
};

/* The hash that every program uses for keys; seed 0. */
uint64_t key_hash(struct bytes key);

static inline struct slot slot_of_hash(uint64_t hash, uint32_t slot_count) {
    return (struct slot){.index = (uint16_t)(hash & (slot_count - 1))};
}

static inline bool slot_count_valid(uint64_t count) {
    return count >= 1 && count <= SLOTS_MAX && (count & (count - 1)) == 0;
}

#endif
