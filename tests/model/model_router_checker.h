/*
 * The checker of the router's model: knows of every request what may be answered and when, and of
 * every link what may be sent on it.
 */
#ifndef SLUICE_TESTS_MODEL_ROUTER_CHECKER_H
#define SLUICE_TESTS_MODEL_ROUTER_CHECKER_H

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "router/core/router.h"

#define MS UINT64_C(1000000)
#define ITEMS_MAX 96
#define LINKS_MAX 6
#define SHARDS 5
#define BATCHES_PER_LINK 3
#define REQUEST_ITEMS_MAX 12
#define REQUESTS_MAX 20000
#define FLIGHTS_MAX (LINKS_MAX * BATCHES_PER_LINK)
#define SLOTS 64
#define KEYS 24

enum plant {
    PLANT_NONE,
    PLANT_LOSE_ITEM,
    PLANT_ANSWER_TWICE,
    PLANT_SWAP_RESULTS,
    PLANT_MISROUTE,
    PLANT_OVERTAKE
};

struct asked_item {
    uint32_t key;
    uint64_t refused_epoch; /* of the map under which a shard refused it last; 0: none did */
    struct bytes plan;      /* size 0: nil */
    uint64_t deadline_ns;
    bool outstanding; /* in a flight */
    bool decided;     /* a shard's final word was delivered: */
    enum code decision;
    uint64_t decision_number; /* `remaining` of a result */
    uint64_t overloaded_ns;   /* when a shard said so last, 0: another word came since */
    uint64_t overloaded_epoch;
};

struct asked {
    bool answered, many;
    enum verb verb;
    uint32_t count;
    uint64_t last_deadline_ns;
    struct asked_item items[REQUEST_ITEMS_MAX];
};

struct item_ref {
    uint32_t request, position;
};

struct flight {
    bool used, many;
    uint32_t link, id, count;
    struct item_ref items[ITEMS_MAX];
};

struct place {
    bool open, up;
    struct endpoint_name url;
};

struct world {
    uint64_t seed, random, now_ns, wake_at_ns;
    enum plant plant;
    bool planted;
    void *memory;
    struct router *router;
    struct map *map; /* the newest */
    struct map *spare;
    struct plan_set *plans;
    uint64_t view_since_ns; /* UINT64_MAX: there is none yet */
    struct asked *asked;
    uint32_t asked_count, unanswered_first, pending_items;
    struct flight flights[FLIGHTS_MAX];
    struct place places[LINKS_MAX];
    struct item_ref stale[32]; /* link and id of flights that are over */
    uint32_t stale_count;
    uint64_t decisions;
};

/* Ends the program with the seed and what was wrong. */
#define CHECK(world, condition, ...)                                                               \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            printf("seed %" PRIu64 ": at %" PRIu64 " ns: ", (world)->seed, (world)->now_ns);       \
            printf(__VA_ARGS__);                                                                   \
            printf(" (%s)\n", #condition);                                                         \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

/* Random numbers of the world's seed. */
uint64_t random_next(struct world *world);
uint32_t below(struct world *world, uint32_t bound);
bool chance(struct world *world, uint32_t percent);

/* Steps the router at the world's time, checks what it says, and carries out its orders. */
void world_tell(struct world *world, struct router_event *event);

/* No request may be without an answer now whose deadline has passed. */
void late_check(struct world *world);

/* The batch was answered, or will never be. */
void flight_end(struct world *world, struct flight *flight);

/* The link was lost, and what was on it. */
void link_end(struct world *world, uint32_t link);

#endif
