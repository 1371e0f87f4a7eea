/*
 * Asks sentinels, one after the other, where the master of a name is now.
 *
 * Belongs to one loop. The answer comes from the loop, once, unless the search is cancelled before.
 */
#ifndef SLUICE_RUNTIME_REDIS_SEEK_H
#define SLUICE_RUNTIME_REDIS_SEEK_H

#include <uv.h>

#include "runtime/redis_access.h"

/* Milliseconds for one sentinel to answer: many times what one needs, and short enough that a dead
 * one does not delay a failover much. */
#define REDIS_SENTINEL_MS 500

struct redis_seek;

/* `place`: where the master is, as sentinel number `sentinel` says; NULL: nobody could say, and
 * `why`, for a log line. Both are borrowed for the call; the search is freed by itself. */
typedef void (*redis_sought_fn)(void *ctx, const struct redis_place *place, uint32_t sentinel,
                                const char *why);

/* Begins with sentinel number `first`. NULL: no memory. */
struct redis_seek *redis_seek_start(uv_loop_t *loop, const struct redis_access *access,
                                    uint32_t first, redis_sought_fn on_sought, void *ctx);

/* No answer comes any more. Freed from the loop. */
void redis_seek_cancel(struct redis_seek *seek);

#endif
