#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/memory.h"
#include "runtime/redis_slots.h"
#include "server/io/membership_impl.h"
#include "server/io/redis_hint.h"

void command_word(struct command *command, const char *text) {
    command->words[command->count] = text;
    command->sizes[command->count++] = strlen(text);
}

void command_begin(struct command *command, enum script script, const char *key_count) {
    command->count = 0;
    command_word(command, "EVAL");
    command_word(command, script_text(script));
    command_word(command, key_count);
}

void command_bytes(struct command *command, struct bytes bytes) {
    command->words[command->count] = (const char *)bytes.data;
    command->sizes[command->count++] = bytes.size;
}

bool command_send(struct membership *membership, const struct command *command,
                  redis_reply_fn on_reply, void *ctx) {
    assert(command->count <= WORDS_MAX);
    return redis_link_send(membership->link, command->count, (const char **)command->words,
                           command->sizes, on_reply, ctx);
}

/* --- heartbeat ----------------------------------------------------------------------------- */

/* Whether the stored map is to be adopted. */
static bool map_newer(struct membership *membership, struct cluster_state *next) {
    const struct map *known = &membership->state->map;
    struct fault fault;
    if (map_check_same(known, &next->map, &fault) != CODE_OK) {
        membership->foreign = true;
        membership->handler.on_foreign(membership->handler.ctx, fault.text);
        return false;
    }
    /* An older version does not know of ids, and leaves them out. */
    if (next->map.cluster.text[0] == '\0') {
        next->map.cluster = known->cluster;
    }
    return next->map.epoch.number > known->epoch.number;
}

static bool map_adopt(struct membership *membership, const redisReply *value,
                      struct cluster_state *next) {
    struct fault fault;
    struct reader reader = reader_of(bytes_of(value->str, value->len));
    if (map_read(&reader, &next->map, &fault) == CODE_OK) {
        membership->map_refused = false;
        return map_newer(membership, next);
    }
    if (!membership->map_refused) {
        membership->map_refused = true;
        log_error(&membership->log,
                  "the stored map cannot be read: %s; going on with epoch %" PRIu64, fault.text,
                  membership->state->map.epoch.number);
    }
    return false;
}

static bool plans_adopt(struct membership *membership, const redisReply *value,
                        struct cluster_state *next) {
    struct fault fault;
    struct reader reader = reader_of(bytes_of(value->str, value->len));
    if (plan_set_read(&reader, &next->plans, &fault) == CODE_OK) {
        return next->plans.version > membership->state->plans.version;
    }
    log_error(&membership->log,
              "the stored plans cannot be read: %s; going on with version %" PRIu64, fault.text,
              membership->state->plans.version);
    return false;
}

static void state_adopt(struct membership *membership, const redisReply *map,
                        const redisReply *plans) {
    bool has_map = map->type == REDIS_REPLY_STRING, has_plans = plans->type == REDIS_REPLY_STRING;
    if (!has_map && !has_plans) {
        return;
    }
    struct cluster_state *next = cluster_state_copy(membership->state);
    if (next == NULL) {
        log_error(&membership->log, "no memory for a newer map");
        return;
    }
    bool newer_map = has_map && map_adopt(membership, map, next);
    if (!newer_map) {
        next->map = membership->state->map;
    }
    bool newer_plans = has_plans && plans_adopt(membership, plans, next);
    if (!newer_plans) {
        next->plans = membership->state->plans;
    }
    if (!newer_map && !newer_plans) {
        cluster_state_release(next);
        return;
    }
    cluster_state_release(membership->state);
    membership->state = next;
    membership->handler.on_state(membership->handler.ctx, next);
}

static void beat(struct membership *membership);

/* The ids without a lease, and the rest of what a heartbeat told. */
static void beat_tell(struct membership *membership, const redisReply *absent) {
    struct beat beat = {.number = membership->beats_sent,
                        .sent_ns = membership->beat_sent_ns,
                        .round_trip_ns = clock_monotonic_ns() - membership->beat_sent_ns,
                        .reconnected = membership->reconnected,
                        .absent = membership->absent};
    membership->reconnected = false;
    for (size_t i = 0; i < absent->elements && beat.absent_count < NODES_MAX; i++) {
        struct bytes id = bytes_of(absent->element[i]->str, absent->element[i]->len);
        if (absent->element[i]->type == REDIS_REPLY_STRING && name_valid(id)) {
            membership->absent[beat.absent_count++] = name_of(id);
        }
    }
    membership->handler.on_beat(membership->handler.ctx, &beat);
}

/* A store that lost the tail of what it had acknowledged (a crash, a failover to a replica that was
 * behind) holds an older map or older plans than this node: without help every change from now on
 * would expect a number that is not there. */
static void put_back(struct membership *membership, uint64_t map_stored, uint64_t plans_stored) {
    uint64_t epoch = membership->state->map.epoch.number;
    uint64_t version = membership->state->plans.version;
    if (map_stored < epoch) {
        log_warn(&membership->log,
                 "Redis holds map epoch %" PRIu64 ", but epoch %" PRIu64
                 " was in force: putting it back",
                 map_stored, epoch);
        membership_put_back_map(membership, map_stored);
    }
    if (plans_stored < version) {
        log_warn(&membership->log,
                 "Redis holds plans version %" PRIu64 ", but version %" PRIu64
                 " was in force: putting it back",
                 plans_stored, version);
        membership_put_back_plans(membership, plans_stored);
    }
}

/* [incarnation of who holds the lease], or [OK, map, plans, absent, epoch, version]. */
static bool beat_valid(const redisReply *reply) {
    if (reply->type != REDIS_REPLY_ARRAY || (reply->elements != 1 && reply->elements != 6) ||
        reply->element[0]->type != REDIS_REPLY_STRING) {
        return false;
    }
    return reply->elements == 1 || (reply->element[3]->type == REDIS_REPLY_ARRAY &&
                                    reply->element[4]->type == REDIS_REPLY_STRING &&
                                    reply->element[5]->type == REDIS_REPLY_STRING);
}

static void on_beat(void *ctx, redisReply *reply) {
    struct membership *membership = ctx;
    membership->beating = false;
    if (reply == NULL || membership->closing) {
        return;
    }
    const struct redis_place *place = redis_link_place(membership->link);
    enum redis_redirect_kind redirect = redis_redirect_read(reply, place).kind;
    if (redirect != REDIS_REDIRECT_NONE && redirect != REDIS_REDIRECT_DOWN) {
        return; /* our keys are being moved: the link follows, and the next one will do */
    }
    if (!beat_valid(reply)) {
        log_error(&membership->log, "Redis refused the heartbeat: %s",
                  reply->type == REDIS_REPLY_ERROR ? reply->str : "unexpected answer");
        return;
    }
    if (reply->elements == 1) {
        membership->handler.on_usurped(membership->handler.ctx, reply->element[0]->str);
        return;
    }
    membership->beat_answered_ns = membership->beat_sent_ns;
    uint64_t before = membership->state->map.epoch.number + membership->state->plans.version;
    state_adopt(membership, reply->element[1], reply->element[2]);
    beat_tell(membership, reply->element[3]);
    if (membership->foreign) {
        return; /* nothing of ours belongs there */
    }
    put_back(membership, strtoull(reply->element[4]->str, NULL, 10),
             strtoull(reply->element[5]->str, NULL, 10));
    /* Others are to see at once what this node has adopted. */
    bool adopted = before != membership->state->map.epoch.number + membership->state->plans.version;
    if (adopted || membership->beat_again) {
        beat(membership);
    }
}

static void beat(struct membership *membership) {
    char ttl[24], epoch[24], version[24];
    store_key prefix;
    if (membership->beating || membership->closing) {
        membership->beat_again = membership->beating;
        return;
    }
    membership->beat_again = false;
    snprintf(ttl, sizeof ttl, "%" PRIu64, membership->settings->lease_ttl_ns / 1000000);
    snprintf(epoch, sizeof epoch, "%" PRIu64, membership->state->map.epoch.number);
    snprintf(version, sizeof version, "%" PRIu64, membership->state->plans.version);
    struct command command;
    command_begin(&command, SCRIPT_HEARTBEAT, "4");
    command_word(&command, membership->node_key);
    command_word(&command, membership->nodes_key);
    command_word(&command, membership->map_key);
    command_word(&command, membership->plans_key);
    command_word(&command, membership->settings->node_id);
    command_word(&command, membership->boot->incarnation);
    command_bytes(&command, membership_info(membership));
    command_word(&command, ttl);
    command_word(&command, epoch);
    command_word(&command, version);
    store_key_node(membership->settings->key_prefix, "", prefix);
    command_word(&command, prefix);
    membership->beat_sent_ns = clock_monotonic_ns();
    membership->beating = command_send(membership, &command, on_beat, membership);
    membership->beats_sent += membership->beating;
}

uint64_t membership_beat(struct membership *membership) {
    uint64_t next = membership->beats_sent + 1;
    beat(membership);
    return next;
}

static void on_timer(uv_timer_t *timer) {
    beat(timer->data);
}

/* --- giving the lease back ----------------------------------------------------------------- */

struct release {
    void (*done)(void *ctx);
    void *ctx;
};

static void on_released(void *ctx, redisReply *reply) {
    struct release *release = ctx;
    release->done(release->ctx);
    free(release);
}

void membership_release(struct membership *membership, void (*done)(void *ctx), void *ctx) {
    struct release *release = memory_need(sizeof *release);
    *release = (struct release){done, ctx};
    uv_timer_stop(&membership->timer);
    struct command command;
    command_begin(&command, SCRIPT_RELEASE, "1");
    command_word(&command, membership->node_key);
    command_word(&command, membership->boot->incarnation);
    if (!command_send(membership, &command, on_released, release)) {
        on_released(release, NULL);
    }
}

/* --- life ---------------------------------------------------------------------------------- */

static void on_link_up(void *ctx, struct redis_link *link) {
    struct membership *membership = ctx;
    membership->beating = false;
    membership->reconnected = true;
    if (membership->down_told[0] != '\0') {
        membership->down_told[0] = '\0';
        log_info(&membership->log, "Redis takes us in again");
    }
    beat(membership);
}

static void on_link_down(void *ctx, struct redis_link *link, bool was_up, const char *why) {
    struct membership *membership = ctx;
    membership->beating = false;
    if (was_up) {
        log_warn(&membership->log, "lost Redis (membership): %s", why);
    } else if (strcmp(membership->down_told, why) != 0) {
        /* Each new reason once: the link tries on, once a second at most. */
        snprintf(membership->down_told, sizeof membership->down_told, "%s", why);
        log_error(&membership->log, "cannot use Redis: %s%s; trying on", why, redis_hint(why));
    }
}

struct membership *membership_open(uv_loop_t *loop, const struct membership_options *options) {
    struct membership *membership = calloc(1, sizeof *membership);
    if (membership == NULL) {
        return NULL;
    }
    membership->settings = options->settings;
    membership->boot = options->boot;
    membership->log = *options->log;
    membership->handler = options->handler;
    membership->control = options->control;
    membership->shard_count = options->shard_count;
    membership->shards = options->shards;
    membership->beat_answered_ns = clock_monotonic_ns(); /* the lease was taken just now */
    membership->state = cluster_state_create();
    membership->scratch = malloc(SCRATCH_BYTES);
    membership->members = calloc(NODES_MAX, sizeof *membership->members);
    const char *prefix = options->settings->key_prefix;
    store_key_node(prefix, options->settings->node_id, membership->node_key);
    store_key_nodes(prefix, membership->nodes_key);
    store_key_map(prefix, membership->map_key);
    store_key_plans(prefix, membership->plans_key);
    store_key_events(prefix, membership->events_key);
    store_key_rebalance(prefix, membership->rebalance_key);
    struct redis_link_handler link = {membership, on_link_up, on_link_down};
    if (membership->state != NULL && membership->scratch != NULL && membership->members != NULL) {
        membership->link = redis_link_open(loop, &options->boot->access, &link);
    }
    if (membership->link == NULL) {
        cluster_state_release(membership->state);
        free(membership->scratch);
        free(membership->members);
        free(membership);
        return NULL;
    }
    uv_timer_init(loop, &membership->timer);
    membership->timer.data = membership;
    membership->handles_open = 2;
    return membership;
}

void membership_start(struct membership *membership) {
    uint64_t every_ms = membership->settings->lease_ttl_ns / 10000000;
    uv_timer_start(&membership->timer, on_timer, 0, every_ms > 0 ? every_ms : 1);
}

uint64_t membership_age_ms(const struct membership *membership) {
    return (clock_monotonic_ns() - membership->beat_answered_ns) / 1000000;
}

bool membership_store_up(const struct membership *membership) {
    return redis_link_is_up(membership->link);
}

struct cluster_state *membership_state(const struct membership *membership) {
    return membership->state;
}

static void part_closed(struct membership *membership) {
    if (--membership->handles_open == 0) {
        cluster_state_release(membership->state);
        free(membership->scratch);
        free(membership->members);
        free(membership);
    }
}

static void on_timer_closed(uv_handle_t *handle) {
    part_closed(handle->data);
}

static void on_link_closed(void *ctx) {
    part_closed(ctx);
}

void membership_close(struct membership *membership) {
    membership->closing = true;
    redis_link_close(membership->link, on_link_closed, membership);
    uv_close((uv_handle_t *)&membership->timer, on_timer_closed);
}
