/*
 * decision-path: each part of what a take costs a shard, done so often that callgrind can count its
 * instructions. bench/instructions.sh runs it and compares the counts with bench/instructions.txt.
 *
 *     decision-path          runs every part and prints "part times", what each was counted over
 *
 * A part is a function `part_<name>` that is not inlined: callgrind tells what is spent in it and
 * below. Everything else in here is preparation. Nothing depends on time, chance or addresses.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench/core_shard.h"
#include "proto/reply.h"
#include "proto/request.h"
#include "runtime/sp_input.h"
#include "runtime/sp_output.h"

/* A function of its own, however like another one it is. */
#ifdef __clang__
#define PART static __attribute__((noinline)) void
#else
#define PART static __attribute__((noipa)) void
#endif

#define KEYS 10000
#define KEY_SIZE 16
#define BATCH 1000
#define ROUNDS 10 /* of what is done to every key */

static struct core_shard core;
static char key_texts[KEYS][KEY_SIZE + 1];
static struct shard_item items[KEYS];
static struct take takes[TAKES_PER_REQUEST_MAX];
static uint8_t memory[MESSAGE_BYTES_MAX];
static volatile uint64_t sink;

/* --- the parts: a shard's decision -------------------------------------------------------------
 */

PART part_slot_hash(void) {
    for (uint32_t i = 0; i < KEYS; i++) {
        sink += slot_of_hash(key_hash(items[i].take.key), CORE_SLOTS).index;
    }
}

static void each_alone(void) {
    for (uint32_t i = 0; i < KEYS; i++) {
        core_shard_takes(&core, &items[i], 1);
    }
}

PART part_take_new(void) {
    each_alone();
}

PART part_take_known(void) {
    each_alone();
}

PART part_take_refused(void) {
    each_alone();
}

PART part_take_batched(void) {
    for (uint32_t i = 0; i < KEYS; i += BATCH) {
        core_shard_takes(&core, &items[i], BATCH);
    }
}

/* --- the parts: the wire ------------------------------------------------------------------------
 */

static void decode(struct bytes message) {
    struct request request;
    struct fault fault;
    uint32_t count;
    enum code code = request_read(message, &request, &fault);
    assert(code == CODE_OK);
    code = request.method == METHOD_TAKE_MANY
               ? request_read_take_many(request.params, takes, &count, &fault)
               : request_read_take(request.params, takes, &fault);
    assert(code == CODE_OK);
}

PART part_decode(struct bytes message) {
    for (uint32_t i = 0; i < KEYS; i++) {
        decode(message);
    }
}

PART part_decode_batched(struct bytes message) {
    for (uint32_t i = 0; i < KEYS; i += BATCH) {
        decode(message);
    }
}

PART part_encode(const struct take_result *result) {
    for (uint32_t i = 0; i < KEYS; i++) {
        struct writer writer = writer_of(memory, sizeof memory);
        reply_write_head(&writer, i);
        result_write(&writer, result);
        sink += writer.size;
    }
}

PART part_encode_batched(const struct take_result *result) {
    for (uint32_t i = 0; i < KEYS; i += BATCH) {
        struct writer writer = writer_of(memory, sizeof memory);
        reply_write_head(&writer, i);
        write_array(&writer, BATCH);
        for (uint32_t j = 0; j < BATCH; j++) {
            result_write(&writer, result);
        }
        sink += writer.size;
    }
}

/* A message out of the input buffer, its header taken off. */
PART part_frame_in(struct sp_input *input) {
    struct bytes message, body;
    struct sp_header header;
    uint64_t size;
    for (uint32_t i = 0; i < KEYS; i++) {
        enum sp_frame frame = sp_input_next(input, &message, &size);
        assert(frame == SP_FRAME_MESSAGE);
        bool read = sp_header_read(message, &header, &body);
        assert(read);
        sink += body.size;
    }
}

/* A frame around a reply that is encoded in place. */
PART part_frame_out(struct sp_output *output, const struct sp_header *header) {
    for (uint32_t i = 0; i < KEYS; i++) {
        uint8_t *space = sp_output_frame_begin(output, header, RESULT_OK_BYTES_MAX);
        assert(space != NULL);
        space[0] = 0;
        sp_output_frame_end(output, 20);
    }
}

/* --- preparation --------------------------------------------------------------------------------
 */

static void items_make(void) {
    for (uint32_t i = 0; i < KEYS; i++) {
        snprintf(key_texts[i], sizeof key_texts[i], "key-%012" PRIu32, i);
        items[i] = (struct shard_item){.verb = VERB_TAKE,
                                       .take = {.key = bytes_of(key_texts[i], KEY_SIZE),
                                                .cost_tokens = 1,
                                                .deadline_ms = 250}};
    }
}

/* A burst of exactly what is taken before the takes that are to be refused. */
static void decisions_run(void) {
    core_shard_open(&core, 2 * ROUNDS + 1, false);
    part_take_new();
    for (int round = 0; round < ROUNDS; round++) {
        part_take_known();
        part_take_batched();
    }
    assert(shard_counters(core.shard)->takes_refused == 0);
    for (int round = 0; round < ROUNDS; round++) {
        part_take_refused();
    }
    assert(shard_counters(core.shard)->takes_refused == (uint64_t)ROUNDS * KEYS);
    core_shard_close(&core);
}

static void wire_run(void) {
    static uint8_t single[256], many[64 * BATCH];
    struct writer writer = writer_of(single, sizeof single);
    request_write_single(&writer, 77, VERB_TAKE, &items[0].take, 0);
    part_decode(writer_bytes(&writer));
    writer = writer_of(many, sizeof many);
    request_write_head(&writer, 77, METHOD_TAKE_MANY);
    write_array(&writer, BATCH);
    for (uint32_t i = 0; i < BATCH; i++) {
        request_write_take(&writer, &items[i].take, 0);
    }
    assert(!writer.overflow);
    part_decode_batched(writer_bytes(&writer));

    const struct take_result result = {.allowed = true,
                                       .remaining_tokens = 12345,
                                       .retry_after_us = 0,
                                       .reset_after_us = 1234567,
                                       .limit_tokens = 100000};
    part_encode(&result);
    part_encode_batched(&result);
}

static void frames_run(void) {
    struct sp_header header;
    struct sp_input input = {0};
    struct sp_output output = {0};
    uint8_t *space;
    sp_header_of_id(&header, 77);
    part_frame_out(&output, &header);
    for (size_t at = 0; at < output.pending.size;) {
        uint32_t size = sp_input_space(&input, (uint32_t)(output.pending.size - at), &space);
        memcpy(space, output.pending.data + at, size);
        sp_input_filled(&input, size);
        at += size;
    }
    part_frame_in(&input);
    sp_input_free(&input);
    sp_output_free(&output);
}

int main(void) {
    items_make();
    part_slot_hash();
    decisions_run();
    wire_run();
    frames_run();
    const struct {
        const char *name;
        uint32_t times;
    } parts[] = {
        {"slot_hash", KEYS},
        {"take_new", KEYS},
        {"take_known", ROUNDS * KEYS},
        {"take_refused", ROUNDS * KEYS},
        {"take_batched", ROUNDS * KEYS},
        {"decode", KEYS},
        {"decode_batched", KEYS},
        {"encode", KEYS},
        {"encode_batched", KEYS},
        {"frame_in", KEYS},
        {"frame_out", KEYS},
    };
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        printf("%s %" PRIu32 "\n", parts[i].name, parts[i].times);
    }
    return 0;
}
