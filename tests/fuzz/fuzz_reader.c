/* The msgpack reader against msgpack-c: both take the same values for whole, and find the same in
 * them. Only NESTING_MAX is ours alone. */
#include <msgpack.h>
#include <msgpack/unpack_define.h>

#include "proto/bounds.h"
#include "proto/reader.h"
#include "tests/fuzz/fuzz.h"

/* msgpack-c's parser with callbacks that build nothing, for bytes that the reader refuses: its own
 * unpacker allocates whatever count an array claims. */
typedef struct {
    int unused;
} unpack_user;
#define msgpack_unpack_struct(name) struct unpack##name
#define msgpack_unpack_func(ret, name) static inline ret unpack##name
#define msgpack_unpack_callback(name) unpack_callback##name
#define msgpack_unpack_object int
#define msgpack_unpack_user unpack_user

static inline int unpack_callback_root(unpack_user *user) {
    return 0;
}
#define NUMBER(name, type)                                                                         \
    static inline int unpack_callback_##name(unpack_user *user, type value, int *out) {            \
        *out = 0;                                                                                  \
        return 0;                                                                                  \
    }
NUMBER(uint8, uint8_t)
NUMBER(uint16, uint16_t)
NUMBER(uint32, uint32_t)
NUMBER(uint64, uint64_t)
NUMBER(int8, int8_t)
NUMBER(int16, int16_t)
NUMBER(int32, int32_t)
NUMBER(int64, int64_t)
NUMBER(float, float)
NUMBER(double, double)
NUMBER(array, unsigned int)
NUMBER(map, unsigned int)
#define WORD(name)                                                                                 \
    static inline int unpack_callback_##name(unpack_user *user, int *out) {                        \
        *out = 0;                                                                                  \
        return 0;                                                                                  \
    }
WORD(nil)
WORD(true)
WORD(false)
#define VIEW(name)                                                                                 \
    static inline int unpack_callback_##name(unpack_user *user, const char *start, const char *at, \
                                             unsigned int size, int *out) {                        \
        *out = 0;                                                                                  \
        return 0;                                                                                  \
    }
VIEW(str)
VIEW(bin)
/* Without even its type byte: a length of 2^32 - 1 wraps to that. */
static inline int unpack_callback_ext(unpack_user *user, const char *start, const char *at,
                                      unsigned int size, int *out) {
    *out = 0;
    return size == 0 ? MSGPACK_UNPACK_PARSE_ERROR : 0;
}
static inline int unpack_callback_array_item(unpack_user *user, int *array, int item) {
    return 0;
}
static inline int unpack_callback_map_item(unpack_user *user, int *map, int key, int value) {
    return 0;
}
#include <msgpack/unpack_template.h>

/* Bytes of the first value as msgpack-c sees it, 0: none is whole. */
static size_t theirs_size(const uint8_t *data, size_t size) {
    struct unpack_context context;
    size_t offset = 0;
    memset(&context, 0, sizeof context);
    unpack_init(&context);
    return unpack_execute(&context, (const char *)data, size, &offset) > 0 ? offset : 0;
}

static uint32_t depth_of(const msgpack_object *object) {
    uint32_t deepest = 0;
    if (object->type == MSGPACK_OBJECT_ARRAY) {
        for (uint32_t i = 0; i < object->via.array.size; i++) {
            uint32_t depth = depth_of(&object->via.array.ptr[i]);
            deepest = depth > deepest ? depth : deepest;
        }
        return deepest + 1;
    }
    if (object->type != MSGPACK_OBJECT_MAP) {
        return 0;
    }
    for (uint32_t i = 0; i < object->via.map.size; i++) {
        uint32_t key = depth_of(&object->via.map.ptr[i].key);
        uint32_t value = depth_of(&object->via.map.ptr[i].val);
        deepest = key > deepest ? key : deepest;
        deepest = value > deepest ? value : deepest;
    }
    return deepest + 1;
}

static void object_compare(struct reader *reader, const msgpack_object *object);

static void containers_compare(struct reader *reader, const msgpack_object *object) {
    uint32_t count;
    if (object->type == MSGPACK_OBJECT_ARRAY) {
        FUZZ_CHECK(read_array(reader, &count) && count == object->via.array.size);
        for (uint32_t i = 0; i < count; i++) {
            object_compare(reader, &object->via.array.ptr[i]);
        }
        return;
    }
    FUZZ_CHECK(read_map(reader, &count) && count == object->via.map.size);
    for (uint32_t i = 0; i < count; i++) {
        object_compare(reader, &object->via.map.ptr[i].key);
        object_compare(reader, &object->via.map.ptr[i].val);
    }
}

/* The typed reads at a value of this type: the right one reads it, the others leave it alone. */
static void object_compare(struct reader *reader, const msgpack_object *object) {
    const struct reader start = *reader;
    bool is_word;
    uint64_t positive = 0;
    int64_t number = 0;
    struct bytes view;
    FUZZ_CHECK(strlen(reader_describe(reader)) > 0);
    bool is_uint = read_uint(&(struct reader){start.at, start.end}, &positive);
    bool is_int = read_int(&(struct reader){start.at, start.end}, &number);
    switch (object->type) {
    case MSGPACK_OBJECT_NIL:
        FUZZ_CHECK(read_nil(reader));
        break;
    case MSGPACK_OBJECT_BOOLEAN:
        FUZZ_CHECK(read_bool(reader, &is_word) && is_word == object->via.boolean);
        break;
    case MSGPACK_OBJECT_POSITIVE_INTEGER:
        FUZZ_CHECK(read_uint(reader, &positive) && positive == object->via.u64);
        FUZZ_CHECK(is_int == (positive <= INT64_MAX));
        break;
    case MSGPACK_OBJECT_NEGATIVE_INTEGER:
        FUZZ_CHECK(read_int(reader, &number) && number == object->via.i64);
        FUZZ_CHECK(!is_uint);
        break;
    case MSGPACK_OBJECT_STR:
    case MSGPACK_OBJECT_BIN:
        FUZZ_CHECK(read_bytes(reader, &view) && view.size == object->via.bin.size);
        FUZZ_CHECK(view.size == 0 || memcmp(view.data, object->via.bin.ptr, view.size) == 0);
        break;
    case MSGPACK_OBJECT_ARRAY:
    case MSGPACK_OBJECT_MAP:
        FUZZ_CHECK(!is_uint && !is_int);
        containers_compare(reader, object);
        break;
    default:
        FUZZ_CHECK(!is_uint && !is_int && !read_bytes(reader, &view));
        FUZZ_CHECK(read_any(reader, &view));
    }
}

/* Whatever stands there, cut short or not: what is read lies within the bytes, what is not read is
 * left alone. */
static void cut_try(const uint8_t *data, size_t size) {
    struct reader reader = reader_of(bytes_of(data, size));
    struct bytes view;
    uint64_t positive;
    int64_t number;
    uint32_t count;
    if (read_bytes(&reader, &view)) {
        FUZZ_CHECK(reader.at == view.data + view.size && view.data > data);
    } else if (read_array(&reader, &count) || read_map(&reader, &count)) {
        FUZZ_CHECK(count <= size);
    } else if (!read_uint(&reader, &positive) && !read_int(&reader, &number)) {
        FUZZ_CHECK(reader.at == data);
    }
    FUZZ_CHECK(reader.at >= data && reader.at <= data + size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct reader reader = reader_of(bytes_of(data, size));
    struct bytes value = {0};
    cut_try(data, size);
    size_t theirs = theirs_size(data, size);
    bool whole = read_any(&reader, &value);
    if (whole) {
        FUZZ_CHECK(theirs == value.size && value.data == data && reader.at == data + value.size);
    } else {
        FUZZ_CHECK(reader.at == data); /* a failed read moves nothing */
    }
    if (theirs == 0) {
        return 0;
    }
    /* Whole, so what it allocates is bounded by what is there. */
    msgpack_unpacked unpacked;
    size_t offset = 0;
    msgpack_unpacked_init(&unpacked);
    FUZZ_CHECK(msgpack_unpack_next(&unpacked, (const char *)data, size, &offset) ==
               MSGPACK_UNPACK_SUCCESS);
    FUZZ_CHECK(whole == (depth_of(&unpacked.data) <= NESTING_MAX));
    if (whole) {
        reader = reader_of(value);
        object_compare(&reader, &unpacked.data);
        FUZZ_CHECK(reader_done(&reader));
    }
    msgpack_unpacked_destroy(&unpacked);
    return 0;
}
