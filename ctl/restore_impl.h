/*
 * A restore under way: shared by restore.c (what is checked, the order of things, the report) and
 * restore_slots.c (slots closed, pieces written).
 */
#ifndef SLUICE_CTL_RESTORE_IMPL_H
#define SLUICE_CTL_RESTORE_IMPL_H

#include "ctl/backup_io.h"
#include "ctl/restore_merge.h"
#include "ctl/slot_list.h"
#include "ctl/store_cluster.h"
#include "ctl/transfer.h"

/* Pieces that are under way at a time, each in memory (1 MiB at most, as a rule a tenth). */
#define RESTORE_WORKS 16

/* Times that a piece is begun anew because somebody raised the slot's fence meanwhile. A router
 * that decides in the store does it once for each time that we raise it. */
#define RESTORE_TRIES_MAX 100

struct restore;

/* A piece on its way into the store. */
struct work {
    struct restore *restore;
    bool active;
    enum backup_kind kind;
    struct slot slot;
    uint32_t tries;
    uint8_t *memory;           /* of the pairs' bytes */
    struct backup_pair *pairs; /* BACKUP_PAIRS_MAX */
    uint32_t count;
    uint8_t (*merged)[RECORD_BYTES_MAX]; /* BACKUP_PAIRS_MAX: records that were made anew */
    char fence[24];                      /* that it was sent under */
    uint32_t outcomes[MERGE_COUNT];      /* of this try */
};

/* What an answered closing is for: a slot, and the piece that goes on with it, if any. */
struct closing {
    struct restore *restore;
    struct slot slot;
    struct work *work;
};

struct restore {
    const struct invocation *invocation;
    struct store store;
    struct store_cluster cluster;
    struct backup_in in;
    uint64_t pieces;        /* of the file */
    uint64_t taken_ms;      /* when the backup was */
    struct slot_set covers; /* what it has */
    char prefix[KEY_PREFIX_BYTES_MAX + 1];
    struct map file_map;
    struct plan_set file_plans; /* version 0: none */
    struct stored_value file_plans_value;
    const struct plan_set *plans;       /* that will be in force: the file's or the store's */
    struct slot_set slots;              /* to restore */
    uint64_t epoch;                     /* that slots are closed under */
    char fences[SLOTS_MAX][24];         /* by slot, as text */
    bool blank[SLOTS_MAX];              /* by slot: nothing was there when it was closed */
    struct closing closings[SLOTS_MAX]; /* one a slot at a time */
    struct work works[RESTORE_WORKS];
    struct transfer transfer;
    uint64_t buckets[MERGE_COUNT], keys[MERGE_COUNT]; /* what became of them */
    bool map_replaced, plans_replaced;
};

static inline bool restore_is_dry(const struct restore *restore) {
    return restore->invocation->options.dry_run;
}

/* Raises the fences of all slots to restore under restore->epoch: from then on nobody but this
 * restore writes to them, but routers that decide in the store. False with store->why. */
bool restore_slots_close(struct restore *restore);

/* Puts a piece of pairs on its way; waits for room. False with store->why. */
bool restore_piece(struct restore *restore, const struct backup_piece *piece);

/* Until nothing is under way. */
bool restore_settle(struct restore *restore);

void restore_works_init(struct restore *restore);
void restore_works_fini(struct restore *restore);

#endif
