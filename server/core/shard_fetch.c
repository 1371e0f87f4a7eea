/*
 * Keys on demand: of a slot that is still being read, or that sleeps, a take of a key that is not
 * in memory asks the store for that one. Takes of it wait for the answer and are decided then, in
 * the order they came; other keys go on. So a shard answers as soon as the slot's fence is raised,
 * however much there is to read.
 *
 * Every key in memory is there with its bucket and its assignment: pages bring all assignments
 * before the first bucket, and a fetch brings both.
 */
#include <assert.h>

#include "server/core/shard_parts.h"

static uint16_t index_of(const struct shard *shard, const struct fetch *fetch) {
    return (uint16_t)(fetch - shard->fetches);
}

/* --- asking -------------------------------------------------------------------------------- */

static struct fetch *fetch_find(struct shard *shard, const struct shard_slot *slot, uint64_t hash,
                                struct bytes key) {
    for (uint16_t at = slot->fetches; at != 0; at = shard->fetches[at].next) {
        struct fetch *fetch = &shard->fetches[at];
        if (fetch->hash == hash && bytes_equal(bytes_of(fetch->key, fetch->key_size), key)) {
            return fetch;
        }
    }
    return NULL;
}

static struct fetch *fetch_add(struct shard *shard, struct shard_slot *slot, uint64_t hash,
                               struct bytes key) {
    uint16_t at = shard->fetch_free;
    if (at == 0) {
        return NULL;
    }
    struct fetch *fetch = &shard->fetches[at];
    shard->fetch_free = fetch->next;
    fetch->hash = hash;
    fetch->op_id = 0;
    fetch->first = fetch->last = 0;
    fetch->slot_at = shard_slot_at(shard, slot);
    fetch->key_size = (uint16_t)key.size;
    memcpy(fetch->key, key.data, key.size);
    fetch->next = slot->fetches;
    slot->fetches = at;
    shard->unsent[shard->unsent_count] = at;
    shard->unsent_count++;
    return fetch;
}

/* One more that waits for the key, or NULL: too many do, or there is no store to ask. */
static struct asker *asker_add(struct shard *shard, struct shard_slot *slot, uint64_t hash,
                               struct bytes key) {
    if (!shard->store_up || shard->asker_free == 0) {
        return NULL;
    }
    struct fetch *fetch = fetch_find(shard, slot, hash, key);
    fetch = fetch != NULL ? fetch : fetch_add(shard, slot, hash, key);
    if (fetch == NULL) {
        return NULL;
    }
    uint16_t at = shard->asker_free;
    struct asker *asker = &shard->askers[at];
    shard->asker_free = asker->next;
    asker->next = 0;
    if (fetch->first == 0) {
        fetch->first = at;
    } else {
        shard->askers[fetch->last].next = at;
    }
    fetch->last = at;
    return asker;
}

enum reason fetch_ask(struct shard *shard, struct shard_slot *slot, uint64_t hash,
                      const struct shard_item *item) {
    struct asker *asker = asker_add(shard, slot, hash, item->take.key);
    if (asker == NULL) {
        return slot->state == SLOT_LOADING ? REASON_LOADING : REASON_ASLEEP;
    }
    asker->is_admin = false;
    asker->token = item->token;
    asker->cost_tokens = item->take.cost_tokens;
    asker->verb = item->verb;
    asker->plan_kind = item->take.plan.kind;
    asker->limit = item->take.plan.limit;
    if (asker->plan_kind == PLAN_CHOICE_NAMED) {
        asker->plan = name_of(item->take.plan.name);
    }
    shard->counters.takes_fetched++;
    return REASON_NONE;
}

enum reason fetch_ask_admin(struct shard *shard, struct shard_slot *slot, uint64_t hash,
                            const struct shard_event *event) {
    if (shard->admin_askers == SHARD_ADMIN_PENDING_MAX) {
        return REASON_QUEUE_FULL;
    }
    struct asker *asker = asker_add(shard, slot, hash, event->admin.key);
    if (asker == NULL) {
        return REASON_ASLEEP;
    }
    shard->admin_askers++;
    asker->is_admin = true;
    asker->admin_kind = (uint8_t)event->admin.kind;
    asker->token = event->admin.token;
    return REASON_NONE;
}

void fetches_emit(struct shard *shard) {
    uint32_t sent = 0;
    for (; sent < shard->unsent_count && shard_op_room(shard); sent++) {
        struct fetch *fetch = &shard->fetches[shard->unsent[sent]];
        assert(fetch->first != 0); /* what is given up is taken out: fetch_drop */
        struct shard_op *op = shard_op_add(shard, &shard->slots[fetch->slot_at], SHARD_OP_FETCH);
        op->key = bytes_of(fetch->key, fetch->key_size);
        op->record_only = shard->slots[fetch->slot_at].keys_loaded;
        fetch->op_id = op->op_id;
    }
    shard->unsent_count -= sent;
    memmove(shard->unsent, shard->unsent + sent, shard->unsent_count * sizeof shard->unsent[0]);
}

/* --- answers ------------------------------------------------------------------------------- */

static void asker_free(struct shard *shard, uint16_t at) {
    shard->admin_askers -= shard->askers[at].is_admin;
    shard->askers[at].next = shard->asker_free;
    shard->asker_free = at;
}

static void asker_decide(struct shard *shard, struct shard_slot *slot, const struct fetch *fetch,
                         const struct asker *asker) {
    if (asker->is_admin) {
        struct shard_event event = {.kind = SHARD_EVENT_ADMIN};
        event.admin.token = asker->token;
        event.admin.kind = asker->admin_kind;
        event.admin.key = bytes_of(fetch->key, fetch->key_size);
        admin_answer(shard, slot, fetch->hash, &event);
        return;
    }
    struct shard_item item = {.verb = asker->verb, .token = asker->token};
    item.take.key = bytes_of(fetch->key, fetch->key_size);
    item.take.cost_tokens = asker->cost_tokens;
    item.take.plan.kind = asker->plan_kind;
    item.take.plan.limit = asker->limit;
    item.take.plan.name = name_bytes(&asker->plan);
    assert(shard->decided_count < TAKES_PER_REQUEST_MAX);
    struct take_result *result = &shard->results[shard->decided_count];
    shard->decided_count++;
    bool held = take_answer(shard, slot, &item, fetch->hash, result);
    shard_release_add(shard, asker->token, held ? SHARD_RELEASE_RESULT_HELD : SHARD_RELEASE_RESULT)
        ->result = result;
}

static void asker_fail(struct shard *shard, const struct asker *asker, enum reason reason) {
    if (asker->is_admin) {
        shard_reply_add(shard, asker->token, reason);
        return;
    }
    shard->counters.takes_failed++;
    shard_release_add(shard, asker->token, SHARD_RELEASE_REASON)->reason = reason;
}

/* Takes it out of its slot's list; its number is not used again before it has been sent. */
static void fetch_drop(struct shard *shard, struct shard_slot *slot, struct fetch *fetch) {
    uint16_t at = index_of(shard, fetch), *link = &slot->fetches;
    while (*link != at) {
        link = &shard->fetches[*link].next;
    }
    *link = fetch->next;
    if (fetch->op_id == 0) {
        uint32_t kept = 0;
        for (uint32_t i = 0; i < shard->unsent_count; i++) {
            shard->unsent[kept] = shard->unsent[i];
            kept += shard->unsent[i] != at;
        }
        shard->unsent_count = kept;
    } else {
        shard->outstanding--;
    }
    fetch->next = shard->fetch_free;
    shard->fetch_free = at;
}

/* Being fetched for one take is no use beyond it: whoever comes back for a single take is among the
 * first to leave again (shard_hibernate.c). */
static void unuse(struct shard *shard, const struct shard_slot *slot, const struct fetch *fetch) {
    struct bytes key = bytes_of(fetch->key, fetch->key_size);
    uint32_t ref = bucket_find(shard, slot, fetch->hash, key);
    if (ref != 0) {
        resident_at(&shard->arena, ref)->used = 0;
    }
}

static void fetch_end(struct shard *shard, struct shard_slot *slot, struct fetch *fetch,
                      enum reason reason) {
    bool single = fetch->first == fetch->last;
    for (uint16_t at = fetch->first; at != 0;) {
        uint16_t next = shard->askers[at].next;
        if (reason == REASON_NONE) {
            asker_decide(shard, slot, fetch, &shard->askers[at]);
        } else {
            asker_fail(shard, &shard->askers[at], reason);
        }
        asker_free(shard, at);
        at = next;
    }
    if (single && reason == REASON_NONE) {
        unuse(shard, slot, fetch);
    }
    fetch->first = fetch->last = 0;
    fetch_drop(shard, slot, fetch);
}

/* What the store has of the key, unless a page has brought it meanwhile. */
static enum reason fetch_take_in(struct shard *shard, struct shard_slot *slot,
                                 const struct fetch *fetch, const struct shard_event *event) {
    if (event->stored.status != SHARD_STORED_OK || event->stored.pair_count != 2) {
        return REASON_STORE_AWAY;
    }
    struct bytes key = bytes_of(fetch->key, fetch->key_size);
    struct shard_stored_pair record = {key, event->stored.pairs[0].value};
    struct shard_stored_pair assignment = {key, event->stored.pairs[1].value};
    /* Once all assignments have been read, memory knows better. */
    bool taken_in = (slot->keys_loaded || assignment.value.data == NULL ||
                     load_keys(shard, slot, &assignment, 1)) &&
                    (record.value.data == NULL || load_buckets(shard, slot, &record, 1));
    hibernate_fetched(shard, slot, record.value.data != NULL);
    return taken_in ? REASON_NONE : REASON_MEMORY_FULL;
}

void fetch_stored(struct shard *shard, const struct shard_event *event) {
    struct shard_slot *slot = &shard->slots[event->stored.slot.index];
    for (uint16_t at = slot->fetches; at != 0; at = shard->fetches[at].next) {
        struct fetch *fetch = &shard->fetches[at];
        if (fetch->op_id == event->stored.op_id) {
            fetch_end(shard, slot, fetch, fetch_take_in(shard, slot, fetch, event));
            return;
        }
    } /* else it is of a life that is over */
}

void fetches_fail(struct shard *shard, struct shard_slot *slot, enum reason reason) {
    while (slot->fetches != 0) {
        fetch_end(shard, slot, &shard->fetches[slot->fetches], reason);
    }
}

void fetches_init(struct shard *shard) {
    for (uint16_t i = 1; i <= SHARD_FETCHES_MAX; i++) {
        shard->fetches[i].next = i < SHARD_FETCHES_MAX ? (uint16_t)(i + 1) : 0;
    }
    shard->fetch_free = 1;
    for (uint16_t i = 1; i <= SHARD_ASKERS_MAX; i++) {
        shard->askers[i].next = i < SHARD_ASKERS_MAX ? (uint16_t)(i + 1) : 0;
    }
    shard->asker_free = 1;
}
