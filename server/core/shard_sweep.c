/* The sweep: a slow round through all buckets, for what no request touches. And the taking back of
 * a dropped slot's memory. */
#include "server/core/shard_parts.h"
#include <assert.h>

/* A round takes at least this long, so that few buckets do not keep a shard awake. */
#define SWEEP_ROUND_NS UINT64_C(1000000000)

/* Positions looked at by one call of the table's scan. */
#define SWEEP_STRETCH 256

struct sweep {
    struct shard *shard;
    struct shard_slot *slot;
};

/* A plan's limits were changed: this bucket has not been touched since. */
static void sweep_convert(struct sweep *sweep, uint32_t *ref) {
    struct shard *shard = sweep->shard;
    const struct resident *resident = resident_at(&shard->arena, *ref);
    struct wanted wanted;
    int32_t plan_at = term_set_at(&shard->terms, resident->term)->plan_at;
    uint16_t term = resident->term;
    if (plans_resolve_at(shard, plan_at, &wanted) != REASON_NONE ||
        former_keep(shard, sweep->slot, resident, &wanted) != REASON_NONE || wanted.term == term) {
        return; /* next time */
    }
    struct tat tats[LIMITS_PER_PLAN_MAX];
    (void)bucket_tats_under(shard, resident, &wanted, tats);
    term_set_hold(&shard->terms, wanted.term);
    uint32_t after = bucket_rewrite(shard, *ref, wanted.term, wanted.terms->limit_count, tats);
    if (after == 0) {
        term_set_release(&shard->terms, wanted.term);
        return;
    }
    *ref = after;
    bucket_mark_dirty(shard, sweep->slot, after);
}

static bool sweep_visit(void *ctx, uint32_t *ref) {
    struct sweep *sweep = ctx;
    struct shard *shard = sweep->shard;
    struct resident *resident = resident_at(&shard->arena, *ref);
    uint8_t busy = RESIDENT_DIRTY | RESIDENT_WRITING | RESIDENT_UNREADABLE;
    if ((resident->state & busy) != 0) {
        return true;
    }
    assert((resident->state & RESIDENT_STORED) != 0); /* what was never written is dirty */
    if (bucket_resident_full(shard, resident)) {
        bucket_mark_dirty(shard, sweep->slot, *ref); /* which deletes its record */
        return true;
    }
    assert(resident->term != TERM_NONE); /* without terms there are no limits, and it is full */
    if (term_set_at(&shard->terms, resident->term)->outdated) {
        sweep_convert(sweep, ref);
    } else if (resident->rounded && shard_now_ms(shard) - resident->written_ms > SHARD_ROUND_MS) {
        resident->rounded = 0;
        bucket_mark_dirty(shard, sweep->slot, *ref);
    } else if (shard->shedding) {
        return !hibernate_visit(shard, sweep->slot, *ref);
    }
    return true;
}

static uint64_t sweep_interval(const struct shard *shard) {
    /* Tables are half to almost full. */
    uint64_t positions = 2 * shard->counters.buckets + shard->options.slot_count;
    uint64_t steps = positions / SHARD_SWEEP_ENTRIES + 1;
    uint64_t interval_ns = shard->shedding ? 0 : SWEEP_ROUND_NS / steps;
    return interval_ns < SHARD_SWEEP_INTERVAL_NS ? SHARD_SWEEP_INTERVAL_NS : interval_ns;
}

/* The next slots of a round are to write nothing, if they have nothing to write: as many as the
 * time since the last look is a part of the round. */
static void watch_step(struct shard *shard) {
    uint64_t passed_ns = shard->now_ns - shard->watched_ns;
    passed_ns = passed_ns < SHARD_WATCH_ROUND_NS ? passed_ns : SHARD_WATCH_ROUND_NS;
    shard->watched_ns = shard->now_ns;
    for (uint64_t left = shard->options.slot_count * passed_ns / SHARD_WATCH_ROUND_NS + 1; left > 0;
         left--) {
        struct shard_slot *slot = &shard->slots[shard->watch_slot];
        shard->watch_slot = (shard->watch_slot + 1) % shard->options.slot_count;
        if (slot->state == SLOT_SERVING && slot->op_id == 0) {
            slot->watch = true;
            slot_ready(shard, slot);
        }
    }
}

void sweep_step(struct shard *shard) {
    if (shard->stopping || shard->now_ns < shard->sweep_at_ns) {
        return;
    }
    hibernate_look(shard);
    if (shard->watches && shard->store_up) {
        watch_step(shard);
    }
    int64_t budget = shard->counters.buckets > 0 ? SHARD_SWEEP_ENTRIES : 0;
    uint32_t slots_passed = 0;
    while (budget > 0 && slots_passed <= shard->options.slot_count) {
        struct shard_slot *slot = &shard->slots[shard->sweep_slot];
        if (!shard->store_up) {
            /* Nothing can be deleted or written, but never-written buckets need not wait. */
            uint32_t looked = snapshot_thin(shard, slot, SWEEP_STRETCH);
            shard->sweep_cursor = looked == SWEEP_STRETCH;
            budget -= looked + 1;
        } else if (slot->state == SLOT_SERVING) {
            struct sweep sweep = {.shard = shard, .slot = slot};
            if (slot->refence) {
                /* Its writes fail, so those need not wait either. Deletions may pass all the same:
                 * a store that is full takes them. */
                budget -= snapshot_thin(shard, slot, SWEEP_STRETCH);
            }
            budget -= table_scan(&slot->buckets, &shard->arena, &shard->sweep_cursor, SWEEP_STRETCH,
                                 sweep_visit, &sweep);
            table_trim(&slot->buckets, &shard->arena);
        } else {
            shard->sweep_cursor = 0;
            budget--;
        }
        if (shard->sweep_cursor == 0) {
            shard->sweep_slot = (shard->sweep_slot + 1) % shard->options.slot_count;
            slots_passed++;
        }
    }
    shard->sweep_at_ns = shard->now_ns + sweep_interval(shard);
}

static void leftovers_seek(struct shard *shard, struct shard_slot *slot) {
    bool read = slot->state == SLOT_SERVING || slot->state == SLOT_SEALED;
    if (!read && !(slot->state == SLOT_LOADING && slot->keys_loaded)) {
        return; /* it is being read, or not this shard's any more */
    }
    slot->keys_unread = true; /* assignments are all in memory, also of a slot that sleeps */
    slot->leftovers = read && !slot->asleep;
    slot->survey_due = false;
    slot->page_stale = read && slot->op_id != 0 && slot->op_kind != SHARD_OP_WRITE &&
                       slot->op_kind != SHARD_OP_RAISE_FENCE;
    slot->cursor = 0;
    slot_reread(shard, slot);
}

static void rewrite_start(struct shard *shard, struct shard_slot *slot) {
    shard->rewrite_count += !slot->rewrite;
    slot->rewrite = true;
    if (shard_slot_at(shard, slot) == shard->rewrite_slot) {
        shard->rewrite_cursor = 0; /* others are come to: the scan goes round */
    }
}

void sweep_settle(struct shard *shard, struct shard_slot *slot) {
    slot->rounded = false;
    rewrite_start(shard, slot);
}

void sweep_rewrite_start(struct shard *shard, const uint8_t *bits) {
    for (uint32_t i = 0; i < shard->options.slot_count; i++) {
        struct shard_slot *slot = &shard->slots[i];
        bool held = slot_decides(slot) || slot->state == SLOT_SEALED ||
                    (slot->state == SLOT_RELEASING && !slot->discard);
        if (!held || (bits != NULL && (bits[i / 8] >> (i % 8) & 1) == 0)) {
            continue;
        }
        leftovers_seek(shard, slot);
        keys_rewrite(shard, slot, true);
        slot->rewrite_all = true;
        rewrite_start(shard, slot);
    }
    marks_forget(shard, bits);
}

static bool rewrite_visit(void *ctx, uint32_t *ref) {
    struct sweep *sweep = ctx;
    const struct resident *resident = resident_at(&sweep->shard->arena, *ref);
    if ((resident->state & RESIDENT_UNREADABLE) == 0 &&
        (sweep->slot->rewrite_all || resident->rounded)) {
        bucket_mark_dirty(sweep->shard, sweep->slot, *ref);
    }
    return true;
}

void sweep_rewrite(struct shard *shard) {
    int64_t budget = SHARD_SWEEP_ENTRIES;
    while (shard->store_up && shard->rewrite_count > 0 && budget > 0) {
        struct shard_slot *slot = &shard->slots[shard->rewrite_slot];
        if (slot->rewrite) {
            struct sweep sweep = {.shard = shard, .slot = slot};
            budget -= table_scan(&slot->buckets, &shard->arena, &shard->rewrite_cursor,
                                 SWEEP_STRETCH, rewrite_visit, &sweep);
        } else {
            shard->rewrite_cursor = 0;
            budget--;
        }
        if (shard->rewrite_cursor == 0) {
            shard->rewrite_count -= slot->rewrite;
            slot->rewrite = false;
            slot->rewrite_all = false;
            shard->rewrite_slot = (shard->rewrite_slot + 1) % shard->options.slot_count;
            snapshot_hurry(shard, slot);
            slot_settle(shard, slot);
        }
    }
}

/* One slot at a time: nobody waits for it. */
void sweep_reread(struct shard *shard) {
    if (!shard->store_up || shard->stopping) {
        return;
    }
    while (shard->rereading_count == 0 && shard->streaming_count < SHARD_LOADING_MAX &&
           !slot_queue_empty(&shard->rereading)) {
        struct shard_slot *slot = &shard->slots[slot_queue_pop(&shard->rereading)];
        bool unread = slot->leftovers || slot->keys_unread;
        if (slot->state == SLOT_SERVING && unread && !slot->streaming) {
            slot->streaming = true;
            slot->keys_loaded = true;
            shard->streaming_count++;
            shard->rereading_count++;
            slot_ready(shard, slot);
        }
    }
}

/* Takes apart one of the slot's lists. Ghosts stand nowhere else. */
static uint32_t reclaim_list(struct shard *shard, uint32_t *list, uint32_t budget) {
    for (; *list != 0 && budget > 0; budget--) {
        uint32_t ref = *list;
        struct resident *resident = resident_at(&shard->arena, ref);
        *list = resident->next;
        if (resident_is_ghost(resident)) {
            arena_put(&shard->arena, ref);
            continue;
        }
        resident->state &= (uint8_t) ~(RESIDENT_DIRTY | RESIDENT_WRITING | RESIDENT_REMOVING);
        shard->counters.buckets_dirty--;
    }
    return budget;
}

static bool reclaim_bucket(void *ctx, uint32_t *ref) {
    struct sweep *sweep = ctx;
    bucket_free(sweep->shard, *ref);
    return false;
}

static bool reclaim_key(void *ctx, uint32_t *ref) {
    struct sweep *sweep = ctx;
    assignment_set(sweep->shard, *ref, TERM_NONE);
    arena_put(&sweep->shard->arena, *ref);
    return false;
}

static uint32_t reclaim_table(struct sweep *sweep, struct table *table, table_visit_fn *visit,
                              uint32_t budget) {
    while (table->count > 0 && budget > 0) {
        uint32_t looked = table_scan(table, &sweep->shard->arena, &sweep->slot->cursor,
                                     SWEEP_STRETCH, visit, sweep);
        budget -= looked < budget ? looked : budget;
    }
    if (table->count == 0) {
        table_fini(table, &sweep->shard->arena);
        sweep->slot->cursor = 0;
    }
    return budget;
}

uint32_t sweep_reclaim(struct shard *shard, struct shard_slot *slot, uint32_t budget) {
    struct sweep sweep = {.shard = shard, .slot = slot};
    budget = reclaim_list(shard, &slot->dirty, budget);
    budget = reclaim_list(shard, &slot->marks, budget);
    budget = reclaim_list(shard, &slot->draining, budget);
    budget = reclaim_list(shard, &slot->writing, budget);
    if (budget > 0) {
        budget = reclaim_table(&sweep, &slot->buckets, reclaim_bucket, budget);
    }
    if (budget > 0) {
        budget = reclaim_table(&sweep, &slot->keys, reclaim_key, budget);
    }
    return budget;
}
