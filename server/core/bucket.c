#include "server/core/bucket.h"

typedef unsigned __int128 uint128;

/* Most tokens that a conversion carries over: far above TOKENS_MAX, and low enough that
 * tokens * PERIOD_NS_MAX fits 128 bits (2^72 * 2^55 = 2^127). */
#define CONVERT_TOKENS_MAX ((uint128)1 << 72)

/* floor(a * b / c), at most UINT64_MAX. Most products fit 64 bits, whose division is far cheaper.
 */
static uint64_t scale_floor(uint64_t a, uint64_t b, uint64_t c) {
    uint64_t product;
    if (!__builtin_mul_overflow(a, b, &product)) {
        return product / c;
    }
    uint128 quotient = (uint128)a * b / c;
    return quotient > UINT64_MAX ? UINT64_MAX : (uint64_t)quotient;
}

/* ceil(a * b / c), at most UINT64_MAX. */
static uint64_t scale_ceil(uint64_t a, uint64_t b, uint64_t c) {
    uint64_t product;
    if (!__builtin_mul_overflow(a, b, &product)) {
        return product / c + (product % c != 0);
    }
    uint128 quotient = ((uint128)a * b + (c - 1)) / c;
    return quotient > UINT64_MAX ? UINT64_MAX : (uint64_t)quotient;
}

static uint64_t deficit_at(uint64_t tat_ns, uint64_t now_ns) {
    return tat_ns > now_ns ? tat_ns - now_ns : 0;
}

static uint64_t tolerance_of(const struct limit *limit) {
    return scale_floor(limit->burst_tokens, limit->period_ns, limit->rate_tokens);
}

static uint64_t level_of(const struct limit *limit, uint64_t tolerance_ns, uint64_t deficit_ns) {
    if (deficit_ns == 0) {
        return limit->burst_tokens;
    }
    if (deficit_ns >= tolerance_ns) {
        return 0;
    }
    return scale_floor(tolerance_ns - deficit_ns, limit->rate_tokens, limit->period_ns);
}

/* What one limit says to one request. */
struct verdict {
    bool passes;
    bool never; /* the cost is above the burst */
    uint64_t wait_ns;
    uint64_t increment_ns;
    uint64_t tolerance_ns;
};

static struct verdict judge(const struct limit *limit, uint64_t cost_tokens, uint64_t deficit_ns) {
    struct verdict verdict = {.tolerance_ns = tolerance_of(limit)};
    uint64_t room_ns = verdict.tolerance_ns;
    verdict.increment_ns = scale_ceil(cost_tokens, limit->period_ns, limit->rate_tokens);
    if (cost_tokens > limit->burst_tokens) {
        verdict.never = true;
        return verdict;
    }
    if (cost_tokens == 0) {
        /* A bucket that gave its whole burst at once may stand 1 ns beyond the rounded-down
         * tolerance: that is empty, not in debt. */
        room_ns = scale_ceil(limit->burst_tokens, limit->period_ns, limit->rate_tokens);
    }
    if (deficit_ns == 0 ||
        (verdict.increment_ns <= room_ns && deficit_ns <= room_ns - verdict.increment_ns)) {
        verdict.passes = true;
        return verdict;
    }
    /* Whichever clause is met first: full again, or room for the increment. */
    verdict.wait_ns = verdict.increment_ns >= room_ns
                          ? deficit_ns
                          : deficit_ns - (room_ns - verdict.increment_ns);
    return verdict;
}

/* Of a refusal: does `a` ask for a longer wait than `b`? */
static bool waits_longer(const struct verdict *a, const struct verdict *b) {
    if (a->never != b->never) {
        return a->never;
    }
    return a->wait_ns > b->wait_ns;
}

static int64_t us_rounded_up(uint64_t ns) {
    return (int64_t)(ns / 1000 + (ns % 1000 != 0));
}

static void apply(const struct terms *terms, const struct verdict verdicts[], uint64_t tat_ns[],
                  enum verb verb, uint64_t now_ns) {
    for (uint32_t i = 0; i < terms->limit_count; i++) {
        uint64_t deficit_ns = deficit_at(tat_ns[i], now_ns);
        uint64_t increment_ns = verdicts[i].increment_ns;
        if (verb == VERB_TAKE) {
            tat_ns[i] = now_ns + deficit_ns + increment_ns;
        } else if (deficit_ns > 0) {
            tat_ns[i] = deficit_ns > increment_ns ? tat_ns[i] - increment_ns : now_ns;
        }
    }
}

void bucket_decide(const struct terms *terms, uint64_t tat_ns[], enum verb verb,
                   uint64_t cost_tokens, uint64_t now_ns, struct take_result *result) {
    struct verdict verdicts[LIMITS_PER_PLAN_MAX];
    bool allowed = true;
    for (uint32_t i = 0; i < terms->limit_count; i++) {
        verdicts[i] = judge(&terms->limits[i], cost_tokens, deficit_at(tat_ns[i], now_ns));
        allowed = allowed && (verdicts[i].passes || verb == VERB_REFUND);
    }
    if (allowed && verb != VERB_PEEK && cost_tokens > 0) {
        apply(terms, verdicts, tat_ns, verb, now_ns);
    }

    uint32_t tightest = 0;
    uint64_t fewest = UINT64_MAX;
    for (uint32_t i = 0; i < terms->limit_count; i++) {
        uint64_t level =
            level_of(&terms->limits[i], verdicts[i].tolerance_ns, deficit_at(tat_ns[i], now_ns));
        bool tighter = allowed
                           ? level < fewest
                           : (i == 0 || waits_longer(&verdicts[i], &verdicts[tightest]) ||
                              (!waits_longer(&verdicts[tightest], &verdicts[i]) && level < fewest));
        if (tighter) {
            tightest = i;
            fewest = level;
        }
    }
    const struct verdict *verdict = &verdicts[tightest];
    *result = (struct take_result){
        .code = CODE_OK,
        .reason = REASON_NONE,
        .allowed = allowed,
        .remaining_tokens = fewest,
        .limit_tokens = terms->limits[tightest].burst_tokens,
        .reset_after_us = (uint64_t)us_rounded_up(deficit_at(tat_ns[tightest], now_ns)),
    };
    if (!allowed) {
        result->retry_after_us = verdict->never ? RETRY_NEVER : us_rounded_up(verdict->wait_ns);
    }
}

bool bucket_full(const struct terms *terms, const uint64_t tat_ns[], uint64_t now_ns) {
    for (uint32_t i = 0; i < terms->limit_count; i++) {
        if (tat_ns[i] > now_ns) {
            return false;
        }
    }
    return true;
}

uint64_t bucket_level(const struct limit *limit, uint64_t tat_ns, uint64_t now_ns) {
    return level_of(limit, tolerance_of(limit), deficit_at(tat_ns, now_ns));
}

/* The same tokens as `deficit_ns` under `from`, as ns under `to`:
 * deficit * from.rate / from.period tokens, whole and fraction apart so that nothing overflows. */
static uint64_t convert_deficit(const struct limit *from, const struct limit *to,
                                uint64_t deficit_ns) {
    if (deficit_ns > TOLERANCE_NS_MAX) {
        deficit_ns = TOLERANCE_NS_MAX;
    }
    uint128 spent = (uint128)deficit_ns * from->rate_tokens;
    uint128 whole_tokens = spent / from->period_ns;
    uint128 fraction = spent % from->period_ns;
    if (whole_tokens > CONVERT_TOKENS_MAX) {
        whole_tokens = CONVERT_TOKENS_MAX;
    }
    uint128 fraction_scaled = (fraction * to->period_ns + (from->period_ns - 1)) / from->period_ns;
    uint128 token_ns = whole_tokens * to->period_ns + fraction_scaled;
    uint128 result = token_ns / to->rate_tokens + (token_ns % to->rate_tokens != 0);
    return result > TOLERANCE_NS_MAX ? TOLERANCE_NS_MAX : (uint64_t)result;
}

void bucket_convert(const struct terms *from, const struct terms *to, uint64_t tat_ns[],
                    uint64_t now_ns) {
    for (uint32_t i = 0; i < to->limit_count; i++) {
        if (i >= from->limit_count) {
            tat_ns[i] = 0;
            continue;
        }
        uint64_t deficit_ns = deficit_at(tat_ns[i], now_ns);
        if (deficit_ns > 0 && !limit_equal(&from->limits[i], &to->limits[i])) {
            tat_ns[i] = now_ns + convert_deficit(&from->limits[i], &to->limits[i], deficit_ns);
        }
    }
}
