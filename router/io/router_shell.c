#include "router/io/router_shell.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "router/io/shell.h"
#include "runtime/clock.h"

/* --- steps ---------------------------------------------------------------------------------- */

uint64_t shell_now_ns(struct router_shell *shell) {
    if (shell->now_ns == 0) {
        shell->now_ns = clock_monotonic_ns();
        shell->turn_open = true;
    }
    return shell->now_ns;
}

static void update_perform(struct router_shell *shell, const struct router_update *update) {
    for (uint32_t i = 0; i < update->link_order_count; i++) {
        links_order(shell, &update->link_orders[i]);
    }
    for (uint32_t i = 0; i < update->batch_count; i++) {
        uint32_t link = update->batches[i].link;
        links_send(shell, &update->batches[i]);
        if (i + 1 == update->batch_count || update->batches[i + 1].link != link) {
            links_flush(shell, link);
        }
    }
    for (uint32_t i = 0; i < update->fallback_count; i++) {
        fallback_send(shell, update->fallbacks[i]);
    }
    for (uint32_t i = 0; i < update->answer_count; i++) {
        door_answer(shell, &update->answers[i]);
    }
    if (update->refresh_map) {
        view_refresh(shell);
    }
    shell->wake_at_ns = update->wake_at_ns;
}

void shell_step(struct router_shell *shell, struct router_event *event) {
    struct router_update update;
    if (shell->closing) {
        return; /* everything was answered */
    }
    event->now_ns = shell_now_ns(shell);
    router_step(shell->router, event, &update);
    update_perform(shell, &update);
    while (shell->unsent_count > 0) {
        struct unsent unsent = shell->unsent[--shell->unsent_count];
        struct router_event failed = {.kind = ROUTER_EVENT_REPLY, .now_ns = event->now_ns};
        failed.reply.link = unsent.link;
        failed.reply.batch_id = unsent.batch_id;
        failed.reply.outcome = ROUTER_OUTCOME_UNSENT;
        router_step(shell->router, &failed, &update);
        assert(update.batch_count == 0);
        update_perform(shell, &update);
    }
    fallback_unsent(shell);
}

/* --- turns ---------------------------------------------------------------------------------- */

static void on_wake(uv_timer_t *timer) {
    struct router_shell *shell = timer->data;
    shell->turn_open = true;
}

static void wake_arm(struct router_shell *shell) {
    if (shell->stopping && shell->stop_at_ns < shell->wake_at_ns) {
        shell->wake_at_ns = shell->stop_at_ns;
    }
    if (shell->wake_at_ns == UINT64_MAX) {
        uv_timer_stop(&shell->wake);
        return;
    }
    uint64_t now_ns = shell_now_ns(shell);
    uint64_t wait_ns = shell->wake_at_ns > now_ns ? shell->wake_at_ns - now_ns : 0;
    uv_timer_start(&shell->wake, on_wake, (wait_ns + 999999) / 1000000, 0);
}

static void parts_close(struct router_shell *shell);

/* True when nothing is left to be answered. */
static bool stop_check(struct router_shell *shell) {
    if (router_counters(shell->router)->pending_requests == 0 && shell->statuses_open == 0) {
        return true;
    }
    if (shell_now_ns(shell) < shell->stop_at_ns) {
        return false;
    }
    struct router_event event = {.kind = ROUTER_EVENT_STOP};
    if (router_counters(shell->router)->pending_requests > 0) {
        log_warn(&shell->log, "stopping with %llu requests that no shard answered in time",
                 (unsigned long long)router_counters(shell->router)->pending_requests);
    }
    shell_step(shell, &event);
    return true;
}

/* Runs last before the loop sleeps, after all that happened in this turn. */
static void on_prepare(uv_prepare_t *prepare) {
    struct router_shell *shell = prepare->data;
    if (!shell->turn_open || shell->closing) {
        return;
    }
    shell->now_ns = 0; /* a turn may take long; deadlines go by what is true now */
    struct router_event event = {.kind = ROUTER_EVENT_TURN};
    shell_step(shell, &event);
    bool stopped = shell->stopping && stop_check(shell);
    door_flush(shell);
    if (stopped) {
        parts_close(shell);
        return;
    }
    wake_arm(shell);
    shell->turn_open = false;
    shell->now_ns = 0;
}

/* --- closing -------------------------------------------------------------------------------- */

static void shell_free(struct router_shell *shell) {
    void (*on_stopped)(void *ctx) = shell->on_stopped;
    void *ctx = shell->stopped_ctx;
    view_fini(shell);
    fallback_fini(shell);
    free(shell->router_memory);
    free(shell->scratch);
    free(shell->unsent);
    free(shell);
    if (on_stopped != NULL) {
        on_stopped(ctx);
    }
}

void shell_part_closed(void *ctx) {
    struct router_shell *shell = ctx;
    assert(shell->open_count > 0);
    shell->open_count--;
    if (shell->open_count == 0) {
        shell_free(shell);
    }
}

void shell_handle_closed(uv_handle_t *handle) {
    shell_part_closed(handle->data);
}

static void parts_close(struct router_shell *shell) {
    shell->closing = true;
    shell->open_count += 2;
    uv_close((uv_handle_t *)&shell->turn, shell_handle_closed);
    uv_close((uv_handle_t *)&shell->wake, shell_handle_closed);
    view_close(shell);
    fallback_close(shell);
    links_close(shell);
    door_close(shell);
}

void router_shell_stop(struct router_shell *shell, void (*on_stopped)(void *ctx), void *ctx) {
    assert(!shell->stopping);
    shell->stopping = true;
    shell->on_stopped = on_stopped;
    shell->stopped_ctx = ctx;
    shell->stop_at_ns = shell_now_ns(shell) + ROUTER_STOP_MS * UINT64_C(1000000);
    shell->turn_open = true;
    door_stop(shell);
    uv_timer_start(&shell->wake, on_wake, 0, 0);
}

/* --- opening -------------------------------------------------------------------------------- */

/* Zeroed, aligned as the core asks for; whole pages come untouched from the system. */
static bool router_memory_get(struct router_shell *shell, const struct router_options *options) {
    size_t size = router_size(options) + 64;
    shell->router_memory = calloc(1, size);
    if (shell->router_memory == NULL) {
        return false;
    }
    uintptr_t start = ((uintptr_t)shell->router_memory + 63) & ~(uintptr_t)63;
    shell->router = router_init((void *)start, options);
    return true;
}

static bool memory_get(struct router_shell *shell, const struct router_settings *settings) {
    struct router_options options = {
        .items_max = settings->items_max == 0 ? PENDING_ITEMS_MAX : settings->items_max,
        .links_max = SHARDS_MAX,
        .batches_per_link_max = BATCHES_PER_LINK_MAX,
        .fallback = settings->redis != NULL,
    };
    shell->scratch = malloc(MESSAGE_BYTES_MAX);
    shell->unsent = calloc(BATCHES_MAX, sizeof *shell->unsent);
    return shell->scratch != NULL && shell->unsent != NULL && links_init(shell) &&
           view_init(shell, &settings->nodes) && router_memory_get(shell, &options) &&
           fallback_open(shell, settings);
}

int router_shell_open(struct router_shell **out, uv_loop_t *loop,
                      const struct router_settings *settings, const struct log *log, char *why,
                      size_t why_size) {
    struct router_shell *shell = calloc(1, sizeof *shell);
    if (shell == NULL) {
        snprintf(why, why_size, "no memory");
        return -1;
    }
    shell->loop = loop;
    shell->log = *log;
    shell->wake_at_ns = UINT64_MAX;
    shell->status_ctx = settings->status_ctx;
    shell->on_status = settings->on_status;
    uv_prepare_init(loop, &shell->turn);
    uv_timer_init(loop, &shell->wake);
    shell->turn.data = shell->wake.data = shell;
    if (!memory_get(shell, settings)) {
        snprintf(why, why_size, "no memory");
        parts_close(shell);
        return -1;
    }
    if (door_open(shell, settings, why, why_size) != 0) {
        parts_close(shell);
        return -1;
    }
    uv_prepare_start(&shell->turn, on_prepare);
    view_start(shell);
    *out = shell;
    return 0;
}

/* --- what can be asked of it ---------------------------------------------------------------- */

const char *router_shell_url(const struct router_shell *shell, uint32_t index) {
    return index < shell->door.endpoint_count ? endpoint_url(shell->door.endpoints[index].endpoint)
                                              : NULL;
}

const struct router_counters *router_shell_counters(const struct router_shell *shell) {
    return router_counters(shell->router);
}

const struct map *router_shell_map(const struct router_shell *shell) {
    return router_map(shell->router);
}

bool router_shell_status_add(const struct router_shell *shell, struct status *status) {
    return status_add(status, shell);
}

void router_shell_status(struct router_shell *shell, const struct status_asker *asker,
                         const struct status *status) {
    assert(shell->statuses_open > 0);
    shell->statuses_open--;
    if (shell->closing) {
        return;
    }
    door_status(shell, asker, status);
    shell->turn_open = true; /* whose end flushes it */
}
