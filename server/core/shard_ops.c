/*
 * What a slot asks of the store, one operation at a time, and what the answers make of it: its
 * fence is raised, its pages are read, its changes are written.
 *
 * Reading and writing take turns, so that neither waits for all of the other. An answer counts only
 * for the operation that is outstanding: one of an earlier life of the slot changes nothing.
 */
#include <assert.h>

#include "server/core/shard_parts.h"

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
