#include <assert.h>

#include "router/core/state.h"

_Static_assert((BATCHES_MAX & (BATCHES_MAX - 1)) == 0, "an id's low bits are the index");

/* The rest of an id's 31 bits. */
#define GENERATION_MASK ((UINT32_C(1) << 31) / BATCHES_MAX - 1)

/* --- the pool ------------------------------------------------------------------------------- */

void batches_init(struct router *router) {
    for (uint32_t i = 0; i < BATCHES_MAX; i++) {
        router->batches[i].next = i + 1 < BATCHES_MAX ? i + 1 : INDEX_NONE;
    }
    router->batch_first_free = 0;
    router->batch_last_free = BATCHES_MAX - 1;
}

static uint32_t batch_id(const struct router *router, uint32_t index) {
    return (router->batches[index].generation & GENERATION_MASK) * BATCHES_MAX + index;
}

/* Takes a batch and puts it last among the outstanding ones of its link. */
static uint32_t batch_take(struct router *router, uint32_t link_index) {
    uint32_t index = router->batch_first_free;
    assert(index != INDEX_NONE);
    struct batch *batch = &router->batches[index];
    router->batch_first_free = batch->next;
    if (batch->next == INDEX_NONE) {
        router->batch_last_free = INDEX_NONE;
    }
    struct shard_link *link = &router->links[link_index];
    *batch = (struct batch){.used = true,
                            .generation = batch->generation + 1,
                            .link = link_index,
                            .next = INDEX_NONE,
                            .previous = link->newest,
                            .sent_ns = router->now_ns};
    item_queue_init(&batch->items);
    if (link->newest != INDEX_NONE) {
        router->batches[link->newest].next = index;
    } else {
        link->oldest = index;
    }
    link->newest = index;
    link->outstanding++;
    router->counters.pending_batches++;
    return index;
}

static void batch_give(struct router *router, uint32_t index) {
    struct batch *batch = &router->batches[index];
    struct shard_link *link = &router->links[batch->link];
    assert(batch->used && batch->items.count == 0);
    if (batch->previous != INDEX_NONE) {
        router->batches[batch->previous].next = batch->next;
    } else {
        link->oldest = batch->next;
    }
    if (batch->next != INDEX_NONE) {
        router->batches[batch->next].previous = batch->previous;
    } else {
        link->newest = batch->previous;
    }
    link->outstanding--;
    router->counters.pending_batches--;
    batch->used = false;
    batch->next = INDEX_NONE;
    if (router->batch_last_free != INDEX_NONE) {
        router->batches[router->batch_last_free].next = index;
    } else {
        router->batch_first_free = index;
    }
    router->batch_last_free = index;
}

/* The outstanding batch of that id on that link, or INDEX_NONE. */
static uint32_t batch_find(const struct router *router, uint32_t link, uint32_t id) {
    uint32_t index = id % BATCHES_MAX;
    const struct batch *batch = &router->batches[index];
    return batch->used && batch->link == link && batch_id(router, index) == id ? index : INDEX_NONE;
}

/* --- sending -------------------------------------------------------------------------------- */

/* What would overtake others of its key goes behind them instead. True if an item is left. */
static bool queue_first(struct router *router, struct queue *queue) {
    while (queue->count > 0 && line_holds(router, queue->first)) {
        line_wait(router, queue->first);
    }
    return queue->count > 0;
}

/* Sends up to `most` items of a link's queue, which has one at least, as one request. */
static void batch_send(struct router *router, uint32_t link, struct queue *queue, uint32_t most) {
    uint32_t index = batch_take(router, link), count = 0;
    struct router_batch *send = &router->sends[router->send_count++];
    *send = (struct router_batch){.link = link,
                                  .id = batch_id(router, index),
                                  .verb = router->items[queue->first].verb,
                                  .many = router->items[queue->first].verb == VERB_TAKE,
                                  .takes = &router->send_takes[router->send_take_count]};
    while (count < most && queue_first(router, queue)) {
        uint32_t at = queue->first;
        struct item *item = &router->items[at];
        item->position = count++;
        item->refusal = CODE_OK;
        item_move(router, at, ITEM_SENT, index);
        router->send_takes[router->send_take_count++] = &item->take;
    }
    send->count = count;
    router->batches[index].count = count;
    router->counters.batches++;
    router->counters.batch_items += count;
}

static bool can_send(const struct router *router, const struct shard_link *link) {
    return link->outstanding < router->options.batches_per_link_max &&
           router->batch_first_free != INDEX_NONE;
}

/* Takes and singles alternate, so that neither can keep the other waiting. */
static void batches_form_of(struct router *router, uint32_t index) {
    struct shard_link *link = &router->links[index];
    while (link->takes.count + link->singles.count > 0 && can_send(router, link)) {
        if (queue_first(router, &link->takes)) {
            batch_send(router, index, &link->takes, TAKES_PER_REQUEST_MAX);
        }
        if (queue_first(router, &link->singles) && can_send(router, link)) {
            batch_send(router, index, &link->singles, 1);
        }
    }
}

void batches_form(struct router *router) {
    uint32_t index = router->dirty_first;
    router->dirty_first = INDEX_NONE;
    while (index != INDEX_NONE) {
        struct shard_link *link = &router->links[index];
        uint32_t next = link->dirty_next;
        link->dirty = false;
        if (link->used && link->up) {
            batches_form_of(router, index);
        }
        /* No batch was left for it: once more in the next turn. */
        if (link->used && link->takes.count + link->singles.count > 0 &&
            link->outstanding < router->options.batches_per_link_max) {
            shard_link_mark_dirty(router, index);
        }
        index = next;
    }
}

/* --- answers -------------------------------------------------------------------------------- */

/* Keeps a copy of the shard's words, cut to fit, and without the zeros that would end it early. */
static void text_keep(struct item *item, struct bytes text) {
    uint32_t size = text.size < sizeof item->text - 1 ? text.size : sizeof item->text - 1;
    for (uint32_t i = 0; i < size; i++) {
        item->text[i] = text.data[i] == '\0' ? ' ' : (char)text.data[i];
    }
    item->text[size] = '\0';
}

/* The shard is not the owner. If our map is newer and says who is, the item goes there at once;
 * else it waits for a map, or for the shard to learn what we know. */
static void item_moved(struct router *router, uint32_t index, const struct moved *moved) {
    const struct item *item = &router->items[index];
    router->counters.moved++;
    assert(router->map != NULL); /* it was sent by one, and none is ever taken away */
    if (moved->epoch.number == 0 || moved->epoch.number > router->map->epoch.number) {
        router->refresh_map = true;
    }
    uint32_t link = link_of_hash(router, item->hash);
    if (link != INDEX_NONE && link != item->link) {
        router->counters.retries++;
        line_pass(router, index);
        return;
    }
    line_refuse(router, index, CODE_MOVED);
}

static void item_answered(struct router *router, uint32_t index,
                          const struct router_verdict *verdict) {
    struct item *item = &router->items[index];
    enum code code = verdict->take.code;
    if (code == CODE_OK) {
        item_finish(router, index, &verdict->take, NULL);
        return;
    }
    text_keep(item, verdict->text);
    switch (code) {
    case CODE_MOVED:
        item_moved(router, index, &verdict->moved);
        break;
    case CODE_UNAVAILABLE:
        router->counters.shard_unavailable++;
        line_refuse(router, index, code);
        break;
    case CODE_OVERLOADED:
        router->counters.shard_overloaded++;
        line_refuse(router, index, code);
        break;
    default:
        item_finish(router, index, &verdict->take, item->text);
        break;
    }
}

/* The items are undecided, as far as anybody knows, but the shard is there. */
static void batch_retry(struct router *router, uint32_t index) {
    struct batch *batch = &router->batches[index];
    while (batch->items.count > 0) {
        line_refuse(router, batch->items.first, CODE_OK);
    }
}

void batch_reply(struct router *router, const struct router_event *event) {
    uint32_t index = batch_find(router, event->reply.link, event->reply.batch_id);
    if (index == INDEX_NONE) {
        router->counters.replies_late++;
        return;
    }
    struct batch *batch = &router->batches[index];
    enum router_outcome outcome = event->reply.outcome;
    router->links[event->reply.link].doubted = false;
    if ((outcome == ROUTER_OUTCOME_RESULTS && event->reply.count != batch->count) ||
        (outcome == ROUTER_OUTCOME_ERROR &&
         (event->reply.count != 1 || event->reply.verdicts[0].take.code == CODE_OK))) {
        outcome = ROUTER_OUTCOME_UNREADABLE;
    }
    router->counters.replies_bad += outcome == ROUTER_OUTCOME_UNREADABLE;
    router->counters.batches_unsent += outcome == ROUTER_OUTCOME_UNSENT;
    if (outcome == ROUTER_OUTCOME_UNREADABLE || outcome == ROUTER_OUTCOME_UNSENT) {
        batch_retry(router, index);
    }
    while (batch->items.count > 0) {
        uint32_t at = batch->items.first;
        uint32_t position = router->items[at].position;
        item_answered(router, at,
                      &event->reply.verdicts[outcome == ROUTER_OUTCOME_ERROR ? 0 : position]);
    }
    batch_give(router, index);
    shard_link_mark_dirty(router, event->reply.link);
    shard_link_settle(router, event->reply.link);
}

void batches_lose(struct router *router, uint32_t link_index) {
    struct shard_link *link = &router->links[link_index];
    while (link->oldest != INDEX_NONE) {
        uint32_t index = link->oldest;
        struct batch *batch = &router->batches[index];
        while (batch->items.count > 0) {
            router->counters.retries++;
            item_route(router, batch->items.first);
        }
        batch_give(router, index);
    }
}
