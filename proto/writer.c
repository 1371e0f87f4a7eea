#include "proto/writer.h"

#include <msgpack/pack.h>

static int append(void *ctx, const char *data, size_t size) {
    struct writer *writer = ctx;
    if (writer->overflow || size > writer->capacity - writer->size) {
        writer->overflow = true;
        return -1;
    }
    memcpy(writer->start + writer->size, data, size);
    writer->size += (uint32_t)size;
    return 0;
}

static msgpack_packer packer_of(struct writer *writer) {
    msgpack_packer packer;
    msgpack_packer_init(&packer, writer, append);
    return packer;
}

void write_nil(struct writer *writer) {
    msgpack_packer packer = packer_of(writer);
    msgpack_pack_nil(&packer);
}

void write_bool(struct writer *writer, bool value) {
    msgpack_packer packer = packer_of(writer);
    if (value) {
        msgpack_pack_true(&packer);
    } else {
        msgpack_pack_false(&packer);
    }
}

void write_uint(struct writer *writer, uint64_t value) {
    msgpack_packer packer = packer_of(writer);
    msgpack_pack_uint64(&packer, value);
}

void write_int(struct writer *writer, int64_t value) {
    msgpack_packer packer = packer_of(writer);
    msgpack_pack_int64(&packer, value);
}

void write_str(struct writer *writer, struct bytes text) {
    msgpack_packer packer = packer_of(writer);
    msgpack_pack_str(&packer, text.size);
    msgpack_pack_str_body(&packer, text.data, text.size);
}

void write_text(struct writer *writer, const char *text) {
    write_str(writer, bytes_of_text(text));
}

void write_bin(struct writer *writer, struct bytes bytes) {
    msgpack_packer packer = packer_of(writer);
    msgpack_pack_bin(&packer, bytes.size);
    msgpack_pack_bin_body(&packer, bytes.data, bytes.size);
}

void write_array(struct writer *writer, uint32_t count) {
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
