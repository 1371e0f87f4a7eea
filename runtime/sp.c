#include "runtime/sp.h"

#include <assert.h>

#define SP_REQUEST_BIT UINT32_C(0x80000000)

static uint32_t word_read(const uint8_t *in) {
    return (uint32_t)in[0] << 24 | (uint32_t)in[1] << 16 | (uint32_t)in[2] << 8 | in[3];
}

static void word_write(uint8_t *out, uint32_t word) {
    out[0] = (uint8_t)(word >> 24);
    out[1] = (uint8_t)(word >> 16);
    out[2] = (uint8_t)(word >> 8);
    out[3] = (uint8_t)word;
}

void sp_greeting_write(uint8_t out[SP_GREETING_SIZE], enum sp_protocol own) {
    const uint8_t greeting[SP_GREETING_SIZE] = {
        0, 'S', 'P', 0, (uint8_t)(own >> 8), (uint8_t)own, 0, 0,
    };
    memcpy(out, greeting, sizeof greeting);
}

bool sp_greeting_check(const uint8_t in[SP_GREETING_SIZE], enum sp_protocol expected) {
    uint8_t greeting[SP_GREETING_SIZE];
    sp_greeting_write(greeting, expected);
    return memcmp(in, greeting, sizeof greeting) == 0;
}

void sp_length_write(uint8_t out[SP_LENGTH_SIZE], uint64_t size) {
    word_write(out, (uint32_t)(size >> 32));
    word_write(out + SP_WORD_SIZE, (uint32_t)size);
}

uint64_t sp_length_read(const uint8_t in[SP_LENGTH_SIZE]) {
    return (uint64_t)word_read(in) << 32 | word_read(in + SP_WORD_SIZE);
}

bool sp_header_read(struct bytes message, struct sp_header *header, struct bytes *body) {
    /* Nearly always: no device on the way. */
    if (message.size >= SP_WORD_SIZE && (word_read(message.data) & SP_REQUEST_BIT) != 0) {
        header->size = SP_WORD_SIZE;
        memcpy(header->bytes, message.data, SP_WORD_SIZE);
        *body = bytes_of(message.data + SP_WORD_SIZE, message.size - SP_WORD_SIZE);
        return true;
    }
    for (uint32_t hop = 0; hop < SP_HOPS_MAX; hop++) {
        uint32_t end = (hop + 1) * SP_WORD_SIZE;
        if (message.size < end)
            return false;
        if ((word_read(message.data + end - SP_WORD_SIZE) & SP_REQUEST_BIT) == 0)
            continue;
        header->size = (uint8_t)end;
        memcpy(header->bytes, message.data, end);
        *body = bytes_of(message.data + end, message.size - end);
        return true;
    }
    return false;
}

void sp_header_of_id(struct sp_header *header, uint32_t id) {
    assert((id & SP_REQUEST_BIT) == 0);
    header->size = SP_WORD_SIZE;
    word_write(header->bytes, id | SP_REQUEST_BIT);
}

bool sp_header_id(const struct sp_header *header, uint32_t *id) {
    if (header->size != SP_WORD_SIZE)
        return false;
    *id = word_read(header->bytes) & ~SP_REQUEST_BIT;
    return true;
}
