/*
 * The map: which shard owns each slot, and where shards are reached. Numbered by epoch; a newer
 * epoch replaces an older one whole.
 *
 * Pure. Built once and then only read; threads may share it. Large (about 400 KB): allocate it.
 */
#ifndef SLUICE_PROTO_MAP_H
#define SLUICE_PROTO_MAP_H

#include "proto/bounds.h"
#include "proto/bytes.h"
#include "proto/error.h"
#include "proto/plan.h"
#include "proto/slot.h"

/* An index into the map's shards. Means something only together with the map it came from. */
struct shard_id {
    uint16_t index;
};
#define SHARD_ID_NONE ((struct shard_id){.index = UINT16_MAX})

/* Epochs by which a restored backup goes ahead of every map that it knows of: more changes of the
 * map than there can have been between the backup and the loss, so that no process of that time may
 * write any more. A node that sees such a step looks whether its fences still hold. Fences have
 * room for 4,096 restores (proto/store_keys.h). */
#define MAP_RESTORE_EPOCHS (1u << 20)

struct epoch {
    uint64_t number; /* 0: no map */
};

/* Which cluster: drawn when it is created, 16 hexadecimal digits. Clusters may share hosts, ports
 * that change hands, and a Redis; what is of one must not be taken for another's. */
#define CLUSTER_ID_DIGITS 16
struct cluster_id {
    char text[CLUSTER_ID_DIGITS + 1]; /* "": unknown, of a cluster that is older than ids */
};

struct endpoint_name {
    uint16_t size;
    char text[ENDPOINT_BYTES_MAX + 1]; /* a URL, zero-terminated */
};

/* Weight of a node: parts of an even share of the slots. An ordinary node has 100; one that is
 * drained has 0. */
#define WEIGHT_MAX 10000
#define WEIGHT_DEFAULT 100

struct map_node {
    struct name id;
    uint32_t weight;
    struct endpoint_name control;
};

struct map_shard {
    uint16_t node;   /* index into nodes */
    uint16_t number; /* which shard of its node, from 0 */
    struct endpoint_name endpoint;
};

struct map {
    struct cluster_id cluster;
    struct epoch epoch;
    uint32_t slot_count;
    uint32_t node_count;
    uint32_t shard_count;
    struct map_node nodes[NODES_MAX];
    struct map_shard shards[SHARDS_MAX];
    uint16_t owner[SLOTS_MAX]; /* shard index, UINT16_MAX: nobody */
};

/* Empty, epoch 0. */
void map_init(struct map *map);

static inline struct shard_id map_owner(const struct map *map, struct slot slot) {
    return (struct shard_id){.index = map->owner[slot.index]};
}

/* The node of that id, or -1. */
int32_t map_find_node(const struct map *map, struct bytes id);

/* The shard with that number of that node, or SHARD_ID_NONE. */
struct shard_id map_find_shard(const struct map *map, uint32_t node, uint32_t number);

uint32_t map_slots_owned(const struct map *map, struct shard_id shard);

/* Of all shards of a node; 0 if node is -1. */
uint32_t map_slots_of_node(const struct map *map, int32_t node);

/* Gives every slot an owner, as evenly as whole numbers allow: each shard a run of neighbours. */
void map_spread(struct map *map);

/* CODE_OK, or BAD_REQUEST with what does not fit (an owner that is no shard, a shard of no node,
 * two nodes of one id, a slot count that is no power of two). */
enum code map_check(const struct map *map, struct fault *fault);

/* False, and "", if the text is no id. */
bool cluster_id_set(struct cluster_id *id, struct bytes text);

/* Whether they are known to be of two clusters. */
bool cluster_id_differs(const struct cluster_id *one, const struct cluster_id *other);

/* CODE_OK if `next` is a map of the cluster that `known` is a map of, whichever is newer; else
 * BAD_REQUEST with what differs: the cluster, or the number of slots. Anything follows no map. */
enum code map_check_same(const struct map *known, const struct map *next, struct fault *fault);

bool endpoint_name_set(struct endpoint_name *name, struct bytes url);
static inline struct bytes endpoint_name_bytes(const struct endpoint_name *name) {
    return bytes_of(name->text, name->size);
}

#endif
