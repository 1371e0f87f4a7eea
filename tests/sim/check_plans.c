/* Plans that change: which terms a bucket may have been under since it was looked at last. A shard
 * puts buckets under the limits in force when it comes to them, asked or not, and back again if
 * those of before come back: what refills meanwhile does so as fast as one of them says. */
#include <assert.h>

#include "server/core/shard_state.h"
#include "tests/sim/check.h"
#include "tests/sim/world.h"

#define HOLDERS_MAX 512

/* Terms that a plan of a run has at one time or another. */
#define VARIANTS_MAX 8

static const char *const names[] = {"default", "double", "slow"};
#define PLANS_OF_RUN (sizeof names / sizeof names[0])

/* A shard, and what it puts buckets under. */
struct holder {
    const struct shard *shard;
    const struct process *process;
    struct terms terms[PLANS_OF_RUN];
};

static struct holder holders[HOLDERS_MAX];
static uint32_t holder_count;
static struct terms variants[PLANS_OF_RUN][VARIANTS_MAX];
static uint32_t variant_counts[PLANS_OF_RUN];

/* The plan that has had these terms, or -1. */
static int32_t plan_of(const struct terms *terms) {
    for (uint32_t i = 0; i < PLANS_OF_RUN; i++) {
        for (uint32_t j = 0; j < variant_counts[i]; j++) {
            if (terms_equal(&variants[i][j], terms)) {
                return (int32_t)i;
            }
        }
    }
    return -1;
}

static struct holder *holder_of(const struct shard *shard, const struct process *process) {
    for (uint32_t i = 0; i < holder_count; i++) {
        if (holders[i].shard == shard && holders[i].process == process) {
            return &holders[i];
        }
    }
    assert(holder_count < HOLDERS_MAX);
    holder_count++;
    holders[holder_count - 1] = (struct holder){.shard = shard, .process = process};
    return &holders[holder_count - 1];
}

void plans_seen(const struct shard *shard, const struct process *process) {
    struct holder *holder = holder_of(shard, process);
    for (uint32_t i = 0; i < PLANS_OF_RUN; i++) {
        int32_t at = plan_set_find(shard->plans, bytes_of_text(names[i]));
        if (at < 0) {
            continue;
        }
        holder->terms[i] = shard->plans->plans[at].generations[0].terms;
        if (plan_of(&holder->terms[i]) < 0) {
            assert(variant_counts[i] < VARIANTS_MAX);
            variants[i][variant_counts[i]] = holder->terms[i];
            variant_counts[i]++;
        }
    }
}

bool plans_same(const struct terms *a, const struct terms *b) {
    int32_t plan = plan_of(a);
    return plan >= 0 && plan == plan_of(b) && a->limit_count == b->limit_count;
}

static void refill_add(struct plans_refill *refill, const struct terms *terms, uint32_t limit_at,
                       uint64_t period_ns) {
    if (limit_at >= terms->limit_count) {
        return; /* it has no plans yet */
    }
    const struct limit *limit = &terms->limits[limit_at];
    assert(limit->period_ns == period_ns);
    if (limit->rate_tokens > refill->fastest_tokens) {
        refill->fastest_tokens = limit->rate_tokens;
    }
    if (limit->rate_tokens < refill->slowest_tokens) {
        refill->slowest_tokens = limit->rate_tokens;
    }
}

struct plans_refill plans_refill(const struct terms *terms, uint32_t limit_at, uint64_t since_ns) {
    const struct limit *limit = &terms->limits[limit_at];
    struct plans_refill refill = {limit->rate_tokens, limit->rate_tokens};
    int32_t plan = plan_of(terms);
    for (uint32_t i = 0; i < holder_count && plan >= 0; i++) {
        if (holders[i].process->alive || holders[i].process->ended_ns >= since_ns) {
            refill_add(&refill, &holders[i].terms[plan], limit_at, limit->period_ns);
        }
    }
    /* What routers know of plans that they decide under in the store is not looked at. */
    bool anywhere = plan >= 0 && config_has(&world.config, FEATURE_FALLBACK);
    for (uint32_t i = 0; anywhere && i < variant_counts[plan]; i++) {
        refill_add(&refill, &variants[plan][i], limit_at, limit->period_ns);
    }
    return refill;
}
