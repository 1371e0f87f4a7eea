/*
 * What a node is told at start. Filled by the program's options, or by a test that runs nodes in
 * its own process; borrowed by the node for its whole life.
 */
#ifndef SLUICE_SERVER_IO_SETTINGS_H
#define SLUICE_SERVER_IO_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/redis_access.h"

/* Shards of one node. Arbitrary, but safe: more than the cores of any machine we know. */
#define NODE_SHARDS_MAX 256

/* Buckets that may be asked to stay in a shard's memory: more than its 32 GiB could hold. */
#define RESIDENT_BUCKETS_MAX UINT32_MAX

struct node_settings {
    const char *node_id;
    const char *redis;
    struct redis_access redis_access;
    const char *ack; /* what an acknowledged write means; NULL: memory */
    const char *key_prefix;
    uint64_t shards;
    const char *listen; /* of shard 0; shard i listens i ports higher */
    const char *control;
    const char *advertise_host; /* what others dial instead of the host in listen; or NULL */
    uint64_t snapshot_interval_ns;
    uint64_t lease_ttl_ns;
    uint64_t shard_memory_bytes_max;
    uint64_t resident_buckets_max; /* of a shard; 0: as many as memory holds */
    bool huge_pages;               /* for the buckets, where the system gives them */
    uint64_t stop_timeout_ns;
    uint64_t weight;          /* of this node when it joins: parts of an even share */
    bool failover;            /* take over the slots of nodes without a lease */
    bool auto_rebalance;      /* give away what is above this node's share */
    bool drain_on_stop;       /* hand everything over before a stop */
    const char *test_stop_at; /* tests only: the file that names a step of a handover to stop at */
    const char *log_level;
    bool log_json;
};

#endif
