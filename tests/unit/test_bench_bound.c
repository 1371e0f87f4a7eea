#include "tests/unit/cmocka_all.h"

#include <stdlib.h>

#include "bench/bound.h"
#include "bench/key_choice.h"
#include "proto/bucket.h"

#define MS UINT64_C(1000000)
#define S UINT64_C(1000000000)
#define GRANTS_MAX 4096

/* What the checker must find, looked for in every interval: the largest excess of a key. */
static uint64_t oracle_excess(const struct grant *grants, uint32_t count, uint32_t key,
                              const struct limit *limit) {
    __int128 most = 0;
    for (uint32_t a = 0; a < count; a++) {
        for (uint32_t b = 0; b < count; b++) {
            if (grants[a].key != key || grants[b].key != key ||
                grants[b].received_ns < grants[a].sent_ns) {
                continue;
            }
            __int128 over =
                -(__int128)limit->period_ns * limit->burst_tokens -
                (__int128)limit->rate_tokens * (grants[b].received_ns - grants[a].sent_ns);
            for (uint32_t i = 0; i < count; i++) {
                if (grants[i].key == key && grants[i].sent_ns >= grants[a].sent_ns &&
                    grants[i].received_ns <= grants[b].received_ns) {
                    over += (__int128)limit->period_ns * grants[i].cost_tokens;
                }
            }
            most = over > most ? over : most;
        }
    }
    return (uint64_t)((most + limit->period_ns - 1) / limit->period_ns);
}

static void the_checker_agrees_with_every_interval_looked_at(void **state) {
    uint64_t random = 11;
    uint32_t over = 0, within = 0;
    for (int round = 0; round < 400; round++) {
        const struct limit limit = {1 + random_next(&random) % 5, S, 1 + random_next(&random) % 6};
        struct grant grants[40], copy[40];
        uint32_t count = 1 + (uint32_t)(random_next(&random) % 40);
        for (uint32_t i = 0; i < count; i++) {
            uint64_t sent = random_next(&random) % (8 * S);
            grants[i] = (struct grant){.sent_ns = sent,
                                       .received_ns = sent + random_next(&random) % (2 * S),
                                       .cost_tokens = random_next(&random) % 4,
                                       .key = (uint32_t)(random_next(&random) % 3)};
        }
        memcpy(copy, grants, sizeof copy);
        struct bound_verdict verdict;
        assert_true(bound_check(copy, count, &limit, 0, &verdict));
        uint64_t slips = 0, worst = 0;
        for (uint32_t key = 0; key < 3; key++) {
            uint64_t excess = oracle_excess(grants, count, key, &limit);
            slips += excess;
            worst = excess > worst ? excess : worst;
        }
        assert_true(verdict.slip_tokens == slips);
        assert_true(verdict.worst.excess_tokens == worst);
        over += slips > 0;
        within += slips == 0;
    }
    assert_true(over > 50 && within > 50);
}

/* What an exact bucket grants to someone who asks all the time, each answer at once. */
static uint32_t saturate(const struct limit *limit, uint32_t key, struct grant *grants) {
    struct terms terms = {1, {*limit}};
    struct tat tat = {0};
    uint32_t count = 0;
    for (uint64_t now = S; now < 4 * S && count < GRANTS_MAX; now += MS) {
        struct take_result result;
        bucket_decide(&terms, &tat, VERB_TAKE, 1, now, &result);
        if (result.allowed) {
            grants[count++] =
                (struct grant){.sent_ns = now, .received_ns = now, .cost_tokens = 1, .key = key};
        }
    }
    return count;
}

/* One grant more, anywhere between the first and the last of a key that takes all it can. */
static void one_extra_grant_anywhere_is_found(void **state) {
    const struct limit limit = {97, S, 13};
    struct grant *grants = malloc(2 * GRANTS_MAX * sizeof *grants);
    struct grant *planted = malloc((2 * GRANTS_MAX + 1) * sizeof *planted);
    uint32_t first = saturate(&limit, 1, grants);
    uint32_t count = first + saturate(&limit, 2, grants + first);
    struct bound_verdict verdict;
    memcpy(planted, grants, count * sizeof *grants);
    assert_true(bound_check(planted, count, &limit, 0, &verdict));
    assert_true(verdict.keys_over == 0 && verdict.keys == 2 && verdict.grants == count);
    for (uint64_t at = S; at <= grants[first - 1].sent_ns; at += 7 * MS) {
        memcpy(planted, grants, count * sizeof *grants);
        planted[count] =
            (struct grant){.sent_ns = at, .received_ns = at, .cost_tokens = 1, .key = 2};
        assert_true(bound_check(planted, count + 1, &limit, 0, &verdict));
        assert_true(verdict.keys_over == 1 && verdict.slip_tokens == 1);
        assert_true(verdict.worst.key == 2 && verdict.worst.from_ns <= at);
        assert_true(verdict.worst.to_ns >= at);
    }
    free(grants);
    free(planted);
}

/* Answers that took long leave open when the decision fell: no false alarm. */
static void no_alarm_where_the_bound_may_have_held(void **state) {
    const struct limit limit = {10, S, 5};
    struct bound_verdict verdict;
    struct grant grants[6];
    for (int i = 0; i < 6; i++) { /* five from the burst, the sixth is due after 100 ms */
        grants[i] =
            (struct grant){.sent_ns = S, .received_ns = S + 100 * MS, .cost_tokens = 1, .key = 0};
    }
    assert_true(bound_check(grants, 6, &limit, 0, &verdict) && verdict.keys_over == 0);
    for (int i = 0; i < 6; i++) {
        grants[i].received_ns = S + 99 * MS;
    }
    assert_true(bound_check(grants, 6, &limit, 0, &verdict) && verdict.slip_tokens == 1);
    assert_true(verdict.worst.excess_ns == MS);
    assert_true(bound_check(grants, 6, &limit, MS, &verdict) && verdict.keys_over == 0);
    assert_true(bound_check(grants, 0, &limit, 0, &verdict) && verdict.keys == 0);
}

/* A million grants of one key: the tree keeps that to a second or so. */
static void many_grants_of_one_key(void **state) {
    enum { COUNT = 300000 };
    const struct limit limit = {1000, S, 1};
    struct grant *grants = malloc(COUNT * sizeof *grants);
    for (uint64_t i = 0; i < COUNT; i++) {
        grants[i] = (struct grant){
            .sent_ns = S + i * MS, .received_ns = S + i * MS, .cost_tokens = 1, .key = 9};
    }
    struct bound_verdict verdict;
    assert_true(bound_check(grants, COUNT, &limit, 0, &verdict));
    assert_true(verdict.keys_over == 0 && verdict.tokens == COUNT);
    grants[COUNT / 2].cost_tokens = 2;
    assert_true(bound_check(grants, COUNT, &limit, 0, &verdict));
    assert_true(verdict.slip_tokens == 1);
    free(grants);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_checker_agrees_with_every_interval_looked_at),
        cmocka_unit_test(one_extra_grant_anywhere_is_found),
        cmocka_unit_test(no_alarm_where_the_bound_may_have_held),
        cmocka_unit_test(many_grants_of_one_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
