/* What newer owners put off because of former ones: resets, and faster limits. */
#include "proto/slot.h"
#include "server/core/shard_parts.h"
#include "tests/sim/check.h"
#include "tests/sim/coverage.h"
#include "tests/sim/report.h"
#include "tests/sim/scenario.h"
#include "tests/sim/world.h"

enum reason __real_former_keep(const struct shard *shard, const struct shard_slot *slot,
                               const struct resident *resident, struct wanted *wanted);
enum reason __wrap_former_keep(const struct shard *shard, const struct shard_slot *slot,
                               const struct resident *resident, struct wanted *wanted);

enum reason __wrap_former_keep(const struct shard *shard, const struct shard_slot *slot,
                               const struct resident *resident, struct wanted *wanted) {
    enum reason reason = __real_former_keep(shard, slot, resident, wanted);
    sim_cover_many(COVER_KEPT, reason == REASON_NONE && bucket_is_under(shard, resident, wanted));
    return reason;
}

/* An owner's counts, at once: what is written has to be its own. A former owner's does not reach
 * the store. */
void reset_look(const struct shard_event *event, const struct shard_update *update,
                const struct process *process, const uint64_t fences[]) {
    uint32_t slot = slot_of_hash(key_hash(event->admin.key), world.config.slots).index;
    uint64_t raised_at_ns;
    const struct process *by;
    bool zombie = fences[slot] < fence_newest(slot, &raised_at_ns, &by) && by != process;
    for (uint32_t i = 0; i < update->admin_reply_count; i++) {
        const struct shard_admin_reply *reply = &update->admin_replies[i];
        if (reply->token == event->admin.token && reply->reason != REASON_NONE) {
            sim_cover_many(COVER_RESET_WAITS, reply->reason == REASON_FORMER_OWNER);
            return;
        }
    }
    sim_trace("%s resets %.*s%s", process->name, (int)event->admin.key.size,
              (const char *)event->admin.key.data, zombie ? " (zombie)" : "");
    if (!zombie) {
        scenario_reset();
        keys_reset(event->admin.key);
    }
}
