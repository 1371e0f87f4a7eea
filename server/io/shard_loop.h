/*
 * A shard on its loop: the pure step (server/core/shard.h) with a clock, an endpoint, a store and
 * a mailbox around it. One thread each.
 *
 * The node's thread opens and joins; everything between happens on the shard's thread, which is
 * told things through its mailbox and tells things through the node's.
 */
#ifndef SLUICE_SERVER_IO_SHARD_LOOP_H
#define SLUICE_SERVER_IO_SHARD_LOOP_H

#include "runtime/clock.h"
#include "runtime/endpoint.h"
#include "runtime/log.h"
#include "runtime/mailbox.h"
#include "runtime/redis_link.h"
#include "server/core/shard.h"
#include "server/io/ack.h"
#include "server/io/cluster_state.h"
#include "server/io/settings.h"

/* Messages that may wait in a shard's mailbox. The node sends few: states, operators' requests. */
#define SHARD_MAILBOX_MESSAGES 1024

/* To a shard. Allocated by the sender, freed by the shard. */
enum shard_message_kind {
    SHARD_MESSAGE_STATE,  /* a newer cluster state (a reference comes with it) */
    SHARD_MESSAGE_ADMIN,  /* an operator's request on a key */
    SHARD_MESSAGE_STATUS, /* tell counters, and how busy each owned slot is */
    SHARD_MESSAGE_SEAL,   /* seal exactly these slots; when all of them are written, say so */
    SHARD_MESSAGE_STOP,   /* decide no more, write everything, say so */
    SHARD_MESSAGE_EXIT,   /* close everything and end the thread */
};

struct shard_message {
    enum shard_message_kind kind;
    uint64_t token; /* comes back with the answer */
    struct cluster_state *state;
    enum shard_admin_kind admin_kind;
    uint32_t key_size;
    struct name plan;
    uint8_t key[KEY_BYTES_MAX];
    uint8_t sealed[SLOTS_MAX / 8]; /* SEAL: a bit a slot */
    bool reload;                   /* SEAL: what is no longer sealed starts over */
};

/* From a shard to its node. Allocated by the shard, freed by the node. */
enum node_message_kind {
    NODE_MESSAGE_ADMIN,
    NODE_MESSAGE_STATUS,
    NODE_MESSAGE_SERVING, /* all owned slots are being served (again) */
    NODE_MESSAGE_SEALED,  /* all sealed slots are written (`token` as SEAL had it) */
    NODE_MESSAGE_STOPPED, /* everything is written */
};

/* How busy an owned slot is. */
struct slot_load {
    uint16_t slot;
    uint32_t buckets;
    uint64_t takes;
};

struct shard_status {
    struct shard_counters counters;
    struct endpoint_counters endpoint;
    uint64_t clock_error_ns;
    bool store_up;
};

struct node_message {
    enum node_message_kind kind;
    uint32_t shard;
    uint64_t token;
    enum reason reason;         /* ADMIN */
    uint32_t wait_ms;           /* ADMIN: until it can be done */
    struct shard_key_info info; /* ADMIN show */
    struct shard_status status; /* STATUS */
    struct slot_load *loads;    /* STATUS: one an owned slot; the node's to free. NULL: none */
    uint32_t load_count;
};

struct shard_loop;

struct shard_loop_options {
    const struct node_settings *settings;
    const struct redis_access *redis;
    struct ack ack;
    const char *incarnation;           /* of the process */
    const struct cluster_clock *clock; /* measured at start; copied */
    const struct log *log;
    uint32_t number;    /* of the shard in its node */
    const char *listen; /* its own URL */
    struct mailbox *node_mailbox;
};

/* Binds the endpoint, so that a port in use is known at once. NULL with `why`. */
struct shard_loop *shard_loop_open(const struct shard_loop_options *options, char *why,
                                   size_t why_size);

/* Where it listens, with the true port. */
const char *shard_loop_url(const struct shard_loop *loop);

/* Starts the thread. The first message must be a STATE. False: no thread to be had. */
bool shard_loop_start(struct shard_loop *loop);

bool shard_loop_started(const struct shard_loop *loop);

/* Moves the message. False if the mailbox is full: it stays the caller's. Node's thread. */
bool shard_loop_tell(struct shard_loop *loop, struct shard_message *message);

/* After EXIT was told (or if never started): waits for the thread and frees everything. */
void shard_loop_join(struct shard_loop *loop);

#endif
