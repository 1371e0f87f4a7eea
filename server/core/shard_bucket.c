/* Buckets in memory: found, made, put under other terms, marked dirty, let go. */
#include <assert.h>

#include "proto/bucket.h"
#include "server/core/shard_parts.h"

struct bucket_sought {
    const struct arena *arena;
    struct bytes key;
};

static bool bucket_matches(const void *ctx, uint32_t ref) {
    const struct bucket_sought *sought = ctx;
    return bytes_equal(resident_key(resident_at(sought->arena, ref)), sought->key);
}

uint32_t bucket_find(const struct shard *shard, const struct shard_slot *slot, uint64_t hash,
                     struct bytes key) {
    struct bucket_sought sought = {.arena = &shard->arena, .key = key};
    return table_find(&slot->buckets, table_tag(hash), bucket_matches, &sought);
}

uint32_t bucket_find_after(const struct shard *shard, const struct shard_slot *slot, uint64_t hash,
                           struct bytes key, const struct candidate *candidate) {
    if (candidate->changes == slot->buckets.changes &&
        (candidate->ref == 0 ||
         bytes_equal(resident_key(resident_at(&shard->arena, candidate->ref)), key))) {
        return candidate->ref;
    }
    return bucket_find(shard, slot, hash, key);
}

bool bucket_is_under(const struct shard *shard, const struct resident *resident,
                     const struct wanted *wanted) {
    if (wanted->term != TERM_NONE || resident->term == TERM_NONE) {
        return resident->term == wanted->term && wanted->term != TERM_NONE;
    }
    const struct term *term = term_set_at(&shard->terms, resident->term);
    return term->kind == TERM_INLINE &&
           limit_equal(&term->terms.limits[0], &wanted->inline_terms.limits[0]);
}

/* A plan that was taken out of the set leaves buckets whose limits nobody knows: only their times
 * are. They keep them until somebody names another plan. How many tokens were spent cannot be told
 * then, so the time that was left stays as it is, at most a whole (empty) bucket's. If the plan is
 * back in the set, its generation is looked up as usual. */
static void unknown_tats_under(const struct shard *shard, const struct term *term,
                               const struct wanted *wanted, struct tat tats[]) {
    if (term->outdated) {
        const struct plan *plan = &shard->plans->plans[term->plan_at];
        const struct terms *from = plan_terms_at(plan, term->generation);
        if (from->limit_count == term->terms.limit_count) {
            bucket_convert(from, wanted->terms, tats, shard->now_ns);
            return;
        }
    }
    for (uint32_t i = term->terms.limit_count; i < wanted->terms->limit_count; i++) {
        tats[i] = (struct tat){0};
    }
    for (uint32_t i = 0; i < wanted->terms->limit_count; i++) {
        const struct limit *limit = &wanted->terms->limits[i];
        unsigned __int128 tolerance =
            (unsigned __int128)limit->burst_tokens * limit->period_ns / limit->rate_tokens;
        /* The part is one of another rate: rounded up. */
        tats[i] = (struct tat){.ns = tats[i].ns + (tats[i].part > 0)};
        if (tats[i].ns > shard->now_ns + (uint64_t)tolerance) {
            tats[i].ns = shard->now_ns + (uint64_t)tolerance;
        }
    }
}

bool bucket_tats_under(const struct shard *shard, const struct resident *resident,
                       const struct wanted *wanted, struct tat tats[LIMITS_PER_PLAN_MAX]) {
    bool is_under = bucket_is_under(shard, resident, wanted);
    tats_copy(tats, resident->tats, resident_limits(resident));
    for (uint32_t i = resident_limits(resident); i < wanted->terms->limit_count; i++) {
        tats[i] = (struct tat){0};
    }
    if (is_under || resident->term == TERM_NONE) {
        return is_under;
    }
    const struct term *term = term_set_at(&shard->terms, resident->term);
    if (term->kind == TERM_UNKNOWN) {
        unknown_tats_under(shard, term, wanted, tats);
    } else {
        bucket_convert(&term->terms, wanted->terms, tats, shard->now_ns);
    }
    return false;
}

static void resident_fill(struct resident *resident, struct bytes key, uint16_t term,
                          uint32_t limit_count, const struct tat tats[], uint8_t flags) {
    resident->term = term & TERM_NONE;
    resident->rounded = 0;
    resident->key_size_less_one = (uint8_t)(key.size - 1);
    resident->state = (uint8_t)(flags | limit_count << RESIDENT_LIMITS_SHIFT);
    /* The key may be this resident's own, about to move. */
    memmove(&resident->tats[limit_count], key.data, key.size);
    memcpy(resident->tats, tats, limit_count * sizeof tats[0]);
}

uint32_t bucket_add(struct shard *shard, struct shard_slot *slot, uint64_t hash, struct bytes key,
                    uint16_t term, uint32_t limit_count, const struct tat tats[], uint8_t flags) {
    uint32_t ref = arena_get(&shard->arena, resident_size(limit_count, key.size));
    if (ref == 0) {
        return 0;
    }
    if (!table_insert(&slot->buckets, &shard->arena, table_tag(hash), ref)) {
        arena_put(&shard->arena, ref);
        return 0;
    }
    struct resident *resident = resident_at(&shard->arena, ref);
    resident->has_mark = 0;
    resident->mixed = 0;
    resident->used = 0; /* one that comes back for a single take goes before those in use */
    resident->written_ms = slot->gained_ms;
    resident_fill(resident, key, term, limit_count, tats, flags);
    shard->counters.buckets++;
    return ref;
}

uint32_t bucket_rewrite(struct shard *shard, uint32_t ref, uint16_t term, uint32_t limit_count,
                        const struct tat tats[]) {
    struct resident *resident = resident_at(&shard->arena, ref);
    struct bytes key = resident_key(resident);
    uint8_t flags = resident->state & RESIDENT_FLAGS;
    uint16_t term_before = resident->term;
    /* A take that is held may be of this bucket, which counts in other tokens from now on. */
    bool mixed = resident->mixed || resident->has_mark || shard->held_used > 0;
    uint32_t moved = ref;
    if (resident_size(limit_count, key.size) > arena_size(&shard->arena, ref)) {
        moved = arena_get(&shard->arena, resident_size(limit_count, key.size));
        if (moved == 0) {
            return 0;
        }
        resident_at(&shard->arena, moved)->has_mark = 0;
        resident_at(&shard->arena, moved)->used = 1;
        resident_at(&shard->arena, moved)->mixed = mixed;
        resident_fill(resident_at(&shard->arena, moved), key, term, limit_count, tats,
                      flags & (RESIDENT_STORED | RESIDENT_UNREADABLE));
        admin_bucket_moved(shard, ref, moved);
        mark_moved(shard, ref, moved);
        held_bucket_moved(shard, ref, moved);
        if ((flags & (RESIDENT_DIRTY | RESIDENT_WRITING)) != 0) {
            resident->state = (uint8_t)(flags | RESIDENT_GHOST << RESIDENT_LIMITS_SHIFT);
            shard->counters.buckets_dirty--;
        } else {
            arena_put(&shard->arena, ref);
        }
    } else {
        resident_fill(resident, key, term, limit_count, tats, flags);
        resident->mixed = mixed;
        mark_moved(shard, ref, ref);
    }
    if (term_before != TERM_NONE) {
        term_set_release(&shard->terms, term_before);
    }
    return moved;
}

/* The wanted term with one more user. */
static uint16_t wanted_hold(struct shard *shard, const struct wanted *wanted) {
    if (wanted->term == TERM_NONE) {
        return term_set_inline(&shard->terms, &wanted->inline_terms.limits[0]);
    }
    term_set_hold(&shard->terms, wanted->term);
    return wanted->term;
}

enum reason bucket_commit(struct shard *shard, struct shard_slot *slot, uint64_t hash,
                          struct bytes key, uint32_t *ref, const struct wanted *wanted,
                          const struct tat tats[]) {
    uint32_t limit_count = wanted->terms->limit_count;
    if (*ref != 0 && bucket_is_under(shard, resident_at(&shard->arena, *ref), wanted)) {
        tats_copy(resident_at(&shard->arena, *ref)->tats, tats, limit_count);
        return REASON_NONE;
    }
    uint16_t term = wanted_hold(shard, wanted);
    if (term == TERM_NONE) {
        return REASON_TERMS_FULL;
    }
    uint32_t after;
    if (*ref == 0) {
        after = bucket_add(shard, slot, hash, key, term, limit_count, tats, 0);
    } else {
        after = bucket_rewrite(shard, *ref, term, limit_count, tats);
        if (after != 0 && after != *ref) {
            table_replace(&slot->buckets, table_tag(hash), *ref, after);
        }
    }
    if (after == 0) {
        term_set_release(&shard->terms, term);
        return REASON_MEMORY_FULL;
    }
    *ref = after;
    return REASON_NONE;
}

bool bucket_resident_full(const struct shard *shard, const struct resident *resident) {
    assert((resident->state & RESIDENT_UNREADABLE) == 0); /* those are never dirty */
    struct terms counted = {.limit_count = resident_limits(resident)};
    return bucket_full(&counted, resident->tats, shard->now_ns);
}

void bucket_mark_dirty(struct shard *shard, struct shard_slot *slot, uint32_t ref) {
    struct resident *resident = resident_at(&shard->arena, ref);
    if ((resident->state & RESIDENT_DIRTY) != 0) {
        return;
    }
    if ((resident->state & RESIDENT_WRITING) == 0) {
        resident->next = slot->dirty;
        slot->dirty = ref;
        shard->counters.buckets_dirty++;
    } /* else it joins the list when the write is answered */
    resident->state |= RESIDENT_DIRTY;
    slot_later(shard, slot);
}

void bucket_mark_urgent(struct shard *shard, struct shard_slot *slot, uint32_t ref) {
    struct resident *resident = resident_at(&shard->arena, ref);
    if ((resident->state & RESIDENT_DIRTY) == 0) {
        if ((resident->state & RESIDENT_WRITING) == 0) {
            resident->next = slot->marks;
            slot->marks = ref;
            shard->counters.buckets_dirty++;
            resident->state |= RESIDENT_URGENT;
        } /* else it joins the list when the write is answered */
        resident->state |= RESIDENT_DIRTY;
    } else if ((resident->state & (RESIDENT_WRITING | RESIDENT_URGENT)) == 0) {
        slot->overdue = true; /* it stands in another list, which goes out as a whole */
    }
    if (slot->op_id == 0) {
        slot_ready(shard, slot);
    }
}

void bucket_free(struct shard *shard, uint32_t ref) {
    struct resident *resident = resident_at(&shard->arena, ref);
    assert((resident->state & (RESIDENT_DIRTY | RESIDENT_WRITING)) == 0);
    if (resident->term != TERM_NONE) {
        term_set_release(&shard->terms, resident->term);
    }
    mark_gone(shard, ref);
    arena_put(&shard->arena, ref);
    shard->counters.buckets--;
    admin_bucket_gone(shard, ref);
}

void bucket_remove(struct shard *shard, struct shard_slot *slot, uint32_t ref) {
    uint64_t hash = key_hash(resident_key(resident_at(&shard->arena, ref)));
    table_remove(&slot->buckets, &shard->arena, table_tag(hash), ref);
    bucket_free(shard, ref);
}
