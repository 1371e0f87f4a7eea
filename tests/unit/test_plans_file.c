/* Each kind of mistake that a plans file can have, with its exact place. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cmocka_all.h"
#include "ctl/plans_file.h"
#include "ctl/text.h"

struct workspace {
    struct plan_set set;
    struct plans_mistakes mistakes;
};

static int setup(void **state) {
    *state = malloc(sizeof(struct workspace));
    return *state == NULL;
}

static int teardown(void **state) {
    free(*state);
    return 0;
}

static bool parse(struct workspace *workspace, const char *text) {
    return plans_text_parse(bytes_of_text(text), &workspace->set, &workspace->mistakes);
}

/* --- right files ------------------------------------------------------------------------------ */

static void limit_expect(const struct limit *limit, uint64_t rate, uint64_t period_ms,
                         uint64_t burst) {
    assert_int_equal(limit->rate_tokens, rate);
    assert_int_equal(limit->period_ns, period_ms * 1000000);
    assert_int_equal(limit->burst_tokens, burst);
}

static void test_example_file(void **state) {
    struct workspace *workspace = *state;
    assert_true(
        plans_file_parse("deploy/plans/example.yaml", &workspace->set, &workspace->mistakes));
    const struct plan_set *set = &workspace->set;
    assert_int_equal(set->plan_count, 2);
    assert_string_equal(set->plans[set->default_at].name.text, "free");
    const struct plan *premium = &set->plans[plan_set_find(set, bytes_of_text("premium"))];
    assert_int_equal(premium->on_unavailable, POLICY_ALLOW);
    assert_int_equal(premium->generations[0].terms.limit_count, 2);
    limit_expect(&premium->generations[0].terms.limits[0], 100, 1000, 200);
    limit_expect(&premium->generations[0].terms.limits[1], 1000000, 86400000, 1000000);
}

static void test_every_way_to_say_a_rate(void **state) {
    static const struct {
        const char *limit;
        uint64_t rate, period_ms, burst;
    } cases[] = {
        {"{rate: 10, period: 1s, burst: 20}", 10, 1000, 20},
        {"{rate: 10, period: 250ms}", 10, 250, 10},
        {"{rate: 1_000_000, period: 1d}", 1000000, 86400000, 1000000},
        {"{rate: 7, period: 15m}", 7, 900000, 7},
        {"{rate: 7, period: 2h}", 7, 7200000, 7},
        {"{rate: 100/s}", 100, 1000, 100},
        {"{rate: \"100/s\", burst: 5}", 100, 1000, 5},
        {"{rate: 1000000/day}", 1000000, 86400000, 1000000},
        {"{rate: 6/minute}", 6, 60000, 6},
        {"{rate: 5/hour}", 5, 3600000, 5},
        {"{rate: 5/15m}", 5, 900000, 5},
        {"{burst: 3, rate: 5/400d}", 5, UINT64_C(34560000000), 3},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[128];
        snprintf(text, sizeof text, "plans: {a: {limits: [%s]}}\n", cases[i].limit);
        assert_true(parse(*state, text));
        const struct plan_set *set = &((struct workspace *)*state)->set;
        limit_expect(&set->plans[0].generations[0].terms.limits[0], cases[i].rate,
                     cases[i].period_ms, cases[i].burst);
        assert_int_equal(set->default_at, -1);
        assert_int_equal(set->plans[0].on_unavailable, POLICY_DENY);
    }
}

static void test_default_may_be_nothing(void **state) {
    assert_true(parse(*state, "default: null\nplans: {a: {limits: [{rate: 1/s}]}}\n"));
    assert_true(parse(*state, "default:\nplans: {a: {limits: [{rate: 1/s}]}}\n"));
}

/* --- mistakes --------------------------------------------------------------------------------- */

/* A file and the one mistake in it. */
struct mistaken {
    const char *text;
    uint32_t line, column;
    const char *expected;
};

static void mistakes_expect(struct workspace *workspace, const struct mistaken *cases,
                            size_t count) {
    for (size_t i = 0; i < count; i++) {
        const struct plans_mistake *mistake = &workspace->mistakes.items[0];
        assert_false(parse(workspace, cases[i].text));
        if (workspace->mistakes.count != 1 || mistake->line != cases[i].line ||
            mistake->column != cases[i].column || strcmp(mistake->text, cases[i].expected) != 0) {
            fail_msg("%s\ngave %u mistakes, the first %u:%u: %s\nnot %u:%u: %s", cases[i].text,
                     workspace->mistakes.count, mistake->line, mistake->column, mistake->text,
                     cases[i].line, cases[i].column, cases[i].expected);
        }
    }
}

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

#define LIMIT_FIELDS "(there are: rate, period, burst)"

static void test_mistakes_of_the_file(void **state) {
    static const struct mistaken cases[] = {
        {"", 1, 1, "the file is empty; expected default and plans"},
        {"# nothing but a comment\n", 1, 1, "the file is empty; expected default and plans"},
        {"---\n", 1, 1, "the file is empty; expected default and plans"},
        {"plans\n", 1, 1, "the file: expected a mapping with default, plans, got \"plans\""},
        {"- a\n", 1, 1, "the file: expected a mapping with default, plans, got a list"},
        {"default: a\n", 1, 1, "plans is missing"},
        {"plans: {}\n", 1, 8, "plans: expected 1 to 256 plans, got 0"},
        {"plans:\n", 1, 7,
         "plans: expected a mapping from a plan's name to its limits, got nothing"},
        {"plans: [a]\n", 1, 8,
         "plans: expected a mapping from a plan's name to its limits, got a list"},
        {"plan: {}\nplans: {a: {limits: [{rate: 1/s}]}}\n", 1, 1,
         "unknown field \"plan\"; did you mean \"plans\"? (there are: default, plans)"},
        {"plans: {a: {limits: [{rate: 1/s}]}}\nversion: 3\n", 2, 1,
         "unknown field \"version\" (there are: default, plans)"},
        {"plans: {a: {limits: [{rate: 1/s}]}}\nplans: {}\n", 2, 1, "plans: stands twice"},
        {"default: fre\nplans:\n  free: {limits: [{rate: 1/s}]}\n", 1, 10,
         "default: no plan of this file is called that; did you mean \"free\"?"},
        {"default: xyz\nplans:\n  free: {limits: [{rate: 1/s}]}\n", 1, 10,
         "default: no plan of this file is called that"},
        {"default: [a]\nplans: {a: {limits: [{rate: 1/s}]}}\n", 1, 10,
         "default: expected the name of a plan, got a list"},
        {"plans: {a: {limits: [{rate: 1/s}]}}\n---\nplans: {}\n", 2, 1,
         "a second YAML document begins here; a plans file has one"},
    };
    mistakes_expect(*state, cases, COUNT_OF(cases));
}

static void test_mistakes_of_yaml(void **state) {
    static const struct mistaken cases[] = {
        {"plans: {a\n", 2, 1,
         "not YAML: did not find expected ',' or '}' while parsing a flow mapping"},
        {"plans:\n\t- a\n", 2, 1,
         "not YAML: found character that cannot start any token while scanning for the next token"},
        {"a: *nowhere\n", 1, 4, "not YAML: found undefined alias"},
        {"plans: \xff\n", 1, 8, "not text: invalid leading UTF-8 octet"},
        {"# \xc3\xa9\nplans: \xc3\xa9 \xff\n", 2, 10, "not text: invalid leading UTF-8 octet"},
        {"plans: a\x01\n", 1, 9, "not text: control characters are not allowed"},
    };
    mistakes_expect(*state, cases, COUNT_OF(cases));
}

static void test_mistakes_of_a_plan(void **state) {
    static const struct mistaken cases[] = {
        {"plans:\n  a: 12\n", 2, 6,
         "plans.a: expected a mapping with limits, on_unavailable, durability, got 12"},
        {"plans:\n  a:\n", 2, 5,
         "plans.a: expected a mapping with limits, on_unavailable, durability, got nothing"},
        {"plans:\n  a: {durability: relaxed}\n", 2, 6, "plans.a: limits is missing"},
        {"plans:\n  _a: {limits: [{rate: 1/s}]}\n", 2, 3,
         "plans: expected a name of 1 to 63 letters, digits, '_', '-', '.' that begins with a "
         "letter or digit, got \"_a\""},
        {"plans:\n  ? [x]\n  : {limits: [{rate: 1/s}]}\n", 2, 5,
         "plans: expected a name of 1 to 63 letters, digits, '_', '-', '.' that begins with a "
         "letter or digit, got a list"},
        {"plans:\n  a: {limits: [{rate: 1/s}]}\n  b: {limits: [{rate: 1/s}]}\n"
         "  a: {limits: [{rate: 2/s}]}\n",
         4, 3, "plans.a: stands twice"},
        {"plans:\n  a:\n    limits: [{rate: 1/s}]\n    durabilty: relaxed\n", 4, 5,
         "plans.a: unknown field \"durabilty\"; did you mean \"durability\"? (there are: limits, "
         "on_unavailable, durability)"},
        {"plans:\n  a:\n    limits: [{rate: 1/s}]\n    limits: [{rate: 1/s}]\n", 4, 5,
         "plans.a.limits: stands twice"},
        {"plans:\n  a:\n    limits: [{rate: 1/s}]\n    durability: solid\n", 4, 17,
         "plans.a.durability: expected strict or relaxed, got \"solid\""},
        {"plans:\n  a:\n    limits: [{rate: 1/s}]\n    on_unavailable: reddis\n", 4, 21,
         "plans.a.on_unavailable: expected deny, allow or redis, got \"reddis\""},
        {"plans:\n  a:\n    limits: [{rate: 1/s}]\n    on_unavailable: {}\n", 4, 21,
         "plans.a.on_unavailable: expected deny, allow or redis, got a mapping"},
        {"plans:\n  a:\n    limits: {rate: 1/s}\n", 3, 13,
         "plans.a.limits: expected a list of limits, as in [{rate: 10, period: 1s}], got a "
         "mapping"},
        {"plans:\n  a:\n    limits: []\n", 3, 13, "plans.a.limits: expected 1 to 4 limits, got 0"},
        {"plans:\n  a:\n    limits: [{rate: 1/s}, {rate: 1/s}, {rate: 1/s}, {rate: 1/s}, {rate: "
         "1/s}]\n",
         3, 13, "plans.a.limits: expected 1 to 4 limits, got 5"},
    };
    mistakes_expect(*state, cases, COUNT_OF(cases));
}

static void test_mistakes_of_a_limit(void **state) {
    static const struct mistaken cases[] = {
        {"plans: {a: {limits: [7]}}\n", 1, 22,
         "plans.a.limits[0]: expected a mapping with rate, period, burst, got 7"},
        {"plans: {a: {limits: [{rate: 1/s, brust: 3}]}}\n", 1, 34,
         "plans.a.limits[0]: unknown field \"brust\"; did you mean \"burst\"? " LIMIT_FIELDS},
        {"plans: {a: {limits: [{period: 1s}]}}\n", 1, 22,
         "plans.a.limits[0]: rate is missing (rate: 100, period: 1s)"},
        {"plans: {a: {limits: [{rate: 1}]}}\n", 1, 22,
         "plans.a.limits[0]: period is missing (period: 1s, or rate: 100/s)"},
        {"plans: {a: {limits: [{rate: 1/s, period: 1s}]}}\n", 1, 22,
         "plans.a.limits[0]: rate already names its period; leave out period"},
        {"plans: {a: {limits: [{rate: 0, period: 1s}]}}\n", 1, 29,
         "plans.a.limits[0].rate: expected 1 to 281474976710656 tokens, got 0"},
        {"plans: {a: {limits: [{rate: 281474976710657, period: 1s}]}}\n", 1, 29,
         "plans.a.limits[0].rate: expected 1 to 281474976710656 tokens, got 281474976710657"},
        {"plans: {a: {limits: [{rate: -1, period: 1s}]}}\n", 1, 29,
         "plans.a.limits[0].rate: expected a whole number, or one with its period as in 100/s, "
         "got \"-1\""},
        {"plans: {a: {limits: [{rate: 1.5, period: 1s}]}}\n", 1, 29,
         "plans.a.limits[0].rate: expected a whole number, or one with its period as in 100/s, "
         "got \"1.5\""},
        {"plans: {a: {limits: [{rate: \"5\", period: 1s}]}}\n", 1, 29,
         "plans.a.limits[0].rate: expected a whole number, or one with its period as in 100/s, "
         "got \"5\""},
        {"plans: {a: {limits: [{rate: 1/fortnight}]}}\n", 1, 29,
         "plans.a.limits[0].rate: expected a whole number, or one with its period as in 100/s, "
         "got \"1/fortnight\""},
        {"plans: {a: {limits: [{rate: 0/s}]}}\n", 1, 29,
         "plans.a.limits[0].rate: expected 1 to 281474976710656 tokens, got \"0/s\""},
        {"plans: {a: {limits: [{rate: 1/401d}]}}\n", 1, 29,
         "plans.a.limits[0].rate: expected a period from 1ms to 400d, got \"1/401d\""},
        {"plans: {a: {limits: [{rate: 1, period: 5}]}}\n", 1, 40,
         "plans.a.limits[0].period: expected a whole number with its unit (ms, s, m, h, d), as in "
         "1s, got 5"},
        {"plans: {a: {limits: [{rate: 1, period: 0s}]}}\n", 1, 40,
         "plans.a.limits[0].period: expected a period from 1ms to 400d, got \"0s\""},
        {"plans: {a: {limits: [{rate: 1, period: 401d}]}}\n", 1, 40,
         "plans.a.limits[0].period: expected a period from 1ms to 400d, got \"401d\""},
        {"plans: {a: {limits: [{rate: 1, period: 99999999999999999999d}]}}\n", 1, 40,
         "plans.a.limits[0].period: expected a whole number with its unit (ms, s, m, h, d), as in "
         "1s, got \"99999999999999999999d\""},
        {"plans: {a: {limits: [{rate: 1/s, burst: 0}]}}\n", 1, 41,
         "plans.a.limits[0].burst: expected 1 to 281474976710656 tokens, got 0"},
        {"plans: {a: {limits: [{rate: 1/s, burst: many}]}}\n", 1, 41,
         "plans.a.limits[0].burst: expected a whole number of tokens, got \"many\""},
        {"plans: {a: {limits: [{rate: 1/s, rate: 2/s}]}}\n", 1, 34,
         "plans.a.limits[0].rate: stands twice"},
        {"plans: {a: {limits: [{rate: 1/400d, burst: 1000}]}}\n", 1, 22,
         "plans.a.limits[0]: an empty bucket would need more than 73 years to refill (burst * "
         "period / rate); lower the burst or raise the rate"},
    };
    mistakes_expect(*state, cases, COUNT_OF(cases));
}

static void test_all_mistakes_are_told_from_top_to_bottom(void **state) {
    struct workspace *workspace = *state;
    assert_false(parse(workspace, "default: x\n"
                                  "plans:\n"
                                  "  a:\n"
                                  "    limits: [{rate: 0/s}, {rate: 1}]\n"
                                  "    durability: stern\n"
                                  "  b: 1\n"));
    assert_int_equal(workspace->mistakes.count, 5);
    static const uint32_t lines[] = {1, 4, 4, 5, 6};
    for (uint32_t i = 0; i < 5; i++) {
        assert_int_equal(workspace->mistakes.items[i].line, lines[i]);
    }
    assert_false(workspace->mistakes.more);
}

static void test_mistakes_are_bounded(void **state) {
    struct workspace *workspace = *state;
    size_t capacity = 64 * 1024, used;
    char *text = malloc(capacity);
    assert_non_null(text);
    used = (size_t)snprintf(text, capacity, "plans:\n");
    for (int i = 0; i < 150; i++) {
        used += (size_t)snprintf(text + used, capacity - used, "  p%d: {}\n", i);
    }
    assert_false(parse(workspace, text));
    assert_int_equal(workspace->mistakes.count, PLANS_MISTAKES_MAX);
    assert_true(workspace->mistakes.more);
    used = (size_t)snprintf(text, capacity, "plans:\n");
    for (int i = 0; i < 257; i++) {
        used +=
            (size_t)snprintf(text + used, capacity - used, "  p%d: {limits: [{rate: 1/s}]}\n", i);
    }
    assert_false(parse(workspace, text));
    assert_int_equal(workspace->mistakes.count, 1);
    assert_string_equal(workspace->mistakes.items[0].text,
                        "plans: expected 1 to 256 plans, got 257");
    free(text);
}

/* --- files -------------------------------------------------------------------------------------
 */

static void file_expect(struct workspace *workspace, const char *path, const char *text) {
    assert_false(plans_file_parse(path, &workspace->set, &workspace->mistakes));
    assert_int_equal(workspace->mistakes.count, 1);
    assert_int_equal(workspace->mistakes.items[0].line, 0);
    assert_string_equal(workspace->mistakes.items[0].text, text);
}

static void test_what_is_no_file(void **state) {
    file_expect(*state, "/no/such/file", "No such file or directory");
    file_expect(*state, "/", "is a directory; expected a YAML file");
    file_expect(*state, "/dev/null", "is not a regular file (\"-\" reads the standard input)");
    char path[] = "/tmp/plans_file.XXXXXX";
    int file = mkstemp(path);
    assert_true(file >= 0);
    assert_int_equal(ftruncate(file, PLANS_FILE_BYTES_MAX + 1), 0);
    file_expect(*state, path, "the file is too large: a plans file has at most 1 MiB");
    close(file);
    unlink(path);
}

static void test_text_of_durations_and_rates(void **state) {
    char out[TEXT_RATE_BYTES_MAX];
    text_duration_write(1500, out);
    assert_string_equal(out, "1500ms");
    text_duration_write(86400000, out);
    assert_string_equal(out, "1d");
    text_duration_write(90000, out);
    assert_string_equal(out, "90s");
    text_rate_write(100, 1000, out);
    assert_string_equal(out, "100/s");
    text_rate_write(5, 900000, out);
    assert_string_equal(out, "5/15m");
    char escaped[TEXT_ESCAPED_BYTES_MAX(8)];
    text_escape(bytes_of("a\\\x00\xff~", 5), escaped);
    assert_string_equal(escaped, "a\\\\\\x00\\xff~");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_example_file),
        cmocka_unit_test(test_every_way_to_say_a_rate),
        cmocka_unit_test(test_default_may_be_nothing),
        cmocka_unit_test(test_mistakes_of_the_file),
        cmocka_unit_test(test_mistakes_of_yaml),
        cmocka_unit_test(test_mistakes_of_a_plan),
        cmocka_unit_test(test_mistakes_of_a_limit),
        cmocka_unit_test(test_all_mistakes_are_told_from_top_to_bottom),
        cmocka_unit_test(test_mistakes_are_bounded),
        cmocka_unit_test(test_what_is_no_file),
        cmocka_unit_test(test_text_of_durations_and_rates),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
