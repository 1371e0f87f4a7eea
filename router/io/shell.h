/*
 * The inside of a router on its loop, shared by the files of router/io only.
 *
 * A turn: handlers of endpoints, links and timers hand events to the core (shell_step); before the
 * loop sleeps again, one TURN event forms the batches, and what was written is flushed once.
 */
#ifndef SLUICE_ROUTER_IO_SHELL_H
#define SLUICE_ROUTER_IO_SHELL_H

#include "router/io/door_nng.h"
#include "router/io/fallback.h"
#include "router/io/links.h"
#include "router/io/router_shell.h"
#include "router/io/view.h"

/* A batch that its link did not take. */
struct unsent {
    uint32_t link;
    uint32_t batch_id;
};

struct router_shell {
    uv_loop_t *loop;
    struct log log;
    struct router *router;
    void *router_memory;
    uv_prepare_t turn;
    uv_timer_t wake;
    bool turn_open;  /* something happened since the last TURN */
    uint64_t now_ns; /* of this turn, 0: not yet read */
    uint64_t wake_at_ns;

    struct door door;
    struct links links;
    struct view view;
    struct fallback fallback;
    uint8_t *scratch; /* MESSAGE_BYTES_MAX: replies that are long and rare are encoded here */
    struct unsent *unsent;
    uint32_t unsent_count;

    void *status_ctx;
    bool (*on_status)(void *ctx, const struct status_asker *asker);
    uint32_t statuses_open; /* questions that all loops are being asked */

    bool stopping, closing;
    uint64_t stop_at_ns;
    uint32_t open_count; /* handles, endpoints and links whose closing is waited for */
    void (*on_stopped)(void *ctx);
    void *stopped_ctx;
};

/* Steps the core with the event (its time is filled in) and carries out the update. */
void shell_step(struct router_shell *shell, struct router_event *event);

/* The time of this turn: monotonic ns. */
uint64_t shell_now_ns(struct router_shell *shell);

/* One of those counted by open_count is closed. */
void shell_part_closed(void *shell);
void shell_handle_closed(uv_handle_t *handle);

#endif
