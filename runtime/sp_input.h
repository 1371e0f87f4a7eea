/*
 * The receiving half of an SP connection: bytes as they arrive in, messages out, in one buffer.
 *
 * Pure but for the allocator. Messages are views into the buffer, which neither moves nor is reused
 * until sp_input_release: while a message is out and the buffer is full there is no space to read
 * into, and the owner stops reading until it has released.
 *
 * Guarantee: capacity <= max(SP_INPUT_FIRST_BYTES, 4 * the bytes that truly arrived) and
 * <= SP_INPUT_BYTES_MAX, whatever length the peer claims.
 */
#ifndef SLUICE_RUNTIME_SP_INPUT_H
#define SLUICE_RUNTIME_SP_INPUT_H

#include "runtime/sp.h"

/* Bytes of a buffer when first needed: some 15 small takes. Small, because of ten thousand callers
 * most ask seldom; reads that fill it make it grow at once. */
#define SP_INPUT_FIRST_BYTES 1024

/* Bytes up to which a buffer grows because reads fill it. Larger ones are for one large message
 * and given back when it was handled. */
#define SP_INPUT_KEEP_BYTES (256u << 10)

/* Bytes of the largest buffer: one whole message behind its length. */
#define SP_INPUT_BYTES_MAX (SP_LENGTH_SIZE + MESSAGE_BYTES_MAX)

/* Bytes of an oversize message's body that are kept: enough to find its id, and "arbitrary". */
#define SP_OVERSIZE_KEPT_BYTES 64

enum sp_frame {
    SP_FRAME_NONE,     /* more bytes are needed */
    SP_FRAME_MESSAGE,  /* a whole message, valid until sp_input_release */
    SP_FRAME_OVERSIZE, /* above MESSAGE_BYTES_MAX, thrown away but for its first bytes */
    SP_FRAME_BAD,      /* above MESSAGE_DRAIN_BYTES_MAX: close the connection */
};

struct sp_input {
    uint8_t *data;
    uint32_t capacity, start, end; /* start..end: not yet handed out */
    bool pinned;                   /* a message is out */
    bool filled;                   /* a read took all the space there was */
    uint64_t oversize;             /* the size of the message that is being thrown away */
    uint64_t oversize_left;        /* bytes of it still to come */
    uint32_t kept_size;
    uint8_t kept[4 * SP_HOPS_MAX + SP_OVERSIZE_KEPT_BYTES];
};

/* Zeroed memory is an empty input. Frees the buffer; messages that are out die. */
void sp_input_free(struct sp_input *input);

/* Where to read into: returns up to `most` bytes at *space. 0 if the buffer is full and pinned
 * (release first), or without memory (not pinned). */
uint32_t sp_input_space(struct sp_input *input, uint32_t most, uint8_t **space);

/* `size` bytes were read into the space. */
void sp_input_filled(struct sp_input *input, uint32_t size);

/* Takes `size` raw bytes (the greeting); NULL if they have not all arrived. Valid until the next
 * call of sp_input_space. */
const uint8_t *sp_input_take(struct sp_input *input, uint32_t size);

/* The next message, header included. For SP_FRAME_OVERSIZE `message` is its beginning (valid until
 * the next call) and *size its whole size. */
enum sp_frame sp_input_next(struct sp_input *input, struct bytes *message, uint64_t *size);

/* All messages that were out are done with: makes room, and returns what one large message took. */
void sp_input_release(struct sp_input *input);

#endif
