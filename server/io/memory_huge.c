#include "server/io/memory_huge.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "server/io/memory_map.h"

#define CHUNK_BLOCKS (MEMORY_HUGE_CHUNK / MEMORY_HUGE_BLOCK_MIN)
#define BLOCK_MAX (MEMORY_HUGE_CHUNK / 2)

/* A bit for each of the smallest blocks. */
struct chunk {
    uint16_t used;
    uint16_t dirty; /* was used since the chunk came from the system */
};
_Static_assert(CHUNK_BLOCKS == 16, "a bit for each");

struct memory_huge {
    struct memory system;
    uint8_t *reserved; /* as it was mapped */
    uint64_t reserved_size;
    uint8_t *base; /* of the first chunk */
    uint32_t chunk_count;
    uint32_t chunk_end;   /* chunks from here on were never used */
    uint32_t chunks_used; /* that have a block in use */
    uint32_t first;       /* chunks below have no room for the smallest block */
    struct chunk chunks[];
};

struct memory_huge *memory_huge_create(uint64_t bytes_max) {
    uint64_t chunk_count = 2 * (bytes_max / MEMORY_HUGE_CHUNK + 1);
    struct memory_huge *huge = calloc(1, sizeof *huge + chunk_count * sizeof huge->chunks[0]);
    if (huge == NULL) {
        return NULL;
    }
    huge->system = memory_map();
    huge->chunk_count = (uint32_t)chunk_count;
    huge->reserved_size = (chunk_count + 1) * MEMORY_HUGE_CHUNK;
    huge->reserved = mmap(NULL, huge->reserved_size, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (huge->reserved == MAP_FAILED) {
        free(huge);
        return NULL;
    }
    uintptr_t misplaced = (uintptr_t)huge->reserved % MEMORY_HUGE_CHUNK;
    huge->base = huge->reserved + (misplaced == 0 ? 0 : MEMORY_HUGE_CHUNK - misplaced);
    /* Advice: where it is not taken, pages are small and all else is the same. */
    (void)madvise(huge->base, chunk_count * MEMORY_HUGE_CHUNK, MADV_HUGEPAGE);
    return huge;
}

void memory_huge_destroy(struct memory_huge *huge) {
    assert(huge->chunks_used == 0);
    munmap(huge->reserved, huge->reserved_size);
    free(huge);
}

uint64_t memory_huge_bytes(const struct memory_huge *huge) {
    return huge->chunks_used * MEMORY_HUGE_CHUNK;
}

static bool is_block_size(size_t size) {
    return size >= MEMORY_HUGE_BLOCK_MIN && size <= BLOCK_MAX && (size & (size - 1)) == 0;
}

/* The bits of the first free block of so many units, aligned to its size; 0: none. */
static uint16_t room_find(uint16_t used, uint32_t units) {
    uint32_t mask = (1u << units) - 1;
    for (uint32_t at = 0; at < CHUNK_BLOCKS; at += units) {
        if ((used & mask << at) == 0) {
            return (uint16_t)(mask << at);
        }
    }
    return 0;
}

static void *block_take(struct memory_huge *huge, uint32_t chunk_at, uint16_t bits, size_t size) {
    struct chunk *chunk = &huge->chunks[chunk_at];
    uint8_t *block = huge->base + chunk_at * MEMORY_HUGE_CHUNK +
                     (uint32_t)__builtin_ctz(bits) * MEMORY_HUGE_BLOCK_MIN;
    if ((chunk->dirty & bits) != 0) {
        memset(block, 0, size);
    }
    huge->chunks_used += chunk->used == 0;
    chunk->used |= bits;
    chunk->dirty |= bits;
    return block;
}

static void *block_get(struct memory_huge *huge, size_t size) {
    uint32_t units = (uint32_t)(size / MEMORY_HUGE_BLOCK_MIN);
    while (huge->first < huge->chunk_end && huge->chunks[huge->first].used == UINT16_MAX) {
        huge->first++;
    }
    for (uint32_t at = huge->first; at < huge->chunk_end; at++) {
        uint16_t bits = room_find(huge->chunks[at].used, units);
        if (bits != 0) {
            return block_take(huge, at, bits, size);
        }
    }
    if (huge->chunk_end == huge->chunk_count) {
        return NULL;
    }
    return block_take(huge, huge->chunk_end++, room_find(0, units), size);
}

static void block_put(struct memory_huge *huge, uint8_t *block, size_t size) {
    uint64_t offset = (uint64_t)(block - huge->base);
    uint32_t at = (uint32_t)(offset / MEMORY_HUGE_CHUNK);
    uint32_t units = (uint32_t)(size / MEMORY_HUGE_BLOCK_MIN);
    uint16_t bits =
        (uint16_t)(((1u << units) - 1) << offset % MEMORY_HUGE_CHUNK / MEMORY_HUGE_BLOCK_MIN);
    struct chunk *chunk = &huge->chunks[at];
    assert((chunk->used & bits) == bits);
    chunk->used &= (uint16_t)~bits;
    if (at < huge->first) {
        huge->first = at;
    }
    if (chunk->used == 0) {
        (void)madvise(huge->base + at * MEMORY_HUGE_CHUNK, MEMORY_HUGE_CHUNK, MADV_DONTNEED);
        chunk->dirty = 0; /* the next that touches it finds zeroes */
        huge->chunks_used--;
    }
}

static void *huge_get(void *ctx, size_t size) {
    struct memory_huge *huge = ctx;
    return is_block_size(size) ? block_get(huge, size) : huge->system.get(huge->system.ctx, size);
}

static void huge_put(void *ctx, void *piece, size_t size) {
    struct memory_huge *huge = ctx;
    if (is_block_size(size)) {
        block_put(huge, piece, size);
    } else {
        huge->system.put(huge->system.ctx, piece, size);
    }
}

struct memory memory_huge(struct memory_huge *huge) {
    return (struct memory){.get = huge_get, .put = huge_put, .ctx = huge};
}
