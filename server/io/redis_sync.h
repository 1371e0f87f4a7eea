/*
 * A blocking connection to Redis, for the start of a node only: before any loop runs, waiting is
 * fine and every failure can be explained.
 */
#ifndef SLUICE_SERVER_IO_REDIS_SYNC_H
#define SLUICE_SERVER_IO_REDIS_SYNC_H

#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stddef.h>

#include "runtime/redis_link.h"
#include "server/io/scripts.h"

/* Milliseconds that a connection attempt and a command may take. */
#define REDIS_SYNC_MS 3000

/* Connects, logs in, selects the database. NULL with `why` (what failed, how to mend it). */
redisContext *redis_sync_open(const struct redis_address *address, const char *password, char *why,
                              size_t why_size);

/* One command from zero-terminated words. NULL with `why` if the link broke or Redis answered an
 * error. The reply is the caller's: freeReplyObject. */
redisReply *redis_sync_call(redisContext *redis, int argc, const char **argv, char *why,
                            size_t why_size);

/* The same with sizes, for binary arguments. */
redisReply *redis_sync_call_sized(redisContext *redis, int argc, const char **argv,
                                  const size_t *sizes, char *why, size_t why_size);

#endif
