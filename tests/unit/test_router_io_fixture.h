/*
 * A whole router on a loop, between a client and two shards that are made up.
 */
#ifndef SLUICE_TESTS_ROUTER_IO_FIXTURE_H
#define SLUICE_TESTS_ROUTER_IO_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "proto/cluster_view.h"
#include "proto/request.h"
#include "router/io/router_shell.h"
#include "runtime/endpoint.h"
#include "runtime/link.h"

#define MS UINT64_C(1000000)
#define SHARDS 2

/* Milliseconds that any wait of a test may take: far more than a slow machine needs. */
#define PATIENCE_MS 5000

/* How a made-up shard answers takes. */
enum manner { ALLOW, MOVED, SILENT, GARBAGE, SHORT_LIST };

struct fixture;

struct fake_shard {
    struct fixture *fixture;
    struct endpoint *endpoint;
    char url[ENDPOINT_BYTES_MAX + 1];
    enum manner manner;
    uint32_t takes_seen, polls_seen;
};

struct fixture {
    uv_loop_t loop;
    struct log log;
    struct fake_shard shards[SHARDS];
    struct map *map;       /* what the shards say */
    uint64_t epochs_ahead; /* of a map that MOVED speaks of and nobody has */
    struct plan_set *plans;
    struct router_shell *shell;
    char router_url[ENDPOINT_BYTES_MAX + 1];
    struct link *client;
    uv_timer_t patience;
    bool out_of_patience, router_stopped;
    uint32_t next_id, reply_count;
    uint8_t reply_memory[1 << 20];
    struct bytes reply_bytes; /* the newest */
    uint8_t scratch[1 << 20];
};

/* Runs the loop until the condition holds. */
#define WAIT(fixture, condition)                                                                   \
    do {                                                                                           \
        uv_timer_start(&(fixture)->patience, on_patience_end, PATIENCE_MS, 0);                     \
        while (!(condition)) {                                                                     \
            uv_run(&(fixture)->loop, UV_RUN_ONCE);                                                 \
            assert_false((fixture)->out_of_patience);                                              \
        }                                                                                          \
        uv_timer_stop(&(fixture)->patience);                                                       \
    } while (0)

void on_patience_end(uv_timer_t *timer);

/* A counter of the router, by its offset. */
uint64_t counted(const struct fixture *fixture, size_t offset);
#define COUNTED(fixture, name) counted(fixture, offsetof(struct router_counters, name))

/* Two shards, a map that gives the first one everything, a router that knows, a client. */
int setup(void **state);

/* A router whose nodes are not there, and a client. */
int setup_alone(void **state);
int teardown(void **state);
void on_router_stopped(void *ctx);

void shard_close(struct fixture *fixture, uint32_t index);

/* Every slot of the shards' map belongs to this one from the next epoch on. */
void map_give_to(struct fixture *fixture, uint32_t owner);

/* Sends a request; sends it and waits for the answer, which is good until the next. */
void send_bytes(struct fixture *fixture, struct bytes body);
struct reply call_bytes(struct fixture *fixture, struct bytes body);
struct reply call(struct fixture *fixture, enum verb verb, const char *key, uint64_t cost,
                  const char *plan, uint32_t deadline_ms);
struct reply call_method(struct fixture *fixture, enum method method);
struct take_result result_of(const struct reply *reply);

#endif
