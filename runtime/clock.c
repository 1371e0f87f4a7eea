#include "runtime/clock.h"

#include <assert.h>
#include <string.h>
#include <time.h>

/* Nanoseconds of monotonic time that pass for each nanosecond the offset may move. */
#define NS_PER_SLEWED_NS (1000000 / CLOCK_SLEW_PPM)

/* Nanoseconds in which two clocks may drift apart by one. */
#define NS_PER_DRIFTED_NS (1000000 / CLOCK_DRIFT_PPM)

uint64_t clock_monotonic_ns(void) {
    struct timespec now;
    int status = clock_gettime(CLOCK_MONOTONIC, &now);
    assert(status == 0);
    (void)status;
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void clock_init(struct cluster_clock *clock) {
    memset(clock, 0, sizeof *clock);
}

static uint64_t distance(int64_t a, int64_t b) {
    return a > b ? (uint64_t)a - (uint64_t)b : (uint64_t)b - (uint64_t)a;
}

/* Moves the offset toward its target by what the time since the last move allows. */
static void clock_slew(struct cluster_clock *clock, uint64_t monotonic_ns) {
    if (monotonic_ns <= clock->slewed_at_ns)
        return;
    uint64_t allowed_ns = (monotonic_ns - clock->slewed_at_ns) / NS_PER_SLEWED_NS;
    uint64_t open_ns = distance(clock->target_offset_ns, clock->offset_ns);
    if (open_ns <= allowed_ns) {
        clock->offset_ns = clock->target_offset_ns;
        clock->slewed_at_ns = monotonic_ns;
        return;
    }
    if (clock->target_offset_ns > clock->offset_ns)
        clock->offset_ns += (int64_t)allowed_ns;
    else
        clock->offset_ns -= (int64_t)allowed_ns;
    /* The fraction stays for the next call: readings a few ns apart would otherwise never slew. */
    clock->slewed_at_ns += allowed_ns * NS_PER_SLEWED_NS;
}

static uint64_t sample_trip_ns(const struct clock_sample *sample) {
    return sample->after_ns - sample->before_ns;
}

/* By how much two clocks may drift apart between two moments, rounded up. */
static uint64_t drift_ns(uint64_t from_ns, uint64_t to_ns) {
    return (distance((int64_t)from_ns, (int64_t)to_ns) + NS_PER_DRIFTED_NS - 1) / NS_PER_DRIFTED_NS;
}

/* When it was asked for: the store read its clock at any moment of the trip. */
static uint64_t sample_error_ns(const struct clock_sample *sample) {
    uint64_t trip_ns = sample_trip_ns(sample);
    return trip_ns - trip_ns / 2 + CLOCK_STORE_UNIT_NS;
}

/* What was measured before the store was away for a while is worth less than a slow answer now. All
 * samples grow old alike, so the best stays the best until the next one comes. */
static const struct clock_sample *sample_best(const struct cluster_clock *clock, uint64_t now_ns) {
    uint32_t count = clock->sample_count < CLOCK_WINDOW ? clock->sample_count : CLOCK_WINDOW;
    const struct clock_sample *best = &clock->window[0];
    uint64_t best_ns = UINT64_MAX;
    for (uint32_t i = 0; i < count; i++) {
        const struct clock_sample *sample = &clock->window[i];
        uint64_t error_ns = sample_error_ns(sample) + drift_ns(sample->before_ns, now_ns);
        if (error_ns < best_ns) {
            best = sample;
            best_ns = error_ns;
        }
    }
    return best;
}

bool clock_sample_add(struct cluster_clock *clock, const struct clock_sample *sample) {
    if (sample->after_ns < sample->before_ns || sample->after_ns > INT64_MAX ||
        sample->store_ns > INT64_MAX)
        return false;
    /* Nobody has read it yet: the best of a node's first samples sets it, or a slow first one would
     * have to be slewed away for minutes. */
    bool unread = clock->newest_ns == 0;
    /* Time up to now counts toward the old target, or a new one would be reached with a jump. */
    if (!unread)
        clock_slew(clock, sample->after_ns);

    clock->window[clock->sample_count % CLOCK_WINDOW] = *sample;
    clock->sample_count++;
    const struct clock_sample *best = sample_best(clock, sample->after_ns);
    uint64_t half_trip_ns = sample_trip_ns(best) / 2;
    clock->target_offset_ns = (int64_t)best->store_ns - (int64_t)(best->before_ns + half_trip_ns);
    clock->error_ns = sample_error_ns(best);
    clock->asked_ns = best->before_ns;
    if (unread) {
        clock->set = true;
        clock->offset_ns = clock->target_offset_ns;
        clock->slewed_at_ns = sample->after_ns;
    }
    return true;
}

uint64_t clock_now_ns(struct cluster_clock *clock, uint64_t monotonic_ns) {
    assert(clock->set);
    clock_slew(clock, monotonic_ns);
    uint64_t now_ns = monotonic_ns + (uint64_t)clock->offset_ns;
    if (now_ns > clock->newest_ns)
        clock->newest_ns = now_ns;
    return clock->newest_ns;
}

uint64_t clock_error_ns(const struct cluster_clock *clock, uint64_t monotonic_ns) {
    return clock->error_ns + drift_ns(clock->asked_ns, monotonic_ns) +
           distance(clock->target_offset_ns, clock->offset_ns);
}
