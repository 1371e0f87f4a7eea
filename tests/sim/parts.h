/* Times of the checkers' accounts, exact: in 1 / rate ns, for the rate of a limit. */
#ifndef SLUICE_TESTS_SIM_PARTS_H
#define SLUICE_TESTS_SIM_PARTS_H

#include "proto/limit.h"

typedef unsigned __int128 parts;

static inline parts at(const struct limit *limit, uint64_t ns) {
    return (parts)ns * limit->rate_tokens;
}

static inline parts most(parts a, parts b) {
    return a > b ? a : b;
}

static inline void lower(parts *low, parts by) {
    *low -= by < *low ? by : *low;
}

static inline uint64_t least(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

static inline uint64_t greatest(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}

#endif
