/*
 * Makes a goal's moves, batch by batch, until none is left or somebody says stop.
 *
 *     plan --> batch --> moved ------------------> next batch, none left: plan again, DONE if empty
 *       ^          `---> OVERLOADED: the same again after a pause, a few times
 *       `--------------> MOVED, CONFLICT, UNAVAILABLE, no answer: plan again
 *
 * Nothing is kept beyond the map: what was moved is seen in it. Between batches, and at least every
 * JOB_UPDATE_MS while waiting, the job's record is written and its state looked at.
 */
#ifndef SLUICE_CTL_MOVER_H
#define SLUICE_CTL_MOVER_H

#include "ctl/batches.h"
#include "ctl/goal.h"
#include "ctl/job_link.h"
#include "ctl/progress.h"

enum mover_end {
    MOVER_DONE,
    MOVER_INTERRUPTED, /* Ctrl-C */
    MOVER_CANCELLED,   /* sluicectl rebalance cancel */
    MOVER_OVERTAKEN,   /* another operator took the job over */
    MOVER_FAILED,      /* see `failure` */
};

struct mover {
    struct cluster *cluster; /* borrowed, all three */
    const struct goal *goal;
    struct job_link *link;
    struct job job;          /* ours */
    uint32_t throttle_slots; /* a second; 0: as fast as it goes */
    uint32_t batch_slots;
    uint64_t updated_ms; /* when the record was last written, on the clock that never jumps */
    bool stop;           /* `end` is decided */
    enum mover_end end;
    char failure[512];
    struct progress progress;
    struct placement_move moves[SLOTS_MAX];
    struct batch batches[SLOTS_MAX];
};

/* Runs to an end; the record's final state is the caller's to write. */
enum mover_end mover_run(struct mover *mover);

#endif
