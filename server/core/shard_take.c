/* Callers' takes, peeks and refunds. */
#include "proto/bucket.h"
#include "server/core/shard_parts.h"

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

/* A granted take that has to heed a mark. */
static enum reason take_commit(struct shard *shard, struct shard_slot *slot,
                               const struct shard_item *item, uint64_t hash, uint32_t ref,
                               const struct wanted *wanted, const struct change *change,
                               enum outcome *outcome) {
    struct covered covered =
        mark_cover(shard, slot, hash, ref, wanted, change, item->take.cost_tokens);
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

/* Whose bucket a take is about. */
struct subject {
    struct shard_slot *slot;
    uint64_t hash;
    struct candidate candidate;
    bool known; /* in memory, or nowhere */
};

static bool tats_equal(const struct tat a[], const struct tat b[], uint32_t limit_count) {
    bool equal = true;
    for (uint32_t i = 0; i < limit_count; i++) {
        equal = equal && a[i].ns == b[i].ns && a[i].part == b[i].part;
    }
    return equal;
}

/* Whether the limits that the bucket is under will be known: they are newer than the plans that
 * this shard has heard of. */
static bool limits_to_come(const struct shard *shard, const struct resident *resident) {
    if (resident->term == TERM_NONE) {
        return false;
    }
    const struct term *term = term_set_at(&shard->terms, resident->term);
    return term->kind == TERM_UNKNOWN && term->plan_at >= 0 && !term->outdated;
}

/* Of a bucket that is under other terms. A refusal says when to come again, by the limits that it
 * was asked under. That is true only if the bucket refills by them from now on, and no longer by
 * those that it was charged under, which may be far slower (docs/decisions/0032). Without memory it
 * is so after a later one. */
static void take_refused(struct shard *shard, const struct subject *subject,
                         const struct shard_item *item, uint32_t ref, const struct wanted *wanted,
                         const struct tat tats[]) {
    const struct resident *resident = resident_at(&shard->arena, ref);
    if (limits_to_come(shard, resident) || bucket_full(wanted->terms, tats, shard->now_ns)) {
        return;
    }
    struct shard_slot *slot = subject->slot;
    if (bucket_commit(shard, slot, subject->hash, item->take.key, &ref, wanted, tats) ==
        REASON_NONE) {
        bucket_mark_dirty(shard, slot, ref);
    }
}

static enum reason take_decide(struct shard *shard, const struct subject *subject,
                               const struct shard_item *item, struct take_result *result,
                               enum outcome *outcome) {
    struct shard_slot *slot = subject->slot;
    uint64_t hash = subject->hash;
    enum reason reason = shard->stopping ? REASON_STOPPING : slot_refusal(slot);
    if (reason != REASON_NONE) {
        return reason;
    }
    uint32_t ref = bucket_find_after(shard, slot, hash, item->take.key, &subject->candidate);
    if (ref == 0 && !subject->known) {
        *outcome = OUTCOME_ASKED;
        *result = (struct take_result){.code = CODE_OK};
        return fetch_ask(shard, slot, hash, item);
    }
    struct wanted wanted;
    reason = plans_resolve(shard, slot, &item->take, hash, &wanted);
    if (reason != REASON_NONE) {
        return reason;
    }
    struct change change;
    bool kept = false; /* under its own terms, which are not those that were asked for */
    if (ref == 0) {
        change.of_terms = false;
        memset(change.before, 0, sizeof change.before);
    } else {
        struct resident *resident = resident_at(&shard->arena, ref);
        resident->used = 1;
        if ((resident->state & RESIDENT_UNREADABLE) != 0) {
            return resident_unreadable_reason(resident);
        }
        change.of_terms = !bucket_tats_under(shard, resident, &wanted, change.before);
        if (change.of_terms && shard->now_ns < slot->former_until_ns) {
            reason = former_keep(shard, slot, resident, &wanted);
            if (reason != REASON_NONE) {
                return reason;
            }
            kept = bucket_tats_under(shard, resident, &wanted, change.before);
            change.of_terms = !kept;
        }
    }
    uint32_t limit_count = wanted.terms->limit_count;
    tats_copy(change.after, change.before, limit_count);
    bucket_decide(wanted.terms, change.after, item->verb, item->take.cost_tokens, shard->now_ns,
                  result);
    if (kept) {
        former_hint(shard, slot, result);
    }
    /* Only what changes something makes a bucket; that and a refusal put it under other terms. */
    if (tats_equal(change.before, change.after, limit_count)) {
        if (change.of_terms && item->verb == VERB_TAKE && !result->allowed) {
            take_refused(shard, subject, item, ref, &wanted, change.before);
        }
        return REASON_NONE;
    }
    bool has_mark = ref != 0 && resident_at(&shard->arena, ref)->has_mark;
    if (item->verb == VERB_TAKE && (wanted.strict || has_mark)) {
        return take_commit(shard, slot, item, hash, ref, &wanted, &change, outcome);
    }
    reason = bucket_commit(shard, slot, hash, item->take.key, &ref, &wanted, change.after);
    if (reason == REASON_NONE) {
        if (item->verb == VERB_TAKE && shard->held_used > 0) {
            resident_at(&shard->arena, ref)->mixed = 1;
        }
        if (!wanted.strict) {
            resident_at(&shard->arena, ref)->rounded = 0;
        }
        bucket_mark_dirty(shard, slot, ref);
    }
    return reason;
}

/* True: the result is held. */
static bool take_one(struct shard *shard, const struct subject *subject,
                     const struct shard_item *item, struct take_result *result) {
    enum outcome outcome = OUTCOME_DECIDED;
    enum reason reason = take_decide(shard, subject, item, result, &outcome);
    if (reason != REASON_NONE) {
        take_fail(shard, result, reason);
        return false;
    }
    if (outcome != OUTCOME_ASKED) {
        take_count(shard, item, result->allowed);
        subject->slot->takes++;
    }
    return outcome != OUTCOME_DECIDED;
}

bool take_answer(struct shard *shard, struct shard_slot *slot, const struct shard_item *item,
                 uint64_t hash, struct take_result *result) {
    struct subject subject = {
        .slot = slot, .hash = hash, .candidate = bucket_candidate(slot, hash), .known = true};
    return take_one(shard, &subject, item, result);
}

void takes_decide(struct shard *shard, const struct shard_item *items, uint32_t count) {
    struct subject subjects[TAKE_GROUP];
    for (uint32_t base = 0; base < count; base += TAKE_GROUP) {
        uint32_t group = count - base < TAKE_GROUP ? count - base : TAKE_GROUP;
        for (uint32_t i = 0; i < group; i++) {
            uint64_t hash = key_hash(items[base + i].take.key);
            uint16_t slot_at = slot_of_hash(hash, shard->options.slot_count).index;
            subjects[i] = (struct subject){.slot = &shard->slots[slot_at], .hash = hash};
            __builtin_prefetch(subjects[i].slot);
        }
        for (uint32_t i = 0; i < group; i++) {
            table_prefetch(&subjects[i].slot->buckets, table_tag(subjects[i].hash));
        }
        for (uint32_t i = 0; i < group; i++) {
            struct subject *subject = &subjects[i];
            subject->candidate = bucket_candidate(subject->slot, subject->hash);
            if (subject->candidate.ref != 0) {
                __builtin_prefetch(resident_at(&shard->arena, subject->candidate.ref));
            }
        }
        for (uint32_t i = 0; i < group; i++) {
            const struct subject *subject = &subjects[i];
            if (subject->candidate.ref != 0 &&
                resident_at(&shard->arena, subject->candidate.ref)->has_mark) {
                marks_prefetch(&shard->marks, subject->hash);
            }
        }
        for (uint32_t i = 0; i < group; i++) {
            subjects[i].known = slot_complete(subjects[i].slot);
            bool held = take_one(shard, &subjects[i], &items[base + i], &shard->results[base + i]);
            shard->held[base + i] = held;
            shard->held_count += held;
        }
    }
    shard->result_count = count;
}
