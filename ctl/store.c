#include "ctl/store.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/store_impl.h"
#include "runtime/memory.h"

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

/* --- servers ---------------------------------------------------------------------------------- */

/* How a URL of the cluster that this server belongs to begins. */
static void cluster_hint(const struct store *store, char out[STORE_WHY_BYTES]) {
    const struct redis_address *address = &store->access.address;
    snprintf(out, STORE_WHY_BYTES,
             "; this is a server of a Redis Cluster: --redis redis%s+cluster://%s%s%.300s",
             address->tls ? "s" : "", address->user, address->user[0] != '\0' ? "@" : "",
             address->places[0].port > 0 ? store->place : "HOST:PORT");
}

void store_hint(const struct store *store, const char *error, char out[STORE_WHY_BYTES]) {
    static const char moving[] =
        "; its slot is being moved: redis-cli --cluster check tells of a move "
        "that was broken off";
    static const struct {
        const char *word, *hint;
    } hints[] = {
        {"OOM", "; Redis is full: raise maxmemory"},
        {"NOPERM", "; this user may not do that (deploy/redis/sluice.acl is enough)"},
        {"CLUSTERDOWN", "; redis-cli --cluster check tells what is missing"},
        {"TRYAGAIN", moving},
        {"ASK ", moving},
        {"cluster support disabled", "; it is no Redis Cluster: say redis://"},
    };
    static const char *const cluster_words[] = {"MOVED ", "ASK ", "CLUSTERDOWN", "TRYAGAIN"};
    out[0] = '\0';
    for (size_t i = 0; store->masters == NULL && i < 4; i++) {
        if (strncmp(error, cluster_words[i], strlen(cluster_words[i])) == 0) {
            cluster_hint(store, out);
            return;
        }
    }
    for (size_t i = 0; i < sizeof hints / sizeof hints[0]; i++) {
        if (strstr(error, hints[i].word) != NULL) {
            snprintf(out, STORE_WHY_BYTES, "%s", hints[i].hint);
            return;
        }
    }
}

static void on_up(void *ctx, struct redis_link *link) {
    struct store_server *server = ctx;
    struct store *store = server->store;
    if (server->number == 1) {
        redis_place_format(redis_link_place(link), store->place);
    }
    if (store->masters != NULL) {
        store_masters_up(server);
    }
    uv_stop(&store->loop);
}

static void on_down(void *ctx, struct redis_link *link, bool was_up, const char *why) {
    struct store *store = ((struct store_server *)ctx)->store;
    char place[REDIS_PLACE_TEXT_BYTES];
    redis_place_format(redis_link_place(link), place);
    if (!store->failed) {
        store->lacked_memory = redis_link_lacked_memory(link);
    }
    store_fail(store,
               was_up                   ? "the connection to Redis at %s was lost: %s"
               : store->masters != NULL ? "cannot use Redis at %s, which its cluster names: %s"
                                        : "cannot use Redis at %s: %s (--redis URL, SLUICE_REDIS)",
               place, why);
    uv_stop(&store->loop);
}

struct store_server *store_server_open(struct store *store, const struct redis_place *place) {
    if (store->server_count == STORE_SERVERS_MAX) {
        store_fail(store, "the Redis Cluster has named more than %d servers", STORE_SERVERS_MAX);
        return NULL;
    }
    struct store_server *server = memory_need(sizeof *server);
    struct redis_link_handler handler = {server, on_up, on_down};
    *server = (struct store_server){
        .store = store, .access = store->access, .number = store->server_count + 1};
    if (place != NULL) { /* there and nowhere else */
        server->access.address.cluster = false;
        server->access.address.places[0] = *place;
        server->access.address.place_count = 1;
    }
    server->link = redis_link_open(&store->loop, &server->access, &handler);
    if (server->link == NULL) {
        memory_end(sizeof handler);
    }
    store->servers[store->server_count] = server;
    store->server_count++;
    return server;
}

/* --- life ------------------------------------------------------------------------------------- */

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
    return redis_access_check(access, options->url, why, STORE_WHY_BYTES);
}

static bool is_open(const struct store *store) {
    return store->masters != NULL ? store_masters_known(store)
                                  : redis_link_is_up(store->servers[0]->link);
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
    if (store->access.address.cluster) {
        store_masters_open(store);
    } else {
        store_server_open(store, NULL);
    }
    while (!store->failed && !is_open(store)) {
        uv_run(&store->loop, UV_RUN_DEFAULT); /* each step has a bound of its own */
    }
    return !store->failed;
}

void store_close(struct store *store) {
    store->failed = true; /* what is under way is answered to nobody */
    for (uint32_t i = 0; i < store->server_count; i++) {
        redis_link_close(store->servers[i]->link, NULL, NULL);
    }
    if (store->masters != NULL) {
        store_masters_close(store);
    }
    while (store->has_loop && uv_loop_close(&store->loop) != 0) { /* until every handle is closed */
        uv_run(&store->loop, UV_RUN_DEFAULT);
    }
    for (uint32_t i = 0; i < store->server_count; i++) {
        free(store->servers[i]);
    }
    store->server_count = 0;
    store_masters_free(store);
}

/* --- commands --------------------------------------------------------------------------------- */

void store_call_free(struct store_call *call) {
    call->store->under_way--;
    if (call->command != NULL) {
        call->store->copies_bytes -= call->command_size;
        redisFreeCommand(call->command);
    }
    free(call);
}

void store_on_reply(void *ctx, redisReply *reply) {
    struct store_call *call = ctx;
    struct store *store = call->store;
    if (reply == NULL) { /* on_down follows, and knows why */
        store_call_free(call);
        return;
    }
    if (store->masters != NULL && !store->failed && store_masters_redirected(call, reply)) {
        uv_stop(&store->loop);
        return;
    }
    struct store_call done = *call;
    store_call_free(call);
    if (reply->type == REDIS_REPLY_ERROR) {
        char place[REDIS_PLACE_TEXT_BYTES], hint[STORE_WHY_BYTES];
        redis_place_format(redis_link_place(done.server->link), place);
        store_hint(store, reply->str, hint);
        store_fail(store, "Redis at %s answered %s with: %s%s", place, done.name, reply->str, hint);
    } else if (!store->failed) {
        store->answerer = done.server->number;
        done.answer(done.ctx, reply);
    }
    uv_stop(&store->loop);
}

static bool put_to_only_server(struct store_call *call, int argc, const char **argv,
                               const size_t *sizes) {
    struct store *store = call->store;
    call->server = store->servers[0];
    if (redis_link_send(call->server->link, argc, argv, sizes, store_on_reply, call)) {
        return true;
    }
    store->lacked_memory = redis_link_lacked_memory(call->server->link);
    return store_fail(store,
                      store->lacked_memory ? "no memory for %s to the Redis at %s"
                                           : "%s cannot be sent: the Redis at %s is gone",
                      call->name, store->place);
}

bool store_send(struct store *store, int argc, const char **argv, const size_t *sizes,
                store_answer_fn answer, void *ctx) {
    if (store->failed) {
        return false;
    }
    struct store_call *call = malloc(sizeof *call);
    if (call == NULL) {
        store->lacked_memory = true;
        return store_fail(store, "no memory to ask the Redis at %s", store->place);
    }
    *call = (struct store_call){.store = store, .answer = answer, .ctx = ctx};
    store->under_way++;
    bool is_script = strcmp(argv[0], "EVAL") == 0; /* then the key stands behind text and number */
    int key_at = is_script ? 3 : 1;
    const char *key = key_at < argc ? argv[key_at] : NULL;
    snprintf(call->name, sizeof call->name, "%s %s", argv[0], key != NULL ? key : "");
    bool put =
        store->masters != NULL
            ? store_masters_put(call, key, key != NULL ? sizes[key_at] : 0, argc, argv, sizes)
            : put_to_only_server(call, argc, argv, sizes);
    if (!put) {
        store_call_free(call);
    }
    return put;
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
    while (!store->failed && store->under_way > most) {
        uv_run(&store->loop, UV_RUN_DEFAULT);
    }
    return !store->failed;
}
