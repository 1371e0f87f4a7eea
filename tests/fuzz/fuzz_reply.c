/* Replies as clients and routers read them: the head, results, lists of results, errors, MOVED. */
#include "proto/reply.h"
#include "tests/fuzz/fuzz.h"

static uint8_t memory[8192];

static void moved_try(struct bytes data) {
    struct moved moved, again;
    struct reply reply;
    if (!moved_read(data, &moved)) {
        return;
    }
    FUZZ_CHECK(moved.slot.index < SLOTS_MAX);
    struct fault fault = {.code = CODE_MOVED, .text = "moved"};
    struct writer writer = writer_of(memory, sizeof memory);
    reply_write_error(&writer, true, 7, &fault, &moved);
    if (writer.overflow) { /* no endpoint of ours is as long */
        FUZZ_CHECK(moved.endpoint.size > ENDPOINT_BYTES_MAX);
        return;
    }
    FUZZ_CHECK(reply_read(writer_bytes(&writer), &reply) && reply.is_error);
    FUZZ_CHECK(reply.code == CODE_MOVED && moved_read(reply.data, &again));
    FUZZ_CHECK(moved.slot.index == again.slot.index && moved.epoch.number == again.epoch.number);
    FUZZ_CHECK(bytes_equal(moved.endpoint, again.endpoint));
}

static void error_try(bool has_msgid, uint32_t msgid, const struct reply *error) {
    struct fault fault = {.code = error->code};
    struct reply again;
    moved_try(error->data);
    FUZZ_CHECK(error->code > CODE_OK && error->code < CODE_COUNT);
    if (error->message.size >= sizeof fault.text ||
        memchr(error->message.data, '\0', error->message.size) != NULL) {
        return;
    }
    memcpy(fault.text, error->message.data, error->message.size);
    struct writer writer = writer_of(memory, sizeof memory);
    reply_write_error(&writer, has_msgid, msgid, &fault, NULL);
    FUZZ_CHECK(!writer.overflow && reply_read(writer_bytes(&writer), &again));
    FUZZ_CHECK(again.is_error && again.code == error->code);
    FUZZ_CHECK(bytes_equal(again.message, error->message));
    FUZZ_CHECK(again.has_msgid == has_msgid && (!has_msgid || again.msgid == msgid));
}

/* One result or error at the cursor. */
static bool result_try(struct reader *reader) {
    struct take_result result, again;
    struct reply error = {0};
    if (!result_read(reader, &result, &error)) {
        return false;
    }
    if (result.code != CODE_OK) {
        FUZZ_CHECK(error.is_error && error.code == result.code);
        error_try(true, 1, &error);
        return true;
    }
    struct writer writer = writer_of(memory, sizeof memory);
    result_write(&writer, &result);
    struct reader written = reader_of(writer_bytes(&writer));
    FUZZ_CHECK(!writer.overflow && writer.size <= result_size_max(CODE_OK));
    FUZZ_CHECK(result_read(&written, &again, NULL) && reader_done(&written));
    FUZZ_CHECK(result.allowed == again.allowed && result.flags == again.flags);
    FUZZ_CHECK(result.remaining_tokens == again.remaining_tokens);
    FUZZ_CHECK(result.limit_tokens == again.limit_tokens);
    FUZZ_CHECK(result.retry_after_us == again.retry_after_us);
    FUZZ_CHECK(result.reset_after_us == again.reset_after_us);
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct bytes message = bytes_of(data, size);
    struct reply reply;
    if (!reply_read(message, &reply)) {
        return 0;
    }
    if (reply.is_error) {
        error_try(reply.has_msgid, reply.msgid, &reply);
        return 0;
    }
    FUZZ_CHECK(reply.result.size > 0 && reply.result.data + reply.result.size == data + size);
    struct reader reader = reader_of(reply.result);
    uint32_t count;
    (void)result_try(&reader);
    reader = reader_of(reply.result);
    if (read_array(&reader, &count)) {
        while (count-- > 0 && result_try(&reader)) {
        }
    }
    return 0;
}
