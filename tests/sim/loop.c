#include "tests/sim/loop.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Of a handle, in its reserved field. */
#define ACTIVE 1u
#define CLOSING 2u

#define HANDLES_MAX 4096

struct item {
    loop_item_fn fn;
    void *ctx;
};

struct handle_list {
    uv_handle_t **at;
    uint32_t count, room;
};

struct loop {
    struct loop *next; /* of its process */
    struct process *process;
    struct fiber *fiber; /* that waits in uv_run, NULL: none */
    bool dropped, stopped;
    uint64_t turn_at_ns; /* 0: none planned */
    uint64_t time_ms;
    uint64_t start_id;
    uint32_t pins; /* handles that keep it alive while they are open */
    struct handle_list timers, prepares, checks, closing;
    struct item *items;
    uint32_t item_count, item_room;
};

static uint64_t delay_most_ns = LOOP_DELAY_MOST_NS;
static uint64_t turns;

void loops_delay(uint64_t most_ns) {
    delay_most_ns = most_ns;
}

uint64_t loops_turns(void) {
    return turns;
}

static struct loop *loop_of(const uv_loop_t *uv) {
    return uv->internal_fields;
}

/* --- handles ------------------------------------------------------------------------------- */

static uintptr_t flags(const uv_handle_t *handle) {
    return (uintptr_t)handle->u.reserved[3];
}

static void flags_set(uv_handle_t *handle, uintptr_t to) {
    handle->u.reserved[3] = (void *)to;
}

static void list_add(struct handle_list *list, uv_handle_t *handle) {
    if (list->count == list->room) {
        list->room = list->room * 2 + 16;
        list->at = realloc(list->at, list->room * sizeof list->at[0]);
        assert(list->at != NULL && list->room <= HANDLES_MAX * 4);
    }
    list->at[list->count] = handle;
    list->count++;
}

static void list_remove(struct handle_list *list, const uv_handle_t *handle) {
    for (uint32_t i = 0; i < list->count; i++) {
        if (list->at[i] == handle) {
            list->count--;
            memmove(&list->at[i], &list->at[i + 1], (list->count - i) * sizeof list->at[0]);
            return;
        }
    }
    assert(false);
}

static struct handle_list *list_of(struct loop *loop, const uv_handle_t *handle) {
    return handle->type == UV_TIMER     ? &loop->timers
           : handle->type == UV_PREPARE ? &loop->prepares
                                        : &loop->checks;
}

static void activate(uv_handle_t *handle, bool active) {
    bool was = (flags(handle) & ACTIVE) != 0;
    if (was == active) {
        return;
    }
    struct handle_list *list = list_of(loop_of(handle->loop), handle);
    (active ? list_add : (void (*)(struct handle_list *, uv_handle_t *))list_remove)(list, handle);
    flags_set(handle, flags(handle) ^ ACTIVE);
}

static void handle_init(uv_loop_t *uv, uv_handle_t *handle, uv_handle_type type) {
    handle->loop = uv;
    handle->type = type;
    memset(&handle->u, 0, sizeof handle->u);
}

void loop_handle_init(uv_loop_t *uv, uv_handle_t *handle, uv_handle_type type) {
    handle_init(uv, handle, type);
    loop_of(uv)->pins++;
}

int uv_is_active(const uv_handle_t *handle) {
    return (flags(handle) & ACTIVE) != 0;
}

int uv_is_closing(const uv_handle_t *handle) {
    return (flags(handle) & CLOSING) != 0;
}

/* --- when a turn begins -------------------------------------------------------------------- */

static void on_turn(void *ctx, uint64_t at_ns) {
    struct loop *loop = ctx;
    if (loop->turn_at_ns != at_ns || loop->dropped) {
        return; /* an earlier one was planned since */
    }
    loop->turn_at_ns = 0;
    if (loop->fiber != NULL) {
        fiber_resume(loop->fiber);
    }
}

static void turn_plan(struct loop *loop, uint64_t at_ns) {
    if (loop->dropped || (loop->turn_at_ns != 0 && loop->turn_at_ns <= at_ns)) {
        return;
    }
    loop->turn_at_ns = at_ns > 0 ? at_ns : 1;
    sim_at(at_ns, on_turn, loop, loop->turn_at_ns);
}

static uint64_t soon(void) {
    return sim_now() + sim_between(STREAM_LOOP, LOOP_DELAY_LEAST_NS, delay_most_ns);
}

void loop_post(uv_loop_t *uv, loop_item_fn fn, void *ctx) {
    struct loop *loop = loop_of(uv);
    if (loop->dropped) {
        return;
    }
    if (loop->item_count == loop->item_room) {
        loop->item_room = loop->item_room * 2 + 64;
        loop->items = realloc(loop->items, loop->item_room * sizeof loop->items[0]);
        assert(loop->items != NULL);
    }
    loop->items[loop->item_count] = (struct item){fn, ctx};
    loop->item_count++;
    turn_plan(loop, soon());
}

static void next_plan(struct loop *loop) {
    if (loop->item_count > 0 || loop->closing.count > 0) {
        turn_plan(loop, soon());
        return;
    }
    uint64_t due_ms = UINT64_MAX;
    for (uint32_t i = 0; i < loop->timers.count; i++) {
        const uv_timer_t *timer = (const uv_timer_t *)loop->timers.at[i];
        due_ms = timer->timeout < due_ms ? timer->timeout : due_ms;
    }
    if (due_ms != UINT64_MAX) {
        uint64_t when_ns = machine_when(loop->process->machine, due_ms * MS);
        turn_plan(loop, when_ns + sim_between(STREAM_LOOP, LOOP_DELAY_LEAST_NS, delay_most_ns));
    }
}

/* --- turns --------------------------------------------------------------------------------- */

static void time_update(struct loop *loop) {
    loop->time_ms = machine_clock(loop->process->machine) / MS;
}

static uv_timer_t *timer_due(struct loop *loop) {
    uv_timer_t *first = NULL;
    for (uint32_t i = 0; i < loop->timers.count; i++) {
        uv_timer_t *timer = (uv_timer_t *)loop->timers.at[i];
        bool earlier = first == NULL || timer->timeout < first->timeout ||
                       (timer->timeout == first->timeout && timer->start_id < first->start_id);
        first = earlier ? timer : first;
    }
    return first != NULL && first->timeout <= loop->time_ms ? first : NULL;
}

static void timers_run(struct loop *loop) {
    uint64_t newest = loop->start_id; /* what is started from here on has its turn next time */
    uv_timer_t *timer;
    while ((timer = timer_due(loop)) != NULL && timer->start_id <= newest) {
        uv_timer_cb callback = timer->timer_cb;
        activate((uv_handle_t *)timer, false);
        if (timer->repeat > 0) {
            uv_timer_start(timer, callback, timer->repeat, timer->repeat);
        }
        callback(timer);
    }
}

static void items_run(struct loop *loop) {
    struct item *items = loop->items;
    uint32_t count = loop->item_count;
    loop->items = NULL;
    loop->item_count = loop->item_room = 0;
    for (uint32_t i = 0; i < count; i++) {
        items[i].fn(items[i].ctx);
    }
    free(items);
}

static void checks_run(struct handle_list *list) {
    for (uint32_t i = list->count; i > 0; i--) {
        if (i <= list->count) {
            uv_check_t *check = (uv_check_t *)list->at[i - 1];
            check->check_cb(check);
        }
    }
}

/* What was posted for a handle whose memory goes: libuv forgets it as well. */
static void items_forget(struct loop *loop, const void *ctx) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < loop->item_count; i++) {
        if (loop->items[i].ctx != ctx) {
            loop->items[kept] = loop->items[i];
            kept++;
        }
    }
    loop->item_count = kept;
}

static void closing_run(struct loop *loop) {
    struct handle_list list = loop->closing;
    loop->closing = (struct handle_list){0};
    for (uint32_t i = 0; i < list.count; i++) {
        uv_handle_t *handle = list.at[i];
        if (handle->type == UV_ASYNC) {
            items_forget(loop, handle);
        }
        bool pinned = handle->type == UV_TCP || handle->type == UV_ASYNC;
        loop->pins -= pinned;
        if (handle->type == UV_TCP) {
            tcp_closed(handle);
        }
        if (handle->close_cb != NULL) {
            handle->close_cb(handle);
        }
    }
    free(list.at);
}

static void prepares_run(struct handle_list *list) {
    for (uint32_t i = list->count; i > 0; i--) {
        if (i <= list->count) {
            uv_prepare_t *prepare = (uv_prepare_t *)list->at[i - 1];
            prepare->prepare_cb(prepare);
        }
    }
}

static bool loop_alive(const struct loop *loop) {
    return loop->pins > 0 || loop->timers.count > 0 || loop->prepares.count > 0 ||
           loop->checks.count > 0 || loop->closing.count > 0;
}

int uv_run(uv_loop_t *uv, uv_run_mode mode) {
    struct loop *loop = loop_of(uv);
    assert(mode == UV_RUN_DEFAULT && loop->fiber == NULL);
    loop->fiber = fiber_current();
    turn_plan(loop, soon());
    loop->stopped = false;
    while (loop_alive(loop) && !loop->stopped) {
        fiber_wait();
        turns++;
        time_update(loop);
        timers_run(loop);
        items_run(loop);
        checks_run(&loop->checks);
        closing_run(loop);
        prepares_run(&loop->prepares);
        time_update(loop);
        next_plan(loop);
    }
    loop->fiber = NULL;
    return 0;
}

int uv_loop_init(uv_loop_t *uv) {
    struct loop *loop = sim_keep(sizeof *loop);
    struct process *process = process_current();
    memset(uv, 0, sizeof *uv);
    uv->internal_fields = loop;
    loop->process = process;
    loop->next = process->loops;
    process->loops = loop;
    time_update(loop);
    return 0;
}

void uv_stop(uv_loop_t *uv) {
    loop_of(uv)->stopped = true;
}

int uv_loop_close(uv_loop_t *uv) {
    struct loop *loop = loop_of(uv);
    if (loop_alive(loop)) {
        return UV_EBUSY;
    }
    loop->dropped = true;
    return 0;
}

void loops_drop(struct process *process) {
    for (struct loop *loop = process->loops; loop != NULL; loop = loop->next) {
        loop->dropped = true;
        free(loop->items);
        free(loop->timers.at);
        free(loop->prepares.at);
        free(loop->checks.at);
        free(loop->closing.at);
        loop->items = NULL;
    }
}

/* --- what programs call -------------------------------------------------------------------- */

uint64_t uv_now(const uv_loop_t *uv) {
    return loop_of(uv)->time_ms;
}

uint64_t uv_hrtime(void) {
    return machine_clock(process_current()->machine);
}

int uv_timer_init(uv_loop_t *uv, uv_timer_t *timer) {
    handle_init(uv, (uv_handle_t *)timer, UV_TIMER);
    timer->timer_cb = NULL;
    timer->repeat = timer->timeout = 0;
    return 0;
}

int uv_timer_start(uv_timer_t *timer, uv_timer_cb callback, uint64_t timeout_ms,
                   uint64_t repeat_ms) {
    struct loop *loop = loop_of(timer->loop);
    if (uv_is_closing((uv_handle_t *)timer)) {
        return UV_EINVAL;
    }
    activate((uv_handle_t *)timer, true);
    timer->timer_cb = callback;
    timer->timeout = loop->time_ms + timeout_ms;
    timer->repeat = repeat_ms;
    loop->start_id++;
    timer->start_id = loop->start_id;
    return 0;
}

int uv_timer_stop(uv_timer_t *timer) {
    activate((uv_handle_t *)timer, false);
    return 0;
}

uint64_t uv_timer_get_due_in(const uv_timer_t *timer) {
    uint64_t now_ms = loop_of(timer->loop)->time_ms;
    return now_ms >= timer->timeout ? 0 : timer->timeout - now_ms;
}

int uv_prepare_init(uv_loop_t *uv, uv_prepare_t *prepare) {
    handle_init(uv, (uv_handle_t *)prepare, UV_PREPARE);
    return 0;
}

int uv_prepare_start(uv_prepare_t *prepare, uv_prepare_cb callback) {
    prepare->prepare_cb = callback;
    activate((uv_handle_t *)prepare, true);
    return 0;
}

int uv_check_init(uv_loop_t *uv, uv_check_t *check) {
    handle_init(uv, (uv_handle_t *)check, UV_CHECK);
    return 0;
}

int uv_check_start(uv_check_t *check, uv_check_cb callback) {
    check->check_cb = callback;
    activate((uv_handle_t *)check, true);
    return 0;
}

int uv_check_stop(uv_check_t *check) {
    activate((uv_handle_t *)check, false);
    return 0;
}

void uv_close(uv_handle_t *handle, uv_close_cb callback) {
    assert(!uv_is_closing(handle));
    if (handle->type == UV_TCP) {
        tcp_closing(handle);
    } else if (handle->type != UV_ASYNC) {
        activate(handle, false);
    }
    flags_set(handle, flags(handle) | CLOSING);
    handle->close_cb = callback;
    struct loop *loop = loop_of(handle->loop);
    list_add(&loop->closing, handle);
    turn_plan(loop, soon());
}

/* An async that is told of many times before its loop comes to it is told of once. */
static void async_item(void *ctx) {
    uv_async_t *async = ctx;
    async->pending = 0;
    if (!uv_is_closing((uv_handle_t *)async)) {
        async->async_cb(async);
    }
}

int uv_async_init(uv_loop_t *uv, uv_async_t *async, uv_async_cb callback) {
    loop_handle_init(uv, (uv_handle_t *)async, UV_ASYNC);
    async->async_cb = callback;
    async->pending = 0;
    return 0;
}

int uv_async_send(uv_async_t *async) {
    if (!async->pending) {
        async->pending = 1;
        loop_post(async->loop, async_item, async);
    }
    return 0;
}

/* One thread runs at a time: there is nothing to lock. */
int uv_mutex_init(uv_mutex_t *mutex) {
    return 0;
}
void uv_mutex_destroy(uv_mutex_t *mutex) {}
void uv_mutex_lock(uv_mutex_t *mutex) {}
void uv_mutex_unlock(uv_mutex_t *mutex) {}

struct thread {
    struct fiber *fiber;
    uv_thread_cb entry;
    void *argument;
    struct fiber *joiner;
};

static void on_joined(void *ctx, uint64_t argument) {
    struct thread *thread = ctx;
    if (thread->joiner != NULL) {
        fiber_resume(thread->joiner);
    }
}

static void thread_run(void *argument) {
    struct thread *thread = argument;
    thread->entry(thread->argument);
    sim_at(sim_now(), on_joined, thread, 0);
}

int uv_thread_create(uv_thread_t *id, uv_thread_cb entry, void *argument) {
    struct thread *thread = sim_keep(sizeof *thread);
    thread->entry = entry;
    thread->argument = argument;
    thread->fiber = fiber_start(thread_run, thread);
    *id = (uv_thread_t)(uintptr_t)thread;
    return 0;
}

int uv_thread_join(uv_thread_t *id) {
    struct thread *thread = (struct thread *)(uintptr_t)*id;
    while (!fiber_ended(thread->fiber)) {
        thread->joiner = fiber_current();
        fiber_wait();
    }
    return 0;
}

const char *uv_strerror(int status) {
    switch (status) {
    case UV_ECONNREFUSED:
        return "connection refused";
    case UV_ETIMEDOUT:
        return "connection timed out";
    case UV_ECONNRESET:
        return "connection reset by peer";
    case UV_EPIPE:
        return "broken pipe";
    default:
        return "error";
    }
}
