#include "tests/sim/sim.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/coverage.h"
#include "tests/sim/report.h"

/* Bytes of a line of the trace; cut beyond. */
#define LINE_BYTES_MAX 512

struct event {
    uint64_t at_ns, order;
    sim_event_fn fn;
    void *ctx;
    uint64_t argument;
};

static struct {
    uint64_t now_ns, order, seed;
    struct event *heap;
    size_t count, room;
    uint64_t streams[STREAM_COUNT];
    FILE *trace;
    uint64_t hash, lines;
} sim;

/* --- time ---------------------------------------------------------------------------------- */

uint64_t sim_now(void) {
    return sim.now_ns;
}

static bool before(const struct event *a, const struct event *b) {
    return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->order < b->order;
}

void sim_at(uint64_t at_ns, sim_event_fn fn, void *ctx, uint64_t argument) {
    if (sim.count == sim.room) {
        sim.room = sim.room * 2 + 1024;
        sim.heap = realloc(sim.heap, sim.room * sizeof sim.heap[0]);
        assert(sim.heap != NULL);
    }
    struct event event = {at_ns < sim.now_ns ? sim.now_ns : at_ns, sim.order++, fn, ctx, argument};
    size_t at = sim.count++;
    while (at > 0 && before(&event, &sim.heap[(at - 1) / 2])) {
        sim.heap[at] = sim.heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    sim.heap[at] = event;
}

static struct event event_take(void) {
    struct event first = sim.heap[0], last = sim.heap[--sim.count];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= sim.count) {
            break;
        }
        child += child + 1 < sim.count && before(&sim.heap[child + 1], &sim.heap[child]);
        if (!before(&sim.heap[child], &last)) {
            break;
        }
        sim.heap[at] = sim.heap[child];
        at = child;
    }
    if (sim.count > 0) {
        sim.heap[at] = last;
    }
    return first;
}

void sim_run_until(uint64_t end_ns) {
    while (sim.count > 0 && sim.heap[0].at_ns <= end_ns) {
        struct event event = event_take();
        sim.now_ns = event.at_ns;
        event.fn(event.ctx, event.argument);
    }
    sim.now_ns = end_ns;
}

void *sim_keep(size_t size) {
    void *memory = calloc(1, size);
    assert(memory != NULL);
    return memory;
}

/* --- randomness ---------------------------------------------------------------------------- */

/* splitmix64: any seed will do. */
static uint64_t mix(uint64_t *state) {
    *state += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t mixed = *state;
    mixed = (mixed ^ mixed >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    mixed = (mixed ^ mixed >> 27) * UINT64_C(0x94d049bb133111eb);
    return mixed ^ mixed >> 31;
}

void sim_seed(uint64_t seed) {
    uint64_t state = seed;
    sim.seed = seed;
    for (int i = 0; i < STREAM_COUNT; i++) {
        sim.streams[i] = mix(&state);
    }
    sim.hash = UINT64_C(0xcbf29ce484222325);
}

uint64_t sim_seed_of_run(void) {
    return sim.seed;
}

uint64_t sim_random(enum sim_stream stream) {
    return mix(&sim.streams[stream]);
}

uint64_t sim_below(enum sim_stream stream, uint64_t bound) {
    return sim_random(stream) % bound;
}

uint64_t sim_between(enum sim_stream stream, uint64_t low, uint64_t high) {
    return low + sim_random(stream) % (high - low + 1);
}

bool sim_chance(enum sim_stream stream, uint32_t per_mille) {
    return sim_random(stream) % 1000 < per_mille;
}

/* --- the trace ----------------------------------------------------------------------------- */

void sim_trace_to(void *file) {
    sim.trace = file;
}

void sim_trace(const char *format, ...) {
    char line[LINE_BYTES_MAX];
    int size = snprintf(line, sizeof line, "%4" PRIu64 ".%06" PRIu64 " ", sim.now_ns / SECOND,
                        sim.now_ns % SECOND / US);
    va_list values;
    va_start(values, format);
    vsnprintf(line + size, sizeof line - (size_t)size, format, values);
    va_end(values);
    for (const char *at = line; *at != '\0'; at++) { /* FNV-1a */
        sim.hash = (sim.hash ^ (uint8_t)*at) * UINT64_C(0x100000001b3);
    }
    sim.lines++;
    if (sim.trace != NULL) {
        fprintf(sim.trace, "%s\n", line);
    }
}

uint64_t sim_trace_hash(void) {
    return sim.hash;
}

uint64_t sim_trace_lines(void) {
    return sim.lines;
}

void sim_fail(const char *checker, const char *format, ...) {
    char text[LINE_BYTES_MAX];
    va_list values;
    va_start(values, format);
    vsnprintf(text, sizeof text, format, values);
    va_end(values);
    sim_trace("VIOLATION %s: %s", checker, text);
    report_violation(checker, text);
}
