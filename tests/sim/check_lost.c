/* Strict grants that a store has lost, before who granted them could write them again. */
#include "tests/sim/check.h"
#include "tests/sim/parts.h"

void lost_grants(struct lost *lost, unsigned __int128 tokens) {
    /* A former owner grants no more than it had reserved: more is never made up for. */
    uint64_t within = tokens < lost->reserved_tokens ? (uint64_t)tokens : lost->reserved_tokens;
    lost->granted_tokens = greatest(lost->granted_tokens, within);
}

/* Who was the owner until the store was read, and could not write again (it is paused, or cut off),
 * goes on within the mark that it had. An owner before that one, whose mark the store still has,
 * goes on within it: the account counts besides what was lost, and so may be over by that. */
uint64_t lost_counted(struct lost *lost, const struct check_decision *decision) {
    if (!decision->zombie) {
        return decision->cost;
    }
    if (decision->process == lost->of) {
        bool within = decision->cost <= lost->reserved_tokens;
        lost->reserved_tokens -= within ? decision->cost : 0;
        return within ? 0 : decision->cost;
    }
    uint64_t lost_tokens = least(lost->granted_tokens, decision->cost);
    lost->granted_tokens -= lost_tokens;
    return decision->cost - lost_tokens;
}
