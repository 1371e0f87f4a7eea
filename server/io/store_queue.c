/*
 * The calls of a slot on a Redis Cluster, and where they are sent.
 *
 * Writes of a slot take effect in the order in which they were given, whoever serves it meanwhile:
 * its calls are outstanding at one master at a time, of those that write only one, and a call that
 * is redirected goes before all that came after it. So whatever an answer tells was so behind every
 * call that was answered before.
 *
 * A redirected call was not executed where it came from. One whose connection is lost may have
 * been, or may still be: it is never sent again, but FAILED, and the shard raises the fence.
 */
#include "server/io/store_impl.h"

/* --- sending ------------------------------------------------------------------------------- */

static void on_routed(void *ctx, redisReply *reply);

static void on_asking(void *ctx, redisReply *reply) {}

static bool asking_send(struct store_server *server) {
    const char *argv[] = {"ASKING"};
    size_t sizes[] = {6};
    return redis_link_send(server->link, 1, argv, sizes, on_asking, NULL);
}

static bool call_send(struct store_slot *slot, struct store_call *call,
                      struct store_server *server) {
    if ((call->asked != NULL && !asking_send(server)) ||
        !store_send_text(server, call, call->command, call->command_size, on_routed)) {
        return false;
    }
    server->calls++;
    slot->server = server;
    slot->sent++;
    slot->writing = slot->writing || call->writes;
    return true;
}

static bool has_turn(const struct store_slot *slot, const struct store_call *call,
                     const struct store_server *server) {
    return slot->sent == 0 || (slot->server == server && !(call->writes && slot->writing));
}

static void asked_clear(struct store_call *call) {
    if (call->asked != NULL) {
        call->asked->calls--;
        call->asked = NULL;
    }
}

static void slot_flush(struct store *store, struct store_slot *slot) {
    struct store_cluster *cluster = store->cluster;
    uint64_t now_ms = uv_now(store->loop);
    struct store_call *call;
    while ((call = slot->first) != NULL) {
        struct store_server *server =
            call->asked != NULL ? call->asked : store_cluster_master(store, slot);
        bool in_vain = server == NULL || server->away || now_ms >= call->until_ms;
        bool waits = !in_vain && (!server->ready || now_ms < call->after_ms);
        if (waits || (!in_vain && !has_turn(slot, call, server))) {
            break;
        }
        slot->first = call->next;
        bool sent = !in_vain && call_send(slot, call, server);
        asked_clear(call);
        if (server == NULL) {
            store_cluster_refresh(store);
        }
        if (!sent) {
            store_fail_later(call);
        }
    }
    if (slot->first != NULL && !slot->listed) {
        slot->listed = true;
        slot->next = cluster->waiting;
        cluster->waiting = (uint16_t)(slot - store->slots);
        store_cluster_wake(store);
    }
}

void store_queue_flush(struct store *store) {
    uint16_t at = store->cluster->waiting;
    store->cluster->waiting = SLOTS_MAX;
    while (at != SLOTS_MAX) {
        struct store_slot *slot = &store->slots[at];
        at = slot->next;
        slot->listed = false;
        slot_flush(store, slot);
    }
}

void store_queue_fail(struct store *store) {
    for (uint16_t at = store->cluster->waiting; at != SLOTS_MAX; at = store->slots[at].next) {
        for (struct store_call *call = store->slots[at].first; call != NULL; call = call->next) {
            call->until_ms = 0;
        }
    }
    store_queue_flush(store);
}

/* In the order of their coming. */
static void call_insert(struct store_slot *slot, struct store_call *call) {
    struct store_call **link = &slot->first;
    while (*link != NULL && (*link)->number < call->number) {
        link = &(*link)->next;
    }
    call->next = *link;
    *link = call;
}

bool store_queue_words(struct store_call *call, int count) {
    struct store *store = call->store;
    long long size = redisFormatCommandArgv(&call->command, count, store->words, store->sizes);
    call->command_size = size > 0 ? (size_t)size : 0;
    return size > 0;
}

void store_queue_put(struct store_call *call, redis_reply_fn on_reply) {
    struct store *store = call->store;
    struct store_slot *slot = &store->slots[call->slot.index];
    call->on_reply = on_reply;
    call->number = ++store->cluster->calls;
    call->until_ms = uv_now(store->loop) + STORE_WAIT_MS;
    call_insert(slot, call);
    slot_flush(store, slot);
}

/* --- answers ------------------------------------------------------------------------------- */

/* True: the call will be sent again. */
static bool call_redirect(struct store *store, struct store_slot *slot, struct store_call *call,
                          const redisReply *reply) {
    struct redis_redirect redirect =
        redis_redirect_read(reply, redis_link_place(call->server->link));
    uint64_t now_ms = uv_now(store->loop);
    if (redirect.kind == REDIS_REDIRECT_DOWN) {
        store_cluster_refresh(store);
    }
    if (redirect.kind == REDIS_REDIRECT_NONE || redirect.kind == REDIS_REDIRECT_DOWN ||
        now_ms >= call->until_ms) {
        return false;
    }
    if (redirect.kind == REDIS_REDIRECT_ASK) {
        call->asked = store_cluster_server(store, &redirect.place);
        if (call->asked == NULL) {
            return false;
        }
        call->asked->calls++;
    }
    call->redirects++;
    bool waits = redirect.kind == REDIS_REDIRECT_AGAIN || call->redirects > STORE_REDIRECTS_MAX;
    call->after_ms = waits ? now_ms + STORE_AGAIN_MS : 0;
    call->followed = false;
    call_insert(slot, call);
    if (redirect.kind == REDIS_REDIRECT_MOVED) {
        store_cluster_moved(store, slot, &redirect.place);
    }
    return true;
}

static void on_routed(void *ctx, redisReply *reply) {
    struct store_call *call = ctx;
    struct store *store = call->store;
    struct store_server *server = call->server;
    struct store_slot *slot = &store->slots[call->slot.index];
    server->calls--;
    slot->sent--;
    slot->writing = slot->writing && !call->writes;
    if (store->closing) {
        call->on_reply(call, reply);
        return;
    }
    if (!call_redirect(store, slot, call, reply)) {
        if (reply != NULL && reply->type != REDIS_REPLY_ERROR && slot->lineage == 0) {
            slot->lineage = server->lineage;
        }
        call->on_reply(call, reply);
    }
    slot_flush(store, slot);
    store_turn(store);
}
