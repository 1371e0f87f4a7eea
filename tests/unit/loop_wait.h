/*
 * For tests of things on a loop: run it until something is true, or give up after a bound that a
 * working program never comes near.
 */
#ifndef SLUICE_TESTS_UNIT_LOOP_WAIT_H
#define SLUICE_TESTS_UNIT_LOOP_WAIT_H

#include <stdbool.h>
#include <uv.h>

/* Milliseconds until a wait has failed: long enough for a sanitizer on a busy machine. */
#define LOOP_WAIT_MS 20000

static inline void loop_wait_tick(uv_timer_t *timer) {
    (void)timer; /* only so that the loop wakes up and the condition is looked at */
}

static inline void loop_wait_closed(uv_handle_t *handle) {
    *(bool *)handle->data = true;
}

/* False if `done` did not become true in time. */
static inline bool loop_wait(uv_loop_t *loop, bool (*done)(void *ctx), void *ctx) {
    uv_timer_t tick;
    bool closed = false;
    uint64_t end_ns = uv_hrtime() + (uint64_t)LOOP_WAIT_MS * 1000000;
    uv_timer_init(loop, &tick);
    tick.data = &closed;
    uv_timer_start(&tick, loop_wait_tick, 1, 1);
    bool right = false;
    while (!(right = done(ctx)) && uv_hrtime() < end_ns)
        uv_run(loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&tick, loop_wait_closed);
    while (!closed)
        uv_run(loop, UV_RUN_NOWAIT);
    return right;
}

/* A flag as a condition. */
static inline bool loop_wait_flag(void *flag) {
    return __atomic_load_n((bool *)flag, __ATOMIC_SEQ_CST);
}

/* Runs the loop for a while, to see that something does not happen. */
struct loop_wait_time {
    uint64_t end_ns;
};

static inline bool loop_wait_time_over(void *ctx) {
    return uv_hrtime() >= ((struct loop_wait_time *)ctx)->end_ns;
}

static inline void loop_run_ms(uv_loop_t *loop, uint64_t ms) {
    struct loop_wait_time time = {uv_hrtime() + ms * 1000000};
    (void)loop_wait(loop, loop_wait_time_over, &time);
}

#endif
