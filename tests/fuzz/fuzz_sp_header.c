/* The SP header of a request: split off a message as nng does, and returned unchanged. */
#include "runtime/sp.h"
#include "tests/fuzz/fuzz.h"

static bool is_last(const uint8_t *word) {
    return (word[0] & 0x80) != 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct sp_header header;
    struct bytes body;
    uint32_t id;
    if (size >= SP_GREETING_SIZE) {
        uint8_t greeting[SP_GREETING_SIZE];
        sp_greeting_write(greeting, SP_PROTOCOL_REQ);
        FUZZ_CHECK(sp_greeting_check(data, SP_PROTOCOL_REQ) ==
                   (memcmp(data, greeting, sizeof greeting) == 0));
        uint8_t length[SP_LENGTH_SIZE];
        sp_length_write(length, sp_length_read(data));
        FUZZ_CHECK(memcmp(length, data, sizeof length) == 0);
    }
    uint32_t words = 0;
    while (words < SP_HOPS_MAX && 4 * (words + 1) <= size && !is_last(data + 4 * words)) {
        words++;
    }
    bool whole = words < SP_HOPS_MAX && 4 * (words + 1) <= size;
    FUZZ_CHECK(sp_header_read(bytes_of(data, size), &header, &body) == whole);
    if (!whole) {
        return 0;
    }
    FUZZ_CHECK(header.size == 4 * (words + 1) && memcmp(header.bytes, data, header.size) == 0);
    FUZZ_CHECK(body.data == data + header.size && body.size == size - header.size);
    FUZZ_CHECK(sp_header_id(&header, &id) == (words == 0));
    if (words == 0) {
        struct sp_header again;
        sp_header_of_id(&again, id);
        FUZZ_CHECK(again.size == header.size && memcmp(again.bytes, data, header.size) == 0);
    }
    return 0;
}
