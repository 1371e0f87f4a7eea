/*
 * A node's membership in the cluster: its lease, and the newest map and plans, all in the store.
 *
 * Belongs to the node's loop; one connection of its own. Ten times in the lease's time one script
 * call, the heartbeat, renews the lease, brings the map and plans if they changed, and tells which
 * nodes have no lease. Changes to map and plans are compare-and-set on their number: of two made at
 * once one wins, the other is told CONFLICT.
 */
#ifndef SLUICE_SERVER_IO_MEMBERSHIP_H
#define SLUICE_SERVER_IO_MEMBERSHIP_H

#include <hiredis/hiredis.h>
#include <uv.h>

#include "runtime/log.h"
#include "server/io/boot.h"
#include "server/io/cluster_state.h"
#include "server/io/settings.h"

struct membership;

/* A node as the store knows it. */
struct member {
    struct name id;
    bool alive; /* its lease holds; if not, the rest is unknown */
    char incarnation[INCARNATION_SIZE + 1];
    int64_t lease_ms; /* left */
    struct endpoint_name control;
    uint32_t shard_count;
    struct endpoint_name shards[NODE_SHARDS_MAX];
    uint64_t epoch, plans_version; /* that it has adopted */
    uint32_t weight;               /* that it was started with */
    char version[32];
};

struct beat {
    uint64_t number;
    uint64_t sent_ns, round_trip_ns; /* monotonic */
    bool reconnected;                /* the first that was answered on this connection */
    const struct name *absent;
    uint32_t absent_count;
};

struct membership_handler {
    void *ctx;
    /* A newer state; borrowed for the call (hold it to keep it). */
    void (*on_state)(void *ctx, struct cluster_state *state);
    /* After each heartbeat, behind on_state if it brought something. `number` counts the heartbeats
     * sent; `round_trip_ns` is how long this one took. `absent` are the ids without a lease. */
    void (*on_beat)(void *ctx, const struct beat *beat);
    /* Another process holds the lease of this id: this one must end. */
    void (*on_usurped)(void *ctx, const char *incarnation);
    /* The store holds the map of another cluster, or of another number of slots: the same. */
    void (*on_foreign)(void *ctx, const char *why);
};

struct membership_options {
    const struct node_settings *settings;
    const struct boot *boot;
    const struct log *log;
    struct endpoint_name control; /* as advertised */
    uint32_t shard_count;
    const struct endpoint_name *shards; /* as advertised; borrowed for the membership's life */
    struct membership_handler handler;
};

/* NULL: no memory. */
struct membership *membership_open(uv_loop_t *loop, const struct membership_options *options);

/* Writes this node's info, as stored with its lease, and returns its bytes (borrowed until the
 * next call). */
struct bytes membership_info(struct membership *membership);

/* Starts the heartbeats. */
void membership_start(struct membership *membership);

/* Milliseconds since a heartbeat was last answered. */
uint64_t membership_age_ms(const struct membership *membership);

bool membership_store_up(const struct membership *membership);

/* The state in force; borrowed until the loop's next turn. */
struct cluster_state *membership_state(const struct membership *membership);

/* The outcome of a change: CODE_OK, CONFLICT (`number` is the one in force) or UNAVAILABLE. */
typedef void (*membership_changed_fn)(void *ctx, enum code code, uint64_t number);

/* Replaces the map (number next->epoch, expecting the one before) or the plans (likewise
 * next->version). Copied. The outcome always comes, from the loop. */
void membership_replace_map(struct membership *membership, const struct map *next,
                            membership_changed_fn done, void *ctx);
void membership_replace_plans(struct membership *membership, const struct plan_set *next,
                              membership_changed_fn done, void *ctx);

struct member_list {
    const struct member *members; /* by id */
    uint32_t count;
    uint64_t stored_epoch; /* of the map in the store: the state in force here may be older */
};

/* NULL if the store is away. Borrowed for the call. */
typedef void (*membership_listed_fn)(void *ctx, const struct member_list *list);
void membership_list(struct membership *membership, membership_listed_fn done, void *ctx);

/* Sends a heartbeat now, unless one is under way (then another follows it at once). Returns the
 * number of the heartbeat that will be the first sent from now on. */
uint64_t membership_beat(struct membership *membership);

/* Puts an event into the cluster's bounded list of events (XADD); lost if the store is away. `kind`
 * is one word, `text` a sentence. */
#define EVENTS_MAX 1000
void membership_event(struct membership *membership, const char *kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same for an event that grows: it takes the place of the one of the same group of this
 * process, if that is among the newest EVENTS_LOOKED. Not logged. */
#define EVENTS_LOOKED 32
void membership_event_grow(struct membership *membership, uint64_t group, const char *kind,
                           const char *text);

/* The newest events, newest first: the store's own reply (XREVRANGE), NULL if it is away. */
typedef void (*membership_reply_fn)(void *ctx, const redisReply *reply);
void membership_events(struct membership *membership, uint32_t count, membership_reply_fn done,
                       void *ctx);

/* The record of the rebalance under way: [number, value], compare-and-set like the map. */
void membership_rebalance_get(struct membership *membership, membership_reply_fn done, void *ctx);
void membership_rebalance_put(struct membership *membership, uint64_t follows, struct bytes value,
                              membership_changed_fn done, void *ctx);

/* Takes a node without a lease off the list of nodes. CODE_OK, CONFLICT (it is alive), UNAVAILABLE.
 */
void membership_forget(struct membership *membership, struct bytes id, membership_changed_fn done,
                       void *ctx);

/* Gives the lease back (at a planned stop), then calls done. */
void membership_release(struct membership *membership, void (*done)(void *ctx), void *ctx);

/* Outcomes still owed come as UNAVAILABLE during the call. Freed from the loop. */
void membership_close(struct membership *membership);

#endif
