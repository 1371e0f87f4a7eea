/*
 * Takes that waited at the router while slots moved: how many, and for how long, from what the
 * router at --router tells of itself. One thread.
 *
 * Where no router answers nothing is known, and nothing is said of it. Each look takes
 * PARKED_ANSWER_MS at most, and the first that fails is the last.
 */
#ifndef SLUICE_CTL_PARKED_H
#define SLUICE_CTL_PARKED_H

#include <jansson.h>

#include "ctl/command.h"
#include "proto/map.h"

/* Milliseconds that a router may take to answer: it does at once, and slots wait for nobody. */
#define PARKED_ANSWER_MS 250

/* Milliseconds between two looks. Arbitrary, but safe: a look is one small request. */
#define PARKED_LOOK_MS 500

/* Steps of the router's scale: it has 192 (router/core/histogram.h); more are left out. */
#define PARKED_STEPS_MAX 256

/* What a router counts since its start. */
struct parked_counts {
    struct cluster_id cluster;
    uint64_t takes, waiting; /* that had to wait; that wait now */
    uint32_t count;
    struct {
        uint64_t at_most_us, takes;
    } steps[PARKED_STEPS_MAX];
};

struct parked {
    const struct settings *settings;
    bool known; /* a router has answered all the time */
    uint64_t looked_ms;
    struct parked_counts start, now;
    /* From parked_start to the last look; times are at most an eighth too large. */
    uint64_t takes, median_us, longest_us;
};

/* `cluster`: whose router it must be; another's is named on stderr, and not asked again. */
void parked_start(struct parked *parked, const struct settings *settings,
                  const struct cluster_id *cluster);

/* Looks, if it is time to. */
void parked_look(struct parked *parked);

/* The last look: waits a moment for takes that are still parked. */
void parked_finish(struct parked *parked);

/* Reads the result of a router's cluster.status; false if that is of something else. */
bool parked_counts_read(const json_t *status, struct parked_counts *counts);

/* What was added since `start`; everything, if the router has started anew. */
void parked_since(struct parked *parked);

#endif
