/*
 * A router spread over several loops: a whole router_shell on each, with its own doors, links and
 * pending requests. They listen at the same addresses, and the kernel gives each connection to one
 * of them for good; nothing is shared between them but what goes through their mailboxes.
 *
 * The first loop is the caller's, and all functions are called on its thread; each other one has a
 * thread. A loop ends only with the process or when told to: whatever is beyond repair is an assert
 * that ends them all.
 *
 * A cluster.status is asked of one loop and goes round: each adds its figures and passes it on, the
 * one that was asked answers. Stopping: all are told; a loop has stopped when its shell is gone and
 * what it sent round has come back; when all have, their mailboxes are closed and threads joined.
 *
 *              stop               shell gone, nothing on its way        all have stopped
 *     SERVING ------> STOPPING ---------------------------------> STOPPED ------> closed
 */
#ifndef SLUICE_ROUTER_IO_LOOPS_H
#define SLUICE_ROUTER_IO_LOOPS_H

#include "router/io/router_shell.h"
#include "router/io/status.h"

struct router_loops;

/* Opens `count` routers (1 to ROUTER_LOOPS_MAX), the first on `loop`, and starts the threads. With
 * more than one, addresses that cannot be shared (ipc://, ws://) are the first loop's alone, and at
 * least one must be tcp://. On success 0 and *out is owned until `router_loops_stop`; else -1 with
 * the reason in `why`, and the loop must be run once more. */
int router_loops_open(struct router_loops **out, uv_loop_t *loop, uint32_t count,
                      const struct router_settings *settings, const struct log *log, char *why,
                      size_t why_size);

/* Where clients come in, as router_shell_url. */
const char *router_loops_url(const struct router_loops *loops, uint32_t index);

/* As router_shell_stop: `on_stopped` is called from the caller's loop when all is gone. */
void router_loops_stop(struct router_loops *loops, void (*on_stopped)(void *ctx), void *ctx);

#endif
