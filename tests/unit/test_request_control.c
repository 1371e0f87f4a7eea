/* Params of the methods that move slots and weigh nodes: bounds, and no byte cut off unseen. */
#include <stdlib.h>

#include "cmocka_all.h"
#include "proto/map.h"
#include "proto/request.h"

static uint8_t memory[64 * 1024];
static struct slot *slots;

static int setup(void **state) {
    slots = malloc(SLOTS_MAX * sizeof *slots);
    return slots == NULL;
}

static int teardown(void **state) {
    free(slots);
    return 0;
}

static struct writer begin(uint32_t count) {
    struct writer writer = writer_of(memory, sizeof memory);
    write_array(&writer, count);
    return writer;
}

static enum code move_read(struct bytes params, uint32_t *count, uint32_t *number) {
    struct fault fault = {0};
    struct bytes node;
    return request_read_move(params, slots, count, &node, number, &fault);
}

static struct bytes move_write(uint32_t count) {
    struct writer writer = begin(3);
    write_array(&writer, count);
    for (uint32_t i = 0; i < count; i++) {
        write_uint(&writer, i);
    }
    write_text(&writer, "n1");
    write_uint(&writer, 2);
    assert_false(writer.overflow);
    return writer_bytes(&writer);
}

static void test_move_of_all_slots(void **state) {
    uint32_t count, number;
    assert_int_equal(move_read(move_write(SLOTS_MAX), &count, &number), CODE_OK);
    assert_int_equal(count, SLOTS_MAX);
    assert_int_equal(number, 2);
    for (uint32_t i = 0; i < SLOTS_MAX; i++) {
        assert_int_equal(slots[i].index, i);
    }
    assert_int_equal(move_read(move_write(SLOTS_MAX + 1), &count, &number), CODE_BAD_REQUEST);
    assert_int_equal(move_read(move_write(0), &count, &number), CODE_BAD_REQUEST);
}

/* In memory of its exact size, so that a sanitizer sees a read beyond it. */
static enum code exact(struct bytes params, uint32_t size,
                       enum code (*read)(struct bytes, struct fault *)) {
    struct fault fault = {0};
    uint8_t *copy = malloc(size + (size == 0));
    assert_non_null(copy);
    memcpy(copy, params.data, size);
    enum code code = read(bytes_of(copy, size), &fault);
    free(copy);
    return code;
}

static void cut_check(struct bytes params, enum code (*read)(struct bytes, struct fault *)) {
    assert_int_equal(exact(params, params.size, read), CODE_OK);
    for (uint32_t size = 0; size < params.size; size++) {
        assert_int_equal(exact(params, size, read), CODE_BAD_REQUEST);
    }
}

static enum code read_move(struct bytes params, struct fault *fault) {
    uint32_t count, number;
    struct bytes node;
    return request_read_move(params, slots, &count, &node, &number, fault);
}

static enum code read_weight(struct bytes params, struct fault *fault) {
    struct bytes id;
    uint32_t weight;
    return request_read_weight(params, &id, &weight, fault);
}

static enum code read_node(struct bytes params, struct fault *fault) {
    struct bytes id;
    return request_read_node(params, &id, fault);
}

static enum code read_rebalance(struct bytes params, struct fault *fault) {
    uint64_t follows;
    struct bytes value;
    return request_read_rebalance(params, &follows, &value, fault);
}

static enum code read_number(struct bytes params, struct fault *fault) {
    uint64_t number;
    return request_read_number(params, "a number", 7, 1, 1000, &number, fault);
}

static void test_cut_off_anywhere(void **state) {
    cut_check(move_write(40), read_move);
    struct writer writer = begin(2);
    write_text(&writer, "node-1");
    write_uint(&writer, WEIGHT_MAX);
    cut_check(writer_bytes(&writer), read_weight);
    writer = begin(1);
    write_text(&writer, "node-1");
    cut_check(writer_bytes(&writer), read_node);
    writer = begin(2);
    write_uint(&writer, UINT64_C(1) << 40);
    write_map(&writer, 2);
    write_text_uint(&writer, "state", 3);
    write_text_text(&writer, "who", "somebody");
    cut_check(writer_bytes(&writer), read_rebalance);
    writer = begin(1);
    write_uint(&writer, 1000);
    cut_check(writer_bytes(&writer), read_number);
}

static void test_numbers(void **state) {
    struct fault fault = {0};
    uint64_t number = 0;
    struct writer writer = begin(0);
    assert_int_equal(
        request_read_number(writer_bytes(&writer), "a number", 7, 1, 9, &number, &fault), CODE_OK);
    assert_int_equal(number, 7);
    for (uint64_t i = 0; i <= 10; i++) {
        writer = begin(1);
        write_uint(&writer, i);
        enum code code =
            request_read_number(writer_bytes(&writer), "a number", 7, 1, 9, &number, &fault);
        assert_int_equal(code, i >= 1 && i <= 9 ? CODE_OK : CODE_BAD_REQUEST);
    }
    assert_string_equal(fault.text, "params[0]: expected a number, an integer from 1 to 9");
    writer = begin(1);
    write_uint(&writer, UINT64_MAX);
    assert_int_equal(
        request_read_number(writer_bytes(&writer), "an epoch", 0, 0, UINT64_MAX, &number, &fault),
        CODE_OK);
    assert_true(number == UINT64_MAX);
}

static void test_record_of_a_rebalance_is_bounded(void **state) {
    static uint8_t blob[REBALANCE_BYTES_MAX + 1];
    struct fault fault = {0};
    struct bytes value;
    uint64_t follows;
    for (uint32_t size = REBALANCE_BYTES_MAX - 3; size <= REBALANCE_BYTES_MAX; size++) {
        struct writer writer = begin(2);
        write_uint(&writer, 5);
        write_bin(&writer, bytes_of(blob, size - 3)); /* 3 bytes of head */
        enum code code = request_read_rebalance(writer_bytes(&writer), &follows, &value, &fault);
        assert_int_equal(code, CODE_OK);
        assert_int_equal(value.size, size);
    }
    struct writer writer = begin(2);
    write_uint(&writer, 5);
    write_bin(&writer, bytes_of(blob, REBALANCE_BYTES_MAX - 2));
    assert_int_equal(request_read_rebalance(writer_bytes(&writer), &follows, &value, &fault),
                     CODE_BAD_REQUEST);
}

/* Who may call what: an operator's method is not one that a data endpoint answers. */
static void test_kinds(void **state) {
    assert_int_equal(method_kind(METHOD_CLUSTER_REFRESH), METHOD_KIND_NODE);
    for (enum method m = METHOD_CLUSTER_EVENTS; m < METHOD_COUNT; m++) {
        assert_int_equal(method_kind(m), METHOD_KIND_CONTROL);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_move_of_all_slots),
        cmocka_unit_test(test_cut_off_anywhere),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_record_of_a_rebalance_is_bounded),
        cmocka_unit_test(test_kinds),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
