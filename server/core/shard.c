#include "server/core/shard.h"

#include <assert.h>

#include "server/core/shard_parts.h"

/* Without anything to do a shard asks to be woken once in this time. */
#define REST_NS UINT64_C(1000000000)

#define HELD_POOL_BYTES ((1 + SHARD_HELD_MAX) * sizeof(struct held))
#define FETCHES_BYTES ((1 + SHARD_FETCHES_MAX) * sizeof(struct fetch))
#define ASKERS_BYTES ((1 + SHARD_ASKERS_MAX) * sizeof(struct asker))

/* In one step each held take and each that waits for its key may be released once, and one that
 * did wait for its key is held now. */
#define SHARD_RELEASES_MAX (SHARD_HELD_MAX + SHARD_ASKERS_MAX)
#define HELD_RELEASES_BYTES (SHARD_RELEASES_MAX * sizeof(struct shard_release))

static bool slots_init(struct shard *shard) {
    struct memory *memory = &shard->options.memory;
    uint32_t count = shard->options.slot_count;
    shard->slots = memory->get(memory->ctx, count * sizeof shard->slots[0]);
    shard->queue_links = memory->get(memory->ctx, 6 * count * sizeof shard->queue_links[0]);
    if (shard->slots == NULL || shard->queue_links == NULL) {
        return false;
    }
    slot_queue_init(&shard->due, shard->queue_links, count);
    slot_queue_init(&shard->ready, shard->queue_links + count, count);
    slot_queue_init(&shard->starting, shard->queue_links + 2 * count, count);
    slot_queue_init(&shard->reclaim, shard->queue_links + 3 * count, count);
    slot_queue_init(&shard->loading, shard->queue_links + 4 * count, count);
    slot_queue_init(&shard->rereading, shard->queue_links + 5 * count, count);
    return true;
}

static bool held_init(struct shard *shard) {
    struct memory *memory = &shard->options.memory;
    shard->held_pool = memory->get(memory->ctx, HELD_POOL_BYTES);
    shard->releases = memory->get(memory->ctx, HELD_RELEASES_BYTES);
    shard->fetches = memory->get(memory->ctx, FETCHES_BYTES);
    shard->askers = memory->get(memory->ctx, ASKERS_BYTES);
    if (shard->held_pool == NULL || shard->releases == NULL || shard->fetches == NULL ||
        shard->askers == NULL) {
        return false;
    }
    fetches_init(shard);
    return true;
}

static void held_fini(struct shard *shard) {
    struct memory *memory = &shard->options.memory;
    if (shard->held_pool != NULL) {
        memory->put(memory->ctx, shard->held_pool, HELD_POOL_BYTES);
    }
    if (shard->fetches != NULL) {
        memory->put(memory->ctx, shard->fetches, FETCHES_BYTES);
    }
    if (shard->askers != NULL) {
        memory->put(memory->ctx, shard->askers, ASKERS_BYTES);
    }
    if (shard->releases != NULL) {
        memory->put(memory->ctx, shard->releases, HELD_RELEASES_BYTES);
    }
}

static uint32_t marks_wanted(const struct shard_options *options) {
    return options->mark_count != 0 ? options->mark_count : MARKS_DEFAULT;
}

struct shard *shard_create(const struct shard_options *options) {
    assert(slot_count_valid(options->slot_count));
    struct memory memory = options->memory;
    struct shard *shard = memory.get(memory.ctx, sizeof *shard);
    if (shard == NULL) {
        return NULL;
    }
    shard->options = *options;
    shard->budget = (struct budget){.memory = memory, .bytes_max = options->memory_bytes_max};
    if (!arena_init(&shard->arena, &shard->budget) ||
        !term_set_init(&shard->terms, &memory, SHARD_TERMS_MAX) || !slots_init(shard) ||
        !held_init(shard) ||
        !marks_init(&shard->marks, marks_wanted(options), &shard->options.memory)) {
        shard_destroy(shard);
        return NULL;
    }
    for (uint32_t i = 0; i < PLANS_MAX; i++) {
        shard->plan_terms[i] = TERM_NONE;
    }
    const struct name no_name = {.size = 0};
    shard->nameless = term_set_name(&shard->terms, &no_name);
    plans_bind(shard, shard->nameless);
    return shard;
}

void shard_destroy(struct shard *shard) {
    struct memory memory = shard->options.memory;
    uint32_t count = shard->options.slot_count;
    for (uint32_t i = 0; shard->slots != NULL && i < count; i++) {
        table_fini(&shard->slots[i].buckets, &shard->arena);
        table_fini(&shard->slots[i].keys, &shard->arena);
    }
    if (shard->slots != NULL) {
        memory.put(memory.ctx, shard->slots, count * sizeof shard->slots[0]);
    }
    if (shard->queue_links != NULL) {
        memory.put(memory.ctx, shard->queue_links, 6 * count * sizeof shard->queue_links[0]);
    }
    held_fini(shard);
    marks_fini(&shard->marks, &shard->options.memory);
    term_set_fini(&shard->terms);
    arena_fini(&shard->arena);
    memory.put(memory.ctx, shard, sizeof *shard);
}

struct shard_op *shard_op_add(struct shard *shard, struct shard_slot *slot,
                              enum shard_op_kind kind) {
    assert(shard_op_room(shard));
    shard->next_op_id++;
    shard->next_op_id += shard->next_op_id == 0; /* 0 says "none" */
    struct shard_op *op = &shard->ops[shard->op_count];
    shard->op_count++;
    shard->outstanding++;
    *op = (struct shard_op){.kind = kind,
                            .slot = {.index = shard_slot_at(shard, slot)},
                            .op_id = shard->next_op_id,
                            .fence = slot->fence,
                            .since_fence = slot->since_fence};
    if (kind != SHARD_OP_ASSIGN && kind != SHARD_OP_FETCH) {
        assert(slot->op_id == 0);
        slot->op_id = op->op_id;
        slot->op_kind = (uint8_t)kind;
        slot->asked_ns = shard->now_ns;
    }
    return op;
}

struct shard_admin_reply *shard_reply_add(struct shard *shard, uint64_t token, enum reason reason) {
    /* At most all that wait, and the request of this step. */
    assert(shard->reply_count < SHARD_REPLIES_MAX);
    struct shard_admin_reply *reply = &shard->replies[shard->reply_count];
    shard->reply_count++;
    *reply = (struct shard_admin_reply){.token = token, .reason = reason};
    return reply;
}

struct shard_release *shard_release_add(struct shard *shard, uint64_t token,
                                        enum shard_release_kind kind) {
    assert(shard->release_count < SHARD_RELEASES_MAX);
    struct shard_release *release = &shard->releases[shard->release_count];
    shard->release_count++;
    *release = (struct shard_release){.token = token, .kind = kind};
    return release;
}

void shard_notice_add(struct shard *shard, enum shard_notice_kind kind, uint16_t slot_at,
                      struct bytes key, const char *text) {
    if (shard->notice_count == SHARD_NOTICES_MAX) {
        return;
    }
    struct shard_notice *notice = &shard->notices[shard->notice_count];
    shard->notice_count++;
    *notice = (struct shard_notice){.kind = kind, .slot = {.index = slot_at}, .key = key};
    for (uint32_t i = 0; i + 1 < sizeof notice->text && text[i] != '\0'; i++) {
        notice->text[i] = text[i];
    }
}

static void event_handle(struct shard *shard, const struct shard_event *event) {
    switch (event->kind) {
    case SHARD_EVENT_TAKES:
        assert(event->takes.count <= TAKES_PER_REQUEST_MAX);
        takes_decide(shard, event->takes.items, event->takes.count);
        break;
    case SHARD_EVENT_OWN:
        slots_own(shard, event->own.slots);
        if (event->own.restored) {
            slots_look(shard);
        }
        break;
    case SHARD_EVENT_SEAL:
        slots_seal(shard, event->seal.slots, event->seal.reload);
        break;
    case SHARD_EVENT_PLANS:
        plans_replace(shard, event->plans.set);
        break;
    case SHARD_EVENT_STORED:
        slot_stored(shard, event);
        break;
    case SHARD_EVENT_WRITTEN:
        slots_written(shard, event->written.writes, event->written.count);
        break;
    case SHARD_EVENT_STORE:
        shard->store_up = event->store.up;
        if (!shard->store_up) {
            slots_store_lost(shard);
        } else if (event->store.restarted) {
            sweep_rewrite_start(shard, event->store.lost);
        }
        break;
    case SHARD_EVENT_ADMIN:
        admin_request(shard, event);
        break;
    case SHARD_EVENT_TICK:
        break;
    case SHARD_EVENT_STOP:
        shard->stopping = true;
        slots_stop(shard);
        break;
    }
}

static uint64_t wake_at(const struct shard *shard) {
    uint64_t now_ns = shard->now_ns;
    bool can_start =
        shard->store_up && !shard->stopping &&
        ((shard->fencing_count < SHARD_FENCING_MAX && !slot_queue_empty(&shard->starting)) ||
         (shard->streaming_count < SHARD_LOADING_MAX &&
          (!slot_queue_empty(&shard->loading) ||
           (shard->rereading_count == 0 && !slot_queue_empty(&shard->rereading)))) ||
         shard->unsent_count > 0);
    if (can_start || (shard->store_up && shard->rewrite_count > 0) ||
        !slot_queue_empty(&shard->reclaim) ||
        (shard->store_up && !slot_queue_empty(&shard->ready))) {
        return now_ns > 0 ? now_ns : 1;
    }
    uint64_t wake_ns = now_ns + REST_NS;
    if (!slot_queue_empty(&shard->due) && shard->slots[shard->due.first].due_ns < wake_ns) {
        wake_ns = shard->slots[shard->due.first].due_ns;
    }
    if (!shard->stopping && (shard->counters.buckets > 0 || shard->watches) &&
        shard->sweep_at_ns < wake_ns) {
        wake_ns = shard->sweep_at_ns;
    }
    if (survey_wanted(shard) && shard->survey_at_ns < wake_ns) {
        wake_ns = shard->survey_at_ns;
    }
    return wake_ns > 0 ? wake_ns : 1;
}

void shard_step(struct shard *shard, const struct shard_event *event, struct shard_update *update) {
    shard->result_count = 0;
    shard->held_count = 0;
    shard->release_count = 0;
    shard->decided_count = 0;
    shard->op_count = 0;
    shard->entry_count = 0;
    shard->listed_count = 0;
    shard->reply_count = 0;
    shard->notice_count = 0;
    if (event->now_ns < shard->now_ns) {
        shard->counters.clock_clamps++;
    } else {
        shard->now_ns = event->now_ns;
    }

    event_handle(shard, event);
    sweep_step(shard);
    if (survey_wanted(shard)) {
        survey_step(shard);
    }
    slots_work(shard);
    slots_emit(shard);
    if (shard->stopping && shard->outstanding == 0 && shard->counters.buckets_dirty == 0 &&
        shard->rewrite_count == 0 && keys_settled(shard)) {
        shard->stopped = true;
    }
    shard->counters.memory_bytes = shard->budget.bytes;
    *update = (struct shard_update){
        .results = shard->results,
        .result_count = shard->result_count,
        .held = shard->held,
        .held_count = shard->held_count,
        .releases = shard->releases,
        .release_count = shard->release_count,
        .ops = shard->ops,
        .op_count = shard->op_count,
        .admin_replies = shard->replies,
        .admin_reply_count = shard->reply_count,
        .notices = shard->notices,
        .notice_count = shard->notice_count,
        .wake_at_ns = wake_at(shard),
        .sealed = slots_sealed(shard),
        .stopped = shard->stopped,
    };
}

void shard_slot_load(const struct shard *shard, struct slot slot, struct shard_slot_load *load) {
    const struct shard_slot *from = &shard->slots[slot.index];
    *load =
        (struct shard_slot_load){.takes = from->takes, .buckets = from->buckets.count + from->away};
}

const struct shard_counters *shard_counters(const struct shard *shard) {

    return &shard->counters;
}
