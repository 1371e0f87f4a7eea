/* The store's writes, with a Redis: those of many slots in one call, each answered by itself. */
#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include "server/io/store_impl.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/loop_wait.h"
#include "tests/unit/redis_server.h"

#define FENCE 1048577u
#define SLOTS 1024u

#define ANSWERS_NONE UINT8_MAX

struct fixture {
    struct redis_server server;
    uv_loop_t loop;
    struct log log;
    struct redis_access access;
    struct store *store;
    redisContext *redis; /* to look from outside */
    uint8_t answers[SLOTS];
    uint32_t answer_count, awaited, events;
    bool up;
};

static void on_event(void *ctx, struct shard_event *event) {
    struct fixture *fixture = ctx;
    if (event->kind == SHARD_EVENT_STORE) {
        fixture->up = event->store.up;
        return;
    }
    assert_int_equal(event->kind, SHARD_EVENT_WRITTEN);
    fixture->events++;
    for (uint32_t i = 0; i < event->written.count; i++) {
        struct shard_written write = event->written.writes[i];
        assert_int_equal(write.op_id, 1000 + write.slot.index);
        assert_int_equal(fixture->answers[write.slot.index], ANSWERS_NONE); /* once */
        fixture->answers[write.slot.index] = (uint8_t)write.status;
        fixture->answer_count++;
    }
}

static void on_clock(void *ctx, const struct clock_sample *sample) {}

static bool is_up(void *ctx) {
    return ((struct fixture *)ctx)->up;
}

static bool all_answered(void *ctx) {
    const struct fixture *fixture = ctx;
    return fixture->answer_count == fixture->awaited;
}

/* Runs a command beside the store; its reply is kept until the next one. */
static redisReply *look(struct fixture *fixture, const char *format, ...) {
    static redisReply *reply;
    va_list values;
    if (reply != NULL) {
        freeReplyObject(reply);
        reply = NULL;
    }
    if (format == NULL) {
        return NULL;
    }
    va_start(values, format);
    reply = redisvCommand(fixture->redis, format, values);
    va_end(values);
    assert_non_null(reply);
    assert_int_not_equal(reply->type, REDIS_REPLY_ERROR);
    return reply;
}

static struct fixture *begin_with(const char *ack) {
    struct fixture *fixture = calloc(1, sizeof *fixture);
    char why[256];
    assert_non_null(fixture);
    redis_server_open(&fixture->server, "");
    assert_true(
        redis_address_parse(fixture->server.url, &fixture->access.address, why, sizeof why));
    uv_loop_init(&fixture->loop);
    log_init(&fixture->log, LOG_LEVEL_ERROR, false, STDERR_FILENO, "test");
    fixture->redis = redisConnectUnix(fixture->access.address.places[0].host);
    assert_non_null(fixture->redis);
    struct ack kept;
    assert_true(ack_parse(ack, &kept, why, sizeof why));
    struct store_options options = {.access = &fixture->access,
                                    .prefix = "t:",
                                    .ack = kept,
                                    .incarnation = "one",
                                    .log = &fixture->log};
    struct store_handler handler = {fixture, on_event, on_clock};
    fixture->store = store_open(&fixture->loop, &options, &handler);
    assert_non_null(fixture->store);
    assert_true(loop_wait(&fixture->loop, is_up, fixture));
    memset(fixture->answers, ANSWERS_NONE, sizeof fixture->answers);
    look(fixture, "CONFIG RESETSTAT");
    return fixture;
}

static struct fixture *begin(void) {
    return begin_with("memory");
}

static void end(struct fixture *fixture) {
    store_close(fixture->store);
    uv_run(&fixture->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&fixture->loop), 0);
    look(fixture, NULL);
    redisFree(fixture->redis);
    redis_server_close(&fixture->server);
    free(fixture);
}

/* A write of `sets` records and `removals` deletions, keys "k<number>" and "r<number>". */
static void write_ask(struct fixture *fixture, uint16_t slot, uint32_t sets, uint32_t removals) {
    static struct shard_op_entry entries[SHARD_WRITE_ENTRIES_MAX];
    static char keys[SHARD_WRITE_ENTRIES_MAX][16];
    for (uint32_t i = 0; i < sets + removals; i++) {
        bool remove = i >= sets;
        snprintf(keys[i], sizeof keys[i], "%c%u", remove ? 'r' : 'k', remove ? i - sets : i);
        entries[i] = (struct shard_op_entry){.key = bytes_of_text(keys[i]), .remove = remove};
        entries[i].record.plan = bytes_of_text("free");
        entries[i].record.tat_count = 1;
        entries[i].record.tats[0].ns = 1000 + slot;
    }
    struct shard_op op = {.kind = SHARD_OP_WRITE,
                          .slot = {slot},
                          .op_id = 1000 + slot,
                          .fence = FENCE,
                          .entries = entries,
                          .entry_count = sets + removals};
    fixture->awaited++;
    store_perform(fixture->store, &op, (struct epoch){1});
}

static void answers_await(struct fixture *fixture) {
    assert_true(loop_wait(&fixture->loop, all_answered, fixture));
}

static long long records(struct fixture *fixture, uint16_t slot) {
    return look(fixture, "HLEN t:{%u}:buckets", slot)->integer;
}

static long long calls(struct fixture *fixture) {
    const char *at = strstr(look(fixture, "INFO commandstats")->str, "cmdstat_evalsha:calls=");
    return at == NULL ? 0 : strtoll(strchr(at, '=') + 1, NULL, 10);
}

static void test_one_call_for_a_turn(void **state) {
    struct fixture *fixture = begin();
    for (uint16_t slot = 0; slot < 3; slot++) {
        look(fixture, "HSET t:{%u}:buckets r0 gone r1 stays", slot);
        look(fixture, "SET t:{%u}:fence %u", slot, FENCE);
        write_ask(fixture, slot, 2 + slot, slot > 0);
    }
    answers_await(fixture);
    for (uint16_t slot = 0; slot < 3; slot++) {
        struct record record;
        struct fault fault;
        assert_int_equal(fixture->answers[slot], SHARD_STORED_OK);
        assert_int_equal(records(fixture, slot), 2 + slot + (slot > 0 ? 1 : 2));
        const redisReply *value = look(fixture, "HGET t:{%u}:buckets k1", slot);
        assert_int_equal(record_read(bytes_of(value->str, value->len), &record, &fault), CODE_OK);
        assert_int_equal(record.tats[0].ns, 1000 + slot);
    }
    assert_int_equal(calls(fixture), 1);
    assert_int_equal(fixture->events, 1);
    end(fixture);
}

/* Assignments go the same way, to a key of their own, beside records. */
static void test_assignments(void **state) {
    struct fixture *fixture = begin();
    struct shard_op_entry entries[] = {{.key = bytes_of_text("a")},
                                       {.key = bytes_of_text("old"), .remove = true},
                                       {.key = bytes_of_text("b")}};
    struct shard_op op = {.kind = SHARD_OP_WRITE,
                          .slot = {1},
                          .op_id = 1001,
                          .fence = FENCE,
                          .assignments = true,
                          .entries = entries,
                          .entry_count = 3};
    entries[0].record.plan = bytes_of_text("free");
    entries[2].record.plan = bytes_of_text("a-longer-name");
    look(fixture, "HSET t:{1}:keys old free stays free");
    write_ask(fixture, 0, 2, 1);
    fixture->awaited++;
    store_perform(fixture->store, &op, (struct epoch){1});
    answers_await(fixture);
    assert_int_equal(fixture->answers[1], SHARD_STORED_OK);
    assert_int_equal(calls(fixture), 1);
    assert_int_equal(records(fixture, 1), 0);
    assert_int_equal(look(fixture, "HLEN t:{1}:keys")->integer, 3);
    assert_string_equal(look(fixture, "HGET t:{1}:keys a")->str, "free");
    assert_string_equal(look(fixture, "HGET t:{1}:keys b")->str, "a-longer-name");
    assert_int_equal(look(fixture, "EXISTS t:{0}:keys")->integer, 0);
    end(fixture);
}

/* What one slot's keys refuse harms no other. */
static void test_wrong_type_amid_others(void **state) {
    struct fixture *fixture = begin();
    look(fixture, "SET t:{1}:buckets what");
    look(fixture, "HSET t:{4}:fence a b");
    look(fixture, "SET t:{5}:fence many");
    for (uint16_t slot = 0; slot < 6; slot++) {
        write_ask(fixture, slot, 2, slot % 2 == 0);
    }
    answers_await(fixture);
    for (uint16_t slot = 0; slot < 6; slot++) {
        bool stored = slot == 0 || slot == 2 || slot == 3;
        assert_int_equal(fixture->answers[slot], stored ? SHARD_STORED_OK : SHARD_STORED_FAILED);
        if (slot != 1) {
            assert_int_equal(records(fixture, slot), stored ? 2 : 0);
        }
    }
    assert_string_equal(look(fixture, "GET t:{1}:buckets")->str, "what");
    assert_string_equal(look(fixture, "GET t:{5}:fence")->str, "many");
    assert_int_equal(calls(fixture), 1);
    end(fixture);
}

static void test_fenced_amid_others(void **state) {
    struct fixture *fixture = begin();
    look(fixture, "SET t:{0}:fence %u", FENCE);
    look(fixture, "SET t:{1}:fence %u", FENCE + 1);
    look(fixture, "SET t:{2}:fence %u", FENCE - 1); /* lost the tail of its file */
    for (uint16_t slot = 0; slot < 4; slot++) {
        write_ask(fixture, slot, 1, 0);
    }
    answers_await(fixture);
    for (uint16_t slot = 0; slot < 4; slot++) {
        char fence[16];
        snprintf(fence, sizeof fence, "%u", slot == 1 ? FENCE + 1 : FENCE);
        assert_int_equal(fixture->answers[slot], slot == 1 ? SHARD_STORED_FENCED : SHARD_STORED_OK);
        assert_int_equal(records(fixture, slot), slot != 1);
        assert_string_equal(look(fixture, "GET t:{%u}:fence", slot)->str, fence);
    }
    end(fixture);
}

static void test_all_fenced(void **state) {
    struct fixture *fixture = begin();
    for (uint16_t slot = 0; slot < 3; slot++) {
        look(fixture, "SET t:{%u}:fence %u", slot, FENCE + 1);
        write_ask(fixture, slot, 1, 1);
    }
    answers_await(fixture);
    for (uint16_t slot = 0; slot < 3; slot++) {
        assert_int_equal(fixture->answers[slot], SHARD_STORED_FENCED);
        assert_int_equal(records(fixture, slot), 0);
    }
    end(fixture);
}

/* A Redis that is full takes what begins with a deletion, and what follows it. */
static void test_full_redis(void **state) {
    struct fixture *fixture = begin();
    for (uint16_t slot = 0; slot < 4; slot++) {
        look(fixture, "SET t:{%u}:fence %u", slot, FENCE);
    }
    look(fixture, "CONFIG SET maxmemory 1");
    write_ask(fixture, 0, 1, 0);
    write_ask(fixture, 1, 1, 1);
    write_ask(fixture, 2, 0, 1);
    answers_await(fixture);
    assert_int_equal(fixture->answers[0], SHARD_STORED_FAILED);
    assert_int_equal(fixture->answers[1], SHARD_STORED_OK);
    assert_int_equal(fixture->answers[2], SHARD_STORED_OK);
    write_ask(fixture, 3, 1, 0);
    answers_await(fixture);
    assert_int_equal(fixture->answers[3], SHARD_STORED_FAILED);
    look(fixture, "CONFIG SET maxmemory 0");
    assert_int_equal(records(fixture, 0), 0);
    assert_int_equal(records(fixture, 1), 1);
    end(fixture);
}

/* All refused alike: the server's own word, by which the link learns that it is a replica. */
static void test_replica(void **state) {
    struct fixture *fixture = begin();
    for (uint16_t slot = 0; slot < 3; slot++) {
        look(fixture, "SET t:{%u}:fence %u", slot, FENCE);
    }
    look(fixture, "REPLICAOF 127.0.0.1 1");
    for (uint16_t slot = 0; slot < 3; slot++) {
        write_ask(fixture, slot, 1, 0);
    }
    answers_await(fixture);
    for (uint16_t slot = 0; slot < 3; slot++) {
        assert_int_equal(fixture->answers[slot], SHARD_STORED_FAILED);
    }
    assert_false(fixture->up);
    end(fixture);
}

static void test_scripts_flushed(void **state) {
    struct fixture *fixture = begin();
    look(fixture, "SCRIPT FLUSH");
    write_ask(fixture, 0, 1, 0);
    write_ask(fixture, 1, 1, 0);
    answers_await(fixture);
    assert_int_equal(fixture->answers[0], SHARD_STORED_FAILED);
    assert_int_equal(fixture->answers[1], SHARD_STORED_FAILED);
    write_ask(fixture, 2, 1, 0);
    answers_await(fixture);
    assert_int_equal(fixture->answers[2], SHARD_STORED_OK); /* they were loaded again before it */
    end(fixture);
}

/* More than one call holds, in slots and in entries: each within its bounds, none left out. */
static void test_bounds_of_a_call(void **state) {
    struct fixture *fixture = begin();
    const uint32_t large = 5, small = STORE_CALL_SLOTS_MAX + 88;
    for (uint16_t slot = 0; slot < large + small; slot++) {
        write_ask(fixture, slot, slot < large ? SHARD_WRITE_ENTRIES_MAX : 1, 0);
    }
    answers_await(fixture);
    for (uint16_t slot = 0; slot < large + small; slot++) {
        assert_int_equal(fixture->answers[slot], SHARD_STORED_OK);
    }
    assert_int_equal(records(fixture, 4), SHARD_WRITE_ENTRIES_MAX);
    assert_int_equal(records(fixture, (uint16_t)(large + small - 1)), 1);
    assert_int_equal(calls(fixture), 4); /* 2 and 2 large; 1 and 511 small; the rest */
    end(fixture);
}

/* Each is answered, FAILED, before the store says that it is away. */
static void test_link_lost(void **state) {
    struct fixture *fixture = begin();
    redis_server_signal(&fixture->server, SIGSTOP);
    for (uint16_t slot = 0; slot < 900; slot++) {
        write_ask(fixture, slot, 3, 0); /* some have left, some have not */
    }
    loop_run_ms(&fixture->loop, 20);
    assert_int_equal(fixture->answer_count, 0);
    assert_non_null(fixture->store->gather.call);
    redis_server_kill(&fixture->server);
    answers_await(fixture);
    for (uint16_t slot = 0; slot < 900; slot++) {
        assert_int_equal(fixture->answers[slot], SHARD_STORED_FAILED);
    }
    assert_false(fixture->up);
    write_ask(fixture, 1000, 1, 0); /* nor does one that is asked for now wait */
    answers_await(fixture);
    assert_int_equal(fixture->answers[1000], SHARD_STORED_FAILED);
    end(fixture);
}

/* Without replicas the WAIT is answered by too few: what was stored fails when that is known, what
 * was refused at once. */
static void test_acknowledged_together(void **state) {
    struct fixture *fixture = begin();
    fixture->store->ack = (struct ack){ACK_REPLICAS, 1};
    fixture->store->servers[0]->follow_up = ACK_FOLLOW_UP_WAIT;
    look(fixture, "SET t:{1}:fence %u", FENCE + 1);
    write_ask(fixture, 0, 1, 0);
    write_ask(fixture, 1, 1, 0);
    write_ask(fixture, 2, 1, 0);
    fixture->awaited = 1;
    answers_await(fixture);
    assert_int_equal(fixture->answers[1], SHARD_STORED_FENCED);
    fixture->awaited = 3;
    answers_await(fixture);
    assert_int_equal(fixture->answers[0], SHARD_STORED_FAILED);
    assert_int_equal(fixture->answers[2], SHARD_STORED_FAILED);
    end(fixture);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_assignments),
        cmocka_unit_test(test_one_call_for_a_turn),
        cmocka_unit_test(test_wrong_type_amid_others),
        cmocka_unit_test(test_fenced_amid_others),
        cmocka_unit_test(test_all_fenced),
        cmocka_unit_test(test_full_redis),
        cmocka_unit_test(test_replica),
        cmocka_unit_test(test_scripts_flushed),
        cmocka_unit_test(test_bounds_of_a_call),

        cmocka_unit_test(test_link_lost),
        cmocka_unit_test(test_acknowledged_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
