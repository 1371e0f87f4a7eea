/*
 * hiredis on a libuv loop. Our own adapter, because the one that comes with hiredis 0.14 ignores
 * poll errors: with it a refused connection is never noticed (libuv reports it as an error status).
 */
#ifndef SLUICE_RUNTIME_REDIS_UV_H
#define SLUICE_RUNTIME_REDIS_UV_H

#include <hiredis/async.h>
#include <stdbool.h>
#include <uv.h>

/* Lets `loop` drive `context` from now on. `on_gone` is called once, when hiredis is about to free
 * the context; its error text is still readable. Callbacks of commands may follow (with
 * hiredis 1.x). False: not attached. */
bool redis_uv_attach(redisAsyncContext *context, uv_loop_t *loop,
                     void (*on_gone)(void *ctx, const redisAsyncContext *context), void *ctx);

#endif
