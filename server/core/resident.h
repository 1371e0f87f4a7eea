/*
 * A bucket in memory, packed: 8 bytes, a time of 16 bytes for each limit, the key. And an
 * assignment: a plan's name for a key. Both live in the arena and are named by their reference.
 */
#ifndef SLUICE_SERVER_CORE_RESIDENT_H
#define SLUICE_SERVER_CORE_RESIDENT_H

#include "proto/bytes.h"
#include "proto/error.h"
#include "proto/limit.h"
#include "server/core/arena.h"

/* Bits of a resident's state. */
#define RESIDENT_DIRTY 1u       /* changed since its last write was emitted */
#define RESIDENT_WRITING 2u     /* in the slot's outstanding write */
#define RESIDENT_REMOVING 4u    /* being written: and that deletes its record */
#define RESIDENT_URGENT 4u      /* not being written: it stands in the slot's list of marks */
#define RESIDENT_STORED 8u      /* the store has, or may have, a record of it */
#define RESIDENT_UNREADABLE 16u /* that record could not be read; nothing is known */
#define RESIDENT_FLAGS 31u
#define RESIDENT_LIMITS_SHIFT 5

/* The number of limits of a ghost: a bucket that got a larger piece while it stood in a list. The
 * old piece only keeps its place there. */
#define RESIDENT_GHOST 7u

struct resident {
    union {
        uint32_t next;       /* in the slot's dirty, draining or writing list */
        uint32_t written_ms; /* in none: its record is older than that (cluster time, cut to 32
                                bits) */
    };
    uint16_t term : 12;    /* TERM_NONE: none (unreadable) */
    uint16_t has_mark : 1; /* struct marks has an entry of it */
    /* Its record is rounded up (shard_mark.c); while it is dirty: is to be. If it is unreadable: a
     * later version wrote that, so it stays as it is. */
    uint16_t rounded : 1;
    uint16_t used : 1;  /* asked for since the sweep last made room */
    uint16_t mixed : 1; /* a take that was not held changed it, and that is not acknowledged yet. If
                           it is unreadable: its record is not, but its terms found no room */
    uint8_t key_size_less_one;
    uint8_t state;
    struct tat tats[]; /* then the key's bytes */
};

static inline struct resident *resident_at(const struct arena *arena, uint32_t ref) {
    return arena_at(arena, ref);
}

static inline uint32_t resident_limits(const struct resident *resident) {
    return resident->state >> RESIDENT_LIMITS_SHIFT;
}

static inline bool resident_is_ghost(const struct resident *resident) {
    return resident_limits(resident) == RESIDENT_GHOST;
}

/* A later version wrote its record. */
static inline bool resident_is_newer(const struct resident *resident) {
    return resident->rounded && (resident->state & RESIDENT_UNREADABLE) != 0;
}

/* Why nothing can be said of a bucket whose record could not be read. */
static inline enum reason resident_unreadable_reason(const struct resident *resident) {
    return resident_is_newer(resident) ? REASON_RECORD_NEWER : REASON_RECORD_UNREADABLE;
}

static inline struct bytes resident_key(const struct resident *resident) {
    return bytes_of(&resident->tats[resident_limits(resident)], resident->key_size_less_one + 1u);
}

static inline uint32_t resident_size(uint32_t limit_count, uint32_t key_size) {
    return (uint32_t)sizeof(struct resident) + limit_count * (uint32_t)sizeof(struct tat) +
           key_size;
}

/* One, nearly always, and four at most: not worth a call of memcpy. */
static inline void tats_copy(struct tat *to, const struct tat *from, uint32_t limit_count) {
    for (uint32_t i = 0; i < limit_count; i++) {
        to[i] = from[i];
    }
}

struct assignment {
    uint16_t term; /* TERM_NONE: none yet, its write is outstanding */
    uint8_t key_size_less_one;
    uint8_t key[];
};

static inline struct assignment *assignment_at(const struct arena *arena, uint32_t ref) {
    return arena_at(arena, ref);
}

static inline struct bytes assignment_key(const struct assignment *assignment) {
    return bytes_of(assignment->key, assignment->key_size_less_one + 1u);
}

static inline uint32_t assignment_size(uint32_t key_size) {
    return (uint32_t)offsetof(struct assignment, key) + key_size;
}

#endif
