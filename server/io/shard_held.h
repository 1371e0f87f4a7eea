/*
 * Replies that are kept back until the shard releases their takes: its results are made, but the
 * store has not acknowledged them yet (shard.h).
 *
 * Every take_many is one reply, which goes when the last of its held takes is released. Used on the
 * shard's thread only.
 */
#ifndef SLUICE_SERVER_IO_SHARD_HELD_H
#define SLUICE_SERVER_IO_SHARD_HELD_H

#include "proto/reply.h"
#include "runtime/endpoint.h"
#include "server/core/shard.h"

/* Bytes of replies kept back at once; beyond it new takes are OVERLOADED. A take is 40 bytes, and
 * one that waits 140: as many as the shard holds fit ten times, unless nearly all in large batches
 * do not wait. */
#define HELD_BYTES_MAX (64u << 20)

struct held_replies;

/* A request whose items' results are held, and how many of them are. */
struct held_request {
    struct endpoint_caller caller;
    uint32_t msgid;
    bool is_many;
    uint32_t count;      /* items */
    uint32_t held_count; /* of them */
};

struct held_replies *held_replies_create(void); /* NULL: no memory */
void held_replies_destroy(struct held_replies *replies);

/* A number for a request about to be decided: its items' tokens are made of it. Given back when
 * none of its results was held. */
uint32_t held_replies_id(struct held_replies *replies);
void held_replies_give_back(struct held_replies *replies, uint32_t id);
static inline uint64_t held_token(uint32_t id, uint32_t item) {
    return (uint64_t)id << 16 | item;
}

/* False: too much is kept back already. */
bool held_replies_room(const struct held_replies *replies);

/* Keeps the reply (copied) back. `slots` are its items' (for MOVED). False: no memory; the reply
 * will never go out by itself, and the request is to be answered now. */
bool held_replies_keep(struct held_replies *replies, uint32_t id,
                       const struct held_request *request, struct bytes reply,
                       const struct slot slots[]);

/* An item whose result is another than was kept. */
struct held_change {
    uint16_t item;
    struct slot slot;
    struct take_result result; /* code and reason, if it is an error */
};

/* A reply that may go. Borrowed until the next call. */
struct held_ready {
    struct held_request request;
    struct bytes reply;          /* as it was kept */
    struct held_change *changes; /* may be put in order */
    uint32_t change_count;
};

/* A release of that token is soon to be taken in. */
void held_replies_prefetch(const struct held_replies *replies, uint64_t token);

/* Takes a release in. True if it was the last one of its request. */
bool held_replies_release(struct held_replies *replies, const struct shard_release *release,
                          struct held_ready *ready);

#endif
