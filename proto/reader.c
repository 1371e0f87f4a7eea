#include "proto/reader.h"

#include <endian.h>

#include "proto/bounds.h"

/* `size` is 1, 2, 4 or 8. */
static uint64_t big_endian(const uint8_t *bytes, uint32_t size) {
    uint16_t two;
    uint32_t four;
    uint64_t eight;
    switch (size) {
    case 1:
        return bytes[0];
    case 2:
        memcpy(&two, bytes, sizeof two);
        return be16toh(two);
    case 4:
        memcpy(&four, bytes, sizeof four);
        return be32toh(four);
    default:
        memcpy(&eight, bytes, sizeof eight);
        return be64toh(eight);
    }
}

/* Reads a number of `size` bytes that follows the type byte. */
static bool number_after_type(const struct reader *reader, uint32_t size, uint64_t *value) {
    if (reader_left(reader) < 1 + (size_t)size) {
        return false;
    }
    *value = big_endian(reader->at + 1, size);
    return true;
}

bool read_uint_long(struct reader *reader, uint64_t *value) {
    if (reader_left(reader) == 0) {
        return false;
    }
    uint8_t type = *reader->at;
    if (type < 0x80) {
        *value = type;
        reader->at++;
        return true;
    }
    /* cc..cf: unsigned of 1, 2, 4, 8 bytes; d0..d3: signed, welcome while not negative. */
    bool is_unsigned = type >= 0xcc && type <= 0xcf;
    if (!is_unsigned && !(type >= 0xd0 && type <= 0xd3)) {
        return false;
    }
    uint32_t size = 1u << (type & 3);
    uint64_t raw;
    if (!number_after_type(reader, size, &raw)) {
        return false;
    }
    /* NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult): size is 1, 2, 4 or 8. */
    if (!is_unsigned && (raw >> (8 * size - 1)) != 0) {
        return false;
    }
    *value = raw;
    reader->at += 1 + size;
    return true;
}

bool read_int_long(struct reader *reader, int64_t *value) {
    uint64_t positive;
    struct reader probe = *reader;
    if (read_uint(&probe, &positive)) {
        if (positive > INT64_MAX) {
            return false;
        }
        *value = (int64_t)positive;
        *reader = probe;
        return true;
    }
    if (reader_left(reader) == 0) {
        return false;
    }
    uint8_t type = *reader->at;
    if (type >= 0xe0) {
        *value = (int8_t)type;
        reader->at++;
        return true;
    }
    if (type < 0xd0 || type > 0xd3) {
        return false;
    }
    uint32_t size = 1u << (type & 3);
    uint64_t raw;
    if (!number_after_type(reader, size, &raw)) {
        return false;
    }
    uint32_t shift = 64 - 8 * size;
    *value = (int64_t)(raw << shift) >> shift;
    reader->at += 1 + size;
    return true;
}

/* Types with a length behind them: `base` is the one-byte-length type, the next two have 2 and 4.
 */
static bool length_of(const struct reader *reader, uint8_t base, uint64_t *length,
                      uint32_t *header) {
    uint8_t type = *reader->at;
    if (type < base || type > base + 2) {
        return false;
    }
    uint32_t size = 1u << (type - base);
    *header = 1 + size;
    return number_after_type(reader, size, length);
}

bool read_bytes_long(struct reader *reader, struct bytes *value) {
    if (reader_left(reader) == 0) {
        return false;
    }
    uint64_t length;
    uint32_t header = 1;
    if ((*reader->at & 0xe0) == 0xa0) {
        length = *reader->at & 0x1f;
    } else if (!length_of(reader, 0xd9, &length, &header) &&
               !length_of(reader, 0xc4, &length, &header)) {
        return false;
    }
    if (length > reader_left(reader) - header) {
        return false;
    }
    *value = bytes_of(reader->at + header, length);
    reader->at += header + length;
    return true;
}

static bool read_container(struct reader *reader, uint8_t fix, uint8_t wide, uint32_t bytes_each,
                           uint32_t *count) {
    if (reader_left(reader) == 0) {
        return false;
    }
    uint64_t length;
    uint32_t header = 1;
    uint8_t type = *reader->at;
    if ((type & 0xf0) == fix) {
        length = type & 0x0f;
    } else if (type == wide || type == wide + 1) {
        uint32_t size = type == wide ? 2 : 4;
        header = 1 + size;
        if (!number_after_type(reader, size, &length)) {
            return false;
        }
    } else {
        return false;
    }
    if (length > (reader_left(reader) - header) / bytes_each) {
        return false;
    }
    *count = (uint32_t)length;
    reader->at += header;
    return true;
}

bool read_array_long(struct reader *reader, uint32_t *count) {
    return read_container(reader, 0x90, 0xdc, 1, count);
}

bool read_map(struct reader *reader, uint32_t *count) {
    return read_container(reader, 0x80, 0xde, 2, count);
}

/* Bytes of a value that holds no other, 0 if it is cut short or no msgpack. */
static uint64_t scalar_size(const struct reader *reader) {
    static const uint8_t fixed[] = {
        [0xc0 - 0xc0] = 1,  [0xc2 - 0xc0] = 1,  [0xc3 - 0xc0] = 1, [0xca - 0xc0] = 5,
        [0xcb - 0xc0] = 9,  [0xcc - 0xc0] = 2,  [0xcd - 0xc0] = 3, [0xce - 0xc0] = 5,
        [0xcf - 0xc0] = 9,  [0xd0 - 0xc0] = 2,  [0xd1 - 0xc0] = 3, [0xd2 - 0xc0] = 5,
        [0xd3 - 0xc0] = 9,  [0xd4 - 0xc0] = 3,  [0xd5 - 0xc0] = 4, [0xd6 - 0xc0] = 6,
        [0xd7 - 0xc0] = 10, [0xd8 - 0xc0] = 18,
    };
    uint8_t type = *reader->at;
    if (type < 0x80 || type >= 0xe0) {
        return 1;
    }
    struct reader probe = *reader;
    struct bytes view;
    if (read_bytes(&probe, &view)) {
        return (uint64_t)(probe.at - reader->at);
    }
    uint64_t length;
    uint32_t header;
    if (length_of(reader, 0xc7, &length, &header)) { /* ext 8, 16, 32: one type byte more */
        return header + 1 + length;
    }
    return type >= 0xc0 && (size_t)(type - 0xc0) < sizeof fixed ? fixed[type - 0xc0] : 0;
}

bool read_any(struct reader *reader, struct bytes *value) {
    struct reader probe = *reader;
    uint64_t open[NESTING_MAX + 1]; /* values still expected at each level */
    uint32_t depth = 0;
    open[0] = 1;
    for (;;) {
        while (open[depth] == 0) {
            if (depth == 0) {
                *value = bytes_of(reader->at, (size_t)(probe.at - reader->at));
                *reader = probe;
                return true;
            }
            depth--;
        }
        open[depth]--;
        if (reader_left(&probe) == 0) {
            return false;
        }
        uint32_t count;
        bool is_map = read_map(&probe, &count);
        if (is_map || read_array(&probe, &count)) {
            if (depth == NESTING_MAX) {
                return false;
            }
            open[++depth] = (uint64_t)count * (is_map ? 2 : 1);
            continue;
        }
        uint64_t size = scalar_size(&probe);
        if (size == 0 || size > reader_left(&probe)) {
            return false;
        }
        probe.at += size;
    }
}

const char *reader_describe(const struct reader *reader) {
    if (reader_left(reader) == 0) {
        return "nothing";
    }
    uint8_t type = *reader->at;
    if (type < 0x80 || (type >= 0xcc && type <= 0xcf)) {
        return "an integer";
    }
    if (type >= 0xe0 || (type >= 0xd0 && type <= 0xd3)) {
        struct reader probe = *reader;
        uint64_t value;
        return read_uint(&probe, &value) ? "an integer" : "a negative integer";
    }
    if ((type & 0xf0) == 0x80 || type == 0xde || type == 0xdf) {
        return "a map";
    }
    if ((type & 0xf0) == 0x90 || type == 0xdc || type == 0xdd) {
        return "an array";
    }
    if ((type & 0xe0) == 0xa0 || (type >= 0xd9 && type <= 0xdb)) {
        return "a string";
    }
    switch (type) {
    case 0xc0:
        return "nil";
    case 0xc2:
    case 0xc3:
        return "a boolean";
    case 0xc4:
    case 0xc5:
    case 0xc6:
        return "a binary";
    case 0xca:
    case 0xcb:
        return "a floating-point number";
    case 0xc1:
        return "a byte that is not msgpack";
    default:
        return "an extension";
    }
}
