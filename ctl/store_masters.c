/*
 * The store on a Redis Cluster: which master serves which slot, and what a command does whose slot
 * is not where it was.
 *
 * One of the servers that the URL names says where the master of the map is, and that master who
 * serves what (CLUSTER SLOTS). Links to the others are opened when they are first needed. A MOVED
 * changes the table for its one slot; when nobody serves a slot the table is asked for again.
 *
 * A command that is redirected, or told to come again, was not executed by the server that says so,
 * or can be executed once more (the one script that Redis may break off for it closes a slot). A
 * connection that is lost is the end, as it is with one server: so what was written before a
 * master died is not taken for written where its replica took over.
 */
#include <stdlib.h>
#include <string.h>

#include "ctl/interrupt.h"
#include "ctl/store_impl.h"
#include "runtime/memory.h"
#include "runtime/redis_seek.h"

/* Milliseconds after which a command is sent again whose slot is between two masters, or has none;
 * between two questions for the table meanwhile; and that a command goes on so at most. A slot's
 * four keys are moved within milliseconds, and a very large one of them within seconds; an operator
 * should not wait longer to hear that a move was broken off. */
#define AGAIN_MS 10
#define TABLE_MS 100
#define PATIENCE_MS 10000

/* Redirections of one command, beyond which it is sent again only every AGAIN_MS: masters that
 * disagree are not to be asked in turns as fast as they answer. */
#define REDIRECTS_MAX 5

/* Bytes of commands that are kept to be sent again: sixteen pieces of a backup, of which none is
 * larger than 4 MiB, twice over. */
#define COPIES_BYTES_MAX ((size_t)128 << 20)

struct store_masters {
    struct store *store;
    struct redis_seek *seek; /* after the master of the map; NULL: it has ended */
    struct redis_topology topology;
    bool known;                 /* the topology has come */
    bool wanted, asking;        /* it is to be asked for (again); that is so */
    uint64_t asked_ms;          /* when, last */
    uint32_t asked_count;       /* how often: each time another server */
    uint32_t histories_asked;   /* servers that have not said what theirs is */
    uint16_t home_slot;         /* of the map */
    struct store_call *waiting; /* in the order of their coming */
    uv_timer_t timer;           /* runs while something waits, or the table is wanted */
};

/* --- masters ---------------------------------------------------------------------------------- */

/* NULL: the store has failed. */
static struct store_server *server_at(struct store *store, const struct redis_place *place) {
    for (uint32_t i = 0; i < store->server_count; i++) {
        if (redis_place_equal(&store->servers[i]->access.address.places[0], place)) {
            return store->servers[i];
        }
    }
    return store_server_open(store, place);
}

static void on_timer(uv_timer_t *timer);

static void timer_run(struct store_masters *masters) {
    if (!masters->store->failed && !uv_is_active((uv_handle_t *)&masters->timer)) {
        uv_timer_start(&masters->timer, on_timer, AGAIN_MS, AGAIN_MS);
    }
}

static void table_want(struct store_masters *masters) {
    masters->wanted = true;
    timer_run(masters);
}

/* --- calls ------------------------------------------------------------------------------------ */

static void call_wait(struct store_call *call) {
    struct store_masters *masters = call->store->masters;
    struct store_call **link = &masters->waiting;
    while (*link != NULL) {
        link = &(*link)->next;
    }
    call->next = NULL;
    *link = call;
    timer_run(masters);
}

/* It cannot be executed now, as was said. The store has failed if that has gone on for too long: to
 * be looked at when it is said again, not when its time is over, for it may be us who stood still.
 */
static void call_put_off(struct store_call *call) {
    struct store *store = call->store;
    uint64_t now_ms = uv_now(&store->loop);
    if (call->until_ms != 0 && now_ms >= call->until_ms) {
        char hint[STORE_WHY_BYTES];
        store_hint(store, call->said, hint);
        store_fail(store, "%s came to nothing for %d s: %s%s", call->name, PATIENCE_MS / 1000,
                   call->said, hint);
        return;
    }
    call->until_ms = call->until_ms != 0 ? call->until_ms : now_ms + PATIENCE_MS;
    call->after_ms = now_ms + AGAIN_MS;
}

static void on_asking(void *ctx, redisReply *reply) {
    struct store *store = ctx;
    if (reply != NULL && reply->type == REDIS_REPLY_ERROR) {
        char hint[STORE_WHY_BYTES];
        store_hint(store, reply->str, hint);
        store_fail(store, "Redis answered ASKING with: %s%s", reply->str, hint);
        uv_stop(&store->loop);
    }
}

/* Behind ASKING, if it was told to ask there. False: the store has failed. */
static bool call_send(struct store_call *call, struct store_server *server) {
    struct store *store = call->store;
    const char *argv[] = {"ASKING"};
    size_t sizes[] = {6};
    bool sent =
        call->asked == NULL || redis_link_send(server->link, 1, argv, sizes, on_asking, store);
    call->server = server;
    call->asked = NULL;
    if (sent && redis_link_send_text(server->link, call->command, call->command_size,
                                     store_on_reply, call)) {
        return true;
    }
    char place[REDIS_PLACE_TEXT_BYTES];
    redis_place_format(redis_link_place(server->link), place);
    store->lacked_memory = redis_link_lacked_memory(server->link);
    return store_fail(store,
                      store->lacked_memory ? "no memory for %s to the Redis at %s"
                                           : "%s cannot be sent: the Redis at %s is gone",
                      call->name, place);
}

/* The server to send it to now; NULL: there is none yet, or the store has failed. */
static struct store_server *call_server(struct store_call *call) {
    struct store *store = call->store;
    struct store_masters *masters = store->masters;
    const struct redis_place *place = redis_topology_master(&masters->topology, call->redis_slot);
    if (uv_now(&store->loop) < call->after_ms) {
        return NULL;
    }
    if (call->asked == NULL && place == NULL) {
        snprintf(call->said, sizeof call->said,
                 "CLUSTERDOWN: nobody serves slot %u of the Redis Cluster", call->redis_slot);
        call_put_off(call);
        table_want(masters);
        return NULL;
    }
    struct store_server *server = call->asked != NULL ? call->asked : server_at(store, place);
    return server != NULL && redis_link_is_up(server->link) ? server : NULL;
}

static void waiting_flush(struct store_masters *masters) {
    struct store *store = masters->store;
    struct store_call **link = &masters->waiting;
    while (!store->failed && *link != NULL) {
        struct store_call *call = *link;
        struct store_server *server = call_server(call);
        if (server == NULL) {
            link = &call->next;
            continue;
        }
        *link = call->next;
        if (!call_send(call, server)) {
            store_call_free(call);
        }
    }
}

bool store_masters_put(struct store_call *call, const char *key, size_t key_size, int argc,
                       const char **argv, const size_t *sizes) {
    struct store *store = call->store;
    struct store_masters *masters = store->masters;
    long long size = redisFormatCommandArgv(&call->command, argc, argv, sizes);
    if (size <= 0) {
        call->command = NULL;
        store->lacked_memory = true;
        return store_fail(store, "no memory for %s to the Redis Cluster", call->name);
    }
    call->command_size = (size_t)size;
    store->copies_bytes += call->command_size;
    if (store->copies_bytes > COPIES_BYTES_MAX) {
        return store_fail(store, "%s: more than %zu MiB are on their way to the Redis Cluster",
                          call->name, COPIES_BYTES_MAX >> 20);
    }
    call->redis_slot = key != NULL ? redis_slot_of(key, key_size) : masters->home_slot;
    struct store_server *server = call_server(call);
    if (server != NULL) {
        return call_send(call, server);
    }
    if (!store->failed) {
        call_wait(call);
    }
    return !store->failed;
}

static void redirect_follow(struct store_call *call, const struct redis_redirect *redirect) {
    struct store *store = call->store;
    struct store_masters *masters = store->masters;
    bool waits = ++call->redirects > REDIRECTS_MAX;
    switch (redirect->kind) {
    case REDIS_REDIRECT_MOVED:
        if (!redis_topology_set(&masters->topology, call->redis_slot, &redirect->place)) {
            store_fail(store, "the Redis Cluster has more than %d masters", REDIS_MASTERS_MAX);
        }
        break;
    case REDIS_REDIRECT_ASK:
        call->asked = server_at(store, &redirect->place);
        break;
    case REDIS_REDIRECT_DOWN:
        table_want(masters);
        waits = true;
        break;
    default:
        waits = true;
    }
    if (waits) {
        call_put_off(call);
    }
}

bool store_masters_redirected(struct store_call *call, const redisReply *reply) {
    struct redis_redirect redirect =
        redis_redirect_read(reply, redis_link_place(call->server->link));
    if (redirect.kind == REDIS_REDIRECT_NONE) {
        return false;
    }
    snprintf(call->said, sizeof call->said, "%s", reply->str);
    redirect_follow(call, &redirect);
    call_wait(call); /* or until it is freed with the store */
    waiting_flush(call->store->masters);
    return true;
}

/* --- the table -------------------------------------------------------------------------------- */

/* Ours, in our words or in hiredis's; Redis says OOM of its own. */
static bool lacked_memory(const char *why) {
    return strstr(why, "no memory") != NULL || strstr(why, "Out of memory") != NULL;
}

struct table_question {
    struct store *store;
    struct redis_place from;
};

static void on_table(void *ctx, redisReply *reply) {
    struct table_question question = *(struct table_question *)ctx;
    struct store *store = question.store;
    struct store_masters *masters = store->masters;
    char why[STORE_SAID_BYTES], hint[STORE_WHY_BYTES];
    free(ctx);
    masters->asking = false;
    if (reply == NULL || store->failed) { /* on_down knows why, if none came */
        return;
    }
    if (redis_topology_read(reply, &question.from, &masters->topology, why, sizeof why)) {
        masters->known = true;
        waiting_flush(masters);
    } else if (!masters->known) { /* else those who wait for it find another, or give up */
        store_hint(store, why, hint);
        store->lacked_memory = lacked_memory(why);
        store_fail(store, "the Redis Cluster does not say who serves its slots: %s%s", why, hint);
    }
    uv_stop(&store->loop);
}

static void table_ask(struct store_masters *masters) {
    struct store *store = masters->store;
    struct store_server *server = store->servers[masters->asked_count % store->server_count];
    uint64_t now_ms = uv_now(&store->loop);
    bool early = masters->asked_count > 0 && now_ms < masters->asked_ms + TABLE_MS;
    if (masters->asking || early || store->failed) {
        return;
    }
    masters->asked_count++;
    if (!redis_link_is_up(server->link)) { /* the next one, then */
        return;
    }
    struct table_question *question = memory_need(sizeof *question);
    const char *argv[] = {"CLUSTER", "SLOTS"};
    size_t sizes[] = {7, 5};
    *question = (struct table_question){store, *redis_link_place(server->link)};
    masters->wanted = false;
    masters->asked_ms = now_ms;
    masters->asking = redis_link_send(server->link, 2, argv, sizes, on_table, question);
    if (!masters->asking) {
        free(question);
        store->lacked_memory = redis_link_lacked_memory(server->link);
        store_fail(store, "the Redis Cluster cannot be asked who serves its slots");
    }
}

static void on_timer(uv_timer_t *timer) {
    struct store_masters *masters = timer->data;
    struct store *store = masters->store;
    if (interrupt_came()) {
        store_fail(store, "interrupted");
    }
    if (masters->wanted) {
        table_ask(masters);
    }
    waiting_flush(masters);
    if (store->failed || (!masters->wanted && masters->waiting == NULL)) {
        uv_timer_stop(timer);
        uv_stop(&store->loop);
    }
}

/* --- histories -------------------------------------------------------------------------------- */

/* A master has its own until it becomes a replica, and another when it is a master again. */
static void on_history(void *ctx, redisReply *reply) {
    static const char name[] = "master_replid:";
    struct store_server *server = ctx;
    struct store *store = server->store;
    char place[REDIS_PLACE_TEXT_BYTES], hint[STORE_WHY_BYTES] = "", history[STORE_HISTORY_BYTES];
    const char *at =
        reply != NULL && reply->type == REDIS_REPLY_STRING ? strstr(reply->str, name) : NULL;
    store->masters->histories_asked--;
    uv_stop(&store->loop);
    if (reply == NULL || store->failed) { /* on_down knows why, if none came */
        return;
    }
    redis_place_format(redis_link_place(server->link), place);
    if (at == NULL) {
        const char *said = reply->type == REDIS_REPLY_ERROR ? reply->str : "something else";
        store_hint(store, said, hint);
        store_fail(store, "Redis at %s answered INFO replication with: %s%s", place, said, hint);
        return;
    }
    at += strlen(name);
    size_t size = strcspn(at, "\r\n");
    snprintf(history, sizeof history, "%.*s", size < sizeof history ? (int)size : 0, at);
    if (server->history[0] == '\0') {
        memcpy(server->history, history, sizeof history);
    } else if (strcmp(server->history, history) != 0) {
        store_fail(store,
                   "the master at %s has become a replica meanwhile, and may have lost what was "
                   "written to it",
                   place);
    }
}

static void history_ask(struct store_server *server) {
    struct store *store = server->store;
    const char *argv[] = {"INFO", "replication"};
    size_t sizes[] = {4, 11};
    if (redis_link_send(server->link, 2, argv, sizes, on_history, server)) {
        store->masters->histories_asked++;
        return;
    }
    store->lacked_memory = redis_link_lacked_memory(server->link);
    store_fail(store, "a master of the Redis Cluster cannot be asked for its history");
}

bool store_check_masters(struct store *store) {
    struct store_masters *masters = store->masters;
    for (uint32_t i = 0; masters != NULL && !store->failed && i < store->server_count; i++) {
        if (redis_link_is_up(store->servers[i]->link)) { /* else nothing was written to it */
            history_ask(store->servers[i]);
        }
    }
    while (masters != NULL && !store->failed && masters->histories_asked > 0) {
        uv_run(&store->loop, UV_RUN_DEFAULT);
    }
    return !store->failed;
}

/* --- life ------------------------------------------------------------------------------------- */

void store_masters_up(struct store_server *server) {
    struct store_masters *masters = server->store->masters;
    history_ask(server);
    if (!masters->known) {
        table_ask(masters);
    }
    waiting_flush(masters);
}

static void on_sought(void *ctx, const struct redis_place *place, uint32_t number,
                      const char *why) {
    struct store_masters *masters = ctx;
    struct store *store = masters->store;
    char hint[STORE_WHY_BYTES];
    masters->seek = NULL;
    if (place != NULL) {
        (void)server_at(store, place);
        return;
    }
    store_hint(store, why, hint);
    store->lacked_memory = lacked_memory(why);
    store_fail(store,
               "cannot use the Redis Cluster: none of the servers that were named knows its "
               "masters: %s%s (--redis URL, SLUICE_REDIS)",
               why, hint);
    uv_stop(&store->loop);
}

void store_masters_open(struct store *store) {
    struct store_masters *masters = memory_need(sizeof *masters);
    store_key map;
    int size = store_key_map(store->prefix, map);
    memset(masters, 0, sizeof *masters);
    masters->store = store;
    masters->home_slot = store->access.slot = redis_slot_of(map, (size_t)size);
    masters->timer.data = masters;
    store->masters = masters;
    uv_timer_init(&store->loop, &masters->timer);
    masters->seek = redis_seek_start(&store->loop, &store->access, 0, on_sought, masters);
    if (masters->seek == NULL) {
        memory_end(sizeof *masters);
    }
}

bool store_masters_known(const struct store *store) {
    return store->masters->known;
}

void store_masters_close(struct store *store) {
    struct store_masters *masters = store->masters;
    struct store_call *call;
    if (masters->seek != NULL) {
        redis_seek_cancel(masters->seek);
    }
    while ((call = masters->waiting) != NULL) {
        masters->waiting = call->next;
        store_call_free(call);
    }
    uv_close((uv_handle_t *)&masters->timer, NULL);
}

void store_masters_free(struct store *store) {
    free(store->masters);
    store->masters = NULL;
}
