/*
 * The framing of an SP connection: the same bytes in any pieces give the same messages, views stay
 * as they are until they are released, and memory follows what truly arrived.
 *
 * Input: 16 bytes that say how the stream comes in (the size of each piece, and after which of them
 * what is out is released), one byte of how much filler follows, then the stream.
 */
#include "runtime/sp_input.h"
#include "tests/fuzz/fuzz.h"

#define PIECES 16
#define FILLER 0x7f /* as a length it is far above every bound, and ends the stream */
#define FILLER_STEP (64u << 10)
#define VIEWS_MAX 64

struct stream {
    const uint8_t *data;
    uint64_t size;  /* of `data` */
    uint64_t total; /* filler included */
};

static void stream_copy(const struct stream *stream, uint64_t from, uint8_t *out, uint64_t size) {
    uint64_t real = from >= stream->size ? 0 : stream->size - from;
    real = real < size ? real : size;
    if (real > 0) {
        memcpy(out, stream->data + from, real);
    }
    memset(out + real, FILLER, size - real);
}

/* The slow and obvious reading of the stream that has arrived whole up to `end`. */
static enum sp_frame frame_expected(const struct stream *stream, uint64_t *at, uint64_t end,
                                    uint64_t *body, uint64_t *size) {
    uint8_t length[SP_LENGTH_SIZE];
    if (end - *at < SP_LENGTH_SIZE) {
        return SP_FRAME_NONE;
    }
    stream_copy(stream, *at, length, sizeof length);
    *size = sp_length_read(length);
    if (*size > MESSAGE_DRAIN_BYTES_MAX) {
        return SP_FRAME_BAD;
    }
    if (end - *at - SP_LENGTH_SIZE < *size) {
        return SP_FRAME_NONE;
    }
    *body = *at + SP_LENGTH_SIZE;
    *at = *body + *size;
    return *size > MESSAGE_BYTES_MAX ? SP_FRAME_OVERSIZE : SP_FRAME_MESSAGE;
}

static uint8_t scratch[SP_INPUT_BYTES_MAX];

static void view_check(const struct stream *stream, struct bytes view, uint64_t body) {
    stream_copy(stream, body, scratch, view.size);
    FUZZ_CHECK(view.size == 0 || memcmp(view.data, scratch, view.size) == 0);
}

struct reading {
    struct stream stream;
    struct sp_input input;
    uint64_t arrived, at; /* bytes; where the next frame starts */
    bool bad, out;
    struct bytes views[VIEWS_MAX];
    uint64_t bodies[VIEWS_MAX];
    uint32_t view_count;
};

static void release(struct reading *reading) {
    for (uint32_t i = 0; i < reading->view_count; i++) {
        view_check(&reading->stream, reading->views[i], reading->bodies[i]);
    }
    reading->view_count = 0;
    reading->out = false;
    sp_input_release(&reading->input);
}

/* Everything that can be handed out now. */
static void frames_take(struct reading *reading) {
    for (;;) {
        struct bytes message;
        uint64_t size, body = 0, size_expected = 0;
        enum sp_frame frame = sp_input_next(&reading->input, &message, &size);
        enum sp_frame expected =
            frame_expected(&reading->stream, &reading->at, reading->arrived, &body, &size_expected);
        FUZZ_CHECK(frame == expected);
        if (frame == SP_FRAME_NONE) {
            return;
        }
        if (frame == SP_FRAME_BAD) {
            reading->bad = true;
            return;
        }
        FUZZ_CHECK(size == size_expected);
        if (frame == SP_FRAME_OVERSIZE) {
            FUZZ_CHECK(message.size == sizeof reading->input.kept);
            view_check(&reading->stream, message, body);
            continue;
        }
        FUZZ_CHECK(message.size == size);
        view_check(&reading->stream, message, body);
        reading->out = true;
        if (reading->view_count < VIEWS_MAX) {
            reading->views[reading->view_count] = message;
            reading->bodies[reading->view_count++] = body;
        }
    }
}

static void piece_feed(struct reading *reading, uint64_t size) {
    while (size > 0 && !reading->bad) {
        uint8_t *space = NULL;
        uint32_t most = size > UINT32_MAX ? UINT32_MAX : (uint32_t)size;
        uint32_t room = sp_input_space(&reading->input, most, &space);
        FUZZ_CHECK(room <= most && (room > 0 || reading->out));
        if (room == 0) {
            release(reading);
            continue;
        }
        stream_copy(&reading->stream, reading->arrived, space, room);
        sp_input_filled(&reading->input, room);
        reading->arrived += room;
        size -= room;
        uint64_t bound = 4 * reading->arrived;
        bound = bound > SP_INPUT_FIRST_BYTES ? bound : SP_INPUT_FIRST_BYTES;
        FUZZ_CHECK(reading->input.capacity <= bound);
        FUZZ_CHECK(reading->input.capacity <= SP_INPUT_BYTES_MAX);
        frames_take(reading);
    }
}

static uint64_t piece_size(uint8_t code) {
    return code < 64 ? code / 2 + 1u : code < 192 ? (code - 63u) * 37 : (code - 191u) * 16381;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct reading reading;
    struct fuzz fuzz = fuzz_of(data, size);
    uint8_t pieces[PIECES];
    for (uint32_t i = 0; i < PIECES; i++) {
        pieces[i] = fuzz_u8(&fuzz);
    }
    uint8_t filler = fuzz_u8(&fuzz);
    struct bytes stream = fuzz_bytes(&fuzz, UINT32_MAX);
    reading = (struct reading){.stream = {.data = stream.data, .size = stream.size}};
    reading.stream.total = stream.size + (filler < 192 ? 0 : (filler - 191u) * FILLER_STEP);
    for (uint32_t i = 0; reading.arrived < reading.stream.total && !reading.bad; i++) {
        uint64_t left = reading.stream.total - reading.arrived;
        uint64_t piece = piece_size(pieces[i % PIECES]);
        if (reading.arrived >= stream.size) {
            piece = piece < 4096 ? 4096 : piece; /* filler need not come byte by byte */
        }
        piece_feed(&reading, piece < left ? piece : left);
        if ((pieces[i % PIECES] & 1) != 0) {
            release(&reading);
        }
    }
    release(&reading);
    sp_input_free(&reading.input);
    return 0;
}
