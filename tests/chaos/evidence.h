/*
 * All grants of a load, sorted by key, with what else is known of each key; and what the driver
 * noted of crashes. Read once, then judged (judge.h).
 */
#ifndef SLUICE_CHAOS_EVIDENCE_H
#define SLUICE_CHAOS_EVIDENCE_H

#include "tests/chaos/bound.h"

/* Crashes in one run: one a second for an hour. */
#define LOSSES_MAX 3600

#define LATENCY_US_MAX 4000000

/* A take that was answered later than this may have been sent to a shard, lost with the link, and
 * sent again: routers do so at once when a link breaks, but a link that is cut breaks late. */
#define RETRIED_NS UINT64_C(20000000)

/* A loss that lasts no longer is a moment: whatever was under way in it may have been sent again.
 */
#define MOMENT_NS UINT64_C(200000000)

/* "n1 stopped, not all written" */
#define LOSS_WHAT_BYTES 64

enum loss_kind {
    /* A node may have forgotten what it had not written: it was killed, or lost its slots without
     * handing them over. */
    LOSS_CRASH,
    /* It may have answered for slots that were no longer its own. */
    LOSS_STALE,
    /* Links may have broken. */
    LOSS_LINKS,
};

struct loss {
    enum loss_kind kind;
    uint64_t at_ns, before_ns; /* what it granted since at - before may be forgotten */
    uint64_t until_ns;         /* it may have gone on answering until then */
    uint8_t slots[SLOTS_MAX / 8];
    char what[LOSS_WHAT_BYTES]; /* in words */
};

static inline bool loss_concerns(const struct loss *loss, uint32_t slot) {
    return (loss->slots[slot / 8] >> (slot % 8) & 1) != 0;
}

struct key_record {
    uint64_t first_ns;                   /* when its first take was sent; 0: none */
    uint64_t granted_cost, unknown_cost; /* unknown: no owner answered, but one may have counted */
    uint64_t twice_cost;                 /* of takes that may have been charged twice */
    uint64_t looked_sent_ns, looked_answered_ns;
    uint32_t level;      /* as looked at after the load */
    bool looked, forgot; /* forgot: set by judge_class, if granted more than its bound */
    uint32_t grant_count;
    size_t grants_at;
};

struct class_keys {
    struct key_record *keys;
    uint32_t count, capacity;
    uint64_t takes[RECORD_OUTCOMES], cost[RECORD_OUTCOMES];
};

struct evidence {
    struct record_header header;
    struct record_class classes[CLASSES_MAX];
    struct class_keys of[CLASSES_MAX];
    struct grant *grants; /* a key's are together, with room for one more: the look at the end */
    size_t grant_count;
    uint64_t first_ns, last_ns;
    uint32_t *latency; /* owners' answers, by us */
    struct loss *losses;
    uint32_t loss_count;
};

/* False, with a line on standard error. `events` may be NULL. */
bool evidence_read(struct evidence *evidence, const char *path, const char *events);
void evidence_free(struct evidence *evidence);

/* The slot of a key. */
uint32_t evidence_slot(const struct evidence *evidence, uint32_t key);

/* Microseconds within which so many of a thousand answers of owners came. */
uint32_t evidence_latency_us(const struct evidence *evidence, uint32_t per_mille);

#endif
