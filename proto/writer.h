/*
 * Writes msgpack into memory of a fixed size, with msgpack-c's packer.
 *
 * Pure; allocates nothing. What does not fit is not written and sets `overflow`, which the caller
 * checks once at the end.
 */
#ifndef SLUICE_PROTO_WRITER_H
#define SLUICE_PROTO_WRITER_H

#include "proto/bytes.h"

/* Bytes of msgpack that stand for themselves, and an array's, to which its count is added (below
 * 16). */
#define MSGPACK_NIL 0xc0
#define MSGPACK_FALSE 0xc2
#define MSGPACK_TRUE 0xc3
#define MSGPACK_ARRAY 0x90

/* Bytes of an integer at most: its type, and 64 bits. */
#define INT_BYTES_MAX 9

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

/* What takes one byte is written in place: most of a result, of which a shard writes a million a
 * second. */
static inline void write_byte(struct writer *writer, uint8_t byte) {
    if (writer->overflow || writer->size == writer->capacity) {
        writer->overflow = true;
        return;
    }
    writer->start[writer->size] = byte;
    writer->size++;
}

static inline void write_nil(struct writer *writer) {
    write_byte(writer, MSGPACK_NIL);
}

static inline void write_bool(struct writer *writer, bool value) {
    write_byte(writer, value ? MSGPACK_TRUE : MSGPACK_FALSE);
}

void write_uint_long(struct writer *writer, uint64_t value);
static inline void write_uint(struct writer *writer, uint64_t value) {
    if (value < 0x80) {
        write_byte(writer, (uint8_t)value);
    } else {
        write_uint_long(writer, value);
    }
}

void write_int_long(struct writer *writer, int64_t value);
static inline void write_int(struct writer *writer, int64_t value) {
    if (value >= 0 && value < 0x80) {
        write_byte(writer, (uint8_t)value);
    } else {
        write_int_long(writer, value);
    }
}

void write_array_long(struct writer *writer, uint32_t count);
static inline void write_array(struct writer *writer, uint32_t count) {
    if (count < 0x10) {
        write_byte(writer, (uint8_t)(MSGPACK_ARRAY | count));
    } else {
        write_array_long(writer, count);
    }
}

void write_str(struct writer *writer, struct bytes text);
void write_text(struct writer *writer, const char *text); /* zero-terminated */
void write_bin(struct writer *writer, struct bytes bytes);
void write_map(struct writer *writer, uint32_t count);
void write_encoded(struct writer *writer, struct bytes value); /* already msgpack */

/* For what is written most: a stretch of at most `size` bytes, looked for once, into which put_*
 * write without looking, each returning where the next goes; then the writer is told how far that
 * came. NULL: `size` bytes are not left (overflow). */
uint8_t *writer_room(struct writer *writer, uint32_t size);
static inline void writer_fill(struct writer *writer, const uint8_t *end) {
    writer->size = (uint32_t)(end - writer->start);
}

static inline uint8_t *put_byte(uint8_t *out, uint8_t byte) {
    *out = byte;
    return out + 1;
}

/* An integer: at most INT_BYTES_MAX bytes. */
uint8_t *put_uint_long(uint8_t *out, uint64_t value);
static inline uint8_t *put_uint(uint8_t *out, uint64_t value) {
    return value < 0x80 ? put_byte(out, (uint8_t)value) : put_uint_long(out, value);
}

uint8_t *put_negative(uint8_t *out, int64_t value);
static inline uint8_t *put_int(uint8_t *out, int64_t value) {
    return value < 0 ? put_negative(out, value) : put_uint(out, (uint64_t)value);
}

/* A key and its value, for maps. */
void write_text_uint(struct writer *writer, const char *key, uint64_t value);
void write_text_text(struct writer *writer, const char *key, const char *value);
void write_text_str(struct writer *writer, const char *key, struct bytes value);
void write_text_bool(struct writer *writer, const char *key, bool value);

#endif
