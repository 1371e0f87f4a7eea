/* Which terms apply to a request: its plan, the key's assigned plan, or the default. */
#include <assert.h>

#include "server/core/shard_parts.h"

void plans_bind(struct shard *shard, uint16_t term_at) {
    struct term *term = term_set_at(&shard->terms, term_at);
    term->plan_at = -1;
    term->outdated = false;
    if (term->kind == TERM_FREE || term->name.size == 0) {
        return;
    }
    assert(shard->plans != NULL); /* they come before all that has a name */
    term->plan_at = plan_set_find(shard->plans, name_bytes(&term->name));
    if (term->plan_at < 0) {
        return;
    }
    const struct plan_generation *in_force = &shard->plans->plans[term->plan_at].generations[0];
    if (term->kind == TERM_PLAN) {
        term->outdated = term->generation != in_force->generation ||
                         !terms_equal(&term->terms, &in_force->terms);
    } else if (term->kind == TERM_UNKNOWN) {
        /* A generation newer than this set's stays unknown until the newer set comes. */
        term->outdated = term->generation <= in_force->generation;
    }
}

static uint16_t plan_term(struct shard *shard, uint32_t plan_at) {
    const struct plan *plan = &shard->plans->plans[plan_at];
    uint16_t term = term_set_plan(&shard->terms, &plan->name, plan->generations[0].generation,
                                  &plan->generations[0].terms);
    if (term != TERM_NONE) {
        plans_bind(shard, term);
    }
    return term;
}

void plans_replace(struct shard *shard, const struct plan_set *set) {
    uint16_t before[PLANS_MAX];

    memcpy(before, shard->plan_terms, sizeof before);
    shard->plans = set;
    shard->watches = false;
    for (uint32_t i = 0; i < set->plan_count; i++) {
        shard->watches |= set->plans[i].on_unavailable == POLICY_REDIS;
    }
    for (uint32_t i = 0; i < PLANS_MAX; i++) {
        shard->plan_terms[i] = i < set->plan_count ? plan_term(shard, i) : TERM_NONE;
        shard->plan_strict[i] =
            i < set->plan_count && set->plans[i].durability == DURABILITY_STRICT;
    }
    for (uint32_t i = 0; i < PLANS_MAX; i++) {
        if (before[i] != TERM_NONE) {
            term_set_release(&shard->terms, before[i]);
        }
    }
    for (uint32_t i = 0; i < SHARD_TERMS_MAX; i++) {
        plans_bind(shard, (uint16_t)i);
    }
}

enum reason plans_resolve_at(struct shard *shard, int32_t plan_at, struct wanted *wanted) {
    uint16_t *term = &shard->plan_terms[plan_at];
    if (*term == TERM_NONE) {
        *term = plan_term(shard, (uint32_t)plan_at);
        if (*term == TERM_NONE) {
            return REASON_TERMS_FULL;
        }
    }
    wanted->term = *term;
    wanted->plan_at = plan_at;
    wanted->strict = shard->plan_strict[plan_at];
    wanted->terms = &term_set_at(&shard->terms, *term)->terms;
    return REASON_NONE;
}

static enum reason resolve_default(struct shard *shard, struct shard_slot *slot, uint64_t hash,
                                   struct bytes key, struct wanted *wanted) {
    if (slot->keys.count > 0) {
        uint32_t ref = assignment_find(shard, slot, hash, key);
        uint16_t assigned = ref == 0 ? TERM_NONE : assignment_at(&shard->arena, ref)->term;
        if (assigned != TERM_NONE) {
            int32_t plan_at = term_set_at(&shard->terms, assigned)->plan_at;
            return plan_at < 0 ? REASON_ASSIGNED_PLAN_GONE
                               : plans_resolve_at(shard, plan_at, wanted);
        }
    }
    if (shard->plans->default_at < 0) {
        return REASON_NO_DEFAULT_PLAN;
    }
    return plans_resolve_at(shard, shard->plans->default_at, wanted);
}

enum reason plans_resolve(struct shard *shard, struct shard_slot *slot, const struct take *take,
                          uint64_t hash, struct wanted *wanted) {
    switch (take->plan.kind) {
    case PLAN_CHOICE_DEFAULT:
        return resolve_default(shard, slot, hash, take->key, wanted);
    case PLAN_CHOICE_NAMED: {
        int32_t plan_at = plan_set_find(shard->plans, take->plan.name);
        return plan_at < 0 ? REASON_PLAN_NOT_FOUND : plans_resolve_at(shard, plan_at, wanted);
    }
    case PLAN_CHOICE_INLINE:
        break;
    }
    wanted->inline_terms.limit_count = 1;
    wanted->inline_terms.limits[0] = take->plan.limit;
    wanted->terms = &wanted->inline_terms;
    wanted->term = TERM_NONE;
    wanted->plan_at = -1;
    /* It has no plan to say so: the default plan speaks for it. */
    int32_t default_at = shard->plans->default_at;
    wanted->strict = default_at < 0 || shard->plan_strict[default_at];
    return REASON_NONE;
}

struct assignment_sought {
    const struct arena *arena;
    struct bytes key;
};

static bool assignment_matches(const void *ctx, uint32_t ref) {
    const struct assignment_sought *sought = ctx;
    return bytes_equal(assignment_key(assignment_at(sought->arena, ref)), sought->key);
}

uint32_t assignment_find(const struct shard *shard, const struct shard_slot *slot, uint64_t hash,
                         struct bytes key) {
    struct assignment_sought sought = {.arena = &shard->arena, .key = key};
    return table_find(&slot->keys, table_tag(hash), assignment_matches, &sought);
}

uint32_t assignment_add(struct shard *shard, struct shard_slot *slot, struct bytes key) {
    uint32_t ref = arena_get(&shard->arena, assignment_size(key.size));
    if (ref == 0) {
        return 0;
    }
    struct assignment *assignment = assignment_at(&shard->arena, ref);
    assignment->term = TERM_NONE;
    assignment->key_size_less_one = (uint8_t)(key.size - 1);
    memcpy(assignment->key, key.data, key.size);
    if (!table_insert(&slot->keys, &shard->arena, table_tag(key_hash(key)), ref)) {
        arena_put(&shard->arena, ref);
        return 0;
    }
    return ref;
}

void assignment_set(struct shard *shard, uint32_t ref, uint16_t term) {
    struct assignment *assignment = assignment_at(&shard->arena, ref);
    if (assignment->term != TERM_NONE) {
        term_set_release(&shard->terms, assignment->term);
        shard->counters.assignments--;
    }
    assignment->term = term;
    shard->counters.assignments += term != TERM_NONE;
}

void assignment_remove(struct shard *shard, struct shard_slot *slot, uint32_t ref) {
    uint64_t hash = key_hash(assignment_key(assignment_at(&shard->arena, ref)));
    assignment_set(shard, ref, TERM_NONE);
    table_remove(&slot->keys, &shard->arena, table_tag(hash), ref);
    arena_put(&shard->arena, ref);
}
