#include "proto/reply.h"

#include <assert.h>

void reply_write_head(struct writer *writer, uint32_t msgid) {
    uint8_t *out = writer_room(writer, REPLY_HEAD_BYTES_MAX);
    if (out == NULL) {
        return;
    }
    out = put_byte(out, MSGPACK_ARRAY | 4);
    out = put_byte(out, 1);
    out = put_uint(out, msgid);
    out = put_byte(out, MSGPACK_NIL);
    writer_fill(writer, out);
}

void error_write(struct writer *writer, const struct fault *fault, const struct moved *moved) {
    write_array(writer, 3);
    write_text(writer, code_text(fault->code));
    write_text(writer, fault->text);
    if (moved == NULL && fault->retry_ms > 0) {
        write_uint(writer, fault->retry_ms);
        return;
    }
    if (moved == NULL) {
        write_nil(writer);
        return;
    }
    write_array(writer, 3);
    write_uint(writer, moved->slot.index);
    write_uint(writer, moved->epoch.number);
    if (moved->endpoint.size > 0) {
        write_str(writer, moved->endpoint);
    } else {
        write_nil(writer);
    }
}

void reply_write_error(struct writer *writer, bool has_msgid, uint32_t msgid,
                       const struct fault *fault, const struct moved *moved) {
    write_array(writer, 4);
    write_uint(writer, 1);
    if (has_msgid) {
        write_uint(writer, msgid);
    } else {
        write_nil(writer);
    }
    error_write(writer, fault, moved);
    write_nil(writer);
}

void result_write(struct writer *writer, const struct take_result *result) {
    assert(result->code == CODE_OK);
    uint8_t *out = writer_room(writer, RESULT_OK_BYTES_MAX);
    if (out == NULL) {
        return;
    }
    out = put_byte(out, MSGPACK_ARRAY | 6);
    out = put_byte(out, result->allowed ? MSGPACK_TRUE : MSGPACK_FALSE);
    out = put_uint(out, result->remaining_tokens);
    out = put_int(out, result->retry_after_us);
    out = put_uint(out, result->reset_after_us);
    out = put_uint(out, result->limit_tokens);
    out = put_uint(out, result->flags);
    writer_fill(writer, out);
}

/* The three parts of an error, behind its array head. */
static bool error_parts_read(struct reader *reader, uint32_t count, struct reply *reply) {
    struct bytes code;
    if (count < 3 || !read_bytes(reader, &code) || !read_bytes(reader, &reply->message) ||
        !read_any(reader, &reply->data)) {
        return false;
    }
    for (uint32_t i = 3; i < count; i++) {
        struct bytes later;
        if (!read_any(reader, &later)) {
            return false;
        }
    }
    reply->is_error = true;
    if (!code_of_text(code, &reply->code) || reply->code == CODE_OK) {
        reply->code = CODE_UNAVAILABLE;
    }
    return true;
}

bool reply_read(struct bytes message, struct reply *reply) {
    struct reader reader = reader_of(message);
    memset(reply, 0, sizeof *reply);
    uint32_t count;
    uint64_t type, msgid = 0;
    if (!read_array(&reader, &count) || count != 4 || !read_uint(&reader, &type) || type != 1) {
        return false;
    }
    if (!read_nil(&reader)) {
        if (!read_uint(&reader, &msgid) || msgid > UINT32_MAX) {
            return false;
        }
        reply->has_msgid = true;
        reply->msgid = (uint32_t)msgid;
    }
    if (!read_nil(&reader)) {
        uint32_t parts;
        struct bytes nothing;
        return read_array(&reader, &parts) && error_parts_read(&reader, parts, reply) &&
               read_any(&reader, &nothing) && reader_done(&reader);
    }
    reply->result = bytes_of(reader.at, (size_t)(reader.end - reader.at));
    return reply->result.size > 0;
}

bool result_read(struct reader *reader, struct take_result *result, struct reply *error) {
    uint32_t count;
    memset(result, 0, sizeof *result);
    if (!read_array(reader, &count)) {
        return false;
    }
    if (!read_bool(reader, &result->allowed)) {
        struct reply parts = {0};
        if (!error_parts_read(reader, count, &parts)) {
            return false;
        }
        result->code = parts.code;
        if (error != NULL) {
            *error = parts;
        }
        return true;
    }
    uint64_t flags;
    if (count < 6 || !read_uint(reader, &result->remaining_tokens) ||
        !read_int(reader, &result->retry_after_us) || !read_uint(reader, &result->reset_after_us) ||
        !read_uint(reader, &result->limit_tokens) || !read_uint(reader, &flags)) {
        return false;
    }
    result->flags = (uint32_t)flags;
    for (uint32_t i = 6; i < count; i++) {
        struct bytes later;
        if (!read_any(reader, &later)) {
            return false;
        }
    }
    return true;
}

bool moved_read(struct bytes data, struct moved *moved) {
    struct reader reader = reader_of(data);
    memset(moved, 0, sizeof *moved);
    uint32_t count;
    uint64_t slot;
    if (!read_array(&reader, &count) || count < 3 || !read_uint(&reader, &slot) ||
        slot >= SLOTS_MAX || !read_uint(&reader, &moved->epoch.number)) {
        return false;
    }
    moved->slot.index = (uint16_t)slot;
    return read_nil(&reader) || read_bytes(&reader, &moved->endpoint);
}
