/*
 * How long things took, in bounded memory: counts by buckets of a logarithmic scale.
 *
 * Values below HISTOGRAM_PARTS have a bucket each; above, every power of two is split into
 * HISTOGRAM_PARTS buckets. Pure; zeroed memory is an empty histogram.
 *
 * Guarantee: value <= histogram_upper(its bucket) < value * (1 + 1/HISTOGRAM_PARTS) + 1, up to
 * HISTOGRAM_VALUE_MAX; what is longer counts as that.
 */
#ifndef SLUICE_ROUTER_CORE_HISTOGRAM_H
#define SLUICE_ROUTER_CORE_HISTOGRAM_H

#include <stdint.h>

/* Buckets of one power of two: a figure is at most an eighth too large. */
#define HISTOGRAM_PARTS 8
#define HISTOGRAM_PARTS_BITS 3

/* In microseconds 67 s: more than the longest deadline of a caller, 60 s. */
#define HISTOGRAM_BITS 26
#define HISTOGRAM_VALUE_MAX ((UINT64_C(1) << HISTOGRAM_BITS) - 1)

#define HISTOGRAM_BUCKETS ((HISTOGRAM_BITS - HISTOGRAM_PARTS_BITS + 1) * HISTOGRAM_PARTS)

struct histogram {
    uint64_t counts[HISTOGRAM_BUCKETS];
    uint64_t count;
    uint64_t longest; /* exact */
};

void histogram_add(struct histogram *histogram, uint64_t value);

/* Adds what the other counted. */
void histogram_merge(struct histogram *histogram, const struct histogram *other);

/* The largest value of a bucket. */
uint64_t histogram_upper(uint32_t bucket);

/* At least half of what was added is not above this, within the bucket's width; 0 of nothing. */
uint64_t histogram_median(const struct histogram *histogram);

#endif
