/* What nodes say of themselves, and the list of them. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/memory.h"
#include "server/io/membership_impl.h"
#include "server/io/node_schemas.h"

/* --- what a node says of itself ------------------------------------------------------------ */

struct bytes membership_info(struct membership *membership) {
    struct writer writer = writer_of(membership->info, sizeof membership->info);
    write_map(&writer, 7);
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
    node_schemas_write(&writer);
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
    if (reply == NULL || reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
        reply->element[0]->type != REDIS_REPLY_STRING ||
        reply->element[1]->type != REDIS_REPLY_ARRAY) {
        listing->done(listing->ctx, NULL);
    } else {
        const redisReply *nodes = reply->element[1];
        struct member_list list = {.members = membership->members,
                                   .stored_epoch = strtoull(reply->element[0]->str, NULL, 10)};
        for (size_t i = 0; i < nodes->elements && list.count < NODES_MAX; i++) {
            list.count += member_parse(nodes->element[i], &membership->members[list.count]);
        }
        listing->done(listing->ctx, &list);
    }
    free(listing);
}

void membership_list(struct membership *membership, membership_listed_fn done, void *ctx) {
    struct listing *listing = memory_need(sizeof *listing);
    *listing = (struct listing){membership, done, ctx};
    store_key prefix;
    store_key_node(membership->settings->key_prefix, "", prefix);
    struct command command;
    command_begin(&command, SCRIPT_NODES, "2");
    command_word(&command, membership->nodes_key);
    command_word(&command, membership->map_key);
    command_word(&command, prefix);
    if (!command_send(membership, &command, on_listed, listing)) {
        on_listed(listing, NULL);
    }
}
