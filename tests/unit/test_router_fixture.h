/*
 * A router core with virtual links and a virtual clock, and a record of what it said.
 *
 * Shards are at "tcp://shard-<i>:1"; the link of shard i has index i as long as the fixture's first
 * map is the first one given. Clients are told apart by a number.
 */
#ifndef SLUICE_TESTS_ROUTER_FIXTURE_H
#define SLUICE_TESTS_ROUTER_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "router/core/router.h"

#define MS UINT64_C(1000000)
#define ANSWERS_MAX 64
#define RESULTS_MAX 8192
#define SENT_MAX 512
#define COSTS_MAX 8
#define CALLS_KEPT_MAX 8 /* the newest */

struct kept_answer {
    uint64_t client;
    uint32_t msgid;
    bool many;
    enum reason refusal;
    uint32_t count;
    struct take_result *results;         /* into fixture.results */
    char (*texts)[FAULT_TEXT_BYTES_MAX]; /* into fixture.texts */
};

/* A batch as it was sent; takes are only good until the next step, so keys are copied. */
struct kept_batch {
    uint32_t link, id, count;
    bool many;
    enum verb verb;
    char first_key[KEY_BYTES_MAX + 1];
    char last_key[KEY_BYTES_MAX + 1];
    uint64_t first_cost;
    uint64_t costs[COSTS_MAX]; /* of the first takes */
};

struct fixture {
    void *memory;
    struct router *router;
    struct map *map;
    struct plan_set *plans;
    uint64_t now_ns;

    /* Of the newest step. */
    bool refresh_map;
    uint64_t wake_at_ns;
    /* Since the last forget(). */
    struct kept_answer answers[ANSWERS_MAX];
    uint32_t answer_count;
    struct kept_batch batches[SENT_MAX];
    uint32_t batch_count;
    struct router_link_order orders[64];
    uint32_t order_count;
    struct fallback_call calls[CALLS_KEPT_MAX]; /* keys are not to be read */
    uint32_t call_count;
    struct take_result results[RESULTS_MAX];
    char texts[RESULTS_MAX][FAULT_TEXT_BYTES_MAX];
    uint32_t result_count;
};

/* A router with room for so many items, without a view. */
struct fixture *fixture_create(uint32_t items_max);
struct fixture *fixture_create_of(const struct router_options *options);
void fixture_destroy(struct fixture *fixture);

/* A map of `shards` shards of one node, every slot spread evenly; and plans "free" (deny, the
 * default) and "open" (allow), version 1. */
struct map *map_make(uint64_t epoch, uint32_t shards);
struct plan_set *plans_make(uint64_t version, bool with_default);

/* The view above with its links up. */
struct fixture *fixture_create_ready(uint32_t items_max, uint32_t shards);

/* Gives the map and the plans (both become the fixture's). */
void give_view(struct fixture *fixture, struct map *map, struct plan_set *plans);
void give_link(struct fixture *fixture, uint32_t link, bool up);

/* A take that is told apart by its cost. */
void ask_cost(struct fixture *fixture, const char *key, uint64_t cost_tokens);
/* One request of one take with plan nil and the default deadline. */
void ask(struct fixture *fixture, uint64_t client, enum verb verb, const char *key);
void ask_takes(struct fixture *fixture, uint64_t client, enum verb verb, bool many,
               const struct take *takes, uint32_t count);
struct take take_of(const char *key);

/* Time passes, then a TURN. */
void turn_after(struct fixture *fixture, uint64_t ns);
void turn(struct fixture *fixture);

/* Answers a batch: every item allowed with `remaining` = 100 + its position; or with an error. */
void reply_allow(struct fixture *fixture, const struct kept_batch *batch);
void reply_error(struct fixture *fixture, const struct kept_batch *batch, enum code code,
                 const char *text, uint64_t moved_epoch);
void reply_raw(struct fixture *fixture, uint32_t link, uint32_t id, enum router_outcome outcome,
               const struct router_verdict *verdicts, uint32_t count);

/* There is a store to ask from now on, or none. */
void give_store(struct fixture *fixture, bool up);
/* It answers a call, at its own time. */
void store_answers(struct fixture *fixture, const struct fallback_answer *answer);

void give_stop(struct fixture *fixture);

/* Forgets answers, batches, orders and calls. */
void forget(struct fixture *fixture);

/* The n-th key (from 0) that belongs to the shard under the fixture's map; static memory, a few. */
const char *key_of(const struct fixture *fixture, uint32_t shard, uint32_t n);

/* The only batch sent since forget(), the only answer. */
struct kept_batch *only_batch(struct fixture *fixture);
struct kept_answer *only_answer(struct fixture *fixture);

#define counter(fixture, name) (router_counters((fixture)->router)->name)

#endif
