/*
 * The different terms that a shard's buckets are under, each kept once and named by 16 bits: a
 * generation of a named plan, an inline limit, a plan that nobody knows any more, or a plan's mere
 * name (of an assignment).
 *
 * Every function that gives an index out counts one more user, whose term_set_release takes it
 * back; without users a term is forgotten. Used on the shard's thread only; all memory is got at
 * the start.
 */
#ifndef SLUICE_SERVER_CORE_TERM_SET_H
#define SLUICE_SERVER_CORE_TERM_SET_H

#include "proto/plan.h"
#include "server/core/memory.h"

/* A record that is rounded up is ahead of its bucket by less than this part of each limit's burst.
 */
#define TERM_GRID_PART 32

/* The largest number that 12 bits hold: a resident has no more for it. */
#define TERM_NONE 0xfffu

enum term_kind {
    TERM_FREE,
    TERM_PLAN,    /* a generation of a named plan */
    TERM_INLINE,  /* one limit */
    TERM_UNKNOWN, /* generation of a plan whose limits are not known: only their number is */
    TERM_NAME,    /* a plan's name; no limits */
};

struct term {
    enum term_kind kind;
    uint32_t users;
    uint32_t generation;
    uint16_t next_free;
    struct name name;                      /* size 0 if inline */
    struct terms terms;                    /* UNKNOWN: limits are zero */
    uint64_t grid_ns[LIMITS_PER_PLAN_MAX]; /* to which records are rounded up; [0] is 0: not so */
    /* What the plan set in force says, kept by the shard: */
    int32_t plan_at; /* the plan of that name, or -1 */
    bool outdated;   /* that plan's terms in force are others */
};

struct term_set {
    struct memory memory;
    struct term *terms;
    uint16_t *index; /* by hash: term + 1, 0: free */
    uint32_t capacity;
    uint32_t count;
    uint32_t inline_count;
    uint16_t free;
};

/* Capacity is a power of two, of which TERM_NONE can be named at most. Inline limits, which callers
 * make up, may have half of it: they must not crowd out the operator's plans. False: no memory. */
bool term_set_init(struct term_set *set, const struct memory *memory, uint32_t capacity);
void term_set_fini(struct term_set *set);

/* The term, with one more user; TERM_NONE if the set is full. */
uint16_t term_set_plan(struct term_set *set, const struct name *name, uint32_t generation,
                       const struct terms *terms);
uint16_t term_set_inline(struct term_set *set, const struct limit *limit);
uint16_t term_set_unknown(struct term_set *set, const struct name *name, uint32_t generation,
                          uint32_t limit_count);
uint16_t term_set_name(struct term_set *set, const struct name *name);

void term_set_hold(struct term_set *set, uint16_t term);
void term_set_release(struct term_set *set, uint16_t term);

static inline struct term *term_set_at(const struct term_set *set, uint16_t term) {
    return &set->terms[term];
}

#endif
