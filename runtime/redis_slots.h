/*
 * Redis Cluster: in which of its 16,384 slots a key is, who serves them, and what a server says
 * when the slot is another's. Pure.
 */
#ifndef SLUICE_RUNTIME_REDIS_SLOTS_H
#define SLUICE_RUNTIME_REDIS_SLOTS_H

#include <hiredis/hiredis.h>

#include "runtime/redis_address.h"

#define REDIS_SLOTS 16384

/* Masters of a cluster. Arbitrary, but safe: a shard holds a connection to each that it needs, and
 * one such master serves many shards. */
#define REDIS_MASTERS_MAX 64

/* The slot of a key: by what stands between its first brace and the next closing one, if that is
 * anything, else by all of it. */
uint16_t redis_slot_of(const char *key, size_t size);

struct redis_topology {
    struct redis_place masters[REDIS_MASTERS_MAX];
    uint32_t master_count;
    uint8_t served_by[REDIS_SLOTS]; /* 1 + the number of the master; 0: nobody */
};

/* Reads the answer to CLUSTER SLOTS that came from `from`, which stands for a host that the answer
 * leaves out. False with the reason; the topology is unchanged then. */
bool redis_topology_read(const redisReply *reply, const struct redis_place *from,
                         struct redis_topology *topology, char *why, size_t why_size);

/* NULL: nobody serves it, as far as is known. */
const struct redis_place *redis_topology_master(const struct redis_topology *topology,
                                                uint16_t slot);

/* The slot is served there. False: there are REDIS_MASTERS_MAX others. */
bool redis_topology_set(struct redis_topology *topology, uint16_t slot,
                        const struct redis_place *place);

bool redis_place_equal(const struct redis_place *a, const struct redis_place *b);

enum redis_redirect_kind {
    REDIS_REDIRECT_NONE,  /* the answer says nothing of the kind */
    REDIS_REDIRECT_MOVED, /* the slot is served there from now on */
    REDIS_REDIRECT_ASK,   /* this once, behind ASKING */
    REDIS_REDIRECT_AGAIN, /* some of the slot's keys are here and some there: in a moment */
    REDIS_REDIRECT_DOWN,  /* nobody serves the slot, or this master cannot tell who does */
};

struct redis_redirect {
    enum redis_redirect_kind kind;
    struct redis_place place; /* MOVED, ASK */
};

/* `reply` may be NULL. `from` is who answered. */
struct redis_redirect redis_redirect_read(const redisReply *reply, const struct redis_place *from);

#endif
