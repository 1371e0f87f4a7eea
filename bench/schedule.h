/*
 * When requests are due in an open loop: at a rate, evenly spaced or as a Poisson process, with
 * bursts in which the rate is a multiple for the first part of each period. Pure; a seed replays
 * exactly. What is due does not depend on what was answered: that is what "open" means.
 */
#ifndef SLUICE_BENCH_SCHEDULE_H
#define SLUICE_BENCH_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

struct schedule {
    double per_ns;      /* requests, outside of bursts; > 0 */
    bool even;          /* equal gaps instead of random ones */
    double factor;      /* the rate's multiple within a burst; 1: there are none */
    uint64_t every_ns;  /* from the begin of one burst to the next */
    uint64_t length_ns; /* of a burst; below every_ns */
    uint64_t random;
    double now_ns;
};

/* Nanoseconds from the start to the next request, never less than the time before. */
uint64_t schedule_next(struct schedule *schedule);

/* Requests due in the first `ns` nanoseconds, on average. */
double schedule_expected(const struct schedule *schedule, uint64_t ns);

#endif
