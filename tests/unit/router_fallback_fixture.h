/*
 * Takes that leave for the store, and what it answers, for tests: a router of two shards, and plans
 * of which some say that the store decides.
 */
#ifndef SLUICE_TESTS_ROUTER_FALLBACK_FIXTURE_H
#define SLUICE_TESTS_ROUTER_FALLBACK_FIXTURE_H

#include "tests/unit/test_router_fixture.h"

#define SECOND (1000 * MS)
#define STORE_NOW_NS (UINT64_C(1700000000) * SECOND)

/* Of the test that runs: open_ready makes it. */
extern struct fixture *fixture;

/* A router whose links are up, with a store to ask. */
int open_ready(void **state);
int close_any(void **state);
#define READY(test) cmocka_unit_test_setup_teardown(test, open_ready, close_any)

/* Plans under one limit in generation 7: "safe", of 1/s burst 100, is the default and goes to the
 * store, as does "small", of 1/s burst 10; "firm" is like that one and denies. */
struct plan_set *plans_of(uint64_t version);
void plan_put(struct plan_set *set, const char *name, enum policy policy,
              const struct limit *limit);

/* plan NULL: it names none. */
struct take take_under(const char *key, const char *plan, uint32_t deadline_ms);
void ask_one(enum verb verb, const char *key, const char *plan, uint32_t deadline_ms);

/* The only call since forget(); the store answers one. */
const struct fallback_call *only_call(void);
void answer(const struct fallback_call *call, enum fallback_status status, struct bytes record,
            const char *assigned);

/* A record of one time, that much after the store's; its size. */
uint32_t record_of(uint8_t out[RECORD_BYTES_MAX], const char *plan, uint32_t generation,
                   uint64_t after_ns);

const struct take_result *only_result(void);

/* It was refused by policy. */
void denied(const struct take_result *result);

#endif
