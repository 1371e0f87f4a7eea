/*
 * A store on a Redis Cluster: which master serves which slot, and links to them.
 *
 * The table comes from CLUSTER SLOTS, when the store is opened, once a second, and when something
 * is not as it says; a MOVED changes the one slot at once. Links to masters are opened when a slot
 * of theirs is first asked for. One more link, home, leads to the master of the cluster's own keys:
 * the table is asked for there, and the time always, so that all shards use the same clock.
 *
 * The store is up while it knows the table and somebody answers (and somebody has ever taken our
 * scripts). A slot whose master is away is
 * told so call by call: the others go on.
 */
#include <stdlib.h>
#include <string.h>

#include "server/io/store_impl.h"

/* --- servers ------------------------------------------------------------------------------- */

struct store_server *store_cluster_server(struct store *store, const struct redis_place *place) {
    for (uint32_t i = 0; i < store->server_count; i++) {
        if (redis_place_equal(&store->servers[i]->access.address.places[0], place)) {
            return store->servers[i];
        }
    }
    return store_server_open(store, store->cluster->access, place);
}

struct store_server *store_cluster_master(struct store *store, const struct store_slot *slot) {
    struct store_cluster *cluster = store->cluster;
    uint8_t number = cluster->topology.served_by[slot->redis_slot];
    if (number == 0) {
        return NULL;
    }
    struct store_server **server = &cluster->server_of[number - 1];
    if (*server == NULL) {
        *server = store_cluster_server(store, &cluster->topology.masters[number - 1]);
    }
    return *server;
}

static bool is_master(const struct redis_topology *topology, const struct redis_place *place) {
    for (uint32_t i = 0; i < topology->master_count; i++) {
        if (redis_place_equal(&topology->masters[i], place)) {
            return true;
        }
    }
    return false;
}

/* Lets go of those that are masters no longer. */
static void servers_trim(struct store *store) {
    for (uint32_t i = store->server_count; i > 0; i--) {
        struct store_server *server = store->servers[i - 1];
        bool used = server->calls > 0 || server->unacked_first != NULL ||
                    is_master(&store->cluster->topology, &server->access.address.places[0]);
        if (!used) {
            store_server_close(server);
        }
    }
    memset(store->cluster->server_of, 0, sizeof store->cluster->server_of);
}

/* --- what the shard has to know ------------------------------------------------------------ */

/* The records of these slots are with a server, or in a history, that did not acknowledge them all:
 * a replica that took over, a process that came back, a master that they were moved to (which may
 * have them in its memory alone). They are written again. */
static void lineages_compare(struct store *store) {
    struct store_cluster *cluster = store->cluster;
    bool lost = false;
    memset(cluster->lost, 0, sizeof cluster->lost);
    for (uint32_t i = 0; i < SLOTS_MAX; i++) {
        struct store_slot *slot = &store->slots[i];
        struct store_server *server = slot->lineage != 0 ? store_cluster_master(store, slot) : NULL;
        if (server != NULL && server->ready && server->lineage != slot->lineage) {
            slot->lineage = server->lineage;
            cluster->lost[i / 8] |= (uint8_t)(1u << (i % 8));
            lost = true;
        }
    }
    if (lost && store->up) {
        store_tell(store, true, true, cluster->lost);
    }
}

/* Commands name scripts by what a server called them, which is the same everywhere. */
static bool scripts_known(const struct store *store) {
    return store->sha[STORE_SCRIPTS - 1][0] != '\0';
}

static void up_settle(struct store *store) {
    struct store_cluster *cluster = store->cluster;
    bool up = redis_link_is_up(cluster->home);
    for (uint32_t i = 0; i < store->server_count; i++) {
        up = up || store->servers[i]->ready;
    }
    up = up && cluster->known && scripts_known(store);
    if (up == store->up) {
        return;
    }
    if (!up) {
        store_queue_fail(store);
    }
    store_tell(store, up, false, NULL);
}

/* Links, lineages or the table are not what they were. */
static void settle(struct store *store) {
    if (store->closing) {
        return;
    }
    up_settle(store);
    lineages_compare(store);
    store_queue_flush(store);
    store_turn(store);
}

void store_cluster_changed(struct store_server *server) {
    if (!server->ready) {
        store_cluster_refresh(server->store); /* perhaps it has been replaced */
    }
    settle(server->store);
}

void store_cluster_moved(struct store *store, const struct store_slot *slot,
                         const struct redis_place *place) {
    if (redis_topology_set(&store->cluster->topology, slot->redis_slot, place)) {
        lineages_compare(store);
    }
    store_cluster_refresh(store);
}

/* --- the table ----------------------------------------------------------------------------- */

static void table_adopt(struct store *store) {
    struct store_cluster *cluster = store->cluster;
    cluster->known = true;
    cluster->told[0] = '\0';
    servers_trim(store);
    const struct redis_place *home =
        redis_topology_master(&cluster->topology, cluster->access->slot);
    if (home != NULL && redis_link_is_up(cluster->home) &&
        !redis_place_equal(home, redis_link_place(cluster->home))) {
        redis_link_leave(cluster->home, "the cluster has another master for its own keys");
    }
    if (!scripts_known(store)) {
        (void)store_cluster_server(store, home != NULL ? home : &cluster->topology.masters[0]);
    }
    settle(store);
}

struct table_question {
    struct store *store;
    struct redis_place from;
};

static void on_table(void *ctx, redisReply *reply) {
    struct table_question *question = ctx;
    struct store *store = question->store;
    struct store_cluster *cluster = store->cluster;
    char why[sizeof cluster->told];
    cluster->asking = false;
    if (reply != NULL && !store->closing) {
        if (redis_topology_read(reply, &question->from, &cluster->topology, why, sizeof why)) {
            table_adopt(store);
        } else if (strcmp(cluster->told, why) != 0) {
            memcpy(cluster->told, why, sizeof why);
            log_error(&store->log, "Redis does not say who serves the cluster's slots: %s%s", why,
                      redis_hint(why));
        }
    }
    free(question);
}

/* Home, or whoever answers. */
static struct redis_link *table_link(const struct store *store) {
    if (redis_link_is_up(store->cluster->home)) {
        return store->cluster->home;
    }
    for (uint32_t i = 0; i < store->server_count; i++) {
        if (redis_link_is_up(store->servers[i]->link)) {
            return store->servers[i]->link;
        }
    }
    return NULL;
}

static void table_ask(struct store *store) {
    struct store_cluster *cluster = store->cluster;
    struct redis_link *link = table_link(store);
    uint64_t now_ms = uv_now(store->loop);
    if (cluster->asking || link == NULL || now_ms < cluster->asked_ms + STORE_TABLE_MS) {
        return;
    }
    struct table_question *question = malloc(sizeof *question);
    const char *argv[] = {"CLUSTER", "SLOTS"};
    size_t sizes[] = {7, 5};
    if (question == NULL) {
        return;
    }
    *question = (struct table_question){store, *redis_link_place(link)};
    cluster->asking = redis_link_send(link, 2, argv, sizes, on_table, question);
    cluster->asked_ms = now_ms;
    cluster->wanted = !cluster->asking;
    if (!cluster->asking) {
        free(question);
    }
}

static void on_timer(uv_timer_t *timer) {
    struct store *store = timer->data;
    if (store->cluster->wanted) {
        table_ask(store);
    }
    store_queue_flush(store);
    store_turn(store);
    if (!store->cluster->wanted && store->cluster->waiting == SLOTS_MAX) {
        uv_timer_stop(timer);
    }
}

void store_cluster_wake(struct store *store) {
    uv_timer_t *timer = &store->cluster->timer;
    if (!store->closing && !uv_is_active((uv_handle_t *)timer)) {
        uv_timer_start(timer, on_timer, STORE_AGAIN_MS, STORE_AGAIN_MS);
    }
}

void store_cluster_refresh(struct store *store) {
    store->cluster->wanted = true;
    store_cluster_wake(store);
}

void store_cluster_tick(struct store *store) {
    table_ask(store);
}

/* --- home ---------------------------------------------------------------------------------- */

struct redis_link *store_cluster_home(struct store *store) {
    struct redis_link *home = store->cluster->home;
    return redis_link_is_up(home) ? home : NULL;
}

static void on_home_up(void *ctx, struct redis_link *link) {
    struct store *store = ctx;
    store->cluster->asked_ms = 0;
    table_ask(store);
    settle(store);
}

static void on_home_down(void *ctx, struct redis_link *link, bool was_up, const char *why) {
    struct store *store = ctx;
    if (was_up) {
        store_cluster_refresh(store);
        settle(store);
    }
}

static void on_part_closed(void *ctx) {
    store_part_closed(ctx);
}

static void on_timer_closed(uv_handle_t *handle) {
    store_part_closed(handle->data);
}

bool store_cluster_open(struct store *store, const struct redis_access *access) {
    struct store_cluster *cluster = calloc(1, sizeof *cluster);
    struct redis_link_handler handler = {store, on_home_up, on_home_down};
    if (cluster == NULL) {
        return false;
    }
    cluster->access = access;
    cluster->waiting = SLOTS_MAX;
    cluster->home = redis_link_open(store->loop, access, &handler);
    if (cluster->home == NULL) {
        free(cluster);
        return false;
    }
    store->cluster = cluster;
    for (uint32_t i = 0; i < SLOTS_MAX; i++) {
        store_key key;
        int size = store_key_fence(store->prefix, (struct slot){.index = (uint16_t)i}, key);
        store->slots[i].redis_slot = redis_slot_of(key, (size_t)size);
    }
    uv_timer_init(store->loop, &cluster->timer);
    cluster->timer.data = store;
    store->handles_open += 2;
    return true;
}

void store_cluster_close(struct store *store) {
    redis_link_close(store->cluster->home, on_part_closed, store);
    uv_close((uv_handle_t *)&store->cluster->timer, on_timer_closed);
}
