/*
 * How far a backup or a restore is: a bar on a terminal, a line every few seconds elsewhere,
 * nothing with --json. On standard error, since the backup itself may go to standard output. One
 * thread.
 */
#ifndef SLUICE_CTL_TRANSFER_H
#define SLUICE_CTL_TRANSFER_H

#include "ctl/command.h"

struct transfer {
    const struct settings *settings;
    const char *verb; /* "backing up" */
    const char *unit; /* what `done` and `total` count: "slots" */
    bool live;        /* a bar, drawn over itself */
    uint64_t started_ms, shown_ms;
    uint64_t done, total;
    uint64_t buckets;
};

void transfer_start(struct transfer *transfer, const struct settings *settings, const char *verb,
                    const char *unit, uint64_t total);

/* Shows where things are, if it is time to. */
void transfer_show(struct transfer *transfer);

/* Takes the bar away, so that something else may be printed. */
void transfer_end(const struct transfer *transfer);

double transfer_seconds(const struct transfer *transfer);

#endif
