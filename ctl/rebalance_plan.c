#include "ctl/rebalance_plan.h"

#include <inttypes.h>

#include "ctl/batches.h"
#include "ctl/out.h"
#include "ctl/slot_argument.h"

/* Milliseconds that a batch takes, request and reply included, and microseconds more a bucket of
 * it: measured on one machine with Redis beside the nodes, on the cautious side. */
#define BATCH_MS 20
#define BUCKET_US 5

/* Rows of the table; the rest is in --json. */
#define ROWS_MAX 40

/* Bytes of the slots' column. */
#define RUNS_BYTES_MAX 64

static uint64_t buckets_of(const struct plan_view *view, uint32_t first, uint32_t count) {
    uint64_t sum = 0;
    for (uint32_t i = first; i < first + count; i++) {
        sum += view->cluster->buckets[view->moves[i].slot.index];
    }
    return sum;
}

uint64_t plan_view_buckets(const struct plan_view *view) {
    return buckets_of(view, 0, view->count);
}

static double expected_s(const struct plan_view *view) {
    const struct map *map = &view->cluster->map;
    uint64_t batches = 0;
    for (uint32_t at = 0; at < view->count;) {
        uint32_t alike = moves_alike(map, view->moves, view->count, at);
        batches += (alike + view->batch_slots - 1) / view->batch_slots;
        at += alike;
    }
    double made =
        (double)(batches * BATCH_MS) / 1e3 + (double)(plan_view_buckets(view) * BUCKET_US) / 1e6;
    double throttled =
        view->throttle_slots > 0 ? (double)view->count / (double)view->throttle_slots : 0;
    return made > throttled ? made : throttled;
}

static const char *source_id(const struct plan_view *view, uint32_t at) {
    const struct map *map = &view->cluster->map;
    return map->nodes[map->shards[view->moves[at].from.index].node].id.text;
}

static void row_add(const struct plan_view *view, struct table *table, uint32_t at,
                    uint32_t count) {
    const struct map *map = &view->cluster->map;
    const struct map_shard *target = &map->shards[view->moves[at].to.index];
    struct slot slots[SLOTS_MAX];
    char to[NAME_BYTES_MAX + 16], number[16], buckets[24], runs[RUNS_BYTES_MAX];
    for (uint32_t i = 0; i < count; i++) {
        slots[i] = view->moves[at + i].slot;
    }
    snprintf(to, sizeof to, "%s/%u", map->nodes[target->node].id.text, target->number);
    snprintf(number, sizeof number, "%u", count);
    snprintf(buckets, sizeof buckets, "%" PRIu64, buckets_of(view, at, count));
    slot_runs_write(slots, count, runs, sizeof runs);
    table_row(table, (const char *const[]){source_id(view, at), to, number, buckets, runs});
}

void plan_view_print(const struct plan_view *view) {
    const struct map *map = &view->cluster->map;
    uint32_t rows = 0, more = 0;
    struct table table;
    if (view->ownerless > 0) {
        printf("%u slots belong to no living node: the cluster gives them away itself\n",
               view->ownerless);
    }
    if (view->count == 0) {
        printf("nothing to move: map epoch %" PRIu64 "\n", map->epoch.number);
        return;
    }
    table_init(&table, 5);
    table_row(&table, (const char *const[]){"FROM", "TO", "SLOTS", "BUCKETS", "WHICH"});
    for (uint32_t at = 0; at < view->count;) {
        uint32_t alike = moves_alike(map, view->moves, view->count, at);
        if (rows++ < ROWS_MAX) {
            row_add(view, &table, at, alike);
        } else {
            more++;
        }
        at += alike;
    }
    table_print(&table, view->cluster->settings);
    if (more > 0) {
        printf("and %u rows more (--json shows all)\n", more);
    }
    printf("%u of %u slots, %" PRIu64 " buckets; expected time %.1f s\n", view->count,
           map->slot_count, plan_view_buckets(view), expected_s(view));
    fflush(stdout);
}

json_t *plan_view_json(const struct plan_view *view) {
    const struct map *map = &view->cluster->map;
    json_t *moves = json_array();
    for (uint32_t at = 0; at < view->count;) {
        uint32_t alike = moves_alike(map, view->moves, view->count, at);
        const struct map_shard *target = &map->shards[view->moves[at].to.index];
        json_t *slots = json_array();
        for (uint32_t i = at; i < at + alike; i++) {
            json_array_append_new(slots, json_integer(view->moves[i].slot.index));
        }
        json_array_append_new(
            moves, json_pack("{s:s, s:s, s:i, s:I, s:o}", "from", source_id(view, at), "to",
                             map->nodes[target->node].id.text, "shard", (int)target->number,
                             "buckets", (json_int_t)buckets_of(view, at, alike), "slots", slots));
        at += alike;
    }
    return json_pack("{s:i, s:I, s:f, s:i, s:o}", "slots", (int)view->count, "buckets",
                     (json_int_t)plan_view_buckets(view), "expected_s", expected_s(view),
                     "ownerless", (int)view->ownerless, "moves", moves);
}
