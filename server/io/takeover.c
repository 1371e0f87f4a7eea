#include "server/io/takeover.h"

#include <inttypes.h>
#include <stdlib.h>

void takeover_init(struct takeover *takeover, const char *node_id, uint64_t lease_ttl_ns,
                   struct membership *membership) {
    memset(takeover, 0, sizeof *takeover);
    ownership_init(&takeover->ownership, lease_ttl_ns);
    takeover->membership = membership;
    takeover->node_id = node_id;
}

static void on_changed(void *ctx, enum code code, uint64_t number) {
    struct takeover *takeover = ctx;
    takeover->proposed = false;
    if (code == CODE_OK) {
        membership_event(takeover->membership, "failover",
                         "%s has no lease any more: its %u slots belong to the living from epoch "
                         "%" PRIu64 " on",
                         takeover->dead, takeover->slots, number);
    } else if (code == CODE_CONFLICT) {
        membership_event(takeover->membership, "failover-lost",
                         "%s had no lease any more, but another change of the map came first "
                         "(epoch %" PRIu64 ")",
                         takeover->dead, number);
    }
}

static void propose(struct takeover *takeover, const struct map *map,
                    const struct placement_move *moves, uint32_t count) {
    struct map *next = malloc(sizeof *next);
    if (next == NULL) {
        return;
    }
    *next = *map;
    next->epoch.number++;
    placement_apply(next, moves, count);
    uint16_t from = moves[0].from.index;
    snprintf(takeover->dead, sizeof takeover->dead, "%s",
             from == UINT16_MAX ? "nobody" : map->nodes[map->shards[from].node].id.text);
    takeover->slots = count;
    takeover->proposed = true;
    membership_replace_map(takeover->membership, next, on_changed, takeover);
    free(next);
}

void takeover_on_beat(struct takeover *takeover, const struct beat *beat) {
    const struct map *map = &membership_state(takeover->membership)->map;
    bool absent[NODES_MAX] = {false};
    if (beat->reconnected) {
        ownership_reconnected(&takeover->ownership);
    }
    if (takeover->proposed || map->epoch.number == 0) {
        return;
    }
    for (uint32_t i = 0; i < beat->absent_count; i++) {
        int32_t node = map_find_node(map, name_bytes(&beat->absent[i]));
        if (node >= 0) {
            absent[node] = true;
        }
    }
    struct placement_move *moves = malloc(map->slot_count * sizeof *moves);
    if (moves == NULL) {
        return;
    }
    uint32_t count = ownership_beat(&takeover->ownership, map,
                                    map_find_node(map, bytes_of_text(takeover->node_id)), absent,
                                    beat->sent_ns, beat->round_trip_ns, moves);
    if (count > 0) {
        propose(takeover, map, moves, count);
    }
    free(moves);
}
