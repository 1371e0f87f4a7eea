/* Changes to what the cluster agrees on, and the events that tell of them. */
#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/memory.h"
#include "server/io/membership_impl.h"

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
        membership_beat(membership);
    } else if (reply != NULL && reply->type == REDIS_REPLY_ERROR) {
        log_error(&membership->log, "Redis refused a change: %s", reply->str);
    }
    change->done(change->ctx, code, number);
    free(change);
}

static void replace(struct membership *membership, const char *key, uint64_t follows,
                    uint64_t number, struct bytes value, membership_changed_fn done, void *ctx) {
    struct change *change = memory_need(sizeof *change);
    *change = (struct change){membership, done, ctx, number};
    char expected[24], next[24];
    snprintf(expected, sizeof expected, "%" PRIu64, follows);
    snprintf(next, sizeof next, "%" PRIu64, number);
    struct command command;
    command_begin(&command, SCRIPT_REPLACE, "1");
    command_word(&command, key);
    command_word(&command, expected);
    command_word(&command, next);
    command_bytes(&command, value);
    if (!command_send(membership, &command, on_changed, change)) {
        on_changed(change, NULL);
    }
}

static void replace_map(struct membership *membership, uint64_t follows, const struct map *next,
                        membership_changed_fn done, void *ctx) {
    struct writer writer = writer_of(membership->scratch, SCRATCH_BYTES);
    map_write(&writer, next);
    assert(!writer.overflow);
    replace(membership, membership->map_key, follows, next->epoch.number, writer_bytes(&writer),
            done, ctx);
}

static void replace_plans(struct membership *membership, uint64_t follows,
                          const struct plan_set *next, membership_changed_fn done, void *ctx) {
    struct writer writer = writer_of(membership->scratch, SCRATCH_BYTES);
    plan_set_write(&writer, next);
    assert(!writer.overflow);
    replace(membership, membership->plans_key, follows, next->version, writer_bytes(&writer), done,
            ctx);
}

void membership_replace_map(struct membership *membership, const struct map *next,
                            membership_changed_fn done, void *ctx) {
    replace_map(membership, next->epoch.number - 1, next, done, ctx);
}

void membership_replace_plans(struct membership *membership, const struct plan_set *next,
                              membership_changed_fn done, void *ctx) {
    replace_plans(membership, next->version - 1, next, done, ctx);
}

void membership_rebalance_put(struct membership *membership, uint64_t follows, struct bytes value,
                              membership_changed_fn done, void *ctx) {
    replace(membership, membership->rebalance_key, follows, follows + 1, value, done, ctx);
}

/* Of several nodes that put it back one wins; the next heartbeat shows whether it is done. */
static void on_put_back(void *ctx, enum code code, uint64_t number) {}

static void on_map_put_back(void *ctx, enum code code, uint64_t number) {
    struct membership *membership = ctx;
    if (code == CODE_OK) {
        membership_event(membership, "map-old",
                         "the store held the map of an older epoch, %" PRIu64 ": it changed "
                         "nothing, epoch %" PRIu64 " was put back",
                         membership->stored_map, number);
    }
}

void membership_put_back_map(struct membership *membership, uint64_t stored) {
    membership->stored_map = stored;
    replace_map(membership, stored, &membership->state->map, on_map_put_back, membership);
}

void membership_put_back_plans(struct membership *membership, uint64_t stored) {
    replace_plans(membership, stored, &membership->state->plans, on_put_back, membership);
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
    struct change *change = memory_need(sizeof *change);
    *change = (struct change){membership, done, ctx, 0};
    struct name name = name_of(id);
    store_key node;
    store_key_node(membership->settings->key_prefix, name.text, node);
    struct command command;
    command_begin(&command, SCRIPT_FORGET, "2");
    command_word(&command, membership->nodes_key);
    command_word(&command, node);
    command_word(&command, name.text);
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
    struct asking *asking = memory_need(sizeof *asking);
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
    command_word(&command, "XREVRANGE");
    command_word(&command, membership->events_key);
    command_word(&command, "+");
    command_word(&command, "-");
    command_word(&command, "COUNT");
    command_word(&command, number);
    ask(membership, &command, done, ctx);
}

void membership_rebalance_get(struct membership *membership, membership_reply_fn done, void *ctx) {
    struct command command = {0};
    command_word(&command, "HMGET");
    command_word(&command, membership->rebalance_key);
    command_word(&command, "number");
    command_word(&command, "value");
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
    command_word(&command, "XADD");
    command_word(&command, membership->events_key);
    command_word(&command, "MAXLEN");
    command_word(&command, "~");
    command_word(&command, TEXT(EVENTS_MAX));
    command_word(&command, "*");
    command_word(&command, "kind");
    command_word(&command, kind);
    command_word(&command, "node");
    command_word(&command, membership->settings->node_id);
    command_word(&command, "epoch");
    command_word(&command, epoch);
    command_word(&command, "text");
    command_word(&command, text);
    command_send(membership, &command, on_event_added, membership);
}

void membership_event_grow(struct membership *membership, uint64_t group, const char *kind,
                           const char *text) {
    char name[INCARNATION_SIZE + 32], epoch[24];
    snprintf(name, sizeof name, "%s-%" PRIu64, membership->boot->incarnation, group);
    snprintf(epoch, sizeof epoch, "%" PRIu64, membership->state->map.epoch.number);
    struct command command;
    command_begin(&command, SCRIPT_EVENT, "1");
    command_word(&command, membership->events_key);
    command_word(&command, TEXT(EVENTS_MAX));
    command_word(&command, TEXT(EVENTS_LOOKED));
    command_word(&command, name);
    command_word(&command, kind);
    command_word(&command, membership->settings->node_id);
    command_word(&command, epoch);
    command_word(&command, text);
    command_send(membership, &command, on_event_added, membership);
}
