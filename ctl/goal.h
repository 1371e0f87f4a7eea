/*
 * What a job wants of the map, and the moves that get there from the map of the moment. Plans are
 * made anew from each map, so a job that broke off goes on wherever it was.
 */
#ifndef SLUICE_CTL_GOAL_H
#define SLUICE_CTL_GOAL_H

#include "ctl/cluster.h"
#include "ctl/slot_argument.h"
#include "proto/placement.h"

enum goal_kind {
    GOAL_SLOTS, /* every shard has its share of the slots */
    GOAL_LOAD,  /* every shard has its share of the takes */
    GOAL_DRAIN, /* one node has none */
    GOAL_MOVE,  /* some slots belong to one node, or one shard */
};

struct goal {
    enum goal_kind kind;
    const char *node;        /* DRAIN */
    struct slot_range range; /* MOVE */
    struct shard_name target;
    uint64_t loads[SLOTS_MAX]; /* LOAD: goal_measure */
};

/* Takes of each slot within `span_ms`, in thousandths; a slot without any counts 1. */
void goal_measure(struct goal *goal, struct cluster *cluster, uint64_t span_ms);

/* False, with the refusal printed, if the goal cannot be: unknown node or shard, a target that is
 * not alive, a slot out of range, the last node to be drained. */
bool goal_check(const struct goal *goal, const struct cluster *cluster);

/* MOVE: its node is in the map and alive. Of other goals always true: they choose targets. */
bool goal_target_alive(const struct goal *goal, const struct cluster *cluster);

/* The moves to make, sorted (moves_sort); `moves` has room for SLOTS_MAX. `ownerless` gets how many
 * slots nobody alive owns, who could hand them over: the cluster gives them away itself. */
uint32_t goal_plan(const struct goal *goal, const struct cluster *cluster,
                   struct placement_move *moves, uint32_t *ownerless);

/* In a few words: "slots", "load", "drain n2", "move 0-63 to n2". */
void goal_write(const struct goal *goal, char *out, size_t capacity);

#endif
