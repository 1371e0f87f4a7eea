/*
 * A slot's life: which states there are, which moves are allowed, and what moves it.
 *
 * A slot that has to start over (its newer owner was met, or a page could not be read) goes through
 * RELEASING like one that is given away: its memory is taken back in steps, then it is ABSENT, and
 * started again if it is still wanted.
 */
#include <assert.h>

#include "server/core/shard_state.h"

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

static void slot_unstream(struct shard *shard, struct shard_slot *slot) {
    shard->streaming_count -= slot->streaming;
    shard->rereading_count -= slot->streaming && slot->state == SLOT_SERVING;
    slot->streaming = false;
}

static void slot_move(struct shard *shard, struct shard_slot *slot, enum slot_state to) {
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

static void slot_restart(struct shard *shard, struct shard_slot *slot) {
    slot->backoff = true;
    slot_drop(shard, slot);
}

/* Of a slot that has its state and lost a write on the way. */
static void fence_raised_again(struct shard *shard, struct shard_slot *slot,
                               const struct shard_event *event) {
    switch (event->stored.status) {
    case SHARD_STORED_OK:
        slot->fence = event->stored.fence;
        slot->refence = false;
        slot_ready(shard, slot);
        break;
    case SHARD_STORED_FENCED:
        shard_notice_add(shard, SHARD_NOTICE_FENCED, shard_slot_at(shard, slot), (struct bytes){0},
                         "a fence was refused: the slot has a newer owner");
        slot_restart(shard, slot);
        break;
    case SHARD_STORED_FAILED:
        snapshot_failed(shard, slot);
        slot_settle(shard, slot);
        break;
    }
}

static void fence_raised(struct shard *shard, struct shard_slot *slot,
                         const struct shard_event *event) {
    if (slot->state != SLOT_FENCING) {
        fence_raised_again(shard, slot, event);
        return;
    }
    if (event->stored.status != SHARD_STORED_OK) {
        slot_later(shard, slot);
        return;
    }
    slot->fence = slot->since_fence = event->stored.fence;
    slot->gained_ms = shard_now_ms(shard);
    slot->former_until_ns = shard->now_ns + SHARD_FORMER_NS;
    slot->inherited = false;
    slot->cursor = 0;
    slot->keys_loaded = false;
    slot->wrote = false;
    slot_move(shard, slot, SLOT_LOADING);
    slot_queue_push(&shard->loading, shard_slot_at(shard, slot));
}

/* Writes are to be made now. */
static bool slot_has_urgent(const struct shard_slot *slot) {
    return slot->marks != 0 || slot->draining != 0 || slot->overdue || slot->watch ||
           slot->keys_unwritten || (slot->refence && slot->assigns > 0);
}

void slot_reread(struct shard *shard, struct shard_slot *slot) {
    if (slot->state == SLOT_SERVING && !slot->streaming && (slot->leftovers || slot->keys_unread)) {
        slot_queue_push(&shard->rereading, shard_slot_at(shard, slot));
    }
    if (keys_pressing(shard, slot)) {
        slot_ready(shard, slot); /* that queue's turn may come too late, or not at all */
    }
}

/* Of a SERVING slot, or of assignments of a SEALED one. */
static void page_reread(struct shard *shard, struct shard_slot *slot,
                        const struct shard_event *event) {
    if (event->stored.op_kind == SHARD_OP_LOAD_KEYS) {
        keys_reread(shard, slot, event);
    } else {
        load_leftovers(shard, slot, event->stored.pairs, event->stored.pair_count);
        slot->cursor = event->stored.cursor;
        slot->leftovers = slot->cursor != 0;
    }
    if (!slot->keys_unread && !slot->leftovers) {
        slot_unstream(shard, slot);
    }
    slot_ready(shard, slot);
}

static void page_loaded(struct shard *shard, struct shard_slot *slot,
                        const struct shard_event *event) {
    if (event->stored.status != SHARD_STORED_OK) {
        /* A cursor means nothing to a server that was restarted: begin anew. What has been read
         * stays: it is as new as anything in the store. Another slot has its place meanwhile, for
         * it may be that this one can never be read. */
        slot->cursor = 0;
        if (slot->state == SLOT_LOADING) {
            slot_unstream(shard, slot);
        }
        slot_later(shard, slot);
        return;
    }
    if (slot->state != SLOT_LOADING) {
        page_reread(shard, slot, event);
        return;
    }
    bool taken_in = slot->keys_loaded
                        ? load_buckets(shard, slot, event->stored.pairs, event->stored.pair_count)
                        : load_keys(shard, slot, event->stored.pairs, event->stored.pair_count);
    bool enough = hibernate_enough(shard) && slot->keys_loaded;
    if (!taken_in && !enough) {
        /* Memory is full. Serving a part of the slot would grant twice what the rest has spent:
         * it has to wait until the sweep has made room. */
        slot_later(shard, slot);
        return;
    }
    slot->cursor = event->stored.cursor;
    bool read = slot->keys_loaded && slot->cursor == 0;
    slot->keys_loaded = slot->keys_loaded || slot->cursor == 0;
    if (!read && !(slot->keys_loaded && hibernate_enough(shard))) {
        slot_ready(shard, slot);
        return;
    }
    hibernate_sleep(shard, slot, !read || !taken_in);
    slot->cursor = 0;
    slot_move(shard, slot, SLOT_SERVING);
    if (shard->counters.slots_serving == shard->counters.slots_owned) {
        shard_notice_add(shard, SHARD_NOTICE_SERVING, shard_slot_at(shard, slot), (struct bytes){0},
                         "");
    }
    if (slot->to_seal) {
        slot_move(shard, slot, SLOT_SEALED);
        snapshot_hurry(shard, slot);
    }
    slot_reread(shard, slot);
    if (slot_has_urgent(slot) || keys_pressing(shard, slot)) {
        slot_ready(shard, slot);
    }
}

/* The slot's outstanding operation has been answered. False: the answer is of a life that is over.
 */
static bool op_over(struct shard *shard, struct shard_slot *slot, uint8_t op_kind, uint32_t op_id,
                    enum shard_stored_status status) {
    if (slot->op_id == 0 || slot->op_id != op_id) {
        return false;
    }
    assert(slot->op_kind == op_kind);
    slot->op_id = 0;
    shard->outstanding--;
    bool fenced = op_kind == SHARD_OP_WRITE || op_kind == SHARD_OP_RAISE_FENCE;
    if (fenced && status == SHARD_STORED_OK) {
        slot->proved_ns = slot->asked_ns;
    }
    return true;
}

void slot_stored(struct shard *shard, const struct shard_event *event) {
    assert(event->stored.slot.index < shard->options.slot_count);
    struct shard_slot *slot = &shard->slots[event->stored.slot.index];
    if (event->stored.status == SHARD_STORED_OK) {
        slot->heard_ms = shard_now_ms(shard);
    }
    if (event->stored.op_kind == SHARD_OP_FETCH) {
        fetch_stored(shard, event);
        return;
    }
    if (event->stored.op_kind == SHARD_OP_ASSIGN) {
        admin_assign_stored(shard, event->stored.op_id, event->stored.status);
        return;
    }
    if (!op_over(shard, slot, event->stored.op_kind, event->stored.op_id, event->stored.status)) {
        return;
    }
    switch (slot->op_kind) {
    case SHARD_OP_RAISE_FENCE:
        fence_raised(shard, slot, event);
        break;
    case SHARD_OP_LOAD_KEYS:
    case SHARD_OP_LOAD_BUCKETS:
        if (slot->page_stale) {
            slot->page_stale = false;
            slot_ready(shard, slot); /* from the first page again */
        } else if (slot->streaming ||
                   (slot->op_kind == SHARD_OP_LOAD_KEYS && slot->state != SLOT_RELEASING)) {
            page_loaded(shard, slot, event);
        } else if (slot->state == SLOT_SERVING && !slot->leftovers) {
            survey_page(shard, slot, event);
        } else {
            /* Given away meanwhile: only what it took is to be written. Or sealed for a while: the
             * page is asked for again when it is the slot's turn. */
            slot_ready(shard, slot);
        }
        break;
    default:
        snapshot_stored(shard, slot, event->stored.op_id, event->stored.status);
        break;
    }
}

/* What the answer to its write looks at first. */
static void slot_prefetch(const struct shard *shard, const struct shard_slot *slot) {
    if (slot->writing != 0) {
        __builtin_prefetch(resident_at(&shard->arena, slot->writing));
    }
    __builtin_prefetch(&shard->held_pool[slot->gated.first]);
}

void slots_written(struct shard *shard, const struct shard_written writes[], uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        assert(writes[i].slot.index < shard->options.slot_count);
        struct shard_slot *slot = &shard->slots[writes[i].slot.index];
        if (i + 2 < count) {
            __builtin_prefetch(&shard->slots[writes[i + 2].slot.index]);
        }
        if (i + 1 < count) {
            slot_prefetch(shard, &shard->slots[writes[i + 1].slot.index]);
        }
        if (writes[i].status == SHARD_STORED_OK) {
            slot->heard_ms = shard_now_ms(shard);
        }
        if (op_over(shard, slot, SHARD_OP_WRITE, writes[i].op_id, writes[i].status)) {
            snapshot_stored(shard, slot, writes[i].op_id, writes[i].status);
        }
    }
}

void slots_store_lost(struct shard *shard) {
    struct shard_event event = {.kind = SHARD_EVENT_STORED, .now_ns = shard->now_ns};
    event.stored.status = SHARD_STORED_FAILED;
    for (uint32_t i = 0; i < shard->options.slot_count; i++) {
        if (shard->slots[i].op_id != 0) {
            event.stored.op_kind = shard->slots[i].op_kind;
            event.stored.slot.index = (uint16_t)i;
            event.stored.op_id = shard->slots[i].op_id;
            slot_stored(shard, &event);
        }
        if (slot_decides(&shard->slots[i]) || shard->slots[i].state == SLOT_SEALED) {
            shard->slots[i].cursor = 0; /* it means nothing to another server */
        }
        fetches_fail(shard, &shard->slots[i], REASON_STORE_AWAY);
        if (shard->slots[i].waiting.first != 0) {
            snapshot_failed(shard, &shard->slots[i]);
        }
    }
    admin_store_lost(shard);
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

static bool slot_has_writes(const struct shard_slot *slot) {
    return slot->marks != 0 || slot->dirty != 0 || slot->draining != 0 || slot->assigns > 0 ||
           slot->keys_unwritten;
}

static void slot_write(struct shard *shard, struct shard_slot *slot) {
    if (slot->refence && slot->state != SLOT_RELEASING && slot_has_writes(slot)) {
        shard_op_add(shard, slot, SHARD_OP_RAISE_FENCE);
    } else if (slot->state != SLOT_ABSENT) {
        if (!keys_emit(shard, slot)) {
            snapshot_emit(shard, slot);
        }
        slot_settle(shard, slot);
    }
}

static void slot_emit(struct shard *shard, struct shard_slot *slot) {
    if (slot->op_id != 0 || slot->discard) {
        return;
    }
    if (slot->state == SLOT_FENCING) {
        if (!shard->stopping) {
            shard_op_add(shard, slot, SHARD_OP_RAISE_FENCE);
        }
        return;
    }
    bool survey =
        slot->state == SLOT_SERVING && slot->survey_due && !slot->leftovers && !slot->keys_unread;
    bool page_due = ((slot->streaming || survey) && !shard->stopping) || keys_pressing(shard, slot);
    bool writes = slot->state != SLOT_LOADING || slot_has_urgent(slot);
    if (writes && !(page_due && slot->wrote)) {
        slot_write(shard, slot);
        slot->wrote = slot->op_id != 0;
    }
    if (!page_due || slot->op_id != 0) {
        return;
    }
    slot->wrote = false;
    bool keys = slot->state == SLOT_LOADING ? !slot->keys_loaded : slot->keys_unread;
    struct shard_op *op =
        shard_op_add(shard, slot, keys ? SHARD_OP_LOAD_KEYS : SHARD_OP_LOAD_BUCKETS);
    op->cursor = slot->cursor;
}

void slots_emit(struct shard *shard) {
    if (!shard->store_up) {
        return;
    }
    admin_emit(shard);
    fetches_emit(shard);
    while (shard_op_room(shard) && !slot_queue_empty(&shard->ready) &&
           shard->listed_count <= SHARD_UPDATE_ENTRIES_MAX - SHARD_WRITE_ENTRIES_MAX) {
        slot_emit(shard, &shard->slots[slot_queue_pop(&shard->ready)]);
    }
}
