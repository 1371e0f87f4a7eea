/* A client and its fake router, and a tally of what callbacks tell. */
#ifndef SLUICE_TESTS_CLIENT_FIXTURE_H
#define SLUICE_TESTS_CLIENT_FIXTURE_H

#include "cmocka_all.h"
#include "fake_router.h"
#include "sluice/client.h"

struct fixture {
    struct fake_router fake;
    struct sluice_client *client;
};

struct tally {
    atomic_uint ended;
    atomic_uint allowed;
    atomic_uint errors[SLUICE_CONFLICT + 1];
};

int fixture_setup(void **state);
int fixture_teardown(void **state);

/* Until a router has answered. nng 1.5 leaks a connection whose socket is closed in the middle of
 * the greeting, so tests do not end there. */
void await_connected(struct sluice_client *client);

/* For the end of a program: nng frees what was closed in the background, and must have done so
 * before leaks are looked for. */
int nng_finish(void **state);

/* A sluice_callback; its context is a tally. */
void tally_one(void *context, const struct sluice_result *result);

/* One token of `key`, told to the tally. */
void take_async(struct fixture *fixture, const char *key, struct tally *tally);

int64_t now_ms(void);

/* By how much a sleeper of 5 ms was late at worst since the fixture's setup: 0 unless the program
 * starts the metronome first, and ends with nng_finish. */
int64_t lateness_ms(void);
int metronome_start(void **state);

/* Waits until `*counter` is `wanted`; fails after ten seconds. */
void await(atomic_uint *counter, unsigned wanted);

#endif
