/* Callers' takes, peeks and refunds. */
#include "proto/bucket.h"
#include "server/core/shard_state.h"

/* Items whose memory is asked for together before the first of them is decided. About as many
 * cache misses as a core can have under way. */
#define TAKE_GROUP 16

static void take_fail(struct shard *shard, struct take_result *result, enum reason reason) {
    *result = (struct take_result){.code = reason_code(reason), .reason = reason};
    shard->counters.takes_failed++;
}

static void take_count(struct shard *shard, const struct shard_item *item, bool allowed) {
    struct shard_counters *counters = &shard->counters;
    switch (item->verb) {
    case VERB_PEEK:
        counters->peeks++;
        break;
    case VERB_REFUND:
        counters->refunds++;
        break;
    case VERB_TAKE:
        counters->takes_granted += allowed;
        counters->takes_refused += !allowed;
        counters->tokens_granted += allowed ? item->take.cost_tokens : 0;
        break;
    }
}

enum outcome {
    OUTCOME_DECIDED,
    OUTCOME_HELD,  /* decided, and kept back until its mark is acknowledged */
    OUTCOME_ASKED, /* to be decided when its key has been read */
};

struct change {
    struct tat before[LIMITS_PER_PLAN_MAX], after[LIMITS_PER_PLAN_MAX];
};

/* A granted take that has to heed a mark. */
static enum reason take_commit(struct shard *shard, struct shard_slot *slot,
                               const struct shard_item *item, uint64_t hash, uint32_t ref,
                               const struct wanted *wanted, const struct change *change,
                               enum outcome *outcome) {
    struct covered covered =
        mark_cover(shard, hash, ref, wanted, change->before, item->take.cost_tokens);
    bool held = wanted->strict && covered.cover != COVER_ACKNOWLEDGED;
    if (held && !shard->store_up) {
        return REASON_STORE_AWAY;
    }
    if (held && !held_room(shard)) {
        return REASON_QUEUE_FULL;
    }
    enum reason reason =
        bucket_commit(shard, slot, hash, item->take.key, &ref, wanted, change->after);
    if (reason != REASON_NONE) {
        return reason;
    }
    mark_taken(shard, slot, hash, ref, wanted, &covered);
    if (held) {
        held_add(shard, slot, covered.cover, item, ref);
        *outcome = OUTCOME_HELD;
    }
    return REASON_NONE;
}

static enum reason take_decide(struct shard *shard, struct shard_slot *slot,
                               const struct shard_item *item, uint64_t hash, bool known,
                               struct take_result *result, enum outcome *outcome) {
    enum reason reason = shard->stopping ? REASON_STOPPING : slot_refusal(slot);
    if (reason != REASON_NONE) {
        return reason;
    }
    uint32_t ref = bucket_find(shard, slot, hash, item->take.key);
    if (ref == 0 && !known) {
        *outcome = OUTCOME_ASKED;
        *result = (struct take_result){.code = CODE_OK};
        return fetch_ask(shard, slot, hash, item);
    }
    struct wanted wanted;
    reason = plans_resolve(shard, slot, &item->take, hash, &wanted);
    if (reason != REASON_NONE) {
        return reason;
    }
    struct change change = {0};
    if (ref != 0) {
        struct resident *resident = resident_at(&shard->arena, ref);
        resident->used = 1;
        if ((resident->state & RESIDENT_UNREADABLE) != 0) {
            return resident_unreadable_reason(resident);
        }
        bucket_tats_under(shard, resident, &wanted, change.before);
    }
    memcpy(change.after, change.before, sizeof change.after);
    bucket_decide(wanted.terms, change.after, item->verb, item->take.cost_tokens, shard->now_ns,
                  result);
    /* Only what changes something makes a bucket or puts it under other terms. */
    if (memcmp(change.before, change.after, wanted.terms->limit_count * sizeof change.after[0]) ==
        0) {
        return REASON_NONE;
    }
    bool has_mark = ref != 0 && resident_at(&shard->arena, ref)->has_mark;
    if (item->verb == VERB_TAKE && (wanted.strict || has_mark)) {
        return take_commit(shard, slot, item, hash, ref, &wanted, &change, outcome);
    }
    reason = bucket_commit(shard, slot, hash, item->take.key, &ref, &wanted, change.after);
    if (reason == REASON_NONE) {
        bucket_mark_dirty(shard, slot, ref);
    }
    return reason;
}

/* True: the result is held. */
static bool take_one(struct shard *shard, struct shard_slot *slot, const struct shard_item *item,
                     uint64_t hash, bool known, struct take_result *result) {
    enum outcome outcome = OUTCOME_DECIDED;
    enum reason reason = take_decide(shard, slot, item, hash, known, result, &outcome);
    if (reason != REASON_NONE) {
        take_fail(shard, result, reason);
        return false;
    }
    if (outcome != OUTCOME_ASKED) {
        take_count(shard, item, result->allowed);
        slot->takes++;
    }
    return outcome != OUTCOME_DECIDED;
}

bool take_answer(struct shard *shard, struct shard_slot *slot, const struct shard_item *item,
                 uint64_t hash, struct take_result *result) {
    return take_one(shard, slot, item, hash, true, result);
}

void takes_decide(struct shard *shard, const struct shard_item *items, uint32_t count) {
    uint64_t hashes[TAKE_GROUP];
    struct shard_slot *slots[TAKE_GROUP];
    for (uint32_t base = 0; base < count; base += TAKE_GROUP) {
        uint32_t group = count - base < TAKE_GROUP ? count - base : TAKE_GROUP;
        for (uint32_t i = 0; i < group; i++) {
            hashes[i] = key_hash(items[base + i].take.key);
            slots[i] = &shard->slots[slot_of_hash(hashes[i], shard->options.slot_count).index];
            __builtin_prefetch(slots[i]);
        }
        for (uint32_t i = 0; i < group; i++) {
            table_prefetch(&slots[i]->buckets, table_tag(hashes[i]));
        }
        for (uint32_t i = 0; i < group; i++) {
            uint32_t ref = table_candidate(&slots[i]->buckets, table_tag(hashes[i]));
            if (ref != 0) {
                __builtin_prefetch(resident_at(&shard->arena, ref));
            }
        }
        for (uint32_t i = 0; i < group; i++) {
            const struct shard_item *item = &items[base + i];
            struct take_result *result = &shard->results[base + i];
            bool known = slot_complete(slots[i]);
            bool held = take_one(shard, slots[i], item, hashes[i], known, result);
            shard->held[base + i] = held;
            shard->held_count += held;
        }
    }
    shard->result_count = count;
}
