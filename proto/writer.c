#include "proto/writer.h"

#include <endian.h>
#include <msgpack/pack.h>

static int append(void *ctx, const char *data, size_t size) {
    struct writer *writer = ctx;
    if (writer->overflow || size > writer->capacity - writer->size) {
        writer->overflow = true;
        return -1;
    }
    if (size > 0) {
        memcpy(writer->start + writer->size, data, size);
    }
    writer->size += (uint32_t)size;
    return 0;
}

static msgpack_packer packer_of(struct writer *writer) {
    msgpack_packer packer;
    msgpack_packer_init(&packer, writer, append);
    return packer;
}

uint8_t *writer_room(struct writer *writer, uint32_t size) {
    if (writer->overflow || size > writer->capacity - writer->size) {
        writer->overflow = true;
        return NULL;
    }
    return writer->start + writer->size;
}

/* As msgpack_pack_uint64 does it. */
uint8_t *put_uint_long(uint8_t *out, uint64_t value) {
    if (value <= UINT8_MAX) {
        out[0] = 0xcc;
        out[1] = (uint8_t)value;
        return out + 2;
    }
    if (value <= UINT16_MAX) {
        uint16_t number = htobe16((uint16_t)value);
        out[0] = 0xcd;
        memcpy(out + 1, &number, sizeof number);
        return out + 1 + sizeof number;
    }
    if (value <= UINT32_MAX) {
        uint32_t number = htobe32((uint32_t)value);
        out[0] = 0xce;
        memcpy(out + 1, &number, sizeof number);
        return out + 1 + sizeof number;
    }
    uint64_t number = htobe64(value);
    out[0] = 0xcf;
    memcpy(out + 1, &number, sizeof number);
    return out + 1 + sizeof number;
}

void write_uint_long(struct writer *writer, uint64_t value) {
    uint8_t number[INT_BYTES_MAX];
    append(writer, (const char *)number, (size_t)(put_uint_long(number, value) - number));
}

uint8_t *put_negative(uint8_t *out, int64_t value) {
    if (value >= -32) {
        return put_byte(out, (uint8_t)value);
    }
    uint64_t number = htobe64((uint64_t)value);
    out[0] = 0xd3;
    memcpy(out + 1, &number, sizeof number);
    return out + 1 + sizeof number;
}

void write_int_long(struct writer *writer, int64_t value) {
    msgpack_packer packer = packer_of(writer);
    msgpack_pack_int64(&packer, value);
}

void write_str(struct writer *writer, struct bytes text) {
    if (text.size < 0x20) {
        write_byte(writer, (uint8_t)(0xa0 | text.size));
    } else {
        msgpack_packer packer = packer_of(writer);
        msgpack_pack_str(&packer, text.size);
    }
    append(writer, (const char *)text.data, text.size);
}

void write_text(struct writer *writer, const char *text) {
    write_str(writer, bytes_of_text(text));
}

void write_bin(struct writer *writer, struct bytes bytes) {
    if (bytes.size < 0x100) {
        write_byte(writer, 0xc4);
        write_byte(writer, (uint8_t)bytes.size);
    } else {
        msgpack_packer packer = packer_of(writer);
        msgpack_pack_bin(&packer, bytes.size);
    }
    append(writer, (const char *)bytes.data, bytes.size);
}

void write_array_long(struct writer *writer, uint32_t count) {
    msgpack_packer packer = packer_of(writer);
    msgpack_pack_array(&packer, count);
}

void write_map(struct writer *writer, uint32_t count) {
    msgpack_packer packer = packer_of(writer);
    msgpack_pack_map(&packer, count);
}

void write_encoded(struct writer *writer, struct bytes value) {
    append(writer, (const char *)value.data, value.size);
}

void write_text_uint(struct writer *writer, const char *key, uint64_t value) {
    write_text(writer, key);
    write_uint(writer, value);
}

void write_text_text(struct writer *writer, const char *key, const char *value) {
    write_text(writer, key);
    write_text(writer, value);
}

void write_text_str(struct writer *writer, const char *key, struct bytes value) {
    write_text(writer, key);
    write_str(writer, value);
}

void write_text_bool(struct writer *writer, const char *key, bool value) {
    write_text(writer, key);
    write_bool(writer, value);
}
