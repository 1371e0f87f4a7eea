#include "client_fixture.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void await_connected(struct sluice_client *client) {
    struct sluice_request look = {.key = "k", .deadline_ms = 10000};
    struct sluice_result result;
    assert_int_equal(sluice_peek(client, &look, &result), SLUICE_OK);
}

static atomic_int latest_ms;
static atomic_bool ticking;
static pthread_t ticker;

static void *tick(void *argument) {
    while (atomic_load(&ticking)) {
        int64_t began_ms = now_ms();
        usleep(5000);
        int late_ms = (int)(now_ms() - began_ms) - 5;
        if (late_ms > atomic_load(&latest_ms)) {
            atomic_store(&latest_ms, late_ms);
        }
    }
    return NULL;
}

int64_t lateness_ms(void) {
    return atomic_load(&latest_ms);
}

int metronome_start(void **state) {
    atomic_store(&ticking, true);
    return pthread_create(&ticker, NULL, tick, NULL);
}

int fixture_setup(void **state) {
    struct fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    atomic_store(&latest_ms, 0);
    fake_router_start(&fixture->fake);
    assert_int_equal(sluice_open(&fixture->client, fixture->fake.url, NULL), SLUICE_OK);
    await_connected(fixture->client);
    atomic_store(&fixture->fake.requests, 0);
    atomic_store(&fixture->fake.takes, 0);
    *state = fixture;
    return 0;
}

int fixture_teardown(void **state) {
    struct fixture *fixture = *state;
    sluice_close(fixture->client);
    fake_router_stop(&fixture->fake);
    free(fixture);
    return 0;
}

int nng_finish(void **state) {
    if (atomic_exchange(&ticking, false)) {
        pthread_join(ticker, NULL);
    }
    nng_fini();
    return 0;
}

void tally_one(void *context, const struct sluice_result *result) {
    struct tally *tally = context;
    atomic_fetch_add(&tally->errors[result->error], 1);
    atomic_fetch_add(&tally->allowed, result->allowed);
    atomic_fetch_add(&tally->ended, 1);
}

void await(atomic_uint *counter, unsigned wanted) {
    for (int64_t end_ms = now_ms() + 10000; atomic_load(counter) != wanted;) {
        assert_true(now_ms() < end_ms);
        usleep(1000);
    }
}

void take_async(struct fixture *fixture, const char *key, struct tally *tally) {
    struct sluice_request take = {.key = key, .cost = 1};
    assert_int_equal(sluice_take_async(fixture->client, &take, tally_one, tally), SLUICE_OK);
}
