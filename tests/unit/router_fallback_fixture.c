#include "tests/unit/router_fallback_fixture.h"

#include <stdlib.h>

struct fixture *fixture;

void plan_put(struct plan_set *set, const char *name, enum policy policy,
              const struct limit *limit) {
    struct plan plan = {
        .name = name_of(bytes_of_text(name)), .on_unavailable = policy, .generation_count = 1};
    plan.generations[0].generation = 7;
    plan.generations[0].terms = (struct terms){.limit_count = 1, .limits = {*limit}};
    plan_set_add(set, &plan);
}

static const struct limit usual = {1, SECOND, 100}, small = {1, SECOND, 10};

/* "safe" is the default and goes to the store, as does "small"; "firm" denies. */
struct plan_set *plans_of(uint64_t version) {
    struct plan_set *plans = malloc(sizeof *plans);
    plan_set_init(plans);
    plans->version = version;
    plan_put(plans, "safe", POLICY_REDIS, &usual);
    plan_put(plans, "small", POLICY_REDIS, &small);
    plan_put(plans, "firm", POLICY_DENY, &small);
    plans->default_at = 0;
    return plans;
}

int open_ready(void **state) {
    fixture = fixture_create(64);
    give_view(fixture, map_make(1, 2), plans_of(1));
    give_link(fixture, 0, true);
    give_link(fixture, 1, true);
    give_store(fixture, true);
    forget(fixture);
    return 0;
}

int close_any(void **state) {
    fixture_destroy(fixture);
    return 0;
}

struct take take_under(const char *key, const char *plan, uint32_t deadline_ms) {
    struct take take = take_of(key);
    take.deadline_ms = deadline_ms;
    if (plan != NULL) {
        take.plan = (struct plan_choice){.kind = PLAN_CHOICE_NAMED, .name = bytes_of_text(plan)};
    }
    return take;
}

void ask_one(enum verb verb, const char *key, const char *plan, uint32_t deadline_ms) {
    struct take take = take_under(key, plan, deadline_ms);
    ask_takes(fixture, 1, verb, false, &take, 1);
    turn(fixture);
}

const struct fallback_call *only_call(void) {
    assert_int_equal(fixture->call_count, 1);
    return &fixture->calls[0];
}

void answer(const struct fallback_call *call, enum fallback_status status, struct bytes record,
            const char *assigned) {
    struct fallback_answer said = {.call = call->index,
                                   .status = status,
                                   .now_ns = STORE_NOW_NS,
                                   .record = record,
                                   .assigned = bytes_of_text(assigned)};
    store_answers(fixture, &said);
}

uint32_t record_of(uint8_t out[RECORD_BYTES_MAX], const char *plan, uint32_t generation,
                   uint64_t after_ns) {
    struct record record = {.plan = bytes_of_text(plan), .generation = generation, .tat_count = 1};
    record.tats[0].ns = STORE_NOW_NS + after_ns;
    return record_write(&record, out);
}

const struct take_result *only_result(void) {
    return &only_answer(fixture)->results[0];
}

void denied(const struct take_result *result) {
    assert_int_equal(result->code, CODE_OK);
    assert_int_equal(result->flags, TAKE_FLAG_DEGRADED);
    assert_false(result->allowed);
    assert_int_equal(result->retry_after_us, DEGRADED_RETRY_AFTER_US);
}
