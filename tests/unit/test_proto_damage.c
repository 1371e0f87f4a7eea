/* Every message of many parts, cut at each byte, and with a value of each other type in the place
 * of each value: refused with a reason, or read within its bounds. */
#include <stdlib.h>

#include "cmocka_all.h"
#include "proto/cluster_view.h"
#include "proto/map_codec.h"
#include "proto/plan_codec.h"
#include "proto/reply.h"

#define SECOND UINT64_C(1000000000)
#define MESSAGE_MAX 4096

/* One value of each type, and some at the ends of a type's range. */
static const struct {
    const char *bytes;
    uint32_t size;
} values[] = {
    {"\xc0", 1},
    {"\xc3", 1},
    {"\x00", 1},
    {"\xff", 1},
    {"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", 9},
    {"\xce\xff\xff\xff\xff", 5},
    {"\xcd\xff\xff", 3},
    {"\xd3\x80\x00\x00\x00\x00\x00\x00\x00", 9},
    {"\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00", 9},
    {"\xa0", 1},
    {"\xa3zzz", 4},
    {"\xd9\x60" /* a name longer than any */
     "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"
     "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn",
     98},
    {"\xc4\x01x", 3},
    {"\x90", 1},
    {"\x91\x01", 2},
    {"\x93\x01\x02\x03", 4},
    {"\x80", 1},
    {"\x81\xa1x\x01", 4},
    {"\xd4\x01\x02", 3},
    {"\xc1", 1}, /* no type at all */
    {"\xdc\xff\xff", 3},
    {"\xdf\xff\xff\xff\xff", 5},
};

struct workspace {
    struct map map, read_map;
    struct plan_set plans, read_plans;
    uint64_t age_ms;
};

/* Writes a sample, and reads bytes as such. False with the reason in `fault`, if it gives one. */
struct codec {
    const char *name;
    void (*write)(struct workspace *workspace, struct writer *writer);
    bool (*read)(struct workspace *workspace, struct bytes bytes, struct fault *fault);
    bool mute; /* says no reason */
};

static void map_sample(struct workspace *workspace, struct writer *writer) {
    map_write(writer, &workspace->map);
}

static bool map_again(struct workspace *workspace, struct bytes bytes, struct fault *fault) {
    struct reader reader = reader_of(bytes);
    bool good = map_read(&reader, &workspace->read_map, fault) == CODE_OK;
    return good && map_check(&workspace->read_map, fault) == CODE_OK;
}

static void plans_sample(struct workspace *workspace, struct writer *writer) {
    plan_set_write(writer, &workspace->plans);
}

static bool plans_again(struct workspace *workspace, struct bytes bytes, struct fault *fault) {
    struct reader reader = reader_of(bytes);
    return plan_set_read(&reader, &workspace->read_plans, fault) == CODE_OK;
}

static void view_sample(struct workspace *workspace, struct writer *writer) {
    cluster_view_write(writer, &workspace->map, &workspace->plans, 77);
}

static bool view_again(struct workspace *workspace, struct bytes bytes, struct fault *fault) {
    return cluster_view_read(bytes, &workspace->read_map, &workspace->read_plans,
                             &workspace->age_ms, fault) == CODE_OK;
}

static const struct moved moved_sample = {
    .slot = {7}, .epoch = {9}, .endpoint = {(const uint8_t *)"tcp://h:1", 9}};

static void result_sample(struct workspace *workspace, struct writer *writer) {
    struct take_result result = {.code = CODE_OK,
                                 .allowed = true,
                                 .remaining_tokens = 5,
                                 .retry_after_us = RETRY_NEVER,
                                 .reset_after_us = 9,
                                 .limit_tokens = 10,
                                 .flags = TAKE_FLAG_DEGRADED};
    result_write(writer, &result);
}

static void longer_result_sample(struct workspace *workspace, struct writer *writer) {
    result_sample(workspace, writer);
    writer->start[0]++; /* one part more, of a later version */
    write_text(writer, "later");
}

static void error_sample(struct workspace *workspace, struct writer *writer) {
    struct fault fault;
    fault_set(&fault, CODE_MOVED, "elsewhere");
    error_write(writer, &fault, &moved_sample);
    writer->start[0]++;
    write_text(writer, "later");
}

static bool result_again(struct workspace *workspace, struct bytes bytes, struct fault *fault) {
    struct reader reader = reader_of(bytes);
    struct take_result result;
    struct reply error;
    bool good = result_read(&reader, &result, &error), alone;
    reader = reader_of(bytes);
    alone = result_read(&reader, &result, NULL);
    assert_int_equal(alone, good);
    return good;
}

static void reply_sample(struct workspace *workspace, struct writer *writer) {
    reply_write_head(writer, 4711);
    write_text(writer, "result");
}

static void error_reply_sample(struct workspace *workspace, struct writer *writer) {
    struct fault fault;
    fault_set(&fault, CODE_OVERLOADED, "too much");
    reply_write_error(writer, true, 4711, &fault, &moved_sample);
}

static bool reply_again(struct workspace *workspace, struct bytes bytes, struct fault *fault) {
    struct reply reply;
    bool good = reply_read(bytes, &reply);
    if (good && !reply.is_error) {
        /* The result is the caller's to read: here it is one value and nothing else. */
        struct reader reader = reader_of(reply.result);
        struct bytes value;
        return read_any(&reader, &value) && reader_done(&reader);
    }
    return good;
}

static void moved_write(struct workspace *workspace, struct writer *writer) {
    write_array(writer, 3);
    write_uint(writer, moved_sample.slot.index);
    write_uint(writer, moved_sample.epoch.number);
    write_str(writer, moved_sample.endpoint);
}

static bool moved_again(struct workspace *workspace, struct bytes bytes, struct fault *fault) {
    struct moved moved;
    bool good = moved_read(bytes, &moved);
    assert_true(!good || moved.slot.index < SLOTS_MAX);
    return good;
}

static const struct codec codecs[] = {
    {"map", map_sample, map_again, false},
    {"plan set", plans_sample, plans_again, false},
    {"view", view_sample, view_again, false},
    {"result", result_sample, result_again, true},
    {"longer result", longer_result_sample, result_again, true},
    {"error", error_sample, result_again, true},
    {"reply", reply_sample, reply_again, true},
    {"error reply", error_reply_sample, reply_again, true},
    {"moved", moved_write, moved_again, true},
};

static int setup(void **state) {
    static const char *const names[] = {"one", "two"};
    struct workspace *workspace = calloc(1, sizeof *workspace);
    if (workspace == NULL) {
        return -1;
    }
    struct map *map = &workspace->map;
    map_init(map);
    map->epoch.number = 3;
    map->slot_count = 16;
    map->node_count = 2;
    map->shard_count = 2;
    for (uint16_t i = 0; i < 2; i++) {
        map->nodes[i].id = name_of(bytes_of_text(names[i]));
        endpoint_name_set(&map->nodes[i].control, bytes_of_text("tcp://c:1"));
        endpoint_name_set(&map->shards[i].endpoint, bytes_of_text("tcp://s:1"));
        map->shards[i].node = i;
        struct plan plan = {.name = map->nodes[i].id, .generation_count = 2};
        for (uint32_t j = 0; j < 2; j++) {
            plan.generations[j].generation = 1 - j;
            plan.generations[j].terms.limit_count = 2;
            plan.generations[j].terms.limits[0] = (struct limit){5 + j, SECOND, 10};
            plan.generations[j].terms.limits[1] = (struct limit){50 + j, 60 * SECOND, 100};
        }
        plan_set_init(i == 0 ? &workspace->plans : &workspace->read_plans);
        plan_set_add(&workspace->plans, &plan);
    }
    map_spread(map);
    workspace->plans.default_at = 1;
    *state = workspace;
    return 0;
}

static int teardown(void **state) {
    free(*state);
    return 0;
}

/* Reads from memory of just that size, so that a sanitizer sees what goes beyond. */
static bool read_exactly(struct workspace *workspace, const struct codec *codec,
                         struct bytes bytes) {
    struct fault fault = {.code = CODE_OK};
    uint8_t *exact = malloc(bytes.size + (bytes.size == 0));
    assert_non_null(exact);
    memcpy(exact, bytes.data, bytes.size);
    bool good = codec->read(workspace, bytes_of(exact, bytes.size), &fault);
    free(exact);
    if (!good && !codec->mute) {
        assert_int_equal(fault.code, CODE_BAD_REQUEST);
        assert_true(fault.text[0] != '\0');
    }
    return good;
}

static struct bytes sample_of(struct workspace *workspace, const struct codec *codec,
                              uint8_t *memory) {
    struct writer writer = writer_of(memory, MESSAGE_MAX);
    codec->write(workspace, &writer);
    assert_false(writer.overflow);
    return writer_bytes(&writer);
}

static void test_cut_at_each_byte(void **state) {
    for (uint32_t i = 0; i < sizeof codecs / sizeof codecs[0]; i++) {
        uint8_t memory[MESSAGE_MAX];
        struct bytes whole = sample_of(*state, &codecs[i], memory);
        assert_true(read_exactly(*state, &codecs[i], whole));
        for (size_t size = 0; size < whole.size; size++) {
            if (read_exactly(*state, &codecs[i], bytes_of(whole.data, size))) {
                fail_msg("%s: cut at %zu of %zu bytes and taken for whole", codecs[i].name, size,
                         (size_t)whole.size);
            }
        }
    }
}

/* Where each value of a message begins; containers' members included. */
static uint32_t values_of(struct bytes whole, const uint8_t **starts, uint32_t room) {
    struct reader reader = reader_of(whole);
    uint32_t count = 0, members;
    while (!reader_done(&reader)) {
        struct bytes value;
        assert_true(count < room);
        starts[count++] = reader.at;
        if (!read_array(&reader, &members) && !read_map(&reader, &members)) {
            assert_true(read_any(&reader, &value));
        }
    }
    return count;
}

/* The whole with one value replaced, containers by themselves or only their heads. */
static struct bytes replaced(struct bytes whole, const uint8_t *start, uint32_t value,
                             bool only_head, uint8_t *memory) {
    struct reader reader = {start, whole.data + whole.size};
    struct bytes old;
    uint32_t members;
    if (!only_head || (!read_array(&reader, &members) && !read_map(&reader, &members))) {
        assert_true(read_any(&reader, &old));
    }
    size_t before = (size_t)(start - whole.data), behind = (size_t)(reader.end - reader.at);
    assert_true(before + values[value].size + behind <= MESSAGE_MAX);
    memcpy(memory, whole.data, before);
    memcpy(memory + before, values[value].bytes, values[value].size);
    memcpy(memory + before + values[value].size, reader.at, behind);
    return bytes_of(memory, before + values[value].size + behind);
}

static void test_each_value_replaced(void **state) {
    for (uint32_t i = 0; i < sizeof codecs / sizeof codecs[0]; i++) {
        uint8_t memory[MESSAGE_MAX], damaged[MESSAGE_MAX];
        const uint8_t *starts[512];
        struct bytes whole = sample_of(*state, &codecs[i], memory);
        uint32_t count = values_of(whole, starts, 512), refused = 0;
        for (uint32_t at = 0; at < count; at++) {
            for (uint32_t value = 0; value < sizeof values / sizeof values[0]; value++) {
                for (uint32_t head = 0; head < 2; head++) {
                    refused += !read_exactly(
                        *state, &codecs[i], replaced(whole, starts[at], value, head == 1, damaged));
                }
            }
        }
        /* Of few parts it is said that they may be anything. */
        assert_true(3 * refused > 2 * count * (sizeof values / sizeof values[0]));
    }
}

/* A set with a plan of which these two members are all. */
#define PLAN_OF(members) "\x81\xa5plans\x91\x82" members

static void test_a_member_that_stands_twice(void **state) {
    static const struct {
        const char *bytes, *text;
    } sets[] = {
        {"\x82\xa5plans\x90\xa5plans\x90", "plan set: plans stands twice"},
        {"\x82\xa7"
         "default\xc0\xa7"
         "default\xc0",
         "plan set: default stands twice"},
        {"\x82\xa7version\x01\xa7version\x01", "plan set: version stands twice"},
        {PLAN_OF("\xa4name\xa1p\xa4name\xa1q"), "plans[0]: name stands twice"},
        {PLAN_OF("\xaa"
                 "durability\xa6strict\xaa"
                 "durability\xa6strict"),
         "plans[0]: durability stands twice"},
        {PLAN_OF("\xaeon_unavailable\xa4"
                 "deny\xaeon_unavailable\xa4"
                 "deny"),
         "plans[0]: on_unavailable stands twice"},
        {PLAN_OF("\xaageneration\x01\xaageneration\x01"), "plans[0]: generation stands twice"},
        {PLAN_OF("\xa7history\x90\xa7history\x90"), "plans[0]: history stands twice"},
        {PLAN_OF("\xa6limits\x91\x81\xa4rate\x01\xa6limits\x91\x81\xa4rate\x01"),
         "plans[0]: limits stands twice"},
        {PLAN_OF("\xa4name\xa1p\xa6limits\x91\x82\xa4rate\x01\xa4rate\x01"),
         "plans[0].limits[0].rate: stands twice"},
    };
    struct workspace *workspace = *state;
    for (uint32_t i = 0; i < sizeof sets / sizeof sets[0]; i++) {
        struct reader reader = reader_of(bytes_of_text(sets[i].bytes));
        struct fault fault = {.code = CODE_OK};
        assert_int_equal(plan_set_read(&reader, &workspace->read_plans, &fault), CODE_BAD_REQUEST);
        assert_string_equal(fault.text, sets[i].text);
    }
}

static void test_moved_to_nobody(void **state) {
    uint8_t memory[256];
    struct writer writer = writer_of(memory, sizeof memory);
    struct moved nobody = {.slot = {3}, .epoch = {4}}, read;
    struct fault fault;
    struct reply reply;
    fault_set(&fault, CODE_MOVED, "nobody's");
    reply_write_error(&writer, false, 0, &fault, &nobody);
    assert_true(reply_read(writer_bytes(&writer), &reply));
    assert_true(reply.is_error && !reply.has_msgid && reply.code == CODE_MOVED);
    assert_true(moved_read(reply.data, &read));
    assert_int_equal(read.slot.index, 3);
    assert_int_equal(read.epoch.number, 4);
    assert_int_equal(read.endpoint.size, 0);
}

static void test_codes_of_other_versions(void **state) {
    static const char *const texts[] = {"\x93\xa7GALORES\xa1x\xc0", "\x93\xa2OK\xa1x\xc0"};
    for (uint32_t i = 0; i < 2; i++) {
        struct reader reader = reader_of(bytes_of_text(texts[i]));
        struct take_result result;
        struct reply error;
        assert_true(result_read(&reader, &result, &error));
        assert_int_equal(result.code, CODE_UNAVAILABLE);
        assert_int_equal(error.code, CODE_UNAVAILABLE);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_cut_at_each_byte, setup, teardown),
        cmocka_unit_test_setup_teardown(test_each_value_replaced, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_member_that_stands_twice, setup, teardown),
        cmocka_unit_test(test_moved_to_nobody),
        cmocka_unit_test(test_codes_of_other_versions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
