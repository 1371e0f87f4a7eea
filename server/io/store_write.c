/*
 * Writes: those of many slots leave in one call of the script, with one answer.
 *
 * A write that is asked for is encoded at once, behind those that wait already. They leave when the
 * turn of the loop ends, unless STORE_CALLS_MAX calls are still to be answered: then more gather
 * meanwhile, so that calls grow by themselves when the store is what limits. They leave at once
 * when the call is full, and before anything else is sent, so the order stays as it was given.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "server/io/store_impl.h"

/* --- encoding ------------------------------------------------------------------------------ */

static uint32_t number_put(char *out, uint64_t number) {
    char digits[20];
    uint32_t count = 0, size = 0;
    do {
        digits[count++] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    while (count > 0) {
        out[size++] = digits[--count];
    }
    return size;
}

/* The head of an array ('*') or of a word ('$'). */
static void head_put(struct store_text *text, char kind, uint64_t number) {
    char *at = text->data + text->size;
    *at = kind;
    uint32_t size = 1 + number_put(at + 1, number);
    memcpy(at + size, "\r\n", 2);
    text->size += size + 2;
    assert(text->size <= text->capacity);
}

static void bytes_put(struct store_text *text, const void *data, uint32_t size) {
    assert(text->size + size <= text->capacity);
    memcpy(text->data + text->size, data, size);
    text->size += size;
}

static void word_put(struct store_text *text, const void *data, uint32_t size) {
    head_put(text, '$', size);
    bytes_put(text, data, size);
    bytes_put(text, "\r\n", 2);
}

static void number_word_put(struct store_text *text, uint64_t number) {
    char digits[20];
    word_put(text, digits, number_put(digits, number));
}

static bool text_create(struct store_text *text, uint32_t capacity) {
    *text = (struct store_text){.data = malloc(capacity), .capacity = capacity};
    return text->data != NULL;
}

/* --- what waits ---------------------------------------------------------------------------- */

bool store_gather_open(struct store *store) {
    struct store_gather *gather = &store->gather;
    _Static_assert(STORE_CALL_BYTES_MAX >= STORE_OP_BYTES_MAX, "a slot's longest write must fit");
    return text_create(&gather->fences, STORE_CALL_SLOTS_MAX * STORE_SLOT_KEY_BYTES_MAX) &&
           text_create(&gather->buckets, STORE_CALL_SLOTS_MAX * STORE_SLOT_KEY_BYTES_MAX) &&
           text_create(&gather->values, STORE_CALL_BYTES_MAX) &&
           text_create(&gather->command, STORE_COMMAND_BYTES_MAX);
}

void store_gather_free(struct store *store) {
    free(store->gather.fences.data);
    free(store->gather.buckets.data);
    free(store->gather.values.data);
    free(store->gather.command.data);
    free(store->gather.call);
}

static bool gather_room(const struct store_gather *gather, const struct shard_op *op) {
    return gather->call->written_count < STORE_CALL_SLOTS_MAX &&
           gather->entry_count + op->entry_count <= STORE_CALL_ENTRIES_MAX &&
           gather->values.size + STORE_WRITE_HEAD_BYTES_MAX +
                   op->entry_count * STORE_ENTRY_BYTES_MAX <=
               STORE_CALL_BYTES_MAX;
}

/* The call that waited; there is none any more. */
static struct store_call *gather_take(struct store_gather *gather) {
    struct store_call *call = gather->call;
    gather->call = NULL;
    gather->entry_count = gather->word_count = 0;
    gather->fences.size = gather->buckets.size = gather->values.size = 0;
    return call;
}

uint32_t store_entry_value(const struct shard_op *op, const struct shard_op_entry *entry,
                           uint8_t out[RECORD_BYTES_MAX]) {
    _Static_assert(NAME_BYTES_MAX <= RECORD_BYTES_MAX, "a plan's name must fit");
    if (!op->assignments) {
        return record_write(&entry->record, out);
    }
    memcpy(out, entry->record.plan.data, entry->record.plan.size);
    return entry->record.plan.size;
}

int store_op_key(const struct store *store, const struct shard_op *op, store_key key) {
    bool is_keys = op->kind == SHARD_OP_LOAD_KEYS || op->kind == SHARD_OP_ASSIGN || op->assignments;
    return (is_keys ? store_key_keys : store_key_buckets)(store->prefix, op->slot, key);
}

/* How a slot's write is told: its fence, how many records go and how many are set, then which. */
static void op_put(struct store_gather *gather, const struct shard_op *op) {
    struct store_text *values = &gather->values;
    uint8_t record[RECORD_BYTES_MAX];
    uint32_t removals = 0;
    for (uint32_t i = 0; i < op->entry_count; i++) {
        removals += op->entries[i].remove;
    }
    number_word_put(values, op->fence);
    number_word_put(values, removals);
    number_word_put(values, op->entry_count - removals);
    for (uint32_t i = 0; i < op->entry_count && removals > 0; i++) {
        if (op->entries[i].remove) {
            word_put(values, op->entries[i].key.data, op->entries[i].key.size);
        }
    }
    for (uint32_t i = 0; i < op->entry_count; i++) {
        const struct shard_op_entry *entry = &op->entries[i];
        if (!entry->remove) {
            word_put(values, entry->key.data, entry->key.size);
            word_put(values, record, store_entry_value(op, entry, record));
        }
    }
    gather->entry_count += op->entry_count;
    gather->word_count += 3 + 2 * op->entry_count - removals;
}

void store_gather(struct store *store, const struct shard_op *op) {
    struct store_gather *gather = &store->gather;
    if (gather->call != NULL && !gather_room(gather, op)) {
        store_gather_send(store);
    }
    if (gather->call == NULL) {
        gather->call = store_call_get(store, true);
        gather->call->slot = op->slot;
    }
    struct store_call *call = gather->call;
    store_key key;
    word_put(&gather->fences, key, (uint32_t)store_key_fence(store->prefix, op->slot, key));
    word_put(&gather->buckets, key, (uint32_t)store_op_key(store, op, key));
    op_put(gather, op);
    call->written[call->written_count] =
        (struct shard_written){.slot = op->slot, .op_id = op->op_id};
    call->written_count++;
}

/* --- answers ------------------------------------------------------------------------------- */

/* What the script says of one slot. */
static enum shard_stored_status status_of(struct store_call *call, uint32_t at,
                                          const redisReply *said) {
    if (said->type == REDIS_REPLY_STRING && strcmp(said->str, "OK") == 0) {
        return SHARD_STORED_OK;
    }
    if (said->type == REDIS_REPLY_STRING && strcmp(said->str, "FENCED") == 0) {
        return SHARD_STORED_FENCED;
    }
    call->slot = call->written[at].slot;
    store_log_refused(call->store, call,
                      said->type == REDIS_REPLY_STRING ? said->str : "unexpected answer");
    return SHARD_STORED_FAILED;
}

/* Slots fare differently: those that were refused hear of it now, the others when their write's
 * WAIT is answered, if there is one. */
static void each_answer(struct store_call *call, const redisReply *reply) {
    struct shard_written refused[STORE_CALL_SLOTS_MAX];
    uint32_t refused_count = 0, stored_count = 0;
    for (uint32_t i = 0; i < call->written_count; i++) {
        struct shard_written write = call->written[i];
        write.status = status_of(call, i, reply->element[i]);
        if (write.status == SHARD_STORED_OK) {
            call->written[stored_count++] = write;
        } else {
            refused[refused_count++] = write;
        }
    }
    struct store *store = call->store;
    struct shard_event event = {.kind = SHARD_EVENT_WRITTEN};
    event.written.writes = refused;
    event.written.count = refused_count;
    call->written_count = stored_count;
    if (stored_count > 0) {
        store_written(call, 0);
    } else {
        store_call_put(call);
    }
    if (refused_count > 0 && !store->closing) {
        store->handler.on_event(store->handler.ctx, &event);
    }
}

static void on_written(void *ctx, redisReply *reply) {
    struct store_call *call = ctx;
    struct store *store = call->store;
    store->gather.calls_outstanding--;
    if (reply != NULL && reply->type == REDIS_REPLY_STRING && strcmp(reply->str, "OK") == 0) {
        store_written(call, 0);
    } else if (reply != NULL && reply->type == REDIS_REPLY_STRING &&
               strcmp(reply->str, "FENCED") == 0) {
        store_answer_all(call, SHARD_STORED_FENCED);
    } else if (reply != NULL && reply->type == REDIS_REPLY_ARRAY &&
               reply->elements == call->written_count) {
        each_answer(call, reply);
    } else {
        if (reply != NULL) {
            store_script_refused(call, reply);
        }
        store_answer_all(call, SHARD_STORED_FAILED);
    }
}

/* --- leaving ------------------------------------------------------------------------------- */

void store_gather_send(struct store *store) {
    struct store_gather *gather = &store->gather;
    struct store_text *command = &gather->command;
    if (gather->call == NULL) {
        return;
    }
    uint32_t slots = gather->call->written_count;
    command->size = 0;
    head_put(command, '*', 3 + 2 * slots + gather->word_count);
    word_put(command, "EVALSHA", 7);
    word_put(command, store->sha[STORE_SCRIPT_WRITE], SHA_TEXT_SIZE);
    number_word_put(command, 2 * slots);
    bytes_put(command, gather->fences.data, gather->fences.size);
    bytes_put(command, gather->buckets.data, gather->buckets.size);
    bytes_put(command, gather->values.data, gather->values.size);
    struct store_call *call = gather_take(gather);
    call->writes = true;
    if (store->up &&
        store_send_text(store->servers[0], call, command->data, command->size, on_written)) {
        gather->calls_outstanding++;
    } else {
        store_fail_later(call);
    }
}

void store_gather_turn(struct store *store) {
    if (store->gather.calls_outstanding < STORE_CALLS_MAX) {
        store_gather_send(store);
    }
}

void store_gather_fail(struct store *store) {
    if (store->gather.call != NULL) {
        store_answer_all(gather_take(&store->gather), SHARD_STORED_FAILED);
    }
}
