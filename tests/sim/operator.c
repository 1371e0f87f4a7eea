/* Operators: they begin the cluster, and then move slots, change weights and plans, reset keys and
 * assign plans, at moments that nobody would choose. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/plan_codec.h"
#include "proto/reply.h"
#include "proto/request.h"
#include "runtime/link.h"
#include "tests/sim/check.h"
#include "tests/sim/coverage.h"
#include "tests/sim/loop.h"
#include "tests/sim/scenario.h"
#include "tests/sim/world.h"

struct operators {
    uv_loop_t loop;
    uv_timer_t timer;
    struct link *links[NODES_OF_RUN_MAX]; /* to the nodes' control endpoints */
    uint32_t next_id;
    bool has_plans, has_map;
    uint32_t plans_id, init_id; /* of the requests under way, 0: none */
    uint32_t variant;           /* of the plans */
    uint32_t move_id, moved_first;
    uint8_t memory[64u << 10];
};

/* --- the plans ----------------------------------------------------------------------------- */

static void plan_write(struct writer *writer, const char *name, uint32_t count,
                       const struct limit *limits) {
    write_map(writer, 4);
    write_text_text(writer, "name", name);
    bool strict = config_has(&world.config, FEATURE_STRICT) && strcmp(name, "slow") != 0;
    strict = strict || check_planted(PLANT_WAITS);
    write_text_text(writer, "durability", strict ? "strict" : "relaxed");
    bool falls = strict && config_has(&world.config, FEATURE_FALLBACK);
    write_text_text(writer, "on_unavailable", falls ? "redis" : "deny");
    write_text(writer, "limits");
    write_array(writer, count);
    for (uint32_t i = 0; i < count; i++) {
        limit_write(writer, &limits[i]);
    }
}

/* The first variant is that which a run begins with. */
static void plans_write(struct writer *writer, uint32_t variant) {
    uint64_t more = variant * 3, times = wide_times();
    struct limit usual[] = {{10 + more, SECOND, (20 + more) * times}};
    struct limit pair[] = {{50, SECOND, 30 * times}, {30 + more, SECOND, 60 * times}};
    struct limit slow[] = {{2 + variant, SECOND, SLOW_PLAN_BURST}};
    if (world.config.outage_ns > 0) { /* of which half comes back in the meantime */
        uint64_t twice_ns = 2 * world.config.outage_ns;
        usual[0] = (struct limit){20, twice_ns, 20};
        pair[1] = (struct limit){60, twice_ns, 60};
        slow[0] = (struct limit){SLOW_PLAN_BURST, twice_ns, SLOW_PLAN_BURST};
    }
    if (world.config.limit.rate_tokens > 0) {
        usual[0] = world.config.limit;
    }
    write_map(writer, 2);
    write_text_text(writer, "default", "default");
    write_text(writer, "plans");
    write_array(writer, 3);
    plan_write(writer, "default", 1, usual);
    plan_write(writer, "double", 2, pair);
    plan_write(writer, "slow", 1, slow);
}

/* --- asking -------------------------------------------------------------------------------- */

static struct writer begin(struct operators *operators, enum method method, uint32_t params) {
    struct writer writer = writer_of(operators->memory, sizeof operators->memory);
    operators->next_id++;
    request_write_head(&writer, operators->next_id, method);
    write_array(&writer, params);
    return writer;
}

static bool control_send(struct operators *operators, uint32_t node, const struct writer *writer) {
    assert(!writer->overflow);
    struct link *link = operators->links[node];
    if (!link_is_up(link) ||
        link_send(link, operators->next_id, writer_bytes(writer)) != LINK_SENT) {
        return false;
    }
    link_flush(link);
    return true;
}

static uint32_t any_node(void) {
    return (uint32_t)sim_below(STREAM_OPERATORS, world.config.nodes);
}

static void plans_apply(struct operators *operators) {
    struct writer writer = begin(operators, METHOD_PLANS_APPLY, 1);
    plans_write(&writer, operators->variant);
    if (control_send(operators, any_node(), &writer)) {
        operators->plans_id = operators->next_id;
    }
}

static void cluster_init(struct operators *operators) {
    struct writer writer = begin(operators, METHOD_CLUSTER_INIT, 1);
    write_map(&writer, 1);
    write_text_uint(&writer, "slots", world.config.slots);
    if (control_send(operators, any_node(), &writer)) {
        operators->init_id = operators->next_id;
    }
}

/* The place of the node of that index in the map, or -1: it is none of ours any more. */
static int32_t place_of(uint32_t node) {
    for (uint32_t i = 0; i < world.config.nodes; i++) {
        if (strcmp(world.nodes[i].id, world.map->nodes[node].id.text) == 0) {
            return (int32_t)i;
        }
    }
    return -1;
}

static void slots_move(struct operators *operators, uint32_t place, const uint32_t slots[],
                       uint32_t count, const struct map_shard *target) {
    const struct name *node = &world.map->nodes[target->node].id;
    struct writer writer = begin(operators, METHOD_SLOTS_MOVE, 3);
    write_array(&writer, count);
    for (uint32_t i = 0; i < count; i++) {
        write_uint(&writer, slots[i]);
    }
    write_str(&writer, name_bytes(node));
    write_uint(&writer, target->number);
    if (control_send(operators, place, &writer)) {
        operators->move_id = operators->next_id;
        sim_cover(COVER_MOVE);
        sim_trace("operator: %u slots from %u on to shard %u of %s", count, slots[0],
                  target->number, node->text);
    }
}

/* The first key's slot, to a shard of another node. */
static void key_move(struct operators *operators) {
    const struct map *map = world.map;
    char name[32];
    key_name(0, name);
    uint32_t slot = slot_of_hash(key_hash(bytes_of_text(name)), world.config.slots).index;
    const struct map_shard *from = &map->shards[map->owner[slot]];
    for (uint32_t i = 0; i < map->shard_count; i++) {
        if (map->shards[i].node != from->node) {
            slots_move(operators, (uint32_t)place_of(from->node), &slot, 1, &map->shards[i]);
            return;
        }
    }
}

static void move(struct operators *operators) {
    const struct map *map = world.map;
    if (map->shard_count < 2) {
        return;
    }
    uint32_t first = (uint32_t)sim_below(STREAM_OPERATORS, map->slot_count);
    if (config_has(&world.config, FEATURE_MOVES_ON)) { /* those that have just been moved, mostly */
        first = (operators->moved_first + first % 3) % map->slot_count;
        operators->moved_first = first > 0 ? first - 1 : 0;
    }
    uint16_t from = map->owner[first];
    const struct map_shard *target = &map->shards[sim_below(STREAM_OPERATORS, map->shard_count)];
    int32_t place = from == UINT16_MAX ? -1 : place_of(map->shards[from].node);
    uint32_t count = 0, wanted = (uint32_t)sim_between(STREAM_OPERATORS, 1, 6);
    uint32_t chosen[8];
    for (uint32_t i = first; i < map->slot_count && count < wanted; i++) {
        if (map->owner[i] != UINT16_MAX &&
            map->shards[map->owner[i]].node == map->shards[from].node) {
            chosen[count++] = i;
        }
    }
    if (place < 0 || count == 0) {
        return;
    }
    slots_move(operators, (uint32_t)place, chosen, count, target);
}

static void weigh(struct operators *operators) {
    if (world.map->node_count == 0) {
        return;
    }
    uint32_t node = (uint32_t)sim_below(STREAM_OPERATORS, world.map->node_count);
    uint64_t weight = sim_below(STREAM_OPERATORS, 3) * WEIGHT_DEFAULT;
    struct writer writer = begin(operators, METHOD_NODE_WEIGHT, 2);
    write_str(&writer, name_bytes(&world.map->nodes[node].id));
    write_uint(&writer, weight);
    if (control_send(operators, any_node(), &writer)) {
        sim_cover(COVER_WEIGHT);
        sim_trace("operator: %s weighs %u", world.map->nodes[node].id.text, (unsigned)weight);
    }
}

/* To the node that owns the key's slot. */
static void key_ask(struct operators *operators, enum method method) {
    char name[32];
    uint32_t key = (uint32_t)sim_below(STREAM_OPERATORS, world.config.keys);
    key_name(key, name);
    uint32_t slot = slot_of_hash(key_hash(bytes_of_text(name)), world.config.slots).index;
    uint16_t owner = world.map->owner[slot];
    int32_t place = owner == UINT16_MAX || world.map->shard_count == 0
                        ? -1
                        : place_of(world.map->shards[owner].node);
    if (place < 0) {
        return;
    }
    bool assigns = method == METHOD_KEY_ASSIGN;
    struct writer writer = begin(operators, method, assigns ? 2 : 1);
    write_str(&writer, bytes_of_text(name));
    if (assigns && sim_chance(STREAM_OPERATORS, 300)) {
        write_nil(&writer);
    } else if (assigns) {
        write_str(&writer, bytes_of_text(sim_chance(STREAM_OPERATORS, 500) ? "slow" : "double"));
    }
    if (control_send(operators, (uint32_t)place, &writer)) {
        sim_cover(assigns ? COVER_ASSIGN : COVER_RESET);
        sim_trace("operator: %s %s", method_text(method), name);
    }
}

/* --- answers and turns --------------------------------------------------------------------- */

static void on_reply(void *ctx, struct link *link, uint32_t id, struct bytes body) {
    struct operators *operators = ctx;
    struct reply reply;
    if (!reply_read(body, &reply)) {
        sim_fail("answers", "an operator was answered by what is no answer");
    }
    bool done = !reply.is_error;
    sim_trace("operator: answer %u: %s", id, done ? "done" : code_text(reply.code));
    if (id == operators->plans_id) {
        operators->has_plans = operators->has_plans || done;
        operators->plans_id = 0;
    } else if (id == operators->init_id) {
        operators->has_map = operators->has_map || done || reply.code == CODE_CONFLICT;
        operators->init_id = 0;
    } else if (id == operators->move_id && !done) {
        sim_cover(COVER_MOVE_FAILED);
    }
}

static void on_up(void *ctx, struct link *link) {}

static void on_down(void *ctx, struct link *link, bool was_up, const char *why) {
    struct operators *operators = ctx;
    operators->plans_id = operators->init_id = 0;
}

static void bad_moment(struct operators *operators) {
    static const enum feature features[] = {FEATURE_MOVES, FEATURE_WEIGHTS, FEATURE_PLANS,
                                            FEATURE_RESETS, FEATURE_ASSIGNS};
    enum feature feature = features[sim_below(STREAM_OPERATORS, 5)];
    if (!config_has(&world.config, feature)) {
        return;
    }
    switch (feature) {
    case FEATURE_MOVES:
        move(operators);
        break;
    case FEATURE_WEIGHTS:
        weigh(operators);
        break;
    case FEATURE_PLANS:
        operators->variant = (uint32_t)sim_below(STREAM_OPERATORS, 4);
        sim_cover(COVER_PLANS);
        plans_apply(operators);
        break;
    case FEATURE_RESETS:
        key_ask(operators, METHOD_KEY_RESET);
        break;
    default:
        key_ask(operators, METHOD_KEY_ASSIGN);
        break;
    }
}

static void on_timer(uv_timer_t *timer) {
    struct operators *operators = timer->data;
    uint64_t again_ms = 50;
    if (!operators->has_plans) {
        if (operators->plans_id == 0) {
            plans_apply(operators);
        }
    } else if (!operators->has_map) {
        /* All nodes that are to own slots from the beginning have their leases by then. */
        if (operators->init_id == 0 && sim_now() > 500 * MS) {
            cluster_init(operators);
        }
    } else if (scenario_moves()) {
        key_move(operators);
    } else if (scenario_plans()) {
        plans_apply(operators);
    } else if (scenario_resets()) {
        key_ask(operators, METHOD_KEY_RESET);
    } else if (!world.faults_over) {
        bool on = config_has(&world.config, FEATURE_MOVES_ON);
        bad_moment(operators);
        again_ms =
            on ? sim_between(STREAM_OPERATORS, 1, 5) : sim_between(STREAM_OPERATORS, 20, 400);
    }
    uv_timer_start(timer, on_timer, again_ms, 0);
}

static int operators_main(void *ctx) {
    struct operators *operators = ctx;
    struct link_handler handler = {operators, on_up, on_down, on_reply};
    char url[64], why[256];
    uv_loop_init(&operators->loop);
    for (uint32_t i = 0; i < world.config.nodes; i++) {
        node_url(&world.nodes[i], NODE_CONTROL_PORT, url);
        int opened =
            link_open(&operators->links[i], &operators->loop, url, &handler, why, sizeof why);
        assert(opened == 0);
    }
    uv_timer_init(&operators->loop, &operators->timer);
    operators->timer.data = operators;
    uv_timer_start(&operators->timer, on_timer, 100, 0);
    uv_run(&operators->loop, UV_RUN_DEFAULT);
    return 0;
}

static void on_exit_never(void *ctx, int status) {
    sim_fail("simulator", "the operators ended");
}

void operators_begin(void) {
    struct operators *operators = sim_keep(sizeof *operators);
    process_start(world.operators, "operator", operators_main, operators, on_exit_never);
}
