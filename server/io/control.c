#include "server/io/control.h"

#include <assert.h>
#include <stdlib.h>

#include "proto/cluster_view.h"
#include "proto/plan_codec.h"
#include "server/io/control_impl.h"

/* --- calls --------------------------------------------------------------------------------- */

struct control_call *control_call_get(struct control *control, const struct endpoint_caller *caller,
                                      const struct request *request) {
    for (uint32_t i = 0; i < CONTROL_CALLS_MAX; i++) {
        struct control_call *call = &control->calls[i];
        if (!call->taken) {
            uint32_t turn = call->turn + 1;
            *call = (struct control_call){.control = control,
                                          .taken = true,
                                          .turn = turn,
                                          .caller = *caller,
                                          .msgid = request->msgid,
                                          .method = request->method};
            return call;
        }
    }
    return NULL;
}

uint64_t control_call_token(const struct control_call *call) {
    return (uint64_t)call->turn << 32 | (uint64_t)(call - call->control->calls);
}

struct control_call *control_call_of_token(struct control *control, uint64_t token) {
    uint32_t index = (uint32_t)token;
    if (index >= CONTROL_CALLS_MAX) {
        return NULL;
    }
    struct control_call *call = &control->calls[index];
    return call->taken && call->turn == token >> 32 ? call : NULL;
}

static void call_put(struct control_call *call) {
    for (uint32_t i = 0; i < call->control->shard_count && call->loads != NULL; i++) {
        free(call->loads[i].list);
    }
    free(call->map);
    free(call->plans);
    call->plans = NULL;
    free(call->statuses);
    free(call->loads);
    call->loads = NULL;
    call->map = NULL;
    call->statuses = NULL;
    call->taken = false;
}

struct writer control_reply_begin(struct control *control, uint32_t msgid) {
    struct writer writer = writer_of(control->reply, CONTROL_REPLY_BYTES_MAX);
    reply_write_head(&writer, msgid);
    return writer;
}

static void reply_send(struct control *control, const struct endpoint_caller *caller,
                       const struct writer *writer) {
    assert(!writer->overflow);
    if (!control->closing) {
        endpoint_reply(control->endpoint, caller, writer_bytes(writer));
        endpoint_flush(control->endpoint);
    }
}

void control_call_reply(struct control_call *call, const struct writer *writer) {
    if (writer->overflow) { /* what the store holds has no bound of ours */
        struct fault fault;
        fault_set(&fault, CODE_TOO_LARGE, "the answer would have more than %u bytes",
                  CONTROL_REPLY_BYTES_MAX);
        control_call_fail(call, &fault, NULL);
        return;
    }
    reply_send(call->control, &call->caller, writer);
    call_put(call);
}

static void error_send(struct control *control, const struct endpoint_caller *caller,
                       bool has_msgid, uint32_t msgid, const struct fault *fault,
                       const struct moved *moved) {
    struct writer writer = writer_of(control->reply, CONTROL_REPLY_BYTES_MAX);
    reply_write_error(&writer, has_msgid, msgid, fault, moved);
    reply_send(control, caller, &writer);
}

void control_call_fail(struct control_call *call, const struct fault *fault,
                       const struct moved *moved) {
    error_send(call->control, &call->caller, true, call->msgid, fault, moved);
    call_put(call);
}

/* --- requests ------------------------------------------------------------------------------ */

static void plans_get(struct control_call *call) {
    struct writer writer = control_reply_begin(call->control, call->msgid);
    plan_set_write(&writer, &membership_state(call->control->membership)->plans);
    control_call_reply(call, &writer);
}

static void cluster_map(struct control_call *call) {
    const struct cluster_state *state = membership_state(call->control->membership);
    struct writer writer = control_reply_begin(call->control, call->msgid);
    cluster_view_write(&writer, &state->map, &state->plans,
                       membership_age_ms(call->control->membership));
    control_call_reply(call, &writer);
}

static void call_run(struct control_call *call, struct bytes params) {
    struct fault fault;
    bool takes_none = call->method == METHOD_CLUSTER_MAP || call->method == METHOD_CLUSTER_STATUS ||
                      call->method == METHOD_PLANS_GET || call->method == METHOD_NODE_STATUS ||
                      call->method == METHOD_SLOTS_LIST || call->method == METHOD_REBALANCE_GET;
    if (takes_none && request_read_none(params, &fault) != CODE_OK) {
        control_call_fail(call, &fault, NULL);
        return;
    }
    switch (call->method) {
    case METHOD_CLUSTER_MAP:
        cluster_map(call);
        return;
    case METHOD_CLUSTER_STATUS:
        control_status(call);
        return;
    case METHOD_CLUSTER_INIT:
        control_init(call, params);
        return;
    case METHOD_PLANS_APPLY:
        control_plans_apply(call, params);
        return;
    case METHOD_PLANS_GET:
        plans_get(call);
        return;
    case METHOD_KEY_SHOW:
    case METHOD_KEY_RESET:
    case METHOD_KEY_ASSIGN:
        control_key(call, params);
        return;
    case METHOD_NODE_STATUS:
    case METHOD_SLOTS_LIST:
        control_node_status(call);
        return;
    case METHOD_CLUSTER_REFRESH:
        control_refresh(call, params);
        return;
    case METHOD_CLUSTER_EVENTS:
        control_events(call, params);
        return;
    case METHOD_SLOTS_MOVE:
        control_slots_move(call, params);
        return;
    case METHOD_NODE_WEIGHT:
        control_node_weight(call, params);
        return;
    case METHOD_NODE_REMOVE:
        control_node_remove(call, params);
        return;
    case METHOD_REBALANCE_GET:
        control_rebalance_get(call);
        return;
    case METHOD_REBALANCE_PUT:
        control_rebalance_put(call, params);
        return;
    default:
        fault_set(&fault, CODE_UNKNOWN_METHOD,
                  "%s is not answered at a control endpoint: send takes to a router or a shard",
                  method_text(call->method));
        control_call_fail(call, &fault, NULL);
    }
}

static void on_request(void *ctx, struct endpoint *endpoint, const struct endpoint_caller *caller,
                       struct bytes body) {
    struct control *control = ctx;
    struct request request;
    struct fault fault;
    if (request_read(body, &request, &fault) != CODE_OK) {
        error_send(control, caller, request.has_msgid, request.msgid, &fault, NULL);
        return;
    }
    if (method_kind(request.method) == METHOD_KIND_CONTROL &&
        !endpoint_caller_is_local(endpoint, caller)) {
        fault_set(&fault, CODE_FORBIDDEN, "%s may be called from this machine only",
                  method_text(request.method));
        error_send(control, caller, true, request.msgid, &fault, NULL);
        return;
    }
    struct control_call *call = control_call_get(control, caller, &request);
    if (call == NULL) {
        fault_set(&fault, CODE_OVERLOADED, "%d requests wait here already", CONTROL_CALLS_MAX);
        error_send(control, caller, true, request.msgid, &fault, NULL);
        return;
    }
    call_run(call, request.params);
}

static void on_oversize(void *ctx, struct endpoint *endpoint, const struct endpoint_caller *caller,
                        struct bytes first, uint64_t size) {
    struct request request;
    struct fault ignored, fault;
    request_read(first, &request, &ignored);
    fault_set(&fault, CODE_TOO_LARGE, "the message has %llu bytes, at most %u are allowed",
              (unsigned long long)size, MESSAGE_BYTES_MAX);
    error_send(ctx, caller, request.has_msgid, request.msgid, &fault, NULL);
}

static void on_turn(void *ctx, struct endpoint *endpoint) {}

void control_on_shard(struct control *control, const struct node_message *message) {
    struct control_call *call = control_call_of_token(control, message->token);
    if (call == NULL) {
        return;
    }
    if (message->kind == NODE_MESSAGE_STATUS) {
        control_node_status_on_shard(call, message);
    } else {
        control_key_on_shard(call, message);
    }
}

/* --- life ---------------------------------------------------------------------------------- */

static void control_free(void *ctx) {
    struct control *control = ctx;
    for (uint32_t i = 0; i < CONTROL_CALLS_MAX; i++) {
        if (control->calls[i].taken) {
            call_put(&control->calls[i]);
        }
    }
    free(control->reply);
    free(control->plans_next);
    free(control);
}

struct control *control_open(uv_loop_t *loop, const struct control_options *options, char *why,
                             size_t why_size) {
    struct control *control = calloc(1, sizeof *control);
    if (control == NULL) {
        snprintf(why, why_size, "no memory for the control endpoint");
        return NULL;
    }
    control->settings = options->settings;
    control->boot = options->boot;
    control->log = *options->log;
    control->shards = options->shards;
    control->shard_count = options->shard_count;
    control->started_ns = clock_monotonic_ns();
    control->reply = malloc(CONTROL_REPLY_BYTES_MAX);
    control->plans_next = malloc(sizeof *control->plans_next);
    struct endpoint_handler handler = {control, on_request, on_oversize, on_turn};
    if (control->reply == NULL || control->plans_next == NULL) {
        snprintf(why, why_size, "no memory for the control endpoint");
    } else if (endpoint_open(&control->endpoint, loop, options->settings->control, &handler, why,
                             why_size) == 0) {
        return control;
    }
    control_free(control);
    return NULL;
}

void control_membership_set(struct control *control, struct membership *membership,
                            struct handover_shell *handover) {
    control->membership = membership;
    control->handover = handover;
}

const char *control_url(const struct control *control) {
    return endpoint_url(control->endpoint);
}

void control_close(struct control *control) {
    control->closing = true;
    endpoint_close(control->endpoint, control_free, control);
}
