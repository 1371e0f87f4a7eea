/* What the files of the shard's loop share. */
#ifndef SLUICE_SERVER_IO_SHARD_LOOP_IMPL_H
#define SLUICE_SERVER_IO_SHARD_LOOP_IMPL_H

#include "proto/reply.h"
#include "server/io/shard_held.h"
#include "server/io/shard_loop.h"
#include "server/io/store.h"

/* A request of this turn whose takes wait to be decided together. */
struct turn_request {
    struct endpoint_caller caller;
    uint32_t msgid;
    bool is_many;
    uint32_t id;           /* for results that are held */
    uint32_t first, count; /* its items */
};

/* Bytes of the reply scratch: a take_many whose every item is refused with the longest error. */
#define REPLY_BYTES_MAX (TAKES_PER_REQUEST_MAX * RESULT_BYTES_MAX + 64)

struct shard_loop {
    const struct node_settings *settings;
    struct log log;
    uint32_t number;
    uv_thread_t thread;
    bool started;
    bool exiting;
    bool stopped_said;
    uint64_t store_lost_ns; /* monotonic; 0: the store is there */
    bool seal_asked;        /* to be told when everything sealed is written */
    uint64_t seal_token;
    uv_loop_t loop;
    uv_timer_t wake_timer;
    struct endpoint *endpoint;
    struct mailbox *mailbox;
    struct mailbox *node_mailbox;
    struct store *store;
    const struct redis_access *redis;
    struct ack ack;
    struct cluster_clock clock;
    struct memory_huge *huge; /* the shard's memory, with --huge-pages */
    struct shard *shard;      /* created with the first map, when the number of slots is known */
    struct cluster_state *state;
    struct shard_id id; /* in the state's map; SHARD_ID_NONE: not in it */
    struct epoch epoch; /* fences are raised under it: of the map that `own` was last told from */
    /* This turn's requests and their items; bodies are borrowed until
     * the turn ends. */
    struct turn_request requests[TAKES_PER_REQUEST_MAX];
    uint32_t request_count;
    struct shard_item items[TAKES_PER_REQUEST_MAX];
    uint32_t item_count;
    struct take takes[TAKES_PER_REQUEST_MAX];          /* scratch for decoding a take_many */
    struct take_result refused[TAKES_PER_REQUEST_MAX]; /* when the shard is not asked */
    struct held_replies *held;
    uint8_t *reply; /* REPLY_BYTES_MAX */
};

/* Feeds the shard one event and performs its update. */
void shard_loop_step(struct shard_loop *loop, struct shard_event *event);

/* Milliseconds since the store was last there, for cluster.map. */
uint64_t shard_loop_age_ms(const struct shard_loop *loop);

/* The endpoint's handler. */
struct endpoint_handler shard_requests_handler(struct shard_loop *loop);

/* Answers the requests of the turn with the results of their items, in order. Those with a result
 * that is held (`held` NULL: none) are kept back. */
void shard_requests_answer(struct shard_loop *loop, const struct take_result *results,
                           const bool *held);

/* Answers what was kept back and now may go. */
void shard_requests_release(struct shard_loop *loop, const struct shard_release *releases,
                            uint32_t count);

#endif
