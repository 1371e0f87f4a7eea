/*
 * The cluster clock: monotonic time plus an offset measured against the store's clock (Redis TIME).
 *
 * Pure but for clock_monotonic_ns. The caller measures: it notes monotonic time before and after
 * asking the store, and feeds the three readings in. Of CLOCK_WINDOW samples the one counts that
 * says most: its round trip is short, and it is not so old that drift has undone that. It sets the
 * offset until the clock is first read. From then on the offset moves toward it by at most
 * CLOCK_SLEW_PPM, so that time never runs backward and never jumps.
 *
 * Guarantee: clock_now_ns(c, t) >= clock_now_ns(c, s) for t >= s, whatever samples came between.
 * Error of a reading: at most half the round trip of the sample in use, plus CLOCK_DRIFT_PPM of its
 * age, plus what is still to be slewed. It grows for as long as the store does not answer.
 */
#ifndef SLUICE_RUNTIME_CLOCK_H
#define SLUICE_RUNTIME_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

/* Samples of which the best counts. Arbitrary: enough to dodge one slow round trip. */
#define CLOCK_WINDOW 8

/* Parts per million by which the offset may move: what NTP daemons use. */
#define CLOCK_SLEW_PPM 500

/* Parts per million by which this machine's clock and the store's may run apart: crystals are off
 * by up to 100 each, and some more for heat and age. Less than CLOCK_SLEW_PPM, or it would win. */
#define CLOCK_DRIFT_PPM 250

/* TIME counts whole microseconds: the store's clock shows up to this much more, in ns. */
#define CLOCK_STORE_UNIT_NS 1000

struct clock_sample {
    uint64_t before_ns, after_ns; /* monotonic, around the question */
    uint64_t store_ns;            /* the store's answer, since the epoch */
};

struct cluster_clock {
    bool set;
    int64_t offset_ns;        /* store - monotonic, as used */
    int64_t target_offset_ns; /* as measured */
    uint64_t slewed_at_ns;    /* monotonic time up to which the slew was applied */
    uint64_t error_ns;        /* of the sample in use, when it was asked for: half its trip */
    uint64_t asked_ns;        /* monotonic time when it was asked for: it grows older from here */
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

/* What a reading at the monotonic time given may be wrong by, in ns: half the round trip of the
 * sample in use + its age * CLOCK_DRIFT_PPM + the slew still open. */
uint64_t clock_error_ns(const struct cluster_clock *clock, uint64_t monotonic_ns);

#endif
