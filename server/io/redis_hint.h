/*
 * What an operator can do about an error of Redis. Pure.
 */
#ifndef SLUICE_SERVER_IO_REDIS_HINT_H
#define SLUICE_SERVER_IO_REDIS_HINT_H

#include <string.h>

/* A half-sentence to put behind the error, with what separates the two; empty if there is nothing
 * more to say than Redis did. */
static inline const char *redis_hint(const char *error) {
    static const struct {
        const char *word, *hint;
    } hints[] = {
        {"NOAUTH", ": it wants a password. Give it in SLUICE_REDIS_PASSWORD or with "
                   "--redis-password-file FILE (and the user in the URL, redis://user@host)"},
        {"WRONGPASS", ": the user (in the URL of --redis) or the password (SLUICE_REDIS_PASSWORD, "
                      "--redis-password-file) is not Redis's"},
        {"invalid password", ": the password (SLUICE_REDIS_PASSWORD, --redis-password-file) is "
                             "not Redis's"},
        {"NOPERM", ": the ACL of our user lacks this; deploy/redis/sluice.acl has all it needs"},
        {"BADFENCE", ": somebody else wrote under our key prefix. Delete that key: its owner puts "
                     "the number back"},
        {"OOM", ": Redis is full. Raise maxmemory; what is not written waits in memory"},
        {"WRONGTYPE", ": somebody else wrote under our key prefix. Rename or delete that key, and "
                      "give each cluster a --key-prefix of its own"},
        {"MISCONF", ": Redis cannot write its own files; its log says why"},
        {"READONLY", ": Redis has become a replica"},
        {"CLUSTERDOWN", ": redis-cli --cluster check tells what is missing"},
        {"cluster support disabled", ": it is no Redis Cluster; say redis://"},
        {"NOREPLICAS", ": too few replicas (min-replicas-to-write)"},
    };
    for (size_t i = 0; i < sizeof hints / sizeof hints[0]; i++) {
        if (strstr(error, hints[i].word) != NULL)
            return hints[i].hint;
    }
    return "";
}

#endif
