/*
 * A histogram of latencies, log-linear as HdrHistogram is: every power of two is divided into
 * HISTOGRAM_STEPS equal cells, so a percentile is told within 1 part in HISTOGRAM_STEPS, from 1 ns
 * to two minutes, in memory of a fixed size. Pure.
 *
 * Guarantee: p <= histogram_percentile(p) <= p * (1 + 1 / HISTOGRAM_STEPS), and never above the
 * largest value that was added.
 */
#ifndef SLUICE_BENCH_HISTOGRAM_H
#define SLUICE_BENCH_HISTOGRAM_H

#include <stdint.h>

/* Cells of a power of two: percentiles are right within 0.8 %. */
#define HISTOGRAM_STEP_BITS 7
#define HISTOGRAM_STEPS (1u << HISTOGRAM_STEP_BITS)

/* Bits of the largest value with a cell of its own: 2^37 ns are 137 s, above every timeout here.
 * Larger ones count in the last cell; the maximum is exact. */
#define HISTOGRAM_VALUE_BITS 37
#define HISTOGRAM_CELLS ((HISTOGRAM_VALUE_BITS - HISTOGRAM_STEP_BITS + 1) * HISTOGRAM_STEPS)

struct histogram {
    uint64_t count;
    uint64_t sum; /* of ns: 584 years fit */
    uint64_t max;
    uint64_t cells[HISTOGRAM_CELLS];
};

/* Zeroed memory is an empty histogram. */
void histogram_add(struct histogram *histogram, uint64_t value, uint64_t times);

/* The value that `share` (0 to 1) of all values do not exceed; 0 if there are none. */
uint64_t histogram_percentile(const struct histogram *histogram, double share);

double histogram_average(const struct histogram *histogram);

#endif
