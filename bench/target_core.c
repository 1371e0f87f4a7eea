/*
 * The shard's core within this process: takes straight into shard_step, with a store that
 * acknowledges every write at once. What it measures is the decision and nothing else: no process,
 * no network, no encoding.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "bench/target.h"
#include "runtime/clock.h"
#include "server/core/shard.h"

/* Bytes of buckets: above what KEYS_MAX small ones of any sensible test take. */
#define CORE_MEMORY_BYTES (UINT64_C(16) << 30)

/* Store operations that wait for their answer within one step. */
#define CORE_OPS_MAX ((size_t)SHARD_UPDATE_OPS_MAX * 64)

#define CORE_SNAPSHOT_NS UINT64_C(100000000)

struct core_target {
    struct shard *shard;
    struct plan_set *plans;
    struct shard_update update;
    struct shard_op *ops;
    struct shard_item *items;
    char (*keys)[KEY_TEXT_BYTES_MAX];
};

static struct core_target *target_of(const struct load *load) {
    return load->memory;
}

static void *piece_get(void *ctx, size_t size) {
    void *piece = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return piece == MAP_FAILED ? NULL : piece;
}

static void piece_put(void *ctx, void *piece, size_t size) {
    munmap(piece, size);
}

/* Gathers the update's operations behind those that wait. */
static void ops_gather(struct core_target *target, size_t *count) {
    for (uint32_t i = 0; i < target->update.op_count && *count < CORE_OPS_MAX; i++) {
        target->ops[(*count)++] = target->update.ops[i];
    }
}

/* The store's answers to what the last step asked for, until nothing is asked any more. */
static void store_answer(struct core_target *target, uint64_t now_ns) {
    size_t count = 0;
    ops_gather(target, &count);
    for (size_t done = 0; done < count; done++) {
        struct shard_event answer = {.kind = SHARD_EVENT_STORED, .now_ns = now_ns};
        answer.stored.op_kind = (uint8_t)target->ops[done].kind;
        answer.stored.slot = target->ops[done].slot;
        answer.stored.op_id = target->ops[done].op_id;
        answer.stored.fence = 1;
        shard_step(target->shard, &answer, &target->update);
        ops_gather(target, &count);
    }
}

static void step(struct core_target *target, struct shard_event *event) {
    event->now_ns = clock_monotonic_ns();
    shard_step(target->shard, event, &target->update);
    store_answer(target, event->now_ns);
}

static bool shard_serve(struct load *load, struct core_target *target) {
    struct shard_options options = {.slot_count = SLOTS_DEFAULT,
                                    .snapshot_interval_ns = CORE_SNAPSHOT_NS,
                                    .memory_bytes_max = CORE_MEMORY_BYTES,
                                    .memory = {piece_get, piece_put, NULL}};
    struct plan plan = {.name = name_of(bytes_of_text("default")),
                        .durability = DURABILITY_RELAXED,
                        .generation_count = 1};
    plan.generations[0].generation = 1;
    plan.generations[0].terms = (struct terms){1, {load->settings.limit}};
    plan_set_init(target->plans);
    plan_set_add(target->plans, &plan);
    target->plans->version = 1;
    target->plans->default_at = 0;
    target->shard = shard_create(&options);
    if (target->shard == NULL) {
        return false;
    }
    uint8_t all[SLOTS_DEFAULT / 8];
    memset(all, 0xff, sizeof all);
    struct shard_event tell = {.kind = SHARD_EVENT_PLANS};
    tell.plans.set = target->plans;
    step(target, &tell);
    struct shard_event up = {.kind = SHARD_EVENT_STORE};
    up.store.up = true;
    step(target, &up);
    struct shard_event own = {.kind = SHARD_EVENT_OWN};
    own.own.slots = all;
    step(target, &own);
    return shard_counters(target->shard)->slots_serving == SLOTS_DEFAULT;
}

static bool core_open(struct load *load, char *why, size_t why_size) {
    struct core_target *target = calloc(1, sizeof *target);
    uint32_t batch = load->settings.batch;
    load->memory = target;
    snprintf(why, why_size, "no memory for a shard in this process");
    if (target == NULL) {
        return false;
    }
    target->plans = calloc(1, sizeof *target->plans);
    target->ops = calloc(CORE_OPS_MAX, sizeof *target->ops);
    target->items = calloc(batch, sizeof *target->items);
    target->keys = calloc(batch, sizeof *target->keys);
    return target->plans != NULL && target->ops != NULL && target->items != NULL &&
           target->keys != NULL && shard_serve(load, target);
}

static bool core_lane_open(struct lane *lane, char *why, size_t why_size) {
    load_lane_up(lane);
    return true;
}

static bool core_send(struct lane *lane, struct shot *shot) {
    struct load *load = lane->load;
    struct core_target *target = target_of(load);
    struct shard_event event = {.kind = SHARD_EVENT_TAKES, .now_ns = clock_monotonic_ns()};
    for (uint32_t at = 0; at < shot->take_count; at++) {
        target->items[at] =
            (struct shard_item){.verb = VERB_TAKE,
                                .take = {.key = load_key(load, shot->keys[at], target->keys[at]),
                                         .cost_tokens = load->settings.cost_tokens,
                                         .deadline_ms = DEADLINE_MS_DEFAULT}};
    }
    event.takes.items = target->items;
    event.takes.count = shot->take_count;
    shard_step(target->shard, &event, &target->update);
    for (uint32_t at = 0; at < shot->take_count; at++) {
        const struct take_result *result = &target->update.results[at];
        load_take_done(shot, at,
                       result->code == CODE_OK ? outcome_of_answer(result->allowed)
                                               : outcome_of_error(result->code));
    }
    store_answer(target, event.now_ns);
    if (target->update.wake_at_ns <= event.now_ns) {
        struct shard_event tick = {.kind = SHARD_EVENT_TICK};
        step(target, &tick);
    }
    load_shot_done(shot);
    return true;
}

static void core_flush(struct lane *lane) {}

static void core_lane_close(struct lane *lane) {}

static void core_close(struct load *load) {
    struct core_target *target = target_of(load);
    if (target == NULL) {
        return;
    }
    if (target->shard != NULL) {
        shard_destroy(target->shard);
    }
    free(target->plans);
    free(target->ops);
    free(target->items);
    free(target->keys);
    free(target);
    load->memory = NULL;
}

const struct target target_core = {.name = "core",
                                   .inline_answers = true,
                                   .open = core_open,
                                   .lane_open = core_lane_open,
                                   .lane_send = core_send,
                                   .lane_flush = core_flush,
                                   .lane_close = core_lane_close,
                                   .close = core_close};
