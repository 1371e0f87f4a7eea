/* The link to Redis when hiredis has no memory: what it says, and what it keeps to itself. */
#include <hiredis/async.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/redis_fixture.h"

/* What befalls the command that is given next. */
static enum {
    NOTHING,
    NO_COMMAND, /* it cannot be written down: hiredis says no, and has no error */
    /* Its callback cannot be noted, of which hiredis 0.14 says nothing: the command leaves, and
     * each answer goes to the question after its own. */
    NO_CALLBACK,
} missing;

/* Commands to be let through before that. */
static int passing;

static bool is_missing(int what) {
    if ((int)missing != what || passing-- > 0) {
        return false;
    }
    missing = NOTHING;
    return true;
}

/* Takes the newest callback away, as if it had never been there. */
static void callback_lose(redisAsyncContext *context) {
    redisCallback *lost = context->replies.tail, *before = NULL;
    assert_non_null(lost);
    for (redisCallback *at = context->replies.head; at != lost; at = at->next) {
        before = at;
    }
    *(before == NULL ? &context->replies.head : &before->next) = NULL;
    context->replies.tail = before;
    free(lost);
}

int __real_redisAsyncCommandArgv(redisAsyncContext *context, redisCallbackFn *fn, void *data,
                                 int argc, const char **argv, const size_t *sizes);
int __wrap_redisAsyncCommandArgv(redisAsyncContext *context, redisCallbackFn *fn, void *data,
                                 int argc, const char **argv, const size_t *sizes);
int __real_redisAsyncFormattedCommand(redisAsyncContext *context, redisCallbackFn *fn, void *data,
                                      const char *text, size_t size);
int __wrap_redisAsyncFormattedCommand(redisAsyncContext *context, redisCallbackFn *fn, void *data,
                                      const char *text, size_t size);
int __wrap_redisAsyncCommand(redisAsyncContext *context, redisCallbackFn *fn, void *data,
                             const char *format, ...);

static int loses(redisAsyncContext *context, int status) {
    if (is_missing(NO_CALLBACK)) {
        callback_lose(context);
    }
    return status;
}

int __wrap_redisAsyncCommandArgv(redisAsyncContext *context, redisCallbackFn *fn, void *data,
                                 int argc, const char **argv, const size_t *sizes) {
    return is_missing(NO_COMMAND)
               ? REDIS_ERR
               : loses(context, __real_redisAsyncCommandArgv(context, fn, data, argc, argv, sizes));
}

int __wrap_redisAsyncFormattedCommand(redisAsyncContext *context, redisCallbackFn *fn, void *data,
                                      const char *text, size_t size) {
    return is_missing(NO_COMMAND)
               ? REDIS_ERR
               : loses(context, __real_redisAsyncFormattedCommand(context, fn, data, text, size));
}

int __wrap_redisAsyncCommand(redisAsyncContext *context, redisCallbackFn *fn, void *data,
                             const char *format, ...) {
    if (is_missing(NO_COMMAND)) {
        return REDIS_ERR;
    }
    va_list values;
    va_start(values, format);
    int status = redisvAsyncCommand(context, fn, data, format, values);
    va_end(values);
    return loses(context, status);
}

static struct redis_server server;

static int open_server(void **state) {
    redis_server_open(&server, "");
    return 0;
}

static int close_server(void **state) {
    redis_server_close(&server);
    return 0;
}

static void on_text_reply(void *ctx, redisReply *reply) {
    struct user *user = ctx;
    *(reply == NULL ? &user->nulls : &user->replies) += 1;
}

static void a_command_that_cannot_be_written_down(void **state) {
    static const char text[] = "*1\r\n$4\r\nPING\r\n";
    struct user user;
    user_open(&user, server.url, NULL);
    user_wait(&user, &user.ups, 1);
    assert_false(redis_link_lacked_memory(user.link));
    assert_true(user_send_number(&user, 0));
    missing = NO_COMMAND;
    assert_false(user_send_number(&user, 1));
    assert_true(redis_link_lacked_memory(user.link));
    assert_true(redis_link_is_up(user.link));
    assert_true(user_send_number(&user, 1)); /* there is memory again */
    missing = NO_COMMAND;
    assert_false(redis_link_send_text(user.link, text, sizeof text - 1, on_text_reply, &user));
    assert_true(redis_link_send_text(user.link, text, sizeof text - 1, on_text_reply, &user));
    user_wait(&user, &user.replies, 3);
    assert_int_equal(user.nulls + user.downs, 0);
    user_close(&user);
}

/* Whatever was before the one that was lost, or comes after it: its own answer or none. */
static void no_answer_goes_to_another_question(void **state) {
    for (int before = 0; before < 5; before++) {
        struct user user;
        user_open(&user, server.url, NULL);
        user_wait(&user, &user.ups, 1);
        missing = NO_CALLBACK;
        passing = before;
        for (int i = 0; i < before; i++) {
            assert_true(user_send_number(&user, (uint64_t)i));
        }
        assert_false(user_send_number(&user, (uint64_t)before));
        assert_int_equal(missing, NOTHING);
        assert_true(redis_link_lacked_memory(user.link));
        for (int i = before; i < 5; i++) {
            assert_true(user_send_number(&user, (uint64_t)i)); /* it is not down yet */
        }
        user_wait(&user, &user.downs, 1);
        assert_int_equal(user.replies, 0); /* nothing had left yet */
        assert_int_equal(user.nulls_at_down, 5);
        assert_non_null(strstr(user.why, "Out of memory"));
        user_wait(&user, &user.ups, 2);
        assert_false(redis_link_lacked_memory(user.link));
        assert_true(user_send_number(&user, 0));
        user_wait(&user, &user.replies, 1);
        user_close(&user);
    }
}

/* Each command of the login, too: the answer to another one must not count as its own. */
static void a_login_without_memory(void **state) {
    for (int command = 0; command < 3; command++) {
        struct user user;
        missing = command % 2 == 0 ? NO_CALLBACK : NO_COMMAND;
        passing = command;
        user_open_database(&user, server.url, 3);
        user_wait(&user, &user.downs, 1);
        assert_int_equal(missing, NOTHING);
        assert_int_equal(user.ups, 0);
        assert_non_null(strstr(user.why, "login failed: "));
        assert_non_null(strstr(user.why, " memory")); /* there is none, or it is out */
        user_wait(&user, &user.ups, 1);
        assert_int_equal(user.downs, 1);
        assert_false(redis_link_lacked_memory(user.link));
        user_close(&user);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_command_that_cannot_be_written_down),
        cmocka_unit_test(no_answer_goes_to_another_question),
        cmocka_unit_test(a_login_without_memory),
    };
    return cmocka_run_group_tests(tests, open_server, close_server);
}
