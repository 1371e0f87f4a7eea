/* What each key was granted, by an exact account of its own. */
#include <inttypes.h>

#include "proto/record.h"
#include "proto/slot.h"
#include "tests/sim/check.h"
#include "tests/sim/coverage.h"
#include "tests/sim/parts.h"
#include "tests/sim/world.h"

/* States of a key that are remembered, to tell which grants were old enough to be safe. */
#define PAST_MAX 128

/* Grants of a strict key that are kept one by one: those that may be told of late, or by a former
 * owner, are among the newest. */
#define GRANTS_MAX 256

/* Tokens that a key may owe beyond its burst, after its plan was changed more than once. */
#define DEBT_TOKENS_MAX 100

struct past {
    uint64_t at_ns; /* true time */
    parts low[LIMITS_PER_PLAN_MAX];
};

/* A grant under a strict plan, as its caller was told of it. */
struct grant {
    uint64_t at_ns; /* cluster time of the decision */
    uint64_t cost;
};

struct key_model {
    bool used;
    bool strict;
    char name[32];
    uint32_t slot;
    struct terms terms;
    /* When the bucket is full again, by what must have been counted and what can have been. */
    parts low[LIMITS_PER_PLAN_MAX], high[LIMITS_PER_PLAN_MAX];
    struct process *granter;
    struct past past[PAST_MAX];
    uint32_t past_count;
    /* Strict: what was granted, by time of decision, after what is counted in `base`. */
    struct grant grants[GRANTS_MAX];
    uint32_t grant_count;
    parts base[LIMITS_PER_PLAN_MAX];
    bool owes; /* a limit was lowered since its owner granted: it may lack more than a burst */
    uint64_t refunded_ns; /* true time: what was decided until then is no longer counted */
    uint64_t folded_ns;   /* the same, of what was decided before */
    struct lost lost;     /* strict: by a store that a newer owner has read */
    /* Tokens of a period by any terms that the bucket can have been under since it was charged
     * last, and until when they are counted (true time, and what clocks had jumped by then). */
    uint64_t slowest[LIMITS_PER_PLAN_MAX], fastest[LIMITS_PER_PLAN_MAX];
    uint64_t looked_ns, looked_jumps_ns;
};

static struct key_model models[KEYS_OF_RUN_MAX];

/* --- models -------------------------------------------------------------------------------- */

void keys_begin(void) {
    memset(models, 0, sizeof models);
}

static struct key_model *model_find(struct bytes key) {
    char name[32];
    for (uint32_t i = 0; i < world.config.keys; i++) {
        key_name(i, name);
        if (bytes_equal(key, bytes_of_text(name))) {
            struct key_model *model = &models[i];
            if (!model->used) {
                model->used = true;
                memcpy(model->name, name, sizeof name);
                model->slot = slot_of_hash(key_hash(key), world.config.slots).index;
            }
            return model;
        }
    }
    sim_fail("bound", "a decision on a key that nobody asked for");
}

/* Tokens that the bucket can lack under one of its limits. A former owner whose clock was ahead
 * leaves a debt of rate * error, which an owner keeps as tokens when the plan changes. */
static uint64_t debt_of(const struct key_model *model, uint32_t limit_at, uint64_t now_ns) {
    const struct limit *limit = &model->terms.limits[limit_at];
    parts now = at(limit, now_ns), high = model->high[limit_at];
    uint64_t debt = high > now ? (uint64_t)((high - now) / limit->period_ns) + 1 : 0;
    uint64_t usual = limit->burst_tokens + DEBT_TOKENS_MAX;
    return debt > usual ? debt : usual;
}

/* The account starts over, with nothing that must have been counted and all that can have been. */
static void account_restart(struct key_model *model, const struct terms *terms, uint64_t now_ns) {
    uint64_t most_tokens = 0;
    for (uint32_t i = 0; i < model->terms.limit_count; i++) {
        uint64_t tokens = debt_of(model, i, now_ns);
        most_tokens = tokens > most_tokens ? tokens : most_tokens;
    }
    for (uint32_t i = 0; i < terms->limit_count; i++) {
        const struct limit *limit = &terms->limits[i];
        model->low[i] = model->base[i] = 0;
        model->slowest[i] = model->fastest[i] = limit->rate_tokens;
        model->high[i] = at(limit, now_ns) + (parts)most_tokens * limit->period_ns;
    }
    model->terms = *terms;
    model->owes = false;
    model->past_count = model->grant_count = 0;
    model->folded_ns = sim_now();
}

/* The bucket goes on refilling by so many tokens a period of `from`, until a take, granted or
 * refused, puts it under the account's terms: a peek does not, nor does a router that refuses. */
static void refills_as_before(struct key_model *model, uint32_t limit_at, uint64_t tokens,
                              const struct limit *from) {
    parts scaled = (parts)tokens * model->terms.limits[limit_at].period_ns / from->period_ns;
    model->slowest[limit_at] = least(model->slowest[limit_at], (uint64_t)scaled);
}

/* Under other limits of the same plan what was spent stays spent. Of another plan nobody knows here
 * when it came, and what was between. */
static void terms_change(struct key_model *model, const struct terms *terms, uint64_t now_ns) {
    struct key_model before = *model;
    account_restart(model, terms, now_ns);
    for (uint32_t i = 0; i < before.terms.limit_count && i < terms->limit_count; i++) {
        refills_as_before(model, i, before.slowest[i], &before.terms.limits[i]);
    }
    for (uint32_t i = 0; plans_same(&before.terms, terms) && i < terms->limit_count; i++) {
        const struct limit *limit = &terms->limits[i];
        parts full =
            at(&before.terms.limits[i], now_ns) + (parts)before.fastest[i] * check_clock_bound();
        if (before.low[i] > full) {
            model->low[i] = model->base[i] = at(limit, now_ns) + before.low[i] - full;
        }
        model->fastest[i] = greatest(before.fastest[i], limit->rate_tokens);
        model->owes =
            model->owes || before.owes || limit->burst_tokens < before.terms.limits[i].burst_tokens;
    }
}

/* While shards differ in what a plan's limits are, or go from one to another and back, the bucket
 * refills as any of them says, and as those that it was charged under: nobody puts it under others
 * to refuse a take. It does so by cluster time, which jumps with the clocks it is told from. */
static void plans_pass(struct key_model *model, uint64_t slack_ns) {
    uint64_t jumped_ns = check_clock_jumps() - model->looked_jumps_ns;
    uint64_t passed_ns = sim_now() - model->looked_ns + jumped_ns + slack_ns;
    bool faster = false;
    for (uint32_t i = 0; i < model->terms.limit_count; i++) {
        struct plans_refill refill = plans_refill(&model->terms, i, model->looked_ns);
        uint64_t rate = model->terms.limits[i].rate_tokens;
        model->slowest[i] = least(model->slowest[i], refill.slowest_tokens);
        model->fastest[i] = greatest(model->fastest[i], refill.fastest_tokens);
        parts more = (parts)(model->fastest[i] - rate) * passed_ns;
        faster = faster || more > 0;
        lower(&model->low[i], more);
        for (uint32_t j = 0; j < model->past_count; j++) {
            lower(&model->past[j].low[i], more);
        }
        model->high[i] += (parts)(rate - model->slowest[i]) * passed_ns;
    }
    if (faster) {
        memcpy(model->base, model->low, sizeof model->base);
        model->grant_count = 0;
        model->folded_ns = sim_now();
    }
    model->looked_ns = sim_now();
    model->looked_jumps_ns = check_clock_jumps();
}

void keys_plans_change(void) {
    for (uint32_t i = 0; i < world.config.keys; i++) {
        if (models[i].used) {
            plans_pass(&models[i], check_clock_bound());
        }
    }
}

static void past_add(struct key_model *model) {
    if (model->past_count == PAST_MAX) {
        model->past_count--;
        memmove(&model->past[0], &model->past[1], model->past_count * sizeof model->past[0]);
    }
    struct past *past = &model->past[model->past_count];
    model->past_count++;
    past->at_ns = sim_now();
    memcpy(past->low, model->low, sizeof past->low);
}

static void bound_fail(const struct key_model *model, const struct check_decision *decision,
                       uint32_t limit_at, parts over) {
    const struct limit *limit = &model->terms.limits[limit_at];
    sim_fail("bound",
             "%s: %s granted %" PRIu64 ", %" PRIu64 " tokens more than %" PRIu64 " per %" PRIu64
             " ms, burst %" PRIu64 ", allow (%s)",
             model->name, decision->process->name, decision->cost,
             (uint64_t)((over + limit->period_ns - 1) / limit->period_ns), limit->rate_tokens,
             limit->period_ns / MS, limit->burst_tokens, decision->strict ? "strict" : "relaxed");
}

static void granted(struct key_model *model, const struct check_decision *decision) {
    for (uint32_t i = 0; i < model->terms.limit_count; i++) {
        const struct limit *limit = &model->terms.limits[i];
        parts now = at(limit, decision->now_ns);
        parts room = (parts)limit->burst_tokens * limit->period_ns;
        model->low[i] = most(model->low[i], now) + (parts)decision->cost * limit->period_ns;
        if (decision->cost > 0 && model->low[i] > now + room) {
            bound_fail(model, decision, i, model->low[i] - now - room);
        }
    }
    past_add(model);
}

static void charged(struct key_model *model, const struct check_decision *decision) {
    for (uint32_t i = 0; i < model->terms.limit_count; i++) {
        const struct limit *limit = &model->terms.limits[i];
        parts increment = (parts)decision->cost * limit->period_ns;
        model->high[i] = most(model->high[i], at(limit, decision->now_ns)) + increment;
        if (decision->cost > 0) { /* it is under these terms now, whatever it was under before */
            model->slowest[i] = model->fastest[i] = limit->rate_tokens;
        }
    }
    model->granter = decision->process;
}

static void refused(const struct key_model *model, const struct check_decision *decision) {
    for (uint32_t i = 0; i < model->terms.limit_count; i++) {
        const struct limit *limit = &model->terms.limits[i];
        parts now = at(limit, decision->now_ns);
        parts after = most(model->high[i], now) + (parts)decision->cost * limit->period_ns;
        if (after > now + (parts)limit->burst_tokens * limit->period_ns) {
            return;
        }
    }
    sim_fail("refusal", "%s: %s refused %" PRIu64 " tokens that were there", model->name,
             decision->process->name, decision->cost);
}

/* A refused take has put the bucket under the account's terms. Where limits change, a shard that
 * has not heard of the newest may have left it as it was. */
static void refills_from_now(struct key_model *model, const struct check_decision *decision) {
    if (decision->verb != VERB_TAKE || config_has(&world.config, FEATURE_PLANS)) {
        return;
    }
    for (uint32_t i = 0; i < model->terms.limit_count; i++) {
        model->slowest[i] = model->terms.limits[i].rate_tokens;
    }
}

static void refunded(struct key_model *model, const struct check_decision *decision) {
    for (uint32_t i = 0; i < model->terms.limit_count; i++) {
        const struct limit *limit = &model->terms.limits[i];
        parts now = at(limit, decision->now_ns);
        parts increment = (parts)decision->cost * limit->period_ns;
        model->low[i] = model->low[i] > now + increment ? model->low[i] - increment : now;
        /* An owner that has forgotten a grant refunds less than one that has not. */
    }
    past_add(model);
}

/* --- what the store holds when an owner reads it ------------------------------------------- */

static bool stored_read(const struct key_model *model, parts stored[LIMITS_PER_PLAN_MAX]) {
    struct buffer out = {0};
    struct record record;
    memset(stored, 0, LIMITS_PER_PLAN_MAX * sizeof stored[0]);
    bool found = stored_record(model->name, model->slot, &record, &out),
         absent = out.data[1] == '-';
    bool good = absent || (found && stored_under(&record, &model->terms));
    for (uint32_t i = 0; found && good && i < record.tat_count; i++) {
        stored[i] = at(&model->terms.limits[i], record.tats[i].ns) + record.tats[i].part;
    }
    buffer_free(&out);
    return good;
}

/* --- strict plans -------------------------------------------------------------------------- */

/* Into its place by time; the oldest is counted for good when there is no room. */
static void grant_add(struct key_model *model, uint64_t at_ns, uint64_t cost) {
    if (model->grant_count == GRANTS_MAX) {
        const struct grant *oldest = &model->grants[0];
        for (uint32_t i = 0; i < model->terms.limit_count; i++) {
            const struct limit *limit = &model->terms.limits[i];
            model->base[i] = most(model->base[i], at(limit, oldest->at_ns)) +
                             (parts)oldest->cost * limit->period_ns;
        }
        model->grant_count--;
        memmove(&model->grants[0], &model->grants[1], model->grant_count * sizeof model->grants[0]);
    }
    uint32_t place = model->grant_count;
    for (; place > 0 && model->grants[place - 1].at_ns > at_ns; place--) {
        model->grants[place] = model->grants[place - 1];
    }
    model->grants[place] = (struct grant){at_ns, cost};
    model->grant_count++;
}

/* What an owner may have reserved beyond what it granted. */
static uint64_t reserve_of(const struct limit *limit) {
    return limit->burst_tokens / SHARD_RESERVE_PART + 1;
}

/* What others than the owner may have reserved, each of them. */
static parts reserved_of_others(const struct limit *limit) {
    uint64_t others = (uint64_t)world.config.nodes * world.config.shards - 1;
    return (parts)others * reserve_of(limit) * limit->period_ns;
}

/* Of a bucket that owes more than a burst, since a limit was lowered, its owner grants nothing. A
 * former owner, under limits that are those in force again, grants what it had reserved before: it
 * is within a mark that the owner has read and counts as spent, which mark_look sees. So it may
 * come on top of what was owed then, until the owner grants. */
static void strict_owes(struct key_model *model, const struct check_decision *decision) {
    if (model->owes && !decision->zombie) {
        memcpy(model->base, model->low, sizeof model->base);
        model->grant_count = 0;
        model->owes = false;
    }
}

/* Several owners' clocks may differ, and a refill with them. */
static void strict_bound(struct key_model *model, const struct check_decision *decision) {
    for (uint32_t i = 0; i < model->terms.limit_count; i++) {
        const struct limit *limit = &model->terms.limits[i];
        parts room = (parts)limit->burst_tokens * limit->period_ns + at(limit, check_clock_bound());
        parts full_at = model->base[i];
        for (uint32_t j = 0; j < model->grant_count; j++) {
            parts now = at(limit, model->grants[j].at_ns);
            full_at = most(full_at, now) + (parts)model->grants[j].cost * limit->period_ns;
            parts owed = model->owes ? model->base[i] + reserved_of_others(limit) : 0;
            if (full_at > most(now + room, owed)) {
                bound_fail(model, decision, i, full_at - now - room);
            }
        }
        model->low[i] = full_at;
    }
}

/* What a caller is told is in the store already: in the record, or in one written ahead of it. */
static void mark_look(const struct key_model *model, const char *when) {
    parts stored[LIMITS_PER_PLAN_MAX];
    if (store_is_behind() || !stored_read(model, stored)) {
        return;
    }
    for (uint32_t i = 0; i < model->terms.limit_count; i++) {
        const struct limit *limit = &model->terms.limits[i];
        parts full = at(limit, store_clock() + check_clock_bound());
        parts slack =
            at(limit, check_clock_bound()); /* a former owner's clock may have been ahead */
        if (stored[i] + slack < model->low[i] && model->low[i] > full) {
            sim_fail("mark",
                     "%s: %s the mark is %" PRIu64 " tokens (%" PRIu64
                     " us) behind what was granted",
                     model->name, when,
                     (uint64_t)((model->low[i] - most(stored[i], full)) / limit->period_ns),
                     (uint64_t)((model->low[i] - stored[i]) / limit->rate_tokens / US));
        }
    }
}

/* A newer owner reads what a store has that lost its tail. */
static void mark_lost(struct key_model *model) {
    model->lost = (struct lost){.of = model->granter, .reserved_tokens = UINT64_MAX};
    for (uint32_t i = 0; i < model->terms.limit_count; i++) {
        model->lost.reserved_tokens =
            least(model->lost.reserved_tokens, reserve_of(&model->terms.limits[i]));
    }
    model->folded_ns = sim_now();
}

/* What is given back may be of takes that are still held: the account starts over. */
static void strict_refunded(struct key_model *model) {
    memset(model->base, 0, sizeof model->base);
    memset(model->low, 0, sizeof model->low);
    model->grant_count = 0;
    model->refunded_ns = sim_now();
}

void keys_granted_strictly(const struct check_decision *decision) {
    struct key_model *model = model_find(decision->key);
    /* What a store has lost of what routers decided in it nobody writes again. */
    if (config_has(&world.config, FEATURE_FALLBACK) && store_is_behind()) {
        strict_refunded(model);
        return;
    }
    /* What a former owner grants under limits of before, its successor has counted as tokens that
     * are spent, and they are that under the limits of now, too. */
    bool comparable = terms_equal(&model->terms, decision->terms) ||
                      (decision->zombie && model->strict && model->terms.limit_count > 0);
    bool counts = decision->cost > 0 && decision->decided_ns > model->refunded_ns &&
                  decision->decided_ns >= model->folded_ns && comparable;
    uint64_t cost = world.unpromised || !counts ? 0 : lost_counted(&model->lost, decision);
    if (cost == 0) {
        return;
    }
    strict_owes(model, decision);
    grant_add(model, decision->now_ns, cost);
    strict_bound(model, decision);
    mark_look(model, "at a grant");
    past_add(model);
}

/* A take that was held under one plan is given back to a bucket that is under another by now. */
void keys_given_back(const struct check_decision *decision) {
    struct key_model *model = model_find(decision->key);
    if (!terms_equal(&model->terms, decision->terms)) {
        strict_refunded(model);
    }
}

/* --- decisions ----------------------------------------------------------------------------- */

void keys_decided(const struct check_decision *decision) {
    struct key_model *model = model_find(decision->key);
    if (decision->zombie || world.unpromised) {
        return; /* its successor knows nothing of it; check_shard looks at how long it goes on */
    }
    plans_pass(model, 0);
    if (!terms_equal(&model->terms, decision->terms)) {
        terms_change(model, decision->terms, decision->now_ns);
    }
    if (decision->verb == VERB_TAKE && decision->allowed) {
        charged(model, decision);
        if (!decision->strict) {
            granted(model, decision);
        }
    } else if (decision->verb == VERB_REFUND) {
        refunded(model, decision);
        if (decision->strict) {
            strict_refunded(model);
        }
    } else if (!decision->allowed) {
        refused(model, decision);
        refills_from_now(model, decision);
    }
    model->strict = decision->strict;
}

void keys_granted_in_store(struct bytes key, struct process *router, struct tat increment) {
    struct key_model *model = model_find(key);
    struct buffer out = {0};
    struct record record;
    struct terms terms;
    if (!stored_record(model->name, model->slot, &record, &out)) {
        sim_fail("bound", "%s: %s has granted, and left no record", model->name, router->name);
    }
    bool known = stored_terms(&record, &terms);
    buffer_free(&out);
    if (!known) {
        return; /* of a plan that is no more */
    }
    const struct limit *limit = &terms.limits[0];
    parts spent = at(limit, increment.ns) + increment.part;
    struct check_decision decision = {.key = key,
                                      .verb = VERB_TAKE,
                                      .cost = (uint64_t)(spent / limit->period_ns),
                                      .allowed = true,
                                      .now_ns = store_clock() / US * US,
                                      .decided_ns = sim_now(),
                                      .terms = &terms,
                                      .process = router,
                                      .strict = true};
    sim_trace("%s grants %s %" PRIu64 " in the store", router->name, model->name, decision.cost);
    keys_decided(&decision);
    keys_granted_strictly(&decision);
    parts stored[LIMITS_PER_PLAN_MAX];
    for (uint32_t i = 0; stored_read(model, stored) && i < model->terms.limit_count; i++) {
        model->high[i] = most(model->high[i], stored[i]); /* with what was reserved */
    }
}

void keys_reset(struct bytes key) {
    struct key_model *model = model_find(key);
    memset(model->low, 0, sizeof model->low);
    memset(model->base, 0, sizeof model->base);
    model->past_count = model->grant_count = 0;
    model->refunded_ns = sim_now(); /* what was decided before it is not counted any more */
    past_add(model);
}

/* --- owners that read a slot --------------------------------------------------------------- */

/* The least that the store must have counted: it holds the bucket as it was at `until_ns` or at
 * any time since, and refunds have made it fuller meanwhile. *safe: as it was, NULL if unknown. */
static void safe_low_of(const struct key_model *model, uint64_t until_ns, const struct past **safe,
                        parts low[LIMITS_PER_PLAN_MAX]) {
    uint32_t at_past = 0;
    while (at_past < model->past_count && model->past[at_past].at_ns <= until_ns) {
        at_past++;
    }
    *safe = at_past > 0 ? &model->past[at_past - 1] : NULL;
    for (uint32_t i = 0; i < model->terms.limit_count && *safe != NULL; i++) {
        low[i] = (*safe)->low[i];
        for (uint32_t later = at_past; later < model->past_count; later++) {
            low[i] = model->past[later].low[i] < low[i] ? model->past[later].low[i] : low[i];
        }
    }
}

/* The record is under other terms, or cannot be read: a take that put the bucket under the
 * account's was not written. It owes what the record says, and refills by that. */
static void account_reread(struct key_model *model) {
    struct buffer out = {0};
    struct record record = {.tat_count = 0};
    struct terms terms;
    uint64_t slack_ns = check_clock_bound();
    account_restart(model, &model->terms, store_clock() + slack_ns);
    if (stored_record(model->name, model->slot, &record, &out) && stored_terms(&record, &terms)) {
        for (uint32_t i = 0; i < terms.limit_count && i < model->terms.limit_count; i++) {
            const struct limit *from = &terms.limits[i], *limit = &model->terms.limits[i];
            parts full = at(from, record.tats[i].ns + 1), now = at(from, store_clock() - slack_ns);
            parts tokens = full > now ? (full - now) / from->period_ns + 1 : 0;
            parts high = at(limit, store_clock() + slack_ns) + tokens * limit->period_ns;
            model->high[i] = most(model->high[i], high);
            refills_as_before(model, i, from->rate_tokens, from);
        }
    }
    buffer_free(&out);
}

/* What was granted after the store's tail began is in no record, as far as the account counts it.
 */
static void grants_lost(struct key_model *model) {
    const struct past *kept;
    parts then[LIMITS_PER_PLAN_MAX] = {0};
    uint64_t kept_ns;
    store_lost_at(&kept_ns);
    safe_low_of(model, kept_ns, &kept, then);
    for (uint32_t i = 0; i < model->terms.limit_count; i++) {
        uint64_t period_ns = model->terms.limits[i].period_ns;
        parts lost = model->low[i] > then[i] ? model->low[i] - then[i] : 0;
        lost_grants(&model->lost, (lost + period_ns - 1) / period_ns);
    }
}

static void reloaded(struct key_model *model, bool whole) {
    parts stored[LIMITS_PER_PLAN_MAX];
    plans_pass(model, 0);
    if (model->strict && store_is_behind()) {
        mark_lost(model);
    }
    if (!stored_read(model, stored)) {
        account_reread(model);
        return;
    }
    for (uint32_t i = 0; i < model->terms.limit_count; i++) {
        /* What was reserved may be lost with its owner, and no more than that. */
        const struct limit *limit = &model->terms.limits[i];
        parts reserved = (parts)reserve_of(limit) * limit->period_ns;
        parts most_high = model->high[i] + reserved;
        model->high[i] = most(model->high[i], stored[i] < most_high ? stored[i] : most_high);
    }
    if (model->strict && !store_is_behind()) {
        mark_look(model, "when a new owner reads it");
        model->lost.granted_tokens = 0;
        return;
    }
    const struct past *safe = NULL;
    parts safe_low[LIMITS_PER_PLAN_MAX] = {0};
    safe_low_of(model, stored_until(model->granter, model->slot, whole), &safe, safe_low);
    bool forgotten = false;
    for (uint32_t i = 0; i < model->terms.limit_count; i++) {
        const struct limit *limit = &model->terms.limits[i];
        parts full = at(limit, store_clock() + check_clock_bound());
        if (safe != NULL && safe_low[i] > full && stored[i] < safe_low[i]) {
            parts missing = (safe_low[i] - most(stored[i], full)) / limit->period_ns;
            sim_fail("forgotten",
                     "%s: the store lacks %" PRIu64 " tokens that were granted more than %" PRIu64
                     " ms ago",
                     model->name, (uint64_t)missing, (sim_now() - safe->at_ns) / MS);
        }
        forgotten = forgotten || (model->low[i] > full && stored[i] < model->low[i]);
        model->low[i] = stored[i] < model->low[i] ? stored[i] : model->low[i];
    }
    if (forgotten) {
        sim_cover(COVER_GRANTS_FORGOTTEN);
    }
    if (model->strict) {
        grants_lost(model);
    }
    memcpy(model->base, model->low, sizeof model->base);
    model->past_count = model->grant_count = 0;
    past_add(model);
}

void keys_reloaded(uint32_t slot, bool whole) {
    if (world.unpromised) {
        return;
    }
    for (uint32_t i = 0; i < world.config.keys; i++) {
        if (models[i].used && models[i].slot == slot && models[i].terms.limit_count > 0) {
            reloaded(&models[i], whole);
        }
    }
}
