/* sluice-router: options, signals, and the loops around a router. */

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <uv.h>

#include "proto/store_keys.h"
#include "router/io/loops.h"
#include "runtime/options.h"
#include "runtime/redis_options.h"

struct settings {
    const char *listen;
    const char *nodes;
    const char *redis; /* NULL: none */
    struct redis_access redis_access;
    const char *key_prefix;
    uint64_t pending;
    uint64_t loops;
    const char *log_level;
    bool log_json;
};

#define AT(field) offsetof(struct settings, field)

static bool urls_check(const char *text, char *why, size_t why_size) {
    struct url_list list;
    return url_list_parse(text, &list, why, why_size);
}

static const struct option options[] = {
    {.name = "listen",
     .kind = OPTION_TEXT,
     .offset = AT(listen),
     .initial = "tcp://127.0.0.1:7400",
     .metavar = "URL,...",
     .help = "Where clients come in, one or more nng URLs.",
     .check = urls_check},
    {.name = "nodes",
     .kind = OPTION_TEXT,
     .offset = AT(nodes),
     .initial = "tcp://127.0.0.1:7590",
     .metavar = "URL,...",
     .help = "Endpoints of nodes to learn the map from, control or shard; one that answers is "
             "enough.",
     .check = urls_check},
    {.name = "redis",
     .kind = OPTION_TEXT,
     .offset = AT(redis),
     .metavar = "URL",
     .check = redis_url_check,
     .help = "The nodes' store, for plans that say on_unavailable: redis; the URL as for "
             "sluice-node. Without it such plans deny."},
    REDIS_ACCESS_OPTIONS(AT(redis_access)),
    {.name = "key_prefix",
     .kind = OPTION_TEXT,
     .offset = AT(key_prefix),
     .metavar = "TEXT",
     .initial = "sluice:",
     .check = key_prefix_check,
     .help = "What the nodes' keys in Redis begin with: their --key-prefix."},
    {.name = "pending",
     .kind = OPTION_COUNT,
     .offset = AT(pending),
     .initial = "65536",
     .min = TAKES_PER_REQUEST_MAX,
     .max = PENDING_ITEMS_MAX,
     .help = "Takes that may wait for an answer, on each loop; beyond it requests are refused as "
             "OVERLOADED."},
    {.name = "loops",
     .kind = OPTION_COUNT,
     .offset = AT(loops),
     .initial = "1",
     .min = 1,
     .max = ROUTER_LOOPS_MAX,
     .help = "Event loops, each with a thread: more than one if one processor is not enough."},
    {.name = "log_level",
     .kind = OPTION_CHOICE,
     .offset = AT(log_level),
     .initial = "info",
     .choices = "debug|info|warn|error",
     .help = "The least that is logged."},
    {.name = "log_json",
     .kind = OPTION_SWITCH,
     .offset = AT(log_json),
     .initial = "false",
     .help = "Log lines as JSON."},
};

static const struct options_program program = {
    .name = "sluice-router",
    .summary = "Takes requests from clients and forwards each to the shard that owns its key.",
    .examples = "  sluice-router --nodes tcp://10.0.0.1:7590,tcp://10.0.0.2:7590\n"
                "  sluice-router --listen tcp://0.0.0.0:7400 --log-json\n"
                "  SLUICE_NODES=tcp://10.0.0.1:7590 sluice-router --config router.yaml\n",
    .options = options,
    .option_count = sizeof options / sizeof options[0],
};

struct process {
    uv_signal_t signals[2];
    struct log log;
    struct router_loops *router; /* NULL: stopping */
};

static void on_stopped(void *ctx) {
    struct process *process = ctx;
    for (int i = 0; i < 2; i++) {
        uv_close((uv_handle_t *)&process->signals[i], NULL);
    }
}

static void on_signal(uv_signal_t *handle, int signal_number) {
    struct process *process = handle->data;
    if (process->router == NULL) {
        return;
    }
    log_info(&process->log, "stopping: %s", signal_number == SIGINT ? "SIGINT" : "SIGTERM");
    router_loops_stop(process->router, on_stopped, process);
    process->router = NULL;
}

/* False, and why, if the options for the store do not fit. */
static bool access_fill(const struct settings *settings, struct redis_access *access, char *why,
                        size_t why_size) {
    *access = settings->redis_access;
    if (!redis_access_check(access, settings->redis, why, why_size)) {
        return false;
    }
    if (access->address.cluster) {
        snprintf(why, why_size,
                 "--redis: a router of this version cannot decide in a Redis Cluster; without "
                 "--redis plans that say on_unavailable: redis deny");
        return false;
    }
    return true;
}

static int serve(const struct settings *settings) {
    uv_loop_t loop;
    struct process process = {0};
    struct router_settings router = {.items_max = (uint32_t)settings->pending,
                                     .key_prefix = settings->key_prefix};
    struct redis_access access;
    uint32_t loops = (uint32_t)settings->loops;
    char why[512];
    enum log_level level = LOG_LEVEL_INFO;
    log_level_parse(settings->log_level, &level);
    log_init(&process.log, level, settings->log_json, STDERR_FILENO, "router");
    url_list_parse(settings->listen, &router.listen, why, sizeof why);
    url_list_parse(settings->nodes, &router.nodes, why, sizeof why);

    if (settings->redis != NULL) {
        if (!access_fill(settings, &access, why, sizeof why)) {
            log_error(&process.log, "%s", why);
            return EXIT_FAILURE;
        }
        router.redis = &access;
    }
    if (uv_loop_init(&loop) != 0) {
        log_error(&process.log, "cannot make an event loop");
        return EXIT_FAILURE;
    }
    int result =
        router_loops_open(&process.router, &loop, loops, &router, &process.log, why, sizeof why);
    if (result != 0) {
        log_error(&process.log, "%s (see --listen and --loops)", why);
    } else {
        for (int i = 0; i < 2; i++) {
            uv_signal_init(&loop, &process.signals[i]);
            process.signals[i].data = &process;
            uv_signal_start(&process.signals[i], on_signal, i == 0 ? SIGTERM : SIGINT);
        }
        for (uint32_t i = 0; router_loops_url(process.router, i) != NULL; i++) {
            log_info(&process.log, "serving at %s, nodes %s", router_loops_url(process.router, i),
                     settings->nodes);
        }
    }
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    return result == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv) {
    struct settings settings = {0};
    signal(SIGPIPE, SIG_IGN);
    switch (options_load(&program, argc, argv, &settings)) {
    case OPTIONS_HELP:
        return EXIT_SUCCESS;
    case OPTIONS_INVALID:
        return 2;
    case OPTIONS_OK:
        break;
    }
    int status = serve(&settings);
    options_free(&program, &settings);
    return status;
}
