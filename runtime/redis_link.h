/*
 * A link to Redis on a libuv loop: finds the master, connects, authenticates, reconnects, and says
 * when.
 *
 * Belongs to one loop. Commands are hiredis's, answered in order. When the connection is lost every
 * outstanding command gets a NULL reply, then on_down is called; a new attempt follows with
 * jittered back-off until closed. Commands given while it is down fail at once (false).
 *
 * Up means that Redis answers and takes writes: a server that is still loading its data, or wants a
 * password it was not given, is down with Redis's own word for it (LOADING, NOAUTH, WRONGPASS) in
 * `why`; so is a replica. A server that answers READONLY has become one: the link falls, and looks
 * for the master anew. In a cluster the link leads to the master of access->slot, and does the same
 * when an answer says MOVED or CLUSTERDOWN.
 */
#ifndef SLUICE_RUNTIME_REDIS_LINK_H
#define SLUICE_RUNTIME_REDIS_LINK_H

#include <hiredis/async.h>
#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

#include "runtime/redis_access.h"

/* Milliseconds between attempts: the first, doubling up to the last, each +-25 %. */
#define REDIS_RETRY_FIRST_MS 20
#define REDIS_RETRY_LAST_MS 1000

/* Milliseconds that a link must have been up for its back-off to begin anew: a server that takes us
 * in and throws us out at once is not asked faster and faster. */
#define REDIS_STEADY_MS 1000

/* Milliseconds an attempt to connect and log in may take. */
#define REDIS_CONNECT_MS 2000

/* Milliseconds that the oldest outstanding command may wait before the link is taken for dead and
 * opened anew: longer than any pause of a healthy Redis (fork, fsync), far shorter than a night. */
#define REDIS_COMMAND_MS 5000

/* Commands outstanding, above which redis_link_send refuses. Arbitrary, but safe: a shard holds far
 * fewer, and a runaway caller is stopped before it has used a gigabyte. */
#define REDIS_OUTSTANDING_MAX (1u << 20)

struct redis_link;

struct redis_link_handler {
    void *ctx;
    /* Connected, authenticated, database selected. */
    void (*on_up)(void *ctx, struct redis_link *link);
    /* Lost (`was_up`), or an attempt failed. `why` is for a log line and holds no secret. */
    void (*on_down)(void *ctx, struct redis_link *link, bool was_up, const char *why);
};

/* `access` is borrowed for the link's life. NULL only without memory. */
struct redis_link *redis_link_open(uv_loop_t *loop, const struct redis_access *access,
                                   const struct redis_link_handler *handler);

bool redis_link_is_up(const struct redis_link *link);

/* Where the link leads, or last tried to lead. */
const struct redis_place *redis_link_place(const struct redis_link *link);

/* Whether memory was missing, for a command or for the connection, since the attempt began that led
 * to this connection, or to none. */
bool redis_link_lacked_memory(const struct redis_link *link);

/* Sends a command given as argv with lengths (copied). `on_reply` gets hiredis's reply, borrowed
 * for the call, or NULL if the connection was lost before it came. False: the link is down,
 * REDIS_OUTSTANDING_MAX are outstanding, or there is no memory for it, and `on_reply` will not be
 * called. Memory may be missing where the connection cannot go on: then it ends in a later turn. */
typedef void (*redis_reply_fn)(void *ctx, redisReply *reply);
bool redis_link_send(struct redis_link *link, int argc, const char **argv, const size_t *sizes,
                     redis_reply_fn on_reply, void *ctx);

/* The same with a whole command in Redis's own form (RESP). */
bool redis_link_send_text(struct redis_link *link, const char *text, size_t size,
                          redis_reply_fn on_reply, void *ctx);

/* Writes what was sent, now instead of in the loop's next turn. Not from within a reply. */
void redis_link_flush(struct redis_link *link);

/* Gives the connection of a link that is up up, and looks for the master anew. */
void redis_link_leave(struct redis_link *link, const char *why);

/* Commands sent and not yet answered. */
size_t redis_link_outstanding(const struct redis_link *link);

/* Closes and frees; outstanding commands get NULL replies during the call. `on_closed` (may be
 * NULL) follows from the loop. */
void redis_link_close(struct redis_link *link, void (*on_closed)(void *ctx), void *ctx);

#endif
