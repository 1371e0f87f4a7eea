#include "bench/core_shard.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#include "server/io/memory_huge.h"
#include "server/io/memory_map.h"

double core_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* --- the time of steps --------------------------------------------------------------------------
 */

static uint32_t faults_now(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (uint32_t)usage.ru_minflt;
}

static void steps_add(struct core_steps *timed, const struct core_step *step) {
    if (timed->next == timed->capacity) {
        timed->capacity = timed->capacity == 0 ? 1 << 20 : timed->capacity * 2;
        timed->steps = realloc(timed->steps, timed->capacity * sizeof *timed->steps);
        if (timed->steps == NULL) {
            fprintf(stderr, "no memory\n");
            exit(1);
        }
    }
    struct core_step *kept = &timed->steps[timed->next++];
    if (timed->next > timed->count) {
        *kept = *step;
        timed->count = timed->next;
    } else if (step->seconds < kept->seconds) {
        kept->seconds = step->seconds;
    }
}

void core_steps_print(const struct core_steps *timed, uint32_t first, uint32_t end, bool written) {
    static const char *const kinds[] = {"takes", "own",   "seal", "plans", "stored",
                                        "store", "admin", "tick", "stop"};
    float bound = 1e9f;
    for (int i = 0; i < CORE_LONGEST; i++) {
        const struct core_step *longest = NULL;
        for (uint32_t at = first; at < end; at++) {
            const struct core_step *step = &timed->steps[at];
            if ((step->written > 0) == written && step->seconds < bound &&
                (longest == NULL || step->seconds > longest->seconds)) {
                longest = step;
            }
        }
        if (longest == NULL) {
            return;
        }
        bound = longest->seconds;
        printf("  %.3f ms: %s, %u items, %u records written, %u page faults, at %" PRIu64
               " buckets\n",
               (double)longest->seconds * 1e3, kinds[longest->kind], longest->items,
               longest->written, longest->faults, longest->buckets);
    }
}

/* --- steps --------------------------------------------------------------------------------------
 */

static void timed_step(struct core_shard *core, const struct shard_event *event) {
    if (core->timed == NULL) {
        shard_step(core->shard, event, &core->update);
        return;
    }
    struct core_step step = {.kind = event->kind,
                             .items = event->kind == SHARD_EVENT_TAKES ? event->takes.count : 0};
    uint32_t faults = faults_now();
    double start = core_seconds();
    shard_step(core->shard, event, &core->update);
    step.seconds = (float)(core_seconds() - start);
    step.faults = faults_now() - faults;
    for (uint32_t i = 0; i < core->update.op_count; i++) {
        step.written += core->update.ops[i].entry_count;
    }
    step.buckets = shard_counters(core->shard)->buckets;
    steps_add(core->timed, &step);
}

void core_shard_step(struct core_shard *core, struct shard_event *event) {
    static struct shard_op ops[SHARD_UPDATE_OPS_MAX * 64];
    const struct shard_update *update = &core->update;
    uint32_t count = 0;
    event->now_ns = core->now_ns;
    timed_step(core, event);
    for (uint32_t done = 0;; done++) {
        for (uint32_t i = 0; i < update->op_count && count < SHARD_UPDATE_OPS_MAX * 64; i++) {
            ops[count++] = update->ops[i];
        }
        struct shard_event answer = {.kind = SHARD_EVENT_TICK, .now_ns = core->now_ns};
        if (done < count) {
            answer.kind = SHARD_EVENT_STORED;
            answer.stored.op_kind = (uint8_t)ops[done].kind;
            answer.stored.slot = ops[done].slot;
            answer.stored.op_id = ops[done].op_id;
            answer.stored.fence = 1;
        } else if (update->wake_at_ns > core->now_ns) {
            return;
        }
        timed_step(core, &answer);
    }
}

void core_shard_takes(struct core_shard *core, const struct shard_item *items, uint32_t count) {
    struct shard_event event = {.kind = SHARD_EVENT_TAKES};
    event.takes.items = items;
    event.takes.count = count;
    core->now_ns += (uint64_t)count * CORE_TAKE_NS;
    core_shard_step(core, &event);
}

/* --- the beginning and the end ------------------------------------------------------------------
 */

void core_shard_open(struct core_shard *core, uint64_t burst_tokens, bool huge_pages) {
    struct shard_options options = {.slot_count = CORE_SLOTS,
                                    .snapshot_interval_ns = 100000000,
                                    .memory_bytes_max = UINT64_C(32) << 30,
                                    .memory = memory_map()};
    static struct plan_set plans;
    struct plan plan = {.name = name_of(bytes_of_text("default")),
                        .durability = DURABILITY_RELAXED,
                        .generation_count = 1};
    plan.generations[0].generation = 1;
    plan.generations[0].terms = (struct terms){1, {{1, UINT64_C(3600000000000), burst_tokens}}};
    plan_set_init(&plans);
    plan_set_add(&plans, &plan);
    plans.version = 1;
    plans.default_at = 0;
    *core = (struct core_shard){.now_ns = UINT64_C(1700000000000000000)};
    if (huge_pages) {
        core->huge = memory_huge_create(options.memory_bytes_max);
        options.memory = memory_huge(core->huge);
    }
    core->shard = shard_create(&options);
    uint8_t all[CORE_SLOTS / 8];
    memset(all, 0xff, sizeof all);
    struct shard_event tell = {.kind = SHARD_EVENT_PLANS};
    tell.plans.set = &plans;
    core_shard_step(core, &tell);
    struct shard_event up = {.kind = SHARD_EVENT_STORE};
    up.store.up = true;
    core_shard_step(core, &up);
    struct shard_event own = {.kind = SHARD_EVENT_OWN};
    own.own.slots = all;
    core_shard_step(core, &own);
    if (shard_counters(core->shard)->slots_serving != CORE_SLOTS) {
        fprintf(stderr, "the shard does not serve\n");
        exit(1);
    }
}

void core_shard_close(struct core_shard *core) {
    shard_destroy(core->shard);
    if (core->huge != NULL) {
        memory_huge_destroy(core->huge);
    }
}
