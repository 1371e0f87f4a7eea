/*
 * Learns the map and the plans' policies from nodes, one source at a time: polls it once a second,
 * and sooner when the core waits for a newer map. A source that fails, or that has nothing new when
 * something new was expected, gives way to the next: first the seeds in turn, then the control
 * endpoints of the map. On the loop's thread.
 *
 *              up                 asked
 *    OPENING ------> RESTING <----------> ASKING
 *       |               |      answered     |
 *       +---------------+-------------------+--> (failed, late, stale) next source: OPENING
 */
#ifndef SLUICE_ROUTER_IO_VIEW_H
#define SLUICE_ROUTER_IO_VIEW_H

#include "proto/cluster_view.h"
#include "router/io/url_list.h"
#include "runtime/link.h"

/* Milliseconds between two polls when all is well. */
#define VIEW_POLL_MS 1000

/* Milliseconds between two polls at least, however much a newer map is wanted. */
#define VIEW_REFRESH_MS 50

/* Milliseconds that a source may take to connect, and to answer. Far above a healthy one's, far
 * below what a failover takes. */
#define VIEW_SOURCE_MS 500

/* Milliseconds of rest when every source has failed in turn. */
#define VIEW_ROUND_MS 100

/* Refreshes in a row that brought nothing new before another source is asked. */
#define VIEW_STALE_MAX 3

/* Milliseconds since a source last heard from the store, above which another is asked: a node that
 * is cut off from the store keeps the map that it had. Five times a healthy node's at most. */
#define VIEW_AGE_MAX_MS 500

struct router_shell;

enum view_state { VIEW_CLOSED, VIEW_OPENING, VIEW_RESTING, VIEW_ASKING };

struct view {
    enum view_state state;
    struct url_list seeds;
    struct link *link; /* to the source, NULL: between two */
    struct endpoint_name source_url;
    uint32_t source; /* counts on: seeds first, then nodes of the map */
    uint32_t failed; /* sources in a row */
    uint32_t asked_id;
    uint64_t asked_ns;
    bool refresh;      /* something waits for a newer map */
    bool refreshing;   /* the answer awaited is to a refresh */
    uint64_t old_told; /* an older epoch that this source answered with, as said last; 0: none */
    uint32_t stale;    /* refreshes in a row that brought nothing */
    uint32_t aged;     /* answers in a row from sources that are cut off from the store */
    bool warned;       /* that no node answers: once until one does */
    uint64_t polls;
    uv_timer_t timer;
    bool timer_open;
    /* One of each is the core's, the other is for reading the next answer. */
    struct map *maps[2];
    struct plan_set *plans[2];
};

/* False without memory. */
bool view_init(struct router_shell *shell, const struct url_list *seeds);
void view_start(struct router_shell *shell);

/* Asks for a newer map as soon as VIEW_REFRESH_MS allow. */
void view_refresh(struct router_shell *shell);

/* The map and plans stay readable until view_fini. */
void view_close(struct router_shell *shell);
void view_fini(struct router_shell *shell);

#endif
