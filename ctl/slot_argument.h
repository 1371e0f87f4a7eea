/*
 * Slots and shards as they stand on the command line: "17", "0-63", "n2", "n2/1".
 *
 * Pure. What is read borrows from the text.
 */
#ifndef SLUICE_CTL_SLOT_ARGUMENT_H
#define SLUICE_CTL_SLOT_ARGUMENT_H

#include "proto/map.h"

struct slot_range {
    uint32_t first, last; /* both of it; first <= last < SLOTS_MAX */
};

/* False if the text is no slot and no range of slots. */
bool slot_range_parse(const char *text, struct slot_range *range);

/* A node, or one shard of it. */
struct shard_name {
    struct bytes node;
    bool has_number;
    uint32_t number;
};

/* False if the text is no node's id, or what follows the slash no number. */
bool shard_name_parse(const char *text, struct shard_name *name);

/* Slots in ascending order as runs, "0-341, 1000"; cut with "..." where they do not fit. */
void slot_runs_write(const struct slot *slots, uint32_t count, char *out, uint32_t capacity);

#endif
