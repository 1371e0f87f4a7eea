#include "ctl/store.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/memory.h"

/* Bytes of a command's name with its key, zero included. */
#define CALL_NAME_BYTES (STORE_KEY_BYTES_MAX + 16)

/* A command under way. */
struct call {
    struct store *store;
    store_answer_fn answer;
    void *ctx;
    char name[CALL_NAME_BYTES]; /* of the command, and the key that it is about */
};

bool store_fail(struct store *store, const char *format, ...) {
    if (!store->failed) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(store->why, sizeof store->why, format, arguments);
        va_end(arguments);
    }
    store->failed = true;
    return false;
}

enum exit_code store_exit(const struct store *store) {
    return store->misused ? EXIT_USAGE : store->lacked_memory ? EXIT_MEMORY : EXIT_UNREACHABLE;
}

/* --- the link --------------------------------------------------------------------------------- */

static void on_up(void *ctx, struct redis_link *link) {
    uv_stop(&((struct store *)ctx)->loop);
}

static void on_down(void *ctx, struct redis_link *link, bool was_up, const char *why) {
    struct store *store = ctx;
    redis_place_format(redis_link_place(link), store->place);
    if (!store->failed) {
        store->lacked_memory = redis_link_lacked_memory(link);
    }
    store_fail(store,
               was_up ? "the connection to Redis at %s was lost: %s"
                      : "cannot use Redis at %s: %s (--redis URL, SLUICE_REDIS)",
               store->place, why);
    uv_stop(&store->loop);
}

bool store_options_check(const struct store_options *options, struct redis_access *access,
                         char why[STORE_WHY_BYTES]) {
    char reason[STORE_WHY_BYTES / 2];
    *access = (struct redis_access){.password = options->password,
                                    .password_file = options->password_file,
                                    .sentinel_password = options->sentinel_password,
                                    .tls = {.ca = options->ca,
                                            .cert = options->cert,
                                            .key = options->key,
                                            .server_name = options->server_name}};
    if (options->prefix != NULL && !key_prefix_check(options->prefix, reason, sizeof reason)) {
        snprintf(why, STORE_WHY_BYTES, "--key-prefix, SLUICE_KEY_PREFIX: %s", reason);
        return false;
    }
    if (strstr(options->url, "+cluster://") != NULL) {
        snprintf(why, STORE_WHY_BYTES,
                 "--redis: backups of a Redis Cluster are not made yet: copy its masters' "
                 "append-only files");
        return false;
    }
    return redis_access_check(access, options->url, why, STORE_WHY_BYTES);
}

bool store_open(struct store *store, const struct store_options *options) {
    memset(store, 0, sizeof *store);
    store->prefix = options->prefix != NULL ? options->prefix : STORE_PREFIX_DEFAULT;
    char why[STORE_WHY_BYTES];
    if (!store_options_check(options, &store->access, why)) {
        store->misused = true;
        return store_fail(store, "%s", why);
    }
    if (uv_loop_init(&store->loop) != 0) {
        memory_end(sizeof store->loop);
    }
    store->has_loop = true;
    struct redis_link_handler handler = {store, on_up, on_down};
    store->link = redis_link_open(&store->loop, &store->access, &handler);
    if (store->link == NULL) {
        memory_end(sizeof handler);
    }
    while (!store->failed && !redis_link_is_up(store->link)) {
        uv_run(&store->loop, UV_RUN_DEFAULT); /* the link has bounds of its own for each step */
    }
    redis_place_format(redis_link_place(store->link), store->place);
    return !store->failed;
}

void store_close(struct store *store) {
    store->failed = true; /* what is under way is answered to nobody */
    if (store->link != NULL) {
        redis_link_close(store->link, NULL, NULL);
    }
    while (store->has_loop && uv_loop_close(&store->loop) != 0) { /* until every handle is closed */
        uv_run(&store->loop, UV_RUN_DEFAULT);
    }
}

/* --- commands --------------------------------------------------------------------------------- */

static const char *hint(const char *error) {
    if (strncmp(error, "OOM", 3) == 0) {
        return "; Redis is full: raise maxmemory";
    }
    if (strncmp(error, "NOPERM", 6) == 0) {
        return "; this user may not do that (deploy/redis/sluice.acl is enough)";
    }
    if (strncmp(error, "MOVED", 5) == 0) {
        return "; this is a node of a Redis Cluster";
    }
    return "";
}

static void on_reply(void *ctx, redisReply *reply) {
    struct call *call = ctx;
    struct store *store = call->store;
    if (reply == NULL) { /* on_down follows, and knows why */
        free(call);
        return;
    }
    if (reply->type == REDIS_REPLY_ERROR) {
        store_fail(store, "Redis at %s answered %s with: %s%s", store->place, call->name,
                   reply->str, hint(reply->str));
    } else if (!store->failed) {
        call->answer(call->ctx, reply);
    }
    free(call);
    uv_stop(&store->loop);
}

bool store_send(struct store *store, int argc, const char **argv, const size_t *sizes,
                store_answer_fn answer, void *ctx) {
    if (store->failed) {
        return false;
    }
    struct call *call = malloc(sizeof *call);
    if (call == NULL) {
        store->lacked_memory = true;
        return store_fail(store, "no memory to ask the Redis at %s", store->place);
    }
    *call = (struct call){.store = store, .answer = answer, .ctx = ctx};
    bool is_script = strcmp(argv[0], "EVAL") == 0; /* then the key stands behind text and number */
    int key_at = is_script ? 3 : 1;
    snprintf(call->name, sizeof call->name, "%s %s", argv[0], key_at < argc ? argv[key_at] : "");
    if (!redis_link_send(store->link, argc, argv, sizes, on_reply, call)) {
        store->lacked_memory = redis_link_lacked_memory(store->link);
        store_fail(store,
                   store->lacked_memory ? "no memory for %s to the Redis at %s"
                                        : "%s cannot be sent: the Redis at %s is gone",
                   call->name, store->place);
        free(call);
        return false;
    }
    return true;
}

bool store_send_words(struct store *store, store_answer_fn answer, void *ctx, ...) {
    const char *argv[STORE_WORDS_MAX];
    size_t sizes[STORE_WORDS_MAX];
    int argc = 0;
    va_list words;
    va_start(words, ctx);
    for (const char *word = va_arg(words, const char *); word != NULL && argc < STORE_WORDS_MAX;
         word = va_arg(words, const char *)) {
        argv[argc] = word;
        sizes[argc++] = strlen(word);
    }
    va_end(words);
    assert(argc > 0);
    return store_send(store, argc, argv, sizes, answer, ctx);
}

bool store_wait(struct store *store, size_t most) {
    while (!store->failed && redis_link_outstanding(store->link) > most) {
        uv_run(&store->loop, UV_RUN_DEFAULT);
    }
    return !store->failed;
}
