/*
 * Assignments that the store may have lost, or has back: they are written again, a stretch of the
 * slot's table at a time, by a WRITE of its own (`keys_writing`), which takes turns with those of
 * buckets. A pass (`keys_unwritten`) is through when its last stretch is acknowledged.
 *
 * An assignment of TERM_NONE that no request waits for is one that is to be taken away from the
 * store: the store brought it back, or an operator's request was given up. It leaves memory when
 * that is acknowledged. Decisions see none there, as they do while a first one is being written.
 *
 * What an operator's request (ASSIGN) waits for is left out, since nobody knows yet what it will
 * be; when that is answered a new pass begins. A request that is sent behind a stretch has the last
 * word: calls of a slot are executed in the order they were sent.
 */
#include <assert.h>

#include "server/core/shard_parts.h"

/* Positions of the table whose assignments are one write. Half as many as it may hold entries, for
 * keys may come to stand together; what more there is of keys that were made to do so stays as the
 * store has it. */
#define KEYS_STRETCH (SHARD_WRITE_ENTRIES_MAX / 2)

/* Stretches without anything to write that a turn passes over: a position that was looked at counts
 * like a bucket that was, so there is time for no more of either then. */
#define KEYS_STRETCHES_PER_TURN (SHARD_UPDATE_ENTRIES_MAX / KEYS_STRETCH)

struct keys_walk {
    struct shard *shard;
    struct shard_slot *slot;
    uint32_t first; /* of the update's entries */
};

void keys_rewrite(struct shard *shard, struct shard_slot *slot, bool all) {
    if (slot->keys.count == 0) {
        return;
    }
    slot->keys_all = all || (slot->keys_unwritten && slot->keys_all);
    slot->keys_unwritten = true;
    slot->keys_cursor = 0;
    slot->keys_again = slot->keys_writing;
    slot_ready(shard, slot);
}

/* --- writing ------------------------------------------------------------------------------- */

static bool assign_passed(struct shard *shard, const struct shard_slot *slot, uint32_t ref) {
    struct admin_pending *pending = slot->assigns > 0 ? admin_assign_of(shard, ref) : NULL;
    if (pending != NULL) {
        pending->passed = true;
    }
    return pending != NULL;
}

static bool key_visit(void *ctx, uint32_t *ref) {
    struct keys_walk *walk = ctx;
    struct shard *shard = walk->shard;
    const struct assignment *assignment = assignment_at(&shard->arena, *ref);
    bool removal = assignment->term == TERM_NONE;
    if ((!removal && !walk->slot->keys_all) ||
        assignment->term == shard->nameless || /* only the store knows what it says */
        assign_passed(shard, walk->slot, *ref) ||
        shard->entry_count - walk->first == SHARD_WRITE_ENTRIES_MAX) {
        return true;
    }
    assert(shard->entry_count < SHARD_UPDATE_ENTRIES_MAX);
    struct shard_op_entry *entry = &shard->entries[shard->entry_count];
    shard->entry_count++;
    *entry = (struct shard_op_entry){.key = assignment_key(assignment), .remove = removal};
    if (!removal) {
        entry->record.plan = name_bytes(&term_set_at(&shard->terms, assignment->term)->name);
    }
    return true;
}

/* Buckets' writes go first every other time: takes may wait for them. */
static bool keys_turn(struct shard_slot *slot) {
    bool others = slot->marks != 0 || slot->draining != 0 || slot->overdue || slot->watch;
    bool turn = slot->keys_unwritten && !(others && slot->keys_wrote);
    slot->keys_wrote = turn;
    return turn;
}

bool keys_emit(struct shard *shard, struct shard_slot *slot) {
    if (!keys_turn(slot)) {
        return false;
    }
    struct keys_walk walk = {shard, slot, shard->entry_count};
    uint64_t cursor = slot->keys_cursor;
    uint32_t stretches = 0;
    do {
        slot->keys_cursor = cursor; /* nothing is to be written of what is before it */
        table_scan(&slot->keys, &shard->arena, &cursor, KEYS_STRETCH, key_visit, &walk);
        stretches++;
    } while (shard->entry_count == walk.first && cursor != 0 &&
             stretches < KEYS_STRETCHES_PER_TURN);
    uint32_t count = shard->entry_count - walk.first;
    shard->listed_count += (stretches - (count > 0)) * KEYS_STRETCH;
    if (count == 0) {
        slot->keys_cursor = cursor;
        slot->keys_unwritten = cursor != 0;
        slot_ready(shard, slot); /* for the rest, or for what else there is */
        return true;
    }
    shard->listed_count += count;
    slot->keys_next = cursor;
    slot->keys_writing = true;
    struct shard_op *op = shard_op_add(shard, slot, SHARD_OP_WRITE);
    op->entries = &shard->entries[walk.first];
    op->entry_count = count;
    op->assignments = true;
    return true;
}

/* The stretch that was written ends before keys_next: what stands behind it may have come there
 * since, and is still to be written. */
static bool removed_visit(void *ctx, uint32_t *ref) {
    struct keys_walk *walk = ctx;
    const struct assignment *assignment = assignment_at(&walk->shard->arena, *ref);
    uint64_t end = walk->slot->keys_next;
    if (assignment->term != TERM_NONE || admin_assign_of(walk->shard, *ref) != NULL ||
        (end != 0 && table_tag(key_hash(assignment_key(assignment))) >= end)) {
        return true;
    }
    arena_put(&walk->shard->arena, *ref);
    return false;
}

static void stretch_written(struct shard *shard, struct shard_slot *slot) {
    struct keys_walk walk = {.shard = shard, .slot = slot};
    uint64_t cursor = slot->keys_cursor;
    do {
        table_scan(&slot->keys, &shard->arena, &cursor, KEYS_STRETCH, removed_visit, &walk);
    } while (cursor != 0 && (slot->keys_next == 0 || cursor < slot->keys_next));
    table_trim(&slot->keys, &shard->arena);
    slot->keys_cursor = slot->keys_next;
    slot->keys_unwritten = slot->keys_next != 0;
}

void keys_stored(struct shard *shard, struct shard_slot *slot, bool ok) {
    slot->keys_writing = false;
    if (slot->keys_again) {
        slot->keys_again = false; /* from the first one again */
    } else if (ok) {
        stretch_written(shard, slot);
    }
}

void keys_forget(struct shard_slot *slot) {
    slot->page_stale = false;
    slot->keys_unwritten = slot->keys_writing = slot->keys_again = slot->keys_wrote = false;
    slot->keys_unread = false;
}

/* --- what the store has back --------------------------------------------------------------- */

void keys_reread(struct shard *shard, struct shard_slot *slot, const struct shard_event *event) {
    bool found = false;
    for (uint32_t i = 0; i < event->stored.pair_count; i++) {
        struct bytes key = event->stored.pairs[i].key;
        if (key.size < 1 || key.size > KEY_BYTES_MAX ||
            assignment_find(shard, slot, key_hash(key), key) != 0) {
            continue;
        }
        found = assignment_add(shard, slot, key) != 0 || found; /* else it stays: no memory */
    }
    slot->cursor = event->stored.cursor;
    slot->keys_unread = slot->cursor != 0;
    if (found) {
        keys_rewrite(shard, slot, false);
    }
}

bool keys_settled(const struct shard *shard) {
    for (uint32_t i = 0; i < shard->options.slot_count; i++) {
        if (shard->slots[i].keys_unwritten || keys_pressing(shard, &shard->slots[i])) {
            return false;
        }
    }
    return true;
}
