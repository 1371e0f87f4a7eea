/* The params of the operator's methods that act on slots and nodes. */
#include <inttypes.h>

#include "proto/map.h"
#include "proto/request.h"

static enum code params_open(struct reader *reader, uint32_t least, uint32_t most,
                             const char *expected, uint32_t *count, struct fault *fault) {
    if (!read_array(reader, count) || *count < least || *count > most) {
        return fault_set(fault, CODE_BAD_REQUEST, "params: expected %s", expected);
    }
    return CODE_OK;
}

static enum code params_close(const struct reader *reader, struct fault *fault) {
    return reader_done(reader)
               ? CODE_OK
               : fault_set(fault, CODE_BAD_REQUEST, "bytes are left over behind the request");
}

static enum code node_id_read(struct reader *reader, const char *at, struct bytes *id,
                              struct fault *fault) {
    if (!read_bytes(reader, id) || !name_valid(*id)) {
        return fault_set(fault, CODE_BAD_REQUEST, "%s: expected a node's id, got %s", at,
                         reader_describe(reader));
    }
    return CODE_OK;
}

enum code request_read_number(struct bytes params, const char *what, uint64_t initial,
                              uint64_t least, uint64_t most, uint64_t *number,
                              struct fault *fault) {
    struct reader reader = reader_of(params);
    uint32_t count = 0;
    *number = initial;
    if (params_open(&reader, 0, 1, what, &count, fault) != CODE_OK) {
        return fault->code;
    }
    if (count > 0 && (!read_uint(&reader, number) || *number < least || *number > most)) {
        return fault_set(fault, CODE_BAD_REQUEST,
                         "params[0]: expected %s, an integer from %" PRIu64 " to %" PRIu64, what,
                         least, most);
    }
    return params_close(&reader, fault);
}

static enum code slots_read(struct reader *reader, struct slot *slots, uint32_t *count,
                            struct fault *fault) {
    uint8_t seen[SLOTS_MAX / 8] = {0};
    if (!read_array(reader, count) || *count < 1 || *count > SLOTS_MAX) {
        return fault_set(fault, CODE_BAD_REQUEST, "params[0]: expected a list of 1 to %d slots",
                         SLOTS_MAX);
    }
    for (uint32_t i = 0; i < *count; i++) {
        uint64_t slot;
        if (!read_uint(reader, &slot) || slot >= SLOTS_MAX) {
            return fault_set(fault, CODE_BAD_REQUEST,
                             "params[0][%u]: expected a slot from 0 to %d, got %s", i,
                             SLOTS_MAX - 1, reader_describe(reader));
        }
        if ((seen[slot / 8] >> (slot % 8) & 1) != 0) {
            return fault_set(fault, CODE_BAD_REQUEST, "params[0][%u]: slot %u stands twice", i,
                             (unsigned)slot);
        }
        seen[slot / 8] |= (uint8_t)(1u << (slot % 8));
        slots[i].index = (uint16_t)slot;
    }
    return CODE_OK;
}

enum code request_read_move(struct bytes params, struct slot *slots, uint32_t *count,
                            struct bytes *node, uint32_t *number, struct fault *fault) {
    struct reader reader = reader_of(params);
    uint32_t parts;
    uint64_t shard;
    if (params_open(&reader, 3, 3, "[[slot, ...], node, shard number]", &parts, fault) != CODE_OK ||
        slots_read(&reader, slots, count, fault) != CODE_OK ||
        node_id_read(&reader, "params[1]", node, fault) != CODE_OK) {
        return fault->code;
    }
    if (!read_uint(&reader, &shard) || shard >= SHARDS_MAX) {
        return fault_set(fault, CODE_BAD_REQUEST, "params[2]: expected a shard's number, got %s",
                         reader_describe(&reader));
    }
    *number = (uint32_t)shard;
    return params_close(&reader, fault);
}

enum code request_read_weight(struct bytes params, struct bytes *id, uint32_t *weight,
                              struct fault *fault) {
    struct reader reader = reader_of(params);
    uint32_t parts;
    uint64_t value;
    if (params_open(&reader, 2, 2, "[node, weight]", &parts, fault) != CODE_OK ||
        node_id_read(&reader, "params[0]", id, fault) != CODE_OK) {
        return fault->code;
    }
    if (!read_uint(&reader, &value) || value > WEIGHT_MAX) {
        return fault_set(fault, CODE_BAD_REQUEST,
                         "params[1]: expected a weight from 0 (drained) to %d, got %s", WEIGHT_MAX,
                         reader_describe(&reader));
    }
    *weight = (uint32_t)value;
    return params_close(&reader, fault);
}

enum code request_read_node(struct bytes params, struct bytes *id, struct fault *fault) {
    struct reader reader = reader_of(params);
    uint32_t parts;
    if (params_open(&reader, 1, 1, "[node]", &parts, fault) != CODE_OK ||
        node_id_read(&reader, "params[0]", id, fault) != CODE_OK) {
        return fault->code;
    }
    return params_close(&reader, fault);
}

enum code request_read_rebalance(struct bytes params, uint64_t *follows, struct bytes *value,
                                 struct fault *fault) {
    struct reader reader = reader_of(params);
    uint32_t parts;
    if (params_open(&reader, 2, 2, "[number, value]", &parts, fault) != CODE_OK) {
        return fault->code;
    }
    if (!read_uint(&reader, follows) || !read_any(&reader, value) ||
        value->size > REBALANCE_BYTES_MAX) {
        return fault_set(fault, CODE_BAD_REQUEST,
                         "params: expected the number that this one follows, and a value of at "
                         "most %d bytes",
                         REBALANCE_BYTES_MAX);
    }
    return params_close(&reader, fault);
}
