/* Requests, right and wrong, against bytes that another program made. */
#include <stdio.h>
#include <stdlib.h>

#include "proto/plan_codec.h"
#include "proto/request.h"
#include "vectors.h"

/* Decoded plan sets and takes are too large for a stack. */
static struct plan_set *set;
static struct take *takes;
static struct slot *move_slots;

static int setup(void **state) {
    set = malloc(sizeof *set);
    takes = malloc(TAKES_PER_REQUEST_MAX * sizeof *takes);
    move_slots = malloc(SLOTS_MAX * sizeof *move_slots);
    return set == NULL || takes == NULL || move_slots == NULL;
}

static int teardown(void **state) {
    free(set);
    free(takes);
    free(move_slots);
    return 0;
}

static enum method method_named(const char *text) {
    for (int i = 0; i < METHOD_COUNT; i++) {
        if (strcmp(method_text((enum method)i), text) == 0) {
            return (enum method)i;
        }
    }
    fail_msg("no method %s", text);
    return METHOD_TAKE;
}

/* --- decoding --------------------------------------------------------------------------------- */

static void limit_check_same(const struct limit *limit, const json_t *expected) {
    assert_int_equal(limit->rate_tokens, vector_uint(expected, "rate"));
    assert_int_equal(limit->period_ns, vector_uint(expected, "period_ms") * 1000000);
    assert_int_equal(limit->burst_tokens, vector_uint(expected, "burst"));
}

static void take_check_same(const struct take *take, const json_t *expected) {
    uint8_t key[KEY_BYTES_MAX];
    bytes_expect(take->key, vector_hex(expected, "key_hex", key, sizeof key));
    assert_int_equal(take->cost_tokens, vector_uint(expected, "cost"));
    const json_t *plan = json_object_get(expected, "plan");
    if (json_is_null(plan)) {
        assert_int_equal(take->plan.kind, PLAN_CHOICE_DEFAULT);
    } else if (json_is_string(plan)) {
        assert_int_equal(take->plan.kind, PLAN_CHOICE_NAMED);
        bytes_expect(take->plan.name, bytes_of_text(json_string_value(plan)));
    } else {
        assert_int_equal(take->plan.kind, PLAN_CHOICE_INLINE);
        limit_check_same(&take->plan.limit, plan);
    }
}

static void plan_set_check_same(const json_t *expected) {
    size_t i, j;
    json_t *plan, *limit;
    const json_t *plans = json_object_get(expected, "plans");
    assert_int_equal(set->plan_count, json_array_size(plans));
    bytes_expect(name_bytes(&set->plans[set->default_at].name),
                 bytes_of_text(vector_text(expected, "default")));
    json_array_foreach(plans, i, plan) {
        const struct plan *got = &set->plans[i];
        bytes_expect(name_bytes(&got->name), bytes_of_text(vector_text(plan, "name")));
        assert_string_equal(policy_text(got->on_unavailable), vector_text(plan, "on_unavailable"));
        json_array_foreach(json_object_get(plan, "limits"), j, limit) {
            limit_check_same(&got->generations[0].terms.limits[j], limit);
        }
    }
}

/* cluster.refresh and cluster.events: a number, left off or within bounds. */
static enum code number_read(const struct request *request, uint64_t *number, struct fault *fault) {
    return request->method == METHOD_CLUSTER_REFRESH
               ? request_read_number(request->params, "an epoch", 0, 0, UINT64_MAX, number, fault)
               : request_read_number(request->params, "a number of events", 100, 1, 1000, number,
                                     fault);
}

static void move_check(const json_t *vector, const struct request *request) {
    struct fault fault;
    struct bytes node;
    uint32_t count, shard;
    const json_t *slots = json_object_get(vector, "slots");
    assert_int_equal(request_read_move(request->params, move_slots, &count, &node, &shard, &fault),
                     CODE_OK);
    assert_int_equal(count, json_array_size(slots));
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(move_slots[i].index, json_integer_value(json_array_get(slots, i)));
    }
    bytes_expect(node, bytes_of_text(vector_text(vector, "node")));
    assert_int_equal(shard, vector_uint(vector, "shard"));
}

/* Methods that move slots and weigh nodes. False: another one. */
static bool cluster_check(const json_t *vector, const struct request *request) {
    struct fault fault;
    struct bytes bytes;
    uint32_t weight;
    uint64_t number;
    static uint8_t memory[REBALANCE_BYTES_MAX];
    switch (request->method) {
    case METHOD_CLUSTER_REFRESH:
    case METHOD_CLUSTER_EVENTS:
        assert_int_equal(number_read(request, &number, &fault), CODE_OK);
        assert_true(number == vector_uint(vector, "number"));
        return true;
    case METHOD_SLOTS_MOVE:
        move_check(vector, request);
        return true;
    case METHOD_NODE_WEIGHT:
        assert_int_equal(request_read_weight(request->params, &bytes, &weight, &fault), CODE_OK);
        bytes_expect(bytes, bytes_of_text(vector_text(vector, "node")));
        assert_int_equal(weight, vector_uint(vector, "weight"));
        return true;
    case METHOD_NODE_REMOVE:
        assert_int_equal(request_read_node(request->params, &bytes, &fault), CODE_OK);
        bytes_expect(bytes, bytes_of_text(vector_text(vector, "node")));
        return true;
    case METHOD_REBALANCE_PUT:
        assert_int_equal(request_read_rebalance(request->params, &number, &bytes, &fault), CODE_OK);
        assert_int_equal(number, vector_uint(vector, "number"));
        bytes_expect(bytes, vector_hex(vector, "value_hex", memory, sizeof memory));
        return true;
    default:
        return false;
    }
}

static void control_check(const json_t *vector, const struct request *request) {
    struct fault fault;
    struct bytes key, plan;
    uint32_t slots;
    uint64_t base;
    uint8_t memory[KEY_BYTES_MAX];
    switch (request->method) {
    case METHOD_CLUSTER_INIT:
        assert_int_equal(request_read_init(request->params, &slots, &fault), CODE_OK);
        assert_int_equal(slots, vector_uint(vector, "slots"));
        break;
    case METHOD_KEY_SHOW:
    case METHOD_KEY_RESET:
        assert_int_equal(request_read_key(request->params, &key, &fault), CODE_OK);
        bytes_expect(key, vector_hex(vector, "key_hex", memory, sizeof memory));
        break;
    case METHOD_KEY_ASSIGN:
        assert_int_equal(request_read_assign(request->params, &key, &plan, &fault), CODE_OK);
        bytes_expect(key, vector_hex(vector, "key_hex", memory, sizeof memory));
        bytes_expect(plan, json_is_null(json_object_get(vector, "plan"))
                               ? (struct bytes){0}
                               : bytes_of_text(vector_text(vector, "plan")));
        break;
    case METHOD_PLANS_APPLY:
        assert_int_equal(request_read_apply(request->params, set, &base, &fault), CODE_OK);
        plan_set_check_same(json_object_get(vector, "plan_set"));
        assert_int_equal(base, json_object_get(vector, "base") ? vector_uint(vector, "base")
                                                               : UINT64_MAX);
        break;
    default:
        if (!cluster_check(vector, request)) {
            assert_int_equal(request_read_none(request->params, &fault), CODE_OK);
        }
    }
}

/* --- encoding --------------------------------------------------------------------------------- */

static void take_encode_same(const json_t *vector, const struct request *request,
                             struct bytes message) {
    static const enum verb verbs[] = {
        [METHOD_TAKE] = VERB_TAKE, [METHOD_PEEK] = VERB_PEEK, [METHOD_REFUND] = VERB_REFUND};
    uint8_t memory[1024];
    struct writer writer = writer_of(memory, sizeof memory);
    request_write_single(&writer, request->msgid, verbs[request->method], &takes[0],
                         vector_true(vector, "has_deadline") ? takes[0].deadline_ms : 0);
    assert_false(writer.overflow);
    bytes_expect(writer_bytes(&writer), message);
}

static void many_encode_same(const struct request *request, uint32_t count, struct bytes message) {
    uint8_t memory[4096];
    struct writer writer = writer_of(memory, sizeof memory);
    request_write_head(&writer, request->msgid, request->method);
    write_array(&writer, count);
    for (uint32_t i = 0; i < count; i++) {
        request_write_take(&writer, &takes[i], 0);
    }
    bytes_expect(writer_bytes(&writer), message);
}

/* --- the files -------------------------------------------------------------------------------- */

static void many_check(const json_t *vector, const struct request *request, struct bytes message) {
    struct fault fault;
    uint32_t count;
    const json_t *expected = json_object_get(vector, "takes");
    assert_int_equal(request_read_take_many(request->params, takes, &count, &fault), CODE_OK);
    assert_int_equal(count, json_array_size(expected));
    for (uint32_t i = 0; i < count; i++) {
        take_check_same(&takes[i], json_array_get(expected, i));
        assert_int_equal(takes[i].deadline_ms, DEADLINE_MS_DEFAULT);
    }
    if (vector_true(vector, "encodes")) {
        many_encode_same(request, count, message);
    }
}

static void request_check(const json_t *vector, struct bytes message) {
    struct request request;
    struct fault fault = {0};
    if (request_read(message, &request, &fault) != CODE_OK) {
        fail_msg("%s: %s", vector_text(vector, "name"), fault.text);
    }
    assert_true(request.has_msgid);
    assert_int_equal(request.msgid, vector_uint(vector, "msgid"));
    assert_int_equal(request.method, method_named(vector_text(vector, "method")));
    if (request.method == METHOD_TAKE_MANY) {
        many_check(vector, &request, message);
        return;
    }
    if (method_kind(request.method) != METHOD_KIND_TAKE) {
        control_check(vector, &request);
        return;
    }
    if (request_read_take(request.params, &takes[0], &fault) != CODE_OK) {
        fail_msg("%s: %s", vector_text(vector, "name"), fault.text);
    }
    take_check_same(&takes[0], json_object_get(vector, "take"));
    assert_int_equal(takes[0].deadline_ms, vector_uint(vector, "deadline_ms"));
    if (vector_true(vector, "encodes")) {
        take_encode_same(vector, &request, message);
    }
}

static enum code cluster_decode(const struct request *request, struct fault *fault) {
    struct bytes bytes;
    uint32_t count, shard;
    uint64_t number;
    switch (request->method) {
    case METHOD_CLUSTER_REFRESH:
    case METHOD_CLUSTER_EVENTS:
        return number_read(request, &number, fault);
    case METHOD_SLOTS_MOVE:
        return request_read_move(request->params, move_slots, &count, &bytes, &shard, fault);
    case METHOD_NODE_WEIGHT:
        return request_read_weight(request->params, &bytes, &count, fault);
    case METHOD_NODE_REMOVE:
        return request_read_node(request->params, &bytes, fault);
    case METHOD_REBALANCE_PUT:
        return request_read_rebalance(request->params, &number, &bytes, fault);
    default:
        return request_read_none(request->params, fault);
    }
}

/* What a server does with a request, to its end. */
static enum code request_decode(const struct request *request, struct fault *fault) {
    struct bytes key, plan;
    uint32_t count;
    uint64_t base;
    switch (request->method) {
    case METHOD_TAKE:
    case METHOD_PEEK:
    case METHOD_REFUND:
        return request_read_take(request->params, &takes[0], fault);
    case METHOD_TAKE_MANY:
        return request_read_take_many(request->params, takes, &count, fault);
    case METHOD_CLUSTER_INIT:
        return request_read_init(request->params, &count, fault);
    case METHOD_KEY_SHOW:
    case METHOD_KEY_RESET:
        return request_read_key(request->params, &key, fault);
    case METHOD_KEY_ASSIGN:
        return request_read_assign(request->params, &key, &plan, fault);
    case METHOD_PLANS_APPLY:
        return request_read_apply(request->params, set, &base, fault);
    default:
        return cluster_decode(request, fault);
    }
}

static void malformed_check(const json_t *vector, struct bytes message) {
    struct request request;
    struct fault fault = {0};
    enum code code = request_read(message, &request, &fault);
    const json_t *msgid = json_object_get(vector, "msgid");
    assert_int_equal(request.has_msgid, !json_is_null(msgid));
    if (request.has_msgid) {
        assert_int_equal(request.msgid, json_integer_value(msgid));
    }
    if (code == CODE_OK) {
        code = request_decode(&request, &fault);
    }
    if (strcmp(code_text(code), vector_text(vector, "code")) != 0 ||
        strstr(fault.text, vector_text(vector, "text")) == NULL) {
        fail_msg("%s: %s: %s", vector_text(vector, "name"), code_text(code), fault.text);
    }
    for (const char *c = fault.text; *c != '\0'; c++) { /* the text goes out as UTF-8 */
        assert_true(*c >= 0x20 && *c < 0x7f);
    }
}

static void test_requests(void **state) {
    vectors_check("requests.json", request_check);
}

static void test_malformed(void **state) {
    vectors_check("malformed.json", malformed_check);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_requests),
                                       cmocka_unit_test(test_malformed)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
