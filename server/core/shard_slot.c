/*
 * A slot's life: which states there are, which moves are allowed, and what moves it.
 *
 * A slot that has to start over (its newer owner was met, or a page could not be read) goes through
 * RELEASING like one that is given away: its memory is taken back in steps, then it is ABSENT, and
 * started again if it is still wanted.
 */
#include <assert.h>

#include "server/core/shard_parts.h"

#define MOVE(to) (1u << (to))

static const uint32_t allowed_moves[] = {
    [SLOT_ABSENT] = MOVE(SLOT_FENCING),
    [SLOT_FENCING] = MOVE(SLOT_LOADING) | MOVE(SLOT_RELEASING),
    [SLOT_LOADING] = MOVE(SLOT_SERVING) | MOVE(SLOT_RELEASING),
    [SLOT_SERVING] = MOVE(SLOT_SEALED) | MOVE(SLOT_RELEASING),
    [SLOT_SEALED] = MOVE(SLOT_SERVING) | MOVE(SLOT_RELEASING),
    [SLOT_RELEASING] = MOVE(SLOT_ABSENT),
};

static bool state_starting(uint32_t state) {
    return state == SLOT_FENCING || state == SLOT_LOADING;
}

void slot_unstream(struct shard *shard, struct shard_slot *slot) {
    shard->streaming_count -= slot->streaming;
    shard->rereading_count -= slot->streaming && slot->state == SLOT_SERVING;
    slot->streaming = false;
}

void slot_move(struct shard *shard, struct shard_slot *slot, enum slot_state to) {
    assert((allowed_moves[slot->state] & MOVE(to)) != 0);
    shard->fencing_count -= slot->state == SLOT_FENCING;
    shard->fencing_count += to == SLOT_FENCING;
    slot_unstream(shard, slot);
    slot->keys_unread = slot->keys_unread && to != SLOT_RELEASING; /* the next owner's matter */
    shard->counters.slots_serving -= slot->state == SLOT_SERVING;
    shard->counters.slots_serving += to == SLOT_SERVING;
    shard->counters.slots_sealed -= slot->state == SLOT_SEALED;
    shard->counters.slots_sealed += to == SLOT_SEALED;
    slot->state = (uint8_t)to;
}

enum reason slot_refusal(const struct shard_slot *slot) {
    if (slot->state == SLOT_SERVING || (slot->state == SLOT_LOADING && !slot->to_seal)) {
        return REASON_NONE;
    }
    if (!slot->wanted) {
        return REASON_NOT_OWNER;
    }
    return slot->state == SLOT_SEALED ? REASON_MOVING : REASON_LOADING;
}

void slot_ready(struct shard *shard, struct shard_slot *slot) {
    slot_queue_push(&shard->ready, shard_slot_at(shard, slot));
}

void slot_later(struct shard *shard, struct shard_slot *slot) {
    uint16_t at = shard_slot_at(shard, slot);
    if (!slot_queue_has(&shard->due, at)) {
        /* All wait equally long, so the queue is in order of time. */
        slot->due_ns = shard->now_ns + shard->options.snapshot_interval_ns;
        slot_queue_push(&shard->due, at);
    }
}

void slot_drop(struct shard *shard, struct shard_slot *slot) {
    if (slot->state != SLOT_RELEASING) {
        slot_move(shard, slot, SLOT_RELEASING);
    }
    if (slot->op_id != 0) {
        slot->op_id = 0; /* its answer will be ignored */
        shard->outstanding--;
    }
    slot->discard = true;
    slot->watch = false;
    slot->refence = false;
    slot->leftovers = false;
    slot->fence = 0;
    held_fail(shard, slot, slot_refusal(slot), false);
    fetches_fail(shard, slot, slot_refusal(slot));
    admin_slot_dropped(shard, slot);
    hibernate_sleep(shard, slot, false);
    keys_forget(slot);
    slot->cursor = 0;
    shard->rewrite_count -= slot->rewrite;
    slot->rewrite = false;
    slot->rewrite_all = false;
    slot->rounded = false;
    slot_queue_push(&shard->reclaim, shard_slot_at(shard, slot));
}

static bool slot_unwritten(const struct shard_slot *slot) {
    return slot->marks != 0 || slot->dirty != 0 || slot->draining != 0 || slot->writing != 0 ||
           slot->rewrite || slot->keys_unwritten;
}

/* Everything that the slot has is in the store. */
static bool slot_clean(const struct shard_slot *slot) {
    return slot->op_id == 0 && slot->assigns == 0 && !slot_unwritten(slot) && !slot->keys_unread;
}

/* The same of one that is still being read: a page that is outstanding changes nothing. What it has
 * let go of does not count. */
static bool slot_settled(const struct shard_slot *slot) {
    return slot->state == SLOT_SEALED
               ? slot_clean(slot)
               : slot->discard ||
                     (slot->assigns == 0 && !slot_unwritten(slot) && !slot->keys_unread);
}

/* After a write that was given up only a raised fence makes the next one safe, and the fence of a
 * slot that is another's is not to be raised: what it still has stays unwritten. */
void slot_settle(struct shard *shard, struct shard_slot *slot) {
    if (slot->state == SLOT_RELEASING && !slot->discard && (slot_clean(slot) || slot->refence)) {
        slot_drop(shard, slot);
    }
}

static void slot_to_seal(struct shard *shard, struct shard_slot *slot, bool to_seal) {
    shard->to_seal_count -= slot->to_seal;
    shard->to_seal_count += to_seal;
    slot->to_seal = to_seal;
}

static void slot_disown(struct shard *shard, struct shard_slot *slot) {
    if (state_starting(slot->state) && !slot_unwritten(slot)) {
        slot_drop(shard, slot);
    } else if (slot_decides(slot) || slot->state == SLOT_SEALED) {
        slot_move(shard, slot, SLOT_RELEASING);
        fetches_fail(shard, slot, slot_refusal(slot));
        snapshot_hurry(shard, slot);
        slot_settle(shard, slot);
    }
}

void slots_own(struct shard *shard, const uint8_t *bits) {
    assert(shard->plans != NULL); /* records are read with the plan set: it comes first */
    marks_settle(shard, bits, false);
    for (uint32_t i = 0; i < shard->options.slot_count; i++) {
        struct shard_slot *slot = &shard->slots[i];
        bool wanted = (bits[i / 8] >> (i % 8) & 1) != 0;
        if (wanted == slot->wanted) {
            continue;
        }
        slot->wanted = wanted;
        if (!wanted) {
            shard->counters.slots_owned--;
            slot_to_seal(shard, slot, false);
            slot_disown(shard, slot);
            continue;
        }
        shard->counters.slots_owned++;
        slot->backoff = false;
        if (slot->state == SLOT_ABSENT) {
            slot_queue_push(&shard->starting, (uint16_t)i);
        }
    }
}

void slots_look(struct shard *shard) {
    for (uint32_t i = 0; i < shard->options.slot_count; i++) {
        struct shard_slot *slot = &shard->slots[i];
        slot->watch = slot->watch || slot_decides(slot);
        if (slot->watch && slot->op_id == 0) {
            slot_ready(shard, slot);
        } /* else when that is answered, which may have been before the restore */
    }
}

/* What a sealed slot has is in the store, and what a loading one has came from there: both can be
 * read again, and nothing is lost. */
static bool slot_can_reload(const struct shard_slot *slot) {
    return slot->to_seal && !slot->discard &&
           (slot->state == SLOT_SEALED ? slot_clean(slot)
                                       : state_starting(slot->state) && !slot_unwritten(slot));
}

void slots_seal(struct shard *shard, const uint8_t *bits, bool reload) {
    marks_settle(shard, bits, true);
    for (uint32_t i = 0; i < shard->options.slot_count; i++) {
        struct shard_slot *slot = &shard->slots[i];
        bool sealed = (bits[i / 8] >> (i % 8) & 1) != 0;
        if (!sealed && reload && slot_can_reload(slot)) {
            slot_drop(shard, slot);
        }
        slot_to_seal(shard, slot, sealed && slot->wanted);
        if (slot->to_seal) {
            fetches_fail(shard, slot, REASON_LOADING);
            if (slot->state == SLOT_SERVING) {
                slot_move(shard, slot, SLOT_SEALED);
                slot_ready(shard, slot);
            }
            snapshot_hurry(shard, slot); /* one that is still being read has granted, too */
        } else if (!sealed && slot->state == SLOT_SEALED) {
            slot_move(shard, slot, SLOT_SERVING);
            slot_reread(shard, slot);
        }
    }
}

bool slots_sealed(const struct shard *shard) {
    bool any = false;
    for (uint32_t i = 0; i < shard->options.slot_count && shard->to_seal_count > 0; i++) {
        const struct shard_slot *slot = &shard->slots[i];
        if (slot->to_seal && !slot_settled(slot)) {
            return false;
        }
        any = any || (slot->to_seal && (slot->state == SLOT_SEALED || slot->state == SLOT_LOADING));
    }
    return any;
}

void slot_reread(struct shard *shard, struct shard_slot *slot) {
    if (slot->state == SLOT_SERVING && !slot->streaming && (slot->leftovers || slot->keys_unread)) {
        slot_queue_push(&shard->rereading, shard_slot_at(shard, slot));
    }
    if (keys_pressing(shard, slot)) {
        slot_ready(shard, slot); /* that queue's turn may come too late, or not at all */
    }
}

void slots_stop(struct shard *shard) {
    marks_settle(shard, NULL, true);
    for (uint32_t i = 0; i < shard->options.slot_count; i++) {
        fetches_fail(shard, &shard->slots[i], REASON_STOPPING);
        snapshot_hurry(shard, &shard->slots[i]);
        if (keys_pressing(shard, &shard->slots[i])) {
            slot_ready(shard, &shard->slots[i]);
        }
    }
}

static void work_due(struct shard *shard) {
    while (!slot_queue_empty(&shard->due) &&
           shard->slots[shard->due.first].due_ns <= shard->now_ns) {
        uint16_t at = slot_queue_pop(&shard->due);
        struct shard_slot *slot = &shard->slots[at];
        if (slot->state == SLOT_ABSENT) {
            slot_queue_push(&shard->starting, at);
        } else {
            snapshot_hurry(shard, slot);
            if (state_starting(slot->state) || slot->streaming || slot->keys_unwritten ||
                keys_pressing(shard, slot)) {
                slot_ready(shard, slot);
            }
            if (slot->state == SLOT_LOADING && !slot->streaming) {
                slot_queue_push(&shard->loading, at);
            }
        }
    }
}

static void work_reclaim(struct shard *shard) {
    uint32_t budget = SHARD_SWEEP_ENTRIES;
    while (budget > 0 && !slot_queue_empty(&shard->reclaim)) {
        struct shard_slot *slot = &shard->slots[shard->reclaim.first];
        budget = sweep_reclaim(shard, slot, budget);
        if (budget == 0) {
            return;
        }
        uint16_t at = slot_queue_pop(&shard->reclaim);
        slot->discard = false;
        slot->overdue = false;
        slot->takes = 0;
        slot_move(shard, slot, SLOT_ABSENT);
        if (!slot->wanted) {
            continue;
        }
        if (slot->backoff) {
            slot_later(shard, slot);
        } else {
            slot_queue_push(&shard->starting, at);
        }
        slot->backoff = false;
    }
}

static void work_starting(struct shard *shard) {
    if (!shard->store_up || shard->stopping) {
        return;
    }
    while (shard->fencing_count < SHARD_FENCING_MAX && !slot_queue_empty(&shard->starting)) {
        struct shard_slot *slot = &shard->slots[slot_queue_pop(&shard->starting)];
        if (slot->wanted && slot->state == SLOT_ABSENT) {
            slot_move(shard, slot, SLOT_FENCING);
            slot_ready(shard, slot);
        }
    }
    while (shard->streaming_count < SHARD_LOADING_MAX && !slot_queue_empty(&shard->loading)) {
        struct shard_slot *slot = &shard->slots[slot_queue_pop(&shard->loading)];
        if (slot->state == SLOT_LOADING && !slot->streaming) {
            slot->streaming = true;
            shard->streaming_count++;
            slot_ready(shard, slot);
        }
    }
}

void slots_work(struct shard *shard) {
    sweep_rewrite(shard);
    work_due(shard);
    work_reclaim(shard);
    work_starting(shard);
    sweep_reread(shard);
}
