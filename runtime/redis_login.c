/* From a connection to a link that is up: who we are, which database, and whether it can write. */
#include <stdio.h>
#include <string.h>

#include "runtime/redis_link_impl.h"

/* A step of the login was answered: true if it was not refused. */
static bool login_step_ok(struct redis_link *link, const redisReply *reply, const char *what) {
    if (link->state != REDIS_STATE_LOGIN || reply == NULL)
        return false;
    link->answered = true;
    if (reply->type != REDIS_REPLY_ERROR)
        return true;
    link_drop(link, what, reply->str);
    return false;
}

static void on_auth(redisAsyncContext *context, void *reply, void *data) {
    (void)login_step_ok(data, reply, "login refused");
}

static void on_select(redisAsyncContext *context, void *reply, void *data) {
    (void)login_step_ok(data, reply, "database refused");
}

static bool begins(const redisReply *reply, const char *prefix) {
    return strncmp(reply->str, prefix, strlen(prefix)) == 0;
}

/* Errors that say nothing against the connection: a user who may not ask this, and a server that
 * refuses writes, which is for the writers to find out. */
static bool is_harmless(const redisReply *reply) {
    return reply != NULL && reply->type == REDIS_REPLY_ERROR &&
           (begins(reply, "NOPERM") || begins(reply, "MISCONF"));
}

/* It finds out that a password is needed, or that Redis is still loading. */
static void on_ping(redisAsyncContext *context, void *reply, void *data) {
    if (!is_harmless(reply))
        (void)login_step_ok(data, reply, "not ready");
}

/* The last step: a replica would refuse every write. */
static void on_role(redisAsyncContext *context, void *data_reply, void *data) {
    struct redis_link *link = data;
    const redisReply *reply = data_reply;
    if (link->state != REDIS_STATE_LOGIN || reply == NULL)
        return;
    if (!is_harmless(reply) && !login_step_ok(link, reply, "not ready"))
        return;
    bool is_replica = reply->type == REDIS_REPLY_ARRAY && reply->elements > 0 &&
                      reply->element[0]->type == REDIS_REPLY_STRING &&
                      strcmp(reply->element[0]->str, "slave") == 0;
    if (is_replica && !link->access->any_role) {
        char place[REDIS_PLACE_TEXT_BYTES];
        redis_place_format(&link->place, place);
        /* A sentinel that still names it is behind: another may know better. */
        link->sentinel = (link->sentinel + 1) % link->access->address.place_count;
        link_drop(link, "a replica, which takes no writes", place);
        return;
    }
    link_rise(link);
}

static int sent(struct redis_link *link, const redisCallback *before, int status) {
    bool took = link_took(link, before, status);
    link->replies_wanted += took;
    return took ? REDIS_OK : REDIS_ERR;
}

static int auth_send(struct redis_link *link, const char *password) {
    const char *user = link->access->address.user;
    redisAsyncContext *context = link->context;
    const redisCallback *before = context->replies.tail;
    if (user[0] != '\0')
        return sent(link, before,
                    redisAsyncCommand(context, on_auth, link, "AUTH %s %s", user, password));
    if (password[0] != '\0')
        return sent(link, before, redisAsyncCommand(context, on_auth, link, "AUTH %s", password));
    return REDIS_OK;
}

static int words_send(struct redis_link *link, redisCallbackFn *on_reply, const char *words) {
    const redisCallback *before = link->context->replies.tail;
    return sent(link, before, redisAsyncCommand(link->context, on_reply, link, words));
}

bool login_send(struct redis_link *link, char why[REDIS_WHY_BYTES_MAX]) {
    const redisAsyncContext *context = link->context;
    char select[32];
    int database = link->access->address.database;
    char password[REDIS_PASSWORD_BYTES_MAX + 1];
    snprintf(select, sizeof select, "SELECT %d", database);
    bool known = redis_access_password(link->access, password, why, REDIS_WHY_BYTES_MAX);
    int status = known ? auth_send(link, password) : REDIS_ERR;
    explicit_bzero(password, sizeof password);
    if (!known)
        return false;
    if (status == REDIS_OK && database != 0)
        status = words_send(link, on_select, select);
    if (status == REDIS_OK)
        status = words_send(link, on_ping, "PING");
    if (status == REDIS_OK)
        status = words_send(link, on_role, "ROLE");
    if (status != REDIS_OK)
        snprintf(why, REDIS_WHY_BYTES_MAX, "%s",
                 context->errstr != NULL && context->errstr[0] != '\0' ? context->errstr
                                                                       : "no memory");
    return status == REDIS_OK;
}
