#include <assert.h>

#include "router/core/state.h"

/* --- which there are ------------------------------------------------------------------------ */

uint32_t line_bucket_count(uint32_t items_max) {
    uint32_t count = 1;
    while (count < items_max) {
        count *= 2;
    }
    return count;
}

static uint32_t *bucket_of(const struct router *router, uint64_t hash) {
    return &router->line_buckets[hash & (router->line_bucket_count - 1)];
}

/* NULL: nothing of that key waits or is sent once more. */
static struct line *line_find(const struct router *router, uint64_t hash) {
    if (router->busy_first == INDEX_NONE) {
        return NULL; /* nearly always, and a bucket is memory that is in no cache */
    }
    uint32_t next = *bucket_of(router, hash);
    while (next != 0 && router->lines[next - 1].hash != hash) {
        next = router->lines[next - 1].chain;
    }
    return next == 0 ? NULL : &router->lines[next - 1];
}

/* Every line has an item, so there are never more of them. */
static struct line *line_create(struct router *router, uint64_t hash) {
    uint32_t at = router->line_free;
    if (at != INDEX_NONE) {
        router->line_free = router->lines[at].next;
    } else {
        at = router->line_fresh++;
    }
    assert(at < router->options.items_max);
    uint32_t *bucket = bucket_of(router, hash);
    struct line *line = &router->lines[at];
    *line = (struct line){.hash = hash,
                          .turn = ++router->line_turns,
                          .chain = *bucket,
                          .placed = INDEX_NONE,
                          .next = router->busy_first,
                          .previous = INDEX_NONE};
    item_queue_init(&line->waiting);
    if (line->next != INDEX_NONE) {
        router->lines[line->next].previous = at;
    }
    router->busy_first = at;
    *bucket = at + 1;
    return line;
}

static void line_destroy(struct router *router, struct line *line) {
    uint32_t at = (uint32_t)(line - router->lines), *link = bucket_of(router, line->hash);
    while (*link != at + 1) {
        link = &router->lines[*link - 1].chain;
    }
    *link = line->chain;
    if (line->next != INDEX_NONE) {
        router->lines[line->next].previous = line->previous;
    }
    if (line->previous != INDEX_NONE) {
        router->lines[line->previous].next = line->next;
    } else {
        router->busy_first = line->next;
    }
    line->next = router->line_free;
    router->line_free = at;
}

static bool is_ahead(const struct line *line, const struct item *item) {
    return line != NULL && item->ahead && item->turn == line->turn;
}

/* The line's first item has the timer that releases it. A line that has come to its end is given
 * back. */
static void line_follow(struct router *router, struct line *line) {
    if (line->waiting.count > 0) {
        uint32_t first = line->waiting.first;
        wheel_set(&router->wheel, first, line_wake_ns(router, first));
    } else if (line->ahead == 0) {
        line_destroy(router, line);
    }
}

/* --- an item's place ------------------------------------------------------------------------ */

struct queue *line_queue(const struct router *router, const struct item *item) {
    struct line *line = line_find(router, item->hash);
    assert(line != NULL);
    return &line->waiting;
}

static bool came_before(const struct router *router, uint32_t index, uint32_t other) {
    return router->items[index].arrival < router->items[other].arrival;
}

/* The items of one refused batch come here in their order, and belong in front of what has come
 * since: each next to the one before it. */
uint32_t line_place(struct router *router, uint32_t index) {
    struct line *line = line_find(router, router->items[index].hash);
    const struct queue *queue = &line->waiting;
    uint32_t placed = line->placed, before = queue->last;
    line->placed = index;
    if (queue->count == 0 || came_before(router, before, index)) {
        return before;
    }
    if (came_before(router, index, queue->first)) {
        return INDEX_NONE;
    }
    bool near = placed != INDEX_NONE && router->items[placed].state == ITEM_BACKOFF &&
                router->items[placed].hash == line->hash && came_before(router, placed, index);
    before = near ? placed : queue->first;
    while (came_before(router, router->items[before].next, index)) {
        before = router->items[before].next;
    }
    return before;
}

bool line_holds(const struct router *router, uint32_t index) {
    const struct line *line = line_find(router, router->items[index].hash);
    if (is_ahead(line, &router->items[index])) {
        /* One that came before may have been refused since this one was released. */
        return line->waiting.count > 0 && came_before(router, line->waiting.first, index);
    }
    return line != NULL;
}

/* --- waiting -------------------------------------------------------------------------------- */

static void wait_in(struct router *router, struct line *line, uint32_t index) {
    line->ahead -= is_ahead(line, &router->items[index]);
    router->items[index].ahead = false;
    item_park(router, index);
    item_move(router, index, ITEM_BACKOFF, INDEX_NONE);
}

void line_wait(struct router *router, uint32_t index) {
    wait_in(router, line_find(router, router->items[index].hash), index);
}

static uint64_t back_off_ns(uint32_t attempts) {
    uint64_t wait_ns = RETRY_FIRST_NS;
    for (uint32_t i = 0; i < attempts && wait_ns < RETRY_LAST_NS; i++) {
        wait_ns *= 2;
    }
    return wait_ns < RETRY_LAST_NS ? wait_ns : RETRY_LAST_NS;
}

void line_refuse(struct router *router, uint32_t index, enum code refusal) {
    struct item *item = &router->items[index];
    struct line *line = line_find(router, item->hash);
    if (line == NULL) {
        line = line_create(router, item->hash);
    }
    if (!line->refused) {
        line->refused = true;
        line->retry_at_ns = router->now_ns + back_off_ns(line->attempts++);
    }
    if (refusal == CODE_OVERLOADED && line->retry_at_ns < router->now_ns + RETRY_OVERLOADED_NS) {
        line->retry_at_ns = router->now_ns + RETRY_OVERLOADED_NS;
    }
    line->link = item->link;
    item->refused = true;
    item->refusal = refusal;
    wait_in(router, line, index);
}

void line_return(struct router *router, uint32_t index) {
    struct line *line = line_find(router, router->items[index].hash);
    if (is_ahead(line, &router->items[index])) {
        wait_in(router, line, index);
    }
}

uint64_t line_wake_ns(const struct router *router, uint32_t index) {
    const struct item *item = &router->items[index];
    const struct line *line = line_find(router, item->hash);
    bool leads = line->waiting.first == index && line->ahead == 0;
    uint64_t due_ns = item_due_ns(item);
    return leads && line->retry_at_ns < due_ns ? line->retry_at_ns : due_ns;
}

void line_changed(struct router *router, uint32_t index) {
    line_follow(router, line_find(router, router->items[index].hash));
}

/* --- going on ------------------------------------------------------------------------------- */

static void ahead_set(struct line *line, struct item *item) {
    item->ahead = true;
    item->turn = line->turn;
    line->ahead++;
}

static void line_release(struct router *router, struct line *line) {
    line->refused = false;
    line->link = link_of_hash(router, line->hash);
    for (uint32_t left = line->waiting.count; left > 0; left--) {
        uint32_t index = line->waiting.first;
        struct item *item = &router->items[index];
        router->counters.retries += item->refused;
        ahead_set(line, item);
        item_route(router, index);
    }
}

void line_pass(struct router *router, uint32_t index) {
    struct item *item = &router->items[index];
    if (line_find(router, item->hash) == NULL) {
        struct line *line = line_create(router, item->hash);
        line->link = link_of_hash(router, item->hash);
        ahead_set(line, item);
    }
    item_route(router, index);
}

bool line_due(struct router *router, uint32_t index) {
    struct line *line = line_find(router, router->items[index].hash);
    if (line->waiting.first != index || line->ahead > 0 || router->now_ns < line->retry_at_ns) {
        return false;
    }
    line_release(router, line);
    return true;
}

void line_leave(struct router *router, uint32_t index) {
    struct item *item = &router->items[index];
    struct line *line = line_find(router, item->hash);
    if (!is_ahead(line, item)) {
        return;
    }
    item->ahead = false;
    line->ahead--;
    if (line->ahead == 0 && line->waiting.count > 0 && !line->refused) {
        line->attempts = 0;
        line_release(router, line);
    }
    line_follow(router, line);
}

void lines_follow_map(struct router *router) {
    for (uint32_t at = router->busy_first; at != INDEX_NONE;) {
        struct line *line = &router->lines[at];
        uint32_t link = link_of_hash(router, line->hash);
        at = line->next;
        if (link != INDEX_NONE && link != line->link) {
            line->turn = ++router->line_turns;
            line->ahead = 0;
            line->attempts = 0;
            line_release(router, line);
            line_follow(router, line);
        } else if (line->ahead == 0 && !line->refused) {
            line_release(router, line); /* it had been, and was taken back: line_return */
        }
    }
}
