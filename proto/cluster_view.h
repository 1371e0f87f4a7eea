/*
 * The result of cluster.map: what a router or client must know to send each key to its owner and
 * to answer when there is none.
 *
 *     {"map": map or nil, "policies": policies, "age_ms": ms}
 *
 * age_ms: how long ago whoever answers last heard from the store. One that is cut off from it may
 * know an old map and not know that: ask another.
 * Pure. Unknown members are skipped.
 */
#ifndef SLUICE_PROTO_CLUSTER_VIEW_H
#define SLUICE_PROTO_CLUSTER_VIEW_H

#include "proto/map.h"
#include "proto/plan.h"
#include "proto/reader.h"
#include "proto/writer.h"

/* `map` may be NULL, or of epoch 0: written as nil. */
void cluster_view_write(struct writer *writer, const struct map *map, const struct plan_set *plans,
                        uint64_t age_ms);

/* Fills both; map->epoch is 0 if the cluster has none. The plans read hold names, the default and
 * policies, and limits only if some plan lets routers decide in the store. */
enum code cluster_view_read(struct bytes value, struct map *map, struct plan_set *plans,
                            uint64_t *age_ms, struct fault *fault);

#endif
