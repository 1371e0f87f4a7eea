/*
 * Writes msgpack into memory of a fixed size, with msgpack-c's packer.
 *
 * Pure; allocates nothing. What does not fit is not written and sets `overflow`, which the caller
 * checks once at the end.
 */
#ifndef SLUICE_PROTO_WRITER_H
#define SLUICE_PROTO_WRITER_H

#include "proto/bytes.h"

struct writer {
    uint8_t *start;
    uint32_t size;     /* bytes written */
    uint32_t capacity; /* bytes */
    bool overflow;
};

static inline struct writer writer_of(void *memory, uint32_t capacity) {
    return (struct writer){.start = memory, .capacity = capacity};
}

static inline struct bytes writer_bytes(const struct writer *writer) {
    return bytes_of(writer->start, writer->size);
}

void write_nil(struct writer *writer);
void write_bool(struct writer *writer, bool value);
void write_uint(struct writer *writer, uint64_t value);
void write_int(struct writer *writer, int64_t value);
void write_str(struct writer *writer, struct bytes text);
void write_text(struct writer *writer, const char *text); /* zero-terminated */
void write_bin(struct writer *writer, struct bytes bytes);
void write_array(struct writer *writer, uint32_t count);
void write_map(struct writer *writer, uint32_t count);
void write_encoded(struct writer *writer, struct bytes value); /* already msgpack */

/* A key and its value, for maps. */
void write_text_uint(struct writer *writer, const char *key, uint64_t value);
void write_text_text(struct writer *writer, const char *key, const char *value);
void write_text_str(struct writer *writer, const char *key, struct bytes value);
void write_text_bool(struct writer *writer, const char *key, bool value);

#endif
