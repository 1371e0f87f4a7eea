#include "tests/unit/nng_client.h"

#include <nng/nng.h>
#include <nng/protocol/reqrep0/req.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

/* Milliseconds for one answer: far above what any takes. */
#define ANSWER_MS 15000

static void question_write(uint8_t *out, size_t size, uint32_t context, uint32_t round) {
    memset(out, (int)(context * 31 + round), size);
    memcpy(out, &context, sizeof context);
    memcpy(out + sizeof context, &round, sizeof round);
}

static int asked(nng_ctx ctx, nng_aio *aio, const uint8_t *question, size_t size) {
    nng_msg *message;
    int error = nng_msg_alloc(&message, 0);
    if (error == 0)
        error = nng_msg_append(message, question, size);
    if (error != 0)
        return error;
    nng_aio_set_msg(aio, message);
    nng_ctx_send(ctx, aio);
    nng_aio_wait(aio);
    error = nng_aio_result(aio);
    if (error != 0)
        nng_msg_free(message);
    return error;
}

static int answered(nng_ctx ctx, nng_aio *aio, const uint8_t *question, size_t size, bool *right) {
    nng_ctx_recv(ctx, aio);
    nng_aio_wait(aio);
    int error = nng_aio_result(aio);
    if (error != 0)
        return error;
    nng_msg *message = nng_aio_get_msg(aio);
    *right = nng_msg_len(message) == size && memcmp(nng_msg_body(message), question, size) == 0;
    nng_msg_free(message);
    return 0;
}

/* Every context asks, and only then the answers are fetched: all are outstanding at once. */
static void client_rounds(struct nng_client *client, nng_ctx *ctxs, nng_aio **aios) {
    uint8_t *question = malloc(client->size);
    for (uint32_t round = 0; round < client->rounds && client->error == 0; round++) {
        for (uint32_t i = 0; i < client->contexts && client->error == 0; i++) {
            question_write(question, client->size, i, round);
            client->error = asked(ctxs[i], aios[i], question, client->size);
        }
        for (uint32_t i = 0; i < client->contexts && client->error == 0; i++) {
            bool right = false;
            question_write(question, client->size, i, round);
            client->error = answered(ctxs[i], aios[i], question, client->size, &right);
            client->right += right;
        }
    }
    free(question);
}

static void client_run(void *arg) {
    struct nng_client *client = arg;
    nng_socket socket;
    nng_ctx *ctxs = calloc(client->contexts, sizeof *ctxs);
    nng_aio **aios = calloc(client->contexts, sizeof *aios);
    client->error = nng_req0_open(&socket);
    if (client->error == 0)
        client->error = nng_dial(socket, client->url, NULL, 0);
    for (uint32_t i = 0; i < client->contexts; i++) {
        nng_ctx_open(&ctxs[i], socket);
        nng_aio_alloc(&aios[i], NULL, NULL);
        nng_aio_set_timeout(aios[i], ANSWER_MS);
    }
    client_rounds(client, ctxs, aios);
    for (uint32_t i = 0; i < client->contexts; i++) {
        nng_ctx_close(ctxs[i]);
        nng_aio_free(aios[i]);
    }
    nng_close(socket);
    free(ctxs);
    free(aios);
    __atomic_store_n(&client->done, true, __ATOMIC_SEQ_CST);
}

void nng_client_start(struct nng_client *client) {
    client->thread = malloc(sizeof(uv_thread_t));
    uv_thread_create(client->thread, client_run, client);
}

void nng_client_join(struct nng_client *client) {
    uv_thread_join(client->thread);
    free(client->thread);
}
