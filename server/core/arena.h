/*
 * Memory for buckets, assignments and small tables: pages of 1 MiB, each cut into pieces of one
 * size, with a free list a page. A piece is named by 32 bits: its address in units of 8 bytes, so
 * up to 32 GiB can be named; 0 names nothing.
 *
 * Used on the shard's thread only. A page whose last piece comes back is returned (one is kept, so
 * that a bucket that comes and goes does not cost a page each time). Pieces never move.
 */
#ifndef SLUICE_SERVER_CORE_ARENA_H
#define SLUICE_SERVER_CORE_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/core/budget.h"

#define ARENA_PAGE_BYTES (1u << 20)
#define ARENA_UNIT_BYTES 8u
#define ARENA_PAGE_UNITS (ARENA_PAGE_BYTES / ARENA_UNIT_BYTES)
#define ARENA_PAGES_MAX (1u << 15)

/* Sizes in steps of 8 bytes up to here: the largest bucket has 296 (resident.h). */
#define ARENA_STEPPED_MAX 304u
/* Then powers of two, for tables. */
#define ARENA_PIECE_MAX 65536u
#define ARENA_CLASSES (ARENA_STEPPED_MAX / ARENA_UNIT_BYTES + 8)

struct arena_page {
    uint8_t *base;           /* NULL: the page is not there */
    uint32_t free;           /* first free piece that was in use before, or 0 */
    uint32_t fresh;          /* pieces never used start at this unit of the page */
    uint32_t used;           /* pieces in use */
    uint32_t next, previous; /* among pages of the class with room; page + 1, 0: none */
    uint16_t class_at;
    bool with_room;
};

struct arena {
    struct budget *budget;
    struct arena_page *pages; /* page_count_max of them, got at start */
    uint32_t page_count_max;
    uint32_t page_count;               /* pages that have ever been there */
    uint32_t hole;                     /* first page that may be absent, for reuse of its number */
    uint8_t *spare;                    /* a page without pieces, or NULL */
    uint32_t with_room[ARENA_CLASSES]; /* page + 1, 0: none */
};

/* The directory of pages, which is not part of the budget, is got here. False: no memory. */
bool arena_init(struct arena *arena, struct budget *budget);
void arena_fini(struct arena *arena);

/* A piece of at least `size` bytes (1 to ARENA_PIECE_MAX), its bytes undefined; 0 if there is none
 * to be had. */
uint32_t arena_get(struct arena *arena, uint32_t size);
void arena_put(struct arena *arena, uint32_t ref);

/* Bytes that the piece really has. */
uint32_t arena_size(const struct arena *arena, uint32_t ref);

static inline void *arena_at(const struct arena *arena, uint32_t ref) {
    return arena->pages[ref / ARENA_PAGE_UNITS].base +
           (size_t)(ref % ARENA_PAGE_UNITS) * ARENA_UNIT_BYTES;
}

#endif
