#include <assert.h>

#include "router/core/state.h"

/* --- where an item goes --------------------------------------------------------------------- */

uint32_t link_of_hash(const struct router *router, uint64_t hash) {
    if (router->map == NULL) {
        return INDEX_NONE;
    }
    struct shard_id owner = map_owner(router->map, slot_of_hash(hash, router->map->slot_count));
    if (owner.index == SHARD_ID_NONE.index) {
        return INDEX_NONE;
    }
    uint16_t link = router->link_of_shard[owner.index];
    return link == UINT16_MAX ? INDEX_NONE : link;
}

void item_route(struct router *router, uint32_t index) {
    uint32_t link = link_of_hash(router, router->items[index].hash);
    if (line_holds(router, index)) {
        line_wait(router, index);
        return;
    }
    if (link == INDEX_NONE || !router->links[link].up) {
        item_park(router, index);
        item_move(router, index, ITEM_PARKED, link);
        router->refresh_map = true;
        return;
    }
    item_move(router, index, ITEM_READY, link);
    shard_link_mark_dirty(router, link);
}

/* Routes what is in the queue now; what is put back to its end meanwhile stays. */
static void queue_route(struct router *router, struct queue *queue) {
    for (uint32_t left = queue->count; left > 0; left--) {
        item_route(router, queue->first);
    }
}

/* --- links ---------------------------------------------------------------------------------- */

void shard_link_mark_dirty(struct router *router, uint32_t index) {
    struct shard_link *link = &router->links[index];
    if (!link->dirty) {
        link->dirty = true;
        link->dirty_next = router->dirty_first;
        router->dirty_first = index;
    }
}

static void link_order(struct router *router, enum router_link_order_kind kind, uint32_t index) {
    router->orders[router->order_count++] = (struct router_link_order){
        .kind = kind,
        .link = index,
        .endpoint = kind == ROUTER_LINK_CLOSE ? NULL : &router->links[index].endpoint};
}

/* What was on the link, and then what waited for it, goes elsewhere or waits for it to come back.
 */
static void link_lose(struct router *router, uint32_t index) {
    struct shard_link *link = &router->links[index];
    link->up = false;
    router->counters.links_lost++;
    router->refresh_map = true;
    batches_lose(router, index);
    queue_route(router, &link->takes);
    queue_route(router, &link->singles);
}

static void link_drop(struct router *router, uint32_t index) {
    struct shard_link *link = &router->links[index];
    assert(link->outstanding == 0 && link->takes.count == 0 && link->singles.count == 0 &&
           link->parked.count == 0);
    link->used = false;
    link->up = false;
    link_order(router, ROUTER_LINK_CLOSE, index);
}

void shard_link_settle(struct router *router, uint32_t index) {
    struct shard_link *link = &router->links[index];
    if (link->used && !link->wanted && link->outstanding == 0) {
        link_drop(router, index);
    }
}

void shard_link_report(struct router *router, uint32_t index, bool up) {
    assert(index < router->options.links_max);
    struct shard_link *link = &router->links[index];
    if (!link->used || link->up == up) {
        return;
    }
    if (up) {
        link->up = true;
        link->doubted = false;
        queue_route(router, &link->parked);
        return;
    }
    link_lose(router, index);
    shard_link_settle(router, index);
}

void links_check_silence(struct router *router) {
    if (router->now_ns < router->silence_check_ns) {
        return;
    }
    router->silence_check_ns = router->now_ns + SILENCE_CHECK_NS;
    for (uint32_t i = 0; i < router->options.links_max; i++) {
        struct shard_link *link = &router->links[i];
        if (link->outstanding == 0 ||
            router->now_ns - router->batches[link->oldest].sent_ns < BATCH_ANSWER_NS) {
            continue;
        }
        router->counters.links_silent++;
        link_lose(router, i);
        if (link->wanted) {
            link_order(router, ROUTER_LINK_RESET, i);
        } else {
            link_drop(router, i);
        }
    }
}

/* --- the view ------------------------------------------------------------------------------- */

static uint32_t link_find(const struct router *router, const struct endpoint_name *endpoint) {
    for (uint32_t i = 0; i < router->options.links_max; i++) {
        const struct shard_link *link = &router->links[i];
        if (link->used &&
            bytes_equal(endpoint_name_bytes(&link->endpoint), endpoint_name_bytes(endpoint))) {
            return i;
        }
    }
    return INDEX_NONE;
}

/* A place for one more link: a free one, else that of a link which finishes what the map before
 * this one gave it. There are as many places as shards of any map. */
static uint32_t link_place(struct router *router) {
    uint32_t unwanted = INDEX_NONE;
    for (uint32_t i = 0; i < router->options.links_max; i++) {
        if (!router->links[i].used) {
            return i;
        }
        if (!router->links[i].wanted) {
            unwanted = i;
        }
    }
    assert(unwanted != INDEX_NONE);
    link_lose(router, unwanted);
    link_drop(router, unwanted);
    return unwanted;
}

static void link_add(struct router *router, uint32_t index, const struct endpoint_name *endpoint) {
    struct shard_link *link = &router->links[index];
    bool dirty = link->dirty; /* left from the link that had this place: keeps the list whole */
    uint32_t dirty_next = link->dirty_next;
    *link = (struct shard_link){.used = true,
                                .wanted = true,
                                .dirty = dirty,
                                .dirty_next = dirty_next,
                                .oldest = INDEX_NONE,
                                .newest = INDEX_NONE,
                                .endpoint = *endpoint};
    item_queue_init(&link->takes);
    item_queue_init(&link->singles);
    item_queue_init(&link->parked);
    link_order(router, ROUTER_LINK_OPEN, index);
}

/* Items go by the new map from here on, but not before every shard has its link: all that was not
 * sent is parked meanwhile. What waited before it was released waits again, in its old place. */
static void links_park_all(struct router *router) {
    for (uint32_t i = 0; i < router->options.links_max; i++) {
        struct queue *queues[] = {&router->links[i].takes, &router->links[i].singles,
                                  &router->links[i].parked};
        for (uint32_t j = 0; router->links[i].used && j < 3; j++) {
            while (queues[j]->count > 0) {
                item_move(router, queues[j]->first, ITEM_PARKED, INDEX_NONE);
            }
        }
    }
    for (uint32_t index = router->parked.first; index != INDEX_NONE;) {
        uint32_t next = router->items[index].next;
        line_return(router, index);
        index = next;
    }
}

/* Keeps the links of shards that own a slot, opens those that are missing. */
static void links_follow_map(struct router *router) {
    const struct map *map = router->map;
    bool owns[SHARDS_MAX] = {false};
    for (uint32_t i = 0; i < map->slot_count; i++) {
        if (map->owner[i] != UINT16_MAX) {
            owns[map->owner[i]] = true;
        }
    }
    for (uint32_t i = 0; i < router->options.links_max; i++) {
        router->links[i].wanted = false;
    }
    for (uint32_t i = 0; i < map->shard_count; i++) {
        uint32_t link = owns[i] ? link_find(router, &map->shards[i].endpoint) : INDEX_NONE;
        router->link_of_shard[i] = link == INDEX_NONE ? UINT16_MAX : (uint16_t)link;
        if (link != INDEX_NONE) {
            router->links[link].wanted = true;
        }
    }
    for (uint32_t i = 0; i < map->shard_count; i++) {
        if (!owns[i] || router->link_of_shard[i] != UINT16_MAX) {
            continue;
        }
        uint32_t link = link_find(router, &map->shards[i].endpoint);
        if (link == INDEX_NONE) {
            link = link_place(router);
            link_add(router, link, &map->shards[i].endpoint);
        }
        router->link_of_shard[i] = (uint16_t)link;
    }
}

void view_adopt(struct router *router, const struct map *map, const struct plan_set *plans) {
    assert(plans != NULL);
    struct fault fault;
    if (router->map != NULL && map != NULL && map_check_same(router->map, map, &fault) != CODE_OK) {
        router->counters.views_refused++;
        return;
    }
    if (router->plans == NULL || plans->version > router->plans->version) {
        router->plans = plans;
        router->counters.views++;
        fallback_follow_plans(router);
    }
    uint64_t known = router->map == NULL ? 0 : router->map->epoch.number;
    router->counters.views_old += map != NULL && map->epoch.number > 0 && map->epoch.number < known;
    if (map == NULL || map->epoch.number <= known) {
        return;
    }
    router->map = map;
    router->unowned_doubted = false;
    router->counters.views++;
    links_park_all(router);
    links_follow_map(router);
    for (uint32_t i = 0; i < router->options.links_max; i++) {
        shard_link_settle(router, i);
    }
    queue_route(router, &router->parked);
    lines_follow_map(router);
}
