/*
 * What the evidence says of each key.
 *
 * The bound (bound.h), over the grants that owners answered. The look at the end is judged with
 * them as one more grant, of all that remained: it could have been spent in that moment. So a take
 * that was forgotten is found although nobody spent the token again.
 *
 *   strict    all grants count, whatever crashed
 *   relaxed   a grant that a loss may have made its node forget does not count; the rest does
 *
 * The loss: of a bucket that has not refilled meanwhile, what is neither there nor granted nor
 * taken by somebody who got no answer was lost. A crash may cost a strict bucket its reservation,
 * an eighth of its burst; nothing else may cost it anything.
 */
#ifndef SLUICE_CHAOS_JUDGE_H
#define SLUICE_CHAOS_JUDGE_H

#include "tests/chaos/evidence.h"

/* Of the burst: what a crash may cost a strict bucket. */
#define RESERVATION_PART 8

struct judge_options {
    uint64_t clock_error_ns;
    uint64_t reach_ns;  /* how far before a loss grants may be forgotten, if less than it says */
    uint64_t origin_ns; /* of the times that are printed */
    uint32_t shown;     /* violations that are printed */
    bool forgot_only;   /* judge only keys that are known to have forgotten something */
};

/* Of a class, by number. */
#define BROKEN_MAX 3

struct judgement {
    uint32_t broken[BROKEN_MAX], broken_count; /* the first keys over, or that lost too much */
    uint64_t keys, over, lost_too_much;        /* keys */
    uint64_t sharp;                            /* keys for which one more grant would be found */
    uint64_t forgiven;                         /* relaxed: cost of grants that need not count */
    uint64_t forgotten, forgotten_keys; /* relaxed: tokens that were granted again, at least */
    uint64_t lost, lost_keys, lost_most;
    double worst_slack;
};

struct judgement judge_class(struct evidence *evidence, struct bound *bound, uint32_t class_at,
                             const struct judge_options *options);

/* Whether the grant need not count under a relaxed plan. */
bool judge_forgivable(const struct evidence *evidence, const struct grant *grant, uint32_t slot,
                      uint64_t reach_ns);

/* Relaxed: the oldest grant before its loss that must have been forgotten, in ns: the shortest
 * reach with which the class is within its bound. */
uint64_t judge_reach_ns(struct evidence *evidence, struct bound *bound, uint32_t class_at,
                        const struct judge_options *options);

/* Puts one more grant into the grants of a random key at a random moment, `count` times, each by
 * itself. Returns how often that was found. */
uint32_t judge_planted(struct evidence *evidence, struct bound *bound, uint32_t class_at,
                       const struct judge_options *options, uint32_t count, uint64_t seed);

#endif
