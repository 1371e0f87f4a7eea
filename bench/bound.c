#include "bench/bound.h"

#include <stdlib.h>

/*
 * Grants of one key come in the order of their receipt b. For each possible begin a (a grant's
 * sending) the tree holds
 *
 *     value(a) = period * (cost of the grants seen so far with sent >= a) + rate * a
 *
 * so that the bound over [a, b] is broken if value(a) - rate * b > period * burst. A grant adds to
 * all begins up to its own sending: a range from the left. The largest value is at the root.
 * 128 bits: period * cost and rate * time are below 2^112 each.
 */
typedef __int128 wide;

#define WIDE_LEAST (-((wide)1 << 120))

struct node {
    wide best;        /* largest value below, without what ancestors still hold */
    wide held;        /* added to everything below */
    uint32_t best_at; /* its leaf */
};

struct begin {
    uint64_t sent_ns;
    uint32_t grant; /* its place in the order of receipt */
};

struct bound_work {
    struct node *nodes;
    struct begin *begins;
    uint32_t *leaf_of; /* by place in the order of receipt */
    uint64_t capacity; /* grants */
};

static int by_key_and_receipt(const void *left, const void *right) {
    const struct grant *a = left, *b = right;
    if (a->key != b->key) {
        return a->key < b->key ? -1 : 1;
    }
    return (a->received_ns > b->received_ns) - (a->received_ns < b->received_ns);
}

static int by_sending(const void *left, const void *right) {
    const struct begin *a = left, *b = right;
    return (a->sent_ns > b->sent_ns) - (a->sent_ns < b->sent_ns);
}

static bool work_reserve(struct bound_work *work, uint64_t count, uint32_t *leaves) {
    *leaves = 1;
    while (*leaves < count) {
        *leaves *= 2;
    }
    if (work->capacity >= count) {
        return true;
    }
    free(work->nodes);
    free(work->begins);
    free(work->leaf_of);
    work->nodes = malloc(2 * (size_t)*leaves * sizeof *work->nodes);
    work->begins = malloc(*leaves * sizeof *work->begins);
    work->leaf_of = malloc(*leaves * sizeof *work->leaf_of);
    work->capacity = *leaves;
    return work->nodes != NULL && work->begins != NULL && work->leaf_of != NULL;
}

static void node_update(struct node *nodes, uint32_t at) {
    const struct node *left = &nodes[2 * at], *right = &nodes[2 * at + 1];
    const struct node *best = left->best >= right->best ? left : right;
    nodes[at].best = best->best + nodes[at].held;
    nodes[at].best_at = best->best_at;
}

/* Adds to all leaves up to `leaf`. */
static void leaves_add(struct node *nodes, uint32_t leaves, uint32_t leaf, wide amount) {
    uint32_t at = leaves + leaf;
    nodes[at].best += amount;
    while (at > 1) {
        if (at & 1) { /* everything below its left neighbour */
            nodes[at - 1].best += amount;
            nodes[at - 1].held += amount;
        }
        at /= 2;
        node_update(nodes, at);
    }
}

/* A begin counts from when its own grant was received: before, no interval ends behind it. */
static void leaf_open(struct node *nodes, uint32_t leaves, uint32_t leaf, wide amount) {
    uint32_t at = leaves + leaf;
    nodes[at].best += amount - WIDE_LEAST;
    while (at > 1) {
        at /= 2;
        node_update(nodes, at);
    }
}

static void tree_clear(struct node *nodes, uint32_t leaves) {
    for (uint32_t at = 1; at < 2 * leaves; at++) {
        nodes[at] = (struct node){.best = WIDE_LEAST, .best_at = at >= leaves ? at - leaves : 0};
    }
}

static bool key_check(const struct grant *grants, uint64_t count, const struct limit *limit,
                      uint64_t clock_error_ns, struct bound_work *work,
                      struct bound_excess *worst) {
    uint32_t leaves;
    if (!work_reserve(work, count, &leaves)) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        work->begins[i] = (struct begin){.sent_ns = grants[i].sent_ns, .grant = i};
    }
    qsort(work->begins, count, sizeof *work->begins, by_sending);
    for (uint32_t i = 0; i < count; i++) {
        work->leaf_of[work->begins[i].grant] = i;
    }
    tree_clear(work->nodes, leaves);
    wide rate = (wide)limit->rate_tokens, period = (wide)limit->period_ns, most = 0;
    wide allowed = period * (wide)limit->burst_tokens + rate * (wide)clock_error_ns;
    *worst = (struct bound_excess){.key = grants[0].key};
    for (uint32_t i = 0; i < count; i++) {
        wide sent = (wide)grants[i].sent_ns, received = (wide)grants[i].received_ns;
        uint32_t leaf = work->leaf_of[i];
        leaf_open(work->nodes, leaves, leaf, rate * sent);
        leaves_add(work->nodes, leaves, leaf, period * (wide)grants[i].cost_tokens);
        wide over = work->nodes[1].best - rate * received - allowed;
        if (over > most) {
            uint64_t from_ns = work->begins[work->nodes[1].best_at].sent_ns;
            most = over;
            worst->from_ns = from_ns;
            worst->to_ns = grants[i].received_ns;
            worst->granted_tokens =
                (uint64_t)((work->nodes[1].best - rate * (wide)from_ns) / period);
            worst->excess_tokens = (uint64_t)((over + period - 1) / period);
            worst->excess_ns = (uint64_t)((over + rate - 1) / rate);
        }
    }
    return true;
}

bool bound_check(struct grant *grants, uint64_t count, const struct limit *limit,
                 uint64_t clock_error_ns, struct bound_verdict *verdict) {
    struct bound_work work = {0};
    bool done = true;
    *verdict = (struct bound_verdict){.grants = count};
    qsort(grants, count, sizeof *grants, by_key_and_receipt);
    for (uint64_t first = 0, end; first < count && done; first = end) {
        struct bound_excess excess;
        for (end = first; end < count && grants[end].key == grants[first].key; end++) {
            verdict->tokens += grants[end].cost_tokens;
            verdict->degraded += (grants[end].flags & RECORD_FLAG_DEGRADED) != 0;
        }
        done = key_check(grants + first, end - first, limit, clock_error_ns, &work, &excess);
        if (done) {
            verdict->keys++;
            verdict->keys_over += excess.excess_tokens > 0;
            verdict->slip_tokens += excess.excess_tokens;
            if (excess.excess_tokens > verdict->worst.excess_tokens) {
                verdict->worst = excess;
            }
        }
    }
    free(work.nodes);
    free(work.begins);
    free(work.leaf_of);
    return done;
}
