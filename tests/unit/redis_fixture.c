#include "tests/unit/redis_fixture.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void on_closed(void *ctx) {
    ((struct user *)ctx)->closed = true;
}

void user_link_close(struct user *user) {
    struct redis_link *link = user->link;
    user->link = NULL;
    redis_link_close(link, on_closed, user);
}

static void on_up(void *ctx, struct redis_link *link) {
    struct user *user = ctx;
    user->ups++;
    assert_true(redis_link_is_up(link));
    if (user->close_on_up)
        user_link_close(user);
}

static void on_down(void *ctx, struct redis_link *link, bool was_up, const char *why) {
    struct user *user = ctx;
    user->downs++;
    user->downs_when_up += was_up;
    user->nulls_at_down = user->nulls;
    snprintf(user->why, sizeof user->why, "%s", why);
    assert_false(redis_link_is_up(link));
    assert_int_equal(redis_link_outstanding(link), 0);
    if (user->close_on_down)
        user_link_close(user);
}

static void on_reply(void *ctx, redisReply *reply) {
    struct user *user = ctx;
    if (reply == NULL) {
        user->nulls++;
        assert_true(user->link == NULL || !redis_link_is_up(user->link));
        if (user->link != NULL)
            user->sent_in_null += user_send(user, "PING", NULL);
        return;
    }
    user->replies++;
    if (reply->str != NULL)
        snprintf(user->text, sizeof user->text, "%s", reply->str);
    if (user->close_on_reply && user->link != NULL) {
        user_link_close(user);
        user->nulls_at_close = user->nulls;
    }
}

static void on_number(void *ctx, redisReply *reply) {
    struct user *user = ctx;
    on_reply(ctx, reply);
    if (reply != NULL)
        user->out_of_order |= strtoull(reply->str, NULL, 10) != user->next++;
}

static void open_at(struct user *user, const char *url, int database, const char *password) {
    const struct redis_link_handler handler = {.ctx = user, .on_up = on_up, .on_down = on_down};
    char why[512];
    *user = (struct user){0};
    signal(SIGPIPE, SIG_IGN);
    if (!redis_address_parse(url, &user->access.address, why, sizeof why))
        fail_msg("%s", why);
    if (database != 0)
        user->access.address.database = database;
    user->access.password = password;
    uv_loop_init(&user->loop);
    user->link = redis_link_open(&user->loop, &user->access, &handler);
    assert_non_null(user->link);
}

void user_open(struct user *user, const char *url, const char *password) {
    open_at(user, url, 0, password);
}

void user_open_database(struct user *user, const char *url, int database) {
    open_at(user, url, database, NULL);
}

void user_close(struct user *user) {
    if (user->link != NULL)
        user_link_close(user);
    assert_true(loop_wait(&user->loop, loop_wait_flag, &user->closed));
    uv_run(&user->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&user->loop), 0);
    assert_int_equal(user->sent_in_null, 0);
    assert_false(user->out_of_order);
}

bool user_send(struct user *user, ...) {
    const char *words[8];
    size_t sizes[8];
    int count = 0;
    va_list arguments;
    va_start(arguments, user);
    for (const char *word; count < 8 && (word = va_arg(arguments, const char *)) != NULL; count++) {
        words[count] = word;
        sizes[count] = strlen(word);
    }
    va_end(arguments);
    return redis_link_send(user->link, count, words, sizes, on_reply, user);
}

bool user_send_number(struct user *user, uint64_t number) {
    char text[24];
    const char *words[] = {"ECHO", text};
    size_t sizes[] = {4, (size_t)snprintf(text, sizeof text, "%llu", (unsigned long long)number)};
    return redis_link_send(user->link, 2, words, sizes, on_number, user);
}

struct awaited {
    const uint64_t *counter;
    uint64_t least;
};

static bool awaited_reached(void *ctx) {
    const struct awaited *awaited = ctx;
    return *awaited->counter >= awaited->least;
}

void user_wait(struct user *user, const uint64_t *counter, uint64_t least) {
    struct awaited awaited = {counter, least};
    if (!loop_wait(&user->loop, awaited_reached, &awaited))
        fail_msg("waited in vain; the last reason for being down: \"%s\"", user->why);
}
