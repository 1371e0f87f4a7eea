/*
 * Requests: [0, msgid, method, params], MessagePack-RPC.
 *
 * Reading is in two steps: the head tells the method and keeps the params as bytes; then the
 * method's own reader takes them apart. Every reader checks types, bounds and that nothing is left
 * over, and names the place of what is wrong ("params[1]: cost must be ...").
 * Pure; what is read borrows from the message.
 */
#ifndef SLUICE_PROTO_REQUEST_H
#define SLUICE_PROTO_REQUEST_H

#include "proto/error.h"
#include "proto/plan.h"
#include "proto/reader.h"
#include "proto/slot.h"
#include "proto/take.h"
#include "proto/writer.h"

enum method_kind {
    METHOD_KIND_TAKE,    /* decided by a shard; at every data endpoint */
    METHOD_KIND_READ,    /* read-only; at every endpoint */
    METHOD_KIND_NODE,    /* asked of one node from anywhere; at its control endpoint only */
    METHOD_KIND_CONTROL, /* the operator's; at a node's control endpoint only */
};

/* X(name, text, kind) */
#define METHODS(X)                                                                                 \
    X(TAKE, "take", TAKE)                                                                          \
    X(TAKE_MANY, "take_many", TAKE)                                                                \
    X(PEEK, "peek", TAKE)                                                                          \
    X(REFUND, "refund", TAKE)                                                                      \
    X(CLUSTER_MAP, "cluster.map", READ)                                                            \
    X(CLUSTER_STATUS, "cluster.status", READ)                                                      \
    X(CLUSTER_INIT, "cluster.init", CONTROL)                                                       \
    X(PLANS_APPLY, "plans.apply", CONTROL)                                                         \
    X(PLANS_GET, "plans.get", CONTROL)                                                             \
    X(KEY_SHOW, "key.show", CONTROL)                                                               \
    X(KEY_RESET, "key.reset", CONTROL)                                                             \
    X(KEY_ASSIGN, "key.assign", CONTROL)                                                           \
    X(NODE_STATUS, "node.status", CONTROL)                                                         \
    X(CLUSTER_REFRESH, "cluster.refresh", NODE)                                                    \
    X(CLUSTER_EVENTS, "cluster.events", CONTROL)                                                   \
    X(SLOTS_MOVE, "slots.move", CONTROL)                                                           \
    X(SLOTS_LIST, "slots.list", CONTROL)                                                           \
    X(NODE_WEIGHT, "node.weight", CONTROL)                                                         \
    X(NODE_REMOVE, "node.remove", CONTROL)                                                         \
    X(REBALANCE_GET, "rebalance.get", CONTROL)                                                     \
    X(REBALANCE_PUT, "rebalance.put", CONTROL)

enum method {
#define X(name, text, kind) METHOD_##name,
    METHODS(X)
#undef X
};
#define METHOD_COUNT (METHOD_REBALANCE_PUT + 1)

const char *method_text(enum method method);
enum method_kind method_kind(enum method method);

struct request {
    bool has_msgid; /* false: the message broke off before it; answer with nil */
    uint32_t msgid;
    enum method method;
    struct bytes params; /* the rest of the message: the method's own reader checks it to the end */
};

/* Reads the head. On an error, has_msgid and msgid tell what to answer with. */
enum code request_read(struct bytes message, struct request *request, struct fault *fault);

/* params of take, peek, refund: [key, cost=1, plan=nil, options={}]. */
enum code request_read_take(struct bytes params, struct take *take, struct fault *fault);

/* params of take_many: [[key, cost=1, plan=nil], ...]; `takes` has room for
 * TAKES_PER_REQUEST_MAX. */
enum code request_read_take_many(struct bytes params, struct take *takes, uint32_t *count,
                                 struct fault *fault);

/* params []: nothing. */
enum code request_read_none(struct bytes params, struct fault *fault);

/* cluster.init: [{"slots": n}] or []; slots is SLOTS_DEFAULT unless given. */
enum code request_read_init(struct bytes params, uint32_t *slot_count, struct fault *fault);

/* key.show, key.reset: [key]. */
enum code request_read_key(struct bytes params, struct bytes *key, struct fault *fault);

/* key.assign: [key, plan] with plan nil (size 0) to take the assignment back. */
enum code request_read_assign(struct bytes params, struct bytes *key, struct bytes *plan,
                              struct fault *fault);

/* plans.apply: [plan set] or [plan set, {"base": version}]; base UINT64_MAX unless given: apply
 * only if that version is still in force. */
enum code request_read_apply(struct bytes params, struct plan_set *set, uint64_t *base,
                             struct fault *fault);

/* cluster.refresh: [epoch]. cluster.events: [] or [count], 100 unless given. */
enum code request_read_number(struct bytes params, const char *what, uint64_t initial,
                              uint64_t least, uint64_t most, uint64_t *number, struct fault *fault);

/* slots.move: [[slot, ...], node id, shard number]. `slots` has room for SLOTS_MAX; no slot stands
 * twice. */
enum code request_read_move(struct bytes params, struct slot *slots, uint32_t *count,
                            struct bytes *node, uint32_t *number, struct fault *fault);

/* node.weight: [id, weight]. node.remove: [id]. */
enum code request_read_weight(struct bytes params, struct bytes *id, uint32_t *weight,
                              struct fault *fault);
enum code request_read_node(struct bytes params, struct bytes *id, struct fault *fault);

/* rebalance.put: [number it follows, any value of at most REBALANCE_BYTES_MAX]. */
#define REBALANCE_BYTES_MAX 4096
enum code request_read_rebalance(struct bytes params, uint64_t *follows, struct bytes *value,
                                 struct fault *fault);

/* [0, msgid, method, -- the params are to follow. */
void request_write_head(struct writer *writer, uint32_t msgid, enum method method);

/* [key, cost, plan] as an item of take_many; with options {"deadline_ms"} if deadline_ms > 0. */
void request_write_take(struct writer *writer, const struct take *take, uint32_t deadline_ms);

/* A whole take, peek or refund request. */
void request_write_single(struct writer *writer, uint32_t msgid, enum verb verb,
                          const struct take *take, uint32_t deadline_ms);

#endif
