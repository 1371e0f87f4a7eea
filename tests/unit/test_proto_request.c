/* Requests: cut short at every byte, with every type in every place, damaged at random. What is
 * wrong is refused with a reason; nothing is read beyond the message. */
#include <msgpack.h>
#include <stdio.h>
#include <stdlib.h>

#include "cmocka_all.h"
#include "proto/request.h"

static struct plan_set *set;
static struct take *takes;

static int setup(void **state) {
    set = malloc(sizeof *set);
    takes = malloc(TAKES_PER_REQUEST_MAX * sizeof *takes);
    return set == NULL || takes == NULL;
}

static int teardown(void **state) {
    free(set);
    free(takes);
    return 0;
}

static enum code params_decode(const struct request *request, struct fault *fault) {
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
        return request_read_none(request->params, fault);
    }
}

/* Decodes a copy of exactly that size, as a server does. A refusal has a code and a reason. */
static enum code decode(const void *data, size_t size) {
    uint8_t *exact = malloc(size + (size == 0));
    struct request request;
    struct fault fault = {.code = CODE_OK};
    assert_non_null(exact);
    memcpy(exact, data, size);
    enum code code = request_read(bytes_of(exact, size), &request, &fault);
    if (code == CODE_OK) {
        assert_true(request.has_msgid);
        code = params_decode(&request, &fault);
    }
    free(exact);
    if (code != CODE_OK) {
        assert_int_equal(fault.code, code);
        assert_true(fault.text[0] != '\0');
        assert_true(code == CODE_BAD_REQUEST || code == CODE_UNKNOWN_METHOD ||
                    code == CODE_UNKNOWN_PLAN || code == CODE_TOO_LARGE);
    }
    return code;
}

/* --- messages made by msgpack-c --------------------------------------------------------------- */

static void text_pack(msgpack_packer *packer, const char *text) {
    msgpack_pack_str_with_body(packer, text, strlen(text));
}

static void limit_pack(msgpack_packer *packer) {
    msgpack_pack_map(packer, 3);
    text_pack(packer, "rate");
    msgpack_pack_int(packer, 100);
    text_pack(packer, "period_ms");
    msgpack_pack_int(packer, 60000);
    text_pack(packer, "burst");
    msgpack_pack_int(packer, 300);
}

static void head_pack(msgpack_packer *packer, msgpack_sbuffer *buffer, enum method method) {
    msgpack_sbuffer_clear(buffer);
    msgpack_packer_init(packer, buffer, msgpack_sbuffer_write);
    msgpack_pack_array(packer, 4);
    msgpack_pack_int(packer, 0);
    msgpack_pack_uint32(packer, 4000000000u);
    text_pack(packer, method_text(method));
}

static void plan_set_pack(msgpack_packer *packer) {
    msgpack_pack_map(packer, 2);
    text_pack(packer, "default");
    text_pack(packer, "free");
    text_pack(packer, "plans");
    msgpack_pack_array(packer, 1);
    msgpack_pack_map(packer, 4);
    text_pack(packer, "name");
    text_pack(packer, "free");
    text_pack(packer, "limits");
    msgpack_pack_array(packer, 2);
    limit_pack(packer);
    limit_pack(packer);
    text_pack(packer, "on_unavailable");
    text_pack(packer, "allow");
    text_pack(packer, "durability");
    text_pack(packer, "relaxed");
}

static void take_pack(msgpack_packer *packer, bool options) {
    msgpack_pack_array(packer, options ? 4 : 3);
    text_pack(packer, "alice");
    msgpack_pack_int(packer, 5);
    limit_pack(packer);
    if (options) {
        msgpack_pack_map(packer, 1);
        text_pack(packer, "deadline_ms");
        msgpack_pack_int(packer, 1000);
    }
}

/* A right request of the method, with all it may have. */
static void request_pack(msgpack_sbuffer *buffer, enum method method) {
    msgpack_packer packer;
    head_pack(&packer, buffer, method);
    if (method == METHOD_TAKE || method == METHOD_PEEK || method == METHOD_REFUND) {
        take_pack(&packer, true);
    } else if (method == METHOD_TAKE_MANY) {
        msgpack_pack_array(&packer, 3);
        for (int i = 0; i < 3; i++) {
            take_pack(&packer, false);
        }
    } else if (method == METHOD_CLUSTER_INIT) {
        msgpack_pack_array(&packer, 1);
        msgpack_pack_map(&packer, 1);
        text_pack(&packer, "slots");
        msgpack_pack_int(&packer, 4096);
    } else if (method == METHOD_PLANS_APPLY) {
        msgpack_pack_array(&packer, 2);
        plan_set_pack(&packer);
        msgpack_pack_map(&packer, 1);
        text_pack(&packer, "base");
        msgpack_pack_int(&packer, 7);
    } else if (method == METHOD_KEY_ASSIGN) {
        msgpack_pack_array(&packer, 2);
        text_pack(&packer, "alice");
        text_pack(&packer, "free");
    } else if (method == METHOD_KEY_SHOW || method == METHOD_KEY_RESET) {
        msgpack_pack_array(&packer, 1);
        text_pack(&packer, "alice");
    } else {
        msgpack_pack_array(&packer, 0);
    }
}

static void each_method(void (*check)(msgpack_sbuffer *buffer, enum method method)) {
    msgpack_sbuffer buffer;
    msgpack_sbuffer_init(&buffer);
    for (int i = 0; i < METHOD_COUNT; i++) {
        request_pack(&buffer, (enum method)i);
        check(&buffer, (enum method)i);
    }
    msgpack_sbuffer_destroy(&buffer);
}

/* --- the tests -------------------------------------------------------------------------------- */

static void right_check(msgpack_sbuffer *buffer, enum method method) {
    struct request request;
    struct fault fault;
    assert_int_equal(request_read(bytes_of(buffer->data, buffer->size), &request, &fault), CODE_OK);
    assert_int_equal(request.method, method);
    assert_int_equal(request.msgid, 4000000000u);
    assert_int_equal(decode(buffer->data, buffer->size), CODE_OK);
    if (method == METHOD_TAKE) {
        assert_int_equal(takes[0].cost_tokens, 5);
        assert_int_equal(takes[0].plan.limit.rate_tokens, 100);
        assert_int_equal(takes[0].plan.limit.burst_tokens, 300);
        assert_int_equal(takes[0].plan.limit.period_ns, UINT64_C(60000000000));
        assert_int_equal(takes[0].deadline_ms, 1000);
    } else if (method == METHOD_PLANS_APPLY) {
        assert_int_equal(set->default_at, 0);
        assert_int_equal(set->plans[0].on_unavailable, POLICY_ALLOW);
        assert_int_equal(set->plans[0].generations[0].terms.limit_count, 2);
    }
}

static void test_what_msgpack_c_packs_is_read(void **state) {
    each_method(right_check);
}

static void truncated_check(msgpack_sbuffer *buffer, enum method method) {
    for (size_t size = 0; size < buffer->size; size++) {
        assert_int_not_equal(decode(buffer->data, size), CODE_OK);
    }
    /* One byte too many is as wrong as one too few. */
    msgpack_sbuffer_write(buffer, "", 1);
    assert_int_equal(decode(buffer->data, buffer->size), CODE_BAD_REQUEST);
}

static void test_truncated_at_every_byte(void **state) {
    each_method(truncated_check);
}

/* Every value of the message in turn is replaced by one of each other type. */
static void swapped_check(msgpack_sbuffer *buffer, enum method method) {
    static const struct {
        const char *bytes;
        uint32_t size;
    } others[] = {{"\xc0", 1},
                  {"\xc3", 1},
                  {"\x90", 1},
                  {"\x80", 1},
                  {"\xff", 1},
                  {"\xca\x3f\x80\x00\x00", 5},
                  {"\xc1", 1},
                  {"\xd4\x00\x00", 3},
                  {"\x93\xc0\xc0\xc0", 4},
                  {"\xa1\xff", 2},
                  {"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", 9}};
    uint8_t changed[4096];
    uint32_t refused = 0, tried = 0;
    for (size_t at = 0; at < buffer->size; at++) {
        struct reader reader = reader_of(bytes_of(buffer->data + at, buffer->size - at));
        struct bytes value;
        if (!read_any(&reader, &value)) {
            continue; /* the middle of a value */
        }
        for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
            size_t rest = buffer->size - at - value.size;
            memcpy(changed, buffer->data, at);
            memcpy(changed + at, others[i].bytes, others[i].size);
            memcpy(changed + at + others[i].size, buffer->data + at + value.size, rest);
            tried++;
            refused += decode(changed, at + others[i].size + rest) != CODE_OK;
        }
    }
    assert_true(refused > tried / 2);
}

static void test_every_type_in_every_place(void **state) {
    each_method(swapped_check);
}

static void damaged_check(msgpack_sbuffer *buffer, enum method method) {
    unsigned seed = 7 + (unsigned)method;
    uint8_t changed[4096];
    for (int round = 0; round < 20000; round++) {
        memcpy(changed, buffer->data, buffer->size);
        for (int i = rand_r(&seed) % 4; i >= 0; i--) {
            changed[(size_t)rand_r(&seed) % buffer->size] = (uint8_t)rand_r(&seed);
        }
        decode(changed, buffer->size); /* must answer something, and touch nothing else */
    }
}

static void test_damaged_at_random(void **state) {
    each_method(damaged_check);
}

static void test_our_own_requests_are_what_msgpack_c_reads(void **state) {
    uint8_t memory[1024];
    struct writer writer = writer_of(memory, sizeof memory);
    struct take take = {
        .key = bytes_of("a\0b", 3),
        .cost_tokens = TOKENS_MAX,
        .plan = {
            .kind = PLAN_CHOICE_INLINE,
            .limit = {.rate_tokens = 5, .period_ns = UINT64_C(1000000000), .burst_tokens = 6}}};
    request_write_single(&writer, 77, VERB_PEEK, &take, 9);
    msgpack_unpacked unpacked;
    msgpack_unpacked_init(&unpacked);
    size_t offset = 0;
    assert_int_equal(msgpack_unpack_next(&unpacked, (char *)memory, writer.size, &offset),
                     MSGPACK_UNPACK_SUCCESS);
    assert_int_equal(offset, writer.size);
    char text[256];
    FILE *out = fmemopen(text, sizeof text, "w");
    assert_non_null(out);
    msgpack_object_print(out, unpacked.data);
    fclose(out);
    assert_string_equal(text, "[0, 77, \"peek\", [\"a\\x00b\", 281474976710656, {\"rate\"=>5, "
                              "\"period_ms\"=>1000, \"burst\"=>6}, {\"deadline_ms\"=>9}]]");
    msgpack_unpacked_destroy(&unpacked);
}

static void test_the_largest_batch_fits_its_bounds(void **state) {
    uint8_t *memory = malloc(MESSAGE_BYTES_MAX);
    uint8_t key[KEY_BYTES_MAX];
    struct writer writer = writer_of(memory, MESSAGE_BYTES_MAX);
    struct take take = {.key = bytes_of(key, sizeof key),
                        .cost_tokens = TOKENS_MAX,
                        .plan = {.kind = PLAN_CHOICE_INLINE,
                                 .limit = {.rate_tokens = TOKENS_MAX,
                                           .period_ns = PERIOD_NS_MAX,
                                           .burst_tokens = TOKENS_MAX}}};
    assert_non_null(memory);
    memset(key, 'k', sizeof key);
    request_write_head(&writer, UINT32_MAX, METHOD_TAKE_MANY);
    write_array(&writer, TAKES_PER_REQUEST_MAX);
    for (uint32_t i = 0; i < TAKES_PER_REQUEST_MAX; i++) {
        request_write_take(&writer, &take, 0);
    }
    assert_false(writer.overflow);
    assert_int_equal(decode(memory, writer.size), CODE_OK);
    free(memory);
}

static void test_names_of_methods_and_codes(void **state) {
    for (int i = 0; i < CODE_COUNT; i++) {
        enum code code;
        assert_true(code_of_text(bytes_of_text(code_text((enum code)i)), &code));
        assert_int_equal(code, i);
    }
    enum code code;
    assert_false(code_of_text(bytes_of_text("TEAPOT"), &code));
    assert_int_equal(reason_code(REASON_NO_DEFAULT_PLAN), CODE_UNKNOWN_PLAN);
    assert_int_equal(method_kind(METHOD_KEY_SHOW), METHOD_KIND_CONTROL);
    struct fault fault;
    fault_set(&fault, CODE_BAD_REQUEST, "%s", "a\nb\xff\x7f");
    assert_string_equal(fault.text, "a?b??");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_msgpack_c_packs_is_read),
        cmocka_unit_test(test_truncated_at_every_byte),
        cmocka_unit_test(test_every_type_in_every_place),
        cmocka_unit_test(test_damaged_at_random),
        cmocka_unit_test(test_our_own_requests_are_what_msgpack_c_reads),
        cmocka_unit_test(test_the_largest_batch_fits_its_bounds),
        cmocka_unit_test(test_names_of_methods_and_codes),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
