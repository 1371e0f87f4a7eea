#include "proto/map.h"

#include <assert.h>

void map_init(struct map *map) {
    memset(map, 0, sizeof *map);
    memset(map->owner, 0xff, sizeof map->owner);
}

int32_t map_find_node(const struct map *map, struct bytes id) {
    for (uint32_t i = 0; i < map->node_count; i++) {
        if (bytes_equal(name_bytes(&map->nodes[i].id), id)) {
            return (int32_t)i;
        }
    }
    return -1;
}

struct shard_id map_find_shard(const struct map *map, uint32_t node, uint32_t number) {
    for (uint32_t i = 0; i < map->shard_count; i++) {
        if (map->shards[i].node == node && map->shards[i].number == number) {
            return (struct shard_id){.index = (uint16_t)i};
        }
    }
    return SHARD_ID_NONE;
}

uint32_t map_slots_owned(const struct map *map, struct shard_id shard) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < map->slot_count; i++) {
        count += map->owner[i] == shard.index;
    }
    return count;
}

uint32_t map_slots_of_node(const struct map *map, int32_t node) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < map->slot_count; i++) {
        uint16_t owner = map->owner[i];
        count += owner != UINT16_MAX && map->shards[owner].node == node;
    }
    return count;
}

void map_spread(struct map *map) {
    assert(map->shard_count > 0);
    for (uint32_t i = 0; i < map->slot_count; i++) {
        map->owner[i] = (uint16_t)((uint64_t)i * map->shard_count / map->slot_count);
    }
}

enum code map_check(const struct map *map, struct fault *fault) {
    if (!slot_count_valid(map->slot_count)) {
        return fault_set(fault, CODE_BAD_REQUEST,
                         "slots must be a power of two from 1 to %d, got %u", SLOTS_MAX,
                         map->slot_count);
    }
    for (uint32_t i = 0; i < map->node_count; i++) {
        if (map_find_node(map, name_bytes(&map->nodes[i].id)) != (int32_t)i) {
            return fault_set(fault, CODE_BAD_REQUEST, "nodes: two are called %s",
                             map->nodes[i].id.text);
        }
    }
    for (uint32_t i = 0; i < map->shard_count; i++) {
        if (map->shards[i].node >= map->node_count) {
            return fault_set(fault, CODE_BAD_REQUEST, "shards[%u]: node %u does not exist", i,
                             map->shards[i].node);
        }
        if (map_find_shard(map, map->shards[i].node, map->shards[i].number).index != i) {
            return fault_set(fault, CODE_BAD_REQUEST,
                             "shards[%u]: shard %u of node %s stands twice", i,
                             map->shards[i].number, map->nodes[map->shards[i].node].id.text);
        }
    }
    for (uint32_t i = 0; i < map->slot_count; i++) {
        if (map->owner[i] != UINT16_MAX && map->owner[i] >= map->shard_count) {
            return fault_set(fault, CODE_BAD_REQUEST, "owners: slot %u belongs to shard %u of %u",
                             i, map->owner[i], map->shard_count);
        }
    }
    return CODE_OK;
}

bool cluster_id_set(struct cluster_id *id, struct bytes text) {
    *id = (struct cluster_id){""};
    if (text.size != CLUSTER_ID_DIGITS) {
        return false;
    }
    for (uint32_t i = 0; i < CLUSTER_ID_DIGITS; i++) {
        uint8_t digit = text.data[i];
        if (!((digit >= '0' && digit <= '9') || (digit >= 'a' && digit <= 'f'))) {
            return false;
        }
    }
    memcpy(id->text, text.data, CLUSTER_ID_DIGITS);
    return true;
}

bool cluster_id_differs(const struct cluster_id *one, const struct cluster_id *other) {
    return one->text[0] != '\0' && other->text[0] != '\0' &&
           memcmp(one->text, other->text, CLUSTER_ID_DIGITS) != 0;
}

enum code map_check_same(const struct map *known, const struct map *next, struct fault *fault) {
    if (known->epoch.number == 0 || next->epoch.number == 0) {
        return CODE_OK;
    }
    if (cluster_id_differs(&known->cluster, &next->cluster)) {
        return fault_set(fault, CODE_BAD_REQUEST, "the map is of cluster %s, this is cluster %s",
                         next->cluster.text, known->cluster.text);
    }
    if (known->slot_count != next->slot_count) {
        return fault_set(fault, CODE_BAD_REQUEST, "the map has %u slots, this cluster has %u",
                         next->slot_count, known->slot_count);
    }
    return CODE_OK;
}

bool endpoint_name_set(struct endpoint_name *name, struct bytes url) {
    if (url.size == 0 || url.size > ENDPOINT_BYTES_MAX ||
        memchr(url.data, '\0', url.size) != NULL) {
        return false;
    }
    name->size = (uint16_t)url.size;
    memcpy(name->text, url.data, url.size);
    name->text[url.size] = '\0';
    return true;
}
