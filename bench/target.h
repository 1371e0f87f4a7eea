/* The targets of a load: each drives one kind of server by its own protocol. */
#ifndef SLUICE_BENCH_TARGET_H
#define SLUICE_BENCH_TARGET_H

#include "bench/load.h"

/* A router, or one shard, over SP; `echo` counts whatever comes back as a grant. */
extern const struct target target_sluice;
extern const struct target target_echo;
/* Shards directly: each take goes to its key's owner by the map. */
extern const struct target target_map;
/* The shard's core within this process: the limit that no network or process can beat. */
extern const struct target target_core;
/* Redis: a Lua script, atomic; redis-cell's CL.THROTTLE; and throttlecrab's THROTTLE. */
extern const struct target target_redis;
extern const struct target target_cell;
extern const struct target target_throttlecrab;
/* State in an eventually consistent store (reads from a replica, writes to its primary), alone or
 * in front of Redis. */
extern const struct target target_kv;
extern const struct target target_hybrid;
/* HTTP/1.1: GET of --http-path, 200 granted, 429 refused. */
extern const struct target target_http;

/* NULL: no such target. */
const struct target *target_of_name(const char *name);

#define TARGET_NAMES "sluice|map|core|echo|redis|redis-cell|throttlecrab|kv|hybrid|http"

#endif
