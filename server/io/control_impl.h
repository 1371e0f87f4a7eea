/* What the files of the control endpoint share. */
#ifndef SLUICE_SERVER_IO_CONTROL_IMPL_H
#define SLUICE_SERVER_IO_CONTROL_IMPL_H

#include "proto/reply.h"
#include "proto/request.h"
#include "server/io/control.h"

/* Bytes of the largest answer: the map, or the status of the most nodes with all their shards. */
#define CONTROL_REPLY_BYTES_MAX (8u << 20)

/* A request that waits for the store or for shards. */
struct control_loads {
    struct slot_load *list; /* owned */
    uint32_t count;
};

struct control_call {
    struct control *control;
    bool taken;
    uint32_t turn; /* raised at each use, so that a late answer finds nobody */
    struct endpoint_caller caller;
    uint32_t msgid;
    enum method method;
    uint8_t key[KEY_BYTES_MAX]; /* key.* */
    uint32_t key_size;
    uint32_t slot_count;           /* cluster.init */
    struct map *map;               /* cluster.init: the map proposed; owned */
    struct plan_set *plans;        /* plans.apply: what was sent; owned */
    uint64_t base;                 /* plans.apply: the version it may follow; UINT64_MAX: any */
    uint32_t tries;                /* plans.apply */
    uint32_t shards_outstanding;   /* node.status */
    struct control_loads *loads;   /* slots.list: one a shard; owned */
    uint32_t move_count;           /* slots.move */
    struct name node;              /* slots.move, node.weight, node.remove: whom it is about */
    uint32_t weight, weight_next;  /* node.weight, for the event */
    uint64_t epoch_awaited;        /* node.*: answered when this node has adopted it; 0: no */
    struct shard_status *statuses; /* node.status: one a shard; owned */
};

struct control {
    const struct node_settings *settings;
    const struct boot *boot;
    struct log log;
    struct shard_loop **shards;
    uint32_t shard_count;
    struct membership *membership;
    struct handover_shell *handover;
    struct endpoint *endpoint;
    uint64_t started_ns;
    bool closing;
    struct control_call calls[CONTROL_CALLS_MAX];
    uint8_t *reply;
    struct plan_set *plans_next; /* scratch for plans.apply: what is proposed */
};

/* NULL if all are taken. */
struct control_call *control_call_get(struct control *control, const struct endpoint_caller *caller,
                                      const struct request *request);
uint64_t control_call_token(const struct control_call *call);
struct control_call *control_call_of_token(struct control *control, uint64_t token);

/* Starts a reply in the scratch; control_call_reply sends it and gives the call back. */
struct writer control_reply_begin(struct control *control, uint32_t msgid);
void control_call_reply(struct control_call *call, const struct writer *writer);
void control_call_fail(struct control_call *call, const struct fault *fault,
                       const struct moved *moved);

/* The methods; each answers, or keeps the call until it can. */
void control_status(struct control_call *call);
void control_init(struct control_call *call, struct bytes params);
void control_plans_apply(struct control_call *call, struct bytes params);
void control_key(struct control_call *call, struct bytes params);
void control_node_status(struct control_call *call);
void control_key_on_shard(struct control_call *call, const struct node_message *message);
void control_refresh(struct control_call *call, struct bytes params);
void control_events(struct control_call *call, struct bytes params);
void control_slots_move(struct control_call *call, struct bytes params);
void control_node_weight(struct control_call *call, struct bytes params);
void control_node_remove(struct control_call *call, struct bytes params);
void control_rebalance_get(struct control_call *call);
void control_rebalance_put(struct control_call *call, struct bytes params);
void control_loads_write(struct control_call *call);
void control_fail_away(struct control_call *call);
void control_node_status_on_shard(struct control_call *call, const struct node_message *message);

#endif
