/* libsluice against a fake router: what is asked, answered and gathered. */
#include <stdlib.h>
#include <unistd.h>

#include "client_fixture.h"

/* --- what is asked and answered --------------------------------------------------------------- */

static void test_result_is_handed_out_whole(void **state) {
    struct fixture *fixture = *state;
    struct sluice_result result;
    assert_int_equal(
        sluice_take(fixture->client, &(struct sluice_request){.key = "a", .cost = 3}, &result),
        SLUICE_OK);
    assert_true(result.allowed);
    assert_false(result.degraded);
    assert_int_equal(result.remaining, 97);
    assert_int_equal(result.limit, 100);
    assert_int_equal(result.retry_after_us, 0);
    assert_int_equal(result.reset_after_us, 3000);
    assert_string_equal(result.message, "");
    assert_int_equal(
        sluice_take(fixture->client, &(struct sluice_request){.key = "a", .cost = 11}, &result),
        SLUICE_OK);
    assert_false(result.allowed);
    assert_int_equal(result.retry_after_us, 5000);
    assert_int_equal(
        sluice_take(fixture->client, &(struct sluice_request){.key = "a", .cost = 101}, &result),
        SLUICE_OK);
    assert_int_equal(result.retry_after_us, SLUICE_RETRY_NEVER);
    assert_int_equal(
        sluice_take(fixture->client, &(struct sluice_request){.key = "degraded"}, &result),
        SLUICE_OK);
    assert_false(result.allowed);
    assert_true(result.degraded);
}

static void test_plan_cost_and_deadline_are_sent(void **state) {
    struct fixture *fixture = *state;
    struct fake_router *fake = &fixture->fake;
    struct sluice_result result;
    struct sluice_limit limit = {.rate = 7};
    struct sluice_request take = {.key = "k\0y", .key_size = 3, .cost = 2, .plan = "premium"};
    assert_int_equal(sluice_take(fixture->client, &take, &result), SLUICE_OK);
    assert_int_equal(fake->take.plan.kind, PLAN_CHOICE_NAMED);
    assert_string_equal(fake->plan, "premium");
    assert_int_equal(fake->take.key.size, 3);
    assert_int_equal(fake->take.cost_tokens, 2);
    assert_int_equal(fake->take.deadline_ms, 250);

    take = (struct sluice_request){.key = "k", .limit = &limit, .deadline_ms = 1234};
    assert_int_equal(sluice_peek(fixture->client, &take, &result), SLUICE_OK);
    assert_int_equal(fake->verb, VERB_PEEK);
    assert_int_equal(fake->take.plan.kind, PLAN_CHOICE_INLINE);
    assert_int_equal(fake->take.plan.limit.rate_tokens, 7);
    assert_int_equal(fake->take.plan.limit.burst_tokens, 7);
    assert_int_equal(fake->take.plan.limit.period_ns, 1000000000);
    assert_int_equal(fake->take.deadline_ms, 1234);

    limit = (struct sluice_limit){.rate = 7, .period_ms = 60000, .burst = 9};
    take = (struct sluice_request){.key = "k", .cost = 1, .limit = &limit};
    assert_int_equal(sluice_refund(fixture->client, &take, &result), SLUICE_OK);
    assert_int_equal(fake->verb, VERB_REFUND);
    assert_int_equal(fake->take.plan.limit.burst_tokens, 9);
    assert_int_equal(fake->take.plan.limit.period_ns, UINT64_C(60000000000));

    take = (struct sluice_request){.key = "k", .cost = 1};
    assert_int_equal(sluice_take(fixture->client, &take, &result), SLUICE_OK);
    assert_int_equal(fake->take.plan.kind, PLAN_CHOICE_DEFAULT);
}

static void test_errors_of_the_wire_have_code_and_message(void **state) {
    struct fixture *fixture = *state;
    struct sluice_result result;
    struct sluice_request take = {.key = "unknown", .cost = 1};
    assert_int_equal(sluice_take(fixture->client, &take, &result), SLUICE_UNKNOWN_PLAN);
    assert_int_equal(result.error, SLUICE_UNKNOWN_PLAN);
    assert_string_equal(result.message, "no plan of that name");
    atomic_store(&fixture->fake.mode, FAKE_ERROR);
    take.key = "a";
    assert_int_equal(sluice_take(fixture->client, &take, &result), SLUICE_OVERLOADED);
    assert_string_equal(result.message, "the fake is tired");
    atomic_store(&fixture->fake.mode, FAKE_GARBAGE);
    assert_int_equal(sluice_take(fixture->client, &take, &result), SLUICE_PROTOCOL);
}

static void test_invalid_arguments_are_not_sent(void **state) {
    struct fixture *fixture = *state;
    static const char long_key[300] = {'x'};
    struct sluice_limit zero = {0}, wide = {.rate = 1, .period_ms = UINT64_MAX};
    const struct sluice_request takes[] = {
        {.key = NULL},
        {.key = ""},
        {.key = long_key, .key_size = 257},
        {.key = "k", .cost = SLUICE_TOKENS_MAX + 1},
        {.key = "k", .plan = "_no"},
        {.key = "k", .plan = ""},
        {.key = "k", .limit = &zero},
        {.key = "k", .limit = &wide},
        {.key = "k", .plan = "p", .limit = &zero},
        {.key = "k", .deadline_ms = 60001},
    };
    struct sluice_result result;
    struct tally tally = {0};
    for (size_t i = 0; i < sizeof takes / sizeof takes[0]; i++) {
        assert_int_equal(sluice_take(fixture->client, &takes[i], &result), SLUICE_INVALID);
        assert_true(result.message[0] != '\0');
        assert_int_equal(sluice_take_async(fixture->client, &takes[i], tally_one, &tally),
                         SLUICE_INVALID);
    }
    assert_int_equal(atomic_load(&fixture->fake.requests), 0);
    assert_int_equal(atomic_load(&tally.ended), 0);
    struct sluice_client *client;
    assert_int_equal(sluice_open(&client, "nonsense", NULL), SLUICE_INVALID);
    assert_int_equal(sluice_open(&client, NULL, NULL), SLUICE_INVALID);
    assert_null(client);
}

static void test_take_many_decides_each_by_itself(void **state) {
    struct fixture *fixture = *state;
    struct sluice_request takes[3000];
    struct sluice_result *results = calloc(3000, sizeof *results);
    for (size_t i = 0; i < 3000; i++) {
        takes[i] = (struct sluice_request){.key = i == 7 ? "unknown" : "k", .cost = i % 20};
    }
    assert_int_equal(sluice_take_many(fixture->client, takes, 3000, results), SLUICE_UNKNOWN_PLAN);
    for (size_t i = 0; i < 3000; i++) {
        if (i == 7) {
            assert_int_equal(results[i].error, SLUICE_UNKNOWN_PLAN);
        } else {
            assert_int_equal(results[i].error, SLUICE_OK);
            assert_int_equal(results[i].allowed, i % 20 <= 10);
        }
    }
    assert_int_equal(atomic_load(&fixture->fake.takes), 3000);
    assert_int_equal(atomic_load(&fixture->fake.requests), 3);
    takes[5].key = "";
    assert_int_equal(sluice_take_many(fixture->client, takes, 10, results), SLUICE_INVALID);
    assert_int_equal(sluice_take_many(fixture->client, takes, 0, results), SLUICE_INVALID);
    assert_int_equal(sluice_take_many(fixture->client, takes, 4097, results), SLUICE_INVALID);
    assert_int_equal(atomic_load(&fixture->fake.takes), 3000);
    free(results);
}

static void many_ended(void *context, const struct sluice_result *results, size_t count) {
    for (size_t i = 0; i < count; i++) {
        tally_one(context, &results[i]);
    }
}

static void test_take_many_async_calls_back_once(void **state) {
    struct fixture *fixture = *state;
    struct sluice_request takes[50];
    struct tally tally = {0};
    for (size_t i = 0; i < 50; i++) {
        takes[i] = (struct sluice_request){.key = "k", .cost = 1};
    }
    assert_int_equal(sluice_take_many_async(fixture->client, takes, 50, many_ended, &tally),
                     SLUICE_OK);
    await(&tally.ended, 50);
    assert_int_equal(atomic_load(&tally.allowed), 50);
}

/* --- batching --------------------------------------------------------------------------------- */

static void test_takes_gather_while_four_are_under_way(void **state) {
    struct fixture *fixture = *state;
    struct tally tally = {0};
    atomic_store(&fixture->fake.mode, FAKE_HOLD);
    for (int i = 0; i < 4; i++) {
        take_async(fixture, "first", &tally);
    }
    await(&fixture->fake.requests, 4);
    for (int i = 0; i < 100; i++) {
        take_async(fixture, "later", &tally);
    }
    usleep(30000);
    assert_int_equal(atomic_load(&fixture->fake.requests), 4);
    assert_int_equal(atomic_load(&fixture->fake.batches), 0);
    atomic_store(&fixture->fake.mode, FAKE_ANSWER);
    await(&tally.ended, 104);
    assert_int_equal(atomic_load(&tally.allowed), 104);
    assert_int_equal(atomic_load(&fixture->fake.requests), 5);
    assert_int_equal(atomic_load(&fixture->fake.largest), 100);
}

static void test_own_deadlines_travel_singly(void **state) {
    struct fixture *fixture = *state;
    struct tally tally = {0};
    struct sluice_request take = {.key = "k", .cost = 1, .deadline_ms = 2000};
    atomic_store(&fixture->fake.mode, FAKE_HOLD);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(sluice_take_async(fixture->client, &take, tally_one, &tally), SLUICE_OK);
    }
    await(&fixture->fake.requests, 10);
    atomic_store(&fixture->fake.mode, FAKE_ANSWER);
    await(&tally.ended, 10);
    assert_int_equal(atomic_load(&fixture->fake.batches), 0);
    assert_int_equal(fixture->fake.take.deadline_ms, 2000);
}

static void test_a_short_batch_reply_is_no_answer(void **state) {
    struct fixture *fixture = *state;
    struct tally tally = {0};
    atomic_store(&fixture->fake.mode, FAKE_HOLD);
    for (int i = 0; i < 4; i++) {
        take_async(fixture, "first", &tally);
    }
    await(&fixture->fake.requests, 4);
    for (int i = 0; i < 5; i++) {
        take_async(fixture, "later", &tally);
    }
    atomic_store(&fixture->fake.mode, FAKE_SHORT);
    await(&tally.ended, 9);
    assert_int_equal(atomic_load(&tally.errors[SLUICE_PROTOCOL]), 5);
}

static void chain_next(void *context, const struct sluice_result *result);

struct chain {
    struct fixture *fixture;
    atomic_uint ended;
    atomic_uint left;
};

static void chain_start(struct chain *chain) {
    struct sluice_request take = {.key = "k", .cost = 1};
    assert_int_equal(sluice_take_async(chain->fixture->client, &take, chain_next, chain),
                     SLUICE_OK);
}

static void chain_next(void *context, const struct sluice_result *result) {
    struct chain *chain = context;
    assert_int_equal(result->error, SLUICE_OK);
    if (atomic_fetch_sub(&chain->left, 1) > 1) {
        chain_start(chain);
    } else {
        atomic_store(&chain->ended, 1);
    }
}

static void test_callbacks_may_ask_again(void **state) {
    struct chain chain = {.fixture = *state, .left = 500};
    chain_start(&chain);
    await(&chain.ended, 1);
    assert_int_equal(atomic_load(&chain.fixture->fake.takes), 500);
}

static void test_names_of_errors(void **state) {
    assert_string_equal(sluice_error_name(SLUICE_TIMEOUT), "SLUICE_TIMEOUT");
    assert_string_equal(sluice_error_text(SLUICE_OK), "no error");
    assert_string_equal(sluice_error_name((enum sluice_error)999), "SLUICE_?");
}

#define WITH_ROUTER(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        WITH_ROUTER(test_result_is_handed_out_whole),
        WITH_ROUTER(test_plan_cost_and_deadline_are_sent),
        WITH_ROUTER(test_errors_of_the_wire_have_code_and_message),
        WITH_ROUTER(test_invalid_arguments_are_not_sent),
        WITH_ROUTER(test_take_many_decides_each_by_itself),
        WITH_ROUTER(test_take_many_async_calls_back_once),
        WITH_ROUTER(test_takes_gather_while_four_are_under_way),
        WITH_ROUTER(test_own_deadlines_travel_singly),
        WITH_ROUTER(test_a_short_batch_reply_is_no_answer),
        WITH_ROUTER(test_callbacks_may_ask_again),
        cmocka_unit_test(test_names_of_errors),
    };
    return cmocka_run_group_tests(tests, NULL, nng_finish);
}
