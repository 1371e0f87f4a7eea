/*
 * A record from a backup beside the one that the store has for the same key. Pure.
 *
 * What is written is never fuller than either: for each limit, tat >= the file's and tat >= the
 * store's, with tokens spent staying spent where the two are under other terms.
 */
#ifndef SLUICE_CTL_RESTORE_MERGE_H
#define SLUICE_CTL_RESTORE_MERGE_H

#include "proto/plan.h"
#include "proto/record.h"

enum merge {
    MERGE_NEW,    /* the store has none: the file's, as it is */
    MERGE_RAISED, /* the file's has spent more, in one limit at least */
    MERGE_SAME,   /* the store's has spent as much or more: it stays */
    MERGE_KEPT,   /* they cannot be compared: the store's stays, being the newer */
};
#define MERGE_COUNT (MERGE_KEPT + 1)

/* `held` is empty (data NULL) if the store has none. RAISED: `out` gets the record to write, and
 * `size` its size. Plans convert what is under other terms; now_ns is the store's time. */
enum merge restore_merge(const struct plan_set *plans, uint64_t now_ns, struct bytes kept,
                         struct bytes held, uint8_t out[RECORD_BYTES_MAX], uint32_t *size);

#endif
