#include "tests/unit/shard_fixture.h"

#include <assert.h>
#include <stdlib.h>

/* --- the heap ------------------------------------------------------------------------------ */

static void *heap_get(void *ctx, size_t size) {
    struct fixture *fixture = ctx;
    if (fixture->heap_bytes + size > fixture->heap_bytes_max) {
        return NULL;
    }
    void *piece = aligned_alloc(64, (size + 63) / 64 * 64);
    assert(piece != NULL);
    memset(piece, 0, size);
    fixture->heap_bytes += size;
    return piece;
}

static void heap_put(void *ctx, void *piece, size_t size) {
    struct fixture *fixture = ctx;
    assert(fixture->heap_bytes >= size);
    fixture->heap_bytes -= size;
    free(piece);
}

/* --- the store ----------------------------------------------------------------------------- */

struct stored *fixture_stored_bytes(struct fixture *fixture, struct bytes key, bool is_assignment) {
    for (uint32_t i = 0; i < fixture->record_count; i++) {
        struct stored *stored = &fixture->records[i];
        if (stored->is_assignment == is_assignment &&
            bytes_equal(bytes_of(stored->key, stored->key_size), key)) {
            return stored;
        }
    }
    return NULL;
}

struct stored *fixture_stored(struct fixture *fixture, const char *key, bool is_assignment) {
    return fixture_stored_bytes(fixture, bytes_of_text(key), is_assignment);
}

uint32_t fixture_records(const struct fixture *fixture) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < fixture->record_count; i++) {
        count += !fixture->records[i].is_assignment;
    }
    return count;
}

void fixture_put(struct fixture *fixture, struct bytes key, struct bytes value,
                 bool is_assignment) {
    struct stored *stored = fixture_stored_bytes(fixture, key, is_assignment);
    if (stored == NULL) {
        if (fixture->record_count == fixture->record_room) {
            fixture->record_room = fixture->record_room * 2 + 64;
            fixture->records =
                realloc(fixture->records, fixture->record_room * sizeof fixture->records[0]);
        }
        stored = &fixture->records[fixture->record_count];
        fixture->record_count++;
        fixture->record_serial++;
        stored->serial = fixture->record_serial;
    }
    stored->is_assignment = is_assignment;
    stored->slot = slot_of_hash(key_hash(key), fixture->options.slot_count);
    stored->key_size = key.size;
    memcpy(stored->key, key.data, key.size);
    stored->value_size = value.size;
    memcpy(stored->value, value.data, value.size);
}

void fixture_put_record(struct fixture *fixture, const char *key, const struct record *record) {
    uint8_t value[RECORD_BYTES_MAX];
    uint32_t size = record_write(record, value);
    fixture_put(fixture, bytes_of_text(key), bytes_of(value, size), false);
}

static void store_remove(struct fixture *fixture, struct bytes key, bool is_assignment) {
    struct stored *stored = fixture_stored_bytes(fixture, key, is_assignment);
    if (stored != NULL) {
        fixture->record_count--;
        *stored = fixture->records[fixture->record_count];
    }
}

void fixture_forget(struct fixture *fixture, struct bytes key) {
    store_remove(fixture, key, false);
}

void fixture_forget_assignment(struct fixture *fixture, const char *key) {
    store_remove(fixture, bytes_of_text(key), true);
}

static void store_apply(struct fixture *fixture, const struct held_op *op) {
    if (op->kind == SHARD_OP_WRITE) {
        for (uint32_t i = 0; i < op->entry_count; i++) {
            const struct held_entry *entry = &op->entries[i];
            struct bytes key = bytes_of(entry->key, entry->key_size);
            if (entry->remove) {
                store_remove(fixture, key, op->assignments);
            } else {
                fixture_put(fixture, key, bytes_of(entry->value, entry->value_size),
                            op->assignments);
            }
        }
    } else if (op->kind == SHARD_OP_ASSIGN) {
        struct bytes key = bytes_of(op->assign.key, op->assign.key_size);
        if (op->assign.value_size == 0) {
            store_remove(fixture, key, true);
        } else {
            fixture_put(fixture, key, bytes_of(op->assign.value, op->assign.value_size), true);
        }
    }
}

static uint32_t store_page(struct fixture *fixture, const struct held_op *op,
                           struct shard_stored_pair pairs[FIXTURE_PAGE], uint64_t *cursor) {
    uint32_t count = 0;
    bool is_assignment = op->kind == SHARD_OP_LOAD_KEYS, more = false;
    const struct stored *page[FIXTURE_PAGE + 1];
    for (uint32_t i = 0; i < fixture->record_count; i++) {
        const struct stored *stored = &fixture->records[i];
        if (stored->is_assignment != is_assignment || stored->slot.index != op->slot.index ||
            stored->serial <= op->cursor) {
            continue;
        }
        uint32_t at = count;
        for (; at > 0 && page[at - 1]->serial > stored->serial; at--) {
            page[at] = page[at - 1];
        }
        page[at] = stored;
        more = more || count == FIXTURE_PAGE;
        count += count < FIXTURE_PAGE;
    }
    for (uint32_t i = 0; i < count; i++) {
        pairs[i].key = bytes_of(page[i]->key, page[i]->key_size);
        pairs[i].value = bytes_of(page[i]->value, page[i]->value_size);
    }
    *cursor = more ? page[count - 1]->serial : 0;
    return count;
}

static void op_hold(struct fixture *fixture, const struct shard_op *op) {
    if (fixture->held_count == fixture->held_room) {
        fixture->held_room = fixture->held_room * 2 + 64;
        fixture->held = realloc(fixture->held, fixture->held_room * sizeof fixture->held[0]);
    }
    struct held_op *held = &fixture->held[fixture->held_count];
    fixture->held_count++;
    *held = (struct held_op){.kind = op->kind,
                             .slot = op->slot,
                             .op_id = op->op_id,
                             .fence = op->fence,
                             .cursor = op->cursor,
                             .assignments = op->assignments,
                             .entry_count = op->entry_count};
    assert(op->entry_count <= SHARD_WRITE_ENTRIES_MAX);
    held->entries = op->entry_count > 0 ? calloc(op->entry_count, sizeof held->entries[0]) : NULL;
    for (uint32_t i = 0; i < op->entry_count; i++) {
        struct held_entry *entry = &held->entries[i];
        entry->remove = op->entries[i].remove;
        entry->key_size = op->entries[i].key.size;
        memcpy(entry->key, op->entries[i].key.data, entry->key_size);
        if (!entry->remove && op->assignments) {
            entry->value_size = op->entries[i].record.plan.size;
            memcpy(entry->value, op->entries[i].record.plan.data, entry->value_size);
        } else if (!entry->remove) {
            entry->value_size = record_write(&op->entries[i].record, entry->value);
        }
        fixture->removal_count += entry->remove;
    }
    if (op->kind == SHARD_OP_FETCH) {
        held->assign.key_size = op->key.size;
        memcpy(held->assign.key, op->key.data, op->key.size);
    }
    if (op->kind == SHARD_OP_ASSIGN) {
        held->assign.key_size = op->key.size;
        memcpy(held->assign.key, op->key.data, op->key.size);
        held->assign.value_size = op->plan.size;
        if (op->plan.size > 0) {
            memcpy(held->assign.value, op->plan.data, op->plan.size);
        }
    }
    fixture->op_count++;
    fixture->write_count += op->kind == SHARD_OP_WRITE;
    fixture->entry_count += op->entry_count;
}

static void step(struct fixture *fixture, struct shard_event *event) {
    event->now_ns = fixture->now_ns;
    shard_step(fixture->shard, event, &fixture->update);
    const struct shard_update *update = &fixture->update;
    for (uint32_t i = 0; i < update->op_count; i++) {
        op_hold(fixture, &update->ops[i]);
    }
    for (uint32_t i = 0; i < update->admin_reply_count; i++) {
        assert(fixture->reply_count < 256);
        fixture->replies[fixture->reply_count] = update->admin_replies[i];
        fixture->reply_count++;
    }
    for (uint32_t i = 0; i < update->notice_count; i++) {
        fixture->notices[update->notices[i].kind]++;
        if (update->notices[i].kind != SHARD_NOTICE_SERVING) {
            memcpy(fixture->notice_text, update->notices[i].text, sizeof fixture->notice_text);
        }
    }
    assert(update->wake_at_ns != 0);
    fixture->wake_at_ns = update->wake_at_ns;
    fixture->stopped = update->stopped;
    if (fixture->on_update != NULL) {
        fixture->on_update(fixture, update);
    }
}

void fixture_answer(struct fixture *fixture, enum shard_stored_status status) {
    assert(fixture->held_count > 0);
    struct held_op op = fixture->held[0];
    fixture->held_count--;
    memmove(fixture->held, fixture->held + 1, fixture->held_count * sizeof fixture->held[0]);

    struct shard_event event = {.kind = SHARD_EVENT_STORED};
    struct shard_stored_pair pairs[FIXTURE_PAGE];
    event.stored.op_kind = (uint8_t)op.kind;
    event.stored.slot = op.slot;
    event.stored.op_id = op.op_id;
    event.stored.status = status;
    uint64_t *fence = &fixture->fences[op.slot.index];
    bool lingers = false;
    bool writes = op.kind == SHARD_OP_WRITE || op.kind == SHARD_OP_ASSIGN;
    if (status == SHARD_STORED_OK && writes && *fence > op.fence) {
        event.stored.status = SHARD_STORED_FENCED;
    } else if (status == SHARD_STORED_OK && op.kind == SHARD_OP_RAISE_FENCE && op.fence != 0 &&
               *fence > op.fence) {
        event.stored.status = SHARD_STORED_FENCED;
    } else if (status == SHARD_STORED_FAILED && writes && fixture->fail_lingers &&
               fixture->lingering_count < 16) {
        lingers = true;
        fixture->lingering[fixture->lingering_count] = op;
        fixture->lingering_count++;
    } else if (status == SHARD_STORED_FAILED && fixture->fail_applies && *fence <= op.fence) {
        store_apply(fixture, &op);
    } else if (status == SHARD_STORED_OK) {
        if (fixture->apply == NULL || fixture->apply(fixture, &op)) {
            store_apply(fixture, &op);
        }
        if (op.kind == SHARD_OP_RAISE_FENCE) {
            *fence += 1;
            event.stored.fence = *fence;
        } else if (op.kind == SHARD_OP_FETCH) {
            struct bytes key = bytes_of(op.assign.key, op.assign.key_size);
            for (int i = 0; i < 2; i++) {
                const struct stored *stored = fixture_stored_bytes(fixture, key, i == 1);
                pairs[i] = (struct shard_stored_pair){0};
                if (stored != NULL) {
                    pairs[i].value = bytes_of(stored->value, stored->value_size);
                }
            }
            event.stored.pair_count = 2;
            event.stored.pairs = pairs;
        } else if (!writes) {
            event.stored.pair_count = store_page(fixture, &op, pairs, &event.stored.cursor);
            event.stored.pairs = pairs;
        }
    }
    struct shard_written written = {op.slot, op.op_id, event.stored.status};
    if (op.kind == SHARD_OP_WRITE) {
        event.kind = SHARD_EVENT_WRITTEN;
        event.written.writes = &written;
        event.written.count = 1;
    }
    step(fixture, &event);
    if (!lingers) {
        free(op.entries);
    }
}

void fixture_linger(struct fixture *fixture) {
    for (uint32_t i = 0; i < fixture->lingering_count; i++) {
        struct held_op *op = &fixture->lingering[i];
        if (fixture->fences[op->slot.index] <= op->fence || fixture->fence_ignored) {
            store_apply(fixture, op);
        }
        free(op->entries);
    }
    fixture->lingering_count = 0;
}

void fixture_answer_all(struct fixture *fixture) {
    while (fixture->held_count > 0) {
        bool writes =
            fixture->held[0].kind == SHARD_OP_WRITE || fixture->held[0].kind == SHARD_OP_ASSIGN;
        fixture_answer(fixture, writes ? fixture->answer : SHARD_STORED_OK);
    }
}

void fixture_store(struct fixture *fixture, bool up, bool restarted) {
    if (!up) {
        while (fixture->held_count > 0) {
            fixture_answer(fixture, SHARD_STORED_FAILED);
        }
    }
    fixture->store_up = up;
    struct shard_event event = {.kind = SHARD_EVENT_STORE};
    event.store.up = up;
    event.store.restarted = restarted;
    fixture_step(fixture, &event);
}

/* --- the shard ----------------------------------------------------------------------------- */

void fixture_step(struct fixture *fixture, struct shard_event *event) {
    step(fixture, event);
    if (fixture->hold) {
        return;
    }
    /* What the event was answered with stays to be seen. */
    struct shard_update update = fixture->update;
    static struct take_result results[TAKES_PER_REQUEST_MAX];
    memcpy(results, update.results, update.result_count * sizeof results[0]);
    bool answered = fixture->held_count > 0;
    fixture_answer_all(fixture);
    if (answered) {
        fixture->update.results = results;
        fixture->update.result_count = update.result_count;
        fixture->update.held_count = update.held_count;
    }
}

void fixture_tick(struct fixture *fixture) {
    struct shard_event event = {.kind = SHARD_EVENT_TICK};
    fixture_step(fixture, &event);
}

uint32_t fixture_pass(struct fixture *fixture, uint64_t ns) {
    uint64_t until_ns = fixture->now_ns + ns;
    uint32_t ticks = 0;
    while (fixture->wake_at_ns <= until_ns) {
        if (fixture->wake_at_ns > fixture->now_ns) {
            fixture->now_ns = fixture->wake_at_ns;
        }
        fixture_tick(fixture);
        ticks++;
    }
    fixture->now_ns = until_ns;
    return ticks;
}

static void own_tell(struct fixture *fixture) {
    struct shard_event event = {.kind = SHARD_EVENT_OWN};
    event.own.slots = fixture->owned;
    fixture_step(fixture, &event);
    /* Slots are started a few at a time, and again after their memory was taken back. */
    for (int i = 0; i < 100 && !fixture->hold && fixture->wake_at_ns <= fixture->now_ns; i++) {
        fixture_tick(fixture);
    }
}

void fixture_own_all(struct fixture *fixture) {
    memset(fixture->owned, 0xff, sizeof fixture->owned);
    own_tell(fixture);
}

void fixture_own(struct fixture *fixture, struct slot slot, bool owned) {
    uint8_t bit = (uint8_t)(1u << (slot.index % 8));
    fixture->owned[slot.index / 8] &= (uint8_t)~bit;
    fixture->owned[slot.index / 8] |= owned ? bit : 0;
    own_tell(fixture);
}

void fixture_seal(struct fixture *fixture, const uint8_t *slots, bool reload) {
    struct shard_event event = {.kind = SHARD_EVENT_SEAL};
    event.seal.slots = slots;
    event.seal.reload = reload;
    fixture_step(fixture, &event);
}

void fixture_stop(struct fixture *fixture) {
    struct shard_event event = {.kind = SHARD_EVENT_STOP};
    fixture_step(fixture, &event);
}

static void plans_tell(struct fixture *fixture) {
    struct shard_event event = {.kind = SHARD_EVENT_PLANS};
    event.plans.set = fixture->plans;
    fixture_step(fixture, &event);
}

void fixture_plans(struct fixture *fixture, const struct fixture_plan *plans, uint32_t count) {
    struct plan_set *wanted = malloc(sizeof *wanted);
    struct plan_set *next = malloc(sizeof *next);
    plan_set_init(wanted);
    for (uint32_t i = 0; i < count; i++) {
        struct plan plan = {
            .name = name_of(bytes_of_text(plans[i].name)),
            .generation_count = 1,
            .on_unavailable = strncmp(plans[i].name, "redis", 5) == 0 ? POLICY_REDIS : POLICY_DENY,
            .durability =
                strncmp(plans[i].name, "strict", 6) == 0 ? DURABILITY_STRICT : DURABILITY_RELAXED};
        plan.generations[0].generation = 1;
        plan.generations[0].terms.limit_count = plans[i].limit_count;
        memcpy(plan.generations[0].terms.limits, plans[i].limits, sizeof plans[i].limits);
        plan_set_add(wanted, &plan);
    }
    wanted->default_at = plan_set_find(wanted, bytes_of_text("default"));
    struct plan_set *none = malloc(sizeof *none);
    plan_set_init(none);
    bool changed = plan_set_succeed(fixture->plans != NULL ? fixture->plans : none, wanted, next);
    assert(changed);
    free(none);
    free(wanted);
    struct plan_set *before = fixture->plans;
    fixture->plans = next;
    if (fixture->shard != NULL) {
        plans_tell(fixture);
    }
    /* From here on the shard may not look at the old set: poison it. */
    if (before != NULL) {
        memset(before, 0xdb, sizeof *before);
        free(before);
    }
}

static void shard_start(struct fixture *fixture) {
    fixture->shard = shard_create(&fixture->options);
    assert(fixture->shard != NULL);
    fixture->wake_at_ns = fixture->now_ns + SECOND;
    fixture->stopped = false;
}

/* Fewer than the default: models make a shard for each crash, and sanitizers clear it all. */
#define MARKS_USUAL 4096

void fixture_open_bare(struct fixture *fixture, const struct fixture_options *options) {
    struct fixture_options chosen = options != NULL ? *options : (struct fixture_options){0};
    memset(fixture, 0, sizeof *fixture);
    fixture->heap_bytes_max = UINT64_C(1) << 40;
    fixture->now_ns = UINT64_C(1700000000) * SECOND;
    fixture->options = (struct shard_options){
        .slot_count = chosen.slot_count != 0 ? chosen.slot_count : 4,
        .mark_count = chosen.mark_count != 0 ? chosen.mark_count : MARKS_USUAL,
        .resident_max = chosen.resident_max,
        .settle_ms = chosen.settle_ms,
        .snapshot_interval_ns =
            chosen.snapshot_interval_ns != 0 ? chosen.snapshot_interval_ns : 100 * MS,
        .memory_bytes_max = chosen.memory_bytes_max != 0 ? chosen.memory_bytes_max : 64u << 20,
        .memory = {.get = heap_get, .put = heap_put, .ctx = fixture},
    };
    shard_start(fixture);
}

static const struct fixture_plan plans_usual[] = {
    {"default", 1, {{10, SECOND, 20}}},
    {"pair", 2, {{10, SECOND, 20}, {100, 60 * SECOND, 100}}},
};

void fixture_open(struct fixture *fixture, const struct fixture_options *options) {
    fixture_open_bare(fixture, options);
    fixture_plans(fixture, plans_usual, 2);
    fixture_store(fixture, true, false);
    fixture_own_all(fixture);
}

static void held_forget(struct fixture *fixture) {
    for (uint32_t i = 0; i < fixture->held_count; i++) {
        free(fixture->held[i].entries);
    }
    fixture->held_count = 0;
}

void fixture_crash(struct fixture *fixture) {
    held_forget(fixture);
    shard_destroy(fixture->shard);
    assert(fixture->heap_bytes == 0);
    shard_start(fixture);
    plans_tell(fixture);
    fixture_store(fixture, true, false);
    own_tell(fixture);
}

void fixture_close(struct fixture *fixture) {
    held_forget(fixture);
    for (uint32_t i = 0; i < fixture->lingering_count; i++) {
        free(fixture->lingering[i].entries);
    }
    shard_destroy(fixture->shard);
    assert(fixture->heap_bytes == 0);
    free(fixture->held);
    free(fixture->records);
    free(fixture->plans);
}

/* --- requests ------------------------------------------------------------------------------ */

static struct take_result request(struct fixture *fixture, const struct shard_item *item) {
    struct shard_event event = {.kind = SHARD_EVENT_TAKES};
    event.takes.items = item;
    event.takes.count = 1;
    fixture_step(fixture, &event);
    assert(fixture->update.result_count == 1);
    return fixture->update.results[0];
}

struct take_result fixture_verb(struct fixture *fixture, enum verb verb, const char *key,
                                uint64_t cost, const char *plan) {
    struct shard_item item = {
        .verb = verb, .take = {.key = bytes_of_text(key), .cost_tokens = cost, .deadline_ms = 250}};
    if (plan != NULL) {
        item.take.plan.kind = PLAN_CHOICE_NAMED;
        item.take.plan.name = bytes_of_text(plan);
    }
    return request(fixture, &item);
}

struct take_result fixture_take(struct fixture *fixture, const char *key, uint64_t cost,
                                const char *plan) {
    return fixture_verb(fixture, VERB_TAKE, key, cost, plan);
}

struct take_result fixture_inline(struct fixture *fixture, const char *key, uint64_t cost,
                                  struct limit limit) {
    struct shard_item item = {
        .verb = VERB_TAKE,
        .take = {.key = bytes_of_text(key), .cost_tokens = cost, .deadline_ms = 250}};
    item.take.plan.kind = PLAN_CHOICE_INLINE;
    item.take.plan.limit = limit;
    return request(fixture, &item);
}

void fixture_admin(struct fixture *fixture, enum shard_admin_kind kind, const char *key,
                   const char *plan) {
    fixture->token++;
    struct shard_event event = {.kind = SHARD_EVENT_ADMIN};
    event.admin.token = fixture->token;
    event.admin.kind = kind;
    event.admin.key = bytes_of_text(key);
    event.admin.plan = plan != NULL ? bytes_of_text(plan) : (struct bytes){0};
    fixture_step(fixture, &event);
}

struct shard_admin_reply fixture_reply(struct fixture *fixture) {
    assert(fixture->reply_count > 0);
    struct shard_admin_reply reply = fixture->replies[0];
    fixture->reply_count--;
    memmove(fixture->replies, fixture->replies + 1,
            fixture->reply_count * sizeof fixture->replies[0]);
    return reply;
}

struct shard_key_info fixture_show(struct fixture *fixture, const char *key) {
    assert(fixture->reply_count == 0);
    fixture_admin(fixture, SHARD_ADMIN_SHOW, key, NULL);
    struct shard_admin_reply reply = fixture_reply(fixture);
    assert(reply.reason == REASON_NONE);
    return reply.info;
}

struct slot fixture_slot(const struct fixture *fixture, const char *key) {
    return slot_of_hash(key_hash(bytes_of_text(key)), fixture->options.slot_count);
}
