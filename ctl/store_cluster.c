#include "ctl/store_cluster.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/memory.h"
#include "runtime/redis_time.h"

/* One question to the store and what to do with the answer. */
struct load {
    struct store *store;
    struct store_cluster *cluster;
    struct stored_value *value;
    const char *what;
};

static void on_value(void *ctx, redisReply *reply) {
    struct load *load = ctx;
    struct stored_value *value = load->value;
    free(value->data);
    memset(value, 0, sizeof *value);
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2) {
        store_fail(load->store, "Redis answered with something else than %s", load->what);
        return;
    }
    const redisReply *number = reply->element[0], *data = reply->element[1];
    if (number->type != REDIS_REPLY_STRING || data->type != REDIS_REPLY_STRING) {
        return; /* none */
    }
    value->number = strtoull(number->str, NULL, 10);
    value->size = (uint32_t)data->len;
    value->data = memory_need(data->len + 1);
    memcpy(value->data, data->str, data->len);
}

static void on_time(void *ctx, redisReply *reply) {
    struct load *load = ctx;
    if (!redis_time_read(reply, &load->cluster->time_ns)) {
        store_fail(load->store, "Redis answered TIME with something else than a time");
    }
}

static void on_lease(void *ctx, redisReply *reply) {
    const struct lease_look *look = ctx;
    struct store_cluster *cluster = look->cluster;
    if (reply->type == REDIS_REPLY_INTEGER && reply->integer > 0) {
        size_t used = strlen(cluster->alive);
        snprintf(cluster->alive + used, sizeof cluster->alive - used, "%s%s",
                 cluster->alive_count > 0 ? ", " : "", look->id);
        cluster->alive_count++;
    }
}

static void on_nodes(void *ctx, redisReply *reply) {
    const struct load *load = ctx;
    size_t count = reply->type == REDIS_REPLY_ARRAY ? reply->elements : 0;
    for (size_t i = 0; i < count && i < NODES_MAX; i++) {
        const redisReply *id = reply->element[i];
        struct lease_look *look = &load->cluster->looks[i];
        if (id->type == REDIS_REPLY_STRING && name_valid(bytes_of(id->str, id->len))) {
            store_key key;
            look->cluster = load->cluster;
            snprintf(look->id, sizeof look->id, "%s", id->str);
            store_key_node(load->store->prefix, look->id, key);
            store_send_words(load->store, on_lease, look, "EXISTS", key, NULL);
        }
    }
}

static struct reader value_reader(const struct stored_value *value) {
    return reader_of(bytes_of(value->data, value->size));
}

/* What is not stored is as it was made: there is nothing to read. */
static bool decode(struct store *store, struct store_cluster *cluster) {
    struct fault fault;
    struct reader reader;
    if (cluster->map_value.number > 0) {
        reader = value_reader(&cluster->map_value);
        if (map_read(&reader, &cluster->map, &fault) != CODE_OK) {
            return store_fail(store, "the stored map cannot be read: %s", fault.text);
        }
    }
    if (cluster->plans_value.number > 0) {
        reader = value_reader(&cluster->plans_value);
        if (plan_set_read(&reader, &cluster->plans, &fault) != CODE_OK) {
            return store_fail(store, "the stored plans cannot be read: %s", fault.text);
        }
    }
    return true;
}

bool store_cluster_load(struct store *store, struct store_cluster *cluster) {
    store_key map, plans, nodes;
    store_key_map(store->prefix, map);
    store_key_plans(store->prefix, plans);
    store_key_nodes(store->prefix, nodes);
    map_init(&cluster->map);
    plan_set_init(&cluster->plans);
    cluster->alive_count = 0;
    cluster->alive[0] = '\0';
    struct load load = {.store = store, .cluster = cluster};
    struct load map_load = load, plans_load = load;
    map_load.value = &cluster->map_value;
    map_load.what = "a map";
    plans_load.value = &cluster->plans_value;
    plans_load.what = "plans";
    store_send_words(store, on_time, &load, "TIME", NULL);
    store_send_words(store, on_value, &map_load, "HMGET", map, "number", "value", NULL);
    store_send_words(store, on_value, &plans_load, "HMGET", plans, "number", "value", NULL);
    store_send_words(store, on_nodes, &load, "SMEMBERS", nodes, NULL);
    return store_wait(store, 0) && decode(store, cluster);
}

void store_cluster_fini(struct store_cluster *cluster) {
    free(cluster->map_value.data);
    free(cluster->plans_value.data);
}
