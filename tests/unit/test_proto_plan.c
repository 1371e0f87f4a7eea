/* Limits, names and plan sets: bounds, what follows what, and the way to msgpack and back. */
#include <stdio.h>
#include <stdlib.h>

#include "cmocka_all.h"
#include "proto/plan_codec.h"

#define SECOND UINT64_C(1000000000)

struct workspace {
    struct plan_set current;
    struct plan_set wanted;
    struct plan_set next;
    uint8_t memory[PLAN_SET_BYTES_MAX];
};

static int setup(void **state) {
    *state = malloc(sizeof(struct workspace));
    return *state == NULL;
}

static int teardown(void **state) {
    free(*state);
    return 0;
}

static struct plan plan_make(const char *name, uint64_t rate) {
    struct plan plan = {.name = name_of(bytes_of_text(name)), .generation_count = 1};
    plan.generations[0].terms.limit_count = 1;
    plan.generations[0].terms.limits[0] =
        (struct limit){.rate_tokens = rate, .period_ns = SECOND, .burst_tokens = 2 * rate};
    return plan;
}

static void plan_put(struct plan_set *set, const char *name, uint64_t rate) {
    struct plan plan = plan_make(name, rate);
    plan_set_add(set, &plan);
}

static const struct plan *plan_get(const struct plan_set *set, const char *name) {
    int32_t at = plan_set_find(set, bytes_of_text(name));
    assert_true(at >= 0);
    return &set->plans[at];
}

/* --- limits and names --------------------------------------------------------------------------
 */

static void test_bounds_of_a_limit(void **state) {
    static const struct {
        struct limit limit;
        bool good;
    } cases[] = {
        {{1, 1000000, 1}, true},
        {{TOKENS_MAX, PERIOD_NS_MAX, TOKENS_MAX}, true},
        {{1, PERIOD_NS_MAX, 66}, true},  /* 26,400 days */
        {{1, PERIOD_NS_MAX, 67}, false}, /* beyond 2^61 ns */
        {{0, SECOND, 1}, false},
        {{1, SECOND, 0}, false},
        {{TOKENS_MAX + 1, SECOND, 1}, false},
        {{1, SECOND, TOKENS_MAX}, false},
        {{TOKENS_MAX, SECOND, TOKENS_MAX + 1}, false},
        {{1, 999999, 1}, false},
        {{1, PERIOD_NS_MAX + 1, 1}, false},
        {{1, TOLERANCE_NS_MAX, 1}, false}, /* the period itself is too long */
        {{UINT64_MAX, UINT64_MAX, UINT64_MAX}, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fault fault = {0};
        assert_int_equal(limit_check(&cases[i].limit, "x", &fault),
                         cases[i].good ? CODE_OK : CODE_BAD_REQUEST);
        assert_int_equal(strncmp(fault.text, "x: ", 3) == 0, !cases[i].good);
    }
}

static void test_names(void **state) {
    static const char longest[] = "123456789.123456789.123456789.123456789.123456789.123456789.123";
    assert_int_equal(strlen(longest), NAME_BYTES_MAX);
    assert_true(name_valid(bytes_of_text(longest)));
    assert_true(name_valid(bytes_of_text("a")));
    assert_true(name_valid(bytes_of_text("9.A_b-c")));
    assert_false(name_valid(bytes_of_text("")));
    assert_false(name_valid(bytes_of(longest, NAME_BYTES_MAX + 1)));
    assert_false(name_valid(bytes_of_text(".a")));
    assert_false(name_valid(bytes_of_text("-a")));
    assert_false(name_valid(bytes_of_text("a b")));
    assert_false(name_valid(bytes_of_text("\xc3\xa9")));
    assert_false(name_valid(bytes_of("a\0", 2)));
}

/* --- sets ----------------------------------------------------------------------------------------
 */

static void test_a_full_set_finds_every_plan(void **state) {
    struct plan_set *set = &((struct workspace *)*state)->current;
    char name[16];
    plan_set_init(set);
    assert_int_equal(plan_set_find(set, bytes_of_text("p0")), -1);
    for (uint32_t i = 0; i < PLANS_MAX; i++) {
        snprintf(name, sizeof name, "p%u", i);
        plan_put(set, name, i + 1);
    }
    for (uint32_t i = 0; i < 2 * PLANS_MAX; i++) {
        snprintf(name, sizeof name, "p%u", i);
        assert_int_equal(plan_set_find(set, bytes_of_text(name)), i < PLANS_MAX ? (int32_t)i : -1);
    }
}

static void test_a_changed_plan_keeps_its_history(void **state) {
    struct workspace *workspace = *state;
    plan_set_init(&workspace->current);
    for (uint64_t rate = 1; rate <= 20; rate++) {
        plan_set_init(&workspace->wanted);
        plan_put(&workspace->wanted, "steady", 5);
        plan_put(&workspace->wanted, "moving", rate);
        assert_true(plan_set_succeed(&workspace->current, &workspace->wanted, &workspace->next));
        assert_int_equal(workspace->next.version, rate);
        workspace->current = workspace->next;
        assert_false(plan_set_succeed(&workspace->current, &workspace->wanted, &workspace->next));
    }
    const struct plan *steady = plan_get(&workspace->current, "steady");
    assert_int_equal(steady->generation_count, 1);
    assert_int_equal(steady->generations[0].generation, 1);
    const struct plan *moving = plan_get(&workspace->current, "moving");
    assert_int_equal(moving->generation_count, 1 + PLAN_HISTORY_MAX);
    for (uint32_t i = 0; i <= PLAN_HISTORY_MAX; i++) {
        assert_int_equal(moving->generations[i].generation, 20 - i);
        assert_int_equal(plan_terms_at(moving, 20 - i)->limits[0].rate_tokens, 20 - i);
    }
    assert_int_equal(plan_terms_at(moving, 3)->limits[0].rate_tokens, 20 - PLAN_HISTORY_MAX);
    assert_int_equal(plan_terms_at(moving, UINT32_MAX)->limits[0].rate_tokens, 20);
}

static void test_what_counts_as_a_change(void **state) {
    struct workspace *workspace = *state;
    plan_set_init(&workspace->wanted);
    plan_put(&workspace->wanted, "a", 1);
    plan_put(&workspace->wanted, "b", 2);
    plan_set_init(&workspace->current);
    assert_true(plan_set_succeed(&workspace->current, &workspace->wanted, &workspace->next));
    workspace->current = workspace->next;

    plan_set_init(&workspace->wanted); /* another order is no change */
    plan_put(&workspace->wanted, "b", 2);
    plan_put(&workspace->wanted, "a", 1);
    assert_false(plan_set_succeed(&workspace->current, &workspace->wanted, &workspace->next));
    workspace->wanted.default_at = 0;
    assert_true(plan_set_succeed(&workspace->current, &workspace->wanted, &workspace->next));
    assert_int_equal(workspace->next.default_at, 0);
    assert_int_equal(plan_get(&workspace->next, "a")->generations[0].generation, 1);
    workspace->wanted.default_at = -1;
    workspace->wanted.plans[0].on_unavailable = POLICY_ALLOW;
    assert_true(plan_set_succeed(&workspace->current, &workspace->wanted, &workspace->next));
    assert_int_equal(plan_get(&workspace->next, "b")->generations[0].generation, 1);

    plan_set_init(&workspace->wanted); /* gone, and back: a life of its own */
    plan_put(&workspace->wanted, "a", 1);
    assert_true(plan_set_succeed(&workspace->current, &workspace->wanted, &workspace->next));
    workspace->current = workspace->next;
    plan_put(&workspace->wanted, "b", 2);
    assert_true(plan_set_succeed(&workspace->current, &workspace->wanted, &workspace->next));
    assert_int_equal(plan_get(&workspace->next, "b")->generations[0].generation, 3);

    plan_set_init(&workspace->current); /* even an empty first set is a version */
    plan_set_init(&workspace->wanted);
    assert_true(plan_set_succeed(&workspace->current, &workspace->wanted, &workspace->next));
    assert_int_equal(workspace->next.version, 1);
}

/* --- codec
 * ----------------------------------------------------------------------------------------- */

static bool plans_same(const struct plan *a, const struct plan *b) {
    bool same = strcmp(a->name.text, b->name.text) == 0 && a->on_unavailable == b->on_unavailable &&
                a->generation_count == b->generation_count;
    for (uint32_t i = 0; same && i < a->generation_count; i++) {
        same = a->generations[i].generation == b->generations[i].generation &&
               terms_equal(&a->generations[i].terms, &b->generations[i].terms);
    }
    return same;
}

/* The largest set: every plan with four limits and a full history. */
static void largest_make(struct plan_set *set) {
    plan_set_init(set);
    set->version = UINT32_MAX;
    for (uint32_t i = 0; i < PLANS_MAX; i++) {
        char name[NAME_BYTES_MAX + 1];
        snprintf(name, sizeof name, "%063u", i);
        struct plan plan = plan_make(name, 1);
        plan.on_unavailable = i % 2 == 0 ? POLICY_DENY : POLICY_ALLOW;
        plan.generation_count = 1 + PLAN_HISTORY_MAX;
        for (uint32_t j = 0; j <= PLAN_HISTORY_MAX; j++) {
            plan.generations[j].generation = UINT32_MAX - j;
            plan.generations[j].terms.limit_count = LIMITS_PER_PLAN_MAX;
            for (uint32_t k = 0; k < LIMITS_PER_PLAN_MAX; k++) {
                plan.generations[j].terms.limits[k] = (struct limit){.rate_tokens = TOKENS_MAX - j,
                                                                     .period_ns = PERIOD_NS_MAX,
                                                                     .burst_tokens = TOKENS_MAX};
            }
        }
        plan_set_add(set, &plan);
    }
    set->default_at = PLANS_MAX - 1;
}

static void test_the_largest_set_comes_back(void **state) {
    struct workspace *workspace = *state;
    struct fault fault = {0};
    largest_make(&workspace->current);
    struct writer writer = writer_of(workspace->memory, sizeof workspace->memory);
    plan_set_write(&writer, &workspace->current);
    assert_false(writer.overflow);
    struct reader reader = reader_of(writer_bytes(&writer));
    if (plan_set_read(&reader, &workspace->next, &fault) != CODE_OK) {
        fail_msg("%s", fault.text);
    }
    assert_true(reader_done(&reader));
    assert_int_equal(workspace->next.version, workspace->current.version);
    assert_int_equal(workspace->next.default_at, workspace->current.default_at);
    for (uint32_t i = 0; i < PLANS_MAX; i++) {
        assert_true(plans_same(&workspace->current.plans[i], &workspace->next.plans[i]));
    }
    writer = writer_of(workspace->memory, sizeof workspace->memory);
    policies_write(&writer, &workspace->current);
    reader = reader_of(writer_bytes(&writer));
    assert_int_equal(policies_read(&reader, &workspace->next, &fault), CODE_OK);
    assert_int_equal(workspace->next.plan_count, PLANS_MAX);
    assert_int_equal(workspace->next.plans[1].on_unavailable, POLICY_ALLOW);
    assert_int_equal(workspace->next.default_at, workspace->current.default_at);
}

static void test_damaged_sets_are_refused_or_whole(void **state) {
    struct workspace *workspace = *state;
    plan_set_init(&workspace->current);
    plan_put(&workspace->current, "free", 10);
    plan_put(&workspace->current, "premium", 100);
    workspace->current.default_at = 0;
    struct writer writer = writer_of(workspace->memory, sizeof workspace->memory);
    plan_set_write(&writer, &workspace->current);
    unsigned seed = 3;
    for (int round = 0; round < 50000; round++) {
        size_t size = round < (int)writer.size ? (size_t)round : writer.size;
        uint8_t *exact = malloc(size + (size == 0));
        struct fault fault;
        assert_non_null(exact);
        memcpy(exact, workspace->memory, size);
        if (size == writer.size) {
            exact[(size_t)rand_r(&seed) % size] = (uint8_t)rand_r(&seed);
        }
        struct reader reader = reader_of(bytes_of(exact, size));
        if (plan_set_read(&reader, &workspace->next, &fault) == CODE_OK) {
            assert_int_equal(size, writer.size);
            for (uint32_t i = 0; i < workspace->next.plan_count; i++) {
                const struct terms *terms = &workspace->next.plans[i].generations[0].terms;
                assert_int_equal(limit_check(&terms->limits[0], "", &fault), CODE_OK);
            }
        }
        free(exact);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bounds_of_a_limit),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_a_full_set_finds_every_plan),
        cmocka_unit_test(test_a_changed_plan_keeps_its_history),
        cmocka_unit_test(test_what_counts_as_a_change),
        cmocka_unit_test(test_the_largest_set_comes_back),
        cmocka_unit_test(test_damaged_sets_are_refused_or_whole),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
