/*
 * What a router tells of itself: the results of cluster.status and cluster.map.
 *
 * A router of several loops (router/io/loops.h) answers cluster.status with the sum of all of them:
 * a status is a value that goes round, and each loop adds its own figures to it.
 */
#ifndef SLUICE_ROUTER_IO_STATUS_H
#define SLUICE_ROUTER_IO_STATUS_H

#include "proto/writer.h"
#include "router/core/router.h"
#include "runtime/endpoint.h"

/* Loops of one router. Arbitrary, but safe: far more than the processors of most machines. */
#define ROUTER_LOOPS_MAX 64

struct router_shell;

struct status_link {
    struct endpoint_name endpoint;
    bool up;              /* on every loop that has it */
    uint64_t outstanding; /* batches, on all loops */
};

struct status_loop {
    uint64_t connections_open, requests, takes;
};

/* All zero: of no loop yet. */
struct status {
    uint32_t loop_count;
    struct status_loop loops[ROUTER_LOOPS_MAX];
    uint64_t epoch, slots, plans_version; /* the oldest of any loop */
    struct cluster_id cluster;
    struct router_counters counters; /* sums */
    bool store_wanted, store_up;     /* --redis is given; it can be asked, on every loop */
    struct histogram parked_us, fallback_us;
    uint64_t requests_bad, map_polls;
    struct endpoint_counters doors; /* sums, but for connections_open: that is each loop's */
    uint32_t link_count, link_capacity;
    struct status_link *links;
};

/* Who asked, to be answered when the status has been everywhere. */
struct status_asker {
    uint32_t door_endpoint;
    struct endpoint_caller caller;
    uint32_t msgid;
};

/* Adds the figures of one more loop. False: no memory; the links are not complete. */
bool status_add(struct status *status, const struct router_shell *shell);
void status_fini(struct status *status);

/* {"program", "version", "epoch", "slots", "plans_version", "loops", "links", "counters",
 * "parked_us", "fallback_us", "store", "cluster"} */
void status_write(const struct status *status, struct writer *writer);

/* The view as it was learned; false, and nothing written, if there is none yet. */
bool status_view_write(const struct router_shell *shell, struct writer *writer);

#endif
