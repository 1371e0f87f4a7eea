#include "server/io/redis_sync.h"

#include <stdio.h>
#include <string.h>

static bool is_error(const redisReply *reply, const char *prefix) {
    return reply->type == REDIS_REPLY_ERROR && strncmp(reply->str, prefix, strlen(prefix)) == 0;
}

redisReply *redis_sync_call_sized(redisContext *redis, int argc, const char **argv,
                                  const size_t *sizes, char *why, size_t why_size) {
    redisReply *reply = redisCommandArgv(redis, argc, argv, sizes);
    if (reply == NULL) {
        bool is_tcp = redis->connection_type == REDIS_CONN_TCP;
        snprintf(why, why_size, "no answer to %s of a Redis at %s:%d: %s (--redis URL)", argv[0],
                 is_tcp ? redis->tcp.host : redis->unix_sock.path, is_tcp ? redis->tcp.port : 0,
                 redis->errstr);
        return NULL;
    }
    if (is_error(reply, "NOAUTH")) {
        snprintf(why, why_size,
                 "Redis wants a password and got none: give it in SLUICE_REDIS_PASSWORD or with "
                 "--redis-password-file FILE (and the user in the URL, redis://user@host)");
    } else if (is_error(reply, "WRONGPASS") || is_error(reply, "ERR invalid password")) {
        snprintf(why, why_size, "Redis refused the user or password: %s", reply->str);
    } else if (is_error(reply, "NOPERM")) {
        snprintf(why, why_size, "the Redis user may not run %s: %s", argv[0], reply->str);
    } else if (reply->type == REDIS_REPLY_ERROR) {
        snprintf(why, why_size, "Redis answered %s with: %s", argv[0], reply->str);
    } else {
        return reply;
    }
    freeReplyObject(reply);
    return NULL;
}

redisReply *redis_sync_call(redisContext *redis, int argc, const char **argv, char *why,
                            size_t why_size) {
    return redis_sync_call_sized(redis, argc, argv, NULL, why, why_size);
}

static bool log_in(redisContext *redis, const struct redis_address *address, const char *password,
                   char *why, size_t why_size) {
    if (password != NULL && password[0] != '\0') {
        const char *with_user[] = {"AUTH", address->user, password};
        const char *alone[] = {"AUTH", password};
        bool has_user = address->user[0] != '\0';
        redisReply *reply =
            redis_sync_call(redis, has_user ? 3 : 2, has_user ? with_user : alone, why, why_size);
        if (reply == NULL) {
            return false;
        }
        freeReplyObject(reply);
    }
    if (address->database != 0) {
        char database[16];
        snprintf(database, sizeof database, "%d", address->database);
        const char *select[] = {"SELECT", database};
        redisReply *reply = redis_sync_call(redis, 2, select, why, why_size);
        if (reply == NULL) {
            return false;
        }
        freeReplyObject(reply);
    }
    return true;
}

redisContext *redis_sync_open(const struct redis_address *address, const char *password, char *why,
                              size_t why_size) {
    struct timeval limit = {.tv_sec = REDIS_SYNC_MS / 1000,
                            .tv_usec = (REDIS_SYNC_MS % 1000) * 1000};
    redisContext *redis = address->port == 0
                              ? redisConnectUnixWithTimeout(address->host, limit)
                              : redisConnectWithTimeout(address->host, address->port, limit);
    if (redis == NULL || redis->err != 0) {
        char where[300];
        if (address->port == 0) {
            snprintf(where, sizeof where, "%s", address->host);
        } else {
            snprintf(where, sizeof where, "%s:%d", address->host, address->port);
        }
        snprintf(why, why_size,
                 "cannot reach Redis at %s: %s; is it running there? (--redis URL, SLUICE_REDIS)",
                 where, redis == NULL ? "no memory" : redis->errstr);
        if (redis != NULL) {
            redisFree(redis);
        }
        return NULL;
    }
    redisSetTimeout(redis, limit);
    if (!log_in(redis, address, password, why, why_size)) {
        redisFree(redis);
        return NULL;
    }
    return redis;
}
