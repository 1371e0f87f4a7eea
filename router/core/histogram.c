#include "router/core/histogram.h"

#include <assert.h>

_Static_assert(1 << HISTOGRAM_PARTS_BITS == HISTOGRAM_PARTS, "parts are a power of two");

static uint32_t bucket_of(uint64_t value) {
    if (value < HISTOGRAM_PARTS) {
        return (uint32_t)value;
    }
    if (value > HISTOGRAM_VALUE_MAX) {
        value = HISTOGRAM_VALUE_MAX;
    }
    /* The highest bit says which power of two, the next HISTOGRAM_PARTS_BITS which part of it. */
    uint32_t shift = 63 - (uint32_t)__builtin_clzll(value) - HISTOGRAM_PARTS_BITS;
    return (shift + 1) * HISTOGRAM_PARTS + (uint32_t)(value >> shift) - HISTOGRAM_PARTS;
}

uint64_t histogram_upper(uint32_t bucket) {
    assert(bucket < HISTOGRAM_BUCKETS);
    if (bucket < HISTOGRAM_PARTS) {
        return bucket;
    }
    uint32_t shift = bucket / HISTOGRAM_PARTS - 1;
    uint64_t lower = (uint64_t)(HISTOGRAM_PARTS + bucket % HISTOGRAM_PARTS) << shift;
    return lower + (UINT64_C(1) << shift) - 1;
}

void histogram_add(struct histogram *histogram, uint64_t value) {
    histogram->counts[bucket_of(value)]++;
    histogram->count++;
    if (value > histogram->longest) {
        histogram->longest = value;
    }
}

void histogram_merge(struct histogram *histogram, const struct histogram *other) {
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        histogram->counts[i] += other->counts[i];
    }
    histogram->count += other->count;
    if (other->longest > histogram->longest) {
        histogram->longest = other->longest;
    }
}

uint64_t histogram_median(const struct histogram *histogram) {
    uint64_t below = 0;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS && histogram->count > 0; i++) {
        below += histogram->counts[i];
        if (below * 2 >= histogram->count) {
            uint64_t upper = histogram_upper(i);
            return upper < histogram->longest ? upper : histogram->longest;
        }
    }
    return 0;
}
