/*
 * A take and its result, as plain values. Keys and plan names are borrowed from the message.
 */
#ifndef SLUICE_PROTO_TAKE_H
#define SLUICE_PROTO_TAKE_H

#include "proto/bytes.h"
#include "proto/error.h"
#include "proto/limit.h"

enum verb {
    VERB_TAKE,   /* spend cost if every limit has it */
    VERB_PEEK,   /* the same answer, nothing spent */
    VERB_REFUND, /* give cost back, never above full */
};

enum plan_choice_kind {
    PLAN_CHOICE_DEFAULT, /* nil: the key's assigned plan, else the default */
    PLAN_CHOICE_NAMED,
    PLAN_CHOICE_INLINE,
};

struct plan_choice {
    enum plan_choice_kind kind;
    struct bytes name;  /* NAMED */
    struct limit limit; /* INLINE, already checked */
};

struct take {
    struct bytes key; /* 1 to KEY_BYTES_MAX bytes */
    uint64_t cost_tokens;
    struct plan_choice plan;
    uint32_t deadline_ms; /* 1 to DEADLINE_MS_MAX */
};

/* Bits of the result's flags; 2 and 4 are reserved (PROTOCOL.md). */
#define TAKE_FLAG_DEGRADED 1u /* not decided by the owner: by the plan's policy */

/* No wait is long enough. */
#define RETRY_NEVER (-1)

/* Speaks of the tightest limit: of a refusal, the one with the longest wait; else the one with the
 * fewest tokens left. */
struct take_result {
    enum code code;     /* CODE_OK: the rest counts; else an error */
    enum reason reason; /* of an error that a shard or router made; NONE if it came over the wire */
    bool allowed;
    uint32_t flags;
    uint64_t remaining_tokens;
    uint64_t limit_tokens;   /* the tightest limit's burst */
    int64_t retry_after_us;  /* 0 if allowed, RETRY_NEVER if the cost exceeds the burst */
    uint64_t reset_after_us; /* until the tightest limit is full again */
};

#endif
