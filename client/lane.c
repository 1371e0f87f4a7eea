#include "client/lane.h"

#include <assert.h>
#include <nng/protocol/reqrep0/req.h>
#include <stdio.h>
#include <stdlib.h>

#include "client/client.h"
#include "proto/reply.h"
#include "proto/request.h"

static enum sluice_error error_of_code(enum code code) {
    static const enum sluice_error of_code[CODE_COUNT] = {
        [CODE_OK] = SLUICE_OK,
        [CODE_BAD_REQUEST] = SLUICE_BAD_REQUEST,
        [CODE_UNKNOWN_METHOD] = SLUICE_UNKNOWN_METHOD,
        [CODE_UNKNOWN_PLAN] = SLUICE_UNKNOWN_PLAN,
        [CODE_TOO_LARGE] = SLUICE_TOO_LARGE,
        [CODE_MOVED] = SLUICE_MOVED,
        [CODE_UNAVAILABLE] = SLUICE_UNAVAILABLE,
        [CODE_OVERLOADED] = SLUICE_OVERLOADED,
        [CODE_FORBIDDEN] = SLUICE_FORBIDDEN,
        [CODE_CONFLICT] = SLUICE_CONFLICT,
    };
    return of_code[code];
}

/* --- answers -------------------------------------------------------------------------------- */

static void result_of_error(struct sluice_result *result, const struct reply *error) {
    char text[SLUICE_MESSAGE_BYTES_MAX];
    snprintf(text, sizeof text, "%.*s", (int)error->message.size,
             (const char *)error->message.data);
    result_fail(result, error_of_code(error->code), text);
}

static void result_of_take(struct sluice_result *result, const struct take_result *take) {
    result->error = SLUICE_OK;
    result->allowed = take->allowed;
    result->degraded = (take->flags & TAKE_FLAG_DEGRADED) != 0;
    result->remaining = take->remaining_tokens;
    result->limit = take->limit_tokens;
    result->retry_after_us = take->retry_after_us;
    result->reset_after_us = take->reset_after_us;
    result->message[0] = '\0';
}

static void call_end_read(struct call *call, struct reader *reader, bool *broken) {
    struct sluice_result result;
    struct take_result take;
    struct reply error;
    *broken = *broken || !result_read(reader, &take, &error);
    if (*broken) {
        result_fail(&result, SLUICE_PROTOCOL, NULL);
    } else if (take.code != CODE_OK) {
        result_of_error(&result, &error);
    } else {
        result_of_take(&result, &take);
    }
    if (call != NULL) {
        call_end(call, &result);
    }
}

static void calls_fail(struct lane *lane, enum sluice_error error, const char *message) {
    for (uint32_t i = 0; i < lane->call_count; i++) {
        if (lane->calls[i] != NULL) {
            call_fail(lane->calls[i], error, message);
        }
    }
}

/* Hands the reply out to the calls, in order. */
static void calls_answer(struct lane *lane, struct bytes message) {
    struct reply reply;
    uint32_t count = 1;
    bool broken = !reply_read(message, &reply);
    if (!broken && reply.is_error) {
        struct sluice_result failed;
        result_of_error(&failed, &reply);
        calls_fail(lane, failed.error, failed.message);
        return;
    }
    struct reader reader = reader_of(reply.result);
    broken = broken || (lane->call_count > 1 && !read_array(&reader, &count)) ||
             count != lane->call_count;
    for (uint32_t i = 0; i < lane->call_count; i++) {
        call_end_read(lane->calls[i], &reader, &broken);
    }
}

static enum sluice_error error_of_nng(const struct lane *lane, int error) {
    switch (error) {
    case NNG_ETIMEDOUT:
        return lane->was_sent ? SLUICE_TIMEOUT : SLUICE_UNREACHABLE;
    case NNG_ECONNRESET:
        return SLUICE_LOST;
    case NNG_ECLOSED:
    case NNG_ECANCELED:
        return SLUICE_CLOSED;
    case NNG_ENOMEM:
        return lane->was_sent ? SLUICE_LOST : SLUICE_NO_MEMORY;
    default:
        return lane->was_sent ? SLUICE_LOST : SLUICE_UNREACHABLE;
    }
}

/* --- under way ------------------------------------------------------------------------------ */

static void timeout_set(struct lane *lane) {
    int64_t left = lane->expires_ms - client_now_ms();
    nng_aio_set_timeout(lane->aio, left < 1 ? 1 : (nng_duration)left);
}

/* The request is on its way: waits for the answer. False: the client is being closed. Under the
 * mutex, so that whoever closes ends either this wait or none. */
static bool lane_wait(struct lane *lane) {
    client_lock(lane->client);
    bool waits = !lane->client->closing;
    lane->was_sent = true;
    if (waits) {
        lane->state = LANE_WAITING;
        timeout_set(lane);
        nng_ctx_recv(lane->context, lane->aio);
    }
    client_unlock(lane->client);
    return waits;
}

/* nng's callback, on nng's thread: the send or the receive has ended. */
static void lane_aio_ended(void *argument) {
    struct lane *lane = argument;
    int error = nng_aio_result(lane->aio);
    bool sending = !lane->was_sent;
    if (error == 0 && sending) {
        if (lane_wait(lane)) {
            return;
        }
        error = NNG_ECLOSED;
    }
    /* A request that was sent is nng's; one that was not comes back. */
    nng_msg *message = error == 0 || sending ? nng_aio_get_msg(lane->aio) : NULL;
    nng_aio_set_msg(lane->aio, NULL);
    bool closing = client_lane_ending(lane->client, lane);
    if (error == 0) {
        calls_answer(lane, bytes_of(nng_msg_body(message), nng_msg_len(message)));
    } else {
        calls_fail(lane, closing ? SLUICE_CLOSED : error_of_nng(lane, error), NULL);
    }
    if (message != NULL) {
        nng_msg_free(message);
    }
    client_lane_ended(lane->client, lane);
}

static nng_msg *message_create(const struct lane *lane, uint32_t msgid) {
    uint8_t memory[64];
    struct writer head = writer_of(memory, sizeof memory);
    static const enum method of_verb[] = {
        [VERB_TAKE] = METHOD_TAKE, [VERB_PEEK] = METHOD_PEEK, [VERB_REFUND] = METHOD_REFUND};
    bool many = lane->call_count > 1;
    request_write_head(&head, msgid, many ? METHOD_TAKE_MANY : of_verb[lane->calls[0]->verb]);
    if (many) {
        write_array(&head, lane->call_count);
    }
    assert(!head.overflow);
    size_t size = head.size;
    for (uint32_t i = 0; i < lane->call_count; i++) {
        size += lane->calls[i]->params_size;
    }
    assert(size <= MESSAGE_BYTES_MAX);
    nng_msg *message = NULL;
    if (nng_msg_alloc(&message, size) != 0) {
        return NULL;
    }
    uint8_t *at = nng_msg_body(message);
    memcpy(at, head.start, head.size);
    at += head.size;
    for (uint32_t i = 0; i < lane->call_count; i++) {
        memcpy(at, lane->calls[i]->params, lane->calls[i]->params_size);
        at += lane->calls[i]->params_size;
    }
    return message;
}

bool lane_send(struct lane *lane, uint32_t msgid) {
    assert(lane->state == LANE_IDLE && lane->call_count > 0);
    nng_msg *message = message_create(lane, msgid);
    if (message == NULL) {
        return false;
    }
    lane->state = LANE_SENDING;
    lane->was_sent = false;
    nng_aio_set_msg(lane->aio, message);
    timeout_set(lane);
    nng_ctx_send(lane->context, lane->aio);
    return true;
}

enum sluice_error lane_init(struct lane *lane, struct sluice_client *client, nng_socket socket,
                            bool is_batch) {
    lane->client = client;
    lane->is_batch = is_batch;
    lane->calls = calloc(is_batch ? BATCH_CALLS_MAX : 1, sizeof lane->calls[0]);
    if (lane->calls == NULL || nng_aio_alloc(&lane->aio, lane_aio_ended, lane) != 0 ||
        nng_ctx_open(&lane->context, socket) != 0) {
        return SLUICE_NO_MEMORY;
    }
    /* nng would send a request again after a minute, and at once when its connection breaks: a take
     * that was spent would be spent twice. With resending off a broken connection ends the request
     * (SLUICE_LOST), and the caller decides. Set on each context: in nng 1.5 contexts do not get
     * it from the socket. */
    return nng_ctx_set_ms(lane->context, NNG_OPT_REQ_RESENDTIME, NNG_DURATION_INFINITE) == 0
               ? SLUICE_OK
               : SLUICE_NO_MEMORY;
}

void lane_cancel(struct lane *lane) {
    if (lane->aio != NULL) {
        nng_aio_cancel(lane->aio);
    }
}

void lane_fini(struct lane *lane) {
    assert(lane->state == LANE_IDLE);
    if (lane->aio != NULL) {
        nng_aio_free(lane->aio);
    }
    free(lane->calls);
}
