/*
 * How wrong nodes say their clocks may be while a load runs: the worst that any of them said.
 *
 * A process of its own asks them once a second by sluicectl, so that the load's loop is not
 * disturbed. A shard's clock may have been off by that much either way, so between two grants it
 * may have gained twice of it.
 */
#ifndef SLUICE_BENCH_CLOCK_WATCH_H
#define SLUICE_BENCH_CLOCK_WATCH_H

#include "bench/servers.h"

/* Nodes that are watched. */
#define CLOCK_WATCH_NODES_MAX 4

struct clock_watch {
    struct servers *servers;                                     /* borrowed */
    char control_urls[CLOCK_WATCH_NODES_MAX][SERVER_PATH_BYTES]; /* the caller's */
    uint32_t count;                                              /* the caller's; 0: none */
    pid_t pid;
    uint64_t *worst_ns; /* shared with the process */
};

/* Asks once, and goes on asking. False: no memory or no process. */
bool clock_watch_start(struct clock_watch *watch);

/* Asks once more, ends the process, and returns what all that was told allows for: twice the worst
 * error, ns. */
uint64_t clock_watch_stop(struct clock_watch *watch);

#endif
