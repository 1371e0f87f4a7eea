/*
 * For tests: a stock libnng REQ client on a thread of its own, with many contexts at once, that
 * checks that each gets its own answer.
 */
#ifndef SLUICE_TESTS_NNG_CLIENT_H
#define SLUICE_TESTS_NNG_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct nng_client {
    const char *url;
    uint32_t contexts; /* that ask at the same time */
    uint32_t rounds;   /* questions of each */
    size_t size;       /* bytes of a question, at least 8 */
    uint32_t right;    /* answers that were the question */
    int error;         /* of libnng, 0: none */
    bool done;         /* read with __atomic_load_n */
    void *thread;
};

void nng_client_start(struct nng_client *client);
void nng_client_join(struct nng_client *client);

#endif
