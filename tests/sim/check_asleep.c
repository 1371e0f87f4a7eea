/* Buckets that leave memory: that they do, and what happens to those that are asked for then. */
#include <assert.h>

#include "server/core/shard_state.h"
#include "tests/sim/check.h"
#include "tests/sim/coverage.h"
#include "tests/sim/report.h"
#include "tests/sim/world.h"

#define SLEEPERS_MAX 512

/* A shard, as it was after its last step. */
struct sleeper {
    const struct shard *shard;
    const struct process *process;
    uint64_t hibernations, slots_asleep;
};

static struct sleeper sleepers[SLEEPERS_MAX];
static uint32_t sleeper_count;

static struct sleeper *sleeper_of(const struct shard *shard, const struct process *process) {
    for (uint32_t i = 0; i < sleeper_count; i++) {
        if (sleepers[i].shard == shard && sleepers[i].process == process) {
            return &sleepers[i];
        }
    }
    assert(sleeper_count < SLEEPERS_MAX);
    sleeper_count++;
    sleepers[sleeper_count - 1] = (struct sleeper){.shard = shard, .process = process};
    return &sleepers[sleeper_count - 1];
}

/* Buckets that leave memory, and slots that have got theirs back. */
void sleep_look(const struct shard *shard, const struct process *process,
                const struct shard_update *update) {
    const struct shard_counters *counters = shard_counters(shard);
    struct sleeper *seen = sleeper_of(shard, process);
    sim_cover_many(COVER_HIBERNATED, counters->hibernations - seen->hibernations);
    sim_cover_many(COVER_WOKE, counters->slots_asleep < seen->slots_asleep);
    seen->hibernations = counters->hibernations;
    seen->slots_asleep = counters->slots_asleep;
    for (uint32_t i = 0; i < update->op_count; i++) {
        const struct shard_slot *slot = &shard->slots[update->ops[i].slot.index];
        bool asleep = slot->state == SLOT_SERVING && slot->asleep;
        bool page = update->ops[i].kind == SHARD_OP_LOAD_BUCKETS;
        sim_cover_many(COVER_REREAD, page && slot->state == SLOT_SERVING && slot->leftovers);
        sim_cover_many(COVER_ASSIGNED_AGAIN, update->ops[i].assignments);
        sim_cover_many(COVER_ASKED_ASLEEP, asleep && update->ops[i].kind == SHARD_OP_FETCH);
        sim_cover_many(COVER_SURVEYED, asleep && page);
    }
}

struct shard *__real_shard_create(const struct shard_options *options);
struct shard *__wrap_shard_create(const struct shard_options *options);

/* Buckets leave memory sooner than they do, as soon as this store has it for good: more do. */
struct shard *__wrap_shard_create(const struct shard_options *given) {
    struct shard_options options = *given;
    bool lags = config_has(&world.config, FEATURE_STORE_FAILOVER);
    bool loses = config_has(&world.config, FEATURE_STORE_TAIL);
    options.settle_ms = lags ? 0 : loses ? STORE_SYNC_NS / MS + 200 : 50;
    return __real_shard_create(&options);
}

/* Resets of keys that had to be read first: after how many decisions of the step each came. */
static struct reset_seen {
    uint32_t at, key_size;
    uint8_t key[KEY_BYTES_MAX];
} resets[SHARD_ADMIN_PENDING_MAX];
static uint32_t reset_count;

void __real_admin_answer(struct shard *shard, struct shard_slot *slot, uint64_t hash,
                         const struct shard_event *event);
void __wrap_admin_answer(struct shard *shard, struct shard_slot *slot, uint64_t hash,
                         const struct shard_event *event);

void __wrap_admin_answer(struct shard *shard, struct shard_slot *slot, uint64_t hash,
                         const struct shard_event *event) {
    uint32_t replies = shard->reply_count;
    __real_admin_answer(shard, slot, hash, event);
    bool refused = shard->reply_count > replies && shard->replies[replies].reason != REASON_NONE;
    if (event->admin.kind == SHARD_ADMIN_RESET && !refused) {
        assert(reset_count < SHARD_ADMIN_PENDING_MAX);
        struct reset_seen *seen = &resets[reset_count];
        reset_count++;
        *seen = (struct reset_seen){.at = decided_count, .key_size = event->admin.key.size};
        memcpy(seen->key, event->admin.key.data, seen->key_size);
    }
}

void reset_keys_look(uint32_t at) {
    while (reset_count > 0 && resets[0].at <= at) {
        keys_reset(bytes_of(resets[0].key, resets[0].key_size));
        reset_count--;
        memmove(&resets[0], &resets[1], reset_count * sizeof resets[0]);
    }
}
