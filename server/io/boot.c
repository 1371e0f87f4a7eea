#include "server/io/boot.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "proto/map_codec.h"
#include "proto/store_keys.h"
#include "runtime/redis_slots.h"
#include "runtime/redis_time.h"
#include "server/io/redis_sync.h"

/* The oldest Redis that has all we use (HSET of many fields, UNLINK-free scripts). */
#define REDIS_VERSION_MIN 5

/* Whether the server keeps what `ack` promises. */
static bool ack_verify(struct boot *boot, const char *info, char *why) {
    char reason[BOOT_WHY_BYTES - 48];
    const char *appendfsync = NULL;
    redisReply *reply = NULL;
    enum ack_follow_up follow_up;
    if (boot->ack.kind == ACK_AOF) {
        const char *command[] = {"CONFIG", "GET", "appendfsync"};
        reply = redis_sync_call(boot->redis, 3, command, reason, sizeof reason);
        if (reply != NULL && reply->type == REDIS_REPLY_ARRAY && reply->elements == 2) {
            appendfsync = reply->element[1]->str;
        }
    }
    bool kept = ack_check(&boot->ack, info, appendfsync, &follow_up, reason, sizeof reason);
    if (!kept) {
        snprintf(why, BOOT_WHY_BYTES, "--ack cannot be kept: %s", reason);
    }
    if (reply != NULL) {
        freeReplyObject(reply);
    }
    return kept;
}

static bool server_check(struct boot *boot, const struct log *log, char *why) {
    const char *info_command[] = {"INFO"};
    redisReply *reply = redis_sync_call(boot->redis, 1, info_command, why, BOOT_WHY_BYTES);
    if (reply == NULL) {
        return false;
    }
    if (reply->type != REDIS_REPLY_STRING) {
        snprintf(why, BOOT_WHY_BYTES, "Redis answered INFO with something else than a text");
        freeReplyObject(reply);
        return false;
    }
    char version[32], aof[8], policy[32], cluster[8];
    info_value(reply->str, "redis_version", version, sizeof version);
    info_value(reply->str, "aof_enabled", aof, sizeof aof);
    info_value(reply->str, "maxmemory_policy", policy, sizeof policy);
    info_value(reply->str, "cluster_enabled", cluster, sizeof cluster);
    bool kept = ack_verify(boot, reply->str, why);
    freeReplyObject(reply);
    if (strcmp(cluster, "1") == 0 && !boot->access.address.cluster) {
        snprintf(why, BOOT_WHY_BYTES,
                 "this Redis is a server of a Redis Cluster: say so, --redis "
                 "redis+cluster://HOST:PORT (and one or two others of its servers)");
        return false;
    }
    if (version[0] != '\0' && strtol(version, NULL, 10) < REDIS_VERSION_MIN) {
        snprintf(why, BOOT_WHY_BYTES, "Redis %s is too old: at least %d.0 is needed", version,
                 REDIS_VERSION_MIN);
        return false;
    }
    if (!kept) {
        return false;
    }
    if (strcmp(aof, "1") != 0) {
        log_warn(log,
                 "Redis runs without an append-only file: its restart forgets the buckets. Set "
                 "'appendonly yes' in redis.conf, or: redis-cli CONFIG SET appendonly yes");
    }
    if (policy[0] != '\0' && strcmp(policy, "noeviction") != 0) {
        log_warn(log,
                 "Redis may evict buckets when it is full (maxmemory-policy %s): set "
                 "'maxmemory-policy noeviction'",
                 policy);
    }
    return true;
}

/* The same of another master of the cluster. One that does not answer is no reason to do without
 * the others. */
static bool master_check(const struct boot *boot, const struct redis_place *place,
                         const struct log *log, char *why) {
    char text[REDIS_PLACE_TEXT_BYTES], reason[BOOT_WHY_BYTES];
    struct boot other = {.access = boot->access, .ack = boot->ack};
    other.access.address.cluster = false;
    other.access.address.places[0] = *place;
    other.access.address.place_count = 1;
    other.redis = redis_sync_open(&other.access, reason, sizeof reason);
    if (other.redis == NULL) {
        log_warn(log, "%s; the slots of this master are not served for now", reason);
        return true;
    }
    other.access.address.cluster = true;
    bool good = server_check(&other, log, reason);
    if (!good) {
        redis_place_format(place, text);
        snprintf(why, BOOT_WHY_BYTES, "the master %.80s: %.400s", text, reason);
    }
    boot_close(&other);
    return good;
}

/* Each master is to be what the one of our own keys is. */
static bool cluster_check(struct boot *boot, const struct log *log, char *why) {
    const char *command[] = {"CLUSTER", "SLOTS"};
    char reason[128], text[REDIS_PLACE_TEXT_BYTES];
    struct redis_place home = *redis_sync_place(boot->redis);
    redisReply *reply = redis_sync_call(boot->redis, 2, command, why, BOOT_WHY_BYTES);
    struct redis_topology *topology = calloc(1, sizeof *topology);
    bool good = reply != NULL && topology != NULL;
    if (good && !redis_topology_read(reply, &home, topology, reason, sizeof reason)) {
        redis_place_format(&home, text);
        snprintf(why, BOOT_WHY_BYTES, "the cluster, as %.80s sees it: %s", text, reason);
        good = false;
    }
    for (uint32_t i = 0; good && i < topology->master_count; i++) {
        good = redis_place_equal(&topology->masters[i], &home) ||
               master_check(boot, &topology->masters[i], log, why);
    }
    free(topology);
    if (reply != NULL) {
        freeReplyObject(reply);
    }
    return good;
}

static bool clock_measure(struct boot *boot, char *why) {
    const char *command[] = {"TIME"};
    clock_init(&boot->clock);
    for (int i = 0; i < CLOCK_WINDOW; i++) {
        struct clock_sample sample = {.before_ns = clock_monotonic_ns()};
        redisReply *reply = redis_sync_call(boot->redis, 1, command, why, BOOT_WHY_BYTES);
        if (reply == NULL) {
            return false;
        }
        sample.after_ns = clock_monotonic_ns();
        bool good = redis_time_read(reply, &sample.store_ns);
        freeReplyObject(reply);
        if (!good) {
            snprintf(why, BOOT_WHY_BYTES, "Redis answered TIME with something else than a time");
            return false;
        }
        clock_sample_add(&boot->clock, &sample);
    }
    return true;
}

/* A map that this version cannot read is refused at once, not at some later heartbeat. */
static bool map_check_readable(struct boot *boot, const struct node_settings *settings, char *why) {
    store_key key;
    store_key_map(settings->key_prefix, key);
    const char *command[] = {"HGET", key, "value"};
    redisReply *reply = redis_sync_call(boot->redis, 3, command, why, BOOT_WHY_BYTES);
    struct map *map = malloc(sizeof *map);
    bool good = reply != NULL && map != NULL;
    if (map == NULL) {
        snprintf(why, BOOT_WHY_BYTES, "no memory for the map");
    }
    if (good && reply->type == REDIS_REPLY_STRING) {
        struct fault fault;
        struct reader reader = reader_of(bytes_of(reply->str, reply->len));
        good = map_read(&reader, map, &fault) == CODE_OK;
        if (!good) {
            snprintf(why, BOOT_WHY_BYTES, "the cluster's stored map cannot be read: %s",
                     fault.text);
        }
    }
    free(map);
    if (reply != NULL) {
        freeReplyObject(reply);
    }
    return good;
}

static bool incarnation_draw(struct boot *boot, char *why) {
    uint64_t drawn;
    if (getrandom(&drawn, sizeof drawn, 0) != sizeof drawn) {
        snprintf(why, BOOT_WHY_BYTES, "the system gave no random number: %s", strerror(errno));
        return false;
    }
    snprintf(boot->incarnation, sizeof boot->incarnation, "%016" PRIx64, drawn);
    return true;
}

static bool access_fill(struct redis_access *access, const struct node_settings *settings,
                        char *why) {
    *access = settings->redis_access;
    store_key key;
    int size = store_key_map(settings->key_prefix, key);
    access->slot = redis_slot_of(key, (size_t)size);
    return redis_access_check(access, settings->redis, why, BOOT_WHY_BYTES);
}

bool boot_open(struct boot *boot, const struct node_settings *settings, const struct log *log,
               char why[BOOT_WHY_BYTES]) {
    memset(boot, 0, sizeof *boot);
    char reason[BOOT_WHY_BYTES - 16];
    if (settings->ack != NULL && !ack_parse(settings->ack, &boot->ack, reason, sizeof reason)) {
        snprintf(why, BOOT_WHY_BYTES, "--ack: %s", reason);
        return false;
    }
    if (!access_fill(&boot->access, settings, why) || !incarnation_draw(boot, why)) {
        return false;
    }
    boot->redis = redis_sync_open(&boot->access, why, BOOT_WHY_BYTES);
    if (boot->redis == NULL || !server_check(boot, log, why) ||
        (boot->access.address.cluster && !cluster_check(boot, log, why)) ||
        !clock_measure(boot, why) || !map_check_readable(boot, settings, why)) {
        boot_close(boot);
        return false;
    }
    return true;
}

void boot_close(struct boot *boot) {
    if (boot->redis != NULL) {
        redis_sync_close(boot->redis);
        boot->redis = NULL;
    }
}
