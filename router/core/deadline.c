#include <assert.h>

#include "router/core/state.h"

/* --- giving up ------------------------------------------------------------------------------ */

bool plan_of_choice(const struct plan_set *plans, const struct plan_choice *choice, int32_t *at) {
    *at = plans->default_at;
    if (choice->kind == PLAN_CHOICE_NAMED) {
        *at = plan_set_find(plans, choice->name);
        return *at >= 0 || plans->version == 0;
    }
    return true;
}

void item_degrade(struct router *router, uint32_t index, enum policy policy) {
    bool allowed = policy == POLICY_ALLOW;
    struct take_result take = {
        .allowed = allowed,
        .flags = TAKE_FLAG_DEGRADED,
        .retry_after_us = allowed ? 0 : DEGRADED_RETRY_AFTER_US,
    };
    router->counters.degraded_allow += allowed;
    router->counters.degraded_deny += !allowed;
    item_finish(router, index, &take, NULL);
}

/* What an error says: the shard's words if its last answer was that error, else our own. */
static void item_fail_as_told(struct router *router, uint32_t index, enum code code,
                              enum reason otherwise) {
    struct item *item = &router->items[index];
    assert(code != CODE_OK); /* whose item has no text */
    if (item->refusal != code || item->text[0] == '\0') {
        item_fail(router, index, otherwise);
        return;
    }
    struct take_result take = {.code = code};
    item_finish(router, index, &take, item->text);
}

static void item_expire(struct router *router, uint32_t index) {
    const struct item *item = &router->items[index];
    int32_t at;
    router->counters.timeouts++;
    fallback_doubt(router, index);
    /* An owner that says nothing, but keeps its links, may have been taken over since. */
    router->refresh_map = true;
    if (item->refusal == CODE_OVERLOADED) {
        item_fail_as_told(router, index, CODE_OVERLOADED, REASON_QUEUE_FULL);
    } else if (router->plans == NULL) {
        static const struct take_result unreached = {.code = CODE_UNAVAILABLE,
                                                     .reason = REASON_NO_MAP};
        item_finish(router, index, &unreached, "this router has not yet reached any node");
    } else if (router->map == NULL) {
        item_fail(router, index, REASON_NO_MAP);
    } else if (item->verb != VERB_TAKE) {
        item_fail_as_told(router, index, CODE_UNAVAILABLE, REASON_DEADLINE);
    } else if (!plan_of_choice(router->plans, &item->take.plan, &at)) {
        item_fail(router, index, REASON_PLAN_NOT_FOUND);
    } else {
        item_degrade(router, index, at < 0 ? POLICY_DENY : router->plans->plans[at].on_unavailable);
    }
}

/* --- timers --------------------------------------------------------------------------------- */

void deadlines_run(struct router *router) {
    uint32_t index;
    while ((index = wheel_pop(&router->wheel, router->now_ns)) != WHEEL_NONE) {
        struct item *item = &router->items[index];
        bool waits = item->state == ITEM_BACKOFF;
        if (router->now_ns >= item->deadline_ns) {
            item_expire(router, index);
        } else if (item->fall_at_ns != 0 && router->now_ns >= item->fall_at_ns &&
                   fallback_start(router, index)) {
            continue;
        } else if (!waits || !line_due(router, index)) {
            /* It was further away than the wheel is long when it was set, or it is no longer the
             * first of its line. */
            wheel_set(&router->wheel, index,
                      waits ? line_wake_ns(router, index) : item_due_ns(item));
        }
    }
}
