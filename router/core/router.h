/*
 * The router: takes clients' requests apart, sends each take to the shard that owns its key, and
 * puts the answers together again, as a pure step.
 *
 *     router_step(router, event, update): event in -> state changes -> update out
 *
 * No clock, allocator, socket, library or log in here: time comes with each event, all memory is
 * one piece handed in at init, and everything that must happen outside is in the update. The shell
 * (router/io) runs one router on one loop; a test runs it with virtual links and a virtual clock.
 *
 * Ownership: event memory is borrowed for the call, but for a VIEW's map and plans, which are
 * borrowed until others have replaced them (router_map, router_plans tell which are in use). Update
 * memory is the router's until its next step.
 *
 * Guarantees:
 *   - each REQUEST is answered exactly once, in the update of its own step or of a later one;
 *   - answered at <= deadline + 1 ms + how late the TURN event of that time comes;
 *   - the results of a take_many are as many as its takes and in their order;
 *   - takes of one key that wait, since their shard did not decide them, are sent once more in the
 *     order in which they came, and one that comes meanwhile is sent behind them;
 *   - takes that wait <= items_max: they are among those pending, and full is OVERLOADED;
 *   - batches outstanding of a link <= batches_per_link_max, items waiting <= items_max;
 *   - a take is sent again only if its shard refused to decide it or the link was lost before the
 *     answer came. In the second case it may have been charged already and is then charged twice;
 *     the client is told of one grant at most;
 *   - a view of another cluster, or of a map with another number of slots, and a map of an older
 *     epoch change nothing;
 *   - an answer that no owner made is flagged degraded, and made only by a policy that was learned
 *     from the cluster, or by `deny` where a learned view states none, or by the store where the
 *     policy says so (fallback.h).
 */
#ifndef SLUICE_ROUTER_CORE_ROUTER_H
#define SLUICE_ROUTER_CORE_ROUTER_H

#include "proto/map.h"
#include "proto/plan.h"
#include "proto/reply.h"
#include "proto/take.h"
#include "router/core/fallback.h"
#include "router/core/histogram.h"

/* Takes, peeks and refunds that wait or are being decided, of all clients together. A quarter of a
 * second (the default deadline) at 260,000 takes/s with every shard silent; about 50 MB when full.
 */
#define PENDING_ITEMS_MAX 65536

/* Batches outstanding on one link. Enough to keep a shard busy over any round trip of a data
 * centre; beyond it items queue, so that batches grow by themselves under load. */
#define BATCHES_PER_LINK_MAX 64

/* Batches outstanding on all links: a power of two. Arbitrary, but safe: 16 a link with the most
 * shards, and the bound of each link with 256 of them. */
#define BATCHES_MAX 16384

/* Nanoseconds before a take that a shard could not decide is sent again: the first wait, doubling
 * up to the last. A slot is loaded or moved in about that time. */
#define RETRY_FIRST_NS UINT64_C(5000000)
#define RETRY_LAST_NS UINT64_C(100000000)

/* The least wait after OVERLOADED, which says "not at once". Arbitrary, but safe. */
#define RETRY_OVERLOADED_NS UINT64_C(10000000)

/* Nanoseconds that a batch may be outstanding before its link is taken for dead and opened anew.
 * Shards answer at once, so this is far longer than any pause of a healthy one. */
#define BATCH_ANSWER_NS UINT64_C(5000000000)

/* What a degraded refusal tells the client to wait. */
#define DEGRADED_RETRY_AFTER_US 1000000

/* Bytes of the caller's token: whatever the shell needs to find the client again. */
#define ROUTER_CALLER_BYTES 64

struct router;

struct router_options {
    uint32_t items_max;            /* 1 to PENDING_ITEMS_MAX */
    uint32_t links_max;            /* at least the shards of any map, at most SHARDS_MAX */
    uint32_t batches_per_link_max; /* at least 1 */
    bool fallback;                 /* there is a store to ask when no owner answers */
};

struct router_caller {
    _Alignas(8) uint8_t bytes[ROUTER_CALLER_BYTES];
};

/* --- events ------------------------------------------------------------------------------- */

enum router_event_kind {
    ROUTER_EVENT_REQUEST,  /* a client asks */
    ROUTER_EVENT_REPLY,    /* a batch came to its end */
    ROUTER_EVENT_LINK,     /* a link came up or was lost, with all that was outstanding on it */
    ROUTER_EVENT_VIEW,     /* a map and plans were learned */
    ROUTER_EVENT_TURN,     /* a turn of the loop ends, or time has come (wake_at_ns) */
    ROUTER_EVENT_FALLBACK, /* the store has answered a call, or never will: one for each */
    ROUTER_EVENT_STORE,    /* it can be asked from now on, or no longer */
    ROUTER_EVENT_STOP,     /* answer everything that waits: UNAVAILABLE */
};

enum router_outcome {
    ROUTER_OUTCOME_RESULTS,    /* one result or error an item, in order */
    ROUTER_OUTCOME_ERROR,      /* one error for the whole batch: results[0] */
    ROUTER_OUTCOME_UNREADABLE, /* an answer that is none */
    ROUTER_OUTCOME_UNSENT,     /* the link took no more: the shard has not seen the batch */
};

/* A shard's answer to one item. Text is borrowed. */
struct router_verdict {
    struct take_result take;
    struct bytes text;  /* of an error */
    struct moved moved; /* of MOVED; its epoch is 0 if it could not be read */
};

struct router_event {
    enum router_event_kind kind;
    uint64_t now_ns; /* monotonic; an earlier one than before is taken for the same */
    union {
        struct {
            const struct router_caller *caller;
            uint32_t msgid;
            bool many; /* a take_many: answered by a list */
            enum verb verb;
            const struct take *takes;
            uint32_t count; /* at most TAKES_PER_REQUEST_MAX; exactly 1 unless many */
        } request;
        struct {
            uint32_t link;
            uint32_t batch_id;
            enum router_outcome outcome;
            const struct router_verdict *verdicts;
            uint32_t count;
        } reply;
        struct {
            uint32_t link;
            bool up;
        } link;
        struct {
            const struct map *map; /* NULL or epoch 0: the cluster has none */
            const struct plan_set *plans;
        } view;
        const struct fallback_answer *fallback;
        bool store_up;
    };
};

/* --- updates ------------------------------------------------------------------------------ */

struct router_result {
    struct take_result take;
    const char *text; /* of an error, zero-terminated; else NULL */
};

struct router_answer {
    const struct router_caller *caller;
    uint32_t msgid;
    bool many;
    enum reason refusal; /* NONE, or why the whole request was refused: no results then */
    const struct router_result *results;
    uint32_t count;
};

/* A request to a shard. It ends by a REPLY event with its id, or by its link's end. */
struct router_batch {
    uint32_t link;
    uint32_t id; /* 31 bits; not used again for about 2^31 batches */
    bool many;   /* send as take_many; else as `verb` with takes[0] */
    enum verb verb;
    const struct take *const *takes;
    uint32_t count;
};

enum router_link_order_kind {
    ROUTER_LINK_OPEN,  /* connect to `endpoint` and keep at it; report LINK up and down */
    ROUTER_LINK_CLOSE, /* no longer needed; report nothing more of it */
    ROUTER_LINK_RESET, /* silent too long: close and connect anew; it counts as down already */
};

/* To be carried out in order: an index may be closed and opened in one update. */
struct router_link_order {
    enum router_link_order_kind kind;
    uint32_t link;                        /* below links_max */
    const struct endpoint_name *endpoint; /* OPEN, RESET */
};

struct router_update {
    const struct router_link_order *link_orders;
    uint32_t link_order_count;
    const struct router_batch *batches;
    uint32_t batch_count;
    const struct router_answer *answers;
    uint32_t answer_count;
    const struct fallback_call *const *fallbacks; /* to be asked of the store */
    uint32_t fallback_count;
    bool refresh_map;    /* something waits for a newer map */
    uint64_t wake_at_ns; /* of the next TURN wanted; UINT64_MAX: none */
};

/* --- what can be asked of it --------------------------------------------------------------- */

/* X(name): counted since init, but for the last five, which tell how many there are now. */
#define ROUTER_COUNTERS(X)                                                                         \
    X(requests) /* of clients, refused ones too */                                                 \
    X(takes)    /* in them; a take_many counts each */                                             \
    X(peeks)                                                                                       \
    X(refunds)                                                                                     \
    X(answers)     /* to clients */                                                                \
    X(errors)      /* results that are errors, whole refusals too */                               \
    X(batches)     /* sent to shards */                                                            \
    X(batch_items) /* in them */                                                                   \
    X(retries)     /* items sent, or parked to be sent, once more */                               \
    X(parked) /* items that had to wait: not decided where they were sent, or no shard there */    \
    X(moved)  /* items that a shard answered MOVED */                                              \
    X(shard_unavailable)                                                                           \
    X(shard_overloaded)                                                                            \
    X(overloaded)     /* requests refused because too many waited */                               \
    X(timeouts)       /* items that no owner answered in time */                                   \
    X(degraded_allow) /* of them, by policy */                                                     \
    X(degraded_deny)                                                                               \
    X(fallback_takes)     /* takes and peeks that left for the store */                            \
    X(fallback_asked)     /* calls of the store's script for them */                               \
    X(fallback_writes)    /* of them: takes granted, and written */                                \
    X(fallback_reads)     /* of them: answered without a write */                                  \
    X(fallback_refused)   /* takes and peeks whose tokens were not there */                        \
    X(fallback_failed)    /* takes and peeks that it could not decide */                           \
    X(fallback_late)      /* calls answered after the deadline */                                  \
    X(fallback_unready)   /* takes and peeks that found no store to ask */                         \
    X(fallback_full)      /* takes and peeks that found too many there */                          \
    X(fallback_disagreed) /* answers that this router would not have given */                      \
    X(replies_late)       /* to batches that no longer are */                                      \
    X(replies_bad)        /* not to be read, or of the wrong length */                             \
    X(batches_unsent)     /* the link took no more */                                              \
    X(links_lost)                                                                                  \
    X(links_silent)  /* of them: gave no answer for too long */                                    \
    X(views_refused) /* of another cluster, or another number of slots */                          \
    X(views_old)     /* maps of an older epoch than the one in use */                              \
    X(views)         /* maps and plans adopted */                                                  \
    X(pending_items)                                                                               \
    X(pending_requests)                                                                            \
    X(pending_batches)                                                                             \
    X(pending_parked)    /* of pending_items: those that wait */                                   \
    X(pending_fallbacks) /* calls that the store has not answered */

struct router_counters {
#define X(name) uint64_t name;
    ROUTER_COUNTERS(X)
#undef X
};

struct router_link_info {
    const struct endpoint_name *endpoint;
    bool up;
    uint32_t outstanding; /* batches */
};

/* Bytes that a router needs. */
size_t router_size(const struct router_options *options);

/* `memory`: router_size bytes, zeroed, aligned to 64, the router's until its owner frees it; there
 * is nothing to be undone. Pages are touched only as they are used. */
struct router *router_init(void *memory, const struct router_options *options);

void router_step(struct router *router, const struct router_event *event,
                 struct router_update *update);

const struct router_counters *router_counters(const struct router *router);

/* Microseconds from when items first had to wait until they were answered. */
const struct histogram *router_parked_us(const struct router *router);

/* Microseconds of the calls of the store. */
const struct histogram *router_fallback_us(const struct router *router);

/* The map in use, NULL: none yet. The plans in use, NULL: none yet. */
const struct map *router_map(const struct router *router);
const struct plan_set *router_plans(const struct router *router);

/* False if no link has that index. */
bool router_link_info(const struct router *router, uint32_t link, struct router_link_info *info);

#endif
