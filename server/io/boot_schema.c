/* The schema of records at start: can this process and those that live read what each other writes?
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "proto/record.h"
#include "proto/store_keys.h"
#include "server/io/boot.h"
#include "server/io/node_schemas.h"
#include "server/io/redis_sync.h"

/* What a living node says of itself, as far as it matters here. */
struct neighbour {
    const char *id;
    struct node_schemas schemas;
    char version[32];
};

static bool neighbour_read(struct bytes info, struct neighbour *neighbour) {
    struct reader reader = reader_of(info);
    uint32_t members;
    if (!read_map(&reader, &members)) {
        return false;
    }
    neighbour->schemas = NODE_SCHEMAS_UNSAID;
    snprintf(neighbour->version, sizeof neighbour->version, "of no version");
    for (uint32_t i = 0; i < members; i++) {
        struct bytes name, value;
        bool good = read_bytes(&reader, &name);
        if (good && bytes_equal(name, bytes_of_text("record_schemas"))) {
            good = node_schemas_read(&reader, &neighbour->schemas);
        } else if (good && bytes_equal(name, bytes_of_text("version"))) {
            good = read_bytes(&reader, &value);
            snprintf(neighbour->version, sizeof neighbour->version, "%.*s",
                     good ? (int)value.size : 0, (const char *)value.data);
        } else {
            good = good && read_any(&reader, &value);
        }
        if (!good) {
            return false;
        }
    }
    return true;
}

static bool neighbour_check(const struct neighbour *neighbour, char *why) {
    const struct node_schemas *theirs = &neighbour->schemas;
    if (theirs->written > record_schema_newest) {
        snprintf(why, BOOT_WHY_BYTES,
                 "node %s (version %s) writes records of schema %" PRIu32
                 ", and this version (%s) reads up to %" PRIu32
                 ": it is too old for this cluster, upgrade it",
                 neighbour->id, neighbour->version, theirs->written, SLUICE_VERSION,
                 record_schema_newest);
        return false;
    }
    if (record_schema_written > theirs->newest) {
        snprintf(why, BOOT_WHY_BYTES,
                 "this version (%s) writes records of schema %" PRIu32
                 ", and node %s (version %s) reads up to %" PRIu32
                 ": upgrade that node first, to a version between the two",
                 SLUICE_VERSION, record_schema_written, neighbour->id, neighbour->version,
                 theirs->newest);
        return false;
    }
    return true;
}

/* One of [id, incarnation, info, ttl]; without a lease there is no info. */
static bool entry_check(const redisReply *entry, const char *own_id, char *why) {
    struct neighbour neighbour;
    if (entry->type != REDIS_REPLY_ARRAY || entry->elements != 4 ||
        entry->element[0]->type != REDIS_REPLY_STRING ||
        entry->element[2]->type != REDIS_REPLY_STRING ||
        strcmp(entry->element[0]->str, own_id) == 0) {
        return true;
    }
    neighbour.id = entry->element[0]->str;
    return !neighbour_read(bytes_of(entry->element[2]->str, (uint32_t)entry->element[2]->len),
                           &neighbour) ||
           neighbour_check(&neighbour, why);
}

bool boot_schema_check(struct boot *boot, const struct node_settings *settings,
                       char why[BOOT_WHY_BYTES]) {
    store_key nodes, map, prefix;
    store_key_nodes(settings->key_prefix, nodes);
    store_key_map(settings->key_prefix, map);
    store_key_node(settings->key_prefix, "", prefix);
    const char *command[] = {"EVAL", script_text(SCRIPT_NODES), "2", nodes, map, prefix};
    redisReply *reply = redis_sync_call(boot->redis, 6, command, why, BOOT_WHY_BYTES);
    if (reply == NULL) {
        return false;
    }
    bool fits = true;
    if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
        reply->element[1]->type == REDIS_REPLY_ARRAY) {
        const redisReply *entries = reply->element[1];
        for (size_t i = 0; i < entries->elements && fits; i++) {
            fits = entry_check(entries->element[i], settings->node_id, why);
        }
    }
    freeReplyObject(reply);
    return fits;
}
