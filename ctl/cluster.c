#include "ctl/cluster.h"

#include <stdlib.h>
#include <time.h>

#include "ctl/interrupt.h"
#include "ctl/out.h"
#include "ctl/text.h"
#include "proto/cluster_view.h"

/* Looks for a map that must exist, and milliseconds between two: a heartbeat is well below 1 s. */
#define MAP_LOOKS_MAX 40
#define MAP_LOOK_MS 50

/* Times that a change of the map that another one overtook is tried, and milliseconds between. */
#define WEIGH_TRIES_MAX 8
#define WEIGH_PAUSE_MS 100

struct cluster *cluster_create(const struct settings *settings) {
    struct cluster *cluster = calloc(1, sizeof *cluster);
    if (cluster == NULL) {
        out_failure(settings, "no memory");
        return NULL;
    }
    cluster->settings = settings;
    map_init(&cluster->map);
    return cluster;
}

/* --- time ---------------------------------------------------------------------------------- */

static uint64_t clock_ms(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

uint64_t time_now_ms(void) {
    return clock_ms(CLOCK_REALTIME);
}

uint64_t time_monotonic_ms(void) {
    return clock_ms(CLOCK_MONOTONIC);
}

void time_sleep_ms(uint64_t span_ms) {
    struct timespec span = {.tv_sec = (time_t)(span_ms / 1000),
                            .tv_nsec = (long)(span_ms % 1000) * 1000000};
    if (!interrupt_came()) {
        nanosleep(&span, NULL);
    }
}

/* --- asking -------------------------------------------------------------------------------- */

static enum exit_code fail(const struct cluster *cluster, enum exit_code code, const char *text) {
    if (!cluster->quiet) {
        out_failure(cluster->settings, "%s", text);
    }
    return code;
}

bool cluster_call(const struct cluster *cluster, struct bytes request, struct rpc_answer *answer) {
    const struct settings *settings = cluster->settings;
    if (rpc_call(settings->control, request, settings->timeout_ms, answer)) {
        return true;
    }
    for (uint32_t i = 0; i < cluster->map.node_count && answer->nobody_there; i++) {
        const char *url = cluster->map.nodes[i].control.text;
        if (cluster->alive[i] && strcmp(url, settings->control) != 0) {
            rpc_answer_fini(answer);
            if (rpc_call(url, request, settings->timeout_ms, answer)) {
                return true;
            }
        }
    }
    return false;
}

enum exit_code cluster_ask(const struct cluster *cluster, struct bytes request,
                           struct rpc_answer *answer) {
    if (!cluster_call(cluster, request, answer)) {
        char text[512];
        snprintf(text, sizeof text, "%s%s", answer->failure,
                 answer->nobody_there ? "; is a node running there? (--control URL, SLUICE_CONTROL)"
                                      : "");
        return fail(cluster, EXIT_UNREACHABLE, text);
    }
    if (answer->reply.is_error) {
        if (!cluster->quiet) {
            out_error(cluster->settings, &answer->reply);
        }
        return EXIT_ANSWERED_ERROR;
    }
    return EXIT_DONE;
}

static struct bytes plain(uint8_t memory[64], enum method method) {
    struct writer writer = writer_of(memory, 64);
    request_write_head(&writer, 1, method);
    write_array(&writer, 0);
    return writer_bytes(&writer);
}

/* --- the map ------------------------------------------------------------------------------- */

static enum exit_code map_load(struct cluster *cluster) {
    uint8_t memory[64];
    struct rpc_answer answer;
    struct fault fault;
    uint64_t age_ms;
    enum exit_code code = cluster_ask(cluster, plain(memory, METHOD_CLUSTER_MAP), &answer);
    struct plan_set *plans = malloc(sizeof *plans);
    struct map *map = malloc(sizeof *map);
    if (plans == NULL || map == NULL) {
        code = fail(cluster, EXIT_UNREACHABLE, "no memory");
    } else if (code == EXIT_DONE &&
               cluster_view_read(answer.reply.result, map, plans, &age_ms, &fault) != CODE_OK) {
        code = fail(cluster, EXIT_ANSWERED_ERROR, fault.text);
    } else if (code == EXIT_DONE && map->epoch.number == 0) {
        code =
            fail(cluster, EXIT_ANSWERED_ERROR, "there is no map yet: `sluicectl init` creates it");
    } else if (code == EXIT_DONE && map_check_same(&cluster->map, map, &fault) != CODE_OK) {
        cluster->foreign = true;
        code = fail(cluster, EXIT_ANSWERED_ERROR, fault.text);
    } else if (code == EXIT_DONE) {
        cluster->map = *map;
    }
    free(map);
    free(plans);
    rpc_answer_fini(&answer);
    return code;
}

/* A node that answers with an old map is told that there is a newer one. */
static void refresh(const struct cluster *cluster) {
    uint8_t memory[64];
    struct writer writer = writer_of(memory, sizeof memory);
    struct rpc_answer answer;
    request_write_head(&writer, 1, METHOD_CLUSTER_REFRESH);
    write_array(&writer, 1);
    write_uint(&writer, cluster->least.number);
    cluster_call(cluster, writer_bytes(&writer), &answer);
    rpc_answer_fini(&answer);
}

static enum exit_code living_load(struct cluster *cluster) {
    uint8_t memory[64];
    struct rpc_answer answer;
    enum exit_code code = cluster_ask(cluster, plain(memory, METHOD_CLUSTER_STATUS), &answer);
    json_t *status = code == EXIT_DONE ? json_of_value(answer.reply.result) : NULL;
    const json_t *nodes = json_object_get(status, "nodes");
    uint64_t stored = (uint64_t)json_int(status, "stored_epoch");
    cluster->least.number = stored > cluster->least.number ? stored : cluster->least.number;
    memset(cluster->alive, 0, sizeof cluster->alive);
    for (size_t i = 0; i < json_array_size(nodes); i++) {
        const json_t *node = json_array_get(nodes, i);
        int32_t at = map_find_node(&cluster->map, bytes_of_text(json_text(node, "id")));
        if (at >= 0) {
            cluster->alive[at] = json_is_true(json_object_get(node, "alive"));
        }
    }
    json_decref(status);
    rpc_answer_fini(&answer);
    return code;
}

enum exit_code cluster_load(struct cluster *cluster) {
    for (uint32_t look = 0; look < MAP_LOOKS_MAX; look++) {
        enum exit_code code = map_load(cluster);
        code = code == EXIT_DONE ? living_load(cluster) : code;
        if (code != EXIT_DONE) {
            return code;
        }
        if (cluster->map.epoch.number >= cluster->least.number) {
            cluster->least = cluster->map.epoch;
            return EXIT_DONE;
        }
        refresh(cluster);
        time_sleep_ms(MAP_LOOK_MS);
    }
    return fail(cluster, EXIT_UNREACHABLE,
                "the node at --control has an old map and does not come by the newer one");
}

static void slots_read(struct cluster *cluster, struct bytes list) {
    struct reader reader = reader_of(list);
    uint32_t count, parts;
    if (!read_array(&reader, &count)) {
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        uint64_t slot, buckets, takes;
        if (!read_array(&reader, &parts) || parts < 3 || !read_uint(&reader, &slot) ||
            !read_uint(&reader, &buckets) || !read_uint(&reader, &takes) || slot >= SLOTS_MAX) {
            return;
        }
        cluster->buckets[slot] = buckets;
        cluster->takes[slot] = takes;
        for (uint32_t part = 3; part < parts; part++) {
            struct bytes skipped;
            if (!read_any(&reader, &skipped)) {
                return;
            }
        }
    }
}

void cluster_load_slots(struct cluster *cluster) {
    uint8_t memory[64];
    struct bytes request = plain(memory, METHOD_SLOTS_LIST);
    memset(cluster->buckets, 0, sizeof cluster->buckets);
    memset(cluster->takes, 0, sizeof cluster->takes);
    for (uint32_t i = 0; i < cluster->map.node_count; i++) {
        struct rpc_answer answer;
        if (!cluster->alive[i]) {
            continue;
        }
        if (rpc_call(cluster->map.nodes[i].control.text, request, cluster->settings->timeout_ms,
                     &answer) &&
            !answer.reply.is_error) {
            slots_read(cluster, answer.reply.result);
        }
        rpc_answer_fini(&answer);
    }
}

/* --- nodes --------------------------------------------------------------------------------- */

int32_t cluster_find_node(const struct cluster *cluster, struct bytes id) {
    const struct map *map = &cluster->map;
    int32_t node = map_find_node(map, id);
    if (node >= 0) {
        return node;
    }
    const char *ids[NODES_MAX];
    for (uint32_t i = 0; i < map->node_count; i++) {
        ids[i] = map->nodes[i].id.text;
    }
    const char *near = text_nearest(id, ids, map->node_count);
    out_failure(cluster->settings, "the map has no node \"%.*s\"%s%s%s (`sluicectl nodes`)",
                (int)id.size, (const char *)id.data, near ? "; did you mean \"" : "",
                near ? near : "", near ? "\"?" : "");
    return -1;
}

static void epoch_read(struct cluster *cluster, struct bytes result) {
    json_t *json = json_of_value(result);
    uint64_t epoch = (uint64_t)json_int(json, "epoch");
    cluster->least.number = epoch > cluster->least.number ? epoch : cluster->least.number;
    json_decref(json);
}

enum exit_code cluster_weigh(struct cluster *cluster, const char *node, uint32_t weight) {
    uint8_t memory[128];
    struct writer writer = writer_of(memory, sizeof memory);
    request_write_head(&writer, 1, METHOD_NODE_WEIGHT);
    write_array(&writer, 2);
    write_text(&writer, node);
    write_uint(&writer, weight);
    for (uint32_t tries = 1;; tries++) {
        struct rpc_answer answer;
        bool answered = cluster_call(cluster, writer_bytes(&writer), &answer);
        bool again = answered && answer.reply.is_error && answer.reply.code == CODE_CONFLICT;
        if (!again || tries == WEIGH_TRIES_MAX) {
            enum exit_code code = EXIT_DONE;
            if (!answered) {
                out_failure(cluster->settings, "%s", answer.failure);
                code = EXIT_UNREACHABLE;
            } else if (answer.reply.is_error) {
                out_error(cluster->settings, &answer.reply);
                code = EXIT_ANSWERED_ERROR;
            } else {
                epoch_read(cluster, answer.reply.result);
            }
            rpc_answer_fini(&answer);
            return code;
        }
        rpc_answer_fini(&answer);
        time_sleep_ms(WEIGH_PAUSE_MS);
    }
}
