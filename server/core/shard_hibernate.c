/*
 * More buckets than memory may hold. Above resident_max the sweep drops the coldest that are
 * exactly what the store has; their slot sleeps from then on: a key that is not in memory is asked
 * for before it is decided (shard_fetch.c). A record is never changed by this, so that a crash, a
 * move or a newer owner finds what it would have found anyway.
 *
 * What is dropped: nobody asked for it since the sweep last made room (a second chance, like a
 * clock's hand), its record was acknowledged, is not ahead of it, and has been in the store for so
 * long that a store which loses its newest writes has this one still. What is not dropped stays,
 * even if there are more of them than there should be.
 *
 * Nobody sees when a bucket that is in the store only becomes full. So a survey reads through the
 * records of sleeping slots, slowly, and takes in the full ones, which the sweep deletes, and those
 * written under limits of former times, which it writes anew: a plan's history is finite. A round
 * that meets no record of a key that is not in memory wakes the slot.
 */
#include "proto/bucket.h"
#include "server/core/shard_parts.h"

/* Surveys in which every slot is heard of that has been silent, while room is to be made: in less
 * than two seconds. */
#define HEAR_ROUND 32

/* --- dropping ------------------------------------------------------------------------------ */

static uint32_t resident_low(const struct shard *shard) {
    uint32_t most = shard->options.resident_max;
    return most - most / SHARD_RESIDENT_LOW_PART;
}

void hibernate_look(struct shard *shard) {
    uint64_t buckets = shard->counters.buckets;
    if (shard->options.resident_max == 0 || buckets <= resident_low(shard)) {
        shard->shedding = false;
    } else if (buckets > shard->options.resident_max) {
        shard->shedding = true;
    }
}

bool hibernate_enough(const struct shard *shard) {
    return shard->options.resident_max != 0 && shard->counters.buckets >= resident_low(shard);
}

static void away_set(struct shard *shard, struct shard_slot *slot, uint32_t away) {
    shard->counters.buckets_hibernated += away;
    shard->counters.buckets_hibernated -= slot->away;
    slot->away = away;
}

void hibernate_sleep(struct shard *shard, struct shard_slot *slot, bool asleep) {
    shard->counters.slots_asleep += asleep;
    shard->counters.slots_asleep -= slot->asleep;
    slot->asleep = asleep;
    slot->survey_due = false;
    if (!asleep) {
        away_set(shard, slot, 0);
        slot->away_seen = 0;
    }
}

static uint32_t settle_of(const struct shard *shard) {
    return shard->options.settle_ms != 0 ? shard->options.settle_ms : SHARD_SETTLE_MS;
}

static bool settled(const struct shard *shard, const struct shard_slot *slot,
                    const struct resident *resident) {
    return slot->heard_ms - resident->written_ms >= settle_of(shard);
}

bool hibernate_visit(struct shard *shard, struct shard_slot *slot, uint32_t ref) {
    struct resident *resident = resident_at(&shard->arena, ref);
    if (resident->used) {
        resident->used = 0;
        return false;
    }
    if (slot->rewrite || slot->leftovers || !settled(shard, slot, resident) ||
        !mark_let_go(shard, slot, ref)) {
        return false;
    }
    bucket_free(shard, ref);
    shard->counters.hibernations++;
    shard->survey_drops++;
    slot->away_seen++;
    away_set(shard, slot, slot->away + 1);
    if (!slot->asleep) {
        hibernate_sleep(shard, slot, true);
    }
    hibernate_look(shard);
    return true;
}

void hibernate_fetched(struct shard *shard, struct shard_slot *slot, bool found) {
    shard->counters.keys_fetched++;
    shard->counters.keys_fetched_absent += !found;
    if (found && slot->away > 0) {
        away_set(shard, slot, slot->away - 1);
    }
}

/* --- the survey ---------------------------------------------------------------------------- */

static bool slot_wants(const struct shard *shard, const struct shard_slot *slot) {
    return slot->state == SLOT_SERVING && !slot->leftovers && !slot->keys_unread &&
           (slot->asleep || shard->shedding);
}

/* More would come in than has left. */
static bool survey_crowded(const struct shard *shard) {
    uint64_t most = shard->options.resident_max;
    return shard->counters.buckets > most + most / 4 + SHARD_WRITE_ENTRIES_MAX;
}

/* The store is not heard of for a slot that asks it nothing, so nothing of it could leave: such
 * slots write nothing, a part of them at a time. */
static void hear_step(struct shard *shard) {
    for (uint32_t left = shard->options.slot_count / HEAR_ROUND + 1; left > 0; left--) {
        struct shard_slot *slot = &shard->slots[shard->watch_slot];
        shard->watch_slot = (shard->watch_slot + 1) % shard->options.slot_count;
        bool silent = shard_now_ms(shard) - slot->heard_ms >= settle_of(shard) / 2;
        if (silent && slot->state == SLOT_SERVING && slot->op_id == 0 && slot->buckets.count > 0) {
            slot->watch = true;
            slot_ready(shard, slot);
        }
    }
}

void survey_step(struct shard *shard) {
    bool due = shard->now_ns >= shard->survey_at_ns || shard->survey_drops >= SHARD_SURVEY_DROPS;
    if (!due) {
        return;
    }
    shard->survey_at_ns = shard->now_ns + SHARD_SURVEY_INTERVAL_NS;
    shard->survey_drops = 0;
    if (shard->shedding) {
        hear_step(shard);
    }
    if (survey_crowded(shard)) {
        return;
    }
    for (uint32_t i = 0; i < shard->options.slot_count; i++) {
        struct shard_slot *slot = &shard->slots[shard->survey_slot];
        if (slot_wants(shard, slot)) {
            slot->away_seen = slot->cursor == 0 && !slot->survey_due ? 0 : slot->away_seen;
            slot->survey_due = true;
            slot_ready(shard, slot);
            return;
        }
        shard->survey_slot = (shard->survey_slot + 1) % shard->options.slot_count;
    }
}

/* Its plan has other limits now than those that it was written under. */
static bool record_outdated(const struct shard *shard, const struct record *record) {
    int32_t plan_at = record->is_inline ? -1 : plan_set_find(shard->plans, record->plan);
    return plan_at >= 0 &&
           record->generation < shard->plans->plans[plan_at].generations[0].generation;
}

static void survey_pair(struct shard *shard, struct shard_slot *slot,
                        const struct shard_stored_pair *pair) {
    uint64_t hash = key_hash(pair->key);
    struct record record;
    struct fault ignored;
    shard->counters.records_surveyed++;
    if (pair->key.size < 1 || pair->key.size > KEY_BYTES_MAX ||
        bucket_find(shard, slot, hash, pair->key) != 0) {
        return;
    }
    bool readable = record_read(pair->value, &record, &ignored) == CODE_OK;
    struct terms counted = {.limit_count = record.tat_count};
    bool full = readable && bucket_full(&counted, record.tats, shard->now_ns);
    bool wanted = full || (readable && record_outdated(shard, &record));
    uint32_t ref = 0;
    if (wanted && load_buckets(shard, slot, pair, 1)) {
        ref = bucket_find(shard, slot, hash, pair->key);
    }
    if (ref == 0) {
        slot->away_seen++;
    } else if (full) {
        bucket_mark_dirty(shard, slot, ref); /* which deletes its record */
    }                                        /* else the sweep puts it under the limits in force */
}

void survey_page(struct shard *shard, struct shard_slot *slot, const struct shard_event *event) {
    slot->survey_due = false;
    slot_ready(shard, slot); /* writes that have waited for the page, whatever came of it */
    if (event->stored.status != SHARD_STORED_OK) {
        slot->cursor = 0; /* which means nothing to another server: begin anew */
        return;
    }
    for (uint32_t i = 0; i < event->stored.pair_count; i++) {
        survey_pair(shard, slot, &event->stored.pairs[i]);
    }
    slot->cursor = event->stored.cursor;
    if (slot->cursor != 0) {
        return;
    }
    if (slot->away_seen == 0) {
        hibernate_sleep(shard, slot, false);
    } else {
        away_set(shard, slot, slot->away_seen);
    }
    shard->survey_slot = (shard->survey_slot + 1) % shard->options.slot_count;
}
