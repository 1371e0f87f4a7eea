/*
 * One account for all the memory that grows: the arena's pages and the tables. What would exceed
 * bytes_max is not given. Belongs to one shard, used on its thread only.
 */
#ifndef SLUICE_SERVER_CORE_BUDGET_H
#define SLUICE_SERVER_CORE_BUDGET_H

#include <stdint.h>

#include "server/core/memory.h"

struct budget {
    struct memory memory;
    uint64_t bytes;
    uint64_t bytes_max;
};

/* Zeroed, or NULL: over the budget, or the system has none. */
static inline void *budget_get(struct budget *budget, uint64_t size) {
    if (size > budget->bytes_max - budget->bytes) {
        return NULL;
    }
    void *piece = budget->memory.get(budget->memory.ctx, size);
    if (piece != NULL) {
        budget->bytes += size;
    }
    return piece;
}

static inline void budget_put(struct budget *budget, void *piece, uint64_t size) {
    budget->bytes -= size;
    budget->memory.put(budget->memory.ctx, piece, size);
}

#endif
