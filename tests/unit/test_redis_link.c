/* The link to Redis, against a real one that is killed and restarted, and against pretenders. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/redis_fixture.h"

static void commands_are_answered_in_order(void **state) {
    struct redis_server server;
    struct user user;
    redis_server_open(&server, "");
    user_open(&user, server.url, NULL);
    assert_false(user_send(&user, "PING", NULL)); /* not up yet */
    user_wait(&user, &user.ups, 1);
    for (uint64_t i = 0; i < 10000; i++)
        assert_true(user_send_number(&user, i));
    assert_int_equal(redis_link_outstanding(user.link), 10000);
    user_wait(&user, &user.replies, 10000);
    assert_int_equal(redis_link_outstanding(user.link), 0);
    assert_int_equal(user.nulls, 0);
    user_close(&user);
    redis_server_close(&server);
}

static void arguments_are_binary_safe(void **state) {
    struct redis_server server;
    struct user user;
    redis_server_open(&server, "");
    user_open(&user, server.url, "");
    user_wait(&user, &user.ups, 1);
    assert_true(user_send(&user, "SET", "key with \r\n$5 in it", "v", NULL));
    assert_true(user_send(&user, "GET", "key with \r\n$5 in it", NULL));
    user_wait(&user, &user.replies, 2);
    assert_string_equal(user.text, "v");
    assert_true(user_send(&user, "NO-SUCH-COMMAND", NULL)); /* an error is a reply like another */
    user_wait(&user, &user.replies, 3);
    assert_memory_equal(user.text, "ERR", 3);
    assert_int_equal(user.downs, 0);
    user_close(&user);
    redis_server_close(&server);
}

static void the_database_is_selected(void **state) {
    struct redis_server server;
    struct user user;
    redis_server_open(&server, "");
    user_open_database(&user, server.url, 3);
    user_wait(&user, &user.ups, 1);
    assert_true(user_send(&user, "CLIENT", "INFO", NULL));
    user_wait(&user, &user.replies, 1);
    assert_non_null(strstr(user.text, " db=3 "));
    user_close(&user);

    user_open_database(&user, server.url, 1000);
    user_wait(&user, &user.downs, 1);
    assert_non_null(strstr(user.why, "database refused"));
    user_close(&user);
    redis_server_close(&server);
}

static void passwords_are_used_and_never_shown(void **state) {
    struct redis_server server;
    struct user user;
    redis_server_open(&server, "open-sesame");
    user_open(&user, server.url, "open-sesame");
    user_wait(&user, &user.ups, 1);
    user_close(&user);

    user_open(&user, server.url, "open-barley");
    user_wait(&user, &user.downs, 2);
    assert_int_equal(user.ups, 0);
    assert_non_null(strstr(user.why, "WRONGPASS"));
    assert_null(strstr(user.why, "barley"));
    user_close(&user);

    user_open(&user, server.url, NULL);
    user_wait(&user, &user.downs, 2);
    assert_int_equal(user.ups, 0);
    assert_non_null(strstr(user.why, "NOAUTH"));
    user_close(&user);
    redis_server_close(&server);
}

static void killed_it_answers_null_then_down_then_comes_back(void **state) {
    struct redis_server server;
    struct user user;
    redis_server_open(&server, "");
    user_open(&user, server.url, NULL);
    user_wait(&user, &user.ups, 1);
    assert_true(user_send(&user, "BLPOP", "nothing", "0", NULL)); /* waits, and all behind it */
    for (uint64_t i = 0; i < 50; i++)
        assert_true(user_send_number(&user, i));
    loop_run_ms(&user.loop, 20);
    assert_int_equal(user.replies + user.nulls, 0);
    redis_server_kill(&server);
    user_wait(&user, &user.downs, 1);
    assert_int_equal(user.nulls, 51);
    assert_int_equal(user.nulls_at_down, 51); /* all before on_down */
    assert_int_equal(user.downs_when_up, 1);
    assert_true(strlen(user.why) > 0);
    assert_false(user_send(&user, "PING", NULL));
    user_wait(&user, &user.downs, 3);
    assert_int_equal(user.downs_when_up, 1);

    redis_server_start(&server);
    user_wait(&user, &user.ups, 2);
    assert_true(user_send_number(&user, 0));
    user_wait(&user, &user.replies, 1);
    user_close(&user);
    redis_server_close(&server);
}

static void restarts_in_a_row_are_survived(void **state) {
    struct redis_server server;
    struct user user;
    redis_server_open(&server, "");
    user_open(&user, server.url, NULL);
    for (uint64_t i = 1; i <= 4; i++) {
        user_wait(&user, &user.ups, i);
        uint64_t replies = user.replies;
        assert_true(user_send(&user, "PING", NULL));
        user_wait(&user, &user.replies, replies + 1);
        assert_true(user_send(&user, "PING", NULL));
        redis_server_kill(&server);
        redis_server_start(&server);
    }
    user_wait(&user, &user.ups, 5);
    assert_int_equal(user.downs_when_up, 4);
    user_close(&user);
    redis_server_close(&server);
}

static void a_short_pause_is_no_loss(void **state) {
    struct redis_server server;
    struct user user;
    redis_server_open(&server, "");
    user_open(&user, server.url, NULL);
    user_wait(&user, &user.ups, 1);
    redis_server_signal(&server, SIGSTOP);
    for (uint64_t i = 0; i < 100; i++)
        assert_true(user_send_number(&user, i));
    loop_run_ms(&user.loop, 300);
    assert_int_equal(user.replies, 0);
    redis_server_signal(&server, SIGCONT);
    user_wait(&user, &user.replies, 100);
    assert_int_equal(user.downs, 0);
    user_close(&user);
    redis_server_close(&server);
}

static void a_master_that_becomes_a_replica_is_down(void **state) {
    struct redis_server server;
    struct user user;
    char command[320];
    redis_server_open(&server, "");
    user_open(&user, server.url, NULL);
    user_wait(&user, &user.ups, 1);
    assert_true(user_send(&user, "REPLICAOF", "127.0.0.1", "1", NULL)); /* of nobody */
    assert_true(user_send(&user, "SET", "a", "b", NULL));
    user_wait(&user, &user.downs, 1);
    assert_int_equal(user.replies, 2); /* the refusal is an answer, and comes first */
    assert_memory_equal(user.text, "READONLY", 8);
    assert_non_null(strstr(user.why, "replica"));
    user_wait(&user, &user.downs, 3);
    assert_int_equal(user.ups, 1);
    assert_non_null(strstr(user.why, "takes no writes"));

    snprintf(command, sizeof command, "redis-cli -s %s replicaof no one >%s/log",
             server.url + strlen("unix://"), server.dir);
    assert_int_equal(system(command), 0);
    user_wait(&user, &user.ups, 2);
    assert_true(user_send(&user, "SET", "a", "b", NULL));
    user_wait(&user, &user.replies, 3);
    assert_string_equal(user.text, "OK");
    user_close(&user);
    redis_server_close(&server);
}

static void closing_answers_what_is_outstanding_at_once(void **state) {
    struct redis_server server;
    struct user user;
    redis_server_open(&server, "");
    user_open(&user, server.url, NULL);
    user_wait(&user, &user.ups, 1);
    for (uint64_t i = 0; i < 10; i++)
        user_send_number(&user, i);
    user_link_close(&user);
    assert_int_equal(user.nulls, 10);
    assert_false(user.closed);
    user_close(&user);
    assert_int_equal(user.downs, 0);
    assert_int_equal(user.replies, 0);
    redis_server_close(&server);
}

static void handlers_may_close_the_link(void **state) {
    struct redis_server server;
    struct user user;
    redis_server_open(&server, "");
    user_open(&user, server.url, NULL);
    user.close_on_up = true;
    assert_true(loop_wait(&user.loop, loop_wait_flag, &user.closed));
    user_close(&user);

    user_open(&user, server.url, NULL);
    user_wait(&user, &user.ups, 1);
    user.close_on_reply = true;
    for (uint64_t i = 0; i < 10; i++)
        user_send_number(&user, i);
    assert_true(loop_wait(&user.loop, loop_wait_flag, &user.closed));
    assert_int_equal(user.replies, 1);
    assert_int_equal(user.nulls, 9);
    assert_int_equal(user.nulls_at_close, 9);
    user_close(&user);

    user_open(&user, server.url, NULL);
    user_wait(&user, &user.ups, 1);
    user.close_on_down = true;
    user_send_number(&user, 0);
    redis_server_kill(&server);
    assert_true(loop_wait(&user.loop, loop_wait_flag, &user.closed));
    assert_int_equal(user.downs, 1);
    user_close(&user);

    user_open(&user, server.url, NULL); /* nobody there: closed between attempts and within one */
    user_wait(&user, &user.downs, 1);
    user_close(&user);
    user_open(&user, server.url, NULL);
    user_close(&user);
    redis_server_close(&server);
}

/* --- over TCP, and pretenders ------------------------------------------------------------------
 */

static int listen_somewhere(char url[64], const char *host) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(listener, 10), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &size), 0);
    snprintf(url, 64, "redis://%s:%d", host, ntohs(at.sin_port));
    return listener;
}

static void a_refused_connection_is_noticed(void **state) {
    struct user user;
    char url[64];
    close(listen_somewhere(url, "127.0.0.1"));
    uint64_t start_ns = uv_hrtime();
    user_open(&user, url, NULL);
    user_wait(&user, &user.downs, 3);
    assert_in_range(uv_hrtime() - start_ns, 0, UINT64_C(1500000000)); /* not by a timeout */
    assert_non_null(strstr(user.why, "refused"));
    user_close(&user);
}

static void a_name_is_looked_up(void **state) {
    struct user user;
    user_open(&user, "redis://no-such-host.invalid:6379", NULL);
    user_wait(&user, &user.downs, 1);
    assert_non_null(strstr(user.why, "look up"));
    user_close(&user);
    user_open(&user, "redis://no-such-host.invalid:6379", NULL);
    uv_run(&user.loop, UV_RUN_NOWAIT); /* closed while it looks up */
    user_close(&user);
}

struct pretender {
    int listener, fd;
};

static bool pretender_has_accepted(void *ctx) {
    struct pretender *pretender = ctx;
    pretender->fd = accept(pretender->listener, NULL, NULL);
    return pretender->fd >= 0;
}

/* Answers the login with `line`; what the link says of it. */
static void pretend(const char *line, const char *expected) {
    struct pretender pretender;
    struct user user;
    char url[64];
    pretender.listener = listen_somewhere(url, "localhost");
    user_open(&user, url, NULL);
    assert_true(loop_wait(&user.loop, pretender_has_accepted, &pretender));
    for (int i = 0; i < 2; i++) /* to PING and to ROLE */
        assert_int_equal(send(pretender.fd, line, strlen(line), MSG_NOSIGNAL), strlen(line));
    user_wait(&user, expected != NULL ? &user.downs : &user.ups, 1);
    if (expected != NULL && strstr(user.why, expected) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", user.why, expected);
    user_close(&user);
    close(pretender.fd);
    close(pretender.listener);
}

static void a_server_that_is_not_ready_is_down(void **state) {
    pretend("-LOADING Redis is loading the dataset in memory\r\n", "LOADING");
    pretend("-ERR max number of clients reached\r\n", "max number of clients");
    pretend("-NOAUTH Authentication required.\r\n", "NOAUTH");
    pretend("HTTP/1.1 400 Bad Request\r\n", "rotocol error");
}

static void errors_that_do_not_concern_the_connection_are_none(void **state) {
    pretend("-MISCONF Redis is configured to save RDB snapshots\r\n", NULL);
    pretend("-NOPERM this user has no permissions to run the 'ping' command\r\n", NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commands_are_answered_in_order),
        cmocka_unit_test(arguments_are_binary_safe),
        cmocka_unit_test(the_database_is_selected),
        cmocka_unit_test(passwords_are_used_and_never_shown),
        cmocka_unit_test(killed_it_answers_null_then_down_then_comes_back),
        cmocka_unit_test(restarts_in_a_row_are_survived),
        cmocka_unit_test(a_short_pause_is_no_loss),
        cmocka_unit_test(a_master_that_becomes_a_replica_is_down),
        cmocka_unit_test(closing_answers_what_is_outstanding_at_once),
        cmocka_unit_test(handlers_may_close_the_link),
        cmocka_unit_test(a_refused_connection_is_noticed),
        cmocka_unit_test(a_name_is_looked_up),
        cmocka_unit_test(a_server_that_is_not_ready_is_down),
        cmocka_unit_test(errors_that_do_not_concern_the_connection_are_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
