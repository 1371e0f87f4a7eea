/* What routers are told of plans: names and policies, and limits where they may have to decide. */
#include <stdio.h>
#include <stdlib.h>

#include "cmocka_all.h"
#include "proto/plan_codec.h"

#define SECOND UINT64_C(1000000000)

static struct workspace {
    struct plan_set told, heard;
    uint8_t memory[PLAN_SET_BYTES_MAX];
    struct writer writer;
    struct fault fault;
} * workspace;

static int setup(void **state) {
    workspace = calloc(1, sizeof *workspace);
    plan_set_init(&workspace->told);
    workspace->told.version = 9;
    workspace->writer = writer_of(workspace->memory, sizeof workspace->memory);
    return workspace == NULL;
}

static int teardown(void **state) {
    free(workspace);
    return 0;
}

/* Two generations of two limits. */
static struct plan plan_of(const char *name, enum policy policy) {
    struct plan plan = {
        .name = name_of(bytes_of_text(name)), .on_unavailable = policy, .generation_count = 2};
    for (uint32_t i = 0; i < 2; i++) {
        plan.generations[i].generation = 9 - i;
        plan.generations[i].terms = (struct terms){
            .limit_count = 2, .limits = {{10 + i, SECOND, 20}, {100, 60 * SECOND, 200 + i}}};
    }
    return plan;
}

static void plan_put(const char *name, enum policy policy) {
    struct plan plan = plan_of(name, policy);
    plan_set_add(&workspace->told, &plan);
}

static enum code hear(void) {
    struct reader reader = reader_of(bytes_of(workspace->memory, workspace->writer.size));
    assert_false(workspace->writer.overflow);
    workspace->fault = (struct fault){0};
    return policies_read(&reader, &workspace->heard, &workspace->fault);
}

static const struct plan *heard(const char *name) {
    int32_t at = plan_set_find(&workspace->heard, bytes_of_text(name));
    assert_true(at >= 0);
    return &workspace->heard.plans[at];
}

static void test_limits_go_along_if_a_plan_is_decided_in_the_store(void **state) {
    plan_put("allow", POLICY_ALLOW);
    plan_put("deny", POLICY_DENY);
    workspace->told.default_at = 1;
    assert_false(policies_need_limits(&workspace->told));
    policies_write(&workspace->writer, &workspace->told);
    assert_int_equal(hear(), CODE_OK);
    assert_int_equal(heard("deny")->generations[0].terms.limit_count, 0);
    uint32_t without = workspace->writer.size;
    /* One such plan, and all have theirs: a record in the store may be under any of them. */
    plan_put("redis", POLICY_REDIS);
    plan_put("after", POLICY_DENY);
    assert_true(policies_need_limits(&workspace->told));
    workspace->writer = writer_of(workspace->memory, sizeof workspace->memory);
    policies_write(&workspace->writer, &workspace->told);
    assert_true(workspace->writer.size > 2 * without);
    assert_int_equal(hear(), CODE_OK);
    assert_int_equal(workspace->heard.version, 9);
    assert_int_equal(workspace->heard.default_at, 1);
    static const char *const names[] = {"allow", "deny", "redis", "after"};
    for (uint32_t i = 0; i < 4; i++) {
        const struct plan *from = &workspace->told.plans[i], *to = heard(names[i]);
        assert_int_equal(to->on_unavailable, from->on_unavailable);
        assert_int_equal(to->generation_count, 2);
        for (uint32_t g = 0; g < 2; g++) {
            assert_int_equal(to->generations[g].generation, from->generations[g].generation);
            assert_true(terms_equal(&to->generations[g].terms, &from->generations[g].terms));
        }
    }
}

static void test_a_plan_whose_limits_nobody_told(void **state) {
    /* From a view that an older node gave: it is passed on as it came. */
    plan_put("redis", POLICY_REDIS);
    plan_put("bare", POLICY_REDIS);
    workspace->told.plans[1].generations[0].terms.limit_count = 0;
    policies_write(&workspace->writer, &workspace->told);
    assert_int_equal(hear(), CODE_OK);
    assert_int_equal(heard("redis")->generations[0].terms.limit_count, 2);
    assert_int_equal(heard("bare")->generations[0].terms.limit_count, 0);
}

/* {"plans": [[name, policy, the rest]]} */
static void one_plan_begin(uint32_t parts) {
    struct writer *writer = &workspace->writer;
    *writer = writer_of(workspace->memory, sizeof workspace->memory);
    write_map(writer, 1);
    write_text(writer, "plans");
    write_array(writer, 1);
    write_array(writer, parts);
    write_text(writer, "one");
    write_text(writer, "redis");
}

static void write_history(void) {
    struct writer *writer = &workspace->writer;
    write_array(writer, 1);
    write_array(writer, 2);
    write_uint(writer, 4);
    write_array(writer, 1);
    limit_write_array(writer, &(struct limit){3, SECOND, 7});
}

static void test_what_a_later_version_adds_is_passed_over(void **state) {
    one_plan_begin(5);
    write_history();
    write_text(&workspace->writer, "more");
    write_map(&workspace->writer, 1);
    write_text(&workspace->writer, "still");
    write_uint(&workspace->writer, 1);
    assert_int_equal(hear(), CODE_OK);
    assert_int_equal(heard("one")->generations[0].terms.limits[0].burst_tokens, 7);
    /* But not something that ends too early, or is no history. */
    one_plan_begin(4);
    write_history();
    assert_int_equal(hear(), CODE_BAD_REQUEST);
    one_plan_begin(3);
    write_text(&workspace->writer, "history");
    assert_int_equal(hear(), CODE_BAD_REQUEST);
    assert_non_null(strstr(workspace->fault.text, "plans[0]"));
    one_plan_begin(3);
    write_array(&workspace->writer, 0);
    assert_int_equal(hear(), CODE_BAD_REQUEST);
}

static void test_more_plans_than_there_may_be(void **state) {
    char name[16];
    for (uint32_t count = PLANS_MAX; count <= PLANS_MAX + 1; count++) {
        struct writer *writer = &workspace->writer;
        *writer = writer_of(workspace->memory, sizeof workspace->memory);
        write_map(writer, 1);
        write_text(writer, "plans");
        write_array(writer, count);
        for (uint32_t i = 0; i < count; i++) {
            write_array(writer, 2);
            snprintf(name, sizeof name, "p%u", i);
            write_text(writer, name);
            write_text(writer, "deny");
        }
        assert_int_equal(hear(), count <= PLANS_MAX ? CODE_OK : CODE_BAD_REQUEST);
    }
    assert_non_null(strstr(workspace->fault.text, "257, at most 256 are allowed"));
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_limits_go_along_if_a_plan_is_decided_in_the_store),
        TEST(test_a_plan_whose_limits_nobody_told),
        TEST(test_what_a_later_version_adds_is_passed_over),
        TEST(test_more_plans_than_there_may_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
