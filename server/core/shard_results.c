/*
 * Takes whose results are held until their bucket's record is acknowledged.
 *
 * Those of a slot stand in two lists, in the order in which they were decided: `waiting` for a
 * record that is still to be sent, and `gated` by the write under way. What a write covers goes
 * from one to the other when it is made up; its answer grants all that is gated, or fails it.
 */
#include <assert.h>

#include "proto/bucket.h"
#include "server/core/shard_parts.h"

bool held_room(const struct shard *shard) {
    return shard->held_used < SHARD_HELD_MAX;
}

static void list_append(struct shard *shard, struct held_list *list, uint32_t at) {
    shard->held_pool[at].next = 0;
    if (list->first == 0) {
        list->first = at;
    } else {
        shard->held_pool[list->last].next = at;
    }
    list->last = at;
}

void held_add(struct shard *shard, struct shard_slot *slot, enum cover cover,
              const struct shard_item *item, uint32_t ref) {
    assert(held_room(shard));
    uint32_t at = shard->held_free;
    if (at != 0) {
        shard->held_free = shard->held_pool[at].next;
    } else {
        shard->held_made++;
        at = shard->held_made;
    }
    shard->held_used++;
    shard->held_pool[at] = (struct held){.token = item->token,
                                         .cost_tokens = item->take.cost_tokens,
                                         .ref = ref,
                                         .term = resident_at(&shard->arena, ref)->term};
    list_append(shard, cover == COVER_IN_FLIGHT ? &slot->gated : &slot->waiting, at);
    shard->counters.takes_held++;
    shard->counters.held = shard->held_used;
}

void held_gate(struct shard *shard, struct shard_slot *slot) {
    assert(slot->gated.first == 0);
    if (slot->marks == 0 && slot->draining == 0 && !slot->overdue) {
        /* All that takes wait for is in the write: their buckets stood in these lists. */
        slot->gated = slot->waiting;
        slot->waiting = (struct held_list){0};
        return;
    }
    uint32_t at = slot->waiting.first;
    slot->waiting = (struct held_list){0};
    while (at != 0) {
        uint32_t next = shard->held_pool[at].next;
        const struct resident *resident = resident_at(&shard->arena, shard->held_pool[at].ref);
        bool covered = (resident->state & RESIDENT_WRITING) != 0;
        list_append(shard, covered ? &slot->gated : &slot->waiting, at);
        at = next;
    }
}

static void release(struct shard *shard, uint32_t at, enum reason reason) {
    struct held *held = &shard->held_pool[at];
    shard_release_add(shard, held->token,
                      reason == REASON_NONE ? SHARD_RELEASE_GRANTED : SHARD_RELEASE_REASON)
        ->reason = reason;
    held->next = shard->held_free;
    shard->held_free = at;
    shard->held_used--;
    shard->counters.held = shard->held_used;
}

void held_grant(struct shard *shard, struct shard_slot *slot) {
    uint32_t at = slot->gated.first;
    slot->gated = (struct held_list){0};
    while (at != 0) {
        uint32_t next = shard->held_pool[at].next;
        __builtin_prefetch(&shard->held_pool[next]);
        release(shard, at, REASON_NONE);
        at = next;
    }
}

/* Exact, or not at all: what a take that was answered at once found refilled meanwhile would be
 * counted twice, and under other terms a token is another. */
static void give_back(struct shard *shard, struct shard_slot *slot, const struct held *held) {
    struct resident *resident = resident_at(&shard->arena, held->ref);
    if (resident->mixed || resident->term != held->term) {
        return;
    }
    const struct term *term = term_set_at(&shard->terms, held->term);
    struct take_result ignored;
    bucket_decide(&term->terms, resident->tats, VERB_REFUND, held->cost_tokens, shard->now_ns,
                  &ignored);
    bucket_mark_dirty(shard, slot, held->ref);
}

static void list_fail(struct shard *shard, struct shard_slot *slot, struct held_list *list,
                      enum reason reason, bool refund) {
    uint32_t at = list->first;
    *list = (struct held_list){0};
    while (at != 0) {
        const struct held *held = &shard->held_pool[at];
        uint32_t next = held->next;
        shard->counters.takes_granted--;
        shard->counters.tokens_granted -= held->cost_tokens;
        shard->counters.takes_failed++;
        if (refund) {
            give_back(shard, slot, held);
        }
        release(shard, at, reason);
        at = next;
    }
}

void held_fail(struct shard *shard, struct shard_slot *slot, enum reason reason, bool refund) {
    list_fail(shard, slot, &slot->gated, reason, refund);
    list_fail(shard, slot, &slot->waiting, reason, refund);
}

/* True: there was one of that bucket. */
static bool list_move(struct shard *shard, const struct held_list *list, uint32_t from,
                      uint32_t to) {
    bool moved = false;
    for (uint32_t at = list->first; at != 0; at = shard->held_pool[at].next) {
        if (shard->held_pool[at].ref == from) {
            shard->held_pool[at].ref = to;
            moved = true;
        }
    }
    return moved;
}

void held_bucket_moved(struct shard *shard, uint32_t from, uint32_t to) {
    if (shard->held_used == 0) {
        return;
    }
    struct shard_slot *slot =
        shard_slot_of(shard, key_hash(resident_key(resident_at(&shard->arena, to))));
    (void)list_move(shard, &slot->gated, from, to);
    if (list_move(shard, &slot->waiting, from, to)) {
        /* What they wait for stood in a list as the place of before, which nobody writes now: the
         * next write of the slot is taken for theirs. */
        bucket_mark_urgent(shard, slot, to);
    }
}
