#include "fake_router.h"

#include <assert.h>
#include <nng/protocol/reqrep0/rep.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/reply.h"

static void answer_write(struct writer *writer, const struct take *take) {
    struct take_result result = {.allowed = take->cost_tokens <= 10, .limit_tokens = 100};
    struct fault fault;
    if (bytes_equal(take->key, bytes_of_text("unknown"))) {
        fault_set(&fault, CODE_UNKNOWN_PLAN, "no plan of that name");
        error_write(writer, &fault, NULL);
        return;
    }
    if (bytes_equal(take->key, bytes_of_text("degraded"))) {
        result = (struct take_result){.flags = TAKE_FLAG_DEGRADED};
    } else if (result.allowed) {
        result.remaining_tokens = 100 - take->cost_tokens;
        result.reset_after_us = 1000 * take->cost_tokens;
    } else {
        result.retry_after_us = take->cost_tokens > 100 ? RETRY_NEVER : 5000;
    }
    result_write(writer, &result);
}

static void single_answer(struct fake_router *fake, const struct request *request,
                          struct writer *writer) {
    struct take take;
    struct fault fault;
    if (request_read_take(request->params, &take, &fault) != CODE_OK) {
        reply_write_error(writer, true, request->msgid, &fault, NULL);
        return;
    }
    pthread_mutex_lock(&fake->mutex);
    fake->verb = request->method == METHOD_PEEK     ? VERB_PEEK
                 : request->method == METHOD_REFUND ? VERB_REFUND
                                                    : VERB_TAKE;
    fake->take = take;
    snprintf(fake->key, sizeof fake->key, "%.*s", (int)take.key.size, (const char *)take.key.data);
    struct bytes plan = take.plan.kind == PLAN_CHOICE_NAMED ? take.plan.name : bytes_of("", 0);
    snprintf(fake->plan, sizeof fake->plan, "%.*s", (int)plan.size, (const char *)plan.data);
    pthread_mutex_unlock(&fake->mutex);
    if (bytes_equal(take.key, bytes_of_text("unknown"))) {
        fault_set(&fault, CODE_UNKNOWN_PLAN, "no plan of that name");
        reply_write_error(writer, true, request->msgid, &fault, NULL);
        return;
    }
    reply_write_head(writer, request->msgid);
    answer_write(writer, &take);
}

static void many_answer(struct fake_router *fake, const struct request *request,
                        struct writer *writer) {
    struct take *takes = malloc(TAKES_PER_REQUEST_MAX * sizeof *takes);
    struct fault fault;
    uint32_t count;
    assert(takes != NULL);
    if (request_read_take_many(request->params, takes, &count, &fault) != CODE_OK) {
        reply_write_error(writer, true, request->msgid, &fault, NULL);
    } else {
        uint32_t answered = atomic_load(&fake->mode) == FAKE_SHORT ? count - 1 : count;
        reply_write_head(writer, request->msgid);
        write_array(writer, answered);
        for (uint32_t i = 0; i < answered; i++) {
            answer_write(writer, &takes[i]);
        }
    }
    free(takes);
}

static void request_count(struct fake_router *fake, const struct request *request) {
    uint32_t count = 1;
    if (request->method == METHOD_TAKE_MANY) {
        struct reader reader = reader_of(request->params);
        read_array(&reader, &count);
        atomic_fetch_add(&fake->batches, 1);
        if (count > atomic_load(&fake->largest)) {
            atomic_store(&fake->largest, count);
        }
    }
    atomic_fetch_add(&fake->takes, count);
    atomic_fetch_add(&fake->requests, 1);
}

/* Answers the message (moved). Its header says where the answer goes. */
static void message_answer(struct fake_router *fake, nng_msg *message) {
    static const char garbage[] = "not msgpack at all";
    struct request request;
    struct fault fault;
    uint8_t *memory = malloc(MESSAGE_BYTES_MAX);
    assert(memory != NULL);
    struct writer writer = writer_of(memory, MESSAGE_BYTES_MAX);
    request_read(bytes_of(nng_msg_body(message), nng_msg_len(message)), &request, &fault);
    switch (atomic_load(&fake->mode)) {
    case FAKE_ERROR:
        fault_set(&fault, CODE_OVERLOADED, "the fake is tired");
        reply_write_error(&writer, true, request.msgid, &fault, NULL);
        break;
    case FAKE_GARBAGE:
        write_encoded(&writer, bytes_of(garbage, sizeof garbage));
        break;
    default:
        request.method == METHOD_TAKE_MANY ? many_answer(fake, &request, &writer)
                                           : single_answer(fake, &request, &writer);
    }
    assert(!writer.overflow);
    nng_msg_clear(message);
    nng_msg_append(message, memory, writer.size);
    if (nng_sendmsg(fake->socket, message, 0) != 0) {
        nng_msg_free(message);
    }
    free(memory);
}

static void message_take(struct fake_router *fake, nng_msg *message) {
    struct request request;
    struct fault fault;
    request_read(bytes_of(nng_msg_body(message), nng_msg_len(message)), &request, &fault);
    request_count(fake, &request);
    switch (atomic_load(&fake->mode)) {
    case FAKE_HOLD:
        assert(fake->held_count < FAKE_HELD_MAX);
        fake->held[fake->held_count++] = message;
        break;
    case FAKE_SILENT:
        nng_msg_free(message);
        break;
    default:
        message_answer(fake, message);
    }
}

static void *fake_run(void *argument) {
    struct fake_router *fake = argument;
    while (!atomic_load(&fake->stopping)) {
        nng_msg *message;
        int error = nng_recvmsg(fake->socket, &message, 0);
        if (error == 0) {
            message_take(fake, message);
        }
        if (atomic_load(&fake->mode) != FAKE_HOLD) {
            for (uint32_t i = 0; i < fake->held_count; i++) {
                message_answer(fake, fake->held[i]);
            }
            fake->held_count = 0;
        }
    }
    return NULL;
}

void fake_router_start(struct fake_router *fake) {
    nng_listener listener;
    atomic_store(&fake->stopping, false);
    int error = nng_rep0_open_raw(&fake->socket);
    assert(error == 0);
    nng_socket_set_ms(fake->socket, NNG_OPT_RECVTIMEO, 5);
    nng_socket_set_size(fake->socket, NNG_OPT_RECVMAXSZ, MESSAGE_BYTES_MAX);
    snprintf(fake->url, sizeof fake->url, "tcp://127.0.0.1:%d", fake->port);
    error = nng_listen(fake->socket, fake->url, &listener, 0);
    assert(error == 0);
    if (fake->port == 0) {
        nng_listener_get_int(listener, NNG_OPT_TCP_BOUND_PORT, &fake->port);
        snprintf(fake->url, sizeof fake->url, "tcp://127.0.0.1:%d", fake->port);
    }
    pthread_mutex_init(&fake->mutex, NULL);
    error = pthread_create(&fake->thread, NULL, fake_run, fake);
    assert(error == 0);
}

void fake_router_stop(struct fake_router *fake) {
    atomic_store(&fake->stopping, true);
    pthread_join(fake->thread, NULL);
    nng_close(fake->socket);
    for (uint32_t i = 0; i < fake->held_count; i++) {
        nng_msg_free(fake->held[i]);
    }
    fake->held_count = 0;
    pthread_mutex_destroy(&fake->mutex);
}
