#include "proto/record.h"

#include <assert.h>

uint32_t record_write(const struct record *record, uint8_t out[RECORD_BYTES_MAX]) {
    struct writer writer = writer_of(out, RECORD_BYTES_MAX);
    record_schemas[record_schema_written - 1].write(&writer, record);
    assert(!writer.overflow);
    return writer.size;
}

enum code record_read(struct bytes stored, struct record *record, struct fault *fault) {
    struct reader reader = reader_of(stored);
    memset(record, 0, sizeof *record);
    uint32_t count;
    if (!read_array(&reader, &count) || count < 1 || !read_uint(&reader, &record->schema)) {
        return fault_set(fault, CODE_BAD_REQUEST, "record: expected [schema, ...], got %s",
                         reader_describe(&reader));
    }
    if (record_is_newer(record)) {
        return fault_set(fault, CODE_BAD_REQUEST,
                         "record: schema %llu, this version reads up to %u: it is too old for "
                         "this record, upgrade it",
                         (unsigned long long)record->schema, record_schema_newest);
    }
    if (record->schema == 0) {
        return fault_set(fault, CODE_BAD_REQUEST, "record: there is no schema 0");
    }
    if (record_schemas[record->schema - 1].read(&reader, count, record, fault) != CODE_OK) {
        return fault->code;
    }
    if (!reader_done(&reader)) {
        return fault_set(fault, CODE_BAD_REQUEST, "record: bytes left over behind it");
    }
    if (record->is_inline && record->tat_count != 1) {
        return fault_set(fault, CODE_BAD_REQUEST, "record: an inline limit has one time, not %u",
                         record->tat_count);
    }
    return CODE_OK;
}
