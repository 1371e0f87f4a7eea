#include "ctl/goal.h"

#include <stdio.h>

#include "ctl/batches.h"
#include "ctl/out.h"

/* A take in `loads`: so that slots at rest, 1 each, weigh next to nothing beside it. */
#define LOAD_OF_TAKE 1000

void goal_measure(struct goal *goal, struct cluster *cluster, uint64_t span_ms) {
    cluster_load_slots(cluster);
    memcpy(goal->loads, cluster->takes, sizeof goal->loads);
    time_sleep_ms(span_ms);
    cluster_load_slots(cluster);
    for (uint32_t i = 0; i < SLOTS_MAX; i++) {
        uint64_t before = goal->loads[i], after = cluster->takes[i];
        /* Less than before: it has another owner since, and is counted from there. */
        goal->loads[i] = (after >= before ? after - before : after) * LOAD_OF_TAKE + 1;
    }
}

static bool living_elsewhere(const struct cluster *cluster, int32_t node) {
    for (uint32_t i = 0; i < cluster->map.node_count; i++) {
        if ((int32_t)i != node && cluster->alive[i] && cluster->map.nodes[i].weight > 0) {
            return true;
        }
    }
    return false;
}

static bool drain_check(const struct goal *goal, const struct cluster *cluster) {
    int32_t node = cluster_find_node(cluster, bytes_of_text(goal->node));
    if (node >= 0 && !living_elsewhere(cluster, node)) {
        out_failure(cluster->settings,
                    "%s cannot be drained: it is the last node that is alive and takes slots, "
                    "nobody could own them",
                    goal->node);
        return false;
    }
    return node >= 0;
}

static bool move_check(const struct goal *goal, const struct cluster *cluster) {
    const struct map *map = &cluster->map;
    const struct shard_name *target = &goal->target;
    if (goal->range.last >= map->slot_count) {
        out_failure(cluster->settings, "slot %u: this cluster has slots 0 to %u", goal->range.last,
                    map->slot_count - 1);
        return false;
    }
    int32_t node = cluster_find_node(cluster, target->node);
    if (node < 0) {
        return false;
    }
    if (target->has_number &&
        map_find_shard(map, (uint32_t)node, target->number).index == UINT16_MAX) {
        out_failure(cluster->settings, "%s has no shard %u (`sluicectl map`)",
                    map->nodes[node].id.text, target->number);
        return false;
    }
    if (!cluster->alive[node]) {
        out_failure(cluster->settings, "%s is not alive: it cannot take slots over",
                    map->nodes[node].id.text);
        return false;
    }
    return true;
}

bool goal_check(const struct goal *goal, const struct cluster *cluster) {
    switch (goal->kind) {
    case GOAL_DRAIN:
        return drain_check(goal, cluster);
    case GOAL_MOVE:
        return move_check(goal, cluster);
    default:
        if (!living_elsewhere(cluster, -1)) {
            out_failure(cluster->settings, "no living node takes slots: all are drained or dead "
                                           "(`sluicectl node resume NODE`)");
            return false;
        }
        return true;
    }
}

bool goal_target_alive(const struct goal *goal, const struct cluster *cluster) {
    int32_t node =
        goal->kind == GOAL_MOVE ? map_find_node(&cluster->map, goal->target.node) : INT32_MAX;
    return node == INT32_MAX || (node >= 0 && cluster->alive[node]);
}

/* The wanted slots that are elsewhere, to the shard or to the target's shards in turn, the one
 * with the fewest slots first. */
static uint32_t move_plan(const struct goal *goal, const struct map *map,
                          struct placement_move *moves) {
    uint32_t owned[SHARDS_MAX], count = 0;
    int32_t node = map_find_node(map, goal->target.node);
    for (uint32_t i = 0; i < map->shard_count; i++) {
        owned[i] = map_slots_owned(map, (struct shard_id){.index = (uint16_t)i});
    }
    for (uint32_t slot = goal->range.first; slot <= goal->range.last && node >= 0; slot++) {
        uint16_t from = map->owner[slot];
        uint32_t best = UINT16_MAX;
        for (uint32_t i = 0; i < map->shard_count; i++) {
            bool fits = map->shards[i].node == node &&
                        (!goal->target.has_number || map->shards[i].number == goal->target.number);
            best = fits && (best == UINT16_MAX || owned[i] < owned[best]) ? i : best;
        }
        bool there = from < map->shard_count && map->shards[from].node == node &&
                     (!goal->target.has_number || from == best);
        if (best < map->shard_count && !there) {
            moves[count++] = (struct placement_move){.slot = {.index = (uint16_t)slot},
                                                     .from = {.index = from},
                                                     .to = {.index = (uint16_t)best}};
            owned[best]++;
        }
    }
    return count;
}

static bool wanted(const struct goal *goal, const struct map *map,
                   const struct placement_move *move) {
    return goal->kind != GOAL_DRAIN ||
           strcmp(map->nodes[map->shards[move->from.index].node].id.text, goal->node) == 0;
}

uint32_t goal_plan(const struct goal *goal, const struct cluster *cluster,
                   struct placement_move *moves, uint32_t *ownerless) {
    const struct map *map = &cluster->map;
    struct placement placement;
    uint32_t planned, count = 0;
    placement_init(&placement, map);
    for (uint32_t i = 0; i < map->node_count; i++) {
        bool drained = goal->kind == GOAL_DRAIN && strcmp(map->nodes[i].id.text, goal->node) == 0;
        placement.weights[i] = cluster->alive[i] && !drained ? placement.weights[i] : 0;
    }
    switch (goal->kind) {
    case GOAL_SLOTS:
        planned = placement_by_count(&placement, moves);
        break;
    case GOAL_LOAD:
        planned = placement_by_load(&placement, goal->loads, moves);
        break;
    case GOAL_DRAIN:
        planned = placement_evacuate(&placement, moves);
        break;
    default:
        planned = move_plan(goal, map, moves);
    }
    *ownerless = 0;
    for (uint32_t i = 0; i < planned; i++) {
        uint16_t from = moves[i].from.index;
        if (from >= map->shard_count || !cluster->alive[map->shards[from].node]) {
            (*ownerless)++;
        } else if (wanted(goal, map, &moves[i])) {
            moves[count++] = moves[i];
        }
    }
    moves_sort(map, moves, count);
    return count;
}

void goal_write(const struct goal *goal, char *out, size_t capacity) {
    switch (goal->kind) {
    case GOAL_SLOTS:
        snprintf(out, capacity, "slots");
        break;
    case GOAL_LOAD:
        snprintf(out, capacity, "load");
        break;
    case GOAL_DRAIN:
        snprintf(out, capacity, "drain %s", goal->node);
        break;
    case GOAL_MOVE:
        snprintf(out, capacity, "move %u-%u to %.*s", goal->range.first, goal->range.last,
                 (int)goal->target.node.size, (const char *)goal->target.node.data);
        break;
    }
}
