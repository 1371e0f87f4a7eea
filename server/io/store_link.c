/* The connection of a store: is the server the one we knew, does it know our scripts, and does it
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
static void store_settle(struct store *store) {
    bool up = store->scripts_loaded && store->kept;
    if (store->ready == up) {
        return;
    }
    store->ready = up;
    struct shard_event event = {.kind = SHARD_EVENT_STORE};
    event.store.up = up;
    event.store.restarted = up && store->server_restarted;
    store->server_restarted = store->server_restarted && !up;
    if (!store->closing) {
        store->handler.on_event(store->handler.ctx, &event);
    }
}

/* --- scripts ------------------------------------------------------------------------------- */

static void on_script_loaded(void *ctx, redisReply *reply) {
    struct store *store = ctx;
    if (reply == NULL || store->closing) {
        return;
    }
    uint32_t script = STORE_SCRIPTS - store->scripts_loading;
    store->scripts_loading--;
    if (reply->type == REDIS_REPLY_STRING && reply->len == SHA_TEXT_SIZE) {
        memcpy(store->sha[script], reply->str, SHA_TEXT_SIZE + 1);
    } else {
        store->scripts_refused = true;
        log_error(&store->log, "Redis did not take a script: %s%s",
                  reply->type == REDIS_REPLY_ERROR ? reply->str : "unexpected answer",
                  reply->type == REDIS_REPLY_ERROR ? redis_hint(reply->str) : "");
    }
    if (store->scripts_loading == 0) { /* if one was refused, the clock's timer tries again */
        store->scripts_loaded = !store->scripts_refused;
        store_settle(store);
    }
}

/* Replies come in order, so counting down tells which script one belongs to. */
void store_scripts_load(struct store *store) {
    if (store->scripts_loading > 0) {
        return;
    }
    store->scripts_loading = STORE_SCRIPTS;
    store->scripts_refused = false;
    for (int i = 0; i < STORE_SCRIPTS; i++) {
        const char *argv[] = {"SCRIPT", "LOAD", script_text(scripts_used[i])};
        size_t sizes[] = {6, 4, strlen(argv[2])};
        if (!redis_link_send(store->link, 3, argv, sizes, on_script_loaded, store)) {
            store->scripts_loading = 0;
            return;
        }
    }
}

/* --- which server it is, and what it promises ---------------------------------------------- */

/* A server that is another process than before may have lost the tail of what it acknowledged; so
 * may one that was a replica in between: then its history has another name. */
static void identity_check(struct store *store) {
    char run_id[SHA_TEXT_SIZE + 1], history[SHA_TEXT_SIZE + 1];
    info_value(store->info, "run_id", run_id, sizeof run_id);
    info_value(store->info, "master_replid", history, sizeof history);
    bool other = strcmp(store->run_id, run_id) != 0 || strcmp(store->history, history) != 0;
    store->server_restarted = store->server_restarted || (store->run_id[0] != '\0' && other);
    memcpy(store->run_id, run_id, sizeof run_id);
    memcpy(store->history, history, sizeof history);
}

static void promise_check(struct store *store, const char *appendfsync) {
    char why[sizeof store->broken_told];
    store->kept =
        ack_check(&store->ack, store->info, appendfsync, &store->follow_up, why, sizeof why);
    if (store->kept) {
        if (store->broken_told[0] != '\0') {
            log_info(&store->log, "Redis can keep --ack again");
        }
        store->broken_told[0] = '\0';
    } else if (strcmp(store->broken_told, why) != 0) {
        snprintf(store->broken_told, sizeof store->broken_told, "%s", why);
        log_error(&store->log, "Redis can no longer keep --ack, nothing is written: %s", why);
    }
}

static void on_appendfsync(void *ctx, redisReply *reply) {
    struct store *store = ctx;
    store->checking = false;
    if (reply == NULL || store->closing || store->info == NULL) {
        return;
    }
    bool told = reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
                reply->element[1]->type == REDIS_REPLY_STRING;
    promise_check(store, told ? reply->element[1]->str : NULL);
    store_settle(store);
}

static void on_info(void *ctx, redisReply *reply) {
    struct store *store = ctx;
    bool needs_appendfsync = store->ack.kind == ACK_AOF;
    if (!needs_appendfsync) {
        store->checking = false;
    }
    free(store->info);
    store->info = NULL;
    if (reply == NULL || store->closing) {
        return;
    }
    if (reply->type == REDIS_REPLY_ERROR) {
        log_error(&store->log, "Redis does not say what it is: %s%s", reply->str,
                  redis_hint(reply->str));
    }
    store->info = strdup(reply->str != NULL ? reply->str : "");
    if (store->info == NULL) {
        return;
    }
    if (!store->ready) {
        identity_check(store);
    }
    if (!needs_appendfsync) {
        promise_check(store, NULL);
        store_settle(store);
    }
}

void store_check(struct store *store) {
    const char *info[] = {"INFO"}, *config[] = {"CONFIG", "GET", "appendfsync"};
    size_t info_sizes[] = {4}, config_sizes[] = {6, 3, 11};
    if (store->checking || !redis_link_send(store->link, 1, info, info_sizes, on_info, store)) {
        return;
    }
    store->checking = store->ack.kind != ACK_AOF ||
                      redis_link_send(store->link, 3, config, config_sizes, on_appendfsync, store);
}

void store_tick(struct store *store) {
    if (!redis_link_is_up(store->link)) {
        return;
    }
    if (store->ack.kind != ACK_MEMORY || !store->kept) {
        store_check(store);
    }
    if (!store->scripts_loaded) {
        store_scripts_load(store);
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
    struct store *store = call->store;
    call->fence = fence;
    if (!call->followed) {
        answer_stored(call);
        return;
    }
    call->next = NULL;
    *store->unacked_last = call;
    store->unacked_last = &call->next;
}

/* All that wait: their writes were answered before this, so they were sent before this was. */
static void unacked_answer(struct store *store, bool acknowledged) {
    struct store_call *call = store->unacked_first;
    store->unacked_first = NULL;
    store->unacked_last = &store->unacked_first;
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
    struct store *store = ctx;
    bool acknowledged = false;
    if (reply != NULL && reply->type == REDIS_REPLY_INTEGER) {
        acknowledged = reply->integer >= (long long)store->ack.replicas;
    } else if (reply != NULL && reply->type == REDIS_REPLY_ARRAY && reply->elements == 2) {
        acknowledged = reply->element[0]->integer >= 1;
    }
    if (reply != NULL && !acknowledged && store->unacked_first != NULL) {
        char text[160];
        snprintf(text, sizeof text, "not acknowledged as --ack asks within %d ms (%s%lld)",
                 STORE_ACK_MS, reply->type == REDIS_REPLY_ERROR ? reply->str : "by ",
                 reply->type == REDIS_REPLY_ARRAY ? 0LL : (long long)reply->integer);
        store_log_refused(store, store->unacked_first, text);
    }
    unacked_answer(store, acknowledged);
}

void store_follow_up(struct store *store) {
    if (!store->unfollowed || !redis_link_is_up(store->link)) {
        return;
    }
    char number[16];
    snprintf(number, sizeof number, "%" PRIu32, store->ack.replicas);
    const char *wait[] = {"WAIT", number, TEXT(STORE_ACK_MS)};
    const char *waitaof[] = {"WAITAOF", "1", "0", TEXT(STORE_ACK_MS)};
    bool is_wait = store->ack.kind == ACK_REPLICAS;
    const char **argv = is_wait ? wait : waitaof;
    size_t sizes[4];
    int count = is_wait ? 3 : 4;
    for (int i = 0; i < count; i++) {
        sizes[i] = strlen(argv[i]);
    }
    /* If it cannot be sent now, the next turn does. */
    store->unfollowed = !redis_link_send(store->link, count, argv, sizes, on_followed_up, store);
}

/* --- the link ------------------------------------------------------------------------------ */

void store_on_link_up(void *ctx, struct redis_link *link) {
    struct store *store = ctx;
    store->checking = false;
    store->scripts_loading = 0;
    store_check(store); /* answered before the scripts are */
    store_scripts_load(store);
}

void store_on_link_down(void *ctx, struct redis_link *link, bool was_up, const char *why) {
    struct store *store = ctx;
    if (was_up) {
        log_warn(&store->log, "lost Redis: %s; takes go on from memory", why);
    }
    store->scripts_loading = 0;
    store->scripts_loaded = store->kept = store->checking = store->unfollowed = false;
    store->clock_asked_ns = 0;
    unacked_answer(store, false);
    store_settle(store);
}
