#include "proto/cluster_view.h"

#include "proto/map_codec.h"
#include "proto/plan_codec.h"

void cluster_view_write(struct writer *writer, const struct map *map, const struct plan_set *plans,
                        uint64_t age_ms) {
    write_map(writer, 3);
    write_text(writer, "map");
    if (map == NULL || map->epoch.number == 0) {
        write_nil(writer);
    } else {
        map_write(writer, map);
    }
    write_text(writer, "policies");
    policies_write(writer, plans);
    write_text_uint(writer, "age_ms", age_ms);
}

static enum code member_read(struct reader *reader, struct bytes name, struct map *map,
                             struct plan_set *plans, uint64_t *age_ms, struct fault *fault) {
    struct bytes skipped;
    if (bytes_equal(name, bytes_of_text("map"))) {
        return read_nil(reader) ? CODE_OK : map_read(reader, map, fault);
    }
    if (bytes_equal(name, bytes_of_text("policies"))) {
        return policies_read(reader, plans, fault);
    }
    if (bytes_equal(name, bytes_of_text("age_ms"))) {
        return read_uint(reader, age_ms)
                   ? CODE_OK
                   : fault_set(fault, CODE_BAD_REQUEST, "cluster.map: age_ms: expected an integer");
    }
    return read_any(reader, &skipped)
               ? CODE_OK
               : fault_set(fault, CODE_BAD_REQUEST, "cluster.map: cut short");
}

enum code cluster_view_read(struct bytes value, struct map *map, struct plan_set *plans,
                            uint64_t *age_ms, struct fault *fault) {
    struct reader reader = reader_of(value);
    uint32_t members;
    map_init(map);
    plan_set_init(plans);
    *age_ms = 0;
    if (!read_map(&reader, &members)) {
        return fault_set(fault, CODE_BAD_REQUEST, "cluster.map: expected a map, got %s",
                         reader_describe(&reader));
    }
    for (uint32_t i = 0; i < members; i++) {
        struct bytes name;
        if (!read_bytes(&reader, &name)) {
            return fault_set(fault, CODE_BAD_REQUEST, "cluster.map: a name must be a string");
        }
        if (member_read(&reader, name, map, plans, age_ms, fault) != CODE_OK) {
            return fault->code;
        }
    }
    return CODE_OK;
}
