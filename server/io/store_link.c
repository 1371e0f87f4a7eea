/* A connection of a store: is the server the one we knew, does it know our scripts, and does it
 * keep what `ack` promises? And the acknowledgements themselves. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "server/io/store_impl.h"

#define TEXT_OF(number) #number
#define TEXT(number) TEXT_OF(number)

static const enum script scripts_used[STORE_SCRIPTS] = {SCRIPT_RAISE_FENCE, SCRIPT_WRITE,
                                                        SCRIPT_ASSIGN, SCRIPT_FETCH};

/* Ready: the link is up, every script is loaded, and the promise is kept. */
static void server_settle(struct store_server *server) {
    struct store *store = server->store;
    bool ready = server->scripts_loaded && server->kept;
    if (server->ready == ready) {
        return;
    }
    server->ready = ready;
    server->away = server->away && !ready;
    if (store->cluster != NULL) {
        store_cluster_changed(server);
        return;
    }
    bool restarted = ready && server->restarted;
    server->restarted = server->restarted && !ready;
    store_tell(store, ready, restarted, NULL);
}

/* --- scripts ------------------------------------------------------------------------------- */

static void on_script_loaded(void *ctx, redisReply *reply) {
    struct store_server *server = ctx;
    struct store *store = server->store;
    if (reply == NULL || store->closing) {
        return;
    }
    uint32_t script = server->scripts_answered;
    server->scripts_answered++;
    server->scripts_loading--;
    if (reply->type == REDIS_REPLY_STRING && reply->len == SHA_TEXT_SIZE) {
        memcpy(store->sha[script], reply->str, SHA_TEXT_SIZE + 1);
    } else {
        server->scripts_refused = server->away = true;
        log_error(&store->log, "Redis did not take a script: %s%s",
                  reply->type == REDIS_REPLY_ERROR ? reply->str : "unexpected answer",
                  reply->type == REDIS_REPLY_ERROR ? redis_hint(reply->str) : "");
    }
    if (server->scripts_loading == 0) { /* if one was refused, the clock's timer tries again */
        server->scripts_loaded = !server->scripts_refused;
        server_settle(server);
    }
}

/* Replies come in order, so counting them tells which script one belongs to. */
void store_scripts_load(struct store_server *server) {
    if (server->scripts_loading > 0) {
        return;
    }
    server->scripts_answered = 0;
    server->scripts_refused = false;
    for (int i = 0; i < STORE_SCRIPTS; i++) {
        const char *argv[] = {"SCRIPT", "LOAD", script_text(scripts_used[i])};
        size_t sizes[] = {6, 4, strlen(argv[2])};
        if (!redis_link_send(server->link, 3, argv, sizes, on_script_loaded, server)) {
            server->scripts_refused = true; /* by our memory: those that left are answered yet */
            return;
        }
        server->scripts_loading++;
    }
}

/* --- which server it is, and what it promises ---------------------------------------------- */

/* A server that is another process than before may have lost the tail of what it acknowledged; so
 * may one that was a replica in between: then its history has another name. */
static void identity_check(struct store_server *server) {
    char run_id[SHA_TEXT_SIZE + 1], history[SHA_TEXT_SIZE + 1];
    info_value(server->info, "run_id", run_id, sizeof run_id);
    info_value(server->info, "master_replid", history, sizeof history);
    bool other = strcmp(server->run_id, run_id) != 0 || strcmp(server->history, history) != 0;
    server->restarted = server->restarted || (server->run_id[0] != '\0' && other);
    memcpy(server->run_id, run_id, sizeof run_id);
    memcpy(server->history, history, sizeof history);
    if (other || server->lineage == 0) {
        server->lineage = ++server->store->lineages;
    }
}

static void promise_check(struct store_server *server, const char *appendfsync) {
    struct store *store = server->store;
    char why[sizeof server->broken_told];
    server->kept =
        ack_check(&store->ack, server->info, appendfsync, &server->follow_up, why, sizeof why);
    if (server->kept) {
        if (server->broken_told[0] != '\0') {
            log_info(&store->log, "Redis can keep --ack again");
        }
        server->broken_told[0] = '\0';
        return;
    }
    server->away = true;
    if (strcmp(server->broken_told, why) != 0) {
        snprintf(server->broken_told, sizeof server->broken_told, "%s", why);
        log_error(&store->log, "Redis can no longer keep --ack, nothing is written: %s", why);
    }
}

static void on_appendfsync(void *ctx, redisReply *reply) {
    struct store_server *server = ctx;
    server->checking = false;
    if (reply == NULL || server->store->closing || server->info == NULL) {
        return;
    }
    bool told = reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
                reply->element[1]->type == REDIS_REPLY_STRING;
    promise_check(server, told ? reply->element[1]->str : NULL);
    server_settle(server);
}

/* A master may hand over to its replica and have it back while we are connected. */
static void identity_watch(struct store_server *server) {
    uint64_t lineage = server->lineage;
    identity_check(server);
    if (server->lineage != lineage) {
        store_cluster_changed(server);
    }
}

static void on_info(void *ctx, redisReply *reply) {
    struct store_server *server = ctx;
    struct store *store = server->store;
    bool needs_appendfsync = store->ack.kind == ACK_AOF;
    if (!needs_appendfsync) {
        server->checking = false;
    }
    free(server->info);
    server->info = NULL;
    if (reply == NULL || store->closing) {
        return;
    }
    if (reply->type == REDIS_REPLY_ERROR) {
        log_error(&store->log, "Redis does not say what it is: %s%s", reply->str,
                  redis_hint(reply->str));
    }
    server->info = strdup(reply->str != NULL ? reply->str : "");
    if (server->info == NULL) {
        return;
    }
    if (!server->ready) {
        identity_check(server);
    } else if (store->cluster != NULL && reply->type == REDIS_REPLY_STRING) {
        identity_watch(server);
    }
    if (!needs_appendfsync) {
        promise_check(server, NULL);
        server_settle(server);
    }
}

static void server_check(struct store_server *server) {
    const char *info[] = {"INFO"}, *config[] = {"CONFIG", "GET", "appendfsync"};
    size_t info_sizes[] = {4}, config_sizes[] = {6, 3, 11};
    if (server->checking || !redis_link_send(server->link, 1, info, info_sizes, on_info, server)) {
        return;
    }
    server->checking =
        server->store->ack.kind != ACK_AOF ||
        redis_link_send(server->link, 3, config, config_sizes, on_appendfsync, server);
}

void store_tick(struct store_server *server) {
    struct store *store = server->store;
    if (!redis_link_is_up(server->link)) {
        return;
    }
    if (store->ack.kind != ACK_MEMORY || store->cluster != NULL || !server->kept) {
        server_check(server);
    }
    if (!server->scripts_loaded) {
        store_scripts_load(server);
    }
}

/* --- acknowledgements ---------------------------------------------------------------------- */

static void answer_stored(struct store_call *call) {
    struct shard_event event = {.kind = SHARD_EVENT_STORED};
    event.stored.status = SHARD_STORED_OK;
    event.stored.fence = call->fence;
    store_answer(call, &event);
}

void store_written(struct store_call *call, uint64_t fence) {
    struct store_server *server = call->server;
    call->fence = fence;
    if (!call->followed) {
        answer_stored(call);
        return;
    }
    call->next = NULL;
    *server->unacked_last = call;
    server->unacked_last = &call->next;
}

/* All that wait: their writes were answered before this, so they were sent before this was. */
static void unacked_answer(struct store_server *server, bool acknowledged) {
    struct store_call *call = server->unacked_first;
    server->unacked_first = NULL;
    server->unacked_last = &server->unacked_first;
    while (call != NULL) {
        struct store_call *next = call->next;
        if (acknowledged) {
            answer_stored(call);
        } else {
            store_answer_failed(call);
        }
        call = next;
    }
}

/* WAIT answers how many replicas have it, WAITAOF whether our disk has it, and how many others'. */
static void on_followed_up(void *ctx, redisReply *reply) {
    struct store_server *server = ctx;
    struct store *store = server->store;
    bool acknowledged = false;
    if (reply != NULL && reply->type == REDIS_REPLY_INTEGER) {
        acknowledged = reply->integer >= (long long)store->ack.replicas;
    } else if (reply != NULL && reply->type == REDIS_REPLY_ARRAY && reply->elements == 2) {
        acknowledged = reply->element[0]->integer >= 1;
    }
    if (reply != NULL && !acknowledged && server->unacked_first != NULL) {
        char text[160];
        snprintf(text, sizeof text, "not acknowledged as --ack asks within %d ms (%s%lld)",
                 STORE_ACK_MS, reply->type == REDIS_REPLY_ERROR ? reply->str : "by ",
                 reply->type == REDIS_REPLY_ARRAY ? 0LL : (long long)reply->integer);
        store_log_refused(store, server->unacked_first, text);
    }
    unacked_answer(server, acknowledged);
}

void store_follow_up(struct store_server *server) {
    const struct ack *ack = &server->store->ack;
    if (!server->unfollowed || !redis_link_is_up(server->link)) {
        return;
    }
    char number[16];
    snprintf(number, sizeof number, "%" PRIu32, ack->replicas);
    const char *wait[] = {"WAIT", number, TEXT(STORE_ACK_MS)};
    const char *waitaof[] = {"WAITAOF", "1", "0", TEXT(STORE_ACK_MS)};
    bool is_wait = ack->kind == ACK_REPLICAS;
    const char **argv = is_wait ? wait : waitaof;
    size_t sizes[4];
    int count = is_wait ? 3 : 4;
    for (int i = 0; i < count; i++) {
        sizes[i] = strlen(argv[i]);
    }
    /* If it cannot be sent now, the next turn does. */
    server->unfollowed = !redis_link_send(server->link, count, argv, sizes, on_followed_up, server);
}

/* --- the link ------------------------------------------------------------------------------ */

static void on_link_up(void *ctx, struct redis_link *link) {
    struct store_server *server = ctx;
    server->checking = false;
    server->scripts_loading = 0;
    server->connection = ++server->store->connections;
    server->down_told[0] = '\0';
    server_check(server); /* answered before the scripts are */
    store_scripts_load(server);
}

/* Each new reason once: the link tries on, once a second at most. */
static void down_tell(struct store_server *server, bool was_up, const char *why) {
    struct store *store = server->store;
    char place[REDIS_PLACE_TEXT_BYTES];
    redis_place_format(redis_link_place(server->link), place);
    if (store->cluster == NULL && was_up) {
        log_warn(&store->log, "lost Redis: %s; takes go on from memory", why);
    } else if (store->cluster != NULL && strcmp(server->down_told, why) != 0) {
        snprintf(server->down_told, sizeof server->down_told, "%s", why);
        log_warn(&store->log, "%s the Redis master %s: %s; takes of its slots go on from memory",
                 was_up ? "lost" : "cannot use", place, why);
    }
}

static void on_link_down(void *ctx, struct redis_link *link, bool was_up, const char *why) {
    struct store_server *server = ctx;
    bool told = server->away;
    down_tell(server, was_up, why);
    server->away = true;
    server->scripts_loading = 0;
    server->scripts_loaded = server->kept = server->checking = server->unfollowed = false;
    if (server->store->cluster == NULL) {
        server->store->clock_asked_ns = 0;
        store_gather_fail(server->store);
    }
    unacked_answer(server, false);
    server_settle(server);
    if (!told && server->store->cluster != NULL) { /* it was never ready: calls wait for it */
        store_cluster_changed(server);
    }
}

/* --- life ---------------------------------------------------------------------------------- */

struct store_server *store_server_open(struct store *store, const struct redis_access *access,
                                       const struct redis_place *place) {
    if (store->server_count == STORE_SERVERS_MAX) {
        return NULL;
    }
    struct store_server *server = calloc(1, sizeof *server);
    if (server == NULL) {
        return NULL;
    }
    server->store = store;
    server->access = *access;
    server->unacked_last = &server->unacked_first;
    if (place != NULL) { /* there and nowhere else */
        server->access.address.cluster = false;
        server->access.address.places[0] = *place;
        server->access.address.place_count = 1;
    }
    struct redis_link_handler handler = {server, on_link_up, on_link_down};
    server->link = redis_link_open(store->loop, &server->access, &handler);
    if (server->link == NULL) {
        free(server);
        return NULL;
    }
    store->handles_open++;
    store->servers[store->server_count] = server;
    store->server_count++;
    return server;
}

static void on_link_closed(void *ctx) {
    struct store_server *server = ctx;
    struct store *store = server->store;
    free(server->info);
    free(server);
    store_part_closed(store);
}

void store_server_close(struct store_server *server) {
    struct store *store = server->store;
    for (uint32_t i = 0; i < store->server_count; i++) {
        if (store->servers[i] == server) {
            store->server_count--;
            store->servers[i] = store->servers[store->server_count];
        }
    }
    redis_link_close(server->link, on_link_closed, server);
    unacked_answer(server, false);
}
