/*
 * The checker of the promise: for every key and every interval of length d,
 *
 *     granted cost <= burst + rate * d / period
 *
 * An asker knows only when a grant was sent and received; the decision fell somewhere between. A
 * grant surely lies in [a, b] if a <= sent and received <= b, so what is counted is never too much:
 * no false alarm. Of all intervals only those from one grant's sending to another's receiving can
 * be the worst, and all of those are looked at, in O(n log n) a key and in exact integers.
 * Pure but for the allocator.
 */
#ifndef SLUICE_BENCH_BOUND_H
#define SLUICE_BENCH_BOUND_H

#include "bench/record.h"

/* The worst interval of a key. */
struct bound_excess {
    uint32_t key;
    uint64_t from_ns, to_ns;
    uint64_t granted_tokens; /* surely within it */
    uint64_t excess_tokens;  /* of which beyond the bound, rounded up; 0: the bound holds */
    uint64_t excess_ns;      /* in which so much refills: a clock that far ahead would explain it */
};

struct bound_verdict {
    uint64_t grants, keys, degraded;
    uint64_t tokens;
    uint64_t keys_over;   /* with an excess */
    uint64_t slip_tokens; /* the sum of each key's largest excess */
    struct bound_excess worst;
};

/* Sorts `grants` (by key, then by receipt) and looks at them all. `clock_error_ns` widens each
 * interval: by what the deciders' clock may have gone faster than the asker's. False: no memory. */
bool bound_check(struct grant *grants, uint64_t count, const struct limit *limit,
                 uint64_t clock_error_ns, struct bound_verdict *verdict);

#endif
