/*
 * codec-bench: decoding a request with our cursor, beside msgpack-c's unpacker with a reused zone
 * (the object tree alone, without the checks that would have to follow).
 *
 *     codec-bench [ROUNDS]      prints ns a take for a single take and for a take_many of 1,000
 */
#include <assert.h>
#include <inttypes.h>
#include <msgpack.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/request.h"
#include "runtime/clock.h"

#define MANY 1000

static uint8_t message[MESSAGE_BYTES_MAX];
static struct take takes[TAKES_PER_REQUEST_MAX];

static struct bytes single_make(void) {
    struct writer writer = writer_of(message, sizeof message);
    struct take take = {.key = bytes_of_text("customer:12345678"), .cost_tokens = 3};
    take.plan = (struct plan_choice){.kind = PLAN_CHOICE_NAMED, .name = bytes_of_text("premium")};
    request_write_single(&writer, 77, VERB_TAKE, &take, 100);
    return writer_bytes(&writer);
}

static struct bytes many_make(void) {
    struct writer writer = writer_of(message, sizeof message);
    request_write_head(&writer, 77, METHOD_TAKE_MANY);
    write_array(&writer, MANY);
    for (int i = 0; i < MANY; i++) {
        char key[32];
        snprintf(key, sizeof key, "customer:%08d", i);
        struct take take = {.key = bytes_of_text(key), .cost_tokens = 1};
        request_write_take(&writer, &take, 0);
    }
    return writer_bytes(&writer);
}

static void cursor_decode(struct bytes bytes) {
    struct request request;
    struct fault fault;
    uint32_t count;
    enum code code = request_read(bytes, &request, &fault);
    assert(code == CODE_OK);
    code = request.method == METHOD_TAKE_MANY
               ? request_read_take_many(request.params, takes, &count, &fault)
               : request_read_take(request.params, &takes[0], &fault);
    assert(code == CODE_OK);
}

static void tree_decode(struct bytes bytes, msgpack_zone *zone) {
    msgpack_object object;
    size_t at = 0;
    msgpack_unpack_return outcome =
        msgpack_unpack((const char *)bytes.data, bytes.size, &at, zone, &object);
    assert(outcome == MSGPACK_UNPACK_SUCCESS);
    msgpack_zone_clear(zone);
}

static void measure(const char *what, struct bytes bytes, uint32_t takes_each, uint64_t rounds) {
    msgpack_zone zone;
    msgpack_zone_init(&zone, 64 * 1024);
    for (int repeat = 0; repeat < 3; repeat++) {
        uint64_t start_ns = clock_monotonic_ns();
        for (uint64_t i = 0; i < rounds; i++) {
            cursor_decode(bytes);
        }
        uint64_t middle_ns = clock_monotonic_ns();
        for (uint64_t i = 0; i < rounds; i++) {
            tree_decode(bytes, &zone);
        }
        uint64_t end_ns = clock_monotonic_ns();
        double each = (double)rounds * takes_each;
        printf("%s: cursor %.1f ns a take, object tree %.1f ns, ratio %.2f\n", what,
               (double)(middle_ns - start_ns) / each, (double)(end_ns - middle_ns) / each,
               (double)(end_ns - middle_ns) / (double)(middle_ns - start_ns));
    }
    msgpack_zone_destroy(&zone);
}

int main(int argc, char **argv) {
    uint64_t rounds = argc > 1 ? strtoull(argv[1], NULL, 10) : 2000000;
    measure("take", single_make(), 1, rounds);
    measure("take_many of 1000", many_make(), MANY, rounds / MANY + 1);
    return 0;
}
