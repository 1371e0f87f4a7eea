/*
 * A blocking connection to Redis, for the start of a node only: before any loop runs, waiting is
 * fine and every failure can be explained. The same link as later, on a loop of its own.
 */
#ifndef SLUICE_SERVER_IO_REDIS_SYNC_H
#define SLUICE_SERVER_IO_REDIS_SYNC_H

#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stddef.h>

#include "runtime/redis_link.h"
#include "server/io/scripts.h"

/* Milliseconds that a command may take. */
#define REDIS_SYNC_MS 3000

struct redis_sync;

/* Finds the master, connects, logs in, selects the database. `access` is borrowed. NULL with `why`
 * (what failed, how to mend it). */
struct redis_sync *redis_sync_open(const struct redis_access *access, char *why, size_t why_size);

/* The server that it is. */
const struct redis_place *redis_sync_place(const struct redis_sync *redis);

/* One command from zero-terminated words. NULL with `why` if the link broke or Redis answered an
 * error. The reply is the caller's: freeReplyObject. */
redisReply *redis_sync_call(struct redis_sync *redis, int argc, const char **argv, char *why,
                            size_t why_size);

/* The same with sizes, for binary arguments. */
redisReply *redis_sync_call_sized(struct redis_sync *redis, int argc, const char **argv,
                                  const size_t *sizes, char *why, size_t why_size);

void redis_sync_close(struct redis_sync *redis);

#endif
