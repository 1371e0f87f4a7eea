/*
 * The Lua scripts that the store runs for us. Each one is atomic there: this is where fences and
 * compare-and-set live. Keys of one script share a hash tag, so that they live on one master.
 */
#ifndef SLUICE_SERVER_IO_SCRIPTS_H
#define SLUICE_SERVER_IO_SCRIPTS_H

#include "proto/store_keys.h"

/* X(name): a script, its text in scripts.c. */
#define SCRIPTS(X)                                                                                 \
    X(RAISE_FENCE) /* fence, holder; epoch, fence held or 0, holder (if held: with @ and the fence \
                      that it read under) -> new fence, or "FENCED" */                             \
    X(WRITE)       /* of each slot the fence, of each the buckets; of each: fence, n, m, n keys to \
                      delete, m * (key, record) -> "OK" or "FENCED" for all, or a list of these    \
                      and errors' texts, one a slot */                                             \
    X(ASSIGN)      /* fence, keys; fence, key, plan or "" -> "OK" or "FENCED" */                   \
    X(FETCH)       /* buckets, keys; key -> [record or nil, plan or nil] */                        \
    X(HEARTBEAT)   /* node, nodes, map, plans; see membership.c */                                 \
    X(ACQUIRE)     /* node, nodes; id, incarnation, info, ttl, incarnation to replace or "" */     \
    X(RELEASE)     /* node; incarnation -> "OK" */                                                 \
    X(NODES)       /* nodes; key prefix of a node -> [[id, incarnation, info, ttl], ...] */        \
    X(EVENT)       /* events; most, looked at, group, kind, node, epoch, text -> its id */         \
    X(FORGET)      /* nodes, node; id -> "OK", or "HELD" while its lease holds */                  \
    X(REPLACE)     /* map or plans; number expected, new number, value -> "OK" or the number */

enum script {
#define X(name) SCRIPT_##name,
    SCRIPTS(X)
#undef X
};
#define SCRIPT_COUNT (SCRIPT_REPLACE + 1)

const char *script_text(enum script script);

#endif
