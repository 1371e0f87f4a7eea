/* A slot's records and assignments, as the store had them. */
#include <assert.h>

#include "proto/bucket.h"
#include "server/core/shard_parts.h"

/* Pairs of a page whose places in the table are asked for together: as many as take_many's. */
#define LOAD_GROUP 16

/* The terms of the record before, for most of a page are under few plans. Good within one call:
 * its bytes are the page's, and no bucket that holds the term leaves meanwhile. */
struct load_memo {
    struct bytes plan; /* size 0: none yet */
    uint32_t generation, tat_count;
    uint16_t term;
};

static bool key_valid(struct bytes key) {
    return key.size >= 1 && key.size <= KEY_BYTES_MAX;
}

static uint16_t bound(struct shard *shard, uint16_t term) {
    if (term != TERM_NONE) {
        plans_bind(shard, term);
    }
    return term;
}

/* The terms that the record was written under. A plan that has left the set, or a generation newer
 * than the set's, is kept by name: nothing is lost, and nothing made up. */
static uint16_t record_term(struct shard *shard, const struct record *record) {
    if (record->is_inline) {
        return bound(shard, term_set_inline(&shard->terms, &record->limit));
    }
    struct name name = name_of(record->plan);
    int32_t plan_at = plan_set_find(shard->plans, record->plan);
    const struct plan *plan = plan_at < 0 ? NULL : &shard->plans->plans[plan_at];
    if (plan == NULL || record->generation > plan->generations[0].generation) {
        return bound(shard,
                     term_set_unknown(&shard->terms, &name, record->generation, record->tat_count));
    }
    const struct terms *terms = plan_terms_at(plan, record->generation);
    uint32_t generation = record->generation;
    for (uint32_t i = 0; i < plan->generation_count; i++) {
        if (terms == &plan->generations[i].terms) {
            generation = plan->generations[i].generation;
        }
    }
    return bound(shard, term_set_plan(&shard->terms, &name, generation, terms));
}

/* Of the record, with one more user. */
static uint16_t record_term_hold(struct shard *shard, const struct record *record,
                                 struct load_memo *memo) {
    if (!record->is_inline && memo->plan.size > 0 && record->generation == memo->generation &&
        record->tat_count == memo->tat_count && bytes_equal(record->plan, memo->plan)) {
        term_set_hold(&shard->terms, memo->term);
        return memo->term;
    }
    uint16_t term = record_term(shard, record);
    if (!record->is_inline && term != TERM_NONE) {
        *memo = (struct load_memo){record->plan, record->generation, record->tat_count, term};
    }
    return term;
}

static bool load_unreadable(struct shard *shard, struct shard_slot *slot, uint64_t hash,
                            struct bytes key, bool newer, const char *text) {
    const struct tat no_tats[1] = {0};
    uint32_t ref = bucket_add(shard, slot, hash, key, TERM_NONE, 0, no_tats,
                              RESIDENT_STORED | RESIDENT_UNREADABLE);
    if (ref == 0) {
        return false;
    }
    resident_at(&shard->arena, ref)->rounded = newer;
    slot->inherited = true;
    shard->counters.records_unreadable++;
    shard_notice_add(shard, newer ? SHARD_NOTICE_NEWER : SHARD_NOTICE_UNREADABLE,
                     shard_slot_at(shard, slot), resident_key(resident_at(&shard->arena, ref)),
                     text);
    return true;
}

static bool load_bucket(struct shard *shard, struct shard_slot *slot, uint64_t hash,
                        const struct shard_stored_pair *pair, struct load_memo *memo) {
    uint32_t ref = bucket_find(shard, slot, hash, pair->key);
    if (ref != 0) { /* a page may come twice */
        resident_at(&shard->arena, ref)->state |= RESIDENT_STORED;
        return true;
    }
    struct record record;
    struct fault fault = {.code = CODE_OK};
    if (record_read(pair->value, &record, &fault) != CODE_OK) {
        return load_unreadable(shard, slot, hash, pair->key, record_is_newer(&record), fault.text);
    }
    uint16_t term_at = record_term_hold(shard, &record, memo);
    if (term_at == TERM_NONE) {
        bool noted = load_unreadable(shard, slot, hash, pair->key, false,
                                     "this shard holds too many different inline limits");
        ref = noted ? bucket_find(shard, slot, hash, pair->key) : 0;
        if (ref != 0) {
            resident_at(&shard->arena, ref)->mixed = 1;
        }
        return noted;
    }
    uint32_t limit_count = term_set_at(&shard->terms, term_at)->terms.limit_count;
    struct tat tats[LIMITS_PER_PLAN_MAX] = {0};
    for (uint32_t i = 0; i < limit_count && i < record.tat_count; i++) {
        tats[i] = record.tats[i];
        uint64_t rate = term_set_at(&shard->terms, term_at)->terms.limits[i].rate_tokens;
        if (rate > 0 && tats[i].part >= rate) { /* nobody of us wrote it: rounded up */
            tats[i] = (struct tat){.ns = tats[i].ns + 1};
        }
    }
    if (bucket_add(shard, slot, hash, pair->key, term_at, limit_count, tats, RESIDENT_STORED) ==
        0) {
        term_set_release(&shard->terms, term_at);
        memo->plan.size = 0;
        /* A full bucket is the same as none. Its record stays behind, until the next load. */
        struct terms counted = {.limit_count = limit_count};
        return bucket_full(&counted, tats, shard->now_ns);
    }
    slot->inherited = true;
    shard->counters.records_loaded++;
    return true;
}

bool load_buckets(struct shard *shard, struct shard_slot *slot,
                  const struct shard_stored_pair *pairs, uint32_t count) {
    struct load_memo memo = {0};
    uint64_t hashes[LOAD_GROUP];
    for (uint32_t i = 0; i < count; i++) {
        if (i % LOAD_GROUP == 0) {
            for (uint32_t ahead = 0; ahead < LOAD_GROUP && i + ahead < count; ahead++) {
                hashes[ahead] = key_hash(pairs[i + ahead].key);
                table_prefetch(&slot->buckets, table_tag(hashes[ahead]));
            }
        }
        if (!key_valid(pairs[i].key)) {
            shard_notice_add(shard, SHARD_NOTICE_UNREADABLE, shard_slot_at(shard, slot),
                             (struct bytes){0}, "a record whose key has no valid size");
        } else if (!load_bucket(shard, slot, hashes[i % LOAD_GROUP], &pairs[i], &memo)) {
            return false;
        }
    }
    return true;
}

/* The bucket is full: the slot has no other. */
static void load_leftover(struct shard *shard, struct shard_slot *slot,
                          const struct shard_stored_pair *pair) {
    uint64_t hash = key_hash(pair->key);
    uint32_t ref = bucket_find(shard, slot, hash, pair->key);
    if (ref != 0) {
        resident_at(&shard->arena, ref)->state |= RESIDENT_STORED;
        return;
    }
    struct record record;
    struct fault fault = {.code = CODE_OK};
    uint16_t term = record_read(pair->value, &record, &fault) == CODE_OK
                        ? record_term(shard, &record)
                        : TERM_NONE;
    if (term == TERM_NONE) {
        return; /* nobody of us wrote it, or no room: it stays until the next load */
    }
    const struct tat full[LIMITS_PER_PLAN_MAX] = {0};
    uint32_t limit_count = term_set_at(&shard->terms, term)->terms.limit_count;
    ref = bucket_add(shard, slot, hash, pair->key, term, limit_count, full, RESIDENT_STORED);
    if (ref == 0) {
        term_set_release(&shard->terms, term);
        return;
    }
    bucket_mark_dirty(shard, slot, ref); /* which deletes its record */
}

void load_leftovers(struct shard *shard, struct shard_slot *slot,
                    const struct shard_stored_pair *pairs, uint32_t count) {
    assert(slot_complete(slot)); /* nothing leaves memory meanwhile: hibernate_visit */
    for (uint32_t i = 0; i < count; i++) {
        if (key_valid(pairs[i].key)) {
            load_leftover(shard, slot, &pairs[i]);
        }
    }
}

static bool load_key(struct shard *shard, struct shard_slot *slot,
                     const struct shard_stored_pair *pair) {
    uint64_t hash = key_hash(pair->key);
    if (assignment_find(shard, slot, hash, pair->key) != 0) {
        return true;
    }
    uint32_t ref = assignment_add(shard, slot, pair->key);
    if (ref == 0) {
        return false;
    }
    uint16_t term = TERM_NONE;
    if (name_valid(pair->value)) {
        struct name name = name_of(pair->value);
        term = bound(shard, term_set_name(&shard->terms, &name));
    }
    if (term == TERM_NONE) {
        /* No valid name, or no room for it: the key is not to be decided under the default. */
        term = shard->nameless;
        term_set_hold(&shard->terms, term);
    }
    assignment_set(shard, ref, term);
    return true;
}

bool load_keys(struct shard *shard, struct shard_slot *slot, const struct shard_stored_pair *pairs,
               uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        if (!key_valid(pairs[i].key)) {
            shard_notice_add(shard, SHARD_NOTICE_UNREADABLE, shard_slot_at(shard, slot),
                             (struct bytes){0}, "an assignment whose key has no valid size");
        } else if (!load_key(shard, slot, &pairs[i])) {
            return false;
        }
    }
    return true;
}
