#include "router/core/router.h"

#include <assert.h>

#include "router/core/state.h"

/* --- memory --------------------------------------------------------------------------------- */

/* Hands out pieces of one block; with start NULL it only measures. */
struct block {
    uint8_t *start;
    size_t size;
};

static void *block_piece(struct block *block, size_t count, size_t each) {
    size_t at = block->size;
    block->size += (count * each + 63) & ~(size_t)63;
    return block->start == NULL ? NULL : block->start + at;
}

static struct router *block_lay_out(struct block *block, const struct router_options *options) {
    struct router measured, *router = block_piece(block, 1, sizeof *router);
    struct router *to = router == NULL ? &measured : router;
    size_t items = options->items_max, links = options->links_max;
    to->items = block_piece(block, items, sizeof *to->items);
    to->jobs = block_piece(block, items, sizeof *to->jobs);
    to->batches = block_piece(block, BATCHES_MAX, sizeof *to->batches);
    to->links = block_piece(block, links, sizeof *to->links);
    to->link_of_shard = block_piece(block, SHARDS_MAX, sizeof *to->link_of_shard);
    to->lines = block_piece(block, items, sizeof *to->lines);
    to->line_bucket_count = line_bucket_count(options->items_max);
    to->line_buckets = block_piece(block, to->line_bucket_count, sizeof *to->line_buckets);
    to->wheel.nodes = block_piece(block, items, sizeof *to->wheel.nodes);
    to->wheel.first = block_piece(block, WHEEL_STEPS, sizeof *to->wheel.first);
    to->wheel.filled = block_piece(block, WHEEL_STEPS / 64, sizeof *to->wheel.filled);
    /* A step answers every job that there is, or one request that never became a job. */
    to->answers = block_piece(block, items + 1, sizeof *to->answers);
    to->results = block_piece(block, items, sizeof *to->results);
    to->sends = block_piece(block, BATCHES_MAX, sizeof *to->sends);
    to->send_takes = block_piece(block, items, sizeof *to->send_takes);
    size_t calls = options->fallback ? FALLBACK_CALLS_MAX : 0;
    to->calls = block_piece(block, calls, sizeof *to->calls);
    to->call_sends = block_piece(block, calls, sizeof *to->call_sends);
    /* Of each link at most: reset or close, then open. */
    to->orders = block_piece(block, 2 * links, sizeof *to->orders);
    return router;
}

size_t router_size(const struct router_options *options) {
    struct block block = {0};
    block_lay_out(&block, options);
    return block.size;
}

struct router *router_init(void *memory, const struct router_options *options) {
    assert(options->items_max >= 1 && options->items_max <= PENDING_ITEMS_MAX);
    assert(options->links_max >= 1 && options->links_max <= SHARDS_MAX);
    assert(options->batches_per_link_max >= 1);
    struct block block = {.start = memory};
    struct router *router = block_lay_out(&block, options);
    router->options = *options;
    router->item_free = INDEX_NONE;
    router->job_free = INDEX_NONE;
    router->dirty_first = INDEX_NONE;
    router->line_free = INDEX_NONE;
    router->busy_first = INDEX_NONE;
    router->answered_jobs = INDEX_NONE;
    item_queue_init(&router->parked);
    for (uint32_t i = 0; i < options->links_max; i++) {
        router->links[i].oldest = INDEX_NONE;
        router->links[i].newest = INDEX_NONE;
    }
    batches_init(router);
    fallback_init(router);
    wheel_init(&router->wheel, router->wheel.nodes, router->wheel.first, router->wheel.filled);
    return router;
}

/* --- the step ------------------------------------------------------------------------------- */

static void request(struct router *router, const struct router_event *event) {
    uint32_t count = event->request.count;
    assert(count <= TAKES_PER_REQUEST_MAX && (event->request.many || count == 1));
    router->counters.requests++;
    switch (event->request.verb) {
    case VERB_TAKE:
        router->counters.takes += count;
        break;
    case VERB_PEEK:
        router->counters.peeks++;
        break;
    case VERB_REFUND:
        router->counters.refunds++;
        break;
    }
    if (count == 0) {
        answer_at_once(router, event, REASON_NONE);
    } else if (!job_start(router, event)) {
        router->counters.overloaded++;
        answer_at_once(router, event, REASON_QUEUE_FULL);
    }
}

static void turn(struct router *router) {
    deadlines_run(router);
    links_check_silence(router);
    batches_form(router);
}

static void stop(struct router *router) {
    for (uint32_t i = 0; i < router->item_fresh; i++) {
        if (router->items[i].state != ITEM_FREE && router->items[i].state != ITEM_DONE) {
            item_fail(router, i, REASON_STOPPING);
        }
    }
}

static void update_fill(struct router *router, struct router_update *update) {
    uint64_t wake_at_ns = wheel_next_ns(&router->wheel);
    if (router->counters.pending_batches > 0 && router->silence_check_ns < wake_at_ns) {
        wake_at_ns = router->silence_check_ns;
    }
    *update = (struct router_update){
        .link_orders = router->orders,
        .link_order_count = router->order_count,
        .batches = router->sends,
        .batch_count = router->send_count,
        .answers = router->answers,
        .answer_count = router->answer_count,
        .fallbacks = router->call_sends,
        .fallback_count = router->call_count,
        .refresh_map = router->refresh_map,
        .wake_at_ns = wake_at_ns,
    };
}

void router_step(struct router *router, const struct router_event *event,
                 struct router_update *update) {
    jobs_reclaim(router);
    router->answer_count = router->result_count = 0;
    router->send_count = router->send_take_count = router->order_count = 0;
    router->call_count = 0;
    router->refresh_map = false;
    if (event->now_ns > router->now_ns) {
        router->now_ns = event->now_ns;
    }
    switch (event->kind) {
    case ROUTER_EVENT_REQUEST:
        request(router, event);
        break;
    case ROUTER_EVENT_REPLY:
        batch_reply(router, event);
        break;
    case ROUTER_EVENT_LINK:
        shard_link_report(router, event->link.link, event->link.up);
        break;
    case ROUTER_EVENT_VIEW:
        view_adopt(router, event->view.map, event->view.plans);
        break;
    case ROUTER_EVENT_TURN:
        turn(router);
        break;
    case ROUTER_EVENT_FALLBACK:
        fallback_answered(router, event->fallback);
        break;
    case ROUTER_EVENT_STORE:
        router->fallback_ready = event->store_up && router->options.fallback;
        break;
    case ROUTER_EVENT_STOP:
        stop(router);
        break;
    }
    update_fill(router, update);
}

/* --- what can be asked of it ---------------------------------------------------------------- */

const struct router_counters *router_counters(const struct router *router) {
    return &router->counters;
}

const struct histogram *router_parked_us(const struct router *router) {
    return &router->parked_us;
}

const struct histogram *router_fallback_us(const struct router *router) {
    return &router->fallback_us;
}

const struct map *router_map(const struct router *router) {
    return router->map;
}

const struct plan_set *router_plans(const struct router *router) {
    return router->plans;
}

bool router_link_info(const struct router *router, uint32_t index, struct router_link_info *info) {
    if (index >= router->options.links_max || !router->links[index].used) {
        return false;
    }
    const struct shard_link *link = &router->links[index];
    *info = (struct router_link_info){
        .endpoint = &link->endpoint, .up = link->up, .outstanding = link->outstanding};
    return true;
}
