#include "server/io/membership.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "proto/map_codec.h"
#include "proto/plan_codec.h"
#include "server/io/scripts.h"
#include "server/io/store_keys.h"

/* Words of the longest command here. */
#define WORDS_MAX 16

struct membership {
    const struct node_settings *settings;
    const struct boot *boot;
    struct log log;
    struct membership_handler handler;
    struct endpoint_name control;
    uint32_t shard_count;
    const struct endpoint_name *shards;
    struct redis_link *link;
    uv_timer_t timer;
    uint32_t handles_open;
    bool beating;    /* a heartbeat is outstanding */
    bool beat_again; /* another was asked for meanwhile */
    uint64_t beats_sent, beat_sent_ns;
    struct name absent[NODES_MAX];
    bool closing;
    bool map_refused; /* the stored map was unreadable: said once */
    struct cluster_state *state;
    store_key node_key, nodes_key, map_key, plans_key, events_key, rebalance_key;
    uint8_t info[NODE_INFO_BYTES_MAX];
    uint8_t *scratch; /* MAP_BYTES_MAX or PLAN_SET_BYTES_MAX, whichever is larger */
    struct member *members;
};

#define SCRATCH_BYTES (MAP_BYTES_MAX > PLAN_SET_BYTES_MAX ? MAP_BYTES_MAX : PLAN_SET_BYTES_MAX)

struct command {
    int count;
    const char *words[WORDS_MAX];
    size_t sizes[WORDS_MAX];
};

static void word(struct command *command, const char *text) {
    command->words[command->count] = text;
    command->sizes[command->count++] = strlen(text);
}

static void words_begin(struct command *command, enum script script, const char *key_count) {
    command->count = 0;
    word(command, "EVAL");
    word(command, script_text(script));
    word(command, key_count);
}

static void word_bytes(struct command *command, struct bytes bytes) {
    command->words[command->count] = (const char *)bytes.data;
    command->sizes[command->count++] = bytes.size;
}

static bool command_send(struct membership *membership, const struct command *command,
                         redis_reply_fn on_reply, void *ctx) {
    assert(command->count <= WORDS_MAX);
    return redis_link_send(membership->link, command->count, (const char **)command->words,
                           command->sizes, on_reply, ctx);
}

/* --- what a node says of itself ------------------------------------------------------------ */

struct bytes membership_info(struct membership *membership) {
    struct writer writer = writer_of(membership->info, sizeof membership->info);
    write_map(&writer, 6);
    write_text_uint(&writer, "weight", membership->settings->weight);
    write_text_str(&writer, "control", endpoint_name_bytes(&membership->control));
    write_text(&writer, "shards");
    write_array(&writer, membership->shard_count);
    for (uint32_t i = 0; i < membership->shard_count; i++) {
        write_str(&writer, endpoint_name_bytes(&membership->shards[i]));
    }
    write_text_uint(&writer, "epoch", membership->state->map.epoch.number);
    write_text_uint(&writer, "plans_version", membership->state->plans.version);
    write_text_text(&writer, "version", SLUICE_VERSION);
    assert(!writer.overflow);
    return writer_bytes(&writer);
}

static bool shards_parse(struct reader *reader, struct member *member) {
    if (!read_array(reader, &member->shard_count) || member->shard_count > NODE_SHARDS_MAX) {
        return false;
    }
    for (uint32_t i = 0; i < member->shard_count; i++) {
        struct bytes url;
        if (!read_bytes(reader, &url) || !endpoint_name_set(&member->shards[i], url)) {
            return false;
        }
    }
    return true;
}

static bool info_parse(struct bytes info, struct member *member) {
    struct reader reader = reader_of(info);
    uint32_t count;
    if (!read_map(&reader, &count)) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct bytes name, value;
        bool good;
        if (!read_bytes(&reader, &name)) {
            return false;
        }
        if (bytes_equal(name, bytes_of_text("control"))) {
            good = read_bytes(&reader, &value) && endpoint_name_set(&member->control, value);
        } else if (bytes_equal(name, bytes_of_text("shards"))) {
            good = shards_parse(&reader, member);
        } else if (bytes_equal(name, bytes_of_text("weight"))) {
            uint64_t weight;
            good = read_uint(&reader, &weight) && weight <= WEIGHT_MAX;
            member->weight = good ? (uint32_t)weight : 0;
        } else if (bytes_equal(name, bytes_of_text("epoch"))) {
            good = read_uint(&reader, &member->epoch);
        } else if (bytes_equal(name, bytes_of_text("plans_version"))) {
            good = read_uint(&reader, &member->plans_version);
        } else if (bytes_equal(name, bytes_of_text("version"))) {
            good = read_bytes(&reader, &value) && value.size < sizeof member->version;
            if (good) {
                memcpy(member->version, value.data, value.size);
            }
        } else {
            good = read_any(&reader, &value);
        }
        if (!good) {
            return false;
        }
    }
    return true;
}

/* --- heartbeat ----------------------------------------------------------------------------- */

static bool map_adopt(struct membership *membership, const redisReply *value,
                      struct cluster_state *next) {
    struct fault fault;
    struct reader reader = reader_of(bytes_of(value->str, value->len));
    if (map_read(&reader, &next->map, &fault) == CODE_OK) {
        membership->map_refused = false;
        return next->map.epoch.number > membership->state->map.epoch.number;
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
                        .absent = membership->absent};
    for (size_t i = 0; i < absent->elements && beat.absent_count < NODES_MAX; i++) {
        struct bytes id = bytes_of(absent->element[i]->str, absent->element[i]->len);
        if (absent->element[i]->type == REDIS_REPLY_STRING && name_valid(id)) {
            membership->absent[beat.absent_count++] = name_of(id);
        }
    }
    membership->handler.on_beat(membership->handler.ctx, &beat);
}

static void on_beat(void *ctx, redisReply *reply) {
    struct membership *membership = ctx;
    membership->beating = false;
    if (reply == NULL || membership->closing) {
        return;
    }
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements == 0) {
        log_error(&membership->log, "Redis refused the heartbeat: %s",
                  reply->type == REDIS_REPLY_ERROR ? reply->str : "unexpected answer");
        return;
    }
    if (reply->elements == 1) {
        membership->handler.on_usurped(membership->handler.ctx, reply->element[0]->str);
        return;
    }
    if (reply->elements != 4) {
        return;
    }
    uint64_t before = membership->state->map.epoch.number + membership->state->plans.version;
    state_adopt(membership, reply->element[1], reply->element[2]);
    beat_tell(membership, reply->element[3]);
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
    words_begin(&command, SCRIPT_HEARTBEAT, "4");
    word(&command, membership->node_key);
    word(&command, membership->nodes_key);
    word(&command, membership->map_key);
    word(&command, membership->plans_key);
    word(&command, membership->settings->node_id);
    word(&command, membership->boot->incarnation);
    word_bytes(&command, membership_info(membership));
    word(&command, ttl);
    word(&command, epoch);
    word(&command, version);
    store_key_node(membership->settings->key_prefix, "", prefix);
    word(&command, prefix);
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

/* --- changes ------------------------------------------------------------------------------- */

struct change {
    struct membership *membership;
    membership_changed_fn done;
    void *ctx;
    uint64_t number;
};

static void on_changed(void *ctx, redisReply *reply) {
    struct change *change = ctx;
    struct membership *membership = change->membership;
    enum code code = CODE_UNAVAILABLE;
    uint64_t number = change->number;
    if (reply != NULL && reply->type == REDIS_REPLY_STRING) {
        bool done = strcmp(reply->str, "OK") == 0;
        code = done ? CODE_OK : CODE_CONFLICT;
        number = done ? change->number : strtoull(reply->str, NULL, 10);
        beat(membership);
    } else if (reply != NULL && reply->type == REDIS_REPLY_ERROR) {
        log_error(&membership->log, "Redis refused a change: %s", reply->str);
    }
    change->done(change->ctx, code, number);
    free(change);
}

static void replace(struct membership *membership, const char *key, uint64_t number,
                    struct bytes value, membership_changed_fn done, void *ctx) {
    struct change *change = malloc(sizeof *change);
    assert(change != NULL);
    *change = (struct change){membership, done, ctx, number};
    char expected[24], next[24];
    snprintf(expected, sizeof expected, "%" PRIu64, number - 1);
    snprintf(next, sizeof next, "%" PRIu64, number);
    struct command command;
    words_begin(&command, SCRIPT_REPLACE, "1");
    word(&command, key);
    word(&command, expected);
    word(&command, next);
    word_bytes(&command, value);
    if (!command_send(membership, &command, on_changed, change)) {
        on_changed(change, NULL);
    }
}

void membership_replace_map(struct membership *membership, const struct map *next,
                            membership_changed_fn done, void *ctx) {
    struct writer writer = writer_of(membership->scratch, SCRATCH_BYTES);
    map_write(&writer, next);
    assert(!writer.overflow);
    replace(membership, membership->map_key, next->epoch.number, writer_bytes(&writer), done, ctx);
}

void membership_replace_plans(struct membership *membership, const struct plan_set *next,
                              membership_changed_fn done, void *ctx) {
    struct writer writer = writer_of(membership->scratch, SCRATCH_BYTES);
    plan_set_write(&writer, next);
    assert(!writer.overflow);
    replace(membership, membership->plans_key, next->version, writer_bytes(&writer), done, ctx);
}

void membership_rebalance_put(struct membership *membership, uint64_t follows, struct bytes value,
                              membership_changed_fn done, void *ctx) {
    replace(membership, membership->rebalance_key, follows + 1, value, done, ctx);
}

static void on_forgotten(void *ctx, redisReply *reply) {
    struct change *change = ctx;
    enum code code = CODE_UNAVAILABLE;
    if (reply != NULL && reply->type == REDIS_REPLY_STRING) {
        code = strcmp(reply->str, "OK") == 0 ? CODE_OK : CODE_CONFLICT;
    }
    change->done(change->ctx, code, 0);
    free(change);
}

void membership_forget(struct membership *membership, struct bytes id, membership_changed_fn done,
                       void *ctx) {
    struct change *change = malloc(sizeof *change);
    assert(change != NULL);
    *change = (struct change){membership, done, ctx, 0};
    struct name name = name_of(id);
    store_key node;
    store_key_node(membership->settings->key_prefix, name.text, node);
    struct command command;
    words_begin(&command, SCRIPT_FORGET, "2");
    word(&command, membership->nodes_key);
    word(&command, node);
    word(&command, name.text);
    if (!command_send(membership, &command, on_forgotten, change)) {
        on_forgotten(change, NULL);
    }
}

/* --- plain replies: events, the rebalance record ------------------------------------------- */

struct asking {
    membership_reply_fn done;
    void *ctx;
};

static void on_asked(void *ctx, redisReply *reply) {
    struct asking *asking = ctx;
    asking->done(asking->ctx, reply);
    free(asking);
}

static void ask(struct membership *membership, const struct command *command,
                membership_reply_fn done, void *ctx) {
    struct asking *asking = malloc(sizeof *asking);
    assert(asking != NULL);
    *asking = (struct asking){done, ctx};
    if (!command_send(membership, command, on_asked, asking)) {
        on_asked(asking, NULL);
    }
}

void membership_events(struct membership *membership, uint32_t count, membership_reply_fn done,
                       void *ctx) {
    struct command command = {0};
    char number[16];
    snprintf(number, sizeof number, "%u", count);
    word(&command, "XREVRANGE");
    word(&command, membership->events_key);
    word(&command, "+");
    word(&command, "-");
    word(&command, "COUNT");
    word(&command, number);
    ask(membership, &command, done, ctx);
}

void membership_rebalance_get(struct membership *membership, membership_reply_fn done, void *ctx) {
    struct command command = {0};
    word(&command, "HMGET");
    word(&command, membership->rebalance_key);
    word(&command, "number");
    word(&command, "value");
    ask(membership, &command, done, ctx);
}

static void on_event_added(void *ctx, redisReply *reply) {
    struct membership *membership = ctx;
    if (reply != NULL && reply->type == REDIS_REPLY_ERROR) {
        log_warn(&membership->log, "Redis refused an event: %s", reply->str);
    }
}

#define TEXT_OF(number) #number
#define TEXT(number) TEXT_OF(number)

void membership_event(struct membership *membership, const char *kind, const char *format, ...) {
    char text[LOG_LINE_BYTES_MAX / 2], epoch[24];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    log_info(&membership->log, "%s: %s", kind, text);
    snprintf(epoch, sizeof epoch, "%" PRIu64, membership->state->map.epoch.number);
    struct command command = {0};
    word(&command, "XADD");
    word(&command, membership->events_key);
    word(&command, "MAXLEN");
    word(&command, "~");
    word(&command, TEXT(EVENTS_MAX));
    word(&command, "*");
    word(&command, "kind");
    word(&command, kind);
    word(&command, "node");
    word(&command, membership->settings->node_id);
    word(&command, "epoch");
    word(&command, epoch);
    word(&command, "text");
    word(&command, text);
    command_send(membership, &command, on_event_added, membership);
}

/* --- the list of members ------------------------------------------------------------------- */

struct listing {
    struct membership *membership;
    membership_listed_fn done;
    void *ctx;
};

/* One of [id, incarnation, info, ttl]; false if it makes no sense and is to be left out. */
static bool member_parse(const redisReply *entry, struct member *member) {
    memset(member, 0, sizeof *member);
    if (entry->type != REDIS_REPLY_ARRAY || entry->elements != 4 ||
        entry->element[0]->type != REDIS_REPLY_STRING) {
        return false;
    }
    struct bytes id = bytes_of(entry->element[0]->str, entry->element[0]->len);
    if (!name_valid(id)) {
        return false;
    }
    member->id = name_of(id);
    const redisReply *incarnation = entry->element[1], *info = entry->element[2];
    if (incarnation->type == REDIS_REPLY_STRING && info->type == REDIS_REPLY_STRING) {
        snprintf(member->incarnation, sizeof member->incarnation, "%s", incarnation->str);
        member->alive = info_parse(bytes_of(info->str, info->len), member);
        member->lease_ms = entry->element[3]->integer;
    }
    return true;
}

static void on_listed(void *ctx, redisReply *reply) {
    struct listing *listing = ctx;
    struct membership *membership = listing->membership;
    if (reply == NULL || reply->type != REDIS_REPLY_ARRAY) {
        listing->done(listing->ctx, NULL, 0);
    } else {
        uint32_t count = 0;
        for (size_t i = 0; i < reply->elements && count < NODES_MAX; i++) {
            count += member_parse(reply->element[i], &membership->members[count]);
        }
        listing->done(listing->ctx, membership->members, count);
    }
    free(listing);
}

void membership_list(struct membership *membership, membership_listed_fn done, void *ctx) {
    struct listing *listing = malloc(sizeof *listing);
    assert(listing != NULL);
    *listing = (struct listing){membership, done, ctx};
    store_key prefix;
    store_key_node(membership->settings->key_prefix, "", prefix);
    struct command command;
    words_begin(&command, SCRIPT_NODES, "1");
    word(&command, membership->nodes_key);
    word(&command, prefix);
    if (!command_send(membership, &command, on_listed, listing)) {
        on_listed(listing, NULL);
    }
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
    struct release *release = malloc(sizeof *release);
    assert(release != NULL);
    *release = (struct release){done, ctx};
    uv_timer_stop(&membership->timer);
    struct command command;
    words_begin(&command, SCRIPT_RELEASE, "1");
    word(&command, membership->node_key);
    word(&command, membership->boot->incarnation);
    if (!command_send(membership, &command, on_released, release)) {
        on_released(release, NULL);
    }
}

/* --- life ---------------------------------------------------------------------------------- */

static void on_link_up(void *ctx, struct redis_link *link) {
    struct membership *membership = ctx;
    membership->beating = false;
    beat(membership);
}

static void on_link_down(void *ctx, struct redis_link *link, bool was_up, const char *why) {
    struct membership *membership = ctx;
    membership->beating = false;
    if (was_up) {
        log_warn(&membership->log, "lost Redis (membership): %s", why);
    } else {
        log_debug(&membership->log, "cannot reach Redis: %s", why);
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
        membership->link =
            redis_link_open(loop, &options->boot->address, options->boot->password, &link);
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
