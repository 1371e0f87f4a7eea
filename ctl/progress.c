#include "ctl/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "ctl/cluster.h"
#include "ctl/out.h"

/* Milliseconds between two looks: on a terminal fluent, in a log file not too many. */
#define LIVE_MS 100
#define LINE_MS 2000

/* Characters of the bar. */
#define BAR_MAX 20

uint32_t terminal_columns(void) {
    struct winsize size;
    const char *columns = getenv("COLUMNS");
    if (isatty(STDOUT_FILENO) && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
        return size.ws_col;
    }
    long given = columns == NULL ? 0 : strtol(columns, NULL, 10);
    return given > 0 && given < 1000 ? (uint32_t)given : 80;
}

void progress_start(struct progress *progress, const struct settings *settings,
                    const struct cluster_id *cluster) {
    progress->settings = settings;
    progress->live = !settings->json && isatty(STDOUT_FILENO);
    parked_start(&progress->parked, settings, cluster);
    progress->started_ms = time_monotonic_ms();
    progress->shown_ms = progress->live ? 0 : progress->started_ms;
}

void progress_end(struct progress *progress) {
    progress->ended_ms = time_monotonic_ms();
    parked_finish(&progress->parked);
}

void progress_batch(struct progress *progress, uint32_t slots, uint64_t buckets,
                    uint64_t sealed_us) {
    progress->done_slots += slots;
    progress->done_buckets += buckets;
    progress->longest_us = sealed_us > progress->longest_us ? sealed_us : progress->longest_us;
    if (progress->pause_count < PAUSES_MAX) {
        progress->pauses_us[progress->pause_count++] = sealed_us;
    }
}

static int pause_order(const void *left, const void *right) {
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

uint64_t progress_median_us(const struct progress *progress) {
    uint64_t median = 0;
    uint64_t *sorted = out_needed(malloc(sizeof progress->pauses_us));
    if (progress->pause_count > 0) {
        memcpy(sorted, progress->pauses_us, progress->pause_count * sizeof *sorted);
        qsort(sorted, progress->pause_count, sizeof *sorted, pause_order);
        median = sorted[(progress->pause_count - 1) / 2];
    }
    free(sorted);
    return median;
}

double progress_seconds(const struct progress *progress) {
    uint64_t now_ms = progress->ended_ms != 0 ? progress->ended_ms : time_monotonic_ms();
    return (double)(now_ms - progress->started_ms) / 1e3;
}

static void bar_write(const struct progress *progress, char out[BAR_MAX + 1]) {
    uint32_t full =
        progress->total_slots == 0
            ? BAR_MAX
            : (uint32_t)((uint64_t)BAR_MAX * progress->done_slots / progress->total_slots);
    for (uint32_t i = 0; i < BAR_MAX; i++) {
        out[i] = i < full ? '#' : '.';
    }
    out[BAR_MAX] = '\0';
}

static void text_write(const struct progress *progress, char *out, size_t capacity) {
    double seconds = progress_seconds(progress);
    double rate = seconds > 0 ? progress->done_slots / seconds : 0;
    uint32_t left = progress->total_slots - progress->done_slots;
    char time_left[24] = "-", parked[64] = "";
    if (rate > 0) {
        snprintf(time_left, sizeof time_left, "%.1f s", left / rate);
    }
    if (progress->parked.known) {
        snprintf(parked, sizeof parked, ", %" PRIu64 " takes parked, longest %.1f ms",
                 progress->parked.takes, (double)progress->parked.longest_us / 1e3);
    }
    /* What matters most first: a narrow terminal cuts the end off. */
    snprintf(out, capacity,
             "%u/%u slots, %s left, pause %.1f ms, longest %.1f ms%s, %.0f slots/s, %" PRIu64
             "/%" PRIu64 " buckets",
             progress->done_slots, progress->total_slots, time_left,
             (double)progress_median_us(progress) / 1e3, (double)progress->longest_us / 1e3, parked,
             rate, progress->done_buckets, progress->total_buckets);
}

void progress_show(struct progress *progress, bool always) {
    uint64_t now_ms = time_monotonic_ms();
    uint64_t every_ms = progress->live ? LIVE_MS : LINE_MS;
    if (progress->settings->json || (!always && now_ms - progress->shown_ms < every_ms)) {
        return;
    }
    char bar[BAR_MAX + 1], text[256];
    progress->shown_ms = now_ms;
    parked_look(&progress->parked);
    text_write(progress, text, sizeof text);
    if (progress->live) {
        uint32_t columns = terminal_columns();
        bool has_bar = columns > BAR_MAX + 40;
        bar_write(progress, bar);
        int room = (int)columns - 1 - (has_bar ? BAR_MAX + 3 : 0);
        printf("\r\033[K%s%s%s%.*s", has_bar ? "[" : "", has_bar ? bar : "", has_bar ? "] " : "",
               room, text);
    } else {
        printf("%s\n", text);
    }
    fflush(stdout);
}

void progress_clear(const struct progress *progress) {
    if (progress->live) {
        printf("\r\033[K");
        fflush(stdout);
    }
}
