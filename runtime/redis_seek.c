#include "runtime/redis_seek.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/redis_link.h"
#include "runtime/redis_slots.h"

/* Bytes of a reason, cut beyond. */
#define SEEK_WHY_BYTES 200

struct redis_seek {
    uv_loop_t *loop;
    const struct redis_address *sentinels;
    uint16_t slot;              /* of a cluster */
    struct redis_access access; /* of the sentinel being asked */
    struct redis_link *link;    /* to it */
    uv_timer_t timer;
    uint32_t first, asked; /* sentinel number (first + asked) % count is being asked */
    bool watching;         /* asks for ever */
    bool resting;          /* until the timer says so, nothing is being asked */
    bool done;
    redis_sought_fn on_sought;
    void *ctx;
    uint32_t parts_open; /* the timer and links that are not closed */
    char why[SEEK_WHY_BYTES];
};

static uint32_t number_of(const struct redis_seek *seek) {
    return (seek->first + seek->asked) % seek->sentinels->place_count;
}

static void part_closed(void *ctx) {
    struct redis_seek *seek = ctx;
    if (--seek->parts_open == 0)
        free(seek);
}

static void on_timer_closed(uv_handle_t *handle) {
    part_closed(handle->data);
}

static void link_end(struct redis_seek *seek) {
    if (seek->link != NULL) {
        redis_link_close(seek->link, part_closed, seek);
        seek->link = NULL;
    }
}

void redis_seek_cancel(struct redis_seek *seek) {
    seek->done = true;
    link_end(seek);
    uv_close((uv_handle_t *)&seek->timer, on_timer_closed);
}

static void seek_end(struct redis_seek *seek, const struct redis_place *place) {
    redis_seek_cancel(seek);
    seek->on_sought(seek->ctx, place, number_of(seek), seek->why);
}

static void ask(struct redis_seek *seek);
static void on_timer(uv_timer_t *timer);

/* Between two questions of a watch. */
static void rest(struct redis_seek *seek) {
    seek->resting = true;
    uv_timer_start(&seek->timer, on_timer, REDIS_WATCH_MS, 0);
}

/* This sentinel does not know, or does not answer: on to the next. */
static void seek_on(struct redis_seek *seek, const char *why) {
    char place[REDIS_PLACE_TEXT_BYTES];
    redis_place_format(&seek->sentinels->places[number_of(seek)], place);
    snprintf(seek->why, sizeof seek->why, "%.60s: %s", place, why);
    link_end(seek);
    bool all_asked = ++seek->asked == seek->sentinels->place_count;
    if (all_asked && !seek->watching) {
        seek_end(seek, NULL);
        return;
    }
    if (all_asked)
        seek->asked = 0;
    if (seek->watching)
        rest(seek);
    else
        ask(seek);
}

static bool place_read(const redisReply *reply, struct redis_place *place) {
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
        reply->element[0]->type != REDIS_REPLY_STRING ||
        reply->element[1]->type != REDIS_REPLY_STRING ||
        reply->element[0]->len >= sizeof place->host)
        return false;
    snprintf(place->host, sizeof place->host, "%s", reply->element[0]->str);
    place->port = (int)strtol(reply->element[1]->str, NULL, 10);
    return place->host[0] != '\0' && place->port > 0 && place->port <= 65535;
}

/* The answer to CLUSTER SLOTS. */
static void on_slots(void *ctx, redisReply *reply) {
    struct redis_seek *seek = ctx;
    if (seek->done || reply == NULL)
        return; /* without an answer on_down follows */
    char why[SEEK_WHY_BYTES / 2] = "no memory";
    struct redis_topology *topology = calloc(1, sizeof *topology);
    const struct redis_place *master = NULL;
    struct redis_place place;
    if (topology != NULL &&
        redis_topology_read(reply, &seek->access.address.places[0], topology, why, sizeof why)) {
        snprintf(why, sizeof why, "nobody serves slot %u of the cluster", seek->slot);
        master = redis_topology_master(topology, seek->slot);
    }
    if (master != NULL)
        place = *master;
    free(topology);
    if (master != NULL)
        seek_end(seek, &place);
    else
        seek_on(seek, why);
}

static void on_answer(void *ctx, redisReply *reply) {
    struct redis_seek *seek = ctx;
    struct redis_place place;
    if (seek->done || reply == NULL)
        return; /* without an answer on_down follows */
    if (place_read(reply, &place)) {
        if (!seek->watching) {
            seek_end(seek, &place);
            return;
        }
        rest(seek);
        seek->on_sought(seek->ctx, &place, number_of(seek), "");
    } else if (reply->type == REDIS_REPLY_ERROR) {
        seek_on(seek, reply->str);
    } else {
        seek_on(seek, "this sentinel watches no master of that name");
    }
}

static void on_up(void *ctx, struct redis_link *link) {
    struct redis_seek *seek = ctx;
    const char *name = seek->sentinels->master;
    const char *argv[] = {"SENTINEL", "get-master-addr-by-name", name};
    size_t sizes[] = {8, 23, strlen(name)};
    const char *slots_argv[] = {"CLUSTER", "SLOTS"};
    size_t slots_sizes[] = {7, 5};
    bool sent = seek->sentinels->cluster
                    ? redis_link_send(link, 2, slots_argv, slots_sizes, on_slots, seek)
                    : redis_link_send(link, 3, argv, sizes, on_answer, seek);
    if (!sent)
        seek_on(seek, "no memory");
}

static void on_down(void *ctx, struct redis_link *link, bool was_up, const char *why) {
    seek_on(ctx, why);
}

static void on_timer(uv_timer_t *timer) {
    struct redis_seek *seek = timer->data;
    if (!seek->resting) {
        seek_on(seek, "no answer in time");
        return;
    }
    seek->resting = false;
    if (seek->link != NULL && redis_link_is_up(seek->link)) {
        uv_timer_start(&seek->timer, on_timer, REDIS_SENTINEL_MS, 0);
        on_up(seek, seek->link);
    } else {
        link_end(seek);
        ask(seek);
    }
}

static void ask(struct redis_seek *seek) {
    struct redis_link_handler handler = {seek, on_up, on_down};
    seek->access.address.places[0] = seek->sentinels->places[number_of(seek)];
    seek->link = redis_link_open(seek->loop, &seek->access, &handler);
    if (seek->link == NULL) {
        seek_on(seek, "no memory");
        return;
    }
    seek->parts_open++;
    uv_timer_start(&seek->timer, on_timer, REDIS_SENTINEL_MS, 0);
}

static struct redis_seek *seek_create(uv_loop_t *loop, const struct redis_access *access,
                                      uint32_t first, redis_sought_fn on_sought, void *ctx,
                                      bool watching) {
    struct redis_seek *seek = calloc(1, sizeof *seek);
    if (seek == NULL)
        return NULL;
    seek->loop = loop;
    seek->sentinels = &access->address;
    seek->access = (struct redis_access){
        .address = {.place_count = 1, .tls = access->address.tls},
        .password = access->sentinel_password,
        .tls = access->tls,
        .any_role = true,
    };
    if (access->address.cluster) { /* what is asked is a server like the one that is sought */
        memcpy(seek->access.address.user, access->address.user, sizeof access->address.user);
        seek->access.password = access->password;
        seek->access.password_file = access->password_file;
        seek->slot = access->slot;
    }
    seek->first = first;
    seek->on_sought = on_sought;
    seek->ctx = ctx;
    seek->parts_open = 1;
    uv_timer_init(loop, &seek->timer);
    seek->timer.data = seek;
    seek->watching = watching;
    seek->resting = true;
    uv_timer_start(&seek->timer, on_timer, watching ? REDIS_WATCH_MS : 0, 0);
    return seek;
}

struct redis_seek *redis_seek_start(uv_loop_t *loop, const struct redis_access *access,
                                    uint32_t first, redis_sought_fn on_sought, void *ctx) {
    return seek_create(loop, access, first, on_sought, ctx, false);
}

struct redis_seek *redis_seek_watch(uv_loop_t *loop, const struct redis_access *access,
                                    uint32_t first, redis_sought_fn on_sought, void *ctx) {
    return seek_create(loop, access, first, on_sought, ctx, true);
}
