/*
 * What a former owner of a slot may still grant, and what its newer owner waits for because of it.
 *
 * A former owner that is paused or cut off goes on granting within its marks until they end
 * (mark_lives). The newer owner has read those marks and counts all of them as spent. What is spent
 * refills, and a mark ends under the limits that it was written under before it has refilled under
 * them: so nothing is granted twice as long as a bucket is full no sooner than by the limits of its
 * record. A reset or faster limits would make it so. They wait until no mark can be alive any more
 * (decision 0034).
 */
#include "proto/bucket.h"
#include "server/core/shard_parts.h"

/* Marks are of strict plans. Of a plan that is gone nobody knows; an inline limit goes by the
 * default plan. */
static bool may_have_marks(const struct shard *shard, const struct resident *resident) {
    if (resident->term == TERM_NONE) {
        return true;
    }
    const struct term *term = term_set_at(&shard->terms, resident->term);
    int32_t plan_at = term->kind == TERM_INLINE ? shard->plans->default_at : term->plan_at;
    return plan_at < 0 || shard->plan_strict[plan_at];
}

uint32_t former_wait_ms(const struct shard *shard, const struct shard_slot *slot,
                        const struct resident *resident) {
    if (shard->now_ns >= slot->former_until_ns || !slot->inherited ||
        (resident->state & RESIDENT_STORED) == 0 || !may_have_marks(shard, resident)) {
        return 0;
    }
    bool unreadable = (resident->state & RESIDENT_UNREADABLE) != 0;
    if (unreadable ? !resident->mixed : bucket_resident_full(shard, resident)) {
        return 0; /* nobody's mark, or one whose time is over */
    }
    return (uint32_t)((slot->former_until_ns - shard->now_ns + 999999) / 1000000);
}

enum reason former_keep(const struct shard *shard, const struct shard_slot *slot,
                        const struct resident *resident, struct wanted *wanted) {
    if (former_wait_ms(shard, slot, resident) == 0) {
        return REASON_NONE;
    }
    const struct term *term = term_set_at(&shard->terms, resident->term);
    if (term->kind == TERM_UNKNOWN) {
        return REASON_FORMER_OWNER;
    }
    if (bucket_refills_sooner(&term->terms, wanted->terms)) {
        wanted->term = resident->term;
        wanted->terms = &term->terms;
    }
    return REASON_NONE;
}

void former_hint(const struct shard *shard, const struct shard_slot *slot,
                 struct take_result *result) {
    uint64_t left_us = (slot->former_until_ns - shard->now_ns + 999) / 1000;
    bool later =
        result->retry_after_us == RETRY_NEVER || (uint64_t)result->retry_after_us > left_us;
    if (!result->allowed && later) {
        result->retry_after_us = (int64_t)left_us;
    }
}
