#include "tests/chaos/bound.h"

#include <assert.h>
#include <stdlib.h>

/* Exact: tokens times the period in ns, which needs more than 64 bits for a limit a day. */
typedef __int128 amount;

/* Less than any window can come to, and far from overflow when windows are added to it. */
#define AMOUNT_NONE (-((amount)1 << 120))

/* A tree over the grants in the order of their answers. A leaf holds, for the window that ends with
 * its answer, cost * period - rate * end; `best` is the largest below, with what was added to all.
 */
struct node {
    amount best, added;
    uint32_t best_leaf;
};

struct bound {
    struct node *nodes;
    uint32_t leaves; /* a power of two */
    uint32_t *rank;  /* by the order of sending: place in the order of answers */
    struct grant *by_answer;
    uint32_t capacity; /* grants */
};

struct bound *bound_create(void) {
    struct bound *bound = calloc(1, sizeof *bound);
    assert(bound != NULL);
    return bound;
}

void bound_destroy(struct bound *bound) {
    free(bound->nodes);
    free(bound->rank);
    free(bound->by_answer);
    free(bound);
}

static void bound_reserve(struct bound *bound, uint32_t count) {
    while (bound->leaves == 0 || bound->leaves < count)
        bound->leaves = bound->leaves == 0 ? 64 : bound->leaves * 2;
    if (bound->capacity < bound->leaves) {
        bound->capacity = bound->leaves;
        bound->nodes = realloc(bound->nodes, (size_t)2 * bound->capacity * sizeof *bound->nodes);
        bound->rank = realloc(bound->rank, bound->capacity * sizeof *bound->rank);
        bound->by_answer = realloc(bound->by_answer, bound->capacity * sizeof *bound->by_answer);
        assert(bound->nodes != NULL && bound->rank != NULL && bound->by_answer != NULL);
    }
    for (bound->leaves = 1; bound->leaves < count;)
        bound->leaves *= 2;
}

static int by_sent(const void *a, const void *b) {
    const struct grant *one = a, *other = b;
    return (one->sent_ns > other->sent_ns) - (one->sent_ns < other->sent_ns);
}

/* `cost` is where the place in the order of sending was put for the sort. */
static int by_answered(const void *a, const void *b) {
    const struct grant *one = a, *other = b;
    if (one->answered_ns != other->answered_ns)
        return one->answered_ns > other->answered_ns ? 1 : -1;
    return (one->cost > other->cost) - (one->cost < other->cost);
}

static void node_pull(struct bound *bound, uint32_t at) {
    const struct node *left = &bound->nodes[2 * at], *right = &bound->nodes[2 * at + 1];
    const struct node *better = left->best >= right->best ? left : right;
    bound->nodes[at].best = better->best + bound->nodes[at].added;
    bound->nodes[at].best_leaf = better->best_leaf;
}

/* Adds to the leaves from `first` on. */
static void suffix_add(struct bound *bound, uint32_t first, amount value) {
    uint32_t at = bound->leaves + first;
    bound->nodes[at].best += value;
    for (; at > 1; at /= 2) {
        if (at % 2 == 0) {
            bound->nodes[at + 1].best += value;
            bound->nodes[at + 1].added += value;
        }
        node_pull(bound, at / 2);
    }
}

static void leaf_add(struct bound *bound, uint32_t leaf, amount value) {
    uint32_t at = bound->leaves + leaf;
    bound->nodes[at].best += value;
    for (at /= 2; at >= 1; at /= 2)
        node_pull(bound, at);
}

static void tree_plant(struct bound *bound, uint32_t count, const struct record_limit *limit,
                       uint64_t origin_ns) {
    for (uint32_t i = 0; i < bound->leaves; i++) {
        struct node *leaf = &bound->nodes[bound->leaves + i];
        *leaf = (struct node){.best = AMOUNT_NONE, .best_leaf = i};
        if (i < count)
            leaf->best -=
                (amount)limit->rate_tokens * (bound->by_answer[i].answered_ns - origin_ns);
    }
    for (uint32_t at = bound->leaves - 1; at >= 1; at--) {
        bound->nodes[at].added = 0;
        node_pull(bound, at);
    }
}

struct bound_verdict bound_judge(struct bound *bound, struct grant *grants, uint32_t count,
                                 const struct record_limit *limit, uint64_t clock_error_ns) {
    if (count == 0)
        return (struct bound_verdict){.within = true, .slack_tokens = (double)limit->burst_tokens};
    bound_reserve(bound, count);
    qsort(grants, count, sizeof *grants, by_sent);
    for (uint32_t i = 0; i < count; i++) {
        bound->by_answer[i] = grants[i];
        bound->by_answer[i].cost = i;
    }
    qsort(bound->by_answer, count, sizeof *bound->by_answer, by_answered);
    for (uint32_t i = 0; i < count; i++)
        bound->rank[bound->by_answer[i].cost] = i;
    uint64_t origin_ns = grants[0].sent_ns;
    tree_plant(bound, count, limit, origin_ns);

    amount worst = AMOUNT_NONE;
    struct bound_verdict verdict = {0};
    for (uint32_t i = count; i-- > 0;) {
        suffix_add(bound, bound->rank[i], (amount)grants[i].cost * limit->period_ns);
        leaf_add(bound, bound->rank[i], -AMOUNT_NONE); /* from here on windows may end there */
        amount over =
            bound->nodes[1].best + (amount)limit->rate_tokens * (grants[i].sent_ns - origin_ns);
        if (over > worst) {
            worst = over;
            verdict.from_ns = grants[i].sent_ns;
            verdict.to_ns = bound->by_answer[bound->nodes[1].best_leaf].answered_ns;
        }
    }
    amount left = (amount)limit->burst_tokens * limit->period_ns +
                  (amount)limit->rate_tokens * clock_error_ns - worst;
    verdict.within = left >= 0;
    verdict.slack_tokens = (double)left / (double)limit->period_ns;
    return verdict;
}
