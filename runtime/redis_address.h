/*
 * Where Redis is, as a URL says it:
 *
 *   redis://[user@]host[:port][/database]                         a server
 *   redis+sentinel://[user@]host[:port],host[:port].../name[/database]
 *                                       the master that sentinels know by that name
 *   redis+cluster://[user@]host[:port],host[:port]...             a Redis Cluster, by some servers
 *   unix:///path                                                  a local socket
 *
 * rediss://, rediss+sentinel:// and rediss+cluster:// say the same over TLS. No password: it would
 * be seen in argv.
 * Pure.
 */
#ifndef SLUICE_RUNTIME_REDIS_ADDRESS_H
#define SLUICE_RUNTIME_REDIS_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Sentinels, or servers of a cluster, in a URL. Arbitrary, but safe: three or five sentinels are
 * what people run, and of a cluster's servers one that answers is enough. */
#define REDIS_SENTINELS_MAX 9

/* Bytes of a host's name (DNS knows none longer than 253), zero included. */
#define REDIS_HOST_BYTES_MAX 256

struct redis_place {
    char host[REDIS_HOST_BYTES_MAX]; /* or the path of a local socket */
    int port;                        /* 0: a local socket */
};

struct redis_address {
    struct redis_place places[REDIS_SENTINELS_MAX]; /* the server; the sentinels; of the cluster */
    uint32_t place_count;
    char master[64]; /* what the sentinels call it; empty: no sentinels */
    char user[64];
    int database;
    bool tls;
    bool cluster;
};

/* False with the reason in `why` (what was wrong, and an example of a right one). */
bool redis_address_parse(const char *url, struct redis_address *address, char *why,
                         size_t why_size);

/* Bytes that hold any place as text, zero included. */
#define REDIS_PLACE_TEXT_BYTES (REDIS_HOST_BYTES_MAX + 16)

/* "host:port", "[v6]:port" or the path. */
void redis_place_format(const struct redis_place *place, char text[REDIS_PLACE_TEXT_BYTES]);

#endif
