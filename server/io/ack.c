#include "server/io/ack.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool ack_parse(const char *text, struct ack *ack, char *why, size_t why_size) {
    static const char replicas[] = "replicas:";
    *ack = (struct ack){ACK_MEMORY, 0};
    if (strcmp(text, "memory") == 0) {
        return true;
    }
    if (strcmp(text, "aof") == 0) {
        ack->kind = ACK_AOF;
        return true;
    }
    if (strncmp(text, replicas, strlen(replicas)) == 0) {
        const char *number = text + strlen(replicas);
        char *end = NULL;
        unsigned long count = strtoul(number, &end, 10);
        if (number[0] >= '1' && number[0] <= '9' && *end == '\0' && count <= ACK_REPLICAS_MAX) {
            *ack = (struct ack){ACK_REPLICAS, (uint32_t)count};
            return true;
        }
    }
    snprintf(why, why_size,
             "expected memory, aof or replicas:N with N from 1 to %d, like replicas:1",
             ACK_REPLICAS_MAX);
    return false;
}

void info_value(const char *info, const char *name, char *value, size_t size) {
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

/* WAITAOF came with Redis 7.2. */
static bool has_waitaof(const char *version) {
    char *rest = NULL;
    long major = strtol(version, &rest, 10);
    long minor = *rest == '.' ? strtol(rest + 1, NULL, 10) : 0;
    return major > 7 || (major == 7 && minor >= 2);
}

static bool aof_check(const char *info, const char *appendfsync, enum ack_follow_up *follow_up,
                      char *why, size_t why_size) {
    char enabled[8], version[32];
    info_value(info, "aof_enabled", enabled, sizeof enabled);
    info_value(info, "redis_version", version, sizeof version);
    if (strcmp(enabled, "1") != 0) {
        snprintf(why, why_size,
                 "Redis runs without an append-only file: set 'appendonly yes' in redis.conf, or "
                 "redis-cli CONFIG SET appendonly yes");
        return false;
    }
    if (appendfsync != NULL && strcmp(appendfsync, "always") == 0) {
        *follow_up = ACK_FOLLOW_UP_NONE; /* it answers when the file is on the disk */
        return true;
    }
    if (has_waitaof(version)) {
        *follow_up = ACK_FOLLOW_UP_WAITAOF;
        return true;
    }
    if (appendfsync == NULL) {
        snprintf(why, why_size,
                 "our user may not ask Redis for its appendfsync: give it +config|get in the ACL");
        return false;
    }
    snprintf(why, why_size,
             "Redis acknowledges before its append-only file is on the disk (appendfsync %s), and "
             "Redis %s has no WAITAOF (7.2 has): set 'appendfsync always' in redis.conf, or "
             "redis-cli CONFIG SET appendfsync always",
             appendfsync, version);
    return false;
}

bool ack_check(const struct ack *ack, const char *info, const char *appendfsync,
               enum ack_follow_up *follow_up, char *why, size_t why_size) {
    *follow_up = ACK_FOLLOW_UP_NONE;
    if (ack->kind == ACK_AOF) {
        return aof_check(info, appendfsync, follow_up, why, why_size);
    }
    if (ack->kind == ACK_REPLICAS) {
        char connected[16];
        info_value(info, "connected_slaves", connected, sizeof connected);
        *follow_up = ACK_FOLLOW_UP_WAIT;
        if (strtoul(connected, NULL, 10) < ack->replicas) {
            snprintf(why, why_size,
                     "%s of the %u replicas that are to acknowledge are connected to Redis: start "
                     "them, or ask for fewer",
                     connected[0] != '\0' ? connected : "0", ack->replicas);
            return false;
        }
    }
    return true;
}
