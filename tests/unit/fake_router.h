/*
 * A router made of one thread and a raw REP socket, that answers takes out of its head and notes
 * what it was sent. For tests of clients.
 *
 * Granted if the cost is at most 10: remaining is 100 - cost, limit 100. The key "unknown" gets
 * UNKNOWN_PLAN, the key "degraded" a degraded refusal.
 */
#ifndef SLUICE_TESTS_FAKE_ROUTER_H
#define SLUICE_TESTS_FAKE_ROUTER_H

#include <nng/nng.h>
#include <pthread.h>
#include <stdatomic.h>

#include "proto/request.h"

enum fake_mode {
    FAKE_ANSWER,
    FAKE_HOLD,    /* keeps requests until the mode changes, then answers them */
    FAKE_SILENT,  /* throws requests away */
    FAKE_ERROR,   /* answers every request with OVERLOADED */
    FAKE_GARBAGE, /* answers with something else */
    FAKE_SHORT,   /* answers a batch with one result too few */
};

#define FAKE_HELD_MAX 64

struct fake_router {
    nng_socket socket;
    pthread_t thread;
    int port; /* 0: any; kept over a restart */
    char url[64];
    _Atomic enum fake_mode mode;
    atomic_bool stopping;
    atomic_uint requests;
    atomic_uint batches;
    atomic_uint takes;
    atomic_uint largest; /* batch */
    pthread_mutex_t mutex;
    /* under the mutex: the last single request */
    enum verb verb;
    struct take take;
    char key[KEY_BYTES_MAX];
    char plan[NAME_BYTES_MAX + 1];
    nng_msg *held[FAKE_HELD_MAX];
    uint32_t held_count;
};

void fake_router_start(struct fake_router *fake);
void fake_router_stop(struct fake_router *fake);

#endif
