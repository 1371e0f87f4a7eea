/*
 * The sending half of an SP connection: frames are gathered in one buffer and leave together.
 *
 * On the loop's thread. sp_output_flush tries one write at once and leaves the rest to libuv; what
 * is appended meanwhile gathers in a second buffer, since the first must not move. The owner bounds
 * what it appends by sp_output_unsent.
 */
#ifndef SLUICE_RUNTIME_SP_OUTPUT_H
#define SLUICE_RUNTIME_SP_OUTPUT_H

#include <uv.h>

#include "runtime/sp.h"

/* Bytes of a buffer when first needed, and of the largest that is kept when it is empty. */
#define SP_OUTPUT_FIRST_BYTES 1024
#define SP_OUTPUT_KEEP_BYTES (256u << 10)

struct sp_block {
    uint8_t *data;
    size_t capacity, size;
};

struct sp_output {
    struct sp_block pending; /* appended, not yet given to libuv */
    struct sp_block writing; /* in a uv_write: must not move until it is done */
    uv_write_t request;
    bool busy;
    uint64_t appended_total; /* bytes, ever */
    uint8_t framing;         /* bytes of the header of the frame that is being encoded */
    /* A write that libuv had to finish is done, or failed (status < 0). */
    void (*on_written)(struct sp_output *output, int status);
};

/* Zeroed memory with on_written set is an empty output. Frees the buffers; only when no write is
 * busy (closed handles have none). */
void sp_output_free(struct sp_output *output);

/* Frees buffers that hold nothing. */
void sp_output_trim(struct sp_output *output);

/* Opens a frame behind what is pending, and returns where its body of at most `capacity` bytes is
 * to be encoded; NULL: no memory, and no frame. Nothing else may be called before the end, which
 * says how long the body has become. */
uint8_t *sp_output_frame_begin(struct sp_output *output, const struct sp_header *header,
                               size_t capacity);
void sp_output_frame_end(struct sp_output *output, size_t size);

/* Copies a frame, or raw bytes (the greeting), behind what is pending. False: no memory. */
bool sp_output_frame(struct sp_output *output, const struct sp_header *header, struct bytes body);
bool sp_output_raw(struct sp_output *output, struct bytes raw);

/* 0, or the error of libuv with which the connection failed. Never calls on_written. */
int sp_output_flush(struct sp_output *output, uv_stream_t *stream);

/* Bytes appended that the kernel has not taken yet. */
size_t sp_output_unsent(const struct sp_output *output, const uv_stream_t *stream);

#endif
