/*
 * The cores of ownership: a handover and the takeover of dead nodes' slots, driven by a map that
 * others change at any moment, events in any order, and heartbeats that come early, late or twice.
 */
#include "server/core/handover.h"
#include "server/core/ownership.h"
#include "tests/fuzz/fuzz.h"

#define NODES 3
#define SHARDS 6
#define SLOTS 16
#define STEPS_MAX 2000

static struct map map, next;
static struct placement_move moves[SLOTS_MAX];

static void map_open(void) {
    static const char *const ids[NODES] = {"a", "b", "c"};
    map_init(&map);
    map.epoch.number = 1;
    map.slot_count = SLOTS;
    map.node_count = NODES;
    map.shard_count = SHARDS;
    for (uint32_t i = 0; i < NODES; i++) {
        map.nodes[i].id = name_of(bytes_of_text(ids[i]));
        map.nodes[i].weight = WEIGHT_DEFAULT;
        FUZZ_CHECK(endpoint_name_set(&map.nodes[i].control, bytes_of_text("tcp://c:1")));
    }
    for (uint32_t i = 0; i < SHARDS; i++) {
        map.shards[i] = (struct map_shard){.node = (uint16_t)(i / 2), .number = i % 2};
        FUZZ_CHECK(endpoint_name_set(&map.shards[i].endpoint, bytes_of_text("tcp://s:1")));
    }
    map_spread(&map);
}

/* Somebody else's change: a slot goes to any shard, or to nobody. */
static void map_disturb(struct fuzz *fuzz) {
    uint32_t slot = fuzz_below(fuzz, SLOTS), owner = fuzz_below(fuzz, SHARDS + 1);
    map.owner[slot] = owner == SHARDS ? UINT16_MAX : (uint16_t)owner;
    map.epoch.number++;
}

static bool is_mine(uint16_t owner) {
    return owner != UINT16_MAX && map.shards[owner].node == 0;
}

/* What may be proposed: the map in force with exactly these slots of this node's given away. */
static void proposal_check(const struct handover *handover) {
    struct fault fault;
    uint32_t changed = 0;
    FUZZ_CHECK(map_check(&next, &fault) == CODE_OK);
    FUZZ_CHECK(next.epoch.number == map.epoch.number + 1);
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        bool moves_now = false;
        for (uint32_t i = 0; i < handover->slot_count; i++) {
            moves_now = moves_now || handover->slots[i].index == slot;
        }
        FUZZ_CHECK(moves_now ? is_mine(map.owner[slot]) : next.owner[slot] == map.owner[slot]);
        changed += moves_now;
    }
    FUZZ_CHECK(changed == handover->slot_count);
}

static void update_check(const struct handover *handover, enum handover_state before,
                         const struct handover_update *update) {
    bool was_sealed = before > HANDOVER_REACHING;
    FUZZ_CHECK(handover->state <= HANDOVER_SETTLING);
    FUZZ_CHECK(update->done == (before != HANDOVER_IDLE && handover->state == HANDOVER_IDLE));
    FUZZ_CHECK(!update->unseal || update->done);
    FUZZ_CHECK(!was_sealed || !update->done || update->unseal); /* nothing stays sealed */
    FUZZ_CHECK(!update->seal || handover->state == HANDOVER_SEALING);
    FUZZ_CHECK(!update->change || handover->state == HANDOVER_CHANGING);
    FUZZ_CHECK(!update->refresh || (update->done && update->fault.code == CODE_OK));
    FUZZ_CHECK(!update->done || update->fault.code == CODE_OK || update->fault.text[0] != '\0');
    FUZZ_CHECK(update->deadline_ns == handover->deadline_ns);
    FUZZ_CHECK(handover->proposals <= HANDOVER_PROPOSALS_MAX);
    /* Sealed without an end in sight only while the store's answer decides. */
    FUZZ_CHECK(handover->state != HANDOVER_SEALING || handover->deadline_ns != 0);
    if (update->change) {
        proposal_check(handover);
    }
}

static void start(struct handover *handover, struct fuzz *fuzz, uint64_t now_ns) {
    struct slot slots[SLOTS];
    uint32_t count = 0, wanted = 1 + fuzz_below(fuzz, 4);
    enum handover_state before = handover->state;
    struct handover_update update;
    struct shard_id target = {(uint16_t)fuzz_below(fuzz, SHARDS)};
    for (uint32_t slot = fuzz_below(fuzz, SLOTS); slot < SLOTS && count < wanted; slot++) {
        if (is_mine(map.owner[slot])) {
            slots[count++].index = (uint16_t)slot;
        }
    }
    if (count == 0) {
        return;
    }
    enum code code = handover_start(handover, &map, slots, count, target, now_ns, &update);
    FUZZ_CHECK(code == (before == HANDOVER_IDLE ? CODE_OK : CODE_OVERLOADED));
    if (code == CODE_OK) {
        FUZZ_CHECK(handover->state == HANDOVER_REACHING || handover->state == HANDOVER_SEALING);
        FUZZ_CHECK(update.reach == (target.index >= 2)); /* shards 0 and 1 are this node's */
        FUZZ_CHECK(update.seal == !update.reach);
    }
}

static void step(struct handover *handover, struct fuzz *fuzz, uint64_t now_ns) {
    static const enum handover_event_kind kinds[] = {HANDOVER_EVENT_REACHED, HANDOVER_EVENT_REFUSED,
                                                     HANDOVER_EVENT_SEALED,  HANDOVER_EVENT_CHANGED,
                                                     HANDOVER_EVENT_BEAT,    HANDOVER_EVENT_TIME};
    static const struct fault refusal = {.code = CODE_CONFLICT, .text = "another cluster's"};
    enum handover_state before = handover->state;
    struct handover_update update;
    struct handover_event event = {.kind = kinds[fuzz_below(fuzz, 6)],
                                   .now_ns = now_ns,
                                   .map = &map,
                                   .turn = handover->turn - fuzz_below(fuzz, 2),
                                   .beat = fuzz_below(fuzz, 8),
                                   .fault = &refusal};
    /* Whoever answers a change knows: it came first, another did, or nobody can tell. */
    uint32_t outcome = fuzz_below(fuzz, 3);
    if (event.kind == HANDOVER_EVENT_CHANGED && before == HANDOVER_CHANGING) {
        if (outcome == 0 && next.epoch.number == map.epoch.number + 1) {
            map = next;
        } else if (outcome == 1) {
            map_disturb(fuzz);
            event.lost = true;
        }
    }
    handover_step(handover, &event, &next, &update);
    update_check(handover, before, &update);
    if (update.done && update.fault.code == CODE_OK) {
        for (uint32_t i = 0; i < handover->slot_count; i++) {
            uint16_t owner = map.owner[handover->slots[i].index];
            const struct map_shard *shard = &map.shards[owner];
            FUZZ_CHECK(owner != UINT16_MAX && shard->number == handover->target_number);
            FUZZ_CHECK(bytes_equal(name_bytes(&map.nodes[shard->node].id),
                                   name_bytes(&handover->target_node)));
        }
    }
}

/* Only what the absent owned, or nobody, is taken over, by somebody who is there. */
static void beat(struct ownership *ownership, struct fuzz *fuzz, uint64_t now_ns) {
    uint8_t bits = fuzz_u8(fuzz);
    bool absent[NODES];
    for (uint32_t i = 0; i < NODES; i++) {
        absent[i] = (bits >> i & 1) != 0;
    }
    /* Who beats is there, whatever a list of a moment ago says. */
    bool self_known = (bits & 8) == 0;
    uint32_t count = ownership_beat(ownership, &map, self_known ? 0 : -1, absent, now_ns,
                                    (uint64_t)fuzz_u8(fuzz) << 22, moves);
    FUZZ_CHECK(count <= SLOTS);
    FUZZ_CHECK(count == 0 || (ownership->calm_since_ns != 0 && self_known));
    absent[0] = false;
    for (uint32_t i = 0; i < count; i++) {
        uint16_t owner = map.owner[moves[i].slot.index];
        FUZZ_CHECK(owner == UINT16_MAX || absent[map.shards[owner].node]);
        FUZZ_CHECK(moves[i].to.index < SHARDS && !absent[map.shards[moves[i].to.index].node]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct fuzz fuzz = fuzz_of(data, size);
    struct handover handover;
    struct ownership ownership;
    uint64_t now_ns = 1000000000;
    map_open();
    memset(&next, 0, sizeof next);
    handover_init(&handover, bytes_of_text("a"));
    ownership_init(&ownership, 1000000000);
    for (uint32_t i = 0; i < STEPS_MAX && !fuzz_done(&fuzz); i++) {
        now_ns += (uint64_t)fuzz_u8(&fuzz) << 20; /* up to 270 ms */
        switch (fuzz_below(&fuzz, 6)) {
        case 0:
            start(&handover, &fuzz, now_ns);
            break;
        case 1:
            map_disturb(&fuzz);
            break;
        case 2:
            beat(&ownership, &fuzz, now_ns);
            break;
        default:
            step(&handover, &fuzz, now_ns);
        }
    }
    return 0;
}
