#include "router/io/door_nng.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/request.h"
#include "router/io/shell.h"
#include "router/io/status.h"

/* A take_many's answer is the largest reply: results that are errors with the longest texts. */
_Static_assert((uint64_t)TAKES_PER_REQUEST_MAX *(FAULT_TEXT_BYTES_MAX + 32) + 64 <=
                   MESSAGE_BYTES_MAX,
               "every reply fits one message");

/* What the core keeps for us with each request. */
struct door_caller {
    uint32_t endpoint;
    struct endpoint_caller caller;
};
_Static_assert(sizeof(struct door_caller) <= ROUTER_CALLER_BYTES, "a caller fits its token");

static void reply(struct door_endpoint *at, const struct endpoint_caller *caller,
                  const struct writer *writer) {
    assert(!writer->overflow);
    endpoint_reply(at->endpoint, caller, writer_bytes(writer));
    at->unflushed = true;
}

static void error_reply(struct door_endpoint *at, const struct endpoint_caller *caller,
                        bool has_msgid, uint32_t msgid, const struct fault *fault) {
    struct writer writer;
    if (endpoint_reply_begin(at->endpoint, caller, REPLY_HEAD_BYTES_MAX + RESULT_BYTES_MAX,
                             &writer)) {
        reply_write_error(&writer, has_msgid, msgid, fault, NULL);
        endpoint_reply_end(at->endpoint, &writer);
        at->unflushed = true;
    }
}

static void refuse(struct door_endpoint *at, const struct endpoint_caller *caller,
                   const struct request *request, const struct fault *fault) {
    error_reply(at, caller, request->has_msgid, request->msgid, fault);
    at->shell->door.refused++;
}

/* --- requests ------------------------------------------------------------------------------- */

static void on_take(struct door_endpoint *at, const struct endpoint_caller *caller,
                    const struct request *request) {
    struct take *takes = at->shell->door.takes;
    struct fault fault;
    uint32_t count = 1;
    enum code code = request->method == METHOD_TAKE_MANY
                         ? request_read_take_many(request->params, takes, &count, &fault)
                         : request_read_take(request->params, takes, &fault);
    if (code != CODE_OK) {
        refuse(at, caller, request, &fault);
        return;
    }
    struct door_caller from = {.endpoint = at->index, .caller = *caller};
    struct router_caller token = {0};
    memcpy(token.bytes, &from, sizeof from);
    struct router_event event = {.kind = ROUTER_EVENT_REQUEST};
    event.request.caller = &token;
    event.request.msgid = request->msgid;
    event.request.many = request->method == METHOD_TAKE_MANY;
    event.request.verb = request->method == METHOD_PEEK     ? VERB_PEEK
                         : request->method == METHOD_REFUND ? VERB_REFUND
                                                            : VERB_TAKE;
    event.request.takes = takes;
    event.request.count = count;
    shell_step(at->shell, &event);
}

void door_status(struct router_shell *shell, const struct status_asker *asker,
                 const struct status *status) {
    struct writer writer = writer_of(shell->scratch, MESSAGE_BYTES_MAX);
    reply_write_head(&writer, asker->msgid);
    status_write(status, &writer);
    reply(&shell->door.endpoints[asker->door_endpoint], &asker->caller, &writer);
}

static void on_status(struct door_endpoint *at, const struct endpoint_caller *caller,
                      const struct request *request) {
    struct router_shell *shell = at->shell;
    struct status_asker asker = {
        .door_endpoint = at->index, .caller = *caller, .msgid = request->msgid};
    if (shell->statuses_open < ROUTER_STATUSES_MAX) {
        shell->statuses_open++;
        if (shell->on_status != NULL && shell->on_status(shell->status_ctx, &asker)) {
            return;
        }
        struct status status = {0};
        if (shell->on_status == NULL && status_add(&status, shell)) {
            router_shell_status(shell, &asker, &status);
            status_fini(&status);
            return;
        }
        status_fini(&status);
        shell->statuses_open--;
    }
    struct fault fault;
    fault_set(&fault, CODE_OVERLOADED, "too many ask for the status at once");
    refuse(at, caller, request, &fault);
}

static void on_read(struct door_endpoint *at, const struct endpoint_caller *caller,
                    const struct request *request) {
    struct fault fault;
    if (request_read_none(request->params, &fault) != CODE_OK) {
        refuse(at, caller, request, &fault);
        return;
    }
    if (request->method == METHOD_CLUSTER_STATUS) {
        on_status(at, caller, request);
        return;
    }
    struct writer writer = writer_of(at->shell->scratch, MESSAGE_BYTES_MAX);
    reply_write_head(&writer, request->msgid);
    if (!status_view_write(at->shell, &writer)) {
        fault_set(&fault, CODE_UNAVAILABLE, "this router has not yet reached any node");
        refuse(at, caller, request, &fault);
        return;
    }
    reply(at, caller, &writer);
}

static void on_request(void *ctx, struct endpoint *endpoint, const struct endpoint_caller *caller,
                       struct bytes body) {
    struct door_endpoint *at = ctx;
    struct request request;
    struct fault fault;
    at->shell->turn_open = true;
    if (request_read(body, &request, &fault) != CODE_OK) {
        refuse(at, caller, &request, &fault);
        return;
    }
    switch (method_kind(request.method)) {
    case METHOD_KIND_TAKE:
        on_take(at, caller, &request);
        break;
    case METHOD_KIND_READ:
        on_read(at, caller, &request);
        break;
    case METHOD_KIND_NODE:
        fault_set(&fault, CODE_UNKNOWN_METHOD, "%s is answered at a node's control endpoint",
                  method_text(request.method));
        refuse(at, caller, &request, &fault);
        break;
    case METHOD_KIND_CONTROL:
        fault_set(&fault, CODE_FORBIDDEN,
                  "%s: operator's methods are answered by a node's control endpoint",
                  method_text(request.method));
        refuse(at, caller, &request, &fault);
        break;
    }
}

static void on_oversize(void *ctx, struct endpoint *endpoint, const struct endpoint_caller *caller,
                        struct bytes first, uint64_t size) {
    struct door_endpoint *at = ctx;
    struct request request;
    struct fault fault;
    at->shell->turn_open = true;
    /* Only the msgid counts, if what is left of the message reaches that far. */
    request_read(first, &request, &fault);
    fault_set(&fault, CODE_TOO_LARGE, "the message has %llu bytes, at most %u are allowed",
              (unsigned long long)size, MESSAGE_BYTES_MAX);
    refuse(at, caller, &request, &fault);
}

/* The shell's own turn follows before the loop sleeps. */
static void on_turn(void *ctx, struct endpoint *endpoint) {
    struct door_endpoint *at = ctx;
    at->shell->turn_open = true;
}

/* --- answers -------------------------------------------------------------------------------- */

static void fault_of_result(struct fault *fault, const struct router_result *result) {
    fault_set(fault, result->take.code, "%s", result->text);
}

static void results_write(struct writer *writer, const struct router_answer *answer) {
    reply_write_head(writer, answer->msgid);
    if (!answer->many) {
        result_write(writer, &answer->results[0].take);
        return;
    }
    write_array(writer, answer->count);
    for (uint32_t i = 0; i < answer->count; i++) {
        const struct router_result *result = &answer->results[i];
        if (result->take.code == CODE_OK) {
            result_write(writer, &result->take);
            continue;
        }
        struct fault fault;
        fault_of_result(&fault, result);
        error_write(writer, &fault, NULL);
    }
}

/* Bytes that the answer takes at most. */
static uint32_t results_size_max(const struct router_answer *answer) {
    uint32_t size = REPLY_HEAD_BYTES_MAX;
    for (uint32_t i = 0; i < answer->count; i++) {
        size += result_size_max(answer->results[i].take.code);
    }
    return size;
}

void door_answer(struct router_shell *shell, const struct router_answer *answer) {
    struct door_caller to;
    memcpy(&to, answer->caller->bytes, sizeof to);
    struct door_endpoint *at = &shell->door.endpoints[to.endpoint];
    struct writer writer;
    struct fault fault;
    if (answer->refusal != REASON_NONE) {
        fault_set(&fault, reason_code(answer->refusal), "%s", reason_text(answer->refusal));
        error_reply(at, &to.caller, true, answer->msgid, &fault);
    } else if (!answer->many && answer->results[0].take.code != CODE_OK) {
        fault_of_result(&fault, &answer->results[0]);
        error_reply(at, &to.caller, true, answer->msgid, &fault);
    } else if (endpoint_reply_begin(at->endpoint, &to.caller, results_size_max(answer), &writer)) {
        results_write(&writer, answer);
        endpoint_reply_end(at->endpoint, &writer);
        at->unflushed = true;
    }
}

void door_flush(struct router_shell *shell) {
    for (uint32_t i = 0; i < shell->door.endpoint_count; i++) {
        struct door_endpoint *at = &shell->door.endpoints[i];
        if (at->unflushed) {
            at->unflushed = false;
            endpoint_flush(at->endpoint);
        }
    }
}

/* --- opening and closing -------------------------------------------------------------------- */

int door_open(struct router_shell *shell, const struct router_settings *settings, char *why,
              size_t why_size) {
    const struct url_list *listen = &settings->listen;
    struct door *door = &shell->door;
    door->takes = calloc(TAKES_PER_REQUEST_MAX, sizeof *door->takes);
    if (door->takes == NULL) {
        snprintf(why, why_size, "no memory");
        return -1;
    }
    for (uint32_t i = 0; i < listen->count; i++) {
        struct door_endpoint *at = &door->endpoints[i];
        *at = (struct door_endpoint){.shell = shell, .index = i};
        struct endpoint_handler handler = {
            .ctx = at, .on_request = on_request, .on_oversize = on_oversize, .on_turn = on_turn};
        const char *url = listen->urls[i].text;
        enum endpoint_sharing sharing =
            endpoint_can_be_shared(url) ? settings->sharing : ENDPOINT_ALONE;
        if (endpoint_open_shared(&at->endpoint, shell->loop, url, sharing, &handler, why,
                                 why_size) != 0) {
            return -1;
        }
        door->endpoint_count++;
    }
    return 0;
}

void door_stop(struct router_shell *shell) {
    for (uint32_t i = 0; i < shell->door.endpoint_count; i++) {
        endpoint_stop(shell->door.endpoints[i].endpoint);
    }
}

void door_close(struct router_shell *shell) {
    for (uint32_t i = 0; i < shell->door.endpoint_count; i++) {
        shell->open_count++;
        endpoint_close(shell->door.endpoints[i].endpoint, shell_part_closed, shell);
    }
    shell->door.endpoint_count = 0;
    free(shell->door.takes);
    shell->door.takes = NULL;
}
