#include "tests/sim/world.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "router/io/router_shell.h"
#include "server/io/node.h"
#include "tests/sim/check.h"
#include "tests/sim/coverage.h"
#include "tests/sim/loop.h"
#include "tests/sim/net.h"
#include "tests/sim/store.h"

struct world world;

const char *const feature_names[FEATURE_COUNT] = {
#define X(name, text) text,
    FEATURES(X)
#undef X
};

/* --- configuration ------------------------------------------------------------------------- */

void config_draw(struct config *config) {
    memset(config, 0, sizeof *config);
    for (int i = 0; i < FEATURE_HIBERNATE; i++) {
        config->features |= (uint64_t)sim_chance(STREAM_CONFIG, i == FEATURE_STRICT ? 700 : 350)
                            << i;
    }
    static const uint32_t slots[] = {1, 4, 8, 16};
    config->nodes = (uint32_t)sim_between(STREAM_CONFIG, 1, 4);
    config->shards = (uint32_t)sim_between(STREAM_CONFIG, 1, 2);
    config->routers = (uint32_t)sim_between(STREAM_CONFIG, 1, 2);
    config->clients = (uint32_t)sim_between(STREAM_CONFIG, 1, 4);
    config->slots = slots[sim_below(STREAM_CONFIG, 4)];
    if (config->slots < config->nodes * config->shards) {
        config->slots = 16;
    }
    config->keys = (uint32_t)sim_between(STREAM_CONFIG, 1, 24);
    config->lease_ttl_ns = sim_between(STREAM_CONFIG, 3, 10) * 100 * MS;
    config->snapshot_interval_ns = sim_between(STREAM_CONFIG, 2, 20) * 10 * MS;
    config->faults_end_ns = sim_between(STREAM_CONFIG, 8, 20) * SECOND;
    config->end_ns = config->faults_end_ns + 14 * SECOND;
    config->request_every_ns = sim_between(STREAM_CONFIG, 2, 40) * MS;
    config->fault_every_ns = sim_between(STREAM_CONFIG, 200, 3000) * MS;
    /* What an owner has not read in, it cannot write again: with a store that loses records and
     * owners that come and go more is forgotten than can be counted here. */
    bool forgets =
        config_has(config, FEATURE_STORE_TAIL) || config_has(config, FEATURE_STORE_FAILOVER);
    if (sim_chance(STREAM_CONFIG, 350) && !forgets) {
        config->features |= UINT64_C(1) << FEATURE_HIBERNATE;
    }
    /* Last: what was drawn before it stays what it was. */
    config->features |= (uint64_t)sim_chance(STREAM_CONFIG, 350) << FEATURE_FALLBACK;
    config->features |= (uint64_t)sim_chance(STREAM_CONFIG, 500) << FEATURE_WIDE;
}

uint64_t wide_times(void) {
    return config_has(&world.config, FEATURE_WIDE) ? WIDE_TIMES : 1;
}

uint64_t config_refill_ns(const struct config *config) {
    return config_has(config, FEATURE_WIDE) ? CHECK_REFILL_WIDE_NS : CHECK_REFILL_NS;
}

/* --- names --------------------------------------------------------------------------------- */

void key_name(uint32_t key, char name[32]) {
    snprintf(name, 32, "key-%u", key);
}

static void url_of(const struct machine *machine, uint16_t port, char url[64]) {
    snprintf(url, 64, "tcp://%u.%u.%u.%u:%u", machine->address >> 24, machine->address >> 16 & 255,
             machine->address >> 8 & 255, machine->address & 255, port);
}

void node_url(const struct node_place *place, uint16_t port, char url[64]) {
    url_of(place->machine, port, url);
}

void router_url(const struct router_place *place, char url[64]) {
    url_of(place->machine, ROUTER_PORT, url);
}

/* --- nodes --------------------------------------------------------------------------------- */

struct node_run {
    struct node_place *place;
    struct node_settings settings;
    struct log log;
    struct node *node;
    enum node_outcome outcome;
    char redis[64], listen[64], control[64], id[16];
};

static void on_node_end(void *ctx, enum node_outcome outcome) {
    struct node_run *run = ctx;
    run->outcome = outcome;
    run->place->node = NULL;
    node_close(run->node);
}

/* As the program's own main. */
static int node_main(void *ctx) {
    struct node_run *run = ctx;
    uv_loop_t *loop = sim_keep(sizeof *loop);
    char why[BOOT_WHY_BYTES];
    uv_loop_init(loop);
    log_init(&run->log, LOG_LEVEL_INFO, false, 2, run->settings.node_id);
    run->node = node_open(loop, &run->settings, &run->log, why);
    if (run->node == NULL) {
        sim_cover(COVER_RESTART_REFUSED);
        log_error(&run->log, "cannot start: %s", why);
        uv_loop_close(loop);
        return NODE_FAILED;
    }
    node_on_end(run->node, on_node_end, run);
    run->place->node = run->node;
    run->place->uv = loop;
    uv_run(loop, UV_RUN_DEFAULT);
    uv_loop_close(loop);
    return (int)run->outcome;
}

static void on_again(void *ctx, uint64_t life) {
    struct node_place *place = ctx;
    if (place->process != NULL && place->process->life == life && !place->process->alive) {
        node_begin(place, false);
    }
}

/* Whoever runs it starts it again when it ends by itself. */
static void on_node_exit(void *ctx, int status) {
    struct node_run *run = ctx;
    struct node_place *place = run->place;
    place->node = NULL;
    checks_node_exit(place->process, status);
    if (place->stopping) {
        return;
    }
    sim_at(sim_now() + sim_between(STREAM_FAULTS, 100, 1000) * MS, on_again, place,
           place->process->life);
}

void node_begin(struct node_place *place, bool fresh) {
    const struct config *config = &world.config;
    struct node_run *run = sim_keep(sizeof *run);
    if (fresh || place->ids == 0) {
        place->ids++;
        snprintf(place->id, sizeof place->id, place->ids == 1 ? "n%u" : "n%u-%u", place->index + 1,
                 place->ids);
    }
    run->place = place;
    snprintf(run->id, sizeof run->id, "%s", place->id);
    url_of(place->machine, NODE_PORT, run->listen);
    url_of(place->machine, NODE_CONTROL_PORT, run->control);
    url_of(store_machine(), STORE_PORT, run->redis);
    memmove(run->redis + strlen("redis"), run->redis + strlen("tcp"), strlen(run->redis) - 2);
    memcpy(run->redis, "redis", strlen("redis"));
    run->settings = (struct node_settings){
        .node_id = run->id,
        .redis = run->redis,
        .key_prefix = "sluice:",
        .shards = config->shards,
        .listen = run->listen,
        .control = run->control,
        .snapshot_interval_ns =
            config->snapshot_interval_ns + check_planted(PLANT_SLOW_SNAPSHOT) * SECOND,
        .lease_ttl_ns = config->lease_ttl_ns,
        .shard_memory_bytes_max = 64u << 20,
        .resident_buckets_max = config_has(config, FEATURE_HIBERNATE) ? RESIDENT_OF_RUN_MAX : 0,
        .stop_timeout_ns = 2 * SECOND,
        .weight = WEIGHT_DEFAULT,
        .failover = true,
        .auto_rebalance = config_has(config, FEATURE_AUTO_REBALANCE),
        .drain_on_stop = config_has(config, FEATURE_DRAINS),
        .log_level = "info",
    };
    place->stopping = false;
    place->process = process_start(place->machine, place->id, node_main, run, on_node_exit);
}

static void stop_item(void *ctx) {
    struct node_place *place = ctx;
    if (place->node != NULL) {
        node_stop(place->node);
    }
}

void node_stop_asked(struct node_place *place) {
    if (place->node != NULL && place->process->alive) {
        sim_cover(COVER_STOP_PLANNED);
        sim_trace("%s is asked to stop", place->process->name);
        place->stopping = true;
        loop_post(place->uv, stop_item, place);
    }
}

/* --- routers ------------------------------------------------------------------------------- */

struct router_run {
    struct router_place *place;
    struct router_settings settings;
    struct log log;
    struct router_shell *shell;
    struct redis_access access;
    char name[16];
};

static int router_main(void *ctx) {
    struct router_run *run = ctx;
    uv_loop_t loop;
    char why[512], url[64];
    uv_loop_init(&loop);
    log_init(&run->log, LOG_LEVEL_INFO, false, 2, run->name);
    router_url(run->place, url);
    bool listens = url_list_parse(url, &run->settings.listen, why, sizeof why);
    assert(listens);
    if (router_shell_open(&run->shell, &loop, &run->settings, &run->log, why, sizeof why) != 0) {
        log_error(&run->log, "%s", why);
    }
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    return 0;
}

static void on_router_exit(void *ctx, int status) {
    struct router_run *run = ctx;
    router_begin(run->place);
}

uint32_t router_items_max(void) {
    return config_has(&world.config, FEATURE_SMALL_ROUTER) ? 8 : TAKES_PER_REQUEST_MAX;
}

void router_begin(struct router_place *place) {
    struct router_run *run = sim_keep(sizeof *run);
    run->place = place;
    snprintf(run->name, sizeof run->name, "r%u", place->index + 1);
    run->settings.items_max = router_items_max() << check_planted(PLANT_WAITING);
    for (uint32_t i = 0; i < world.config.nodes && i < 3; i++) {
        struct endpoint_name *name = &run->settings.nodes.urls[i];
        node_url(&world.nodes[i], i % 2 == 0 ? NODE_CONTROL_PORT : NODE_PORT, name->text);
        name->size = (uint16_t)strlen(name->text);
        run->settings.nodes.count++;
    }
    if (config_has(&world.config, FEATURE_FALLBACK)) {
        char url[64], redis[80], why[256];
        url_of(store_machine(), STORE_PORT, url);
        snprintf(redis, sizeof redis, "redis%s", url + strlen("tcp"));
        bool known = redis_address_parse(redis, &run->access.address, why, sizeof why);
        assert(known);
        run->settings.redis = &run->access;
        run->settings.key_prefix = "sluice:";
    }
    place->process = process_start(place->machine, run->name, router_main, run, on_router_exit);
}

/* --- the whole ----------------------------------------------------------------------------- */

static void clock_draw(struct machine *machine) {
    machine->clock_offset_ns += (int64_t)sim_below(STREAM_CONFIG, 100000 * SECOND);
    if (config_has(&world.config, FEATURE_DRIFT)) {
        machine->drift_ppm = (int32_t)sim_between(STREAM_CONFIG, 0, 400) - 200;
    }
}

static void weather_draw(void) {
    struct net_weather weather = {.delay_least_ns = 50 * US, .delay_most_ns = 300 * US};
    if (config_has(&world.config, FEATURE_SPIKES)) {
        weather.spike_per_mille = 20;
        weather.spike_ns = 60 * MS;
    }
    if (config_has(&world.config, FEATURE_LATE_BYTES)) {
        weather.late_per_mille = 700;
        weather.late_most_ns = 3 * SECOND;
    }
    weather.chop = config_has(&world.config, FEATURE_CHOP);
    net_weather(&weather);
    loops_delay(config_has(&world.config, FEATURE_SLOW_LOOPS) ? 5 * MS : LOOP_DELAY_MOST_NS);
}

void world_build(const struct config *config) {
    static const char *const node_names[] = {"node-1", "node-2", "node-3",
                                             "node-4", "node-5", "node-6"};
    static const char *const router_names[] = {"router-1", "router-2", "router-3"};
    static const char *const client_names[] = {"client-1", "client-2", "client-3", "client-4",
                                               "client-5", "client-6", "client-7", "client-8"};
    world.config = *config;
    world.map = sim_keep(sizeof *world.map);
    map_init(world.map);
    weather_draw();
    world.store = machine_create("store");
    clock_draw(world.store);
    store_start(world.store);
    for (uint32_t i = 0; i < config->nodes; i++) {
        world.nodes[i].index = i;
        world.nodes[i].machine = machine_create(node_names[i]);
        clock_draw(world.nodes[i].machine);
        node_begin(&world.nodes[i], false);
    }
    for (uint32_t i = 0; i < config->routers; i++) {
        world.routers[i].index = i;
        world.routers[i].machine = machine_create(router_names[i]);
        clock_draw(world.routers[i].machine);
        router_begin(&world.routers[i]);
    }
    for (uint32_t i = 0; i < config->clients; i++) {
        world.clients[i] = machine_create(client_names[i]);
    }
    world.operators = machine_create("operator");
}
