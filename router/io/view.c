#include "router/io/view.h"

#include <stdlib.h>

#include "proto/reply.h"
#include "proto/request.h"
#include "router/io/shell.h"

static void source_next(struct router_shell *shell, const char *why);
static uint32_t source_count(const struct router_shell *shell);
static void on_timer(uv_timer_t *timer);

static void timer_set(struct view *view, uint64_t ms) {
    uv_timer_start(&view->timer, on_timer, ms, 0);
}

/* --- asking --------------------------------------------------------------------------------- */

static void ask(struct router_shell *shell) {
    struct view *view = &shell->view;
    uint8_t memory[64];
    struct writer writer = writer_of(memory, sizeof memory);
    view->asked_id = (view->asked_id + 1) & INT32_MAX;
    request_write_head(&writer, view->asked_id, METHOD_CLUSTER_MAP);
    write_array(&writer, 0);
    if (link_send(view->link, view->asked_id, writer_bytes(&writer)) != LINK_SENT) {
        source_next(shell, "takes no more requests");
        return;
    }
    link_flush(view->link);
    view->state = VIEW_ASKING;
    view->asked_ns = shell_now_ns(shell);
    view->refreshing = view->refresh;
    view->refresh = false;
    view->polls++;
    timer_set(view, VIEW_SOURCE_MS);
}

static void rest(struct router_shell *shell, uint64_t ms) {
    shell->view.state = VIEW_RESTING;
    timer_set(&shell->view, ms);
}

void view_refresh(struct router_shell *shell) {
    struct view *view = &shell->view;
    view->refresh = true;
    if (view->state != VIEW_RESTING) {
        return; /* its answer, or the source's coming up, looks at `refresh` */
    }
    uint64_t passed_ms = (shell_now_ns(shell) - view->asked_ns) / 1000000;
    uint64_t wait_ms = passed_ms >= VIEW_REFRESH_MS ? 0 : VIEW_REFRESH_MS - passed_ms;
    if (wait_ms < uv_timer_get_due_in(&view->timer)) {
        timer_set(view, wait_ms);
    }
}

/* --- answers -------------------------------------------------------------------------------- */

static void view_log(struct router_shell *shell, uint64_t epoch_before, uint64_t version_before) {
    const struct map *map = router_map(shell->router);
    const struct plan_set *plans = router_plans(shell->router);
    if (map != NULL && map->epoch.number > epoch_before) {
        log_info(&shell->log, "map: epoch %llu, %u slots, %u shards, %u nodes",
                 (unsigned long long)map->epoch.number, map->slot_count, map->shard_count,
                 map->node_count);
    }
    if (plans->version > version_before) {
        log_info(&shell->log, "plans: version %llu, %u plans, default %s",
                 (unsigned long long)plans->version, plans->plan_count,
                 plans->default_at < 0 ? "none" : plans->plans[plans->default_at].name.text);
        fallback_warn(shell);
    }
}

/* Hands what was read to the core, which keeps the newer of each. True if it kept any. */
static bool adopt(struct router_shell *shell) {
    struct view *view = &shell->view;
    const struct map *map = router_map(shell->router);
    const struct plan_set *plans = router_plans(shell->router);
    uint64_t epoch = map == NULL ? 0 : map->epoch.number;
    uint64_t version = plans == NULL ? 0 : plans->version;
    struct router_event event = {.kind = ROUTER_EVENT_VIEW};
    event.view.map = view->maps[1];
    event.view.plans = view->plans[1];
    shell_step(shell, &event);
    bool newer = false;
    if (router_map(shell->router) == view->maps[1]) {
        view->maps[1] = view->maps[0];
        view->maps[0] = (struct map *)event.view.map;
        newer = true;
    }
    if (router_plans(shell->router) == view->plans[1]) {
        view->plans[1] = view->plans[0];
        view->plans[0] = (struct plan_set *)event.view.plans;
        newer = true;
    }
    if (newer) {
        view_log(shell, epoch, version);
    }
    return newer;
}

/* The source is of another cluster: its host or port has changed hands, or --nodes names it by
 * mistake. Said whenever it is asked, which is seldom while another source answers. */
static void foreign(struct router_shell *shell, const char *why) {
    struct view *view = &shell->view;
    struct router_event event = {.kind = ROUTER_EVENT_VIEW};
    event.view.map = view->maps[1];
    event.view.plans = view->plans[1];
    log_error(&shell->log, "%s is a node of another cluster: %s; nothing of it is taken over",
              view->source_url.text, why);
    shell_step(shell, &event); /* it counts them */
    source_next(shell, why);
}

/* A map of an older epoch changes nothing; whoever looks for the reason of something finds it. */
static bool map_is_old(struct router_shell *shell, const struct map *map, const struct map *next) {
    struct view *view = &shell->view;
    bool old = next->epoch.number != 0 && next->epoch.number < map->epoch.number;
    if (old && view->old_told != next->epoch.number) {
        view->old_told = next->epoch.number;
        log_info(&shell->log, "%s answered with map epoch %llu, older than epoch %llu: ignored",
                 view->source_url.text, (unsigned long long)next->epoch.number,
                 (unsigned long long)map->epoch.number);
    }
    return old;
}

static void answered(struct router_shell *shell, struct bytes body) {
    struct view *view = &shell->view;
    struct reply reply;
    struct fault fault;
    if (!reply_read(body, &reply)) {
        source_next(shell, "answered cluster.map with what is no reply");
        return;
    }
    if (reply.is_error) {
        source_next(shell, "answered cluster.map with an error");
        return;
    }
    uint64_t age_ms;
    if (cluster_view_read(reply.result, view->maps[1], view->plans[1], &age_ms, &fault) !=
        CODE_OK) {
        source_next(shell, fault.text);
        return;
    }
    const struct map *map = router_map(shell->router);
    if (map != NULL && map_check_same(map, view->maps[1], &fault) != CODE_OK) {
        foreign(shell, fault.text);
        return;
    }
    view->failed = 0;
    view->warned = false;
    bool old = map != NULL && map_is_old(shell, map, view->maps[1]);
    bool newer = adopt(shell);
    view->stale = newer ? 0 : view->stale + (view->refreshing || old);
    if (view->stale >= VIEW_STALE_MAX) {
        source_next(shell, "has no newer map");
        return;
    }
    view->aged = age_ms > VIEW_AGE_MAX_MS ? view->aged + 1 : 0;
    if (view->aged > 0 && view->aged < source_count(shell)) {
        source_next(shell, "has not heard from the store for a while");
        return;
    }
    view->aged = 0; /* all have been asked: it is the store that is away */
    rest(shell, VIEW_POLL_MS);
    if (view->refresh) {
        view_refresh(shell);
    }
}

static void on_reply(void *ctx, struct link *link, uint32_t id, struct bytes body) {
    struct router_shell *shell = ctx;
    shell->turn_open = true;
    if (shell->view.state == VIEW_ASKING && id == shell->view.asked_id) {
        answered(shell, body);
    }
}

/* --- sources -------------------------------------------------------------------------------- */

static uint32_t source_count(const struct router_shell *shell) {
    const struct map *map = router_map(shell->router);
    return shell->view.seeds.count + (map == NULL ? 0 : map->node_count);
}

static const struct endpoint_name *source_at(const struct router_shell *shell, uint32_t at) {
    const struct view *view = &shell->view;
    return at < view->seeds.count
               ? &view->seeds.urls[at]
               : &router_map(shell->router)->nodes[at - view->seeds.count].control;
}

static void on_up(void *ctx, struct link *link) {
    struct router_shell *shell = ctx;
    log_debug(&shell->log, "learning the map from %s", link_url(link));
    ask(shell);
}

static void on_down(void *ctx, struct link *link, bool was_up, const char *why) {
    source_next(ctx, why);
}

static void source_open(struct router_shell *shell) {
    struct view *view = &shell->view;
    struct link_handler handler = {
        .ctx = shell, .on_up = on_up, .on_down = on_down, .on_reply = on_reply};
    char why[256];
    view->state = VIEW_OPENING;
    view->source_url = *source_at(shell, view->source % source_count(shell));
    view->old_told = 0;
    timer_set(view, VIEW_SOURCE_MS);
    if (link_open(&view->link, shell->loop, view->source_url.text, &handler, why, sizeof why) !=
        0) {
        view->link = NULL;
        source_next(shell, why);
    }
}

static void source_next(struct router_shell *shell, const char *why) {
    struct view *view = &shell->view;
    log_debug(&shell->log, "no longer learning the map from %s: %s", view->source_url.text, why);
    if (view->link != NULL) {
        link_close(view->link, NULL, NULL);
        view->link = NULL;
    }
    view->state = VIEW_OPENING;
    view->stale = 0;
    view->failed++;
    if (view->failed < source_count(shell)) {
        view->source++;
        timer_set(view, 0);
        return;
    }
    if (!view->warned) {
        view->warned = true;
        log_warn(&shell->log, "no node answers; the last asked, %s: %s (see --nodes)",
                 view->source_url.text, why);
    }
    view->source++;
    view->failed = 0;
    timer_set(view, VIEW_ROUND_MS);
}

static void on_timer(uv_timer_t *timer) {
    struct router_shell *shell = timer->data;
    struct view *view = &shell->view;
    switch (view->state) {
    case VIEW_RESTING:
        ask(shell);
        break;
    case VIEW_ASKING:
        source_next(shell, "did not answer in time");
        break;
    case VIEW_OPENING:
        if (view->link != NULL) {
            source_next(shell, "could not be connected to in time");
        } else {
            source_open(shell);
        }
        break;
    case VIEW_CLOSED:
        break;
    }
}

/* --- beginning and end ---------------------------------------------------------------------- */

bool view_init(struct router_shell *shell, const struct url_list *seeds) {
    struct view *view = &shell->view;
    view->seeds = *seeds;
    bool whole = true;
    for (int i = 0; i < 2; i++) {
        view->maps[i] = calloc(1, sizeof *view->maps[i]);
        view->plans[i] = calloc(1, sizeof *view->plans[i]);
        whole = whole && view->maps[i] != NULL && view->plans[i] != NULL;
    }
    return whole;
}

void view_start(struct router_shell *shell) {
    struct view *view = &shell->view;
    uv_timer_init(shell->loop, &view->timer);
    view->timer.data = shell;
    view->timer_open = true;
    source_open(shell);
}

void view_close(struct router_shell *shell) {
    struct view *view = &shell->view;
    view->state = VIEW_CLOSED;
    if (view->link != NULL) {
        shell->open_count++;
        link_close(view->link, shell_part_closed, shell);
        view->link = NULL;
    }
    if (view->timer_open) {
        view->timer_open = false;
        shell->open_count++;
        uv_close((uv_handle_t *)&view->timer, shell_handle_closed);
    }
}

void view_fini(struct router_shell *shell) {
    for (int i = 0; i < 2; i++) {
        free(shell->view.maps[i]);
        free(shell->view.plans[i]);
    }
}
