/*
 * The cluster of a run: its configuration, drawn from the seed, and the programs in it.
 *
 * A configuration turns each feature and each fault on or off (a swarm: runs that do little of many
 * things hide what runs that do much of few find). The shrinker turns them off one by one.
 */
#ifndef SLUICE_TESTS_SIM_WORLD_H
#define SLUICE_TESTS_SIM_WORLD_H

#include "proto/limit.h"
#include "proto/map.h"
#include "tests/sim/process.h"

/* X(NAME, "name"): a bit each, in the order in which the shrinker tries to do without them. */
#define FEATURES(X)                                                                                \
    X(LATE_BYTES, "late-bytes")                                                                    \
    X(BREAKS, "breaks")                                                                            \
    X(PARTITIONS, "partitions")                                                                    \
    X(ONE_WAY, "one-way")                                                                          \
    X(SPIKES, "spikes")                                                                            \
    X(CHOP, "chop")                                                                                \
    X(SLOW_LOOPS, "slow-loops")                                                                    \
    X(CRASHES, "crashes")                                                                          \
    X(SILENT, "silent")                                                                            \
    X(OTHER_ID, "other-id")                                                                        \
    X(STOPS, "stops")                                                                              \
    X(DRAINS, "drains")                                                                            \
    X(PAUSES, "pauses")                                                                            \
    X(ROUTER_CRASHES, "router-crashes")                                                            \
    X(DRIFT, "drift")                                                                              \
    X(CLOCK_JUMPS, "clock-jumps")                                                                  \
    X(STORE_CLOCK_JUMPS, "store-clock-jumps")                                                      \
    X(STORE_STALLS, "store-stalls")                                                                \
    X(STORE_SLOW, "store-slow")                                                                    \
    X(STORE_CRASHES, "store-crashes")                                                              \
    X(STORE_TAIL, "store-tail")                                                                    \
    X(STORE_FAILOVER, "store-failover")                                                            \
    X(STORE_ERRORS, "store-errors")                                                                \
    X(MOVES, "moves")                                                                              \
    X(WEIGHTS, "weights")                                                                          \
    X(PLANS, "plans")                                                                              \
    X(RESETS, "resets")                                                                            \
    X(ASSIGNS, "assigns")                                                                          \
    X(AUTO_REBALANCE, "auto-rebalance")                                                            \
    X(REFUNDS, "refunds")                                                                          \
    X(PEEKS, "peeks")                                                                              \
    X(MANY, "many")                                                                                \
    X(STRICT, "strict")                                                                            \
    X(SMALL_ROUTER, "small-router")                                                                \
    X(HIBERNATE, "hibernate")                                                                      \
    X(FALLBACK, "fallback")                                                                        \
    X(WIDE, "wide")                                                                                \
    X(MOVES_ON, "moves-on") /* never drawn, nor is the next: only by name */                       \
    X(LATE_MAPS, "late-maps")

enum feature {
#define X(name, text) FEATURE_##name,
    FEATURES(X)
#undef X
};
#define FEATURE_COUNT (FEATURE_LATE_MAPS + 1)

struct config {
    uint64_t features; /* a bit each */
    uint32_t nodes, shards, routers, clients;
    uint32_t slots, keys;
    uint64_t lease_ttl_ns, snapshot_interval_ns;
    uint64_t faults_end_ns; /* from here on nothing goes wrong any more */
    uint64_t end_ns;
    uint64_t request_every_ns; /* of one client, on average */
    uint64_t fault_every_ns;
    uint64_t outage_ns; /* 0: none; else all nodes and the store are off for so long */
    bool steady; /* once the cluster has begun no take may go without its owner, faults or not */
    const struct scenario *scenario; /* NULL: none */
    struct limit limit;              /* of the default plan; of no tokens: the usual */
};

extern const char *const feature_names[FEATURE_COUNT];

void config_draw(struct config *config);
static inline bool config_has(const struct config *config, enum feature feature) {
    return (config->features >> feature & 1) != 0;
}

#define NODES_OF_RUN_MAX 6
#define ROUTERS_OF_RUN_MAX 3
#define CLIENTS_OF_RUN_MAX 8
#define SHARDS_OF_NODE_MAX 2
#define SLOTS_OF_RUN_MAX 64
#define KEYS_OF_RUN_MAX 64

/* A place where a node runs: a machine, and its process if it is alive. */
struct node_place {
    uint32_t index;
    struct machine *machine;
    struct process *process; /* NULL: none is wanted */
    char id[16];
    uint32_t ids;      /* that were used here */
    struct node *node; /* while its loop runs */
    bool stopping;
    void *uv; /* its loop */
};

struct router_place {
    uint32_t index;
    struct machine *machine;
    struct process *process;
};

struct world {
    struct config config;
    struct node_place nodes[NODES_OF_RUN_MAX];
    struct router_place routers[ROUTERS_OF_RUN_MAX];
    struct machine *store, *clients[CLIENTS_OF_RUN_MAX], *operators;
    struct map *map; /* as the store has it */
    bool faults_over;
    /* Nothing is promised any more: the store has forgotten a map that it had acknowledged, or a
     * fault is planted for a scenario's figure to show it. */
    bool unpromised;
};
extern struct world world;

void world_build(const struct config *config);

/* Starts a node there, under its id or (fresh) another one. */
void node_begin(struct node_place *place, bool fresh);
void node_stop_asked(struct node_place *place);
void router_begin(struct router_place *place);

/* Takes that may wait in a router. */
uint32_t router_items_max(void);

/* "tcp://10.0.0.n:port" */
void node_url(const struct node_place *place, uint16_t port, char url[64]);
void router_url(const struct router_place *place, char url[64]);
#define NODE_PORT 7500
#define NODE_CONTROL_PORT 7590
#define ROUTER_PORT 7400

/* Buckets that a shard may keep in memory with `hibernate`: fewer than it has keys. */
#define RESIDENT_OF_RUN_MAX 2

/* The names of keys and the plan each is taken under. */
void key_name(uint32_t key, char name[32]);
const char *key_plan(uint32_t key);

/* While everything is off nobody asks: when it begins, and when somebody may ask again. Clients
 * fall silent a while before, so that all that they were granted is written. */
#define OUTAGE_BEGINS_NS (6 * SECOND)
#define OUTAGE_SILENCE_NS SECOND
#define OUTAGE_RETURN_NS (5 * SECOND)

/* The burst of the plan that is relaxed in every run. */
#define SLOW_PLAN_BURST 14

/* Bursts that are so many times as large, with `wide`: large enough for records to be rounded up.
 */
#define WIDE_TIMES 8

uint64_t wide_times(void);
uint64_t config_refill_ns(const struct config *config);

/* Programs of the simulator's own. */
void clients_begin(void);
void operators_begin(void);
void faults_begin(void);

/* Something else than a crash goes wrong for so long from now on. */
void faults_disturb(uint64_t ns);

#endif
