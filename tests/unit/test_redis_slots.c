/* A Redis Cluster's slots, its table, and what its masters say when a slot is another's. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/redis_slots.h"
#include "tests/unit/cmocka_all.h"

static const struct redis_place from = {.host = "10.0.0.9", .port = 7009};

/* What hiredis makes of an answer. */
static redisReply *reply_of(const char *text) {
    redisReader *reader = redisReaderCreate();
    void *reply = NULL;
    redisReaderFeed(reader, text, strlen(text));
    assert_int_equal(redisReaderGetReply(reader, &reply), REDIS_OK);
    assert_non_null(reply);
    redisReaderFree(reader);
    return reply;
}

static uint16_t slot_of(const char *key) {
    return redis_slot_of(key, strlen(key));
}

/* As CLUSTER KEYSLOT of Redis 7.0 has them. */
static void keys_have_slots(void **state) {
    assert_int_equal(slot_of("123456789"), 0x31c3);
    assert_int_equal(slot_of("sluice:{17}:fence"), 12304);
    assert_int_equal(slot_of("other:{17}:buckets"), 12304);
    assert_int_equal(slot_of("sluice:{cluster}:map"), 14041);
    assert_int_equal(slot_of("cluster"), 14041);
    assert_int_equal(slot_of("{17}{18}"), 12304);
    assert_int_equal(slot_of(""), 0);
    /* No tag: nothing between the braces, or no closing one behind the first. */
    assert_int_equal(slot_of("a{}{17}"), 11390);
    assert_int_equal(slot_of("}17{"), 6808);
    assert_int_equal(slot_of("a{17"), 14223);
}

static void topology_check(const struct redis_topology *topology, uint16_t slot,
                           const char *expected) {
    char text[REDIS_PLACE_TEXT_BYTES] = "nobody";
    const struct redis_place *place = redis_topology_master(topology, slot);
    if (place != NULL)
        redis_place_format(place, text);
    assert_string_equal(text, expected);
}

static void a_table_is_read(void **state) {
    struct redis_topology topology = {.master_count = 0};
    char why[200] = "";
    /* Ranges of two masters, one with a replica, one that does not know its own address, and one
     * that says more of itself than older versions do. */
    redisReply *reply = reply_of("*4\r\n"
                                 "*4\r\n:0\r\n:99\r\n"
                                 "*3\r\n$8\r\n10.0.0.1\r\n:7001\r\n$2\r\nid\r\n"
                                 "*3\r\n$8\r\n10.0.0.2\r\n:7002\r\n$2\r\nid\r\n"
                                 "*3\r\n:200\r\n:200\r\n*2\r\n$8\r\n10.0.0.1\r\n:7001\r\n"
                                 "*3\r\n:16000\r\n:16382\r\n*3\r\n$0\r\n\r\n:7003\r\n$2\r\nid\r\n"
                                 "*3\r\n:300\r\n:300\r\n*4\r\n$-1\r\n:7004\r\n$2\r\nid\r\n*0\r\n");
    assert_true(redis_topology_read(reply, &from, &topology, why, sizeof why));
    freeReplyObject(reply);
    assert_int_equal(topology.master_count, 3);
    topology_check(&topology, 0, "10.0.0.1:7001");
    topology_check(&topology, 99, "10.0.0.1:7001");
    topology_check(&topology, 100, "nobody");
    topology_check(&topology, 200, "10.0.0.1:7001");
    topology_check(&topology, 300, "10.0.0.9:7004");
    topology_check(&topology, 16382, "10.0.0.9:7003");
    topology_check(&topology, 16383, "nobody");

    struct redis_place place = {.host = "::1", .port = 6379};
    assert_true(redis_topology_set(&topology, 99, &place));
    assert_true(redis_topology_set(&topology, 16383, &place));
    assert_int_equal(topology.master_count, 4);
    topology_check(&topology, 98, "10.0.0.1:7001");
    topology_check(&topology, 99, "[::1]:6379");
    topology_check(&topology, 16383, "[::1]:6379");
    for (int i = 0; i < REDIS_MASTERS_MAX - 4; i++) {
        place.port = 7000 + i;
        assert_true(redis_topology_set(&topology, 1, &place));
    }
    place.port = 6000;
    assert_false(redis_topology_set(&topology, 1, &place));
    topology_check(&topology, 1, "[::1]:7059");
    place.port = 6379;
    assert_true(redis_topology_set(&topology, 1, &place));
}

static void what_is_no_table_is_refused(void **state) {
    static const char *const wrong[][2] = {
        {"*0\r\n", "nobody serves"},
        {":1\r\n", "unexpected answer"},
        {"-ERR This instance has cluster support disabled\r\n", "cluster support disabled"},
        {"*1\r\n:1\r\n", "range"},
        {"*1\r\n*2\r\n:1\r\n:2\r\n", "range"},
        {"*1\r\n*3\r\n:2\r\n:1\r\n*2\r\n$1\r\nh\r\n:1\r\n", "range"},
        {"*1\r\n*3\r\n:-1\r\n:1\r\n*2\r\n$1\r\nh\r\n:1\r\n", "range"},
        {"*1\r\n*3\r\n:0\r\n:16384\r\n*2\r\n$1\r\nh\r\n:1\r\n", "range"},
        {"*1\r\n*3\r\n$1\r\n0\r\n:1\r\n*2\r\n$1\r\nh\r\n:1\r\n", "range"},
        {"*1\r\n*3\r\n:0\r\n:1\r\n$1\r\nh\r\n", "master makes no sense"},
        {"*1\r\n*3\r\n:0\r\n:1\r\n*1\r\n$1\r\nh\r\n", "master makes no sense"},
        {"*1\r\n*3\r\n:0\r\n:1\r\n*2\r\n$1\r\nh\r\n:0\r\n", "master makes no sense"},
        {"*1\r\n*3\r\n:0\r\n:1\r\n*2\r\n$1\r\nh\r\n:65536\r\n", "master makes no sense"},
        {"*1\r\n*3\r\n:0\r\n:1\r\n*2\r\n$1\r\n?\r\n:1\r\n", "address"},
        {"*1\r\n*3\r\n:0\r\n:1\r\n*2\r\n:1\r\n:1\r\n", "address"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct redis_topology topology = {.master_count = 0};
        char why[200] = "";
        redisReply *reply = reply_of(wrong[i][0]);
        redis_topology_set(&topology, 5, &from);
        if (redis_topology_read(reply, &from, &topology, why, sizeof why))
            fail_msg("answer %zu was understood", i);
        if (strstr(why, wrong[i][1]) == NULL)
            fail_msg("answer %zu: %s", i, why);
        topology_check(&topology, 5, "10.0.0.9:7009"); /* as it was */
        freeReplyObject(reply);
    }
}

static void redirections_are_read(void **state) {
    static const struct {
        const char *text;
        enum redis_redirect_kind kind;
        const char *place;
    } answers[] = {
        {"-MOVED 3999 127.0.0.1:6381\r\n", REDIS_REDIRECT_MOVED, "127.0.0.1:6381"},
        {"-MOVED 3999 redis-2.example:6381\r\n", REDIS_REDIRECT_MOVED, "redis-2.example:6381"},
        {"-MOVED 3999 fe80::1:6381\r\n", REDIS_REDIRECT_MOVED, "[fe80::1]:6381"},
        {"-MOVED 3999 :6381\r\n", REDIS_REDIRECT_MOVED, "10.0.0.9:6381"},
        {"-ASK 3999 127.0.0.1:6381\r\n", REDIS_REDIRECT_ASK, "127.0.0.1:6381"},
        {"-TRYAGAIN Multiple keys request during rehashing of slot\r\n", REDIS_REDIRECT_AGAIN, ""},
        {"-ERR Script attempted to access a non local key in a cluster node script: x\r\n",
         REDIS_REDIRECT_AGAIN, ""},
        {"-CLUSTERDOWN The cluster is down\r\n", REDIS_REDIRECT_DOWN, ""},
        {"-MOVED\r\n", REDIS_REDIRECT_NONE, ""},
        {"-MOVED 3999\r\n", REDIS_REDIRECT_NONE, ""},
        {"-MOVED 3999 127.0.0.1\r\n", REDIS_REDIRECT_NONE, ""},
        {"-MOVED 3999 127.0.0.1:\r\n", REDIS_REDIRECT_NONE, ""},
        {"-MOVED 3999 127.0.0.1:0\r\n", REDIS_REDIRECT_NONE, ""},
        {"-MOVED 3999 127.0.0.1:65536\r\n", REDIS_REDIRECT_NONE, ""},
        {"-MOVED 3999 127.0.0.1:6381x\r\n", REDIS_REDIRECT_NONE, ""},
        {"-MOVED 3999 127.0.0.1:-1\r\n", REDIS_REDIRECT_NONE, ""},
        {"-MOVED 3999 ?:6381\r\n", REDIS_REDIRECT_NONE, ""},
        {"-ASKING 3999 h:6381\r\n", REDIS_REDIRECT_NONE, ""},
        {"-WRONGTYPE Operation against a key\r\n", REDIS_REDIRECT_NONE, ""},
        {"+MOVED 3999 127.0.0.1:6381\r\n", REDIS_REDIRECT_NONE, ""},
        {"$26\r\nMOVED 3999 127.0.0.1:6381x\r\n", REDIS_REDIRECT_NONE, ""},
    };
    assert_int_equal(redis_redirect_read(NULL, &from).kind, REDIS_REDIRECT_NONE);
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        redisReply *reply = reply_of(answers[i].text);
        struct redis_redirect redirect = redis_redirect_read(reply, &from);
        char text[REDIS_PLACE_TEXT_BYTES] = "";
        if (redirect.kind == REDIS_REDIRECT_MOVED || redirect.kind == REDIS_REDIRECT_ASK)
            redis_place_format(&redirect.place, text);
        if (redirect.kind != answers[i].kind || strcmp(text, answers[i].place) != 0)
            fail_msg("%s: %d %s", answers[i].text, redirect.kind, text);
        freeReplyObject(reply);
    }
}

static void a_long_host_is_refused(void **state) {
    char text[400] = "-MOVED 1 ";
    memset(text + strlen(text), 'h', REDIS_HOST_BYTES_MAX);
    strcat(text, ":1\r\n");
    redisReply *reply = reply_of(text);
    assert_int_equal(redis_redirect_read(reply, &from).kind, REDIS_REDIRECT_NONE);
    freeReplyObject(reply);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_have_slots),
        cmocka_unit_test(a_table_is_read),
        cmocka_unit_test(what_is_no_table_is_refused),
        cmocka_unit_test(redirections_are_read),
        cmocka_unit_test(a_long_host_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
