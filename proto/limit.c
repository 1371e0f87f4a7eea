#include "proto/limit.h"

#include <inttypes.h>

/* A shorter period says nothing that a higher rate would not, and invites unit mistakes. */
#define PERIOD_NS_MIN UINT64_C(1000000)

static enum code tokens_check(uint64_t value, const char *field, const char *what,
                              struct fault *fault) {
    if (value == 0) {
        return fault_set(fault, CODE_BAD_REQUEST, "%s: %s must be at least 1", what, field);
    }
    if (value > TOKENS_MAX) {
        return fault_set(fault, CODE_BAD_REQUEST, "%s: %s %" PRIu64 " is above %" PRIu64, what,
                         field, value, TOKENS_MAX);
    }
    return CODE_OK;
}

enum code limit_check(const struct limit *limit, const char *what, struct fault *fault) {
    if (tokens_check(limit->rate_tokens, "rate", what, fault) != CODE_OK ||
        tokens_check(limit->burst_tokens, "burst", what, fault) != CODE_OK) {
        return fault->code;
    }
    if (limit->period_ns < PERIOD_NS_MIN || limit->period_ns > PERIOD_NS_MAX) {
        return fault_set(fault, CODE_BAD_REQUEST, "%s: period must be from 1 ms to 400 days", what);
    }
    unsigned __int128 tolerance =
        (unsigned __int128)limit->burst_tokens * limit->period_ns / limit->rate_tokens;
    if (tolerance > TOLERANCE_NS_MAX) {
        return fault_set(fault, CODE_BAD_REQUEST,
                         "%s: an empty bucket would need more than 73 years to refill (burst * "
                         "period / rate); lower the burst or raise the rate",
                         what);
    }
    return CODE_OK;
}

bool limit_equal(const struct limit *a, const struct limit *b) {
    return a->rate_tokens == b->rate_tokens && a->period_ns == b->period_ns &&
           a->burst_tokens == b->burst_tokens;
}

bool terms_equal(const struct terms *a, const struct terms *b) {
    if (a->limit_count != b->limit_count) {
        return false;
    }
    for (uint32_t i = 0; i < a->limit_count; i++) {
        if (!limit_equal(&a->limits[i], &b->limits[i])) {
            return false;
        }
    }
    return true;
}
