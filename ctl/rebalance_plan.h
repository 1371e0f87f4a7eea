/* A plan's moves as an operator sees them before they are made: a table, or a JSON document. */
#ifndef SLUICE_CTL_REBALANCE_PLAN_H
#define SLUICE_CTL_REBALANCE_PLAN_H

#include <jansson.h>

#include "ctl/cluster.h"
#include "proto/placement.h"

struct plan_view {
    const struct cluster *cluster;
    const struct placement_move *moves; /* sorted */
    uint32_t count;
    uint32_t ownerless; /* slots that no living node could hand over */
    uint32_t batch_slots;
    uint32_t throttle_slots; /* a second; 0: none */
};

void plan_view_print(const struct plan_view *view);

/* {"slots", "buckets", "expected_s", "moves": [{"from", "to", "shard", "slots": [...]}]}: a new
 * reference. */
json_t *plan_view_json(const struct plan_view *view);

/* Of all slots that move. */
uint64_t plan_view_buckets(const struct plan_view *view);

#endif
