#include "runtime/sp_input.h"

#include <assert.h>
#include <stdlib.h>

static uint32_t min_u32(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}

void sp_input_free(struct sp_input *input) {
    free(input->data);
    *input = (struct sp_input){0};
}

static bool buffer_grow(struct sp_input *input) {
    assert(!input->pinned);
    uint32_t capacity = input->capacity == 0 ? SP_INPUT_FIRST_BYTES : input->capacity * 2;
    capacity = min_u32(capacity, SP_INPUT_BYTES_MAX);
    uint8_t *data = realloc(input->data, capacity);
    if (data == NULL)
        return false;
    input->data = data;
    input->capacity = capacity;
    input->filled = false; /* answered: one fill grows the buffer once */
    return true;
}

/* Moves what is not yet handed out to the front. */
static void buffer_compact(struct sp_input *input) {
    assert(!input->pinned);
    if (input->start == 0)
        return;
    memmove(input->data, input->data + input->start, input->end - input->start);
    input->end -= input->start;
    input->start = 0;
}

uint32_t sp_input_space(struct sp_input *input, uint32_t most, uint8_t **space) {
    if (!input->pinned) {
        buffer_compact(input);
        bool half_full = input->end >= input->capacity / 2;
        if (half_full && input->capacity < SP_INPUT_BYTES_MAX)
            (void)buffer_grow(input); /* without memory what space is left still serves */
    }
    uint32_t size = min_u32(input->capacity - input->end, most);
    if (size > 0)
        *space = input->data + input->end;
    return size;
}

void sp_input_filled(struct sp_input *input, uint32_t size) {
    assert(size <= input->capacity - input->end);
    input->end += size;
    if (input->end == input->capacity)
        input->filled = true;
}

const uint8_t *sp_input_take(struct sp_input *input, uint32_t size) {
    if (input->end - input->start < size)
        return NULL;
    const uint8_t *taken = input->data + input->start;
    input->start += size;
    return taken;
}

static enum sp_frame oversize_drain(struct sp_input *input, struct bytes *message, uint64_t *size) {
    const uint8_t *data = input->data + input->start;
    uint32_t arrived = input->end - input->start;
    if (arrived > input->oversize_left)
        arrived = (uint32_t)input->oversize_left;
    uint32_t kept = min_u32(arrived, (uint32_t)sizeof input->kept - input->kept_size);
    if (kept > 0)
        memcpy(input->kept + input->kept_size, data, kept);
    input->kept_size += kept;
    input->start += arrived;
    input->oversize_left -= arrived;
    if (input->oversize_left > 0)
        return SP_FRAME_NONE;
    *message = bytes_of(input->kept, input->kept_size);
    *size = input->oversize;
    return SP_FRAME_OVERSIZE;
}

enum sp_frame sp_input_next(struct sp_input *input, struct bytes *message, uint64_t *size) {
    if (input->oversize_left > 0)
        return oversize_drain(input, message, size);

    uint32_t arrived = input->end - input->start;
    if (arrived < SP_LENGTH_SIZE)
        return SP_FRAME_NONE;
    const uint8_t *data = input->data + input->start;
    uint64_t length = sp_length_read(data);
    if (length > MESSAGE_DRAIN_BYTES_MAX)
        return SP_FRAME_BAD;
    if (length > MESSAGE_BYTES_MAX) {
        input->start += SP_LENGTH_SIZE;
        input->oversize = input->oversize_left = length;
        input->kept_size = 0;
        return oversize_drain(input, message, size);
    }
    if (arrived - SP_LENGTH_SIZE < length)
        return SP_FRAME_NONE;
    *message = bytes_of(data + SP_LENGTH_SIZE, length);
    *size = length;
    input->start += SP_LENGTH_SIZE + (uint32_t)length;
    input->pinned = true;
    return SP_FRAME_MESSAGE;
}

void sp_input_release(struct sp_input *input) {
    input->pinned = false;
    buffer_compact(input);
    if (input->capacity > SP_INPUT_KEEP_BYTES && input->end == 0) {
        free(input->data);
        input->data = NULL;
        input->capacity = 0;
    } else if (input->filled && input->capacity < SP_INPUT_KEEP_BYTES) {
        (void)buffer_grow(input); /* only to read more at once; no memory is no harm */
    }
    input->filled = false;
}
