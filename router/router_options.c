#include "router/router_options.h"

#include <stdio.h>

#include "proto/bounds.h"
#include "proto/store_keys.h"
#include "router/core/router.h"
#include "router/io/status.h"
#include "router/io/url_list.h"
#include "runtime/redis_options.h"

#define AT(field) offsetof(struct router_config, field)

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

const struct options_program router_options_program = {
    .name = "sluice-router",
    .summary = "Takes requests from clients and forwards each to the shard that owns its key.",
    .examples = "  sluice-router --nodes tcp://10.0.0.1:7590,tcp://10.0.0.2:7590\n"
                "  sluice-router --listen tcp://0.0.0.0:7400 --log-json\n"
                "  SLUICE_NODES=tcp://10.0.0.1:7590 sluice-router --config router.yaml\n",
    .options = options,
    .option_count = sizeof options / sizeof options[0],
};

bool router_options_access(const struct router_config *given, struct redis_access *access,
                           char *why, size_t why_size) {
    *access = given->redis_access;
    if (!redis_access_check(access, given->redis, why, why_size)) {
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
