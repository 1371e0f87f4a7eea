/*
 * What the cluster has agreed on, as one node last read it from the store: the map and the plans.
 *
 * Immutable once published, and shared by the node's threads: each holder has a reference, the
 * last one frees. A newer state replaces it whole.
 */
#ifndef SLUICE_SERVER_IO_CLUSTER_STATE_H
#define SLUICE_SERVER_IO_CLUSTER_STATE_H

#include <stdatomic.h>

#include "proto/map.h"
#include "proto/plan.h"

struct cluster_state {
    atomic_uint references;
    struct map map;        /* epoch 0: none yet */
    struct plan_set plans; /* version 0: none yet */
};

/* One reference, map and plans empty. NULL: no memory. */
struct cluster_state *cluster_state_create(void);

/* A copy with one reference, to be changed before it is published. NULL: no memory. */
struct cluster_state *cluster_state_copy(const struct cluster_state *from);

struct cluster_state *cluster_state_hold(struct cluster_state *state);
void cluster_state_release(struct cluster_state *state); /* NULL is fine */

#endif
