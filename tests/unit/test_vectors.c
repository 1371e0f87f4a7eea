/* Replies, records, maps, plan sets and slots against bytes that another program made. */
#include <stdio.h>
#include <stdlib.h>

#include "proto/map_codec.h"
#include "proto/plan_codec.h"
#include "proto/record.h"
#include "proto/reply.h"
#include "proto/slot.h"
#include "vectors.h"

/* Too large for a stack. */
static struct map *map;
static struct plan_set *set;
static uint8_t *memory;

static int setup(void **state) {
    map = malloc(sizeof *map);
    set = malloc(sizeof *set);
    memory = malloc(MAP_BYTES_MAX);
    return map == NULL || set == NULL || memory == NULL;
}

static int teardown(void **state) {
    free(map);
    free(set);
    free(memory);
    return 0;
}

/* --- replies ---------------------------------------------------------------------------------- */

static void result_check_same(const struct take_result *result, const json_t *expected) {
    assert_int_equal(result->code, CODE_OK);
    assert_int_equal(result->allowed, vector_true(expected, "allowed"));
    assert_int_equal(result->remaining_tokens, vector_uint(expected, "remaining"));
    assert_int_equal(result->retry_after_us,
                     json_integer_value(json_object_get(expected, "retry_after_us")));
    assert_int_equal(result->reset_after_us, vector_uint(expected, "reset_after_us"));
    assert_int_equal(result->limit_tokens, vector_uint(expected, "limit"));
    assert_int_equal(result->flags, vector_uint(expected, "flags"));
}

static void error_check(const json_t *vector, const struct reply *reply, struct bytes message) {
    const json_t *expected = json_object_get(vector, "error");
    const json_t *expected_moved = json_object_get(expected, "moved");
    struct moved moved;
    assert_string_equal(code_text(reply->code), vector_text(expected, "code"));
    bytes_expect(reply->message, bytes_of_text(vector_text(expected, "message")));
    if (expected_moved != NULL) {
        const json_t *endpoint = json_object_get(expected_moved, "endpoint");
        assert_true(moved_read(reply->data, &moved));
        assert_int_equal(moved.slot.index, vector_uint(expected_moved, "slot"));
        assert_int_equal(moved.epoch.number, vector_uint(expected_moved, "epoch"));
        bytes_expect(moved.endpoint, json_is_null(endpoint)
                                         ? (struct bytes){0}
                                         : bytes_of_text(json_string_value(endpoint)));
    }
    if (vector_true(vector, "encodes")) {
        struct fault fault = {.code = reply->code};
        snprintf(fault.text, sizeof fault.text, "%s", vector_text(expected, "message"));
        struct writer writer = writer_of(memory, MAP_BYTES_MAX);
        reply_write_error(&writer, reply->has_msgid, reply->msgid, &fault,
                          expected_moved != NULL ? &moved : NULL);
        bytes_expect(writer_bytes(&writer), message);
    }
}

static void results_check(const json_t *vector, const struct reply *reply) {
    struct reader reader = reader_of(reply->result);
    uint32_t count;
    size_t i;
    json_t *expected;
    assert_true(read_array(&reader, &count));
    assert_int_equal(count, json_array_size(json_object_get(vector, "results")));
    json_array_foreach(json_object_get(vector, "results"), i, expected) {
        struct take_result result;
        struct reply error;
        assert_true(result_read(&reader, &result, &error));
        if (json_object_get(expected, "error") == NULL) {
            result_check_same(&result, expected);
        } else {
            assert_string_equal(code_text(result.code), vector_text(expected, "error"));
            bytes_expect(error.message, bytes_of_text(vector_text(expected, "message")));
        }
    }
    assert_true(reader_done(&reader));
}

static void reply_check(const json_t *vector, struct bytes message) {
    struct reply reply;
    bool good = reply_read(message, &reply);
    assert_int_equal(good, !vector_true(vector, "wrong"));
    if (!good) {
        return;
    }
    const json_t *msgid = json_object_get(vector, "msgid");
    assert_int_equal(reply.has_msgid, !json_is_null(msgid));
    assert_int_equal(reply.msgid, json_integer_value(msgid));
    assert_int_equal(reply.is_error, json_object_get(vector, "error") != NULL);
    if (reply.is_error) {
        error_check(vector, &reply, message);
    } else if (json_object_get(vector, "results") != NULL) {
        results_check(vector, &reply);
    } else {
        struct reader reader = reader_of(reply.result);
        struct take_result result;
        assert_true(result_read(&reader, &result, NULL));
        assert_true(reader_done(&reader));
        result_check_same(&result, json_object_get(vector, "result"));
        struct writer writer = writer_of(memory, MAP_BYTES_MAX);
        reply_write_head(&writer, reply.msgid);
        result_write(&writer, &result);
        if (vector_true(vector, "encodes")) {
            bytes_expect(writer_bytes(&writer), message);
        }
    }
}

/* --- records ---------------------------------------------------------------------------------- */

static void record_check(const json_t *vector, struct bytes message) {
    struct record record;
    struct fault fault = {0};
    const json_t *wrong = json_object_get(vector, "wrong");
    enum code code = record_read(message, &record, &fault);
    if (wrong != NULL) {
        if (code != CODE_BAD_REQUEST || strstr(fault.text, json_string_value(wrong)) == NULL) {
            fail_msg("%s: %s", vector_text(vector, "name"), fault.text);
        }
        return;
    }
    assert_int_equal(code, CODE_OK);
    const json_t *plan = json_object_get(vector, "plan"), *tat = json_object_get(vector, "tat_ns");
    assert_int_equal(record.is_inline, json_is_object(plan));
    if (record.is_inline) {
        assert_int_equal(record.limit.rate_tokens, vector_uint(plan, "rate"));
        assert_int_equal(record.limit.period_ns, vector_uint(plan, "period_ms") * 1000000);
        assert_int_equal(record.limit.burst_tokens, vector_uint(plan, "burst"));
    } else {
        bytes_expect(record.plan, bytes_of_text(json_string_value(plan)));
    }
    assert_int_equal(record.generation, vector_uint(vector, "generation"));
    assert_int_equal(record.tat_count, json_array_size(tat));
    for (uint32_t i = 0; i < record.tat_count; i++) {
        const json_t *time = json_array_get(tat, i); /* ns, or [ns, part] */
        bool whole = json_is_integer(time);
        assert_int_equal(record.tats[i].ns,
                         json_integer_value(whole ? time : json_array_get(time, 0)));
        assert_int_equal(record.tats[i].part,
                         whole ? 0 : json_integer_value(json_array_get(time, 1)));
    }
    uint8_t out[RECORD_BYTES_MAX];
    bytes_expect(bytes_of(out, record_write(&record, out)), message);
}

/* --- maps and plan sets ----------------------------------------------------------------------- */

/* Slots of the expected runs, one after the other. */
static void owners_check_same(const json_t *runs) {
    size_t i;
    json_t *run;
    uint32_t slot = 0;
    json_array_foreach(runs, i, run) {
        const json_t *owner = json_array_get(run, 1);
        for (json_int_t j = json_integer_value(json_array_get(run, 0)); j > 0; j--) {
            assert_int_equal(map->owner[slot++],
                             json_is_null(owner) ? UINT16_MAX : json_integer_value(owner));
        }
    }
    assert_int_equal(slot, map->slot_count);
}

static void map_vector_check(const json_t *vector, struct bytes message) {
    struct reader reader = reader_of(message);
    struct fault fault = {0};
    enum code code = map_read(&reader, map, &fault);
    if (vector_true(vector, "wrong")) {
        assert_int_equal(code, CODE_BAD_REQUEST);
        return;
    }
    assert_int_equal(code, CODE_OK);
    assert_true(reader_done(&reader));
    const json_t *expected = json_object_get(vector, "map");
    const json_t *nodes = json_object_get(expected, "nodes");
    const json_t *shards = json_object_get(expected, "shards");
    const char *id = json_string_value(json_object_get(expected, "cluster"));
    assert_string_equal(map->cluster.text, id == NULL ? "" : id);
    assert_int_equal(map->epoch.number, vector_uint(expected, "epoch"));
    assert_int_equal(map->slot_count, vector_uint(expected, "slots"));
    assert_int_equal(map->node_count, json_array_size(nodes));
    assert_int_equal(map->shard_count, json_array_size(shards));
    for (uint32_t i = 0; i < map->node_count; i++) {
        const json_t *node = json_array_get(nodes, i);
        assert_string_equal(map->nodes[i].id.text, json_string_value(json_array_get(node, 0)));
        assert_string_equal(map->nodes[i].control.text, json_string_value(json_array_get(node, 1)));
        assert_int_equal(map->nodes[i].weight, json_integer_value(json_array_get(node, 2)));
    }
    for (uint32_t i = 0; i < map->shard_count; i++) {
        const json_t *shard = json_array_get(shards, i);
        assert_int_equal(map->shards[i].node, json_integer_value(json_array_get(shard, 0)));
        assert_int_equal(map->shards[i].number, json_integer_value(json_array_get(shard, 1)));
        assert_string_equal(map->shards[i].endpoint.text,
                            json_string_value(json_array_get(shard, 2)));
    }
    owners_check_same(json_object_get(expected, "owners"));
    if (vector_true(vector, "encodes")) {
        struct writer writer = writer_of(memory, MAP_BYTES_MAX);
        map_write(&writer, map);
        bytes_expect(writer_bytes(&writer), message);
    }
}

static void plan_check_same(const struct plan *plan, const json_t *expected) {
    const json_t *limits = json_object_get(expected, "limits");
    const json_t *history = json_object_get(expected, "history");
    const struct terms *terms = &plan->generations[0].terms;
    bytes_expect(name_bytes(&plan->name), bytes_of_text(vector_text(expected, "name")));
    assert_int_equal(terms->limit_count, json_array_size(limits));
    for (uint32_t i = 0; i < terms->limit_count; i++) {
        assert_int_equal(terms->limits[i].rate_tokens,
                         vector_uint(json_array_get(limits, i), "rate"));
    }
    assert_int_equal(plan->generations[0].generation, vector_uint(expected, "generation"));
    assert_int_equal(plan->generation_count, 1 + json_array_size(history));
    for (uint32_t i = 1; i < plan->generation_count; i++) {
        assert_int_equal(plan->generations[i].generation,
                         json_integer_value(json_array_get(json_array_get(history, i - 1), 0)));
    }
}

static void plan_set_check(const json_t *vector, struct bytes message) {
    struct reader reader = reader_of(message);
    struct fault fault = {0};
    assert_int_equal(plan_set_read(&reader, set, &fault), CODE_OK);
    assert_true(reader_done(&reader));
    const json_t *expected = json_object_get(vector, "plan_set");
    const json_t *default_plan = json_object_get(expected, "default");
    assert_int_equal(set->version, vector_uint(expected, "version"));
    assert_int_equal(set->plan_count, json_array_size(json_object_get(expected, "plans")));
    for (uint32_t i = 0; i < set->plan_count; i++) {
        plan_check_same(&set->plans[i], json_array_get(json_object_get(expected, "plans"), i));
    }
    if (json_is_null(default_plan)) {
        assert_int_equal(set->default_at, -1);
    } else {
        assert_string_equal(set->plans[set->default_at].name.text, json_string_value(default_plan));
    }
    if (vector_true(vector, "encodes")) {
        struct writer writer = writer_of(memory, MAP_BYTES_MAX);
        plan_set_write(&writer, set);
        bytes_expect(writer_bytes(&writer), message);
    }
}

static void slot_check(const json_t *vector, struct bytes none) {
    uint8_t key[KEY_BYTES_MAX];
    uint64_t hash = key_hash(vector_hex(vector, "key_hex", key, sizeof key));
    char text[20];
    const char *slots;
    json_t *slot;
    snprintf(text, sizeof text, "%016llx", (unsigned long long)hash);
    assert_string_equal(text, vector_text(vector, "hash_hex"));
    json_object_foreach(json_object_get(vector, "slot"), slots, slot) {
        uint32_t count = (uint32_t)strtoul(slots, NULL, 10);
        assert_int_equal(slot_of_hash(hash, count).index, json_integer_value(slot));
    }
}

static void test_replies(void **state) {
    vectors_check("replies.json", reply_check);
}

static void test_records(void **state) {
    vectors_check("records.json", record_check);
}

static void test_maps(void **state) {
    vectors_check("map.json", map_vector_check);
}

static void test_plan_sets(void **state) {
    vectors_check("plan_set.json", plan_set_check);
}

static void test_slots(void **state) {
    vectors_check("slots.json", slot_check);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_replies), cmocka_unit_test(test_records),
        cmocka_unit_test(test_maps),    cmocka_unit_test(test_plan_sets),
        cmocka_unit_test(test_slots),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
