#include "server/io/store.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/memory.h"
#include "runtime/redis_time.h"
#include "server/io/store_impl.h"

/* --- calls --------------------------------------------------------------------------------- */

static struct store_call **free_list(struct store *store, bool gathered) {
    return gathered ? &store->free_gathered : &store->free_calls;
}

struct store_call *store_call_get(struct store *store, bool gathered) {
    struct store_call **list = free_list(store, gathered), *call = *list;
    size_t written_size = gathered ? STORE_CALL_SLOTS_MAX * sizeof call->written[0] : 0;
    if (call != NULL) {
        *list = call->next;
    } else {
        call = memory_need(sizeof *call + written_size);
    }
    *call = (struct store_call){.store = store, .gathered = gathered};
    return call;
}

void store_call_put(struct store_call *call) {
    struct store_call **list = free_list(call->store, call->gathered);
    redisFreeCommand(call->command);
    call->command = NULL;
    call->next = *list;
    *list = call;
}

void store_answer_all(struct store_call *call, enum shard_stored_status status) {
    struct store *store = call->store;
    struct shard_event event = {.kind = SHARD_EVENT_WRITTEN};
    for (uint32_t i = 0; i < call->written_count; i++) {
        call->written[i].status = status;
    }
    event.written.writes = call->written;
    event.written.count = call->written_count;
    if (!store->closing) {
        store->handler.on_event(store->handler.ctx, &event);
    }
    store_call_put(call);
}

void store_answer(struct store_call *call, struct shard_event *event) {
    struct store *store = call->store;
    if (call->gathered) {
        store_answer_all(call, event->stored.status);
        return;
    }
    event->stored.op_kind = call->op_kind;
    event->stored.slot = call->slot;
    event->stored.op_id = call->op_id;
    store_call_put(call);
    if (!store->closing) {
        store->handler.on_event(store->handler.ctx, event);
    }
}

void store_answer_failed(struct store_call *call) {
    struct shard_event event = {.kind = SHARD_EVENT_STORED};
    event.stored.status = SHARD_STORED_FAILED;
    store_answer(call, &event);
}

void store_log_refused(struct store *store, const struct store_call *call, const char *text) {
    uint64_t now_ns = clock_monotonic_ns();
    if (now_ns - store->refused_logged_ns > UINT64_C(1000000000)) {
        store->refused_logged_ns = now_ns;
        log_error(&store->log, "Redis refused an operation on slot %u: %s%s", call->slot.index,
                  text, redis_hint(text));
    }
}

void store_script_refused(struct store_call *call, const redisReply *reply) {
    if (reply->type == REDIS_REPLY_ERROR && strncmp(reply->str, "NOSCRIPT", 8) == 0) {
        store_scripts_load(call->server);
    } else {
        store_log_refused(call->store, call,
                          reply->type == REDIS_REPLY_ERROR ? reply->str : "unexpected answer");
    }
}

/* The answer of a script: "OK", "FENCED", a number, or an error. */
static void on_script(void *ctx, redisReply *reply) {
    struct store_call *call = ctx;
    struct shard_event event = {.kind = SHARD_EVENT_STORED};
    event.stored.status = SHARD_STORED_FAILED;
    if (reply != NULL && reply->type == REDIS_REPLY_STRING) {
        if (strcmp(reply->str, "FENCED") != 0) {
            store_written(call, strtoull(reply->str, NULL, 10));
            return;
        }
        event.stored.status = SHARD_STORED_FENCED;
    } else if (reply != NULL) {
        store_script_refused(call, reply);
    }
    store_answer(call, &event);
}

/* --- commands ------------------------------------------------------------------------------ */

static int word_add(struct store *store, int count, const void *data, size_t size) {
    assert(count < STORE_WORDS_MAX);
    store->words[count] = data;
    store->sizes[count] = size;
    return count + 1;
}

static int text_add(struct store *store, int count, const char *text) {
    return word_add(store, count, text, strlen(text));
}

static int script_begin(struct store *store, int script, const char *key_count) {
    int count = text_add(store, 0, "EVALSHA");
    count = text_add(store, count, store->sha[script]);
    return text_add(store, count, key_count);
}

/* A number as a word, which is borrowed. */
static int number_add(struct store *store, int count, char number[16], uint32_t value) {
    snprintf(number, 16, "%" PRIu32, value);
    return text_add(store, count, number);
}

/* The write of one slot, where each is sent to a server of its own (store_write.c has the other
 * way). `numbers` are borrowed by the command. */
static int write_command(struct store *store, const struct shard_op *op, store_key fence_key,
                         store_key data_key, char *fence, char numbers[2][16]) {
    uint32_t removals = 0;
    for (uint32_t i = 0; i < op->entry_count; i++) {
        removals += op->entries[i].remove;
    }
    int count = script_begin(store, STORE_SCRIPT_WRITE, "2");
    count = text_add(store, count, fence_key);
    count = text_add(store, count, data_key);
    count = text_add(store, count, fence);
    count = number_add(store, count, numbers[0], removals);
    count = number_add(store, count, numbers[1], op->entry_count - removals);
    for (uint32_t i = 0; i < op->entry_count && removals > 0; i++) {
        if (op->entries[i].remove) {
            count = word_add(store, count, op->entries[i].key.data, op->entries[i].key.size);
        }
    }
    for (uint32_t i = 0, sets = 0; i < op->entry_count; i++) {
        const struct shard_op_entry *entry = &op->entries[i];
        if (!entry->remove) {
            uint32_t size = store_entry_value(op, entry, store->records[sets]);
            count = word_add(store, count, entry->key.data, entry->key.size);
            count = word_add(store, count, store->records[sets], size);
            sets++;
        }
    }
    return count;
}

static int load_command(struct store *store, store_key key, char *cursor) {
    int count = text_add(store, 0, "HSCAN");
    count = text_add(store, count, key);
    count = text_add(store, count, cursor);
    count = text_add(store, count, "COUNT");
    return text_add(store, count, STORE_PAGE_ENTRIES);
}

static int assign_command(struct store *store, const struct shard_op *op, store_key fence_key,
                          store_key keys_key, char *fence) {
    int count = script_begin(store, 2, "2");
    count = text_add(store, count, fence_key);
    count = text_add(store, count, keys_key);
    count = text_add(store, count, fence);
    count = word_add(store, count, op->key.data, op->key.size);
    return word_add(store, count, op->plan.size > 0 ? (const char *)op->plan.data : "",
                    op->plan.size);
}

/* --- performing ---------------------------------------------------------------------------- */

void store_fail_later(struct store_call *call) {
    struct store *store = call->store;
    call->next = NULL;
    *store->failed_last = call;
    store->failed_last = &call->next;
}

/* A cursor means nothing to another server than gave it, nor to one that was restarted. */
static bool cursor_holds(const struct store_server *server, const struct store_call *call) {
    return call->cursor == 0 ||
           server->store->slots[call->slot.index].page_connection == server->connection;
}

static bool call_sent(struct store_server *server, struct store_call *call, bool sent) {
    call->server = server;
    if (sent && call->writes && server->follow_up != ACK_FOLLOW_UP_NONE) {
        call->followed = server->unfollowed = true;
    }
    return sent;
}

bool store_send(struct store_server *server, struct store_call *call, int count,
                redis_reply_fn on_reply) {
    struct store *store = server->store;
    return cursor_holds(server, call) &&
           call_sent(
               server, call,
               redis_link_send(server->link, count, store->words, store->sizes, on_reply, call));
}

bool store_send_text(struct store_server *server, struct store_call *call, const char *text,
                     size_t size, redis_reply_fn on_reply) {
    return cursor_holds(server, call) &&
           call_sent(server, call, redis_link_send_text(server->link, text, size, on_reply, call));
}

/* The epoch to raise a fence under: one that is held is raised again under its own, so that the
 * store refuses it if anybody had the slot meanwhile, even if it has come back by a newer map. */
static uint64_t raise_epoch(const struct shard_op *op, struct epoch epoch) {
    return op->fence == 0 ? epoch.number : op->fence / FENCE_RAISES;
}

/* The words of a raise that are numbers, and who raises. */
struct raise_words {
    char epoch[24], held[24], holder[96];
};

static int raise_command(struct store *store, const struct shard_op *op, struct epoch epoch,
                         store_key fence_key, store_key holder_key, struct raise_words *words) {
    snprintf(words->epoch, sizeof words->epoch, "%" PRIu64, raise_epoch(op, epoch));
    snprintf(words->held, sizeof words->held, "%" PRIu64, op->fence);
    snprintf(words->holder, sizeof words->holder, "%s@%" PRIu64, store->holder, op->since_fence);
    int count = script_begin(store, 0, "2");
    count = text_add(store, count, fence_key);
    count = text_add(store, count, holder_key);
    count = text_add(store, count, words->epoch);
    count = text_add(store, count, words->held);
    return text_add(store, count, op->fence == 0 ? store->holder : words->holder);
}

void store_perform(struct store *store, const struct shard_op *op, struct epoch epoch) {
    if (op->kind == SHARD_OP_WRITE && store->cluster == NULL) {
        store_gather(store, op);
        return;
    }
    store_gather_send(store); /* in the order given */
    struct store_call *call = store_call_get(store, false);
    call->op_kind = (uint8_t)op->kind;
    call->slot = op->slot;
    call->op_id = op->op_id;
    store_key fence_key, second_key, data_key;
    char number[24], numbers[2][16];
    struct raise_words raise;
    redis_reply_fn on_reply = on_script;
    int count = 0;
    if (!store->up) {
        store_fail_later(call);
        return;
    }
    store_key_fence(store->prefix, op->slot, fence_key);
    store_op_key(store, op, data_key);
    snprintf(number, sizeof number, "%" PRIu64, op->fence);
    switch (op->kind) {
    case SHARD_OP_RAISE_FENCE:
        if (op->fence == 0) { /* what it had of the slot before is forgotten */
            store->slots[op->slot.index].lineage = 0;
        }
        store_key_holder(store->prefix, op->slot, second_key);
        count = raise_command(store, op, epoch, fence_key, second_key, &raise);
        break;
    case SHARD_OP_LOAD_BUCKETS:
    case SHARD_OP_LOAD_KEYS:
        call->cursor = op->cursor;
        snprintf(number, sizeof number, "%" PRIu64, op->cursor);
        count = load_command(store, data_key, number);
        on_reply = store_on_page;
        break;
    case SHARD_OP_FETCH:
        on_reply = store_on_key;
        if (op->record_only) {
            count = text_add(store, 0, "HGET");
            count = text_add(store, count, data_key);
            count = word_add(store, count, op->key.data, op->key.size);
            break;
        }
        store_key_keys(store->prefix, op->slot, second_key);
        count = script_begin(store, 3, "2");
        count = text_add(store, count, data_key);
        count = text_add(store, count, second_key);
        count = word_add(store, count, op->key.data, op->key.size);
        break;
    case SHARD_OP_WRITE:
        count = write_command(store, op, fence_key, data_key, number, numbers);
        break;
    case SHARD_OP_ASSIGN:
        count = assign_command(store, op, fence_key, data_key, number);
        break;
    }
    call->writes = on_reply == on_script;
    if (store->cluster != NULL && store_queue_words(call, count)) {
        store_queue_put(call, on_reply);
    } else if (store->cluster != NULL || !store_send(store->servers[0], call, count, on_reply)) {
        store_fail_later(call);
    }
}

static void on_failed_timer(uv_timer_t *timer) {
    struct store *store = timer->data;
    struct store_call *call = store->failed_first;
    store->failed_first = NULL;
    store->failed_last = &store->failed_first;
    while (call != NULL) {
        struct store_call *next = call->next;
        store_answer_failed(call);
        call = next;
    }
    store_turn(store);
}

void store_turn(struct store *store) {
    if (store->failed_first != NULL && !uv_is_active((uv_handle_t *)&store->failed_timer) &&
        !store->closing) {
        uv_timer_start(&store->failed_timer, on_failed_timer, 0, 0);
    }
}

/* The end of a turn: what it gave to be sent leaves now. */
static void on_prepare(uv_prepare_t *prepare) {
    struct store *store = prepare->data;
    store_gather_turn(store);
    store_turn(store);
    for (uint32_t i = 0; i < store->server_count; i++) {
        store_follow_up(store->servers[i]);
        redis_link_flush(store->servers[i]->link);
    }
}

/* --- the clock ----------------------------------------------------------------------------- */

static void on_time(void *ctx, redisReply *reply) {
    struct store *store = ctx;
    struct clock_sample sample = {.before_ns = store->clock_asked_ns,
                                  .after_ns = clock_monotonic_ns()};
    store->clock_asked_ns = 0;
    if (reply != NULL && !store->closing && redis_time_read(reply, &sample.store_ns)) {
        store->handler.on_clock(store->handler.ctx, &sample);
    }
}

static void on_clock_timer(uv_timer_t *timer) {
    struct store *store = timer->data;
    const char *argv[] = {"TIME"};
    size_t sizes[] = {4};
    for (uint32_t i = 0; i < store->server_count; i++) {
        store_tick(store->servers[i]);
    }
    struct redis_link *link = NULL;
    if (store->cluster != NULL) {
        store_cluster_tick(store);
        link = store_cluster_home(store);
    } else if (store->servers[0]->ready) {
        link = store->servers[0]->link;
    }
    if (link != NULL && store->clock_asked_ns == 0) {
        store->clock_asked_ns = clock_monotonic_ns();
        if (!redis_link_send(link, 1, argv, sizes, on_time, store)) {
            store->clock_asked_ns = 0;
        }
    }
}

/* --- life ---------------------------------------------------------------------------------- */

void store_tell(struct store *store, bool up, bool restarted, const uint8_t *lost) {
    struct shard_event event = {.kind = SHARD_EVENT_STORE};
    event.store.up = store->up = up;
    event.store.restarted = restarted;
    event.store.lost = lost;
    if (!store->closing) {
        store->handler.on_event(store->handler.ctx, &event);
    }
}

struct store *store_open(uv_loop_t *loop, const struct store_options *options,
                         const struct store_handler *handler) {
    struct store *store = calloc(1, sizeof *store);
    struct store_slot *slots = calloc(SLOTS_MAX, sizeof *slots);
    if (store == NULL || slots == NULL) {
        free(store);
        free(slots);
        return NULL;
    }
    store->slots = slots;
    store->handler = *handler;
    store->log = *options->log;
    store->prefix = options->prefix;
    store->ack = options->ack;
    snprintf(store->holder, sizeof store->holder, "%s/%u", options->incarnation, options->shard);
    store->loop = loop;
    store->failed_last = &store->failed_first;
    bool opened =
        options->access->address.cluster
            ? store_cluster_open(store, options->access)
            : store_gather_open(store) && store_server_open(store, options->access, NULL) != NULL;
    if (!opened) {
        store_gather_free(store);
        free(slots);
        free(store);
        return NULL;
    }
    uv_timer_init(loop, &store->clock_timer);
    store->clock_timer.data = store;
    uv_timer_start(&store->clock_timer, on_clock_timer, STORE_CLOCK_INTERVAL_MS,
                   STORE_CLOCK_INTERVAL_MS);
    uv_timer_init(loop, &store->failed_timer);
    store->failed_timer.data = store;
    uv_prepare_init(loop, &store->turn_end);
    store->turn_end.data = store;
    uv_prepare_start(&store->turn_end, on_prepare);
    store->handles_open += 3;
    return store;
}

bool store_is_up(const struct store *store) {
    return store->up;
}

static void calls_free(struct store_call *call) {
    while (call != NULL) {
        struct store_call *next = call->next;
        redisFreeCommand(call->command);
        free(call);
        call = next;
    }
}

void store_part_closed(struct store *store) {
    if (--store->handles_open > 0) {
        return;
    }
    for (uint32_t i = 0; i < SLOTS_MAX; i++) {
        calls_free(store->slots[i].first);
    }
    calls_free(store->failed_first);
    calls_free(store->free_calls);
    calls_free(store->free_gathered);
    store_gather_free(store);
    free(store->cluster);
    free(store->slots);
    free(store->pairs);
    free(store);
}

static void on_handle_closed(uv_handle_t *handle) {
    store_part_closed(handle->data);
}

void store_close(struct store *store) {
    store->closing = true;
    while (store->server_count > 0) {
        store_server_close(store->servers[0]);
    }
    if (store->cluster != NULL) {
        store_cluster_close(store);
    }
    uv_close((uv_handle_t *)&store->clock_timer, on_handle_closed);
    uv_close((uv_handle_t *)&store->failed_timer, on_handle_closed);
    uv_close((uv_handle_t *)&store->turn_end, on_handle_closed);
}
