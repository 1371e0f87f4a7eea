/*
 * Sluice's own protocol over links: to one endpoint (a router, a shard, or the echo), or to every
 * shard of the map, with each take to the owner of its key.
 */
#include <stdio.h>
#include <stdlib.h>

#include "bench/target.h"
#include "proto/cluster_view.h"
#include "proto/reply.h"
#include "proto/request.h"
#include "runtime/clock.h"
#include "runtime/link.h"

/* Bytes of a take in a request at most: key, inline limit or plan's name, and their heads. */
#define TAKE_BYTES_MAX (KEY_TEXT_BYTES_MAX + NAME_BYTES_MAX + 96)

/* Milliseconds in which the map must have come. */
#define MAP_WAIT_MS 5000

struct sluice_target {
    bool echo;
    struct map *map;        /* NULL: one endpoint */
    struct plan_set *plans; /* what comes with a map */
    uint64_t map_asked_ns;
    struct link *map_link; /* asks for the map, at the start and after a MOVED */
    struct take take;      /* what all takes have in common */
    uint8_t *scratch;
    uint32_t scratch_size;
};

struct connection {
    uint32_t link_count, up_count;
    bool dirty[SHARDS_MAX]; /* links with requests to be flushed */
    struct link *links[SHARDS_MAX];
};

static struct sluice_target *target_of(const struct load *load) {
    return load->memory;
}

/* --- the map -------------------------------------------------------------------------------- */

static void map_ask(struct load *load) {
    struct sluice_target *target = target_of(load);
    uint8_t body[64];
    struct writer writer = writer_of(body, sizeof body);
    request_write_head(&writer, 1, METHOD_CLUSTER_MAP);
    write_array(&writer, 0);
    if (link_send(target->map_link, 1, writer_bytes(&writer)) == LINK_SENT) {
        link_flush(target->map_link);
    }
}

static void on_map_up(void *ctx, struct link *link) {
    map_ask(ctx);
}

static void on_map_down(void *ctx, struct link *link, bool was_up, const char *why) {
    struct load *load = ctx;
    snprintf(load->down_why, sizeof load->down_why, "%s", why);
}

/* A newer map counts; it is used only if it has the same shards, for links were made by them. */
static void on_map_reply(void *ctx, struct link *link, uint32_t id, struct bytes body) {
    struct load *load = ctx;
    struct sluice_target *target = target_of(load);
    struct reply reply;
    struct fault fault;
    uint64_t age_ms;
    struct map *map = malloc(sizeof *map);
    if (map != NULL && reply_read(body, &reply) && !reply.is_error &&
        cluster_view_read(reply.result, map, target->plans, &age_ms, &fault) == CODE_OK &&
        map->epoch.number > target->map->epoch.number &&
        (target->map->shard_count == 0 || target->map->shard_count == map->shard_count)) {
        *target->map = *map;
    }
    free(map);
    if (!load->running) {
        uv_stop(&load->loop);
    }
}

static void on_map_late(uv_timer_t *timer) {
    uv_stop(&((struct load *)timer->data)->loop);
}

static struct link_handler map_handler(struct load *load) {
    return (struct link_handler){
        .ctx = load, .on_up = on_map_up, .on_down = on_map_down, .on_reply = on_map_reply};
}

static bool map_get(struct load *load, char *why, size_t why_size) {
    struct sluice_target *target = target_of(load);
    struct link_handler handler = map_handler(load);
    target->map = calloc(1, sizeof *target->map);
    target->plans = calloc(1, sizeof *target->plans);
    if (target->map == NULL || target->plans == NULL) {
        snprintf(why, why_size, "no memory");
        return false;
    }
    if (link_open(&target->map_link, &load->loop, load->settings.url, &handler, why, why_size) !=
        0) {
        return false;
    }
    uv_timer_start(&load->sweep, on_map_late, MAP_WAIT_MS, 0);
    uv_run(&load->loop, UV_RUN_DEFAULT);
    uv_timer_stop(&load->sweep);
    if (target->map->epoch.number == 0) {
        snprintf(why, why_size, "no map came from %s within %d ms: %s", load->settings.url,
                 MAP_WAIT_MS, load->down_why);
        return false;
    }
    return true;
}

/* --- answers -------------------------------------------------------------------------------- */

static struct outcome outcome_of_result(struct load *load, const struct take_result *result) {
    struct sluice_target *target = target_of(load);
    uint64_t now_ns = clock_monotonic_ns();
    if (result->code == CODE_OK) {
        return (struct outcome){.decided = true,
                                .allowed = result->allowed,
                                .degraded = (result->flags & TAKE_FLAG_DEGRADED) != 0};
    }
    if (result->code == CODE_MOVED && target->map_link != NULL &&
        now_ns - target->map_asked_ns > UINT64_C(10000000)) {
        target->map_asked_ns = now_ns;
        map_ask(load);
    }
    return outcome_of_error(result->code);
}

/* Of the takes of a shot, those that went by this link, in their order: true while there are. */
static bool part_next(const struct shot *shot, uint32_t part, uint32_t *at) {
    while (*at < shot->take_count && shot->parts_of[*at] != part) {
        ++*at;
    }
    return *at < shot->take_count;
}

static void part_read(struct load *load, struct shot *shot, uint32_t part, struct bytes body) {
    struct reply reply;
    struct take_result result;
    struct reader reader = {0};
    bool good = reply_read(body, &reply);
    uint32_t count = 1;
    if (good && !reply.is_error) {
        reader = reader_of(reply.result);
        good = load->settings.batch == 1 || read_array(&reader, &count);
    }
    for (uint32_t at = 0; part_next(shot, part, &at); at++) {
        struct outcome outcome = outcome_of_error(OUTCOME_PROTOCOL);
        if (good && reply.is_error) {
            result = (struct take_result){.code = reply.code};
            outcome = outcome_of_result(load, &result);
        } else if (good && count-- > 0 && result_read(&reader, &result, NULL)) {
            outcome = outcome_of_result(load, &result);
        }
        load_take_done(shot, at, outcome);
    }
}

static void on_reply(struct lane *lane, uint32_t part, uint32_t id, struct bytes body) {
    struct shot *shot = load_shot_of(lane, id);
    if (shot == NULL) {
        return; /* it was given up */
    }
    if (target_of(lane->load)->echo) {
        for (uint32_t at = 0; at < shot->take_count; at++) {
            load_take_done(shot, at, outcome_of_answer(true));
        }
    } else {
        part_read(lane->load, shot, part, body);
    }
    if (--shot->parts == 0) {
        load_shot_done(shot);
    }
}

static uint32_t part_of(const struct lane *lane, const struct link *link) {
    const struct connection *connection = lane->connection;
    uint32_t part = 0;
    while (connection->links[part] != link) {
        part++;
    }
    return part;
}

static void on_lane_reply(void *ctx, struct link *link, uint32_t id, struct bytes body) {
    struct lane *lane = ctx;
    on_reply(lane, part_of(lane, link), id, body);
}

static void on_lane_up(void *ctx, struct link *link) {
    struct lane *lane = ctx;
    struct connection *connection = lane->connection;
    if (++connection->up_count == connection->link_count) {
        load_lane_up(lane);
    }
}

static void on_lane_down(void *ctx, struct link *link, bool was_up, const char *why) {
    struct lane *lane = ctx;
    struct connection *connection = lane->connection;
    connection->up_count -= was_up;
    load_lane_down(lane, why);
}

/* --- questions ------------------------------------------------------------------------------ */

static bool part_send(struct lane *lane, struct shot *shot, uint32_t part) {
    struct load *load = lane->load;
    struct sluice_target *target = target_of(load);
    struct connection *connection = lane->connection;
    struct writer writer = writer_of(target->scratch, target->scratch_size);
    uint32_t id = load_shot_id(shot), count = 0;
    char key[KEY_TEXT_BYTES_MAX];
    if (load->settings.batch == 1) {
        target->take.key = load_key(load, shot->keys[0], key);
        request_write_single(&writer, id, VERB_TAKE, &target->take, 0);
    } else {
        for (uint32_t at = 0; part_next(shot, part, &at); at++) {
            count++;
        }
        request_write_head(&writer, id, METHOD_TAKE_MANY);
        write_array(&writer, count);
        for (uint32_t at = 0; part_next(shot, part, &at); at++) {
            target->take.key = load_key(load, shot->keys[at], key);
            request_write_take(&writer, &target->take, 0);
        }
    }
    connection->dirty[part] = true;
    return !writer.overflow &&
           link_send(connection->links[part], id, writer_bytes(&writer)) == LINK_SENT;
}

static bool lane_send(struct lane *lane, struct shot *shot) {
    struct load *load = lane->load;
    struct sluice_target *target = target_of(load);
    bool used[SHARDS_MAX] = {false};
    shot->parts = 0;
    if (target->map == NULL) {
        shot->parts = 1; /* parts_of stays zero */
        return part_send(lane, shot, 0);
    }
    for (uint32_t at = 0; at < shot->take_count; at++) {
        char key[KEY_TEXT_BYTES_MAX];
        uint64_t hash = key_hash(load_key(load, shot->keys[at], key));
        struct shard_id owner = map_owner(target->map, slot_of_hash(hash, target->map->slot_count));
        uint16_t part = owner.index < target->map->shard_count ? owner.index : 0;
        shot->parts_of[at] = part;
        shot->parts += !used[part];
        used[part] = true;
    }
    for (uint32_t part = 0; part < target->map->shard_count; part++) {
        if (used[part] && !part_send(lane, shot, part)) {
            return false;
        }
    }
    return true;
}

static void lane_flush(struct lane *lane) {
    struct connection *connection = lane->connection;
    for (uint32_t part = 0; part < connection->link_count; part++) {
        if (connection->dirty[part]) {
            connection->dirty[part] = false;
            link_flush(connection->links[part]);
        }
    }
}

/* --- life ----------------------------------------------------------------------------------- */

static bool open_common(struct load *load, char *why, size_t why_size) {
    struct sluice_target *target = calloc(1, sizeof *target);
    const struct load_settings *settings = &load->settings;
    load->memory = target;
    if (target == NULL) {
        snprintf(why, why_size, "no memory");
        return false;
    }
    target->scratch_size = 64 + settings->batch * TAKE_BYTES_MAX;
    target->scratch = malloc(target->scratch_size);
    target->take = (struct take){.cost_tokens = settings->cost_tokens};
    if (settings->plan != NULL) {
        target->take.plan.kind = PLAN_CHOICE_NAMED;
        target->take.plan.name = bytes_of_text(settings->plan);
    } else {
        target->take.plan.kind = PLAN_CHOICE_INLINE;
        target->take.plan.limit = settings->limit;
    }
    snprintf(why, why_size, "no memory");
    return target->scratch != NULL;
}

static bool echo_open(struct load *load, char *why, size_t why_size) {
    bool opened = open_common(load, why, why_size);
    if (opened) {
        target_of(load)->echo = true;
    }
    return opened;
}

static bool map_open(struct load *load, char *why, size_t why_size) {
    return open_common(load, why, why_size) && map_get(load, why, why_size);
}

static bool lane_open(struct lane *lane, char *why, size_t why_size) {
    struct load *load = lane->load;
    struct sluice_target *target = target_of(load);
    struct connection *connection = calloc(1, sizeof *connection);
    struct link_handler handler = {
        .ctx = lane, .on_up = on_lane_up, .on_down = on_lane_down, .on_reply = on_lane_reply};
    lane->connection = connection;
    if (connection == NULL) {
        snprintf(why, why_size, "no memory");
        return false;
    }
    uint32_t count = target->map == NULL ? 1 : target->map->shard_count;
    for (; connection->link_count < count; connection->link_count++) {
        const char *url = target->map == NULL
                              ? load->settings.url
                              : target->map->shards[connection->link_count].endpoint.text;
        if (link_open(&connection->links[connection->link_count], &load->loop, url, &handler, why,
                      why_size) != 0) {
            return false;
        }
    }
    return true;
}

static void lane_close(struct lane *lane) {
    struct connection *connection = lane->connection;
    for (uint32_t i = 0; connection != NULL && i < connection->link_count; i++) {
        link_close(connection->links[i], NULL, NULL);
    }
    free(connection);
    lane->connection = NULL;
}

static void target_close(struct load *load) {
    struct sluice_target *target = target_of(load);
    if (target == NULL) {
        return;
    }
    if (target->map_link != NULL) {
        link_close(target->map_link, NULL, NULL);
    }
    free(target->map);
    free(target->plans);
    free(target->scratch);
    free(target);
    load->memory = NULL;
}

#define SLUICE_TARGET(its_name, its_open)                                                          \
    {                                                                                              \
        .name = its_name, .open = its_open, .lane_open = lane_open, .lane_send = lane_send,        \
        .lane_flush = lane_flush, .lane_close = lane_close, .close = target_close                  \
    }
const struct target target_sluice = SLUICE_TARGET("sluice", open_common);
const struct target target_echo = SLUICE_TARGET("echo", echo_open);
const struct target target_map = SLUICE_TARGET("map", map_open);
