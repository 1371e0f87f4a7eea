/*
 * What a rebalance shows while it runs: a bar on a terminal, a line every few seconds elsewhere,
 * nothing with --json. One thread.
 */
#ifndef SLUICE_CTL_PROGRESS_H
#define SLUICE_CTL_PROGRESS_H

#include "ctl/parked.h"

/* Pauses that the median is taken of: one a batch, and every slot may be a batch of its own. */
#define PAUSES_MAX 16384

struct progress {
    const struct settings *settings;
    bool live;                     /* a bar, drawn over itself */
    uint64_t started_ms, ended_ms; /* ended: 0 until then */
    uint64_t shown_ms;
    uint32_t total_slots, done_slots;
    uint64_t total_buckets, done_buckets;
    uint32_t pause_count;
    uint64_t longest_us;
    struct parked parked;
    uint64_t pauses_us[PAUSES_MAX];
};

void progress_start(struct progress *progress, const struct settings *settings,
                    const struct cluster_id *cluster);

/* A batch has moved, and its slots were sealed that long. */
void progress_batch(struct progress *progress, uint32_t slots, uint64_t buckets,
                    uint64_t sealed_us);

/* No more batches come: the clock stops, and what is still parked is waited for. */
void progress_end(struct progress *progress);

/* Shows where things are, if it is time to; `always` on the last look. */
void progress_show(struct progress *progress, bool always);

/* Takes the bar away, so that something else may be printed. */
void progress_clear(const struct progress *progress);

uint64_t progress_median_us(const struct progress *progress);
double progress_seconds(const struct progress *progress);

/* Columns of the terminal on standard output; 80 if it is none. */
uint32_t terminal_columns(void);

#endif
