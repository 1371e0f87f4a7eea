/*
 * Snapshots: what changed in a slot is written in chunks, one outstanding at a time.
 *
 * A changed bucket stands in the slot's dirty list. When the slot is due, that list becomes the
 * draining one: a snapshot under way, which goes out chunk by chunk, each as soon as the one before
 * is answered. What changes meanwhile is the next snapshot's. The outstanding chunk is the writing
 * list; a failed one goes back to the dirty list.
 *
 * A bucket whose mark takes wait for stands in the list of marks instead, which goes out with the
 * next chunk: at once if none is outstanding.
 */
#include <assert.h>

#include "proto/bucket.h"
#include "server/core/shard_parts.h"

void snapshot_hurry(struct shard *shard, struct shard_slot *slot) {
    if (!slot_decides(slot) && slot->state != SLOT_SEALED && slot->state != SLOT_RELEASING) {
        return;
    }
    slot->overdue = slot->dirty != 0 || slot->writing != 0;
    if (slot->op_id == 0 && (slot->marks != 0 || slot->dirty != 0 || slot->draining != 0)) {
        slot_ready(shard, slot);
    }
}

static void entry_fill(struct shard *shard, struct shard_slot *slot, uint32_t ref, bool remove) {
    struct resident *resident = resident_at(&shard->arena, ref);
    uint32_t ahead_tokens = mark_emitted(shard, slot, ref, remove);
    assert(shard->entry_count < SHARD_UPDATE_ENTRIES_MAX);
    struct shard_op_entry *entry = &shard->entries[shard->entry_count];
    shard->entry_count++;
    *entry = (struct shard_op_entry){.key = resident_key(resident), .remove = remove};
    if (remove) {
        resident->rounded = 0;
        return;
    }
    const struct term *term = term_set_at(&shard->terms, resident->term);
    struct record *record = &entry->record;
    if (term->kind == TERM_INLINE) {
        record->is_inline = true;
        record->limit = term->terms.limits[0];
    } else {
        record->plan = name_bytes(&term->name);
        record->generation = term->generation;
    }
    record->tat_count = resident_limits(resident);
    memcpy(record->tats, resident->tats, record->tat_count * sizeof record->tats[0]);
    for (uint32_t i = 0; i < record->tat_count && ahead_tokens > 0; i++) {
        record->tats[i] = bucket_ahead(&term->terms.limits[i], record->tats[i], ahead_tokens);
    }
    mark_round(shard, slot, ref, record->tats);
}

/* Frees what was taken from a list if there is nothing to write of it: a ghost, or a full bucket
 * that the store knows nothing of. */
static bool nothing_to_write(struct shard *shard, struct shard_slot *slot, uint32_t ref) {
    struct resident *resident = resident_at(&shard->arena, ref);
    if (resident_is_ghost(resident)) {
        arena_put(&shard->arena, ref);
        return true;
    }
    /* A result that is held may be of this bucket. */
    if ((resident->state & RESIDENT_STORED) != 0 || slot->waiting.first != 0 ||
        !bucket_resident_full(shard, resident)) {
        return false;
    }
    resident->state &= (uint8_t) ~(RESIDENT_DIRTY | RESIDENT_URGENT);
    shard->counters.buckets_dirty--;
    bucket_remove(shard, slot, ref);
    return true;
}

static void chunk_add(struct shard *shard, struct shard_slot *slot, uint32_t ref) {
    if (nothing_to_write(shard, slot, ref)) {
        return;
    }
    struct resident *resident = resident_at(&shard->arena, ref);
    bool full = bucket_resident_full(shard, resident);
    resident->state &= (uint8_t) ~(RESIDENT_DIRTY | RESIDENT_URGENT);
    entry_fill(shard, slot, ref, full);
    resident->state |= RESIDENT_WRITING | RESIDENT_STORED | (full ? RESIDENT_REMOVING : 0);
    resident->next = slot->writing;
    slot->writing = ref;
}

/* Moves up to `room` buckets of the list into the chunk; returns the room left. */
static uint32_t chunk_fill(struct shard *shard, struct shard_slot *slot, uint32_t *list,
                           uint32_t room) {
    for (; room > 0 && *list != 0; room--) {
        uint32_t ref = *list;
        *list = resident_at(&shard->arena, ref)->next;
        if (*list != 0) {
            __builtin_prefetch(resident_at(&shard->arena, *list));
        }
        chunk_add(shard, slot, ref);
        shard->listed_count++;
    }
    return room;
}

void snapshot_emit(struct shard *shard, struct shard_slot *slot) {
    assert(slot->writing == 0);
    if (slot->draining == 0 && slot->overdue) {
        slot->draining = slot->dirty;
        slot->dirty = 0;
        slot->overdue = false;
    }
    uint32_t first = shard->entry_count;
    uint32_t room = chunk_fill(shard, slot, &slot->marks, SHARD_WRITE_ENTRIES_MAX);
    chunk_fill(shard, slot, &slot->draining, room);
    if (shard->entry_count > first || slot->watch) {
        slot->watch = false;
        struct shard_op *op = shard_op_add(shard, slot, SHARD_OP_WRITE);
        op->entries = &shard->entries[first];
        op->entry_count = shard->entry_count - first;
        for (uint32_t ref = slot->writing; ref != 0 && shard->pending_count > 0;
             ref = resident_at(&shard->arena, ref)->next) {
            admin_bucket_emitted(shard, ref, op->op_id);
        }
        held_gate(shard, slot);
    } else if (slot->marks != 0 || slot->draining != 0 || slot->overdue) {
        slot_ready(shard, slot);
    }
}

uint32_t snapshot_thin(struct shard *shard, struct shard_slot *slot, uint32_t bound) {
    uint32_t looked = 0;
    for (; slot->dirty != 0 && looked < bound; looked++) {
        uint32_t ref = slot->dirty;
        struct resident *resident = resident_at(&shard->arena, ref);
        slot->dirty = resident->next;
        if (slot->dirty != 0) {
            __builtin_prefetch(resident_at(&shard->arena, slot->dirty));
        }
        if (!nothing_to_write(shard, slot, ref)) {
            resident->next = slot->draining;
            slot->draining = ref;
        }
    }
    if (slot->dirty == 0) {
        slot->dirty = slot->draining;
        slot->draining = 0;
    }
    return looked;
}

/* What the answered write means for one of its buckets. */
static void written(struct shard *shard, struct shard_slot *slot, uint32_t ref, bool ok) {
    struct resident *resident = resident_at(&shard->arena, ref);
    bool removing = (resident->state & RESIDENT_REMOVING) != 0;
    shard->counters.records_removed += ok && removing;
    shard->counters.records_written += ok && !removing;
    if (resident_is_ghost(resident)) {
        arena_put(&shard->arena, ref);
        return;
    }
    resident->state &= (uint8_t) ~(RESIDENT_WRITING | RESIDENT_REMOVING);
    mark_stored(shard, ref, ok);
    if (ok && slot->waiting.first == 0) {
        resident->mixed = 0;
    }
    if (ok && removing) {
        resident->state &= (uint8_t)~RESIDENT_STORED;
    }
    if (!ok || (resident->state & RESIDENT_DIRTY) != 0) {
        bool urgent = ok && slot->waiting.first != 0;
        uint32_t *list = urgent ? &slot->marks : &slot->dirty;
        resident->state |= RESIDENT_DIRTY | (urgent ? RESIDENT_URGENT : 0);
        resident->next = *list;
        *list = ref;
        return;
    }
    shard->counters.buckets_dirty--;
    resident->written_ms = shard_now_ms(shard);
    if (removing) {
        bucket_remove(shard, slot, ref); /* unchanged since, so it is still full */
    }
}

void snapshot_failed(struct shard *shard, struct shard_slot *slot) {
    held_fail(shard, slot, REASON_STORE_AWAY, true);
    while (slot->marks != 0) {
        uint32_t ref = slot->marks;
        struct resident *resident = resident_at(&shard->arena, ref);
        slot->marks = resident->next;
        resident->next = slot->dirty;
        slot->dirty = ref;
        resident->state &= (uint8_t)~RESIDENT_URGENT;
    }
    if (slot->state != SLOT_RELEASING) {
        slot_later(shard, slot);
    }
}

void snapshot_stored(struct shard *shard, struct shard_slot *slot, uint32_t op_id,
                     enum shard_stored_status status) {
    shard->counters.writes += status == SHARD_STORED_OK;
    shard->counters.writes_failed += status == SHARD_STORED_FAILED;
    shard->counters.writes_fenced += status == SHARD_STORED_FENCED;
    if (status == SHARD_STORED_FENCED) {
        shard_notice_add(shard, SHARD_NOTICE_FENCED, shard_slot_at(shard, slot), (struct bytes){0},
                         "a write was refused: the slot has a newer owner");
        slot->backoff = true;
        slot_drop(shard, slot);
        return;
    }
    bool ok = status == SHARD_STORED_OK;
    admin_write_stored(shard, op_id, ok);
    uint32_t ref = slot->writing;
    slot->writing = 0;
    if (slot->keys_writing) {
        keys_stored(shard, slot, ok);
    }
    while (ref != 0) {
        uint32_t next = resident_at(&shard->arena, ref)->next;
        if (next != 0) {
            __builtin_prefetch(resident_at(&shard->arena, next));
        }
        written(shard, slot, ref, ok);
        ref = next;
    }
    if (!ok) {
        slot->refence = true;
        snapshot_failed(shard, slot);
        slot_settle(shard, slot);
        return;
    }
    held_grant(shard, slot);
    if (slot->dirty != 0 && (shard->stopping || slot->to_seal || !slot_decides(slot))) {
        slot->overdue = true;
    }
    if (slot->marks != 0 || slot->draining != 0 || slot->overdue || slot->streaming ||
        slot->watch || slot->survey_due || slot->keys_unwritten || keys_pressing(shard, slot)) {
        slot_ready(shard, slot);
    }
    slot_settle(shard, slot);
}
