/*
 * libuv's loop, timers, prepares, checks, asyncs and threads, on virtual time (loop.c), and its TCP
 * streams on the simulated network (tcp.c): what the programs call, under libuv's own names.
 *
 * A loop runs in the fiber that called uv_run. A turn does what libuv's does, in its order: timers,
 * what has arrived, checks, closing, prepares. Turns begin a little after what causes them.
 */
#ifndef SLUICE_TESTS_SIM_LOOP_H
#define SLUICE_TESTS_SIM_LOOP_H

#include <uv.h>

#include "tests/sim/process.h"

/* How long after its cause a turn begins, drawn evenly: a quiet machine's scheduler. The most can
 * be raised by a run that wants slow loops. */
#define LOOP_DELAY_LEAST_NS (5 * US)
#define LOOP_DELAY_MOST_NS (60 * US)
void loops_delay(uint64_t most_ns);

/* Has `fn(ctx)` called in the loop's next turn. Nothing if the loop is no more. */
typedef void (*loop_item_fn)(void *ctx);
void loop_post(uv_loop_t *loop, loop_item_fn fn, void *ctx);

/* A handle that keeps its loop alive from init until it is closed. */
void loop_handle_init(uv_loop_t *loop, uv_handle_t *handle, uv_handle_type type);

/* What tcp.c has to do before the close callback of a stream. */
void tcp_closing(uv_handle_t *handle);
void tcp_closed(uv_handle_t *handle);

/* The process is no more. */
void loops_drop(struct process *process);

/* Turns of all loops so far. */
uint64_t loops_turns(void);

#endif
