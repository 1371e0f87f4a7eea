/* URLs of endpoints and of Redis: what is understood, and that a refusal says why. */
#include <netinet/in.h>
#include <string.h>

#include "runtime/redis_link.h"
#include "runtime/tcp_address.h"
#include "tests/unit/cmocka_all.h"

static void tcp_addresses_are_taken_apart_and_put_together(void **state) {
    static const struct {
        const char *url, *host;
        uint16_t port;
        bool numeric;
    } right[] = {
        {"tcp://127.0.0.1:7500", "127.0.0.1", 7500, true},
        {"tcp://*:0", "*", 0, true},
        {"tcp://[::1]:65535", "::1", 65535, true},
        {"tcp://node-1.example:1", "node-1.example", 1, false},
    };
    for (size_t i = 0; i < sizeof right / sizeof right[0]; i++) {
        struct tcp_address address;
        struct sockaddr_storage out;
        char why[512], url[TCP_URL_BYTES_MAX];
        assert_true(tcp_address_parse(right[i].url, &address, why, sizeof why));
        assert_string_equal(address.host, right[i].host);
        assert_int_equal(address.port, right[i].port);
        assert_int_equal(tcp_address_numeric(&address, &out), right[i].numeric);
        if (right[i].numeric)
            assert_int_equal(tcp_port_of((struct sockaddr *)&out), right[i].port);
        tcp_address_format(&address, url);
        assert_string_equal(url, right[i].url);
    }
}

static void what_is_no_tcp_address_is_refused(void **state) {
    char long_host[400] = "tcp://";
    memset(long_host + 6, 'h', 300);
    strcpy(long_host + 306, ":1");
    const char *wrong[] = {"",           "tcp://",      "tcp:/127.0.0.1:1", "tcp://h",
                           "tcp://h:",   "tcp://h:1x",  "tcp://h:65536",    "tcp://h:-1",
                           "tcp://:1",   "tcp://[::1]", "tcp://[::1:1",     "tcp://::1:7500",
                           "ipc://h:1",  "tcp://[]:1",  "tcp://h:000001",   "tcp://[[h]:1",
                           "tcp://h]:1", long_host};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct tcp_address address;
        char why[512] = "";
        if (tcp_address_parse(wrong[i], &address, why, sizeof why))
            fail_msg("\"%s\" was understood", wrong[i]);
        assert_non_null(strstr(why, "tcp://127.0.0.1:7500"));
    }
}

static void loopback_is_known_in_every_form(void **state) {
    static const struct {
        const char *url;
        bool loopback;
    } hosts[] = {
        {"tcp://127.0.0.1:1", true},      {"tcp://127.9.9.9:1", true},
        {"tcp://[::1]:1", true},          {"tcp://[::ffff:127.0.0.1]:1", true},
        {"tcp://128.0.0.1:1", false},     {"tcp://10.0.0.1:1", false},
        {"tcp://[::2]:1", false},         {"tcp://[::ffff:10.0.0.1]:1", false},
        {"tcp://[fe80::1]:1", false},     {"tcp://*:1", false},
        {"tcp://[::127.0.0.1]:1", false},
    };
    for (size_t i = 0; i < sizeof hosts / sizeof hosts[0]; i++) {
        struct tcp_address address;
        struct sockaddr_storage out;
        char why[512];
        assert_true(tcp_address_parse(hosts[i].url, &address, why, sizeof why));
        assert_true(tcp_address_numeric(&address, &out));
        if (tcp_is_loopback((struct sockaddr *)&out) != hosts[i].loopback)
            fail_msg("%s", hosts[i].url);
    }
    struct sockaddr local = {.sa_family = AF_UNIX};
    assert_false(tcp_is_loopback(&local));
}

static void redis_addresses_are_taken_apart(void **state) {
    static const struct {
        const char *url, *host, *user;
        int port, database;
    } right[] = {
        {"redis://127.0.0.1", "127.0.0.1", "", 6379, 0},
        {"redis://127.0.0.1:6380/", "127.0.0.1", "", 6380, 0},
        {"redis://store.example:6380/15", "store.example", "", 6380, 15},
        {"redis://sluice@store", "store", "sluice", 6379, 0},
        {"redis://sluice@[fe80::1]:7/2", "fe80::1", "sluice", 7, 2},
        {"redis://[::1]/3", "::1", "", 6379, 3},
        {"unix:///run/redis.sock", "/run/redis.sock", "", 0, 0},
    };
    for (size_t i = 0; i < sizeof right / sizeof right[0]; i++) {
        struct redis_address address;
        char why[512] = "";
        if (!redis_address_parse(right[i].url, &address, why, sizeof why))
            fail_msg("%s: %s", right[i].url, why);
        assert_string_equal(address.places[0].host, right[i].host);
        assert_string_equal(address.user, right[i].user);
        assert_int_equal(address.places[0].port, right[i].port);
        assert_int_equal(address.database, right[i].database);
    }
}

static void sentinels_are_taken_apart(void **state) {
    struct redis_address address;
    char why[512] = "", text[REDIS_PLACE_TEXT_BYTES];
    assert_true(redis_address_parse("redis+sentinel://app@s1,s2:5,[::1]:6/my-master/3", &address,
                                    why, sizeof why));
    assert_int_equal(address.place_count, 3);
    static const char *const places[] = {"s1:26379", "s2:5", "[::1]:6"};
    for (uint32_t i = 0; i < 3; i++) {
        redis_place_format(&address.places[i], text);
        assert_string_equal(text, places[i]);
    }
    assert_string_equal(address.master, "my-master");
    assert_string_equal(address.user, "app");
    assert_int_equal(address.database, 3);
    assert_false(address.tls);

    assert_true(redis_address_parse("rediss+sentinel://s/m", &address, why, sizeof why));
    assert_true(address.tls);
    assert_true(redis_address_parse("rediss://h/1", &address, why, sizeof why));
    assert_true(address.tls);
    assert_string_equal(address.master, "");
    redis_place_format(&address.places[0], text);
    assert_string_equal(text, "h:6379");
    assert_true(redis_address_parse("unix:///run/redis", &address, why, sizeof why));
    redis_place_format(&address.places[0], text);
    assert_string_equal(text, "/run/redis");
}

static void clusters_are_taken_apart(void **state) {
    struct redis_address address;
    char why[512] = "", text[REDIS_PLACE_TEXT_BYTES];
    assert_true(
        redis_address_parse("redis+cluster://app@c1,c2:5,[::1]:6/0", &address, why, sizeof why));
    assert_true(address.cluster && !address.tls && address.master[0] == '\0');
    assert_string_equal(address.user, "app");
    static const char *const places[] = {"c1:6379", "c2:5", "[::1]:6"};
    assert_int_equal(address.place_count, 3);
    for (uint32_t i = 0; i < 3; i++) {
        redis_place_format(&address.places[i], text);
        assert_string_equal(text, places[i]);
    }
    assert_true(redis_address_parse("rediss+cluster://c1", &address, why, sizeof why));
    assert_true(address.cluster && address.tls);
    assert_true(redis_address_parse("redis://c1", &address, why, sizeof why));
    assert_false(address.cluster);
}

static void what_is_no_redis_address_is_refused(void **state) {
    static const char *const wrong[][2] = {
        {"", "scheme"},
        {"127.0.0.1:6379", "scheme"},
        {"redis+sentinel://h", "name"},
        {"redis+sentinel://h/", "name"},
        {"redis+sentinel://a,,b/m", "host"},
        {"redis+sentinel://a,b:x/m", "port"},
        {"redis+sentinel://a/m/x", "database"},
        {"redis+sentinel://1,2,3,4,5,6,7,8,9,10/m", "9 sentinels"},
        {"redis+sentinel://u:hunter2@h/m", "password"},
        {"redis+rediss://h", "scheme"},
        {"redis+cluster://", "host"},
        {"redis+cluster://a,", "host"},
        {"redis+cluster://a/1", "only database 0"},
        {"redis+cluster://a/name", "database"},
        {"redis+cluster://1,2,3,4,5,6,7,8,9,10", "9 servers"},
        {"redis://", "host"},
        {"redis://:6379", "host"},
        {"redis://h:", "port"},
        {"redis://h:0", "port"},
        {"redis://h:70000", "port"},
        {"redis://h:6379x", "port"},
        {"redis://h/x", "database"},
        {"redis://h/1/2", "database"},
        {"redis://@h", "user"},
        {"redis://[::1", "bracket"},
        {"redis://[::1]x", "neither"},
        {"redis://u:hunter2@h", "password"},
        {"unix://run/redis.sock", "absolute"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct redis_address address;
        char why[512] = "";
        if (redis_address_parse(wrong[i][0], &address, why, sizeof why))
            fail_msg("\"%s\" was understood", wrong[i][0]);
        if (strstr(why, wrong[i][1]) == NULL)
            fail_msg("%s: %s", wrong[i][0], why);
        assert_null(strstr(why, "hunter2"));
        assert_non_null(strstr(why, "redis://127.0.0.1:6379"));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tcp_addresses_are_taken_apart_and_put_together),
        cmocka_unit_test(what_is_no_tcp_address_is_refused),
        cmocka_unit_test(loopback_is_known_in_every_form),
        cmocka_unit_test(redis_addresses_are_taken_apart),
        cmocka_unit_test(sentinels_are_taken_apart),
        cmocka_unit_test(clusters_are_taken_apart),
        cmocka_unit_test(what_is_no_redis_address_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
