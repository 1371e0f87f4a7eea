/* A Redis that stands still: apart from the other tests of the link, since it takes its time. */
#include <signal.h>
#include <string.h>

#include "tests/unit/redis_fixture.h"

static void who_stands_still_too_long_is_taken_for_dead(void **state) {
    struct redis_server server;
    struct user user;
    redis_server_open(&server, "");
    user_open(&user, server.url, NULL);
    user_wait(&user, &user.ups, 1);
    redis_server_signal(&server, SIGSTOP);
    uint64_t start_ns = uv_hrtime();
    for (uint64_t i = 0; i < 10; i++)
        assert_true(user_send_number(&user, i));
    user_wait(&user, &user.downs, 1);
    uint64_t waited_ms = (uv_hrtime() - start_ns) / 1000000;
    assert_in_range(waited_ms, REDIS_COMMAND_MS - 100, REDIS_COMMAND_MS + 3000);
    assert_int_equal(user.nulls_at_down, 10);
    assert_int_equal(user.downs_when_up, 1);
    assert_non_null(strstr(user.why, "no answer for"));

    user_wait(&user, &user.downs, 2); /* it takes connections, but does not log in */
    assert_int_equal(user.ups, 1);
    assert_non_null(strstr(user.why, "no answer in time"));
    redis_server_signal(&server, SIGCONT);
    user_wait(&user, &user.ups, 2);
    assert_true(user_send_number(&user, 0));
    user_wait(&user, &user.replies, 1);
    user_close(&user);
    redis_server_close(&server);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_stands_still_too_long_is_taken_for_dead),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
