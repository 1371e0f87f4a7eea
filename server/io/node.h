/*
 * A node: shards on threads of their own, a control endpoint and a membership on the caller's
 * loop. A library, so that a test may run several in one process; main.c is a thin shell.
 */
#ifndef SLUICE_SERVER_IO_NODE_H
#define SLUICE_SERVER_IO_NODE_H

#include <uv.h>

#include "runtime/log.h"
#include "server/io/boot.h"
#include "server/io/settings.h"

struct node;

/* How a node ended; the program's exit codes. */
enum node_outcome {
    NODE_STOPPED = 0,   /* as asked, everything written */
    NODE_FAILED = 1,    /* could not run on: the log says why */
    NODE_UNWRITTEN = 3, /* as asked, but the store did not take everything in time */
};

/* Checks Redis, binds all endpoints, takes the lease, starts the shards. Blocks for as long as
 * that takes; `loop` must not be running. NULL with `why`. `settings` is borrowed for the node's
 * life. */
struct node *node_open(uv_loop_t *loop, const struct node_settings *settings, const struct log *log,
                       char why[BOOT_WHY_BYTES]);

/* Called once, from the loop, when the node has ended by itself or after node_stop; the node may
 * be closed then. */
void node_on_end(struct node *node, void (*on_end)(void *ctx, enum node_outcome outcome),
                 void *ctx);

/* Decides no more, writes everything (for at most stop_timeout), gives the lease back. A second
 * call gives up on writing. */
void node_stop(struct node *node);

/* After on_end: joins the threads and frees; the loop must then run to close handles. */
void node_close(struct node *node);

#endif
