#include "tests/unit/cmocka_all.h"

#include <stdlib.h>

#include "runtime/sp.h"
#include "runtime/sp_input.h"

static void a_greeting_is_what_nng_sends(void **state) {
    const uint8_t req[] = {0, 'S', 'P', 0, 0, 0x30, 0, 0};
    uint8_t out[SP_GREETING_SIZE];
    sp_greeting_write(out, SP_PROTOCOL_REQ);
    assert_memory_equal(out, req, sizeof req);
    assert_true(sp_greeting_check(req, SP_PROTOCOL_REQ));
    assert_false(sp_greeting_check(req, SP_PROTOCOL_REP));
    for (size_t i = 0; i < sizeof req; i++) {
        uint8_t wrong[sizeof req];
        memcpy(wrong, req, sizeof req);
        wrong[i] ^= 1;
        assert_false(sp_greeting_check(wrong, SP_PROTOCOL_REQ));
    }
}

static void a_length_is_big_endian(void **state) {
    uint8_t out[SP_LENGTH_SIZE];
    const uint8_t expected[] = {1, 2, 3, 4, 5, 6, 7, 0x88};
    sp_length_write(out, UINT64_C(0x0102030405060788));
    assert_memory_equal(out, expected, sizeof expected);
    assert_true(sp_length_read(out) == UINT64_C(0x0102030405060788));
}

static void a_header_ends_at_the_first_word_with_the_top_bit(void **state) {
    const uint8_t message[] = {0, 0, 0, 9, 0x80, 0, 0, 1, 0x80, 'x'};
    struct sp_header header;
    struct bytes body;
    assert_true(sp_header_read(bytes_of(message, sizeof message), &header, &body));
    assert_int_equal(header.size, 8);
    assert_memory_equal(header.bytes, message, 8);
    assert_int_equal(body.size, 2);
    assert_ptr_equal(body.data, message + 8);
}

static void a_header_may_be_all_there_is(void **state) {
    const uint8_t message[] = {0x80, 0, 0, 1};
    struct sp_header header;
    struct bytes body;
    assert_true(sp_header_read(bytes_of(message, sizeof message), &header, &body));
    assert_int_equal(body.size, 0);
}

static void no_id_is_no_header(void **state) {
    uint8_t message[4 * SP_HOPS_MAX + 4] = {0};
    struct sp_header header;
    struct bytes body;
    for (size_t size = 0; size <= sizeof message; size++)
        assert_false(sp_header_read(bytes_of(message, size), &header, &body));
    message[4 * SP_HOPS_MAX] = 0x80; /* one hop too far */
    assert_false(sp_header_read(bytes_of(message, sizeof message), &header, &body));
    message[4 * (SP_HOPS_MAX - 1)] = 0x80;
    assert_true(sp_header_read(bytes_of(message, sizeof message), &header, &body));
    assert_int_equal(header.size, 4 * SP_HOPS_MAX);
}

static void an_id_comes_back(void **state) {
    const uint32_t ids[] = {0, 1, 0x12345678, 0x7fffffff};
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
        struct sp_header header;
        uint32_t id = 42;
        sp_header_of_id(&header, ids[i]);
        assert_true(header.bytes[0] & 0x80);
        assert_true(sp_header_id(&header, &id));
        assert_int_equal(id, ids[i]);
        header.size = 8;
        assert_false(sp_header_id(&header, &id));
    }
}

/* --- the input buffer --------------------------------------------------------------------------
 */

/* Bytes on their way to an input, in pieces. */
struct wire {
    uint8_t *data;
    size_t size, sent;
};

static void wire_frame(struct wire *wire, const void *data, size_t size) {
    wire->data = realloc(wire->data, wire->size + SP_LENGTH_SIZE + size);
    assert_non_null(wire->data);
    sp_length_write(wire->data + wire->size, size);
    memcpy(wire->data + wire->size + SP_LENGTH_SIZE, data, size);
    wire->size += SP_LENGTH_SIZE + size;
}

/* Up to `most` bytes, as far as there is space. */
static size_t wire_push(struct wire *wire, struct sp_input *input, size_t most) {
    uint8_t *space;
    size_t left = wire->size - wire->sent;
    uint32_t size = sp_input_space(input, (uint32_t)(most < left ? most : left), &space);
    if (size == 0)
        return 0;
    memcpy(space, wire->data + wire->sent, size);
    sp_input_filled(input, size);
    wire->sent += size;
    return size;
}

static void messages_arrive_however_they_are_cut(void **state) {
    struct wire wire = {0};
    uint8_t text[3000];
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (uint8_t)(i * 7);
    for (size_t size = 0; size < sizeof text; size += 13)
        wire_frame(&wire, text, size);

    for (size_t cut = 1; cut < 100000; cut = cut * 3 + 1) {
        struct sp_input input = {0};
        size_t expected = 0;
        wire.sent = 0;
        while (wire.sent < wire.size) {
            assert_true(wire_push(&wire, &input, cut) > 0);
            struct bytes message;
            uint64_t size;
            while (sp_input_next(&input, &message, &size) == SP_FRAME_MESSAGE) {
                assert_int_equal(message.size, expected);
                assert_int_equal(size, expected);
                assert_memory_equal(message.data, text, expected);
                expected += 13;
            }
            sp_input_release(&input);
        }
        assert_true(expected >= sizeof text);
        sp_input_free(&input);
    }
    free(wire.data);
}

static void messages_stay_where_they_are_until_the_release(void **state) {
    struct wire wire = {0};
    struct sp_input input = {0};
    struct bytes messages[64];
    uint8_t text[200];
    uint64_t size;
    for (uint8_t i = 0; i < 64; i++) {
        memset(text, i, sizeof text);
        wire_frame(&wire, text, sizeof text);
    }
    size_t count = 0;
    while (wire_push(&wire, &input, 150) > 0) {
        while (sp_input_next(&input, &messages[count], &size) == SP_FRAME_MESSAGE)
            count++;
    }
    assert_true(input.pinned); /* it was full, not at its end */
    assert_true(count > 3 && count < 64);
    for (size_t i = 0; i < count; i++) {
        memset(text, (int)i, sizeof text);
        assert_memory_equal(messages[i].data, text, sizeof text);
    }
    sp_input_release(&input);
    assert_true(wire_push(&wire, &input, 150) > 0);
    sp_input_free(&input);
    free(wire.data);
}

static void a_claim_allocates_nothing(void **state) {
    struct sp_input input = {0};
    struct bytes message;
    uint64_t size;
    uint8_t claim[SP_LENGTH_SIZE];
    struct wire wire = {.data = claim, .size = sizeof claim};
    sp_length_write(claim, MESSAGE_BYTES_MAX);
    assert_true(wire_push(&wire, &input, sizeof claim) > 0);
    assert_int_equal(sp_input_next(&input, &message, &size), SP_FRAME_NONE);
    assert_true(input.capacity <= SP_INPUT_FIRST_BYTES);

    uint32_t arrived = sizeof claim;
    while (arrived < SP_INPUT_BYTES_MAX) {
        uint8_t *space;
        uint32_t got = sp_input_space(&input, 1000, &space);
        assert_true(got > 0);
        memset(space, 'x', got);
        sp_input_filled(&input, got);
        arrived += got;
        assert_true(input.capacity <= SP_INPUT_FIRST_BYTES || input.capacity <= 4 * arrived);
        assert_true(input.capacity <= SP_INPUT_BYTES_MAX);
    }
    assert_int_equal(sp_input_next(&input, &message, &size), SP_FRAME_MESSAGE);
    assert_int_equal(message.size, MESSAGE_BYTES_MAX);
    sp_input_release(&input);
    assert_int_equal(input.capacity, 0); /* one large message does not keep its buffer */
    sp_input_free(&input);
}

static void a_full_read_grows_the_buffer_once(void **state) {
    struct sp_input input = {0};
    struct bytes message;
    uint64_t size;
    uint8_t *space;
    uint32_t arrived = 0;
    /* The first read takes all the space; whether a release comes soon or late, only what arrives
     * counts from then on. */
    for (uint32_t got = 1; arrived < 100000; arrived += got) {
        got = sp_input_space(&input, arrived == 0 ? UINT32_MAX : 1000, &space);
        assert_true(got > 0);
        memset(space, 0, got);
        if (arrived == 0)
            sp_length_write(space, MESSAGE_BYTES_MAX);
        sp_input_filled(&input, got);
        assert_int_equal(sp_input_next(&input, &message, &size), SP_FRAME_NONE);
        if (arrived > 4 * SP_INPUT_FIRST_BYTES)
            sp_input_release(&input);
        assert_true(input.capacity <= SP_INPUT_FIRST_BYTES ||
                    input.capacity <= 4 * (arrived + got));
    }
    sp_input_free(&input);
}

static void the_oversize_are_thrown_away_but_for_their_beginning(void **state) {
    const uint64_t oversize = MESSAGE_BYTES_MAX + 12345;
    struct sp_input input = {0};
    struct wire wire = {0};
    uint8_t *text = malloc(oversize);
    assert_non_null(text);
    for (size_t i = 0; i < oversize; i++)
        text[i] = (uint8_t)(i * 11);
    wire_frame(&wire, "before", 6);
    wire_frame(&wire, text, oversize);
    wire_frame(&wire, "behind", 6);

    struct bytes message;
    uint64_t size;
    size_t frames[4] = {0};
    while (wire.sent < wire.size) {
        assert_true(wire_push(&wire, &input, 5000) > 0);
        assert_true(input.capacity <= SP_INPUT_KEEP_BYTES);
        enum sp_frame frame;
        while ((frame = sp_input_next(&input, &message, &size)) != SP_FRAME_NONE) {
            frames[frame]++;
            if (frame == SP_FRAME_OVERSIZE) {
                assert_true(size == oversize);
                assert_true(message.size >= SP_OVERSIZE_KEPT_BYTES);
                assert_memory_equal(message.data, text, message.size);
            } else {
                assert_memory_equal(message.data, wire.sent < 10000 ? "before" : "behind", 6);
            }
        }
        sp_input_release(&input);
    }
    assert_int_equal(frames[SP_FRAME_MESSAGE], 2);
    assert_int_equal(frames[SP_FRAME_OVERSIZE], 1);
    sp_input_free(&input);
    free(wire.data);
    free(text);
}

static void beyond_the_drain_is_bad(void **state) {
    const uint64_t sizes[] = {MESSAGE_DRAIN_BYTES_MAX + 1, UINT64_MAX, UINT64_C(1) << 63};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct sp_input input = {0};
        struct bytes message;
        uint64_t size;
        uint8_t claim[SP_LENGTH_SIZE];
        struct wire wire = {.data = claim, .size = sizeof claim};
        sp_length_write(claim, sizes[i]);
        wire_push(&wire, &input, sizeof claim);
        assert_int_equal(sp_input_next(&input, &message, &size), SP_FRAME_BAD);
        sp_input_free(&input);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_greeting_is_what_nng_sends),
        cmocka_unit_test(a_length_is_big_endian),
        cmocka_unit_test(a_header_ends_at_the_first_word_with_the_top_bit),
        cmocka_unit_test(a_header_may_be_all_there_is),
        cmocka_unit_test(no_id_is_no_header),
        cmocka_unit_test(an_id_comes_back),
        cmocka_unit_test(messages_arrive_however_they_are_cut),
        cmocka_unit_test(messages_stay_where_they_are_until_the_release),
        cmocka_unit_test(a_claim_allocates_nothing),
        cmocka_unit_test(a_full_read_grows_the_buffer_once),
        cmocka_unit_test(the_oversize_are_thrown_away_but_for_their_beginning),
        cmocka_unit_test(beyond_the_drain_is_bad),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
