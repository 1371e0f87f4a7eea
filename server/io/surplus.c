#include "server/io/surplus.h"

#include <stdlib.h>

#include "proto/placement.h"

void surplus_init(struct surplus *surplus, const char *node_id, const struct log *log,
                  struct membership *membership, struct handover_shell *handover) {
    memset(surplus, 0, sizeof *surplus);
    surplus->log = *log;
    surplus->node_id = node_id;
    surplus->membership = membership;
    surplus->handover = handover;
}

void surplus_on_beat(struct surplus *surplus, const struct beat *beat) {
    memcpy(surplus->absent, beat->absent, beat->absent_count * sizeof beat->absent[0]);
    surplus->absent_count = beat->absent_count;
}

/* The weights of the map, but nothing for those who could not take it. */
static void weigh(const struct surplus *surplus, const struct map *map, int32_t self,
                  struct placement *placement) {
    placement_init(placement, map);
    for (uint32_t i = 0; i < surplus->absent_count; i++) {
        int32_t node = map_find_node(map, name_bytes(&surplus->absent[i]));
        if (node >= 0 && node != self) {
            placement->weights[node] = 0;
        }
    }
    if (surplus->draining) {
        memset(placement->keeps, true, sizeof placement->keeps);
        placement->keeps[self] = false;
        placement->weights[self] = 0;
    }
}

/* The first moves away from this node that share their target. */
static uint32_t batch_pick(const struct surplus *surplus, struct slot *slots,
                           struct shard_id *target) {
    const struct map *map = &membership_state(surplus->membership)->map;
    int32_t self = map_find_node(map, bytes_of_text(surplus->node_id));
    struct placement placement;
    uint32_t picked = 0;
    struct placement_move *moves =
        map->slot_count > 0 && self >= 0 ? malloc(map->slot_count * sizeof *moves) : NULL;
    if (moves == NULL) {
        return 0;
    }
    weigh(surplus, map, self, &placement);
    uint32_t count = surplus->draining ? placement_evacuate(&placement, moves)
                                       : placement_by_count(&placement, moves);
    for (uint32_t i = 0; i < count && picked < HANDOVER_SLOTS_MAX; i++) {
        uint16_t from = moves[i].from.index;
        if (from == UINT16_MAX || map->shards[from].node != self ||
            (picked > 0 && moves[i].to.index != target->index)) {
            continue;
        }
        *target = moves[i].to;
        slots[picked++] = moves[i].slot;
    }
    free(moves);
    return picked;
}

static void drained(struct surplus *surplus, bool empty) {
    void (*on_drained)(void *ctx, bool empty) = surplus->on_drained;
    surplus->on_drained = NULL;
    if (on_drained != NULL) {
        on_drained(surplus->ctx, empty);
    }
}

bool surplus_give_up(struct surplus *surplus) {
    bool under_way = surplus->on_drained != NULL;
    drained(surplus, false);
    return under_way;
}

static void on_handed_over(void *ctx, const struct fault *fault, uint64_t sealed_ns) {
    struct surplus *surplus = ctx;
    if (fault->code == CODE_OK) {
        surplus->failures = 0;
    } else {
        surplus->failures++;
        log_warn(&surplus->log, "a handover failed: %s", fault->text);
    }
    /* A drain goes on at once; a rebalance leaves the next batch to the next heartbeat. */
    if (surplus->on_drained != NULL && fault->code == CODE_OK) {
        surplus_step(surplus);
    }
}

void surplus_step(struct surplus *surplus) {
    struct slot slots[HANDOVER_SLOTS_MAX];
    struct shard_id target = SHARD_ID_NONE;
    struct fault fault;
    if (handover_shell_busy(surplus->handover)) {
        return;
    }
    if (surplus->draining && surplus->failures >= SURPLUS_FAILURES_MAX) {
        drained(surplus, false);
        return;
    }
    uint32_t count = batch_pick(surplus, slots, &target);
    if (count == 0) {
        const struct map *map = &membership_state(surplus->membership)->map;
        int32_t self = map_find_node(map, bytes_of_text(surplus->node_id));
        drained(surplus, map_slots_of_node(map, self) == 0);
        return;
    }
    if (handover_shell_start(surplus->handover, slots, count, target, on_handed_over, surplus,
                             &fault) != CODE_OK) {
        surplus->failures++;
    }
}

void surplus_drain(struct surplus *surplus, void (*on_drained)(void *ctx, bool empty), void *ctx) {
    surplus->draining = true;
    surplus->failures = 0;
    surplus->on_drained = on_drained;
    surplus->ctx = ctx;
    surplus_step(surplus);
}
