/* A heap that counts what is out and can be bounded, for tests of the core's parts. */
#ifndef SLUICE_TESTS_HEAP_FIXTURE_H
#define SLUICE_TESTS_HEAP_FIXTURE_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "server/core/budget.h"

struct heap {
    uint64_t bytes, gets;
    uint64_t fail_at; /* this get, counted from 1, finds no memory; 0: none does */
};

static void *heap_get(void *ctx, size_t size) {
    struct heap *heap = ctx;
    heap->gets++;
    void *piece = heap->gets == heap->fail_at ? NULL : aligned_alloc(64, (size + 63) / 64 * 64);
    if (piece != NULL) {
        memset(piece, 0, size);
        heap->bytes += size;
    }
    return piece;
}

static void heap_put(void *ctx, void *piece, size_t size) {
    struct heap *heap = ctx;
    heap->bytes -= size;
    free(piece);
}

static inline struct budget heap_budget(struct heap *heap, uint64_t bytes_max) {
    *heap = (struct heap){0};
    return (struct budget){.memory = {heap_get, heap_put, heap}, .bytes_max = bytes_max};
}

#endif
