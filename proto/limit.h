/*
 * A limit: one token bucket's terms. Terms: the limits that one take must pass together.
 *
 * Pure. Times in nanoseconds, amounts in tokens.
 */
#ifndef SLUICE_PROTO_LIMIT_H
#define SLUICE_PROTO_LIMIT_H

#include "proto/bounds.h"
#include "proto/bytes.h"
#include "proto/error.h"

struct limit {
    uint64_t rate_tokens;  /* refilled per period, at least 1 */
    uint64_t period_ns;    /* at least 1 ms */
    uint64_t burst_tokens; /* capacity, at least 1 */
};

struct terms {
    uint32_t limit_count; /* 1 to LIMITS_PER_PLAN_MAX */
    struct limit limits[LIMITS_PER_PLAN_MAX];
};

/* A time of one limit, exact: ns + part / rate nanoseconds since the epoch, part < rate of that
 * limit. Its `tat` is when the bucket will be full again; {0, 0} is full for all practical ends. */
struct tat {
    uint64_t ns;
    uint64_t part;
};

/* CODE_OK, or BAD_REQUEST with the reason: a zero, a bound exceeded, or terms whose full bucket
 * would span more time than TOLERANCE_NS_MAX. `what` names the limit in the message. */
enum code limit_check(const struct limit *limit, const char *what, struct fault *fault);

bool limit_equal(const struct limit *a, const struct limit *b);
bool terms_equal(const struct terms *a, const struct terms *b);

#endif
