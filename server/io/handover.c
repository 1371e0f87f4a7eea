#include "server/io/handover.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#include "proto/reply.h"
#include "proto/request.h"
#include "runtime/link.h"

enum handover_state { IDLE, REACHING, SEALING, CHANGING, SETTLING };
#define STATE_COUNT (SETTLING + 1)

#define MOVE(to) (1u << (to))

static const struct {
    const char *name;
    uint32_t moves;
} states[STATE_COUNT] = {
    [IDLE] = {"idle", MOVE(REACHING)},
    [REACHING] = {"reaching", MOVE(SEALING) | MOVE(IDLE)},
    [SEALING] = {"sealing", MOVE(CHANGING) | MOVE(IDLE)},
    [CHANGING] = {"changing", MOVE(SETTLING)},
    [SETTLING] = {"settling", MOVE(IDLE)},
};

struct handover {
    const struct node_settings *settings;
    struct log log;
    uv_loop_t *loop;
    struct membership *membership;
    struct shard_loop **shards;
    uint32_t shard_count;
    uv_timer_t timer;
    enum handover_state state;
    uint64_t turn; /* the token of this handover's messages */
    struct slot slots[HANDOVER_SLOTS_MAX];
    uint32_t slot_count;
    struct name target_node;
    uint32_t target_number;
    struct link *link; /* to the target's control endpoint; NULL if the target is this node */
    uint32_t shards_outstanding;
    uint64_t sealed_at_ns;
    uint64_t settles_at; /* the number of the first heartbeat that can tell */
    handover_done_fn done;
    void *ctx;
};

static void state_move(struct handover *handover, enum handover_state to) {
    assert((states[handover->state].moves & MOVE(to)) != 0);
    log_debug(&handover->log, "handover: %s -> %s", states[handover->state].name, states[to].name);
    handover->state = to;
}

bool handover_busy(const struct handover *handover) {
    return handover->state != IDLE;
}

/* --- telling the shards -------------------------------------------------------------------- */

/* Seals exactly the handover's slots on the shards that own them; none: unseals all. Returns how
 * many shards have something to seal. */
static uint32_t shards_seal(struct handover *handover, bool seal) {
    const struct map *map = &membership_state(handover->membership)->map;
    int32_t self = map_find_node(map, bytes_of_text(handover->settings->node_id));
    uint32_t concerned = 0;
    for (uint32_t number = 0; number < handover->shard_count; number++) {
        struct shard_message *message = calloc(1, sizeof *message);
        assert(message != NULL);
        message->kind = SHARD_MESSAGE_SEAL;
        message->token = handover->turn;
        struct shard_id id = self < 0 ? SHARD_ID_NONE : map_find_shard(map, (uint32_t)self, number);
        bool any = false;
        for (uint32_t i = 0; seal && i < handover->slot_count; i++) {
            uint32_t slot = handover->slots[i].index;
            if (id.index != UINT16_MAX && map->owner[slot] == id.index) {
                message->sealed[slot / 8] |= (uint8_t)(1u << (slot % 8));
                any = true;
            }
        }
        if ((seal && !any) || !shard_loop_tell(handover->shards[number], message)) {
            free(message);
            continue;
        }
        concerned += any;
    }
    return concerned;
}

/* --- the end of one ------------------------------------------------------------------------ */

static void handover_end(struct handover *handover, enum code code, const char *text) {
    struct fault fault;
    bool was_sealed = handover->state != REACHING;
    uint64_t sealed_ns = was_sealed ? clock_monotonic_ns() - handover->sealed_at_ns : 0;
    uv_timer_stop(&handover->timer);
    if (was_sealed) {
        shards_seal(handover, false);
    }
    if (handover->link != NULL) {
        link_close(handover->link, NULL, NULL);
        handover->link = NULL;
    }
    state_move(handover, IDLE);
    fault_set(&fault, code, "%s", text);
    handover->done(handover->ctx, &fault, sealed_ns);
}

static void on_timer(uv_timer_t *timer) {
    struct handover *handover = timer->data;
    if (handover->state == REACHING) {
        handover_end(handover, CODE_UNAVAILABLE,
                     "the target's control endpoint does not answer: is that node running?");
    } else if (handover->state == SEALING) {
        handover_end(handover, CODE_UNAVAILABLE,
                     "the store did not take the slots' last writes in time; they stay here");
    }
}

/* --- steps --------------------------------------------------------------------------------- */

static struct shard_id target_in(const struct handover *handover, const struct map *map) {
    int32_t node = map_find_node(map, name_bytes(&handover->target_node));
    return node < 0 ? SHARD_ID_NONE : map_find_shard(map, (uint32_t)node, handover->target_number);
}

static void on_changed(void *ctx, enum code code, uint64_t number) {
    struct handover *handover = ctx;
    state_move(handover, SETTLING);
    handover->settles_at = membership_beat(handover->membership);
}

static void map_change(struct handover *handover) {
    const struct map *map = &membership_state(handover->membership)->map;
    struct shard_id target = target_in(handover, map);
    struct map *next = malloc(sizeof *next);
    if (next == NULL || target.index == UINT16_MAX) {
        free(next);
        handover_end(handover, CODE_UNAVAILABLE, "the target is no longer in the map");
        return;
    }
    int32_t self = map_find_node(map, bytes_of_text(handover->settings->node_id));
    *next = *map;
    next->epoch.number++;
    for (uint32_t i = 0; i < handover->slot_count; i++) {
        uint16_t owner = map->owner[handover->slots[i].index];
        if (owner == UINT16_MAX || map->shards[owner].node != self) {
            free(next);
            handover_end(handover, CODE_CONFLICT,
                         "the map changed: a slot is no longer this node's");
            return;
        }
        next->owner[handover->slots[i].index] = target.index;
    }
    uv_timer_stop(&handover->timer);
    state_move(handover, CHANGING);
    membership_replace_map(handover->membership, next, on_changed, handover);
    free(next);
}

void handover_on_sealed(struct handover *handover, const struct node_message *message) {
    if (handover->state == SEALING && message->token == handover->turn &&
        --handover->shards_outstanding == 0) {
        map_change(handover);
    }
}

static void slots_seal(struct handover *handover) {
    state_move(handover, SEALING);
    handover->sealed_at_ns = clock_monotonic_ns();
    uv_timer_start(&handover->timer, on_timer, HANDOVER_SEAL_MS, 0);
    handover->shards_outstanding = shards_seal(handover, true);
    if (handover->shards_outstanding == 0) {
        handover_end(handover, CODE_CONFLICT,
                     "the map changed: the slots are no longer this node's");
    }
}

/* Tells the target to look at the map now instead of at its next heartbeat. */
static void target_refresh(struct handover *handover, uint64_t epoch) {
    uint8_t memory[64];
    struct writer writer = writer_of(memory, sizeof memory);
    request_write_head(&writer, 1, METHOD_CLUSTER_REFRESH);
    write_array(&writer, 1);
    write_uint(&writer, epoch);
    if (handover->link != NULL &&
        link_send(handover->link, 1, writer_bytes(&writer)) == LINK_SENT) {
        link_flush(handover->link);
    }
}

void handover_on_beat(struct handover *handover, const struct beat *beat) {
    if (handover->state != SETTLING || beat->number < handover->settles_at) {
        return;
    }
    const struct map *map = &membership_state(handover->membership)->map;
    struct shard_id target = target_in(handover, map);
    uint32_t moved = 0;
    for (uint32_t i = 0; i < handover->slot_count; i++) {
        moved += target.index != UINT16_MAX && map->owner[handover->slots[i].index] == target.index;
    }
    if (moved == handover->slot_count) {
        target_refresh(handover, map->epoch.number);
        handover_end(handover, CODE_OK, "");
    } else {
        handover_end(handover, CODE_CONFLICT,
                     "another change of the map came first; the slots stay here");
    }
}

/* --- reaching the target ------------------------------------------------------------------- */

static void on_up(void *ctx, struct link *link) {
    struct handover *handover = ctx;
    if (handover->state == REACHING) {
        slots_seal(handover);
    }
}

static void on_down(void *ctx, struct link *link, bool was_up, const char *why) {}

static void on_reply(void *ctx, struct link *link, uint32_t id, struct bytes body) {}

enum code handover_start(struct handover *handover, const struct slot *slots, uint32_t count,
                         struct shard_id target, handover_done_fn done, void *ctx,
                         struct fault *fault) {
    const struct map *map = &membership_state(handover->membership)->map;
    assert(count >= 1 && count <= HANDOVER_SLOTS_MAX && target.index < map->shard_count);
    if (handover->state != IDLE) {
        return fault_set(fault, CODE_OVERLOADED, "another handover is under way on this node");
    }
    const struct map_node *node = &map->nodes[map->shards[target.index].node];
    memcpy(handover->slots, slots, count * sizeof slots[0]);
    handover->slot_count = count;
    handover->target_node = node->id;
    handover->target_number = map->shards[target.index].number;
    handover->done = done;
    handover->ctx = ctx;
    handover->turn++;
    state_move(handover, REACHING);
    uv_timer_start(&handover->timer, on_timer, HANDOVER_REACH_MS, 0);
    if (bytes_equal(name_bytes(&node->id), bytes_of_text(handover->settings->node_id))) {
        slots_seal(handover);
        return CODE_OK;
    }
    char why[256];
    struct link_handler handler = {handover, on_up, on_down, on_reply};
    if (link_open(&handover->link, handover->loop, node->control.text, &handler, why, sizeof why) !=
        0) {
        handover->link = NULL;
        state_move(handover, IDLE);
        uv_timer_stop(&handover->timer);
        return fault_set(fault, CODE_UNAVAILABLE, "cannot reach node %s at %s: %s", node->id.text,
                         node->control.text, why);
    }
    return CODE_OK;
}

/* --- life ---------------------------------------------------------------------------------- */

struct handover *handover_open(uv_loop_t *loop, const struct handover_options *options) {
    struct handover *handover = calloc(1, sizeof *handover);
    if (handover == NULL) {
        return NULL;
    }
    handover->settings = options->settings;
    handover->log = *options->log;
    handover->loop = loop;
    handover->membership = options->membership;
    handover->shards = options->shards;
    handover->shard_count = options->shard_count;
    uv_timer_init(loop, &handover->timer);
    handover->timer.data = handover;
    return handover;
}

static void on_timer_closed(uv_handle_t *handle) {
    free(handle->data);
}

void handover_close(struct handover *handover) {
    if (handover->state != IDLE) {
        struct fault fault;
        fault_set(&fault, CODE_UNAVAILABLE, "%s", reason_text(REASON_STOPPING));
        handover->done(handover->ctx, &fault, 0);
    }
    if (handover->link != NULL) {
        link_close(handover->link, NULL, NULL);
    }
    uv_close((uv_handle_t *)&handover->timer, on_timer_closed);
}
