/*
 * What a shard knows of the marks of its hot buckets.
 *
 * A bucket's mark is its record in the store. Under `strict` it is never behind the bucket: a take
 * beyond it waits until a newer one is acknowledged. A record may be written ahead of the bucket by
 * a reservation, and as long as takes stay within that lead they need not wait. How far ahead, and
 * how large the next reservation is to be, stands here, for as many buckets as there are entries.
 * A bucket without an entry has no lead, unless its record is rounded up (shard_mark.c): then its
 * mark is where the bucket is, or the next take waits. So an entry may be dropped at any time, as
 * long as the bucket's exact state is written afterwards if its record was ahead.
 *
 * A set-associative table of fixed size; the oldest entry of a set makes room for a bucket that is
 * used more often. Used on the shard's thread only.
 */
#ifndef SLUICE_SERVER_CORE_MARKS_H
#define SLUICE_SERVER_CORE_MARKS_H

#include <stdbool.h>
#include <stdint.h>

#include "server/core/memory.h"

/* Entries of a shard unless it is told otherwise: 8 MiB, of which only what is used takes memory,
 * and which is looked through within milliseconds when slots are given away. More busy buckets than
 * that make some of them wait for a write more often. */
#define MARKS_DEFAULT 262144u

/* Entries of a set: two cache lines. */
#define MARKS_WAYS 4u

struct mark {
    uint64_t hash;           /* of the bucket's key */
    uint32_t ref;            /* the bucket; 0: free */
    uint32_t lead_tokens;    /* takes of so many are within the record acknowledged last */
    uint32_t pending_tokens; /* likewise of the record being written, once it is acknowledged */
    uint32_t used_ms;        /* cluster time, cut to 32 bits */
    uint32_t written_ms;
    uint8_t steps; /* the reservation: 0 none, n 2^(n-1) tokens */
    bool ahead;    /* the record in the store may be ahead of the bucket */
    bool writing;  /* its record is under way */
};

_Static_assert(MARKS_DEFAULT * sizeof(struct mark) == 8u << 20, "the text above says so");

struct marks {
    struct mark *entries;
    uint32_t count;       /* of entries: a power of two, MARKS_WAYS at least */
    uint32_t ahead_count; /* entries whose `ahead` is set */
};

/* False: no memory. */
bool marks_init(struct marks *marks, uint32_t count, struct memory *memory);
void marks_fini(struct marks *marks, struct memory *memory);

/* The bucket's entry, or NULL. */
struct mark *marks_find(const struct marks *marks, uint64_t hash, uint32_t ref);

/* Soon to be looked for. */
void marks_prefetch(const struct marks *marks, uint64_t hash);

/* The entry to be used for a bucket of that hash, which was used idle_ms ago: a free one, or the
 * one of its set that has been unused longest, and not less than that (its ref is not 0 then, and
 * the caller drops it first). NULL: the others are in use more often, or being written. */
struct mark *marks_place(const struct marks *marks, uint64_t hash, uint32_t now_ms,
                         uint32_t idle_ms);

void marks_set_ahead(struct marks *marks, struct mark *mark, bool ahead);
void marks_drop(struct marks *marks, struct mark *mark);

#endif
