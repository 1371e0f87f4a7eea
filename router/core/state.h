/*
 * The inside of the router's core, shared by its files only.
 *
 * An item is one take, peek or refund on its way; a job is one client's request, which is answered
 * when all its items are done. Items are in one list at a time, told by their state.
 *
 *              link up                     batch formed
 *    PARKED <-----------> READY ------------------------------> SENT
 *       ^     link down     ^                                    | |
 *       |                   |   time, view       refused:        | |
 *       +-------------------+-------------- BACKOFF <------------+ |
 *       |                   |               moved, sealed          | result, error
 *       +-------------------+--------------------------------------+--------> DONE
 *       |                   |   no owner, and the store is to decide   answered  ^
 *       +-------------------+--------------------------------------+--> ASKED ---+
 *
 *    Every state but FREE and DONE ends in DONE at the deadline; DONE ends in FREE in the step
 * after the job's answer. An item that is not sent yet goes to BACKOFF as well if others of its
 * line (see struct line) wait there.
 */
#ifndef SLUICE_ROUTER_CORE_STATE_H
#define SLUICE_ROUTER_CORE_STATE_H

#include "router/core/fallback.h"
#include "router/core/histogram.h"
#include "router/core/router.h"
#include "router/core/wheel.h"

#define INDEX_NONE UINT32_MAX

/* How often links are looked at for batches that were never answered. */
#define SILENCE_CHECK_NS (BATCH_ANSWER_NS / 10)

#define ITEM_STATES(X) X(FREE) X(PARKED) X(READY) X(SENT) X(BACKOFF) X(ASKED) X(DONE)
enum item_state {
#define X(name) ITEM_##name,
    ITEM_STATES(X)
#undef X
};

/* Items in the order in which they came. */
struct queue {
    uint32_t first, last;
    uint32_t count;
};

struct item {
    enum item_state state;
    enum verb verb;
    uint32_t next, previous; /* in its state's queue; FREE: next in the pool */
    uint32_t job, job_next;
    uint32_t link;     /* PARKED, READY, SENT: its link */
    uint32_t batch;    /* SENT */
    uint32_t position; /* SENT: in its batch */
    bool refused;      /* sent before, and not decided */
    bool ahead;        /* counted in `ahead` of its line, if `turn` is the line's */
    uint64_t turn;
    enum code refusal; /* the newest answer, if that was to try again later; else OK */
    uint64_t hash;     /* of its key */
    uint64_t arrival;  /* 1 for the first item ever, and so on */
    uint64_t deadline_ns;
    uint64_t fall_at_ns;         /* when it leaves for the store; 0: it does not, or has */
    uint64_t parked_at_ns;       /* when it first had to wait; 0: it never had to */
    struct take take;            /* points into `names` */
    struct router_result result; /* DONE, of a job with other items */
    /* The key, and right behind it the plan's name: most fit what the processor reads at once. */
    uint8_t names[KEY_BYTES_MAX + NAME_BYTES_MAX];
    char text[FAULT_TEXT_BYTES_MAX]; /* of the newest error a shard gave, if `refusal` is one */
};

/*
 * The items of one key, while any of them waits in BACKOFF or is sent once more: they are released
 * together, in the order in which they came, and whatever comes meanwhile waits behind them. So no
 * take overtakes another of its key that waits.
 *
 *          refused                       time, view
 *    none ---------> waiting > 0 ------------------------> ahead > 0 ----> none
 *                         ^                                    |   all decided: those that
 *                         +------------------------------------+   came meanwhile are released
 *                                    some refused again
 */
struct line {
    uint64_t hash;           /* of the key */
    struct queue waiting;    /* BACKOFF */
    uint32_t ahead;          /* released, and neither decided nor refused again */
    uint64_t turn;           /* items that were released in another turn are no longer `ahead` */
    uint32_t attempts;       /* releases that were refused, for the back-off */
    uint32_t link;           /* that refused them, or that they were released to */
    uint32_t placed;         /* the item that was put in last */
    uint32_t next, previous; /* among all lines; next free one */
    uint32_t chain;          /* the next of its bucket, plus 1; 0: none */
    bool refused;            /* since the last release, or the first time: retry_at_ns counts */
    uint64_t retry_at_ns;
};

struct job {
    struct router_caller caller;
    uint32_t msgid;
    bool many;
    uint32_t first_item;
    uint32_t count, open; /* items, and those not yet done */
    uint32_t next;        /* in the pool, or among those answered in this step */
};

struct batch {
    bool used;
    uint32_t generation;
    uint32_t link;
    uint32_t count;          /* items sent; those past their deadline have left `items` since */
    uint32_t next, previous; /* outstanding ones of its link, oldest first; next free one */
    uint64_t sent_ns;
    struct queue items;
};

struct shard_link {
    bool used, wanted, up;
    bool doubted; /* nothing was heard of it since an item had to do without it */
    bool dirty;   /* in the list of links to be flushed */
    uint32_t dirty_next;
    uint32_t outstanding; /* batches */
    uint32_t oldest, newest;
    struct queue takes, singles; /* READY; singles: peeks and refunds */
    struct queue parked;         /* PARKED: the link is down */
    struct endpoint_name endpoint;
};

struct router {
    struct router_options options;
    struct router_counters counters;
    uint64_t now_ns;
    uint64_t silence_check_ns;

    const struct map *map;
    const struct plan_set *plans;
    uint16_t *link_of_shard; /* SHARDS_MAX: UINT16_MAX without one */

    struct item *items;
    struct job *jobs;
    struct batch *batches;
    struct shard_link *links;
    /* Pools hand out what came back last, then what was never used. */
    uint32_t item_free, item_fresh, items_left;
    uint32_t job_free, job_fresh;
    uint32_t batch_first_free, batch_last_free; /* first come, first served: ids return late */

    uint64_t arrivals;   /* items so far */
    struct queue parked; /* PARKED: no owner is known */
    struct line *lines;
    uint32_t *line_buckets; /* the first of each, plus 1; 0: none */
    uint32_t line_bucket_count, line_free, line_fresh, busy_first;
    uint64_t line_turns;
    struct histogram parked_us;
    uint32_t dirty_first;
    struct wheel wheel;

    bool fallback_on;    /* a plan in use says so, and there is a store to ask */
    bool fallback_ready; /* it can be asked now */
    bool unowned_doubted;
    struct fallback_call *calls; /* FALLBACK_CALLS_MAX, if options.fallback */
    uint32_t call_free;
    struct histogram fallback_us;

    /* What the update points to. */
    uint32_t answered_jobs; /* given back at the next step */
    struct router_caller refused;
    struct router_answer *answers;
    struct router_result *results;
    struct router_batch *sends;
    const struct take **send_takes;
    struct router_link_order *orders;
    const struct fallback_call **call_sends;
    uint32_t call_count;
    uint32_t answer_count, result_count, send_count, send_take_count, order_count;
    bool refresh_map;
};

/* --- pending.c: items, jobs, and the lists they are in ------------------------------------- */

/* Takes the request in and routes its items; false if there is no room for all of them. */
bool job_start(struct router *router, const struct router_event *event);

/* Gives the jobs answered in the last step back to the pools. */
void jobs_reclaim(struct router *router);

/* Moves the item to `state`, out of its list and into that of `place`: a link (PARKED: INDEX_NONE
 * if no owner is known; READY), a batch (SENT), else INDEX_NONE. Sets its timer accordingly. */
void item_move(struct router *router, uint32_t index, enum item_state state, uint32_t place);

/* Ends the item with its result, and its job if it was the last. */
void item_finish(struct router *router, uint32_t index, const struct take_result *take,
                 const char *text);

/* The same with an error that was made here. */
void item_fail(struct router *router, uint32_t index, enum reason reason);

/* An answer to a request that never became a job. */
void answer_at_once(struct router *router, const struct router_event *event, enum reason refusal);

void item_queue_init(struct queue *queue);

/* --- route.c: where an item goes, links, and the view -------------------------------------- */

/* To the link of its owner, or parked until that is known and up. */
void item_route(struct router *router, uint32_t index);

/* The link of the owner of that hash, or INDEX_NONE. */
uint32_t link_of_hash(const struct router *router, uint64_t hash);

void view_adopt(struct router *router, const struct map *map, const struct plan_set *plans);
void shard_link_report(struct router *router, uint32_t index, bool up);
void links_check_silence(struct router *router);

/* Closes a link that no map wants and that has nothing outstanding. */
void shard_link_settle(struct router *router, uint32_t index);
void shard_link_mark_dirty(struct router *router, uint32_t index);

/* --- line.c: items of a key in the order in which they came ---------------------------------- */

/* Buckets that lines are found by: a power of two. */
uint32_t line_bucket_count(uint32_t items_max);

/* The items that wait in the line of that one. */
struct queue *line_queue(const struct router *router, const struct item *item);

/* The item behind which that one belongs in its line, by arrival; INDEX_NONE: it is the first. */
uint32_t line_place(struct router *router, uint32_t index);

/* Takes the item back into its line, if it was released from there and is not sent yet. */
void line_return(struct router *router, uint32_t index);

/* The item must wait behind others of its line. */
bool line_holds(const struct router *router, uint32_t index);

/* Into its line, by its arrival. */
void line_wait(struct router *router, uint32_t index);

/* The same after a refusal: the line is released in a while, which depends on what was said and on
 * how often. */
void line_refuse(struct router *router, uint32_t index, enum code refusal);

/* Sends the refused item elsewhere at once, unless it must wait behind others. */
void line_pass(struct router *router, uint32_t index);

/* When the waiting item wants a timer: at its deadline, or sooner to release the line. */
uint64_t line_wake_ns(const struct router *router, uint32_t index);

/* The waiting item's line may be released now. True if it was. */
bool line_due(struct router *router, uint32_t index);

/* The item has left BACKOFF or come there. */
void line_changed(struct router *router, uint32_t index);

/* The item is decided, or given up. */
void line_leave(struct router *router, uint32_t index);

/* A new map: lines that have another owner than the one that refused them are released. */
void lines_follow_map(struct router *router);

/* The item has to wait, from now on if it had not before. */
void item_park(struct router *router, uint32_t index);

/* --- batch.c: what goes to shards, and what comes back -------------------------------------- */

void batches_init(struct router *router);
void batches_form(struct router *router);
void batch_reply(struct router *router, const struct router_event *event);

/* Ends every batch of a link that was lost; their items are routed anew. */
void batches_lose(struct router *router, uint32_t link);

/* --- fallback_calls.c: what leaves for the store -------------------------------------------- */

void fallback_init(struct router *router);

/* Other plans are in use. */
void fallback_follow_plans(struct router *router);

/* When an item that has just come is to leave for the store, if no owner has answered it by then;
 * 0: not at all. */
uint64_t fallback_due_ns(struct router *router, const struct item *item);

/* Sends it there; false: that cannot be, and it stays where it is. */
bool fallback_start(struct router *router, uint32_t index);
void fallback_answered(struct router *router, const struct fallback_answer *answer);

/* No owner has answered the item, whatever it does now. */
void fallback_doubt(struct router *router, uint32_t index);

/* --- deadline.c: what time does -------------------------------------------------------------- */

/* Runs the timers that are due. */
void deadlines_run(struct router *router);

/* When the item's own timer is due: to leave for the store, or to give up. */
static inline uint64_t item_due_ns(const struct item *item) {
    return item->fall_at_ns != 0 ? item->fall_at_ns : item->deadline_ns;
}

/* Ends a take by a policy. */
void item_degrade(struct router *router, uint32_t index, enum policy policy);

/* The plan that a learned view has for the choice, -1: none; false if the plan that it names does
 * not exist. A key's assigned plan is known to its shard only, so a take that names no plan goes by
 * the default plan. */
bool plan_of_choice(const struct plan_set *plans, const struct plan_choice *choice, int32_t *at);

#endif
