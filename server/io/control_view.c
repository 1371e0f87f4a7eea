/* cluster.status, cluster.init and plans.apply: what needs the store. */
#include <inttypes.h>
#include <stdlib.h>
#include <sys/random.h>

#include "server/io/control_impl.h"

void control_fail_away(struct control_call *call) {
    struct fault fault;
    fault_set(&fault, CODE_UNAVAILABLE, "%s", reason_text(REASON_STORE_AWAY));
    control_call_fail(call, &fault, NULL);
}

/* --- cluster.status ------------------------------------------------------------------------ */

static void member_write(struct writer *writer, const struct map *map,
                         const struct member *member) {
    write_map(writer, 11);
    write_text_str(writer, "id", name_bytes(&member->id));
    write_text_str(writer, "control", endpoint_name_bytes(&member->control));
    write_text(writer, "shards");
    write_array(writer, member->shard_count);
    for (uint32_t i = 0; i < member->shard_count; i++) {
        write_str(writer, endpoint_name_bytes(&member->shards[i]));
    }
    write_text_bool(writer, "alive", member->alive);
    write_text_uint(writer, "lease_ms", member->lease_ms > 0 ? (uint64_t)member->lease_ms : 0);
    write_text_text(writer, "incarnation", member->incarnation);
    write_text_uint(writer, "plans_version", member->plans_version);
    write_text_uint(writer, "epoch", member->epoch);
    write_text_uint(writer, "slots_owned",
                    map_slots_of_node(map, map_find_node(map, name_bytes(&member->id))));
    write_text_text(writer, "version", member->version);
    int32_t node = map_find_node(map, name_bytes(&member->id));
    write_text_uint(writer, "weight", node < 0 ? member->weight : map->nodes[node].weight);
}

static void on_status_listed(void *ctx, const struct member_list *list) {
    struct control_call *call = ctx;
    if (list == NULL) {
        control_fail_away(call);
        return;
    }
    struct control *control = call->control;
    const struct cluster_state *state = membership_state(control->membership);
    struct writer writer = control_reply_begin(control, call->msgid);
    write_map(&writer, 9);
    write_text_text(&writer, "program", "sluice-node");
    write_text_text(&writer, "version", SLUICE_VERSION);
    write_text_text(&writer, "node", control->settings->node_id);
    write_text_text(&writer, "cluster", state->map.cluster.text);
    write_text_uint(&writer, "epoch", state->map.epoch.number);
    write_text_uint(&writer, "stored_epoch", list->stored_epoch);
    write_text_uint(&writer, "slots", state->map.slot_count);
    write_text_uint(&writer, "plans_version", state->plans.version);
    write_text(&writer, "nodes");
    write_array(&writer, list->count);
    for (uint32_t i = 0; i < list->count; i++) {
        member_write(&writer, &state->map, &list->members[i]);
    }
    control_call_reply(call, &writer);
}

void control_status(struct control_call *call) {
    membership_list(call->control->membership, on_status_listed, call);
}

/* --- cluster.init -------------------------------------------------------------------------- */

static void fail_has_map(struct control_call *call, uint64_t epoch) {
    struct fault fault;
    fault_set(&fault, CODE_CONFLICT, "the cluster has a map already (epoch %" PRIu64 ")", epoch);
    control_call_fail(call, &fault, NULL);
}

static void on_init_changed(void *ctx, enum code code, uint64_t number) {
    struct control_call *call = ctx;
    if (code == CODE_CONFLICT) {
        fail_has_map(call, number);
        return;
    }
    if (code != CODE_OK) {
        control_fail_away(call);
        return;
    }
    struct writer writer = control_reply_begin(call->control, call->msgid);
    write_map(&writer, 5);
    write_text_uint(&writer, "epoch", number);
    write_text_text(&writer, "cluster", call->map->cluster.text);
    write_text_uint(&writer, "slots", call->map->slot_count);
    write_text_uint(&writer, "nodes", call->map->node_count);
    write_text_uint(&writer, "shards", call->map->shard_count);
    membership_event(call->control->membership, "init",
                     "cluster %s: %u slots over %u shards of %u nodes", call->map->cluster.text,
                     call->map->slot_count, call->map->shard_count, call->map->node_count);
    control_call_reply(call, &writer);
}

static void member_add(struct map *map, const struct member *member) {
    if (!member->alive || map->shard_count + member->shard_count > SHARDS_MAX) {
        return;
    }
    struct map_node *node = &map->nodes[map->node_count];
    node->id = member->id;
    node->control = member->control;
    node->weight = member->weight;
    for (uint32_t i = 0; i < member->shard_count; i++) {
        struct map_shard *shard = &map->shards[map->shard_count++];
        shard->node = (uint16_t)map->node_count;
        shard->number = (uint16_t)i;
        shard->endpoint = member->shards[i];
    }
    map->node_count++;
}

static bool cluster_id_draw(struct cluster_id *id) {
    uint64_t drawn;
    if (getrandom(&drawn, sizeof drawn, 0) != sizeof drawn) {
        return false;
    }
    snprintf(id->text, sizeof id->text, "%016" PRIx64, drawn);
    return true;
}

static void on_init_listed(void *ctx, const struct member_list *list) {
    struct control_call *call = ctx;
    struct fault fault;
    if (list == NULL) {
        control_fail_away(call);
        return;
    }
    call->map = malloc(sizeof *call->map);
    if (call->map == NULL) {
        fault_set(&fault, CODE_OVERLOADED, "no memory for a map");
        control_call_fail(call, &fault, NULL);
        return;
    }
    map_init(call->map);
    if (!cluster_id_draw(&call->map->cluster)) {
        fault_set(&fault, CODE_UNAVAILABLE,
                  "the system gave no random number for the cluster's id");
        control_call_fail(call, &fault, NULL);
        return;
    }
    for (uint32_t i = 0; i < list->count; i++) {
        member_add(call->map, &list->members[i]);
    }
    if (call->map->shard_count == 0 || call->map->shard_count > call->slot_count) {
        fault_set(&fault, CODE_BAD_REQUEST,
                  "%u slots cannot be spread over %u living shards: each needs at least one",
                  call->slot_count, call->map->shard_count);
        control_call_fail(call, &fault, NULL);
        return;
    }
    call->map->epoch.number = 1;
    call->map->slot_count = call->slot_count;
    map_spread(call->map);
    membership_replace_map(call->control->membership, call->map, on_init_changed, call);
}

void control_init(struct control_call *call, struct bytes params) {
    struct fault fault;
    uint64_t epoch = membership_state(call->control->membership)->map.epoch.number;
    if (request_read_init(params, &call->slot_count, &fault) != CODE_OK) {
        control_call_fail(call, &fault, NULL);
    } else if (epoch > 0) {
        fail_has_map(call, epoch);
    } else {
        membership_list(call->control->membership, on_init_listed, call);
    }
}

/* Proposals of one plans.apply that names no base: so many operators at once are none. */
#define APPLY_TRIES_MAX 32

/* --- plans.apply --------------------------------------------------------------------------- */

static void apply_reply(struct control_call *call, uint64_t version, bool changed) {
    struct writer writer = control_reply_begin(call->control, call->msgid);
    write_map(&writer, 2);
    write_text_uint(&writer, "version", version);
    write_text_bool(&writer, "changed", changed);
    control_call_reply(call, &writer);
}

static void fail_overtaken(struct control_call *call, uint64_t version) {
    struct fault fault;
    fault_set(&fault, CODE_CONFLICT,
              "version %" PRIu64 " of the plans is in force by now: look at it, then apply again",
              version);
    control_call_fail(call, &fault, NULL);
}

static void apply_look(struct control_call *call);

static void on_apply_changed(void *ctx, enum code code, uint64_t number) {
    struct control_call *call = ctx;
    if (code == CODE_CONFLICT && call->base == UINT64_MAX && ++call->tries < APPLY_TRIES_MAX) {
        apply_look(call);
    } else if (code == CODE_CONFLICT) {
        fail_overtaken(call, number);
    } else if (code != CODE_OK) {
        control_fail_away(call);
    } else {
        membership_event(call->control->membership, "plans", "version %" PRIu64 " applied", number);
        apply_reply(call, number, true);
    }
}

static void on_apply_looked(void *ctx, const struct member_list *list) {
    struct control_call *call = ctx;
    struct control *control = call->control;
    const struct plan_set *current = &membership_state(control->membership)->plans;
    if (list == NULL) {
        control_fail_away(call);
    } else if (call->base != UINT64_MAX && call->base != current->version) {
        fail_overtaken(call, current->version);
    } else if (!plan_set_succeed(current, call->plans, control->plans_next)) {
        apply_reply(call, current->version, false);
    } else {
        membership_replace_plans(control->membership, control->plans_next, on_apply_changed, call);
    }
}

/* Compares with the plans in force, not with those that this node happens to know: a heartbeat goes
 * first, and the answer to what is asked behind it comes when the heartbeat's has been adopted. */
static void apply_look(struct control_call *call) {
    membership_beat(call->control->membership);
    membership_list(call->control->membership, on_apply_looked, call);
}

void control_plans_apply(struct control_call *call, struct bytes params) {
    struct fault fault;
    call->plans = malloc(sizeof *call->plans);
    if (call->plans == NULL) {
        fault_set(&fault, CODE_OVERLOADED, "no memory for a plan set");
        control_call_fail(call, &fault, NULL);
    } else if (request_read_apply(params, call->plans, &call->base, &fault) != CODE_OK) {
        control_call_fail(call, &fault, NULL);
    } else {
        apply_look(call);
    }
}
