/*
 * The bound, judged from outside: could these grants have been decided by a bucket of this limit?
 *
 * A client knows of each grant only that it was decided somewhere between its sending and its
 * answer. The rule: for every window [x, y],
 *
 *     cost of the grants with x <= sent and answered <= y   <=   burst + rate * (y - x + error) /
 * period
 *
 * A grant of the left side was decided within the window for sure, so a window that breaks the rule
 * breaks the promise, whatever happened in between: the rule never accuses wrongly. It misses as
 * little as the records allow: if it holds for all windows, then there are times within the
 * intervals at which a bucket that hands out fractions could have granted all of it. Only windows
 * that begin where a grant was sent and end where one was answered matter; all of them are looked
 * at, in n log n steps, with exact integers.
 *
 * `error` is what the cluster's clock may have been wrong by, which the promise itself allows for.
 *
 * Any thread; allocates scratch memory that grows to the largest key seen.
 */
#ifndef SLUICE_CHAOS_BOUND_H
#define SLUICE_CHAOS_BOUND_H

#include "tests/chaos/records.h"

struct grant {
    uint64_t sent_ns, answered_ns;
    uint32_t key;
    uint32_t cost;
};

struct bound;

/* The window that comes nearest to the bound, or breaks it worst. */
struct bound_verdict {
    bool within;
    double slack_tokens; /* what more could have been granted in it; negative: what was too much */
    uint64_t from_ns, to_ns;
};

struct bound *bound_create(void);
void bound_destroy(struct bound *bound);

/* Judges the grants of one key, in any order; they are sorted on the way. */
struct bound_verdict bound_judge(struct bound *bound, struct grant *grants, uint32_t count,
                                 const struct record_limit *limit, uint64_t clock_error_ns);

#endif
