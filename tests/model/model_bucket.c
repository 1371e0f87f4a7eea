/*
 * The bucket's arithmetic, over random histories of many keys, against exact fractions.
 *
 * The oracle keeps for each limit the exact GCRA: E = tat * rate, a whole number without rounding
 * (tat is a fraction with denominator rate), and follows the decisions made. Checked at each step:
 *   - granted exactly what the exact bucket could give, and refused what it could not;
 *   - cost <= level <=> granted, for all limits together; all limits change or none;
 *   - tat is the exact one: nothing is lost to rounding, nothing is won;
 *   - the bound over every window of a history without refunds;
 *   - a refusal's retry_after is the first microsecond at which the take is granted;
 *   - a change of limits keeps the tokens spent.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "proto/bucket.h"
#include "tests/model/model.h"

#define MS UINT64_C(1000000)
#define SECOND UINT64_C(1000000000)
#define START_NS (UINT64_C(1700000000) * SECOND)
#define KEYS 64

typedef unsigned __int128 uint128;
typedef __int128 int128;

/* One limit of one key. */
struct exact {
    uint128 tat; /* in ns / rate */
    /* The bound over all windows: with S the cost granted before a grant at t, the least
     * S * period - rate * t so far is where the worst window begins. */
    uint64_t spent;
    int128 worst;
};

struct key {
    struct terms terms;
    struct tat tats[LIMITS_PER_PLAN_MAX];
    struct exact exact[LIMITS_PER_PLAN_MAX];
    uint64_t now_ns, since_ns, granted_ns;
};

/* --- planted faults ------------------------------------------------------------------------ */

enum {
    PLANT_FLOOR_REFILL,
    PLANT_REFUSED_WRITES,
    PLANT_CEIL_TOLERANCE,
    PLANT_FLOOR_TOLERANCE,
    PLANT_HALF_CHARGED
};
static const char *const plants[] = {"floor-refill",    "refused-writes", "ceil-tolerance",
                                     "floor-tolerance", "half-charged",   NULL};
static int plant;

/* The refill of many examples: whole tokens only, and the clock set to now. */
static void floor_refill(const struct terms *terms, struct tat tats[], uint64_t now_ns) {
    for (uint32_t i = 0; i < terms->limit_count; i++) {
        const struct limit *limit = &terms->limits[i];
        uint64_t missing = limit->burst_tokens - bucket_level(limit, tats[i], now_ns);
        uint128 ns =
            ((uint128)missing * limit->period_ns + limit->rate_tokens - 1) / limit->rate_tokens;
        tats[i] = (struct tat){.ns = now_ns + (uint64_t)ns};
    }
}

/* In whole ns: each increment rounded up, the tolerance rounded down, or up. */
static void plain_rule(const struct terms *terms, struct tat tats[], uint64_t cost, uint64_t now_ns,
                       bool ceil, struct take_result *result) {
    result->allowed = true;
    uint64_t next_ns[LIMITS_PER_PLAN_MAX];
    for (uint32_t i = 0; i < terms->limit_count; i++) {
        const struct limit *limit = &terms->limits[i];
        uint128 tolerance = (uint128)limit->burst_tokens * limit->period_ns;
        tolerance = (tolerance + (ceil ? limit->rate_tokens - 1 : 0)) / limit->rate_tokens;
        uint128 next =
            (uint128)(tats[i].ns > now_ns ? tats[i].ns : now_ns) +
            ((uint128)cost * limit->period_ns + limit->rate_tokens - 1) / limit->rate_tokens;
        result->allowed = result->allowed && next - now_ns <= tolerance;
        next_ns[i] = (uint64_t)next;
    }
    if (result->allowed && cost > 0) {
        for (uint32_t i = 0; i < terms->limit_count; i++) {
            tats[i] = (struct tat){.ns = next_ns[i]};
        }
    }
}

static void decide(const struct terms *terms, struct tat tats[], enum verb verb, uint64_t cost,
                   uint64_t now_ns, struct take_result *result) {
    struct tat before[LIMITS_PER_PLAN_MAX];
    memcpy(before, tats, sizeof before);
    bucket_decide(terms, tats, verb, cost, now_ns, result);
    if (plant < 0 || verb != VERB_TAKE) {
        return;
    }
    if (plant == PLANT_FLOOR_REFILL && result->allowed && cost > 0) {
        floor_refill(terms, tats, now_ns);
    } else if (plant == PLANT_HALF_CHARGED && result->allowed && cost > 0) {
        for (uint32_t i = 0; i < terms->limit_count; i++) {
            uint64_t from_ns = before[i].ns > now_ns ? before[i].ns : now_ns;
            tats[i] = (struct tat){.ns = tats[i].ns - (tats[i].ns - from_ns) / 2};
        }
    } else if (plant == PLANT_REFUSED_WRITES && !result->allowed && model_chance(1)) {
        tats[0].ns = tats[0].ns > now_ns ? tats[0].ns + 1 : now_ns + 1;
    } else if (plant == PLANT_CEIL_TOLERANCE || plant == PLANT_FLOOR_TOLERANCE) {
        memcpy(tats, before, sizeof before);
        plain_rule(terms, tats, cost, now_ns, plant == PLANT_CEIL_TOLERANCE, result);
    }
}

/* --- random limits, costs and times -------------------------------------------------------- */

static struct limit random_limit(void) {
    const uint64_t periods[] = {MS,           SECOND, 60 * SECOND, 3600 * SECOND, 86400 * SECOND,
                                PERIOD_NS_MAX};
    struct fault fault;
    struct limit limit;
    do {
        switch (model_below(3)) {
        case 0:
            limit =
                (struct limit){model_between(1, 10), periods[model_below(6)], model_between(1, 20)};
            break;
        case 1:
            limit = (struct limit){model_between(1, 1000000), model_between(MS, 100 * SECOND),
                                   model_between(1, 1000000)};
            break;
        default:
            limit = (struct limit){model_between(1, TOKENS_MAX >> model_below(48)),
                                   model_between(MS, PERIOD_NS_MAX),
                                   model_between(1, TOKENS_MAX >> model_below(48))};
            break;
        }
    } while (limit_check(&limit, "limit", &fault) != CODE_OK);
    return limit;
}

static struct terms random_terms(void) {
    struct terms terms = {.limit_count = (uint32_t)model_between(1, LIMITS_PER_PLAN_MAX)};
    if (model_chance(50)) {
        terms.limit_count = 1;
    }
    for (uint32_t i = 0; i < terms.limit_count; i++) {
        terms.limits[i] = random_limit();
    }
    return terms;
}

static uint64_t tolerance_of(const struct limit *limit) {
    return (uint64_t)((uint128)limit->burst_tokens * limit->period_ns / limit->rate_tokens);
}

static uint64_t random_cost(const struct key *key) {
    const struct limit *limit = &key->terms.limits[model_below(key->terms.limit_count)];
    uint64_t level = bucket_level(limit, key->tats[limit - key->terms.limits], key->now_ns);
    switch (model_below(10)) {
    case 0:
        return 0;
    case 1:
        return limit->burst_tokens;
    case 2:
        return limit->burst_tokens + model_between(1, 3);
    case 3:
        return level;
    case 4:
        return level + 1;
    case 5:
        return model_between(1, TOKENS_MAX);
    case 6:
        return model_between(1, limit->burst_tokens);
    default:
        return model_between(1, limit->burst_tokens / 8 + 1);
    }
}

/* Time goes on by about a token, about a burst, hardly at all; and rarely back. */
static void random_time(struct key *key) {
    const struct limit *limit = &key->terms.limits[model_below(key->terms.limit_count)];
    uint64_t token_ns = limit->period_ns / limit->rate_tokens;
    switch (model_below(12)) {
    case 0:
        key->now_ns += model_below(3);
        break;
    case 1:
    case 2:
        key->now_ns += model_below(3 * token_ns + 2);
        break;
    case 3:
        key->now_ns += token_ns;
        break;
    case 4:
        key->now_ns += model_below(tolerance_of(limit) / 4 + 2);
        break;
    case 5:
        key->now_ns += model_chance(20) ? tolerance_of(limit) + model_below(2) : 0;
        break;
    case 6:
        key->now_ns -= model_chance(20) ? model_below(2 * token_ns + 2) % (START_NS / 1000) : 0;
        break;
    default:
        break;
    }
}

/* --- the oracle ---------------------------------------------------------------------------- */

static uint128 exact_deficit(const struct key *key, uint32_t i) {
    uint128 now = (uint128)key->now_ns * key->terms.limits[i].rate_tokens;
    return key->exact[i].tat > now ? key->exact[i].tat - now : 0;
}

static uint128 tat_exact(const struct key *key, uint32_t i) {
    return (uint128)key->tats[i].ns * key->terms.limits[i].rate_tokens + key->tats[i].part;
}

/* From here on the history is as if it began now. */
static void history_begin(struct key *key) {
    key->since_ns = key->now_ns;
    key->granted_ns = 0;
    for (uint32_t i = 0; i < key->terms.limit_count; i++) {
        key->exact[i] = (struct exact){.tat = tat_exact(key, i)};
    }
}

static void key_begin(struct key *key) {
    memset(key, 0, sizeof *key);
    key->now_ns = START_NS;
    key->terms = random_terms();
    history_begin(key);
}

static void check_granted(const struct key *key, uint64_t cost) {
    if (plant == PLANT_HALF_CHARGED) {
        return; /* the windows have to find it */
    }
    for (uint32_t i = 0; i < key->terms.limit_count; i++) {
        const struct limit *limit = &key->terms.limits[i];
        uint128 allowance = (uint128)limit->burst_tokens * limit->period_ns;
        if (cost > limit->burst_tokens ||
            exact_deficit(key, i) + (uint128)cost * limit->period_ns > allowance) {
            model_fail("cost %" PRIu64 " granted beyond limit %u of %" PRIu64 "/%" PRIu64
                       " ns, burst %" PRIu64,
                       cost, i, limit->rate_tokens, limit->period_ns, limit->burst_tokens);
        }
    }
}

static void check_refused(const struct key *key, uint64_t cost) {
    for (uint32_t i = 0; i < key->terms.limit_count; i++) {
        const struct limit *limit = &key->terms.limits[i];
        uint128 capacity = (uint128)limit->burst_tokens * limit->period_ns;
        if (exact_deficit(key, i) + (uint128)cost * limit->period_ns > capacity) {
            return;
        }
    }
    model_fail("cost %" PRIu64 " refused although every limit has it", cost);
}

/* No window of the history that ends with this grant may hold more than the bound. */
static void check_windows(struct key *key, uint64_t cost) {
    if (key->now_ns > key->granted_ns) {
        key->granted_ns = key->now_ns; /* a clock that steps back grants no more for it */
    }
    for (uint32_t i = 0; i < key->terms.limit_count; i++) {
        const struct limit *limit = &key->terms.limits[i];
        struct exact *exact = &key->exact[i];
        int128 elapsed = (int128)key->granted_ns - (int128)key->since_ns;
        int128 time = elapsed * (int128)limit->rate_tokens;
        int128 begin = (int128)exact->spent * (int128)limit->period_ns - time;
        if (exact->spent == 0 || begin < exact->worst) {
            exact->worst = begin;
        }
        exact->spent += cost;
        int128 end = (int128)exact->spent * (int128)limit->period_ns - time;
        if (end - exact->worst > (int128)limit->burst_tokens * (int128)limit->period_ns) {
            model_fail("limit %u granted more than burst + rate * d / period in a window", i);
        }
    }
}

static void oracle_grant(struct key *key, uint64_t cost) {
    for (uint32_t i = 0; i < key->terms.limit_count; i++) {
        const struct limit *limit = &key->terms.limits[i];
        struct exact *exact = &key->exact[i];
        uint128 now = (uint128)key->now_ns * limit->rate_tokens;
        exact->tat = (exact->tat > now ? exact->tat : now) + (uint128)cost * limit->period_ns;
    }
}

static void oracle_refund(struct key *key, uint64_t cost) {
    for (uint32_t i = 0; i < key->terms.limit_count; i++) {
        struct exact *exact = &key->exact[i];
        uint128 given = (uint128)cost * key->terms.limits[i].period_ns;
        uint128 deficit = exact_deficit(key, i);
        if (deficit > 0) {
            exact->tat -= given < deficit ? given : deficit;
        }
        /* Windows across a refund may grant what came back: begin anew. */
        exact->spent = 0;
        exact->worst = 0;
    }
    key->since_ns = key->now_ns;
    key->granted_ns = 0;
}

static void check_rounding(const struct key *key) {
    if (plant == PLANT_HALF_CHARGED) {
        return;
    }
    for (uint32_t i = 0; i < key->terms.limit_count; i++) {
        uint128 now = (uint128)key->now_ns * key->terms.limits[i].rate_tokens;
        uint128 ours = tat_exact(key, i), exact = key->exact[i].tat;
        ours = ours > now ? ours : now;
        exact = exact > now ? exact : now;
        if (ours != exact || key->tats[i].part >= key->terms.limits[i].rate_tokens) {
            model_fail("limit %u is %s the exact bucket", i, ours < exact ? "ahead of" : "behind");
        }
    }
}

static void check_retry(const struct key *key, uint64_t cost, const struct take_result *result) {
    struct take_result again;
    struct tat copy[LIMITS_PER_PLAN_MAX];
    bool never = false;
    for (uint32_t i = 0; i < key->terms.limit_count; i++) {
        never = never || cost > key->terms.limits[i].burst_tokens;
    }
    if (never != (result->retry_after_us == RETRY_NEVER)) {
        model_fail("cost %" PRIu64 ": retry_after %" PRId64, cost, result->retry_after_us);
    }
    if (never) {
        return;
    }
    for (int early = 0; early < 2; early++) {
        uint64_t at_ns = key->now_ns + (uint64_t)(result->retry_after_us - early) * 1000;
        memcpy(copy, key->tats, sizeof copy);
        bucket_decide(&key->terms, copy, VERB_TAKE, cost, at_ns, &again);
        if (again.allowed != !early) {
            model_fail("cost %" PRIu64 ": %s at retry_after %" PRId64 " us%s", cost,
                       again.allowed ? "granted" : "refused", result->retry_after_us,
                       early ? " less one" : "");
        }
    }
}

/* --- changing limits ----------------------------------------------------------------------- */

struct wide { /* a product of three 64-bit numbers */
    uint128 high;
    uint64_t low;
};

static struct wide product(uint64_t a, uint64_t b, uint64_t c) {
    uint128 ab = (uint128)a * b;
    uint128 low = (uint128)(uint64_t)ab * c;
    return (struct wide){(ab >> 64) * c + (low >> 64), (uint64_t)low};
}

static bool wide_less(struct wide a, struct wide b) {
    return a.high != b.high ? a.high < b.high : a.low < b.low;
}

static void change_limits(struct key *key) {
    struct terms from = key->terms, to = random_terms();
    struct tat before[LIMITS_PER_PLAN_MAX];
    memcpy(before, key->tats, sizeof before);
    bucket_convert(&from, &to, key->tats, key->now_ns);
    for (uint32_t i = 0; i < to.limit_count; i++) {
        uint64_t after_ns = bucket_reset_ns(key->tats[i], key->now_ns);
        if (i >= from.limit_count) {
            if (after_ns != 0) {
                model_fail("a new limit does not start full");
            }
            continue;
        }
        const struct limit *a = &from.limits[i], *b = &to.limits[i];
        if (a->rate_tokens == b->rate_tokens && a->period_ns == b->period_ns) {
            if (before[i].ns != key->tats[i].ns || before[i].part != key->tats[i].part) {
                model_fail("a limit that stayed was changed");
            }
            continue;
        }
        uint64_t least_ns = before[i].ns > key->now_ns ? before[i].ns - key->now_ns : 0;
        uint64_t most_ns = bucket_reset_ns(before[i], key->now_ns);
        /* spent = deficit * a.rate / a.period = after * b.rate / b.period, the latter rounded up
         * by at most 2 ns, or cut to the longest time; the deficit is between least and most. */
        uint64_t spent_ab = a->rate_tokens, period_ab = b->period_ns;
        struct wide spent = product(least_ns, spent_ab, period_ab);
        struct wide kept = product(after_ns, b->rate_tokens, a->period_ns);
        if (wide_less(kept, spent) && after_ns != TOLERANCE_NS_MAX &&
            least_ns <= TOLERANCE_NS_MAX) {
            model_fail("changing limit %u forgot tokens", i);
        }
        spent = product(most_ns, spent_ab, period_ab);
        if (after_ns > 2 && wide_less(spent, product(after_ns - 2, b->rate_tokens, a->period_ns))) {
            model_fail("changing limit %u invented tokens spent", i);
        }
    }
    key->terms = to;
    history_begin(key);
}

/* --- a step -------------------------------------------------------------------------------- */

static uint64_t counted_grants, counted_refusals;

static void take_step(struct key *key, uint64_t cost) {
    struct take_result result, peek;
    struct tat before[LIMITS_PER_PLAN_MAX];
    bool within = true;
    for (uint32_t i = 0; i < key->terms.limit_count; i++) {
        within = within && cost <= bucket_level(&key->terms.limits[i], key->tats[i], key->now_ns);
    }
    memcpy(before, key->tats, sizeof before);
    decide(&key->terms, key->tats, VERB_PEEK, cost, key->now_ns, &peek);
    decide(&key->terms, key->tats, VERB_TAKE, cost, key->now_ns, &result);
    if (cost > 0 && (within != result.allowed || peek.allowed != result.allowed)) {
        model_fail("cost %" PRIu64 " %s the level, but %s", cost, within ? "within" : "above",
                   result.allowed ? "granted" : "refused");
    }
    for (uint32_t i = 0; i < key->terms.limit_count; i++) {
        bool changed = memcmp(&before[i], &key->tats[i], sizeof before[i]) != 0;
        if (changed != (result.allowed && cost > 0)) {
            model_fail("limit %u %s", i, changed ? "changed without a grant" : "was not charged");
        }
    }
    if (result.allowed && cost > 0) {
        counted_grants++;
        check_windows(key, cost);
        check_granted(key, cost);
        oracle_grant(key, cost);
        check_rounding(key);
    } else if (!result.allowed) {
        counted_refusals++;
        if (cost > 0) {
            check_refused(key, cost);
        }
        check_retry(key, cost, &result);
        if (model_chance(10) && result.retry_after_us > 0 &&
            result.retry_after_us < (int64_t)(START_NS / 2000)) {
            key->now_ns += (uint64_t)result.retry_after_us * 1000;
        }
    }
}

static void key_step(struct key *key) {
    check_rounding(key);
    if (key->now_ns > 2 * START_NS || model_below(5000) == 0) {
        key_begin(key);
    }
    random_time(key);
    uint64_t cost = random_cost(key);
    uint64_t choice = model_below(1000);
    if (choice == 0) {
        change_limits(key);
    } else if (choice < 5) {
        struct take_result result;
        decide(&key->terms, key->tats, VERB_REFUND, cost, key->now_ns, &result);
        oracle_refund(key, cost);
        if (!result.allowed) {
            model_fail("a refund was refused");
        }
        check_rounding(key);
    } else {
        take_step(key, cost);
    }
}

int main(int argc, char **argv) {
    static struct key keys[KEYS];
    struct model_arguments arguments = model_arguments(argc, argv, 10000000, plants);
    plant = arguments.plant;
    for (uint32_t i = 0; i < KEYS; i++) {
        key_begin(&keys[i]);
    }
    for (model_step = 0; model_step < arguments.steps; model_step++) {
        key_step(&keys[model_below(KEYS)]);
    }
    printf("%" PRIu64 " granted, %" PRIu64 " refused: no difference\n", counted_grants,
           counted_refusals);
    return 0;
}
