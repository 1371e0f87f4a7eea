#include "server/core/table.h"

#include <assert.h>
#include <string.h>

_Static_assert((1u << TABLE_BITS_MIN) % TABLE_MOVES == 0, "a part is moved in whole steps");

#define TAG_SPACE (UINT64_C(1) << 32)

/* The positions of a part from `first` on form a ring: those below it are empty for good (first is
 * 0, or `moved` for the old part). An entry whose home lies below is sought from `first`.
 * Invariant: every position from an entry's home to the entry is taken. The new part always has a
 * free position; what is left of the old part's ring may be full, so a search ends where it
 * began. */
struct ring {
    struct table_part *part;
    uint32_t first;
};

static uint32_t part_size(const struct table_part *part) {
    return UINT32_C(1) << part->bits;
}

static uint32_t ring_home(struct ring ring, uint32_t tag) {
    uint32_t home = table_part_home(ring.part, tag);
    return home < ring.first ? ring.first : home;
}

static uint32_t ring_next(struct ring ring, uint32_t at) {
    return at + 1 < part_size(ring.part) ? at + 1 : ring.first;
}

/* Steps from one position forward to another. */
static uint32_t ring_distance(struct ring ring, uint32_t from, uint32_t to) {
    return to >= from ? to - from : to + (part_size(ring.part) - ring.first) - from;
}

static struct ring ring_now(const struct table *table) {
    return (struct ring){.part = (struct table_part *)&table->now, .first = 0};
}

static struct ring ring_old(const struct table *table) {
    return (struct ring){.part = (struct table_part *)&table->old, .first = table->moved};
}

static bool part_get(struct table_part *part, struct arena *arena, uint8_t bits) {
    uint64_t size = sizeof(struct table_entry) << bits;
    *part = (struct table_part){.bits = bits};
    if (size > ARENA_PIECE_MAX) {
        part->entries = budget_get(arena->budget, size);
        return part->entries != NULL;
    }
    part->arena_ref = arena_get(arena, (uint32_t)size);
    if (part->arena_ref == 0) {
        return false;
    }
    part->entries = arena_at(arena, part->arena_ref);
    memset(part->entries, 0, size);
    return true;
}

static void part_put(struct table_part *part, struct arena *arena) {
    if (part->entries == NULL) {
        return;
    }
    if (part->arena_ref != 0) {
        arena_put(arena, part->arena_ref);
    } else {
        budget_put(arena->budget, part->entries, sizeof(struct table_entry) << part->bits);
    }
    *part = (struct table_part){0};
}

void table_fini(struct table *table, struct arena *arena) {
    part_put(&table->now, arena);
    part_put(&table->old, arena);
    *table = (struct table){.changes = table->changes + 1};
}

static void ring_insert(struct ring ring, struct table_entry entry) {
    uint32_t at = ring_home(ring, entry.tag);
    while (ring.part->entries[at].ref != 0) {
        at = ring_next(ring, at);
    }
    ring.part->entries[at] = entry;
}

/* Empties the position and closes the gap: each later entry of the run that may stand there moves
 * back. */
static void ring_erase(struct ring ring, uint32_t gap) {
    struct table_entry *entries = ring.part->entries;
    entries[gap] = (struct table_entry){0};
    for (uint32_t at = ring_next(ring, gap); entries[at].ref != 0; at = ring_next(ring, at)) {
        uint32_t home = ring_home(ring, entries[at].tag);
        if (ring_distance(ring, home, at) >= ring_distance(ring, gap, at)) {
            entries[gap] = entries[at];
            entries[at] = (struct table_entry){0};
            gap = at;
        }
    }
}

/* NULL: it is in the other part. Callers ask only for what is in one of them, so a ring without a
 * free position has it. */
static struct table_entry *ring_locate(struct ring ring, uint32_t tag, uint32_t ref) {
    assert(ring.part->entries != NULL);
    uint32_t home = ring_home(ring, tag), at = home;
    while (ring.part->entries[at].ref != 0) {
        if (ring.part->entries[at].ref == ref) {
            return &ring.part->entries[at];
        }
        at = ring_next(ring, at);
        assert(at != home);
    }
    return NULL;
}

static uint32_t ring_find(struct ring ring, uint32_t tag, table_match_fn *match, const void *ctx) {
    if (ring.part->entries == NULL) {
        return 0;
    }
    const struct table_entry *entries = ring.part->entries;
    uint32_t home = ring_home(ring, tag), at = home;
    while (entries[at].ref != 0) {
        if (entries[at].tag == tag && (match == NULL || match(ctx, entries[at].ref))) {
            return entries[at].ref;
        }
        at = ring_next(ring, at);
        if (at == home) {
            break;
        }
    }
    return 0;
}

uint32_t table_find(const struct table *table, uint32_t tag, table_match_fn *match,
                    const void *ctx) {
    uint32_t ref = ring_find(ring_now(table), tag, match, ctx);
    return ref != 0 ? ref : ring_find(ring_old(table), tag, match, ctx);
}

uint32_t table_candidate(const struct table *table, uint32_t tag) {
    return table_find(table, tag, NULL, NULL);
}

/* Moves the next few old positions; frees the old part when it is through. */
static void table_advance(struct table *table, struct arena *arena) {
    if (table->old.entries == NULL) {
        return;
    }
    assert(table->moved + TABLE_MOVES <= part_size(&table->old));
    for (uint32_t i = 0; i < TABLE_MOVES; i++) {
        struct table_entry *entry = &table->old.entries[table->moved];
        if (entry->ref != 0) {
            ring_insert(ring_now(table), *entry);
            *entry = (struct table_entry){0};
        }
        table->moved++;
    }
    if (table->moved == part_size(&table->old)) {
        part_put(&table->old, arena);
        table->moved = 0;
    }
}

/* Starts to move everything into a part of that size. False: no memory; nothing has changed. */
static bool table_resize(struct table *table, struct arena *arena, uint8_t bits) {
    struct table_part part;
    if (bits > TABLE_BITS_MAX || !part_get(&part, arena, bits)) {
        return false;
    }
    table->old = table->now;
    table->now = part;
    table->moved = 0;
    return true;
}

bool table_insert(struct table *table, struct arena *arena, uint32_t tag, uint32_t ref) {
    if (table->now.entries == NULL) {
        if (!part_get(&table->now, arena, TABLE_BITS_MIN)) {
            table->now = (struct table_part){0};
            return false;
        }
    }
    table_advance(table, arena);
    uint64_t size = part_size(&table->now);
    if (table->count >= size - size / 8 && table->old.entries == NULL) {
        table_resize(table, arena, table->now.bits + 1);
        size = part_size(&table->now);
    }
    /* Without memory to grow it may fill up somewhat more; probing needs one free position. */
    if (table->count >= size - size / 16 - 1) {
        return false;
    }
    ring_insert(ring_now(table), (struct table_entry){.tag = tag, .ref = ref});
    table->count++;
    table->changes++;
    return true;
}

void table_remove(struct table *table, struct arena *arena, uint32_t tag, uint32_t ref) {
    struct ring ring = ring_now(table);
    struct table_entry *entry = ring_locate(ring, tag, ref);
    if (entry == NULL) {
        ring = ring_old(table);
        entry = ring_locate(ring, tag, ref);
    }
    assert(entry != NULL);
    ring_erase(ring, (uint32_t)(entry - ring.part->entries));
    table->count--;
    table->changes++;
    table_advance(table, arena);
    table_trim(table, arena);
}

void table_trim(struct table *table, struct arena *arena) {
    if (table->now.entries == NULL) {
        return;
    }
    if (table->count == 0) {
        table_fini(table, arena);
        return;
    }
    if (table->count < part_size(&table->now) / 4 && table->old.entries == NULL &&
        table->now.bits > TABLE_BITS_MIN) {
        /* Without memory it stays as large as it is. */
        table_resize(table, arena, table->now.bits - 1);
    }
}

void table_replace(struct table *table, uint32_t tag, uint32_t ref, uint32_t replacement) {
    struct table_entry *entry = ring_locate(ring_now(table), tag, ref);
    if (entry == NULL) {
        entry = ring_locate(ring_old(table), tag, ref);
    }
    assert(entry != NULL);
    entry->ref = replacement;
    table->changes++;
}

/* Entries lie side by side, and what they name anywhere: so many of these are fetched ahead. */
#define SCAN_AHEAD 8

/* Visits the entries with from <= tag < to. An erased position is looked at again, for what moved
 * back into it. Returns the positions looked at. */
static uint32_t ring_scan(struct table *table, const struct arena *arena, struct ring ring,
                          uint64_t from, uint64_t to, table_visit_fn *visit, void *ctx) {
    if (ring.part->entries == NULL) {
        return 0;
    }
    struct table_entry *entries = ring.part->entries;
    uint32_t at = ring_home(ring, (uint32_t)from);
    uint32_t stretch = ring_home(ring, (uint32_t)(to - 1)) - at + 1;
    uint32_t ring_size = part_size(ring.part) - ring.first;
    uint32_t looked = 0;
    while (looked < ring_size && (looked < stretch || entries[at].ref != 0)) {
        struct table_entry *entry = &entries[at];
        if (at + SCAN_AHEAD < part_size(ring.part) && entry[SCAN_AHEAD].ref != 0) {
            __builtin_prefetch(arena_at(arena, entry[SCAN_AHEAD].ref));
        }
        bool within = entry->ref != 0 && entry->tag >= from && entry->tag < to;
        if (within && !visit(ctx, &entry->ref)) {
            ring_erase(ring, at);
            table->count--;
            continue;
        }
        looked++;
        at = ring_next(ring, at);
    }
    return looked;
}

uint32_t table_scan(struct table *table, struct arena *arena, uint64_t *cursor, uint32_t positions,
                    table_visit_fn *visit, void *ctx) {
    if (table->now.entries == NULL) {
        *cursor = 0;
        return 1;
    }
    for (uint32_t moved = 0; moved < positions; moved += TABLE_MOVES) {
        table_advance(table, arena);
    }
    table->changes++; /* `visit` may change or remove any */
    uint64_t from = *cursor;
    uint64_t to = from + ((uint64_t)positions << (32 - table->now.bits));
    if (to > TAG_SPACE) {
        to = TAG_SPACE;
    }
    uint32_t looked = ring_scan(table, arena, ring_now(table), from, to, visit, ctx);
    looked += ring_scan(table, arena, ring_old(table), from, to, visit, ctx);
    *cursor = to == TAG_SPACE ? 0 : to;
    return looked;
}
