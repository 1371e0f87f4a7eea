/*
 * The bucket's arithmetic: GCRA over one to four limits, in exact integers. Pure functions of their
 * arguments; no clock, no memory.
 *
 * One time a limit: `tat`, when the bucket will be full again. A token's refill takes period / rate
 * ns, which is seldom a whole number: times are kept as ns + part / rate, so nothing is rounded.
 *
 *     increment = cost * period / rate              tolerance = burst * period / rate
 *     deficit   = max(0, tat - now)
 *     granted   iff deficit + increment <= tolerance; then tat = now + deficit + increment
 *     level     = floor((tolerance - deficit) * rate / period)
 *
 * Guarantees, for every limit and every interval of d ns that starts and ends with a take:
 *     granted cost <= burst + rate * d / period                                   (the bound)
 *     cost <= level  <=>  granted                                      (no false refusal)
 *     nothing is lost to rounding
 * docs/decisions/0001 tells why whole nanoseconds are not enough.
 */
#ifndef SLUICE_PROTO_BUCKET_H
#define SLUICE_PROTO_BUCKET_H

#include "proto/limit.h"
#include "proto/take.h"

/* Decides `verb` with `cost` at `now_ns` and fills the result (code OK, flags 0). tats has
 * terms->limit_count entries; they change only if a take is granted (cost > 0) or a refund made.
 * A take passes every limit or changes none. A cost of 0 takes nothing and is always allowed
 * unless the bucket is in debt: its level is below 0, after a limit was lowered (remaining says 0).
 * A peek says whether the cost would be granted, and what remains now. A refund lowers tat by the
 * increment, never below now; it is always allowed. */
void bucket_decide(const struct terms *terms, struct tat tats[], enum verb verb,
                   uint64_t cost_tokens, uint64_t now_ns, struct take_result *result);

/* True if every limit is full at now_ns: the bucket is the same as no bucket. */
bool bucket_full(const struct terms *terms, const struct tat tats[], uint64_t now_ns);

/* ns until a limit is full, rounded up. */
uint64_t bucket_reset_ns(struct tat tat, uint64_t now_ns);

/* Tokens' worth of time that the limit has been full for, rounded up; at most UINT64_MAX. */
uint64_t bucket_idle_tokens(const struct limit *limit, struct tat tat, uint64_t now_ns);

/* Moves tat later by the time that so many tokens take to refill. */
struct tat bucket_ahead(const struct limit *limit, struct tat tat, uint64_t tokens);

/* The distance of times to which the tats of that limit are rounded up so that takes of a part of
 * its burst fit between two: the largest power of two that is at most burst / `part` tokens' worth
 * of ns. 0: that would be less than two tokens. */
uint64_t bucket_grid_ns(const struct limit *limit, uint32_t part);

/* The first multiple of grid_ns (a power of two) that is not before tat. */
static inline struct tat bucket_rounded(struct tat tat, uint64_t grid_ns) {
    return (struct tat){.ns = (tat.ns + (tat.part > 0) + grid_ns - 1) & ~(grid_ns - 1)};
}

/* Level of one limit in tokens. */
uint64_t bucket_level(const struct limit *limit, struct tat tat, uint64_t now_ns);

/* Whether a bucket that is not full may be full sooner under `to` than under `from`: some limit
 * refills faster than the one in its place, or there was none. */
bool bucket_refills_sooner(const struct terms *from, const struct terms *to);

/* Changes tat from terms `from` to terms `to`, limit by limit in order: the tokens already spent
 * stay spent (rounded up by at most 2 ns of refill). A limit that `from` did not have starts full.
 * Results are bounded so that no later arithmetic overflows. */
void bucket_convert(const struct terms *from, const struct terms *to, struct tat tats[],
                    uint64_t now_ns);

#endif
