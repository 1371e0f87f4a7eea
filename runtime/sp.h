/*
 * The SP wire format of nng's TCP transport, as far as REQ and REP need it. Pure: bytes in, bytes
 * out; no socket, no allocation.
 *
 * A connection opens with an 8-byte greeting each way (00 'S' 'P' 00, protocol as 16 bits big
 * endian, 00 00), then carries messages, each behind its 64-bit big-endian length. A REQ message
 * starts with its header: one 32-bit word for each device it passed (top bit clear) and last the
 * request id (top bit set). A REP message returns that header unchanged.
 */
#ifndef SLUICE_RUNTIME_SP_H
#define SLUICE_RUNTIME_SP_H

#include "proto/bounds.h"
#include "proto/bytes.h"

#define SP_GREETING_SIZE 8
#define SP_LENGTH_SIZE 8
#define SP_WORD_SIZE 4

enum sp_protocol { SP_PROTOCOL_REQ = 0x30, SP_PROTOCOL_REP = 0x31 };

struct sp_header {
    uint8_t size; /* bytes used, a multiple of 4 */
    uint8_t bytes[4 * SP_HOPS_MAX];
};

void sp_greeting_write(uint8_t out[SP_GREETING_SIZE], enum sp_protocol own);

/* True if the peer greets as `expected`. */
bool sp_greeting_check(const uint8_t in[SP_GREETING_SIZE], enum sp_protocol expected);

void sp_length_write(uint8_t out[SP_LENGTH_SIZE], uint64_t size);
uint64_t sp_length_read(const uint8_t in[SP_LENGTH_SIZE]);

/* Splits a message into header and body (borrowed from `message`). False if no word with the top
 * bit stands among the first SP_HOPS_MAX: such a message cannot be answered and is dropped. */
bool sp_header_read(struct bytes message, struct sp_header *header, struct bytes *body);

/* Copies header->size bytes. */
static inline void sp_header_write(uint8_t *out, const struct sp_header *header) {
    if (header->size == SP_WORD_SIZE) {
        memcpy(out, header->bytes, SP_WORD_SIZE); /* nearly always, and no call */
    } else {
        memcpy(out, header->bytes, header->size);
    }
}

/* The header of a request of our own: one word, `id` with the top bit set. */
void sp_header_of_id(struct sp_header *header, uint32_t id);

/* The id of a reply to a request of our own; false if the header is not a single word. */
bool sp_header_id(const struct sp_header *header, uint32_t *id);

#endif
