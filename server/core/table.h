/*
 * A hash table of pieces of the arena: 8 bytes an entry, open addressing, linear probing, deletion
 * by shifting back (no tombstones). One a slot for its buckets, one for its assignments.
 *
 * A piece is found by a tag, 32 bits of its key's hash. The tag's high bits are its home position,
 * so that neither growing nor deleting ever looks at the piece itself. Pieces of one tag are told
 * apart by the caller's match function.
 *
 * Growing and shrinking is done in small steps: the old entries are moved, a few with each insert
 * and removal, while both are searched. A scan goes through tag space, not through positions, so
 * that a pass meets every entry that is there throughout, whatever is inserted, removed or resized
 * between its calls (rarely twice, if it removes others).
 *
 * Used on the shard's thread only. Memory comes from the arena (small) or the budget (large).
 */
#ifndef SLUICE_SERVER_CORE_TABLE_H
#define SLUICE_SERVER_CORE_TABLE_H

#include "server/core/arena.h"

/* Positions of the old entries that are moved with one insert or removal. At 8, a table that grows
 * when it is 7/8 full has moved all when the new one is half full, and one that shrinks when it is
 * 1/4 full has when the new one is at most 3/4 full. */
#define TABLE_MOVES 8

#define TABLE_BITS_MIN 3
#define TABLE_BITS_MAX 31

struct table_entry {
    uint32_t tag;
    uint32_t ref; /* 0: free */
};

struct table_part {
    struct table_entry *entries; /* NULL: none */
    uint32_t arena_ref;          /* 0: they came from the budget */
    uint8_t bits;                /* 1 << bits positions */
};

/* All zero is an empty table. */
struct table {
    struct table_part now, old;
    uint32_t moved;   /* positions of `old` below this one are empty for good */
    uint32_t count;   /* entries in both */
    uint32_t changes; /* of entries, ever: what was found is still so while this is the same */
};

typedef bool table_match_fn(const void *ctx, uint32_t ref);

/* False: the piece is to be removed from the table (the callee has dealt with it). The callee may
 * change *ref, and must not insert into or remove from the table. */
typedef bool table_visit_fn(void *ctx, uint32_t *ref);

static inline uint32_t table_tag(uint64_t hash) {
    /* Slots are the low bits of the hash: within a slot's table they say nothing. */
    return (uint32_t)(hash >> 32);
}

static inline uint32_t table_part_home(const struct table_part *part, uint32_t tag) {
    return tag >> (32 - part->bits);
}

/* Gives back the entries' memory; the pieces are the caller's business. */
void table_fini(struct table *table, struct arena *arena);

/* The piece of that tag for which match says true, or 0. */
uint32_t table_find(const struct table *table, uint32_t tag, table_match_fn *match,
                    const void *ctx);

/* The first piece of that tag, whatever its key, or 0: worth prefetching. */
uint32_t table_candidate(const struct table *table, uint32_t tag);

static inline void table_prefetch(const struct table *table, uint32_t tag) {
    if (table->now.entries != NULL) {
        __builtin_prefetch(&table->now.entries[table_part_home(&table->now, tag)]);
    }
}

/* False: the table is full and there is no memory to grow. */
bool table_insert(struct table *table, struct arena *arena, uint32_t tag, uint32_t ref);

/* Both assert that the piece is there. */
void table_remove(struct table *table, struct arena *arena, uint32_t tag, uint32_t ref);
void table_replace(struct table *table, uint32_t tag, uint32_t ref, uint32_t replacement);

/* After a scan that has removed entries: begins to shrink a table that has become too large. */
void table_trim(struct table *table, struct arena *arena);

/* Visits the entries of the next stretch of tag space, about `positions` long, from *cursor (0 at
 * first), and moves *cursor on; it is 0 again when the pass is complete. Brings a resize on by as
 * many positions before. Returns the positions looked at, at least 1. */
uint32_t table_scan(struct table *table, struct arena *arena, uint64_t *cursor, uint32_t positions,
                    table_visit_fn *visit, void *ctx);

#endif
