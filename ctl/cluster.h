/*
 * What an operator's command knows of the cluster: the map, who is alive, how busy slots are.
 *
 * Asked at --control, and when that one is gone at any other node that the last map named.
 * Everything blocks for at most the timeout a request. Large (about 700 KB): cluster_create.
 */
#ifndef SLUICE_CTL_CLUSTER_H
#define SLUICE_CTL_CLUSTER_H

#include <jansson.h>

#include "ctl/rpc.h"
#include "proto/map.h"

struct cluster {
    const struct settings *settings; /* borrowed */
    bool quiet;                      /* print no failures: somebody tries again */
    struct map map;                  /* epoch 0: not loaded yet */
    bool foreign;                    /* whoever answered last is of another cluster */
    struct epoch least;              /* an epoch that we know exists: no older map will do */
    bool alive[NODES_MAX];           /* by index in the map */
    uint64_t buckets[SLOTS_MAX];     /* after cluster_load_slots */
    uint64_t takes[SLOTS_MAX];       /* since the slot was gained */
};

/* NULL if there is no memory; freed with free(). */
struct cluster *cluster_create(const struct settings *settings);

/* The map and the living. Prints what went wrong. An epoch older than `least` is waited for. */
enum exit_code cluster_load(struct cluster *cluster);

/* Buckets and takes of the slots of every living node; a node that cannot be reached counts none.
 */
void cluster_load_slots(struct cluster *cluster);

/* One request to --control, or to whoever lives when nobody is there. False if no reply came
 * (answer->failure says why). rpc_answer_fini in either case. */
bool cluster_call(const struct cluster *cluster, struct bytes request, struct rpc_answer *answer);

/* cluster_call, printing what went wrong. EXIT_DONE: the reply is a result. */
enum exit_code cluster_ask(const struct cluster *cluster, struct bytes request,
                           struct rpc_answer *answer);

/* Index of the node in the map, or -1 with the mistake printed. */
int32_t cluster_find_node(const struct cluster *cluster, struct bytes id);

/* Sets a node's weight; a conflict with other changes of the map is tried again a few times. */
enum exit_code cluster_weigh(struct cluster *cluster, const char *node, uint32_t weight);

/* Milliseconds since 1970, and on a clock that never jumps. */
uint64_t time_now_ms(void);
uint64_t time_monotonic_ms(void);
/* Sleeps, or less if Ctrl-C came. */
void time_sleep_ms(uint64_t span_ms);

#endif
