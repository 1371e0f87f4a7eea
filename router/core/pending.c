#include <assert.h>

#include "router/core/state.h"

/* --- queues ------------------------------------------------------------------------------- */

void item_queue_init(struct queue *queue) {
    *queue = (struct queue){.first = INDEX_NONE, .last = INDEX_NONE};
}

static void queue_append(struct router *router, struct queue *queue, uint32_t index) {
    struct item *item = &router->items[index];
    item->next = INDEX_NONE;
    item->previous = queue->last;
    if (queue->last != INDEX_NONE) {
        router->items[queue->last].next = index;
    } else {
        queue->first = index;
    }
    queue->last = index;
    queue->count++;
}

/* Into the middle of a queue; `before` INDEX_NONE: first of all. */
static void queue_insert(struct router *router, struct queue *queue, uint32_t index,
                         uint32_t before) {
    struct item *item = &router->items[index];
    if (before == queue->last) {
        queue_append(router, queue, index);
        return;
    }
    uint32_t after = before == INDEX_NONE ? queue->first : router->items[before].next;
    item->previous = before;
    item->next = after;
    router->items[after].previous = index;
    if (before == INDEX_NONE) {
        queue->first = index;
    } else {
        router->items[before].next = index;
    }
    queue->count++;
}

static void queue_remove(struct router *router, struct queue *queue, uint32_t index) {
    struct item *item = &router->items[index];
    assert(queue->count > 0);
    if (item->previous != INDEX_NONE) {
        router->items[item->previous].next = item->next;
    } else {
        assert(queue->first == index);
        queue->first = item->next;
    }
    if (item->next != INDEX_NONE) {
        router->items[item->next].previous = item->previous;
    } else {
        assert(queue->last == index);
        queue->last = item->previous;
    }
    queue->count--;
}

/* --- an item's states ----------------------------------------------------------------------- */

#define MOVE(to) (1u << ITEM_##to)

/* The picture above enum item_state, as a table. PARKED and READY also move to themselves: another
 * link. */
static const uint8_t allowed_moves[] = {
    [ITEM_FREE] = MOVE(PARKED) | MOVE(READY) | MOVE(BACKOFF),
    [ITEM_PARKED] = MOVE(PARKED) | MOVE(READY) | MOVE(BACKOFF) | MOVE(ASKED) | MOVE(DONE),
    [ITEM_READY] =
        MOVE(PARKED) | MOVE(READY) | MOVE(SENT) | MOVE(BACKOFF) | MOVE(ASKED) | MOVE(DONE),
    [ITEM_SENT] = MOVE(PARKED) | MOVE(READY) | MOVE(BACKOFF) | MOVE(ASKED) | MOVE(DONE),
    [ITEM_BACKOFF] = MOVE(PARKED) | MOVE(READY) | MOVE(ASKED) | MOVE(DONE),
    [ITEM_ASKED] = MOVE(DONE),
    [ITEM_DONE] = MOVE(FREE),
};

/* The queue that the item is in by its state; NULL: in none. */
static struct queue *queue_of(struct router *router, const struct item *item) {
    switch (item->state) {
    case ITEM_PARKED:
        return item->link == INDEX_NONE ? &router->parked : &router->links[item->link].parked;
    case ITEM_READY:
        return item->verb == VERB_TAKE ? &router->links[item->link].takes
                                       : &router->links[item->link].singles;
    case ITEM_SENT:
        return &router->batches[item->batch].items;
    case ITEM_BACKOFF:
        return line_queue(router, item);
    case ITEM_FREE:
    case ITEM_ASKED:
    case ITEM_DONE:
        break;
    }
    return NULL;
}

/* While an item waits in its line its timer may say when to try again, else when to give up. */
static void timer_follow(struct router *router, uint32_t index, enum item_state before) {
    const struct item *item = &router->items[index];
    if (item->state == ITEM_DONE) {
        wheel_clear(&router->wheel, index);
    } else if (item->state == ITEM_BACKOFF) {
        wheel_set(&router->wheel, index, line_wake_ns(router, index));
    } else if (before == ITEM_FREE || before == ITEM_BACKOFF || item->state == ITEM_ASKED) {
        wheel_set(&router->wheel, index, item_due_ns(item));
    }
}

static bool waits(enum item_state state) {
    return state == ITEM_PARKED || state == ITEM_BACKOFF;
}

void item_move(struct router *router, uint32_t index, enum item_state state, uint32_t place) {
    struct item *item = &router->items[index];
    enum item_state before = item->state;
    assert((allowed_moves[before] & (1u << state)) != 0);
    struct queue *left = queue_of(router, item);
    if (left != NULL) {
        queue_remove(router, left, index);
    }
    item->state = state;
    if (state == ITEM_PARKED || state == ITEM_READY) {
        item->link = place;
    } else if (state == ITEM_SENT) {
        item->batch = place;
    }
    struct queue *entered = queue_of(router, item);
    if (entered != NULL && state == ITEM_BACKOFF) {
        queue_insert(router, entered, index, line_place(router, index));
    } else if (entered != NULL) {
        queue_append(router, entered, index);
    }
    router->counters.pending_parked -= waits(before);
    router->counters.pending_parked += waits(state);
    if (state != ITEM_FREE) {
        timer_follow(router, index, before);
    }
    if (before == ITEM_BACKOFF || state == ITEM_BACKOFF) {
        line_changed(router, index);
    }
}

void item_park(struct router *router, uint32_t index) {
    struct item *item = &router->items[index];
    if (item->parked_at_ns == 0) {
        item->parked_at_ns = router->now_ns > 0 ? router->now_ns : 1;
        router->counters.parked++;
    }
}

/* --- pools ---------------------------------------------------------------------------------- */

static uint32_t item_take(struct router *router) {
    uint32_t index = router->item_free;
    if (index != INDEX_NONE) {
        router->item_free = router->items[index].next;
    } else {
        index = router->item_fresh++;
    }
    assert(index < router->options.items_max);
    assert(router->items[index].state == ITEM_FREE);
    router->counters.pending_items++;
    return index;
}

static void item_give(struct router *router, uint32_t index) {
    item_move(router, index, ITEM_FREE, INDEX_NONE);
    router->items[index].next = router->item_free;
    router->item_free = index;
    router->counters.pending_items--;
}

static uint32_t job_take(struct router *router) {
    uint32_t index = router->job_free;
    if (index != INDEX_NONE) {
        router->job_free = router->jobs[index].next;
    } else {
        index = router->job_fresh++;
    }
    /* Every job has an item, so there are never more of them. */
    assert(index < router->options.items_max);
    router->counters.pending_requests++;
    return index;
}

void jobs_reclaim(struct router *router) {
    while (router->answered_jobs != INDEX_NONE) {
        uint32_t index = router->answered_jobs;
        struct job *job = &router->jobs[index];
        for (uint32_t item = job->first_item; item != INDEX_NONE;) {
            uint32_t next = router->items[item].job_next;
            item_give(router, item);
            item = next;
        }
        router->answered_jobs = job->next;
        job->next = router->job_free;
        router->job_free = index;
    }
}

/* --- jobs ----------------------------------------------------------------------------------- */

static void item_fill(struct router *router, struct item *item, enum verb verb,
                      const struct take *take) {
    item->verb = verb;
    item->refused = item->ahead = false;
    item->parked_at_ns = 0;
    item->arrival = ++router->arrivals;
    item->refusal = CODE_OK;
    item->take = *take;
    memcpy(item->names, take->key.data, take->key.size);
    item->take.key.data = item->names;
    if (take->plan.kind == PLAN_CHOICE_NAMED) {
        uint8_t *name = item->names + take->key.size;
        memcpy(name, take->plan.name.data, take->plan.name.size);
        item->take.plan.name.data = name;
    }
    item->hash = key_hash(take->key);
    item->deadline_ns = router->now_ns + take->deadline_ms * WHEEL_STEP_NS;
    item->fall_at_ns = fallback_due_ns(router, item);
}

bool job_start(struct router *router, const struct router_event *event) {
    uint32_t count = event->request.count;
    if (count > router->options.items_max - router->counters.pending_items) {
        return false;
    }
    uint32_t job_index = job_take(router);
    struct job *job = &router->jobs[job_index];
    job->caller = *event->request.caller;
    job->msgid = event->request.msgid;
    job->many = event->request.many;
    job->count = count;
    job->open = count;
    uint32_t *link = &job->first_item;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t index = item_take(router);
        struct item *item = &router->items[index];
        item_fill(router, item, event->request.verb, &event->request.takes[i]);
        item->job = job_index;
        *link = index;
        link = &item->job_next;
        item_route(router, index);
    }
    *link = INDEX_NONE;
    return true;
}

/* All its items are done: the last of them with `last`. Others have kept their result. */
static void job_answer(struct router *router, uint32_t index, const struct router_result *last) {
    struct job *job = &router->jobs[index];
    struct router_answer *answer = &router->answers[router->answer_count++];
    *answer = (struct router_answer){
        .caller = &job->caller,
        .msgid = job->msgid,
        .many = job->many,
        .results = &router->results[router->result_count],
        .count = job->count,
    };
    if (job->count == 1) {
        router->results[router->result_count++] = *last;
    } else {
        for (uint32_t i = job->first_item; i != INDEX_NONE; i = router->items[i].job_next) {
            router->results[router->result_count++] = router->items[i].result;
        }
    }
    job->next = router->answered_jobs;
    router->answered_jobs = index;
    router->counters.answers++;
    router->counters.pending_requests--;
}

void item_finish(struct router *router, uint32_t index, const struct take_result *take,
                 const char *text) {
    struct item *item = &router->items[index];
    item_move(router, index, ITEM_DONE, INDEX_NONE);
    if (item->parked_at_ns != 0) {
        histogram_add(&router->parked_us, (router->now_ns - item->parked_at_ns) / 1000);
    }
    line_leave(router, index);
    router->counters.errors += take->code != CODE_OK;
    struct router_result result = {.take = *take, .text = text};
    struct job *job = &router->jobs[item->job];
    assert(job->open > 0);
    job->open--;
    if (job->count > 1) {
        item->result = result;
    }
    if (job->open == 0) {
        job_answer(router, item->job, &result);
    }
}

void item_fail(struct router *router, uint32_t index, enum reason reason) {
    struct take_result take = {.code = reason_code(reason), .reason = reason};
    item_finish(router, index, &take, reason_text(reason));
}

void answer_at_once(struct router *router, const struct router_event *event, enum reason refusal) {
    router->refused = *event->request.caller;
    router->answers[router->answer_count++] = (struct router_answer){
        .caller = &router->refused,
        .msgid = event->request.msgid,
        .many = event->request.many,
        .refusal = refusal,
    };
    router->counters.answers++;
    router->counters.errors += refusal != REASON_NONE;
}
