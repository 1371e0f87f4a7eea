/*
 * The start of a node, before any loop runs: ask Redis whether it is what we need, measure its
 * clock, and take the lease on our id. Blocking; every failure is explained in `why`.
 */
#ifndef SLUICE_SERVER_IO_BOOT_H
#define SLUICE_SERVER_IO_BOOT_H

#include "proto/bytes.h"
#include "runtime/clock.h"
#include "runtime/log.h"
#include "runtime/redis_access.h"
#include "server/io/ack.h"
#include "server/io/settings.h"

/* Bytes of a reason, zero included. */
#define BOOT_WHY_BYTES 512

/* Bytes of what a node says of itself: as many shards as it may have, with the longest endpoints.
 */
#define NODE_INFO_BYTES_MAX 80000

/* 16 hexadecimal digits, drawn at each start: tells a process from its predecessor. */
#define INCARNATION_SIZE 16

struct redis_sync;

struct boot {
    struct redis_access access; /* its texts are the settings' */
    struct ack ack;
    struct redis_sync *redis;
    struct cluster_clock clock;
    char incarnation[INCARNATION_SIZE + 1];
};

/* Parses the address, finds the master, connects, logs in, checks the server (version; warns in the
 * log if append-only files are off or keys may be evicted), measures the clock. False: `why`. */
bool boot_open(struct boot *boot, const struct node_settings *settings, const struct log *log,
               char why[BOOT_WHY_BYTES]);

/* Makes sure that no other process runs under this node's id, without disturbing it if one does:
 * a lease that nobody renews, or whose control endpoint refuses connections, is taken for dead.
 * False: somebody is alive there. `replaces` gets the incarnation that acquire may replace. */
bool boot_lease_check(struct boot *boot, const struct node_settings *settings,
                      const struct log *log, char replaces[INCARNATION_SIZE + 1],
                      char why[BOOT_WHY_BYTES]);

/* Makes sure that what this process writes and what every living node writes can be read by the
 * other: releases that are neighbours. False: `why` names the node and what to do. */
bool boot_schema_check(struct boot *boot, const struct node_settings *settings,
                       char why[BOOT_WHY_BYTES]);

/* Takes the lease. `info` is what node_info_write made. */
bool boot_lease_acquire(struct boot *boot, const struct node_settings *settings,
                        const char *replaces, struct bytes info, char why[BOOT_WHY_BYTES]);

/* Closes the connection; the rest of `boot` stays readable. */
void boot_close(struct boot *boot);

#endif
