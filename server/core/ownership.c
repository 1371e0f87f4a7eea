#include "server/core/ownership.h"

void ownership_init(struct ownership *ownership, uint64_t lease_ttl_ns) {
    memset(ownership, 0, sizeof *ownership);
    ownership->lease_ttl_ns = lease_ttl_ns;
}

/* Calm lasts while heartbeats follow each other within half a lease and on one connection, each
 * answered within a third of one. */
static bool calm(struct ownership *ownership, uint64_t sent_ns, uint64_t round_trip_ns) {
    uint64_t ttl_ns = ownership->lease_ttl_ns;
    bool prompt = round_trip_ns <= ttl_ns / 3 && ownership->last_beat_ns != 0 &&
                  sent_ns - ownership->last_beat_ns <= ttl_ns / 2;
    ownership->last_beat_ns = sent_ns;
    if (!prompt) {
        ownership->calm_since_ns = sent_ns > 0 ? sent_ns : 1;
        return false;
    }
    return sent_ns - ownership->calm_since_ns >= OWNERSHIP_CALM * ttl_ns;
}

void ownership_reconnected(struct ownership *ownership) {
    ownership->last_beat_ns = 0;
}

/* The weights that a takeover spreads by: the dead have none; if all the living are drained they
 * share evenly, since somebody must. */
static void weigh(struct placement *placement, const struct map *map, const bool *dead) {
    uint64_t total = 0;
    placement_init(placement, map);
    for (uint32_t i = 0; i < map->node_count; i++) {
        placement->weights[i] = dead[i] ? 0 : placement->weights[i];
        placement->keeps[i] = !dead[i];
        total += placement->weights[i];
    }
    for (uint32_t i = 0; i < map->node_count && total == 0; i++) {
        placement->weights[i] = dead[i] ? 0 : WEIGHT_DEFAULT;
    }
}

uint32_t ownership_beat(struct ownership *ownership, const struct map *map, int32_t self,
                        const bool *absent, uint64_t sent_ns, uint64_t round_trip_ns,
                        struct placement_move *moves) {
    bool is_calm = calm(ownership, sent_ns, round_trip_ns);
    bool dead[NODES_MAX] = {false};
    bool any = false;
    for (uint32_t i = 0; i < map->node_count; i++) {
        dead[i] = absent[i] && (int32_t)i != self;
        any = any || dead[i];
    }
    if (!is_calm || !any || self < 0) {
        return 0;
    }
    struct placement placement;
    weigh(&placement, map, dead);
    return placement_evacuate(&placement, moves);
}
