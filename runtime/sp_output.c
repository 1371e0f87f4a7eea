#include "runtime/sp_output.h"

#include <assert.h>
#include <stdlib.h>

static void block_free(struct sp_block *block) {
    free(block->data);
    *block = (struct sp_block){0};
}

static bool block_reserve(struct sp_block *block, size_t size) {
    size_t wanted = block->size + size;
    if (wanted <= block->capacity)
        return true;
    size_t capacity = block->capacity == 0 ? SP_OUTPUT_FIRST_BYTES : block->capacity;
    while (capacity < wanted)
        capacity *= 2;
    uint8_t *data = realloc(block->data, capacity);
    if (data == NULL)
        return false;
    block->data = data;
    block->capacity = capacity;
    return true;
}

static void block_append(struct sp_block *block, const void *data, size_t size) {
    assert(size <= block->capacity - block->size);
    if (size > 0)
        memcpy(block->data + block->size, data, size);
    block->size += size;
}

static void block_clear(struct sp_block *block) {
    block->size = 0;
    if (block->capacity > SP_OUTPUT_KEEP_BYTES)
        block_free(block);
}

void sp_output_free(struct sp_output *output) {
    assert(!output->busy);
    block_free(&output->pending);
    block_free(&output->writing);
}

void sp_output_trim(struct sp_output *output) {
    if (output->pending.size == 0)
        block_free(&output->pending);
    if (!output->busy)
        block_free(&output->writing);
}

uint8_t *sp_output_frame_begin(struct sp_output *output, const struct sp_header *header,
                               size_t capacity) {
    struct sp_block *block = &output->pending;
    if (!block_reserve(block, SP_LENGTH_SIZE + (size_t)header->size + capacity))
        return NULL;
    uint8_t *frame = block->data + block->size;
    sp_header_write(frame + SP_LENGTH_SIZE, header);
    output->framing = header->size;
    return frame + SP_LENGTH_SIZE + header->size;
}

void sp_output_frame_end(struct sp_output *output, size_t size) {
    struct sp_block *block = &output->pending;
    size_t message = output->framing + size;
    assert(SP_LENGTH_SIZE + message <= block->capacity - block->size);
    sp_length_write(block->data + block->size, message);
    block->size += SP_LENGTH_SIZE + message;
    output->appended_total += SP_LENGTH_SIZE + message;
}

bool sp_output_frame(struct sp_output *output, const struct sp_header *header, struct bytes body) {
    uint8_t *space = sp_output_frame_begin(output, header, body.size);
    if (space == NULL)
        return false;
    if (body.size > 0)
        memcpy(space, body.data, body.size);
    sp_output_frame_end(output, body.size);
    return true;
}

bool sp_output_raw(struct sp_output *output, struct bytes raw) {
    if (!block_reserve(&output->pending, raw.size))
        return false;
    block_append(&output->pending, raw.data, raw.size);
    output->appended_total += raw.size;
    return true;
}

static void on_write_done(uv_write_t *request, int status) {
    struct sp_output *output = request->data;
    output->busy = false;
    block_clear(&output->writing);
    output->on_written(output, status);
}

int sp_output_flush(struct sp_output *output, uv_stream_t *stream) {
    struct sp_block *pending = &output->pending;
    if (output->busy || pending->size == 0)
        return 0;

    uv_buf_t buffer = {.base = (char *)pending->data, .len = pending->size};
    int written = uv_try_write(stream, &buffer, 1);
    if (written == UV_EAGAIN)
        written = 0;
    if (written < 0)
        return written;
    if ((size_t)written == pending->size) {
        block_clear(pending);
        return 0;
    }
    struct sp_block rest = *pending;
    *pending = output->writing;
    output->writing = rest;
    buffer.base += written;
    buffer.len -= (size_t)written;
    output->request.data = output;
    int status = uv_write(&output->request, stream, &buffer, 1, on_write_done);
    output->busy = status == 0;
    return status;
}

size_t sp_output_unsent(const struct sp_output *output, const uv_stream_t *stream) {
    return output->pending.size + (output->busy ? uv_stream_get_write_queue_size(stream) : 0);
}
