/* Operators' requests: show a key, reset it, assign it a plan. */
#include <assert.h>

#include "proto/bucket.h"
#include "server/core/shard_parts.h"

static struct admin_pending *pending_add(struct shard *shard, const struct shard_event *event,
                                         const struct shard_slot *slot, uint32_t ref) {
    assert(shard->pending_count < SHARD_ADMIN_PENDING_MAX);
    struct admin_pending *pending = &shard->pending[shard->pending_count];
    shard->pending_count++;
    *pending = (struct admin_pending){.token = event->admin.token,
                                      .kind = event->admin.kind,
                                      .slot_at = shard_slot_at(shard, slot),
                                      .term = TERM_NONE,
                                      .ref = ref};
    return pending;
}

/* Answers it and takes it out; the others keep their order. */
static void pending_answer(struct shard *shard, uint32_t at, enum reason reason) {
    shard_reply_add(shard, shard->pending[at].token, reason);
    shard->pending_count--;
    memmove(&shard->pending[at], &shard->pending[at + 1],
            (shard->pending_count - at) * sizeof shard->pending[0]);
}

static int32_t pending_find(const struct shard *shard, enum shard_admin_kind kind, uint32_t ref) {
    for (uint32_t i = 0; i < shard->pending_count; i++) {
        if (shard->pending[i].kind == kind && shard->pending[i].ref == ref) {
            return (int32_t)i;
        }
    }
    return -1;
}

struct admin_pending *admin_assign_of(struct shard *shard, uint32_t ref) {
    int32_t at = pending_find(shard, SHARD_ADMIN_ASSIGN, ref);
    return at < 0 ? NULL : &shard->pending[at];
}

/* --- show --- */

static void show_plan(struct shard *shard, const struct shard_slot *slot, uint64_t hash,
                      struct bytes key, struct shard_key_info *info) {
    uint32_t ref = assignment_find(shard, slot, hash, key);
    uint16_t term = ref == 0 ? TERM_NONE : assignment_at(&shard->arena, ref)->term;
    if (term != TERM_NONE) {
        info->assigned = true;
        info->plan = term_set_at(&shard->terms, term)->name;
    } else if (shard->plans->default_at >= 0) {
        info->plan = shard->plans->plans[shard->plans->default_at].name;
    }
}

static void show_limits(struct shard *shard, const struct terms *terms, const struct tat tats[],
                        struct shard_key_info *info) {
    info->limit_count = terms->limit_count;
    for (uint32_t i = 0; i < terms->limit_count; i++) {
        info->limits[i] = terms->limits[i];
        /* A plan that is gone left no limits, only times. */
        if (terms->limits[i].rate_tokens > 0) {
            info->level_tokens[i] = bucket_level(&terms->limits[i], tats[i], shard->now_ns);
        }
        info->reset_after_ns[i] = bucket_reset_ns(tats[i], shard->now_ns);
    }
}

static void show(struct shard *shard, const struct shard_slot *slot, uint64_t hash,
                 const struct shard_event *event) {
    struct shard_admin_reply *reply = shard_reply_add(shard, event->admin.token, REASON_NONE);
    struct shard_key_info *info = &reply->info;
    show_plan(shard, slot, hash, event->admin.key, info);
    uint32_t ref = bucket_find(shard, slot, hash, event->admin.key);
    if (ref == 0) {
        const struct tat full[LIMITS_PER_PLAN_MAX] = {0};
        int32_t plan_at = plan_set_find(shard->plans, name_bytes(&info->plan));
        if (plan_at >= 0) {
            show_limits(shard, &shard->plans->plans[plan_at].generations[0].terms, full, info);
        }
        return;
    }
    const struct resident *resident = resident_at(&shard->arena, ref);
    info->resident = true;
    info->dirty = (resident->state & (RESIDENT_DIRTY | RESIDENT_WRITING)) != 0;
    if ((resident->state & RESIDENT_UNREADABLE) != 0) {
        reply->reason = resident_unreadable_reason(resident);
    } else if (resident->term != TERM_NONE) {
        const struct term *term = term_set_at(&shard->terms, resident->term);
        info->bucket_plan = term->name;
        show_limits(shard, &term->terms, resident->tats, info);
    }
}

/* --- reset --- */

static enum reason reset(struct shard *shard, struct shard_slot *slot, uint64_t hash,
                         const struct shard_event *event, bool *waits) {
    uint32_t ref = bucket_find(shard, slot, hash, event->admin.key);
    if (ref == 0) {
        return REASON_NONE; /* full already */
    }
    struct resident *resident = resident_at(&shard->arena, ref);
    if (resident_is_newer(resident)) {
        return REASON_RECORD_NEWER; /* not ours to delete: its version knows what it means */
    }
    if (former_wait_ms(shard, slot, resident) > 0) {
        return REASON_FORMER_OWNER;
    }
    bool stored = (resident->state & RESIDENT_STORED) != 0;
    if (stored && !shard->store_up) {
        return REASON_STORE_AWAY;
    }
    if (stored && shard->pending_count == SHARD_ADMIN_PENDING_MAX) {
        return REASON_QUEUE_FULL;
    }
    resident->state &= (uint8_t)~RESIDENT_UNREADABLE;
    memset(resident->tats, 0, resident_limits(resident) * sizeof resident->tats[0]);
    if (stored) {
        pending_add(shard, event, slot, ref);
        bucket_mark_dirty(shard, slot, ref);
        snapshot_hurry(shard, slot);
        *waits = true;
    }
    /* Else it has never been written: it is dirty, and goes when the snapshot comes to it. */
    return REASON_NONE;
}

void admin_bucket_emitted(struct shard *shard, uint32_t ref, uint32_t op_id) {
    for (uint32_t i = 0; i < shard->pending_count; i++) {
        struct admin_pending *pending = &shard->pending[i];
        if (pending->kind == SHARD_ADMIN_RESET && pending->ref == ref && pending->op_id == 0) {
            pending->op_id = op_id;
        }
    }
}

void admin_bucket_moved(struct shard *shard, uint32_t from, uint32_t to) {
    for (uint32_t i = 0; i < shard->pending_count; i++) {
        if (shard->pending[i].kind == SHARD_ADMIN_RESET && shard->pending[i].ref == from) {
            shard->pending[i].ref = to;
        }
    }
}

void admin_bucket_gone(struct shard *shard, uint32_t ref) {
    for (uint32_t i = shard->pending_count; i > 0; i--) {
        if (shard->pending[i - 1].kind == SHARD_ADMIN_RESET && shard->pending[i - 1].ref == ref) {
            pending_answer(shard, i - 1, REASON_NONE);
        }
    }
}

void admin_write_stored(struct shard *shard, uint32_t op_id, bool written) {
    for (uint32_t i = shard->pending_count; i > 0; i--) {
        if (shard->pending[i - 1].kind == SHARD_ADMIN_RESET &&
            shard->pending[i - 1].op_id == op_id) {
            pending_answer(shard, i - 1, written ? REASON_NONE : REASON_STORE_AWAY);
        }
    }
}

/* --- assign --- */

static enum reason assign(struct shard *shard, struct shard_slot *slot, uint64_t hash,
                          const struct shard_event *event, bool *waits) {
    bool removal = event->admin.plan.size == 0;
    uint32_t ref = assignment_find(shard, slot, hash, event->admin.key);
    if (!removal && plan_set_find(shard->plans, event->admin.plan) < 0) {
        return REASON_PLAN_NOT_FOUND;
    }
    if (removal && ref == 0) {
        return REASON_NONE;
    }
    if (!shard->store_up) {
        return REASON_STORE_AWAY;
    }
    if (shard->pending_count == SHARD_ADMIN_PENDING_MAX) {
        return REASON_QUEUE_FULL;
    }
    /* All that memory could refuse is had before the store is asked. */
    uint16_t term = TERM_NONE;
    if (!removal) {
        struct name name = name_of(event->admin.plan);
        term = term_set_name(&shard->terms, &name);
        if (term == TERM_NONE) {
            return REASON_TERMS_FULL;
        }
        plans_bind(shard, term);
    }
    if (ref == 0) {
        ref = assignment_add(shard, slot, event->admin.key);
    }
    if (ref == 0) {
        term_set_release(&shard->terms, term);
        return REASON_MEMORY_FULL;
    }
    struct admin_pending *pending = pending_add(shard, event, slot, ref);
    pending->term = term;
    slot->assigns++;
    *waits = true;
    if (slot->refence) {
        slot_ready(shard, slot);
    }
    return REASON_NONE;
}

/* Takes an answered (or given up) ASSIGN out. In doubt the assignment stays as it was, and the
 * operator is told to try again. The store may have the new one: it gets the old one again. */
static void assign_finish(struct shard *shard, uint32_t at, bool written, enum reason reason) {
    struct admin_pending pending = shard->pending[at];
    struct shard_slot *slot = &shard->slots[pending.slot_at];
    slot->assigns--;
    shard->outstanding -= pending.op_id != 0;
    if (written) {
        assignment_set(shard, pending.ref, pending.term);
    } else if (pending.term != TERM_NONE) {
        term_set_release(&shard->terms, pending.term);
    }
    pending_answer(shard, at, reason);
    bool doubtful = !written && (pending.op_id != 0 || slot->keys_unwritten || slot->keys_unread);
    if ((doubtful || pending.passed) && !slot->discard) {
        keys_rewrite(shard, slot, true);
    } else if (assignment_at(&shard->arena, pending.ref)->term == TERM_NONE &&
               admin_assign_of(shard, pending.ref) == NULL) {
        assignment_remove(shard, slot, pending.ref);
    }
    slot_settle(shard, slot);
}

void admin_assign_stored(struct shard *shard, uint32_t op_id, enum shard_stored_status status) {
    for (uint32_t i = 0; i < shard->pending_count; i++) {
        if (shard->pending[i].kind != SHARD_ADMIN_ASSIGN || shard->pending[i].op_id != op_id) {
            continue;
        }
        struct shard_slot *slot = &shard->slots[shard->pending[i].slot_at];
        if (status == SHARD_STORED_FENCED) {
            shard_notice_add(shard, SHARD_NOTICE_FENCED, shard_slot_at(shard, slot),
                             (struct bytes){0},
                             "an assignment was refused: the slot has a newer owner");
            slot->backoff = true;
            slot_drop(shard, slot);
        } else {
            bool ok = status == SHARD_STORED_OK;
            slot->refence = slot->refence || !ok;
            assign_finish(shard, i, ok, ok ? REASON_NONE : REASON_STORE_AWAY);
        }
        return;
    }
}

_Static_assert(SHARD_ADMIN_PENDING_MAX <= SHARD_UPDATE_OPS_MAX, "the first of a step have room");

void admin_emit(struct shard *shard) {
    assert(shard->op_count == 0);
    for (uint32_t i = 0; i < shard->pending_count; i++) {
        struct admin_pending *pending = &shard->pending[i];
        /* One that was given up may still come, and is to find a higher fence than this. */
        if (pending->kind != SHARD_ADMIN_ASSIGN || pending->op_id != 0 ||
            shard->slots[pending->slot_at].refence) {
            continue;
        }
        struct shard_op *op = shard_op_add(shard, &shard->slots[pending->slot_at], SHARD_OP_ASSIGN);
        op->key = assignment_key(assignment_at(&shard->arena, pending->ref));
        if (pending->term != TERM_NONE) {
            op->plan = name_bytes(&term_set_at(&shard->terms, pending->term)->name);
        }
        pending->op_id = op->op_id;
    }
}

/* --- all --- */

/* The last of a slot that has been given away may take others with it. */
void admin_store_lost(struct shard *shard) {
    while (shard->pending_count > 0) {
        uint32_t at = shard->pending_count - 1;
        const struct admin_pending *pending = &shard->pending[at];
        if (pending->kind == SHARD_ADMIN_ASSIGN) {
            struct shard_slot *slot = &shard->slots[pending->slot_at];
            slot->refence = slot->refence || pending->op_id != 0;
            assign_finish(shard, at, false, REASON_STORE_AWAY);
        } else {
            pending_answer(shard, at, REASON_STORE_AWAY);
        }
    }
}

void admin_slot_dropped(struct shard *shard, struct shard_slot *slot) {
    uint16_t at = shard_slot_at(shard, slot);
    for (uint32_t i = shard->pending_count; i > 0; i--) {
        if (shard->pending[i - 1].slot_at != at) {
            continue;
        }
        if (shard->pending[i - 1].kind == SHARD_ADMIN_ASSIGN) {
            assign_finish(shard, i - 1, false, REASON_NOT_OWNER);
        } else {
            pending_answer(shard, i - 1, REASON_NOT_OWNER);
        }
    }
}

void admin_answer(struct shard *shard, struct shard_slot *slot, uint64_t hash,
                  const struct shard_event *event) {
    enum reason reason = REASON_NONE;
    bool waits = false;
    switch (event->admin.kind) {
    case SHARD_ADMIN_SHOW:
        show(shard, slot, hash, event);
        return;
    case SHARD_ADMIN_RESET:
        reason = reset(shard, slot, hash, event, &waits);
        break;
    case SHARD_ADMIN_ASSIGN:
        reason = assign(shard, slot, hash, event, &waits);
        break;
    }
    if (!waits) {
        struct shard_admin_reply *reply = shard_reply_add(shard, event->admin.token, reason);
        if (reason == REASON_FORMER_OWNER) {
            uint32_t ref = bucket_find(shard, slot, hash, event->admin.key);
            reply->wait_ms = former_wait_ms(shard, slot, resident_at(&shard->arena, ref));
        }
    }
}

void admin_request(struct shard *shard, const struct shard_event *event) {
    uint64_t hash = key_hash(event->admin.key);
    struct shard_slot *slot = shard_slot_of(shard, hash);
    enum reason reason = shard->stopping ? REASON_STOPPING : slot_refusal(slot);
    if (reason == REASON_NONE && slot->state == SLOT_LOADING) {
        reason = REASON_LOADING;
    }
    if (reason != REASON_NONE) {
        shard_reply_add(shard, event->admin.token, reason);
        return;
    }
    /* Assignments are always all in memory. */
    bool known = slot_complete(slot) || event->admin.kind == SHARD_ADMIN_ASSIGN ||
                 bucket_find(shard, slot, hash, event->admin.key) != 0;
    if (known) {
        admin_answer(shard, slot, hash, event);
        return;
    }
    reason = fetch_ask_admin(shard, slot, hash, event);
    if (reason != REASON_NONE) {
        shard_reply_add(shard, event->admin.token, reason);
    }
}
