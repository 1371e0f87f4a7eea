/*
 * How long to wait before the next attempt: doubling from a first to a last, each time with +-25 %
 * of jitter, so that many links do not knock at once. Pure.
 */
#ifndef SLUICE_RUNTIME_RETRY_H
#define SLUICE_RUNTIME_RETRY_H

#include <stdint.h>

struct retry {
    uint32_t first_ms, last_ms, next_ms;
    uint64_t random;
};

/* `seed`: anything that differs between links. */
static inline void retry_init(struct retry *retry, uint32_t first_ms, uint32_t last_ms,
                              uint64_t seed) {
    *retry = (struct retry){first_ms, last_ms, first_ms, seed | 1}; /* xorshift stays at zero */
}

/* The last attempt was a success. */
static inline void retry_reset(struct retry *retry) {
    retry->next_ms = retry->first_ms;
}

/* Milliseconds to wait now. */
static inline uint32_t retry_next(struct retry *retry) {
    retry->random ^= retry->random << 13;
    retry->random ^= retry->random >> 7;
    retry->random ^= retry->random << 17;
    uint32_t ms = retry->next_ms;
    retry->next_ms = ms * 2 < retry->last_ms ? ms * 2 : retry->last_ms;
    return ms - ms / 4 + (uint32_t)(retry->random % (ms / 2 + 1));
}

#endif
