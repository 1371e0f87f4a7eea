/* Schema 1: [1, plan, generation, tat...]. */
#include "proto/plan_codec.h"
#include "proto/record.h"

static void tat_write(struct writer *writer, const struct tat *tat) {
    if (tat->part > 0) {
        write_array(writer, 2);
        write_uint(writer, tat->ns);
        write_uint(writer, tat->part);
    } else {
        write_uint(writer, tat->ns);
    }
}

static bool tat_read(struct reader *reader, struct tat *tat) {
    uint32_t count;
    *tat = (struct tat){0};
    if (read_uint(reader, &tat->ns)) {
        return tat->ns <= INT64_MAX;
    }
    return read_array(reader, &count) && count == 2 && read_uint(reader, &tat->ns) &&
           read_uint(reader, &tat->part) && tat->ns <= INT64_MAX && tat->part < TOKENS_MAX;
}

void record_write_1(struct writer *writer, const struct record *record) {
    write_array(writer, 3 + record->tat_count);
    write_uint(writer, 1);
    if (record->is_inline) {
        limit_write_array(writer, &record->limit);
    } else {
        write_str(writer, record->plan);
    }
    write_uint(writer, record->generation);
    for (uint32_t i = 0; i < record->tat_count; i++) {
        tat_write(writer, &record->tats[i]);
    }
}

static enum code plan_part_read(struct reader *reader, struct record *record, struct fault *fault) {
    record->is_inline = !read_bytes(reader, &record->plan);
    if (record->is_inline) {
        return limit_read_array(reader, &record->limit, "record[1]", fault);
    }
    if (!name_valid(record->plan)) {
        return fault_set(fault, CODE_BAD_REQUEST, "record[1]: not a plan's name");
    }
    return CODE_OK;
}

enum code record_read_1(struct reader *reader, uint32_t count, struct record *record,
                        struct fault *fault) {
    uint64_t generation;
    if (count < 4 || count > 3 + LIMITS_PER_PLAN_MAX) {
        return fault_set(fault, CODE_BAD_REQUEST, "record: %u elements, expected 4 to %d", count,
                         3 + LIMITS_PER_PLAN_MAX);
    }
    if (plan_part_read(reader, record, fault) != CODE_OK) {
        return fault->code;
    }
    if (!read_uint(reader, &generation) || generation > UINT32_MAX) {
        return fault_set(fault, CODE_BAD_REQUEST, "record[2]: expected a generation, got %s",
                         reader_describe(reader));
    }
    record->generation = (uint32_t)generation;
    record->tat_count = count - 3;
    for (uint32_t i = 0; i < record->tat_count; i++) {
        if (!tat_read(reader, &record->tats[i])) {
            return fault_set(fault, CODE_BAD_REQUEST, "record[%u]: expected a time, got %s", 3 + i,
                             reader_describe(reader));
        }
    }
    return CODE_OK;
}
