/*
 * nng-bench: what an nng client sees. Stock libnng REQ sockets, each with one request outstanding,
 * against a shard, a router, or a bare libnng REP echo (the floor that nng itself sets).
 *
 *     nng-bench echo URL                          serves until its input ends
 *     nng-bench load URL CLIENTS SECONDS [KEYS]   prints one line of JSON
 */
#include <assert.h>
#include <inttypes.h>
#include <nng/nng.h>
#include <nng/protocol/reqrep0/rep.h>
#include <nng/protocol/reqrep0/req.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/reply.h"
#include "proto/request.h"
#include "runtime/clock.h"

/* Contexts of the echo server, clients of a load, and microseconds told apart (then: "more"). */
#define ECHO_CONTEXTS 128
#define CLIENTS_MAX 1024
#define LATENCY_US_MAX 200000

static void check(int rv, const char *what) {
    if (rv != 0) {
        fprintf(stderr, "nng-bench: %s: %s\n", what, nng_strerror(rv));
        exit(1);
    }
}

/* --- echo ---------------------------------------------------------------------------------- */

struct echo {
    nng_ctx ctx;
    nng_aio *aio;
    bool sending;
};

static void on_echo(void *argument) {
    struct echo *echo = argument;
    if (nng_aio_result(echo->aio) != 0) {
        return;
    }
    if (!echo->sending) {
        nng_aio_set_msg(echo->aio, nng_aio_get_msg(echo->aio));
        echo->sending = true;
        nng_ctx_send(echo->ctx, echo->aio);
    } else {
        echo->sending = false;
        nng_ctx_recv(echo->ctx, echo->aio);
    }
}

static int echo_run(const char *url) {
    static struct echo echoes[ECHO_CONTEXTS];
    nng_socket socket;
    check(nng_rep0_open(&socket), "open");
    check(nng_listen(socket, url, NULL, 0), url);
    for (int i = 0; i < ECHO_CONTEXTS; i++) {
        check(nng_ctx_open(&echoes[i].ctx, socket), "context");
        check(nng_aio_alloc(&echoes[i].aio, on_echo, &echoes[i]), "aio");
        nng_ctx_recv(echoes[i].ctx, echoes[i].aio);
    }
    printf("ready\n");
    fflush(stdout);
    char byte;
    while (read(0, &byte, 1) > 0) {
    }
    nng_close(socket);
    return 0;
}

/* --- load ---------------------------------------------------------------------------------- */

struct load {
    atomic_bool stop;
    uint64_t key_count;
    pthread_mutex_t lock;
    pthread_cond_t ended;
    uint32_t running;
};

struct client {
    struct load *load;
    nng_socket socket;
    nng_aio *aio;
    bool receiving;
    uint64_t sent_ns;
    uint64_t random;
    uint32_t msgid;
    uint64_t answers, errors;
    uint32_t latency[LATENCY_US_MAX + 1];
};

static uint64_t next_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void client_end(struct client *client) {
    struct load *load = client->load;
    pthread_mutex_lock(&load->lock);
    load->running--;
    pthread_cond_signal(&load->ended);
    pthread_mutex_unlock(&load->lock);
}

static void client_ask(struct client *client) {
    uint8_t body[128];
    char key[32];
    struct writer writer = writer_of(body, sizeof body);
    struct take take = {.cost_tokens = 1};
    snprintf(key, sizeof key, "key:%" PRIu64,
             next_random(&client->random) % client->load->key_count);
    take.key = bytes_of_text(key);
    take.plan.kind = PLAN_CHOICE_INLINE;
    take.plan.limit = (struct limit){1000, UINT64_C(1000000000), 1000};
    request_write_single(&writer, ++client->msgid, VERB_TAKE, &take, 0);
    nng_msg *message;
    check(nng_msg_alloc(&message, 0), "message");
    check(nng_msg_append(message, body, writer.size), "message");
    nng_aio_set_msg(client->aio, message);
    client->receiving = false;
    client->sent_ns = clock_monotonic_ns();
    nng_send_aio(client->socket, client->aio);
}

static void client_count(struct client *client, nng_msg *message) {
    uint64_t us = (clock_monotonic_ns() - client->sent_ns) / 1000;
    struct reply reply;
    client->latency[us < LATENCY_US_MAX ? us : LATENCY_US_MAX]++;
    client->answers++;
    if (reply_read(bytes_of(nng_msg_body(message), nng_msg_len(message)), &reply) &&
        (reply.is_error || reply.msgid != client->msgid)) {
        client->errors++;
    }
    nng_msg_free(message);
}

static void on_client(void *argument) {
    struct client *client = argument;
    int rv = nng_aio_result(client->aio);
    if (rv != 0) {
        client->errors++;
        client_end(client);
        return;
    }
    if (!client->receiving) {
        client->receiving = true;
        nng_recv_aio(client->socket, client->aio);
        return;
    }
    client_count(client, nng_aio_get_msg(client->aio));
    if (atomic_load_explicit(&client->load->stop, memory_order_relaxed)) {
        client_end(client);
    } else {
        client_ask(client);
    }
}

static uint32_t percentile(const uint64_t *latency, uint64_t total, double share) {
    uint64_t wanted = (uint64_t)(share * (double)total), seen = 0;
    for (uint32_t us = 0; us <= LATENCY_US_MAX; us++) {
        seen += latency[us];
        if (seen > wanted) {
            return us;
        }
    }
    return LATENCY_US_MAX;
}

static void load_report(struct client *clients, uint32_t count, double seconds) {
    uint64_t *latency = calloc(LATENCY_US_MAX + 1, sizeof *latency);
    uint64_t answers = 0, errors = 0;
    assert(latency != NULL);
    for (uint32_t i = 0; i < count; i++) {
        answers += clients[i].answers;
        errors += clients[i].errors;
        for (uint32_t us = 0; us <= LATENCY_US_MAX; us++) {
            latency[us] += clients[i].latency[us];
        }
    }
    printf("{\"clients\": %u, \"per_second\": %.0f, \"p50_us\": %u, \"p99_us\": %u, \"errors\": "
           "%" PRIu64 "}\n",
           count, (double)answers / seconds, percentile(latency, answers, 0.50),
           percentile(latency, answers, 0.99), errors);
    free(latency);
}

static int load_run(const char *url, uint32_t count, uint32_t seconds, uint64_t key_count) {
    struct load load = {.key_count = key_count,
                        .lock = PTHREAD_MUTEX_INITIALIZER,
                        .ended = PTHREAD_COND_INITIALIZER,
                        .running = count};
    struct client *clients = calloc(count, sizeof *clients);
    assert(clients != NULL);
    for (uint32_t i = 0; i < count; i++) {
        clients[i].load = &load;
        clients[i].random = UINT64_C(0x9e3779b97f4a7c15) * (i + 1);
        check(nng_req0_open(&clients[i].socket), "open");
        check(nng_socket_set_ms(clients[i].socket, NNG_OPT_RECVTIMEO, 5000), "timeout");
        check(nng_dial(clients[i].socket, url, NULL, 0), url);
        check(nng_aio_alloc(&clients[i].aio, on_client, &clients[i]), "aio");
        nng_aio_set_timeout(clients[i].aio, 5000);
    }
    uint64_t started_ns = clock_monotonic_ns();
    for (uint32_t i = 0; i < count; i++) {
        client_ask(&clients[i]);
    }
    sleep(seconds);
    atomic_store(&load.stop, true);
    pthread_mutex_lock(&load.lock);
    while (load.running > 0) {
        pthread_cond_wait(&load.ended, &load.lock);
    }
    pthread_mutex_unlock(&load.lock);
    load_report(clients, count, (double)(clock_monotonic_ns() - started_ns) / 1e9);
    for (uint32_t i = 0; i < count; i++) {
        nng_close(clients[i].socket);
        nng_aio_free(clients[i].aio);
    }
    free(clients);
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "echo") == 0) {
        return echo_run(argv[2]);
    }
    if (argc >= 5 && strcmp(argv[1], "load") == 0) {
        unsigned long count = strtoul(argv[3], NULL, 10), seconds = strtoul(argv[4], NULL, 10);
        uint64_t keys = argc > 5 ? strtoull(argv[5], NULL, 10) : 100000;
        if (count >= 1 && count <= CLIENTS_MAX && seconds >= 1 && seconds <= 600 && keys >= 1) {
            return load_run(argv[2], (uint32_t)count, (uint32_t)seconds, keys);
        }
    }
    fprintf(stderr,
            "usage: nng-bench echo URL\n"
            "       nng-bench load URL CLIENTS(1-%d) SECONDS(1-600) [KEYS]\n",
            CLIENTS_MAX);
    return 2;
}
