/*
 * Takes that no owner answered, decided in the store: what a router asks it, and what it makes of
 * the answers. Pure; decision 0025 says why this grants nothing twice.
 *
 * A call is one take or peek on its way to the store and back, once or a few times: the key may be
 * assigned another plan than was thought, or its record be under other terms. It outlives its item
 * if that comes to its deadline before the store answers.
 *
 *     free ----> asked ----> answered: decided, failed, or of an item that is no more ----> free
 *                  ^             |
 *                  +-------------+ another plan, other terms: at most FALLBACK_ROUNDS_MAX times
 */
#ifndef SLUICE_ROUTER_CORE_FALLBACK_H
#define SLUICE_ROUTER_CORE_FALLBACK_H

#include "proto/plan.h"
#include "proto/record.h"
#include "proto/slot.h"
#include "proto/take.h"

/* Calls that the store has not answered yet, of one router. A Redis that answers within 10 ms takes
 * 400,000 a second of them, which is more than it can decide; about 4 MB when full. */
#define FALLBACK_CALLS_MAX 4096

/* Times that the store is asked for one take: the second brings the assigned plan, the third the
 * converted record, and one of them may have changed meanwhile. */
#define FALLBACK_ROUNDS_MAX 4

/* The part of a take's deadline that is kept for the store, and nanoseconds of it at most: some
 * hundred round trips. */
#define FALLBACK_RESERVE_PART 4
#define FALLBACK_RESERVE_MOST_NS UINT64_C(1000000000)

/* Nanoseconds that an owner has at least. A caller who waits for less than this and the reserve
 * would fence owners that are only slow, or wait for the store themselves. */
#define FALLBACK_PATIENCE_NS UINT64_C(50000000)

/* Nanoseconds that an owner has of which nothing was heard since a take had to do without it. */
#define FALLBACK_DOUBT_NS UINT64_C(20000000)

/* One limit of the terms that a take is decided under. A take passes if its deficit is not above
 * `room`; then `increment` comes on top. */
struct fallback_limit {
    uint64_t rate_tokens;
    struct tat increment, room;
    struct tat tat; /* of the bucket, if the record is still `expected` */
};

struct fallback_call {
    uint32_t index; /* comes back with the answer */
    struct slot slot;
    struct bytes key;     /* of its item: good for this step */
    bool writes;          /* a grant is written; else it only looks */
    bool by_default;      /* the take names no plan: */
    struct name assigned; /* the one that the key must have been assigned; size 0: none */
    uint32_t head_size;   /* what a record under these terms begins with */
    uint32_t expected_size;
    uint8_t head[RECORD_BYTES_MAX], expected[RECORD_BYTES_MAX];
    uint32_t limit_count;
    struct fallback_limit limits[LIMITS_PER_PLAN_MAX];

    /* The router's own. */
    uint32_t item;
    uint64_t arrival; /* of the item */
    uint32_t rounds;
    uint32_t next; /* free one */
    uint64_t asked_ns;
    enum verb verb;
    uint64_t cost_tokens;
    struct name plan; /* size 0: inline */
    uint32_t generation;
    struct terms terms;
};

enum fallback_status {
    FALLBACK_GRANTED,     /* and written */
    FALLBACK_REFUSED,     /* nothing was written, here and below */
    FALLBACK_LOOKED,      /* what was asked for, of a call that does not write */
    FALLBACK_OTHER_PLAN,  /* the key is assigned another plan */
    FALLBACK_OTHER_TERMS, /* the record is under other terms, or cannot be read */
    FALLBACK_WORN,        /* the slot's fence cannot be raised any more before the map changes */
    FALLBACK_FAILED,      /* no answer, or an error: nobody knows */
};

/* What the store says, as of one moment. Bytes are borrowed. */
struct fallback_answer {
    uint32_t call; /* its index */
    enum fallback_status status;
    uint64_t now_ns;       /* the store's clock */
    struct bytes record;   /* of the key before; empty: none */
    struct bytes assigned; /* the plan, if that was asked for; empty: none */
};

/* The terms to decide under: those in force of a plan, or an inline limit. */
void fallback_call_plan(struct fallback_call *call, const struct plan *plan);
void fallback_call_inline(struct fallback_call *call, const struct limit *limit);

/* What the take costs under them, which may be nothing or more than they allow: then it looks. */
void fallback_call_cost(struct fallback_call *call, enum verb verb, uint64_t cost_tokens);

/* Puts a record under the call's terms, as its owner would at now_ns, for the next round; or the
 * call under the record's, if a bucket that is not full would be full sooner under the call's: the
 * owner may be cut off, and still grant within it (decision 0034). NONE, STORE_REFUSED if `plans`
 * cannot say what it means, else why it cannot be read. */
enum reason fallback_call_convert(struct fallback_call *call, const struct plan_set *plans,
                                  struct bytes record, uint64_t now_ns);

/* What the take is answered, from what the store saw. False: that cannot be, or it is not what the
 * store has decided. */
bool fallback_call_judge(const struct fallback_call *call, const struct fallback_answer *answer,
                         enum verb verb, uint64_t cost_tokens, struct take_result *result);

#endif
