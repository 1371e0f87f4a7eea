#include "proto/placement.h"

#include <assert.h>

/* A shard within this many percent of its share of the load is left alone. */
#define LOAD_TOLERANCE_PERCENT 5

void placement_init(struct placement *placement, const struct map *map) {
    memset(placement, 0, sizeof *placement);
    placement->map = map;
    for (uint32_t i = 0; i < map->node_count; i++) {
        placement->weights[i] = map->nodes[i].weight;
    }
}

static uint32_t shards_of(const struct map *map, uint32_t node) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < map->shard_count; i++) {
        count += map->shards[i].node == node;
    }
    return count;
}

/* A shard's weight, scaled so that the node's divides evenly over its shards: weight * 2^20 /
 * shards. */
static void shard_weights(const struct placement *placement, uint64_t weights[SHARDS_MAX],
                          uint64_t *total) {
    const struct map *map = placement->map;
    *total = 0;
    for (uint32_t i = 0; i < map->shard_count; i++) {
        uint32_t node = map->shards[i].node;
        assert(placement->weights[node] <= WEIGHT_MAX);
        weights[i] = ((uint64_t)placement->weights[node] << 20) / shards_of(map, node);
        *total += weights[i];
    }
}

static void owned_count(const struct map *map, uint32_t owned[SHARDS_MAX]) {
    memset(owned, 0, SHARDS_MAX * sizeof owned[0]);
    for (uint32_t i = 0; i < map->slot_count; i++) {
        if (map->owner[i] != UINT16_MAX) {
            owned[map->owner[i]]++;
        }
    }
}

/* Rounds shares down, then gives what is left over one by one: first to shards that own more than
 * that already (so that nothing moves for a rounding), then by index. */
void placement_shares(const struct placement *placement, uint32_t shares[SHARDS_MAX]) {
    const struct map *map = placement->map;
    uint64_t weights[SHARDS_MAX], total;
    uint32_t owned[SHARDS_MAX], left = map->slot_count;
    memset(shares, 0, SHARDS_MAX * sizeof shares[0]);
    shard_weights(placement, weights, &total);
    if (total == 0) {
        return;
    }
    owned_count(map, owned);
    for (uint32_t i = 0; i < map->shard_count; i++) {
        shares[i] = (uint32_t)(weights[i] * map->slot_count / total);
        left -= shares[i];
    }
    for (int pass = 0; pass < 2; pass++) {
        for (uint32_t i = 0; i < map->shard_count && left > 0; i++) {
            bool inexact = weights[i] * map->slot_count % total != 0;
            bool exact_down = shares[i] == weights[i] * map->slot_count / total;
            if (inexact && exact_down && (pass == 1 || owned[i] > shares[i])) {
                shares[i]++;
                left--;
            }
        }
    }
    assert(left == 0);
}

/* Hands `slot` to the shard that is furthest below its share. */
static struct shard_id neediest(const struct map *map, const uint32_t shares[SHARDS_MAX],
                                const uint32_t owned[SHARDS_MAX]) {
    uint32_t best = UINT16_MAX, most = 0;
    for (uint32_t i = 0; i < map->shard_count; i++) {
        uint32_t missing = shares[i] > owned[i] ? shares[i] - owned[i] : 0;
        if (missing > most) {
            most = missing;
            best = i;
        }
    }
    return (struct shard_id){.index = (uint16_t)best};
}

/* A target is kept until it has its share, so that neighbours stay together: the map's runs stay
 * long, and a job has few batches. */
uint32_t placement_by_count(const struct placement *placement, struct placement_move *moves) {
    const struct map *map = placement->map;
    struct shard_id to = SHARD_ID_NONE;
    uint32_t shares[SHARDS_MAX], owned[SHARDS_MAX], count = 0;
    placement_shares(placement, shares);
    owned_count(map, owned);
    for (uint32_t i = 0; i < map->slot_count; i++) {
        uint16_t from = map->owner[i];
        bool orphan = from == UINT16_MAX;
        if (!orphan && owned[from] <= shares[from]) {
            continue;
        }
        if (to.index == UINT16_MAX || owned[to.index] >= shares[to.index]) {
            to = neediest(map, shares, owned);
        }
        if (to.index == UINT16_MAX) {
            continue;
        }
        moves[count++] = (struct placement_move){
            .slot = {.index = (uint16_t)i}, .from = {.index = from}, .to = to};
        owned[to.index]++;
        if (!orphan) {
            owned[from]--;
        }
    }
    return count;
}

static bool evacuates(const struct placement *placement, uint32_t slot) {
    const struct map *map = placement->map;
    uint16_t owner = map->owner[slot];
    if (owner == UINT16_MAX) {
        return true;
    }
    uint16_t node = map->shards[owner].node;
    return placement->weights[node] == 0 && !placement->keeps[node];
}

/* How many of `slots` more slots each shard gets: one by one to the shard that owns the least for
 * its weight (owned / weight, compared crosswise). */
static void gains_deal(const struct map *map, const uint64_t weights[SHARDS_MAX], uint32_t slots,
                       uint32_t gains[SHARDS_MAX]) {
    uint32_t owned[SHARDS_MAX];
    owned_count(map, owned);
    memset(gains, 0, SHARDS_MAX * sizeof gains[0]);
    for (uint32_t i = 0; i < slots; i++) {
        uint32_t best = UINT16_MAX;
        for (uint32_t s = 0; s < map->shard_count; s++) {
            if (weights[s] > 0 && (best == UINT16_MAX || (owned[s] + 1) * weights[best] <
                                                             (owned[best] + 1) * weights[s])) {
                best = s;
            }
        }
        owned[best]++;
        gains[best]++;
    }
}

uint32_t placement_evacuate(const struct placement *placement, struct placement_move *moves) {
    const struct map *map = placement->map;
    uint64_t weights[SHARDS_MAX], total;
    uint32_t gains[SHARDS_MAX], count = 0, to = 0;
    shard_weights(placement, weights, &total);
    if (total == 0) {
        return 0;
    }
    for (uint32_t i = 0; i < map->slot_count; i++) {
        count += evacuates(placement, i);
    }
    gains_deal(map, weights, count, gains);
    count = 0;
    for (uint32_t i = 0; i < map->slot_count; i++) {
        if (!evacuates(placement, i)) {
            continue;
        }
        while (gains[to] == 0) {
            to++;
        }
        gains[to]--;
        moves[count++] = (struct placement_move){.slot = {.index = (uint16_t)i},
                                                 .from = {.index = map->owner[i]},
                                                 .to = {.index = (uint16_t)to}};
    }
    return count;
}

/* --- by load ------------------------------------------------------------------------------- */

struct balance {
    const struct map *map;
    const uint64_t *loads;
    uint16_t owner[SLOTS_MAX];
    bool moved[SLOTS_MAX];
    uint64_t load[SHARDS_MAX];
    uint64_t share[SHARDS_MAX];
    uint64_t weight[SHARDS_MAX];
    uint32_t owned[SHARDS_MAX];
    uint64_t total; /* load */
    struct placement_move *moves;
    uint32_t count;
};

/* False if no shard has weight. */
static bool balance_init(struct balance *balance, const struct placement *placement,
                         const uint64_t *loads, struct placement_move *moves) {
    const struct map *map = placement->map;
    uint64_t total_weight;
    memset(balance, 0, sizeof *balance);
    balance->map = map;
    balance->loads = loads;
    balance->moves = moves;
    shard_weights(placement, balance->weight, &total_weight);
    owned_count(map, balance->owned);
    for (uint32_t i = 0; i < map->slot_count; i++) {
        balance->owner[i] = map->owner[i];
        balance->total += loads[i];
        if (map->owner[i] != UINT16_MAX) {
            balance->load[map->owner[i]] += loads[i];
        }
    }
    for (uint32_t i = 0; i < map->shard_count && total_weight > 0; i++) {
        balance->share[i] =
            (uint64_t)((unsigned __int128)balance->total * balance->weight[i] / total_weight);
    }
    return total_weight > 0;
}

static void balance_move(struct balance *balance, uint32_t slot, uint32_t to) {
    uint16_t from = balance->owner[slot];
    balance->moves[balance->count++] = (struct placement_move){
        .slot = {.index = (uint16_t)slot}, .from = {.index = from}, .to = {.index = (uint16_t)to}};
    if (from != UINT16_MAX) {
        balance->load[from] -= balance->loads[slot];
        balance->owned[from]--;
    }
    balance->owner[slot] = (uint16_t)to;
    balance->moved[slot] = true;
    balance->load[to] += balance->loads[slot];
    balance->owned[to]++;
}

/* A slot of less than so many percent of an average one's load is at rest. */
#define LOAD_REST_PERCENT 1

/* The shard with the most room below its share; for a slot at rest, and among equals, the one that
 * owns the least for its weight, so that those are spread as well. */
static uint32_t roomiest(const struct balance *balance, uint64_t load) {
    bool rests = (unsigned __int128)load * balance->map->slot_count * 100 <=
                 (unsigned __int128)balance->total * LOAD_REST_PERCENT;
    uint32_t best = UINT32_MAX;
    for (uint32_t i = 0; i < balance->map->shard_count; i++) {
        if (balance->weight[i] == 0) {
            continue;
        }
        int64_t room = rests ? 0 : (int64_t)(balance->share[i] - balance->load[i]);
        int64_t best_room =
            best == UINT32_MAX || rests ? 0 : (int64_t)(balance->share[best] - balance->load[best]);
        if (best == UINT32_MAX || room > best_room ||
            (room == best_room && (balance->owned[i] + 1) * balance->weight[best] <
                                      (balance->owned[best] + 1) * balance->weight[i])) {
            best = i;
        }
    }
    return best;
}

/* Slots that must leave, busy or not: those of drained nodes, and those that nobody owns. The
 * heaviest first, as long as there is room to choose from. */
static void balance_evacuate(struct balance *balance, const struct placement *placement) {
    for (;;) {
        uint32_t next = UINT32_MAX;
        for (uint32_t i = 0; i < balance->map->slot_count; i++) {
            if (!balance->moved[i] && evacuates(placement, i) &&
                (next == UINT32_MAX || balance->loads[i] > balance->loads[next])) {
                next = i;
            }
        }
        if (next == UINT32_MAX) {
            return;
        }
        balance_move(balance, next, roomiest(balance, balance->loads[next]));
    }
}

/* The shards furthest above and below their shares; false if all are near enough. */
static bool extremes(const struct balance *balance, uint32_t *over, uint32_t *under) {
    uint64_t most = 0, least = 0;
    for (uint32_t i = 0; i < balance->map->shard_count; i++) {
        uint64_t load = balance->load[i], share = balance->share[i];
        uint64_t slack = share / 100 * LOAD_TOLERANCE_PERCENT;
        if (load > share + slack && load - share > most) {
            most = load - share;
            *over = i;
        }
        if (load < share && share - load > least) {
            least = share - load;
            *under = i;
        }
    }
    return most > 0 && least > 0;
}

/* The heaviest slot of `over` whose move leaves neither side worse than the gap was; UINT32_MAX if
 * none does. A slot moves once. */
static uint32_t slot_to_move(const struct balance *balance, uint32_t over, uint32_t under) {
    uint64_t gap = balance->load[over] - balance->share[over];
    uint64_t room = balance->share[under] - balance->load[under];
    uint64_t limit = gap > room ? gap : room, best_load = 0;
    uint32_t best = UINT32_MAX;
    for (uint32_t i = 0; i < balance->map->slot_count; i++) {
        uint64_t load = balance->loads[i];
        if (balance->owner[i] == over && !balance->moved[i] && load > best_load && load <= limit) {
            best_load = load;
            best = i;
        }
    }
    return best;
}

uint32_t placement_by_load(const struct placement *placement, const uint64_t *loads,
                           struct placement_move *moves) {
    struct balance balance;
    uint32_t over = 0, under = 0;
    if (!balance_init(&balance, placement, loads, moves)) {
        return 0;
    }
    balance_evacuate(&balance, placement);
    while (balance.count < balance.map->slot_count && extremes(&balance, &over, &under)) {
        uint32_t slot = slot_to_move(&balance, over, under);
        if (slot == UINT32_MAX) {
            break;
        }
        balance_move(&balance, slot, under);
    }
    return balance.count;
}

void placement_apply(struct map *map, const struct placement_move *moves, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        assert(map->owner[moves[i].slot.index] == moves[i].from.index);
        map->owner[moves[i].slot.index] = moves[i].to.index;
    }
}
