/* libsluice against a fake router: deadlines, a router that dies, bounds, closing; every call ends
 * exactly once. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "client/client.h"
#include "client_fixture.h"

/* Milliseconds beyond deadline and margin that a machine which others share may add, whatever the
 * metronome measured. */
#define SLACK_MS 400

/* Milliseconds that a sleeper had to wait for the processor beyond which takes may miss the default
 * deadline: client, fake router and nng's threads take turns several times in that time. */
#define DISTURBED_MS 25

static int64_t latest_ms(int64_t deadline_ms) {
    return deadline_ms + SLUICE_MARGIN_MS + SLACK_MS + 4 * lateness_ms();
}

/* --- time ------------------------------------------------------------------------------------- */

static void test_deadline_holds_though_the_router_is_silent(void **state) {
    struct fixture *fixture = *state;
    struct sluice_result result;
    atomic_store(&fixture->fake.mode, FAKE_SILENT);
    struct sluice_request take = {.key = "k", .cost = 1, .deadline_ms = 60};
    int64_t start_ms = now_ms();
    assert_int_equal(sluice_take(fixture->client, &take, &result), SLUICE_TIMEOUT);
    int64_t took_ms = now_ms() - start_ms;
    assert_in_range(took_ms, 60, latest_ms(60));
    take.deadline_ms = 0;
    start_ms = now_ms();
    assert_int_equal(sluice_take(fixture->client, &take, &result), SLUICE_TIMEOUT);
    took_ms = now_ms() - start_ms;
    assert_in_range(took_ms, 250, latest_ms(250));
    await(&fixture->fake.requests, 2);
}

static void test_waiting_calls_expire_too(void **state) {
    struct fixture *fixture = *state;
    struct tally stuck = {0}, waiting = {0};
    struct sluice_request take = {.key = "k", .cost = 1, .deadline_ms = 20000};
    atomic_store(&fixture->fake.mode, FAKE_SILENT);
    for (int i = 0; i < 32; i++) { /* every lane for single calls */
        assert_int_equal(sluice_take_async(fixture->client, &take, tally_one, &stuck), SLUICE_OK);
    }
    await(&fixture->fake.requests, 32);
    take.deadline_ms = 40;
    int64_t start_ms = now_ms();
    assert_int_equal(sluice_take_async(fixture->client, &take, tally_one, &waiting), SLUICE_OK);
    await(&waiting.ended, 1);
    assert_in_range(now_ms() - start_ms, 40, latest_ms(40));
    assert_int_equal(atomic_load(&waiting.errors[SLUICE_TIMEOUT]), 1);
    assert_int_equal(atomic_load(&fixture->fake.requests), 32);
    sluice_close(fixture->client);
    fixture->client = NULL;
    assert_int_equal(atomic_load(&stuck.errors[SLUICE_CLOSED]), 32);
}

static void test_nobody_there_is_unreachable(void **state) {
    struct fixture *fixture = *state;
    struct sluice_result result;
    struct sluice_request take = {.key = "k", .cost = 1, .deadline_ms = 50};
    fake_router_stop(&fixture->fake);
    struct sluice_client *client;
    assert_int_equal(sluice_open(&client, fixture->fake.url, NULL), SLUICE_OK);
    int64_t start_ms = now_ms();
    assert_int_equal(sluice_take(client, &take, &result), SLUICE_UNREACHABLE);
    assert_in_range(now_ms() - start_ms, 50, latest_ms(50));
    sluice_close(client);
    fake_router_start(&fixture->fake);
    await_connected(fixture->client);
}

/* --- the router dies and comes back ----------------------------------------------------------- */

static void test_router_dies_and_comes_back(void **state) {
    struct fixture *fixture = *state;
    struct fake_router *fake = &fixture->fake;
    struct tally tally = {0};
    struct sluice_result result;
    struct sluice_request take = {.key = "k", .cost = 1, .deadline_ms = 5000};
    assert_int_equal(sluice_take(fixture->client, &take, &result), SLUICE_OK);
    atomic_store(&fake->mode, FAKE_SILENT);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(sluice_take_async(fixture->client, &take, tally_one, &tally), SLUICE_OK);
    }
    await(&fake->requests, 4);
    int64_t start_ms = now_ms();
    fake_router_stop(fake);
    await(&tally.ended, 3); /* at once, long before the deadline */
    assert_true(now_ms() - start_ms < 2000 + 4 * lateness_ms());
    assert_int_equal(atomic_load(&tally.errors[SLUICE_LOST]), 3);

    atomic_store(&fake->requests, 0);
    atomic_store(&fake->mode, FAKE_ANSWER);
    fake_router_start(fake);
    assert_int_equal(sluice_take(fixture->client, &take, &result), SLUICE_OK);
    assert_true(result.allowed);
    usleep(100000);
    assert_int_equal(atomic_load(&fake->requests), 1); /* nothing of before was sent again */
}

static void test_a_call_made_while_the_router_is_away_succeeds_when_it_returns(void **state) {
    struct fixture *fixture = *state;
    struct tally tally = {0};
    struct sluice_request take = {.key = "k", .cost = 1, .deadline_ms = 10000};
    fake_router_stop(&fixture->fake);
    usleep(200000); /* until the client has noticed: a call sent before is lost */
    assert_int_equal(sluice_take_async(fixture->client, &take, tally_one, &tally), SLUICE_OK);
    usleep(100000);
    assert_int_equal(atomic_load(&tally.ended), 0);
    fake_router_start(&fixture->fake);
    await(&tally.ended, 1);
    assert_int_equal(atomic_load(&tally.allowed), 1);
}

static void test_several_routers_stand_in_for_each_other(void **state) {
    struct fixture *fixture = *state;
    struct fake_router *other = calloc(1, sizeof *other);
    struct sluice_client *client;
    struct sluice_result result;
    struct sluice_request take = {.key = "k", .cost = 1, .deadline_ms = 5000};
    char urls[160];
    assert_non_null(other);
    fake_router_start(other);
    snprintf(urls, sizeof urls, "%s, %s", fixture->fake.url, other->url);
    assert_int_equal(sluice_open(&client, urls, NULL), SLUICE_OK);
    atomic_store(&fixture->fake.requests, 0);
    for (int64_t end_ms = now_ms() + 10000; /* until both are connected, they take turns */
         atomic_load(&fixture->fake.requests) == 0 || atomic_load(&other->requests) == 0;) {
        assert_true(now_ms() < end_ms);
        assert_int_equal(sluice_take(client, &take, &result), SLUICE_OK);
    }
    fake_router_stop(other);
    usleep(100000);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(sluice_take(client, &take, &result), SLUICE_OK);
    }
    sluice_close(client);
    free(other);
}

/* --- bounds and closing ------------------------------------------------------------------------
 */

static void test_full_is_an_answer(void **state) {
    struct fixture *fixture = *state;
    struct sluice_client *client;
    struct tally tally = {0};
    struct sluice_request take = {.key = "k", .cost = 1};
    struct sluice_result results[9];
    struct sluice_request takes[9];
    atomic_store(&fixture->fake.mode, FAKE_HOLD);
    assert_int_equal(
        sluice_open(&client, fixture->fake.url, &(struct sluice_options){.calls_max = 8}),
        SLUICE_OK);
    for (int i = 0; i < 9; i++) {
        takes[i] = take;
    }
    assert_int_equal(sluice_take_many(client, takes, 9, results), SLUICE_OVERLOADED);
    assert_int_equal(results[8].error, SLUICE_OVERLOADED);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(sluice_take_async(client, &take, tally_one, &tally), SLUICE_OK);
    }
    assert_int_equal(sluice_take_async(client, &take, tally_one, &tally), SLUICE_OVERLOADED);
    atomic_store(&fixture->fake.mode, FAKE_ANSWER);
    await(&tally.ended, 8);
    assert_int_equal(sluice_take_async(client, &take, tally_one, &tally), SLUICE_OK);
    await(&tally.ended, 9);
    sluice_close(client);
    assert_int_equal(atomic_load(&tally.ended), 9);
}

static void test_close_ends_every_call_once(void **state) {
    struct fixture *fixture = *state;
    struct tally tally = {0};
    atomic_store(&fixture->fake.mode, FAKE_SILENT);
    for (int i = 0; i < 1000; i++) {
        take_async(fixture, "k", &tally);
    }
    sluice_close(fixture->client);
    fixture->client = NULL;
    assert_int_equal(atomic_load(&tally.ended), 1000);
    assert_int_equal(atomic_load(&tally.errors[SLUICE_CLOSED]), 1000);
}

/* nng ends calls whose time is over on a thread of its own; closing must not free what that thread
 * is about to reach for. Calls end from 51 to 82 ms from now, and the client closes among them. */
static void test_close_while_calls_expire(void **state) {
    struct fixture *fixture = *state;
    for (unsigned round = 0; round < 20; round++) {
        struct sluice_client *client;
        struct tally tally = {0};
        atomic_store(&fixture->fake.mode, FAKE_ANSWER);
        assert_int_equal(sluice_open(&client, fixture->fake.url, NULL), SLUICE_OK);
        await_connected(client);
        atomic_store(&fixture->fake.mode, FAKE_SILENT);
        for (unsigned i = 0; i < 32; i++) {
            struct sluice_request take = {.key = "k", .cost = 1, .deadline_ms = 1 + i};
            assert_int_equal(sluice_take_async(client, &take, tally_one, &tally), SLUICE_OK);
        }
        usleep(1000 * (SLUICE_MARGIN_MS + round));
        sluice_close(client);
        assert_int_equal(atomic_load(&tally.ended), 32);
    }
}

struct caller {
    struct fixture *fixture;
    pthread_t thread;
    unsigned takes;
    uint32_t deadline_ms;
    unsigned ended[SLUICE_CONFLICT + 1]; /* by error; OK: granted */
};

static void *caller_run(void *argument) {
    struct caller *caller = argument;
    for (unsigned i = 0; i < caller->takes; i++) {
        struct sluice_request take = {.key = "k", .cost = 1, .deadline_ms = caller->deadline_ms};
        struct sluice_result result;
        enum sluice_error error = sluice_take(caller->fixture->client, &take, &result);
        caller->ended[error] += error != SLUICE_OK || result.allowed;
    }
    return NULL;
}

static void callers_start(struct caller *callers, unsigned count, struct fixture *fixture,
                          unsigned takes, uint32_t deadline_ms) {
    for (unsigned i = 0; i < count; i++) {
        callers[i] =
            (struct caller){.fixture = fixture, .takes = takes, .deadline_ms = deadline_ms};
        assert_int_equal(pthread_create(&callers[i].thread, NULL, caller_run, &callers[i]), 0);
    }
}

static void test_sixty_four_threads(void **state) {
    struct fixture *fixture = *state;
    struct caller callers[64];
    int64_t start_ms = now_ms();
    unsigned granted = 0, late = 0;
    callers_start(callers, 64, fixture, 200, 0);
    for (int i = 0; i < 64; i++) { /* all of them, before anything may fail */
        pthread_join(callers[i].thread, NULL);
        granted += callers[i].ended[SLUICE_OK];
        late += callers[i].ended[SLUICE_TIMEOUT] + callers[i].ended[SLUICE_UNREACHABLE];
    }
    assert_int_equal(granted + late, 64 * 200);
    assert_true(late == 0 || lateness_ms() >= DISTURBED_MS);
    assert_in_range(atomic_load(&fixture->fake.takes), granted, 64 * 200);
    print_message("64 threads: %d takes in %d ms, in %u requests, the largest of %u\n", 64 * 200,
                  (int)(now_ms() - start_ms), atomic_load(&fixture->fake.requests),
                  atomic_load(&fixture->fake.largest));
}

/* Calls may be under way when a client is closed, but not on their way in. */
static void await_calls(struct sluice_client *client, uint32_t wanted) {
    int64_t end_ms = now_ms() + 10000;
    for (uint32_t count = 0; count != wanted; usleep(1000)) {
        assert_true(now_ms() < end_ms);
        pthread_mutex_lock(&client->mutex);
        count = client->call_count;
        pthread_mutex_unlock(&client->mutex);
    }
}

static void test_close_wakes_blocked_threads(void **state) {
    struct fixture *fixture = *state;
    struct caller callers[48];
    unsigned closed = 0;
    atomic_store(&fixture->fake.mode, FAKE_SILENT);
    callers_start(callers, 48, fixture, 1, 20000);
    await(&fixture->fake.requests, 32); /* one a lane; the others wait for a lane */
    await_calls(fixture->client, 48);
    sluice_close(fixture->client);
    fixture->client = NULL;
    for (int i = 0; i < 48; i++) {
        pthread_join(callers[i].thread, NULL);
        closed += callers[i].ended[SLUICE_CLOSED];
    }
    assert_int_equal(closed, 48);
}

#define WITH_ROUTER(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        WITH_ROUTER(test_deadline_holds_though_the_router_is_silent),
        WITH_ROUTER(test_waiting_calls_expire_too),
        WITH_ROUTER(test_nobody_there_is_unreachable),
        WITH_ROUTER(test_router_dies_and_comes_back),
        WITH_ROUTER(test_a_call_made_while_the_router_is_away_succeeds_when_it_returns),
        WITH_ROUTER(test_several_routers_stand_in_for_each_other),
        WITH_ROUTER(test_full_is_an_answer),
        WITH_ROUTER(test_close_ends_every_call_once),
        WITH_ROUTER(test_close_while_calls_expire),
        WITH_ROUTER(test_sixty_four_threads),
        WITH_ROUTER(test_close_wakes_blocked_threads),
    };
    return cmocka_run_group_tests(tests, metronome_start, nng_finish);
}
