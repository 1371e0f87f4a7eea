#include "bench/compare.h"

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "bench/clock_watch.h"
#include "bench/grants.h"
#include "bench/target.h"
#include "runtime/clock.h"

/* Nodes of the cluster, of one shard each. */
#define NODES 2

/* Steps of the search: doublings from the load's own rate, then halvings of what is left. */
#define DOUBLINGS_MAX 8
#define HALVINGS 3
#define PROBE_TRIES 3

const struct way ways[] = {
    {"kv", "eventually consistent: read a replica, write its primary", &target_kv, WAY_SERVERS_KV,
     NULL, false},
    {"redis", "a Lua script in Redis, atomic", &target_redis, WAY_SERVERS_REDIS, NULL, false},
    {"hybrid", "the replica first, Redis on a miss, both written", &target_hybrid, WAY_SERVERS_KV,
     NULL, false},
    {"redis-cell", "a module in Redis, atomic", &target_cell, WAY_SERVERS_CELL, NULL, false},
    {"sluice-strict", "router and two nodes, strict", &target_sluice, WAY_SERVERS_CLUSTER, "strict",
     true},
    {"sluice-strict-direct", "two nodes by the map, strict", &target_map, WAY_SERVERS_CLUSTER,
     "strict", true},
    {"sluice-relaxed", "router and two nodes, relaxed", &target_sluice, WAY_SERVERS_CLUSTER,
     "relaxed", true},
    {"sluice-relaxed-direct", "two nodes by the map, relaxed", &target_map, WAY_SERVERS_CLUSTER,
     "relaxed", true},
    {"sluice-core", "the decision within the asker's process: the limit", &target_core,
     WAY_SERVERS_NONE, NULL, true},
    {0},
};

/* Everything one way needs while it runs. */
struct run {
    const struct way *way;
    const struct compare_settings *settings;
    struct way_result *result;
    struct servers servers;
    char url[SERVER_PATH_BYTES], replica_url[SERVER_PATH_BYTES], second_url[SERVER_PATH_BYTES];
    struct clock_watch watch; /* of the nodes; the first one's control endpoint is sluicectl's */
    char *why;
    size_t why_size;
};

/* --- servers -------------------------------------------------------------------------------- */

static bool redis_start(struct run *run, const char *name, uint16_t *port, uint16_t primary,
                        const char *module) {
    char port_text[8], primary_text[8], directory[2 * SERVER_PATH_BYTES];
    *port = server_port_free();
    snprintf(port_text, sizeof port_text, "%u", *port);
    snprintf(primary_text, sizeof primary_text, "%u", primary);
    snprintf(directory, sizeof directory, "%s/%s", run->servers.directory, name);
    const char *mkdir_argv[] = {"mkdir", directory, NULL};
    char printed[256];
    if (*port == 0 || server_run(&run->servers, mkdir_argv, printed, sizeof printed) != 0) {
        snprintf(run->why, run->why_size, "no free port, or no directory for %s", name);
        return false;
    }
    /* Without the delay a replica waits five seconds for others before it is sent anything. */
    const char *argv[SERVER_WORDS_MAX] = {"redis-server",
                                          "--bind",
                                          "127.0.0.1",
                                          "--port",
                                          port_text,
                                          "--dir",
                                          directory,
                                          "--save",
                                          "",
                                          "--appendonly",
                                          "yes",
                                          "--appendfsync",
                                          "everysec",
                                          "--repl-diskless-sync-delay",
                                          "0"};
    uint32_t count = 15;
    if (primary != 0) {
        argv[count++] = "--replicaof";
        argv[count++] = "127.0.0.1";
        argv[count++] = primary_text;
    }
    if (module != NULL) {
        argv[count++] = "--loadmodule";
        argv[count++] = module;
    }
    return server_start(&run->servers, name, argv, run->why, run->why_size) &&
           server_wait_port(*port, name, run->why, run->why_size);
}

/* Until the replica has its primary's data and follows it. */
static bool replica_wait(struct run *run, uint16_t port) {
    uint64_t end_ns = clock_monotonic_ns() + SERVER_READY_MS * UINT64_C(1000000);
    bool follows = false;
    while (!follows && clock_monotonic_ns() < end_ns) {
        redisContext *context = redisConnect("127.0.0.1", port);
        redisReply *reply =
            context != NULL && context->err == 0 ? redisCommand(context, "INFO replication") : NULL;
        follows = reply != NULL && reply->str != NULL &&
                  strstr(reply->str, "master_link_status:up") != NULL;
        if (reply != NULL) {
            freeReplyObject(reply);
        }
        if (context != NULL) {
            redisFree(context);
        }
        usleep(20000);
    }
    if (!follows) {
        snprintf(run->why, run->why_size, "the replica does not follow its primary");
    }
    return follows;
}

static void redis_url(char out[SERVER_PATH_BYTES], uint16_t port) {
    snprintf(out, SERVER_PATH_BYTES, "redis://127.0.0.1:%u", port);
}

static bool kv_start(struct run *run) {
    uint16_t primary, replica, second;
    if (!redis_start(run, "primary", &primary, 0, NULL) ||
        !redis_start(run, "replica", &replica, primary, NULL) || !replica_wait(run, replica)) {
        return false;
    }
    redis_url(run->url, primary);
    redis_url(run->replica_url, replica);
    if (run->way->target != &target_hybrid) {
        return true;
    }
    if (!redis_start(run, "second", &second, 0, NULL)) {
        return false;
    }
    redis_url(run->second_url, second);
    return true;
}

static bool cell_start(struct run *run) {
    static const char *const places[] = {"/usr/lib/redis/modules/libredis_cell.so",
                                         "/usr/local/lib/redis/modules/libredis_cell.so"};
    const char *module = run->settings->cell_module;
    for (size_t i = 0; module == NULL && i < sizeof places / sizeof places[0]; i++) {
        module = access(places[i], R_OK) == 0 ? places[i] : NULL;
    }
    if (module == NULL || access(module, R_OK) != 0) {
        snprintf(run->why, run->why_size, "the module is not installed (see --cell-module)");
        return false;
    }
    uint16_t port;
    if (!redis_start(run, "redis", &port, 0, module)) {
        return false;
    }
    redis_url(run->url, port);
    return true;
}

static bool node_start(struct run *run, uint32_t number, const char *store_url, uint16_t *control) {
    char name[16], listen[SERVER_PATH_BYTES], control_url[SERVER_PATH_BYTES];
    uint16_t port = server_port_free();
    *control = server_port_free();
    snprintf(name, sizeof name, "n%u", number + 1);
    snprintf(listen, sizeof listen, "tcp://127.0.0.1:%u", port);
    snprintf(control_url, sizeof control_url, "tcp://127.0.0.1:%u", *control);
    const char *argv[] = {"sluice-node", "--node-id", name,   "--redis",   store_url,   "--shards",
                          "1",           "--listen",  listen, "--control", control_url, NULL};
    return server_start(&run->servers, name, argv, run->why, run->why_size) &&
           server_wait_port(*control, name, run->why, run->why_size);
}

/* Runs sluicectl until it succeeds: a node needs a moment until it knows its store. */
static bool ctl(struct run *run, const char *const words[]) {
    const char *argv[SERVER_WORDS_MAX] = {"sluicectl", "--control", run->watch.control_urls[0]};
    char printed[1024] = "";
    uint64_t end_ns = clock_monotonic_ns() + SERVER_READY_MS * UINT64_C(1000000);
    for (uint32_t i = 0; words[i] != NULL; i++) {
        argv[3 + i] = words[i];
    }
    for (;;) {
        int code = server_run(&run->servers, argv, printed, sizeof printed);
        if (code == 0) {
            return true;
        }
        if (code == 2 || code == 5 || clock_monotonic_ns() > end_ns) { /* usage, or a bad file */
            printed[strcspn(printed, "\n")] = '\0';
            snprintf(run->why, run->why_size, "sluicectl %s: %.300s", words[0], printed);
            return false;
        }
        usleep(100000);
    }
}

static bool plan_apply(struct run *run) {
    char path[2 * SERVER_PATH_BYTES];
    struct limit limit = COMPARE_LIMIT;
    snprintf(path, sizeof path, "%s/plans.yaml", run->servers.directory);
    FILE *file = fopen(path, "we");
    if (file == NULL) {
        snprintf(run->why, run->why_size, "%s cannot be written", path);
        return false;
    }
    fprintf(file, "default: %s\nplans:\n  %s:\n    durability: %s\n", run->way->plan,
            run->way->plan, run->way->plan);
    fprintf(file, "    limits: [{rate: %llu, period: %llums, burst: %llu}]\n",
            (unsigned long long)limit.rate_tokens, (unsigned long long)limit.period_ns / 1000000,
            (unsigned long long)limit.burst_tokens);
    const char *words[] = {"plans", "apply", path, NULL};
    return fclose(file) == 0 && ctl(run, words);
}

/* Whether the slots are served and the plan is known: a load's first takes would tell, too late. */
static bool cluster_wait(struct run *run) {
    uint64_t end_ns = clock_monotonic_ns() + SERVER_READY_MS * UINT64_C(1000000);
    static struct load_report report;
    struct load_settings look = {.target = run->way->target,
                                 .url = run->url,
                                 .lanes = 1,
                                 .outstanding = 1,
                                 .batch = 1000,
                                 .key_prefix = "ready:",
                                 .keys = {.spread = KEY_SPREAD_UNIFORM, .key_count = 100000},
                                 .plan = run->way->plan,
                                 .burst_factor = 1,
                                 .burst_every_ns = 2,
                                 .burst_length_ns = 1,
                                 .duration_ns = 50000000,
                                 .timeout_ns = UINT64_C(2000000000)};
    do {
        if (!load_run(&look, &report, run->why, run->why_size)) {
            return false;
        }
        if (report.takes > 0 && report.errors == 0 && report.degraded == 0) {
            return true;
        }
        usleep(100000);
    } while (clock_monotonic_ns() < end_ns && !report.interrupted);
    snprintf(run->why, run->why_size, "the cluster does not come to serve");
    return false;
}

static bool cluster_start(struct run *run) {
    uint16_t port, controls[NODES], router = server_port_free();
    char store_url[SERVER_PATH_BYTES], nodes[2 * SERVER_PATH_BYTES], listen[SERVER_PATH_BYTES];
    const char *init[] = {"init", NULL};
    if (!redis_start(run, "redis", &port, 0, NULL)) {
        return false;
    }
    redis_url(store_url, port);
    for (uint32_t i = 0; i < NODES; i++) {
        if (!node_start(run, i, store_url, &controls[i])) {
            return false;
        }
    }
    for (uint32_t i = 0; i < NODES; i++) {
        snprintf(run->watch.control_urls[i], SERVER_PATH_BYTES, "tcp://127.0.0.1:%u", controls[i]);
    }
    run->watch.count = NODES;
    snprintf(nodes, sizeof nodes, "tcp://127.0.0.1:%u,tcp://127.0.0.1:%u", controls[0],
             controls[1]);
    snprintf(listen, sizeof listen, "tcp://127.0.0.1:%u", router);
    if (!ctl(run, init) || !plan_apply(run)) {
        return false;
    }
    if (run->way->target == &target_sluice) {
        const char *argv[] = {"sluice-router", "--listen", listen, "--nodes", nodes, NULL};
        if (!server_start(&run->servers, "router", argv, run->why, run->why_size) ||
            !server_wait_port(router, "router", run->why, run->why_size)) {
            return false;
        }
    }
    snprintf(run->url, sizeof run->url, "%s",
             run->way->target == &target_sluice ? listen : run->watch.control_urls[0]);
    return cluster_wait(run);
}

static bool servers_start(struct run *run) {
    uint16_t port;
    switch (run->way->servers) {
    case WAY_SERVERS_NONE:
        return true;
    case WAY_SERVERS_KV:
        return kv_start(run);
    case WAY_SERVERS_CELL:
        return cell_start(run);
    case WAY_SERVERS_CLUSTER:
        return cluster_start(run);
    case WAY_SERVERS_REDIS:
        break;
    }
    if (!redis_start(run, "redis", &port, 0, NULL)) {
        return false;
    }
    redis_url(run->url, port);
    return true;
}

/* --- loads ---------------------------------------------------------------------------------- */

static struct load_settings load_of(struct run *run, double rate, uint64_t duration_ns) {
    uint64_t s = UINT64_C(1000000000);
    uint64_t every_ns = duration_ns < 10 * s ? duration_ns : 10 * s;
    return (struct load_settings){
        .target = run->way->target,
        .url = run->url,
        .replica_url = run->replica_url,
        .second_url = run->second_url,
        .lanes = COMPARE_LANES,
        .outstanding = COMPARE_OUTSTANDING,
        .batch = 1,
        .key_prefix = "compare:",
        .keys = {.spread = KEY_SPREAD_ZIPF, .key_count = COMPARE_KEYS, .exponent = COMPARE_ZIPF},
        .cost_tokens = 1,
        .limit = COMPARE_LIMIT,
        .plan = run->way->plan,
        .rate = rate,
        .burst_factor = 2,
        .burst_every_ns = every_ns,
        .burst_length_ns = every_ns / 5,
        .warmup_ns = duration_ns < 4 * s ? duration_ns / 4 : s,
        .duration_ns = duration_ns,
        .timeout_ns = 2 * s,
        .seed = 1,
        .progress = run->settings->progress,
    };
}

/* The load itself, and whether what was granted keeps the bound. */
static bool workload(struct run *run) {
    char path[2 * SERVER_PATH_BYTES];
    struct record_file record;
    struct way_result *result = run->result;
    struct limit limit = COMPARE_LIMIT;
    struct load_settings load =
        load_of(run, (double)run->settings->rate, run->settings->duration_ns);
    struct grants grants = {0};
    snprintf(path, sizeof path, "%s/grants", run->servers.directory);
    if (!record_create(&record, path, &limit, run->why, run->why_size)) {
        return false;
    }
    load.record = &record;
    run->watch.servers = &run->servers;
    if (!clock_watch_start(&run->watch)) {
        snprintf(run->why, run->why_size, "the nodes' clocks cannot be watched");
        return false;
    }
    bool done = load_run(&load, &result->report, run->why, run->why_size);
    /* A shard's clock is slewed, so within the load it cannot have gained more than that. */
    uint64_t slewed_ns =
        (load.warmup_ns + load.duration_ns + load.timeout_ns) / 1000000 * CLOCK_SLEW_PPM;
    uint64_t said_ns = clock_watch_stop(&run->watch);
    result->clock_error_ns = said_ns < slewed_ns ? said_ns : slewed_ns;
    if (!record_close(&record) || result->report.record_failed) {
        snprintf(run->why, run->why_size, "%s: not every grant could be recorded", path);
        return false;
    }
    done =
        done && grants_read(&grants, path, run->why, run->why_size) &&
        bound_check(grants.items, grants.count, &limit, result->clock_error_ns, &result->verdict);
    grants_free(&grants);
    unlink(path);
    return done;
}

static bool probe(struct run *run, double rate, bool *interrupted) {
    static struct load_report report;
    struct load_settings load = load_of(run, rate, run->settings->probe_ns);
    load.burst_factor = 1;
    load.key_prefix = "probe:";
    load.progress = false;
    if (!load_run(&load, &report, run->why, run->why_size)) {
        return false;
    }
    *interrupted |= report.interrupted;
    return !report.interrupted && report.errors == 0 &&
           report.takes_per_second >= COMPARE_DECIDED * report.asked_per_second &&
           histogram_percentile(&report.latency, 0.99) <= COMPARE_P99_NS;
}

/* What others do on the machine spoils a probe, and none makes it better: one good of three counts.
 */
static bool sustains(struct run *run, double rate, bool *interrupted) {
    for (uint32_t i = 0; i < PROBE_TRIES && !*interrupted; i++) {
        if (probe(run, rate, interrupted)) {
            return true;
        }
    }
    return false;
}

/* The highest rate sustained for one probe: doubled until it is too much, then halved in. */
static bool search(struct run *run) {
    double low = 0, high = 0;
    bool interrupted = false;
    double rate = (double)run->settings->rate;
    for (uint32_t i = 0; i < DOUBLINGS_MAX && high == 0 && !interrupted; i++, rate *= 2) {
        if (sustains(run, rate, &interrupted)) {
            low = rate;
        } else {
            high = rate;
        }
    }
    for (uint32_t i = 0; i < HALVINGS && high > 0 && !interrupted; i++) {
        rate = (low + high) / 2;
        if (sustains(run, rate, &interrupted)) {
            low = rate;
        } else {
            high = rate;
        }
    }
    run->result->sustained_per_second = low;
    return !interrupted;
}

bool compare_way(const struct way *way, const struct compare_settings *settings,
                 struct way_result *result) {
    struct run *run = calloc(1, sizeof *run);
    bool finished = true;
    memset(result, 0, sizeof *result);
    if (run == NULL) {
        snprintf(result->skipped, sizeof result->skipped, "no memory");
        return true;
    }
    *run = (struct run){.way = way,
                        .settings = settings,
                        .result = result,
                        .why = result->skipped,
                        .why_size = sizeof result->skipped};
    if (servers_open(&run->servers, run->why, run->why_size) && servers_start(run) &&
        workload(run)) {
        result->ran = true;
        result->skipped[0] = '\0';
        finished = !result->report.interrupted && (settings->probe_ns == 0 || search(run));
        result->skipped[0] = '\0';
    }
    servers_close(&run->servers);
    free(run);
    return finished;
}
