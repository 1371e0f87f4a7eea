/* What an acknowledgement means: how it is written, and which servers can keep it. */
#include <stdio.h>
#include <string.h>

#include "server/io/ack.h"
#include "tests/unit/cmocka_all.h"

static void what_is_meant_is_understood(void **state) {
    static const struct {
        const char *text;
        enum ack_kind kind;
        uint32_t replicas;
    } right[] = {
        {"memory", ACK_MEMORY, 0},
        {"aof", ACK_AOF, 0},
        {"replicas:1", ACK_REPLICAS, 1},
        {"replicas:16", ACK_REPLICAS, 16},
    };
    static const char *const wrong[] = {"",
                                        "Memory",
                                        "aof ",
                                        "replicas",
                                        "replicas:",
                                        "replicas:0",
                                        "replicas:17",
                                        "replicas:-1",
                                        "replicas:1x",
                                        "replicas: 1",
                                        "replicas:01x"};
    struct ack ack;
    char why[256];
    for (size_t i = 0; i < sizeof right / sizeof right[0]; i++) {
        assert_true(ack_parse(right[i].text, &ack, why, sizeof why));
        assert_int_equal(ack.kind, right[i].kind);
        assert_int_equal(ack.replicas, right[i].replicas);
    }
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        if (ack_parse(wrong[i], &ack, why, sizeof why))
            fail_msg("\"%s\" was understood", wrong[i]);
        assert_non_null(strstr(why, "replicas:1"));
    }
}

static void info_is_read_by_whole_names(void **state) {
    const char *info = "# Server\r\nmy_role:a\r\nrole:master\r\nempty:\r\nlast:z";
    char value[8];
    info_value(info, "role", value, sizeof value);
    assert_string_equal(value, "master");
    info_value(info, "empty", value, sizeof value);
    assert_string_equal(value, "");
    info_value(info, "last", value, sizeof value);
    assert_string_equal(value, "z");
    info_value(info, "rol", value, sizeof value);
    assert_string_equal(value, "");
}

static void servers_are_held_to_it(void **state) {
    static const struct {
        struct ack ack;
        const char *info, *appendfsync;
        bool kept;
        enum ack_follow_up follow_up;
        const char *why; /* a part of it, if it is not kept */
    } cases[] = {
        {{ACK_MEMORY, 0}, "", NULL, true, ACK_FOLLOW_UP_NONE, NULL},
        {{ACK_AOF, 0}, "aof_enabled:0\r\n", "always", false, 0, "appendonly yes"},
        {{ACK_AOF, 0}, "", "always", false, 0, "appendonly yes"},
        {{ACK_AOF, 0}, "aof_enabled:1\r\n", "always", true, ACK_FOLLOW_UP_NONE, NULL},
        {{ACK_AOF, 0},
         "redis_version:7.0.15\r\naof_enabled:1\r\n",
         "everysec",
         false,
         0,
         "appendfsync always"},
        {{ACK_AOF, 0}, "redis_version:7.0.15\r\naof_enabled:1\r\n", NULL, false, 0, "+config|get"},
        {{ACK_AOF, 0},
         "redis_version:7.2.0\r\naof_enabled:1\r\n",
         "everysec",
         true,
         ACK_FOLLOW_UP_WAITAOF,
         NULL},
        {{ACK_AOF, 0},
         "redis_version:8.0\r\naof_enabled:1\r\n",
         NULL,
         true,
         ACK_FOLLOW_UP_WAITAOF,
         NULL},
        {{ACK_REPLICAS, 2}, "connected_slaves:1\r\n", NULL, false, 0, "1 of the 2"},
        {{ACK_REPLICAS, 2}, "", NULL, false, 0, "0 of the 2"},
        {{ACK_REPLICAS, 2}, "connected_slaves:2\r\n", NULL, true, ACK_FOLLOW_UP_WAIT, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char why[512] = "";
        enum ack_follow_up follow_up;
        bool kept = ack_check(&cases[i].ack, cases[i].info, cases[i].appendfsync, &follow_up, why,
                              sizeof why);
        if (kept != cases[i].kept)
            fail_msg("case %zu: %s", i, why);
        if (kept)
            assert_int_equal(follow_up, cases[i].follow_up);
        else if (strstr(why, cases[i].why) == NULL)
            fail_msg("case %zu: \"%s\" does not say \"%s\"", i, why, cases[i].why);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_meant_is_understood),
        cmocka_unit_test(info_is_read_by_whole_names),
        cmocka_unit_test(servers_are_held_to_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
