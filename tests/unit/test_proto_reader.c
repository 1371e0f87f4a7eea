/* The reader and the writer against msgpack-c's own unpacker: they must agree on every message, and
 * on every string of bytes that is none. */
#include <msgpack.h>
#include <stdio.h>
#include <stdlib.h>

#include "cmocka_all.h"
#include "proto/bounds.h"
#include "proto/reader.h"
#include "proto/writer.h"

#define ROUNDS 200000

static uint64_t next_random(uint64_t *seed) {
    *seed += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */
    uint64_t z = *seed;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* --- one value -------------------------------------------------------------------------------- */

static void test_integers_of_every_width(void **state) {
    static const uint64_t values[] = {0,         1,          127,       128,        255,
                                      256,       65535,      65536,     UINT32_MAX, 1ull << 32,
                                      INT64_MAX, 1ull << 63, UINT64_MAX};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        uint8_t memory[16];
        struct writer writer = writer_of(memory, sizeof memory);
        write_uint(&writer, values[i]);
        struct reader reader = reader_of(writer_bytes(&writer));
        uint64_t value;
        assert_true(read_uint(&reader, &value));
        assert_int_equal(value, values[i]);
        assert_true(reader_done(&reader));
        int64_t narrow;
        reader = reader_of(writer_bytes(&writer));
        assert_int_equal(read_int(&reader, &narrow), values[i] <= INT64_MAX);
    }
    static const int64_t negatives[] = {-1,     -32,    -33,       -128,     -129,
                                        -32768, -32769, INT32_MIN, INT64_MIN};
    for (size_t i = 0; i < sizeof negatives / sizeof negatives[0]; i++) {
        uint8_t memory[16];
        struct writer writer = writer_of(memory, sizeof memory);
        write_int(&writer, negatives[i]);
        struct reader reader = reader_of(writer_bytes(&writer));
        uint64_t unsigned_value;
        int64_t value;
        assert_false(read_uint(&reader, &unsigned_value));
        assert_ptr_equal(reader.at, memory); /* a failed read moves nothing */
        assert_string_equal(reader_describe(&reader), "a negative integer");
        assert_true(read_int(&reader, &value));
        assert_int_equal(value, negatives[i]);
    }
}

static void test_a_length_is_not_believed(void **state) {
    static const struct {
        const char *bytes;
        uint32_t size;
    } cases[] = {
        {"\xa1", 1},
        {"\xd9\x02"
         "a",
         3},
        {"\xdb\xff\xff\xff\xff", 5},
        {"\xc6\xff\xff\xff\xff", 5},
        {"\xc4", 1},
        {"\xda\x00", 2},
        {"\xdd\xff\xff\xff\xff", 5},
        {"\xdf\x7f\xff\xff\xff\x00", 6},
        {"\xdc\x00\x02\x00", 4},
        {"\x81\x00", 2},
        {"\x91", 1},
        {"\xc9\xff\xff\xff\xff\x00", 6},
        {"\xcf\x00", 2},
        {"\xc1", 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint8_t *exact = malloc(cases[i].size);
        assert_non_null(exact);
        memcpy(exact, cases[i].bytes, cases[i].size);
        struct reader reader = reader_of(bytes_of(exact, cases[i].size));
        struct bytes value;
        uint32_t count;
        assert_false(read_bytes(&reader, &value));
        assert_false(read_array(&reader, &count));
        assert_false(read_map(&reader, &count));
        assert_false(read_any(&reader, &value));
        assert_ptr_equal(reader.at, exact);
        free(exact);
    }
}

static void test_what_stands_there(void **state) {
    static const struct {
        uint8_t type;
        const char *text;
    } cases[] = {
        {0x00, "an integer"},
        {0x7f, "an integer"},
        {0x80, "a map"},
        {0x90, "an array"},
        {0xa0, "a string"},
        {0xc0, "nil"},
        {0xc1, "a byte that is not msgpack"},
        {0xc2, "a boolean"},
        {0xc4, "a binary"},
        {0xc7, "an extension"},
        {0xca, "a floating-point number"},
        {0xcb, "a floating-point number"},
        {0xcf, "an integer"},
        {0xd8, "an extension"},
        {0xd9, "a string"},
        {0xdc, "an array"},
        {0xde, "a map"},
        {0xff, "a negative integer"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct reader reader = reader_of(bytes_of(&cases[i].type, 1));
        assert_string_equal(reader_describe(&reader), cases[i].text);
    }
    struct reader empty = {0};
    assert_string_equal(reader_describe(&empty), "nothing");
}

static void test_nesting_is_bounded(void **state) {
    uint8_t memory[NESTING_MAX + 2];
    memset(memory, 0x91, sizeof memory);
    memory[NESTING_MAX] = 0xc0;
    struct bytes value;
    struct reader deepest = reader_of(bytes_of(memory, NESTING_MAX + 1));
    assert_true(read_any(&deepest, &value));
    assert_int_equal(value.size, NESTING_MAX + 1);
    memory[NESTING_MAX] = 0x91;
    memory[NESTING_MAX + 1] = 0xc0;
    struct reader deeper = reader_of(bytes_of(memory, NESTING_MAX + 2));
    assert_false(read_any(&deeper, &value));
}

static void test_writing_beyond_the_end_is_noticed(void **state) {
    for (uint32_t capacity = 0; capacity < 12; capacity++) {
        uint8_t *memory = malloc(capacity + (capacity == 0));
        assert_non_null(memory);
        struct writer writer = writer_of(memory, capacity);
        write_array(&writer, 2);
        write_text(&writer, "12345");
        write_uint(&writer, UINT32_MAX); /* 1 + 6 + 5 bytes */
        assert_true(writer.overflow);
        assert_true(writer.size <= capacity);
        free(memory);
    }
}

/* --- against msgpack-c ------------------------------------------------------------------------ */

/* Reads a value as the oracle says it is. */
static void object_expect(struct reader *reader, const msgpack_object *object) {
    uint32_t count;
    uint64_t number;
    int64_t integer;
    bool truth;
    struct bytes bytes;
    switch (object->type) {
    case MSGPACK_OBJECT_NIL:
        assert_true(read_nil(reader));
        break;
    case MSGPACK_OBJECT_BOOLEAN:
        assert_true(read_bool(reader, &truth));
        assert_int_equal(truth, object->via.boolean);
        break;
    case MSGPACK_OBJECT_POSITIVE_INTEGER:
        assert_true(read_uint(reader, &number));
        assert_int_equal(number, object->via.u64);
        break;
    case MSGPACK_OBJECT_NEGATIVE_INTEGER:
        assert_true(read_int(reader, &integer));
        assert_int_equal(integer, object->via.i64);
        break;
    case MSGPACK_OBJECT_STR:
    case MSGPACK_OBJECT_BIN: /* both views have the same layout: a size and a pointer */
        assert_true(read_bytes(reader, &bytes));
        assert_true(bytes_equal(bytes, bytes_of(object->via.str.ptr, object->via.str.size)));
        break;
    case MSGPACK_OBJECT_ARRAY:
        assert_true(read_array(reader, &count));
        assert_int_equal(count, object->via.array.size);
        for (uint32_t i = 0; i < count; i++) {
            object_expect(reader, &object->via.array.ptr[i]);
        }
        break;
    case MSGPACK_OBJECT_MAP:
        assert_true(read_map(reader, &count));
        assert_int_equal(count, object->via.map.size);
        for (uint32_t i = 0; i < count; i++) {
            object_expect(reader, &object->via.map.ptr[i].key);
            object_expect(reader, &object->via.map.ptr[i].val);
        }
        break;
    default: /* floats and extensions are only skipped */
        assert_true(read_any(reader, &bytes));
    }
}

static void value_make(msgpack_packer *packer, uint64_t *seed, int depth) {
    static const char text[300] = "some text";
    uint64_t choice = next_random(seed), size = next_random(seed) % 300;
    uint64_t number = next_random(seed) >> (next_random(seed) % 64);
    int count = (int)(next_random(seed) % 18);
    switch (choice % (depth < 4 ? 10 : 8)) {
    case 0:
        msgpack_pack_nil(packer);
        break;
    case 1:
        choice & 64 ? msgpack_pack_true(packer) : msgpack_pack_false(packer);
        break;
    case 2:
        msgpack_pack_uint64(packer, number);
        break;
    case 3:
        msgpack_pack_int64(packer, (int64_t)number);
        break;
    case 4:
        msgpack_pack_int64(packer, -(int64_t)(number >> 1));
        break;
    case 5:
        msgpack_pack_str_with_body(packer, text, size);
        break;
    case 6:
        msgpack_pack_bin_with_body(packer, text, size);
        break;
    case 7:
        msgpack_pack_double(packer, (double)number);
        break;
    case 8:
        msgpack_pack_array(packer, (size_t)count);
        for (int i = 0; i < count; i++) {
            value_make(packer, seed, depth + 1);
        }
        break;
    default:
        msgpack_pack_map(packer, (size_t)count);
        for (int i = 0; i < 2 * count; i++) {
            value_make(packer, seed, depth + 1);
        }
    }
}

static void test_random_values_read_alike(void **state) {
    uint64_t seed = 1;
    msgpack_sbuffer buffer;
    msgpack_sbuffer_init(&buffer);
    for (int round = 0; round < ROUNDS / 100; round++) {
        msgpack_packer packer;
        msgpack_unpacked unpacked;
        msgpack_sbuffer_clear(&buffer);
        msgpack_packer_init(&packer, &buffer, msgpack_sbuffer_write);
        value_make(&packer, &seed, 0);
        msgpack_unpacked_init(&unpacked);
        size_t offset = 0;
        assert_int_equal(msgpack_unpack_next(&unpacked, buffer.data, buffer.size, &offset),
                         MSGPACK_UNPACK_SUCCESS);
        struct reader reader = reader_of(bytes_of(buffer.data, buffer.size));
        object_expect(&reader, &unpacked.data);
        assert_true(reader_done(&reader));
        struct bytes whole;
        reader = reader_of(bytes_of(buffer.data, buffer.size));
        assert_true(read_any(&reader, &whole));
        assert_int_equal(whole.size, buffer.size);
        /* Cut short it is nothing. */
        size_t cut = next_random(&seed) % buffer.size;
        uint8_t *exact = malloc(cut + (cut == 0));
        assert_non_null(exact);
        memcpy(exact, buffer.data, cut);
        reader = reader_of(bytes_of(exact, cut));
        assert_false(read_any(&reader, &whole));
        free(exact);
        msgpack_unpacked_destroy(&unpacked);
    }
    msgpack_sbuffer_destroy(&buffer);
}

static void test_random_bytes_read_alike(void **state) {
    uint64_t seed = 2;
    uint32_t accepted = 0;
    for (int round = 0; round < ROUNDS; round++) {
        uint8_t bytes[7]; /* too short to nest deeper than NESTING_MAX */
        size_t size = 1 + next_random(&seed) % sizeof bytes, offset = 0;
        for (size_t i = 0; i < size; i++) {
            /* Types are more often found in the upper half. */
            bytes[i] = (uint8_t)(next_random(&seed) | (next_random(&seed) & 0x80));
            /* msgpack-c allocates what lengths of 32 bits say; ours are tried above. */
            bytes[i] = bytes[i] == 0xdd || bytes[i] == 0xdf ? 0xdc : bytes[i];
        }
        uint8_t *exact = malloc(size);
        assert_non_null(exact);
        memcpy(exact, bytes, size);
        msgpack_unpacked unpacked;
        msgpack_unpacked_init(&unpacked);
        msgpack_unpack_return oracle =
            msgpack_unpack_next(&unpacked, (const char *)exact, size, &offset);
        struct reader reader = reader_of(bytes_of(exact, size));
        struct bytes value;
        bool good = read_any(&reader, &value);
        if (good != (oracle == MSGPACK_UNPACK_SUCCESS) || (good && value.size != offset)) {
            fail_msg("round %d: we %d (%u bytes), msgpack-c %d (%zu bytes), first byte %02x", round,
                     good, value.size, oracle, offset, exact[0]);
        }
        accepted += good;
        msgpack_unpacked_destroy(&unpacked);
        free(exact);
    }
    assert_true(accepted > ROUNDS / 20); /* both outcomes were tried */
    assert_true(accepted < ROUNDS / 20 * 19);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_integers_of_every_width),
        cmocka_unit_test(test_a_length_is_not_believed),
        cmocka_unit_test(test_what_stands_there),
        cmocka_unit_test(test_nesting_is_bounded),
        cmocka_unit_test(test_writing_beyond_the_end_is_noticed),
        cmocka_unit_test(test_random_values_read_alike),
        cmocka_unit_test(test_random_bytes_read_alike),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
