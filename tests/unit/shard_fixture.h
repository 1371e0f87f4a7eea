/*
 * One shard on a virtual clock, store and heap, for tests.
 *
 * The store keeps encoded records, assignments and fences like Redis does, and answers in order. By
 * default it answers at once; with `hold` set its answers wait for fixture_answer, which can also
 * fail or fence them. The heap counts what is out, and can be told to have no more.
 */
#ifndef SLUICE_TESTS_SHARD_FIXTURE_H
#define SLUICE_TESTS_SHARD_FIXTURE_H

#include <stdio.h>

#include "server/core/shard.h"

#define MS UINT64_C(1000000)
#define SECOND UINT64_C(1000000000)

/* Records of a page: few, so that loading takes several. */
#define FIXTURE_PAGE 3
#define FIXTURE_PLANS_MAX 8

/* A record or an assignment in the store. */
struct stored {
    bool is_assignment;
    struct slot slot;
    uint64_t serial; /* pages are in order of it: one that goes does not make another be left out */
    uint32_t key_size, value_size;
    uint8_t key[KEY_BYTES_MAX];
    uint8_t value[RECORD_BYTES_MAX];
};

struct held_entry {
    bool remove;
    uint32_t key_size, value_size;
    uint8_t key[KEY_BYTES_MAX];
    uint8_t value[RECORD_BYTES_MAX];
};

/* An operation that the shard has emitted and the store not yet answered. */
struct held_op {
    enum shard_op_kind kind;
    struct slot slot;
    uint32_t op_id;
    uint64_t fence, cursor;
    uint32_t entry_count;
    bool assignments; /* WRITE: entries are assignments */
    struct held_entry *entries;
    struct held_entry assign; /* ASSIGN: value is the plan */
};

struct fixture;

/* Called for each operation just before the store applies it. False: it does not (but answers). */
typedef bool fixture_apply_fn(struct fixture *fixture, const struct held_op *op);

/* Called after each step. */
typedef void fixture_update_fn(struct fixture *fixture, const struct shard_update *update);

struct fixture_options {
    uint32_t slot_count;           /* 0: 4 */
    uint64_t memory_bytes_max;     /* 0: 64 MiB */
    uint64_t snapshot_interval_ns; /* 0: 100 ms */
    uint32_t mark_count;           /* 0: the default */
    uint32_t resident_max;         /* 0: no bound */
    uint32_t settle_ms;            /* 0: the default */
};

struct fixture {
    struct shard_options options;
    struct shard *shard;
    struct shard_update update; /* of the last step */
    uint64_t now_ns;
    uint64_t wake_at_ns;

    /* the heap */
    uint64_t heap_bytes;
    uint64_t heap_bytes_max;

    /* the store */
    bool hold;
    enum shard_stored_status answer; /* of WRITE and ASSIGN operations when not held */
    bool fail_applies;               /* a failed write has been applied all the same */
    bool fail_lingers;               /* or may still be: by fixture_linger */
    bool fence_ignored;              /* by what lingers: a fault */
    bool store_up;
    fixture_apply_fn *apply;
    fixture_update_fn *on_update;
    void *apply_ctx;
    uint64_t fences[SLOTS_MAX];
    struct stored *records;
    uint32_t record_count, record_room;
    uint64_t record_serial;
    struct held_op *held;
    uint32_t held_count, held_room;
    struct held_op lingering[16]; /* the newest ones */
    uint32_t lingering_count;
    uint64_t op_count, write_count, entry_count, removal_count; /* emitted since the start */

    /* what the shard was told */
    struct plan_set *plans, *plans_before;
    uint8_t owned[SLOTS_MAX / 8];

    /* what it said */
    struct shard_admin_reply replies[256];
    uint32_t reply_count;
    uint32_t notices[SHARD_NOTICE_SERVING + 1]; /* by kind */
    char notice_text[FAULT_TEXT_BYTES_MAX];
    bool stopped;
    uint64_t token; /* of the last operator's request */
};

/* A shard that serves all slots under the plans: "default" (the default) 10/s burst 20, "pair" 10/s
 * burst 20 and 100/min burst 100. */
void fixture_open(struct fixture *fixture, const struct fixture_options *options);

/* The same, told nothing yet: no plans, no store, no slots. */
void fixture_open_bare(struct fixture *fixture, const struct fixture_options *options);

/* Asserts that all memory came back. */
void fixture_close(struct fixture *fixture);

/* The process dies and another one starts: only the store stays, and what lingers. */
void fixture_crash(struct fixture *fixture);

/* One step at fixture->now_ns, and what the store answers to it. */
void fixture_step(struct fixture *fixture, struct shard_event *event);
void fixture_tick(struct fixture *fixture);

/* Lets time pass, with a TICK whenever the shard wanted one. Returns the number of ticks. */
uint32_t fixture_pass(struct fixture *fixture, uint64_t ns);

void fixture_store(struct fixture *fixture, bool up, bool restarted);
void fixture_own_all(struct fixture *fixture);
void fixture_own(struct fixture *fixture, struct slot slot, bool owned);
/* Exactly these slots (a bit each) are to be handed over. */
void fixture_seal(struct fixture *fixture, const uint8_t *slots, bool reload);
void fixture_stop(struct fixture *fixture);

/* Plans as "name", limits...; relaxed, but for those called "strict..."; those called
 * "redis..." let routers decide in the store; applied as an operator
 * would (generations, history). */
struct fixture_plan {
    const char *name;
    uint32_t limit_count;
    struct limit limits[LIMITS_PER_PLAN_MAX];
};
void fixture_plans(struct fixture *fixture, const struct fixture_plan *plans, uint32_t count);

/* Answers the oldest held operation. */
void fixture_answer(struct fixture *fixture, enum shard_stored_status status);

/* Applies what lingers of failed writes, unless the fence has been raised meanwhile. */
void fixture_linger(struct fixture *fixture);

void fixture_answer_all(struct fixture *fixture);

/* plan NULL: the assigned plan or the default. */
struct take_result fixture_take(struct fixture *fixture, const char *key, uint64_t cost,
                                const char *plan);
struct take_result fixture_verb(struct fixture *fixture, enum verb verb, const char *key,
                                uint64_t cost, const char *plan);
struct take_result fixture_inline(struct fixture *fixture, const char *key, uint64_t cost,
                                  struct limit limit);

/* Replies are kept until fixture_reply takes the oldest (asserts that there is one). */
void fixture_admin(struct fixture *fixture, enum shard_admin_kind kind, const char *key,
                   const char *plan);
struct shard_admin_reply fixture_reply(struct fixture *fixture);
struct shard_key_info fixture_show(struct fixture *fixture, const char *key);

struct slot fixture_slot(const struct fixture *fixture, const char *key);

/* The store's record or assignment of that key, or NULL. */
struct stored *fixture_stored(struct fixture *fixture, const char *key, bool is_assignment);
struct stored *fixture_stored_bytes(struct fixture *fixture, struct bytes key, bool is_assignment);
void fixture_put(struct fixture *fixture, struct bytes key, struct bytes value, bool is_assignment);
void fixture_put_record(struct fixture *fixture, const char *key, const struct record *record);
/* Takes the key's record away. */
void fixture_forget(struct fixture *fixture, struct bytes key);
void fixture_forget_assignment(struct fixture *fixture, const char *key);
uint32_t fixture_records(const struct fixture *fixture);

#endif
