/* key.show, key.reset, key.assign and node.status: what the node's shards know. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "server/io/control_impl.h"

static void fail_reason(struct control_call *call, enum reason reason) {
    struct fault fault;
    fault_set(&fault, reason_code(reason), "%s", reason_text(reason));
    control_call_fail(call, &fault, NULL);
}

static void fail_full(struct control_call *call) {
    fail_reason(call, REASON_QUEUE_FULL);
}

/* --- key.* --------------------------------------------------------------------------------- */

/* Sends the operator on to the node that owns the slot. */
static void fail_moved(struct control_call *call, const struct map *map, struct slot slot) {
    struct shard_id owner = map_owner(map, slot);
    if (owner.index >= map->shard_count) {
        fail_reason(call, REASON_NO_OWNER);
        return;
    }
    struct fault fault;
    const struct map_node *node = &map->nodes[map->shards[owner.index].node];
    struct moved moved = {
        .slot = slot, .epoch = map->epoch, .endpoint = endpoint_name_bytes(&node->control)};
    fault_set(&fault, CODE_MOVED, "slot %u of this key belongs to node %s", slot.index,
              node->id.text);
    control_call_fail(call, &fault, &moved);
}

static void key_ask(struct control_call *call, uint32_t shard, struct bytes plan) {
    static const enum shard_admin_kind kinds[METHOD_COUNT] = {
        [METHOD_KEY_SHOW] = SHARD_ADMIN_SHOW,
        [METHOD_KEY_RESET] = SHARD_ADMIN_RESET,
        [METHOD_KEY_ASSIGN] = SHARD_ADMIN_ASSIGN,
    };
    struct shard_message *message = calloc(1, sizeof *message);
    if (message == NULL) {
        fail_full(call);
        return;
    }
    message->kind = SHARD_MESSAGE_ADMIN;
    message->token = control_call_token(call);
    message->admin_kind = kinds[call->method];
    message->key_size = call->key_size;
    memcpy(message->key, call->key, call->key_size);
    message->plan = name_of(plan);
    if (!shard_loop_tell(call->control->shards[shard], message)) {
        free(message);
        fail_full(call);
    }
}

void control_key(struct control_call *call, struct bytes params) {
    struct control *control = call->control;
    const struct cluster_state *state = membership_state(control->membership);
    struct fault fault;
    struct bytes key, plan = {0};
    enum code code = call->method == METHOD_KEY_ASSIGN
                         ? request_read_assign(params, &key, &plan, &fault)
                         : request_read_key(params, &key, &fault);
    if (code == CODE_OK && plan.size > 0 && plan_set_find(&state->plans, plan) < 0) {
        code = fault_set(&fault, CODE_UNKNOWN_PLAN, "no plan is called \"%.*s\"", (int)plan.size,
                         (const char *)plan.data);
    }
    if (code != CODE_OK) {
        control_call_fail(call, &fault, NULL);
        return;
    }
    const struct map *map = &state->map;
    if (map->epoch.number == 0) {
        fail_reason(call, REASON_NO_MAP);
        return;
    }
    struct slot slot = slot_of_hash(key_hash(key), map->slot_count);
    struct shard_id owner = map_owner(map, slot);
    int32_t self = map_find_node(map, bytes_of_text(control->settings->node_id));
    if (owner.index >= map->shard_count || map->shards[owner.index].node != self ||
        map->shards[owner.index].number >= control->shard_count) {
        fail_moved(call, map, slot);
        return;
    }
    memcpy(call->key, key.data, key.size);
    call->key_size = key.size;
    key_ask(call, map->shards[owner.index].number, plan);
}

static void name_or_nil_write(struct writer *writer, const char *member, const struct name *name) {
    write_text(writer, member);
    if (name->size == 0) {
        write_nil(writer);
    } else {
        write_str(writer, name_bytes(name));
    }
}

static void info_write(struct writer *writer, const struct control_call *call, uint32_t slot,
                       const struct shard_key_info *info) {
    write_map(writer, 8);
    write_text(writer, "key");
    write_bin(writer, bytes_of(call->key, call->key_size));
    write_text_uint(writer, "slot", slot);
    name_or_nil_write(writer, "plan", &info->plan);
    write_text_bool(writer, "assigned", info->assigned);
    write_text_bool(writer, "resident", info->resident);
    write_text_bool(writer, "dirty", info->dirty);
    name_or_nil_write(writer, "bucket_plan", &info->bucket_plan);
    write_text(writer, "limits");
    write_array(writer, info->limit_count);
    for (uint32_t i = 0; i < info->limit_count; i++) {
        write_map(writer, 5);
        write_text_uint(writer, "rate", info->limits[i].rate_tokens);
        write_text_uint(writer, "period_ms", info->limits[i].period_ns / 1000000);
        write_text_uint(writer, "burst", info->limits[i].burst_tokens);
        write_text_uint(writer, "level", info->level_tokens[i]);
        write_text_uint(writer, "reset_after_us", (info->reset_after_ns[i] + 999) / 1000);
    }
}

void control_key_on_shard(struct control_call *call, const struct node_message *message) {
    const struct map *map = &membership_state(call->control->membership)->map;
    struct slot slot = slot_of_hash(key_hash(bytes_of(call->key, call->key_size)), map->slot_count);
    if (message->reason == REASON_NOT_OWNER) {
        fail_moved(call, map, slot);
        return;
    }
    if (message->wait_ms > 0) {
        struct fault fault;
        fault_set(&fault, reason_code(message->reason), "%s: to be asked again in %u ms",
                  reason_text(message->reason), message->wait_ms);
        fault.retry_ms = message->wait_ms;
        control_call_fail(call, &fault, NULL);
        return;
    }
    if (message->reason != REASON_NONE) {
        fail_reason(call, message->reason);
        return;
    }
    struct writer writer = control_reply_begin(call->control, call->msgid);
    if (call->method == METHOD_KEY_SHOW) {
        info_write(&writer, call, slot.index, &message->info);
    } else {
        write_map(&writer, 1);
        write_text_uint(&writer, "slot", slot.index);
    }
    control_call_reply(call, &writer);
}

/* --- node.status --------------------------------------------------------------------------- */

void control_node_status(struct control_call *call) {
    struct control *control = call->control;
    call->statuses = calloc(control->shard_count, sizeof *call->statuses);
    call->loads = calloc(control->shard_count, sizeof *call->loads);
    if (call->statuses == NULL || call->loads == NULL) {
        fail_full(call);
        return;
    }
    /* Held until every shard that could be asked has answered. */
    call->shards_outstanding = 1;
    for (uint32_t i = 0; i < control->shard_count; i++) {
        struct shard_message *message = calloc(1, sizeof *message);
        if (message == NULL) {
            continue;
        }
        message->kind = SHARD_MESSAGE_STATUS;
        message->token = control_call_token(call);
        if (shard_loop_tell(control->shards[i], message)) {
            call->shards_outstanding++;
        } else {
            free(message);
        }
    }
    call->shards_outstanding--;
    if (call->shards_outstanding == 0) {
        fail_full(call);
    }
}

static void counters_write(struct writer *writer, const struct shard_status *status) {
    const struct shard_counters *c = &status->counters;
    const struct endpoint_counters *e = &status->endpoint;
    const struct {
        const char *name;
        uint64_t value;
    } list[] = {
        {"takes_granted", c->takes_granted},
        {"takes_refused", c->takes_refused},
        {"takes_failed", c->takes_failed},
        {"takes_fetched", c->takes_fetched},
        {"peeks", c->peeks},
        {"refunds", c->refunds},
        {"tokens_granted", c->tokens_granted},
        {"buckets", c->buckets},
        {"buckets_dirty", c->buckets_dirty},
        {"assignments", c->assignments},
        {"records_written", c->records_written},
        {"records_removed", c->records_removed},
        {"records_loaded", c->records_loaded},
        {"records_unreadable", c->records_unreadable},
        {"buckets_hibernated", c->buckets_hibernated},
        {"hibernations", c->hibernations},
        {"keys_fetched", c->keys_fetched},
        {"keys_fetched_absent", c->keys_fetched_absent},
        {"slots_asleep", c->slots_asleep},
        {"records_surveyed", c->records_surveyed},
        {"writes", c->writes},
        {"writes_failed", c->writes_failed},
        {"writes_fenced", c->writes_fenced},
        {"clock_clamps", c->clock_clamps},
        {"clock_error_us", (status->clock_error_ns + 999) / 1000},
        {"slots_owned", c->slots_owned},
        {"slots_serving", c->slots_serving},
        {"slots_sealed", c->slots_sealed},
        {"memory_bytes", c->memory_bytes},
        {"connections", e->connections_open},
        {"connections_refused", e->connections_refused},
        {"requests", e->requests},
        {"replies_dropped", e->replies_dropped},
        {"closed_bad_peer", e->closed_bad_peer},
        {"closed_stalled", e->closed_stalled},
    };
    uint32_t count = sizeof list / sizeof list[0];
    write_map(writer, count);
    for (uint32_t i = 0; i < count; i++) {
        write_text_uint(writer, list[i].name, list[i].value);
    }
}

static const char *shard_state(const struct shard_counters *counters) {
    if (counters->slots_owned == 0) {
        return "idle";
    }
    return counters->slots_serving == counters->slots_owned ? "serving" : "loading";
}

static void node_status_write(struct control_call *call) {
    struct control *control = call->control;
    const struct cluster_state *state = membership_state(control->membership);
    bool shards_up = membership_store_up(control->membership);
    uint64_t error_ns = 0;
    for (uint32_t i = 0; i < control->shard_count; i++) {
        shards_up = shards_up && call->statuses[i].store_up;
        error_ns = error_ns > call->statuses[i].clock_error_ns ? error_ns
                                                               : call->statuses[i].clock_error_ns;
    }
    struct writer writer = control_reply_begin(control, call->msgid);
    write_map(&writer, 8);
    write_text_text(&writer, "node", control->settings->node_id);
    write_text_text(&writer, "version", SLUICE_VERSION);
    write_text_text(&writer, "incarnation", control->boot->incarnation);
    write_text_uint(&writer, "epoch", state->map.epoch.number);
    write_text_uint(&writer, "plans_version", state->plans.version);
    write_text_uint(&writer, "uptime_s",
                    (clock_monotonic_ns() - control->started_ns) / UINT64_C(1000000000));
    write_text(&writer, "store");
    write_map(&writer, 2);
    write_text_bool(&writer, "up", shards_up);
    write_text_uint(&writer, "clock_error_us", (error_ns + 999) / 1000);
    write_text(&writer, "shards");
    write_array(&writer, control->shard_count);
    for (uint32_t i = 0; i < control->shard_count; i++) {
        write_map(&writer, 3);
        write_text_text(&writer, "endpoint", shard_loop_url(control->shards[i]));
        write_text_text(&writer, "state", shard_state(&call->statuses[i].counters));
        write_text(&writer, "counters");
        counters_write(&writer, &call->statuses[i]);
    }
    control_call_reply(call, &writer);
}

void control_node_status_on_shard(struct control_call *call, const struct node_message *message) {
    call->statuses[message->shard] = message->status;
    if (message->load_count > 0) {
        struct control_loads *loads = &call->loads[message->shard];
        loads->list = malloc(message->load_count * sizeof *loads->list);
        if (loads->list != NULL) {
            loads->count = message->load_count;
            memcpy(loads->list, message->loads, loads->count * sizeof *loads->list);
        }
    }
    if (--call->shards_outstanding > 0) {
        return;
    }
    if (call->method == METHOD_SLOTS_LIST) {
        control_loads_write(call);
    } else {
        node_status_write(call);
    }
}
