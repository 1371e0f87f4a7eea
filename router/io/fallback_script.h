/*
 * The script by which a router decides in the store, its words, and how its answer is read. Pure.
 *
 * What it relies on and promises is in docs/decisions/0025; fallback.h has the values.
 */
#ifndef SLUICE_ROUTER_IO_FALLBACK_SCRIPT_H
#define SLUICE_ROUTER_IO_FALLBACK_SCRIPT_H

#include "proto/store_keys.h"
#include "router/core/fallback.h"

/* Raises of a slot's fence in one epoch above which routers raise it no more: the rest is for
 * owners, which could not serve the slot without them. */
#define FALLBACK_RAISES_MAX 917504

_Static_assert(FALLBACK_RAISES_MAX == FENCE_RAISES / 8 * 7, "seven eighths of an epoch's raises");

/* Keys: fence, buckets, keys. Words: key; 1 if its assignment counts; the plan that it must have
 * been assigned; 1 to write a grant; the record's head; the record that the times are of; and for
 * each limit ten numbers: rate, increment, room and time, the last three as two halves of ns and a
 * part. Answer: [word, seconds, microseconds, record before, assigned plan]. */
extern const char fallback_script[];

#define FALLBACK_WORDS_PER_LIMIT 10
#define FALLBACK_WORDS_MAX (12 + LIMITS_PER_PLAN_MAX * FALLBACK_WORDS_PER_LIMIT)

/* Bytes of a number as text, zero included. */
#define FALLBACK_NUMBER_BYTES 24

struct fallback_words {
    const char *words[FALLBACK_WORDS_MAX]; /* EVALSHA and what follows it */
    size_t sizes[FALLBACK_WORDS_MAX];
    int count;
    store_key keys[3];
    char numbers[LIMITS_PER_PLAN_MAX * FALLBACK_WORDS_PER_LIMIT][FALLBACK_NUMBER_BYTES];
};

/* Points into itself, the call and `sha` (SHA-1, hexadecimal). */
void fallback_words_fill(struct fallback_words *words, const struct fallback_call *call,
                         const char *prefix, const char *sha);

/* What was answered, by its five parts; false: that is no answer of the script. */
bool fallback_answer_read(const struct bytes parts[5], struct fallback_answer *answer);

#endif
