#include "bench/schedule.h"

#include <math.h>

#include "bench/key_choice.h"

/* The rate at `at`, and how long it stays. */
static double rate_at(const struct schedule *schedule, double at, double *left_ns) {
    if (schedule->factor == 1) {
        *left_ns = INFINITY;
        return schedule->per_ns;
    }
    double within = fmod(at, (double)schedule->every_ns);
    if (within < (double)schedule->length_ns) {
        *left_ns = (double)schedule->length_ns - within;
        return schedule->per_ns * schedule->factor;
    }
    *left_ns = (double)schedule->every_ns - within;
    return schedule->per_ns;
}

uint64_t schedule_next(struct schedule *schedule) {
    /* How many requests' worth of rate must pass: one, or a random number of that mean. */
    double open = schedule->even ? 1 : -log1p(-random_unit(&schedule->random));
    for (;;) {
        double left_ns, rate = rate_at(schedule, schedule->now_ns, &left_ns);
        if (open <= rate * left_ns) {
            schedule->now_ns += open / rate;
            return (uint64_t)schedule->now_ns;
        }
        open -= rate * left_ns;
        /* At least a nanosecond, lest rounding keep it before the edge for ever. */
        schedule->now_ns += left_ns < 1 ? 1 : left_ns;
    }
}

double schedule_expected(const struct schedule *schedule, uint64_t ns) {
    double whole = floor((double)ns / (double)schedule->every_ns);
    double rest = (double)ns - whole * (double)schedule->every_ns;
    double length = (double)schedule->length_ns;
    double in_bursts = whole * length + (rest < length ? rest : length);
    return schedule->per_ns * ((double)ns + (schedule->factor - 1) * in_bursts);
}
