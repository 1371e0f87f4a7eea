/*
 * What the store holds of the cluster as a whole: its map, its plans, who lives. One thread.
 * Large (about 1 MB and more): allocate it.
 */
#ifndef SLUICE_CTL_STORE_CLUSTER_H
#define SLUICE_CTL_STORE_CLUSTER_H

#include "ctl/store.h"
#include "proto/map_codec.h"
#include "proto/plan_codec.h"

struct stored_value {
    uint64_t number; /* the map's epoch, the plans' version; 0: there is none */
    uint8_t *data;   /* owned */
    uint32_t size;
};

struct store_cluster;

/* Whether one node's lease is held. */
struct lease_look {
    struct store_cluster *cluster;
    char id[NAME_BYTES_MAX + 1];
};

struct store_cluster {
    struct stored_value map_value, plans_value;
    struct map map;        /* epoch 0: none */
    struct plan_set plans; /* version 0: none */
    uint64_t time_ns;      /* the store's, since 1970 */
    uint32_t alive_count;
    char alive[256]; /* ids of the first of them, for people */
    struct lease_look looks[NODES_MAX];
};

/* Reads all of it, anew. False with store->why: also if this version cannot read it. */
bool store_cluster_load(struct store *store, struct store_cluster *cluster);
void store_cluster_fini(struct store_cluster *cluster);

#endif
