/*
 * The checker of the bound is itself checked: against a slow and obvious one, and with grants
 * planted into what a true bucket granted, each of which must be found.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tests/chaos/bound.h"
#include "tests/unit/cmocka_all.h"

#define SECOND_NS UINT64_C(1000000000)

static uint64_t random_state = 20260101;

static uint64_t chance(uint64_t bound) {
    uint64_t z = random_state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (z ^ (z >> 31)) % bound;
}

/* Every window, one by one. */
static bool slow_within(const struct grant *grants, uint32_t count,
                        const struct record_limit *limit, uint64_t error_ns) {
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t j = 0; j < count; j++) {
            uint64_t from = grants[i].sent_ns, to = grants[j].answered_ns;
            if (to < from)
                continue;
            unsigned __int128 cost = 0;
            for (uint32_t k = 0; k < count; k++) {
                if (grants[k].sent_ns >= from && grants[k].answered_ns <= to)
                    cost += grants[k].cost;
            }
            if (cost * limit->period_ns >
                (unsigned __int128)limit->burst_tokens * limit->period_ns +
                    (unsigned __int128)limit->rate_tokens * (to - from + error_ns))
                return false;
        }
    }
    return true;
}

static void test_agrees_with_every_window(void **state) {
    struct bound *bound = bound_create();
    uint32_t broken = 0;
    for (int round = 0; round < 20000; round++) {
        struct grant grants[24], copy[24];
        uint32_t count = 1 + (uint32_t)chance(24);
        struct record_limit limit = {1 + chance(5), 1 + chance(20), 1 + chance(12)};
        uint64_t span = 1 + chance(60), error_ns = chance(3);
        for (uint32_t i = 0; i < count; i++) {
            grants[i].sent_ns = 1000 + chance(span);
            grants[i].answered_ns = grants[i].sent_ns + chance(8);
            grants[i].cost = (uint32_t)chance(4);
        }
        memcpy(copy, grants, sizeof copy);
        struct bound_verdict verdict = bound_judge(bound, copy, count, &limit, error_ns);
        assert_int_equal(verdict.within, slow_within(grants, count, &limit, error_ns));
        assert_int_equal(verdict.within, verdict.slack_tokens >= 0);
        broken += !verdict.within;
    }
    assert_in_range(broken, 2000, 18000); /* both answers were seen often */
    bound_destroy(bound);
}

/* A bucket that is asked all the time, by clients who learn of it late: `most_ns` at most on the
 * way there and back. Returns the grants. */
static uint32_t true_bucket(const struct record_limit *limit, uint64_t gap_ns, uint64_t most_ns,
                            uint64_t length_ns, struct grant *grants, uint32_t room) {
    /* Tokens times the period, as exact as the product's. */
    unsigned __int128 full = (unsigned __int128)limit->burst_tokens * limit->period_ns,
                      level = full;
    uint64_t last_ns = SECOND_NS;
    uint32_t count = 0;
    for (uint64_t now_ns = SECOND_NS; now_ns < SECOND_NS + length_ns && count < room;
         now_ns += 1 + chance(2 * gap_ns)) {
        level += (unsigned __int128)limit->rate_tokens * (now_ns - last_ns);
        level = level < full ? level : full;
        last_ns = now_ns;
        uint32_t cost = chance(5) == 0 ? 2 : 1;
        if (level < (unsigned __int128)cost * limit->period_ns)
            continue;
        level -= (unsigned __int128)cost * limit->period_ns;
        grants[count++] = (struct grant){.sent_ns = now_ns - chance(most_ns),
                                         .answered_ns = now_ns + chance(most_ns),
                                         .cost = cost};
    }
    return count;
}

static uint32_t planted_found(const struct record_limit *limit, uint64_t gap_ns, uint64_t most_ns,
                              uint64_t length_ns, uint32_t rounds) {
    enum { ROOM = 4000 };
    static struct grant grants[ROOM + 1], copy[ROOM + 1];
    struct bound *bound = bound_create();
    uint32_t found = 0;
    for (uint32_t round = 0; round < rounds; round++) {
        uint32_t count = true_bucket(limit, gap_ns, most_ns, length_ns, grants, ROOM);
        assert_in_range(count, 5, ROOM - 1);
        memcpy(copy, grants, count * sizeof *grants);
        assert_true(bound_judge(bound, copy, count, limit, 0).within);
        /* Anywhere between the first grant and the last one. */
        uint64_t first = grants[0].sent_ns, last = grants[count - 1].answered_ns;
        for (uint32_t i = 0; i < count; i++) {
            first = grants[i].sent_ns < first ? grants[i].sent_ns : first;
            last = grants[i].answered_ns > last ? grants[i].answered_ns : last;
        }
        uint64_t at = first + chance(last - first), end = at + chance(2 * most_ns);
        grants[count] =
            (struct grant){.sent_ns = at, .answered_ns = end < last ? end : last, .cost = 1};
        memcpy(copy, grants, (count + 1) * sizeof *grants);
        found += !bound_judge(bound, copy, count + 1, limit, 0).within;
    }
    bound_destroy(bound);
    return found;
}

/* A burst and next to no refill, as most keys of the loads have: the bucket is soon spent, and one
 * more grant is found wherever it is. */
static void test_a_planted_grant_is_found_in_spent_buckets(void **state) {
    struct record_limit limit = {1, 3600 * SECOND_NS, 64};
    assert_int_equal(planted_found(&limit, 5000000, 20000000, 5 * SECOND_NS, 2000), 2000);
}

/* A bucket that refills and is asked more often than it refills: at the moments of a grant less
 * than a token is left, so one more is found wherever it is. */
static void test_a_planted_grant_is_found_in_busy_buckets(void **state) {
    struct record_limit limit = {20, SECOND_NS, 40};
    assert_int_equal(planted_found(&limit, 2000000, 4000000, 20 * SECOND_NS, 300), 300);
}

/* Nothing is invented: true buckets of many kinds, seen through long and short delays. */
static void test_true_buckets_are_never_accused(void **state) {
    static struct grant grants[3000];
    struct bound *bound = bound_create();
    for (int round = 0; round < 300; round++) {
        struct record_limit limit = {1 + chance(200), (1 + chance(5)) * SECOND_NS, 1 + chance(300)};
        uint32_t count = true_bucket(&limit, 1 + chance(20000000), 1 + chance(300000000),
                                     10 * SECOND_NS, grants, 3000);
        assert_true(bound_judge(bound, grants, count, &limit, 0).within);
    }
    bound_destroy(bound);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_agrees_with_every_window),
        cmocka_unit_test(test_a_planted_grant_is_found_in_spent_buckets),
        cmocka_unit_test(test_a_planted_grant_is_found_in_busy_buckets),
        cmocka_unit_test(test_true_buckets_are_never_accused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
