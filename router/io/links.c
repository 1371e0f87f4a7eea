#include "router/io/links.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/request.h"
#include "router/io/shell.h"

/* Bytes of one take in a take_many at most: the longest key with its head, the cost, and the longer
 * of a plan's name and an inline limit (a map of three named integers). */
#define ITEM_HEAD_BYTES 1
#define ITEM_KEY_BYTES (3 + KEY_BYTES_MAX)
#define ITEM_PLAN_BYTES (2 + NAME_BYTES_MAX)
#define ITEM_LIMIT_BYTES (1 + 5 + 10 + 6 + 3 * 9)
#define ITEM_BYTES_MAX (ITEM_HEAD_BYTES + ITEM_KEY_BYTES + 9 + ITEM_PLAN_BYTES)
/* Of a request around its takes: array, type, msgid, the longest method's name, array. */
#define BATCH_HEAD_BYTES (1 + 1 + 5 + 10 + 5)
_Static_assert(ITEM_LIMIT_BYTES <= ITEM_PLAN_BYTES, "the name is the longer one");
_Static_assert(TAKES_PER_REQUEST_MAX *ITEM_BYTES_MAX + BATCH_HEAD_BYTES <= MESSAGE_BYTES_MAX,
               "every batch fits one message, so the core need not count bytes");

/* --- logging -------------------------------------------------------------------------------- */

static void link_log(struct links_slot *slot, enum log_level level, const char *what,
                     const char *why) {
    struct router_shell *shell = slot->shell;
    uint64_t now_ns = shell_now_ns(shell);
    if (slot->logged_ns != 0 && now_ns - slot->logged_ns < LINK_LOG_INTERVAL_NS) {
        slot->unlogged++;
        return;
    }
    struct router_link_info info;
    if (!router_link_info(shell->router, slot->index, &info)) {
        return;
    }
    char more[64] = "";
    if (slot->unlogged > 0) {
        snprintf(more, sizeof more, " (%u lines like this left out)", slot->unlogged);
    }
    log_write(&shell->log, level, "link to shard %s %s%s%s%s", info.endpoint->text, what,
              why[0] == '\0' ? "" : ": ", why, more);
    slot->logged_ns = now_ns;
    slot->unlogged = 0;
}

/* --- what comes from links ------------------------------------------------------------------ */

static void report(struct links_slot *slot, bool up) {
    struct router_event event = {.kind = ROUTER_EVENT_LINK};
    event.link.link = slot->index;
    event.link.up = up;
    shell_step(slot->shell, &event);
}

static void on_up(void *ctx, struct link *link) {
    struct links_slot *slot = ctx;
    link_log(slot, LOG_LEVEL_INFO, "is up", "");
    report(slot, true);
}

static void on_down(void *ctx, struct link *link, bool was_up, const char *why) {
    struct links_slot *slot = ctx;
    link_log(slot, LOG_LEVEL_WARN, was_up ? "was lost" : "does not come up", why);
    if (was_up) {
        report(slot, false);
    }
}

static void verdict_of_error(struct router_verdict *verdict, const struct reply *error) {
    verdict->take = (struct take_result){.code = error->code};
    verdict->text = error->message;
    verdict->moved = (struct moved){0};
    if (error->code == CODE_MOVED && !moved_read(error->data, &verdict->moved)) {
        verdict->moved = (struct moved){0};
    }
}

static bool verdict_read(struct reader *reader, struct router_verdict *verdict) {
    struct reply error;
    if (!result_read(reader, &verdict->take, &error)) {
        return false;
    }
    if (verdict->take.code != CODE_OK) {
        verdict_of_error(verdict, &error);
    }
    return true;
}

/* The result of a single request begins with a bool; that of a take_many is a list of results. */
static bool verdicts_read(struct bytes result, struct router_verdict *verdicts, uint32_t *count) {
    struct reader reader = reader_of(result), probe = reader;
    bool allowed;
    if (!read_array(&probe, count)) {
        return false;
    }
    if (read_bool(&probe, &allowed)) {
        *count = 1;
    } else {
        reader = probe;
    }
    if (*count > TAKES_PER_REQUEST_MAX) {
        return false;
    }
    for (uint32_t i = 0; i < *count; i++) {
        if (!verdict_read(&reader, &verdicts[i])) {
            return false;
        }
    }
    return reader_done(&reader);
}

static void on_reply(void *ctx, struct link *link, uint32_t id, struct bytes body) {
    struct links_slot *slot = ctx;
    struct router_verdict *verdicts = slot->shell->links.verdicts;
    struct router_event event = {.kind = ROUTER_EVENT_REPLY};
    event.reply.link = slot->index;
    event.reply.batch_id = id;
    event.reply.verdicts = verdicts;
    struct reply reply;
    if (!reply_read(body, &reply)) {
        event.reply.outcome = ROUTER_OUTCOME_UNREADABLE;
    } else if (reply.is_error) {
        verdict_of_error(&verdicts[0], &reply);
        event.reply.outcome = ROUTER_OUTCOME_ERROR;
        event.reply.count = 1;
    } else if (verdicts_read(reply.result, verdicts, &event.reply.count)) {
        event.reply.outcome = ROUTER_OUTCOME_RESULTS;
    } else {
        event.reply.outcome = ROUTER_OUTCOME_UNREADABLE;
    }
    shell_step(slot->shell, &event);
}

/* --- orders --------------------------------------------------------------------------------- */

static void slot_open(struct links_slot *slot, const char *url) {
    struct link_handler handler = {
        .ctx = slot, .on_up = on_up, .on_down = on_down, .on_reply = on_reply};
    char why[256];
    assert(slot->link == NULL);
    if (link_open(&slot->link, slot->shell->loop, url, &handler, why, sizeof why) != 0) {
        slot->link = NULL;
        log_error(&slot->shell->log, "the map names a shard at %s, which cannot be reached: %s",
                  url, why);
    }
}

static void slot_close(struct links_slot *slot) {
    if (slot->link != NULL) {
        link_close(slot->link, NULL, NULL);
        slot->link = NULL;
    }
}

void links_order(struct router_shell *shell, const struct router_link_order *order) {
    struct links_slot *slot = &shell->links.slots[order->link];
    switch (order->kind) {
    case ROUTER_LINK_OPEN:
        slot->logged_ns = 0;
        slot->unlogged = 0;
        slot_open(slot, order->endpoint->text);
        break;
    case ROUTER_LINK_CLOSE:
        slot_close(slot);
        break;
    case ROUTER_LINK_RESET:
        log_warn(&shell->log, "shard %s has not answered for %d s: connecting anew",
                 order->endpoint->text, (int)(BATCH_ANSWER_NS / 1000000000));
        slot_close(slot);
        slot_open(slot, order->endpoint->text);
        break;
    }
}

/* Bytes that the batch takes at most: by what its takes hold, for a buffer that is reserved for
 * them is a good deal larger when all are taken to be as long as they may be. */
static uint32_t batch_size_max(const struct router_batch *batch) {
    uint32_t size = BATCH_HEAD_BYTES;
    for (uint32_t i = 0; i < batch->count; i++) {
        const struct take *take = batch->takes[i];
        size += ITEM_BYTES_MAX - ITEM_KEY_BYTES - ITEM_PLAN_BYTES + 3 + take->key.size;
        size += take->plan.kind == PLAN_CHOICE_NAMED    ? 2 + take->plan.name.size
                : take->plan.kind == PLAN_CHOICE_INLINE ? ITEM_LIMIT_BYTES
                                                        : 0;
    }
    return size;
}

static void batch_encode(struct writer *writer, const struct router_batch *batch) {
    if (!batch->many) {
        request_write_single(writer, batch->id, batch->verb, batch->takes[0], 0);
        return;
    }
    request_write_head(writer, batch->id, METHOD_TAKE_MANY);
    write_array(writer, batch->count);
    for (uint32_t i = 0; i < batch->count; i++) {
        request_write_take(writer, batch->takes[i], 0);
    }
}

void links_send(struct router_shell *shell, const struct router_batch *batch) {
    struct link *link = shell->links.slots[batch->link].link;
    struct writer writer;
    if (link == NULL ||
        link_send_begin(link, batch->id, batch_size_max(batch), &writer) != LINK_SENT) {
        shell->unsent[shell->unsent_count++] =
            (struct unsent){.link = batch->link, .batch_id = batch->id};
        return;
    }
    batch_encode(&writer, batch);
    link_send_end(link, &writer);
}

void links_flush(struct router_shell *shell, uint32_t index) {
    struct link *link = shell->links.slots[index].link;
    if (link != NULL) {
        link_flush(link);
    }
}

/* --- beginning and end ---------------------------------------------------------------------- */

bool links_init(struct router_shell *shell) {
    struct links *links = &shell->links;
    links->slots = calloc(SHARDS_MAX, sizeof *links->slots);
    links->verdicts = calloc(TAKES_PER_REQUEST_MAX, sizeof *links->verdicts);
    if (links->slots == NULL || links->verdicts == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < SHARDS_MAX; i++) {
        links->slots[i].shell = shell;
        links->slots[i].index = i;
    }
    return true;
}

void links_close(struct router_shell *shell) {
    struct links *links = &shell->links;
    for (uint32_t i = 0; links->slots != NULL && i < SHARDS_MAX; i++) {
        if (links->slots[i].link != NULL) {
            shell->open_count++;
            link_close(links->slots[i].link, shell_part_closed, shell);
        }
    }
    free(links->slots);
    free(links->verdicts);
    links->slots = NULL;
    links->verdicts = NULL;
}
