/* Items that leave for the store, when no owner answers them and their plan says so. */
#include <assert.h>

#include "router/core/state.h"

/* --- the pool ------------------------------------------------------------------------------- */

void fallback_init(struct router *router) {
    for (uint32_t i = 0; i < FALLBACK_CALLS_MAX && router->options.fallback; i++) {
        router->calls[i].index = i;
        router->calls[i].item = INDEX_NONE;
        router->calls[i].next = i + 1 < FALLBACK_CALLS_MAX ? i + 1 : INDEX_NONE;
    }
    router->call_free = router->options.fallback ? 0 : INDEX_NONE;
}

static void call_give(struct router *router, struct fallback_call *call) {
    call->item = INDEX_NONE;
    call->next = router->call_free;
    router->call_free = call->index;
    router->counters.pending_fallbacks--;
}

static void call_emit(struct router *router, struct fallback_call *call) {
    assert(router->call_count < FALLBACK_CALLS_MAX);
    call->rounds++;
    call->asked_ns = router->now_ns;
    call->key = router->items[call->item].take.key;
    router->call_sends[router->call_count++] = call;
    router->counters.fallback_asked++;
}

/* --- when ----------------------------------------------------------------------------------- */

void fallback_follow_plans(struct router *router) {
    router->fallback_on = false;
    for (uint32_t i = 0; i < router->plans->plan_count && router->options.fallback; i++) {
        router->fallback_on |= router->plans->plans[i].on_unavailable == POLICY_REDIS;
    }
}

/* Nothing was heard of the key's owner since an item had to do without it. */
static bool *doubt_of(struct router *router, uint64_t hash) {
    uint32_t link = link_of_hash(router, hash);
    return link == INDEX_NONE ? &router->unowned_doubted : &router->links[link].doubted;
}

void fallback_doubt(struct router *router, uint32_t index) {
    if (router->fallback_on) {
        *doubt_of(router, router->items[index].hash) = true;
    }
}

/* The plan that sends the item to the store; NULL: none does. A plan without limits was learned
 * from a node of an older version. */
static const struct plan *plan_for_store(const struct router *router, const struct item *item) {
    int32_t at;
    if (item->verb == VERB_REFUND || !plan_of_choice(router->plans, &item->take.plan, &at) ||
        at < 0) {
        return NULL;
    }
    const struct plan *plan = &router->plans->plans[at];
    bool decides = plan->on_unavailable == POLICY_REDIS;
    return decides && plan->generations[0].terms.limit_count > 0 ? plan : NULL;
}

uint64_t fallback_due_ns(struct router *router, const struct item *item) {
    if (!router->fallback_on || plan_for_store(router, item) == NULL) {
        return 0;
    }
    uint64_t patience_ns = item->deadline_ns - router->now_ns;
    uint64_t reserve_ns = patience_ns / FALLBACK_RESERVE_PART;
    reserve_ns = reserve_ns < FALLBACK_RESERVE_MOST_NS ? reserve_ns : FALLBACK_RESERVE_MOST_NS;
    uint64_t wait_ns = patience_ns - reserve_ns;
    if (*doubt_of(router, item->hash)) {
        wait_ns = wait_ns < FALLBACK_DOUBT_NS ? wait_ns : FALLBACK_DOUBT_NS;
    } else if (wait_ns < FALLBACK_PATIENCE_NS) {
        return 0;
    }
    return router->now_ns + wait_ns;
}

/* --- asking --------------------------------------------------------------------------------- */

static void terms_fill(struct fallback_call *call, const struct item *item,
                       const struct plan *plan) {
    call->by_default = item->take.plan.kind == PLAN_CHOICE_DEFAULT;
    if (item->take.plan.kind == PLAN_CHOICE_INLINE) {
        fallback_call_inline(call, &item->take.plan.limit);
    } else {
        fallback_call_plan(call, plan);
    }
    fallback_call_cost(call, item->verb, item->take.cost_tokens);
}

/* An owner that is there and says that it cannot decide now is not to be fenced while it takes its
 * slot back: routers and it would never come to an end. What it said may have been to an item that
 * this one waits behind. */
static bool owner_has_spoken(struct router *router, const struct item *item) {
    uint32_t link = link_of_hash(router, item->hash);
    const struct item *first = item;
    if (item->state == ITEM_BACKOFF) {
        first = &router->items[line_queue(router, item)->first];
    }
    return link != INDEX_NONE && router->links[link].up &&
           (item->refusal != CODE_OK || first->refusal != CODE_OK);
}

bool fallback_start(struct router *router, uint32_t index) {
    struct item *item = &router->items[index];
    item->fall_at_ns = 0;
    const struct plan *plan = plan_for_store(router, item);
    if (router->map == NULL || plan == NULL || owner_has_spoken(router, item)) {
        return false;
    }
    fallback_doubt(router, index);
    router->refresh_map = true;
    if (!router->fallback_ready || router->call_free == INDEX_NONE) {
        router->counters.fallback_unready += !router->fallback_ready;
        router->counters.fallback_full += router->fallback_ready;
        return false;
    }
    struct fallback_call *call = &router->calls[router->call_free];
    router->call_free = call->next;
    router->counters.pending_fallbacks++;
    router->counters.fallback_takes++;
    item_park(router, index);
    item_move(router, index, ITEM_ASKED, INDEX_NONE);
    line_leave(router, index);
    call->item = index;
    call->arrival = item->arrival;
    call->rounds = 0;
    call->slot = slot_of_hash(item->hash, router->map->slot_count);
    call->assigned = (struct name){0};
    terms_fill(call, item, plan);
    call_emit(router, call);
    return true;
}

/* --- answers -------------------------------------------------------------------------------- */

/* Nobody has decided it. */
static void item_undecided(struct router *router, uint32_t index) {
    router->counters.fallback_failed++;
    if (router->items[index].verb == VERB_TAKE) {
        item_degrade(router, index, POLICY_REDIS);
    } else {
        item_fail(router, index, REASON_STORE_AWAY);
    }
}

/* The key has a plan of its own, or no longer one: that one's policy goes. */
static bool plan_changed(struct router *router, struct fallback_call *call,
                         const struct fallback_answer *answer) {
    uint32_t index = call->item;
    const struct item *item = &router->items[index];
    bool valid = answer->assigned.size == 0 || name_valid(answer->assigned);
    int32_t at = router->plans->default_at;
    if (valid && answer->assigned.size > 0) {
        at = plan_set_find(router->plans, answer->assigned);
    }
    if (!valid || at < 0) {
        item_fail(router, index,
                  answer->assigned.size == 0 ? REASON_NO_DEFAULT_PLAN : REASON_ASSIGNED_PLAN_GONE);
        return false;
    }
    const struct plan *plan = &router->plans->plans[at];
    enum policy policy = plan->on_unavailable;
    if (plan->generations[0].terms.limit_count == 0) {
        item_undecided(router, index); /* a node of an older version told of it */
        return false;
    }
    if (policy != POLICY_REDIS && item->verb == VERB_TAKE) {
        item_degrade(router, index, policy);
        return false;
    }
    if (policy != POLICY_REDIS) {
        item_fail(router, index, REASON_DEADLINE);
        return false;
    }
    call->assigned = answer->assigned.size == 0 ? (struct name){0} : name_of(answer->assigned);
    terms_fill(call, item, plan);
    return true;
}

static bool terms_changed(struct router *router, struct fallback_call *call,
                          const struct fallback_answer *answer) {
    enum reason reason = fallback_call_convert(call, router->plans, answer->record, answer->now_ns);
    if (reason == REASON_RECORD_UNREADABLE || reason == REASON_RECORD_NEWER) {
        item_fail(router, call->item, reason);
    } else if (reason != REASON_NONE) {
        item_undecided(router, call->item);
    }
    return reason == REASON_NONE;
}

static void decided(struct router *router, const struct fallback_call *call,
                    const struct fallback_answer *answer) {
    const struct item *item = &router->items[call->item];
    struct take_result result;
    if (!fallback_call_judge(call, answer, item->verb, item->take.cost_tokens, &result)) {
        router->counters.fallback_disagreed++;
        item_undecided(router, call->item);
        return;
    }
    router->counters.fallback_refused += !result.allowed;
    item_finish(router, call->item, &result, NULL);
}

/* True: the store is to be asked once more. */
static bool call_answered(struct router *router, struct fallback_call *call,
                          const struct fallback_answer *answer) {
    switch (answer->status) {
    case FALLBACK_GRANTED:
    case FALLBACK_REFUSED:
    case FALLBACK_LOOKED:
        decided(router, call, answer);
        return false;
    case FALLBACK_OTHER_PLAN:
    case FALLBACK_OTHER_TERMS:
        if (call->rounds < FALLBACK_ROUNDS_MAX && router->fallback_ready) {
            return answer->status == FALLBACK_OTHER_PLAN ? plan_changed(router, call, answer)
                                                         : terms_changed(router, call, answer);
        }
        break;
    case FALLBACK_WORN:
    case FALLBACK_FAILED:
        break;
    }
    item_undecided(router, call->item);
    return false;
}

void fallback_answered(struct router *router, const struct fallback_answer *answer) {
    assert(answer->call < FALLBACK_CALLS_MAX);
    struct fallback_call *call = &router->calls[answer->call];
    assert(call->item != INDEX_NONE);
    const struct item *item = &router->items[call->item];
    router->counters.fallback_writes += answer->status == FALLBACK_GRANTED;
    router->counters.fallback_reads +=
        answer->status != FALLBACK_GRANTED && answer->status != FALLBACK_FAILED;
    histogram_add(&router->fallback_us, (router->now_ns - call->asked_ns) / 1000);
    if (item->state != ITEM_ASKED || item->arrival != call->arrival) {
        router->counters.fallback_late++;
        call_give(router, call);
    } else if (call_answered(router, call, answer)) {
        call_emit(router, call);
    } else {
        call_give(router, call);
    }
}
