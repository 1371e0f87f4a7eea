/*
 * Where a core gets its memory: handed in at start, so that the core calls no allocator and a
 * simulator can bound or fail it. Asked for rarely and in large pieces (pages, tables), never for a
 * single request.
 */
#ifndef SLUICE_SERVER_CORE_MEMORY_H
#define SLUICE_SERVER_CORE_MEMORY_H

#include <stddef.h>

struct memory {
    /* `size` zeroed bytes, aligned to 64; NULL if there are none to be had. */
    void *(*get)(void *ctx, size_t size);
    void (*put)(void *ctx, void *piece, size_t size);
    void *ctx;
};

#endif
