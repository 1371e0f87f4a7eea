/*
 * Asks sentinels, one after the other, where the master of a name is now: once, or again and again.
 * Or servers of a cluster, once, where the master of a slot is; "sentinel" stands for either.
 *
 * Belongs to one loop. Answers come from the loop, until it is cancelled.
 */
#ifndef SLUICE_RUNTIME_REDIS_SEEK_H
#define SLUICE_RUNTIME_REDIS_SEEK_H

#include <uv.h>

#include "runtime/redis_access.h"

/* Milliseconds for one sentinel to answer: many times what one needs, and short enough that a dead
 * one does not delay a failover much. */
#define REDIS_SENTINEL_MS 500

/* Milliseconds between questions while watching: for so long a master that was replaced in order,
 * and still answers, is written to in vain. */
#define REDIS_WATCH_MS 250

struct redis_seek;

/* `place`: where the master is, as sentinel number `sentinel` says; NULL: nobody could say, and
 * `why`, for a log line. Both are borrowed for the call. */
typedef void (*redis_sought_fn)(void *ctx, const struct redis_place *place, uint32_t sentinel,
                                const char *why);

/* Begins with sentinel number `first`; one answer, and the search frees itself. NULL: no memory. */
struct redis_seek *redis_seek_start(uv_loop_t *loop, const struct redis_access *access,
                                    uint32_t first, redis_sought_fn on_sought, void *ctx);

/* Asks until it is cancelled, and tells each place that a sentinel names (never NULL). */
struct redis_seek *redis_seek_watch(uv_loop_t *loop, const struct redis_access *access,
                                    uint32_t first, redis_sought_fn on_sought, void *ctx);

/* No answer comes any more. Freed from the loop. */
void redis_seek_cancel(struct redis_seek *seek);

#endif
