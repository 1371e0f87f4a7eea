/*
 * The cluster clock: monotonic time plus an offset measured against the store's clock (Redis TIME).
 *
 * Pure but for clock_monotonic_ns. The caller measures: it notes monotonic time before and after
 * asking the store, and feeds the three readings in. Of CLOCK_WINDOW samples the one with the
 * shortest round trip counts. It sets the offset until the clock is first read. From then on the
 * offset moves toward it by at most CLOCK_SLEW_PPM, so that time never runs backward and never
 * jumps.
 *
 * Guarantee: clock_now_ns(c, t) >= clock_now_ns(c, s) for t >= s, whatever samples came between.
 * Error of a reading: at most half the best round trip, plus what is still to be slewed.
 */
#ifndef SLUICE_RUNTIME_CLOCK_H
#define SLUICE_RUNTIME_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

/* Samples of which the best counts. Arbitrary: enough to dodge one slow round trip. */
#define CLOCK_WINDOW 8

/* Parts per million by which the offset may move: what NTP daemons use. */
#define CLOCK_SLEW_PPM 500

struct clock_sample {
    uint64_t before_ns, after_ns; /* monotonic, around the question */
    uint64_t store_ns;            /* the store's answer, since the epoch */
};

struct cluster_clock {
    bool set;
    int64_t offset_ns;        /* store - monotonic, as used */
    int64_t target_offset_ns; /* as measured */
    uint64_t slewed_at_ns;    /* monotonic time up to which the slew was applied */
    uint64_t error_ns;        /* half the round trip of the sample in use */
    uint64_t newest_ns;       /* the newest reading given out */
    uint32_t sample_count;
    struct clock_sample window[CLOCK_WINDOW];
};

/* Monotonic nanoseconds of this machine (CLOCK_MONOTONIC). Any thread. */
uint64_t clock_monotonic_ns(void);

void clock_init(struct cluster_clock *clock);

/* Feeds a sample. False if it makes no sense (after before before) and was not used. */
bool clock_sample_add(struct cluster_clock *clock, const struct clock_sample *sample);

/* Cluster time in ns since the epoch at the monotonic time given. Asserts that a sample was fed. */
uint64_t clock_now_ns(struct cluster_clock *clock, uint64_t monotonic_ns);

/* What a reading may be wrong by, in ns: half the best round trip + the slew still open. */
uint64_t clock_error_ns(const struct cluster_clock *clock);

#endif
