#include "server/io/redis_sync.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/io/redis_hint.h"

/* Words of a command: the start of a node needs fewer. */
#define SYNC_WORDS_MAX 16

/* Bytes of a reason, cut beyond. */
#define SYNC_WHY_BYTES 256

struct redis_sync {
    uv_loop_t loop;
    struct redis_link *link;
    uv_timer_t timer;
    bool failed, waiting;
    char why[SYNC_WHY_BYTES];
    redisReply *reply; /* a copy, owned */
};

/* --- replies outlive their callback ---------------------------------------------------------- */

static redisReply *reply_copy(const redisReply *reply) {
    redisReply *copy = malloc(sizeof *copy);
    if (copy == NULL)
        return NULL;
    *copy = *reply;
    copy->elements = 0;
    copy->element = NULL;
    if (reply->str != NULL) {
        copy->str = malloc(reply->len + 1);
        if (copy->str == NULL)
            goto failed;
        memcpy(copy->str, reply->str, reply->len + 1);
    }
    if (reply->elements > 0) {
        copy->element = calloc(reply->elements, sizeof(redisReply *));
        if (copy->element == NULL)
            goto failed;
        for (size_t i = 0; i < reply->elements; i++) {
            copy->element[i] = reply_copy(reply->element[i]);
            copy->elements = i + 1;
            if (copy->element[i] == NULL)
                goto failed;
        }
    }
    return copy;
failed:
    freeReplyObject(copy);
    return NULL;
}

static void on_reply(void *ctx, redisReply *reply) {
    struct redis_sync *redis = ctx;
    redis->waiting = false;
    redis->reply = reply != NULL ? reply_copy(reply) : NULL;
    if (reply != NULL && redis->reply == NULL) {
        snprintf(redis->why, sizeof redis->why, "no memory for its answer");
    }
    uv_stop(&redis->loop);
}

/* --- the link -------------------------------------------------------------------------------- */

static void on_up(void *ctx, struct redis_link *link) {
    uv_stop(&((struct redis_sync *)ctx)->loop);
}

static void on_down(void *ctx, struct redis_link *link, bool was_up, const char *why) {
    struct redis_sync *redis = ctx;
    redis->failed = true;
    snprintf(redis->why, sizeof redis->why, "%s", why);
    uv_stop(&redis->loop);
}

static void on_timer(uv_timer_t *timer) {
    struct redis_sync *redis = timer->data;
    redis->failed = true;
    snprintf(redis->why, sizeof redis->why, "no answer for %d ms", REDIS_SYNC_MS);
    uv_stop(&redis->loop);
}

void redis_sync_close(struct redis_sync *redis) {
    if (redis->link != NULL)
        redis_link_close(redis->link, NULL, NULL);
    uv_close((uv_handle_t *)&redis->timer, NULL);
    while (uv_loop_close(&redis->loop) != 0) { /* until every handle is closed */
        uv_run(&redis->loop, UV_RUN_DEFAULT);
    }
    if (redis->reply != NULL)
        freeReplyObject(redis->reply);
    free(redis);
}

const struct redis_place *redis_sync_place(const struct redis_sync *redis) {
    return redis_link_place(redis->link);
}

struct redis_sync *redis_sync_open(const struct redis_access *access, char *why, size_t why_size) {
    struct redis_sync *redis = calloc(1, sizeof *redis);
    struct redis_link_handler handler = {redis, on_up, on_down};
    if (redis == NULL || uv_loop_init(&redis->loop) != 0) {
        snprintf(why, why_size, "no memory for a connection to Redis");
        free(redis);
        return NULL;
    }
    uv_timer_init(&redis->loop, &redis->timer);
    redis->timer.data = redis;
    redis->link = redis_link_open(&redis->loop, access, &handler);
    if (redis->link == NULL) {
        snprintf(why, why_size, "no memory for a connection to Redis");
        redis_sync_close(redis);
        return NULL;
    }
    uv_run(&redis->loop, UV_RUN_DEFAULT); /* the link has bounds of its own for each step */
    if (!redis_link_is_up(redis->link)) {
        char place[REDIS_PLACE_TEXT_BYTES];
        redis_place_format(redis_sync_place(redis), place);
        const char *hint = redis_hint(redis->why);
        bool nobody_there = strstr(redis->why, "cannot") == redis->why;
        snprintf(why, why_size, "cannot use Redis at %s: %s%s", place, redis->why,
                 nobody_there ? "; is it running there? (--redis URL, SLUICE_REDIS)" : hint);
        redis_sync_close(redis);
        return NULL;
    }
    return redis;
}

redisReply *redis_sync_call_sized(struct redis_sync *redis, int argc, const char **argv,
                                  const size_t *sizes, char *why, size_t why_size) {
    redis->waiting = redis_link_send(redis->link, argc, argv, sizes, on_reply, redis);
    if (!redis->waiting) {
        snprintf(redis->why, sizeof redis->why, "it was lost, or there is no memory to ask it");
    }
    uv_timer_start(&redis->timer, on_timer, REDIS_SYNC_MS, 0);
    while (redis->waiting && !redis->failed)
        uv_run(&redis->loop, UV_RUN_DEFAULT);
    uv_timer_stop(&redis->timer);
    redisReply *reply = redis->reply;
    redis->reply = NULL;
    if (reply == NULL) {
        char place[REDIS_PLACE_TEXT_BYTES];
        redis_place_format(redis_sync_place(redis), place);
        snprintf(why, why_size, "no answer to %s of the Redis at %s: %s (--redis URL)", argv[0],
                 place, redis->why);
        return NULL;
    }
    if (reply->type != REDIS_REPLY_ERROR)
        return reply;
    snprintf(why, why_size, "Redis answered %s with: %s%s", argv[0], reply->str,
             redis_hint(reply->str));
    freeReplyObject(reply);
    return NULL;
}

redisReply *redis_sync_call(struct redis_sync *redis, int argc, const char **argv, char *why,
                            size_t why_size) {
    size_t sizes[SYNC_WORDS_MAX];
    for (int i = 0; i < argc; i++)
        sizes[i] = strlen(argv[i]);
    return redis_sync_call_sized(redis, argc, argv, sizes, why, why_size);
}
