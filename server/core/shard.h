/*
 * The shard: single writer of the buckets of its slots, as a pure step.
 *
 *     shard_step(shard, event, update): event in -> state changes -> update out
 *
 * The store counts as away until a STORE event says that it is there, and the first PLANS event
 * must come before the first OWN.
 *
 * No clock, allocator, socket, library or log in here: time comes with each event, memory from
 * options.memory in large pieces, and everything that must happen outside is in the update. The
 * shell (server/io) runs one shard on one loop; a test runs it with a virtual clock and store.
 *
 * Ownership: event memory is borrowed for the call. Update memory is the shard's until its next
 * step. The shell performs an update in the order: store operations, then replies.
 *
 * A slot's life (the table is in shard_slot.c):
 *
 *              own                fence raised            last page read
 *     ABSENT ------> FENCING ------------------> LOADING ----------------> SERVING
 *       ^               |                           |                        |
 *       |               | disown                    | disown                 | disown
 *       |               v                           v                        v
 *       +---------------+---------------------------+-------------------- RELEASING
 *                                                        (last writes acknowledged)
 *                 seal                 disown
 *     SERVING ------------> SEALED -----------------> RELEASING
 *        ^                     |
 *        +---------------------+ no longer to be sealed
 *
 *   A SEALED slot decides nothing and writes what it has: once all is acknowledged its exact state
 *   is in the store, and the map may give it to another shard. So does one that is LOADING and to
 *   be sealed; it becomes SEALED when it has been read, but need not wait for that.
 *   A store that FENCES a slot's write has a newer owner: the slot's buckets are dropped at once
 *   and it starts again at FENCING if the map still gives it to this shard.
 *
 * Guarantees:
 *   - every item of a TAKES event gets exactly one result, in order, in that step's update; a held
 *     one is to be kept back, and counts when its release (exactly one, in a later update) says so;
 *   - under a strict plan nothing is granted that the store has not acknowledged, or a mark that
 * was written ahead of it: whatever has been answered, the next owner has counted;
 *   - a mark counts while mark_lives says so: whoever gains the slot, and waits SHARD_FORMER_NS
 *     before a bucket that it has read is reset or goes over to faster limits, meets no grant of a
 *     former owner that it has not counted;
 *   - what a failed write held back is not granted, and given back to its bucket;
 *   - a slot that is neither SERVING nor LOADING never decides; its takes are refused with a
 * reason; one that is LOADING decides keys that it has read, and reads others on demand: their
 * takes are held, and their results come with the release;
 *   - at most one write of a slot is outstanding; a bucket's newest state is always in memory, in
 *     an outstanding write or in the store; what a failed write held is written again;
 *   - a dirty bucket's write is emitted at most snapshot_interval after the take, if the store
 *     answers;
 *   - a full bucket leaves memory and store; nothing else leaves memory unwritten;
 *   - of a slot that sleeps (the store may have records of keys that are not in memory) no key that
 *     is absent is decided before the store was asked for it;
 *   - cluster time never runs backward inside: an earlier now_ns is clamped and counted.
 */
#ifndef SLUICE_SERVER_CORE_SHARD_H
#define SLUICE_SERVER_CORE_SHARD_H

#include "proto/plan.h"
#include "proto/record.h"
#include "proto/slot.h"
#include "proto/take.h"
#include "server/core/memory.h"

/* Entries of all WRITE operations in one update, and in one operation. One operation is one script
 * call: Lua's unpack must fit its arguments (2 an entry) below 8,000. */
#define SHARD_UPDATE_ENTRIES_MAX 4096
#define SHARD_WRITE_ENTRIES_MAX 512

/* Store operations in one update. */
#define SHARD_UPDATE_OPS_MAX 512

/* Slots being fenced at once: all of a shard's are within a few round trips. */
#define SHARD_FENCING_MAX 256

/* Slots whose pages are being read at once, a page each: the second is made while the first is
 * taken in. Keys read on demand wait behind them, and more are not faster (decision 0027). */
#define SHARD_LOADING_MAX 2

/* Keys being read on demand, and takes that wait for them: more than a round trip's worth. Beyond
 * them takes are refused until the slot has been read. */
#define SHARD_FETCHES_MAX 2048
#define SHARD_ASKERS_MAX 4096

/* Takes that wait for their mark at once. Each costs 24 bytes here, and its reply in the shell. */
#define SHARD_HELD_MAX 32768

/* The longest reservation is this part of the smallest burst of the bucket's limits. */
#define SHARD_RESERVE_PART 8

/* Marks of a bucket that are written at most so long after each other double its reservation;
 * after the longer time it starts again with none. So a bucket in use is written once in about the
 * shorter time, and what a crash may cost it is what it uses in that time, at most its part. */
#define SHARD_RESERVE_QUICK_MS 8000
#define SHARD_RESERVE_SLOW_MS 32000

/* Milliseconds after which a record that is rounded up is written as its bucket is: one in use is
 * seldom written for that, and little is left to be written when the shard stops. */
#define SHARD_ROUND_MS 64000

/* Nanoseconds that a mark counts for since the store was last asked, and said that the slot's fence
 * is this shard's: as long as a reservation lasts in use. After it a take waits for a write, which
 * proves that again. It is asked for when a SHARD_MARK_PROVE_PART of that has passed and a mark is
 * made use of, so that a store that stands still for seconds is not noticed. */
#define SHARD_MARK_LIVES_NS UINT64_C(8000000000)
#define SHARD_MARK_PROVE_PART 4

/* Nanoseconds after a slot was gained in which a former owner, paused or cut off, is taken to grant
 * within marks that were read: their life, and as much again for clocks that disagree. */
#define SHARD_FORMER_NS (2 * SHARD_MARK_LIVES_NS)

/* Operator requests (reset, assign) that wait for their write. */
#define SHARD_ADMIN_PENDING_MAX 64

/* Different terms (plan generations and inline limits) that a shard's buckets may be under. */
#define SHARD_TERMS_MAX 4096

/* Nanoseconds in which the fence of each slot is looked at, while some plan lets routers decide in
 * the store. A slot of which nothing is written hears within a round that a router has decided in
 * it, for a hundred of Redis's smallest commands a second with 1,024 slots. */
#define SHARD_WATCH_ROUND_NS UINT64_C(10000000000)

/* Above resident_buckets_max the sweep makes room until this part of it is free. */
#define SHARD_RESIDENT_LOW_PART 64

/* Milliseconds that a bucket's record must have been in the store, and the store been heard of
 * since, before the bucket leaves memory: a Redis that comes back without the end of its log
 * (`appendfsync everysec` loses two seconds at worst) finds it here to be written again. */
#define SHARD_SETTLE_MS 3000

/* The survey reads a page of a sleeping slot at most this often, or for every so many buckets that
 * have left memory: a million records a minute at most while nothing leaves, and at least twice as
 * many as leave, so that full records go faster than they come. */
#define SHARD_SURVEY_INTERVAL_NS UINT64_C(50000000)
#define SHARD_SURVEY_DROPS 500

/* Index entries looked at by one sweep step, and the time between two. A table of 10 million is
 * passed in about 40 s. */
#define SHARD_SWEEP_ENTRIES 4096
#define SHARD_SWEEP_INTERVAL_NS UINT64_C(10000000)

struct shard;

struct shard_options {
    uint32_t slot_count;
    uint64_t snapshot_interval_ns;
    uint32_t mark_count; /* buckets whose marks may be ahead of them at once: a power of two, 4 at
                            least; 0: MARKS_DEFAULT */
    uint64_t memory_bytes_max; /* of buckets and tables; beyond it new keys are OVERLOADED */
    uint32_t resident_max;     /* buckets in memory above which cold ones leave it; 0: memory's */
    uint32_t settle_ms;        /* 0: SHARD_SETTLE_MS */
    struct memory memory;
};

/* --- events ------------------------------------------------------------------------------- */

enum shard_event_kind {
    SHARD_EVENT_TAKES,   /* callers' takes, peeks, refunds */
    SHARD_EVENT_OWN,     /* the map gives this shard exactly these slots */
    SHARD_EVENT_SEAL,    /* exactly these slots are to be handed over */
    SHARD_EVENT_PLANS,   /* a plan set replaces the one before */
    SHARD_EVENT_STORED,  /* the store has answered an operation */
    SHARD_EVENT_WRITTEN, /* it has answered WRITEs of several slots */
    SHARD_EVENT_STORE,   /* the store's link came up or was lost (outstanding: FAILED first) */
    SHARD_EVENT_ADMIN,   /* an operator's request */
    SHARD_EVENT_TICK,    /* time has come (wake_at_ns) */
    SHARD_EVENT_STOP,    /* decide no more, write everything */
};

struct shard_item {
    enum verb verb;
    uint64_t token; /* comes back with the release, if its result is held */
    struct take take;
};

enum shard_stored_status {
    SHARD_STORED_OK,
    SHARD_STORED_FENCED, /* a newer owner has raised the fence */
    SHARD_STORED_FAILED, /* link lost, or the store answered an error: nothing is known of it */
};

/* An answered WRITE, of those that the store has answered together. */
struct shard_written {
    struct slot slot;
    uint32_t op_id;
    enum shard_stored_status status;
};

/* A record or an assignment as it was read. Key and value are borrowed. */
struct shard_stored_pair {
    struct bytes key;
    struct bytes value; /* LOAD_BUCKETS: a record, encoded; LOAD_KEYS: the plan's name */
};

enum shard_admin_kind {
    SHARD_ADMIN_SHOW,
    SHARD_ADMIN_RESET,
    SHARD_ADMIN_ASSIGN, /* plan.size 0: take the assignment back */
};

struct shard_event {
    enum shard_event_kind kind;
    uint64_t now_ns; /* cluster time */
    union {
        struct {
            const struct shard_item *items;
            uint32_t count; /* at most TAKES_PER_REQUEST_MAX */
        } takes;
        struct {
            const uint8_t *slots; /* slot_count bits, least significant first */
            bool restored;        /* others have written to the store: look at every fence */
        } own;
        struct {
            const uint8_t *slots; /* slot_count bits, as in own; only owned slots count */
            bool reload; /* slots that were to be handed over and no longer are start over: another
                            shard may have owned them meanwhile */
        } seal;
        struct {
            const struct plan_set *set; /* borrowed until the next PLANS event's step returns */
        } plans;
        struct {
            uint8_t op_kind; /* enum shard_op_kind of the operation answered */
            struct slot slot;
            uint32_t op_id; /* as the operation had it; answers to older ones are ignored */
            enum shard_stored_status status;
            uint64_t fence;  /* RAISE_FENCE */
            uint64_t cursor; /* LOAD_*: where to go on; 0: that was all */
            /* LOAD_*: the page. FETCH: two without keys, the record and the assignment; a value
             * without data says that there is none. */
            const struct shard_stored_pair *pairs;
            uint32_t pair_count;
        } stored;
        struct {
            const struct shard_written *writes;
            uint32_t count;
        } written;
        struct {
            bool up;
            bool restarted;      /* another server process than before: it may have lost the tail of
                                    what it acknowledged, so every record is written again */
            const uint8_t *lost; /* the slots that this is said of, as in own; NULL: all */
        } store;
        struct {
            uint64_t token; /* comes back with the answer */
            enum shard_admin_kind kind;
            struct bytes key;
            struct bytes plan;
        } admin;
    };
};

/* --- updates ------------------------------------------------------------------------------ */

enum shard_op_kind {
    SHARD_OP_RAISE_FENCE,  /* raise the slot's fence by one and tell the new value; `fence` is the
                              one that this shard holds (0: none yet), FENCED if a newer owner has
                              raised it beyond that */
    SHARD_OP_LOAD_BUCKETS, /* read a page of records from `cursor` */
    SHARD_OP_LOAD_KEYS,    /* read a page of assignments from `cursor` */
    SHARD_OP_FETCH,        /* read one key: its record and its assignment */
    SHARD_OP_WRITE,        /* set and delete records, perhaps none, if the fence still holds: all or
                              nothing */
    SHARD_OP_ASSIGN,       /* set (or delete, plan.size 0) one assignment, if the fence holds */
};

struct shard_op_entry {
    struct bytes key;
    bool remove; /* delete the record; else: */
    struct record record;
};

struct shard_op {
    enum shard_op_kind kind;
    struct slot slot;
    uint32_t op_id;
    uint64_t fence;
    uint64_t since_fence; /* RAISE_FENCE: the one under which what is held was read */
    uint64_t cursor;
    const struct shard_op_entry *entries; /* WRITE */
    uint32_t entry_count;
    bool assignments;       /* WRITE: of assignments, and a record is nothing but the plan's name */
    struct bytes key, plan; /* ASSIGN; key: FETCH */
    bool record_only;       /* FETCH: the assignment is known already */
};

enum shard_release_kind {
    SHARD_RELEASE_GRANTED,     /* the result may go out as it was */
    SHARD_RELEASE_REASON,      /* an error goes out instead */
    SHARD_RELEASE_RESULT,      /* this result goes out: the take has been decided only now */
    SHARD_RELEASE_RESULT_HELD, /* the same, but not yet: one more release follows */
};

/* A held result may go out. */
struct shard_release {
    uint64_t token;
    enum shard_release_kind kind;
    enum reason reason;               /* REASON */
    const struct take_result *result; /* RESULT, RESULT_HELD; its code may be an error's */
};

/* What key.show tells. Names are copies. */
struct shard_key_info {
    bool resident;           /* a bucket exists; else it is full */
    bool dirty;              /* not yet written */
    struct name plan;        /* in force for takes that name none; size 0: none */
    struct name bucket_plan; /* the bucket's; size 0: inline */
    bool assigned;
    uint32_t limit_count;
    struct limit limits[LIMITS_PER_PLAN_MAX]; /* the bucket's, or the plan's if not resident */
    uint64_t level_tokens[LIMITS_PER_PLAN_MAX];
    uint64_t reset_after_ns[LIMITS_PER_PLAN_MAX];
};

struct shard_admin_reply {
    uint64_t token;
    enum reason reason;         /* NONE: done */
    uint32_t wait_ms;           /* FORMER_OWNER: until it can be done */
    struct shard_key_info info; /* SHOW */
};

/* Things that someone should be told, as a log line. */
enum shard_notice_kind {
    SHARD_NOTICE_UNREADABLE, /* a stored record: key and text say which and why */
    SHARD_NOTICE_NEWER,      /* the same, and a later version wrote it */
    SHARD_NOTICE_FENCED,     /* a newer owner of the slot exists */
    SHARD_NOTICE_SERVING,    /* all owned slots are being served */
};
struct shard_notice {
    enum shard_notice_kind kind;
    struct slot slot;
    struct bytes key;
    char text[FAULT_TEXT_BYTES_MAX];
};
#define SHARD_NOTICES_MAX 16

struct shard_update {
    const struct take_result *results; /* one an item of TAKES, in order */
    uint32_t result_count;
    const bool *held;    /* one a result */
    uint32_t held_count; /* of these results */
    const struct shard_release *releases;
    uint32_t release_count;
    const struct shard_op *ops;
    uint32_t op_count;
    const struct shard_admin_reply *admin_replies;
    uint32_t admin_reply_count;
    const struct shard_notice *notices;
    uint32_t notice_count;
    uint64_t wake_at_ns; /* cluster time of the next TICK wanted; never 0 */
    bool sealed;         /* slots are to be handed over, and everything of all of them is written */
    bool stopped;        /* after STOP: everything is written */
};

struct shard_counters {
    uint64_t takes_granted, takes_refused, peeks, refunds, takes_failed;
    uint64_t takes_held, held;                  /* ever, and now */
    uint64_t takes_fetched;                     /* waited for their key to be read */
    uint64_t keys_fetched, keys_fetched_absent; /* read on demand; of these, those not stored */
    uint64_t tokens_granted;
    uint64_t buckets, buckets_dirty, assignments;
    uint64_t buckets_hibernated; /* in the store only: those known of, within a round's changes */
    uint64_t hibernations;       /* buckets that have left memory so, ever */
    uint64_t slots_asleep;
    uint64_t records_surveyed;
    uint64_t records_written, records_removed, records_loaded, records_unreadable;
    uint64_t writes, writes_failed, writes_fenced;
    uint64_t clock_clamps;
    uint64_t slots_owned, slots_serving, slots_sealed;
    uint64_t memory_bytes;
};

/* All memory for fixed arrays and the first tables comes from options->memory here. NULL: none. */
struct shard *shard_create(const struct shard_options *options);
void shard_destroy(struct shard *shard);

void shard_step(struct shard *shard, const struct shard_event *event, struct shard_update *update);

/* How busy a slot is: what rebalancing by load looks at. */
struct shard_slot_load {
    uint64_t takes;   /* decided since the slot was gained; peeks and refunds included */
    uint32_t buckets; /* those that are known to be in the store only included */
};
void shard_slot_load(const struct shard *shard, struct slot slot, struct shard_slot_load *load);

const struct shard_counters *shard_counters(const struct shard *shard);

#endif
