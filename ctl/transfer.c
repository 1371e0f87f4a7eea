#include "ctl/transfer.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "ctl/cluster.h"

/* Milliseconds between two looks: on a terminal fluent, in a log file not too many. */
#define LIVE_MS 100
#define LINE_MS 2000

/* Characters of the bar. */
#define BAR_MAX 24

void transfer_start(struct transfer *transfer, const struct settings *settings, const char *verb,
                    const char *unit, uint64_t total) {
    *transfer = (struct transfer){.settings = settings, .verb = verb, .unit = unit, .total = total};
    transfer->live = !settings->json && isatty(STDERR_FILENO);
    transfer->started_ms = time_monotonic_ms();
    transfer->shown_ms = transfer->live ? 0 : transfer->started_ms;
}

double transfer_seconds(const struct transfer *transfer) {
    return (double)(time_monotonic_ms() - transfer->started_ms) / 1e3;
}

void transfer_show(struct transfer *transfer) {
    uint64_t now_ms = time_monotonic_ms();
    if (transfer->settings->json ||
        now_ms - transfer->shown_ms < (transfer->live ? LIVE_MS : LINE_MS)) {
        return;
    }
    transfer->shown_ms = now_ms;
    double seconds = transfer_seconds(transfer);
    uint64_t total = transfer->total > 0 ? transfer->total : 1;
    char bar[BAR_MAX + 1];
    for (uint64_t i = 0; i < BAR_MAX; i++) {
        bar[i] = i < BAR_MAX * transfer->done / total ? '#' : '.';
    }
    bar[BAR_MAX] = '\0';
    fprintf(stderr, "%s%s [%s] %" PRIu64 "/%" PRIu64 " %s, %" PRIu64 " buckets, %.0f/s%s",
            transfer->live ? "\r\033[K" : "", transfer->verb, bar, transfer->done, transfer->total,
            transfer->unit, transfer->buckets,
            seconds > 0 ? (double)transfer->buckets / seconds : 0, transfer->live ? "" : "\n");
    fflush(stderr);
}

void transfer_end(const struct transfer *transfer) {
    if (transfer->live) {
        fprintf(stderr, "\r\033[K");
        fflush(stderr);
    }
}
