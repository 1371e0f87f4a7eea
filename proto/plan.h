/*
 * Plans: named terms, with what to do when no owner answers. The plan set is what operators apply:
 * all plans of a cluster under one version, replaced whole.
 *
 * Pure. A plan set is built once and then only read; threads may share it.
 */
#ifndef SLUICE_PROTO_PLAN_H
#define SLUICE_PROTO_PLAN_H

#include "proto/limit.h"

struct name {
    uint8_t size;                  /* 1 to NAME_BYTES_MAX; 0: none */
    char text[NAME_BYTES_MAX + 1]; /* zero-terminated */
};

/* Names are letters, digits, '_', '-', '.', and start with a letter or digit. */
bool name_valid(struct bytes text);
struct name name_of(struct bytes valid);
static inline struct bytes name_bytes(const struct name *name) {
    return bytes_of(name->text, name->size);
}

/* X(name, text). What the router answers when no owner does. */
#define POLICIES(X)                                                                                \
    X(DENY, "deny")   /* refuse, flagged degraded */                                               \
    X(ALLOW, "allow") /* grant, flagged degraded: the bound does not hold meanwhile */             \
    X(REDIS, "redis") /* decide in the store, flagged degraded: the bound holds */
enum policy {
#define X(name, text) POLICY_##name,
    POLICIES(X)
#undef X
};
#define POLICY_COUNT (POLICY_REDIS + 1)
const char *policy_text(enum policy policy);
bool policy_of_text(struct bytes text, enum policy *policy);

/* X(name, text). What a crash may cost. The first is the one of a plan that says nothing. */
#define DURABILITIES(X)                                                                            \
    X(STRICT, "strict")   /* nothing is granted twice; a bucket may lose its reservation */        \
    X(RELAXED, "relaxed") /* at most one snapshot interval of takes is forgotten */
enum durability {
#define X(name, text) DURABILITY_##name,
    DURABILITIES(X)
#undef X
};
#define DURABILITY_COUNT (DURABILITY_RELAXED + 1)
const char *durability_text(enum durability durability);
bool durability_of_text(struct bytes text, enum durability *durability);

/* Terms that a plan had: kept so that records written under them can be converted. */
struct plan_generation {
    uint32_t generation; /* version of the set in which the plan got these terms */
    struct terms terms;
};

struct plan {
    struct name name;
    enum policy on_unavailable;
    enum durability durability;
    uint32_t generation_count;                                /* 1 to 1 + PLAN_HISTORY_MAX */
    struct plan_generation generations[1 + PLAN_HISTORY_MAX]; /* [0] is in force, then older */
};

/* Entries of the name index: a power of two, at most half full. */
#define PLAN_INDEX_SIZE (2 * PLANS_MAX)

struct plan_set {
    uint64_t version;   /* 0: none applied yet */
    int32_t default_at; /* index of the default plan, or -1 */
    uint32_t plan_count;
    struct plan plans[PLANS_MAX];
    uint16_t index[PLAN_INDEX_SIZE]; /* by hash of the name: plan + 1, 0 free */
};

/* A plan set is large (hundreds of KB): allocate it. */
void plan_set_init(struct plan_set *set);

/* Appends a plan (copied) that is not yet in the set; asserts room. */
void plan_set_add(struct plan_set *set, const struct plan *plan);

/* The plan of that name, or -1. */
int32_t plan_set_find(const struct plan_set *set, struct bytes name);

/* The terms of that generation: if it is older than all kept, the oldest kept. */
const struct terms *plan_terms_at(const struct plan *plan, uint32_t generation);

/* Builds what follows `current` when an operator applies `wanted` (whose generations all have one
 * entry): version + 1, generations raised and history kept where limits changed. Returns false and
 * leaves `next` undefined if `wanted` equals `current` in everything that counts. */
bool plan_set_succeed(const struct plan_set *current, const struct plan_set *wanted,
                      struct plan_set *next);

#endif
