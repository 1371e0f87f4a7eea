#include "tests/schema/record_schema_2.h"

#include "proto/plan_codec.h"

static bool tats_read(struct reader *reader, struct record *record) {
    if (!read_array(reader, &record->tat_count) || record->tat_count < 1 ||
        record->tat_count > LIMITS_PER_PLAN_MAX) {
        return false;
    }
    for (uint32_t i = 0; i < record->tat_count; i++) {
        struct tat *tat = &record->tats[i];
        uint32_t parts;
        if (!read_array(reader, &parts) || parts != 2 || !read_uint(reader, &tat->ns) ||
            !read_uint(reader, &tat->part) || tat->ns > INT64_MAX || tat->part >= TOKENS_MAX) {
            return false;
        }
    }
    return true;
}

enum code record_read_2(struct reader *reader, uint32_t count, struct record *record,
                        struct fault *fault) {
    uint64_t generation;
    if (count != 4 || !tats_read(reader, record) || !read_uint(reader, &generation) ||
        generation > UINT32_MAX) {
        return fault_set(fault, CODE_BAD_REQUEST, "record: no record of schema 2");
    }
    record->generation = (uint32_t)generation;
    record->is_inline = !read_bytes(reader, &record->plan);
    if (record->is_inline) {
        return limit_read_array(reader, &record->limit, "record[3]", fault);
    }
    return name_valid(record->plan)
               ? CODE_OK
               : fault_set(fault, CODE_BAD_REQUEST, "record[3]: not a plan's name");
}

void record_write_2(struct writer *writer, const struct record *record) {
    write_array(writer, 4);
    write_uint(writer, 2);
    write_array(writer, record->tat_count);
    for (uint32_t i = 0; i < record->tat_count; i++) {
        write_array(writer, 2);
        write_uint(writer, record->tats[i].ns);
        write_uint(writer, record->tats[i].part);
    }
    write_uint(writer, record->generation);
    if (record->is_inline) {
        limit_write_array(writer, &record->limit);
    } else {
        write_str(writer, record->plan);
    }
}
