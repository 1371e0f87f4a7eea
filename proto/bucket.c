#include "proto/bucket.h"

#include <assert.h>

typedef unsigned __int128 uint128;

/* Most tokens that a conversion carries over: far above TOKENS_MAX, and low enough that
 * tokens * PERIOD_NS_MAX fits 128 bits (2^72 * 2^55 = 2^127). */
#define CONVERT_TOKENS_MAX ((uint128)1 << 72)

/* The time that a number of tokens takes to refill; at most UINT64_MAX ns. Most products fit 64
 * bits, whose division is far cheaper. */
static struct tat span_of(const struct limit *limit, uint64_t tokens) {
    uint64_t product;
    if (!__builtin_mul_overflow(tokens, limit->period_ns, &product)) {
        return (struct tat){product / limit->rate_tokens, product % limit->rate_tokens};
    }
    uint128 wide = (uint128)tokens * limit->period_ns;
    uint128 ns = wide / limit->rate_tokens;
    if (ns > UINT64_MAX) {
        return (struct tat){.ns = UINT64_MAX};
    }
    return (struct tat){(uint64_t)ns, (uint64_t)(wide - ns * limit->rate_tokens)};
}

static bool span_less(struct tat a, struct tat b) {
    return a.ns != b.ns ? a.ns < b.ns : a.part < b.part;
}

static bool span_is_zero(struct tat span) {
    return span.ns == 0 && span.part == 0;
}

static struct tat span_add(struct tat a, struct tat b, uint64_t rate) {
    uint64_t part = a.part + b.part;
    bool carry = part >= rate;
    return (struct tat){a.ns + b.ns + carry, carry ? part - rate : part};
}

/* a - b, where b is no longer than a. */
static struct tat span_subtract(struct tat a, struct tat b, uint64_t rate) {
    bool borrow = a.part < b.part;
    return (struct tat){a.ns - b.ns - borrow, borrow ? a.part + rate - b.part : a.part - b.part};
}

static uint64_t span_rounded_up(struct tat span) {
    return span.ns + (span.part > 0);
}

static struct tat deficit_at(struct tat tat, uint64_t now_ns) {
    return tat.ns < now_ns ? (struct tat){0} : (struct tat){tat.ns - now_ns, tat.part};
}

static uint64_t level_of(const struct limit *limit, struct tat tolerance, struct tat deficit) {
    if (span_is_zero(deficit)) {
        return limit->burst_tokens;
    }
    if (!span_less(deficit, tolerance)) {
        return 0;
    }
    struct tat room = span_subtract(tolerance, deficit, limit->rate_tokens);
    uint64_t product;
    if (!__builtin_mul_overflow(room.ns, limit->rate_tokens, &product) &&
        !__builtin_add_overflow(product, room.part, &product)) {
        return product / limit->period_ns;
    }
    return (uint64_t)(((uint128)room.ns * limit->rate_tokens + room.part) / limit->period_ns);
}

/* What one limit says to one request. */
struct verdict {
    bool passes;
    bool never; /* the cost is above the burst */
    uint64_t wait_ns;
    struct tat deficit; /* before the request, then after it */
    struct tat increment;
    struct tat tolerance;
};

static void judge(struct verdict *verdict, const struct limit *limit, uint64_t cost_tokens,
                  struct tat deficit) {
    verdict->deficit = deficit;
    verdict->tolerance = span_of(limit, limit->burst_tokens);
    verdict->increment = span_of(limit, cost_tokens);
    verdict->wait_ns = 0;
    verdict->never = cost_tokens > limit->burst_tokens;
    verdict->passes = false;
    if (verdict->never) {
        return;
    }
    struct tat room = span_subtract(verdict->tolerance, verdict->increment, limit->rate_tokens);
    verdict->passes = !span_less(room, deficit);
    if (!verdict->passes) {
        verdict->wait_ns = span_rounded_up(span_subtract(deficit, room, limit->rate_tokens));
    }
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

static void apply(uint64_t rate_tokens, struct verdict *verdict, struct tat *tat, enum verb verb,
                  uint64_t now_ns) {
    struct tat deficit = verdict->deficit, increment = verdict->increment;
    if (verb == VERB_TAKE) {
        deficit = span_add(deficit, increment, rate_tokens);
        *tat = (struct tat){now_ns + deficit.ns, deficit.part};
    } else if (span_less(increment, deficit)) {
        deficit = span_subtract(deficit, increment, rate_tokens);
        *tat = (struct tat){now_ns + deficit.ns, deficit.part};
    } else if (!span_is_zero(deficit)) {
        deficit = (struct tat){0};
        *tat = (struct tat){.ns = now_ns};
    }
    verdict->deficit = deficit;
}

void bucket_decide(const struct terms *terms, struct tat tats[], enum verb verb,
                   uint64_t cost_tokens, uint64_t now_ns, struct take_result *result) {
    struct verdict verdicts[LIMITS_PER_PLAN_MAX];
    bool allowed = true;
    assert(terms->limit_count > 0);
    for (uint32_t i = 0; i < terms->limit_count; i++) {
        judge(&verdicts[i], &terms->limits[i], cost_tokens, deficit_at(tats[i], now_ns));
        allowed = allowed && (verdicts[i].passes || verb == VERB_REFUND);
    }
    if (allowed && verb != VERB_PEEK && cost_tokens > 0) {
        for (uint32_t i = 0; i < terms->limit_count; i++) {
            apply(terms->limits[i].rate_tokens, &verdicts[i], &tats[i], verb, now_ns);
        }
    }

    uint32_t tightest = 0;
    uint64_t fewest = UINT64_MAX;
    for (uint32_t i = 0; i < terms->limit_count; i++) {
        uint64_t level = level_of(&terms->limits[i], verdicts[i].tolerance, verdicts[i].deficit);
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
        .reset_after_us = (uint64_t)us_rounded_up(span_rounded_up(verdict->deficit)),
    };
    if (!allowed) {
        result->retry_after_us = verdict->never ? RETRY_NEVER : us_rounded_up(verdict->wait_ns);
    }
}

bool bucket_full(const struct terms *terms, const struct tat tats[], uint64_t now_ns) {
    for (uint32_t i = 0; i < terms->limit_count; i++) {
        if (!span_is_zero(deficit_at(tats[i], now_ns))) {
            return false;
        }
    }
    return true;
}

uint64_t bucket_reset_ns(struct tat tat, uint64_t now_ns) {
    return span_rounded_up(deficit_at(tat, now_ns));
}

uint64_t bucket_idle_tokens(const struct limit *limit, struct tat tat, uint64_t now_ns) {
    if (tat.ns >= now_ns) {
        return 0;
    }
    /* The part is left out: that rounds up. */
    uint64_t product;
    if (!__builtin_mul_overflow(now_ns - tat.ns, limit->rate_tokens, &product)) {
        return product / limit->period_ns + (product % limit->period_ns != 0);
    }
    uint128 wide = (uint128)(now_ns - tat.ns) * limit->rate_tokens;
    uint128 tokens = wide / limit->period_ns + (wide % limit->period_ns != 0);
    return tokens > UINT64_MAX ? UINT64_MAX : (uint64_t)tokens;
}

uint64_t bucket_grid_ns(const struct limit *limit, uint32_t part) {
    uint64_t most_ns = span_of(limit, limit->burst_tokens).ns / part;
    uint64_t grid_ns = most_ns > 0 ? UINT64_C(1) << (63 - __builtin_clzll(most_ns)) : 0;
    struct tat two_tokens = span_of(limit, 2);
    return grid_ns < two_tokens.ns + (two_tokens.part > 0) ? 0 : grid_ns;
}

struct tat bucket_ahead(const struct limit *limit, struct tat tat, uint64_t tokens) {
    return span_add(tat, span_of(limit, tokens), limit->rate_tokens);
}

uint64_t bucket_level(const struct limit *limit, struct tat tat, uint64_t now_ns) {
    return level_of(limit, span_of(limit, limit->burst_tokens), deficit_at(tat, now_ns));
}

/* The same tokens as `deficit` under `from`, as ns under `to`:
 * deficit * from.rate / from.period tokens, whole and fraction apart so that nothing overflows. */
static uint64_t convert_deficit(const struct limit *from, const struct limit *to,
                                struct tat deficit) {
    if (deficit.ns >= TOLERANCE_NS_MAX) {
        deficit = (struct tat){.ns = TOLERANCE_NS_MAX};
    }
    uint128 spent = (uint128)deficit.ns * from->rate_tokens + deficit.part;
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

bool bucket_refills_sooner(const struct terms *from, const struct terms *to) {
    bool sooner = to->limit_count > from->limit_count;
    for (uint32_t i = 0; i < to->limit_count && i < from->limit_count; i++) {
        const struct limit *a = &from->limits[i], *b = &to->limits[i];
        sooner = sooner ||
                 (uint128)b->rate_tokens * a->period_ns > (uint128)a->rate_tokens * b->period_ns;
    }
    return sooner;
}

void bucket_convert(const struct terms *from, const struct terms *to, struct tat tats[],
                    uint64_t now_ns) {
    for (uint32_t i = 0; i < to->limit_count; i++) {
        if (i >= from->limit_count) {
            tats[i] = (struct tat){0};
            continue;
        }
        if (from->limits[i].rate_tokens == to->limits[i].rate_tokens &&
            from->limits[i].period_ns == to->limits[i].period_ns) {
            continue; /* another burst changes nothing of what was spent */
        }
        /* Also of a full one: its part is one of the old rate. */
        struct tat deficit = deficit_at(tats[i], now_ns);
        tats[i] = (struct tat){0};
        if (!span_is_zero(deficit)) {
            tats[i].ns = now_ns + convert_deficit(&from->limits[i], &to->limits[i], deficit);
        }
    }
}
