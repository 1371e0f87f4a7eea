#include "proto/map_codec.h"

static uint32_t run_length(const struct map *map, uint32_t from) {
    uint32_t end = from + 1;
    while (end < map->slot_count && map->owner[end] == map->owner[from]) {
        end++;
    }
    return end - from;
}

static void owners_write(struct writer *writer, const struct map *map) {
    uint32_t runs = 0;
    for (uint32_t at = 0; at < map->slot_count; at += run_length(map, at)) {
        runs++;
    }
    write_array(writer, runs);
    for (uint32_t at = 0; at < map->slot_count; at += run_length(map, at)) {
        write_array(writer, 2);
        write_uint(writer, run_length(map, at));
        if (map->owner[at] == UINT16_MAX) {
            write_nil(writer);
        } else {
            write_uint(writer, map->owner[at]);
        }
    }
}

void map_write(struct writer *writer, const struct map *map) {
    bool has_id = map->cluster.text[0] != '\0';
    write_map(writer, has_id ? 7 : 6);
    write_text_uint(writer, "format", MAP_FORMAT);
    if (has_id) {
        write_text_text(writer, "cluster", map->cluster.text);
    }
    write_text_uint(writer, "epoch", map->epoch.number);
    write_text_uint(writer, "slots", map->slot_count);
    write_text(writer, "nodes");
    write_array(writer, map->node_count);
    for (uint32_t i = 0; i < map->node_count; i++) {
        write_array(writer, 3);
        write_str(writer, name_bytes(&map->nodes[i].id));
        write_str(writer, endpoint_name_bytes(&map->nodes[i].control));
        write_uint(writer, map->nodes[i].weight);
    }
    write_text(writer, "shards");
    write_array(writer, map->shard_count);
    for (uint32_t i = 0; i < map->shard_count; i++) {
        write_array(writer, 3);
        write_uint(writer, map->shards[i].node);
        write_uint(writer, map->shards[i].number);
        write_str(writer, endpoint_name_bytes(&map->shards[i].endpoint));
    }
    write_text(writer, "owners");
    owners_write(writer, map);
}

/* [id, control endpoint, weight]; later versions may add to it. */
static bool node_read(struct reader *reader, struct map_node *node) {
    uint32_t count;
    uint64_t weight;
    struct bytes id, control, later;
    if (!read_array(reader, &count) || count < 3 || !read_bytes(reader, &id) ||
        !read_bytes(reader, &control) || !read_uint(reader, &weight) || !name_valid(id) ||
        weight > WEIGHT_MAX || !endpoint_name_set(&node->control, control)) {
        return false;
    }
    node->id = name_of(id);
    node->weight = (uint32_t)weight;
    for (uint32_t i = 3; i < count; i++) {
        if (!read_any(reader, &later)) {
            return false;
        }
    }
    return true;
}

static enum code nodes_read(struct reader *reader, struct map *map, struct fault *fault) {
    if (!read_array(reader, &map->node_count) || map->node_count > NODES_MAX) {
        return fault_set(fault, CODE_BAD_REQUEST, "nodes: expected at most %d", NODES_MAX);
    }
    for (uint32_t i = 0; i < map->node_count; i++) {
        if (!node_read(reader, &map->nodes[i])) {
            return fault_set(fault, CODE_BAD_REQUEST, "nodes[%u]: expected [id, endpoint, weight]",
                             i);
        }
    }
    return CODE_OK;
}

static enum code shards_read(struct reader *reader, struct map *map, struct fault *fault) {
    if (!read_array(reader, &map->shard_count) || map->shard_count > SHARDS_MAX) {
        return fault_set(fault, CODE_BAD_REQUEST, "shards: expected at most %d", SHARDS_MAX);
    }
    for (uint32_t i = 0; i < map->shard_count; i++) {
        uint32_t count;
        uint64_t node, number;
        struct bytes url;
        if (!read_array(reader, &count) || count != 3 || !read_uint(reader, &node) ||
            !read_uint(reader, &number) || !read_bytes(reader, &url) || node >= NODES_MAX ||
            number >= SHARDS_MAX || !endpoint_name_set(&map->shards[i].endpoint, url)) {
            return fault_set(fault, CODE_BAD_REQUEST,
                             "shards[%u]: expected [node, number, endpoint]", i);
        }
        map->shards[i].node = (uint16_t)node;
        map->shards[i].number = (uint16_t)number;
    }
    return CODE_OK;
}

/* Runs may stand before "slots": they are kept from slot 0 on and their sum is compared at the
 * end. */
static enum code owners_read(struct reader *reader, struct map *map, uint32_t *covered,
                             struct fault *fault) {
    uint32_t runs;
    if (!read_array(reader, &runs)) {
        return fault_set(fault, CODE_BAD_REQUEST, "owners: expected an array of runs");
    }
    *covered = 0;
    for (uint32_t i = 0; i < runs; i++) {
        uint32_t parts;
        uint64_t count, owner = UINT16_MAX;
        if (!read_array(reader, &parts) || parts != 2 || !read_uint(reader, &count) ||
            (!read_nil(reader) && (!read_uint(reader, &owner) || owner >= SHARDS_MAX)) ||
            count == 0 || count > SLOTS_MAX - *covered) {
            return fault_set(fault, CODE_BAD_REQUEST, "owners[%u]: expected [slots, shard]", i);
        }
        for (uint64_t j = 0; j < count; j++) {
            map->owner[(*covered)++] = (uint16_t)owner;
        }
    }
    return CODE_OK;
}

static enum code format_check(struct reader *reader, struct fault *fault) {
    uint64_t format;
    if (!read_uint(reader, &format) || format == 0) {
        return fault_set(fault, CODE_BAD_REQUEST, "map: format: expected an integer of 1 or more");
    }
    if (format > MAP_FORMAT) {
        return fault_set(fault, CODE_BAD_REQUEST,
                         "map: format %llu, this version reads up to %d: it is too old for this "
                         "cluster, upgrade it",
                         (unsigned long long)format, MAP_FORMAT);
    }
    return CODE_OK;
}

enum code map_read(struct reader *reader, struct map *map, struct fault *fault) {
    map_init(map);
    fault->code = CODE_OK;
    uint32_t members, covered = 0;
    uint64_t slots = 0;
    if (!read_map(reader, &members)) {
        return fault_set(fault, CODE_BAD_REQUEST, "map: expected a map, got %s",
                         reader_describe(reader));
    }
    for (uint32_t i = 0; i < members; i++) {
        struct bytes name, skipped;
        enum code code = CODE_OK;
        if (!read_bytes(reader, &name)) {
            return fault_set(fault, CODE_BAD_REQUEST, "map: a member's name must be a string");
        }
        if (bytes_equal(name, bytes_of_text("format"))) {
            code = format_check(reader, fault);
        } else if (bytes_equal(name, bytes_of_text("cluster"))) {
            struct bytes id;
            code = read_bytes(reader, &id) && cluster_id_set(&map->cluster, id) ? CODE_OK
                                                                                : CODE_BAD_REQUEST;
        } else if (bytes_equal(name, bytes_of_text("epoch"))) {
            code = read_uint(reader, &map->epoch.number) ? CODE_OK : CODE_BAD_REQUEST;
        } else if (bytes_equal(name, bytes_of_text("slots"))) {
            code = read_uint(reader, &slots) && slots <= SLOTS_MAX ? CODE_OK : CODE_BAD_REQUEST;
        } else if (bytes_equal(name, bytes_of_text("nodes"))) {
            code = nodes_read(reader, map, fault);
        } else if (bytes_equal(name, bytes_of_text("shards"))) {
            code = shards_read(reader, map, fault);
        } else if (bytes_equal(name, bytes_of_text("owners"))) {
            code = owners_read(reader, map, &covered, fault);
        } else {
            code = read_any(reader, &skipped) ? CODE_OK : CODE_BAD_REQUEST;
        }
        if (code != CODE_OK) {
            return fault->code != CODE_OK
                       ? fault->code
                       : fault_set(fault, CODE_BAD_REQUEST, "map: member \"%.*s\" is not right",
                                   (int)(name.size < 40 ? name.size : 40), (const char *)name.data);
        }
    }
    map->slot_count = (uint32_t)slots;
    if (map->epoch.number == 0 || covered != map->slot_count) {
        return fault_set(fault, CODE_BAD_REQUEST, "map: epoch %llu, owners for %u of %u slots",
                         (unsigned long long)map->epoch.number, covered, map->slot_count);
    }
    return map_check(map, fault);
}
