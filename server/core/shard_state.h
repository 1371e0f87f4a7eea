/*
 * What a shard is inside. What its parts (shard_*.c) do with it is in shard_parts.h. Private to
 * server/core.
 *
 * Slots that have something to do stand in queues: `due` (at a time), `ready` (to emit their next
 * store operation), `starting` (to be fenced), `loading` and `rereading` (to be read), `reclaim`
 * (to have their memory taken back). A step handles its event and then works the queues, each
 * within a bound.
 */
#ifndef SLUICE_SERVER_CORE_SHARD_STATE_H
#define SLUICE_SERVER_CORE_SHARD_STATE_H

#include "server/core/marks.h"
#include "server/core/resident.h"
#include "server/core/shard.h"
#include "server/core/slot_queue.h"
#include "server/core/table.h"
#include "server/core/term_set.h"

enum slot_state {
    SLOT_ABSENT,
    SLOT_FENCING,
    SLOT_LOADING,
    SLOT_SERVING,
    SLOT_SEALED,
    SLOT_RELEASING,
};

/* Indices into shard.held_pool; 0: none. */
struct held_list {
    uint32_t first, last;
};

struct shard_slot {
    struct table buckets;
    struct table keys; /* assignments */
    uint64_t fence;
    uint64_t since_fence; /* the one that was raised before it was read */
    uint64_t cursor; /* LOADING, SERVING: of the next page; RELEASING: of the scan that frees */
    uint64_t due_ns; /* while in the due queue */
    uint64_t takes;  /* decided since it was gained */
    /* When its outstanding operation was made up; and when the last one was of which the store has
     * said that it was under the slot's fence: that was no other's before (mark_lives). */
    uint64_t asked_ns, proved_ns;
    uint64_t former_until_ns; /* until then others may grant within marks that were read here */
    uint64_t keys_cursor, keys_next; /* of assignments written again: where the stretch that is
                                        next, or outstanding, begins, and where that ends */
    uint32_t op_id;                  /* the operation outstanding (ASSIGNs apart), 0: none */
    /* Lists of buckets: changed; those of them that the snapshot under way has still to write;
     * those in the outstanding write. */
    uint32_t dirty, draining, writing;
    /* Changed buckets whose record is to be written at once: takes wait for it, or soon would. */
    uint32_t marks;
    /* Takes whose results are held: until their bucket's record has been sent; until it has been
     * acknowledged. In order. */
    struct held_list waiting, gated;
    uint16_t assigns;   /* ASSIGNs outstanding */
    uint16_t fetches;   /* keys being read on demand: of shard.fetches, 0: none */
    uint32_t gained_ms; /* when its fence was raised: what it has read is older */
    uint32_t heard_ms;  /* when the store last answered well for it */
    uint32_t away;      /* records of keys not in memory, as far as is known */
    uint32_t away_seen; /* of these, met by the survey's round under way, or new since it began */
    uint8_t state;      /* enum slot_state */
    uint8_t op_kind;
    bool wanted;      /* the map gives it to this shard */
    bool to_seal;     /* it is to be handed over: decides nothing, and is SEALED as soon as it would
                         be SERVING */
    bool overdue;     /* a new snapshot is to begin as soon as the one under way is through */
    bool keys_loaded; /* LOADING: on to the buckets */
    bool discard;     /* RELEASING: nothing is to be written any more */
    bool rewrite : 1; /* its clean buckets are to be written again */
    bool rewrite_all : 1; /* all of them, else only those whose records are rounded up */
    bool rounded : 1;     /* records of it may be rounded up */
    bool inherited : 1;   /* it had records when it was gained */
    bool backoff;         /* to wait a while before it is fenced again */
    bool leftovers;  /* the store may have records of keys that memory has not (load_leftovers) */
    bool streaming;  /* its pages are being read: LOADING, or SERVING and `leftovers` */
    bool watch;      /* its fence is to be looked at, by a write of nothing if there is none */
    bool wrote;      /* its last operation was a write, so the next is a page */
    bool asleep;     /* the store has, or may have, records of keys that are not in memory */
    bool survey_due; /* a page is to be read for the survey */
    bool page_stale; /* the outstanding page is of a server that may have been another one */
    bool refence;    /* a write was given up: it may still come, and is to find a higher fence */
    bool keys_unwritten; /* assignments are to be written again (shard_keys.c) */
    bool keys_all;       /* all of them, else only what is to be taken away */
    bool keys_writing;   /* the outstanding write is of assignments */
    bool keys_again;     /* and when it is answered all of them are to be written again */
    bool keys_wrote;     /* the last write was of assignments, so the next is of buckets */
    bool keys_unread;    /* the store may have assignments that memory has not */
};

/* A key that is being read on demand, and a take that waits for it. Lists are of indices, 0: end.
 */
struct fetch {
    uint64_t hash;
    uint32_t op_id;       /* 0: not sent yet */
    uint16_t first, last; /* takes */
    uint16_t slot_at;
    uint16_t next; /* of the slot; in the list of free ones */
    uint16_t key_size;
    uint8_t key[KEY_BYTES_MAX];
};

struct asker {
    uint64_t token;
    uint64_t cost_tokens;
    struct limit limit;
    struct name plan;
    uint8_t verb, plan_kind, admin_kind;
    bool is_admin; /* an operator's request: only token and admin_kind count */
    uint16_t next;
};

/* A take whose result is held. */
struct held {
    uint64_t token;
    uint64_t cost_tokens;
    uint32_t ref; /* its bucket */
    uint16_t term;
    uint32_t next;
};

/* An operator's request that waits for its write. */
struct admin_pending {
    uint64_t token;
    enum shard_admin_kind kind;
    uint16_t slot_at;
    uint16_t term;  /* ASSIGN: the new one, TERM_NONE: none */
    uint32_t ref;   /* RESET: the bucket; ASSIGN: the assignment */
    uint32_t op_id; /* 0: not emitted yet */
    bool passed; /* ASSIGN: a pass that writes assignments again has left it out (shard_keys.c) */
};

/* Replies of one step: of all requests that wait for a write, of all that wait for their key, and
 * of the step's own. */
#define SHARD_REPLIES_MAX (2 * SHARD_ADMIN_PENDING_MAX + 1)

struct shard {
    struct shard_options options;
    struct budget budget;
    struct arena arena;
    struct term_set terms;
    uint64_t now_ns;
    bool store_up, stopping, stopped;
    bool watches;        /* a plan lets routers decide in the store: fences are looked at */
    uint64_t watched_ns; /* last */
    uint32_t watch_slot; /* the next one */

    const struct plan_set *plans;   /* NULL: none has come yet */
    uint16_t plan_terms[PLANS_MAX]; /* of the terms in force; TERM_NONE: no room was left */
    bool plan_strict[PLANS_MAX];
    uint16_t nameless; /* TERM_NAME of an assigned plan whose name found no room */

    struct shard_slot *slots;
    uint16_t *queue_links;
    struct slot_queue due, ready, starting, loading, rereading, reclaim;
    uint32_t fencing_count, streaming_count;
    uint32_t rereading_count; /* of those streaming: SERVING */
    uint32_t to_seal_count;   /* slots that are to be handed over */
    uint32_t next_op_id;
    uint32_t outstanding; /* operations, ASSIGNs included */

    struct marks marks;
    struct held *held_pool; /* 1 + SHARD_HELD_MAX; [0] is not used */
    uint32_t held_free, held_used;
    uint32_t held_made; /* entries of the pool that have ever been in use: the rest is not linked */

    struct fetch *fetches; /* 1 + SHARD_FETCHES_MAX; [0] is not used */
    struct asker *askers;  /* 1 + SHARD_ASKERS_MAX; likewise */
    uint16_t fetch_free, asker_free;
    uint16_t unsent[SHARD_FETCHES_MAX];
    uint32_t unsent_count;

    uint32_t admin_askers; /* of askers */

    bool shedding; /* cold buckets leave memory */
    uint64_t survey_at_ns;
    uint32_t survey_slot;
    uint32_t survey_drops; /* buckets that left memory since the last page */

    uint64_t sweep_at_ns, sweep_cursor;
    uint32_t sweep_slot;
    uint64_t rewrite_cursor;
    uint32_t rewrite_slot, rewrite_count; /* slots whose `rewrite` is set */

    struct admin_pending pending[SHARD_ADMIN_PENDING_MAX];
    uint32_t pending_count;

    struct shard_counters counters;

    /* The update under construction. */
    uint32_t result_count, op_count, entry_count, reply_count, notice_count;
    uint32_t listed_count; /* buckets and assignments looked at to be written in this step */
    uint32_t held_count, release_count;
    uint32_t decided_count; /* results of takes that waited for their key */
    struct take_result results[TAKES_PER_REQUEST_MAX];
    bool held[TAKES_PER_REQUEST_MAX];
    struct shard_release *releases; /* SHARD_RELEASES_MAX */
    struct shard_op ops[SHARD_UPDATE_OPS_MAX];
    struct shard_op_entry entries[SHARD_UPDATE_ENTRIES_MAX];
    struct shard_admin_reply replies[SHARD_REPLIES_MAX];
    struct shard_notice notices[SHARD_NOTICES_MAX];
};

/* Cluster time as buckets and marks keep it. */
static inline uint32_t shard_now_ms(const struct shard *shard) {
    return (uint32_t)(shard->now_ns / 1000000);
}

static inline uint16_t shard_slot_at(const struct shard *shard, const struct shard_slot *slot) {
    return (uint16_t)(slot - shard->slots);
}

/* Of a key's hash. */
static inline struct shard_slot *shard_slot_of(const struct shard *shard, uint64_t hash) {
    return &shard->slots[slot_of_hash(hash, shard->options.slot_count).index];
}

#endif
