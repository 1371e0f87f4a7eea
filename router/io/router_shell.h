/*
 * A whole router on a libuv loop: doors for clients, links to shards, and the map that it learns
 * from nodes, around the core (router/core/router.h), which decides.
 *
 * Belongs to its loop's thread; every function is called there. Any number of routers may run on
 * one loop and in one process. Nothing is shared between them.
 */
#ifndef SLUICE_ROUTER_IO_ROUTER_SHELL_H
#define SLUICE_ROUTER_IO_ROUTER_SHELL_H

#include <uv.h>

#include "router/core/router.h"
#include "router/io/status.h"
#include "router/io/url_list.h"
#include "runtime/log.h"
#include "runtime/redis_access.h"

/* Milliseconds that a stopping router waits for answers that are outstanding. */
#define ROUTER_STOP_MS 1000

/* Questions for the status of all loops that may be on their way at once. Arbitrary, but safe:
 * people and scripts ask. */
#define ROUTER_STATUSES_MAX 64

struct router_shell;

struct router_settings {
    struct url_list listen; /* where clients come in; port 0: the system chooses */
    struct url_list nodes;  /* any endpoints of nodes, to learn the map from */
    uint32_t items_max;     /* 0: PENDING_ITEMS_MAX */

    /* The store, for plans that want takes decided there when no owner answers; NULL: none. It and
     * the prefix of its keys are borrowed for the router's life. */
    const struct redis_access *redis;
    const char *key_prefix;

    /* Of a router that is one of several on loops of their own (router/io/loops.h). */
    enum endpoint_sharing sharing; /* of those addresses that can be shared */
    void *status_ctx;
    /* Asked for a status of all: router_shell_status answers it later, or in this call. False: no
     * memory. NULL: this is the only one. */
    bool (*on_status)(void *ctx, const struct status_asker *asker);
};

/* Opens the doors and starts to learn the map. `settings` is borrowed for the call; `log` is
 * copied. On success 0 and *out owns the router; else -1 and `why` tells what to change, and the
 * loop must be run once more to give back what had been opened. */
int router_shell_open(struct router_shell **out, uv_loop_t *loop,
                      const struct router_settings *settings, const struct log *log, char *why,
                      size_t why_size);

/* Where clients come in, with the ports that the system chose; NULL beyond the last. */
const char *router_shell_url(const struct router_shell *shell, uint32_t index);

const struct router_counters *router_shell_counters(const struct router_shell *shell);

/* The map in use, NULL: none yet. Borrowed until the loop goes on. */
const struct map *router_shell_map(const struct router_shell *shell);

/* Adds this router's figures, as status_add; and answers one that `on_status` was called for. */
bool router_shell_status_add(const struct router_shell *shell, struct status *status);
void router_shell_status(struct router_shell *shell, const struct status_asker *asker,
                         const struct status *status);

/* Takes in nothing more, answers what is outstanding (after ROUTER_STOP_MS: UNAVAILABLE), closes
 * everything, frees the router, and then calls `on_stopped` (may be NULL) from the loop. */
void router_shell_stop(struct router_shell *shell, void (*on_stopped)(void *ctx), void *ctx);

#endif
