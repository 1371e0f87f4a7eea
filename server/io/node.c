#include "server/io/node.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/memory.h"
#include "server/io/control.h"
#include "server/io/membership.h"
#include "server/io/node_address.h"
#include "server/io/shard_loop.h"
#include "server/io/surplus.h"
#include "server/io/takeover.h"

/* Messages that may wait for the node: an answer for each call that may wait, from each shard, and
 * the few that shards send by themselves. */
#define NODE_MAILBOX_MESSAGES (CONTROL_CALLS_MAX * NODE_SHARDS_MAX + 4 * NODE_SHARDS_MAX)

struct node {
    const struct node_settings *settings;
    struct log log;
    uv_loop_t *loop;
    struct boot boot;
    struct mailbox *mailbox;
    struct shard_loop **shards;
    struct endpoint_name *endpoints; /* of the shards, as advertised */
    uint32_t shard_count;            /* opened */
    struct control *control;
    struct endpoint_name control_endpoint;
    struct membership *membership;
    struct handover_shell *handover;
    struct takeover takeover;
    struct surplus surplus;
    uv_timer_t stop_timer;
    bool stopping;
    bool ended;
    bool map_change_asked;
    uint32_t shards_stopped;
    enum node_outcome outcome;
    void (*on_end)(void *ctx, enum node_outcome outcome);
    void *on_end_ctx;
};

/* --- the end ------------------------------------------------------------------------------- */

static void node_end(struct node *node, enum node_outcome outcome) {
    if (!node->ended) {
        node->ended = true;
        node->outcome = outcome;
        uv_timer_stop(&node->stop_timer);
        node->on_end(node->on_end_ctx, outcome);
    }
}

static uint32_t slots_owned(const struct node *node) {
    const struct map *map = &membership_state(node->membership)->map;
    return map_slots_of_node(map, map_find_node(map, bytes_of_text(node->settings->node_id)));
}

static void on_released(void *ctx) {
    struct node *node = ctx;
    if (!node->ended) {
        log_info(&node->log, "stopped, everything is written");
        node_end(node, NODE_STOPPED);
    }
}

/* Handing over may take half of the time: the other half is for writing what is left. */
static void on_stop_timer(uv_timer_t *timer) {
    struct node *node = timer->data;
    if (surplus_give_up(&node->surplus)) {
        return;
    }
    log_error(&node->log, "%u of %u shards still have unwritten buckets; giving up on them",
              node->shard_count - node->shards_stopped, node->shard_count);
    node_end(node, NODE_UNWRITTEN);
}

/* Without slots the lease is given back at once. With slots it is left to run out: a node that is
 * back before it does has its slots as if nothing had been, and one that is not is taken over. */
static void on_shard_stopped(struct node *node) {
    if (++node->shards_stopped < node->shard_count) {
        return;
    }
    membership_event(node->membership, "stop",
                     "%s has written everything and stops, owning %u slots",
                     node->settings->node_id, slots_owned(node));
    if (slots_owned(node) == 0) {
        membership_release(node->membership, on_released, node);
    } else {
        on_released(node);
    }
}

static void shards_tell(struct node *node, enum shard_message_kind kind) {
    for (uint32_t i = 0; i < node->shard_count; i++) {
        struct shard_message *message = memory_need(sizeof *message);
        message->kind = kind;
        bool told = shard_loop_tell(node->shards[i], message);
        assert(told);
    }
}

static void shards_stop(struct node *node) {
    log_info(&node->log, "stopping: writing what is not yet written");
    shards_tell(node, SHARD_MESSAGE_STOP);
}

static void on_drained(void *ctx, bool empty) {
    struct node *node = ctx;
    if (!empty) {
        log_warn(&node->log, "not all slots could be handed over; the rest goes to the living when "
                             "this node's lease has run out");
    }
    shards_stop(node);
}

void node_stop(struct node *node) {
    if (node->stopping) {
        if (!node->ended) {
            on_stop_timer(&node->stop_timer);
        }
        return;
    }
    node->stopping = true;
    uint64_t timeout_ms = node->settings->stop_timeout_ns / 1000000;
    if (node->settings->drain_on_stop) {
        uv_timer_start(&node->stop_timer, on_stop_timer, timeout_ms / 2, timeout_ms / 2);
        log_info(&node->log, "stopping: handing all slots over");
        surplus_drain(&node->surplus, on_drained, node);
    } else {
        uv_timer_start(&node->stop_timer, on_stop_timer, timeout_ms, 0);
        shards_stop(node);
    }
}

/* --- what shards say ----------------------------------------------------------------------- */

static void on_message(void *ctx, void *content) {
    struct node *node = ctx;
    struct node_message *message = content;
    switch (message->kind) {
    case NODE_MESSAGE_ADMIN:
    case NODE_MESSAGE_STATUS:
        control_on_shard(node->control, message);
        break;
    case NODE_MESSAGE_SERVING:
        break;
    case NODE_MESSAGE_SEALED:
        handover_shell_on_sealed(node->handover, message);
        break;
    case NODE_MESSAGE_STOPPED:
        on_shard_stopped(node);
        break;
    }
    free(message->loads);
    free(message);
}

/* --- what the cluster says ----------------------------------------------------------------- */

static void on_map_changed(void *ctx, enum code code, uint64_t number) {
    struct node *node = ctx;
    node->map_change_asked = false;
    if (code == CODE_OK) {
        membership_event(node->membership, "join", "%s stands in the map from epoch %" PRIu64 " on",
                         node->settings->node_id, number);
    }
}

static bool name_differs(const struct endpoint_name *a, const struct endpoint_name *b) {
    return !bytes_equal(endpoint_name_bytes(a), endpoint_name_bytes(b));
}

/* Makes the node stand in the map as it is: with its endpoints, and with every shard it has. A node
 * that joins owns nothing yet. True if something had to be changed. */
static bool self_put(const struct node *node, struct map *map) {
    int32_t self = map_find_node(map, bytes_of_text(node->settings->node_id));
    bool changed = self < 0;
    if (self < 0) {
        if (map->node_count == NODES_MAX) {
            return false;
        }
        self = (int32_t)map->node_count++;
        map->nodes[self].id = name_of(bytes_of_text(node->settings->node_id));
        map->nodes[self].weight = (uint32_t)node->settings->weight;
    }
    changed = changed || name_differs(&map->nodes[self].control, &node->control_endpoint);
    map->nodes[self].control = node->control_endpoint;
    for (uint32_t number = 0; number < node->shard_count; number++) {
        struct shard_id id = map_find_shard(map, (uint32_t)self, number);
        if (id.index == UINT16_MAX) {
            if (map->shard_count == SHARDS_MAX) {
                return changed;
            }
            id.index = (uint16_t)map->shard_count++;
            map->shards[id.index] =
                (struct map_shard){.node = (uint16_t)self, .number = (uint16_t)number};
        }
        struct map_shard *shard = &map->shards[id.index];
        changed = changed || name_differs(&shard->endpoint, &node->endpoints[number]);
        shard->endpoint = node->endpoints[number];
    }
    return changed;
}

static void self_publish(struct node *node, const struct map *map) {
    struct map *next = node->map_change_asked ? NULL : malloc(sizeof *next);
    if (next == NULL) {
        return;
    }
    *next = *map;
    next->epoch.number++;
    if (self_put(node, next)) {
        node->map_change_asked = true;
        membership_replace_map(node->membership, next, on_map_changed, node);
    }
    free(next);
}

/* The highest number of a shard that the map gives this node, plus one. */
static uint32_t shards_wanted(const struct map *map, int32_t self) {
    uint32_t wanted = 0;
    for (uint32_t i = 0; i < map->shard_count; i++) {
        if (map->shards[i].node == self && map->shards[i].number >= wanted) {
            wanted = map->shards[i].number + 1u;
        }
    }
    return wanted;
}

static void on_state(void *ctx, struct cluster_state *state) {
    struct node *node = ctx;
    const struct map *map = &state->map;
    int32_t self = map_find_node(map, bytes_of_text(node->settings->node_id));
    log_info(&node->log, "map epoch %" PRIu64 ", plans version %" PRIu64, map->epoch.number,
             state->plans.version);
    if (self >= 0 && shards_wanted(map, self) > node->shard_count) {
        log_error(&node->log,
                  "the map gives node %s %u shards, but it was started with %u: start it with "
                  "--shards %u",
                  node->settings->node_id, shards_wanted(map, self), node->shard_count,
                  shards_wanted(map, self));
        node_end(node, NODE_FAILED);
        return;
    }
    for (uint32_t i = 0; i < node->shard_count; i++) {
        struct shard_message *message = memory_need(sizeof *message);
        message->kind = SHARD_MESSAGE_STATE;
        message->state = cluster_state_hold(state);
        if (!shard_loop_tell(node->shards[i], message)) {
            /* A shard that takes no messages is stuck: the next epoch would not reach it either. */
            log_error(&node->log, "shard %u does not take its messages", i);
            cluster_state_release(state);
            free(message);
            node_end(node, NODE_FAILED);
            return;
        }
    }
}

static void on_beat(void *ctx, const struct beat *beat) {
    struct node *node = ctx;
    const struct map *map = &membership_state(node->membership)->map;
    handover_shell_on_beat(node->handover, beat);
    control_on_beat(node->control);
    if (map->epoch.number > 0 && !node->ended) {
        self_publish(node, map);
    }
    if (node->settings->failover && !node->stopping) {
        takeover_on_beat(&node->takeover, beat);
    }
    surplus_on_beat(&node->surplus, beat);
    if (node->stopping ? node->surplus.on_drained != NULL : node->settings->auto_rebalance) {
        surplus_step(&node->surplus);
    }
}

static void on_usurped(void *ctx, const char *incarnation) {
    struct node *node = ctx;
    log_error(&node->log, "another process (incarnation %s) runs as node %s now: ending",
              incarnation, node->settings->node_id);
    node_end(node, NODE_FAILED);
}

static void on_foreign(void *ctx, const char *why) {
    struct node *node = ctx;
    log_error(&node->log, "the store at --redis is no longer this cluster's: %s: ending", why);
    node_end(node, NODE_FAILED);
}

/* --- opening ------------------------------------------------------------------------------- */

static bool shards_open(struct node *node, char *why) {
    uint32_t count = (uint32_t)node->settings->shards;
    node->shards = calloc(count, sizeof(struct shard_loop *));
    node->endpoints = calloc(count, sizeof *node->endpoints);
    if (node->shards == NULL || node->endpoints == NULL) {
        snprintf(why, BOOT_WHY_BYTES, "no memory for %u shards", count);
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        char url[ENDPOINT_BYTES_MAX + 1];
        if (!node_listen_url(node->settings->listen, i, url, sizeof url, why)) {
            return false;
        }
        struct shard_loop_options options = {.settings = node->settings,
                                             .redis = &node->boot.access,
                                             .ack = node->boot.ack,
                                             .incarnation = node->boot.incarnation,
                                             .clock = &node->boot.clock,
                                             .log = &node->log,
                                             .number = i,
                                             .listen = url,
                                             .node_mailbox = node->mailbox};
        node->shards[i] = shard_loop_open(&options, why, BOOT_WHY_BYTES);
        if (node->shards[i] == NULL) {
            return false;
        }
        node->shard_count++;
        if (!node_advertised_url(node->settings, shard_loop_url(node->shards[i]),
                                 &node->endpoints[i], why)) {
            return false;
        }
    }
    return true;
}

static bool control_and_membership_open(struct node *node, char *why) {
    struct control_options control = {.settings = node->settings,
                                      .boot = &node->boot,
                                      .log = &node->log,
                                      .shards = node->shards,
                                      .shard_count = node->shard_count};
    node->control = control_open(node->loop, &control, why, BOOT_WHY_BYTES);
    if (node->control == NULL || !node_advertised_url(node->settings, control_url(node->control),
                                                      &node->control_endpoint, why)) {
        return false;
    }
    struct membership_options membership = {
        .settings = node->settings,
        .boot = &node->boot,
        .log = &node->log,
        .control = node->control_endpoint,
        .shard_count = node->shard_count,
        .shards = node->endpoints,
        .handler = {node, on_state, on_beat, on_usurped, on_foreign}};
    node->membership = membership_open(node->loop, &membership);
    if (node->membership == NULL) {
        snprintf(why, BOOT_WHY_BYTES, "no memory for the membership");
        return false;
    }
    struct handover_options handover = {.settings = node->settings,
                                        .log = &node->log,
                                        .membership = node->membership,
                                        .shards = node->shards,
                                        .shard_count = node->shard_count};
    node->handover = handover_shell_open(node->loop, &handover);
    if (node->handover == NULL) {
        snprintf(why, BOOT_WHY_BYTES, "no memory for handovers");
        return false;
    }
    takeover_init(&node->takeover, node->settings->node_id, node->settings->lease_ttl_ns,
                  node->membership);
    surplus_init(&node->surplus, node->settings->node_id, &node->log, node->membership,
                 node->handover);
    control_membership_set(node->control, node->membership, node->handover);
    return true;
}

static bool threads_start(struct node *node, char *why) {
    for (uint32_t i = 0; i < node->shard_count; i++) {
        if (!shard_loop_start(node->shards[i])) {
            snprintf(why, BOOT_WHY_BYTES, "no thread to be had for shard %u", i);
            return false;
        }
    }
    return true;
}

static bool node_prepare(struct node *node, char *why) {
    char replaces[INCARNATION_SIZE + 1];
    if (!boot_open(&node->boot, node->settings, &node->log, why)) {
        return false;
    }
    node->mailbox = mailbox_create(node->loop, NODE_MAILBOX_MESSAGES, on_message, node);
    if (node->mailbox == NULL) {
        snprintf(why, BOOT_WHY_BYTES, "no memory for the node's mailbox");
        return false;
    }
    return boot_lease_check(&node->boot, node->settings, &node->log, replaces, why) &&
           boot_schema_check(&node->boot, node->settings, why) && shards_open(node, why) &&
           control_and_membership_open(node, why) &&
           boot_lease_acquire(&node->boot, node->settings, replaces,
                              membership_info(node->membership), why) &&
           threads_start(node, why);
}

struct node *node_open(uv_loop_t *loop, const struct node_settings *settings, const struct log *log,
                       char why[BOOT_WHY_BYTES]) {
    struct node *node = calloc(1, sizeof *node);
    if (node == NULL) {
        snprintf(why, BOOT_WHY_BYTES, "no memory for a node");
        return NULL;
    }
    snprintf(why, BOOT_WHY_BYTES, "no memory"); /* what fails without a reason of its own */
    node->settings = settings;
    node->log = *log;
    node->loop = loop;
    uv_timer_init(loop, &node->stop_timer);
    node->stop_timer.data = node;
    bool prepared = node_prepare(node, why);
    boot_close(&node->boot);
    if (!prepared) {
        node->ended = true;
        node_close(node);
        uv_run(loop, UV_RUN_DEFAULT);
        return NULL;
    }
    membership_start(node->membership);
    for (uint32_t i = 0; i < node->shard_count; i++) {
        log_info(log, "shard %u at %s", i, node->endpoints[i].text);
    }
    log_info(log, "control at %s, incarnation %s", node->control_endpoint.text,
             node->boot.incarnation);
    return node;
}

void node_on_end(struct node *node, void (*on_end)(void *ctx, enum node_outcome outcome),
                 void *ctx) {
    node->on_end = on_end;
    node->on_end_ctx = ctx;
}

static void node_discard(void *message) {
    free(message);
}

static void on_node_timer_closed(uv_handle_t *handle) {
    struct node *node = handle->data;
    free(node->shards);
    free(node->endpoints);
    free(node);
}

void node_close(struct node *node) {
    assert(node->ended);
    if (node->membership != NULL) {
        membership_close(node->membership);
    }
    for (uint32_t i = 0; i < node->shard_count; i++) {
        if (shard_loop_started(node->shards[i])) {
            struct shard_message *message = memory_need(sizeof *message);
            message->kind = SHARD_MESSAGE_EXIT;
            bool told = shard_loop_tell(node->shards[i], message);
            assert(told);
        }
    }
    for (uint32_t i = 0; i < node->shard_count; i++) {
        shard_loop_join(node->shards[i]);
    }
    if (node->handover != NULL) {
        handover_shell_close(node->handover);
    }
    if (node->control != NULL) {
        control_close(node->control);
    }
    if (node->mailbox != NULL) {
        mailbox_close(node->mailbox, node_discard);
    }
    uv_close((uv_handle_t *)&node->stop_timer, on_node_timer_closed);
}
