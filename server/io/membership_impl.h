/* What the files of the membership share. */
#ifndef SLUICE_SERVER_IO_MEMBERSHIP_IMPL_H
#define SLUICE_SERVER_IO_MEMBERSHIP_IMPL_H

#include "proto/map_codec.h"
#include "proto/plan_codec.h"
#include "proto/store_keys.h"
#include "runtime/redis_link.h"
#include "server/io/membership.h"
#include "server/io/scripts.h"

/* Words of the longest command here. */
#define WORDS_MAX 16

/* Bytes of the largest value that is written. */
#define SCRATCH_BYTES (MAP_BYTES_MAX > PLAN_SET_BYTES_MAX ? MAP_BYTES_MAX : PLAN_SET_BYTES_MAX)

struct membership {
    const struct node_settings *settings;
    const struct boot *boot;
    struct log log;
    struct membership_handler handler;
    struct endpoint_name control;
    uint32_t shard_count;
    const struct endpoint_name *shards;
    struct redis_link *link;
    uv_timer_t timer;
    uint32_t handles_open;
    bool beating;     /* a heartbeat is outstanding */
    bool beat_again;  /* another was asked for meanwhile */
    bool reconnected; /* none has been answered on this connection */
    uint64_t beats_sent, beat_sent_ns, beat_answered_ns;
    struct name absent[NODES_MAX];
    bool closing;
    char down_told[256]; /* why Redis does not take us in, as logged last; empty: it does */
    bool map_refused;    /* the stored map was unreadable: said once */
    bool foreign;        /* the store holds the map of another cluster: this node ends */
    uint64_t stored_map; /* the older epoch in whose place the map in force was put back last */
    struct cluster_state *state;
    store_key node_key, nodes_key, map_key, plans_key, events_key, rebalance_key;
    uint8_t info[NODE_INFO_BYTES_MAX];
    uint8_t *scratch; /* MAP_BYTES_MAX or PLAN_SET_BYTES_MAX, whichever is larger */
    struct member *members;
};

/* Writes the state in force over the older one of number `stored`, if that is still there. */
void membership_put_back_map(struct membership *membership, uint64_t stored);
void membership_put_back_plans(struct membership *membership, uint64_t stored);

/* A command under construction; its words are borrowed until it is sent. */
struct command {
    int count;
    const char *words[WORDS_MAX];
    size_t sizes[WORDS_MAX];
};

void command_begin(struct command *command, enum script script, const char *key_count);
void command_word(struct command *command, const char *text);
void command_bytes(struct command *command, struct bytes bytes);

/* False: the link is down, and on_reply will not be called. */
bool command_send(struct membership *membership, const struct command *command,
                  redis_reply_fn on_reply, void *ctx);

#endif
