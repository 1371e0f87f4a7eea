/* What masters of a Redis Cluster answer: the table of CLUSTER SLOTS, and redirections. The first
 * byte chooses whether the rest is an answer as it is on the wire, or the text of an error. */
#include <hiredis/hiredis.h>

#include "runtime/redis_replies.h"
#include "runtime/redis_slots.h"
#include "tests/fuzz/fuzz.h"

static const struct redis_place from = {.host = "10.0.0.9", .port = 7009};

static void place_check(const struct redis_place *place) {
    FUZZ_CHECK(place->port >= 1 && place->port <= 65535);
    FUZZ_CHECK(place->host[0] != '\0' && memchr(place->host, '\0', sizeof place->host) != NULL);
}

static void table_try(const redisReply *reply) {
    static struct redis_topology topology;
    char why[100] = "";
    memset(&topology, 0, sizeof topology);
    if (!redis_topology_read(reply, &from, &topology, why, sizeof why)) {
        FUZZ_CHECK(memchr(why, '\0', sizeof why) != NULL && topology.master_count == 0);
        return;
    }
    FUZZ_CHECK(topology.master_count >= 1 && topology.master_count <= REDIS_MASTERS_MAX);
    for (uint32_t i = 0; i < topology.master_count; i++) {
        place_check(&topology.masters[i]);
    }
    for (uint32_t i = 0; i < REDIS_SLOTS; i++) {
        FUZZ_CHECK(topology.served_by[i] <= topology.master_count);
    }
}

static void redirect_try(const redisReply *reply) {
    struct redis_redirect redirect = redis_redirect_read(reply, &from);
    if (redirect.kind == REDIS_REDIRECT_MOVED || redirect.kind == REDIS_REDIRECT_ASK) {
        place_check(&redirect.place);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct fuzz fuzz = fuzz_of(data, size);
    if (fuzz_below(&fuzz, 2) == 0) {
        char *text = fuzz_text(&fuzz);
        redisReply error = {.type = REDIS_REPLY_ERROR, .str = text, .len = strlen(text)};
        redirect_try(&error);
        (void)redis_slot_of(text, strlen(text));
        free(text);
        return 0;
    }
    struct bytes rest = fuzz_bytes(&fuzz, UINT32_MAX);
    redisReader *reader = redisReaderCreate();
    struct redis_replies replies = {0};
    void *reply = NULL;
    FUZZ_CHECK(reader != NULL);
    redis_replies_use(&replies, reader, NULL);
    redisReaderFeed(reader, (const char *)rest.data, rest.size);
    if (redisReaderGetReply(reader, &reply) == REDIS_OK && reply != NULL) {
        table_try(reply);
        redirect_try(reply);
    }
    redisReaderFree(reader);
    redis_replies_fini(&replies);
    return 0;
}
