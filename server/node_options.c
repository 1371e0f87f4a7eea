#include "server/node_options.h"

#include <stdio.h>
#include <string.h>

#include "proto/map.h"
#include "proto/plan.h"
#include "proto/store_keys.h"
#include "runtime/redis_options.h"
#include "server/io/ack.h"

#define MS UINT64_C(1000000)
#define S (1000 * MS)

static bool node_id_check(const char *text, char *why, size_t why_size) {
    if (!name_valid(bytes_of_text(text))) {
        snprintf(why, why_size,
                 "a node's id has 1 to %d letters, digits, '_', '-', '.', and begins with a letter "
                 "or digit, like n1",
                 NAME_BYTES_MAX);
        return false;
    }
    return true;
}

static bool ack_option_check(const char *text, char *why, size_t why_size) {
    struct ack ack;
    return ack_parse(text, &ack, why, why_size);
}

static bool endpoint_check(const char *text, char *why, size_t why_size) {
    if (strncmp(text, "tcp://", 6) != 0 || strrchr(text + 6, ':') == NULL ||
        strlen(text) > ENDPOINT_BYTES_MAX) {
        snprintf(why, why_size, "expected tcp://HOST:PORT, like tcp://127.0.0.1:7500");
        return false;
    }
    return true;
}

#define AT(field) offsetof(struct node_settings, field)

static const struct option options[] = {
    {.name = "node_id",
     .kind = OPTION_TEXT,
     .offset = AT(node_id),
     .metavar = "ID",
     .check = node_id_check,
     .help = "This node's name in the cluster, the same at every start (required)."},
    {.name = "redis",
     .kind = OPTION_TEXT,
     .offset = AT(redis),
     .metavar = "URL",
     .initial = "redis://127.0.0.1:6379",
     .check = redis_url_check,
     .help = "The store: redis://[USER@]HOST[:PORT][/DB] (rediss:// over TLS), "
             "redis+sentinel://[USER@]HOST[:PORT],.../NAME[/DB], "
             "redis+cluster://[USER@]HOST[:PORT],... or unix:///PATH."},
    REDIS_ACCESS_OPTIONS(AT(redis_access)),
    {.name = "ack",
     .kind = OPTION_TEXT,
     .offset = AT(ack),
     .metavar = "WHAT",
     .initial = "memory",
     .check = ack_option_check,
     .help = "What makes a write count: memory (Redis has it), aof (on Redis's disk), replicas:N."},
    {.name = "key_prefix",
     .kind = OPTION_TEXT,
     .offset = AT(key_prefix),
     .metavar = "TEXT",
     .initial = "sluice:",
     .check = key_prefix_check,
     .help = "What our keys in Redis begin with; one for each cluster."},
    {.name = "shards",
     .kind = OPTION_COUNT,
     .offset = AT(shards),
     .initial = "1",
     .min = 1,
     .max = NODE_SHARDS_MAX,
     .help = "Shards (threads) of this node: at most one a core."},
    {.name = "listen",
     .kind = OPTION_TEXT,
     .offset = AT(listen),
     .metavar = "URL",
     .initial = "tcp://127.0.0.1:7500",
     .check = endpoint_check,
     .help = "Where shard 0 listens; shard i listens i ports higher (port 0: any)."},
    {.name = "control",
     .kind = OPTION_TEXT,
     .offset = AT(control),
     .metavar = "URL",
     .initial = "tcp://127.0.0.1:7590",
     .check = endpoint_check,
     .help = "Where sluicectl and routers ask about the cluster."},
    {.name = "advertise_host",
     .kind = OPTION_TEXT,
     .offset = AT(advertise_host),
     .metavar = "HOST",
     .help = "The host under which others reach this node, if not the bound one."},
    {.name = "snapshot_interval",
     .kind = OPTION_DURATION,
     .offset = AT(snapshot_interval_ns),
     .initial = "100ms",
     .min = MS,
     .max = 60 * S,
     .help = "Time between snapshots: what a crash forgets at most."},
    {.name = "lease_ttl",
     .kind = OPTION_DURATION,
     .offset = AT(lease_ttl_ns),
     .initial = "1s",
     .min = 100 * MS,
     .max = 60 * S,
     .help = "Time after which a silent node counts as gone."},
    {.name = "shard_memory_max",
     .kind = OPTION_BYTES,
     .offset = AT(shard_memory_bytes_max),
     .initial = "1GiB",
     .min = 16 << 20,
     .max = UINT64_C(32) << 30,
     .help = "Memory for the buckets of each shard; beyond it new keys are OVERLOADED."},
    {.name = "resident_buckets_max",
     .kind = OPTION_COUNT,
     .offset = AT(resident_buckets_max),
     .initial = "0",
     .min = 0,
     .max = RESIDENT_BUCKETS_MAX,
     .metavar = "N",
     .help = "Buckets in memory, of each shard, above which the coldest are kept in Redis only and "
             "read on demand; 0: as many as memory holds."},
    {.name = "huge_pages",
     .kind = OPTION_SWITCH,
     .offset = AT(huge_pages),
     .initial = "false",
     .help =
         "Ask the system for huge pages (madvise) for buckets: for shards of millions of keys."},
    {.name = "stop_timeout",
     .kind = OPTION_DURATION,
     .offset = AT(stop_timeout_ns),
     .initial = "10s",
     .min = 100 * MS,
     .max = 600 * S,
     .help = "How long a stop (SIGTERM) may take to write everything."},
    {.name = "weight",
     .kind = OPTION_COUNT,
     .offset = AT(weight),
     .initial = "100",
     .min = 0,
     .max = WEIGHT_MAX,
     .help = "Share of the slots that a joining node is due, 100 being an ordinary node's."},
    {.name = "failover",
     .kind = OPTION_SWITCH,
     .offset = AT(failover),
     .initial = "true",
     .help = "Take over the slots of nodes whose lease has run out."},
    {.name = "auto_rebalance",
     .kind = OPTION_SWITCH,
     .offset = AT(auto_rebalance),
     .initial = "false",
     .help = "Hand over what is above this node's share without being told to."},
    {.name = "drain_on_stop",
     .kind = OPTION_SWITCH,
     .offset = AT(drain_on_stop),
     .initial = "false",
     .help = "Hand every slot over before a stop (SIGTERM), within the stop timeout."},
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
     .help = "Log one JSON object a line."},
};

const struct options_program node_options_program = {
    .name = "sluice-node",
    .summary = "Runs shards: the single-threaded owners of token buckets.",
    .examples = "  sluice-node --node-id n1\n"
                "  sluice-node --node-id n2 --shards 4 --listen tcp://127.0.0.1:7510 \\\n"
                "      --control tcp://127.0.0.1:7592 --redis redis://127.0.0.1:6379/1\n"
                "  SLUICE_REDIS_PASSWORD=... sluice-node --config /etc/sluice/node.yaml\n"
                "\n"
                "A new cluster: start the nodes, then run once: sluicectl init\n"
                "Exit codes: 0 stopped and everything written, 1 cannot start or run on, 2 wrong\n"
                "options, 3 stopped but the store did not take everything in time.\n",
    .options = options,
    .option_count = sizeof options / sizeof options[0],
};

enum options_outcome node_options_load(int argc, char **argv, struct node_settings *settings) {
    enum options_outcome outcome = options_load(&node_options_program, argc, argv, settings);
    if (outcome == OPTIONS_OK && settings->node_id == NULL) {
        fprintf(stderr, "sluice-node: --node-id is required: this node's name in the cluster, the "
                        "same at every start (sluice-node --node-id n1)\n");
        node_options_free(settings);
        return OPTIONS_INVALID;
    }
    return outcome;
}

void node_options_free(struct node_settings *settings) {
    options_free(&node_options_program, settings);
}
