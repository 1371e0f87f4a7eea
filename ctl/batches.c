#include "ctl/batches.h"

#include <assert.h>
#include <stdlib.h>

static uint32_t source(const struct map *map, const struct placement_move *move) {
    assert(move->from.index < map->shard_count);
    return map->shards[move->from.index].node;
}

static int order(uint32_t a, uint32_t b) {
    return (a > b) - (a < b);
}

static int move_order(const void *left, const void *right, void *ctx) {
    const struct placement_move *a = left, *b = right;
    const struct map *map = ctx;
    int by = order(source(map, a), source(map, b));
    by = by != 0 ? by : order(a->to.index, b->to.index);
    return by != 0 ? by : order(a->slot.index, b->slot.index);
}

void moves_sort(const struct map *map, struct placement_move *moves, uint32_t count) {
    qsort_r(moves, count, sizeof *moves, move_order, (void *)map);
}

uint32_t moves_alike(const struct map *map, const struct placement_move *moves, uint32_t count,
                     uint32_t first) {
    uint32_t end = first;
    while (end < count && moves[end].to.index == moves[first].to.index &&
           source(map, &moves[end]) == source(map, &moves[first])) {
        end++;
    }
    return end - first;
}

static int batch_order(const void *left, const void *right) {
    const struct batch *a = left, *b = right;
    int by = order(a->turn, b->turn);
    return by != 0 ? by : order(a->node, b->node);
}

uint32_t batches_make(const struct map *map, const struct placement_move *moves, uint32_t count,
                      uint32_t most, struct batch *batches) {
    assert(most >= 1 && most <= BATCH_SLOTS_MAX);
    uint32_t batch_count = 0, turn = 0;
    for (uint32_t at = 0; at < count;) {
        uint32_t node = source(map, &moves[at]), alike = moves_alike(map, moves, count, at);
        if (batch_count > 0 && batches[batch_count - 1].node != node) {
            turn = 0;
        }
        batches[batch_count++] = (struct batch){.node = node,
                                                .to = moves[at].to,
                                                .first = at,
                                                .count = alike < most ? alike : most,
                                                .turn = turn++};
        at += batches[batch_count - 1].count;
    }
    qsort(batches, batch_count, sizeof *batches, batch_order);
    return batch_count;
}
