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

bool read_nil(struct reader *reader);
bool read_bool(struct reader *reader, bool *value);
bool read_uint(struct reader *reader, uint64_t *value);      /* any integer >= 0 */
bool read_int(struct reader *reader, int64_t *value);        /* any integer in range */
bool read_bytes(struct reader *reader, struct bytes *value); /* a string or a binary */

/* The count is at most the bytes left (an element has at least one), maps: half of them. */
bool read_array(struct reader *reader, uint32_t *count);
bool read_map(struct reader *reader, uint32_t *count);

/* Skips one whole value and tells its bytes; false if it is cut short, holds a type that msgpack
 * does not have, or nests deeper than NESTING_MAX. */
bool read_any(struct reader *reader, struct bytes *value);

/* What stands at the cursor, for messages: "a string", "a negative integer", "nothing". */
const char *reader_describe(const struct reader *reader);

#endif
