/*
 * A cursor over msgpack bytes that somebody else wrote.
 *
 * Pure; allocates nothing; every length is checked against the bytes that are really there before
 * it is believed. A failed read leaves the cursor where it was, so that the caller can say what it
 * found instead. Strings and binaries are views into the message.
 */
#ifndef SLUICE_PROTO_READER_H
#define SLUICE_PROTO_READER_H

#include "proto/bytes.h"

struct reader {
    const uint8_t *at;
    const uint8_t *end;
};

static inline struct reader reader_of(struct bytes bytes) {
    return (struct reader){.at = bytes.data, .end = bytes.data + bytes.size};
}

static inline bool reader_done(const struct reader *reader) {
    return reader->at == reader->end;
}

/* What is written in few bytes is read in place: nearly all of a take, of which a shard reads a
 * million a second. The rest of each kind is read by its `_long` function. */
bool read_uint_long(struct reader *reader, uint64_t *value);
bool read_int_long(struct reader *reader, int64_t *value);
bool read_bytes_long(struct reader *reader, struct bytes *value);
bool read_array_long(struct reader *reader, uint32_t *count);

static inline size_t reader_left(const struct reader *reader) {
    return (size_t)(reader->end - reader->at);
}

static inline bool read_nil(struct reader *reader) {
    if (reader_left(reader) == 0 || *reader->at != 0xc0) {
        return false;
    }
    reader->at++;
    return true;
}

static inline bool read_bool(struct reader *reader, bool *value) {
    if (reader_left(reader) == 0 || (*reader->at != 0xc2 && *reader->at != 0xc3)) {
        return false;
    }
    *value = *reader->at == 0xc3;
    reader->at++;
    return true;
}

/* Any integer >= 0. */
static inline bool read_uint(struct reader *reader, uint64_t *value) {
    if (reader_left(reader) == 0 || *reader->at >= 0x80) {
        return read_uint_long(reader, value);
    }
    *value = *reader->at;
    reader->at++;
    return true;
}

/* Any integer in range. */
static inline bool read_int(struct reader *reader, int64_t *value) {
    if (reader_left(reader) == 0 || *reader->at >= 0x80) {
        return read_int_long(reader, value);
    }
    *value = *reader->at;
    reader->at++;
    return true;
}

/* A string or a binary. */
static inline bool read_bytes(struct reader *reader, struct bytes *value) {
    size_t left = reader_left(reader);
    if (left < 2) {
        return read_bytes_long(reader, value);
    }
    uint8_t type = *reader->at;
    uint32_t head, size;
    if ((type & 0xe0) == 0xa0) {
        head = 1;
        size = type & 0x1f;
    } else if (type == 0xc4 || type == 0xd9) {
        head = 2;
        size = reader->at[1];
    } else {
        return read_bytes_long(reader, value);
    }
    if (size > left - head) {
        return false;
    }
    *value = bytes_of(reader->at + head, size);
    reader->at += head + size;
    return true;
}

/* The count is at most the bytes left (an element has at least one), maps: half of them. */
static inline bool read_array(struct reader *reader, uint32_t *count) {
    size_t left = reader_left(reader);
    if (left == 0 || (*reader->at & 0xf0) != 0x90) {
        return read_array_long(reader, count);
    }
    uint32_t length = *reader->at & 0x0f;
    if (length > left - 1) {
        return false;
    }
    *count = length;
    reader->at++;
    return true;
}

bool read_map(struct reader *reader, uint32_t *count);

/* Skips one whole value and tells its bytes; false if it is cut short, holds a type that msgpack
 * does not have, or nests deeper than NESTING_MAX. */
bool read_any(struct reader *reader, struct bytes *value);

/* What stands at the cursor, for messages: "a string", "a negative integer", "nothing". */
const char *reader_describe(const struct reader *reader);

#endif
