/* What moves slots and weighs nodes, and what is told about it afterwards. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "proto/map_codec.h"
#include "server/io/control_impl.h"

static void fail_text(struct control_call *call, enum code code, const char *text) {
    struct fault fault;
    fault_set(&fault, code, "%s", text);
    control_call_fail(call, &fault, NULL);
}

static void epoch_reply(struct control_call *call, uint64_t epoch) {
    struct writer writer = control_reply_begin(call->control, call->msgid);
    write_map(&writer, 1);
    write_text_uint(&writer, "epoch", epoch);
    control_call_reply(call, &writer);
}

/* --- cluster.refresh ----------------------------------------------------------------------- */

void control_refresh(struct control_call *call, struct bytes params) {
    struct control *control = call->control;
    struct fault fault;
    uint64_t wanted, epoch = membership_state(control->membership)->map.epoch.number;
    if (request_read_number(params, "an epoch", 0, 0, UINT64_MAX, &wanted, &fault) != CODE_OK) {
        control_call_fail(call, &fault, NULL);
        return;
    }
    if (wanted > epoch) {
        membership_beat(control->membership);
    }
    const struct map *map = &membership_state(control->membership)->map;
    struct writer writer = control_reply_begin(control, call->msgid);
    write_map(&writer, 6);
    write_text_uint(&writer, "epoch", epoch);
    write_text_text(&writer, "node", control->settings->node_id);
    write_text_text(&writer, "cluster", map->cluster.text);
    write_text_uint(&writer, "slots", map->slot_count);
    write_text_uint(&writer, "map_format", MAP_FORMAT);
    write_text_text(&writer, "version", SLUICE_VERSION);
    control_call_reply(call, &writer);
}

/* --- cluster.events ------------------------------------------------------------------------ */

static const char *field_find(const redisReply *fields, const char *name) {
    for (size_t i = 0; i + 1 < fields->elements; i += 2) {
        if (fields->element[i]->type == REDIS_REPLY_STRING &&
            fields->element[i + 1]->type == REDIS_REPLY_STRING &&
            strcmp(fields->element[i]->str, name) == 0) {
            return fields->element[i + 1]->str;
        }
    }
    return "";
}

static void event_write(struct writer *writer, const redisReply *entry) {
    static const char *const names[] = {"kind", "node", "text"};
    const redisReply *fields = entry->element[1];
    write_map(writer, 5);
    write_text_uint(writer, "time_ms", strtoull(entry->element[0]->str, NULL, 10));
    write_text_uint(writer, "epoch", strtoull(field_find(fields, "epoch"), NULL, 10));
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        write_text_text(writer, names[i], field_find(fields, names[i]));
    }
}

static bool event_valid(const redisReply *entry) {
    return entry->type == REDIS_REPLY_ARRAY && entry->elements == 2 &&
           entry->element[0]->type == REDIS_REPLY_STRING &&
           entry->element[1]->type == REDIS_REPLY_ARRAY;
}

static void on_events(void *ctx, const redisReply *reply) {
    struct control_call *call = ctx;
    uint32_t count = 0;
    if (reply == NULL || reply->type != REDIS_REPLY_ARRAY) {
        control_fail_away(call);
        return;
    }
    for (size_t i = 0; i < reply->elements; i++) {
        count += event_valid(reply->element[i]);
    }
    struct writer writer = control_reply_begin(call->control, call->msgid);
    write_array(&writer, count);
    for (size_t i = reply->elements; i > 0; i--) { /* oldest first */
        if (event_valid(reply->element[i - 1])) {
            event_write(&writer, reply->element[i - 1]);
        }
    }
    control_call_reply(call, &writer);
}

void control_events(struct control_call *call, struct bytes params) {
    struct fault fault;
    uint64_t count;
    if (request_read_number(params, "a number of events", 100, 1, EVENTS_MAX, &count, &fault) !=
        CODE_OK) {
        control_call_fail(call, &fault, NULL);
        return;
    }
    membership_events(call->control->membership, (uint32_t)count, on_events, call);
}

/* --- slots.move ---------------------------------------------------------------------------- */

static void on_moved(void *ctx, const struct fault *fault, uint64_t sealed_ns) {
    struct control_call *call = ctx;
    struct control *control = call->control;
    if (fault->code != CODE_OK) {
        control_call_fail(call, fault, NULL);
        return;
    }
    uint64_t epoch = membership_state(control->membership)->map.epoch.number;
    struct writer writer = control_reply_begin(control, call->msgid);
    write_map(&writer, 3);
    write_text_uint(&writer, "epoch", epoch);
    write_text_uint(&writer, "moved", call->move_count);
    write_text_uint(&writer, "sealed_us", sealed_ns / 1000);
    control_call_reply(call, &writer);
}

/* All slots exist and are this node's: else the operator is told whose they are. */
static bool slots_check(struct control_call *call, const struct map *map, const struct slot *slots,
                        uint32_t count) {
    struct fault fault;
    int32_t self = map_find_node(map, bytes_of_text(call->control->settings->node_id));
    for (uint32_t i = 0; i < count; i++) {
        if (slots[i].index >= map->slot_count) {
            fault_set(&fault, CODE_BAD_REQUEST, "slot %u: this cluster has slots 0 to %u",
                      slots[i].index, map->slot_count - 1);
            control_call_fail(call, &fault, NULL);
            return false;
        }
        struct shard_id owner = map_owner(map, slots[i]);
        if (owner.index >= map->shard_count || map->shards[owner.index].node != self) {
            const struct map_node *node =
                owner.index < map->shard_count ? &map->nodes[map->shards[owner.index].node] : NULL;
            struct moved moved = {.slot = slots[i], .epoch = map->epoch};
            if (node != NULL) {
                moved.endpoint = endpoint_name_bytes(&node->control);
            }
            fault_set(&fault, CODE_MOVED, "slot %u belongs to %s", slots[i].index,
                      node != NULL ? node->id.text : "nobody");
            control_call_fail(call, &fault, &moved);
            return false;
        }
    }
    return true;
}

void control_slots_move(struct control_call *call, struct bytes params) {
    struct control *control = call->control;
    const struct map *map = &membership_state(control->membership)->map;
    struct slot *slots = malloc(SLOTS_MAX * sizeof *slots);
    struct bytes node;
    struct fault fault;
    uint32_t count = 0, number = 0;
    if (slots == NULL) {
        fail_text(call, CODE_OVERLOADED, "no memory for a list of slots");
        return;
    }
    if (request_read_move(params, slots, &count, &node, &number, &fault) != CODE_OK) {
        control_call_fail(call, &fault, NULL);
    } else if (count > HANDOVER_SLOTS_MAX) {
        fault_set(&fault, CODE_TOO_LARGE, "%u slots, at most %d move at once", count,
                  HANDOVER_SLOTS_MAX);
        control_call_fail(call, &fault, NULL);
    } else if (slots_check(call, map, slots, count)) {
        int32_t target_node = map_find_node(map, node);
        struct shard_id target =
            target_node < 0 ? SHARD_ID_NONE : map_find_shard(map, (uint32_t)target_node, number);
        call->node = name_of(node);
        call->move_count = count;
        if (target.index == UINT16_MAX) {
            fault_set(&fault, CODE_BAD_REQUEST, "there is no shard %u of a node %.*s in the map",
                      number, (int)node.size, (const char *)node.data);
            control_call_fail(call, &fault, NULL);
        } else if (handover_shell_start(control->handover, slots, count, target, on_moved, call,
                                        &fault) != CODE_OK) {
            control_call_fail(call, &fault, NULL);
        }
    }
    free(slots);
}

/* --- slots.list ---------------------------------------------------------------------------- */

void control_loads_write(struct control_call *call) {
    struct control *control = call->control;
    uint32_t count = 0;
    for (uint32_t i = 0; i < control->shard_count; i++) {
        count += call->loads[i].count;
    }
    struct writer writer = control_reply_begin(control, call->msgid);
    write_array(&writer, count);
    for (uint32_t i = 0; i < control->shard_count; i++) {
        for (uint32_t j = 0; j < call->loads[i].count; j++) {
            const struct slot_load *load = &call->loads[i].list[j];
            write_array(&writer, 3);
            write_uint(&writer, load->slot);
            write_uint(&writer, load->buckets);
            write_uint(&writer, load->takes);
        }
    }
    control_call_reply(call, &writer);
}

/* --- nodes --------------------------------------------------------------------------------- */

static void on_map_changed(void *ctx, enum code code, uint64_t number) {
    struct control_call *call = ctx;
    if (code == CODE_CONFLICT) {
        fail_text(call, CODE_CONFLICT, "another change of the map came first: try again");
    } else if (code != CODE_OK) {
        control_fail_away(call);
    } else {
        struct membership *membership = call->control->membership;
        if (call->method == METHOD_NODE_WEIGHT) {
            membership_event(membership, "weight", "%s: %u -> %u from epoch %" PRIu64 " on",
                             call->node.text, call->weight, call->weight_next, number);
        } else {
            membership_event(membership, "remove", "%s, from epoch %" PRIu64 " on", call->node.text,
                             number);
        }
        /* Who asked will look at the map here next, and must find what was done. */
        call->epoch_awaited = number;
        control_on_beat(call->control);
    }
}

void control_on_beat(struct control *control) {
    uint64_t epoch = membership_state(control->membership)->map.epoch.number;
    for (uint32_t i = 0; i < CONTROL_CALLS_MAX; i++) {
        struct control_call *call = &control->calls[i];
        if (call->taken && call->epoch_awaited != 0 && call->epoch_awaited <= epoch) {
            epoch_reply(call, call->epoch_awaited);
        }
    }
}

static struct map *map_next(struct control_call *call) {
    const struct map *map = &membership_state(call->control->membership)->map;
    struct map *next = malloc(sizeof *next);
    if (next == NULL) {
        fail_text(call, CODE_OVERLOADED, "no memory for a map");
        return NULL;
    }
    *next = *map;
    next->epoch.number++;
    return next;
}

static bool node_known(struct control_call *call, struct bytes id, int32_t *node) {
    struct fault fault;
    *node = map_find_node(&membership_state(call->control->membership)->map, id);
    if (*node >= 0) {
        return true;
    }
    fault_set(&fault, CODE_BAD_REQUEST, "no node is called %.*s in the map", (int)id.size,
              (const char *)id.data);
    control_call_fail(call, &fault, NULL);
    return false;
}

static bool weight_elsewhere(const struct map *map, int32_t node) {
    for (uint32_t i = 0; i < map->node_count; i++) {
        if ((int32_t)i != node && map->nodes[i].weight > 0) {
            return true;
        }
    }
    return false;
}

void control_node_weight(struct control_call *call, struct bytes params) {
    const struct map *map = &membership_state(call->control->membership)->map;
    struct bytes id;
    struct fault fault;
    uint32_t weight;
    int32_t node;
    if (request_read_weight(params, &id, &weight, &fault) != CODE_OK) {
        control_call_fail(call, &fault, NULL);
        return;
    }
    if (!node_known(call, id, &node)) {
        return;
    }
    if (weight == 0 && !weight_elsewhere(map, node)) {
        fail_text(call, CODE_BAD_REQUEST,
                  "the last node that takes slots cannot be drained: nobody could own them");
        return;
    }
    struct map *next = map_next(call);
    if (next != NULL) {
        call->node = map->nodes[node].id;
        call->weight = map->nodes[node].weight;
        call->weight_next = weight;
        next->nodes[node].weight = weight;
        membership_replace_map(call->control->membership, next, on_map_changed, call);
        free(next);
    }
}

/* Takes a node and its shards out; indices behind them move down. */
static void map_node_remove(struct map *map, uint32_t node) {
    uint16_t shard_to[SHARDS_MAX];
    uint32_t kept = 0;
    for (uint32_t i = 0; i < map->shard_count; i++) {
        shard_to[i] = map->shards[i].node == node ? UINT16_MAX : (uint16_t)kept;
        if (map->shards[i].node != node) {
            map->shards[kept] = map->shards[i];
            map->shards[kept].node -= map->shards[i].node > node;
            kept++;
        }
    }
    map->shard_count = kept;
    for (uint32_t i = 0; i < map->slot_count; i++) {
        map->owner[i] = map->owner[i] == UINT16_MAX ? UINT16_MAX : shard_to[map->owner[i]];
    }
    memmove(&map->nodes[node], &map->nodes[node + 1],
            (map->node_count - node - 1) * sizeof map->nodes[0]);
    map->node_count--;
}

static void on_forgotten(void *ctx, enum code code, uint64_t number) {
    struct control_call *call = ctx;
    int32_t node;
    if (code == CODE_CONFLICT) {
        fail_text(call, CODE_BAD_REQUEST, "the node is alive: stop it first");
    } else if (code != CODE_OK) {
        control_fail_away(call);
    } else if (node_known(call, name_bytes(&call->node), &node)) {
        struct map *next = map_next(call);
        if (next != NULL) {
            map_node_remove(next, (uint32_t)node);
            membership_replace_map(call->control->membership, next, on_map_changed, call);
            free(next);
        }
    }
}

void control_node_remove(struct control_call *call, struct bytes params) {
    const struct map *map = &membership_state(call->control->membership)->map;
    struct bytes id;
    struct fault fault;
    int32_t node;
    if (request_read_node(params, &id, &fault) != CODE_OK) {
        control_call_fail(call, &fault, NULL);
        return;
    }
    if (!node_known(call, id, &node)) {
        return;
    }
    if (map_slots_of_node(map, node) > 0) {
        fault_set(&fault, CODE_BAD_REQUEST,
                  "%s still owns %u slots: drain it first (sluicectl node drain %s)",
                  map->nodes[node].id.text, map_slots_of_node(map, node), map->nodes[node].id.text);
        control_call_fail(call, &fault, NULL);
        return;
    }
    call->node = map->nodes[node].id;
    membership_forget(call->control->membership, name_bytes(&call->node), on_forgotten, call);
}

/* --- the record of the rebalance under way ------------------------------------------------- */

static void on_rebalance(void *ctx, const redisReply *reply) {
    struct control_call *call = ctx;
    if (reply == NULL || reply->type != REDIS_REPLY_ARRAY || reply->elements != 2) {
        control_fail_away(call);
        return;
    }
    const redisReply *number = reply->element[0], *value = reply->element[1];
    struct writer writer = control_reply_begin(call->control, call->msgid);
    write_array(&writer, 2);
    write_uint(&writer, number->type == REDIS_REPLY_STRING ? strtoull(number->str, NULL, 10) : 0);
    if (value->type == REDIS_REPLY_STRING) {
        write_encoded(&writer, bytes_of(value->str, value->len));
    } else {
        write_nil(&writer);
    }
    control_call_reply(call, &writer);
}

void control_rebalance_get(struct control_call *call) {
    membership_rebalance_get(call->control->membership, on_rebalance, call);
}

static void on_rebalance_put(void *ctx, enum code code, uint64_t number) {
    struct control_call *call = ctx;
    if (code == CODE_CONFLICT) {
        fail_text(call, CODE_CONFLICT, "somebody else changed the rebalance under way");
    } else if (code != CODE_OK) {
        control_fail_away(call);
    } else {
        struct writer writer = control_reply_begin(call->control, call->msgid);
        write_uint(&writer, number);
        control_call_reply(call, &writer);
    }
}

void control_rebalance_put(struct control_call *call, struct bytes params) {
    struct fault fault;
    struct bytes value;
    uint64_t follows;
    if (request_read_rebalance(params, &follows, &value, &fault) != CODE_OK) {
        control_call_fail(call, &fault, NULL);
        return;
    }
    membership_rebalance_put(call->control->membership, follows, value, on_rebalance_put, call);
}
