#include "server/core/handover.h"

#include <assert.h>

#define MOVE(to) (1u << (to))

static const struct {
    const char *name;
    uint32_t moves;
} states[] = {
    [HANDOVER_IDLE] = {"idle", MOVE(HANDOVER_REACHING)},
    [HANDOVER_REACHING] = {"reaching", MOVE(HANDOVER_SEALING) | MOVE(HANDOVER_IDLE)},
    [HANDOVER_SEALING] = {"sealing", MOVE(HANDOVER_CHANGING) | MOVE(HANDOVER_IDLE)},
    [HANDOVER_CHANGING] = {"changing", MOVE(HANDOVER_SETTLING)},
    [HANDOVER_SETTLING] = {"settling",
                           MOVE(HANDOVER_SEALING) | MOVE(HANDOVER_CHANGING) | MOVE(HANDOVER_IDLE)},
};

void handover_init(struct handover *handover, struct bytes self) {
    memset(handover, 0, sizeof *handover);
    handover->self = name_of(self);
}

const char *handover_state_name(enum handover_state state) {
    return states[state].name;
}

static void state_move(struct handover *handover, enum handover_state to) {
    assert((states[handover->state].moves & MOVE(to)) != 0);
    handover->state = to;
}

static void end(struct handover *handover, uint64_t now_ns, enum code code, const char *text,
                struct handover_update *update) {
    bool was_sealed = handover->state != HANDOVER_REACHING;
    state_move(handover, HANDOVER_IDLE);
    handover->deadline_ns = 0;
    update->unseal = was_sealed;
    update->reload = update->reload || (was_sealed && handover->passed);
    update->done = true;
    update->sealed_ns = was_sealed ? now_ns - handover->sealed_at_ns : 0;
    fault_set(&update->fault, code, "%s", text);
}

static struct shard_id target_in(const struct handover *handover, const struct map *map) {
    int32_t node = map_find_node(map, name_bytes(&handover->target_node));
    return node < 0 ? SHARD_ID_NONE : map_find_shard(map, (uint32_t)node, handover->target_number);
}

/* How many shards of this node own any of the slots. */
static uint32_t shards_concerned(const struct handover *handover, const struct map *map) {
    int32_t self = map_find_node(map, name_bytes(&handover->self));
    uint32_t concerned = 0;
    for (uint32_t shard = 0; shard < map->shard_count; shard++) {
        bool any = false;
        for (uint32_t i = 0; i < handover->slot_count && map->shards[shard].node == self; i++) {
            any = any || map->owner[handover->slots[i].index] == shard;
        }
        concerned += any;
    }
    return concerned;
}

static void seal(struct handover *handover, const struct handover_event *event,
                 struct handover_update *update) {
    if (handover->state == HANDOVER_REACHING) {
        handover->sealed_at_ns = event->now_ns;
    }
    state_move(handover, HANDOVER_SEALING);
    handover->turn++;
    handover->deadline_ns = event->now_ns + HANDOVER_SEAL_NS;
    handover->shards_outstanding = shards_concerned(handover, event->map);
    if (handover->shards_outstanding == 0) {
        end(handover, event->now_ns, CODE_CONFLICT,
            "the map changed: the slots are no longer this node's", update);
        return;
    }
    update->seal = true;
}

static void change(struct handover *handover, const struct handover_event *event, struct map *next,
                   struct handover_update *update) {
    const struct map *map = event->map;
    int32_t self = map_find_node(map, name_bytes(&handover->self));
    struct shard_id target = target_in(handover, map);
    if (target.index == UINT16_MAX) {
        end(handover, event->now_ns, CODE_CONFLICT, "the target is no longer in the map", update);
        return;
    }
    *next = *map;
    next->epoch.number++;
    for (uint32_t i = 0; i < handover->slot_count; i++) {
        uint16_t owner = map->owner[handover->slots[i].index];
        if (owner == UINT16_MAX || map->shards[owner].node != self) {
            end(handover, event->now_ns, CODE_CONFLICT,
                "the map changed: a slot is no longer this node's", update);
            return;
        }
        next->owner[handover->slots[i].index] = target.index;
    }
    handover->proposed = next->epoch;
    state_move(handover, HANDOVER_CHANGING);
    handover->proposals++;
    handover->deadline_ns = 0;
    update->change = true;
}

static void settle(struct handover *handover, const struct handover_event *event, struct map *next,
                   struct handover_update *update) {
    struct shard_id target = target_in(handover, event->map);
    uint32_t moved = 0;
    for (uint32_t i = 0; i < handover->slot_count; i++) {
        moved += target.index != UINT16_MAX &&
                 event->map->owner[handover->slots[i].index] == target.index;
    }
    bool all = moved == handover->slot_count;
    /* Only a proposal could have given the slots away: were they, and came back? */
    bool stayed = (handover->lost && !handover->doubted) ||
                  event->map->epoch.number <= handover->proposed.number;
    if (!all && stayed && handover->proposals < HANDOVER_PROPOSALS_MAX) {
        /* If the map is as it was, the proposal may still be on its way, on a connection that was
         * given up. The next one follows the same epoch, so that it decides: only one can win. */
        handover->doubted = event->map->epoch.number < handover->proposed.number;
        if (event->map->epoch.number > handover->proposed.number) {
            /* Several changes came first: a slot that went and came back is decided here again. */
            handover->passed = true;
            seal(handover, event, update);
        } else {
            change(handover, event, next, update);
        }
        return;
    }
    update->refresh = all;
    update->reload = !stayed || event->map->epoch.number > handover->proposed.number;
    end(handover, event->now_ns, all ? CODE_OK : CODE_CONFLICT,
        all ? "" : "the map was not changed; the slots stay here", update);
}

static void late(struct handover *handover, uint64_t now_ns, struct handover_update *update) {
    if (handover->deadline_ns == 0 || now_ns < handover->deadline_ns) {
        return;
    }
    end(handover, now_ns, CODE_UNAVAILABLE,
        handover->state == HANDOVER_REACHING
            ? "the target's control endpoint does not answer: is that node running?"
            : "the store did not take the slots' last writes in time; they stay here",
        update);
}

enum code handover_check_peer(const struct handover *handover, const struct map *map,
                              uint64_t map_format, const struct handover_peer *peer,
                              struct fault *fault) {
    const char *wanted = handover->target_node.text;
    if (cluster_id_differs(&map->cluster, &peer->cluster)) {
        return fault_set(fault, CODE_CONFLICT,
                         "what answers at %s's control endpoint is of cluster %s, this is cluster "
                         "%s; nothing was moved",
                         wanted, peer->cluster.text, map->cluster.text);
    }
    if (peer->slots != 0 && peer->slots != map->slot_count) {
        return fault_set(fault, CODE_CONFLICT,
                         "what answers at %s's control endpoint has a map of %llu slots, this "
                         "cluster has %u; nothing was moved",
                         wanted, (unsigned long long)peer->slots, map->slot_count);
    }
    if (peer->node.size != 0 &&
        !bytes_equal(name_bytes(&peer->node), name_bytes(&handover->target_node))) {
        return fault_set(fault, CODE_CONFLICT,
                         "what answers at %s's control endpoint is node %s; nothing was moved",
                         wanted, peer->node.text);
    }
    if (peer->map_format != 0 && peer->map_format < map_format) {
        return fault_set(fault, CODE_CONFLICT,
                         "%s runs version %.*s, which is too old: it reads maps of format %llu, "
                         "this cluster's is %llu; nothing was moved",
                         wanted, (int)peer->version.size, (const char *)peer->version.data,
                         (unsigned long long)peer->map_format, (unsigned long long)map_format);
    }
    return CODE_OK;
}

enum code handover_start(struct handover *handover, const struct map *map, const struct slot *slots,
                         uint32_t count, struct shard_id target, uint64_t now_ns,
                         struct handover_update *update) {
    assert(count >= 1 && count <= HANDOVER_SLOTS_MAX && target.index < map->shard_count);
    memset(update, 0, sizeof *update);
    if (handover->state != HANDOVER_IDLE) {
        return fault_set(&update->fault, CODE_OVERLOADED,
                         "another handover is under way on this node");
    }
    const struct map_node *node = &map->nodes[map->shards[target.index].node];
    memcpy(handover->slots, slots, count * sizeof slots[0]);
    handover->slot_count = count;
    handover->passed = false;
    handover->target_node = node->id;
    handover->target_number = map->shards[target.index].number;
    handover->turn++;
    handover->proposals = 0;
    handover->doubted = false;
    state_move(handover, HANDOVER_REACHING);
    handover->deadline_ns = now_ns + HANDOVER_REACH_NS;
    update->reach = !bytes_equal(name_bytes(&node->id), name_bytes(&handover->self));
    if (!update->reach) {
        struct handover_event event = {.now_ns = now_ns, .map = map};
        seal(handover, &event, update);
    }
    update->deadline_ns = handover->deadline_ns;
    return CODE_OK;
}

void handover_step(struct handover *handover, const struct handover_event *event, struct map *next,
                   struct handover_update *update) {
    memset(update, 0, sizeof *update);
    switch (event->kind) {
    case HANDOVER_EVENT_REACHED:
        if (handover->state == HANDOVER_REACHING) {
            seal(handover, event, update);
        }
        break;
    case HANDOVER_EVENT_REFUSED:
        if (handover->state == HANDOVER_REACHING) {
            end(handover, event->now_ns, event->fault->code, event->fault->text, update);
        }
        break;
    case HANDOVER_EVENT_SEALED:
        if (handover->state == HANDOVER_SEALING && event->turn == handover->turn &&
            --handover->shards_outstanding == 0) {
            change(handover, event, next, update);
        }
        break;
    case HANDOVER_EVENT_CHANGED:
        if (handover->state == HANDOVER_CHANGING) {
            state_move(handover, HANDOVER_SETTLING);
            handover->settles_at = event->beat;
            handover->lost = event->lost;
        }
        break;
    case HANDOVER_EVENT_BEAT:
        if (handover->state == HANDOVER_SETTLING && event->beat >= handover->settles_at) {
            settle(handover, event, next, update);
        }
        break;
    case HANDOVER_EVENT_TIME:
        late(handover, event->now_ns, update);
        break;
    }
    update->deadline_ns = handover->deadline_ns;
}
