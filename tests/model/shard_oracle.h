/*
 * What a shard should hold, in the most obvious form: an array of keys, each with the list of all
 * states it has been in since its slot was last loaded. No slots, tables, lists or timers.
 *
 * Limits of a plan keep their rates when the plan changes, so that it makes no difference when a
 * bucket is put under the new ones (the shard does so in its own time).
 */
#ifndef SLUICE_TESTS_SHARD_ORACLE_H
#define SLUICE_TESTS_SHARD_ORACLE_H

#include "proto/record.h"
#include "proto/take.h"
#include "tests/unit/shard_fixture.h"

#define ORACLE_KEYS 48
#define ORACLE_PLANS 3 /* the last one is taken away and put back */
#define ORACLE_INLINE (-1)

struct oracle_state {
    uint64_t at_ns;
    int32_t plan;         /* or ORACLE_INLINE; meaningless if absent */
    struct limit limit;   /* inline */
    uint32_t limit_count; /* 0: absent, that is full */
    struct tat tats[LIMITS_PER_PLAN_MAX];
    bool unknown; /* its plan was not in the set when it was loaded */
};

struct oracle_key {
    char text[32];
    struct oracle_state *states; /* [0] is what was loaded, the last is now */
    uint32_t state_count, state_room;
    uint32_t acknowledged; /* the newest state that the store has acknowledged */
    bool tail_lost;        /* the store may have lost it since */
    int32_t assigned;      /* plan, or -1 */
};

struct oracle {
    struct oracle_key keys[ORACLE_KEYS];
    struct terms plans[ORACLE_PLANS];
    bool plan_there[ORACLE_PLANS];
};

extern const char *const oracle_plan_names[ORACLE_PLANS]; /* [0] is the default */

void oracle_init(struct oracle *oracle);
void oracle_fini(struct oracle *oracle);

struct oracle_key *oracle_find(struct oracle *oracle, struct bytes key);
struct oracle_state *oracle_now(struct oracle_key *key);

/* The result that the shard should give; the oracle's state changes likewise. */
struct take_result oracle_take(struct oracle *oracle, struct oracle_key *key, enum verb verb,
                               uint64_t cost, const struct plan_choice *choice, uint64_t now_ns);
/* Fails if they differ. */
void oracle_check(const struct oracle_key *key, const struct take_result *got,
                  const struct take_result *expected);

/* Any key; some are busier than others. */
struct oracle_key *oracle_key(struct oracle *oracle);

/* Tells the shard of the plans that are there. */
void oracle_plans_tell(const struct oracle *oracle, struct fixture *fixture);

/* Any plan of the oracle's, the key's own, or an inline limit. */
struct plan_choice oracle_choice(void);

void oracle_reset(struct oracle_key *key, uint64_t now_ns);

/* The newest state that a record (NULL: none) can be of, or -1. A full one is like none. */
int64_t oracle_state_of(const struct oracle_key *key, const struct record *record, uint64_t now_ns);

/* Begins the key's history anew with what was loaded. */
void oracle_load(struct oracle *oracle, struct oracle_key *key, const struct record *record,
                 uint64_t now_ns);

/* Reads a record that a shard wrote; fails if it cannot be read. */
struct record *oracle_record(struct bytes value, struct record *record);

/* The plan that the store's assignment (NULL: none) names, or -1. */
int32_t oracle_plan_of(const struct stored *assigned);

/* The store has acknowledged the write; fails if it is of states that were not. */
void oracle_acknowledge(struct oracle *oracle, const struct held_op *op, uint64_t now_ns);

bool oracle_full(const struct oracle_state *state, uint64_t now_ns);

/* What the store has of the key: its record (NULL: none), the plan assigned to it, or -1. */
struct record *oracle_stored(const struct oracle_key *key, struct fixture *fixture,
                             struct record *record);
int32_t oracle_assigned(const struct oracle_key *key, struct fixture *fixture);

/* Fails if the store has not the newest of every key. */
void oracle_check_stored(struct oracle *oracle, struct fixture *fixture);

/* Lets everything refill; fails if a bucket, a record or memory is left. */
void oracle_refills(struct oracle *oracle, struct fixture *fixture);

#endif
