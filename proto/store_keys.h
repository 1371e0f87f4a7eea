/*
 * The names of our keys in Redis, and what a fence is. All keys of a slot share the hash tag
 * {<slot>}, all of the cluster {cluster}: each group lives on one master of a Redis Cluster.
 */
#ifndef SLUICE_PROTO_STORE_KEYS_H
#define SLUICE_PROTO_STORE_KEYS_H

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "proto/bounds.h"
#include "proto/slot.h"

/* Bytes of the configurable prefix, and of any key with it, zero included. */
#define KEY_PREFIX_BYTES_MAX 64
#define STORE_KEY_BYTES_MAX (KEY_PREFIX_BYTES_MAX + NAME_BYTES_MAX + 32)

/* A fence is epoch * FENCE_RAISES + raises within the epoch: a shard that was given its slots by an
 * older map can never raise it above one that got them by a newer. Doubles hold it exactly up to
 * epoch 2^32. Owners' fences are whole numbers. A router that decides in the store
 * (docs/decisions/0025) adds a half, which no owner holds. */
#define FENCE_RAISES 1048576

/* Whether keys may begin with it; if not, `why` says what may be. */
static inline bool key_prefix_check(const char *text, char *why, size_t why_size) {
    bool valid = strlen(text) <= KEY_PREFIX_BYTES_MAX && strpbrk(text, "{}") == NULL;
    if (!valid) {
        snprintf(why, why_size,
                 "a prefix has at most %d bytes and no braces, like sluice:", KEY_PREFIX_BYTES_MAX);
    }
    return valid;
}

typedef char store_key[STORE_KEY_BYTES_MAX];

static inline int store_key_buckets(const char *prefix, struct slot slot, store_key out) {
    return snprintf(out, STORE_KEY_BYTES_MAX, "%s{%u}:buckets", prefix, slot.index);
}

static inline int store_key_fence(const char *prefix, struct slot slot, store_key out) {
    return snprintf(out, STORE_KEY_BYTES_MAX, "%s{%u}:fence", prefix, slot.index);
}

static inline int store_key_holder(const char *prefix, struct slot slot, store_key out) {
    return snprintf(out, STORE_KEY_BYTES_MAX, "%s{%u}:holder", prefix, slot.index);
}

static inline int store_key_keys(const char *prefix, struct slot slot, store_key out) {
    return snprintf(out, STORE_KEY_BYTES_MAX, "%s{%u}:keys", prefix, slot.index);
}

static inline int store_key_node(const char *prefix, const char *id, store_key out) {
    return snprintf(out, STORE_KEY_BYTES_MAX, "%s{cluster}:node:%s", prefix, id);
}

static inline int store_key_nodes(const char *prefix, store_key out) {
    return snprintf(out, STORE_KEY_BYTES_MAX, "%s{cluster}:nodes", prefix);
}

static inline int store_key_map(const char *prefix, store_key out) {
    return snprintf(out, STORE_KEY_BYTES_MAX, "%s{cluster}:map", prefix);
}

static inline int store_key_events(const char *prefix, store_key out) {
    return snprintf(out, STORE_KEY_BYTES_MAX, "%s{cluster}:events", prefix);
}

static inline int store_key_rebalance(const char *prefix, store_key out) {
    return snprintf(out, STORE_KEY_BYTES_MAX, "%s{cluster}:rebalance", prefix);
}

static inline int store_key_plans(const char *prefix, store_key out) {
    return snprintf(out, STORE_KEY_BYTES_MAX, "%s{cluster}:plans", prefix);
}

#endif
