#include "server/io/boot.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "proto/map_codec.h"
#include "server/io/redis_sync.h"
#include "server/io/store_keys.h"

/* Bytes of a password file: no password manager makes longer ones. */
#define PASSWORD_BYTES_MAX 1024

/* The oldest Redis that has all we use (HSET of many fields, UNLINK-free scripts). */
#define REDIS_VERSION_MIN 5

static bool password_read(struct boot *boot, const struct node_settings *settings, char *why) {
    if (settings->redis_password_file == NULL) {
        boot->password = settings->redis_password != NULL ? strdup(settings->redis_password) : NULL;
        return true;
    }
    FILE *file = fopen(settings->redis_password_file, "re");
    if (file == NULL) {
        snprintf(why, BOOT_WHY_BYTES, "--redis-password-file: cannot read %s: %s",
                 settings->redis_password_file, strerror(errno));
        return false;
    }
    char text[PASSWORD_BYTES_MAX + 2] = {0};
    size_t size = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    while (size > 0 && (text[size - 1] == '\n' || text[size - 1] == '\r')) {
        text[--size] = '\0';
    }
    bool good = size > 0 && size <= PASSWORD_BYTES_MAX;
    if (good) {
        boot->password = strdup(text);
    } else {
        snprintf(why, BOOT_WHY_BYTES,
                 "--redis-password-file: %s is empty or longer than %d bytes; it holds the "
                 "password and nothing else",
                 settings->redis_password_file, PASSWORD_BYTES_MAX);
    }
    explicit_bzero(text, sizeof text);
    return good;
}

/* The value of a line "name:value" in INFO's text; empty if there is none. */
static void info_value(const char *info, const char *name, char *value, size_t size) {
    value[0] = '\0';
    size_t name_size = strlen(name);
    for (const char *at = info; (at = strstr(at, name)) != NULL; at += name_size) {
        if ((at == info || at[-1] == '\n') && at[name_size] == ':') {
            snprintf(value, size, "%.*s", (int)strcspn(at + name_size + 1, "\r\n"),
                     at + name_size + 1);
            return;
        }
    }
}

static bool server_check(struct boot *boot, const struct log *log, char *why) {
    const char *info_command[] = {"INFO"};
    redisReply *reply = redis_sync_call(boot->redis, 1, info_command, why, BOOT_WHY_BYTES);
    if (reply == NULL) {
        return false;
    }
    char version[32], aof[8], policy[32], role[16];
    info_value(reply->str, "redis_version", version, sizeof version);
    info_value(reply->str, "aof_enabled", aof, sizeof aof);
    info_value(reply->str, "maxmemory_policy", policy, sizeof policy);
    info_value(reply->str, "role", role, sizeof role);
    freeReplyObject(reply);
    if (version[0] != '\0' && strtol(version, NULL, 10) < REDIS_VERSION_MIN) {
        snprintf(why, BOOT_WHY_BYTES, "Redis %s is too old: at least %d.0 is needed", version,
                 REDIS_VERSION_MIN);
        return false;
    }
    if (strcmp(role, "slave") == 0) {
        snprintf(why, BOOT_WHY_BYTES,
                 "Redis at %s is a replica and takes no writes: point --redis at its master",
                 boot->address.host);
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
        bool good = reply->type == REDIS_REPLY_ARRAY && reply->elements == 2;
        if (good) {
            sample.store_ns = strtoull(reply->element[0]->str, NULL, 10) * UINT64_C(1000000000) +
                              strtoull(reply->element[1]->str, NULL, 10) * UINT64_C(1000);
        }
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

bool boot_open(struct boot *boot, const struct node_settings *settings, const struct log *log,
               char why[BOOT_WHY_BYTES]) {
    memset(boot, 0, sizeof *boot);
    char reason[BOOT_WHY_BYTES / 2];
    if (!redis_address_parse(settings->redis, &boot->address, reason, sizeof reason)) {
        snprintf(why, BOOT_WHY_BYTES, "--redis: %s", reason);
        return false;
    }
    if (!incarnation_draw(boot, why) || !password_read(boot, settings, why)) {
        return false;
    }
    boot->redis = redis_sync_open(&boot->address, boot->password, why, BOOT_WHY_BYTES);
    if (boot->redis == NULL || !server_check(boot, log, why) || !clock_measure(boot, why) ||
        !map_check_readable(boot, settings, why)) {
        boot_close(boot);
        boot_free(boot);
        return false;
    }
    return true;
}

void boot_close(struct boot *boot) {
    if (boot->redis != NULL) {
        redisFree(boot->redis);
        boot->redis = NULL;
    }
}

void boot_free(struct boot *boot) {
    if (boot->password != NULL) {
        explicit_bzero(boot->password, strlen(boot->password));
        free(boot->password);
        boot->password = NULL;
    }
}
