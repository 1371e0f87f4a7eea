/* Reading a slot back: pages of HSCAN turned into pairs. */
#include <stdlib.h>
#include <string.h>

#include "server/io/store_impl.h"

static bool pairs_reserve(struct store *store, uint32_t count) {
    if (count <= store->pairs_capacity) {
        return true;
    }
    struct shard_stored_pair *grown = realloc(store->pairs, count * sizeof *grown);
    if (grown == NULL) {
        return false;
    }
    store->pairs = grown;
    store->pairs_capacity = count;
    return true;
}

static bool page_valid(const redisReply *reply) {
    return reply != NULL && reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
           reply->element[0]->type == REDIS_REPLY_STRING &&
           reply->element[1]->type == REDIS_REPLY_ARRAY && reply->element[1]->elements % 2 == 0;
}

static bool value_valid(const redisReply *reply) {
    return reply->type == REDIS_REPLY_STRING || reply->type == REDIS_REPLY_NIL;
}

static struct bytes value_of(const redisReply *reply) {
    return reply->type == REDIS_REPLY_NIL ? (struct bytes){0} : bytes_of(reply->str, reply->len);
}

void store_on_key(void *ctx, redisReply *reply) {
    struct store_call *call = ctx;
    struct shard_stored_pair pairs[2];
    struct shard_event event = {.kind = SHARD_EVENT_STORED};
    event.stored.status = SHARD_STORED_FAILED;
    if (reply != NULL && reply->type == REDIS_REPLY_ERROR &&
        strncmp(reply->str, "NOSCRIPT", 8) == 0) {
        store_scripts_load(call->server);
    } else if (reply != NULL && reply->type == REDIS_REPLY_ERROR) {
        store_log_refused(call->store, call, reply->str);
    } else if (reply != NULL && value_valid(reply)) {
        pairs[0] = (struct shard_stored_pair){.value = value_of(reply)};
        pairs[1] = (struct shard_stored_pair){0};
        event.stored.status = SHARD_STORED_OK;
        event.stored.pairs = pairs;
        event.stored.pair_count = 2;
    } else if (reply != NULL && reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
               value_valid(reply->element[0]) && value_valid(reply->element[1])) {
        pairs[0] = (struct shard_stored_pair){.value = value_of(reply->element[0])};
        pairs[1] = (struct shard_stored_pair){.value = value_of(reply->element[1])};
        event.stored.status = SHARD_STORED_OK;
        event.stored.pairs = pairs;
        event.stored.pair_count = 2;
    }
    store_answer(call, &event);
}

void store_on_page(void *ctx, redisReply *reply) {
    struct store_call *call = ctx;
    struct store *store = call->store;
    struct shard_event event = {.kind = SHARD_EVENT_STORED};
    event.stored.status = SHARD_STORED_FAILED;
    if (reply != NULL && reply->type == REDIS_REPLY_ERROR) {
        store_log_refused(store, call, reply->str);
    } else if (page_valid(reply)) {
        const redisReply *fields = reply->element[1];
        uint32_t count = (uint32_t)(fields->elements / 2);
        if (pairs_reserve(store, count)) {
            for (uint32_t i = 0; i < count; i++) {
                const redisReply *key = fields->element[2 * i], *value = fields->element[2 * i + 1];
                store->pairs[i].key = bytes_of(key->str, key->len);
                store->pairs[i].value = bytes_of(value->str, value->len);
            }
            event.stored.status = SHARD_STORED_OK;
            event.stored.cursor = strtoull(reply->element[0]->str, NULL, 10);
            event.stored.pairs = store->pairs;
            event.stored.pair_count = count;
            store->slots[call->slot.index].page_connection = call->server->connection;
        }
    }
    store_answer(call, &event);
}
